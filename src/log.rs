//! `TERRARIUM_LOG`: what the program does while it does it, on standard error.

use std::env;
use std::io;

use crate::output::say;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

const VARIABLE: &str = "TERRARIUM_LOG";

/// Begins to write what the variable asks for: a level (`debug`), or levels by module
/// (`terrarium=info,vmm=trace`). Without it nothing is written.
pub fn begin() {
    let Some(wanted) = env::var_os(VARIABLE).filter(|wanted| !wanted.is_empty()) else {
        return;
    };
    let Some(targets) = wanted
        .to_str()
        .and_then(|text| text.parse::<Targets>().ok())
    else {
        say!(
            "terrarium: {VARIABLE}={} is no level (error, warn, info, debug, trace) and no list of \
             MODULE=LEVEL, so it is ignored",
            wanted.display()
        );
        return;
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(false)
        // How long each span took stands where it ends.
        .with_span_events(FmtSpan::NEW | FmtSpan::CLOSE);
    tracing_subscriber::registry()
        .with(lines)
        .with(targets)
        .init();
}
