//! The control port: frames in, frames out, never waiting.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use guest_init::control::{FrameReader, GuestMessage, HostMessage, encode};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Both directions of the control port.
#[derive(Debug)]
pub(crate) struct ControlPort {
    port: Rc<OwnedFd>,
    reader: FrameReader,
    outgoing: Vec<u8>,
    was_connected: bool,
}

impl ControlPort {
    /// Speaks over `port`.
    pub(crate) fn new(port: Rc<OwnedFd>) -> Self {
        Self {
            port,
            reader: FrameReader::default(),
            outgoing: Vec::new(),
            was_connected: false,
        }
    }

    /// Queues a message and sends what the host takes at once.
    pub(crate) fn send(&mut self, message: &GuestMessage) {
        match encode(message) {
            Ok(frame) => self.outgoing.extend_from_slice(&frame),
            Err(error) => crate::kmsg::log(&error.to_string()),
        }
        self.flush();
    }

    /// Sends what the host takes of what is queued. True when nothing is left.
    pub(crate) fn flush(&mut self) -> bool {
        while !self.outgoing.is_empty() {
            match rustix::io::write(&self.port, &self.outgoing) {
                // A port without room, or without a host, says either.
                Ok(0) | Err(Errno::AGAIN) => return false,
                Ok(length) => {
                    self.was_connected = true;
                    drop(self.outgoing.drain(..length));
                }
                Err(Errno::INTR) => {}
                Err(error) => {
                    crate::kmsg::log(&format!("Write to the control port: {error}"));
                    self.outgoing.clear();
                }
            }
        }
        true
    }

    /// The next message that has arrived whole.
    pub(crate) fn receive(&mut self) -> Option<HostMessage> {
        loop {
            match self.reader.next_message() {
                Ok(Some(message)) => return Some(message),
                Ok(None) => {}
                Err(error) => {
                    // The bytes after a broken frame mean nothing.
                    crate::kmsg::log(&format!("From the host: {error}"));
                    self.reader = FrameReader::default();
                }
            }
            let mut bytes = [0; 1024];
            match rustix::io::read(&self.port, &mut bytes) {
                Ok(0) | Err(_) => return None,
                Ok(length) => self.reader.push(bytes.get(..length)?),
            }
        }
    }

    /// Whether the host was there and has gone.
    pub(crate) fn host_is_gone(&self) -> bool {
        let mut port = [PollFd::new(&self.port, PollFlags::empty())];
        let now = Timespec::default();
        self.was_connected
            && poll(&mut port, Some(&now)).is_ok()
            && port[0].revents().contains(PollFlags::HUP)
    }
}
