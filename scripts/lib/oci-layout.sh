# Writes an OCI image layout into the folder $layout from folder trees: the same trees, the same bytes.
# shellcheck shell=bash disable=SC2154

# The newest date in an image: files that the scripts make have it, files of packages keep their own.
oci_epoch=1571181879

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
# owners, all others root. Sets diff_ids and layers, comma-separated JSON.
oci_layer() { # TREE FORMAT
	local tree=$1 tar=$1.tar digest uid gid path
	local options=(--format="$2" --numeric-owner --sort=name --mtime="@$oci_epoch" --clamp-mtime)
	[[ $2 != pax ]] || options+=('--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime')
	local foreign=()
	: >>"$tree.owners"
	while read -r uid gid path; do
		foreign+=(--exclude="$path")
	done <"$tree.owners"
	LC_ALL=C tar -c -f "$tar" -C "$tree" "${options[@]}" --owner=:0 --group=:0 --anchored "${foreign[@]}" .
	while read -r uid gid path; do
		LC_ALL=C tar -r -f "$tar" -C "$tree" "${options[@]}" --owner=":$uid" --group=":$gid" "$path"
	done <"$tree.owners"
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
