# What the emulated KVM host is made of: QEMU, a kernel and an initramfs, from Debian's packages.
# shellcheck shell=bash disable=SC2154

# kvm_host_qemu ARCH: prints the words that start QEMU, one a line. It is not the machine's own, which
# is Debian 12's 7.2: that one's SVM hangs now and then, with all CPUs busy. It borrows the libraries
# and the firmware of that one, though.
kvm_host_qemu() {
	local arch=$1 debs key qemu work deb
	[[ -e /usr/share/seabios/bios-256k.bin ]] || die "the emulated KVM host needs the package qemu-system-x86"
	mapfile -t debs < <("$root/scripts/debian-package" --suite bookworm-backports --arch amd64 \
		qemu-system-x86 qemu-system-common qemu-system-data)
	((${#debs[@]} == 3)) || exit 1
	key=$(printf '%s\n' "${debs[@]##*/}" | sha256sum | cut -c1-16)
	qemu=$lab/kvm-host/qemu-$key
	if [[ ! -d $qemu ]]; then
		mkdir -p "$lab/kvm-host"
		work=$(mktemp -d "$lab/kvm-host/new.XXXXXX")
		for deb in "${debs[@]}"; do
			dpkg-deb -x "$deb" "$work"
		done
		mv -T "$work" "$qemu" 2>/dev/null || rm -rf "$work"
	fi
	printf '%s\n' "$qemu/usr/bin/qemu-system-$arch" -L "$qemu/usr/share/qemu" -L /usr/share/seabios
}

# kvm_host_image ARCH: prints the folder that holds `kernel` and `initramfs`.
kvm_host_image() {
	local arch=$1 parts=$root/tests/kvm-host debs key image
	mapfile -t debs < <("$root/scripts/debian-package" --arch amd64 linux-image-amd64 busybox-static)
	((${#debs[@]} == 2)) || return
	key=$(cat "${BASH_SOURCE[0]}" "$parts"/* | sha256sum - "${debs[@]}" | sha256sum | cut -c1-16)
	image=$lab/kvm-host/$arch-$key
	[[ -d $image ]] || make_kvm_host_image "$arch" "$image" "${debs[@]}"
	echo "$image"
}

# The ELF file in a bzImage that is packed with xz, as Debian's are.
unpack_xz_kernel() {
	local start
	start=$(LC_ALL=C grep -abo -m 1 $'\xfd7zXZ' "$1" | head -n 1 | cut -d: -f1)
	tail -c "+$((start + 1))" "$1" | xz -dc --single-stream
}

make_kvm_host_image() (
	arch=$1 image=$2 kernel_deb=$3 busybox_deb=$4 parts=$root/tests/kvm-host
	say "making the emulated KVM host's initramfs"
	mkdir -p "$lab/kvm-host"
	work=$(mktemp -d "$lab/kvm-host/new.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	tree=$work/tree
	mkdir -p "$tree"/{bin,dev,proc,sys,modules} "$work/deb" "$work/image"

	dpkg-deb --fsys-tarfile "$busybox_deb" | tar -x -C "$tree" ./bin/busybox
	sed 's|^|./lib/modules/*/|' "$parts/modules-$arch" >"$work/wanted"
	dpkg-deb --fsys-tarfile "$kernel_deb" |
		tar -x -C "$work/deb" --wildcards --files-from "$work/wanted" './boot/vmlinuz-*'
	# Unpacked here: in the emulation the kernel would spend seconds on unpacking itself.
	unpack_xz_kernel "$work"/deb/boot/vmlinuz-* >"$work/image/kernel"
	find "$work/deb/lib" -name '*.ko' -exec cp {} "$tree/modules" \;
	cp "$parts/modules-$arch" "$tree/modules/order"
	cp "$parts/init" "$parts/session" "$tree"
	chmod 755 "$tree/init"
	(cd "$tree" && find . | bin/busybox cpio -o -H newc 2>/dev/null) >"$work/image/initramfs"
	rm -rf "$lab/kvm-host/$arch"-*
	# Another run may have made the same meanwhile.
	mv -T "$work/image" "$image" 2>/dev/null || [[ -d $image ]]
)
