//! Progress on standard error: bars on a terminal, plain lines elsewhere, nothing if quiet.

use std::collections::HashMap;
use std::fmt;
use std::io::{IsTerminal, stderr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use images::{Digest, Event, Progress};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::escape::escaped;
use crate::interrupt::Watch;
use crate::output::say;
use crate::units;

/// What fits the present standard error.
pub fn reporter(quiet: bool) -> Box<dyn Progress> {
    if quiet {
        Box::new(())
    } else if stderr().is_terminal() {
        Box::new(Bars::new())
    } else {
        Box::new(Lines)
    }
}

/// One bar a layer, one for the disk.
struct Bars {
    shown: Arc<Mutex<Shown>>,
    /// Clears them if a signal ends the process; without it they stay where they are.
    _watch: Option<Watch>,
}

#[derive(Default)]
struct Shown {
    all: MultiProgress,
    layers: HashMap<Digest, ProgressBar>,
    disk: Option<ProgressBar>,
}

impl Bars {
    fn new() -> Self {
        let shown: Arc<Mutex<Shown>> = Arc::default();
        let cleared = Arc::clone(&shown);
        let watch = Watch::begin(move |end| {
            // Held to the end, so that nothing is drawn again.
            let shown = cleared.lock().unwrap_or_else(PoisonError::into_inner);
            // Fails only if the terminal is gone.
            let _ = shown.all.clear();
            end();
        });
        Self {
            shown,
            _watch: watch.ok(),
        }
    }
}

impl fmt::Debug for Bars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bars").finish_non_exhaustive()
    }
}

impl Progress for Bars {
    fn event(&self, event: Event<'_>) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let Shown { all, layers, disk } = &mut *shown;
        match event {
            Event::LayerStarted { digest, size } => {
                let bar = all.add(ProgressBar::new(size).with_style(bytes_style()));
                layers.insert(*digest, bar.with_prefix(short(digest)));
            }
            Event::LayerBytes { digest, bytes } => {
                if let Some(bar) = layers.get(digest) {
                    bar.set_position(bytes);
                }
            }
            Event::LayerDone { digest, present } => {
                if let Some(bar) = layers.remove(digest) {
                    bar.finish();
                } else if present {
                    // Not worth a line that stays.
                }
            }
            Event::Retry { reason, pause } => {
                // Fails only if the terminal is gone, here and below.
                let _ = all.println(retry(reason, pause));
            }
            Event::MirrorFailed { reason } => {
                let _ = all.println(mirror_failed(reason));
            }
            Event::DiskStarted { layers } => {
                let bar = ProgressBar::new(layers as u64).with_style(count_style());
                *disk = Some(all.add(bar).with_prefix("building disk"));
            }
            Event::DiskLayer { done } => {
                if let Some(bar) = disk.as_ref() {
                    bar.set_position(done as u64);
                }
            }
            Event::DiskDone { .. } => {
                if let Some(bar) = disk.take() {
                    bar.finish();
                }
            }
            _ => {}
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        // What was in the middle of something must not stay on the terminal.
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.layers.values().for_each(ProgressBar::abandon);
    }
}

/// The templates are constants: if one were wrong, the default would do.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

fn bytes_style() -> ProgressStyle {
    style("{prefix:13} [{bar:28}] {bytes:>10}/{total_bytes:10} {bytes_per_sec:12}")
}

fn count_style() -> ProgressStyle {
    style("{prefix:13} [{bar:28}] {pos:>10}/{len} layers")
}

/// A line at each milestone.
#[derive(Debug)]
struct Lines;

impl Progress for Lines {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::LayerStarted { digest, size } => {
                say!("{}: fetching {}", short(digest), units::bytes(size));
            }
            Event::LayerDone { digest, present } => {
                let how = if present { "already here" } else { "complete" };
                say!("{}: {how}", short(digest));
            }
            Event::Retry { reason, pause } => say!("{}", retry(reason, pause)),
            Event::MirrorFailed { reason } => say!("{}", mirror_failed(reason)),
            Event::DiskStarted { layers } => say!("disk: building from {layers} layers"),
            Event::DiskDone { bytes } => say!("disk: complete, {}", units::bytes(bytes)),
            _ => {}
        }
    }
}

fn retry(reason: &str, pause: Duration) -> String {
    let seconds = pause.as_secs_f32();
    format!("{}; trying again in {seconds} s", escaped(reason))
}

fn mirror_failed(reason: &str) -> String {
    format!("{}; passing over this mirror", escaped(reason))
}

fn short(digest: &Digest) -> String {
    digest.hex().chars().take(12).collect()
}
