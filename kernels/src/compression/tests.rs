//! Each compression against files made by its own tool, as the kernel's build calls it.

use super::*;

/// A file of `tests/data`, and the compression it has.
const FILES: [(&[u8], Compression); 7] = [
    (
        include_bytes!("../../tests/data/counting.gz"),
        Compression::Gzip,
    ),
    (
        include_bytes!("../../tests/data/counting.bz2"),
        Compression::Bzip2,
    ),
    (
        include_bytes!("../../tests/data/counting.lzma"),
        Compression::Lzma,
    ),
    (
        include_bytes!("../../tests/data/counting.xz"),
        Compression::Xz,
    ),
    (
        include_bytes!("../../tests/data/counting.lzo"),
        Compression::Lzo,
    ),
    (
        include_bytes!("../../tests/data/counting.lz4"),
        Compression::Lz4,
    ),
    (
        include_bytes!("../../tests/data/counting.zst"),
        Compression::Zstd,
    ),
];

/// What all of them inflate to: numbers, a run longer than any short distance, the same numbers.
fn counting() -> Vec<u8> {
    let numbers: String = (0..1000).map(|number| format!("{number}\n")).collect();
    format!("{numbers}{}{numbers}", "a".repeat(20_000)).into_bytes()
}

#[test]
fn inflates_what_each_tool_makes() {
    for (file, compression) in FILES {
        assert_eq!(Compression::detect(file), Some(compression));
        let inflated = read_bounded(inflating(file).unwrap(), "file", 1 << 20).unwrap();
        assert!(inflated == counting(), "{compression:?}");
    }
}

#[test]
fn passes_what_is_not_compressed() {
    for plain in [&b""[..], b"\x1f", b"plain text"] {
        let bytes = read_bounded(inflating(plain).unwrap(), "file", 100).unwrap();
        assert_eq!(bytes, plain);
    }
}

#[test]
fn refuses_files_that_are_cut_off() {
    for (file, compression) in FILES {
        for length in [MAGIC_LENGTH + 1, file.len() / 2] {
            let inflated = inflating(&file[..length])
                .and_then(|mut reader| reader.read_to_end(&mut Vec::new()));
            assert!(inflated.is_err(), "{compression:?} of {length} bytes");
        }
    }
}

#[test]
fn survives_changed_bytes() {
    for (file, compression) in FILES {
        // The first bytes are headers, with sizes in them.
        for index in (0..32).chain((32..file.len()).step_by(97)) {
            let mut changed = file.to_vec();
            changed[index] ^= 0x55;
            // Checksums find most changes, but not every format has them; it must only end.
            let outcome = compression
                .reader(changed.as_slice())
                .and_then(|reader| reader.take(1 << 20).read_to_end(&mut Vec::new()));
            drop(outcome);
        }
    }
}

#[test]
fn stops_at_the_limit() {
    for (file, compression) in FILES {
        let error = read_bounded(inflating(file).unwrap(), "The file", 10_000).unwrap_err();
        assert_eq!(
            error.to_string(),
            "The file has more than 10000 bytes",
            "{compression:?}"
        );
    }
}
