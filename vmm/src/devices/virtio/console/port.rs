//! One port: two queues of the guest and a stream of the host.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use vm_memory::{GuestMemoryBackend, VolatileSlice};

use super::super::queue::{part, total};
use super::super::{Chain, DeviceQueue, HostReady, Interrupt, Progress, QueueError, Segment};
use super::control::Event;
use crate::config;
use crate::memory::GuestRam;
use crate::stream;

/// Buffers, and bytes, that one port moves one way before others get their turn.
const TURN: usize = 64;
const TURN_BYTES: usize = 256 << 10;
/// How long a host that has no memory for what is sent is left alone.
const PAUSE: Duration = Duration::from_millis(10);

/// A port of the console.
#[derive(Debug)]
pub(super) struct Port {
    name: String,
    stream: UnixStream,
    /// Reading or writing may be possible: nothing said that it would block since then.
    readable: bool,
    writable: bool,
    /// Writing may be possible then, which nothing will say.
    retry: Option<Instant>,
    /// Nothing more comes from the host.
    read_ended: bool,
    /// Nobody at the host takes anything more.
    write_ended: bool,
    guest_open: bool,
    /// What the driver does not know yet.
    announcements: Announcements,
    /// A buffer of the guest's, of which so many bytes were sent already.
    sending: Option<(Chain, usize)>,
    /// A buffer that was taken from the guest before the stream had nothing for it.
    spare: Option<Chain>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Announcements {
    added: bool,
    name: bool,
    open: bool,
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Port {
    pub(super) fn new(port: config::Port) -> Self {
        Self {
            name: port.name,
            stream: port.stream,
            readable: true,
            writable: true,
            retry: None,
            read_ended: false,
            write_ended: false,
            guest_open: false,
            announcements: Announcements::default(),
            sending: None,
            spare: None,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether the host's end is of any use to the guest.
    pub(super) fn is_host_open(&self) -> bool {
        !(self.read_ended && self.write_ended)
    }

    pub(super) fn host_ready(&mut self, ready: HostReady) {
        self.readable |= ready.readable || ready.closed;
        self.writable |= ready.writable || ready.closed;
        if ready.closed {
            self.end_writing();
        }
    }

    /// The driver is to learn that there is this port.
    pub(super) fn announce_added(&mut self) {
        self.announcements.added = true;
    }

    /// The driver knows the port and is to learn the rest about it.
    pub(super) fn announce_ready(&mut self) {
        self.announcements.name = true;
        self.announcements.open = true;
    }

    pub(super) fn next_announcement(&self) -> Option<Event> {
        let Announcements { added, name, open } = self.announcements;
        if added {
            Some(Event::PortAdd)
        } else if name {
            Some(Event::PortName)
        } else if open {
            Some(Event::PortOpen)
        } else {
            None
        }
    }

    pub(super) fn announced(&mut self, event: Event) {
        match event {
            Event::PortAdd => self.announcements.added = false,
            Event::PortName => self.announcements.name = false,
            Event::PortOpen => self.announcements.open = false,
            Event::DeviceReady | Event::PortReady => {}
        }
    }

    /// A program of the guest has opened or closed the port.
    pub(super) fn set_guest_open(&mut self, open: bool) {
        self.guest_open = open;
    }

    /// The driver has let go of the device. Bytes of a buffer that was not sent wholly are lost.
    pub(super) fn reset(&mut self) {
        self.guest_open = false;
        self.announcements = Announcements::default();
        self.sending = None;
        self.spare = None;
    }

    /// Moves bytes from the guest to the host, until either has enough.
    pub(super) fn transmit(
        &mut self,
        memory: &GuestRam,
        queue: &mut DeviceQueue,
        interrupt: &Interrupt,
    ) -> Result<Progress, QueueError> {
        if self.retry.take_if(|when| *when <= Instant::now()).is_some() {
            self.writable = true;
        }
        let mut progress = Progress::More;
        let mut budget = TURN_BYTES;
        for _ in 0..TURN {
            let (chain, before) = match self.sending.take() {
                Some(sending) => sending,
                None if !self.writable => {
                    progress = Progress::Idle;
                    break;
                }
                None => match queue.pop()? {
                    Some(chain) => (chain, 0),
                    None if queue.wait()? => continue,
                    None => {
                        progress = Progress::Idle;
                        break;
                    }
                },
            };
            let sent = self.send(memory, &chain.readable, before, budget);
            if sent < total(&chain.readable) {
                self.sending = Some((chain, sent));
                if !self.writable {
                    progress = Progress::Idle;
                    break;
                }
            } else {
                queue.finish(&chain, 0)?;
            }
            budget = budget.saturating_sub(sent - before);
            if budget == 0 {
                break;
            }
        }
        queue.notify(interrupt)?;
        Ok(match (progress, self.retry) {
            (Progress::Idle, Some(when)) => Progress::At(when),
            (progress, _) => progress,
        })
    }

    /// Sends what is left of a buffer, or the `most` bytes of it. Returns how much of it was sent in all.
    fn send(&mut self, memory: &GuestRam, buffer: &[Segment], sent: usize, most: usize) -> usize {
        if self.write_ended {
            return total(buffer);
        }
        if !self.writable {
            return sent;
        }
        match stream::send(&self.stream, &slices(memory, &part(buffer, sent, most))) {
            Ok(bytes) => return sent + bytes,
            Err(error) => match error.raw_os_error() {
                Some(libc::EAGAIN) => self.writable = false,
                Some(libc::EINTR) => {}
                Some(libc::ENOBUFS | libc::ENOMEM) => {
                    self.writable = false;
                    self.retry = Some(Instant::now() + PAUSE);
                }
                _ => {
                    self.end_writing();
                    return total(buffer);
                }
            },
        }
        sent
    }

    /// Moves bytes from the host to the guest, until either has enough.
    pub(super) fn receive(
        &mut self,
        memory: &GuestRam,
        queue: &mut DeviceQueue,
        interrupt: &Interrupt,
    ) -> Result<Progress, QueueError> {
        let mut progress = Progress::More;
        let mut budget = TURN_BYTES;
        for _ in 0..TURN {
            if !self.guest_open || !self.readable || self.read_ended {
                progress = Progress::Idle;
                break;
            }
            let chain = match self.spare.take() {
                Some(chain) => chain,
                None => match queue.pop()? {
                    Some(chain) => chain,
                    None if queue.wait()? => continue,
                    None => {
                        progress = Progress::Idle;
                        break;
                    }
                },
            };
            if total(&chain.writable) == 0 {
                // A buffer without room would look like the end of the stream.
                queue.finish(&chain, 0)?;
                continue;
            }
            match self.fill(memory, &part(&chain.writable, 0, budget)) {
                Some(bytes) => {
                    queue.finish(&chain, bytes)?;
                    budget = budget.saturating_sub(bytes);
                }
                None => self.spare = Some(chain),
            }
            if budget == 0 {
                break;
            }
        }
        queue.notify(interrupt)?;
        Ok(progress)
    }

    /// Fills a buffer from the stream; `None` if nothing came.
    fn fill(&mut self, memory: &GuestRam, room: &[Segment]) -> Option<usize> {
        match stream::receive(&self.stream, &slices(memory, room)) {
            Ok(bytes) if bytes > 0 => return Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(_) | Err(_) => {
                self.read_ended = true;
                self.announcements.open |= self.write_ended;
            }
        }
        None
    }

    fn end_writing(&mut self) {
        if !self.write_ended {
            self.write_ended = true;
            self.announcements.open |= self.read_ended;
        }
    }
}

/// Memory of a buffer, which was checked when it was taken.
fn slices<'a>(memory: &'a GuestRam, segments: &[Segment]) -> Vec<VolatileSlice<'a>> {
    let slice = |segment: &Segment| memory.get_slice(segment.address, segment.length).ok();
    segments.iter().filter_map(slice).collect()
}
