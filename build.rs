//! Builds guest-init for the guest, to be embedded in the command.
//!
//! It is a static executable with a profile of its own, so it gets its own cargo run.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let manifest_dir = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let target = variable("TARGET");
    let target_dir = Path::new(&variable("OUT_DIR")).join("guest-init");
    for input in ["Cargo.lock", "Cargo.toml", "guest-init"] {
        println!(
            "cargo::rerun-if-changed={}",
            manifest_dir.join(input).display()
        );
    }

    let status = Command::new(variable("CARGO"))
        .args(["build", "--locked", "--package", "guest-init"])
        .args(["--bin", "guest-init", "--profile", "guest"])
        .args(["--target", &target])
        .arg("--target-dir")
        .arg(&target_dir)
        .current_dir(&manifest_dir)
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            "-Ctarget-feature=+crt-static\x1f-Crelocation-model=static",
        )
        // Set by `cargo clippy` for the outer build; the guest's binary needs the compiler itself.
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .status();
    match status {
        Ok(status) if status.success() => {}
        outcome => panic!("Building guest-init for {target} failed: {outcome:?}"),
    }
    let binary = target_dir.join(&target).join("guest/guest-init");
    println!("cargo::rustc-env=GUEST_INIT={}", binary.display());
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|error| panic!("{name}: {error}"))
}
