//! Every form of kernel, around contents small enough to make here.

use std::io::Write;

use super::*;

/// What the files of `tests/data` inflate to is this long.
const COUNTING_LENGTH: u32 = 27_780;

/// Payloads as the kernel's build makes them: compressed by each tool, and for all but gzip the size
/// appended.
fn payloads() -> [(&'static str, Vec<u8>); 7] {
    let sized = |file: &[u8]| [file, &COUNTING_LENGTH.to_le_bytes()].concat();
    [
        (
            "gzip",
            include_bytes!("../../tests/data/counting.gz").to_vec(),
        ),
        (
            "bzip2",
            sized(include_bytes!("../../tests/data/counting.bz2")),
        ),
        (
            "lzma",
            sized(include_bytes!("../../tests/data/counting.lzma")),
        ),
        ("xz", sized(include_bytes!("../../tests/data/counting.xz"))),
        (
            "lzo",
            sized(include_bytes!("../../tests/data/counting.lzo")),
        ),
        (
            "lz4",
            sized(include_bytes!("../../tests/data/counting.lz4")),
        ),
        (
            "zstd",
            sized(include_bytes!("../../tests/data/counting.zst")),
        ),
    ]
}

/// A bzImage with two sectors of setup and this payload, 16 bytes into its second part.
fn bzimage_of(payload: &[u8]) -> Vec<u8> {
    let mut file = vec![0; 3 * 512 + 16];
    file[0x1f1] = 2;
    file[0x202..0x206].copy_from_slice(b"HdrS");
    file[0x206..0x208].copy_from_slice(&0x0208_u16.to_le_bytes());
    file[0x248] = 16;
    let length = u32::try_from(payload.len()).unwrap();
    file[0x24c..0x250].copy_from_slice(&length.to_le_bytes());
    file.extend_from_slice(payload);
    file
}

fn image_of(version: &str) -> Vec<u8> {
    let mut image = vec![0; 64];
    image[56..60].copy_from_slice(b"ARM\x64");
    image.extend_from_slice(format!("Linux version {version} (x)").as_bytes());
    image
}

fn zboot_of(payload: &[u8]) -> Vec<u8> {
    let mut file = b"MZ\0\0zimg".to_vec();
    file.extend_from_slice(&64_u32.to_le_bytes());
    file.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
    file.resize(64, 0);
    file.extend_from_slice(payload);
    file
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

#[test]
fn unpacks_every_compression_of_a_bzimage() {
    for (name, payload) in payloads() {
        let file = bzimage_of(&payload);
        assert!(bzimage::is_bzimage(&file));
        let unpacked = bzimage::unpack(&file);
        assert_eq!(
            unpacked.map(|kernel| u32::try_from(kernel.len())).unwrap(),
            Ok(COUNTING_LENGTH),
            "{name}"
        );
    }
}

#[test]
fn refuses_a_bzimage_that_lies() {
    for (name, mut payload) in payloads() {
        // The size that is promised.
        let last = payload.len() - 1;
        payload[last] ^= 1;
        assert!(bzimage::unpack(&bzimage_of(&payload)).is_err(), "{name}");
        payload[last] ^= 1;
        // The place, the protocol, the file's end.
        let whole = bzimage_of(&payload);
        for (offset, byte) in [(0x24b, 0xff), (0x24f, 0xff), (0x206, 7)] {
            let mut changed = whole.clone();
            changed[offset] = byte;
            assert!(bzimage::unpack(&changed).is_err(), "{name} {offset:#x}");
        }
        for length in [0x210, whole.len() - 1] {
            assert!(
                bzimage::unpack(&whole[..length]).is_err(),
                "{name} {length}"
            );
        }
    }
}

#[test]
fn takes_every_form_of_an_arm64_kernel() {
    let image = image_of("6.6.1");
    for file in [
        image.clone(),
        gzip(&image),
        zboot_of(&gzip(&image)),
        zboot_of(&zstd(&image)),
    ] {
        let kernel = unpack(file).unwrap();
        assert_eq!(kernel.arch, Arch::Aarch64);
        assert_eq!(kernel.bytes, image);
        assert_eq!(kernel.version().unwrap(), "6.6.1");
    }
}

#[test]
fn refuses_what_is_no_kernel() {
    let mut cut = zboot_of(&gzip(&image_of("6.6.1")));
    cut.pop();
    let mut other_machine = b"\x7fELF\x02\x01\x01".to_vec();
    other_machine.resize(64, 0);
    other_machine[18] = 243;
    for (file, reason) in [
        (vec![], "no kernel of a known form"),
        (b"MZ\0\0zimg".to_vec(), "EFI zboot header is damaged"),
        (cut, "EFI zboot header is damaged"),
        (zboot_of(&gzip(b"else")), "no Image of a known architecture"),
        (gzip(b"else"), "no Image of a known architecture"),
        (zboot_of(b"else"), "compression is not known"),
        (other_machine, "machine 243"),
    ] {
        let message = unpack(file).unwrap_err().to_string();
        assert!(message.contains(reason), "{message}");
    }
}

#[test]
fn finds_the_banner_among_others() {
    let version = |text: &str| {
        let kernel = LoadableKernel {
            arch: Arch::X86_64,
            bytes: text.as_bytes().to_vec(),
        };
        kernel.version().ok()
    };
    let banner = "Linux version %s\0Linux version 6.1.0-1+b2~x_y (x)";
    assert_eq!(version(banner).as_deref(), Some("6.1.0-1+b2~x_y"));
    for wrong in [
        "",
        "Linux version ",
        "Linux version 6.1",
        "Linux version ../6 (x)",
        "Linux version 6.1/../../x (x)",
    ] {
        assert_eq!(version(wrong), None, "{wrong}");
    }
    assert_eq!(
        version(&format!("Linux version 6{} (x)", ".1".repeat(40))),
        None
    );
}
