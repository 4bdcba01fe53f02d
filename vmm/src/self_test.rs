//! Whether this host's KVM can run an operating system.
//!
//! That `/dev/kvm` opens says little: where KVM has no virtualization hardware under it, kernels
//! start, but system calls of their programs may not arrive. So a small guest tries what every
//! kernel needs, in a scratch machine that lives for some milliseconds.

mod program;

use std::io;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd};
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

use crate::arch::{self, Chipset, VcpuTemplate};
use crate::backend::kvm::kick::VcpuThread;
use crate::devices::Place;

pub(crate) use program::program;

/// The only version of the KVM interface since Linux 2.6.22.
const API_VERSION: i32 = 12;

/// A guest that needs longer hangs. It needs a millisecond, and some dozens on an emulated CPU.
const TIME_LIMIT: Duration = Duration::from_secs(2);

/// Why KVM cannot be used. The message says what to do about it, where something can be done.
#[derive(Debug, thiserror::Error)]
pub enum SelfTestError {
    /// There is no `/dev/kvm`, or no driver behind it.
    #[error(
        "This host has no KVM: /dev/kvm is missing. {}, or nested virtualization if this host is \
         itself a virtual machine",
        arch::TURN_ON_KVM
    )]
    NoDevice,
    /// This user may not open `/dev/kvm`.
    #[error(
        "No permission to open /dev/kvm. Add yourself to its group (`sudo usermod -aG kvm \
         \"$USER\"`) and log in again"
    )]
    NoPermission,
    /// `/dev/kvm` exists but does not open.
    #[error("Cannot open /dev/kvm")]
    Open(#[source] io::Error),
    /// The kernel's KVM speaks an interface older than any this program knows.
    #[error(
        "KVM has interface version {0}, but {API_VERSION} is needed: the host's kernel is too old"
    )]
    ApiVersion(i32),
    /// KVM lacks something that the backend needs.
    #[error("KVM lacks {0}: the host's kernel is too old or built without it")]
    MissingCapability(&'static str),
    /// The scratch machine could not be made.
    #[error("Cannot {what}")]
    Host {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The guest's first instructions or its first page fault went wrong.
    #[error("KVM does not run kernels: after {after}, {outcome}")]
    KernelMode {
        /// The last thing that worked.
        after: &'static str,
        /// What happened instead of the next one.
        outcome: String,
    },
    /// User mode, or a system call from it, went wrong.
    #[error(
        "KVM runs kernels here but not their programs: a system call from user mode did not arrive \
         in the guest's kernel ({outcome}). This is known of hosts whose KVM works without \
         virtualization hardware"
    )]
    UserMode {
        /// What happened instead.
        outcome: String,
    },
    /// The timer interrupt, or the return from it to user mode, went wrong.
    #[error("KVM does not deliver timer interrupts to user mode: {outcome}")]
    TimerInterrupt {
        /// What happened instead.
        outcome: String,
    },
}

/// What the guest of the self-test reports, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Its first instruction ran.
    Started,
    /// A page fault was handled and the access repeated.
    PageFault,
    /// A system call came from user mode into the kernel.
    SystemCall,
    /// The system call returned, a timer interrupted user mode and returned to it.
    TimerInterrupt,
}

impl Step {
    /// The step that an exit of the guest reports.
    fn reported_by(exit: &VcpuExit<'_>) -> Option<Self> {
        let (place, step) = match exit {
            VcpuExit::IoOut(port, [step]) => (Place::Port(*port), step),
            VcpuExit::MmioWrite(address, [step]) => (Place::Memory(*address), step),
            _ => return None,
        };
        match step {
            _ if place != arch::SELF_TEST_REPORT => None,
            1 => Some(Self::Started),
            2 => Some(Self::PageFault),
            3 => Some(Self::SystemCall),
            4 => Some(Self::TimerInterrupt),
            _ => None,
        }
    }
}

/// How the guest's run ended.
enum Outcome {
    Passed,
    Failed(String),
}

/// Checks that this host's KVM can run an operating system: page faults, system calls from user
/// mode and back, and timer interrupts, in a scratch machine.
///
/// Takes milliseconds, and two seconds at most.
///
/// # Errors
/// What is missing or does not work.
pub fn self_test() -> Result<(), SelfTestError> {
    let kvm = open()?;
    let (sender, receiver) = mpsc::channel();
    let thread = Arc::new(VcpuThread::default());
    let in_thread = Arc::clone(&thread);
    // The scratch machine lives and dies on its own thread, so that no end of it can block us.
    thread::Builder::new()
        .name("kvm-self-test".into())
        .spawn(move || {
            // The receiver is gone only if time is up.
            let _ = sender.send(run_guest(&kvm, &in_thread));
        })
        .map_err(host("start a thread"))?;
    let (last, outcome) = match receiver.recv_timeout(TIME_LIMIT) {
        Ok(result) => result?,
        Err(_) => {
            thread.kick();
            receiver
                .recv_timeout(TIME_LIMIT)
                .unwrap_or_else(|_| Ok((None, Outcome::Failed("nothing more happened".into()))))?
        }
    };
    judge(last, outcome)
}

