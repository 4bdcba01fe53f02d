//! Waiting for devices that the kernel is still finding.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};

use crate::clock;
use crate::failure::{Context, Failure};

/// The longest wait for a device; emulated machines are slow, and a missing device never comes.
const PATIENCE: Duration = Duration::from_secs(20);
/// The kernel's own multicast group, as opposed to udev's.
const KERNEL_GROUP: u32 = 1;

/// Looks for something now, and again whenever the kernel announces a device, until it is found;
/// `None` if it was not there in time.
pub(crate) fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> Result<Option<T>, Failure> {
    if let Some(found) = look() {
        return Ok(Some(found));
    }
    let announcements = listen().context(|| "Listen for devices".to_owned())?;
    let deadline = clock::since_boot().saturating_add(PATIENCE);
    loop {
        // Once more after listening has begun, so that nothing comes between the two.
        if let Some(found) = look() {
            return Ok(Some(found));
        }
        let left = deadline.saturating_sub(clock::since_boot());
        if left.is_zero() {
            return Ok(None);
        }
        let timeout = Timespec::try_from(left).ok();
        let mut poll_fd = [PollFd::new(&announcements, PollFlags::IN)];
        match poll(&mut poll_fd, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => drop_pending(&announcements),
            Err(error) => return Err(error).context(|| "Wait for devices".to_owned()),
        }
    }
}

/// The kernel's announcements of devices (`NETLINK_KOBJECT_UEVENT`), from now on.
fn listen() -> Result<OwnedFd, Errno> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        Some(netlink::KOBJECT_UEVENT),
    )?;
    bind(&socket, &SocketAddrNetlink::new(0, KERNEL_GROUP))?;
    Ok(socket)
}

/// What is announced does not matter: the caller looks at everything again.
fn drop_pending(announcements: &OwnedFd) {
    let mut message = [0; 64];
    // An overrun (ENOBUFS) means that announcements were lost, which is as good as one more.
    while matches!(
        recv(announcements, &mut message, RecvFlags::empty()),
        Ok(_) | Err(Errno::NOBUFS)
    ) {}
}
