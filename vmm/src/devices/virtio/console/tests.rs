use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use proptest::prelude::*;

use super::super::testing::{DATA, Descriptor, Driver, EVENT_INDEX, WRITE};
use super::*;

const DEVICE_READY: u16 = 0;
const PORT_ADD: u16 = 1;
const PORT_READY: u16 = 3;
const PORT_OPEN: u16 = 6;
const PORT_NAME: u16 = 7;

/// Where control messages go: out of the way of the ports' data.
const OUTGOING: u64 = DATA - 64;
const INCOMING: u64 = DATA - 0x1000;

struct Guest {
    driver: Driver,
    hosts: Vec<UnixStream>,
}

impl Guest {
    /// A guest whose driver has found the device, but knows nothing of its ports.
    fn new(ports: usize) -> Self {
        Self::with_features(ports, FEATURE_MULTIPORT | EVENT_INDEX)
    }

    fn with_features(ports: usize, features: u64) -> Self {
        let (hosts, ports) = (0..ports)
            .map(|number| {
                let (host, stream) = UnixStream::pair().unwrap();
                let name = format!("port{number}");
                (host, config::Port { name, stream })
            })
            .unzip();
        Self {
            driver: Driver::started(Console::new(ports), features),
            hosts,
        }
    }

    /// A guest that has opened all ports.
    fn opened(ports: u32) -> Self {
        let mut guest = Self::new(usize::try_from(ports).unwrap());
        for _ in 0..ports {
            guest.expect_messages(4);
        }
        guest.say(u32::MAX, DEVICE_READY, 1);
        for port in 0..ports {
            guest.say(port, PORT_READY, 1);
            guest.say(port, PORT_OPEN, 1);
        }
        while guest.heard().is_some() {}
        guest
    }

    fn say(&mut self, port: u32, event: u16, value: u16) {
        let mut message = port.to_le_bytes().to_vec();
        message.extend_from_slice(&event.to_le_bytes());
        message.extend_from_slice(&value.to_le_bytes());
        self.driver.put(OUTGOING, &message);
        self.driver.add(CONTROL_TRANSMIT, &[(OUTGOING, 8, 0)]);
        self.driver.run();
        assert_eq!(
            self.driver.used(CONTROL_TRANSMIT).map(|used| used.1),
            Some(0)
        );
    }

    /// Gives the device buffers for control messages.
    fn expect_messages(&mut self, count: u64) {
        for _ in 0..count {
            let ring = &self.driver.rings[CONTROL_RECEIVE];
            let slot = u64::from(ring.next_place()) * 64;
            self.driver
                .add(CONTROL_RECEIVE, &[(INCOMING + slot, 64, WRITE)]);
        }
        self.driver.run();
    }

    /// The device's next message: port, event, value, name.
    fn heard(&mut self) -> Option<(u32, u16, u16, String)> {
        let (head, length) = self.driver.used(CONTROL_RECEIVE)?;
        let bytes = self.driver.get(
            INCOMING + u64::from(head) * 64,
            usize::try_from(length).unwrap(),
        );
        Some((
            u32::from_le_bytes(bytes[0..4].try_into().unwrap()),
            u16::from_le_bytes(bytes[4..6].try_into().unwrap()),
            u16::from_le_bytes(bytes[6..8].try_into().unwrap()),
            String::from_utf8(bytes[8..].to_vec()).unwrap(),
        ))
    }

    fn host_ready(&mut self, port: usize, closed: bool) {
        let ready = HostReady {
            readable: true,
            writable: true,
            closed,
        };
        self.driver.transport.host_ready(port, ready);
        self.driver.run();
    }
}

fn message(port: u32, event: u16, value: u16) -> Option<(u32, u16, u16, String)> {
    Some((port, event, value, String::new()))
}

