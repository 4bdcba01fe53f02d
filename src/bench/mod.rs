//! `terrarium bench`: how long whole runs take, where the time goes, and how many machines fit.

mod compare;
mod density;
mod distribution;
mod histogram;
mod host;
mod report;
mod subject;
mod timing;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  terrarium bench boot -n 50 python:2.7.16-alpine3.9
  terrarium bench boot --json python:2.7.16-alpine3.9 > before.json
  terrarium bench boot --compare before.json --svg boots.svg python:2.7.16-alpine3.9
  terrarium bench exec python:2.7.16-alpine3.9
  terrarium bench density --memory 64m --vms 100 python:2.7.16-alpine3.9")]
pub struct BenchOptions {
    #[command(subcommand)]
    benchmark: Benchmark,
}

#[derive(Subcommand, Debug)]
enum Benchmark {
    Boot(timing::TimingOptions),
    Exec(timing::TimingOptions),
    Density(density::DensityOptions),
}

pub fn run(options: &BenchOptions) -> Result<ExitCode> {
    match &options.benchmark {
        Benchmark::Boot(options) => timing::run("boot", options, timing::boot_command),
        Benchmark::Exec(options) => timing::run("exec", options, timing::python_command),
        Benchmark::Density(options) => density::run(options),
    }
}
