# Builds the command. Does not even ask cargo when no source is newer than the last build.
# shellcheck shell=bash disable=SC2154

terrarium=$root/target/release/terrarium

# guest-init for guests of another architecture, which build.rs embeds: QEMU runs those too.
foreign_guest_init=$root/target/cross/aarch64-unknown-linux-gnu/guest/guest-init

build() {
	local stamp=$lab/built started
	# cargo builds anew when this changes, so it is the same for all that scripts start.
	[[ $(uname -m) != x86_64 ]] || export TERRARIUM_GUEST_INIT_AARCH64=$foreign_guest_init
	if [[ -x $terrarium && -e $stamp ]] && [[ -z $(newer_sources "$stamp") ]]; then
		return
	fi
	need_rust
	mkdir -p "$lab"
	started=$(mktemp "$lab/build.XXXXXX")
	if [[ -v TERRARIUM_GUEST_INIT_AARCH64 ]] && ! "$root/scripts/cross" aarch64 \
		build --package guest-init --bin guest-init --profile guest >&2; then
		rm "$started"
		die "building guest-init for arm64 guests failed"
	fi
	if ! (cd "$root" && cargo build --locked --release --target-dir target --bin terrarium >&2); then
		rm "$started"
		die "building terrarium failed"
	fi
	mv "$started" "$stamp"
}

newer_sources() {
	find "$root"/{Cargo.toml,Cargo.lock,build.rs,src,guest-init,images,kernels,session,vmm,web} \
		-newer "$1" -print -quit
}