#[test]
fn numbers_queues_as_the_specification_does() {
    assert_eq!(
        [0, 1, 2, 99].map(port_queues),
        [(0, 1), (4, 5), (6, 7), (200, 201)]
    );
    let guest = Guest::new(3);
    assert_eq!(guest.driver.rings.len(), 8);
    assert_eq!(guest.driver.read(0x104), 3);
}

#[test]
fn introduces_its_ports() {
    let mut guest = Guest::new(2);
    guest.expect_messages(8);
    assert_eq!(guest.heard(), None);
    guest.say(0, DEVICE_READY, 1);
    assert_eq!(guest.heard(), message(0, PORT_ADD, 1));
    assert_eq!(guest.heard(), message(1, PORT_ADD, 1));
    assert_eq!(guest.heard(), None);
    guest.say(1, PORT_READY, 1);
    assert_eq!(guest.heard(), Some((1, PORT_NAME, 1, "port1".into())));
    assert_eq!(guest.heard(), message(1, PORT_OPEN, 1));
    assert_eq!(guest.heard(), None);
}

#[test]
fn introductions_wait_for_buffers() {
    let mut guest = Guest::new(3);
    guest.say(0, DEVICE_READY, 1);
    assert_eq!(guest.heard(), None);
    for port in 0..3 {
        guest.expect_messages(1);
        assert_eq!(guest.heard(), message(port, PORT_ADD, 1));
    }
    guest.expect_messages(1);
    assert_eq!(guest.heard(), None);
}

#[test]
fn a_flood_of_control_messages_is_answered_once() {
    let mut guest = Guest::new(1);
    for _ in 0..1000 {
        guest.say(0, DEVICE_READY, 1);
        guest.say(0, PORT_READY, 1);
        // Not ready, unknown events, ports that are not there.
        guest.say(0, DEVICE_READY, 0);
        guest.say(0, PORT_READY, 0);
        guest.say(7, PORT_READY, 1);
        guest.say(u32::MAX, PORT_OPEN, 1);
        guest.say(0, 99, 1);
    }
    guest.expect_messages(8);
    assert_eq!(guest.heard(), message(0, PORT_ADD, 1));
    assert_eq!(guest.heard(), Some((0, PORT_NAME, 1, "port0".into())));
    assert_eq!(guest.heard(), message(0, PORT_OPEN, 1));
    assert_eq!(guest.heard(), None);
}

#[test]
fn short_control_messages_are_ignored_and_long_ones_cut() {
    let mut guest = Guest::new(1);
    guest.expect_messages(4);
    guest.driver.put(OUTGOING, &[0; 8]);
    guest.driver.add(CONTROL_TRANSMIT, &[(OUTGOING, 7, 0)]);
    guest.driver.add(CONTROL_TRANSMIT, &[(OUTGOING, 8, WRITE)]);
    guest.driver.run();
    assert_eq!(guest.heard(), None);
    // Ready, in two pieces with a megabyte behind them.
    guest.driver.put(0x7_0000, &[0, 0, 0, 0, 0, 0, 1, 0]);
    guest.driver.add(
        CONTROL_TRANSMIT,
        &[(0x7_0000, 3, 0), (0x7_0003, 0x8_0000, 0)],
    );
    guest.driver.run();
    assert_eq!(guest.heard(), message(0, PORT_ADD, 1));
    // Four gigabytes are not there.
    guest
        .driver
        .add(CONTROL_TRANSMIT, &[(OUTGOING, u32::MAX, 0)]);
    guest.driver.run();
    assert!(guest.driver.is_broken());
}

#[test]
fn a_buffer_too_small_for_a_message_stops_the_device() {
    let mut guest = Guest::new(1);
    guest.driver.add(CONTROL_RECEIVE, &[(INCOMING, 7, WRITE)]);
    guest.driver.put(OUTGOING, &[0, 0, 0, 0, 0, 0, 1, 0]);
    guest.driver.add(CONTROL_TRANSMIT, &[(OUTGOING, 8, 0)]);
    guest.driver.run();
    assert!(guest.driver.is_broken());
}

