//! QEMU as a running child.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, set_parent_process_death_signal};

use super::arguments::Invocation;
use crate::backend::{Machine, StartError, VmExit};

/// Bytes kept of what QEMU said on its standard error.
const MAX_MESSAGE: u64 = 4096;

/// A QEMU process. Dropped, it is killed and waited for.
#[derive(Debug)]
pub(super) struct QemuMachine {
    child: Child,
    pidfd: OwnedFd,
    /// What QEMU says on standard error, in an anonymous file: it may say more than a pipe holds.
    messages: File,
    ended: Option<ExitStatus>,
}

impl QemuMachine {
    pub(super) fn spawn(binary: &Path, invocation: Invocation) -> Result<Self, StartError> {
        let failed = |source| StartError::Host {
            what: format!("Failed to start {}", binary.display()),
            source,
        };
        let messages = message_file().map_err(failed)?;
        let mut command = Command::new(binary);
        command
            .args(&invocation.arguments)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(messages.try_clone().map_err(failed)?)
            // Not in the terminal's foreground group: keys are for the guest, signals for us.
            .process_group(0);
        let numbers: Vec<RawFd> = invocation
            .inherited
            .iter()
            .map(AsRawFd::as_raw_fd)
            .collect();
        let parent = rustix::process::getpid();
        // SAFETY: the closure runs between fork and exec; it makes system calls only, and touches
        // no memory but what was allocated before the fork.
        unsafe { command.pre_exec(move || prepare(&numbers, parent)) };
        let mut child = command.spawn().map_err(failed)?;
        let pidfd = Pid::from_child(&child);
        let pidfd = match pidfd_open(pidfd, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(e) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(failed(e.into()));
            }
        };
        Ok(Self {
            child,
            pidfd,
            messages,
            ended: None,
        })
    }

    fn explain(&mut self, status: ExitStatus) -> VmExit {
        if status.success() {
            return VmExit::Guest;
        }
        let mut said = Vec::new();
        let read = self
            .messages
            .rewind()
            .and_then(|()| (&self.messages).take(MAX_MESSAGE).read_to_end(&mut said));
        let said = said.split(|&byte| byte == 0).next().unwrap_or_default();
        let said = String::from_utf8_lossy(said);
        let how = match (status.code(), status.signal()) {
            (Some(code), _) => format!("QEMU ended with code {code}"),
            (None, Some(signal)) => format!("QEMU was killed by signal {signal}"),
            (None, None) => "QEMU ended".to_owned(),
        };
        VmExit::Broken(match (read, said.trim()) {
            (Ok(_), said) if !said.is_empty() => format!("{how}: {said}"),
            _ => how,
        })
    }
}

/// A file in memory that holds the first bytes of what QEMU says and cannot grow: a guest can make
/// QEMU complain for ever.
fn message_file() -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = File::from(memfd_create("qemu-messages", flags)?);
    file.set_len(MAX_MESSAGE)?;
    fcntl_add_seals(&file, SealFlags::GROW)?;
    Ok(file)
}

/// In the child: die with the parent, and keep exactly the descriptors that QEMU was promised.
fn prepare(inherited: &[RawFd], parent: Pid) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if rustix::process::getppid() != Some(parent) {
        return Err(io::Error::other("the parent has ended"));
    }
    for &number in inherited {
        // SAFETY: the descriptor is open: `Invocation` owns it until after the fork.
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        fcntl_setfd(descriptor, FdFlags::empty())?;
    }
    Ok(())
}

impl Machine for QemuMachine {
    fn stopped(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    fn exit(&mut self) -> Option<VmExit> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended.map(|status| self.explain(status))
    }

    fn stop(&mut self) {
        if self.ended.is_none() {
            // Both fail only if the child has ended already.
            let _ = self.child.kill();
            self.ended = self.child.wait().ok();
        }
    }
}

impl Drop for QemuMachine {
    fn drop(&mut self) {
        self.stop();
    }
}
