//! What a result was measured on.

use std::fs;
use std::thread;

use rustix::system::uname;
use serde::{Deserialize, Serialize};

/// The host of a benchmark.
#[derive(Debug, Serialize, Deserialize)]
pub struct Host {
    /// The machine's name of its architecture.
    pub arch: String,
    /// Its kernel's release.
    pub kernel: String,
    /// CPUs that may be used.
    pub cpus: usize,
    /// The model of its CPUs, where its kernel tells it.
    pub cpu: Option<String>,
}

impl Host {
    /// This one.
    pub fn this() -> Self {
        let names = uname();
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = info.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == "model name").then(|| value.trim().to_owned())
        });
        Self {
            arch: names.machine().to_string_lossy().into_owned(),
            kernel: names.release().to_string_lossy().into_owned(),
            cpus: thread::available_parallelism().map_or(1, Into::into),
            cpu: model,
        }
    }
}
