//! Readers that go.

use std::fs;
use std::io::pipe;
use std::process::{Command, Stdio};

use crate::place::Place;
use crate::support::{PYTHON3, given, output, terrarium};

/// Runs a command whose standard output nobody reads.
fn unread(command: &mut Command) -> (Option<i32>, String) {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let output = command
        .stdout(writer)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), said)
}

#[test]
fn a_reader_that_has_gone_ends_a_command_quietly() {
    let kernel = terrarium()
        .args(["kernel", "ls", "--json"])
        .output()
        .unwrap();
    let kernels: serde_json::Value = serde_json::from_slice(&kernel.stdout).unwrap();
    let kernel = kernels[0]["id"].as_str().unwrap();
    for arguments in [
        &["images"][..],
        &["images", "--json"],
        &["inspect", "python:2.7.16-alpine3.9"],
        &["inspect", "--json", PYTHON3],
        &["disk", "usage"],
        &["disk", "--quiet", PYTHON3],
        &["disk", "--quiet", "--output", "-", PYTHON3],
        &["save", PYTHON3],
        &["kernel", "ls"],
        &["kernel", "inspect", kernel],
        &["doctor"],
        &["doctor", "--json"],
    ] {
        let ended = unread(terrarium().args(arguments));
        assert_eq!(ended, (Some(141), String::new()), "{arguments:?}");
    }
}

#[test]
fn a_package_cannot_move_the_cursor() {
    let place = Place::new();
    let package = place.path("\x1b[2J\u{202e}linux.deb");
    std::os::unix::fs::symlink(given("TERRARIUM_TEST_KERNEL_DEB"), &package).unwrap();
    let mut import = place.terrarium();
    let id = output(import.args(["kernel", "import", "--deb"]).arg(&package)).stdout;
    let id = String::from_utf8(id).unwrap();
    for arguments in [
        &["kernel", "ls"][..],
        &["kernel", "ls", "--json"],
        &["kernel", "inspect", id.trim()],
        &["kernel", "inspect", "--json", id.trim()],
    ] {
        let shown = output(place.terrarium().args(arguments)).stdout;
        let shown = String::from_utf8(shown).unwrap();
        assert!(
            shown.contains("202e") && shown.contains("linux.deb"),
            "{shown}"
        );
        assert!(!shown.contains(['\x1b', '\u{202e}']), "{shown:?}");
    }
}

#[test]
fn nobody_has_to_hear_about_progress() {
    let place = Place::new();
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let mut load = place.terrarium();
    load.arg("load").arg(place.layout()).stderr(writer);
    let loaded = load.output().unwrap();
    assert!(loaded.status.success(), "{:?}", loaded.status);
    assert!(
        fs::read_dir(place.path("home/images/blobs/sha256"))
            .unwrap()
            .count()
            > 0
    );
    // A failure keeps its code.
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let mut load = place.terrarium();
    load.arg("load").arg(place.path("none")).stderr(writer);
    assert_eq!(load.output().unwrap().status.code(), Some(1));
}
