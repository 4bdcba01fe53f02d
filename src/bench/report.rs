//! The result of a benchmark of whole runs; its JSON is docs/bench.schema.json.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use vmm::Stats;

use super::distribution::Distribution;
use super::host::Host;
use super::subject::Machine;
use crate::output::line;
use crate::run::stats_lines;
use crate::table;

/// The version of the JSON: one more with each change that a reader would notice.
pub const SCHEMA: u32 = 3;

/// One run: its stages in their order, with milliseconds.
pub type Run = Vec<(String, f64)>;

/// What was measured, on what, and how it came out. All times are milliseconds.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    schema: u32,
    benchmark: String,
    /// terrarium's version.
    terrarium: String,
    host: Host,
    machine: Machine,
    warmup: u32,
    /// From before the process's start until its end was seen.
    pub whole: Distribution,
    /// The parts of it, in their order.
    pub stages: Vec<Stage>,
    /// The whole runs, in their order.
    pub samples: Vec<f64>,
    /// What the machine of a further run did, whose time was not measured: counting takes some.
    pub stats: Stats,
}

/// A part of a run.
#[derive(Debug, Serialize, Deserialize)]
pub struct Stage {
    /// Its name, as docs/boot-path.md explains it.
    pub name: String,
    /// How long it took.
    pub time: Distribution,
}

impl Report {
    /// Of `runs`. A stage that a run does not have took it no time: which of two ends is noticed
    /// first is by chance.
    pub fn new(
        benchmark: &str,
        machine: Machine,
        warmup: u32,
        runs: &[Run],
        stats: Stats,
    ) -> Result<Self> {
        let mut names: Vec<&str> = Vec::new();
        for (name, _) in runs.iter().flatten() {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        let time = |run: &Run, name: &str| {
            let parts = run.iter().filter(|(other, _)| other == name);
            parts.map(|(_, time)| time).sum()
        };
        let stages = names.into_iter().map(|name| {
            Ok(Stage {
                name: name.to_owned(),
                time: distribution(runs.iter().map(|run| time(run, name)).collect())?,
            })
        });
        let stages = stages.collect::<Result<_>>()?;
        let samples: Vec<f64> = runs
            .iter()
            .map(|run| run.iter().map(|(_, time)| time).sum())
            .collect();
        Ok(Self {
            schema: SCHEMA,
            benchmark: benchmark.to_owned(),
            terrarium: env!("CARGO_PKG_VERSION").to_owned(),
            host: Host::this(),
            machine,
            warmup,
            whole: distribution(samples.clone())?,
            stages,
            samples,
            stats,
        })
    }

    /// Reads what `--json` printed.
    pub fn read(path: &Path) -> Result<Self> {
        let shown = path.display();
        let json = fs::read(path).with_context(|| format!("Cannot read the result {shown}"))?;
        let report: Self = serde_json::from_slice(&json)
            .with_context(|| format!("{shown} is not a result of `terrarium bench --json`"))?;
        ensure!(
            report.schema == SCHEMA,
            "{shown} has schema {} and this terrarium reads {SCHEMA}: measure again",
            report.schema
        );
        Ok(report)
    }

    /// What was measured, in one line.
    pub fn subject(&self) -> String {
        let machine = &self.machine;
        format!(
            "{} of {} on {} with {}, {} CPU, {} MiB: {} runs",
            self.benchmark,
            machine.image,
            machine.backend,
            machine.kernel,
            machine.cpus,
            machine.memory >> 20,
            self.samples.len(),
        )
    }

    /// Prints the table of stages, and what else was counted.
    pub fn print(&self) -> Result<()> {
        line!("{}\n", self.subject())?;
        let stages = self.stages.iter();
        let stages = stages.map(|stage| (stage.name.as_str(), &stage.time));
        let rows = stages.chain([("whole run", &self.whole)]);
        let rows = rows.map(|(name, time)| {
            let [min, median, p90, p99, max] =
                [time.min, time.median, time.p90, time.p99, time.max].map(|ms| format!("{ms:.3}"));
            [name.to_owned(), min, median, p90, p99, max]
        });
        table::print(["STAGE (ms)", "MIN", "MEDIAN", "P90", "P99", "MAX"], rows)?;
        line!("")?;
        for counted in stats_lines(&self.stats) {
            line!("{counted}")?;
        }
        Ok(())
    }
}

fn distribution(values: Vec<f64>) -> Result<Distribution> {
    Distribution::of(values).context("Nothing was measured")
}
