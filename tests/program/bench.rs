//! `terrarium bench`: results that add up, in each of their forms.

use std::env::consts::ARCH;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use images::Platform;
use serde_json::Value;

use crate::support::{PYTHON2, backend, output, terrarium};

fn bench<const N: usize>(benchmark: &str, options: [&str; N], command: &[&str]) -> Output {
    let mut bench = terrarium();
    bench.args(["bench", benchmark, "--backend", &backend()]);
    bench.args(options).arg(PYTHON2).args(command);
    output(&mut bench)
}

/// The JSON that a benchmark printed, held against its schema by an independent reader.
fn result(output: &Output) -> Value {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let scratch = tempfile::tempdir().unwrap();
    let instance = scratch.path().join("result.json");
    fs::write(&instance, &output.stdout).unwrap();
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/bench.schema.json");
    let check = "import json, jsonschema, sys; a, b = map(json.load, map(open, sys.argv[1:])); \
                 jsonschema.validate(a, b, jsonschema.Draft202012Validator)";
    let mut python = Command::new("python3");
    let checked = python.args(["-c", check]).arg(&instance).arg(&schema);
    let checked = checked.output().unwrap();
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_stages_of_a_boot_are_all_of_it_and_can_be_compared() {
    let scratch = tempfile::tempdir().unwrap();
    let drawing = scratch.path().join("boots.svg");
    let options = ["-n", "2", "--warmup", "0", "--json", "--svg"];
    let options = [&options[..], &[drawing.to_str().unwrap()]].concat();
    let output = bench::<7>("boot", options.try_into().unwrap(), &[]);
    let report = result(&output);
    let milliseconds = |value: &Value| value.as_f64().unwrap();
    let stages = report["stages"].as_array().unwrap();
    let times = || stages.iter().map(|stage| &stage["time"]);
    let whole = &report["whole"];
    // Each run is the sum of its stages, so the extremes are bounds.
    let least: f64 = times().map(|time| milliseconds(&time["min"])).sum();
    let most: f64 = times().map(|time| milliseconds(&time["max"])).sum();
    assert!(least <= milliseconds(&whole["min"]) + 1e-6, "{report}");
    assert!(most >= milliseconds(&whole["max"]) - 1e-6, "{report}");
    let boot = stages.iter().find(|stage| stage["name"] == "kernel boot");
    assert!(
        milliseconds(&boot.unwrap()["time"]["min"]) > 1.0,
        "{report}"
    );
    assert_eq!(report["machine"]["backend"], backend());
    let native: Platform = ARCH.parse().unwrap();
    assert_eq!(report["machine"]["platform"], native.to_string());
    if backend() == "kvm" {
        // A machine's start in its steps.
        for name in ["VM creation", "kernel load", "first entry"] {
            assert!(stages.iter().any(|stage| stage["name"] == name), "{report}");
        }
        assert!(
            report["stats"]["exits"]["mmio"].as_u64() > Some(10),
            "{report}"
        );
        assert!(
            report["stats"]["vmm_memory_peak"].as_u64() > Some(0),
            "{report}"
        );
    }

    let drawn = fs::read_to_string(&drawing).unwrap();
    assert!(
        drawn.starts_with("<svg") && drawn.contains("<rect"),
        "{drawn}"
    );

    let earlier = scratch.path().join("earlier.json");
    fs::write(&earlier, &output.stdout).unwrap();
    let options = ["-n", "1", "--warmup", "0", "--platform", ARCH, "--compare"];
    let options = [&options[..], &[earlier.to_str().unwrap()]].concat();
    let compared = bench::<8>("exec", options.try_into().unwrap(), &[]);
    let told = String::from_utf8(compared.stdout).unwrap();
    assert!(
        told.contains("RATIO") && told.contains("exec of "),
        "{told}"
    );
}

#[test]
fn a_command_that_fails_is_not_measured() {
    let output = bench("exec", ["-n", "1"], &["sh", "-c", "echo why >&2; exit 3"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("exit status: 3: why"), "{said}");
}

#[test]
fn machines_at_once_are_counted_and_weighed() {
    let report = result(&bench("density", ["--vms", "2", "--json"], &[]));
    assert_eq!(report["vms"], 2);
    assert_eq!(report["ended_by"], "vms");
    // A guest that runs has touched some of its memory.
    assert!(report["memory"]["min"].as_f64().unwrap() > 16e6, "{report}");
    let none = bench("density", ["--reserve", "1000t"], &[]);
    assert_eq!(none.status.code(), Some(1));
}

/// What `scripts/bench-boot` starts another VMM with, and the folder that is to be its root.
fn other_vmm(name: &str) -> (Vec<String>, tempfile::TempDir) {
    let root = tempfile::tempdir().unwrap();
    let script = ". scripts/lib/common.sh; . scripts/lib/vmms.sh
        vmm_command \"$1\" echo \"$2\" /vmlinux /init.cpio /disk.ext4
        \"${vmm_command[@]}\"";
    let mut shell = Command::new("bash");
    let shell = shell.current_dir(env!("CARGO_MANIFEST_DIR"));
    let shell = shell.args(["-euc", script, "bash", name]).arg(root.path());
    let output = shell.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let words = String::from_utf8(output.stdout).unwrap();
    (words.split_whitespace().map(str::to_owned).collect(), root)
}

#[test]
fn other_vmms_get_the_same_machine() {
    let (words, root) = other_vmm("firecracker");
    assert_eq!(words, ["--no-api", "--config-file", "/firecracker.json"]);
    let config = fs::read(root.path().join("firecracker.json")).unwrap();
    let config: Value = serde_json::from_slice(&config).unwrap();
    assert_eq!(config["boot-source"]["kernel_image_path"], "/vmlinux");
    assert_eq!(config["boot-source"]["initrd_path"], "/init.cpio");
    assert_eq!(config["drives"][0]["path_on_host"], "/disk.ext4");
    assert_eq!(config["drives"][0]["is_read_only"], true);
    assert_eq!(config["machine-config"]["mem_size_mib"], 128);
    assert_eq!(config["machine-config"]["vcpu_count"], 1);

    let (words, _root) = other_vmm("cloud-hypervisor");
    for expected in [
        "--kernel /vmlinux",
        "--initramfs /init.cpio",
        "--cpus boot=1",
        "--memory size=128M",
    ] {
        assert!(words.join(" ").contains(expected), "{words:?}");
    }
}