#[test]
fn carries_bytes_both_ways() {
    let mut guest = Guest::opened(2);
    guest.driver.put(DATA, b"to the host");
    guest.driver.add(5, &[(DATA, 3, 0), (DATA + 3, 8, 0)]);
    guest.driver.run();
    assert_eq!(guest.driver.used(5), Some((0, 0)));
    let mut bytes = [0; 32];
    assert_eq!(guest.hosts[1].read(&mut bytes).unwrap(), 11);
    assert_eq!(&bytes[..11], b"to the host");

    guest
        .driver
        .add(4, &[(DATA, 6, WRITE), (DATA + 0x100, 20, WRITE)]);
    guest.driver.run();
    assert_eq!(guest.driver.used(4), None);
    guest.hosts[1].write_all(b"to the guest").unwrap();
    guest.host_ready(1, false);
    assert_eq!(guest.driver.used(4), Some((0, 12)));
    assert_eq!(guest.driver.get(DATA, 6), b"to the");
    assert_eq!(guest.driver.get(DATA + 0x100, 6), b" guest");
}

#[test]
fn the_first_port_works_without_multiport() {
    let mut guest = Guest::with_features(2, 0);
    guest.driver.put(DATA, b"x");
    guest.driver.add(1, &[(DATA, 1, 0)]);
    guest.hosts[0].write_all(b"y").unwrap();
    guest.driver.add(0, &[(DATA + 8, 8, WRITE)]);
    guest.driver.run();
    let mut byte = [0];
    guest.hosts[0].read_exact(&mut byte).unwrap();
    assert_eq!(byte, *b"x");
    assert_eq!(guest.driver.used(0), Some((0, 1)));
    assert_eq!(guest.driver.get(DATA + 8, 1), b"y");
}

#[test]
fn bytes_wait_until_the_guest_opens_the_port() {
    let mut guest = Guest::new(1);
    guest.expect_messages(4);
    guest.driver.add(0, &[(DATA, 64, WRITE)]);
    guest.hosts[0].write_all(b"early").unwrap();
    guest.host_ready(0, false);
    guest.say(0, PORT_READY, 1);
    assert_eq!(guest.driver.used(0), None);
    guest.say(0, PORT_OPEN, 1);
    assert_eq!(guest.driver.used(0), Some((0, 5)));
    // And when it closes the port again.
    guest.say(0, PORT_OPEN, 0);
    guest.driver.add(0, &[(DATA, 64, WRITE)]);
    guest.hosts[0].write_all(b"late").unwrap();
    guest.host_ready(0, false);
    assert_eq!(guest.driver.used(0), None);
    guest.say(0, PORT_OPEN, 1);
    assert_eq!(guest.driver.used(0), Some((1, 4)));
}

#[test]
fn a_full_stream_holds_the_guest_and_nothing_is_lost() {
    let mut guest = Guest::opened(1);
    let size = 0x4_0000_u32;
    let pattern: Vec<u8> = (0..size).map(|i| u8::try_from(i % 249).unwrap()).collect();
    guest.driver.put(DATA, &pattern);
    let rounds = 8;
    for _ in 0..rounds {
        guest.driver.add(1, &[(DATA, size, 0)]);
    }
    guest.driver.run();
    let mut finished = 0;
    while guest.driver.used(1).is_some() {
        finished += 1;
    }
    assert!(finished < rounds, "the stream took everything");
    let total = pattern.len() * rounds;
    let mut received = Vec::new();
    let mut bytes = vec![0; 10_000];
    while received.len() < total {
        let count = guest.hosts[0].read(&mut bytes).unwrap();
        received.extend_from_slice(&bytes[..count]);
        guest.host_ready(0, false);
    }
    while guest.driver.used(1).is_some() {
        finished += 1;
    }
    assert_eq!(finished, rounds);
    assert!(received == pattern.repeat(rounds));
}

