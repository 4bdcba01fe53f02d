//! Reads a tar archive as a stream of entries.
//!
//! Written for hostile input and for what image builders really write: PAX records by length, GNU long
//! names, every sparse format, base-256 numbers. Where formats leave room, it does as Go's
//! `archive/tar` does, with which docker and umoci read layers.

use std::io::{self, Read};

use super::{
    Entry, EntryKind, LayerError, Segment, Timestamp,
    header::{BLOCK, Header},
    pax::{self, Extensions},
    sparse,
};

/// The longest extended header or long name, in bytes (Go's limit).
const MAX_SPECIAL: u64 = 1 << 20;

/// Gives out entries, and the content of the last one.
pub(crate) struct TarReader<R> {
    source: R,
    offset: u64,
    /// Content of the current entry that was not read yet.
    content: u64,
    /// Bytes between the current entry's content and the next header.
    padding: u64,
}

/// What headers in front of an entry said about it.
#[derive(Default)]
struct Prefixed {
    pax: Extensions,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl<R: Read> TarReader<R> {
    pub(crate) fn new(source: R) -> Self {
        Self {
            source,
            offset: 0,
            content: 0,
            padding: 0,
        }
    }

    /// The next entry, or `None` at the archive's end. What the caller left of the last one's content
    /// is passed over.
    pub(crate) fn next_entry(&mut self) -> Result<Option<Entry>, LayerError> {
        let mut prefixed = Prefixed::default();
        loop {
            if self.skip(self.content)? < self.content {
                return Err(LayerError::Read(io::ErrorKind::UnexpectedEof.into()));
            }
            // umoci ends an archive with the last content, before its padding and any end mark.
            let ended = self.skip(self.padding)? < self.padding;
            (self.content, self.padding) = (0, 0);
            let Some(block) = (if ended { None } else { self.next_block()? }) else {
                return Ok(None);
            };
            if is_zero(&block) {
                // A second one makes the end, or that of the stream; after a lone one Go reads no further.
                return match self.next_block()? {
                    Some(block) if !is_zero(&block) => {
                        Err(self.malformed("a block of zeros stands between headers"))
                    }
                    _ => Ok(None),
                };
            }
            let header = Header::new(&block)
                .ok_or_else(|| self.malformed("a header's checksum is wrong"))?;
            match header.type_flag() {
                // One in place of another, so that a chain of them takes no memory.
                b'x' => {
                    let records = self.special(&header)?;
                    prefixed.pax = pax::parse(&records).map_err(|reason| self.malformed(reason))?;
                }
                // Records for the whole archive: image builders put comments there at most. It is an
                // entry of its own, so what stood before it is not about the next one.
                b'g' => {
                    self.special(&header)?;
                    prefixed = Prefixed::default();
                }
                b'L' => prefixed.long_name = Some(until_nul(self.special(&header)?)),
                b'K' => prefixed.long_link = Some(until_nul(self.special(&header)?)),
                _ => return self.entry(&header, prefixed).map(Some),
            }
        }
    }

    /// Bytes read so far: after [`next_entry`](Self::next_entry), where the entry's content begins.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads to the end of the stream, past the archive's own end.
    pub(crate) fn drain(mut self) -> Result<(), LayerError> {
        io::copy(&mut self.source, &mut io::sink())
            .map(|_| ())
            .map_err(LayerError::Read)
    }

    fn entry(&mut self, header: &Header<'_>, prefixed: Prefixed) -> Result<Entry, LayerError> {
        let Prefixed {
            pax,
            long_name,
            long_link,
        } = prefixed;
        let number = |value: Option<i64>| value.ok_or("a header holds a malformed number");
        let fields = || -> Result<_, &'static str> {
            let id = |value: Option<i64>, pax: Option<u32>| match pax {
                Some(id) => Ok(id),
                None => u32::try_from(number(value)?).map_err(|_| "an owner is out of range"),
            };
            let mode = number(header.mode())? & 0o7777;
            let mtime = pax.mtime.map_or_else(
                || {
                    number(header.mtime()).map(|seconds| Timestamp {
                        seconds,
                        nanoseconds: 0,
                    })
                },
                Ok,
            )?;
            let size = match pax.size {
                Some(size) => size,
                None => u64::try_from(number(header.size())?)
                    .map_err(|_| "an entry has a negative size")?,
            };
            Ok((
                u16::try_from(mode).map_err(|_| "a mode is out of range")?,
                id(header.uid(), pax.uid)?,
                id(header.gid(), pax.gid)?,
                mtime,
                size,
            ))
        };
        let (mode, uid, gid, mtime, size) = fields().map_err(|reason| self.malformed(reason))?;
        let path = long_name.or(pax.path).unwrap_or_else(|| header.path());
        let link = long_link.or(pax.link).unwrap_or_else(|| header.link());
        let mut path = pax.sparse.name.clone().unwrap_or(path);
        let device = || {
            let (major, minor) = header.device()?;
            Some((u32::try_from(major).ok()?, u32::try_from(minor).ok()?))
        };
        let kind = match header.type_flag() {
            0 if path.ends_with(b"/") => EntryKind::Directory,
            0 | b'0' | b'7' => self.file(size, &pax.sparse)?,
            b'S' => self.gnu_sparse_file(header, size)?,
            b'1' => EntryKind::Hardlink(link),
            b'2' => EntryKind::Symlink(link),
            b'5' => EntryKind::Directory,
            b'6' => EntryKind::Fifo,
            flag @ (b'3' | b'4') => {
                let (major, minor) =
                    device().ok_or_else(|| self.malformed("a device number is out of range"))?;
                if flag == b'3' {
                    EntryKind::CharacterDevice { major, minor }
                } else {
                    EntryKind::BlockDevice { major, minor }
                }
            }
            _ => return Err(LayerError::entry(&path, "it has an unknown type")),
        };
        if matches!(kind, EntryKind::File { .. }) {
            while path.ends_with(b"/") {
                path.pop();
            }
        }
        Ok(Entry {
            path,
            mode,
            uid,
            gid,
            mtime,
            xattrs: pax.xattrs,
            kind,
        })
    }

