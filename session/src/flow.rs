//! One direction of one stream: bytes from a source to a sink through one bounded buffer.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;

/// Bytes read at once.
const BUFFER: usize = 64 * 1024;

/// Bytes written at once. After `poll(2)` said that a pipe takes output, this much (`PIPE_BUF`)
/// never blocks, so descriptors that are shared with other programs need not be set non-blocking.
const WRITE: usize = 4096;

/// Copies from `source` to `sink`. The source is read only while the buffer is empty.
#[derive(Debug)]
pub(crate) struct Flow<R, W> {
    source: Option<R>,
    sink: Option<W>,
    buffer: Vec<u8>,
    start: usize,
    received: u64,
    limit: u64,
}

/// What a step of a [`Flow`] met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing out of the ordinary.
    Moved,
    /// The source has ended: [`Flow::received`] is final.
    SourceEnded,
    /// The sink takes nothing any more; what the source still gives is dropped.
    SinkClosed,
}

impl<R: AsFd, W: AsFd> Flow<R, W> {
    pub(crate) fn new(source: Option<R>, sink: W) -> Self {
        Self {
            source,
            sink: Some(sink),
            buffer: Vec::new(),
            start: 0,
            received: 0,
            limit: u64::MAX,
        }
    }

    /// Bytes read from the source so far.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Bytes that a socket as source holds now.
    pub(crate) fn waiting(&self) -> u64 {
        let source = self.source.as_ref();
        source.map_or(0, |source| rustix::io::ioctl_fionread(source).unwrap_or(0))
    }

    /// Bytes wait for the sink.
    pub(crate) fn is_pending(&self) -> bool {
        self.start < self.buffer.len()
    }

    /// Takes no more than this many bytes in all from the source.
    pub(crate) fn end_at(&mut self, bytes: u64) {
        self.limit = bytes;
    }

    /// All that is to be taken from the source was, and the sink has it.
    pub(crate) fn is_done(&self) -> bool {
        self.left() == 0 && !self.is_pending()
    }

    /// Reads nothing more from the source.
    pub(crate) fn end_source(&mut self) {
        self.source = None;
    }

    /// The source, if there is room for what it gives.
    pub(crate) fn wants_source(&self) -> Option<BorrowedFd<'_>> {
        if self.is_pending() || self.left() == 0 {
            return None;
        }
        Some(self.source.as_ref()?.as_fd())
    }

    /// The sink, if something waits for it.
    pub(crate) fn wants_sink(&self) -> Option<BorrowedFd<'_>> {
        if !self.is_pending() {
            return None;
        }
        Some(self.sink.as_ref()?.as_fd())
    }

    /// Takes what the source has ready. Call after `poll(2)` named it, or with a non-blocking one.
    pub(crate) fn read(&mut self) -> io::Result<Step> {
        let left = self.left();
        // An empty read would look like the source's end.
        let Some(source) = self.source.as_ref().filter(|_| left > 0) else {
            return Ok(Step::Moved);
        };
        let room = usize::try_from(left).map_or(BUFFER, |left| left.min(BUFFER));
        self.buffer.resize(room, 0);
        let result = rustix::io::read(source, self.buffer.as_mut_slice());
        self.start = 0;
        self.buffer.truncate(result.unwrap_or(0));
        match result {
            Ok(0) => Ok(self.source_ended()),
            Ok(length) => {
                self.received += length as u64;
                if self.sink.is_none() {
                    self.buffer.clear();
                }
                Ok(Step::Moved)
            }
            Err(Errno::INTR | Errno::AGAIN) => Ok(Step::Moved),
            // A terminal that has gone away, a socket whose other end is gone, a closed stdin.
            Err(Errno::IO | Errno::CONNRESET | Errno::BADF) => Ok(self.source_ended()),
            Err(e) => Err(e.into()),
        }
    }

    /// Gives the sink what it takes at once.
    pub(crate) fn write(&mut self) -> io::Result<Step> {
        let Some(sink) = self.sink.as_ref() else {
            self.buffer.clear();
            return Ok(Step::Moved);
        };
        let waiting = self.buffer.get(self.start..).unwrap_or_default();
        let chunk = waiting.get(..WRITE).unwrap_or(waiting);
        match rustix::io::write(sink, chunk) {
            Ok(length) => {
                self.start += length;
                Ok(Step::Moved)
            }
            Err(Errno::INTR | Errno::AGAIN) => Ok(Step::Moved),
            // The reader has gone away, or the terminal has.
            Err(Errno::PIPE | Errno::CONNRESET | Errno::IO) => {
                self.sink = None;
                self.buffer.clear();
                self.start = 0;
                Ok(Step::SinkClosed)
            }
            Err(e) => Err(e.into()),
        }
    }

    /// Bytes that may still be taken from the source.
    fn left(&self) -> u64 {
        self.limit.saturating_sub(self.received)
    }

    fn source_ended(&mut self) -> Step {
        self.source = None;
        Step::SourceEnded
    }
}

#[cfg(test)]
mod tests;
