//! The loopback interface.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::failure::{Context, Failure};

/// Brings `lo` up; the kernel gives it its addresses.
pub(crate) fn up() -> Result<(), Failure> {
    let socket = socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .context(|| "Open a socket for lo".to_owned())?;
    set_up(&socket).context(|| "Bring lo up".to_owned())
}

fn set_up(socket: &OwnedFd) -> io::Result<()> {
    // SAFETY: every bit pattern of `ifreq` is valid, zero among them.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(c"lo".to_bytes()) {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    request.ifr_ifru.ifru_flags =
        libc::c_short::try_from(libc::IFF_UP | libc::IFF_RUNNING).map_err(io::Error::other)?;
    // SAFETY: `request` is a valid `ifreq` that lives through the call, as SIOCSIFFLAGS takes it.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
