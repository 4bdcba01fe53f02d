# A Rust toolchain that builds for another architecture: the machine's own if it has that target's
# standard library, else Debian's compiler, unpacked and not installed.
# shellcheck shell=bash disable=SC2154,SC2034

# need_cross ARCH: exports what cargo needs to build static programs for ARCH and to run them, and
# sets $cross_target.
need_cross() {
	local arch=$1 debian_arch upper libraries runner
	case $arch in
	aarch64) debian_arch=arm64 ;;
	*) die "no cross toolchain for $arch" ;;
	esac
	need "$arch-linux-gnu-gcc:gcc-$arch-linux-gnu" \
		"/usr/$arch-linux-gnu/lib/libc.a:libc6-dev-$debian_arch-cross"
	cross_target=$arch-unknown-linux-gnu
	libraries=$(rustc --print target-libdir --target "$cross_target")
	if [[ ! -d $libraries ]]; then
		unpacked_rust "$debian_arch"
	fi
	upper=${cross_target^^}
	upper=${upper//-/_}
	export "CARGO_TARGET_${upper}_LINKER=$arch-linux-gnu-gcc"
	# Static: so a program runs where there is nothing else of its architecture.
	export "CARGO_TARGET_${upper}_RUSTFLAGS=-Ctarget-feature=+crt-static"
	runner=CARGO_TARGET_${upper}_RUNNER
	export "$runner=${!runner:-qemu-$arch-static}"
	# Another compiler: its files would take turns with those of the machine's own.
	export CARGO_TARGET_DIR=$root/target/cross
}

# Debian's compiler with the standard libraries of this machine and of DEBIAN_ARCH. Sets RUSTC, and
# $cross_clippy to the clippy that fits it.
unpacked_rust() {
	local own=(rustc-web libstd-rust-web-1.96 libstd-rust-web-dev libllvm22 rust-web-clippy)
	local debs folder
	mapfile -t debs < <("$root/scripts/debian-package" "${own[@]}" &&
		"$root/scripts/debian-package" --arch "$1" libstd-rust-web-dev)
	((${#debs[@]} == ${#own[@]} + 1)) || die "Debian's Rust cannot be fetched"
	folder=$lab/cross/rust-$1-$(key_of "${debs[@]##*/}")
	make_once "$folder" unpack_rust "$folder" "${debs[@]}"
	export RUSTC=$folder/bin/rustc
	cross_clippy=$folder/bin/clippy-driver
}

unpack_rust() { # FOLDER-IT-WILL-BE DEB... FOLDER
	local final=$1 folder=${*: -1}
	say "unpacking Debian's Rust compiler"
	unpack "${@:2}"
	# Named as what they stand for: cargo asks a compiler by any other name too much.
	mkdir "$folder/bin"
	make_wrapper "$folder/bin/rustc" "$final" rustc
	make_wrapper "$folder/bin/clippy-driver" "$final" clippy-driver
}

make_wrapper() { # FILE FOLDER PROGRAM
	cat >"$1" <<-END
		#!/bin/sh
		LD_LIBRARY_PATH=$2/usr/lib/$(uname -m)-linux-gnu exec $2/usr/bin/$3 "\$@"
	END
	chmod 755 "$1"
}
