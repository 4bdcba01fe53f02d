//! Linux guests on KVM: this program starts them, and is their PID 1.
//!
//! It takes the newest kernel of the store in `$TERRARIUM_HOME`, and is skipped where KVM fails the
//! self-test, unless `TERRARIUM_TEST_KVM` is set: then that is a failure.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod disk_io;
mod guest;
mod host;
#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;
use std::time::Instant;

use host::Host;

/// A test: what the host does, while the guest does what `guest::scenario` has under the same name.
type Scenario = (&'static str, fn(&Host));

const SCENARIOS: [Scenario; 14] = [
    ("devices", host::devices),
    ("small-memory", host::small_memory),
    ("two-cpus", host::two_cpus),
    ("four-cpus", host::four_cpus),
    ("large-memory", host::large_memory),
    ("random-io", host::random_io),
    ("freed-memory", host::freed_memory),
    ("clock", host::clock),
    ("ports", host::ports),
    ("stream", host::stream),
    ("restart", host::resets),
    ("power-off", host::ends),
    ("panic", host::resets),
    ("spin", host::is_stopped),
];

fn main() -> ExitCode {
    if std::process::id() == 1 {
        guest::main();
    }
    let skip = |reason: String| {
        if std::env::var_os("TERRARIUM_TEST_KVM").is_some() {
            eprintln!("Cannot test Linux guests: {reason}");
            ExitCode::FAILURE
        } else {
            eprintln!("Linux guests are not tested here: {reason}");
            ExitCode::SUCCESS
        }
    };
    if let Err(error) = vmm::self_test() {
        return skip(error.to_string());
    }
    let host = match Host::new() {
        Ok(host) => host,
        Err(reason) => return skip(reason),
    };
    let filter = std::env::args()
        .nth(1)
        .filter(|word| !word.starts_with('-'));
    for (name, test) in SCENARIOS {
        if filter.as_ref().is_some_and(|filter| !name.contains(filter)) {
            continue;
        }
        let start = Instant::now();
        let host = host.for_scenario(name);
        // A failed assertion ends the program, with the scenario's name and its console before it.
        test(&host);
        println!("{name}: ok ({:.1} s)", start.elapsed().as_secs_f64());
    }
    ExitCode::SUCCESS
}
