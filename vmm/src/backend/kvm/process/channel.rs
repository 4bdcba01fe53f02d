//! What a machine's process tells its owner, over a socket that keeps messages whole.
//!
//! A guest may have taken the process over: its owner reads messages of a bounded size, takes them
//! for no more than a report, and lets no control character through to a terminal.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair,
};
use serde::{Deserialize, Serialize};

use crate::Stats;
use crate::backend::{StartError, VmExit};

/// Most bytes of a message.
const MAX_MESSAGE: usize = 16 << 10;
/// Most characters of a text in a message, which has two at most.
const MAX_TEXT: usize = 1 << 10;
/// Most lines in a message, and most characters of each.
const MAX_LINES: usize = 16;
const MAX_LINE: usize = 128;

/// What is sent to ask for [`Report::Stats`]: there is no other question.
const QUESTION: [u8; 1] = [1];

/// A message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Report {
    /// The machine runs.
    Started,
    /// There will be no machine.
    Failed(Failure),
    /// What the machine did so far.
    Stats(Stats),
    /// The machine stopped by itself, and all that its guest sent has been passed on.
    Stopped {
        /// Why.
        exit: VmExit,
        /// What it did, if that was to be counted. With the end, not before it: whatever the owner can
        /// read while it asks nothing is the end.
        stats: Option<Stats>,
    },
}

/// A [`StartError`] on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Failure {
    what: String,
    /// For [`StartError::Host`]: the system's number for the reason, if it has one, and its text.
    reason: Option<(Option<i32>, String)>,
}

/// One end of the socket.
#[derive(Debug)]
pub(super) struct Channel(OwnedFd);

impl Channel {
    /// The owner's end and the process's.
    pub(super) fn pair() -> io::Result<(Self, Self)> {
        let (owners, others) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok((Self(owners), Self(others)))
    }

