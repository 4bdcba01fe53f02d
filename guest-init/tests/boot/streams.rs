//! Standard streams and exit status.

use std::io::Write;
use std::thread;
use std::time::Duration;

use guest_init::control::{ExitStatus, HostMessage, OutputStream};
use guest_init::spec::RunSpec;

use crate::guest::{Guest, finish, run, shell};
use crate::image::Image;

const SIGKILL: u8 = 9;
const SIGPIPE: u8 = 13;

fn with_stdin(spec: RunSpec) -> RunSpec {
    RunSpec {
        stdin: true,
        ..spec
    }
}

/// Bytes without a pattern that a lost or doubled block would fit.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .collect()
}

#[test]
fn exit_code_and_both_outputs_come_back() {
    let disk = Image::new().disk();
    let end = finish(&shell("echo out; echo err >&2; exit 7"), &disk);
    assert_eq!(end.status, Ok(ExitStatus::Code(7)));
    assert_eq!(end.stdout, b"out\n");
    assert_eq!(end.stderr, b"err\n");
}

#[test]
fn a_command_killed_by_a_signal_says_which() {
    let end = finish(&shell("kill -9 $$"), &Image::new().disk());
    assert_eq!(end.status, Ok(ExitStatus::Signal(SIGKILL)));
}

#[test]
fn megabytes_pass_unchanged_in_and_out_with_errors_beside_them() {
    let disk = Image::new().disk();
    let script =
        "dd if=/dev/zero bs=1000 count=1000 2>/dev/null | tr '\\0' e >&2 & cat; wait; exit 3";
    let mut guest = Guest::start(&with_stdin(shell(script)), &disk);
    let input = noise(5_000_001);
    let sent = input.clone();
    let mut stdio = guest.stdio.try_clone().unwrap();
    guest.tell(&HostMessage::StdinEnd { bytes: 5_000_001 });
    let feeder = thread::spawn(move || stdio.write_all(&sent));
    let end = guest.end();
    feeder.join().unwrap().unwrap();
    assert_eq!(end.status, Ok(ExitStatus::Code(3)));
    assert!(end.stdout == input, "{} bytes came back", end.stdout.len());
    assert_eq!(end.stderr, [b'e'; 1_000_000]);
}

#[test]
fn standard_input_ends_after_its_last_byte_whenever_that_is_said() {
    let disk = Image::new().disk();
    let mut guest = Guest::start(&with_stdin(run(["cat"])), &disk);
    guest.stdio.write_all(b"first").unwrap();
    guest.tell(&HostMessage::StdinEnd { bytes: 11 });
    thread::sleep(Duration::from_millis(300));
    guest.stdio.write_all(b" then").unwrap();
    thread::sleep(Duration::from_millis(300));
    // The byte after the end belongs to nobody.
    guest.stdio.write_all(b".X").unwrap();
    assert_eq!(guest.end().text(), "first then.");

    let mut guest = Guest::start(&with_stdin(run(["cat"])), &disk);
    guest.stdio.write_all(b"all of it").unwrap();
    thread::sleep(Duration::from_millis(300));
    guest.tell(&HostMessage::StdinEnd { bytes: 9 });
    assert_eq!(guest.end().text(), "all of it");

    let mut guest = Guest::start(&with_stdin(shell("cat; echo done")), &disk);
    guest.tell(&HostMessage::StdinEnd { bytes: 0 });
    assert_eq!(guest.end().text(), "done\n");
}

#[test]
fn without_standard_input_the_command_reads_nothing() {
    let disk = Image::new().disk();
    let end = finish(&shell("readlink /proc/self/fd/0; cat; echo done"), &disk);
    assert_eq!(end.text(), "/dev/null\ndone\n");
}

#[test]
fn a_command_that_closes_its_input_goes_on() {
    let disk = Image::new().disk();
    let mut guest = Guest::start(&with_stdin(shell("exec 0<&-; sleep 1; echo done")), &disk);
    guest.stdio.write_all(&noise(10_000)).unwrap();
    assert_eq!(guest.end().text(), "done\n");
}

#[test]
fn output_that_nobody_reads_any_more_ends_the_writer() {
    let disk = Image::new().disk();
    let mut guest = Guest::start(&run(["yes"]), &disk);
    guest.tell(&HostMessage::OutputClosed(OutputStream::Stdout));
    assert_eq!(guest.ended(), ExitStatus::Signal(SIGPIPE));

    // The other output stays.
    let script = "sleep 1; echo out; (echo err >&2) 2>/dev/null; echo $?";
    let mut guest = Guest::start(&shell(script), &disk);
    guest.tell(&HostMessage::OutputClosed(OutputStream::Stderr));
    assert_eq!(guest.end().text(), "out\n0\n");
}

#[test]
fn a_host_that_does_not_read_holds_the_command_up_and_loses_nothing() {
    let disk = Image::new().disk();
    let script = "i=0; while [ $i -lt 60 ]; do head -c 50000 /dev/zero; i=$((i+1)); done; echo end";
    let guest = Guest::start(&shell(script), &disk);
    thread::sleep(Duration::from_secs(7));
    let end = guest.end();
    assert_eq!(end.status, Ok(ExitStatus::Code(0)));
    assert_eq!(end.stdout.len(), 3_000_004);
    assert!(end.stdout.ends_with(b"\0end\n"));
}

#[test]
fn orphans_that_hold_the_pipes_do_not_hold_the_end() {
    let disk = Image::new().disk();
    let script = "(sleep 1000; echo late) & (yes >&2) & echo early; exit 4";
    let end = finish(&shell(script), &disk);
    assert_eq!(end.status, Ok(ExitStatus::Code(4)));
    assert_eq!(end.stdout, b"early\n");
}
