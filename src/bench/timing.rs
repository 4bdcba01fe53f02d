//! `terrarium bench boot` and `bench exec`: whole runs, one after the other, split into stages.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use images::Image;
use vmm::Stats;

use super::report::{Report, Run};
use super::subject::{Subject, SubjectOptions};
use super::{compare, histogram};
use crate::output::{self, line};
use crate::trace::{self, Event};

/// How long the host needs to free a machine.
const SETTLE: Duration = Duration::from_millis(100);

/// Measure whole runs, each in a fresh machine
#[derive(Args, Debug)]
#[command(after_help = "\
Each run is a process of its own, from its start to its end; the first ones only warm caches. `boot` runs
an empty line of shell, `exec` a line of Python, unless a command is given. docs/benchmarks.md tells the
stages, docs/bench.schema.json the JSON.")]
pub struct TimingOptions {
    /// Runs to measure
    #[arg(short = 'n', long, value_name = "N", default_value = "10", value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,

    /// Runs before these, which are not measured
    #[arg(long, value_name = "N", default_value = "2")]
    warmup: u32,

    /// Print JSON
    #[arg(long)]
    json: bool,

    /// Draw a histogram of the whole runs to this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,

    /// Show an earlier result, as --json printed it, beside this one
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    compare: Option<PathBuf>,

    #[command(flatten)]
    subject: SubjectOptions,
}

/// What `bench boot` runs: as little as has a first byte of output.
pub fn boot_command(_: &Image) -> Result<Vec<String>> {
    Ok(["/bin/sh", "-c", "echo"].map(str::to_owned).into())
}

/// What `bench exec` runs: a line of the Python that is the image's own command.
pub fn python_command(image: &Image) -> Result<Vec<String>> {
    let own = image.config.entrypoint.iter().chain(&image.config.cmd);
    let Some(python) = own.into_iter().find(|word| word.contains("python")) else {
        bail!(
            "{} does not run Python by itself: say which command to measure",
            image.reference
        );
    };
    Ok(vec![python.clone(), "-c".into(), "print(6 * 7)".into()])
}

/// Measures, and tells the result.
pub fn run(
    benchmark: &str,
    options: &TimingOptions,
    own: fn(&Image) -> Result<Vec<String>>,
) -> Result<ExitCode> {
    // Files first: a wrong one must not cost minutes.
    let earlier = options.compare.as_deref().map(Report::read).transpose()?;
    if let Some(path) = &options.svg {
        histogram::touch(path)?;
    }
    let subject = Subject::new(&options.subject, own)?;
    for _ in 0..options.warmup {
        subject.succeed(&[])?;
    }
    let scratch = tempfile::tempdir().context("Cannot make a folder for traces")?;
    let trace = scratch.path().join("trace.json");
    let mut runs = Vec::new();
    for _ in 0..options.runs {
        runs.push(measure(&subject, &trace)?);
    }
    let stats = count(&subject, &scratch.path().join("stats.json"))?;
    let report = Report::new(benchmark, subject.machine, options.warmup, &runs, stats)?;
    if let Some(path) = &options.svg {
        histogram::draw(&report, path)?;
    }
    if options.json {
        output::json(&report)?;
    } else {
        report.print()?;
        line!("")?;
        histogram::print(&report.samples)?;
    }
    if let Some(earlier) = &earlier {
        line!("")?;
        compare::print(earlier, &report)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What the machine of one more run did.
fn count(subject: &Subject, file: &Path) -> Result<Stats> {
    let mut option = OsString::from("--stats=");
    option.push(file);
    subject.succeed(&[option])?;
    let json = fs::read(file).context("Cannot read a run's statistics")?;
    serde_json::from_slice(&json).context("Cannot read a run's statistics")
}

/// One run, with what its trace does not show: the start of its process, and its end.
fn measure(subject: &Subject, file: &Path) -> Result<Run> {
    // The host still frees the machine of the run before, which would take this one's time.
    thread::sleep(SETTLE);
    let begun = trace::microseconds(trace::now());
    subject.succeed(&["--trace".into(), file.into()])?;
    let ended = trace::microseconds(trace::now());
    let json = fs::read(file).context("Cannot read a run's trace")?;
    let events: Vec<Event> = serde_json::from_slice(&json).context("Cannot read a run's trace")?;
    let mut run = Run::new();
    let mut last = begun;
    for event in events {
        let Some(duration) = event.dur else { continue };
        if run.is_empty() {
            run.push(("process start".to_owned(), (event.ts - begun) / 1000.0));
        }
        run.push((event.name, duration / 1000.0));
        last = event.ts + duration;
    }
    run.push(("process end".to_owned(), (ended - last) / 1000.0));
    Ok(run)
}
