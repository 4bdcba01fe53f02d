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
