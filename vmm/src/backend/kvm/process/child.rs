//! The machine's process.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Signal, set_parent_process_death_signal, setsid};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use rustix::thread::set_name;

use super::channel::{Channel, Report};
use super::fork;
use crate::backend::kvm::machine::KvmMachine;
use crate::backend::kvm::{self, lifecycle};
use crate::backend::{Machine, StartError};
use crate::config::VmConfig;
use crate::signals;

/// Makes the machine of `config`, runs it, and reports. Returns when it has stopped, or its owner is
/// gone.
pub(super) fn run(config: VmConfig, channel: &Channel) {
    match start(config, channel) {
        Ok(mut machine) => {
            if channel.send(Report::Started).is_ok() {
                attend(&mut machine, channel);
            }
        }
        Err(error) => {
            // Without an owner there is nobody to tell.
            let _ = channel.send(Report::Failed((&error).into()));
        }
    }
}

fn start(config: VmConfig, channel: &Channel) -> Result<KvmMachine, StartError> {
    leave(&config, channel).map_err(|source| StartError::Host {
        what: "Cannot set up the machine's process".into(),
        source,
    })?;
    lifecycle::remember_panics();
    kvm::build(config)?.start()
}

/// Parts from the owner: its descriptors, its terminal, its signals.
fn leave(config: &VmConfig, channel: &Channel) -> io::Result<()> {
    signals::block_all()?;
    let ports = config.ports.iter().map(|port| port.stream.as_raw_fd());
    let serial = config.serial.iter().map(|serial| serial.as_raw_fd());
    let own = [channel.as_raw_fd()];
    fork::close_others(ports.chain(serial).chain(own).collect())?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
    setsid()?;
    set_name(c"terrarium-vmm")?;
    // Should the owner have ended before this, the channel is closed.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    Ok(())
}

/// Waits for the machine's end and reports it.
fn attend(machine: &mut dyn Machine, channel: &Channel) {
    loop {
        let mut fds = [
            PollFd::from_borrowed_fd(machine.stopped(), PollFlags::IN),
            // That it is closed need not be asked for.
            PollFd::from_borrowed_fd(channel.as_fd(), PollFlags::empty()),
        ];
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
        if !fds[1].revents().is_empty() {
            return;
        }
        if let Some(exit) = machine.exit() {
            let _ = channel.send(Report::Stopped(exit));
            return;
        }
    }
}
