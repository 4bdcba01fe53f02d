//! The run, from the first mount to the last message.

use std::rc::Rc;
use std::time::Duration;

use guest_init::control::{GuestMessage, failed};
use guest_init::spec::{PATH, RunSpec};

use crate::command::{self, Started};
use crate::control_port::ControlPort;
use crate::failure::{Context, Failure};
use crate::port::Ports;
use crate::supervisor::Supervisor;
use crate::{clock, disk, early, emulation, kmsg, loopback, modules, rootfs, signals};

/// Runs the command and returns when the machine may be switched off.
///
/// # Errors
/// If the host cannot be told what is wrong, because there is no way to it.
pub(crate) fn run(started: Duration) -> Result<(), Failure> {
    early::mount()?;
    let prepared = modules::load_listed().and_then(|()| prepare());
    if let Err(failure) = &prepared {
        kmsg::log(&failure.message);
    }
    let ports = Ports::open()?;
    let signals = signals::child_signals()?;
    let control = ControlPort::new(Rc::clone(&ports.control));
    let mut supervisor = Supervisor::new(control, signals, &ports)?;
    let outcome = prepared.and_then(|spec| {
        supervisor.tell(&GuestMessage::Ready {
            init_started_us: clock::microseconds(started),
        });
        let command = begin(&spec)?;
        supervisor.tell(&GuestMessage::Started {
            command_started_us: clock::microseconds(clock::since_boot()),
        });
        supervisor.serve(command, &ports, &spec)
    });
    if let Err(failure) = outcome {
        supervisor.end_with(&failed(failure.kind, failure.message));
    }
    supervisor.run()
}

/// Everything that does not need the host.
fn prepare() -> Result<RunSpec, Failure> {
    let bytes = std::fs::read(PATH).context(|| format!("Read {PATH} in the initramfs"))?;
    let spec = RunSpec::decode(&bytes).context(|| format!("Decode {PATH} in the initramfs"))?;
    clock::correct(spec.wall_clock_ns)?;
    modules::load(spec.modules.iter().map(String::as_str))?;
    let root = if let Some(emulation) = &spec.emulation {
        emulation::register(emulation)?;
        disk::mount(&spec.root)?
    } else {
        disk::mount_only(&spec.root)?
    };
    rootfs::assemble(root, &spec)?;
    rustix::system::sethostname(&spec.hostname)
        .context(|| format!("Set the host name {}", spec.hostname.escape_ascii()))?;
    if let Err(failure) = loopback::up() {
        // A kernel without a network still runs commands.
        kmsg::log(&failure.message);
    }
    Ok(spec)
}

fn begin(spec: &RunSpec) -> Result<Started, Failure> {
    rootfs::enter()?;
    command::start(spec)
}
