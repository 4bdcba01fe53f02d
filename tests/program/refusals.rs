//! What cannot work ends in one readable line, the right exit code, and nothing left behind.

use std::process::Command;

use serde_json::json;

use crate::support::layout::{self, EMPTY_LAYER};
use crate::support::{PYTHON2, assert_refused, home, output, run, terrarium};

#[test]
fn an_image_that_cannot_be_fetched_is_named() {
    // Nothing listens on port 1.
    let image = "127.0.0.1:1/no/such:image";
    assert_refused(&output(&mut run([], image)), ["127.0.0.1:1"]);
    let refused = output(&mut run(["--pull", "never"], "localhost/not/here:1"));
    assert_refused(&refused, ["localhost/not/here:1", "terrarium pull"]);
}

#[test]
fn wrong_options_are_terrariums_own_failure() {
    for arguments in [&["run", "--no-such-option", PYTHON2][..], &["run"]] {
        let output = output(terrarium().args(arguments));
        assert_eq!(output.status.code(), Some(125));
        assert!(String::from_utf8_lossy(&output.stderr).contains("--help"));
    }
    let output = output(terrarium().arg("no-such-command"));
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_missing_kernel_is_named() {
    let empty = tempfile::tempdir().unwrap();
    let image = empty.path().join("layout");
    layout::write(
        &image,
        "localhost/a:1",
        json!({ "Cmd": ["x"] }),
        &EMPTY_LAYER,
    );
    let mut load = terrarium();
    load.env("TERRARIUM_HOME", empty.path())
        .args(["load", "-q"])
        .arg(image);
    assert!(output(&mut load).status.success());
    let mut command = run([], "localhost/a:1");
    // A mirror that nobody serves: a run without a kernel fetches one.
    command
        .env("TERRARIUM_HOME", empty.path())
        .env("TERRARIUM_ALPINE_MIRROR", "http://127.0.0.1:1/alpine");
    assert_refused(&output(&mut command), ["127.0.0.1:1/alpine", "import"]);
    let refused = output(&mut run(["--kernel", "no-such-kernel"], PYTHON2));
    assert_refused(&refused, ["no-such-kernel"]);
}

#[test]
fn memory_too_small_to_boot_is_said_before_boot() {
    let refused = output(&mut run(["--memory", "16m"], PYTHON2));
    assert_refused(&refused, ["16 MiB", "--memory"]);
}

#[test]
fn an_image_without_a_command_needs_one() {
    let folder = tempfile::tempdir().unwrap();
    layout::write(folder.path(), "localhost/silent:1", json!({}), &EMPTY_LAYER);
    let loaded = output(terrarium().args(["load", "-q"]).arg(folder.path()));
    assert!(loaded.status.success(), "{loaded:?}");
    let refused = output(&mut run([], "localhost/silent:1"));
    assert_refused(&refused, ["localhost/silent:1", "command"]);
}

#[test]
fn a_full_disk_while_building_leaves_nothing() {
    // The disks' folder is a file system that is far too small; it exists for this process only.
    let script = "\
mount -t tmpfs -o size=1m none \"$0\" && \"$@\"; code=$?; ls -A \"$0\"; exit $code";
    let disks = home().join("disks");
    let mut command = run([], PYTHON2);
    let mut confined = Command::new("unshare");
    confined.args(["--map-root-user", "--mount", "sh", "-c", script]);
    confined
        .arg(disks)
        .arg(command.get_program())
        .args(command.get_args());
    confined.env("TERRARIUM_HOME", home());
    let refused = output(&mut confined);
    assert_refused(&refused, ["No space left on device"]);
    // Not even for the test of the test does anything change outside.
    command.arg("true");
    assert!(output(&mut command).status.success());
}

#[test]
fn memory_that_the_host_refuses_is_an_error_before_boot() {
    let inner = run(["--memory", "8g"], PYTHON2);
    let mut command = Command::new("sh");
    // In KiB: half of what the guest should have.
    command.args(["-c", r#"ulimit -v 4194304; exec "$0" "$@""#]);
    command.arg(inner.get_program()).args(inner.get_args());
    command.env("TERRARIUM_HOME", home());
    assert_refused(&output(&mut command), ["memory"]);
}
