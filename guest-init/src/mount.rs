//! Mounting by file descriptor, so that no path is looked up twice.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use crate::failure::{Context, Failure};

/// A file system to be mounted.
#[derive(Debug)]
pub(crate) struct FileSystem<'a> {
    kind: &'a str,
    options: Vec<(&'static str, Option<&'a str>)>,
    attributes: MountAttrFlags,
}

impl<'a> FileSystem<'a> {
    /// A file system of this type, without options.
    pub(crate) fn new(kind: &'a str) -> Self {
        Self {
            kind,
            options: Vec::new(),
            attributes: MountAttrFlags::empty(),
        }
    }

    /// Adds an option that has a value, `source` among them.
    pub(crate) fn option(mut self, name: &'static str, value: &'a str) -> Self {
        self.options.push((name, Some(value)));
        self
    }

    /// Adds an option that has no value.
    pub(crate) fn flag(mut self, name: &'static str) -> Self {
        self.options.push((name, None));
        self
    }

    /// Adds attributes of the mount.
    pub(crate) fn attributes(mut self, attributes: MountAttrFlags) -> Self {
        self.attributes |= attributes;
        self
    }

    /// Mounts it, attached to no place yet.
    pub(crate) fn mount(self) -> Result<OwnedFd, Failure> {
        let context = fsopen(self.kind, FsOpenFlags::FSOPEN_CLOEXEC)
            .context(|| format!("Find file system {}", self.kind))?;
        self.configure(context.as_fd()).map_err(|error| {
            let reason = kernel_message(context.as_fd()).unwrap_or_else(|| error.to_string());
            Failure::setup(format!("Mount {}: {reason}", self.describe()))
        })
    }

    fn configure(&self, context: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
        for (name, value) in &self.options {
            match value {
                Some(value) => fsconfig_set_string(context, *name, *value)?,
                None => fsconfig_set_flag(context, *name)?,
            }
        }
        fsconfig_create(context)?;
        fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, self.attributes)
    }

    fn describe(&self) -> String {
        let source = self.options.iter().find(|(name, _)| *name == "source");
        match source {
            Some((_, Some(source))) => format!("{source} as {}", self.kind),
            _ => self.kind.to_owned(),
        }
    }
}

/// The last thing the kernel had to say about a mount that failed.
fn kernel_message(context: BorrowedFd<'_>) -> Option<String> {
    let mut last = None;
    let mut line = [0; 512];
    while let Ok(length) = rustix::io::read(context, &mut line) {
        let text = String::from_utf8_lossy(line.get(..length)?);
        last = Some(
            text.trim_end()
                .trim_start_matches(['e', 'w', 'i', ' '])
                .to_owned(),
        );
    }
    last
}

/// Puts a detached mount on the file or folder that `target` is.
pub(crate) fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), Errno> {
    move_mount(
        mount,
        "",
        target,
        "",
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH,
    )
}

/// Puts a detached mount on the folder `path` under `parent` and returns it.
pub(crate) fn attach_at(
    mount: OwnedFd,
    parent: BorrowedFd<'_>,
    path: &str,
) -> Result<OwnedFd, Failure> {
    let target = rustix::fs::openat(
        parent,
        path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .context(|| format!("Open {path}"))?;
    attach(mount.as_fd(), target.as_fd()).context(|| format!("Mount on {path}"))?;
    Ok(mount)
}

/// A new mount of the file at `path`, attached to no place yet.
pub(crate) fn bind(path: &str) -> Result<OwnedFd, Failure> {
    open_tree(
        CWD,
        path,
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC,
    )
    .context(|| format!("Bind {path}"))
}

/// The folder `name` right under `root`, created if missing. Never another one: a symbolic link in
/// its place is an error.
pub(crate) fn folder(root: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Failure> {
    match rustix::fs::mkdirat(root, name, Mode::from_raw_mode(0o755)) {
        // A read-only file system says so before it looks whether the folder exists.
        Ok(()) | Err(Errno::EXIST | Errno::ROFS) => {}
        Err(error) => return Err(error).context(|| format!("Create /{name} in the image")),
    }
    openat2(
        root,
        name,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV,
    )
    .context(|| format!("Use /{name} of the image as a folder"))
}
