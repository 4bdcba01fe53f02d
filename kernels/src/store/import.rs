//! Taking a kernel out of a package.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::Store;
use crate::compression::{inflating, read_bounded};
use crate::drivers::DRIVERS;
use crate::error::io_error;
use crate::folder::{sync_dir, write};
use crate::image::{self, LoadableKernel};
use crate::kernel::{CONFIG, MODULES, RECORD, Record, hex, loadable_name};
use crate::modules::{Choice, Modules, choose};
use crate::package::{
    CONFIG_PREFIX, Contents, KERNEL_PREFIX, kept_as, read_apk, read_deb, read_tree,
};
use crate::{Error, FormatError, Kernel, KernelConfig};

/// The largest kernel file accepted as it is shipped, in bytes.
const MAX_SHIPPED: u64 = 512 << 20;
/// The largest sum of the modules taken over, inflated, in bytes: they are held in memory, and then given to each
/// guest. Those of Debian's ordinary kernel have a fiftieth of it.
const MAX_TAKEN: usize = 256 << 20;
/// Bytes of the hash of all contents in an id: too many to make a kernel that passes for another one.
const ID_HASH: usize = 8;
/// The largest configuration accepted, in bytes: Debian's has 270 KB.
const MAX_CONFIG: u64 = 4 << 20;

impl Store {
    /// Imports the kernel of a Debian `linux-image` package. It becomes the default.
    ///
    /// # Errors
    /// If the package cannot be read or holds no usable kernel; the store is unchanged then.
    pub fn import_deb(&self, package: &Path) -> Result<Kernel, Error> {
        let file = File::open(package).map_err(io_error("open", package))?;
        self.import(package, |contents| read_deb(BufReader::new(file), contents))
    }

    /// Imports the kernel of an Alpine `linux-*` package. It becomes the default. The package's own
    /// hashes are checked; who signed it is not: [`pull`](Self::pull) does that.
    ///
    /// # Errors
    /// As for [`import_deb`](Self::import_deb).
    pub fn import_apk(&self, package: &Path) -> Result<Kernel, Error> {
        let file = File::open(package).map_err(io_error("open", package))?;
        self.import(package, |contents| {
            read_apk(BufReader::new(file), contents, None)
        })
    }

    /// Imports a kernel from single files: the kernel in any form, the folder of its modules
    /// (`/lib/modules/VERSION`) if it has any, and the configuration it was built with. It becomes
    /// the default.
    ///
    /// # Errors
    /// As for [`import_deb`](Self::import_deb).
    pub fn import_files(
        &self,
        vmlinuz: &Path,
        modules: Option<&Path>,
        config: &Path,
    ) -> Result<Kernel, Error> {
        let open = |path: &Path| File::open(path).map_err(io_error("open", path));
        let (mut kernel_file, mut config_file) = (open(vmlinuz)?, open(config)?);
        self.import(vmlinuz, |contents| {
            let length = kernel_file.metadata()?.len();
            contents.add(KERNEL_PREFIX, length, &mut kernel_file)?;
            let length = config_file.metadata()?.len();
            contents.add(CONFIG_PREFIX, length, &mut config_file)?;
            modules.map_or(Ok(()), |dir| read_tree(dir, contents))
        })
    }

    fn import(
        &self,
        path: &Path,
        read: impl FnOnce(&mut Contents) -> Result<(), FormatError>,
    ) -> Result<Kernel, Error> {
        let _lock = self.folder.lock()?;
        let staging = self.folder.staging()?;
        self.import_into(&staging, path, read)
    }

    pub(super) fn import_into(
        &self,
        staging: &TempDir,
        path: &Path,
        read: impl FnOnce(&mut Contents) -> Result<(), FormatError>,
    ) -> Result<Kernel, Error> {
        let mut contents = Contents::new_in(self.folder.path(), kept_as)
            .map_err(io_error("create a file in", self.folder.path()))?;
        let import = read(&mut contents).and_then(|()| Import::read(&contents));
        let import = import.map_err(|source| Error::Import {
            path: path.to_owned(),
            source,
        })?;
        let source = path.file_name().unwrap_or_default().to_string_lossy();
        self.keep(&import, &source, staging)
    }

