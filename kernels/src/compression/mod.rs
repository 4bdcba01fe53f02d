//! The compressions of kernels, modules and packages, told apart by their first bytes.

mod lzo;

use std::io::{self, Read};

use crate::FormatError;

/// Bytes that [`Compression::detect`] needs to see.
const MAGIC_LENGTH: usize = 9;

/// Memory that an xz or lzma stream may ask for, in KiB: `xz -9` needs 65 MiB.
const LZMA_MEMORY_KIB: u32 = 256 << 10;

/// The largest zstd window, in bytes: kernels are compressed with `--ultra -22`, which takes 128 MiB.
const ZSTD_WINDOW: u64 = 128 << 20;

/// Bytes that an lzo file may have, before and after inflating: it is inflated in memory.
const LZO_LIMIT: usize = 1 << 30;

/// A stream compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    Gzip,
    Bzip2,
    Lzma,
    Xz,
    Lzo,
    Lz4,
    Zstd,
}

impl Compression {
    /// The compression that begins like this, if any.
    pub(crate) fn detect(start: &[u8]) -> Option<Self> {
        // The numbers are those of each format's specification; lzma's has none, so this is its
        // usual properties byte and the low bytes of a dictionary size, as the kernel's own
        // lib/decompress.c takes it. The lz4 frame is the "legacy" one, which kernels use.
        let magics: [(&[u8], Self); 7] = [
            (&[0x1f, 0x8b], Self::Gzip),
            (b"BZh", Self::Bzip2),
            (&[0xfd, b'7', b'z', b'X', b'Z', 0], Self::Xz),
            (&lzo::MAGIC, Self::Lzo),
            (&[0x02, 0x21, 0x4c, 0x18], Self::Lz4),
            (&[0x28, 0xb5, 0x2f, 0xfd], Self::Zstd),
            (&[0x5d, 0, 0], Self::Lzma),
        ];
        magics
            .into_iter()
            .find(|(magic, _)| start.starts_with(magic))
            .map(|(_, compression)| compression)
    }

    /// Inflates `input` as it is read.
    ///
    /// # Errors
    /// If the stream's header cannot be read.
    pub(crate) fn reader<'a>(self, input: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(input)),
            Self::Bzip2 => Box::new(bzip2::read::MultiBzDecoder::new(input)),
            Self::Lzma => Box::new(lzma_rust2::LzmaReader::new_mem_limit(
                input,
                LZMA_MEMORY_KIB,
                None,
            )?),
            Self::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(
                input,
                true,
                LZMA_MEMORY_KIB,
            )),
            Self::Lzo => {
                let mut file = Vec::new();
                let limit = u64::try_from(LZO_LIMIT).unwrap_or(u64::MAX);
                input.take(limit).read_to_end(&mut file)?;
                Box::new(io::Cursor::new(lzo::inflate(&file, LZO_LIMIT)?))
            }
            Self::Lz4 => Box::new(lz4_flex::frame::FrameDecoder::new(input)),
            Self::Zstd => Box::new(
                ruzstd::decoding::StreamingDecoder::new_with_max_window_size(input, ZSTD_WINDOW)
                    .map_err(io::Error::other)?,
            ),
        })
    }
}

/// Reads `input` inflated, or as it is if it is not compressed.
///
/// # Errors
/// If its beginning cannot be read.
pub(crate) fn inflating<'a>(mut input: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut start = Vec::with_capacity(MAGIC_LENGTH);
    input
        .by_ref()
        .take(u64::try_from(MAGIC_LENGTH).unwrap_or(u64::MAX))
        .read_to_end(&mut start)?;
    let compression = Compression::detect(&start);
    let whole = io::Cursor::new(start).chain(input);
    match compression {
        Some(compression) => compression.reader(whole),
        None => Ok(Box::new(whole)),
    }
}

/// Reads all of `input`, called `what` in the error if it has more than `limit` bytes.
pub(crate) fn read_bounded(
    input: impl Read,
    what: &str,
    limit: u64,
) -> Result<Vec<u8>, FormatError> {
    let mut bytes = Vec::new();
    input
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= limit) {
        Ok(bytes)
    } else {
        Err(FormatError::TooLarge {
            what: what.to_owned(),
            limit,
        })
    }
}

#[cfg(test)]
mod tests;
