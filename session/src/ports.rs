//! The pairs of sockets between session and machine.

use std::io;
use std::os::unix::net::UnixStream;

use guest_init::ports::{CONTROL, STDERR, STDIO};

/// The session's ends of the ports.
#[derive(Debug)]
pub struct HostPorts {
    pub(crate) control: UnixStream,
    pub(crate) stdio: UnixStream,
    pub(crate) stderr: UnixStream,
}

/// Makes the ports of one run: the session's ends, and the machine's with their names.
///
/// # Errors
/// If the host refuses more sockets.
pub fn ports() -> io::Result<(HostPorts, [(&'static str, UnixStream); 3])> {
    let (control, machine_control) = pair()?;
    let (stdio, machine_stdio) = pair()?;
    let (stderr, machine_stderr) = pair()?;
    Ok((
        HostPorts {
            control,
            stdio,
            stderr,
        },
        [
            (CONTROL, machine_control),
            (STDIO, machine_stdio),
            (STDERR, machine_stderr),
        ],
    ))
}

fn pair() -> io::Result<(UnixStream, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    theirs.set_nonblocking(true)?;
    Ok((ours, theirs))
}
