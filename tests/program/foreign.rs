//! Guests of another architecture than the host's: whole machines, which QEMU alone translates.

use std::process::Command;

use crate::support::{
    PYTHON2, assert_output, assert_refused, given, output, output_with_input, terrarium,
};

/// `terrarium run` of the arm64 stand-in, with `options` before the image.
fn run_arm64<const N: usize>(options: [&str; N]) -> Command {
    let mut command = terrarium();
    command.env("TERRARIUM_HOME", given("TERRARIUM_TEST_HOME_ARM64"));
    command.args(["run", "--platform", "linux/arm64", "--quiet"]);
    command.args(options).arg(PYTHON2);
    command
}

#[test]
fn an_arm64_guest_runs_on_any_host() {
    let program = "\
import platform, sys
sys.stderr.write('beside')
print platform.python_version(), platform.system(), platform.machine(), sys.stdin.read()
sys.exit(42)";
    let mut command = run_arm64(["--backend", "qemu", "--cpus", "2", "-i"]);
    command.args(["python2", "-c", program]);
    let output = output_with_input(&mut command, b"given".to_vec());
    assert_output(&output, 42, "2.7.18 Linux aarch64 given\n");
    assert_eq!(output.stderr, b"beside");
}

#[test]
fn without_qemu_an_image_of_another_architecture_is_refused() {
    let mut command = run_arm64(["--backend", "qemu"]);
    assert_refused(
        &output(command.env("PATH", "")),
        ["QEMU", "qemu-system-arm"],
    );
}
