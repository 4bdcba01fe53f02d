//! Inflating a layer. Its first bytes tell the format: media types lie.

use std::io::{self, BufRead, Read};

use flate2::bufread::MultiGzDecoder;

use super::LayerError;

type Source = Box<dyn BufRead + Send>;

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// Where a tar header says `ustar`, and how far to look for it.
const USTAR: std::ops::Range<usize> = 257..262;

/// Gives out a layer's tar archive.
pub(crate) enum Decoder {
    Plain(Source),
    Gzip(Box<MultiGzDecoder<Source>>),
}

impl Decoder {
    pub(crate) fn new(mut source: Source) -> Result<Self, LayerError> {
        let head = source.fill_buf().map_err(LayerError::Read)?;
        if head.starts_with(GZIP) {
            Ok(Self::Gzip(Box::new(MultiGzDecoder::new(source))))
        } else if head.starts_with(ZSTD) || !looks_like_tar(head) {
            Err(LayerError::UnknownFormat)
        } else {
            Ok(Self::Plain(source))
        }
    }
}

/// A tar archive starts with a header, or is empty: nothing but zeros.
fn looks_like_tar(head: &[u8]) -> bool {
    head.iter().take(512).all(|&byte| byte == 0)
        || head.get(USTAR) == Some(b"ustar")
        || head
            .get(..512)
            .is_some_and(super::header::has_valid_checksum)
}

impl Read for Decoder {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(source) => source.read(buffer),
            Self::Gzip(decoder) => decoder.read(buffer),
        }
    }
}
