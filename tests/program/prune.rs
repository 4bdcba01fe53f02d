//! What a running machine uses stays, whatever is removed meanwhile.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Output};

use crate::support::{PYTHON2, output, own_home, piped, shell, terrarium};

#[test]
fn a_running_machine_keeps_its_disk() {
    let own = own_home();
    let here = |command: &mut Command| -> Output {
        let output = output(command.env("TERRARIUM_HOME", own.path()));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {said}");
        output
    };
    let disks = || fs::read_dir(own.path().join("disks")).unwrap().count();
    // Nothing has read the library before the user's line comes.
    let script = "echo ready; read line; python2 -c 'import json; print json.dumps([1])'";
    let mut run = shell(["-i"], script);
    let mut child = piped(run.env("TERRARIUM_HOME", own.path()));
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    here(terrarium().args(["rmi", PYTHON2]));
    here(terrarium().arg("prune"));
    let images = here(terrarium().args(["images", "--json"])).stdout;
    assert_eq!(String::from_utf8_lossy(&images).trim(), "[]");
    assert_eq!(disks(), 1, "the disk of a running machine");

    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"go on\n").unwrap();
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "[1]\n");
    assert!(child.wait().unwrap().success());
    here(terrarium().arg("prune"));
    assert_eq!(disks(), 0);
}
