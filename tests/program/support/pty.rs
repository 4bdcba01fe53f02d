//! A pseudo-terminal with a program on it, as a user's terminal would run it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};

/// Longer than any guest takes to answer.
const PATIENCE: Duration = Duration::from_secs(120);

/// A program on a terminal of its own.
pub struct OnTerminal {
    master: File,
    terminal: File,
    before: String,
    seen: Vec<u8>,
    pub child: Child,
}

impl OnTerminal {
    /// Starts `command` on a terminal of 80 by 24 cells.
    pub fn start(command: &mut Command) -> Self {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let terminal = File::from(open(name, flags, Mode::empty()).unwrap());
        let before = modes(&terminal);
        let share = || terminal.try_clone().unwrap();
        command.stdin(share()).stdout(share()).stderr(share());
        // SAFETY: both are plain system calls, allowed between fork and exec.
        unsafe {
            command.pre_exec(|| {
                rustix::process::setsid()?;
                rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
                Ok(())
            });
        }
        let mut on_terminal = Self {
            master: File::from(master),
            terminal,
            before,
            seen: Vec::new(),
            child: super::spawn(command),
        };
        on_terminal.resize(24, 80);
        on_terminal
    }

    /// Changes the terminal's size, which sends SIGWINCH.
    pub fn resize(&mut self, rows: u16, columns: u16) {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&self.master, size).unwrap();
    }

    /// Whether the terminal's modes are what they were before the program started.
    pub fn is_as_before(&self) -> bool {
        modes(&self.terminal) == self.before
    }

    /// Types `text`.
    pub fn type_in(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    /// Waits until `text` appears on the screen, and forgets all up to its end.
    #[track_caller]
    pub fn expect(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = String::from_utf8_lossy(&self.seen).into_owned();
            if let Some(at) = seen.find(text) {
                let end = at + text.len();
                self.seen = seen.as_bytes()[end..].to_vec();
                return seen[..end].to_owned();
            }
            assert!(self.read_more(deadline), "no {text:?} in {seen:?}");
        }
    }

    /// Waits for the program's end and returns its status and the rest of the screen.
    #[track_caller]
    pub fn end(&mut self) -> (ExitStatus, String) {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "the program does not end");
            self.read_more(Instant::now() + Duration::from_millis(20));
        };
        while self.read_more(Instant::now() + Duration::from_millis(20)) {}
        (status, String::from_utf8_lossy(&self.seen).into_owned())
    }

    fn read_more(&mut self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).unwrap();
        let mut fds = [PollFd::from_borrowed_fd(self.master.as_fd(), PollFlags::IN)];
        if poll(&mut fds, Some(&left)).unwrap() == 0 {
            return false;
        }
        let mut buffer = [0; 4096];
        // Fails when nothing holds the terminal any more.
        let length = self.master.read(&mut buffer).unwrap_or(0);
        self.seen.extend_from_slice(&buffer[..length]);
        length > 0
    }
}

fn modes(terminal: &File) -> String {
    format!("{:?}", tcgetattr(terminal).unwrap())
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
