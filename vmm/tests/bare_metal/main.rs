//! Machines whose "kernel" is a few instructions that do what no kernel should: each must end as it
//! was meant to, or be stopped at once.
//!
//! They run wherever `/dev/kvm` opens; a KVM that cannot run user mode is good enough.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod aarch64;
#[path = "../support/mod.rs"]
mod support;
mod x86_64;

use std::io::Read;
use std::time::Duration;

use support::bare_metal::{PROGRAMS, kernel, run, start};
use support::{config, stop, wait};
use vmm::backend::kvm::Kvm;
use vmm::config::{Disk, InitramfsPart, Writes};
use vmm::{Backend, StartError, VmConfig, VmExit};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(500);

/// The guest does `code` and arrives at `end`, which ends the machine.
fn ends(code: &[&[u8]], end: &[u8]) {
    let Some((mut machine, mut output)) = run(1, &[&code.concat(), PROGRAMS.arrived, end]) else {
        return;
    };
    assert_eq!(wait(&mut *machine, LONG), Some(VmExit::Guest));
    stop(&mut *machine);
    assert_eq!(machine.exit(), Some(VmExit::Guest));
    drop(machine);
    let mut said = Vec::new();
    output.read_to_end(&mut said).unwrap();
    assert_eq!(said.last(), Some(&b'.'), "the program did not arrive");
}

fn goes_on_until_stopped(code: &[&[u8]]) {
    let Some((mut machine, _output)) = run(2, code) else {
        return;
    };
    assert_eq!(wait(&mut *machine, SHORT), None);
    stop(&mut *machine);
    assert_eq!(machine.exit(), None);
}

#[test]
fn a_reset_ends_the_machine() {
    ends(&[], PROGRAMS.reset);
}

#[test]
fn a_power_off_ends_the_machine() {
    ends(&[], PROGRAMS.power_off);
}

#[test]
fn any_device_register_may_be_written_and_read() {
    let code = [PROGRAMS.map_devices, PROGRAMS.touch_devices];
    ends(&code, PROGRAMS.reset);
}

#[test]
fn what_a_machine_did_is_counted() {
    // Three bytes on the serial port, and a read of a device's register.
    let dot = PROGRAMS.arrived;
    for end in [PROGRAMS.reset, PROGRAMS.halt] {
        let code = [
            PROGRAMS.map_devices,
            PROGRAMS.read_device,
            dot,
            dot,
            dot,
            end,
        ];
        let Some((mut machine, mut output)) = run(1, &code) else {
            return;
        };
        let mut said = [0; 3];
        output.read_exact(&mut said).unwrap();
        if end == PROGRAMS.reset {
            assert_eq!(wait(&mut *machine, LONG), Some(VmExit::Guest));
        }
        let stats = machine.stats().unwrap();
        // Where there are ports, the serial port has some.
        let (memory, ports) = (stats.exits["mmio"], stats.exits["port"]);
        assert!(memory >= 1 && memory + ports >= 4, "{stats:?}");
        assert!(stats.exit_time > Some(0), "{stats:?}");
        let names: Vec<_> = stats.devices.iter().map(|device| &*device.name).collect();
        assert_eq!(names, ["block", "console", "rng", "balloon"]);
        assert!(stats.devices.iter().all(|device| device.operations == 0));
        // The kernel of a host before 5.14 counts nothing.
        if let Some(exits) = stats.kvm.get("exits") {
            assert!(*exits >= 4, "{stats:?}");
        }
        let (guest, peak) = (stats.guest_memory.unwrap(), stats.memory_peak.unwrap());
        assert!(guest >= 4096 && guest < peak && peak < 1 << 30, "{stats:?}");
    }
}

#[test]
fn halting_for_ever_is_no_hang() {
    goes_on_until_stopped(&[PROGRAMS.halt]);
}

#[test]
fn an_endless_loop_is_no_hang() {
    goes_on_until_stopped(&[PROGRAMS.spin]);
}

#[test]
fn endless_notifications_are_no_hang() {
    goes_on_until_stopped(&[PROGRAMS.map_devices, PROGRAMS.notify_for_ever]);
}

#[test]
fn endless_resets_of_a_device_are_no_hang() {
    goes_on_until_stopped(&[PROGRAMS.map_devices, PROGRAMS.reset_device_for_ever]);
}

#[test]
fn the_serial_port_says_what_the_guest_says() {
    let Some((mut machine, mut output)) = run(1, &[PROGRAMS.say_hi, PROGRAMS.reset]) else {
        return;
    };
    assert_eq!(wait(&mut *machine, LONG), Some(VmExit::Guest));
    drop(machine);
    let mut said = String::new();
    output.read_to_string(&mut said).unwrap();
    assert_eq!(said, "hi");
}

#[test]
fn a_serial_port_that_nobody_reads_is_no_hang() {
    goes_on_until_stopped(&[PROGRAMS.say_for_ever]);
}

#[test]
fn what_cannot_start_says_why() {
    let message = |config: VmConfig| match Kvm.start(config) {
        Ok(_) => panic!("it started"),
        Err(StartError::Config(message)) => message,
        Err(error @ StartError::Host { .. }) => error.to_string(),
    };
    if start(config(kernel(PROGRAMS.reset).path().into())).is_none() {
        return;
    }
    let good = kernel(PROGRAMS.reset);
    let with = |change: fn(&mut VmConfig)| {
        let mut config = config(good.path().into());
        change(&mut config);
        message(config)
    };
    assert!(with(|c| c.vcpus = 0).contains("vCPU"));
    if let Some(vcpus) = PROGRAMS.too_many_vcpus {
        let mut config = config(good.path().into());
        config.vcpus = vcpus;
        assert!(message(config).contains(&format!("{vcpus} vCPUs")));
    }
    assert!(with(|c| c.memory = 0).contains("memory"));
    assert!(with(|c| c.memory = 4097).contains("memory"));
    assert!(with(|c| c.memory = 1 << 20).contains("1 MiB"));
    assert!(with(|c| c.kernel = "/nonexistent/vmlinux".into()).contains("/nonexistent/vmlinux"));
    assert!(with(|c| c.kernel = "/etc/passwd".into()).contains("/etc/passwd"));
    assert!(with(|c| c.command_line = "x".repeat(4000)).contains("4000"));
    assert!(with(|c| c.command_line = "a\0b".into()).contains("NUL"));
    assert!(
        with(|c| c.initramfs.push(InitramfsPart::Bytes(vec![0; 64 << 20]))).contains("too small")
    );
    let disks = |c: &mut VmConfig| {
        for _ in 0..100 {
            c.disks.push(Disk {
                path: c.kernel.clone(),
                serial: String::new(),
                writes: Writes::Refused,
            });
        }
    };
    assert!(with(disks).contains("whole number"));
    // More memory than any host has.
    assert!(with(|c| c.memory = 1 << 50).contains("memory"));
}
