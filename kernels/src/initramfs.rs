//! The part of the initramfs that is the same for every run of a kernel.

use std::collections::{BTreeMap, BTreeSet};

use guest_init::spec::MODULE_LIST;

use crate::Error;
use crate::cpio::Archive;
use crate::modules::Choice;

/// The folder of the modules, in the initramfs.
const MODULES: &str = "/modules";

/// Empty folders that guest-init mounts something on.
const MOUNT_POINTS: [&str; 3] = ["/newroot", "/proc", "/sys"];

/// Builds the archive: guest-init as `/init`, the devices it needs before it mounts any, and
/// `modules` (name and contents), which are loaded in this order.
pub(crate) fn build(guest_init: &[u8], modules: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut archive = Archive::new()
        .directory("/dev", 0o755)
        // The kernel opens it as the standard streams of /init.
        .character_device("/dev/console", 0o600, 5, 1)
        .character_device("/dev/null", 0o666, 1, 3);
    for mount_point in MOUNT_POINTS {
        archive = archive.directory(mount_point, 0o755);
    }
    archive = archive.file("/init", 0o755, guest_init);
    if !modules.is_empty() {
        archive = archive.directory(MODULES, 0o755);
        let mut list = String::new();
        for (name, contents) in modules {
            let path = format!("{MODULES}/{name}.ko");
            archive = archive.file(&path, 0o644, contents);
            list.push_str(&path);
            list.push('\n');
        }
        archive = archive.file(MODULE_LIST, 0o644, list.as_bytes());
    }
    archive.finish()
}

/// Puts the modules for `drivers` into loading order. `stored` are the names that have a file;
/// the others in `choices` are built in.
///
/// # Errors
/// [`Error::MissingModule`] if a dependency is in neither.
pub(crate) fn loading_order(
    kernel: &str,
    choices: &BTreeMap<String, Choice>,
    stored: &BTreeSet<String>,
    drivers: &[&str],
) -> Result<Vec<String>, Error> {
    let mut order = Order {
        kernel,
        choices,
        stored,
        seen: BTreeSet::new(),
        modules: Vec::new(),
    };
    for driver in drivers {
        if choices.contains_key(*driver) {
            order.visit(driver, driver)?;
        }
    }
    Ok(order.modules)
}

struct Order<'a> {
    kernel: &'a str,
    choices: &'a BTreeMap<String, Choice>,
    stored: &'a BTreeSet<String>,
    seen: BTreeSet<String>,
    modules: Vec<String>,
}

impl Order<'_> {
    fn visit(&mut self, name: &str, wanted_by: &str) -> Result<(), Error> {
        if !self.seen.insert(name.to_owned()) {
            return Ok(());
        }
        let choice = self.choices.get(name).ok_or_else(|| Error::MissingModule {
            kernel: self.kernel.to_owned(),
            module: wanted_by.to_owned(),
            dependency: name.to_owned(),
        })?;
        for dependency in &choice.before {
            self.visit(dependency, name)?;
        }
        if self.stored.contains(name) {
            self.modules.push(name.to_owned());
        }
        for dependency in &choice.after {
            self.visit(dependency, name)?;
        }
        Ok(())
    }
}
