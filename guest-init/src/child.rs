//! The command's process between fork and exec.

use std::ffi::{CString, c_char, c_ulong};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::ptr;

use guest_init::spec::Rlimit;
use rustix::io::Errno;
use rustix::process::{Pid, ioctl_tiocsctty, setsid};
use rustix::thread::{Gid, Uid, set_thread_gid, set_thread_groups, set_thread_uid};

use crate::pipes::TheirEnds;
use crate::users::Identity;
use crate::{exec, signals};

/// Where an error number ends in the code that a failed child sends, and the step begins.
const STEP_SHIFT: u32 = 16;

/// The execution domain of a 32-bit machine (the kernel's `include/uapi/linux/personality.h`).
const PER_LINUX32: c_ulong = 8;

/// Everything that the child needs, made before the fork.
#[derive(Debug)]
pub(crate) struct Child {
    /// Whom it becomes.
    pub(crate) identity: Identity,
    /// It sees a 32-bit machine.
    pub(crate) linux32: bool,
    /// Its limits.
    pub(crate) rlimits: Vec<Rlimit>,
    /// Its standard input is a terminal, to be its controlling one.
    pub(crate) terminal: bool,
    /// Files to execute: the first that can be.
    pub(crate) candidates: Vec<CString>,
    /// Its arguments.
    pub(crate) argv: Vec<CString>,
    /// Its environment.
    pub(crate) environment: Vec<CString>,
}

/// What the child does, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Fork,
    Session,
    Terminal,
    Personality,
    Limit,
    Groups,
    User,
    Execute,
}

impl Step {
    const ALL: [Self; 8] = [
        Self::Fork,
        Self::Session,
        Self::Terminal,
        Self::Personality,
        Self::Limit,
        Self::Groups,
        Self::User,
        Self::Execute,
    ];

    /// What failed, for people.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::Fork => "Start a process for the command",
            Self::Session => "Give the command its session",
            Self::Terminal => "Give the command its terminal",
            Self::Personality => "Let the kernel run the command as on a 32-bit machine",
            Self::Limit => "Set the command's resource limits",
            Self::Groups => "Set the command's groups",
            Self::User => "Set the command's user",
            Self::Execute => "Execute the command",
        }
    }

    /// An error of this step as the one number that std passes on from the child.
    fn error(self, error: Errno) -> io::Error {
        let step = Self::ALL.iter().position(|&step| step == self);
        let step = step.and_then(|step| i32::try_from(step).ok()).unwrap_or(0);
        io::Error::from_raw_os_error(error.raw_os_error() | step << STEP_SHIFT)
    }

    /// The step and the error in what the child passed on.
    fn of(error: &io::Error) -> (Self, Errno) {
        let code = error.raw_os_error().unwrap_or(0);
        let step = usize::try_from(code >> STEP_SHIFT).ok();
        let step = step.and_then(|step| Self::ALL.get(step)).copied();
        let errno = code & ((1 << STEP_SHIFT) - 1);
        (step.unwrap_or(Self::Fork), Errno::from_raw_os_error(errno))
    }
}

impl Child {
    /// Starts the process and waits until it runs its program.
    pub(crate) fn spawn(self, ends: TheirEnds) -> Result<Pid, (Step, Errno)> {
        // std gives the child its streams and the default signals, the closure does the rest and
        // executes, so what is named here is never used.
        let mut command = Command::new("/");
        command
            .stdin(ends.stdin.map_or_else(Stdio::null, Stdio::from))
            .stdout(ends.stdout)
            .stderr(ends.stderr);
        if !self.terminal {
            command.process_group(0);
        }
        let run = move || Err(self.become_command());
        // SAFETY: this process has one thread, so that the child may do all that it could.
        unsafe { command.pre_exec(run) };
        let child = command.spawn().map_err(|error| Step::of(&error))?;
        i32::try_from(child.id())
            .ok()
            .and_then(Pid::from_raw)
            .ok_or((Step::Fork, Errno::RANGE))
    }

    /// Returns only if something failed.
    fn become_command(&self) -> io::Error {
        if let Err(error) = self.prepare() {
            return error;
        }
        let argv = pointers(&self.argv);
        let environment = pointers(&self.environment);
        let error = exec::first_of(&self.candidates, |program| {
            // SAFETY: `argv` and `environment` end with a null pointer and point to strings that
            // `self` holds.
            unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), environment.as_ptr()) };
            last_error()
        });
        Step::Execute.error(error)
    }

    fn prepare(&self) -> Result<(), io::Error> {
        signals::unblock_all();
        if self.terminal {
            setsid().map_err(|error| Step::Session.error(error))?;
            ioctl_tiocsctty(rustix::stdio::stdin()).map_err(|error| Step::Terminal.error(error))?;
        }
        if self.linux32 {
            set_linux32().map_err(|error| Step::Personality.error(error))?;
        }
        for limit in &self.rlimits {
            set_limit(limit).map_err(|error| Step::Limit.error(error))?;
        }
        let groups: Vec<Gid> = self
            .identity
            .groups
            .iter()
            .copied()
            .map(Gid::from_raw)
            .collect();
        set_thread_groups(&groups)
            .and_then(|()| set_thread_gid(Gid::from_raw(self.identity.gid)))
            .map_err(|error| Step::Groups.error(error))?;
        set_thread_uid(Uid::from_raw(self.identity.uid)).map_err(|error| Step::User.error(error))
    }
}

/// Strings as `execve(2)` takes them.
fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    let all = strings.iter().map(|string| string.as_ptr());
    all.chain([ptr::null()]).collect()
}

/// `uname(2)` names the 32-bit architecture from here on, for this process and all its children.
fn set_linux32() -> Result<(), Errno> {
    // SAFETY: personality(2) takes a number and touches no memory of this process.
    if unsafe { libc::personality(PER_LINUX32) } < 0 {
        return Err(last_error());
    }
    Ok(())
}

fn set_limit(limit: &Rlimit) -> Result<(), Errno> {
    let new = libc::rlimit64 {
        rlim_cur: limit.soft,
        rlim_max: limit.hard,
    };
    // SAFETY: prlimit64 reads one `rlimit64` and, told so by the null pointer, writes none.
    let result = unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            0,
            limit.resource,
            &raw const new,
            ptr::null::<libc::rlimit64>(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(last_error())
    }
}

fn last_error() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_and_errors_survive_the_one_number() {
        for step in Step::ALL {
            assert_eq!(Step::of(&step.error(Errno::PERM)), (step, Errno::PERM));
        }
        let plain = io::Error::from_raw_os_error(Errno::NOMEM.raw_os_error());
        assert_eq!(Step::of(&plain), (Step::Fork, Errno::NOMEM));
    }
}
