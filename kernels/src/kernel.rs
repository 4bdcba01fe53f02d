//! One kernel of the store.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::boot::{self, BootOptions};
use crate::drivers::{DRIVERS, Need};
use crate::error::io_error;
use crate::modules::{Choice, without_signature};
use crate::{Arch, Driver, Error, KernelConfig, initramfs};

/// Names in a kernel's folder.
pub(crate) const RECORD: &str = "kernel.json";
pub(crate) const CONFIG: &str = "config";
pub(crate) const MODULES: &str = "modules";
const LOCK: &str = "lock";

/// The loadable kernel's name in a kernel's folder, as each architecture calls it.
pub(crate) fn loadable_name(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "vmlinux",
        Arch::Aarch64 => "Image",
    }
}

/// Begins the names of cached initramfs files.
const INITRAMFS: &str = "initramfs-";
/// How long they are kept when another one is made.
const INITRAMFS_AGE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Begins the names of unfinished initramfs files.
const UNFINISHED: &str = ".initramfs-";

/// Part of every cached initramfs' name: changes when [`initramfs::build`] builds another archive
/// from the same parts.
const INITRAMFS_FORMAT: u8 = 2;

/// What the store knows of a kernel beside its files.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) version: String,
    pub(crate) arch: Arch,
    /// The file it was imported from, for people.
    pub(crate) source: String,
    /// When it was imported, in nanoseconds since 1970-01-01 UTC.
    pub(crate) imported_ns: u64,
    /// What is loaded with the drivers and with what they need.
    pub(crate) choices: BTreeMap<String, Choice>,
    /// The modules that have a file.
    pub(crate) modules: BTreeSet<String>,
    /// The drivers of the catalogue that are part of the kernel.
    pub(crate) built_in: BTreeSet<String>,
}

/// How a guest's kernel learns of its virtio-mmio devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discovery {
    /// From ACPI tables.
    Acpi,
    /// From `virtio_mmio.device=` arguments.
    CommandLine,
    /// From the device tree.
    DeviceTree,
}

/// Where a kernel has a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// In the kernel itself.
    BuiltIn,
    /// In a module that the store keeps.
    Module,
    /// Nowhere.
    Missing,
}

/// A kernel in the store, ready to boot.
#[derive(Clone, Debug)]
pub struct Kernel {
    dir: PathBuf,
    id: String,
    record: Record,
    config: KernelConfig,
}

impl Kernel {
    /// Reads the kernel in `dir`, a folder of the store.
    pub(crate) fn read(dir: &Path, id: &str) -> Result<Self, Error> {
        let path = dir.join(RECORD);
        let record = fs::read(&path).map_err(io_error("read", &path))?;
        let record = serde_json::from_slice(&record)
            .map_err(|error| io_error("understand", &path)(error.into()))?;
        let path = dir.join(CONFIG);
        let config = fs::read_to_string(&path).map_err(io_error("read", &path))?;
        Ok(Self {
            dir: dir.to_owned(),
            id: id.to_owned(),
            record,
            config: KernelConfig::new(config),
        })
    }

