//! The options of `terrarium run`, named as docker's.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use images::{Platform, Reference};
use vmm::config::Writes;

use super::ulimit::Ulimit;
use crate::backend::BackendChoice;
use crate::pins::PinOptions;

#[derive(Args, Debug)]
#[command(
    disable_help_flag = true,
    after_help = "\
Examples:
  terrarium run python:2.7.16-alpine3.9
  terrarium run -it --rm python:2.7.16-alpine3.9 sh
  terrarium run --memory 256m --timeout 10s python:2.7.16-alpine3.9 python2 -c 'print 6 * 7'
  terrarium run -i python:2.7.16-alpine3.9 python2 - < script.py

Exit status: the command's own; 128+N if signal N ended it; 124 if --timeout expired;
125 if terrarium itself failed; 126 if the command cannot be executed; 127 if it was not found."
)]
pub struct RunOptions {
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,

    /// Keep standard input open for the command
    #[arg(short, long)]
    pub interactive: bool,

    /// Give the command a terminal
    #[arg(short, long)]
    pub tty: bool,

    /// Set an environment variable; without a value, take it from here
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,

    /// Read environment variables from a file, one a line
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,

    /// Working directory in the guest
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,

    /// User (and group) to run as, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub user: Option<String>,

    /// Run this program instead of the image's entrypoint
    #[arg(long, value_name = "PROGRAM")]
    pub entrypoint: Option<String>,

    /// Host name of the guest
    #[arg(short = 'h', long, value_name = "NAME")]
    pub hostname: Option<String>,

    /// Limit a resource of the command, such as nofile=1024:4096
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    pub ulimit: Vec<Ulimit>,

    /// Platform of the image, such as linux/amd64; the best that runs here if absent
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub platform: Option<Platform>,

    /// Guest memory, such as 256m or 1g
    #[arg(short, long, value_name = "SIZE", default_value = "512m", value_parser = crate::units::size)]
    pub memory: u64,

    /// Number of CPUs; a fraction counts as a whole one
    #[arg(long, value_name = "N", default_value = "1", value_parser = crate::units::cpus)]
    pub cpus: u8,

    /// Size of the guest's disk, such as 20g, instead of the image's size and 1 GiB; what the guest
    /// writes is then kept in a sparse file, not in memory
    #[arg(long, value_name = "SIZE", value_parser = crate::units::size)]
    pub disk_size: Option<u64>,

    /// Keep what the guest writes in a sparse file without a name in this folder (with --disk-size
    /// alone: $TMPDIR or /var/tmp); it is gone when the run ends, however it ends
    #[arg(long, value_name = "DIR")]
    pub scratch_dir: Option<PathBuf>,

    /// Give memory that the guest frees back to the host, for runs that last; it costs some time at boot
    #[arg(long)]
    pub balloon: bool,

    /// Stop the command after this long, such as 10s or 5m, and exit with 124
    #[arg(long, value_name = "DURATION", value_parser = crate::units::duration)]
    pub timeout: Option<Duration>,

    /// Accepted for docker's sake: nothing of a run is ever kept
    #[arg(long)]
    pub rm: bool,

    /// A name that no other running machine may have
    #[arg(long)]
    pub name: Option<String>,

    /// When to fetch the image
    #[arg(long, value_enum, value_name = "WHEN", default_value = "missing")]
    pub pull: Pull,

    #[command(flatten)]
    pub pins: PinOptions,

    /// No progress and no notices
    #[arg(short, long)]
    pub quiet: bool,

    /// What runs the machine
    #[arg(long, value_enum, value_name = "BACKEND", default_value = "auto")]
    pub backend: BackendChoice,

    /// Kernel to boot, as `terrarium kernel ls` names it
    #[arg(long, value_name = "KERNEL")]
    pub kernel: Option<String>,

    /// Start the kernel at the address it was linked for, not at a random one
    #[arg(long)]
    pub no_kaslr: bool,

    /// Put a word at the end of the kernel's command line, such as loglevel=7
    #[arg(long, value_name = "ARGUMENT", value_parser = kernel_argument)]
    pub kernel_arg: Vec<String>,

    /// Give the guest a serial port and show its kernel's messages on standard error
    #[arg(long, value_enum, value_name = "CONSOLE")]
    pub console: Option<Console>,

    /// Show all that the guest's kernel says on standard error
    #[arg(long)]
    pub debug: bool,

    /// Say at the end what the machine did (exits, bytes and operations of each device, memory) on standard
    /// error, or write it to a file as JSON
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    pub stats: Option<Option<PathBuf>>,

    /// Do not confine what runs the machine, to debug terrarium itself: a guest that breaks out is then
    /// you
    #[arg(long)]
    pub no_sandbox: bool,

    /// Write the stages of the run and their times to a file, as Chrome trace JSON
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,

    /// The image, such as python:2.7.16-alpine3.9 or localhost:5000/name@sha256:…, then the command
    /// and its arguments instead of the image's own
    // One list, so that all words after the image are the command's, dashes or not.
    #[arg(
        required = true,
        trailing_var_arg = true,
        value_name = "IMAGE [COMMAND]"
    )]
    image_and_command: Vec<OsString>,
}

/// A word that a kernel takes for one.
fn kernel_argument(text: &str) -> Result<String, &'static str> {
    if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("it must be one word: give the option again for another one");
    }
    Ok(text.to_owned())
}

impl RunOptions {
    /// The image to run.
    pub fn image(&self) -> Result<Reference> {
        let name = self.image_and_command.first().context("No image given")?;
        let name = name
            .to_str()
            .with_context(|| format!("Invalid image reference {name:?}: not UTF-8"))?;
        Ok(name.parse()?)
    }

    /// Where the guest's writes to its disk go.
    pub fn writes(&self) -> Writes {
        let folder = match (&self.scratch_dir, self.disk_size) {
            (Some(folder), _) => folder.clone(),
            // /tmp is memory on many hosts.
            (None, Some(_)) => env::var_os("TMPDIR").map_or("/var/tmp".into(), PathBuf::from),
            (None, None) => return Writes::InMemory,
        };
        Writes::InFile { folder }
    }

    /// The command and its arguments; empty for the image's own.
    pub fn command(&self) -> &[OsString] {
        self.image_and_command.get(1..).unwrap_or_default()
    }
}

/// When to fetch an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Pull {
    /// Ask the registry each time
    Always,
    /// Only if it is not stored here
    Missing,
    /// Never
    Never,
}

/// Where the guest's kernel writes its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Console {
    /// A 16550 serial port
    Serial,
}
