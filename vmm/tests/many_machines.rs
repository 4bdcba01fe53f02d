//! Many machines, at once and one after the other, leave nothing behind. Alone in its program, which
//! it counts the belongings of.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::io::Read;
use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};
use support::bare_metal::{PROGRAMS, run};
use support::{children, stop, wait};
use vmm::VmExit;

/// Open descriptors, threads, and child processes, running or not waited for.
fn belongings() -> (usize, usize, usize) {
    let count = |folder: &str| fs::read_dir(folder).unwrap().count();
    (
        count("/proc/self/fd"),
        count("/proc/self/task"),
        children().len(),
    )
}

/// Lets this process have as many descriptors as it may: sixty-four machines have thousands.
fn allow_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

#[test]
fn machines_leave_nothing_behind() {
    allow_descriptors();
    let Some((mut first, output)) = run(2, &[PROGRAMS.reset]) else {
        return;
    };
    wait(&mut *first, Duration::from_secs(60));
    drop((first, output));
    let before = belongings();

    let machines: Vec<_> = (0..64)
        .map(|_| run(1, &[PROGRAMS.arrived, PROGRAMS.halt]).unwrap())
        .collect();
    assert_eq!(children().len(), 64);
    for (mut machine, mut output) in machines {
        let mut said = [0];
        output.read_exact(&mut said).unwrap();
        assert_eq!(said, *b".");
        assert_eq!(machine.exit(), None);
        stop(&mut *machine);
    }
    assert_eq!(belongings(), before);

    for _ in 0..40 {
        let (mut machine, _output) = run(2, &[PROGRAMS.reset]).unwrap();
        let exit = wait(&mut *machine, Duration::from_secs(60));
        assert_eq!(exit, Some(VmExit::Guest));
    }
    assert_eq!(belongings(), before);
}
