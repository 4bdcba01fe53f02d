# Folders that are made once and kept under a name that says what they are made of.
# shellcheck shell=bash

# make_once FOLDER COMMAND...: if there is no FOLDER yet, COMMAND makes it, in a new folder whose name
# it gets as its last argument. FOLDER appears when it is whole. Its name ends in a dash and a key;
# those of the same name with other keys go away.
make_once() (
	folder=$1
	shift
	[[ ! -d $folder ]] || exit 0
	mkdir -p "${folder%/*}"
	work=$(mktemp -d "${folder%/*}/new.XXXXXX")
	chmod 755 "$work"
	trap 'rm -rf "$work"' EXIT
	"$@" "$work"
	rm -rf "${folder%-*}"-*
	# Another run may have made the same meanwhile.
	mv -T "$work" "$folder" 2>/dev/null || [[ -d $folder ]]
)

# unpack DEB... FOLDER: what is in Debian packages, but what is for reading.
unpack() {
	local folder=${*: -1} deb
	for deb in "${@:1:$#-1}"; do
		dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$folder" --exclude './usr/share/doc' --exclude '*/man'
	done
}

# key_of WORD...: a key for a folder that is made of these.
key_of() {
	printf '%s\n' "$@" | sha256sum | cut -c1-16
}
