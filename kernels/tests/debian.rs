//! Debian's own kernel, as it is packaged and packed again as Alpine packs its own.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod common;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::repository::{Key, Kind, Mirror, list, signed};
use common::{Scratch, apk, gzip, names_in, zstd};
use kernels::{Arch, Discovery, Kernel, Repository};

/// All files of a Debian package, by its own tool.
fn unpacked(package: &Path) -> Vec<(String, Vec<u8>)> {
    let mut dpkg = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut archive = tar::Archive::new(dpkg.stdout.take().unwrap());
    let mut files = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.header().entry_type().is_file() {
            let path = entry.path().unwrap().to_str().unwrap().to_owned();
            let mut contents = Vec::new();
            entry.read_to_end(&mut contents).unwrap();
            files.push((path.trim_start_matches("./").to_owned(), contents));
        }
    }
    assert!(dpkg.wait().unwrap().success());
    files
}

fn stored_modules(kernel: &Kernel) -> BTreeMap<String, Vec<u8>> {
    let dir = kernel.vmlinux().with_file_name("modules");
    let read = |name: String| (name.clone(), fs::read(dir.join(&name)).unwrap());
    names_in(&dir).into_iter().map(read).collect()
}

/// A package that `scripts/test` fetched.
fn package(variable: &str) -> PathBuf {
    env::var_os(variable)
        .unwrap_or_else(|| panic!("{variable} is not set: run it by scripts/test"))
        .into()
}

/// What guests of a cloud kernel load, of either architecture.
const MODULES_AT_BOOT: [&str; 6] = [
    "virtio_ring",
    "virtio",
    "virtio_mmio",
    "virtio_blk",
    "virtio_console",
    "virtio_rng",
];

#[test]
fn an_arm64_kernel_is_taken_on_any_host() {
    let scratch = Scratch::new();
    let kernel = scratch
        .store
        .import_deb(&package("TERRARIUM_TEST_KERNEL_DEB_ARM64"))
        .unwrap();
    assert!(
        kernel.version().ends_with("-cloud-arm64"),
        "{}",
        kernel.version()
    );
    assert_eq!(kernel.arch(), Arch::Aarch64);
    assert_eq!(kernel.discovery(), Discovery::DeviceTree);
    assert_eq!(kernel.modules_at_boot().unwrap(), MODULES_AT_BOOT);
    assert_eq!(
        scratch.store.default_for(Arch::Aarch64).unwrap().id(),
        kernel.id()
    );
    let initramfs = fs::read(kernel.initramfs(b"#!init", "init").unwrap()).unwrap();
    let module = fs::read(kernel.vmlinux().with_file_name("modules/virtio_blk.ko")).unwrap();
    // Machine 183 is EM_AARCH64.
    assert_eq!(module[18..20], 183_u16.to_le_bytes());
    assert!(initramfs.windows(64).any(|part| part == &module[..64]));
}

#[test]
fn is_the_same_from_debian_and_from_a_signed_alpine_repository() {
    let package = package("TERRARIUM_TEST_KERNEL_DEB_AMD64");
    let debian = Scratch::new();
    let kernel = debian.store.import_deb(&package).unwrap();
    assert!(
        kernel.version().ends_with("-cloud-amd64"),
        "{}",
        kernel.version()
    );
    assert_eq!(kernel.discovery(), Discovery::Acpi);
    // Its ext4 is built in, and so is the checksum that ext4 asks for.
    assert_eq!(kernel.modules_at_boot().unwrap(), MODULES_AT_BOOT);

    // Alpine compresses modules: every second one with gzip, the others with zstd.
    let mut files = unpacked(&package);
    let modules = files.iter_mut().filter(|(path, _)| path.ends_with(".ko"));
    for (index, (path, contents)) in modules.enumerate() {
        if index % 2 == 0 {
            path.push_str(".gz");
            *contents = gzip(contents);
        } else {
            path.push_str(".zst");
            *contents = zstd(contents);
        }
    }
    let packed = apk(&files);
    let scratch = Scratch::new();
    let key = Key::make(scratch.dir.path().join("key"));
    let mirror = Mirror::start();
    let index = list(&packed, "6.1-r0", 1000);
    mirror.put("APKINDEX.tar.gz", signed(&key, Kind::Sha256, &index));
    mirror.put("linux-virt-6.1-r0.apk", packed.bytes.clone());
    let repository = Repository::default()
        .on_mirror(&mirror.url)
        .signed_by(&key.public())
        .unwrap();
    let pulled = scratch.store.pull(&repository, Arch::X86_64).unwrap();

    assert_eq!(pulled.id(), kernel.id());
    assert_eq!(
        pulled.modules_at_boot().unwrap(),
        kernel.modules_at_boot().unwrap()
    );
    assert!(stored_modules(&pulled) == stored_modules(&kernel));
    let initramfs =
        |kernel: &Kernel| fs::read(kernel.initramfs(b"#!init", "init").unwrap()).unwrap();
    assert!(initramfs(&pulled) == initramfs(&kernel));
}
