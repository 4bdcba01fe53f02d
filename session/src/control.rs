//! The session's end of the control port.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use guest_init::control::{FrameReader, GuestMessage, HostMessage, MAX_FRAME, encode};
use rustix::event::PollFlags;

use crate::SessionError;

/// Bytes kept for a guest that does not read its messages. Whatever comes on top is dropped: a
/// guest that far behind does not handle signals or resizes anyway.
const MAX_UNSENT: usize = 16 * MAX_FRAME;

#[derive(Debug)]
pub(crate) struct Control {
    port: UnixStream,
    reader: FrameReader,
    unsent: Vec<u8>,
    received: u64,
    ended: bool,
}

impl Control {
    pub(crate) fn new(port: UnixStream) -> Self {
        Self {
            port,
            reader: FrameReader::default(),
            unsent: Vec::new(),
            received: 0,
            ended: false,
        }
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.port.as_fd()
    }

    pub(crate) fn interest(&self) -> PollFlags {
        match (self.ended, self.unsent.is_empty()) {
            (true, _) => PollFlags::empty(),
            (false, true) => PollFlags::IN,
            (false, false) => PollFlags::IN | PollFlags::OUT,
        }
    }

    /// The machine has closed its end.
    pub(crate) fn ended(&self) -> bool {
        self.ended
    }

    /// Bytes read so far.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    pub(crate) fn send(&mut self, message: &HostMessage) -> Result<(), SessionError> {
        let frame = encode(message)?;
        if self.unsent.len() + frame.len() <= MAX_UNSENT {
            self.unsent.extend_from_slice(&frame);
        }
        self.flush()
    }

    /// Writes as much as the port takes.
    pub(crate) fn flush(&mut self) -> Result<(), SessionError> {
        while !self.unsent.is_empty() && !self.ended {
            match self.port.write(&self.unsent) {
                Ok(written) => drop(self.unsent.drain(..written)),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if is_disconnect(&e) => self.ended = true,
                Err(e) => return Err(SessionError::host("write to the control port", e)),
            }
        }
        Ok(())
    }

    /// Reads what has arrived, one buffer at most, and takes the messages in it.
    pub(crate) fn receive(&mut self) -> Result<Vec<GuestMessage>, SessionError> {
        let mut messages = Vec::new();
        let mut buffer = [0; MAX_FRAME];
        match self.port.read(&mut buffer) {
            Ok(0) => self.ended = true,
            Ok(length) => {
                self.received += length as u64;
                self.reader.push(buffer.get(..length).unwrap_or_default());
                while let Some(message) = self.reader.next_message()? {
                    messages.push(message);
                }
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(e) if is_disconnect(&e) => self.ended = true,
            Err(e) => return Err(SessionError::host("read the control port", e)),
        }
        Ok(messages)
    }
}

fn is_disconnect(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
    )
}
