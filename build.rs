//! Builds guest-init for the guest, to be embedded in the command.
//!
//! It is a static executable with a profile of its own, so it gets its own cargo run. For guests of
//! other architectures it is taken from the file that `TERRARIUM_GUEST_INIT_<ARCHITECTURE>` names, if
//! that is set: such as `TERRARIUM_GUEST_INIT_AARCH64` for what
//! `scripts/cross aarch64 build --package guest-init --profile guest` makes.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

/// Those that guests can have.
const ARCHITECTURES: [&str; 2] = ["aarch64", "x86_64"];

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
    let own = variable("CARGO_CFG_TARGET_ARCH");
    let mut guest_inits = vec![(own, target_dir.join(&target).join("guest/guest-init"))];
    for arch in ARCHITECTURES {
        let given = format!("TERRARIUM_GUEST_INIT_{}", arch.to_uppercase());
        println!("cargo::rerun-if-env-changed={given}");
        if let Some(path) = env::var_os(given).map(PathBuf::from)
            && guest_inits.iter().all(|(known, _)| known != arch)
        {
            println!("cargo::rerun-if-changed={}", path.display());
            guest_inits.push((arch.to_owned(), path));
        }
    }
    let entries: String = guest_inits
        .iter()
        .map(|(arch, path)| {
            let binary = fs::read(path)
                .unwrap_or_else(|error| panic!("Reading {} failed: {error}", path.display()));
            let digest: String = Sha256::digest(&binary)
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            format!(
                "GuestInit {{ arch: {arch:?}, digest: {digest:?}, binary: include_bytes!({path:?}) }},\n"
            )
        })
        .collect();
    let table = Path::new(&variable("OUT_DIR")).join("guest_inits.rs");
    if let Err(error) = fs::write(&table, format!("&[\n{entries}]\n")) {
        panic!("Writing {} failed: {error}", table.display());
    }
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|error| panic!("{name}: {error}"))
}
