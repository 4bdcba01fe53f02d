use std::os::unix::net::UnixStream;

use super::*;

/// Our end, non-blocking, and the other.
fn pair() -> (Rc<OwnedFd>, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    theirs.set_nonblocking(true).unwrap();
    (Rc::new(ours.into()), theirs)
}

fn write(stream: &UnixStream, bytes: &[u8]) {
    assert_eq!(rustix::io::write(stream, bytes).unwrap(), bytes.len());
}

fn read(stream: &UnixStream) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0; 1 << 20];
    let length = rustix::io::read(stream, &mut bytes)?;
    bytes.truncate(length);
    Ok(bytes)
}

#[test]
fn a_full_sink_holds_the_source_up() {
    let (source, writer) = pair();
    let (sink, reader) = pair();
    let mut relay = Relay::to_port(source, sink);
    let mut sent = 0;
    while let Ok(length) = rustix::io::write(&writer, &[7; 10_000]) {
        sent += length;
        while relay.pump() {}
        assert!(sent < 10 << 20, "Nothing holds the writer up");
    }
    // All comes out once there is room again.
    let mut received = 0;
    while received < sent {
        received += read(&reader).unwrap().len();
        while relay.pump() {}
    }
    assert_eq!(relay.given(), u64::try_from(sent).unwrap());
    assert_eq!(read(&reader), Err(Errno::AGAIN));
}

#[test]
fn the_end_of_the_source_is_the_end_of_the_relay_but_not_a_port_without_a_host() {
    let (source, writer) = pair();
    let (sink, reader) = pair();
    drop(writer);
    let mut to_port = Relay::to_port(Rc::clone(&source), Rc::clone(&sink));
    to_port.pump();
    assert!(to_port.is_done());

    let mut from_port = Relay::from_port(source, sink);
    from_port.pump();
    from_port.close_sink_if_done();
    assert!(!from_port.is_done());
    drop(to_port);
    assert_eq!(read(&reader), Err(Errno::AGAIN), "The sink is still open");
}

#[test]
fn the_sink_is_closed_after_the_last_byte_and_gets_no_more() {
    let (source, writer) = pair();
    let (sink, reader) = pair();
    let mut relay = Relay::from_port(source, sink);
    relay.end_at(5);
    write(&writer, b"abc");
    relay.pump();
    relay.close_sink_if_done();
    assert_eq!(read(&reader).unwrap(), b"abc");
    assert_eq!(read(&reader), Err(Errno::AGAIN));
    write(&writer, b"deX");
    relay.pump();
    relay.close_sink_if_done();
    assert_eq!(read(&reader).unwrap(), b"de");
    assert_eq!(read(&reader).unwrap(), b"");
}

#[test]
fn an_end_that_has_already_passed_ends_at_once() {
    let (source, writer) = pair();
    let (sink, reader) = pair();
    let mut relay = Relay::from_port(source, sink);
    write(&writer, b"abc");
    relay.pump();
    relay.end_at(2);
    relay.close_sink_if_done();
    assert_eq!(read(&reader).unwrap(), b"abc");
    assert_eq!(read(&reader).unwrap(), b"");
}

#[test]
fn finishing_takes_what_is_there_and_no_more() {
    let (source, writer) = pair();
    let (sink, reader) = pair();
    let mut relay = Relay::to_port(source, sink);
    write(&writer, b"before");
    let waiting = relay.waiting();
    write(&writer, b"after");
    relay.finish(waiting);
    while relay.pump() {}
    assert!(relay.is_done());
    assert_eq!(read(&reader).unwrap(), b"before");

    // What is not there any more is not waited for.
    let (source, _writer) = pair();
    let mut relay = Relay::to_port(source, pair().0);
    relay.finish(100);
    relay.pump();
    assert!(relay.is_done());
}

#[test]
fn a_sink_that_is_closed_closes_the_source() {
    let (source, writer) = pair();
    let (sink, reader) = pair();
    drop(reader);
    let mut relay = Relay::to_port(source, sink);
    write(&writer, b"x");
    relay.pump();
    assert!(relay.is_done());
    assert_eq!(rustix::io::write(&writer, b"y"), Err(Errno::PIPE));
}
