//! Built disks, checked and mounted.

use std::{path::Path, process::Command};

use super::run;

/// A read-only loop mount, undone when dropped.
pub(crate) struct Mount {
    folder: tempfile::TempDir,
}

impl Mount {
    pub(crate) fn new(disk: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        run(Command::new("mount")
            .args(["-o", "ro,loop"])
            .arg(disk)
            .arg(folder.path()));
        Self { folder }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.folder.path()).status();
    }
}

/// Lets e2fsck judge a disk.
pub(crate) fn check(disk: &Path) {
    run(Command::new("e2fsck").arg("-fn").arg(disk));
}
