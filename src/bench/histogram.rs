//! How whole runs are spread, in the terminal and as a drawing.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};
use plotters::prelude::*;

use super::report::Report;
use crate::output::line;

/// How many columns a histogram has at most.
const BINS: usize = 16;
/// Characters of the longest bar.
const WIDTH: usize = 50;
/// Pixels of the drawing.
const SIZE: (u32, u32) = (800, 400);

/// A column: where it begins and ends, and how many values are in it.
#[derive(Debug, PartialEq)]
struct Bin {
    from: f64,
    to: f64,
    count: usize,
}

/// Columns of equal width from the least to the greatest value.
fn bins(values: &[f64]) -> Vec<Bin> {
    let min = values.iter().copied().fold(f64::INFINITY, f64::min);
    let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let count = values.len().min(BINS);
    // Equal values have a column too.
    let width = ((max - min) / count as f64).max(1e-3);
    let starts = (0..count).map(|index| min + width * index as f64);
    let mut bins: Vec<Bin> = starts
        .map(|from| Bin {
            from,
            to: from + width,
            count: 0,
        })
        .collect();
    for value in values {
        let after = bins.partition_point(|bin| bin.from <= *value);
        if let Some(bin) = bins.get_mut(after.saturating_sub(1)) {
            bin.count += 1;
        }
    }
    bins
}

/// Prints a histogram of milliseconds.
pub fn print(values: &[f64]) -> Result<()> {
    let bins = bins(values);
    let most = bins.iter().map(|bin| bin.count).max().unwrap_or(1);
    for Bin { from, to, count } in bins {
        let bar = "█".repeat((count * WIDTH).div_ceil(most));
        line!("{from:>12.3} – {to:<12.3} {count:>5}  {bar}")?;
    }
    Ok(())
}

/// Makes the file for a drawing, if there is none, and leaves an older drawing as it is.
pub fn touch(path: &Path) -> Result<()> {
    let file = File::options().append(true).create(true).open(path);
    file.map(drop).with_context(|| cannot_draw(path))
}

/// Draws the whole runs of a result as SVG.
pub fn draw(report: &Report, path: &Path) -> Result<()> {
    draw_to(report, path).with_context(|| cannot_draw(path))
}

fn cannot_draw(path: &Path) -> String {
    format!("Cannot draw the histogram {}", path.display())
}

fn draw_to(report: &Report, path: &Path) -> Result<()> {
    let bins = bins(&report.samples);
    let first = bins.first().context("Nothing was measured")?.from;
    let last = bins.last().context("Nothing was measured")?.to;
    let most = bins.iter().map(|bin| bin.count).max().unwrap_or(1);
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(report.subject(), ("sans-serif", 16))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(40)
            .build_cartesian_2d(first..last, 0..most + 1)?;
        chart
            .configure_mesh()
            .x_desc("whole run, milliseconds")
            .y_desc("runs")
            .disable_x_mesh()
            .draw()?;
        chart.draw_series(bins.iter().map(|bin| {
            Rectangle::new([(bin.from, 0), (bin.to, bin.count)], BLUE.mix(0.6).filled())
        }))?;
        area.present()?;
    }
    std::fs::write(path, svg)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_in_a_column() {
        let values: Vec<f64> = (0..1000).map(|n| f64::from(n % 37)).collect();
        let bins = bins(&values);
        assert_eq!(bins.len(), BINS);
        assert_eq!(bins.iter().map(|bin| bin.count).sum::<usize>(), 1000);
    }

    #[test]
    fn equal_values_are_one_column_and_none_are_none() {
        let counts: Vec<usize> = bins(&[5.0, 5.0]).iter().map(|bin| bin.count).collect();
        assert_eq!(counts, [2, 0]);
        assert_eq!(bins(&[]), []);
    }
}
