# Measuring in counted instructions: in the emulated KVM host with --icount one instruction is one nanosecond.
# shellcheck shell=bash disable=SC2154,SC2034

image=localhost/python:2.7.18-standin

# What the runs need, in a store of its own.
counted_store() {
	need qemu-system-x86_64:qemu-system-x86
	export TERRARIUM_HOME=$lab/bench
	"$terrarium" load --quiet "$("$root/tests/fixtures/stand-in-image")" >&2
	"$terrarium" disk --quiet --pull never "$image" >&2
}

# Imports a kernel, `minimal` or `debian`, and prints its name in the store.
counted_kernel() { # KERNEL
	local folder
	case $1 in
	debian) "$terrarium" kernel import --deb "$(debian_kernel)" ;;
	minimal)
		folder=$("$root/scripts/build-kernel")
		"$terrarium" kernel import --vmlinuz "$folder/vmlinuz" --config "$folder/config"
		;;
	esac
}

# Runs a shell script in the counted host, with this file's functions.
counted_host() { # SCRIPT ARGUMENT...
	local script=$1
	shift
	"$root/scripts/kvm-host" --icount --memory 6000 --append nokaslr --tries 3 --timeout 3000 \
		bash -euc ". \"\$1/scripts/lib/common.sh\"; . \"\$1/scripts/lib/counted.sh\"; shift; $script" \
		bench "$root" "$@" >&2
}

# In the counted host: makes $world, a root folder with programs, store and QEMU in it. All files are put in
# memory first, libraries too: while the host waits for one of the real machine, its clock jumps.
counted_world() { # PROGRAM...
	local program
	world=/tmp/world
	mkdir -p "$world"/{dev,etc,proc,run,sys,tmp,usr/share,var/tmp}
	for program in "$@" "$(command -v qemu-system-x86_64)"; do
		with_libraries "$program"
	done
	cp -rL /usr/share/qemu /usr/share/seabios "$world/usr/share"
	cp -r "$TERRARIUM_HOME" "$world/store"
	export TERRARIUM_HOME=/store
	ldconfig -r "$world"
	# A root of its own file system, as what confines machines needs it.
	mount --bind "$world" "$world"
	mount --bind /dev "$world/dev"
	mount -t proc proc "$world/proc"
	mount -t sysfs sys "$world/sys"
}

with_libraries() { # PROGRAM
	local file
	for file in "$1" $(ldd "$1" | grep -o '/[^ ]*'); do
		mkdir -p "$world${file%/*}"
		cp -L "$file" "$world$file"
	done
}
