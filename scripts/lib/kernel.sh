# A kernel for guests: Alpine's where its mirror can be reached, else Debian's for clouds.
# shellcheck shell=bash disable=SC2154

need_kernel() {
	local kernels log
	kernels=$("$terrarium" kernel ls --json)
	[[ $kernels == '[]' ]] || return 0
	say "fetching a kernel"
	log=$(timeout 120 "$terrarium" kernel pull 2>&1) && return
	say "Alpine's kernel cannot be fetched (${log##*$'\n'}); taking Debian's"
	"$terrarium" kernel import --deb "$(debian_kernel)" >&2
}

debian_kernel() {
	"$root/scripts/debian-package" "linux-image-cloud-$(dpkg --print-architecture)"
}

# Puts the minimal kernel into the store and prints its id. Needs lib/build.sh.
import_minimal_kernel() {
	local folder
	folder=$("$root/scripts/build-kernel") || return
	# The id is the last line.
	"$terrarium" kernel import --vmlinuz "$folder/vmlinuz" --config "$folder/config" | tail -n 1
}

# The same with the kernel of a Debian package, such as linux-image-amd64.
import_debian_kernel() { # PACKAGE
	"$terrarium" kernel import --deb "$("$root/scripts/debian-package" "$1")" | tail -n 1
}
