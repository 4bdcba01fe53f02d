//! Sparse files: where their content lies.

use super::{header, pax};

/// A stretch of content in a sparse file, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// The most segments taken in one file: what an ext4 extent tree of two levels holds with room.
pub(super) const MAX_SEGMENTS: usize = 100_000;

/// Checks that segments ascend without overlap and end within the file, and drops empty ones, such as
/// the one that marks the end.
pub(super) fn checked(segments: Vec<Segment>, size: u64) -> Result<Vec<Segment>, &'static str> {
    if segments.len() > MAX_SEGMENTS {
        return Err("its sparse map is too long");
    }
    let mut end = 0;
    for segment in &segments {
        if segment.offset < end {
            return Err("its sparse map does not ascend");
        }
        end = segment
            .offset
            .checked_add(segment.length)
            .filter(|&end| end <= size)
            .ok_or("its sparse map reaches beyond the file")?;
    }
    Ok(segments
        .into_iter()
        .filter(|segment| segment.length > 0)
        .collect())
}

/// Content bytes of all segments.
pub(super) fn content(segments: &[Segment]) -> u64 {
    segments.iter().map(|segment| segment.length).sum()
}

/// Adds the pairs of one GNU sparse header; returns whether the map may go on.
pub(super) fn gnu_pairs(pairs: &[u8], segments: &mut Vec<Segment>) -> Result<bool, &'static str> {
    const REASON: &str = "its sparse map is malformed";
    for pair in pairs.chunks_exact(24) {
        if pair[0] == 0 {
            return Ok(false);
        }
        let number = |field: &[u8]| {
            header::number(field)
                .and_then(|value| u64::try_from(value).ok())
                .ok_or(REASON)
        };
        segments.push(Segment {
            offset: number(&pair[..12])?,
            length: number(&pair[12..])?,
        });
    }
    if segments.len() > MAX_SEGMENTS {
        return Err("its sparse map is too long");
    }
    Ok(true)
}

/// Reads the map that a PAX sparse 1.0 file has in front of its content: decimal lines, the count
/// first, padded to a whole block. `next_block` gives the next 512 bytes.
pub(super) fn pax_map<E>(
    mut next_block: impl FnMut() -> Result<[u8; header::BLOCK], E>,
    malformed: impl Fn(&'static str) -> E,
) -> Result<Vec<Segment>, E> {
    let mut lines = Lines::default();
    let count = lines.next(&mut next_block, &malformed)?;
    let count = usize::try_from(count)
        .ok()
        .filter(|&count| count <= MAX_SEGMENTS)
        .ok_or_else(|| malformed("its sparse map is too long"))?;
    let mut segments = Vec::new();
    for _ in 0..count {
        let offset = lines.next(&mut next_block, &malformed)?;
        let length = lines.next(&mut next_block, &malformed)?;
        segments.push(Segment { offset, length });
    }
    Ok(segments)
}

#[derive(Default)]
struct Lines {
    pending: Vec<u8>,
}

impl Lines {
    fn next<E>(
        &mut self,
        next_block: &mut impl FnMut() -> Result<[u8; header::BLOCK], E>,
        malformed: &impl Fn(&'static str) -> E,
    ) -> Result<u64, E> {
        loop {
            if let Some(end) = self.pending.iter().position(|&byte| byte == b'\n') {
                let value = pax::decimal(&self.pending[..end])
                    .ok_or_else(|| malformed("its sparse map is malformed"))?;
                self.pending.drain(..=end);
                return Ok(value);
            }
            if self.pending.len() > 20 {
                return Err(malformed("its sparse map is malformed"));
            }
            self.pending.extend_from_slice(&next_block()?);
        }
    }
}
