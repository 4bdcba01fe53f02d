//! The end of a run: what is said, and the exit code, as docker's.

use anyhow::{Result, bail};
use guest_init::control::{ExitStatus, FailureKind};
use session::Outcome;
use vmm::VmExit;

use super::{RunOptions, START_TIMEOUT};
use crate::escape;
use crate::output::say;

/// `--timeout` expired.
const EXIT_TIMED_OUT: u8 = 124;
/// The guest could not be set up.
const EXIT_SETUP: u8 = crate::EXIT_RUN_FAILED;
/// The command exists but cannot be executed.
const EXIT_NOT_EXECUTABLE: u8 = 126;
/// The command does not exist.
const EXIT_NOT_FOUND: u8 = 127;

/// Says what went wrong, if anything did, and returns the exit code.
pub fn report(outcome: Outcome, machine: Option<VmExit>, options: &RunOptions) -> Result<u8> {
    Ok(match outcome {
        Outcome::Exited(ExitStatus::Code(code)) => code,
        Outcome::Exited(ExitStatus::Signal(signal)) | Outcome::Interrupted(signal) => {
            after_signal(signal)
        }
        Outcome::Failed { kind, message } => {
            // The guest says so, and it may say anything.
            say!("terrarium: {}", escape::message(&message));
            match kind {
                FailureKind::NotFound => EXIT_NOT_FOUND,
                FailureKind::NotExecutable => EXIT_NOT_EXECUTABLE,
                FailureKind::Setup => EXIT_SETUP,
            }
        }
        Outcome::TimedOut => {
            if let (Some(timeout), false) = (options.timeout, options.quiet) {
                let timeout = humantime::format_duration(timeout);
                say!("terrarium: stopped the command after {timeout} (--timeout)");
            }
            EXIT_TIMED_OUT
        }
        Outcome::Stopped => match machine {
            Some(VmExit::Broken(reason)) => bail!("The machine broke: {reason}"),
            Some(VmExit::Stuck { reason, registers }) => {
                show(&registers, options);
                bail!("The machine broke: {reason}; --debug shows more")
            }
            Some(exit @ VmExit::TripleFault { .. }) => {
                if let VmExit::TripleFault { registers } = &exit {
                    show(registers, options);
                }
                bail!(
                    "The guest stopped before its command ended: {exit}. It may need more memory \
                     (--memory), and --debug shows what its kernel says"
                )
            }
            Some(VmExit::Guest) | None => bail!(
                "The guest stopped before its command ended: it may need more memory (--memory), \
                 and --debug shows what its kernel says"
            ),
        },
        Outcome::NotStarted => bail!(
            "The guest did not start the command within {} s; --debug shows what its kernel says",
            START_TIMEOUT.as_secs()
        ),
    })
}

/// Shows a vCPU's registers to those who want to know.
fn show(registers: &[String], options: &RunOptions) {
    if options.debug {
        for line in registers {
            say!("{line}");
        }
    }
}

/// What a shell reports for a command that a signal ended.
fn after_signal(signal: u8) -> u8 {
    signal.saturating_add(128)
}
