//! Small kernels and packages for tests, of the formats that distributions use.

#![allow(dead_code, reason = "each test file uses some of it")]
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

pub(crate) mod repository;

use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::write::GzEncoder;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};

/// The version of the kernel made here.
pub(crate) const VERSION: &str = "6.0.0-test";

/// What every guest needs, built in, as a configuration says it.
pub(crate) const CONFIG: &str = "CONFIG_VIRTIO_MMIO=y\nCONFIG_VIRTIO_BLK=m\nCONFIG_VIRTIO_CONSOLE=y\n\
                          CONFIG_EXT4_FS=m\nCONFIG_VIRTIO_MMIO_CMDLINE_DEVICES=y\n";

/// One that stands for the error and all that caused it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

/// An ELF file for x86_64 that has a kernel's banner in it.
pub(crate) fn vmlinux() -> Vec<u8> {
    use object::write::Object;
    let mut object = Object::new(
        object::BinaryFormat::Elf,
        object::Architecture::X86_64,
        object::Endianness::Little,
    );
    let section = object.add_section(
        vec![],
        b".rodata".to_vec(),
        object::SectionKind::ReadOnlyData,
    );
    let banner = format!("Linux version %s\0Linux version {VERSION} (builder@host) #1\0");
    object.set_section_data(section, banner.into_bytes(), 1);
    object.write().unwrap()
}

/// A bzImage whose payload is this; gzip ends with its size, so nothing is appended.
pub(crate) fn bzimage(payload: &[u8]) -> Vec<u8> {
    let mut file = vec![0; 2 * 512];
    file[0x1f1] = 1;
    file[0x202..0x206].copy_from_slice(b"HdrS");
    file[0x206..0x208].copy_from_slice(&0x020f_u16.to_le_bytes());
    file[0x248..0x24c].copy_from_slice(&16_u32.to_le_bytes());
    file[0x24c..0x250].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
    file.extend_from_slice(&[0x90; 16]);
    file.extend_from_slice(payload);
    file
}

/// A loadable module that says this of itself, settings one after the other.
pub(crate) fn module(settings: &[&str]) -> Vec<u8> {
    use object::write::Object;
    let mut object = Object::new(
        object::BinaryFormat::Elf,
        object::Architecture::X86_64,
        object::Endianness::Little,
    );
    let section = object.add_section(
        vec![],
        b".modinfo".to_vec(),
        object::SectionKind::ReadOnlyData,
    );
    object.set_section_data(
        section,
        format!("{}\0", settings.join("\0")).into_bytes(),
        1,
    );
    object.write().unwrap()
}

/// The files of a distribution's kernel: ext4 as a module whose checksum comes from another, chosen
/// by an alias; modules compressed in three ways.
pub(crate) fn package_files() -> Vec<(String, Vec<u8>)> {
    let modules = format!("lib/modules/{VERSION}");
    let kernel = format!("{modules}/kernel");
    vec![
        ("boot/vmlinuz-test".to_owned(), bzimage(&gzip(&vmlinux()))),
        ("boot/config-test".to_owned(), CONFIG.into()),
        ("boot/System.map-test".to_owned(), b"nothing".to_vec()),
        (
            format!("{modules}/modules.builtin"),
            b"kernel/drivers/virtio/virtio_mmio.ko\nkernel/drivers/char/virtio_console.ko\n"
                .to_vec(),
        ),
        (
            format!("{kernel}/fs/ext4/ext4.ko.gz"),
            gzip(&module(&[
                "depends=jbd2,mbcache",
                "softdep=pre: crypto-crc32c",
            ])),
        ),
        (
            format!("{kernel}/fs/jbd2/jbd2.ko.zst"),
            zstd(&module(&["depends="])),
        ),
        (format!("{kernel}/fs/mbcache.ko"), module(&["depends="])),
        (
            format!("{kernel}/crypto/crc32c_generic.ko.gz"),
            gzip(&module(&["alias=crypto-crc32c"])),
        ),
        (
            format!("{kernel}/arch/x86/crypto/crc32c-intel.ko.gz"),
            gzip(&module(&["alias=crypto-crc32c"])),
        ),
        (
            format!("{kernel}/drivers/block/virtio_blk.ko.zst"),
            zstd(&module(&["depends="])),
        ),
        (
            format!("{kernel}/drivers/net/dummy.ko.gz"),
            gzip(&module(&["depends="])),
        ),
    ]
}