    /// Writes an import into its folder, or makes the one that is there the default.
    fn keep(&self, import: &Import, source: &str, staging: &TempDir) -> Result<Kernel, Error> {
        let id = import.id();
        let path = self.folder.path().join(&id);
        let record = Record {
            version: import.version.clone(),
            arch: import.kernel.arch,
            source: source.to_owned(),
            imported_ns: now_ns(),
            choices: import.choices.clone(),
            modules: import.modules.keys().cloned().collect(),
            built_in: import.built_in.clone(),
        };
        let record = serde_json::to_vec_pretty(&record)
            .map_err(|error| io_error("describe", &path)(error.into()))?;

        let new = staging.path().join(&id);
        let modules = new.join(MODULES);
        fs::create_dir_all(&modules).map_err(io_error("create", &modules))?;
        write(&new.join(RECORD), &record)?;
        if path.exists() {
            let old = path.join(RECORD);
            fs::rename(new.join(RECORD), &old).map_err(io_error("replace", &old))?;
            sync_dir(&path)?;
            return Kernel::read(&path, &id);
        }
        write(
            &new.join(loadable_name(import.kernel.arch)),
            &import.kernel.bytes,
        )?;
        write(&new.join(CONFIG), import.config.as_bytes())?;
        for (name, contents) in &import.modules {
            write(&modules.join(format!("{name}.ko")), contents)?;
        }
        sync_dir(&modules)?;
        sync_dir(&new)?;
        fs::rename(&new, &path).map_err(io_error("create", &path))?;
        sync_dir(self.folder.path())?;
        Kernel::read(&path, &id)
    }
}

/// All that is taken over from a package.
struct Import {
    kernel: LoadableKernel,
    version: String,
    config: String,
    choices: BTreeMap<String, Choice>,
    modules: BTreeMap<String, Vec<u8>>,
    built_in: BTreeSet<String>,
}

impl Import {
    fn read(contents: &Contents) -> Result<Self, FormatError> {
        let path = contents.the_only(KERNEL_PREFIX, "kernel")?;
        let kernel = image::unpack(contents.read(path, MAX_SHIPPED)?)?;
        let version = kernel.version()?;
        let path = contents.the_only(CONFIG_PREFIX, "kernel configuration")?;
        let config = contents.read(path, MAX_CONFIG)?;
        let config = read_bounded(inflating(config.as_slice())?, path, MAX_CONFIG)?;
        // Kept as it is read: a store with a file in it that is no text could not be read any more.
        let config = String::from_utf8_lossy(&config).into_owned();
        let settings = KernelConfig::new(config.clone());

        let available = Modules::read(contents)?;
        let choices = choose(&available, DRIVERS.iter().map(|driver| driver.module))?;
        let mut modules = BTreeMap::new();
        let mut taken = 0;
        for name in choices.keys() {
            if let Some(module) = available.contents(contents, name)? {
                taken += module.len();
                if taken > MAX_TAKEN {
                    return Err(FormatError::malformed(
                        "The modules that guests need are larger than any kernel's",
                    ));
                }
                modules.insert(name.clone(), module);
            }
        }
        let built_in = DRIVERS
            .iter()
            .filter(|driver| {
                available.is_built_in(driver.module) || settings.is_built_in(driver.option)
            })
            .map(|driver| driver.module.to_owned());
        Ok(Self {
            built_in: built_in.collect(),
            kernel,
            version,
            config,
            choices,
            modules,
        })
    }

    /// The version, and some of the hash of all contents.
    fn id(&self) -> String {
        let mut hash = Sha256::new();
        let mut add = |part: &[u8]| {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        };
        add(&self.kernel.bytes);
        add(self.config.as_bytes());
        for (name, contents) in &self.modules {
            add(name.as_bytes());
            add(contents);
        }
        format!("{}-{}", self.version, hex(&hash.finalize()[..ID_HASH]))
    }
}

fn now_ns() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    since_epoch.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}
