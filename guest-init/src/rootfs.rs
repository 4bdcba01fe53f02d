//! The root file system as a container expects it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use guest_init::spec::RunSpec;
use rustix::fs::{CWD, FileType, Mode, OFlags, makedev, mkdirat, mknodat, openat, symlinkat};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, mount_move};

use crate::etc_files;
use crate::failure::{Context, Failure};
use crate::mount::{FileSystem, attach, attach_at, folder};

/// Where the root file system is put before it becomes the root.
const PLACE: &str = "/newroot";

/// Devices of a container: name, major and minor number (the kernel's devices.txt).
const NODES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];
/// Links in /dev: name, target.
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Puts the root file system in place and mounts in it what a container expects.
pub(crate) fn assemble(root: OwnedFd, spec: &RunSpec) -> Result<OwnedFd, Failure> {
    let result = mkdirat(CWD, PLACE, Mode::from_raw_mode(0o755));
    if let Err(error) = result
        && error != Errno::EXIST
    {
        return Err(error).context(|| format!("Create {PLACE}"));
    }
    let root = attach_at(root, CWD, PLACE)?;
    etc_files::mount(root.as_fd(), &spec.hostname)?;
    let restricted = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    mount_on(
        root.as_fd(),
        "proc",
        FileSystem::new("proc").attributes(restricted),
    )?;
    let read_only = restricted | MountAttrFlags::MOUNT_ATTR_RDONLY;
    let sys = mount_on(
        root.as_fd(),
        "sys",
        FileSystem::new("sysfs").attributes(read_only),
    )?;
    control_groups(sys.as_fd(), read_only)?;
    device_folder(root.as_fd(), restricted)?;
    Ok(root)
}

/// Makes the assembled root file system the root of this process and of all it starts.
pub(crate) fn enter() -> Result<(), Failure> {
    let enter = || {
        rustix::process::chdir(PLACE)?;
        mount_move(".", "/")?;
        rustix::process::chroot(".")?;
        rustix::process::chdir("/")
    };
    enter().context(|| "Change to the root file system".to_owned())
}

fn mount_on(
    root: BorrowedFd<'_>,
    name: &str,
    file_system: FileSystem<'_>,
) -> Result<OwnedFd, Failure> {
    let target = folder(root, name)?;
    let mount = file_system.mount()?;
    attach(mount.as_fd(), target.as_fd()).context(|| format!("Mount on /{name}"))?;
    Ok(mount)
}

/// /dev, with its own file systems in it.
fn device_folder(root: BorrowedFd<'_>, restricted: MountAttrFlags) -> Result<(), Failure> {
    let tmpfs = FileSystem::new("tmpfs")
        .option("mode", "755")
        .option("size", "65536k")
        .attributes(MountAttrFlags::MOUNT_ATTR_NOSUID);
    let dev = mount_on(root, "dev", tmpfs)?;
    for (name, major, minor) in NODES {
        mknodat(
            &dev,
            name,
            FileType::CharacterDevice,
            Mode::from_raw_mode(0o666),
            makedev(major, minor),
        )
        .context(|| format!("Create /dev/{name}"))?;
    }
    for (name, target) in LINKS {
        symlinkat(target, &dev, name).context(|| format!("Create /dev/{name}"))?;
    }
    let pts = FileSystem::new("devpts")
        .option("mode", "620")
        .option("ptmxmode", "666")
        .option("gid", "5")
        .attributes(MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC);
    let shm = FileSystem::new("tmpfs")
        .option("mode", "1777")
        .option("size", "65536k")
        .attributes(restricted);
    let mqueue = FileSystem::new("mqueue").attributes(restricted);
    for (name, file_system) in [("pts", pts), ("shm", shm), ("mqueue", mqueue)] {
        mkdirat(&dev, name, Mode::from_raw_mode(0o755))
            .context(|| format!("Create /dev/{name}"))?;
        attach_at(file_system.mount()?, dev.as_fd(), name)?;
    }
    Ok(())
}

/// /sys/fs/cgroup, where the kernel has control groups.
fn control_groups(sys: BorrowedFd<'_>, attributes: MountAttrFlags) -> Result<(), Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let target = match openat(sys, "fs/cgroup", flags, Mode::empty()) {
        Ok(target) => target,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error).context(|| "Open /sys/fs/cgroup".to_owned()),
    };
    let mount = FileSystem::new("cgroup2").attributes(attributes).mount()?;
    attach(mount.as_fd(), target.as_fd()).context(|| "Mount on /sys/fs/cgroup".to_owned())
}
