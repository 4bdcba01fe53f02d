//! What tests of running machines share.

#[allow(dead_code, reason = "each test takes what it needs")]
pub(crate) mod bare_metal;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vmm::config::Arch;
use vmm::{Machine, VmConfig, VmExit};

use self::bare_metal::PROGRAMS;

/// Memory of the tests' machines, in bytes.
pub(crate) const MEMORY: u64 = 64 << 20;

/// A machine of one vCPU without any device, to add to.
#[allow(dead_code, reason = "each test takes what it needs")]
pub(crate) fn config(kernel: PathBuf) -> VmConfig {
    VmConfig {
        arch: Arch::HOST,
        vcpus: 1,
        memory: MEMORY,
        kernel,
        kaslr: true,
        initramfs: Vec::new(),
        command_line: String::new(),
        discovery: PROGRAMS.discovery,
        disks: Vec::new(),
        ports: Vec::new(),
        balloon: false,
        serial: None,
        sandbox: true,
        stats: true,
    }
}

/// Waits until the machine stops by itself. `None` if it still runs then.
pub(crate) fn wait(machine: &mut dyn Machine, limit: Duration) -> Option<VmExit> {
    let limit = Timespec::try_from(limit).unwrap();
    let mut fds = [PollFd::from_borrowed_fd(machine.stopped(), PollFlags::IN)];
    poll(&mut fds, Some(&limit)).unwrap();
    let stopped = !fds[0].revents().is_empty();
    let exit = machine.exit();
    assert_eq!(stopped, exit.is_some());
    exit
}

/// Stops a machine, which must not take long whatever its guest does.
pub(crate) fn stop(machine: &mut dyn Machine) {
    let start = Instant::now();
    machine.stop();
    let time = start.elapsed();
    assert!(time < Duration::from_secs(2), "stopping took {time:?}");
}

/// The numbers of this process's children, among them its machines' processes.
#[allow(dead_code, reason = "each test takes what it needs")]
pub(crate) fn children() -> Vec<String> {
    let of_task = |task: fs::DirEntry| fs::read_to_string(task.path().join("children")).unwrap();
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    tasks
        .flat_map(|task| {
            let children = of_task(task.unwrap());
            let words = children.split_whitespace().map(str::to_owned);
            words.collect::<Vec<_>>()
        })
        .collect()
}
