//! The `terrarium` command.

/// guest-init, built by `build.rs`.
static GUEST_INIT: &[u8] = include_bytes!(env!("GUEST_INIT"));

fn main() {
    println!("{}", GUEST_INIT.len());
}
