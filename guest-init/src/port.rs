//! The virtio-console ports to the host, found by name.

use std::fs;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use guest_init::ports::{CONTROL, STDERR, STDIO};
use rustix::fs::{Mode, OFlags};

use crate::devices;
use crate::failure::{Context, Failure};

/// Where the kernel lists the ports.
const CLASS: &str = "/sys/class/virtio-ports";

/// The open ports. None of them ever blocks.
#[derive(Debug)]
pub(crate) struct Ports {
    /// Control messages.
    pub(crate) control: Rc<OwnedFd>,
    /// Standard input and output, or the terminal.
    pub(crate) stdio: Rc<OwnedFd>,
    /// Standard error.
    pub(crate) stderr: Rc<OwnedFd>,
}

impl Ports {
    /// Opens all ports, waiting for those that the kernel has not found yet.
    pub(crate) fn open() -> Result<Self, Failure> {
        Ok(Self {
            control: open(CONTROL)?,
            stdio: open(STDIO)?,
            stderr: open(STDERR)?,
        })
    }
}

fn open(name: &str) -> Result<Rc<OwnedFd>, Failure> {
    let device = devices::wait_for(|| find(name))?
        .ok_or_else(|| Failure::setup(format!("No virtio-console port is named {name}")))?;
    let path = format!("/dev/{device}");
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let port = rustix::fs::open(&path, flags, Mode::empty())
        .context(|| format!("Open port {name} ({path})"))?;
    Ok(Rc::new(port))
}

/// The device of the port of this name. Ports come and get their names one by one, so what cannot be
/// read is not there yet.
fn find(name: &str) -> Option<String> {
    fs::read_dir(CLASS).ok()?.flatten().find_map(|entry| {
        let found = fs::read_to_string(entry.path().join("name")).ok()?;
        (found.trim_end() == name)
            .then(|| entry.file_name().into_string().ok())
            .flatten()
    })
}
