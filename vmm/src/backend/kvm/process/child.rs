//! The machine's process.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use libc::{EACCES, EINVAL, EPERM};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Signal, set_parent_process_death_signal, setsid};
use rustix::thread::set_name;

use super::channel::{Channel, Report};
use crate::backend::kvm::machine::KvmMachine;
use crate::backend::kvm::{self, lifecycle, sandbox};
use crate::backend::timeline::{Step, Timeline};
use crate::backend::{StartError, fork};
use crate::config::{VmConfig, Writes};
use crate::confinement::{self, Namespaces, Paths};
use crate::signals;

/// Descriptors that the machine's threads may open before they are confined themselves, beside those of
/// disks.
const SPARE_DESCRIPTORS: u64 = 64;
/// The same for each disk: its two files once more, its ring, or its files for the threads in place of that.
const DISK_DESCRIPTORS: u64 = 4;
/// Address space that they may take beside the machine's memory and disks, in bytes: stacks, and what the
/// allocator sets aside for each thread.
const SPARE_MEMORY: u64 = 2 << 30;

/// Makes the machine of `config`, runs it, and reports. Returns when it has stopped, or its owner is
/// gone.
pub(super) fn run(
    config: VmConfig,
    namespaces: Namespaces,
    channel: &Channel,
    timeline: Arc<Timeline>,
) {
    timeline.mark(Step::Process);
    let counted = config.stats;
    telling_panics(channel, || {
        match start(config, namespaces, channel, timeline) {
            Ok(machine) => {
                // What says so is still trusted: the guest runs only then.
                if channel.send(Report::Started).is_ok() {
                    machine.enter_guest();
                    attend(&machine, counted, channel);
                }
            }
            Err(error) => {
                // Without an owner there is nobody to tell.
                let _ = channel.send(Report::Failed((&error).into()));
            }
        }
    });
}

/// Tells the owner of a panic in `run`, which is for the machine's first thread.
pub(super) fn telling_panics(channel: &Channel, run: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(run)).is_err() {
        let (exit, stats) = (lifecycle::panicked("first"), None);
        let _ = channel.send(Report::Stopped { exit, stats });
    }
}

fn start(
    config: VmConfig,
    namespaces: Namespaces,
    channel: &Channel,
    timeline: Arc<Timeline>,
) -> Result<KvmMachine, StartError> {
    let sandbox = config.sandbox;
    let limits = Limits::of(&config);
    leave(&config, channel).map_err(kvm::failed("Cannot set up the machine's process"))?;
    lifecycle::remember_panics();
    let machine = kvm::build(config, Arc::clone(&timeline))?;
    // All files are open, and no instruction of the guest has run.
    if sandbox {
        confine(namespaces, &limits)
            .map_err(kvm::failed("Cannot confine the machine's process"))?;
    }
    // Last, since a change of identity undoes it. Had the owner ended before, the channel is closed.
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| kvm::failed("Cannot set up the machine's process")(error.into()))?;
    timeline.mark(Step::Confinement);
    let machine = machine.start()?;
    if sandbox {
        sandbox::enter_attendant().map_err(kvm::failed("Cannot confine the machine's process"))?;
    }
    Ok(machine)
}

/// What a machine's process will need.
#[derive(Debug)]
pub(super) struct Limits {
    /// Descriptors that its threads open.
    pub(super) descriptors: u64,
    /// The size of the largest file that it writes to, those of disks; `None` if its serial port may be a file
    /// as well, which has no limit.
    pub(super) file_size: Option<u64>,
}

impl Limits {
    fn of(config: &VmConfig) -> Self {
        let disks = config.disks.iter();
        let written = disks.filter(|disk| matches!(disk.writes, Writes::InFile { .. }));
        // One that cannot be examined cannot be opened either, and that is said there.
        let sizes = written.filter_map(|disk| Some(fs::metadata(&disk.path).ok()?.len()));
        let disks = u64::try_from(config.disks.len()).unwrap_or(u64::MAX);
        Self {
            descriptors: SPARE_DESCRIPTORS + DISK_DESCRIPTORS.saturating_mul(disks),
            file_size: config.serial.is_none().then(|| sizes.max().unwrap_or(0)),
        }
    }
}

/// Gives up what the process had from its owner and does not need any more, and the right to more than it will
/// need. Its threads' filters come on top of that.
pub(super) fn confine(namespaces: Namespaces, limits: &Limits) -> io::Result<()> {
    confinement::limit_address_space(SPARE_MEMORY)?;
    let emptied = match namespaces {
        Namespaces::Own => match confinement::empty_root() {
            // Nothing can be put in the place of a root that is no mount, as a chroot's or the initramfs (EINVAL);
            // and some hosts' security modules allow namespaces, but no mounts in them.
            Err(error) if matches!(error.raw_os_error(), Some(EINVAL | EACCES | EPERM)) => false,
            other => other.map(|()| true)?,
        },
        Namespaces::Shared => false,
    };
    if !emptied {
        confinement::allow_only(Paths::default())?;
    }
    confinement::give_up_privileges()?;
    confinement::forbid_dumps()?;
    // The lowest free number is about how many there are.
    let used = io::stdin().as_fd().try_clone_to_owned()?.as_raw_fd();
    confinement::limit_descriptors(u64::try_from(used).unwrap_or(0) + limits.descriptors)?;
    limits
        .file_size
        .map_or(Ok(()), confinement::limit_file_size)
}

/// Parts from the owner: its descriptors, its terminal, its signals.
fn leave(config: &VmConfig, channel: &Channel) -> io::Result<()> {
    signals::block_all()?;
    let ports = config.ports.iter().map(|port| port.stream.as_raw_fd());
    let serial = config.serial.iter().map(|serial| serial.as_raw_fd());
    let own = [channel.as_raw_fd()];
    fork::close_others(ports.chain(serial).chain(own).collect())?;
    fork::close_standard_streams()?;
    setsid()?;
    set_name(c"terrarium-vmm")?;
    Ok(())
}

/// Waits for the machine's end and reports it, and what it did by then if that is `counted`; answers
/// questions until then.
pub(super) fn attend(machine: &KvmMachine, counted: bool, channel: &Channel) {
    loop {
        let mut fds = [
            PollFd::from_borrowed_fd(machine.stopped(), PollFlags::IN),
            PollFd::from_borrowed_fd(channel.as_fd(), PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
        let owner = fds[1].revents();
        if let Some(exit) = machine.exit() {
            // An owner that is gone needs to know nothing.
            let stats = counted.then(|| machine.stats());
            let _ = channel.send(Report::Stopped { exit, stats });
            return;
        }
        if owner.contains(PollFlags::HUP) {
            return;
        }
        if owner.contains(PollFlags::IN)
            && (!channel.take_question() || channel.send(Report::Stats(machine.stats())).is_err())
        {
            return;
        }
    }
}
