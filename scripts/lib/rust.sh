# A Rust toolchain: the machine's own if it is new enough, else Debian's.
# shellcheck shell=bash disable=SC2154

# need_rust [THING:PACKAGE...]: the compiler, cargo, and further tools of a toolchain.
need_rust() {
	need cc:gcc /usr/include/stdio.h:libc6-dev /etc/ssl/certs/ca-certificates.crt:ca-certificates
	find_rustup
	if ! rust_is_new_enough; then
		need /usr/bin/cargo:cargo-web /usr/bin/rustc:rustc-web
		# Before an older one elsewhere on the path.
		export PATH=/usr/bin:$PATH
		rust_is_new_enough || die "terrarium needs Rust $(rust_version_needed); this machine has $(rustc --version)"
	fi
	(($# == 0)) || need "$@"
}

# rustup finds its toolchains by HOME, which may be another than when it was installed.
find_rustup() {
	local cargo
	cargo=$(command -v cargo) || return 0
	if [[ $cargo == */.cargo/bin/cargo && -d ${cargo%/.cargo/*}/.rustup ]]; then
		export RUSTUP_HOME=${RUSTUP_HOME-${cargo%/.cargo/*}/.rustup}
	fi
}

rust_version_needed() {
	sed -n 's/^rust-version = "\(.*\)"/\1/p' "$root/Cargo.toml"
}

rust_is_new_enough() {
	local version
	command -v cargo >/dev/null && version=$(rustc --version 2>/dev/null) || return 1
	version=${version#rustc }
	printf '%s\n' "$(rust_version_needed)" "${version%% *}" | sort --check=quiet --version-sort
}
