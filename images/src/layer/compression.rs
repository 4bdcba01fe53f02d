//! Inflating a layer. Its first bytes tell the format: media types lie.

use std::io::{self, BufRead, Read};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::{
    BlockDecodingStrategy, FrameDecoder,
    errors::{FrameDecoderError, ReadFrameHeaderError},
};

use super::LayerError;

type Source = Box<dyn BufRead + Send>;

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// Where a tar header says `ustar`, and how far to look for it.
const USTAR: std::ops::Range<usize> = 257..262;

/// The largest zstd window taken, in bytes: what the zstd tool takes unless told otherwise
/// (`ZSTD_WINDOWLOG_LIMIT_DEFAULT`, zstd.h), and so what image builders can rely on.
pub(crate) const MAX_WINDOW: u64 = 1 << 27;

/// The error, within an [`io::Error`], for a zstd frame with a larger window than allowed.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("it needs a zstd window of {window} bytes")]
pub(crate) struct WindowTooLarge {
    /// The window, in bytes.
    pub(crate) window: u64,
}

/// Gives out a layer's tar archive.
pub(crate) enum Decoder {
    Plain(Source),
    Gzip(Box<MultiGzDecoder<Source>>),
    Zstd(Box<ZstdFrames>),
}

/// Bytes of memory that the decoder takes for each byte of a window: the ring that holds one grows by
/// doubling, and the old one lives until its content is in the new one.
const MEMORY_PER_WINDOW: u64 = 2;

impl Decoder {
    /// The largest window that `memory` bytes allow for.
    pub(crate) fn max_window(memory: u64) -> u64 {
        memory / MEMORY_PER_WINDOW
    }

    /// Bytes of memory that windows take.
    pub(crate) fn memory(&self) -> u64 {
        match self {
            Self::Plain(_) | Self::Gzip(_) => 0,
            Self::Zstd(frames) => frames.window * MEMORY_PER_WINDOW,
        }
    }

    /// Tells the format. A zstd frame may ask for a window of at most `max_window` bytes.
    pub(crate) fn new(mut source: Source, max_window: u64) -> Result<Self, LayerError> {
        let head = source.fill_buf().map_err(LayerError::Read)?;
        if head.starts_with(GZIP) {
            Ok(Self::Gzip(Box::new(MultiGzDecoder::new(source))))
        } else if is_zstd(head) {
            Ok(Self::Zstd(Box::new(ZstdFrames {
                source,
                frame: FrameDecoder::new(),
                max_window: max_window.min(MAX_WINDOW),
                window: 0,
                begun: false,
            })))
        } else if looks_like_tar(head) {
            Ok(Self::Plain(source))
        } else {
            Err(LayerError::UnknownFormat)
        }
    }
}

/// A frame of content, or one to skip (RFC 8878, section 3.1).
fn is_zstd(head: &[u8]) -> bool {
    head.starts_with(ZSTD) || matches!(head, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..])
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
            Self::Zstd(decoder) => decoder.read(buffer),
        }
    }
}

/// Zstandard frames one after the other, as parallel compressors write them.
pub(crate) struct ZstdFrames {
    source: Source,
    frame: FrameDecoder,
    max_window: u64,
    /// The largest one so far, in bytes.
    window: u64,
    begun: bool,
}

impl ZstdFrames {
    /// Begins the next frame of content; tells whether there is one.
    fn next_frame(&mut self) -> io::Result<bool> {
        loop {
            if self.source.fill_buf()?.is_empty() {
                return Ok(false);
            }
            let mut header = Recorder {
                source: &mut self.source,
                bytes: Vec::new(),
            };
            // The decoder tells a frame's window only when it refuses it.
            self.frame.set_max_window_size(0);
            match self.frame.reset(&mut header) {
                Ok(()) => {}
                Err(FrameDecoderError::WindowSizeTooBig {
                    requested: window, ..
                }) => {
                    if window > self.max_window {
                        return Err(io::Error::other(WindowTooLarge { window }));
                    }
                    let header = header.bytes;
                    self.window = self.window.max(window);
                    self.frame.set_max_window_size(window);
                    self.frame
                        .reset(header.as_slice())
                        .map_err(io::Error::other)?;
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let mut skipped = self.source.by_ref().take(u64::from(length));
                    if io::copy(&mut skipped, &mut io::sink())? < u64::from(length) {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    continue;
                }
                Err(error) => return Err(io::Error::other(error)),
            }
            self.begun = true;
            return Ok(true);
        }
    }
}

/// Keeps what is read, so that it can be read again.
struct Recorder<'a> {
    source: &'a mut Source,
    bytes: Vec<u8>,
}

impl Read for Recorder<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.source.read(buffer)?;
        self.bytes.extend_from_slice(&buffer[..length]);
        Ok(length)
    }
}

