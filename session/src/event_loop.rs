//! The loop that moves everything.

#[cfg(test)]
mod tests;

use std::fmt;
use std::io::Stdin;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use guest_init::control::{FailureKind, GuestMessage, HostMessage, OutputStream};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::control::Control;
use crate::flow::{Flow, Step};
use crate::signals::{Arrived, Signals};
use crate::{HostPorts, Milestone, Options, Outcome, SessionError, terminal};

/// How long output that the guest announced may fail to arrive once the command has ended.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the guest may be waited for, all in all, while such output comes. What it wrote before its last word
/// is in its buffers, so this is enough for any, and a guest that lies about its output ends as well.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);

/// What may still come of a stream after the guest's last word, in bytes: a guest that writes as fast as it is read
/// is never waited for, so no time ends it. guest-init says that word once a port has taken all output, however
/// long our reader keeps it waiting before that. What is on its way then lies in the port's queue, of 128 buffers
/// (QEMU's; ours has 64) of at most 32 KiB (Linux's), and in a socket: all in all a fraction of this.
const MAX_OUTSTANDING: u64 = 32 << 20;

/// This many signals that ask the program to end are not a request any more: as docker does.
const IMPATIENCE: u32 = 3;

/// What `poll(2)` found.
#[derive(Clone, Copy, Debug)]
enum Ready {
    Control(PollFlags),
    Signals,
    Stopped,
    StdinSource,
    StdinSink,
    StdoutSource,
    StdoutSink,
    StderrSource,
    StderrSink,
}

/// The state of a session.
pub(crate) struct EventLoop<'a> {
    options: Options,
    milestone: &'a mut dyn FnMut(Milestone),
    signals: Signals,
    control: Control,
    stdin: Flow<Stdin, UnixStream>,
    stdout: Flow<UnixStream, OwnedFd>,
    stderr: Flow<UnixStream, OwnedFd>,
    begun: Instant,
    started: Option<Instant>,
    ready_seen: bool,
    first_output_seen: bool,
    end_requests: u32,
    ending: Option<Ending>,
}

/// What is left to do after the guest's last word: passing on its output.
#[derive(Clone, Debug)]
struct Ending {
    outcome: Outcome,
    last_progress: Instant,
    /// How long the guest was waited for, and not our own reader.
    waited: Duration,
}

impl fmt::Debug for EventLoop<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventLoop")
            .field("options", &self.options)
            .field("started", &self.started)
            .field("ending", &self.ending)
            .finish_non_exhaustive()
    }
}

impl<'a> EventLoop<'a> {
    pub(crate) fn new(
        ports: HostPorts,
        signals: Signals,
        options: Options,
        milestone: &'a mut dyn FnMut(Milestone),
    ) -> Result<Self, SessionError> {
        let stdin_sink = ports
            .stdio
            .try_clone()
            .map_err(|e| SessionError::host("share the stdio port", e))?;
        Ok(Self {
            options,
            milestone,
            signals,
            control: Control::new(ports.control),
            stdin: Flow::new(options.stdin.then(std::io::stdin), stdin_sink),
            stdout: Flow::new(Some(ports.stdio), sink(std::io::stdout())?),
            stderr: Flow::new(Some(ports.stderr), sink(std::io::stderr())?),
            begun: Instant::now(),
            started: None,
            ready_seen: false,
            first_output_seen: false,
            end_requests: 0,
            ending: None,
        })
    }

    pub(crate) fn run(mut self, stopped: BorrowedFd<'_>) -> Result<Outcome, SessionError> {
        loop {
            if let Some(outcome) = self.drained() {
                return Ok(outcome);
            }
            let waits_for_guest = !self.waits_for_reader();
            let begun = Instant::now();
            let ready = self.wait(stopped)?;
            if let Some(ending) = self.ending.as_mut().filter(|_| waits_for_guest) {
                ending.waited += begun.elapsed();
            }
            for event in ready {
                if let Some(outcome) = self.handle(event)? {
                    return Ok(outcome);
                }
            }
            if let Some(outcome) = self.expired() {
                return Ok(outcome);
            }
        }
    }

