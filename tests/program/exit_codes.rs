//! Exit codes, signals and time limits.

use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{
    PYTHON2, assert_output, home, output, piped, python2, run, shell, signal, started,
};

#[test]
fn the_commands_code_is_ours() {
    assert_output(&output(&mut python2([], "import sys; sys.exit(7)")), 7, "");
    assert_output(&output(&mut shell([], "exit 255")), 255, "");
}

#[test]
fn a_command_killed_by_a_signal_gives_128_and_its_number() {
    assert_output(&output(&mut shell([], "kill -9 $$")), 137, "");
}

#[test]
fn the_images_own_command_runs() {
    // Without input, Python has nothing to do.
    assert_output(&output(&mut run([], PYTHON2)), 0, "");
}

#[test]
fn a_signal_to_us_reaches_the_command() {
    let child = started(&mut shell([], "echo ready; exec sleep 600"));
    signal(&child, Signal::TERM);
    let output = child.wait_with_output().unwrap();
    assert_output(&output, 143, "");

    let child = started(&mut shell(
        [],
        "trap 'echo caught; exit 9' HUP; echo ready; sleep 600 & wait",
    ));
    signal(&child, Signal::HUP);
    let output = child.wait_with_output().unwrap();
    assert_output(&output, 9, "caught\n");
}

#[test]
fn under_nohup_a_hangup_is_nothing() {
    let inner = shell([], "echo ready; read line; echo $line");
    let mut command = Command::new("sh");
    // What nohup(1) does to signals.
    command
        .args(["-c", r#"trap '' HUP; exec "$0" "$@""#])
        .arg(inner.get_program())
        .arg("run")
        .arg("--interactive");
    command.args(inner.get_args().skip(1));
    command.env("TERRARIUM_HOME", home());
    let mut child = started(&mut command);
    signal(&child, Signal::HUP);
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"still here\n")
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_output(&output, 0, "still here\n");
}

#[test]
fn the_third_signal_ends_a_command_that_ignores_them() {
    let script = "trap 'echo no' INT TERM; echo ready; while :; do sleep 600 & wait; done";
    let mut child = started(&mut shell([], script));
    for _ in 0..3 {
        signal(&child, Signal::INT);
        std::thread::sleep(Duration::from_millis(300));
    }
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn a_time_limit_ends_the_run_with_124() {
    let begun = Instant::now();
    assert_output(&output(&mut python2([], "pass")), 0, "");
    let boot = begun.elapsed();

    let begun = Instant::now();
    // Its input is held open, and nobody writes to it.
    let mut child = piped(&mut python2(
        ["-i", "--timeout", "1s"],
        "import sys; sys.stdin.read()",
    ));
    let held = child.stdin.take();
    let status = child.wait().unwrap();
    let took = begun.elapsed();
    drop(held);
    assert_eq!(status.code(), Some(124));
    // Twice the boot, because machines that run tests are busy in waves.
    assert!(
        took < 2 * boot + Duration::from_secs(4),
        "{took:?} with a boot of {boot:?}"
    );
}

#[test]
fn a_command_that_does_not_exist_gives_127() {
    for name in ["no-such-program", "/no/such/program"] {
        let output = output(run([], PYTHON2).arg(name));
        assert_output(&output, 127, "");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(name) && said.lines().count() == 1, "{said}");
    }
}

#[test]
fn a_command_that_cannot_be_executed_gives_126() {
    for name in ["/etc/passwd", "/etc"] {
        let output = output(run([], PYTHON2).arg(name));
        assert_output(&output, 126, "");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(name) && said.lines().count() == 1, "{said}");
    }
}
