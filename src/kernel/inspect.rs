//! `terrarium kernel inspect`.

use anyhow::{Context, Result};
use clap::Args;
use kernels::{BootOptions, Discovery, Kernel, Need, Presence};
use serde::Serialize;

use crate::escape::escaped;
use crate::output::{self, line};
use crate::units;

/// Show what guests get from a kernel
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  terrarium kernel inspect 6.1
  terrarium kernel inspect --json 6.18.2-0-virt")]
pub struct InspectOptions {
    /// Print it as JSON
    #[arg(long)]
    json: bool,

    /// The kernel's id, or the beginning of it
    pub id: String,
}

#[derive(Serialize)]
struct Report<'a> {
    id: &'a str,
    version: &'a str,
    arch: &'static str,
    source: &'a str,
    kernel: String,
    kernel_bytes: u64,
    device_discovery: &'static str,
    arguments: Vec<String>,
    /// In loading order; none if the kernel cannot be used.
    modules_at_boot: Option<Vec<String>>,
    /// Why the kernel cannot be used.
    problem: Option<String>,
    drivers: Vec<DriverReport>,
}

#[derive(Serialize)]
struct DriverReport {
    name: &'static str,
    option: &'static str,
    purpose: &'static str,
    needed: &'static str,
    presence: &'static str,
}

impl InspectOptions {
    /// Prints all that is known of a kernel.
    pub fn print(&self, kernel: &Kernel) -> Result<()> {
        let report = Report::new(kernel)?;
        if self.json {
            output::json(&report)?;
        } else {
            report.print()?;
        }
        Ok(())
    }
}

impl<'a> Report<'a> {
    fn new(kernel: &'a Kernel) -> Result<Self> {
        let path = kernel.vmlinux();
        let kernel_bytes = path
            .metadata()
            .with_context(|| format!("Cannot read {}", path.display()))?
            .len();
        let (modules_at_boot, problem) = match kernel.modules_at_boot() {
            Ok(modules) => (Some(modules), None),
            Err(error) => (None, Some(error.to_string())),
        };
        Ok(Self {
            id: kernel.id(),
            version: kernel.version(),
            arch: kernel.arch().name(),
            source: kernel.source(),
            kernel: path.display().to_string(),
            kernel_bytes,
            device_discovery: match kernel.discovery() {
                Discovery::Acpi => "ACPI tables",
                Discovery::CommandLine => "the command line",
                Discovery::DeviceTree => "the device tree",
            },
            arguments: kernel.boot_arguments(&BootOptions::default()),
            modules_at_boot,
            problem,
            drivers: drivers(kernel),
        })
    }

    fn print(&self) -> Result<()> {
        let fact = |name: &str, value: &str| line!("{name:<12}{}", escaped(value));
        fact("id", self.id)?;
        fact("version", self.version)?;
        fact("arch", self.arch)?;
        fact("source", self.source)?;
        fact(
            "kernel",
            &format!("{} ({})", self.kernel, units::bytes(self.kernel_bytes)),
        )?;
        fact("devices", &format!("found by {}", self.device_discovery))?;
        fact("arguments", &self.arguments.join(" "))?;
        match (&self.modules_at_boot, &self.problem) {
            (Some(modules), _) if modules.is_empty() => fact("modules", "none to load at boot")?,
            (Some(modules), _) => fact("modules", &modules.join(" "))?,
            (None, Some(problem)) => fact("unusable", problem)?,
            (None, None) => {}
        }
        line!("\n{:<28}{:<10}{:<10}PURPOSE", "DRIVER", "PRESENT", "NEEDED")?;
        for driver in &self.drivers {
            line!(
                "{:<28}{:<10}{:<10}{}",
                driver.name,
                driver.presence,
                driver.needed,
                driver.purpose
            )?;
        }
        Ok(())
    }
}

fn drivers(kernel: &Kernel) -> Vec<DriverReport> {
    let report = |(driver, presence): (&kernels::Driver, Presence)| DriverReport {
        name: driver.module,
        option: driver.option,
        purpose: driver.purpose,
        needed: match driver.need {
            Need::Always => "always",
            Need::IfPresent => "wished",
            Need::Feature => "feature",
        },
        presence: match presence {
            Presence::BuiltIn => "built in",
            Presence::Module => "module",
            Presence::Missing => "missing",
        },
    };
    kernel.drivers().map(report).collect()
}
