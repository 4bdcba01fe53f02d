//! Carrying bytes of one stream one way, through a bounded buffer.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::io::{Errno, ioctl_fionread};

/// Bytes held at most: a pipe's own size.
const CAPACITY: usize = 64 << 10;
/// Reads and writes in a row before the others get their turn.
const TURN: usize = 16;

/// One direction of one stream. Neither end blocks; a full sink keeps the source waiting.
#[derive(Debug)]
pub(crate) struct Relay {
    source: Option<Rc<OwnedFd>>,
    sink: Option<Rc<OwnedFd>>,
    /// Whether an empty read of the source is its end. A port's is not: it means that there is no host.
    ends_with_empty_read: bool,
    /// Take no more than this many bytes in all from the source.
    limit: u64,
    /// Nothing more will come than what is there now.
    finishing: bool,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    taken: u64,
    given: u64,
}

impl Relay {
    /// From a port to a command's pipe or terminal.
    pub(crate) fn from_port(port: Rc<OwnedFd>, sink: Rc<OwnedFd>) -> Self {
        Self::new(port, sink, false)
    }

    /// From a command's pipe or terminal to a port.
    pub(crate) fn to_port(source: Rc<OwnedFd>, port: Rc<OwnedFd>) -> Self {
        Self::new(source, port, true)
    }

    fn new(source: Rc<OwnedFd>, sink: Rc<OwnedFd>, ends_with_empty_read: bool) -> Self {
        Self {
            source: Some(source),
            sink: Some(sink),
            ends_with_empty_read,
            limit: u64::MAX,
            finishing: false,
            buffer: vec![0; CAPACITY],
            start: 0,
            end: 0,
            taken: 0,
            given: 0,
        }
    }

    /// Moves what can be moved now. True if there may be more: call again soon.
    pub(crate) fn pump(&mut self) -> bool {
        for _ in 0..TURN {
            let read = self.read();
            let written = self.write();
            if !read && !written {
                return false;
            }
        }
        true
    }

    /// Bytes that the sink has taken.
    pub(crate) fn given(&self) -> u64 {
        self.given
    }

    /// Whether all is done: nothing comes any more, and nothing is held.
    pub(crate) fn is_done(&self) -> bool {
        self.source.is_none() && self.start == self.end
    }

    /// The source ends after this many bytes in all.
    pub(crate) fn end_at(&mut self, bytes: u64) {
        self.limit = bytes;
        self.close_if_at_limit();
    }

    /// Bytes that a pipe as source holds now.
    pub(crate) fn waiting(&self) -> u64 {
        let source = self.source.as_ref();
        source.map_or(0, |source| ioctl_fionread(source).unwrap_or(0))
    }

    /// Takes only what is in the source now: who writes to it later does not count any more.
    pub(crate) fn finish(&mut self, at_most: u64) {
        self.finishing = true;
        self.end_at(self.taken.saturating_add(at_most));
    }

    /// Closes both ends and drops what is held.
    pub(crate) fn close(&mut self) {
        self.source = None;
        self.sink = None;
        self.start = 0;
        self.end = 0;
    }

    /// Closes the sink once everything has gone there.
    pub(crate) fn close_sink_if_done(&mut self) {
        if self.is_done() {
            self.sink = None;
        }
    }

    fn read(&mut self) -> bool {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
        let Some(source) = &self.source else {
            return false;
        };
        let left = usize::try_from(self.limit.saturating_sub(self.taken)).unwrap_or(usize::MAX);
        let room = self.buffer.get_mut(self.end..).unwrap_or_default();
        let length = room.len().min(left);
        if length == 0 {
            return false;
        }
        match rustix::io::read(source, &mut room[..length]) {
            Ok(0) => {
                if self.ends_with_empty_read {
                    self.source = None;
                }
                false
            }
            Ok(length) => {
                self.end += length;
                self.taken += u64::try_from(length).unwrap_or(u64::MAX);
                self.close_if_at_limit();
                true
            }
            Err(Errno::INTR) => true,
            Err(Errno::AGAIN) if !self.finishing => false,
            // A terminal without a process (EIO) says its end like this.
            Err(_) => {
                self.source = None;
                false
            }
        }
    }

    fn write(&mut self) -> bool {
        let held = self.buffer.get(self.start..self.end).unwrap_or_default();
        let Some(sink) = self.sink.as_ref().filter(|_| !held.is_empty()) else {
            return false;
        };
        match rustix::io::write(sink, held) {
            Ok(0) | Err(Errno::AGAIN) => false,
            Ok(length) => {
                self.start += length;
                self.given += u64::try_from(length).unwrap_or(u64::MAX);
                true
            }
            Err(Errno::INTR) => true,
            // Nobody reads any more, so nobody needs to write.
            Err(_) => {
                self.close();
                false
            }
        }
    }

    fn close_if_at_limit(&mut self) {
        if self.taken >= self.limit {
            self.source = None;
        }
    }
}

#[cfg(test)]
mod tests;
