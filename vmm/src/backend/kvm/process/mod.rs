//! A machine in a process of its own, so that a guest that takes it over has taken nothing else.

#[cfg(test)]
mod broken;
mod channel;
mod child;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitStatus, kill_process};

use self::channel::{Channel, Report};
use crate::Stats;
use crate::backend::kvm::lifecycle;
use crate::backend::timeline::Timeline;
use crate::backend::{Machine, StartError, VmExit, fork};
use crate::config::VmConfig;
use crate::confinement::enter_namespaces;

/// How long a process may take to say what its machine did: one that a guest has taken over may say
/// nothing. Emulated hosts are slow.
const PATIENCE: Duration = Duration::from_secs(20);

/// The owner's side of a machine's process. Dropped, it kills the process and waits for its end.
#[derive(Debug)]
pub(super) struct VmmProcess {
    pid: Pid,
    channel: Channel,
    /// The process has ended and was waited for.
    ended: bool,
    exit: Option<VmExit>,
    /// What the process said last about what the machine did.
    stats: Option<Stats>,
    /// It was asked for them, and has not answered.
    asked: bool,
    timeline: Arc<Timeline>,
}

impl VmmProcess {
    /// Starts a process with the machine of `config`.
    pub(super) fn start(config: VmConfig) -> Result<Self, StartError> {
        let failed = |source| StartError::Host {
            what: "Cannot make a process for the machine".into(),
            source,
        };
        let (channel, theirs) = Channel::pair().map_err(failed)?;
        let timeline = Arc::new(Timeline::new().map_err(failed)?);
        let sandbox = config.sandbox;
        let enter = || enter_namespaces(sandbox);
        let childs = Arc::clone(&timeline);
        lifecycle::prepare_for_panics();
        let pid = fork::spawn(enter, move |namespaces| {
            child::run(config, namespaces, &theirs, childs);
        })
        .map_err(failed)?;
        // From here on, dropping it ends what has been started.
        let mut process = Self::owning(pid, channel, timeline);
        match process.channel.receive() {
            Ok(Some(Report::Started)) => {
                tracing::debug!(pid = pid.as_raw_nonzero(), "the machine runs");
                Ok(process)
            }
            Ok(Some(Report::Failed(failure))) => Err(failure.into()),
            Ok(Some(Report::Stopped {
                exit: VmExit::Broken(reason),
                ..
            })) => Err(failed(io::Error::other(reason))),
            other => Err(failed(io::Error::other(process.explain(&other)))),
        }
    }

    /// The owner's side of a process that was just made.
    fn owning(pid: Pid, channel: Channel, timeline: Arc<Timeline>) -> Self {
        Self {
            pid,
            channel,
            ended: false,
            exit: None,
            stats: None,
            asked: false,
            timeline,
        }
    }

    /// Takes what the process said while its machine ran, or that it says nothing any more.
    fn take(&mut self, said: io::Result<Option<Report>>) {
        match said {
            // Whoever says them unasked could go on for ever.
            Ok(Some(Report::Stats(stats))) if std::mem::take(&mut self.asked) => {
                self.stats = Some(stats);
            }
            Ok(Some(Report::Stopped { exit, stats })) => {
                self.exit = Some(exit);
                self.stats = stats.or(self.stats.take());
            }
            other => self.exit = Some(VmExit::Broken(self.explain(&other))),
        }
    }

    /// Ends the process and says what became of it, or what it said instead of what it should.
    fn explain(&mut self, said: &io::Result<Option<Report>>) -> String {
        let status = self.end();
        match (said, status) {
            (Ok(Some(report)), _) => format!("the machine's process said {report:?}"),
            (Err(error), _) => format!("the machine's process cannot be understood: {error}"),
            (Ok(None), Some(status)) => fork::describe_end("the machine's process", status),
            (Ok(None), None) => "the machine's process ended".into(),
        }
    }

    /// Ends the process, if it has not ended, and returns how it did.
    fn end(&mut self) -> Option<WaitStatus> {
        if std::mem::replace(&mut self.ended, true) {
            return None;
        }
        // Its number is its own until it has been waited for.
        let _ = kill_process(self.pid, Signal::KILL);
        let status = fork::wait(self.pid).ok().flatten();
        tracing::debug!(
            pid = self.pid.as_raw_nonzero(),
            ?status,
            "the machine's process ended"
        );
        status
    }
}

impl Machine for VmmProcess {
    fn stopped(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }

    fn exit(&mut self) -> Option<VmExit> {
        while self.exit.is_none() && !self.ended {
            match self.channel.try_receive() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                other => self.take(other),
            }
        }
        self.exit.clone()
    }

    fn stats(&mut self) -> Option<Stats> {
        // What it said at the machine's end came with that.
        if self.exit().is_none() && !self.ended {
            self.stats = None;
            self.asked = true;
            // Fails if it has just ended, which is found out below.
            let _ = self.channel.ask();
            let limit = Timespec::try_from(PATIENCE).ok();
            while self.stats.is_none() && self.exit.is_none() {
                let mut fds = [PollFd::new(&self.channel, PollFlags::IN)];
                match poll(&mut fds, limit.as_ref()) {
                    Ok(0) => break,
                    Err(error) if error != Errno::INTR => break,
                    Ok(_) | Err(_) => {}
                }
                match self.channel.try_receive() {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    other => self.take(other),
                }
            }
        }
        self.stats.clone()
    }

    fn timeline(&self) -> Vec<(&'static str, Duration)> {
        self.timeline.read()
    }

    fn stop(&mut self) {
        self.end();
    }

    fn abandon(mut self: Box<Self>) {
        if !std::mem::replace(&mut self.ended, true) {
            fork::abandon(self.pid);
        }
    }
}

impl Drop for VmmProcess {
    fn drop(&mut self) {
        self.stop();
    }
}
