//! `terrarium platforms`.

use std::process::ExitCode;

use anyhow::{Result, anyhow};
use clap::Args;
use images::Platform;
use kernels::{Arch, Kernel, Presence, Store};
use serde::Serialize;

use super::{GET_EMULATORS, Way, emulators};
use crate::home::Home;
use crate::table::ListOptions;

#[derive(Args, Debug)]
#[command(after_help = "\
native    by the CPU
32-bit    by the CPU, in the 32-bit mode of its architecture
emulated  by an emulator in the guest, many times slower

Examples:
  terrarium platforms
  terrarium platforms --json")]
pub struct PlatformsOptions {
    #[command(flatten)]
    list: ListOptions,
}

/// Those that images are commonly made for.
const PLATFORMS: [(&str, Option<&str>); 7] = [
    ("amd64", None),
    ("386", None),
    ("arm64", None),
    ("arm", Some("v7")),
    ("arm", Some("v6")),
    ("ppc64le", None),
    ("s390x", None),
];

#[derive(Debug, Serialize)]
struct Row {
    platform: Platform,
    /// How it runs, once nothing is missing.
    runs: Way,
    /// What has to be got first.
    missing: Option<&'static str>,
    /// How to get it.
    command: Option<&'static str>,
}

pub fn run(options: &PlatformsOptions) -> Result<ExitCode> {
    let home = Home::open()?;
    let host = Arch::host().ok_or_else(|| anyhow!("No kernel for this host's architecture"))?;
    let kernel = match Store::open(&home.kernels())?.default_for(host) {
        Err(kernels::Error::NoneFor(_)) => None,
        kernel => Some(kernel?),
    };
    let emulated = emulators(&home.emulators(), host)?;
    let rows: Vec<Row> = PLATFORMS
        .into_iter()
        .map(|(architecture, variant)| Platform::new("linux", architecture, variant))
        .map(|platform| row(platform, host, kernel.as_ref(), &emulated))
        .collect();
    let head = ["PLATFORM", "RUNS", "MISSING", "HOW TO GET IT"];
    options.list.print(&rows, head, |row| {
        [
            row.platform.to_string(),
            row.runs.to_string(),
            row.missing.unwrap_or("-").to_owned(),
            row.command.unwrap_or("-").to_owned(),
        ]
    })?;
    Ok(ExitCode::SUCCESS)
}

fn row(platform: Platform, host: Arch, kernel: Option<&Kernel>, emulated: &[&str]) -> Row {
    let runs = kernel.map_or_else(
        || Way::here(host, &platform),
        |kernel| Way::on(kernel, &platform),
    );
    let has_driver = kernel.is_none_or(|kernel| {
        kernel.drivers().any(|(driver, presence)| {
            driver.module == "binfmt_misc" && presence != Presence::Missing
        })
    });
    let (missing, command) = match runs {
        Way::Emulated if !emulated.contains(&platform.architecture()) => {
            (Some("an emulator"), Some(GET_EMULATORS))
        }
        Way::Emulated if !has_driver => (
            Some("a kernel with binfmt_misc"),
            Some("terrarium kernel pull"),
        ),
        _ if kernel.is_none() => (Some("a kernel"), Some("terrarium kernel pull")),
        _ => (None, None),
    };
    Row {
        platform,
        runs,
        missing,
        command,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_its_remedy() {
        let row = |platform: &str, emulated: &[&str]| {
            super::row(platform.parse().unwrap(), Arch::X86_64, None, emulated)
        };
        let native = row("linux/amd64", &[]);
        assert_eq!(
            (native.runs, native.missing),
            (Way::Native, Some("a kernel"))
        );
        assert_eq!(row("linux/386", &[]).runs, Way::Compat);
        let foreign = row("linux/s390x", &["arm"]);
        assert_eq!(foreign.missing, Some("an emulator"));
        assert!(foreign.command.unwrap().contains("emulator import"));
        assert_eq!(row("linux/s390x", &["s390x"]).missing, Some("a kernel"));
    }
}
