# Shared by the scripts: where things are, and how to say what is going on.
# shellcheck shell=bash

# The checkout, whatever the current directory.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)

# Everything that the scripts fetch or make, so that `rm -r target` forgets it.
# shellcheck disable=SC2034
lab=$root/target/lab

# Some surroundings have none, or an empty one: then the account's own.
HOME=${HOME:-$(getent passwd "$(id -u)" | cut -d: -f6)}
export HOME

say() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
}

die() {
	say "$*"
	exit 1
}