/// The modules that a guest of this kernel loads, in order.
pub(crate) const MODULES_AT_BOOT: [&str; 5] =
    ["virtio_blk", "crc32c_generic", "jbd2", "mbcache", "ext4"];

/// A tar archive of these files, whatever their names; those of over 100 bytes in GNU's form.
pub(crate) fn tar(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut append = |name: &str, kind, contents: &[u8]| {
        let mut header = tar::Header::new_gnu();
        let length = name.len().min(100);
        header.as_old_mut().name[..length].copy_from_slice(&name.as_bytes()[..length]);
        header.set_entry_type(kind);
        header.set_size(contents.len().try_into().unwrap());
        header.set_mode(0o644);
        header.set_cksum();
        builder.append(&header, contents).unwrap();
    };
    for (path, contents) in files {
        if path.len() > 100 {
            let name = format!("{path}\0");
            append(
                "././@LongLink",
                tar::EntryType::GNULongName,
                name.as_bytes(),
            );
        }
        append(path, tar::EntryType::Regular, contents);
    }
    builder.into_inner().unwrap()
}

/// A part of an Alpine package before the last: tar without the blocks that end an archive.
pub(crate) fn tar_segment(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut archive = tar(files);
    archive.truncate(archive.len() - 1024);
    archive
}

pub(crate) fn deb(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut archive = b"!<arch>\n".to_vec();
    for (name, contents) in [
        ("debian-binary", b"2.0\n".to_vec()),
        ("control.tar.gz", gzip(&tar(&[]))),
        ("data.tar.gz", gzip(&tar(files))),
    ] {
        archive.extend(
            format!(
                "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n",
                0,
                0,
                0,
                100_644,
                contents.len()
            )
            .bytes(),
        );
        archive.extend_from_slice(&contents);
        if contents.len() % 2 == 1 {
            archive.push(b'\n');
        }
    }
    archive
}

/// An Alpine package, and the checksum of its control data.
pub(crate) struct Apk {
    pub(crate) bytes: Vec<u8>,
    pub(crate) checksum: Vec<u8>,
}

pub(crate) fn apk(files: &[(String, Vec<u8>)]) -> Apk {
    let data = gzip(&tar(files));
    let hash: String = digest(&SHA256, &data)
        .as_ref()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    let info = format!("# Generated\npkgname = linux-virt\ndatahash = {hash}\n");
    let control = gzip(&tar_segment(&[(".PKGINFO".to_owned(), info.into_bytes())]));
    let signature = gzip(&tar_segment(&[(
        ".SIGN.RSA.x.rsa.pub".to_owned(),
        vec![1; 256],
    )]));
    Apk {
        checksum: digest(&SHA1_FOR_LEGACY_USE_ONLY, &control)
            .as_ref()
            .to_vec(),
        bytes: [signature, control, data].concat(),
    }
}

/// A folder for one test, with a store in it and room for files.
pub(crate) struct Scratch {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) store: kernels::Store,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = kernels::Store::open(&dir.path().join("store")).unwrap();
        Self { dir, store }
    }

    pub(crate) fn file(&self, name: &str, contents: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, contents).unwrap();
        path
    }

    /// What is in the store that is not a kernel: names and, of folders, how much is in them.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let store = self.dir.path().join("store");
        let staging = store.join("staging");
        let mut names = names_in(&store);
        names.retain(|name| !["lock", "staging", "alpine-seen.json"].contains(&name.as_str()));
        names.retain(|name| !store.join(name).join("kernel.json").exists());
        if staging.exists() {
            names.extend(names_in(&staging));
        }
        names
    }
}

pub(crate) fn names_in(dir: &Path) -> Vec<String> {
    std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}
