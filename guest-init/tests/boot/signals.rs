//! Signals, process groups and the protection of PID 1.

use guest_init::control::{ExitStatus, HostMessage};

use crate::guest::{Collector, Guest, finish, run, shell};
use crate::image::Image;

const SIGUSR1: u8 = 10;
const SIGTERM: u8 = 15;

#[test]
fn signals_reach_the_whole_process_group() {
    let disk = Image::new().disk();
    let script = "trap 'echo parent' USR1; trap 'echo term; exit 9' TERM; \
        sh -c 'trap \"echo child\" USR1; echo ready; sleep 100 & wait' & \
        while :; do wait; done";
    let mut guest = Guest::start(&shell(script), &disk);
    let output = Collector::start(&guest.stdio);
    output.until(|all| all == b"ready\n");
    guest.tell(&HostMessage::Signal(SIGUSR1));
    output.until(|all| {
        let all = String::from_utf8_lossy(all);
        all.contains("child\n") && all.contains("parent\n")
    });
    guest.tell(&HostMessage::Signal(SIGTERM));
    assert_eq!(guest.ended(), ExitStatus::Code(9));
}

#[test]
fn a_signal_that_is_not_caught_ends_the_command() {
    let disk = Image::new().disk();
    let mut guest = Guest::start(&shell("sleep 1000"), &disk);
    // Numbers that are no signal are nothing.
    guest.tell(&HostMessage::Signal(0));
    guest.tell(&HostMessage::Signal(255));
    guest.tell(&HostMessage::Signal(SIGTERM));
    assert_eq!(guest.ended(), ExitStatus::Signal(SIGTERM));
}

#[test]
fn the_command_starts_with_default_signals_and_no_foreign_descriptors() {
    let disk = Image::new().disk();
    let text = finish(&run(["cat", "/proc/self/status"]), &disk).text();
    for line in ["SigBlk:\t0000000000000000", "SigIgn:\t0000000000000000"] {
        assert!(text.contains(line), "{text}");
    }
    let script = "ls /proc/$$/fd; cut -d' ' -f5 /proc/$$/stat; echo $$; cat /proc/$$/oom_score_adj";
    let text = finish(&shell(script), &disk).text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..3], ["0", "1", "2"], "{text}");
    assert_eq!(lines[3], lines[4], "leads its process group");
    assert_eq!(lines[5], "0");
}

#[test]
fn nothing_that_the_command_does_ends_or_stops_pid_1() {
    let disk = Image::new().disk();
    let script = "for s in KILL STOP TERM INT SEGV PIPE CHLD HUP USR1; do kill -$s 1; done; \
        i=0; while [ $i -lt 50 ]; do (sleep 0 &) ; i=$((i+1)); done; sleep 1; \
        ps | grep -c '\\[sleep\\]'; echo alive";
    assert_eq!(finish(&shell(script), &disk).stdout, b"0\nalive\n");
}
