//! Tables of text.

use anyhow::Result;

use crate::escape::escaped;
use crate::output::line;

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
