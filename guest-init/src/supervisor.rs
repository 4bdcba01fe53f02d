//! The loop that serves the command until it ends and the host has been told.

use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use guest_init::control::{ExitStatus, GuestMessage, HostMessage, OutputStream};
use guest_init::spec::RunSpec;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::process::Pid;

use crate::command::Started;
use crate::control_port::ControlPort;
use crate::failure::{Context, Failure};
use crate::pipes;
use crate::port::Ports;
use crate::relay::Relay;
use crate::{clock, signals};

/// How long the host has to take the last message. Once it has, it decides when the machine stops:
/// output may still be on its way to it, and is lost with the machine.
const LINGER: Duration = Duration::from_secs(5);
/// What is taken of a terminal after its command ended: more than the kernel holds of one.
const TERMINAL_TAIL: u64 = 256 << 10;

/// Everything the loop serves.
#[derive(Debug)]
pub(crate) struct Supervisor {
    epoll: OwnedFd,
    signals: OwnedFd,
    control: ControlPort,
    command: Option<Pid>,
    terminal: Option<Rc<OwnedFd>>,
    stdin: Option<Relay>,
    stdout: Option<Relay>,
    stderr: Option<Relay>,
    status: Option<ExitStatus>,
    deadline: Option<Duration>,
}

impl Supervisor {
    /// Serves nothing but the control port yet.
    pub(crate) fn new(
        control: ControlPort,
        signals: OwnedFd,
        ports: &Ports,
    ) -> Result<Self, Failure> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).context(|| "Make an epoll".to_owned())?;
        let supervisor = Self {
            epoll,
            signals,
            control,
            command: None,
            terminal: None,
            stdin: None,
            stdout: None,
            stderr: None,
            status: None,
            deadline: None,
        };
        supervisor.watch(&ports.control)?;
        supervisor.watch(&supervisor.signals)?;
        Ok(supervisor)
    }

    /// Serves `started` from now on.
    pub(crate) fn serve(
        &mut self,
        started: Started,
        ports: &Ports,
        spec: &RunSpec,
    ) -> Result<(), Failure> {
        let ends = started.ends;
        self.watch(&ports.stdio)?;
        self.watch(&ends.stdout)?;
        let terminal = spec.terminal.is_some();
        self.terminal = terminal.then(|| Rc::clone(&ends.stdout));
        if let Some(stdin) = ends.stdin.filter(|_| spec.stdin) {
            if !terminal {
                self.watch(&stdin)?;
            }
            self.stdin = Some(Relay::from_port(Rc::clone(&ports.stdio), stdin));
        }
        self.stdout = Some(Relay::to_port(ends.stdout, Rc::clone(&ports.stdio)));
        if let Some(stderr) = ends.stderr {
            self.watch(&stderr)?;
            self.watch(&ports.stderr)?;
            self.stderr = Some(Relay::to_port(stderr, Rc::clone(&ports.stderr)));
        }
        self.command = Some(started.pid);
        Ok(())
    }

    /// Runs until the machine may be switched off.
    pub(crate) fn run(mut self) -> Result<(), Failure> {
        loop {
            let more = self.turn();
            if self.control.host_is_gone() {
                return Ok(());
            }
            if let Some(deadline) = self.deadline
                && clock::since_boot() >= deadline
                && !self.control.flush()
            {
                return Ok(());
            }
            self.wait(more)?;
        }
    }

    /// Does what can be done now. True if there may be more to do.
    fn turn(&mut self) -> bool {
        while let Some(message) = self.control.receive() {
            self.obey(message);
        }
        if let Some(status) = signals::reap(&self.signals, self.command) {
            self.command_ended(status);
        }
        let mut more = false;
        for relay in [&mut self.stdin, &mut self.stdout, &mut self.stderr] {
            more |= relay.as_mut().is_some_and(Relay::pump);
        }
        if self.terminal.is_none()
            && let Some(stdin) = &mut self.stdin
        {
            stdin.close_sink_if_done();
        }
        self.report_end();
        self.control.flush();
        more
    }

    fn obey(&mut self, message: HostMessage) {
        match message {
            HostMessage::Resize(size) => {
                if let Some(terminal) = &self.terminal {
                    // A terminal that was hung up has no size to change.
                    let _ = pipes::resize(terminal, size);
                }
            }
            HostMessage::Signal(number) => {
                if let Some(command) = self.command {
                    signals::send_to_group(command, number);
                }
            }
            HostMessage::StdinEnd { bytes } => {
                if let Some(stdin) = &mut self.stdin {
                    stdin.end_at(bytes);
                }
            }
            HostMessage::OutputClosed(stream) => {
                let relay = match stream {
                    OutputStream::Stdout => &mut self.stdout,
                    OutputStream::Stderr => &mut self.stderr,
                };
                if let Some(relay) = relay {
                    relay.close();
                }
                if stream == OutputStream::Stdout && self.terminal.take().is_some() {
                    // The last descriptor of the terminal: its processes get SIGHUP.
                    self.stdin = None;
                }
            }
        }
    }

    fn command_ended(&mut self, status: ExitStatus) {
        self.status = Some(status);
        self.command = None;
        self.stdin = None;
        for relay in [&mut self.stdout, &mut self.stderr].into_iter().flatten() {
            let waiting = match &self.terminal {
                Some(_) => TERMINAL_TAIL,
                None => relay.waiting(),
            };
            relay.finish(waiting);
        }
        self.terminal = None;
    }

    /// Tells the host of the end once all output is on its way.
    fn report_end(&mut self) {
        let all_sent = [&self.stdout, &self.stderr]
            .into_iter()
            .flatten()
            .all(Relay::is_done);
        if !all_sent {
            return;
        }
        if let Some(status) = self.status.take() {
            let bytes = |relay: &Option<Relay>| relay.as_ref().map_or(0, Relay::given);
            self.end_with(&GuestMessage::Exited {
                status,
                stdout_bytes: bytes(&self.stdout),
                stderr_bytes: bytes(&self.stderr),
            });
        }
    }

    /// Sends a message.
    pub(crate) fn tell(&mut self, message: &GuestMessage) {
        self.control.send(message);
    }

    /// Sends the last message.
    pub(crate) fn end_with(&mut self, message: &GuestMessage) {
        self.control.send(message);
        self.deadline = Some(clock::since_boot().saturating_add(LINGER));
    }

    fn wait(&self, more: bool) -> Result<(), Failure> {
        let timeout = if more {
            Some(Timespec::default())
        } else {
            self.deadline
                .map(|deadline| deadline.saturating_sub(clock::since_boot()))
                .filter(|left| !left.is_zero())
                .and_then(|left| Timespec::try_from(left).ok())
        };
        let mut events = Vec::with_capacity(8);
        match epoll::wait(
            &self.epoll,
            rustix::buffer::spare_capacity(&mut events),
            timeout.as_ref(),
        ) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error).context(|| "Wait for events".to_owned()),
        }
    }

    /// Wakes the loop whenever something changes here. Edge-triggered: a port without a host reports
    /// a hang-up all the time, and the loop tries everything in each turn anyway.
    fn watch(&self, descriptor: impl AsFd) -> Result<(), Failure> {
        epoll::add(
            &self.epoll,
            descriptor,
            EventData::new_u64(0),
            EventFlags::IN | EventFlags::OUT | EventFlags::ET,
        )
        .context(|| "Watch a descriptor".to_owned())
    }
}
