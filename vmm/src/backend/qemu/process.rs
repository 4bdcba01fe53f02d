//! QEMU as a running child.

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitStatus, kill_process, pidfd_open, set_parent_process_death_signal,
    setsid,
};
use rustix::stdio::dup2_stderr;

use super::arguments::Invocation;
use super::confine::confine;
use crate::Stats;
use crate::backend::timeline::{Step, Timeline};
use crate::backend::{Machine, StartError, VmExit, fork};
use crate::confinement::enter_namespaces;

/// Bytes kept of what QEMU said on its standard error.
const MAX_MESSAGE: u64 = 4096;

/// A QEMU process. Dropped, it is killed and waited for.
#[derive(Debug)]
pub(super) struct QemuMachine {
    pid: Pid,
    pidfd: OwnedFd,
    /// What QEMU says on standard error, in an anonymous file: it may say more than a pipe holds.
    messages: File,
    ended: Option<WaitStatus>,
    /// Waited for, or by somebody else.
    gone: bool,
    timeline: Timeline,
}

impl QemuMachine {
    pub(super) fn spawn(binary: &Path, invocation: Invocation) -> Result<Self, StartError> {
        let failed = |source| StartError::Host {
            what: format!("Failed to start {}", binary.display()),
            source,
        };
        let messages = message_file().map_err(failed)?;
        tracing::debug!(?binary, arguments = ?invocation.arguments, "starting QEMU");
        let timeline = Timeline::new().map_err(failed)?;
        let pid = launch(binary, &invocation, &messages, &timeline).map_err(failed)?;
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => Ok(Self {
                pid,
                pidfd,
                messages,
                ended: None,
                gone: false,
                timeline,
            }),
            Err(error) => {
                let _ = kill_process(pid, Signal::KILL);
                let _ = fork::wait(pid);
                Err(failed(error.into()))
            }
        }
    }

    /// Waits for its end, which must be near.
    fn reap(&mut self) {
        if !std::mem::replace(&mut self.gone, true) {
            self.ended = fork::wait(self.pid).ok().flatten();
        }
    }

    fn explain(&self, status: WaitStatus) -> VmExit {
        if status.exit_status() == Some(0) {
            return VmExit::Guest;
        }
        let mut said = Vec::new();
        let mut messages = &self.messages;
        let read = messages
            .rewind()
            .and_then(|()| messages.take(MAX_MESSAGE).read_to_end(&mut said));
        let said = said.split(|&byte| byte == 0).next().unwrap_or_default();
        let said = String::from_utf8_lossy(said);
        let said: Vec<_> = said.split_whitespace().collect();
        let said = said.join(" ");
        let how = fork::describe_end("QEMU", status);
        VmExit::Broken(match read {
            Ok(_) if !said.is_empty() => format!("{how}: {said}"),
            _ => how,
        })
    }
}

/// Starts QEMU in a process of its own, with what it inherits, confined if it is to be.
fn launch(
    binary: &Path,
    invocation: &Invocation,
    messages: &File,
    timeline: &Timeline,
) -> io::Result<Pid> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    let mut command = Command::new(binary);
    command
        .args(&invocation.arguments)
        .env_clear()
        .env("TMPDIR", invocation.temporary());
    let enter = || enter_namespaces(invocation.sandbox);
    let pid = fork::spawn(enter, |_| {
        let error = match prepare(binary, invocation, messages, &write) {
            Ok(()) => {
                timeline.mark(Step::Process);
                command.exec()
            }
            Err(error) => error,
        };
        let number = error.raw_os_error().unwrap_or(libc::EIO);
        // Without a reader there is nobody to tell.
        let _ = rustix::io::write(&write, &number.to_ne_bytes());
    })?;
    drop(write);
    let mut number = [0; 4];
    // The other end closes when the program is executed.
    match File::from(read).read_exact(&mut number) {
        Err(_) => Ok(pid),
        Ok(()) => {
            fork::wait(pid)?;
            Err(io::Error::from_raw_os_error(i32::from_ne_bytes(number)))
        }
    }
}

/// In the child: keep exactly the descriptors that QEMU was promised, and nothing else that it does not
/// need; die with the parent, who holds the other end of `parent`.
fn prepare(
    binary: &Path,
    invocation: &Invocation,
    messages: &File,
    parent: &OwnedFd,
) -> io::Result<()> {
    fork::close_standard_streams()?;
    dup2_stderr(messages)?;
    let inherited = invocation.inherited.iter().map(AsRawFd::as_raw_fd);
    fork::close_others(inherited.chain([parent.as_raw_fd()]).collect())?;
    for descriptor in &invocation.inherited {
        fcntl_setfd(descriptor, FdFlags::empty())?;
    }
    // Not in the terminal's foreground group: keys are for the guest, signals for us.
    setsid()?;
    if invocation.sandbox {
        confine(binary, invocation)?;
    }
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let mut fds = [PollFd::new(parent, PollFlags::empty())];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut fds, Some(&now))?;
    if fds[0].revents().contains(PollFlags::ERR) {
        return Err(io::Error::other("the parent has ended"));
    }
    Ok(())
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

impl Machine for QemuMachine {
    fn stopped(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    fn exit(&mut self) -> Option<VmExit> {
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        if !self.gone && poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0) {
            self.reap();
        }
        self.ended.map(|status| self.explain(status))
    }

    fn stats(&mut self) -> Option<Stats> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let bytes = |name| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
            kib.checked_mul(1024)
        };
        Some(Stats {
            memory_peak: bytes("VmHWM:"),
            ..Stats::default()
        })
    }

    fn timeline(&self) -> Vec<(&'static str, Duration)> {
        self.timeline.read()
    }

    fn stop(&mut self) {
        if !self.gone {
            // Its number is its own until it has been waited for.
            let _ = kill_process(self.pid, Signal::KILL);
            self.reap();
        }
    }

    fn abandon(mut self: Box<Self>) {
        if !std::mem::replace(&mut self.gone, true) {
            fork::abandon(self.pid);
        }
    }
}

impl Drop for QemuMachine {
    fn drop(&mut self) {
        self.stop();
    }
}