    /// What there is to wait for in the present state.
    fn interests<'s>(
        &'s self,
        stopped: BorrowedFd<'s>,
    ) -> impl Iterator<Item = (Ready, BorrowedFd<'s>, PollFlags)> {
        let running = self.ending.is_none();
        let interest = self.control.interest();
        let control = (!interest.is_empty()).then(|| self.control.as_fd());
        let while_running = [
            (Ready::Stopped, Some(stopped), PollFlags::IN),
            (Ready::Control(interest), control, interest),
            (Ready::StdinSource, self.stdin.wants_source(), PollFlags::IN),
            (Ready::StdinSink, self.stdin.wants_sink(), PollFlags::OUT),
        ];
        let always = [
            (Ready::Signals, Some(self.signals.as_fd()), PollFlags::IN),
            (
                Ready::StdoutSource,
                self.stdout.wants_source(),
                PollFlags::IN,
            ),
            (Ready::StdoutSink, self.stdout.wants_sink(), PollFlags::OUT),
            (
                Ready::StderrSource,
                self.stderr.wants_source(),
                PollFlags::IN,
            ),
            (Ready::StderrSink, self.stderr.wants_sink(), PollFlags::OUT),
        ];
        while_running
            .into_iter()
            .filter(move |_| running)
            .chain(always)
            .filter_map(|(ready, fd, flags)| Some((ready, fd?, flags)))
    }

    /// Waits until something is ready or the next deadline has come.
    fn wait(&self, stopped: BorrowedFd<'_>) -> Result<Vec<Ready>, SessionError> {
        let (names, mut fds): (Vec<_>, Vec<_>) = self
            .interests(stopped)
            .map(|(ready, fd, flags)| (ready, PollFd::from_borrowed_fd(fd, flags)))
            .unzip();
        let timeout = self
            .deadline()
            .map(|deadline| deadline.saturating_duration_since(Instant::now()))
            .and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(SessionError::host("wait for events", e)),
        }
        Ok(names
            .into_iter()
            .zip(&fds)
            .filter(|(_, fd)| !fd.revents().is_empty())
            .map(|(name, fd)| match name {
                Ready::Control(_) => Ready::Control(fd.revents()),
                other => other,
            })
            .collect())
    }

    fn handle(&mut self, event: Ready) -> Result<Option<Outcome>, SessionError> {
        match event {
            Ready::Control(flags) => {
                if flags.contains(PollFlags::OUT) {
                    self.control.flush()?;
                }
                if flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                    return self.receive();
                }
            }
            Ready::Signals => return self.forward_signals(),
            Ready::Stopped => {
                // Its last words may still be on the way to us.
                while self.ending.is_none() && !self.control.ended() {
                    let before = self.control.received();
                    if let Some(outcome) = self.receive()? {
                        return Ok(Some(outcome));
                    }
                    if self.control.received() == before {
                        break;
                    }
                }
                self.machine_stopped();
            }
            Ready::StdinSource => {
                let step = self.stdin.read();
                if step.map_err(|e| SessionError::host("read standard input", e))?
                    == Step::SourceEnded
                {
                    self.control.send(&HostMessage::StdinEnd {
                        bytes: self.stdin.received(),
                    })?;
                }
            }
            Ready::StdinSink => {
                let step = self.stdin.write();
                if step.map_err(|e| SessionError::host("write to the guest", e))?
                    == Step::SinkClosed
                {
                    self.stdin.end_source();
                }
            }
            Ready::StdoutSource => {
                let step = self.stdout.read();
                step.map_err(|e| SessionError::host("read the guest's output", e))?;
                self.output_arrived();
            }
            Ready::StderrSource => {
                let step = self.stderr.read();
                step.map_err(|e| SessionError::host("read the guest's output", e))?;
                self.output_arrived();
            }
            Ready::StdoutSink => {
                let step = self.stdout.write();
                let step = step.map_err(|e| SessionError::host("write standard output", e))?;
                self.output_taken(step, OutputStream::Stdout)?;
            }
            Ready::StderrSink => {
                let step = self.stderr.write();
                let step = step.map_err(|e| SessionError::host("write standard error", e))?;
                self.output_taken(step, OutputStream::Stderr)?;
            }
        }
        Ok(None)
    }

    fn output_arrived(&mut self) {
        let any = self.stdout.received() > 0 || self.stderr.received() > 0;
        if any && !self.first_output_seen {
            self.first_output_seen = true;
            (self.milestone)(Milestone::FirstOutput);
        }
        self.progress();
    }

    fn output_taken(&mut self, step: Step, stream: OutputStream) -> Result<(), SessionError> {
        self.progress();
        if step == Step::SinkClosed && self.ending.is_none() {
            self.control.send(&HostMessage::OutputClosed(stream))?;
        }
        Ok(())
    }

    fn progress(&mut self) {
        if let Some(ending) = &mut self.ending {
            ending.last_progress = Instant::now();
        }
    }

    fn receive(&mut self) -> Result<Option<Outcome>, SessionError> {
        for message in self.control.receive()? {
            match message {
                // A guest may say the same for ever: it counts once.
                GuestMessage::Ready { init_started_us } if !self.ready_seen => {
                    self.ready_seen = true;
                    (self.milestone)(Milestone::InitReady { init_started_us });
                }
                GuestMessage::Started { command_started_us } if self.started.is_none() => {
                    self.started = Some(Instant::now());
                    (self.milestone)(Milestone::CommandStarted { command_started_us });
                    if self.options.terminal {
                        // It may have changed while the guest was booting.
                        self.send_size()?;
                    }
                }
                GuestMessage::Ready { .. } | GuestMessage::Started { .. } => {}
                GuestMessage::Exited {
                    status,
                    stdout_bytes,
                    stderr_bytes,
                } => {
                    (self.milestone)(Milestone::CommandExited);
                    self.end(Outcome::Exited(status), stdout_bytes, stderr_bytes);
                    return Ok(None);
                }
                GuestMessage::Failed { kind, message } => {
                    return Ok(Some(failed(kind, &message)));
                }
            }
        }
        if self.control.ended() {
            self.machine_stopped();
        }
        Ok(None)
    }

    /// Without a last word of the guest's, its output ends with what has arrived by now.
    fn machine_stopped(&mut self) {
        if self.ending.is_none() {
            let stdout_bytes = self.stdout.received() + self.stdout.waiting();
            let stderr_bytes = self.stderr.received() + self.stderr.waiting();
            self.end(Outcome::Stopped, stdout_bytes, stderr_bytes);
        }
    }

    /// Only output is left to be passed on, up to so many bytes in all of each stream.
    fn end(&mut self, outcome: Outcome, stdout_bytes: u64, stderr_bytes: u64) {
        for (flow, bytes) in [
            (&mut self.stdout, stdout_bytes),
            (&mut self.stderr, stderr_bytes),
        ] {
            flow.end_at(bytes.min(flow.received().saturating_add(MAX_OUTSTANDING)));
        }
        self.ending = Some(Ending {
            outcome,
            last_progress: Instant::now(),
            waited: Duration::ZERO,
        });
    }

    fn forward_signals(&mut self) -> Result<Option<Outcome>, SessionError> {
        for arrived in self.signals.take() {
            let signal = match arrived {
                Arrived::WindowChanged => {
                    if self.options.terminal {
                        self.send_size()?;
                    }
                    continue;
                }
                Arrived::End(signal) => {
                    self.end_requests += 1;
                    if self.started.is_none() || self.end_requests >= IMPATIENCE {
                        return Ok(Some(Outcome::Interrupted(signal)));
                    }
                    signal
                }
                Arrived::Other(signal) => signal,
            };
            if self.started.is_some() {
                self.control.send(&HostMessage::Signal(signal))?;
            }
        }
        Ok(None)
    }

    fn send_size(&mut self) -> Result<(), SessionError> {
        match terminal::size() {
            Some(size) => self.control.send(&HostMessage::Resize(size)),
            None => Ok(()),
        }
    }

    /// The outcome, once the command has ended and all its output has been passed on.
    fn drained(&self) -> Option<Outcome> {
        let ending = self.ending.as_ref()?;
        (self.stdout.is_done() && self.stderr.is_done()).then(|| ending.outcome.clone())
    }

    /// When [`expired`](Self::expired) has to be asked again.
    fn deadline(&self) -> Option<Instant> {
        let own = match (&self.ending, self.started) {
            (Some(ending), _) if !self.waits_for_reader() => {
                let left = DRAIN_LIMIT.saturating_sub(ending.waited);
                Some((ending.last_progress + DRAIN_TIMEOUT).min(Instant::now() + left))
            }
            (Some(_), _) => None,
            (None, None) => Some(self.begun + self.options.start_timeout),
            (None, Some(_)) => None,
        };
        // The limit is the command's: once it has ended, its output may take its time.
        let timeout = self
            .started
            .filter(|_| self.ending.is_none())
            .zip(self.options.timeout)
            .and_then(|(started, timeout)| started.checked_add(timeout));
        own.into_iter().chain(timeout).min()
    }

    fn expired(&self) -> Option<Outcome> {
        if self
            .deadline()
            .is_none_or(|deadline| Instant::now() < deadline)
        {
            return None;
        }
        Some(match (&self.ending, self.started) {
            (Some(ending), _) => ending.outcome.clone(),
            (None, Some(_)) => Outcome::TimedOut,
            (None, None) => Outcome::NotStarted,
        })
    }

    /// Output has arrived that our own reader does not take.
    fn waits_for_reader(&self) -> bool {
        self.stdout.is_pending() || self.stderr.is_pending()
    }
}

fn sink(stream: impl AsFd) -> Result<OwnedFd, SessionError> {
    terminal::sink(stream.as_fd()).map_err(|e| SessionError::host("share an output stream", e))
}

/// The guest's message comes from the guest: whatever is in it must not reach a terminal raw.
fn failed(kind: FailureKind, message: &str) -> Outcome {
    Outcome::Failed {
        kind,
        message: message
            .chars()
            .map(|c| if c.is_control() { '\u{fffd}' } else { c })
            .collect(),
    }
}