#[test]
fn a_turn_is_bounded_with_a_host_that_takes_everything() {
    let mut guest = Guest::opened(1);
    // The same half megabyte, in many pieces and requests.
    for _ in 0..4 {
        guest.driver.add(1, &[(DATA, 0x8_0000, 0); 10]);
    }
    let mut host = guest.hosts.remove(0);
    let reading = std::thread::spawn(move || std::io::copy(&mut host, &mut std::io::sink()));
    let mut turns: u64 = 0;
    while guest.driver.used(1).is_none() {
        guest.driver.transport.process();
        let ready = HostReady {
            readable: false,
            writable: true,
            closed: false,
        };
        guest.driver.transport.host_ready(0, ready);
        turns += 1;
        assert!(turns < 1_000_000);
    }
    drop(guest);
    let taken = reading.join().unwrap().unwrap();
    assert!(taken >= 5 << 20, "{taken}");
    assert!(taken <= turns * (256 << 10), "{taken} in {turns}");
}

#[test]
fn a_turn_is_bounded_with_a_host_that_sends_for_ever() {
    let mut guest = Guest::opened(1);
    guest.driver.add(0, &[(DATA, 0x8_0000, WRITE); 20]);
    let mut host = guest.hosts.remove(0);
    let writing = std::thread::spawn(move || while host.write_all(&[7; 1 << 16]).is_ok() {});
    let ready = HostReady {
        readable: true,
        writable: false,
        closed: false,
    };
    let written = loop {
        guest.driver.transport.host_ready(0, ready);
        guest.driver.transport.process();
        if let Some((_, written)) = guest.driver.used(0) {
            break written;
        }
    };
    assert!(written <= 256 << 10, "{written}");
    drop(guest);
    writing.join().unwrap();
}

#[test]
fn without_buffers_the_host_waits_and_nothing_is_lost() {
    let mut guest = Guest::opened(1);
    let sent: Vec<u8> = (0..100_000_u32)
        .map(|i| u8::try_from(i % 247).unwrap())
        .collect();
    guest.hosts[0].write_all(&sent).unwrap();
    guest.host_ready(0, false);
    let mut received = Vec::new();
    while received.len() < sent.len() {
        guest
            .driver
            .add(0, &[(DATA, 3000, WRITE), (DATA + 0x2000, 1000, WRITE)]);
        guest.driver.run();
        let (_, length) = guest.driver.used(0).unwrap();
        let length = usize::try_from(length).unwrap();
        received.extend(guest.driver.get(DATA, length.min(3000)));
        received.extend(guest.driver.get(DATA + 0x2000, length.saturating_sub(3000)));
    }
    assert!(received == sent);
    guest.driver.add(0, &[(DATA, 3000, WRITE)]);
    guest.driver.run();
    assert_eq!(guest.driver.used(0), None);
}

#[test]
fn buffers_of_the_wrong_kind_carry_nothing() {
    let mut guest = Guest::opened(1);
    guest.hosts[0].write_all(b"abc").unwrap();
    guest.driver.add(0, &[(DATA, 64, 0)]);
    guest.driver.add(0, &[(DATA, 64, WRITE)]);
    guest.driver.add(1, &[(DATA, 64, WRITE)]);
    guest.host_ready(0, false);
    assert_eq!(guest.driver.used(0), Some((0, 0)));
    assert_eq!(guest.driver.used(0), Some((1, 3)));
    assert_eq!(guest.driver.used(1), Some((0, 0)));
}

#[test]
fn the_guest_learns_when_nobody_is_at_the_other_end() {
    let mut guest = Guest::opened(2);
    guest.expect_messages(4);
    while guest.heard().is_some() {}
    guest.hosts[0].write_all(b"last words").unwrap();
    guest.hosts.remove(0);
    guest.host_ready(0, true);
    // What was sent before still arrives.
    guest.driver.add(0, &[(DATA, 64, WRITE)]);
    guest.driver.run();
    assert_eq!(guest.driver.used(0), Some((0, 10)));
    guest.driver.add(0, &[(DATA, 64, WRITE)]);
    guest.driver.run();
    assert_eq!(guest.driver.used(0), None);
    assert_eq!(guest.heard(), message(0, PORT_OPEN, 0));
    assert_eq!(guest.heard(), None);
    // What the guest sends is dropped.
    for _ in 0..10 {
        guest.driver.add(1, &[(DATA, 64, 0)]);
    }
    guest.driver.run();
    assert_eq!((0..11).filter_map(|_| guest.driver.used(1)).count(), 10);
    assert!(!guest.driver.is_broken());
}

