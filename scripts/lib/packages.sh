# Installs Debian packages, only those that are missing.
# shellcheck shell=bash

# need THING:PACKAGE...: THING is a command or an absolute path that PACKAGE brings.
need() {
	local item thing missing=()
	for item; do
		thing=${item%%:*}
		[[ -e $thing ]] || command -v "$thing" >/dev/null || missing+=("${item#*:}")
	done
	((${#missing[@]} > 0)) || return 0
	command -v apt-get >/dev/null || die "install these first: ${missing[*]}"
	say "installing ${missing[*]}"
	local as_root=(env DEBIAN_FRONTEND=noninteractive)
	((EUID == 0)) || as_root=(sudo "${as_root[@]}")
	"${as_root[@]}" apt-get update -qq >&2
	"${as_root[@]}" apt-get install -qq --yes --no-install-recommends "${missing[@]}" >&2
}
