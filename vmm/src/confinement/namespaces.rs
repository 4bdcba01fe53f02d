//! Namespaces, and the empty root folder that they make possible.

use std::io;

use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount,
};
use rustix::process::{chdir, geteuid, pivot_root};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Folders that every Linux has, to put the empty one over until it is the root.
const FOLDERS: [&str; 3] = ["/proc", "/dev", "/tmp"];

/// Whether a process has namespaces of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Namespaces {
    /// Those of mounts, processes, network, System V IPC and host name, and of users if it took one to
    /// be allowed the others. The calling process keeps its own number; its children are in the new
    /// process namespace.
    Own,
    /// The host allows none, or none are wanted.
    Shared,
}

/// Enters new namespaces, if they are wanted. Only a process of one thread can.
pub(crate) fn enter(wanted: bool) -> Namespaces {
    if !wanted {
        return Namespaces::Shared;
    }
    let flags = UnshareFlags::NEWNS
        | UnshareFlags::NEWPID
        | UnshareFlags::NEWNET
        | UnshareFlags::NEWIPC
        | UnshareFlags::NEWUTS;
    // Whoever needs no user namespace has an identity to give up instead, which is worth more.
    let privileged = geteuid().is_root() && unshare(flags).is_ok();
    // In a user namespace without a mapping, nobody is anybody.
    if privileged || unshare(flags | UnshareFlags::NEWUSER).is_ok() {
        Namespaces::Own
    } else {
        Namespaces::Shared
    }
}

fn unshare(flags: UnshareFlags) -> rustix::io::Result<()> {
    // SAFETY: none of the flags is about descriptors.
    unsafe { unshare_unsafe(flags) }
}

/// Makes an empty folder that cannot be written the root, and forgets all others. The process must
/// have a mount namespace of its own.
pub(crate) fn empty_root() -> io::Result<()> {
    // Nothing of what follows may reach the host's mounts.
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )?;
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let folder = cover(flags)?;
    chdir(folder)?;
    // The old root ends up on top of the new one, and goes.
    pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    chdir("/")?;
    Ok(())
}

/// Puts an empty file system over a folder, and returns that.
fn cover(flags: MountFlags) -> io::Result<&'static str> {
    let mut refused = io::ErrorKind::NotFound.into();
    for folder in FOLDERS {
        match mount("none", folder, "tmpfs", flags, c"nr_inodes=1") {
            Ok(()) => return Ok(folder),
            Err(error) => refused = error.into(),
        }
    }
    Err(refused)
}
