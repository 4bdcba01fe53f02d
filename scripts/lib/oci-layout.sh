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
# must be pax. Sets diff_ids and layers, comma-separated JSON.
oci_layer() { # TREE FORMAT
	local tree=$1 tar=$1.tar digest uid gid path
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
	diff_ids+=${diff_ids:+,}\"sha256:$(sha256sum "$tar" | cut -d' ' -f1)\"
	gzip -9n "$tar"
	digest=$(oci_blob "$tar.gz")
	layers+=${layers:+,}$(oci_descriptor layer.v1.tar+gzip "$digest")'}'
}

oci_image() { # NAME ARCHITECTURE CONFIG_JSON: finishes the layout
	local created digest
	created=$(date -u -d "@$oci_epoch" +%FT%TZ)
	printf '{"created":"%s","architecture":"%s","os":"linux","config":%s,"rootfs":{"type":"layers","diff_ids":[%s]}}' \
		"$created" "$2" "$3" "$diff_ids" >"$layout/new"
	digest=$(oci_blob "$layout/new")
	printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":%s},"layers":[%s]}' \
		"$(oci_descriptor config.v1+json "$digest")" "$layers" >"$layout/new"
	digest=$(oci_blob "$layout/new")
	printf '{"schemaVersion":2,"manifests":[%s,"annotations":{"org.opencontainers.image.ref.name":"%s"}}]}' \
		"$(oci_descriptor manifest.v1+json "$digest")" "$1" >"$layout/index.json"
	echo '{"imageLayoutVersion":"1.0.0"}' >"$layout/oci-layout"
}
