# What the tests are given, through the environment:
#
#   TERRARIUM_TEST_KERNEL_DEB  Debian's linux-image-cloud package, unmodified
#   TERRARIUM_TEST_KERNEL_DEB_AMD64, _ARM64  the same of either architecture, whatever this machine's
#   TERRARIUM_TEST_KERNEL_DEB_ORDINARY  Debian's linux-image package for all machines (kernels stage)
#   TERRARIUM_TEST_KERNEL_MINIMAL, _ARM64  folders of scripts/build-kernel (kernels stage)
#   TERRARIUM_TEST_ALPINE_REPOSITORY  a signed repository that holds Debian's kernel (kernels stage)
#   TERRARIUM_TEST_BUSYBOX     a static busybox
#   TERRARIUM_TEST_GUEST_INIT  guest-init as it is embedded in the command
#   TERRARIUM_TEST_STANDIN     OCI layout of localhost/python:2.7.18-standin
#   TERRARIUM_TEST_STANDIN_ARM64  the same for arm64, whatever this machine's
#   TERRARIUM_TEST_PYTHON      OCI layout of the official python:3.12-alpine, as localhost/python:3.12-alpine
#   TERRARIUM_TEST_PLATFORMS   OCI layout of localhost/platforms:1, images of one list for seven platforms
#   TERRARIUM_TEST_EMULATORS_DEB  Debian's qemu-user-static package
#   TERRARIUM_TEST_HOME        a store of terrarium with that kernel, both images and their disks; also
#                              TERRARIUM_HOME, so that no test comes near the user's own
#   TERRARIUM_TEST_HOME_ARM64  a store with the kernel and the stand-in for arm64, and its disk
#   TERRARIUM_TEST_CPUS        for some whole-program tests: how many CPUs their machines have
#   TERRARIUM_TEST_BACKEND     for the whole-program tests: the backend, `kvm` or `qemu`
#   TERRARIUM_TEST_KVM         set where KVM is known to be usable, so that a test may not skip it
#
# and on the PATH: docker-registry, skopeo, umoci, e2fsck, qemu-system-*.
#
# shellcheck shell=bash disable=SC2154,SC2034

# Tools and files that tests use beside the command itself.
need_test_tools() {
	export PATH=$PATH:/usr/sbin:/sbin
	need qemu-system-aarch64:qemu-system-arm
	[[ $(uname -m) != x86_64 ]] || need qemu-system-x86_64:qemu-system-x86
	need git:git xz:xz-utils skopeo:skopeo umoci:umoci e2fsck:e2fsprogs mkfs.ext4:e2fsprogs openssl:openssl
	python3 -m pip --version >/dev/null 2>&1 || need /usr/bin/pip3:python3-pip
	python3 -c 'import jsonschema' 2>/dev/null || need /usr/bin/jsonschema:python3-jsonschema
	need_registry
}

# Unpacked, not installed: installing it starts a server.
need_registry() {
	local tools=$lab/tools deb
	if [[ ! -x $tools/docker-registry ]]; then
		deb=$("$root/scripts/debian-package" docker-registry)
		mkdir -p "$tools/new"
		dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$tools/new" ./usr/bin/docker-registry
		mv "$tools/new/usr/bin/docker-registry" "$tools"
		rm -r "$tools/new"
	fi
	PATH=$tools:$PATH
}