#[test]
fn the_end_of_the_hosts_stream_leaves_the_other_way_open() {
    let mut guest = Guest::opened(1);
    guest.expect_messages(2);
    while guest.heard().is_some() {}
    guest.hosts[0].shutdown(Shutdown::Write).unwrap();
    guest.driver.add(0, &[(DATA, 64, WRITE)]);
    guest.host_ready(0, false);
    assert_eq!(guest.driver.used(0), None);
    assert_eq!(guest.heard(), None);
    guest.driver.put(DATA, b"still here");
    guest.driver.add(1, &[(DATA, 10, 0)]);
    guest.driver.run();
    let mut bytes = [0; 10];
    guest.hosts[0].read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"still here");
}

#[test]
fn works_again_after_a_reset_with_buffers_under_way() {
    let mut guest = Guest::opened(1);
    // One buffer is half sent, another one waits for the host.
    guest.driver.add(1, &[(0, 0x10_0000, 0)]);
    guest.driver.add(0, &[(DATA, 64, WRITE)]);
    guest.driver.run();
    guest.driver.write(0x70, 0);
    guest.hosts[0].write_all(b"after").unwrap();
    guest.host_ready(0, false);
    guest.driver.start(FEATURE_MULTIPORT);
    guest.expect_messages(4);
    guest.say(0, DEVICE_READY, 1);
    assert_eq!(guest.heard(), message(0, PORT_ADD, 1));
    guest.say(0, PORT_OPEN, 1);
    guest.driver.add(0, &[(DATA, 64, WRITE)]);
    guest.driver.run();
    assert_eq!(guest.driver.used(0), Some((0, 5)));
}

#[test]
fn many_ports_work() {
    let mut guest = Guest::new(20);
    for port in 0..20_u32 {
        guest.say(port, PORT_OPEN, 1);
        let (receive, transmit) = port_queues(usize::try_from(port).unwrap());
        guest.driver.put(DATA, &port.to_le_bytes());
        guest.driver.add(transmit, &[(DATA, 4, 0)]);
        guest.driver.run();
        let host = &mut guest.hosts[usize::try_from(port).unwrap()];
        let mut bytes = [0; 4];
        host.read_exact(&mut bytes).unwrap();
        assert_eq!(bytes, port.to_le_bytes());
        host.write_all(b"z").unwrap();
        guest.driver.add(receive, &[(DATA, 4, WRITE)]);
        guest.host_ready(usize::try_from(port).unwrap(), false);
        assert_eq!(guest.driver.used(receive), Some((0, 1)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever stands in the rings, the device comes to rest.
    #[test]
    fn any_rings_are_survived(
        descriptors in prop::collection::vec(
            (0_u64..0x11_0000, 0_u32..0x2_0000, 0_u16..8, 0_u16..10), 8),
        heads in prop::collection::vec((0_usize..6, 0_u16..10), 1..16),
    ) {
        let mut guest = Guest::opened(2);
        for host in &guest.hosts {
            host.set_nonblocking(true).unwrap();
        }
        for queue in 0..6 {
            for (index, &(address, length, flags, next)) in (0..).zip(&descriptors) {
                let descriptor = Descriptor { address, length, flags, next };
                guest.driver.describe(queue, index, descriptor);
            }
        }
        guest.hosts[0].write_all(&[7; 1000]).unwrap();
        for (queue, head) in heads {
            guest.driver.offer(queue, head);
            guest.host_ready(0, false);
        }
    }
}
