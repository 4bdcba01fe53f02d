//! `terrarium bench density`: machines at once, until a limit, and what each takes.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind};
use std::process::{Child, ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;

use super::distribution::Distribution;
use super::host::Host;
use super::report::SCHEMA;
use super::subject::{Machine, Subject, SubjectOptions};
use crate::output::{self, line};
use crate::{table, trace, units};

/// Start machines at once until a limit, and measure the memory of each
#[derive(Args, Debug)]
#[command(after_help = "\
Each machine says that it runs, then waits. Memory is the proportional set size (PSS) of terrarium and
all its processes: guest memory that was touched, and the machine monitor's own; pages that machines share
count in parts.")]
pub struct DensityOptions {
    /// Machines at most
    #[arg(long, value_name = "N", default_value = "16", value_parser = clap::value_parser!(u32).range(1..))]
    vms: u32,

    /// Memory to leave to the host
    #[arg(long, value_name = "SIZE", default_value = "1g", value_parser = crate::units::size)]
    reserve: u64,

    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    subject: SubjectOptions,
}

#[derive(Serialize)]
struct Report {
    schema: u32,
    benchmark: &'static str,
    terrarium: &'static str,
    host: Host,
    machine: Machine,
    /// Machines that ran at once.
    vms: usize,
    /// Why there were no more.
    ended_by: &'static str,
    /// Bytes of each.
    memory: Distribution,
    /// Milliseconds from a process's start to the first output of its command.
    start: Distribution,
}

/// A machine that runs until it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Its input ends, and with it the command.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

pub fn run(options: &DensityOptions) -> Result<ExitCode> {
    let own = |_: &images::Image| Ok(["/bin/sh", "-c", "echo; cat"].map(str::to_owned).into());
    let subject = Subject::new(&options.subject, own)?;
    let mut running = Vec::new();
    let mut starts = Vec::new();
    let ended_by = loop {
        if running.len() >= options.vms as usize {
            break "vms";
        }
        if available_memory()? < options.reserve.saturating_add(subject.machine.memory) {
            break "memory";
        }
        let begun = trace::now();
        running.push(start(&subject)?);
        starts.push(trace::microseconds(trace::now() - begun) / 1000.0);
    };
    if running.is_empty() {
        bail!(
            "There is no memory for a single machine beside the {} of --reserve",
            units::bytes(options.reserve)
        );
    }
    let sizes = running.iter().map(|machine| family_memory(machine.0.id()));
    let sizes = sizes.collect::<Result<Vec<_>>>()?;
    let none = "Nothing was measured";
    let report = Report {
        schema: SCHEMA,
        benchmark: "density",
        terrarium: env!("CARGO_PKG_VERSION"),
        host: Host::this(),
        vms: running.len(),
        ended_by,
        memory: Distribution::of(sizes).context(none)?,
        start: Distribution::of(starts).context(none)?,
        machine: subject.machine,
    };
    drop(running);
    if options.json {
        output::json(&report)?;
    } else {
        print(&report)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Starts a machine and waits until its command has said something.
fn start(subject: &Subject) -> Result<Running> {
    let mut command = subject.command(&["--interactive".into()]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut machine = Running(command.spawn().context("Cannot start terrarium")?);
    let output = machine.0.stdout.as_mut().context("No output")?;
    let mut line = String::new();
    BufReader::new(output)
        .read_line(&mut line)
        .context("Cannot read a machine's output")?;
    if line.is_empty() {
        bail!(
            "A machine ended before its command said anything: give one that prints a line and waits"
        );
    }
    Ok(machine)
}

/// The proportional set size of a process and all its descendants, in bytes. A machine's process on KVM shows its
/// own to root only: for others its resident set stands in.
fn family_memory(pid: u32) -> Result<f64> {
    let rollup = format!("/proc/{pid}/smaps_rollup");
    let mut bytes = match fs::read_to_string(&rollup) {
        Ok(rollup) => kilobytes(&rollup, "Pss:").context("The kernel tells no set size")?,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => resident_set(pid)?,
        Err(error) => return Err(error).with_context(|| format!("Cannot read {rollup}")),
    } as f64;
    let tasks = format!("/proc/{pid}/task");
    for task in fs::read_dir(&tasks).with_context(|| format!("Cannot read {tasks}"))? {
        let children = fs::read_to_string(task?.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace() {
            bytes += family_memory(child.parse()?)?;
        }
    }
    Ok(bytes)
}

/// The resident set of a process, in bytes.
fn resident_set(pid: u32) -> Result<u64> {
    let status = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&status).with_context(|| format!("Cannot read {status}"))?;
    kilobytes(&status, "VmRSS:").context("The kernel tells no resident set")
}

/// What the host could give away without swapping, in bytes.
fn available_memory() -> Result<u64> {
    let info = fs::read_to_string("/proc/meminfo").context("Cannot read /proc/meminfo")?;
    kilobytes(&info, "MemAvailable:").context("The kernel tells no available memory")
}

/// The value of a line `key  N kB`, in bytes.
fn kilobytes(text: &str, key: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(key))?;
    let number: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    number.checked_mul(1024)
}

fn print(report: &Report) -> Result<()> {
    let machine = &report.machine;
    let why = match report.ended_by {
        "memory" => "no memory was left for more",
        _ => "as many as asked for",
    };
    line!(
        "{} machines of {} MiB at once on {} with {}: {why}",
        report.vms,
        machine.memory >> 20,
        machine.backend,
        machine.kernel
    )?;
    let rows = [
        ("memory (MB)", &report.memory, 1e6),
        ("start (ms)", &report.start, 1.0),
    ];
    let rows = rows.map(|(name, values, unit)| {
        let [min, median, p90, max] = [values.min, values.median, values.p90, values.max]
            .map(|value| format!("{:.3}", value / unit));
        [name.to_owned(), min, median, p90, max]
    });
    table::print(["EACH", "MIN", "MEDIAN", "P90", "MAX"], rows.into_iter())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kilobytes_are_found_by_their_key() {
        let text = "Rss:  12 kB\nPss:   7 kB\nPss_Dirty: 3 kB\n";
        assert_eq!(kilobytes(text, "Pss:"), Some(7 * 1024));
        assert_eq!(kilobytes(text, "Swap:"), None);
    }

    #[test]
    fn this_process_takes_memory() {
        assert!(family_memory(std::process::id()).unwrap() > 100_000.0);
        assert!(resident_set(std::process::id()).unwrap() > 100_000);
        assert!(available_memory().unwrap() > 0);
    }
}
