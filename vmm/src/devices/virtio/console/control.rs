//! Messages of the control queues (virtio 1.2, section 5.3.6.2).

use vm_memory::Bytes;

use super::super::{QueueError, Segment};
use super::port::Port;
use crate::memory::GuestRam;

const HEADER_SIZE: usize = 8;

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// From the driver: it found the device.
    DeviceReady,
    /// To the driver: there is a port.
    PortAdd,
    /// From the driver: it found the port.
    PortReady,
    /// Both ways: the port was opened or closed.
    PortOpen,
    /// To the driver: the port's name.
    PortName,
}

impl Event {
    fn number(self) -> u16 {
        match self {
            Self::DeviceReady => 0,
            Self::PortAdd => 1,
            Self::PortReady => 3,
            Self::PortOpen => 6,
            Self::PortName => 7,
        }
    }

    fn from_number(number: u16) -> Option<Self> {
        Some(match number {
            0 => Self::DeviceReady,
            1 => Self::PortAdd,
            3 => Self::PortReady,
            6 => Self::PortOpen,
            7 => Self::PortName,
            _ => return None,
        })
    }
}

/// `struct virtio_console_control`, with a name behind it in one kind of message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    port: u32,
    event: u16,
    value: u16,
    name: Vec<u8>,
}

impl Message {
    /// What the device says of a port.
    pub(super) fn from_device(number: u32, event: Event, port: &Port) -> Self {
        let (value, name) = match event {
            Event::PortName => (1, port.name().as_bytes().to_vec()),
            Event::PortOpen => (port.is_host_open().into(), Vec::new()),
            _ => (1, Vec::new()),
        };
        Self {
            port: number,
            event: event.number(),
            value,
            name,
        }
    }

    /// Reads what the driver sent; `None` if it is no message.
    pub(super) fn read(memory: &GuestRam, segments: &[Segment]) -> Option<Self> {
        let mut bytes = [0; HEADER_SIZE];
        let mut filled = 0;
        for segment in segments {
            let rest = bytes.get_mut(filled..)?;
            let length = segment.length.min(rest.len());
            memory
                .read_slice(rest.get_mut(..length)?, segment.address)
                .ok()?;
            filled += length;
        }
        if filled < HEADER_SIZE {
            return None;
        }
        let [p0, p1, p2, p3, e0, e1, v0, v1] = bytes;
        Some(Self {
            port: u32::from_le_bytes([p0, p1, p2, p3]),
            event: u16::from_le_bytes([e0, e1]),
            value: u16::from_le_bytes([v0, v1]),
            name: Vec::new(),
        })
    }

    /// Writes the message into the driver's buffer. Returns its size.
    ///
    /// # Errors
    /// If the buffer is too small.
    pub(super) fn write(
        &self,
        memory: &GuestRam,
        segments: &[Segment],
    ) -> Result<usize, QueueError> {
        let mut bytes = Vec::with_capacity(HEADER_SIZE + self.name.len());
        bytes.extend_from_slice(&self.port.to_le_bytes());
        bytes.extend_from_slice(&self.event.to_le_bytes());
        bytes.extend_from_slice(&self.value.to_le_bytes());
        bytes.extend_from_slice(&self.name);
        let mut rest = bytes.as_slice();
        for segment in segments {
            let (now, later) = rest.split_at(segment.length.min(rest.len()));
            memory
                .write_slice(now, segment.address)
                .map_err(|_| QueueError::Chain)?;
            rest = later;
        }
        if rest.is_empty() {
            Ok(bytes.len())
        } else {
            Err(QueueError::Chain)
        }
    }

    /// The number of the port that it is about.
    pub(super) fn port(&self) -> u32 {
        self.port
    }

    /// What it is about, if that is known.
    pub(super) fn event(&self) -> Option<Event> {
        Event::from_number(self.event)
    }

    /// Its argument.
    pub(super) fn value(&self) -> u16 {
        self.value
    }
}
