//! Standard streams: byte-exact, apart, and never in each other's way.

use std::io::{Read, Write};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{assert_output, output, output_with_input, piped, python2, shell};

/// Bytes with every value and no short period.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn binary_survives_the_round_trip_with_stderr_beside_it() {
    const INPUT: usize = 50_000_000;
    const BESIDE: usize = 1_000_000;
    let program = "\
import sys, threading, shutil
beside = threading.Thread(target=lambda: sys.stderr.write('e' * 1000000))
beside.start()
shutil.copyfileobj(sys.stdin, sys.stdout, 65536)
beside.join()
sys.exit(7)";
    let input = noise(INPUT);
    let output = output_with_input(&mut python2(["-i"], program), input.clone());
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(output.stdout.len(), INPUT);
    assert!(output.stdout == input, "bytes were changed on the way");
    assert_eq!(output.stderr.len(), BESIDE);
    assert!(output.stderr.iter().all(|&byte| byte == b'e'));
}

#[test]
fn input_ends_where_it_ends() {
    let program = "import sys; sys.stdout.write(sys.stdin.read()[::-1])";
    for (input, reversed) in [("", ""), ("abc\n", "\ncba")] {
        let output = output_with_input(&mut python2(["-i"], program), input.into());
        assert_output(&output, 0, reversed);
    }
}

#[test]
fn without_i_there_is_no_input() {
    let program = "import sys; print repr(sys.stdin.read())";
    let output = output_with_input(&mut python2([], program), b"unseen".to_vec());
    assert_output(&output, 0, "''\n");
}

#[test]
fn output_is_complete_when_the_command_ends_at_once() {
    let program = "import sys; sys.stdout.write('x' * 3000000); sys.stderr.write('y' * 70000)";
    let output = output(&mut python2([], program));
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stdout.len(), 3_000_000);
    assert_eq!(output.stderr.len(), 70_000);
}

#[test]
fn a_slow_reader_loses_nothing_and_holds_up_nothing_else() {
    let script = "head -c 2000000 /dev/zero; echo done >&2";
    let mut child = piped(&mut shell([], script));
    drop(child.stdin.take());
    let mut stdout = child.stdout.take().unwrap();
    let mut first = [0; 1];
    stdout.read_exact(&mut first).unwrap();
    thread::sleep(Duration::from_millis(500));
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).unwrap();
    assert_eq!(rest.len(), 1_999_999);
    let output = child.wait_with_output().unwrap();
    assert_output(&output, 0, "");
    assert_eq!(output.stderr, b"done\n");
}

#[test]
fn a_reader_that_leaves_ends_the_command() {
    let mut child = piped(&mut shell(
        [],
        "trap 'exit 3' PIPE; while echo line; do :; done",
    ));
    drop(child.stdin.take());
    let mut stdout = child.stdout.take().unwrap();
    let mut first = [0; 5];
    stdout.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"line\n");
    drop(stdout);
    let status = child.wait().unwrap();
    // By SIGPIPE, by its trap, or by echo's error: but it ends.
    assert!(!status.success(), "{status}");
}

#[test]
fn a_full_disk_behind_standard_output_is_an_error() {
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = python2([], "print 'lost'")
        .stdout(Stdio::from(full))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{said}");
    assert!(said.contains("write standard output"), "{said}");
}

#[test]
fn a_process_left_behind_does_not_hold_up_the_end() {
    let begun = Instant::now();
    let output = output(&mut shell([], "sleep 600 & echo started"));
    assert_output(&output, 0, "started\n");
    assert!(begun.elapsed() < Duration::from_secs(300));
}

#[test]
fn input_that_nobody_reads_does_not_hold_up_the_end() {
    let mut child = piped(&mut shell(["-i"], "echo quick"));
    let mut stdin = child.stdin.take().unwrap();
    let writer = thread::spawn(move || {
        // Far more than all buffers hold; fails when terrarium ends.
        stdin.write_all(&noise(20_000_000)).is_err()
    });
    let output = child.wait_with_output().unwrap();
    assert_output(&output, 0, "quick\n");
    assert!(writer.join().unwrap(), "nobody should have read all of it");
}

#[test]
fn what_a_machine_said_before_it_died_is_passed_on() {
    // The kernel resets at once: no process of the guest gets to say anything more.
    let script = "printf last; printf words >&2; sleep 2; reboot -f; sleep 600";
    let output = output(&mut shell([], script));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_output(&output, 125, "last");
    assert!(
        said.starts_with("words")
            && said.contains("stopped before its command ended")
            && said.contains("--memory")
            && said.contains("--debug"),
        "{said}"
    );
}
