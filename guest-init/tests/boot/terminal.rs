//! Commands with a terminal.

use std::io::Write;
use std::thread;
use std::time::Duration;

use guest_init::control::{ExitStatus, HostMessage, OutputStream};
use guest_init::spec::{RunSpec, TerminalSize};

use crate::guest::{Collector, Guest, finish, shell};
use crate::image::Image;

const SIGHUP: u8 = 1;
const SIGTERM: u8 = 15;

fn with_terminal(spec: RunSpec) -> RunSpec {
    RunSpec {
        terminal: Some(TerminalSize {
            rows: 24,
            columns: 80,
        }),
        stdin: true,
        ..spec
    }
}

#[test]
fn the_command_has_a_controlling_terminal_of_its_own() {
    let disk = Image::new().disk();
    let script = "tty; stty size; echo via-tty > /dev/tty; echo err >&2; echo $TERM; \
        cut -d' ' -f5,6,8 /proc/$$/stat | tr ' ' '\\n' | uniq | wc -l; ls /proc/$$/fd | wc -l; \
        stat -c %u,%g /dev/pts/0; id -u; exit 5";
    let mut spec = with_terminal(shell(script));
    spec.user = b"app".to_vec();
    let end = finish(&spec, &disk);
    assert_eq!(end.status, Ok(ExitStatus::Code(5)));
    assert_eq!(
        String::from_utf8_lossy(&end.stdout),
        "/dev/pts/0\r\n24 80\r\nvia-tty\r\nerr\r\nxterm\r\n1\r\n3\r\n1000,5\r\n1000\r\n"
    );
    assert_eq!(end.stderr, b"");
}

#[test]
fn keys_and_sizes_arrive() {
    let disk = Image::new().disk();
    let script = "trap 'stty size' WINCH; trap 'echo int' INT; echo ready; \
        read a; echo got-$a; while :; do sleep 1; done";
    let mut guest = Guest::start(&with_terminal(shell(script)), &disk);
    let output = Collector::start(&guest.stdio);
    let shown = |text: &'static str| {
        output.until(|all| String::from_utf8_lossy(all).contains(text));
    };
    shown("ready\r\n");
    guest.stdio.write_all(b"word\n").unwrap();
    shown("got-word\r\n");
    guest.tell(&HostMessage::Resize(TerminalSize {
        rows: 50,
        columns: 132,
    }));
    shown("50 132\r\n");
    guest.stdio.write_all(b"\x03").unwrap();
    shown("int\r\n");
    // Nothing is sent to a terminal for the end of input.
    guest.tell(&HostMessage::StdinEnd { bytes: 6 });
    guest.tell(&HostMessage::Signal(SIGTERM));
    assert_eq!(guest.ended(), ExitStatus::Signal(SIGTERM));
}

#[test]
fn much_output_survives_a_slow_host_and_the_end_of_the_command() {
    let disk = Image::new().disk();
    let script = "stty raw; (sleep 1000) & head -c 300000 /dev/zero; printf last";
    let guest = Guest::start(&with_terminal(shell(script)), &disk);
    thread::sleep(Duration::from_secs(2));
    let end = guest.end();
    assert_eq!(end.status, Ok(ExitStatus::Code(0)));
    assert_eq!(end.stdout.len(), 300_004);
    assert!(end.stdout.ends_with(b"\0last"));
}

#[test]
fn much_input_goes_through_a_raw_terminal() {
    let disk = Image::new().disk();
    let script = "stty raw -echo; echo ready; head -c 300000 | md5sum";
    let mut guest = Guest::start(&with_terminal(shell(script)), &disk);
    let output = Collector::start(&guest.stdio);
    output.until(|all| all == b"ready\n");
    let mut stdio = guest.stdio.try_clone().unwrap();
    let feeder = thread::spawn(move || stdio.write_all(&[b'x'; 300_000]));
    output.until(|all| all.ends_with(b"  -\n"));
    feeder.join().unwrap().unwrap();
    let told = output.until(|_| true);
    let told = String::from_utf8_lossy(&told).into_owned();
    assert_eq!(told, "ready\nd408ed46ebcc326f9e7c6bb9c77af1cd  -\n");
    assert_eq!(guest.ended(), ExitStatus::Code(0));
}

#[test]
fn a_terminal_that_nobody_shows_any_more_hangs_up() {
    let disk = Image::new().disk();
    let mut guest = Guest::start(&with_terminal(shell("while :; do echo x; done")), &disk);
    guest.tell(&HostMessage::OutputClosed(OutputStream::Stdout));
    assert_eq!(guest.ended(), ExitStatus::Signal(SIGHUP));
}