    /// Sends a report; its texts are cut where they are too long.
    pub(super) fn send(&self, report: Report) -> io::Result<()> {
        let bytes = postcard::to_allocvec(&report.cut()).map_err(io::Error::other)?;
        send(&self.0, &bytes, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Asks the other end for [`Report::Stats`].
    pub(super) fn ask(&self) -> io::Result<()> {
        send(&self.0, &QUESTION, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Takes a question that has come. `false` if there will be no more.
    pub(super) fn take_question(&self) -> bool {
        let mut question = QUESTION;
        recv(&self.0, &mut question, RecvFlags::DONTWAIT).is_ok_and(|(_, length)| length > 0)
    }

    /// Waits for the next report; `None` if there will be no more.
    ///
    /// # Errors
    /// If what came is no report.
    pub(super) fn receive(&self) -> io::Result<Option<Report>> {
        self.take(RecvFlags::empty())
    }

    /// The next report; [`io::ErrorKind::WouldBlock`] if none is there yet, else as
    /// [`receive`](Self::receive).
    pub(super) fn try_receive(&self) -> io::Result<Option<Report>> {
        self.take(RecvFlags::DONTWAIT)
    }

    fn take(&self, flags: RecvFlags) -> io::Result<Option<Report>> {
        let mut buffer = [0; MAX_MESSAGE];
        let length = loop {
            match recv(&self.0, &mut buffer, flags | RecvFlags::TRUNC) {
                Ok((_, length)) => break length,
                Err(rustix::io::Errno::INTR) => {}
                // As long as there is more to read, this end is told of that first.
                Err(rustix::io::Errno::CONNRESET) => break 0,
                Err(error) => return Err(error.into()),
            }
        };
        if length == 0 {
            return Ok(None);
        }
        let message = buffer.get(..length);
        let message = message.ok_or_else(|| io::Error::other("a message is too long"))?;
        let report = postcard::from_bytes::<Report>(message).map_err(io::Error::other)?;
        Ok(Some(report.cut()))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Channel {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Report {
    /// With texts that can be sent and shown.
    fn cut(self) -> Self {
        let lines = |lines: Vec<String>| {
            let lines = lines.iter().take(MAX_LINES);
            lines.map(|line| cut(line, MAX_LINE)).collect()
        };
        let text = |text: String| cut(&text, MAX_TEXT);
        match self {
            Self::Started => self,
            Self::Stats(stats) => Self::Stats(cut_stats(stats)),
            Self::Stopped { exit, stats } => Self::Stopped {
                exit: match exit {
                    VmExit::Guest => exit,
                    VmExit::TripleFault { registers } => VmExit::TripleFault {
                        registers: lines(registers),
                    },
                    VmExit::Stuck { reason, registers } => VmExit::Stuck {
                        reason: text(reason),
                        registers: lines(registers),
                    },
                    VmExit::Broken(reason) => VmExit::Broken(text(reason)),
                },
                stats: stats.map(cut_stats),
            },
            Self::Failed(failure) => Self::Failed(Failure {
                what: text(failure.what),
                reason: failure.reason.map(|(code, reason)| (code, text(reason))),
            }),
        }
    }
}

/// Numbers with names that can be sent and shown.
fn cut_stats(stats: Stats) -> Stats {
    let printable = |numbers: BTreeMap<String, u64>| {
        let numbers = numbers.into_iter();
        numbers
            .map(|(name, number)| (cut(&name, MAX_LINE), number))
            .collect()
    };
    let devices = stats.devices.into_iter().map(|mut device| {
        device.name = cut(&device.name, MAX_LINE);
        device
    });
    Stats {
        exits: printable(stats.exits),
        kvm: printable(stats.kvm),
        devices: devices.collect(),
        ..stats
    }
}

/// The beginning of a text, printable.
fn cut(text: &str, most: usize) -> String {
    let printable = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().take(most).map(printable).collect()
}

impl From<&StartError> for Failure {
    fn from(error: &StartError) -> Self {
        match error {
            StartError::Config(what) => Self {
                what: what.clone(),
                reason: None,
            },
            StartError::Host { what, source } => Self {
                what: what.clone(),
                reason: Some((source.raw_os_error(), chain(source))),
            },
        }
    }
}

impl From<Failure> for StartError {
    fn from(failure: Failure) -> Self {
        let what = failure.what;
        match failure.reason {
            None => Self::Config(what),
            Some((Some(code), _)) => Self::Host {
                what,
                source: io::Error::from_raw_os_error(code),
            },
            Some((None, text)) => Self::Host {
                what,
                source: io::Error::other(text),
            },
        }
    }
}

/// An error with all its causes.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_arrive_as_they_were_sent() {
        let (owners, others) = Channel::pair().unwrap();
        let error = owners.try_receive().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        let reports = [
            Report::Started,
            Report::Stopped {
                exit: VmExit::Broken("why".into()),
                stats: Some(Stats::default()),
            },
            Report::Failed(Failure::from(&StartError::Config("no".into()))),
        ];
        for report in &reports {
            others.send(report.clone()).unwrap();
        }
        drop(others);
        for report in reports {
            assert_eq!(owners.receive().unwrap(), Some(report));
        }
        assert_eq!(owners.receive().unwrap(), None);
        assert_eq!(owners.try_receive().unwrap(), None);
    }

    #[test]
    fn errors_keep_their_reason() {
        let over = |error: StartError| StartError::from(Failure::from(&error));
        let host = |source| {
            over(StartError::Host {
                what: "Cannot".into(),
                source,
            })
        };
        let StartError::Host { what, source } = host(io::Error::from_raw_os_error(libc::ENOMEM))
        else {
            panic!("another error");
        };
        assert_eq!(
            (what.as_str(), source.raw_os_error()),
            ("Cannot", Some(libc::ENOMEM))
        );
        let StartError::Host { source, .. } = host(io::Error::other("that is why")) else {
            panic!("another error");
        };
        assert_eq!(source.to_string(), "that is why");
    }

    #[test]
    fn a_process_that_was_taken_over_cannot_say_what_it_wants() {
        let (owners, others) = Channel::pair().unwrap();
        let long = format!("\u{1b}[2J{}", "\u{e4}".repeat(MAX_MESSAGE));
        let report = Report::Stopped {
            exit: VmExit::Broken(long),
            stats: None,
        };
        let raw = postcard::to_allocvec(&report).unwrap();
        send(&others.0, &raw, SendFlags::empty()).unwrap();
        assert!(owners.receive().is_err());
        send(&others.0, b"\xff", SendFlags::empty()).unwrap();
        assert!(owners.receive().is_err());
        others.send(report).unwrap();
        let Some(Report::Stopped {
            exit: VmExit::Broken(reason),
            ..
        }) = owners.receive().unwrap()
        else {
            panic!("not broken");
        };
        assert!(reason.starts_with("\u{fffd}[2J\u{e4}") && reason.chars().count() == MAX_TEXT);
    }
}
