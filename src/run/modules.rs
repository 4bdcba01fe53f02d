//! The kernel's modules that a run needs beside those that every guest loads.

use anyhow::Result;
use kernels::Kernel;

/// Modules for the initramfs, in loading order.
#[derive(Debug, Default)]
pub struct Modules(Vec<(String, Vec<u8>)>);

impl Modules {
    /// Adds the driver of a feature, with what it needs itself.
    ///
    /// # Errors
    /// If the kernel lacks it, or the store cannot be read.
    pub fn add(&mut self, kernel: &Kernel, driver: &str) -> Result<()> {
        for (name, contents) in kernel.feature_modules(driver)? {
            let path = format!("/{name}.ko");
            if !self.0.iter().any(|(known, _)| *known == path) {
                self.0.push((path, contents));
            }
        }
        Ok(())
    }

    /// Their paths in the initramfs.
    pub fn paths(&self) -> Vec<String> {
        self.0.iter().map(|(path, _)| path.clone()).collect()
    }

    /// Their paths and contents.
    pub fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0
            .iter()
            .map(|(path, contents)| (path.as_str(), contents.as_slice()))
    }
}
