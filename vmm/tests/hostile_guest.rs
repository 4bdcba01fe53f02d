//! Guests that misbehave on purpose, against the devices of a real machine: whatever they do, the
//! host's process lives, takes bounded memory, has nothing to do once they are quiet, and can end them
//! at once.
//!
//! They run wherever `/dev/kvm` opens; a KVM that cannot run user mode is good enough.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../tests/guests/mod.rs"]
mod guests;
mod support;

use std::fs;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use guests::hostile::{self, End};
use support::bare_metal::run_with_port;
use support::{MEMORY, children, stop, wait};
use vmm::config::Arch;
use vmm::{Machine, VmExit};

const LIMIT: Duration = Duration::from_secs(60);
/// How long a guest is watched that goes on, or that is quiet.
const WATCH: Duration = Duration::from_millis(500);
/// What a machine's process may take beside the guest's memory, in bytes.
const OVERHEAD: u64 = 8 << 20;

#[test]
fn every_hostile_guest_is_contained() {
    if Arch::HOST != Arch::X86_64 {
        eprintln!("not tested here: the guests are programs for x86_64");
        return;
    }
    for (name, end, program) in hostile::guests() {
        // Nobody reads what the guest sends.
        let (port, _silent) = UnixStream::pair().unwrap();
        let Some((mut machine, output)) = run_with_port(1, &[&program.kernel()], port) else {
            return;
        };
        output.set_read_timeout(Some(LIMIT)).unwrap();
        let start = Instant::now();
        match end {
            End::Arrives => arrives(name, &mut *machine, output),
            End::Rests => rests(name, &mut *machine, output),
            End::GoesOn => assert_eq!(wait(&mut *machine, WATCH), None, "{name}"),
        }
        let time = start.elapsed();
        let stats = machine.stats().unwrap();
        stop(&mut *machine);
        // Of one that gave memory back, nobody knows how much it had of the most.
        let all = stats.memory_peak.unwrap();
        let most = stats.vmm_memory_peak.unwrap_or(all.saturating_sub(MEMORY));
        println!("{name}: {time:.2?}, {} KiB", most >> 10);
        assert!(most <= OVERHEAD, "{name}: {most} bytes");
        // It came as far as the devices.
        assert!(stats.exits["mmio"] > 5, "{name}: {stats:?}");
    }
}

fn arrives(name: &str, machine: &mut dyn Machine, mut output: UnixStream) {
    assert_eq!(wait(machine, LIMIT), Some(VmExit::Guest), "{name}");
    let mut said = [0];
    output.read_exact(&mut said).unwrap();
    assert_eq!(said, *b".", "{name}");
}

fn rests(name: &str, machine: &mut dyn Machine, mut output: UnixStream) {
    output
        .read_exact(&mut [0])
        .unwrap_or_else(|error| panic!("{name}: {error}; {:?}", machine.exit()));
    let process = children().pop().unwrap();
    // What it asked for last may take a moment more.
    thread::sleep(WATCH);
    let before = processor_time(&process);
    thread::sleep(WATCH);
    let spent = processor_time(&process) - before;
    assert!(spent <= 10, "{name}: a quiet guest took {spent} ticks");
    assert_eq!(machine.exit(), None, "{name}");
}

/// Hundredths of a second that a process has computed.
fn processor_time(process: &str) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields = stat.rsplit(')').next().unwrap();
    let mut fields = fields.split_whitespace().skip(11);
    let mut next = || fields.next().unwrap().parse::<u64>().unwrap();
    next() + next()
}
