//! Where terrarium keeps images, disks and kernels.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The folder that holds everything terrarium stores on this host.
#[derive(Clone, Debug)]
pub struct Home(PathBuf);

impl Home {
    /// `$TERRARIUM_HOME`, else the user's data folder; made for the user alone if missing.
    pub fn open() -> Result<Self> {
        let path = Self::locate()?;
        images::create_private_folder(&path).with_context(|| {
            format!(
                "Cannot make terrarium's folder {}; set TERRARIUM_HOME to a folder you can write to",
                path.display()
            )
        })?;
        Ok(Self(path))
    }

    fn locate() -> Result<PathBuf> {
        let variable = |name| {
            env::var_os(name)
                .map(PathBuf::from)
                .filter(|path| !path.as_os_str().is_empty())
        };
        if let Some(path) = variable("TERRARIUM_HOME") {
            return std::path::absolute(path).context("Cannot resolve TERRARIUM_HOME");
        }
        // A relative XDG_DATA_HOME is invalid by the base directory specification.
        if let Some(path) = variable("XDG_DATA_HOME").filter(|path| path.is_absolute()) {
            return Ok(path.join("terrarium"));
        }
        let Some(home) = variable("HOME").filter(|path| path.is_absolute()) else {
            bail!("HOME is not set: set it, or TERRARIUM_HOME, to say where to keep images");
        };
        Ok(home.join(".local/share/terrarium"))
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The content store, an OCI image layout.
    pub fn images(&self) -> PathBuf {
        self.0.join("images")
    }

    /// What the user says about registries.
    pub fn registries(&self) -> PathBuf {
        self.0.join("registries.json")
    }

    /// What the user says about how much an image may inflate to.
    pub fn limits(&self) -> PathBuf {
        self.0.join("limits.json")
    }

    /// Disks made of images.
    pub fn disks(&self) -> PathBuf {
        self.0.join("disks")
    }

    /// Kernels and their initramfs.
    pub fn kernels(&self) -> PathBuf {
        self.0.join("kernels")
    }

    /// Emulators of other architectures' programs.
    pub fn emulators(&self) -> PathBuf {
        self.0.join("emulators")
    }

    /// When KVM last passed its test.
    pub fn kvm(&self) -> PathBuf {
        self.0.join("kvm")
    }

    /// Names of running machines.
    pub fn run(&self) -> PathBuf {
        self.0.join("run")
    }
}
