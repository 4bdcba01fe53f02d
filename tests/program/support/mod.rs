//! What the tests are given, by environment variables that `scripts/test` sets, and how they use it.

pub mod layout;
pub mod mirror;
pub mod proxy;
pub mod pty;
#[path = "../../../images/tests/common/registry.rs"]
pub mod registry;
pub mod store;

use std::env;
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};
use tempfile::TempDir;

/// The stand-in for `python:2.7.16-alpine3.9`, in the test home.
pub const PYTHON2: &str = "localhost/python:2.7.18-standin";
/// The official image of Python 3.12 on Alpine, in the test home.
pub const PYTHON3: &str = "localhost/python:3.12-alpine";

/// Longer than any run takes, even on an emulated host.
const PATIENCE: Duration = Duration::from_secs(300);

/// The value of an environment variable of `scripts/test`.
pub fn given(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run these tests by scripts/test"))
}

/// A store that holds a kernel and both images. Tests may add to it, but take nothing away.
pub fn home() -> PathBuf {
    PathBuf::from(given("TERRARIUM_TEST_HOME"))
}

/// A store of a test's own, with the test home's kernels and the stand-in image.
pub fn own_home() -> TempDir {
    let own = tempfile::tempdir().unwrap();
    symlink(home().join("kernels"), own.path().join("kernels")).unwrap();
    let mut load = terrarium();
    load.args(["load", "--quiet", &given("TERRARIUM_TEST_STANDIN")]);
    let output = output(load.env("TERRARIUM_HOME", own.path()));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    own
}

/// The backend under test.
pub fn backend() -> String {
    given("TERRARIUM_TEST_BACKEND")
}

/// The command, with the test home and nothing of the user's environment that it looks at.
pub fn terrarium() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_terrarium"));
    command.env("TERRARIUM_HOME", home()).stdin(Stdio::null());
    command
}

/// `terrarium run` on the backend under test, with `options` before the image.
pub fn run<const N: usize>(options: [&str; N], image: &str) -> Command {
    let mut command = terrarium();
    command.args(["run", "--backend", &backend(), "--quiet"]);
    // Set only for tests that do not say it themselves.
    if let Ok(cpus) = env::var("TERRARIUM_TEST_CPUS") {
        command.args(["--cpus", &cpus]);
    }
    command.args(options).arg(image);
    command
}

/// `terrarium run` of a line of Python 2.
pub fn python2<const N: usize>(options: [&str; N], program: &str) -> Command {
    let mut command = run(options, PYTHON2);
    command.args(["python2", "-c", program]);
    command
}

/// `terrarium run` of a line of shell.
pub fn shell<const N: usize>(options: [&str; N], script: &str) -> Command {
    let mut command = run(options, PYTHON2);
    command.args(["sh", "-c", script]);
    command
}

/// Runs a command to its end, and takes both of its streams.
pub fn output(command: &mut Command) -> Output {
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    spawn(command).wait_with_output().unwrap()
}

/// Runs a command to its end with `input` as its standard input.
pub fn output_with_input(command: &mut Command, input: Vec<u8>) -> Output {
    let mut child = piped(command);
    let mut stdin = child.stdin.take().unwrap();
    let writer = thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    // The command may have ended without reading all of it.
    let _ = writer.join().unwrap();
    output
}

/// Starts a command with pipes on its three standard streams.
pub fn piped(command: &mut Command) -> Child {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    spawn(command.stderr(Stdio::piped()))
}

/// Starts a command that is killed once it lasts longer than any should: one that hangs fails its own test,
/// and the others are run.
pub fn spawn(command: &mut Command) -> Child {
    let child = command.spawn().unwrap();
    let process = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).unwrap();
    thread::spawn(move || {
        let limit = Timespec::try_from(PATIENCE).unwrap();
        if poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&limit)) == Ok(0) {
            eprintln!("killed after {} s", PATIENCE.as_secs());
            pidfd_send_signal(&process, Signal::KILL).unwrap();
        }
    });
    child
}

/// Starts a command and waits for the line that it prints first, which is to be `ready`.
pub fn started(command: &mut Command) -> Child {
    let mut child = piped(command);
    let mut line = [0; 6];
    let stdout = child.stdout.as_mut().unwrap();
    stdout
        .read_exact(&mut line)
        .expect("the command should say that it runs");
    assert_eq!(&line, b"ready\n");
    child
}

/// Sends a signal to a command that runs.
pub fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Asserts the exit code and the whole of standard output; shows standard error if either differs.
#[track_caller]
pub fn assert_output(output: &Output, code: i32, stdout: impl AsRef<OsStr>) {
    let said = String::from_utf8_lossy(&output.stderr);
    let got = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(code), "{got}{said}");
    assert_eq!(*got, *stdout.as_ref().to_string_lossy(), "{said}");
}

/// Asserts a failure of terrarium's own: code 125, nothing on standard output, and one line on
/// standard error that contains each of `parts`.
#[track_caller]
pub fn assert_refused<const N: usize>(output: &Output, parts: [&str; N]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{said}");
    assert_eq!(output.stdout, b"", "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    for part in parts {
        assert!(said.contains(part), "{part:?} is not in {said:?}");
    }
}
