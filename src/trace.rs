//! `--trace`: the stages of a run, in the Trace Event Format that Chrome and Perfetto show. Times are
//! microseconds of `CLOCK_MONOTONIC`, so that other programs' stages can be laid beside them.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use tracing::Span;
use tracing::span::EnteredSpan;

/// Stages one after the other, from the first instruction of `main` on.
#[derive(Debug)]
pub struct Trace {
    stages: Vec<(&'static str, Duration)>,
    facts: Vec<(&'static str, u64)>,
    /// The present stage, for `TERRARIUM_LOG`.
    span: EnteredSpan,
}

/// An event of a trace file.
#[derive(Debug, Serialize, Deserialize)]
pub struct Event {
    /// What the stage does, or what was noted.
    pub name: String,
    /// `X` for a stage, `i` for what was noted.
    pub ph: String,
    /// When it began, in microseconds.
    pub ts: f64,
    /// How long it took, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dur: Option<f64>,
    pid: u32,
    tid: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    args: Option<Fact>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Fact {
    microseconds: u64,
}

/// The time now on the clock of traces.
pub fn now() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    // The clock begins at zero and its nanoseconds are less than a second.
    Duration::new(
        u64::try_from(now.tv_sec).unwrap_or(0),
        u32::try_from(now.tv_nsec).unwrap_or(0),
    )
}

/// A time or duration as traces tell it.
pub fn microseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

impl Trace {
    /// Starts with stage `first`.
    pub fn begin(first: &'static str) -> Self {
        Self {
            stages: vec![(first, now())],
            facts: Vec::new(),
            span: span(first),
        }
    }

    /// Ends the present stage and begins `name`.
    pub fn stage(&mut self, name: &'static str) {
        self.stages.push((name, now()));
        // The old one ends before the new one begins, or it would be within that.
        self.span = Span::none().entered();
        self.span = span(name);
    }

    /// Splits stage `name` where its parts were done, the last of which is where the next stage begins. Times
    /// that cannot be are left out: a machine's process says them, which a guest may have taken over.
    pub fn split(&mut self, name: &str, parts: &[(&'static str, Duration)]) {
        let Some(index) = self.stages.iter().position(|&(stage, _)| stage == name) else {
            return;
        };
        let mut begun = match self.stages.get(index) {
            Some(&(_, begun)) => begun,
            None => return,
        };
        // The next stage may have been noticed later than it began, but not after the one behind it.
        let limit = self
            .stages
            .get(index + 2)
            .map_or_else(now, |&(_, start)| start);
        let mut split = Vec::new();
        for &(part, done) in parts {
            if done >= begun && done <= limit {
                split.push((part, begun));
                begun = done;
            }
        }
        if split.is_empty() {
            return;
        }
        if let Some((_, start)) = self.stages.get_mut(index + 1) {
            *start = begun;
        }
        self.stages.splice(index..=index, split);
    }

    /// Records what the guest's own clock said, in microseconds since its kernel's start.
    pub fn fact(&mut self, name: &'static str, microseconds: u64) {
        tracing::info!(microseconds, "{name}");
        self.facts.push((name, microseconds));
    }

    /// Ends the last stage and writes all of them to `path`. The writing itself is the last event, `trace`: it
    /// takes what runs without a trace do not.
    pub fn write(&self, path: &Path) -> Result<()> {
        let ended = now();
        let pid = std::process::id();
        let stage = |name: &str, start, end| Event {
            name: name.to_owned(),
            ph: "X".to_owned(),
            ts: microseconds(start),
            dur: Some(microseconds(end - start)),
            pid,
            tid: pid,
            args: None,
        };
        let ends = self.stages.iter().skip(1).map(|&(_, start)| start);
        let stages = self.stages.iter().zip(ends.chain([ended]));
        let stages = stages.map(|(&(name, start), end)| stage(name, start, end));
        let facts = self.facts.iter().map(|&(name, value)| Event {
            name: name.to_owned(),
            ph: "i".to_owned(),
            ts: microseconds(ended),
            dur: None,
            pid,
            tid: pid,
            args: Some(Fact {
                microseconds: value,
            }),
        });
        let events: Vec<Event> = stages.chain(facts).collect();
        let mut json = serde_json::to_vec(&events).context("Cannot encode the trace")?;
        // The bracket at the end comes with the last event.
        json.pop();
        let written = File::create(path).and_then(|mut file| {
            file.write_all(&json)?;
            let last = serde_json::to_string(&stage("trace", ended, now()))?;
            file.write_all(format!(",{last}]").as_bytes())
        });
        written.with_context(|| format!("Cannot write the trace {}", path.display()))
    }
}

fn span(stage: &'static str) -> EnteredSpan {
    tracing::info_span!("stage", name = stage).entered()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_split_by_times_that_can_be() {
        let at = Duration::from_secs;
        let mut trace = Trace::begin("first");
        trace.stages = vec![
            ("first", at(1)),
            ("start", at(2)),
            ("boot", at(5)),
            ("end", at(8)),
        ];
        trace.split(
            "start",
            &[
                ("early", at(1)),
                ("fork", at(3)),
                ("entry", at(6)),
                ("late", at(9)),
            ],
        );
        let expected = [
            ("first", at(1)),
            ("fork", at(2)),
            ("entry", at(3)),
            ("boot", at(6)),
            ("end", at(8)),
        ];
        assert_eq!(trace.stages, expected);
        trace.split("fork", &[]);
        trace.split("nothing", &[("part", at(2))]);
        assert_eq!(trace.stages, expected);
    }
}
