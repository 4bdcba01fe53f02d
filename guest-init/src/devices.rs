//! Waiting for devices that the kernel is still finding.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};

use crate::clock;
use crate::failure::{Context, Failure};

/// The longest wait for all devices together; emulated machines are slow, dead ones wait for ever.
const PATIENCE: Duration = Duration::from_secs(10);
/// The kernel's own multicast group, as opposed to udev's.
const KERNEL_GROUP: u32 = 1;

/// The kernel's announcements of devices (`NETLINK_KOBJECT_UEVENT`), from when it was opened.
#[derive(Debug)]
pub(crate) struct DeviceEvents {
    socket: OwnedFd,
    deadline: Duration,
}

impl DeviceEvents {
    /// Starts to listen. The clock of [`until`](Self::until) starts here.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            Some(netlink::KOBJECT_UEVENT),
        )
        .and_then(|socket| {
            bind(&socket, &SocketAddrNetlink::new(0, KERNEL_GROUP))?;
            Ok(socket)
        })
        .context(|| "Listen for devices".to_owned())?;
        Ok(Self {
            socket,
            deadline: clock::since_boot().saturating_add(PATIENCE),
        })
    }

    /// Calls `look` now and after each announcement until it finds something; `None` if it was not
    /// there in time.
    pub(crate) fn until<T>(
        &self,
        mut look: impl FnMut() -> Result<Option<T>, Failure>,
    ) -> Result<Option<T>, Failure> {
        loop {
            if let Some(found) = look()? {
                return Ok(Some(found));
            }
            let left = self.deadline.saturating_sub(clock::since_boot());
            if left.is_zero() {
                return Ok(None);
            }
            let timeout = Timespec::try_from(left).ok();
            let mut poll_fd = [PollFd::new(&self.socket, PollFlags::IN)];
            match poll(&mut poll_fd, timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => self.drop_pending(),
                Err(error) => return Err(error).context(|| "Wait for devices".to_owned()),
            }
        }
    }

    /// What is announced does not matter: the caller looks at everything again.
    fn drop_pending(&self) {
        let mut message = [0; 64];
        // An overrun (ENOBUFS) means that announcements were lost, which is as good as one more.
        while matches!(
            recv(&self.socket, &mut message, RecvFlags::empty()),
            Ok(_) | Err(Errno::NOBUFS)
        ) {}
    }
}
