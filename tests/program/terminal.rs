//! `-t`: a terminal at both ends.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use crate::support::pty::OnTerminal;
use crate::support::registry::Registry;
use crate::support::{
    PYTHON2, assert_refused, backend, given, home, output, run, shell, terrarium,
};

#[test]
fn the_prompt_answers_and_the_terminal_is_as_before() {
    let mut screen = OnTerminal::start(&mut run([], PYTHON2));
    screen.expect(">>> ");
    assert!(!screen.is_as_before(), "not in raw mode");
    screen.type_in("print 6 * 7\n");
    screen.expect("42\r\n");
    screen.type_in("import sys; sys.exit(3)\n");
    let (status, _) = screen.end();
    assert_eq!(status.code(), Some(3));
    assert!(screen.is_as_before());
}

#[test]
fn keys_are_the_commands() {
    let mut screen = OnTerminal::start(&mut shell(["-it"], "echo ready; exec cat"));
    screen.expect("ready");
    // The terminal in the guest makes SIGINT of it.
    screen.type_in("\u{3}");
    assert_eq!(screen.end().0.code(), Some(130));
}

#[test]
fn the_size_follows_ours() {
    let script = "stty size; trap 'stty size; exit' WINCH; echo ready; while :; do sleep 1; done";
    let mut screen = OnTerminal::start(&mut shell(["-it"], script));
    screen.expect("24 80\r\n");
    screen.expect("ready");
    screen.resize(50, 132);
    screen.expect("50 132\r\n");
    assert_eq!(screen.end().0.code(), Some(0));
}

#[test]
fn the_terminal_is_restored_when_a_signal_ends_us() {
    let mut screen = OnTerminal::start(&mut shell(["-it"], "echo ready; exec sleep 600"));
    screen.expect("ready");
    let pid = rustix::process::Pid::from_child(&screen.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(screen.end().0.code(), Some(143));
    assert!(screen.is_as_before());
}

/// The progress of a pull catches signals as well, and must leave them to the command.
#[test]
fn after_a_pull_signals_are_the_commands() {
    let own = tempfile::tempdir().unwrap();
    symlink(home().join("kernels"), own.path().join("kernels")).unwrap();
    let registry = Registry::start();
    let layout = PathBuf::from(given("TERRARIUM_TEST_STANDIN"));
    registry.push(&layout, PYTHON2, "python:2");
    let mut run = terrarium();
    run.args(["run", "--backend", &backend(), "-it"]);
    run.arg(format!("{}/python:2", registry.host()));
    let script = "trap 'echo caught; exit 7' TERM; echo ready; while :; do sleep 1; done";
    run.args(["sh", "-c", script]);
    let mut screen = OnTerminal::start(run.env("TERRARIUM_HOME", own.path()));
    screen.expect("building disk");
    screen.expect("ready");
    let pid = rustix::process::Pid::from_child(&screen.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    screen.expect("caught");
    assert_eq!(screen.end().0.code(), Some(7));
    assert!(screen.is_as_before());
}

#[test]
fn t_without_a_terminal_is_refused() {
    assert_refused(&output(&mut run(["-it"], PYTHON2)), ["-t", "terminal"]);
}
