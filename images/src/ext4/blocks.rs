//! The disk's blocks, written from the first to the last.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
};

use super::{BLOCK, BLOCK_BYTES, Ext4Error, geometry};
use crate::{
    layer::{LayerError, Segment},
    rootfs::Run,
};

/// Bytes collected before they are written.
const BUFFER: usize = 1 << 20;

/// Appends whole blocks to a disk.
#[derive(Debug)]
pub(crate) struct BlockWriter {
    file: File,
    /// The first block of `buffer`.
    start: u64,
    buffer: Vec<u8>,
}

impl BlockWriter {
    /// Writes to `file`, which must be empty; leaves room for what stands in front of all content.
    pub(crate) fn new(file: File) -> Self {
        Self {
            file,
            start: geometry::FIRST_CONTENT_BLOCK,
            buffer: Vec::with_capacity(BUFFER + BLOCK),
        }
    }

    /// The block that the next content goes to.
    pub(super) fn position(&self) -> Result<u32, Ext4Error> {
        let block = self.start + (self.buffer.len() / BLOCK) as u64;
        u32::try_from(block)
            .ok()
            .filter(|&block| u64::from(block) < geometry::MAX_BLOCKS)
            .ok_or(Ext4Error::TooLarge)
    }

    /// Bytes of content so far, with the ends of blocks.
    pub(crate) fn content_bytes(&self) -> u64 {
        (self.start - geometry::FIRST_CONTENT_BLOCK) * BLOCK_BYTES + self.buffer.len() as u64
    }

    /// Appends `bytes`, padded with zeros to a whole block; returns the first block.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<u32, Ext4Error> {
        let first = self.position()?;
        for chunk in bytes.chunks(BUFFER) {
            self.buffer.extend_from_slice(chunk);
            self.flush_full()?;
        }
        self.pad()?;
        Ok(first)
    }

    /// Appends a file's content; returns the blocks it took.
    pub(crate) fn append_file(
        &mut self,
        size: u64,
        segments: &[Segment],
        content: &mut impl Read,
    ) -> Result<Vec<Run>, LayerError> {
        if size.div_ceil(BLOCK_BYTES) > geometry::MAX_BLOCKS {
            return Err(LayerError::Write(Ext4Error::TooLarge));
        }
        let mut runs = Vec::new();
        let mut segments = segments.iter().peekable();
        while let Some(first) = segments.next() {
            // A run covers every segment that touches its last block or the one after.
            let logical = first.offset / BLOCK_BYTES;
            let physical = self.position().map_err(LayerError::Write)?;
            let mut end = logical * BLOCK_BYTES;
            let mut next = Some(first);
            while let Some(segment) = next {
                self.zeros(segment.offset - end)?;
                self.copy(segment.length, content)?;
                end = segment.offset + segment.length;
                let reach = end.next_multiple_of(BLOCK_BYTES);
                next = segments.next_if(|following| following.offset <= reach);
            }
            self.pad().map_err(LayerError::Write)?;
            let length = end.div_ceil(BLOCK_BYTES) - logical;
            let block =
                |value| u32::try_from(value).map_err(|_| LayerError::Write(Ext4Error::TooLarge));
            self.position().map_err(LayerError::Write)?;
            runs.push(Run {
                logical: block(logical)?,
                physical,
                length: block(length)?,
            });
        }
        // Kept for every file until the end.
        runs.shrink_to_fit();
        Ok(runs)
    }

    /// Writes what is still in memory and gives the file back.
    pub(super) fn into_file(mut self) -> Result<File, Ext4Error> {
        self.flush_full()?;
        self.file
            .write_all_at(&self.buffer, self.start * BLOCK_BYTES)?;
        Ok(self.file)
    }

    fn copy(&mut self, length: u64, content: &mut impl Read) -> Result<(), LayerError> {
        let mut left = length;
        while left > 0 {
            let room = (BUFFER + BLOCK)
                .saturating_sub(self.buffer.len())
                .max(BLOCK);
            let part = left.min(room as u64);
            let copied = content
                .take(part)
                .read_to_end(&mut self.buffer)
                .map_err(LayerError::Read)?;
            if (copied as u64) < part {
                return Err(LayerError::Read(io::ErrorKind::UnexpectedEof.into()));
            }
            left -= part;
            self.flush_full().map_err(LayerError::Write)?;
            self.position().map_err(LayerError::Write)?;
        }
        Ok(())
    }

    fn zeros(&mut self, length: u64) -> Result<(), LayerError> {
        self.copy(length, &mut io::repeat(0))
    }

    fn pad(&mut self) -> Result<(), Ext4Error> {
        let padded = self.buffer.len().next_multiple_of(BLOCK);
        self.buffer.resize(padded, 0);
        self.flush_full()
    }

    /// Writes the whole blocks in memory once they are many.
    fn flush_full(&mut self) -> Result<(), Ext4Error> {
        if self.buffer.len() < BUFFER {
            return Ok(());
        }
        let whole = self.buffer.len() / BLOCK * BLOCK;
        self.file
            .write_all_at(&self.buffer[..whole], self.start * BLOCK_BYTES)?;
        self.buffer.drain(..whole);
        self.start += (whole / BLOCK) as u64;
        Ok(())
    }
}
