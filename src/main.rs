//! The `terrarium` command.

#![allow(
    unreachable_pub,
    reason = "a program has no outside that could reach it"
)]

mod backend;
mod bench;
mod disk;
mod doctor;
mod emulator;
mod escape;
mod home;
mod inspect;
mod interrupt;
mod kernel;
mod kvm;
mod list;
mod load;
mod log;
mod output;
mod pins;
mod platform;
mod progress;
mod prune;
mod pull;
mod rmi;
mod run;
mod save;
mod sink;
mod table;
mod trace;
mod units;

use std::ffi::OsStr;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use trace::Trace;

/// terrarium's own failure, as `docker run` reports it: apart from any code of the command.
const EXIT_RUN_FAILED: u8 = 125;

/// What a reader that has gone sends to the writer (signal(7)).
const SIGPIPE: u8 = 13;

/// Run container images as micro-VMs.
#[derive(Parser, Debug)]
#[command(
    version,
    propagate_version = false,
    disable_help_subcommand = true,
    after_help = "\
Examples:
  terrarium run python:2.7.16-alpine3.9            a Python 2.7 prompt
  terrarium run python:2.7.16-alpine3.9 python2 -c 'print 6 * 7'
  terrarium doctor                                 can this host run machines?

Everything is kept in $TERRARIUM_HOME, by default ~/.local/share/terrarium. TERRARIUM_LOG=debug
says on standard error what is being done; levels by module are possible: TERRARIUM_LOG=vmm=trace."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

// Each is described here, and its options only where it is chosen: to make all takes time at every start.
#[derive(Subcommand, Debug)]
#[command(defer = true)]
enum Command {
    /// Run a command in a new micro-VM made from an image
    Run(Box<run::RunOptions>),
    /// Fetch an image from its registry
    Pull(pull::PullOptions),
    /// Take images from an archive or a folder
    Load(load::LoadOptions),
    /// List the images stored here
    Images(list::ImagesOptions),
    /// Show what an image is, without a network
    Inspect(inspect::InspectOptions),
    /// Write images to an archive that docker, skopeo and umoci read
    Save(save::SaveOptions),
    /// Remove images, and what no other image needs
    Rmi(rmi::RmiOptions),
    /// Remove blobs and disks that no image needs, and what crashed runs left
    Prune(prune::PruneOptions),
    /// Build the ext4 disk of an image, for this or any other VMM
    Disk(disk::DiskOptions),
    /// Keep the kernels that guests boot
    Kernel(kernel::KernelOptions),
    /// Keep the emulators that run images of other architectures
    Emulator(emulator::EmulatorOptions),
    /// Show which platforms' images run on this host, and how
    Platforms(platform::PlatformsOptions),
    /// Say whether this host can run machines, how, and what to do about it
    Doctor(doctor::DoctorOptions),
    /// Measure boots, whole runs, and how many machines fit on this host
    Bench(bench::BenchOptions),
}

fn main() -> ExitCode {
    log::begin();
    let trace = Trace::begin("arguments");
    let is_run = std::env::args_os().nth(1).as_deref() == Some(OsStr::new("run"));
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are "errors" too, of code 0.
            let code = match error.exit_code() {
                0 => ExitCode::SUCCESS,
                _ if is_run => ExitCode::from(EXIT_RUN_FAILED),
                code => u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from),
            };
            // Fails only if standard error is closed.
            let _ = error.print();
            return code;
        }
    };
    let result = match cli.command {
        Command::Run(options) => run::run(*options, trace).map(ExitCode::from),
        Command::Pull(options) => pull::run(&options),
        Command::Load(options) => load::run(&options),
        Command::Images(options) => list::run(&options),
        Command::Inspect(options) => inspect::run(&options),
        Command::Save(options) => save::run(&options),
        Command::Rmi(options) => rmi::run(&options),
        Command::Prune(options) => prune::run(&options),
        Command::Disk(options) => disk::run(&options),
        Command::Kernel(options) => kernel::run(&options),
        Command::Emulator(options) => emulator::run(&options),
        Command::Platforms(options) => platform::run(&options),
        Command::Doctor(options) => doctor::run(&options),
        Command::Bench(options) => bench::run(&options),
    };
    result.unwrap_or_else(|error| {
        if error.is::<output::ReaderGone>() {
            // As other programs end, which the signal kills.
            return ExitCode::from(128 + SIGPIPE);
        }
        output::say!("terrarium: {}", escape::message(&format!("{error:#}")));
        if is_run {
            ExitCode::from(EXIT_RUN_FAILED)
        } else {
            ExitCode::FAILURE
        }
    })
}
