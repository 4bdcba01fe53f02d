//! `terrarium run`.

mod emulation;
mod environment;
mod guest;
mod image;
mod machine;
mod modules;
mod name;
mod options;
mod outcome;
mod program;
mod spec;
mod stats;
mod ulimit;

use std::os::fd::BorrowedFd;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use session::Milestone;

pub use guest::arch as guest_arch;
pub use image::Wanted;
pub use name::prune as prune_names;
pub use options::{Pull, RunOptions};
pub use stats::lines as stats_lines;

use emulation::Emulation;
use modules::Modules;

use crate::home::Home;
use crate::output::say;
use crate::platform::{Way, check};
use crate::trace::Trace;
use crate::{backend, interrupt, progress};

/// How long a guest may take to start its command: far more than the slowest host needs, so that
/// only a guest that hangs is given up on.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// Runs an image's command in a new machine and returns the exit code.
pub fn run(options: RunOptions, mut trace: Trace) -> Result<u8> {
    let reference = options.image()?;
    let terminal = spec::terminal(&options)?;
    let home = Home::open()?;
    let _name = options
        .name
        .as_deref()
        .map(|name| name::claim(&home.run(), name))
        .transpose()?;

    if let Some(platform) = &options.platform {
        let arch = guest::arch(&home, platform, options.backend, options.kernel.as_deref())?;
        check(&home, arch, platform)?;
    }

    trace.stage("image");
    let progress = progress::reporter(options.quiet);
    let wanted = Wanted {
        reference: &reference,
        platform: options.platform.as_ref(),
        pull: options.pull,
        pins: &options.pins,
        disk_size: options.disk_size,
    };
    let (image, disk) = wanted.get(&home, progress.as_ref())?;
    drop(progress);
    let arch = guest::arch(
        &home,
        &image.platform,
        options.backend,
        options.kernel.as_deref(),
    )?;
    let mut spec = spec::build(&options, &terminal, &image.config)?;

    trace.stage("kernel");
    let kernel = machine::kernel(&home, arch, options.kernel.as_deref(), options.quiet)?;
    let way = Way::on(kernel.kernel(), &image.platform);
    spec.linux32 = way == Way::Compat;
    let emulation = match way {
        Way::Native | Way::Compat => None,
        Way::Emulated => Some(Emulation::of(&home, kernel.kernel(), &image.platform)?),
    };
    if emulation.is_some() && !options.quiet {
        say!(
            "terrarium: {} is emulated on this host, many times slower than what runs natively; \
             `terrarium platforms` says what does",
            image.platform
        );
    }
    spec.emulation = emulation.as_ref().map(Emulation::spec);
    let mut modules = Modules::default();
    if emulation.is_some() {
        let added = modules.add(kernel.kernel(), emulation::DRIVER);
        added.context("Emulators cannot be used")?;
    }
    if options.balloon {
        let added = modules.add(kernel.kernel(), "virtio_balloon");
        added.context("--balloon cannot be used")?;
    }
    spec.modules = modules.paths();

    trace.stage("backend");
    let backend = backend::select(&home, options.backend, arch, options.quiet)?;

    if options.no_sandbox {
        say!("terrarium: --no-sandbox: whatever breaks out of this guest can do all that you can");
    }

    trace.stage("machine start");
    let (ports, machine_ports) = session::ports().context("Cannot make the guest's ports")?;
    // The guest takes this for the time at which its kernel started: nothing slow may come after it.
    spec.wall_clock_ns = spec::wall_clock();
    let config = machine::describe(
        &options,
        &kernel,
        disk.path(),
        emulation.as_ref(),
        &modules,
        &spec,
        machine_ports,
    )?;
    let mut machine = backend
        .start(config)
        .with_context(|| format!("Cannot start a machine on {}", backend.name()))?;

    trace.stage("kernel boot");
    let session_options = session::Options {
        stdin: terminal.stdin,
        terminal: terminal.size.is_some(),
        timeout: options.timeout,
        start_timeout: START_TIMEOUT,
    };
    let mut milestone = |milestone| match milestone {
        Milestone::InitReady { init_started_us } => {
            trace.fact("guest clock at init", init_started_us);
            trace.stage("guest setup");
        }
        Milestone::CommandStarted { command_started_us } => {
            trace.fact("guest clock at command", command_started_us);
            trace.stage("command until first output");
            program::let_go();
        }
        Milestone::FirstOutput => trace.stage("command"),
        Milestone::CommandExited => trace.stage("drain"),
    };
    let signals = session::Signals::catch().context("Cannot catch signals")?;
    interrupt::leave();
    let outcome = session::run(
        ports,
        signals,
        machine.stopped(),
        session_options,
        &mut milestone,
    );
    trace.stage("stop");
    trace.split("machine start", &machine.timeline());
    if matches!(outcome, Ok(session::Outcome::Stopped)) {
        await_reason(machine.stopped());
    }
    let exit = machine.exit();
    let stats = options.stats.as_ref().map(|file| (file, machine.stats()));
    // Nothing of it is needed any more, and this process ends as well.
    machine.abandon();
    // Numbers and stages are wanted most when the run failed.
    let counted = stats.map(|(file, stats)| stats::report(stats, file.as_deref()));
    let traced = options.trace.as_deref().map(|path| trace.write(path));
    let code = outcome::report(outcome?, exit, &options)?;
    counted.transpose()?;
    traced.transpose()?;
    Ok(code)
}

/// Waits until a machine that has let go of its ports can say why: a child process closes them a
/// moment before it has ended.
fn await_reason(stopped: BorrowedFd<'_>) {
    let mut stopped = [PollFd::from_borrowed_fd(stopped, PollFlags::IN)];
    let limit = Timespec {
        tv_sec: 1,
        tv_nsec: 0,
    };
    // Without a reason, the outcome alone is reported.
    let _ = poll(&mut stopped, Some(&limit));
}

/// Refuses what can be in no argument of a program.
fn without_nul(bytes: &[u8], what: &str) -> Result<()> {
    if bytes.contains(&0) {
        bail!("{what} contains a NUL byte");
    }
    Ok(())
}