impl Read for ZstdFrames {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let length = self.frame.read(buffer)?;
            if length > 0 || buffer.is_empty() {
                return Ok(length);
            }
            if self.begun && !self.frame.is_finished() {
                self.frame
                    .decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBlocks(1))
                    .map_err(io::Error::other)?;
            } else if !self.next_frame()? {
                return Ok(0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, sync::LazyLock};

    use flate2::{Compression, write::GzEncoder};
    use proptest::{prelude::*, sample::Index};
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    fn inflate(bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        let mut decoder = Decoder::new(Box::new(io::Cursor::new(bytes)), MAX_WINDOW).unwrap();
        let mut inflated = Vec::new();
        decoder.read_to_end(&mut inflated).map(|_| inflated)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        compress_to_vec(bytes, CompressionLevel::Fastest)
    }

    fn content() -> Vec<u8> {
        (0..300_000_u32)
            .flat_map(|number| (number / 7).to_le_bytes())
            .collect()
    }

    #[test]
    fn members_and_frames_follow_each_other() {
        let content = content();
        let (first, second) = content.split_at(123_457);
        let skipped = [&[0x51, 0x2a, 0x4d, 0x18, 5, 0, 0, 0][..], b"extra"].concat();
        for bytes in [
            gzip(&content),
            [gzip(first), gzip(second), gzip(b"")].concat(),
            zstd(&content),
            [zstd(first), skipped.clone(), zstd(second)].concat(),
            [skipped, zstd(&content)].concat(),
        ] {
            assert!(inflate(bytes).unwrap() == content);
        }
    }

    #[test]
    fn a_cut_or_changed_stream_is_an_error() {
        for mut bytes in [gzip(&content()), zstd(&content())] {
            assert!(inflate(bytes[..bytes.len() - 9].to_vec()).is_err());
            bytes.truncate(bytes.len() / 2);
            assert!(inflate(bytes).is_err());
        }
        let mut bytes = gzip(&content());
        let checksum = bytes.len() - 6;
        bytes[checksum] ^= 1;
        assert!(inflate(bytes).is_err());
    }

    /// A frame of one empty block, with a window of 1 KiB shifted left by `exponent`.
    fn empty_frame(exponent: u8) -> Vec<u8> {
        [ZSTD, &[0, exponent << 3, 1, 0, 0]].concat()
    }

    #[test]
    fn a_window_is_refused_before_it_is_there() {
        let read = |bytes: &[u8], max_window| {
            let source = Box::new(io::Cursor::new(bytes.to_vec()));
            let mut decoder = Decoder::new(source, max_window).unwrap();
            let error = decoder.read_to_end(&mut Vec::new()).err()?;
            let inner = error.into_inner()?.downcast::<WindowTooLarge>();
            Some(inner.unwrap().window)
        };
        assert_eq!(read(&empty_frame(17), u64::MAX), None);
        assert_eq!(read(&empty_frame(18), u64::MAX), Some(1 << 28));
        assert_eq!(read(&empty_frame(31), u64::MAX), Some(1 << 41));
        assert_eq!(read(&empty_frame(10), 1 << 20), None);
        assert_eq!(read(&empty_frame(11), 1 << 20), Some(1 << 21));
        // A later frame is held to it as well.
        let frames = [empty_frame(1), empty_frame(11)].concat();
        assert_eq!(read(&frames, 1 << 20), Some(1 << 21));
    }

    #[test]
    fn refuses_other_formats() {
        for bytes in [
            &b"hello"[..],
            b"\xfd7zXZ\0",
            b"BZh9",
            b"PK\x03\x04",
            &[1; 1024],
        ] {
            let source = Box::new(io::Cursor::new(bytes.to_vec()));
            assert!(matches!(
                Decoder::new(source, MAX_WINDOW),
                Err(LayerError::UnknownFormat)
            ));
        }
        for bytes in [&[0; 1024][..], b""] {
            assert!(inflate(bytes.to_vec()).unwrap() == bytes);
        }
    }

    proptest! {
        #[test]
        fn no_changed_stream_breaks_the_decoder(
            is_zstd in any::<bool>(),
            changes in prop::collection::vec((any::<Index>(), any::<u8>()), 1..6),
        ) {
            static STREAMS: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| {
                let content = &content()[..40_000];
                [gzip(content), zstd(content)]
            });
            let mut bytes = STREAMS[usize::from(is_zstd)].clone();
            for (place, value) in changes {
                let place = place.index(bytes.len());
                bytes[place] = value;
            }
            let source = Box::new(io::Cursor::new(bytes));
            if let Ok(decoder) = Decoder::new(source, MAX_WINDOW) {
                // Whatever comes out is judged by its digest.
                let _ = io::copy(&mut decoder.take(1 << 24), &mut io::sink());
            }
        }
    }
}
