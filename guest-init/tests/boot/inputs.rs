//! What the tests take from outside.

use std::env;
use std::path::PathBuf;
use std::sync::OnceLock;

use kernels::{Arch, Kernel, Store};

/// A static build of guest-init, as the command embeds it.
pub(crate) fn guest_init() -> Vec<u8> {
    let path = variable("TERRARIUM_TEST_GUEST_INIT", "a static guest-init");
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What tells it from others: when it was built.
pub(crate) fn guest_init_version() -> String {
    let path = variable("TERRARIUM_TEST_GUEST_INIT", "a static guest-init");
    let built = std::fs::metadata(&path).and_then(|file| file.modified());
    format!("{:?}", built.unwrap())
}

/// A static busybox: the programs of the guest.
pub(crate) fn busybox() -> PathBuf {
    variable("TERRARIUM_TEST_BUSYBOX", "a static busybox")
}

/// The kernel, imported once.
pub(crate) fn kernel() -> &'static Kernel {
    static KERNEL: OnceLock<Kernel> = OnceLock::new();
    KERNEL.get_or_init(|| {
        let package = variable("TERRARIUM_TEST_KERNEL_DEB", "a linux-image package");
        let store =
            Store::open(&PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("kernels")).unwrap();
        // Importing takes long without optimization, so an earlier run's is taken if it can be read.
        let name = package.file_name().unwrap().to_string_lossy();
        let imported = store.list().unwrap_or_default();
        let kernel = imported
            .into_iter()
            .find(|kernel| kernel.source() == name)
            .unwrap_or_else(|| store.import_deb(&package).unwrap());
        assert_eq!(Some(kernel.arch()), Arch::host(), "{}", package.display());
        kernel
    })
}

fn variable(name: &str, what: &str) -> PathBuf {
    env::var_os(name)
        .unwrap_or_else(|| panic!("{name} must be the path of {what}; scripts/test sets it"))
        .into()
}
