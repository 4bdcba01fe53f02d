//! Lines on standard output and standard error, of which the readers may have gone.

use std::error::Error;
use std::fmt;
use std::io::{ErrorKind, Write, stderr, stdout};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::escape;

/// Prints a line on standard output, as `println!` does, but fails instead of panicking.
macro_rules! line {
    ($($argument:tt)*) => {
        crate::output::print(format_args!("{}\n", format_args!($($argument)*)))
    };
}

/// Says something on standard error, as `eprintln!` does, or nothing if nobody can hear it.
macro_rules! say {
    ($($argument:tt)*) => {
        crate::output::hint(format_args!("{}\n", format_args!($($argument)*)))
    };
}

pub(crate) use {line, say};

/// Whoever read standard output has ended, as `head` does once it has enough.
#[derive(Debug)]
pub struct ReaderGone;

impl fmt::Display for ReaderGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nobody reads standard output")
    }
}

impl Error for ReaderGone {}

/// Prints on standard output.
///
/// # Errors
/// [`ReaderGone`], or why it cannot be written.
pub fn print(text: fmt::Arguments<'_>) -> Result<()> {
    match stdout().write_fmt(text) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(ReaderGone.into()),
        printed => printed.context("Cannot write standard output"),
    }
}

/// Prints a value as JSON.
///
/// # Errors
/// As for [`print`].
pub fn json(value: &impl Serialize) -> Result<()> {
    let json = escape::json(value).context("Cannot encode")?;
    line!("{json}")
}

/// Prints on standard error.
pub fn hint(text: fmt::Arguments<'_>) {
    // There is nowhere left to say that it failed.
    let _ = stderr().write_fmt(text);
}
