//! `--trace`: the stages of a run, in the Trace Event Format that Chrome and Perfetto show.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use serde::Serialize;

/// Stages one after the other, from the first instruction of `main` on.
#[derive(Debug)]
pub struct Trace {
    begun: Instant,
    stages: Vec<(&'static str, Instant)>,
    facts: Vec<(&'static str, u64)>,
}

#[derive(Serialize)]
struct Event {
    name: &'static str,
    ph: &'static str,
    ts: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    dur: Option<f64>,
    pid: u32,
    tid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    args: Option<Fact>,
}

#[derive(Serialize)]
struct Fact {
    microseconds: u64,
}

impl Trace {
    /// Starts with stage `first`.
    pub fn begin(first: &'static str) -> Self {
        let begun = Instant::now();
        Self {
            begun,
            stages: vec![(first, begun)],
            facts: Vec::new(),
        }
    }

    /// Ends the present stage and begins `name`.
    pub fn stage(&mut self, name: &'static str) {
        self.stages.push((name, Instant::now()));
    }

    /// Records what the guest's own clock said, in microseconds since its kernel's start.
    pub fn fact(&mut self, name: &'static str, microseconds: u64) {
        self.facts.push((name, microseconds));
    }

    /// Ends the last stage and writes all of them to `path`.
    pub fn write(&self, path: &Path) -> Result<()> {
        let ended = Instant::now();
        let us = |from: Instant, to: Instant| to.duration_since(from).as_nanos() as f64 / 1000.0;
        let pid = std::process::id();
        let ends = self.stages.iter().skip(1).map(|&(_, start)| start);
        let stages = self.stages.iter().zip(ends.chain([ended]));
        let stages = stages.map(|(&(name, start), end)| Event {
            name,
            ph: "X",
            ts: us(self.begun, start),
            dur: Some(us(start, end)),
            pid,
            tid: pid,
            args: None,
        });
        let facts = self.facts.iter().map(|&(name, microseconds)| Event {
            name,
            ph: "i",
            ts: us(self.begun, ended),
            dur: None,
            pid,
            tid: pid,
            args: Some(Fact { microseconds }),
        });
        let events: Vec<Event> = stages.chain(facts).collect();
        let json = serde_json::to_vec(&events).context("Cannot encode the trace")?;
        fs::write(path, json).with_context(|| format!("Cannot write the trace {}", path.display()))
    }
}
