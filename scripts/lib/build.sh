# Builds the command. Does not even ask cargo when no source is newer than the last build.
# shellcheck shell=bash disable=SC2154

terrarium=$root/target/release/terrarium

build() {
	local stamp=$lab/built started
	if [[ -x $terrarium && -e $stamp ]] && [[ -z $(newer_sources "$stamp") ]]; then
		return
	fi
	need_rust
	mkdir -p "$lab"
	started=$(mktemp "$lab/build.XXXXXX")
	if ! (cd "$root" && cargo build --locked --release --target-dir target --bin terrarium >&2); then
		rm "$started"
		die "building terrarium failed"
	fi
	mv "$started" "$stamp"
}

newer_sources() {
	find "$root"/{Cargo.toml,Cargo.lock,build.rs,src,guest-init,images,kernels,session,vmm} \
		-newer "$1" -print -quit
}