    /// Its name in the store: the version, and some of the hash of its contents.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its release, as `uname -r` prints it.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.record.version
    }

    /// The architecture it is for.
    #[must_use]
    pub fn arch(&self) -> Arch {
        self.record.arch
    }

    /// The name of the file that it was imported from.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.record.source
    }

    /// When it was imported, in nanoseconds since 1970-01-01 UTC.
    #[must_use]
    pub fn imported_ns(&self) -> u64 {
        self.record.imported_ns
    }

    /// The file that a loader takes: an ELF vmlinux on x86_64, an Image on aarch64.
    #[must_use]
    pub fn vmlinux(&self) -> PathBuf {
        self.dir.join(loadable_name(self.arch()))
    }

    /// The configuration it was built with.
    #[must_use]
    pub fn config(&self) -> &KernelConfig {
        &self.config
    }

    /// Whether it runs programs of its architecture's 32-bit mode, on a CPU that has one.
    #[must_use]
    pub fn runs_32_bit(&self) -> bool {
        self.config.is_built_in(match self.arch() {
            Arch::X86_64 => "CONFIG_IA32_EMULATION",
            Arch::Aarch64 => "CONFIG_COMPAT",
        })
    }

    /// How it finds virtio-mmio devices, the cheapest way that it knows: reading ACPI tables costs
    /// boot time.
    #[must_use]
    pub fn discovery(&self) -> Discovery {
        match self.arch() {
            Arch::Aarch64 => Discovery::DeviceTree,
            Arch::X86_64
                if self
                    .config
                    .is_built_in("CONFIG_VIRTIO_MMIO_CMDLINE_DEVICES") =>
            {
                Discovery::CommandLine
            }
            Arch::X86_64 => Discovery::Acpi,
        }
    }

    /// Its configuration allows to start it at a random address (KASLR).
    #[must_use]
    pub fn can_be_moved(&self) -> bool {
        self.config.is_built_in("CONFIG_RANDOMIZE_BASE")
    }

    /// The drivers that guests need or may need, and where this kernel has each.
    pub fn drivers(&self) -> impl Iterator<Item = (&'static Driver, Presence)> {
        DRIVERS.iter().map(|driver| {
            let presence = if self.record.built_in.contains(driver.module) {
                Presence::BuiltIn
            } else if self.record.modules.contains(driver.module) {
                Presence::Module
            } else {
                Presence::Missing
            };
            (driver, presence)
        })
    }

    /// The arguments to boot it with.
    #[must_use]
    pub fn boot_arguments(&self, options: &BootOptions) -> Vec<String> {
        boot::arguments(self, options)
    }

    /// The names of the modules that a guest loads, in loading order.
    ///
    /// # Errors
    /// If the kernel lacks a driver that every guest needs, or a module that a driver needs.
    pub fn modules_at_boot(&self) -> Result<Vec<String>, Error> {
        let mut drivers = Vec::new();
        for (driver, presence) in self.drivers() {
            match (driver.need, presence) {
                (Need::Always, Presence::Missing) => {
                    return Err(Error::MissingDriver {
                        kernel: self.version().to_owned(),
                        driver: driver.module,
                        option: driver.option,
                    });
                }
                (Need::Always | Need::IfPresent, _) => drivers.push(driver.module),
                (Need::Feature, _) => {}
            }
        }
        initramfs::loading_order(
            self.version(),
            &self.record.choices,
            &self.record.modules,
            &drivers,
        )
    }

    /// The modules for a driver that is needed for one feature only, with their names and contents, in
    /// loading order, without those that every guest loads; none if the driver is built in.
    ///
    /// # Errors
    /// If the kernel lacks the driver, or the store cannot be read.
    pub fn feature_modules(&self, driver: &str) -> Result<Vec<(String, Vec<u8>)>, Error> {
        let at_boot = self.modules_at_boot()?;
        if let Some((driver, Presence::Missing)) =
            self.drivers().find(|(known, _)| known.module == driver)
        {
            return Err(Error::MissingFeature {
                kernel: self.version().to_owned(),
                driver: driver.module,
                option: driver.option,
                purpose: driver.purpose,
            });
        }
        let order = initramfs::loading_order(
            self.version(),
            &self.record.choices,
            &self.record.modules,
            &[driver],
        )?;
        order
            .into_iter()
            .filter(|name| !at_boot.contains(name))
            .map(|name| Ok((name.clone(), self.module(&name)?)))
            .collect()
    }

    /// A module's contents, as guests get it.
    fn module(&self, name: &str) -> Result<Vec<u8>, Error> {
        let path = self.dir.join(MODULES).join(format!("{name}.ko"));
        let mut contents = fs::read(&path).map_err(io_error("read", &path))?;
        if !self.config.is_built_in("CONFIG_MODULE_SIG_FORCE") {
            contents.truncate(without_signature(&contents).len());
        }
        Ok(contents)
    }

    /// The initramfs with `guest_init` as `/init`, and the modules it loads: an uncompressed cpio
    /// archive, to which further ones may be appended. Built at the first call, then kept.
    ///
    /// `version` stands for the contents of `guest_init`, which would take milliseconds of every start to
    /// hash: contents that differ need versions that differ.
    ///
    /// # Errors
    /// If the kernel lacks a needed driver, or the store cannot be read or written.
    pub fn initramfs(&self, guest_init: &[u8], version: &str) -> Result<PathBuf, Error> {
        let names = self.modules_at_boot()?;
        let mut hash = Sha256::new();
        hash.update([INITRAMFS_FORMAT]);
        hash.update(names.join("\n"));
        hash.update([0]);
        hash.update(version);
        let path = self
            .dir
            .join(format!("{INITRAMFS}{}.cpio", hex(&hash.finalize()[..16])));
        if path.exists() {
            return Ok(path);
        }

        let lock_path = self.dir.join(LOCK);
        let lock = File::create(&lock_path).map_err(io_error("create", &lock_path))?;
        lock.lock().map_err(io_error("lock", &lock_path))?;
        if path.exists() {
            return Ok(path);
        }
        self.remove_stale()?;
        let mut modules = Vec::with_capacity(names.len());
        for name in names {
            let contents = self.module(&name)?;
            modules.push((name, contents));
        }
        let archive = initramfs::build(guest_init, &modules);
        let mut file = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .tempfile_in(&self.dir)
            .map_err(io_error("create a file in", &self.dir))?;
        let readable = Permissions::from_mode(0o644);
        file.write_all(&archive)
            .and_then(|()| file.as_file().set_permissions(readable))
            .and_then(|()| file.as_file().sync_all())
            .map_err(io_error("write", file.path()))?;
        file.persist(&path)
            .map_err(|error| io_error("create", &path)(error.error))?;
        Ok(path)
    }

    /// Removes what an interrupted process left, and archives of other guest-inits that have been
    /// here for long. The kernel's lock must be held.
    fn remove_stale(&self) -> Result<(), Error> {
        for entry in fs::read_dir(&self.dir).map_err(io_error("list", &self.dir))? {
            let entry = entry.map_err(io_error("list", &self.dir))?;
            let path = entry.path();
            let name = entry.file_name();
            let name = name.as_encoded_bytes();
            let is_old = || {
                let modified = entry.metadata().and_then(|data| data.modified()).ok();
                modified.is_some_and(|time| time.elapsed().is_ok_and(|age| age > INITRAMFS_AGE))
            };
            if name.starts_with(UNFINISHED.as_bytes())
                || name.starts_with(INITRAMFS.as_bytes()) && is_old()
            {
                fs::remove_file(&path).map_err(io_error("remove", &path))?;
            }
        }
        Ok(())
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
