//! Backends: what runs a virtual machine.
//!
//! Two exist at run time, so they are behind a trait: `kvm`, and `qemu` for hosts without a usable KVM.
//! Both run each machine in a child process.

mod fork;
pub mod kvm;
pub mod qemu;
mod timeline;

use std::fmt::{self, Debug};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Stats, VmConfig};

/// Something that can run virtual machines on this host.
pub trait Backend: Debug {
    /// The name for `--backend` and for messages.
    fn name(&self) -> &'static str;

    /// Starts a machine and returns while it boots.
    ///
    /// # Errors
    /// If the machine cannot be made; nothing of it is left then.
    fn start(&self, config: VmConfig) -> Result<Box<dyn Machine>, StartError>;
}

/// A running machine. Dropping it stops it and frees all it holds.
pub trait Machine: Debug {
    /// Becomes readable when the machine has stopped by itself.
    fn stopped(&self) -> BorrowedFd<'_>;

    /// Why the machine stopped by itself; `None` while it runs.
    fn exit(&mut self) -> Option<VmExit>;

    /// What the machine did so far, by [`VmConfig::stats`]; nothing after it was stopped.
    fn stats(&mut self) -> Option<Stats>;

    /// The steps of the machine's start and the time of `CLOCK_MONOTONIC` at which each was done, in their
    /// order, as far as the backend can tell. The machine's process says so, which a guest may have taken
    /// over.
    fn timeline(&self) -> Vec<(&'static str, Duration)>;

    /// Stops the machine at once, without telling the guest. Does nothing if it has stopped.
    fn stop(&mut self);

    /// Stops the machine at once, for a caller that is about to end itself: the host's kernel takes tens of
    /// milliseconds to free a machine, which nobody has to wait for. Where nobody would take note of
    /// the end of a process that its parent left behind, it waits like [`stop`](Self::stop).
    fn abandon(self: Box<Self>);
}

/// Why a machine stopped by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VmExit {
    /// The guest powered off or reset; a machine never restarts.
    Guest,
    /// A vCPU met a fault while it handled one that it met while it handled one: the guest's kernel has
    /// crashed, or resets machines that way (x86_64), be it to restart or after a panic. Nothing tells
    /// one from the other.
    TripleFault {
        /// The vCPU's registers, for people.
        registers: Vec<String>,
    },
    /// KVM cannot go on with a vCPU.
    Stuck {
        /// Why, for people.
        reason: String,
        /// The vCPU's registers, for people.
        registers: Vec<String>,
    },
    /// The machine cannot go on: what happened, for people.
    Broken(String),
}

impl fmt::Display for VmExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Guest => f.write_str("the guest powered off or reset"),
            Self::TripleFault { .. } => {
                f.write_str("its kernel restarted, panicked or crashed (a triple fault)")
            }
            Self::Stuck { reason, .. } | Self::Broken(reason) => f.write_str(reason),
        }
    }
}

/// Why a machine could not be started.
///
/// Callers print the chain; what to do about it is part of the message where the machine knows.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Part of the configuration cannot be used.
    #[error("{0}")]
    Config(String),
    /// An operation of the host failed.
    #[error("{what}")]
    Host {
        /// What was tried, on what.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
}
