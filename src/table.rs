//! Tables of text.

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use crate::escape::escaped;
use crate::output::{self, line};

// How a list is printed. (As a doc comment it would be the text of the command that has these options.)
#[derive(Args, Debug)]
pub struct ListOptions {
    /// Print the list as JSON
    #[arg(long)]
    json: bool,
}

impl ListOptions {
    /// Prints `rows`, with `cells` of each in a table.
    pub fn print<T: Serialize, const N: usize>(
        &self,
        rows: &[T],
        head: [&str; N],
        cells: impl Fn(&T) -> [String; N],
    ) -> Result<()> {
        if self.json {
            output::json(&rows)
        } else {
            print(head, rows.iter().map(cells))
        }
    }
}

/// Prints rows in columns as wide as their widest cell. Cells come from images and packages: characters that would
/// move the terminal's cursor are shown escaped.
pub fn print<const N: usize>(
    head: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> Result<()> {
    let mut lines = vec![head.map(str::to_owned)];
    lines.extend(rows.map(|row| row.map(|cell| escaped(&cell))));
    let widths: [usize; N] = std::array::from_fn(|column| {
        let lengths = lines.iter().map(|line| line[column].chars().count());
        lengths.max().unwrap_or(0)
    });
    for row in lines {
        let cells = row.iter().zip(widths);
        let padded: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        line!("{}", padded.join("  ").trim_end())?;
    }
    Ok(())
}
