//! Guests that lie to the loop, or say nothing.

use std::io::{Read, Write};
use std::thread;

use guest_init::control::{ExitStatus, encode};

use super::*;
use crate::ports;

const OPTIONS: Options = Options {
    stdin: false,
    terminal: false,
    timeout: None,
    start_timeout: Duration::from_secs(20),
};
const STATUS: ExitStatus = ExitStatus::Code(3);
/// What is left of the time for the guest where most of it is over.
const LEFT: Duration = Duration::from_millis(100);

/// Runs a session whose guest writes to its control port and to standard error what `control` and `stderr`
/// give, piece by piece until they end or nobody listens; `change` prepares the loop.
fn session(
    options: Options,
    mut control: impl FnMut() -> Option<Vec<u8>> + Send,
    mut stderr: impl FnMut() -> Option<Vec<u8>> + Send,
    change: impl FnOnce(&mut EventLoop<'_>),
) -> Outcome {
    let (host, [guest_control, _stdio, guest_stderr]) = ports().unwrap();
    let (stopped, _running) = UnixStream::pair().unwrap();
    let speak = |mut port: UnixStream, say: &mut (dyn FnMut() -> Option<Vec<u8>> + Send)| {
        port.set_nonblocking(false).unwrap();
        while let Some(piece) = say() {
            if port.write_all(&piece).is_err() {
                break;
            }
        }
        // As a machine that still runs, it holds the port until the session is over.
        port
    };
    thread::scope(|scope| {
        let control = scope.spawn(move || speak(guest_control.1, &mut control));
        let stderr = scope.spawn(move || speak(guest_stderr.1, &mut stderr));
        let signals = Signals::catch().unwrap();
        let mut milestone = |_| ();
        let mut event_loop = EventLoop::new(host, signals, options, &mut milestone).unwrap();
        let nowhere = std::fs::File::create("/dev/null").unwrap();
        let source = event_loop.stderr.wants_source().unwrap();
        let source = source.try_clone_to_owned().unwrap();
        event_loop.stderr = Flow::new(Some(source.into()), nowhere.into());
        change(&mut event_loop);
        let outcome = event_loop.run(stopped.as_fd()).unwrap();
        drop((control, stderr));
        outcome
    })
}

#[test]
fn a_guest_that_never_starts_its_command_is_given_up() {
    let options = Options {
        start_timeout: Duration::from_millis(50),
        ..OPTIONS
    };
    let silent = session(options, || None, || None, |_| ());
    assert_eq!(silent, Outcome::NotStarted);
    let ready = encode(&GuestMessage::Ready { init_started_us: 1 }).unwrap();
    let flood = ready.repeat(100);
    let floods = session(options, || Some(flood.clone()), || None, |_| ());
    assert_eq!(floods, Outcome::NotStarted);
}

#[test]
fn a_limit_holds_whatever_the_guest_says() {
    let options = Options {
        timeout: Some(Duration::from_millis(50)),
        ..OPTIONS
    };
    let started = GuestMessage::Started {
        command_started_us: 1,
    };
    let started = encode(&started).unwrap().repeat(100);
    let floods = session(
        options,
        || Some(started.clone()),
        || Some(vec![b'x'; 1000]),
        |_| (),
    );
    assert_eq!(floods, Outcome::TimedOut);
}

/// Ends the command with this much of standard error announced, and most of the time for it over already.
fn nearly_over(event_loop: &mut EventLoop<'_>, stderr_bytes: u64) {
    event_loop.end(Outcome::Exited(STATUS), 0, stderr_bytes);
    let ending = event_loop.ending.as_mut().unwrap();
    ending.waited = DRAIN_LIMIT.checked_sub(LEFT).unwrap();
}

#[test]
fn output_that_is_announced_and_comes_drop_by_drop_ends() {
    let drops = || {
        thread::sleep(Duration::from_millis(10));
        Some(vec![b'x'])
    };
    let begun = Instant::now();
    let outcome = session(
        OPTIONS,
        || None,
        drops,
        |event_loop| nearly_over(event_loop, u64::MAX),
    );
    assert_eq!(outcome, Outcome::Exited(STATUS));
    assert!(begun.elapsed() < DRAIN_TIMEOUT);
}

#[test]
fn output_that_is_announced_without_end_and_floods_ends() {
    let exited = GuestMessage::Exited {
        status: STATUS,
        stdout_bytes: 0,
        stderr_bytes: u64::MAX,
    };
    let mut last_word = Some(encode(&exited).unwrap());
    let begun = Instant::now();
    let outcome = session(
        OPTIONS,
        || last_word.take(),
        || Some(vec![b'x'; 1 << 20]),
        |_| (),
    );
    assert_eq!(outcome, Outcome::Exited(STATUS));
    assert!(begun.elapsed() < DRAIN_LIMIT);
}

#[test]
fn a_reader_may_take_its_time_for_what_the_guest_wrote() {
    const BYTES: usize = 1 << 20;
    let (mut reader, sink) = std::io::pipe().unwrap();
    let reader = thread::spawn(move || {
        thread::sleep(LEFT * 3);
        let mut taken = Vec::new();
        reader.read_to_end(&mut taken).unwrap();
        taken.len()
    });
    let mut output = Some(vec![b'x'; BYTES]);
    let outcome = session(
        OPTIONS,
        || None,
        || output.take(),
        |event_loop| {
            let source = event_loop.stderr.wants_source().unwrap();
            let source = source.try_clone_to_owned().unwrap();
            event_loop.stderr = Flow::new(Some(source.into()), sink.into());
            nearly_over(event_loop, BYTES as u64);
        },
    );
    assert_eq!(outcome, Outcome::Exited(STATUS));
    assert_eq!(reader.join().unwrap(), BYTES);
}