fn judge(last: Option<Step>, outcome: Outcome) -> Result<(), SelfTestError> {
    let outcome = match outcome {
        Outcome::Passed => return Ok(()),
        Outcome::Failed(outcome) => outcome,
    };
    Err(match last {
        None => SelfTestError::KernelMode {
            after: "the start",
            outcome,
        },
        Some(Step::Started) => SelfTestError::KernelMode {
            after: "the first instructions",
            outcome,
        },
        Some(Step::PageFault) => SelfTestError::UserMode { outcome },
        Some(Step::SystemCall | Step::TimerInterrupt) => SelfTestError::TimerInterrupt { outcome },
    })
}

/// Checks that this user may use KVM and that it offers what the backend needs, without running a guest.
///
/// # Errors
/// What is missing.
pub fn check_kvm() -> Result<(), SelfTestError> {
    open().map(drop)
}

/// Opens `/dev/kvm` and checks that it offers what the backend needs.
pub(crate) fn open() -> Result<Kvm, SelfTestError> {
    let kvm = Kvm::new().map_err(|error| match error.errno() {
        libc::ENOENT | libc::ENODEV | libc::ENXIO => SelfTestError::NoDevice,
        libc::EACCES | libc::EPERM => SelfTestError::NoPermission,
        _ => SelfTestError::Open(error.into()),
    })?;
    let version = kvm.get_api_version();
    if version != API_VERSION {
        return Err(SelfTestError::ApiVersion(version));
    }
    for (capability, name) in arch::REQUIRED_CAPABILITIES {
        if !kvm.check_extension(capability) {
            return Err(SelfTestError::MissingCapability(name));
        }
    }
    Ok(kvm)
}

fn run_guest(kvm: &Kvm, thread: &VcpuThread) -> Result<(Option<Step>, Outcome), SelfTestError> {
    let vm = kvm
        .create_vm()
        .map_err(|error| host("create a virtual machine with KVM")(error.into()))?;
    let memory =
        GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), arch::SELF_TEST_MEMORY)])
            .map_err(|error| host("map memory for a virtual machine")(io::Error::other(error)))?;
    let host_address = memory
        .get_host_address(GuestAddress(0))
        .map_err(|error| host("map memory for a virtual machine")(io::Error::other(error)))?;
    let region = kvm_userspace_memory_region {
        memory_size: u64::try_from(arch::SELF_TEST_MEMORY).unwrap_or(u64::MAX),
        userspace_addr: u64::try_from(host_address.addr()).unwrap_or(u64::MAX),
        ..Default::default()
    };
    // SAFETY: the region is a mapping of this size, and no vCPU runs after this function.
    unsafe { vm.set_user_memory_region(region) }
        .map_err(|error| host("give memory to a virtual machine")(error.into()))?;
    let no_chipset = || host("create an interrupt controller with KVM");
    let mut chipset = Chipset::new(&vm, 1).map_err(no_chipset())?;
    let vcpu = vm
        .create_vcpu(0)
        .map_err(|error| host("create a vCPU with KVM")(error.into()))?;
    let set_up = host("set up a vCPU with KVM");
    let template = VcpuTemplate::new(kvm, &vm, 1).map_err(&set_up)?;
    template.apply(&vcpu, 0).map_err(&set_up)?;
    let mut vcpus = [vcpu];
    chipset.complete(&vcpus).map_err(no_chipset())?;
    let [vcpu] = &mut vcpus;
    arch::enter_self_test(vcpu, &chipset, &memory).map_err(&set_up)?;
    let _entered = thread.enter(vcpu).map_err(host("set up a vCPU's thread"))?;
    Ok(run_vcpu(vcpu))
}

fn run_vcpu(vcpu: &mut VcpuFd) -> (Option<Step>, Outcome) {
    let mut last = None;
    loop {
        let exit = match vcpu.run() {
            Ok(exit) => exit,
            Err(error) if error.errno() == libc::EINTR => {
                return (last, Outcome::Failed("nothing more happened".into()));
            }
            Err(error) => return (last, Outcome::Failed(format!("KVM_RUN failed: {error}"))),
        };
        match Step::reported_by(&exit) {
            Some(Step::TimerInterrupt) => return (last, Outcome::Passed),
            Some(step) => last = Some(step),
            None => {
                return (
                    last,
                    Outcome::Failed(format!("the vCPU stopped with {exit:?}")),
                );
            }
        }
    }
}

fn host(what: &'static str) -> impl Fn(io::Error) -> SelfTestError {
    move |source| SelfTestError::Host { what, source }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn ends_in_time_with_an_answer_whatever_the_host_is() {
        let start = Instant::now();
        let result = self_test();
        assert!(start.elapsed() < Duration::from_millis(1500), "{result:?}");
        match result {
            Ok(())
            | Err(
                SelfTestError::NoDevice
                | SelfTestError::NoPermission
                | SelfTestError::UserMode { .. },
            ) => {}
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn each_end_of_the_guest_has_its_error() {
        let failed = || Outcome::Failed("it stopped".into());
        assert!(judge(Some(Step::SystemCall), Outcome::Passed).is_ok());
        for (last, expected) in [
            (None, "after the start, it stopped"),
            (
                Some(Step::Started),
                "after the first instructions, it stopped",
            ),
            (
                Some(Step::PageFault),
                "not arrive in the guest's kernel (it stopped)",
            ),
            (
                Some(Step::SystemCall),
                "timer interrupts to user mode: it stopped",
            ),
        ] {
            let message = judge(last, failed()).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