# The same and skopeo for an emulated aarch64 host, with the libraries that they need: a tree to lay over
# this machine's files, with a static /bin/true. Sets $arm64_tools.
need_arm64_tools() {
	local packages=(docker-registry skopeo libc6 libgpgme11 libdevmapper1.02.1 libassuan0 libgpg-error0
		libselinux1 libudev1 libpcre2-8-0 busybox-static)
	local debs
	mapfile -t debs < <("$root/scripts/debian-package" --arch arm64 "${packages[@]}")
	((${#debs[@]} == ${#packages[@]})) || die "tools for arm64 cannot be fetched"
	arm64_tools=$lab/tools-arm64-$(key_of "${debs[@]##*/}")
	make_once "$arm64_tools" unpack_arm64_tools "${debs[@]}"
}

unpack_arm64_tools() { # DEB... FOLDER
	local folder=${*: -1} deb
	mkdir -p "$folder"/usr/{bin,lib}
	# As on a merged system, or /lib would hide this machine's.
	ln -s usr/lib "$folder/lib"
	for deb in "${@:1:$#-1}"; do
		dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$folder" --keep-directory-symlink \
			--exclude ./usr/share --exclude ./usr/libexec --exclude ./etc --exclude ./var \
			--exclude ./sbin --exclude ./usr/sbin
	done
	find "$folder/usr/bin" -mindepth 1 ! -name docker-registry ! -name skopeo -delete
	# A program for tests that execute one.
	mv "$folder/bin/busybox" "$folder/usr/bin/true"
	rmdir "$folder/bin"
}

need_busybox() {
	local deb
	if [[ ! -x $lab/tools/busybox ]]; then
		deb=$("$root/scripts/debian-package" busybox-static)
		mkdir -p "$lab/tools"
		dpkg-deb --fsys-tarfile "$deb" | tar -x -O ./bin/busybox >"$lab/tools/busybox.new"
		chmod 755 "$lab/tools/busybox.new"
		mv "$lab/tools/busybox.new" "$lab/tools/busybox"
	fi
}

# The files. Sets the variables that need no build of the command.
test_files() {
	need_busybox
	TERRARIUM_TEST_BUSYBOX=$lab/tools/busybox
	TERRARIUM_TEST_KERNEL_DEB=$(debian_kernel)
	TERRARIUM_TEST_KERNEL_DEB_AMD64=$("$root/scripts/debian-package" --arch amd64 linux-image-cloud-amd64)
	TERRARIUM_TEST_KERNEL_DEB_ARM64=$("$root/scripts/debian-package" --arch arm64 linux-image-cloud-arm64)
	TERRARIUM_TEST_STANDIN=$("$root/tests/fixtures/stand-in-image")
	TERRARIUM_TEST_STANDIN_ARM64=$("$root/tests/fixtures/stand-in-image" --arch arm64)
	TERRARIUM_TEST_PYTHON=$("$root/tests/fixtures/official-image")
	TERRARIUM_TEST_PLATFORMS=$("$root/tests/fixtures/platform-images")
	TERRARIUM_TEST_EMULATORS_DEB=$("$root/scripts/debian-package" qemu-user-static)
	export TERRARIUM_TEST_EMULATORS_DEB
	export TERRARIUM_TEST_{BUSYBOX,KERNEL_DEB,KERNEL_DEB_AMD64,KERNEL_DEB_ARM64,STANDIN,STANDIN_ARM64,PYTHON,PLATFORMS}
}

# What only the tests of every kind of kernel need.
test_kernels() { # ARCH DEBIAN_ARCH
	TERRARIUM_TEST_KERNEL_DEB_ORDINARY=$("$root/scripts/debian-package" --arch "$2" "linux-image-$2")
	TERRARIUM_TEST_ALPINE_REPOSITORY=$("$root/tests/fixtures/alpine-repository" "$TERRARIUM_TEST_KERNEL_DEB")
	TERRARIUM_TEST_KERNEL_MINIMAL=$("$root/scripts/build-kernel" --arch "$1")
	TERRARIUM_TEST_KERNEL_MINIMAL_ARM64=$("$root/scripts/build-kernel" --arch aarch64)
	export TERRARIUM_TEST_KERNEL_{DEB_ORDINARY,MINIMAL,MINIMAL_ARM64} TERRARIUM_TEST_ALPINE_REPOSITORY
}

# The stores, filled by the command as it is now.
test_home() {
	export TERRARIUM_TEST_HOME=$lab/home TERRARIUM_HOME=$lab/home TERRARIUM_TEST_GUEST_INIT
	export TERRARIUM_TEST_HOME_ARM64=$lab/home-arm64
	TERRARIUM_TEST_GUEST_INIT=$(find "$root"/target/release/build/terrarium-*/out/guest-init \
		-path '*/guest/guest-init' -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d' ' -f2-)
	fill_home "$TERRARIUM_TEST_HOME" "linux/$(dpkg --print-architecture)" --deb "$TERRARIUM_TEST_KERNEL_DEB" \
		"$TERRARIUM_TEST_STANDIN" "$TERRARIUM_TEST_PYTHON"
	fill_home "$TERRARIUM_TEST_HOME_ARM64" linux/arm64 --deb "$TERRARIUM_TEST_KERNEL_DEB_ARM64" \
		"$TERRARIUM_TEST_STANDIN_ARM64"
}

# A store as TERRARIUM_TEST_HOME_ARM64, but with the minimal kernel. Prints it.
minimal_home_arm64() {
	local home=$lab/home-arm64-minimal
	fill_home "$home" linux/arm64 --vmlinuz "$TERRARIUM_TEST_KERNEL_MINIMAL/vmlinuz" \
		--config "$TERRARIUM_TEST_KERNEL_MINIMAL/config" "$TERRARIUM_TEST_STANDIN_ARM64"
	echo "$home"
}

# A store with nothing but a kernel. Prints it.
kernel_home() { # NAME (--OPTION FILE)...
	local home=$lab/home-$1
	fill_home "$home" "" "${@:2}"
	echo "$home"
}

# A store with a kernel, images and their disks; made anew when these or the command change.
fill_home() { # HOME PLATFORM (--OPTION FILE)... LAYOUT...
	local home=$1 platform=$2 kernel=() inputs layout image
	shift 2
	inputs=$(printf '%s\n' "$@" && sha256sum "$terrarium")
	while [[ ${1-} == --* ]]; do
		kernel+=("$1" "$2")
		shift 2
	done
	[[ ! -d $home || $(cat "$home.inputs" 2>/dev/null) != "$inputs" ]] || return 0
	say "filling the store for the tests of $platform"
	rm -rf "$home"
	local -x TERRARIUM_HOME=$home
	"$terrarium" kernel import "${kernel[@]}" >&2
	for layout; do
		image=$("$terrarium" load --quiet "$layout")
		"$terrarium" disk --quiet --pull never --platform "$platform" "$image" >&2
	done
	echo "$inputs" >"$home.inputs"
}
