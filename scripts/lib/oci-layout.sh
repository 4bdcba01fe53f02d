# Writes an OCI image layout into the folder $layout from folder trees: the same trees, the same bytes.
# shellcheck shell=bash disable=SC2154

# The newest date in an image: files that the scripts make have it, files of packages keep their own.
oci_epoch=1571181879

# cap_dac_override,cap_fowner=ep as struct vfs_cap_data, version 2. One of its bytes is a line's end.
oci_capability='\x01\x00\x00\x02\x0a\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00'

oci_blob() { # FILE: moves the file into the layout and prints its digest
	local digest
	digest=$(sha256sum "$1" | cut -d' ' -f1)
	mkdir -p "$layout/blobs/sha256"
	mv "$1" "$layout/blobs/sha256/$digest"
	echo "sha256:$digest"
}

oci_descriptor() { # MEDIA_TYPE DIGEST: prints a descriptor without its closing brace
	printf '{"mediaType":"application/vnd.oci.image.%s","digest":"%s","size":%d' \
		"$1" "$2" "$(stat -c %s "$layout/blobs/sha256/${2#sha256:}")"
}

# Appends a layer made of TREE. Names in TREE's file `.owners` ("UID GID PATH" lines) get those
# owners, all others root; names in its file `.capable` get $oci_capability, for which the format
# must be pax. Sets what oci_archive sets.
oci_layer() { # TREE FORMAT
	local tree=$1 tar=$1.tar uid gid path
	local options=(--format="$2" --numeric-owner --sort=name --mtime="@$oci_epoch" --clamp-mtime)
	local pax=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime
	[[ $2 != pax ]] || options+=(--pax-option="$pax")
	local special=()
	touch "$tree.owners" "$tree.capable"
	while read -r path; do
		special+=(--exclude="$path")
	done < <(cut -d' ' -f3- "$tree.owners" && cat "$tree.capable")
	LC_ALL=C tar -c -f "$tar" -C "$tree" "${options[@]}" --owner=:0 --group=:0 --anchored "${special[@]}" .
	while read -r uid gid path; do
		LC_ALL=C tar -r -f "$tar" -C "$tree" "${options[@]}" --owner=":$uid" --group=":$gid" "$path"
	done <"$tree.owners"
	while read -r path; do
		# tar adds records only to files that have some, here for the fraction of a second. It takes
		# no zero bytes in them, so it gets as many others, which are then replaced.
		touch -d "@$((oci_epoch - 1)).5" "$tree/$path"
		LC_ALL=C tar -c -f "$tree.part" -C "$tree" "${options[@]}" --owner=:0 --group=:0 \
			--pax-option="$pax,SCHILY.xattr.security.capability:=${oci_capability//\\x??/@}" "$path"
		LC_ALL=C sed -i "s/\(xattr.security.capability=\)@*/\1$oci_capability/" "$tree.part"
		tar -A -f "$tar" "$tree.part"
	done <"$tree.capable"
	gzip -9n "$tar"
	oci_archive "$tar.gz"
}

# Appends an archive, compressed with gzip, as a layer, and takes the file away. Sets diff_ids and
# layers, comma-separated JSON.
oci_archive() { # FILE
	local digest
	diff_ids+=${diff_ids:+,}\"sha256:$(gzip -dc "$1" | sha256sum | cut -d' ' -f1)\"
	digest=$(oci_blob "$1")
	layers+=${layers:+,}$(oci_descriptor layer.v1.tar+gzip "$digest")'}'
}

# Makes an image of the layers so far and prints its descriptor without the closing brace.
oci_manifest() { # ARCHITECTURE[/VARIANT] CONFIG_JSON
	local created digest platform
	created=$(date -u -d "@$oci_epoch" +%FT%TZ)
	platform="\"architecture\":\"${1%/*}\",\"os\":\"linux\""
	[[ $1 != */* ]] || platform+=",\"variant\":\"${1#*/}\""
	printf '{"created":"%s",%s,"config":%s,"rootfs":{"type":"layers","diff_ids":[%s]}}' \
		"$created" "$platform" "$2" "$diff_ids" >"$layout/new"
	digest=$(oci_blob "$layout/new")
	printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":%s},"layers":[%s]}' \
		"$(oci_descriptor config.v1+json "$digest")" "$layers" >"$layout/new"
	digest=$(oci_blob "$layout/new")
	printf '%s,"platform":{%s}' "$(oci_descriptor manifest.v1+json "$digest")" "$platform"
}

oci_finish() { # NAME DESCRIPTOR: names the layout's image or list
	printf '{"schemaVersion":2,"manifests":[%s,"annotations":{"org.opencontainers.image.ref.name":"%s"}}]}' \
		"$2" "$1" >"$layout/index.json"
	echo '{"imageLayoutVersion":"1.0.0"}' >"$layout/oci-layout"
}
