//! `--compare`: two results side by side.

use anyhow::Result;

use super::report::Report;
use crate::output::line;
use crate::table;

/// Prints the medians of both, and what the later ones are of the earlier.
pub fn print(earlier: &Report, later: &Report) -> Result<()> {
    for (name, report) in [("before", earlier), ("now", later)] {
        line!("{name:6}  {}", report.subject())?;
    }
    line!("")?;
    let before = |name: &str| {
        let stage = earlier.stages.iter().find(|stage| stage.name == name);
        stage.map(|stage| stage.time.median)
    };
    let stages = later
        .stages
        .iter()
        .map(|stage| (stage.name.as_str(), before(&stage.name), stage.time.median));
    let whole = ("whole run", Some(earlier.whole.median), later.whole.median);
    let rows = stages.chain([whole]).map(|(name, before, now)| {
        [
            name.to_owned(),
            before.map_or_else(|| "-".to_owned(), |before| format!("{before:.3}")),
            format!("{now:.3}"),
            match before {
                Some(before) if before > 0.0 => format!("{:.2}", now / before),
                _ => "-".to_owned(),
            },
        ]
    });
    table::print(["MEDIAN (ms)", "BEFORE", "NOW", "RATIO"], rows)
}
