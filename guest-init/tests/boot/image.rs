//! Root disks made of a small tree.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::inputs;

/// A tree to be made into a disk.
#[derive(Debug)]
pub(crate) struct Image {
    folder: TempDir,
}

impl Image {
    /// A tree with busybox, three users and nothing else.
    pub(crate) fn new() -> Self {
        let image = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let list = Command::new(inputs::busybox())
            .arg("--list")
            .output()
            .unwrap();
        image.folder("bin").folder("tmp");
        fs::copy(inputs::busybox(), image.path("bin/busybox")).unwrap();
        let applets = String::from_utf8(list.stdout).unwrap();
        for applet in applets.lines().filter(|applet| *applet != "busybox") {
            image.link(&format!("bin/{applet}"), "busybox");
        }
        image.file(
            "etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:App:/home/app:/bin/sh\n",
        );
        image.file(
            "etc/group",
            "root:x:0:\nwheel:x:10:root,app\napp:x:1001:\nvideo:x:27:app\n",
        );
        image
    }

    /// Adds a file, and the folders it is in.
    pub(crate) fn file(&self, path: &str, contents: &str) -> &Self {
        self.folder(Path::new(path).parent().unwrap().to_str().unwrap());
        fs::write(self.path(path), contents).unwrap();
        self
    }

    /// Adds an executable file.
    pub(crate) fn program(&self, path: &str, contents: &str) -> &Self {
        self.file(path, contents).mode(path, 0o755)
    }

    /// Sets the permission bits of a file.
    pub(crate) fn mode(&self, path: &str, mode: u32) -> &Self {
        fs::set_permissions(self.path(path), fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    /// Adds a folder, and those it is in.
    pub(crate) fn folder(&self, path: &str) -> &Self {
        fs::create_dir_all(self.path(path)).unwrap();
        self
    }

    /// Adds a symbolic link.
    pub(crate) fn link(&self, path: &str, target: &str) -> &Self {
        symlink(target, self.path(path)).unwrap();
        self
    }

    /// Makes the disk.
    pub(crate) fn disk(&self) -> Disk {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(32 << 20).unwrap();
        let status = Command::new("mke2fs")
            .args(["-q", "-F", "-t", "ext4", "-E", "root_owner=0:0", "-d"])
            .arg(self.folder.path())
            .arg(file.path())
            .status()
            .expect("mke2fs");
        assert!(status.success());
        Disk(file)
    }

    /// Where a file of the tree is.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }
}

/// A root disk, removed with this value.
#[derive(Debug)]
pub(crate) struct Disk(tempfile::NamedTempFile);

impl Disk {
    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}
