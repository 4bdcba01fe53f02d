use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use super::*;

fn pair() -> (UnixStream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    (ours, theirs)
}

#[test]
fn bytes_wait_in_the_buffer_and_the_source_is_left_alone_until_they_are_gone() {
    let (source, mut writer) = pair();
    let (sink, mut reader) = pair();
    let mut flow = Flow::new(Some(source), sink);
    writer.write_all(&[b'a'; WRITE + 1]).unwrap();

    assert_eq!(flow.read().unwrap(), Step::Moved);
    assert!(flow.wants_source().is_none() && flow.wants_sink().is_some());
    assert_eq!(flow.write().unwrap(), Step::Moved);
    assert!(
        flow.wants_sink().is_some(),
        "one byte more than is written at once"
    );
    assert_eq!(flow.write().unwrap(), Step::Moved);
    assert!(flow.wants_source().is_some() && flow.wants_sink().is_none());

    let mut arrived = [0; WRITE + 1];
    reader.read_exact(&mut arrived).unwrap();
    assert_eq!(arrived, [b'a'; WRITE + 1]);
    assert_eq!(flow.received(), WRITE as u64 + 1);
}

#[test]
fn the_source_ends_once() {
    let (source, writer) = pair();
    let (sink, _reader) = pair();
    let mut flow = Flow::new(Some(source), sink);
    drop(writer);
    assert_eq!(flow.read().unwrap(), Step::SourceEnded);
    assert!(flow.wants_source().is_none());
    assert_eq!(flow.read().unwrap(), Step::Moved);
}

#[test]
fn without_a_sink_bytes_are_counted_and_dropped() {
    let (source, mut writer) = pair();
    let (sink, reader) = pair();
    let mut flow = Flow::new(Some(source), sink);
    drop(reader);
    writer.write_all(b"first").unwrap();
    flow.read().unwrap();
    assert_eq!(flow.write().unwrap(), Step::SinkClosed);
    writer.write_all(b"second").unwrap();
    assert_eq!(flow.read().unwrap(), Step::Moved);
    assert!(!flow.is_pending());
    assert_eq!(flow.received(), 11);
}

#[test]
fn a_sink_without_room_is_an_error() {
    let (source, mut writer) = pair();
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let mut flow = Flow::new(Some(source), full);
    writer.write_all(b"x").unwrap();
    flow.read().unwrap();
    assert_eq!(
        flow.write().unwrap_err().kind(),
        std::io::ErrorKind::StorageFull
    );
}

#[test]
fn no_more_is_taken_than_there_is_to_be() {
    let (source, mut writer) = pair();
    let (sink, _reader) = pair();
    let mut flow = Flow::new(Some(source), sink);
    writer.write_all(b"all and more").unwrap();
    flow.end_at(3);
    assert!(!flow.is_done());
    assert_eq!(flow.read().unwrap(), Step::Moved);
    assert_eq!(flow.received(), 3);
    assert!(!flow.is_done());
    assert_eq!(flow.write().unwrap(), Step::Moved);
    assert!(flow.is_done() && flow.wants_source().is_none());
    assert_eq!(flow.read().unwrap(), Step::Moved);
    assert_eq!(flow.received(), 3);
}
