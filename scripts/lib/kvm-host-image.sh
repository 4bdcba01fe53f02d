# What the emulated KVM host is made of: QEMU, a kernel and an initramfs, from Debian's packages.
# shellcheck shell=bash disable=SC2154

# kvm_host_qemu ARCH: prints the words that start QEMU, one a line. It is not the machine's own, which
# is Debian 12's 7.2: that one's SVM hangs now and then, with all CPUs busy. It borrows the libraries
# and the firmware of that one, though.
kvm_host_qemu() {
	local arch=$1 package debs qemu
	case $arch in
	x86_64) package='qemu-system-x86' ;;
	aarch64) package='qemu-system-arm' ;;
	*) die "no emulated KVM host for $arch" ;;
	esac
	command -v "qemu-system-$arch" >/dev/null || die "the emulated KVM host needs the package $package"
	mapfile -t debs < <("$root/scripts/debian-package" --suite bookworm-backports --arch amd64 \
		"$package" qemu-system-common qemu-system-data)
	((${#debs[@]} == 3)) || exit 1
	qemu=$lab/kvm-host/qemu-$arch-$(key_of "${debs[@]##*/}" "$(declare -f unpack_qemu)")
	make_once "$qemu" unpack_qemu "$arch" "${debs[@]}"
	[[ ! -e $qemu/unmended ]] || say "this QEMU's VMRUN is not as known: its guests may hang now and then"
	printf '%s\n' "$qemu/usr/bin/qemu-system-$arch" -L "$qemu/usr/share/qemu" -L /usr/share/seabios
}

# QEMU's VMRUN leaves the number of an interrupt that it injects in `exception_index`, as if that was still to
# be delivered. If the emulation is then called away before the guest's next exit (for a flush of TLBs, or as
# counted time is up), it delivers it once more, whether the guest takes interrupts or not: guests spin for ever
# for a lock that they hold, or fault three times. So the store (of %esi, 6 bytes) becomes a long no-operation;
# the other kinds of events need theirs. The code is found by what stands around it: the stores of
# `error_code`, 0 to `exception_is_int` and -1 to `exception_next_eip`, and do_interrupt_x86_hardirq's call.
unpack_qemu() { # ARCH DEB... FOLDER
	local folder=${*: -1}
	unpack "${@:2}"
	[[ $1 == x86_64 ]] || return 0
	# shellcheck disable=SC2016 # for perl
	perl -0777 -p -i -e '
		my $code = qr/(\x44\x89\xab.{4})\x89\xb3..\xff\xff(\xc7\x83.{4}\0{4}\x48\xc7\x83.{4}\xff{4}
			\xf6\x05.{5}\x0f\x85.{4}\xba\x01\0\0\0\x48\x89\xdf\xe8)/sx;
		$places++ while /$code/g;
		s/$code/$1\x66\x0f\x1f\x44\0\0$2/ if $places == 1;
		END { $? ||= $places != 1 }' "$folder/usr/bin/qemu-system-x86_64" || touch "$folder/unmended"
}

# kvm_host_image ARCH: prints the folder that holds `kernel` and `initramfs`.
kvm_host_image() {
	local arch=$1 parts=$root/tests/kvm-host debian_arch debs own_busybox key image
	case $arch in
	x86_64) debian_arch=amd64 ;;
	aarch64) debian_arch=arm64 ;;
	esac
	mapfile -t debs < <("$root/scripts/debian-package" --arch "$debian_arch" \
		"linux-image-$debian_arch" busybox-static)
	own_busybox=$("$root/scripts/debian-package" busybox-static)
	((${#debs[@]} == 2)) && [[ $own_busybox ]] || return
	key=$(cat "${BASH_SOURCE[0]}" "$parts"/* | sha256sum - "${debs[@]}")
	image=$lab/kvm-host/image-$arch-$(key_of "$key")
	make_once "$image" make_kvm_host_image "$arch" "$own_busybox" "${debs[@]}"
	echo "$image"
}

# The ELF file in a bzImage that is packed with xz, as Debian's are.
unpack_xz_kernel() {
	local start
	start=$(LC_ALL=C grep -abo -m 1 $'\xfd7zXZ' "$1" | head -n 1 | cut -d: -f1)
	tail -c "+$((start + 1))" "$1" | xz -dc --single-stream
}

busybox_of() { # DEB FILE
	dpkg-deb --fsys-tarfile "$1" | tar -x -O ./bin/busybox >"$2"
	chmod 755 "$2"
}

make_kvm_host_image() { # ARCH OWN_BUSYBOX_DEB KERNEL_DEB BUSYBOX_DEB FOLDER
	local arch=$1 kernel_deb=$3 folder=$5 parts=$root/tests/kvm-host work=$5/work
	local tree=$work/tree
	say "making the emulated KVM host's initramfs"
	mkdir -p "$tree"/{bin,dev,proc,sys,modules} "$work/deb"
	busybox_of "$2" "$work/busybox"
	busybox_of "$4" "$tree/bin/busybox"
	sed 's|^|./lib/modules/*/|' "$parts/modules-$arch" >"$work/wanted"
	dpkg-deb --fsys-tarfile "$kernel_deb" |
		tar -x -C "$work/deb" --wildcards --files-from "$work/wanted" './boot/vmlinuz-*'
	case $arch in
	# Unpacked here: in the emulation the kernel would spend seconds on unpacking itself.
	x86_64) unpack_xz_kernel "$work"/deb/boot/vmlinuz-* >"$folder/kernel" ;;
	aarch64) cp "$work"/deb/boot/vmlinuz-* "$folder/kernel" ;;
	esac
	find "$work/deb/lib" -name '*.ko' -exec cp {} "$tree/modules" \;
	cp "$parts/modules-$arch" "$tree/modules/order"
	cp "$parts/init" "$parts/session" "$tree"
	chmod 755 "$tree/init"
	(cd "$tree" && find . | "$work/busybox" cpio -o -H newc 2>/dev/null) >"$folder/initramfs"
	rm -r "$work"
}
