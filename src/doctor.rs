//! `terrarium doctor`.

use std::error::Error;
use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use kernels::Arch;
use serde::Serialize;
use vmm::backend::qemu::{Accelerator, Qemu};
use vmm::config::Arch as MachineArch;

use crate::backend::install_qemu;
use crate::home::Home;
use crate::output;
use crate::units;

#[derive(Args, Debug)]
#[command(after_help = "\
Exit status: 0 if `terrarium run` can work here, 1 if not.

Examples:
  terrarium doctor
  terrarium doctor --json")]
pub struct DoctorOptions {
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

/// Less than this, and a small image does not fit.
const LEAST_DISK_SPACE: u64 = 256 << 20;

/// How a part of the host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Good,
    /// Not as it could be, but nothing that `run` needs.
    Poor,
    Bad,
}

/// What was found out about one part of the host.
#[derive(Debug, Serialize)]
struct Finding {
    subject: &'static str,
    verdict: Verdict,
    message: String,
}

impl Finding {
    fn new(subject: &'static str, verdict: Verdict, message: impl Into<String>) -> Self {
        Self {
            subject,
            verdict,
            message: message.into(),
        }
    }

    fn is_good(&self) -> bool {
        self.verdict == Verdict::Good
    }
}

#[derive(Serialize)]
struct Report<'a> {
    ready: bool,
    /// What `--backend auto` takes.
    backend: Option<&'static str>,
    findings: &'a [Finding],
}

pub fn run(options: &DoctorOptions) -> Result<ExitCode> {
    let kvm = kvm();
    let qemu = qemu(kvm.is_good());
    let backend = [("kvm", &kvm), ("qemu", &qemu)]
        .into_iter()
        .find(|(_, finding)| finding.is_good())
        .map(|(name, _)| name);
    let findings = match Home::open() {
        Ok(home) => vec![kvm, qemu, kernel(&home), disk_space(&home)],
        Err(e) => vec![
            kvm,
            qemu,
            Finding::new("store", Verdict::Bad, format!("{e:#}")),
        ],
    };
    let ready = backend.is_some() && findings.iter().all(|f| f.verdict != Verdict::Bad);
    if options.json {
        let report = Report {
            ready,
            backend,
            findings: &findings,
        };
        output::json(&report)?;
    } else {
        output::print(format_args!(
            "{}",
            table(&findings, backend.filter(|_| ready))
        ))?;
    }
    Ok(if ready {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn table(findings: &[Finding], backend: Option<&str>) -> String {
    let mut text = String::new();
    for finding in findings {
        let mark = match finding.verdict {
            Verdict::Good => "ok",
            Verdict::Poor => "--",
            Verdict::Bad => "!!",
        };
        // Writing to a string does not fail.
        let _ = writeln!(text, "{mark}  {:7} {}", finding.subject, finding.message);
    }
    let _ = match backend {
        Some(backend) => writeln!(text, "\nMachines run here, by the {backend} backend."),
        None => writeln!(
            text,
            "\nMachines cannot run here yet: see the lines marked !!."
        ),
    };
    text
}

fn kvm() -> Finding {
    match vmm::self_test() {
        Ok(()) => Finding::new("kvm", Verdict::Good, "KVM runs guests."),
        Err(e) => Finding::new("kvm", Verdict::Poor, format!("{}.", chain(&e))),
    }
}

/// Without KVM, QEMU is what everything hangs on.
fn qemu(kvm_works: bool) -> Finding {
    match Qemu::find(MachineArch::HOST, Accelerator::Tcg) {
        Ok(qemu) => {
            let (version, path) = (qemu.version(), qemu.binary().display());
            let message = format!("QEMU {version} at {path}, for hosts whose KVM cannot be used.");
            Finding::new("qemu", Verdict::Good, message)
        }
        Err(e) if kvm_works => {
            let message = format!("{}; it is not needed, since KVM works.", chain(&e));
            Finding::new("qemu", Verdict::Poor, message)
        }
        Err(e) => {
            let install = install_qemu(MachineArch::HOST);
            let message = format!("{}; {install}.", chain(&e));
            Finding::new("qemu", Verdict::Bad, message)
        }
    }
}

fn kernel(home: &Home) -> Finding {
    let Some(arch) = Arch::host() else {
        let message = format!("No kernels for {} hosts.", std::env::consts::ARCH);
        return Finding::new("kernel", Verdict::Bad, message);
    };
    let found = kernels::Store::open(&home.kernels()).and_then(|store| store.default_for(arch));
    match found {
        Ok(kernel) => {
            let message = format!("Guests boot Linux {}.", kernel.version());
            Finding::new("kernel", Verdict::Good, message)
        }
        Err(e) => Finding::new("kernel", Verdict::Bad, format!("{}.", chain(&e))),
    }
}

fn disk_space(home: &Home) -> Finding {
    let path = home.path().display();
    match rustix::fs::statvfs(home.path()) {
        Ok(status) => {
            let free = status.f_bavail.saturating_mul(status.f_frsize);
            let message = format!("{} free in {path}.", units::bytes(free));
            if free >= LEAST_DISK_SPACE {
                Finding::new("disk", Verdict::Good, message)
            } else {
                let need = units::bytes(LEAST_DISK_SPACE);
                let message = format!("{message} Images need {need} or more: free some.");
                Finding::new("disk", Verdict::Bad, message)
            }
        }
        Err(e) => {
            let message = format!("Cannot ask for the free space of {path}: {e}.");
            Finding::new("disk", Verdict::Bad, message)
        }
    }
}

/// An error and its causes, in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_marks_what_is_wrong() {
        let findings = [
            Finding::new("kvm", Verdict::Poor, "No KVM."),
            Finding::new("qemu", Verdict::Bad, "No QEMU."),
        ];
        let table = table(&findings, None);
        assert!(table.starts_with("--  kvm     No KVM.\n!!  qemu    No QEMU.\n"));
        assert!(table.ends_with("cannot run here yet: see the lines marked !!.\n"));
    }
}
