//! What the guest is told to run.

use std::os::unix::ffi::OsStrExt;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};
use guest_init::spec::{FileSystemDisk, RunSpec, TerminalSize};
use images::ImageConfig;
use rustix::stdio::{stdin, stdout};
use rustix::termios::isatty;

use super::environment::Environment;
use super::{RunOptions, without_nul};

/// Serial number of the disk with the image's root file system.
pub const ROOT_SERIAL: &str = "root";

/// Where a terminal's size cannot be known.
const DEFAULT_SIZE: TerminalSize = TerminalSize {
    rows: 24,
    columns: 80,
};

/// What the command has on its standard streams.
#[derive(Clone, Copy, Debug)]
pub struct Streams {
    /// A terminal of this size.
    pub size: Option<TerminalSize>,
    /// A standard input.
    pub stdin: bool,
}

/// What `-i` and `-t` say. With neither and no command, a terminal gets the image's own command
/// interactively: that is what the image's prompt is for.
pub fn terminal(options: &RunOptions) -> Result<Streams> {
    let on_terminal = isatty(stdin());
    let prompt = !options.interactive
        && !options.tty
        && options.command().is_empty()
        && options.entrypoint.is_none()
        && on_terminal
        && isatty(stdout());
    if options.tty && options.interactive && !on_terminal {
        bail!("-t needs a terminal, but standard input is none: leave -t away");
    }
    let tty = options.tty || prompt;
    Ok(Streams {
        size: tty.then(|| session::terminal::size().unwrap_or(DEFAULT_SIZE)),
        stdin: options.interactive || prompt,
    })
}

/// Puts together what the image says and what the options change.
pub fn build(options: &RunOptions, streams: &Streams, image: &ImageConfig) -> Result<RunSpec> {
    let working_directory = match &options.workdir {
        Some(workdir) if !workdir.starts_with('/') => {
            bail!("The working directory {workdir:?} is not an absolute path")
        }
        Some(workdir) => workdir.as_bytes().to_vec(),
        None => image.working_dir.as_bytes().to_vec(),
    };
    let mut environment = Environment::default();
    for entry in &image.env {
        environment.set(entry.as_bytes().to_vec());
    }
    for file in &options.env_file {
        environment.read_file(file)?;
    }
    for argument in &options.env {
        environment.set_or_inherit(argument)?;
    }
    let user = options.user.as_ref().unwrap_or(&image.user);
    let hostname = options.hostname.clone().map_or_else(random_name, Ok)?;
    let spec = RunSpec {
        root: FileSystemDisk {
            serial: ROOT_SERIAL.into(),
            file_system: b"ext4".to_vec(),
            read_only: false,
        },
        argv: argv(options, image)?,
        env: environment.into_entries(),
        working_directory,
        user: user.as_bytes().to_vec(),
        hostname: hostname.into_bytes(),
        terminal: streams.size,
        stdin: streams.stdin,
        // Decided with the kernel.
        linux32: false,
        modules: Vec::new(),
        emulation: None,
        rlimits: options.ulimit.iter().map(|limit| limit.0).collect(),
        // Taken just before the machine starts.
        wall_clock_ns: 0,
    };
    without_nul(&spec.user, "The user")?;
    without_nul(&spec.working_directory, "The working directory")?;
    for entry in &spec.env {
        without_nul(entry, "The image's environment")?;
    }
    if spec.hostname.is_empty() || spec.hostname.len() > 64 {
        bail!("The host name must have 1 to 64 characters");
    }
    Ok(spec)
}

/// The image's entrypoint and command; `--entrypoint` replaces both, a command on the command line
/// only the command.
fn argv(options: &RunOptions, image: &ImageConfig) -> Result<Vec<Vec<u8>>> {
    let text = |list: &[String]| {
        list.iter()
            .map(|s| s.as_bytes().to_vec())
            .collect::<Vec<_>>()
    };
    let mut argv = match &options.entrypoint {
        Some(program) if program.is_empty() => Vec::new(),
        Some(program) => vec![program.as_bytes().to_vec()],
        None => text(&image.entrypoint),
    };
    if !options.command().is_empty() {
        argv.extend(
            options
                .command()
                .iter()
                .map(|word| word.as_bytes().to_vec()),
        );
    } else if options.entrypoint.is_none() {
        argv.extend(text(&image.cmd));
    }
    if argv.is_empty() {
        bail!(
            "Image {} has no command of its own: say what to run after its name",
            options.image()?
        );
    }
    for word in &argv {
        without_nul(word, "The image's command")?;
    }
    Ok(argv)
}

/// Twelve hexadecimal digits, as docker names a container that nobody named.
fn random_name() -> Result<String> {
    let mut bytes = [0; 6];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut bytes))
        .map_err(|e| anyhow::anyhow!("Cannot read /dev/urandom: {e}"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Nanoseconds since 1970; 0, which the guest takes as unknown, on a host whose clock is before it.
pub fn wall_clock() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| u64::try_from(since.as_nanos()).ok())
        .unwrap_or(0)
}