    fn file(&mut self, stored: u64, sparse: &pax::PaxSparse) -> Result<EntryKind, LayerError> {
        self.begin_content(stored)?;
        let map = if sparse.version == (1, 0) {
            Some(self.pax_map()?)
        } else {
            sparse.segments.clone()
        };
        let Some(map) = map else {
            let whole = Segment {
                offset: 0,
                length: stored,
            };
            return Ok(EntryKind::File {
                size: stored,
                segments: if stored > 0 { vec![whole] } else { Vec::new() },
            });
        };
        let size = sparse
            .size
            .ok_or_else(|| self.malformed("a sparse file has no size"))?;
        self.sparse_file(size, map)
    }

    fn gnu_sparse_file(
        &mut self,
        header: &Header<'_>,
        stored: u64,
    ) -> Result<EntryKind, LayerError> {
        let (pairs, mut more, size) = header
            .gnu_sparse()
            .ok_or_else(|| self.malformed("a sparse header is malformed"))?;
        let size =
            u64::try_from(size).map_err(|_| self.malformed("a sparse file has a negative size"))?;
        let mut segments = Vec::new();
        sparse::gnu_pairs(pairs, &mut segments).map_err(|reason| self.malformed(reason))?;
        while more {
            let block = self
                .next_block()?
                .ok_or_else(|| self.malformed("it ends within a sparse map"))?;
            sparse::gnu_pairs(&block[..504], &mut segments)
                .map_err(|reason| self.malformed(reason))?;
            more = block[504] != 0;
        }
        self.begin_content(stored)?;
        self.sparse_file(size, segments)
    }

    fn sparse_file(&self, size: u64, map: Vec<Segment>) -> Result<EntryKind, LayerError> {
        let segments = sparse::checked(map, size).map_err(|reason| self.malformed(reason))?;
        if sparse::content(&segments) != self.content {
            return Err(self.malformed("a sparse map does not match its content"));
        }
        Ok(EntryKind::File { size, segments })
    }

    fn pax_map(&mut self) -> Result<Vec<Segment>, LayerError> {
        let offset = self.offset;
        sparse::pax_map(
            || {
                let mut block = [0; BLOCK];
                self.read_exact(&mut block).map_err(LayerError::Read)?;
                Ok(block)
            },
            |reason| LayerError::Malformed { offset, reason },
        )
    }

    /// The content of a header that describes the next entry.
    fn special(&mut self, header: &Header<'_>) -> Result<Vec<u8>, LayerError> {
        let size = header
            .size()
            .and_then(|size| u64::try_from(size).ok())
            .filter(|&size| size <= MAX_SPECIAL)
            .ok_or_else(|| self.malformed("an extended header is too long"))?;
        self.begin_content(size)?;
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes).map_err(LayerError::Read)?;
        if (bytes.len() as u64) < size {
            return Err(LayerError::Read(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(bytes)
    }

    fn begin_content(&mut self, size: u64) -> Result<(), LayerError> {
        self.padding = size
            .checked_next_multiple_of(BLOCK as u64)
            .map(|padded| padded - size)
            .ok_or_else(|| self.malformed("an entry's size is out of range"))?;
        self.content = size;
        Ok(())
    }

    /// The next 512 bytes; `None` if the stream ends before them.
    fn next_block(&mut self) -> Result<Option<[u8; BLOCK]>, LayerError> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.source.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(LayerError::Read(io::ErrorKind::UnexpectedEof.into())),
                Ok(length) => filled += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(LayerError::Read(error)),
            }
        }
        self.offset += BLOCK as u64;
        Ok(Some(block))
    }

    /// Passes over so many bytes; gives how many there were.
    fn skip(&mut self, length: u64) -> Result<u64, LayerError> {
        let skipped = io::copy(&mut self.source.by_ref().take(length), &mut io::sink())
            .map_err(LayerError::Read)?;
        self.offset += skipped;
        Ok(skipped)
    }

    fn malformed(&self, reason: &'static str) -> LayerError {
        LayerError::Malformed {
            offset: self.offset,
            reason,
        }
    }
}

/// Reads the content of the current entry.
impl<R: Read> Read for TarReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.source.by_ref().take(self.content).read(buffer)?;
        if length == 0 && self.content > 0 && !buffer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.content -= length as u64;
        self.offset += length as u64;
        Ok(length)
    }
}

fn is_zero(block: &[u8; BLOCK]) -> bool {
    block.iter().all(|&byte| byte == 0)
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|&byte| byte == 0) {
        bytes.truncate(end);
    }
    bytes
}
