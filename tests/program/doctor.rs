//! `terrarium doctor`: what it finds, and its exit status.

use std::process::Command;

use serde_json::Value;

use crate::support::{backend, output, terrarium};

fn examine(command: &mut Command) -> (Option<i32>, Value) {
    let output = output(command.args(["doctor", "--json"]));
    let report = serde_json::from_slice(&output.stdout).unwrap();
    (output.status.code(), report)
}

fn verdict<'a>(report: &'a Value, subject: &str) -> &'a Value {
    let findings = report["findings"].as_array().unwrap();
    let finding = findings.iter().find(|f| f["subject"] == subject).unwrap();
    assert!(
        finding["message"].as_str().unwrap().ends_with('.'),
        "{finding}"
    );
    &finding["verdict"]
}

#[test]
fn a_host_that_can_run_machines_is_ready() {
    let (code, report) = examine(&mut terrarium());
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["ready"], true);
    for subject in ["kernel", "disk"] {
        assert_eq!(verdict(&report, subject), "good");
    }
    // The tests of the KVM backend run where KVM works.
    if backend() == "kvm" {
        assert_eq!(verdict(&report, "kvm"), "good");
        assert_eq!(report["backend"], "kvm");
    }
}

#[test]
fn a_host_without_a_kernel_is_not_ready() {
    let empty = tempfile::tempdir().unwrap();
    let (code, report) = examine(terrarium().env("TERRARIUM_HOME", empty.path()));
    assert_eq!(code, Some(1), "{report}");
    assert_eq!(report["ready"], false);
    assert_eq!(verdict(&report, "kernel"), "bad");
}

#[test]
fn a_host_with_neither_kvm_nor_qemu_is_told_what_to_install() {
    let mut command = terrarium();
    // No QEMU in an empty PATH; KVM works or not.
    let (code, report) = examine(command.env("PATH", ""));
    let kvm_works = verdict(&report, "kvm") == "good";
    assert_eq!(code, Some(if kvm_works { 0 } else { 1 }), "{report}");
    assert_eq!(
        verdict(&report, "qemu"),
        if kvm_works { "poor" } else { "bad" }
    );
}

#[test]
fn the_table_is_for_people() {
    let output = output(terrarium().arg("doctor"));
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("\nMachines run here, by the "), "{table}");
    assert_eq!(output.status.code(), Some(0));
}
