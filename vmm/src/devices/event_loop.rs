//! The thread that does the devices' work.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::eventfd::EventFd;

use super::bus::Bus;
use super::manner::Manner;
use super::virtio::{HostReady, Progress};

/// Events taken from the kernel at once.
const BATCH: usize = 32;

/// Turns that devices get when the machine has ended: a queue of a port's is sent in fewer.
const LAST_TURNS: usize = 64;

/// What an event is about, packed into the number that epoll carries: the device's index above, the
/// descriptor below.
const NOTIFIED: u32 = u32::MAX;
const STOP: u64 = u64::MAX;

/// Waits for guest and host, and lets devices work.
pub(crate) struct EventLoop<'a> {
    bus: &'a Bus,
    epoll: Epoll,
    /// When each device is to go on with its work.
    next: Vec<Progress>,
    /// Which devices' drivers sleep until they are answered.
    patient: Vec<bool>,
    manner: Manner,
}

impl<'a> EventLoop<'a> {
    /// A loop over all devices that ends when `stop` is readable.
    pub(crate) fn new(bus: &'a Bus, stop: &EventFd) -> io::Result<Self> {
        let epoll = Epoll::new()?;
        let add = |fd: RawFd, events: EventSet, token: u64| {
            epoll.ctl(ControlOperation::Add, fd, EpollEvent::new(events, token))
        };
        add(stop.as_raw_fd(), EventSet::IN, STOP)?;
        let readable = EventSet::IN | EventSet::READ_HANG_UP | EventSet::EDGE_TRIGGERED;
        for (index, device) in (0..).zip(bus.devices()) {
            add(
                device.notified().as_raw_fd(),
                EventSet::IN,
                token(index, NOTIFIED),
            )?;
            for (number, stream) in (0..).zip(device.transport().host_streams()) {
                let events = if stream.writable {
                    readable | EventSet::OUT
                } else {
                    readable
                };
                add(stream.fd.as_raw_fd(), events, token(index, number))?;
            }
        }
        Ok(Self {
            bus,
            epoll,
            next: vec![Progress::Idle; bus.devices().len()],
            patient: bus
                .devices()
                .iter()
                .map(|device| device.transport().is_patient())
                .collect(),
            manner: Manner::default(),
        })
    }

    /// Runs until told to stop.
    pub(crate) fn run(&mut self) -> io::Result<()> {
        let mut events = [EpollEvent::default(); BATCH];
        loop {
            let count = match self.epoll.wait(self.timeout(), &mut events) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let events = events.get(..count).unwrap_or_default();
            if !events.is_empty() {
                let patient = events.iter().all(|event| self.is_patient(event));
                self.manner.woken(patient);
            }
            for event in events {
                if event.data() == STOP {
                    return Ok(());
                }
                self.take(event);
            }
            self.process();
        }
    }

    /// Lets all devices come to their ends, so that what the guest sent last is not lost.
    pub(crate) fn drain(&mut self) {
        self.next.fill(Progress::More);
        for _ in 0..LAST_TURNS {
            if !self.next.contains(&Progress::More) {
                break;
            }
            self.process();
        }
    }

    /// How long to wait for events, as epoll counts it: in milliseconds, or -1 for ever.
    fn timeout(&self) -> i32 {
        let now = Instant::now();
        let wait = self.next.iter().filter_map(|next| match next {
            Progress::Idle => None,
            Progress::More => Some(Duration::ZERO),
            Progress::At(when) => Some(when.saturating_duration_since(now)),
        });
        wait.min().map_or(-1, |wait| {
            i32::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
        })
    }

    /// Whether an event is one of a patient device.
    fn is_patient(&self, event: &EpollEvent) -> bool {
        let (index, _) = split(event.data());
        self.patient.get(index).copied().unwrap_or(false)
    }

    fn take(&mut self, event: &EpollEvent) {
        let (index, stream) = split(event.data());
        let Some(device) = self.bus.devices().get(index) else {
            return;
        };
        if stream == NOTIFIED {
            // Whatever it counted, the device looks at all its queues.
            let _ = device.notified().read();
        } else if let Ok(stream) = usize::try_from(stream) {
            let events = event.event_set();
            let ready = HostReady {
                readable: events.intersects(EventSet::IN | EventSet::READ_HANG_UP),
                writable: events.contains(EventSet::OUT),
                closed: events.intersects(EventSet::HANG_UP | EventSet::ERROR),
            };
            device.transport().host_ready(stream, ready);
        }
        if let Some(next) = self.next.get_mut(index) {
            *next = Progress::More;
        }
    }

    fn process(&mut self) {
        let now = Instant::now();
        for (device, next) in self.bus.devices().iter().zip(&mut self.next) {
            match *next {
                Progress::Idle => {}
                Progress::At(when) if when > now => {}
                Progress::More | Progress::At(_) => *next = device.transport().process(),
            }
        }
    }
}

fn token(index: u32, stream: u32) -> u64 {
    u64::from(index) << 32 | u64::from(stream)
}

fn split(token: u64) -> (usize, u32) {
    let index = usize::try_from(token >> 32).unwrap_or(usize::MAX);
    (
        index,
        u32::try_from(token & 0xffff_ffff).unwrap_or(NOTIFIED),
    )
}
