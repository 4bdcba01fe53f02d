//! Console device of named ports, each a stream of the host (virtio 1.2, section 5.3).
//!
//! Nothing is buffered here. What the guest sends stays in its buffers until the stream takes it;
//! what the stream brings stays there until the guest has opened the port and given buffers.

mod control;
mod port;
#[cfg(test)]
mod tests;

use std::os::fd::AsFd;

use super::{Activation, HostReady, HostStream, Progress, QueueError, VirtioDevice};
use crate::config;
use control::{Event, Message};
use port::Port;

const DEVICE_ID: u32 = 3;
const FEATURE_MULTIPORT: u64 = 1 << 1;

/// Linux fills a receive queue with a page for each place in it, at boot: few are faster.
const RECEIVE_QUEUE_SIZE: u16 = 16;
const TRANSMIT_QUEUE_SIZE: u16 = 64;
const CONTROL_QUEUE_SIZE: u16 = 32;

/// Queues before the ports' own come: the first port's and the control queues.
const CONTROL_RECEIVE: usize = 2;
const CONTROL_TRANSMIT: usize = 3;

/// The device.
#[derive(Debug)]
pub(crate) struct Console {
    ports: Vec<Port>,
    config: Vec<u8>,
    active: Option<Activation>,
}

impl Console {
    /// A device with these ports, numbered from 0.
    pub(crate) fn new(ports: Vec<config::Port>) -> Self {
        let count = u32::try_from(ports.len().max(1)).unwrap_or(u32::MAX);
        let mut config = vec![0; 12];
        for (to, from) in config.iter_mut().skip(4).zip(count.to_le_bytes()) {
            *to = from;
        }
        Self {
            ports: ports.into_iter().map(Port::new).collect(),
            config,
            active: None,
        }
    }

    fn multiport(&self) -> bool {
        self.active
            .as_ref()
            .is_some_and(|active| active.features & FEATURE_MULTIPORT != 0)
    }

    /// Takes what the driver says about the device and its ports.
    fn take_control(&mut self) -> Result<Progress, QueueError> {
        let active = self.active.as_mut();
        let Some((queue, memory, interrupt)) = active.and_then(|a| a.queue(CONTROL_TRANSMIT))
        else {
            return Ok(Progress::Idle);
        };
        for _ in 0..CONTROL_QUEUE_SIZE {
            let Some(chain) = queue.pop()? else {
                queue.notify(interrupt)?;
                if !queue.wait()? {
                    return Ok(Progress::Idle);
                }
                continue;
            };
            if let Some(message) = Message::read(memory, &chain.readable) {
                obey(&mut self.ports, &message);
            }
            queue.finish(&chain, 0)?;
        }
        queue.notify(interrupt)?;
        Ok(Progress::More)
    }

    /// Tells the driver what it does not know about the ports yet.
    fn announce(&mut self) -> Result<Progress, QueueError> {
        let active = self.active.as_mut();
        let Some((queue, memory, interrupt)) = active.and_then(|a| a.queue(CONTROL_RECEIVE)) else {
            return Ok(Progress::Idle);
        };
        for (number, port) in (0..).zip(&mut self.ports) {
            while let Some(event) = port.next_announcement() {
                let Some(chain) = queue.pop()? else {
                    queue.notify(interrupt)?;
                    return Ok(if queue.wait()? {
                        Progress::More
                    } else {
                        Progress::Idle
                    });
                };
                let message = Message::from_device(number, event, port);
                let written = message.write(memory, &chain.writable)?;
                queue.finish(&chain, written)?;
                port.announced(event);
            }
        }
        queue.notify(interrupt)?;
        Ok(Progress::Idle)
    }
}

/// Does what a control message asks for. Unknown ports and events are ignored.
fn obey(ports: &mut [Port], message: &Message) {
    match message.event() {
        Some(Event::DeviceReady) if message.value() == 1 => {
            for port in ports {
                port.announce_added();
            }
        }
        Some(event) => {
            let port = usize::try_from(message.port())
                .ok()
                .and_then(|number| ports.get_mut(number));
            match (port, event) {
                (Some(port), Event::PortReady) if message.value() == 1 => port.announce_ready(),
                (Some(port), Event::PortOpen) => port.set_guest_open(message.value() == 1),
                _ => {}
            }
        }
        None => {}
    }
}

/// Numbers of a port's queues: received by the driver, and transmitted by it.
fn port_queues(port: usize) -> (usize, usize) {
    match port {
        0 => (0, 1),
        _ => (port * 2 + 2, port * 2 + 3),
    }
}

impl VirtioDevice for Console {
    fn id(&self) -> u32 {
        DEVICE_ID
    }

    fn features(&self) -> u64 {
        FEATURE_MULTIPORT
    }

    fn queue_sizes(&self) -> Vec<u16> {
        let mut sizes = vec![
            RECEIVE_QUEUE_SIZE,
            TRANSMIT_QUEUE_SIZE,
            CONTROL_QUEUE_SIZE,
            CONTROL_QUEUE_SIZE,
        ];
        for _ in 1..self.ports.len() {
            sizes.extend([RECEIVE_QUEUE_SIZE, TRANSMIT_QUEUE_SIZE]);
        }
        sizes
    }

    fn config(&self) -> &[u8] {
        &self.config
    }

    fn activate(&mut self, activation: Activation) {
        self.active = Some(activation);
        if !self.multiport()
            && let Some(port) = self.ports.first_mut()
        {
            port.set_guest_open(true);
        }
    }

    fn reset(&mut self) {
        self.active = None;
        for port in &mut self.ports {
            port.reset();
        }
    }

    fn process(&mut self) -> Result<Progress, QueueError> {
        let mut progress = Progress::Idle;
        if self.multiport() {
            progress = self.take_control()?;
        }
        let multiport = self.multiport();
        let Some(active) = &mut self.active else {
            return Ok(Progress::Idle);
        };
        let ports = if multiport { self.ports.len() } else { 1 };
        for (number, port) in self.ports.iter_mut().take(ports).enumerate() {
            let (receive, transmit) = port_queues(number);
            if let Some((queue, memory, interrupt)) = active.queue(transmit) {
                progress = progress.or(port.transmit(memory, queue, interrupt)?);
            }
            if let Some((queue, memory, interrupt)) = active.queue(receive) {
                progress = progress.or(port.receive(memory, queue, interrupt)?);
            }
        }
        if multiport {
            progress = progress.or(self.announce()?);
        }
        Ok(progress)
    }

    fn host_streams(&self) -> Vec<HostStream<'_>> {
        let stream = |port| HostStream {
            fd: Port::as_fd(port),
            writable: true,
        };
        self.ports.iter().map(stream).collect()
    }

    fn host_ready(&mut self, stream: usize, ready: HostReady) {
        if let Some(port) = self.ports.get_mut(stream) {
            port.host_ready(ready);
        }
    }
}
