//! What is measured: `terrarium run` of one command, in a process of its own as any user starts it.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;
use images::{Image, Platform, Reference};
use serde::{Deserialize, Serialize};

use crate::backend::{self, BackendChoice};
use crate::home::Home;
use crate::kernel::default_or_pulled;
use crate::pins::PinOptions;
use crate::{progress, run};

/// The machine to measure.
#[derive(Args, Debug)]
pub struct SubjectOptions {
    /// Number of CPUs of a machine
    #[arg(long, value_name = "N", default_value = "1", value_parser = crate::units::cpus)]
    cpus: u8,

    /// Memory of a machine, such as 64m or 1g
    #[arg(short, long, value_name = "SIZE", default_value = "128m", value_parser = crate::units::size)]
    memory: u64,

    /// Kernel to boot, as `terrarium kernel ls` names it
    #[arg(long, value_name = "KERNEL")]
    kernel: Option<String>,

    /// What runs the machine
    #[arg(long, value_enum, value_name = "BACKEND", default_value = "auto")]
    backend: BackendChoice,

    /// Platform of the image, such as linux/amd64; the best that runs here if absent
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,

    /// The image, then the command instead of the benchmark's own
    #[arg(
        required = true,
        trailing_var_arg = true,
        value_name = "IMAGE [COMMAND]"
    )]
    image_and_command: Vec<OsString>,
}

/// A machine and its command, as a result tells it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Machine {
    /// The backend that ran it.
    pub backend: String,
    /// The kernel that it booted.
    pub kernel: String,
    /// Its image.
    pub image: String,
    /// The image's platform.
    pub platform: Platform,
    /// The command that it ran.
    pub command: Vec<String>,
    /// Its CPUs.
    pub cpus: u8,
    /// Its memory in bytes.
    pub memory: u64,
}

/// A machine and a command, with all that their runs need already here.
#[derive(Debug)]
pub struct Subject {
    /// What it is.
    pub machine: Machine,
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Subject {
    /// Fetches what is missing, and settles what `terrarium run` would otherwise choose anew each
    /// time. `own` names the command if the user gave none.
    pub fn new(
        options: &SubjectOptions,
        own: impl FnOnce(&Image) -> Result<Vec<String>>,
    ) -> Result<Self> {
        let (name, command) = options
            .image_and_command
            .split_first()
            .context("No image given")?;
        let name = name
            .to_str()
            .with_context(|| format!("Invalid image reference {name:?}: not UTF-8"))?;
        let reference: Reference = name.parse()?;
        let home = Home::open()?;
        let progress = progress::reporter(false);
        let pins = PinOptions::default();
        let wanted = run::Wanted {
            reference: &reference,
            platform: options.platform.as_ref(),
            pull: run::Pull::Missing,
            pins: &pins,
            disk_size: None,
        };
        let (image, _) = wanted.get(&home, progress.as_ref())?;
        drop(progress);
        let command = if command.is_empty() {
            own(&image)?.into_iter().map(OsString::from).collect()
        } else {
            command.to_vec()
        };
        let arch = run::guest_arch(
            &home,
            &image.platform,
            options.backend,
            options.kernel.as_deref(),
        )?;
        let kernels = kernels::Store::open(&home.kernels())?;
        let kernel = match &options.kernel {
            Some(id) => kernels.get_for(arch, id)?,
            None => default_or_pulled(&kernels, arch, false)?,
        };
        let backend = backend::select(&home, options.backend, arch, false)?.name();
        let cpus = options.cpus.to_string();
        let memory = options.memory.to_string();
        let mut arguments: Vec<OsString> = [
            "run",
            "--quiet",
            "--pull",
            "missing",
            "--backend",
            backend,
            "--kernel",
            kernel.id(),
            "--cpus",
            &cpus,
            "--memory",
            &memory,
        ]
        .map(OsString::from)
        .into();
        if let Some(platform) = &options.platform {
            arguments.extend(["--platform".into(), platform.to_string().into()]);
        }
        arguments.push("--".into());
        arguments.push(name.into());
        arguments.extend_from_slice(&command);
        Ok(Self {
            machine: Machine {
                backend: backend.to_owned(),
                kernel: kernel.id().to_owned(),
                image: name.to_owned(),
                platform: image.platform.clone(),
                command: command
                    .iter()
                    .map(|word| word.to_string_lossy().into_owned())
                    .collect(),
                cpus: options.cpus,
                memory: options.memory,
            },
            program: env::current_exe().context("Cannot find terrarium's own program")?,
            arguments,
        })
    }

    /// A run of it, with `options` of `terrarium run` beside the machine's.
    pub fn command(&self, options: &[OsString]) -> Command {
        let mut command = Command::new(&self.program);
        let (run, rest) = self.arguments.split_at(1);
        command.args(run).args(options).args(rest);
        command.stdin(Stdio::null());
        command
    }

    /// Runs it once and refuses a run that fails: its times would tell nothing.
    pub fn succeed(&self, options: &[OsString]) -> Result<()> {
        let output = self.command(options).output();
        let output = output.context("Cannot start terrarium")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("A run ended with {}: {}", output.status, said.trim());
        }
        Ok(())
    }
}
