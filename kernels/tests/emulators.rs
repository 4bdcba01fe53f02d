//! Emulators of Debian's package, and what is refused.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by a panic"
)]

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use kernels::{Arch, Emulators, Target};

fn package() -> PathBuf {
    env::var_os("TERRARIUM_TEST_EMULATORS_DEB")
        .expect("run these tests by scripts/test")
        .into()
}

fn names(store: &Emulators) -> Vec<&'static str> {
    let emulators = store.list().unwrap();
    emulators.iter().map(|e| e.target().name()).collect()
}

#[test]
fn debians_package_has_an_emulator_for_every_target() {
    let scratch = tempfile::tempdir().unwrap();
    let store = Emulators::open(&scratch.path().join("emulators")).unwrap();
    let imported = store.import_deb(&package()).unwrap();
    assert_eq!(imported.len(), Target::ALL.len());
    assert_eq!(names(&store), Target::ALL.map(|target| target.name()));
    let host = Arch::host().unwrap();
    assert_eq!(store.for_guests(host).unwrap().len(), Target::ALL.len());
    let other = Arch::ALL.into_iter().find(|arch| *arch != host).unwrap();
    assert!(store.for_guests(other).unwrap().is_empty());
    for emulator in &imported {
        let program = emulator.program();
        assert_eq!(fs::metadata(&program).unwrap().len(), emulator.bytes());
        assert_eq!(
            program.metadata().unwrap().permissions().mode() & 0o777,
            0o755
        );
        let version = std::process::Command::new(&program)
            .arg("--version")
            .output();
        let version = String::from_utf8(version.unwrap().stdout).unwrap();
        let expected = format!("qemu-{} version", emulator.target());
        assert!(version.starts_with(&expected), "{version}");
    }

    // Again, and one alone: in the place of those that are there.
    let program = scratch.path().join("qemu-arm");
    fs::copy(imported[0].program(), &program).unwrap();
    let alone = store.import_file(&program).unwrap();
    assert_eq!(alone[0].target().name(), "arm");
    assert_eq!(alone[0].sha256(), imported[0].sha256());
    assert_eq!(names(&store).len(), Target::ALL.len());

    store.remove("arm").unwrap();
    assert!(!names(&store).contains(&"arm"));
    let error = store.remove("arm").unwrap_err().to_string();
    assert!(error.contains("No emulator of arm"), "{error}");
}

#[test]
fn what_guests_could_not_run_is_refused_and_nothing_is_kept() {
    let scratch = tempfile::tempdir().unwrap();
    let store = Emulators::open(&scratch.path().join("emulators")).unwrap();
    let file = |name: &str, contents: &[u8]| {
        let path = scratch.path().join(name);
        fs::write(&path, contents).unwrap();
        path
    };
    let dynamic = fs::read(env::current_exe().unwrap()).unwrap();
    let mut foreign = fs::read(env::var_os("TERRARIUM_TEST_BUSYBOX").unwrap()).unwrap();
    // e_machine of the ELF header: RISC-V.
    foreign[18] = 243;
    for (path, reason) in [
        (file("qemu-arm-static", b"no program"), "not a 64-bit ELF"),
        (file("qemu-arm", &dynamic), "not a static program"),
        (file("qemu-aarch64", &foreign), "neither x86_64 nor aarch64"),
        (file("busybox", &foreign), "named qemu-TARGET"),
        (
            file("qemu-user-static.deb", b"!<arch>\ndebian-binary"),
            "by --deb FILE",
        ),
        (file("qemu-armeb", &foreign), "named qemu-TARGET"),
    ] {
        refused(&path, reason, store.import_file(&path));
    }
    let kernel = PathBuf::from(env::var_os("TERRARIUM_TEST_KERNEL_DEB").unwrap());
    refused(&kernel, "no emulator", store.import_deb(&kernel));
    let cut = fs::read(package()).unwrap();
    let cut = file("cut.deb", &cut[..cut.len() / 2]);
    refused(&cut, "", store.import_deb(&cut));
    assert!(names(&store).is_empty());
}

fn refused<T: std::fmt::Debug>(path: &Path, reason: &str, result: Result<T, kernels::Error>) {
    let error = result.unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains(reason), "{}: {source}", path.display());
    assert!(
        error.to_string().contains(path.to_str().unwrap()),
        "{error}"
    );
}
