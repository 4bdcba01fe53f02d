//! The command's end and ours of its standard streams.

use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use guest_init::spec::TerminalSize;
use rustix::fs::{Gid, OFlags, Uid, fchown, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::failure::{Context, Failure};

/// Our ends: none of them blocks.
#[derive(Debug)]
pub(crate) struct OurEnds {
    /// Where its standard input is written to.
    pub(crate) stdin: Option<Rc<OwnedFd>>,
    /// Where its standard output is read from.
    pub(crate) stdout: Rc<OwnedFd>,
    /// Where its standard error is read from; none with a terminal.
    pub(crate) stderr: Option<Rc<OwnedFd>>,
}

/// The command's ends.
#[derive(Debug)]
pub(crate) struct TheirEnds {
    /// None is /dev/null.
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
}

/// Three pipes, or two with `stdin` unset, whose other ends belong to `owner`: so that the command can
/// open /dev/stdout.
pub(crate) fn pipes(stdin: bool, owner: u32) -> Result<(OurEnds, TheirEnds), Failure> {
    let open = || -> Result<_, Errno> {
        let stdin = stdin.then(|| pipe_with(PipeFlags::CLOEXEC)).transpose()?;
        let (our_stdout, stdout) = pipe_with(PipeFlags::CLOEXEC)?;
        let (our_stderr, stderr) = pipe_with(PipeFlags::CLOEXEC)?;
        let (stdin, our_stdin) = stdin.unzip();
        set_nonblocking(&our_stdout)?;
        set_nonblocking(&our_stderr)?;
        if let Some(our_stdin) = &our_stdin {
            set_nonblocking(our_stdin)?;
        }
        for end in stdin.iter().chain([&stdout, &stderr]) {
            fchown(end, Some(Uid::from_raw(owner)), None)?;
        }
        let ours = OurEnds {
            stdin: our_stdin.map(Rc::new),
            stdout: Rc::new(our_stdout),
            stderr: Some(Rc::new(our_stderr)),
        };
        let theirs = TheirEnds {
            stdin,
            stdout,
            stderr,
        };
        Ok((ours, theirs))
    };
    open().context(|| "Make pipes for the command".to_owned())
}

/// A pseudo-terminal that belongs to `owner`.
pub(crate) fn terminal(size: TerminalSize, owner: u32) -> Result<(OurEnds, TheirEnds), Failure> {
    let open = || -> Result<_, Errno> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags)?;
        unlockpt(&master)?;
        let slave = ioctl_tiocgptpeer(&master, flags)?;
        fchown(&slave, Some(Uid::from_raw(owner)), None::<Gid>)?;
        resize(&master, size)?;
        set_nonblocking(&master)?;
        let theirs = TheirEnds {
            stdin: Some(slave.try_clone().map_err(|_| Errno::MFILE)?),
            stdout: slave.try_clone().map_err(|_| Errno::MFILE)?,
            stderr: slave,
        };
        let master = Rc::new(master);
        let ours = OurEnds {
            stdin: Some(Rc::clone(&master)),
            stdout: master,
            stderr: None,
        };
        Ok((ours, theirs))
    };
    open().context(|| "Make a terminal for the command".to_owned())
}

/// Gives the terminal a size; its foreground process group gets SIGWINCH if that is a new one.
pub(crate) fn resize(terminal: impl AsFd, size: TerminalSize) -> Result<(), Errno> {
    tcsetwinsize(
        terminal,
        Winsize {
            ws_row: size.rows,
            ws_col: size.columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        },
    )
}

fn set_nonblocking(end: &OwnedFd) -> Result<(), Errno> {
    fcntl_setfl(end, fcntl_getfl(end)? | OFlags::NONBLOCK)
}
