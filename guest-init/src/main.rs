//! PID 1 of a terrarium guest.
//!
//! The order is the order of the modules below: the file systems that everything needs, the kernel's
//! modules, the root disk, the container's view of it, the ports to the host, the command, and the
//! loop that serves it until it ends. Nothing here waits for time to pass, only for events.

mod child;
mod clock;
mod command;
mod control_port;
mod devices;
mod disk;
mod early;
mod emulation;
mod environment;
mod etc_files;
mod exec;
mod failure;
mod kmsg;
mod loopback;
mod modules;
mod mount;
mod pipes;
mod port;
mod power;
mod relay;
mod rootfs;
mod run;
mod signals;
mod supervisor;
mod users;

use std::process::ExitCode;

fn main() -> ExitCode {
    let started = clock::since_boot();
    if std::process::id() != 1 {
        eprintln!(
            "guest-init is the first process of a terrarium guest and does nothing elsewhere"
        );
        return ExitCode::FAILURE;
    }
    // Not before: what follows a panic is the end of the machine.
    kmsg::report_panics();
    if let Err(failure) = run::run(started) {
        kmsg::log(&failure.message);
    }
    power::off()
}
