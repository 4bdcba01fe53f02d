//! What a machine's threads may ask of the host's kernel, once they serve a guest.
//!
//! Each kind of thread has a seccomp filter of its own. Everything else fails with `EPERM`, which
//! leaves a thread that runs into it able to say so; a guest that took the thread over gains nothing
//! by that. The threads share their memory, so together they can do what any of them can.

use std::collections::BTreeMap;
use std::io;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

use crate::arch;

/// `KVM_RUN`.
const KVM_RUN: u64 = 0xae80;

/// For every thread: memory, locks, events, messages on standard error, the thread's own end.
const COMMON: [libc::c_long; 15] = [
    libc::SYS_brk,
    libc::SYS_clock_gettime,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_futex,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_ppoll,
    libc::SYS_read,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigprocmask,
    libc::SYS_write,
];

/// For the thread that reports to the machine's owner: messages, and what there is to count.
const ATTENDANT: [libc::c_long; 6] = [
    libc::SYS_exit_group,
    libc::SYS_getrusage,
    libc::SYS_mincore,
    libc::SYS_pread64,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
];

/// For the devices' thread: the host's side of disks, ports and entropy.
const DEVICES: [libc::c_long; 10] = [
    // A host that is out of memory is asked again.
    libc::SYS_clock_nanosleep,
    libc::SYS_epoll_pwait,
    libc::SYS_fallocate,
    libc::SYS_getrandom,
    // The rings are made before, and can do no more than what stands here.
    libc::SYS_io_uring_enter,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_pwritev,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
];

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// The filters of a machine's threads; none where it is to run without, for debugging.
#[derive(Debug)]
pub(crate) struct Sandbox(Option<Filters>);

#[derive(Debug)]
struct Filters {
    devices: BpfProgram,
    vcpu: BpfProgram,
}

impl Sandbox {
    /// Prepares the filters, if the threads are to be confined.
    pub(crate) fn new(confined: bool) -> io::Result<Self> {
        let build = || -> Result<Filters, seccompiler::BackendError> {
            let mut devices = common()?;
            let calls = DEVICES.into_iter().chain(arch::EVENT_SYSCALLS);
            devices.extend(calls.map(|number| (number, Vec::new())));
            let mut vcpu = common()?;
            let mut requests = Vec::new();
            for request in [KVM_RUN].into_iter().chain(arch::VCPU_IOCTLS) {
                requests.push(SeccompRule::new(vec![SeccompCondition::new(
                    1,
                    SeccompCmpArgLen::Qword,
                    SeccompCmpOp::Eq,
                    request,
                )?])?);
            }
            vcpu.insert(libc::SYS_ioctl, requests);
            devices.insert(libc::SYS_sched_setscheduler, own_manner()?);
            Ok(Filters {
                devices: compile(devices)?,
                vcpu: compile(vcpu)?,
            })
        };
        let filters = confined.then(build).transpose();
        filters.map(Self).map_err(io::Error::other)
    }

    /// Confines the calling thread to the devices' work.
    pub(crate) fn enter_devices(&self) -> io::Result<()> {
        self.0
            .as_ref()
            .map_or(Ok(()), |filters| enter(&filters.devices))
    }

    /// Confines the calling thread to running a vCPU.
    pub(super) fn enter_vcpu(&self) -> io::Result<()> {
        self.0
            .as_ref()
            .map_or(Ok(()), |filters| enter(&filters.vcpu))
    }
}

/// Confines the calling thread to waiting for the machine's end and reporting it.
pub(super) fn enter_attendant() -> io::Result<()> {
    let build = || -> Result<BpfProgram, seccompiler::BackendError> {
        let mut rules = common()?;
        rules.extend(ATTENDANT.map(|number| (number, Vec::new())));
        compile(rules)
    };
    enter(&build().map_err(io::Error::other)?)
}

fn enter(filter: &BpfProgram) -> io::Result<()> {
    apply_filter(filter).map_err(io::Error::other)
}

fn common() -> Result<Rules, seccompiler::BackendError> {
    let mut rules: Rules = COMMON.map(|number| (number, Vec::new())).into();
    // Memory, but none that could be executed.
    let executable = u64::from(libc::PROT_EXEC.unsigned_abs());
    for number in [libc::SYS_mmap, libc::SYS_mprotect] {
        let rule = SeccompRule::new(vec![SeccompCondition::new(
            2,
            SeccompCmpArgLen::Dword,
            SeccompCmpOp::MaskedEq(executable),
            0,
        )?])?;
        rules.insert(number, vec![rule]);
    }
    // Signals, but to this process only.
    let own = SeccompRule::new(vec![SeccompCondition::new(
        0,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::Eq,
        std::process::id().into(),
    )?])?;
    rules.insert(libc::SYS_tgkill, vec![own]);
    Ok(rules)
}

/// The calling thread's own way to wait for a CPU, of those that give nothing.
fn own_manner() -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    let is = |argument: u8, value: libc::c_int| {
        let (length, equal) = (SeccompCmpArgLen::Dword, SeccompCmpOp::Eq);
        SeccompCondition::new(argument, length, equal, value.unsigned_abs().into())
    };
    [libc::SCHED_OTHER, libc::SCHED_BATCH]
        .into_iter()
        .map(|policy| SeccompRule::new(vec![is(0, 0)?, is(1, policy)?]))
        .collect()
}

fn compile(rules: Rules) -> Result<BpfProgram, seccompiler::BackendError> {
    let refused = u32::try_from(libc::EPERM).unwrap_or(1);
    SeccompFilter::new(
        rules,
        SeccompAction::Errno(refused),
        SeccompAction::Allow,
        TargetArch::try_from(std::env::consts::ARCH)?,
    )?
    .try_into()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::net::UnixStream;
    use std::ptr;
    use std::sync::Mutex;
    use std::thread;

    use super::*;

    fn refused<T>(result: io::Result<T>) -> bool {
        result.is_err_and(|error| error.raw_os_error() == Some(libc::EPERM))
    }

    /// What no thread that serves a guest may do.
    fn is_confined() -> bool {
        // SAFETY: a new mapping touches nothing that exists.
        let mapping = unsafe {
            libc::mmap(
                ptr::null_mut(),
                4096,
                libc::PROT_READ | libc::PROT_EXEC,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        // SAFETY: signal 0 only asks whether the process exists, and 0 and -1 are descriptors and addresses of
        // nothing that a request or a change could do something to.
        let others = unsafe {
            [
                i64::from(libc::kill(1, 0)),
                libc::syscall(libc::SYS_tgkill, 1, 1, 0),
                i64::from(libc::connect(-1, ptr::null(), 0)),
                // KVM_GET_API_VERSION, and a terminal's TIOCSTI.
                i64::from(libc::ioctl(-1, 0xae00)),
                i64::from(libc::ioctl(-1, libc::TIOCSTI)),
            ]
            .map(|result| (result, io::Error::last_os_error().raw_os_error()))
        };
        // SAFETY: a mapping of its own, that nobody uses.
        let executable = unsafe {
            let (access, kind) = (libc::PROT_READ, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            let page = libc::mmap(ptr::null_mut(), 4096, access, kind, -1, 0);
            libc::mprotect(page, 4096, libc::PROT_READ | libc::PROT_EXEC)
        };
        refused(File::open("/proc/self/status"))
            && refused(UnixStream::pair())
            && refused(std::process::Command::new("true").status())
            && refused(thread::Builder::new().spawn(|| {}))
            && mapping == libc::MAP_FAILED
            && executable == -1
            && others == [(-1, Some(libc::EPERM)); 5]
    }

    fn works() -> bool {
        let large = Mutex::new(vec![1_u8; 10 << 20]);
        large.lock().unwrap().iter().all(|&byte| byte == 1)
    }

    #[test]
    fn confined_threads_can_work_and_nothing_else() {
        let sandbox = Sandbox::new(true).unwrap();
        let enter: [fn(&Sandbox) -> io::Result<()>; 3] =
            [Sandbox::enter_devices, Sandbox::enter_vcpu, |_| {
                enter_attendant()
            }];
        for enter in enter {
            thread::scope(|scope| {
                let confined = scope.spawn(|| {
                    let before = refused(File::open("/proc/self/status"));
                    enter(&sandbox).unwrap();
                    (before, is_confined(), works())
                });
                assert_eq!(confined.join().unwrap(), (false, true, true));
            });
        }
        assert!(File::open("/proc/self/status").is_ok());
    }

    /// Whether a confined thread may wait for a CPU in an ordinary way, a patient one, and one that gives all up.
    fn may_wait(enter: fn(&Sandbox) -> io::Result<()>) -> [bool; 3] {
        let sandbox = Sandbox::new(true).unwrap();
        let may_be = |policy| {
            let parameters = libc::sched_param { sched_priority: 0 };
            // SAFETY: the call reads the parameters and changes how the calling thread is scheduled.
            unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) == 0 }
        };
        let confined = || {
            enter(&sandbox).unwrap();
            [libc::SCHED_OTHER, libc::SCHED_BATCH, libc::SCHED_IDLE].map(may_be)
        };
        thread::scope(|scope| scope.spawn(confined).join()).unwrap()
    }

    #[test]
    fn the_devices_thread_alone_chooses_how_it_waits() {
        assert_eq!(may_wait(Sandbox::enter_devices), [true, true, false]);
        assert_eq!(may_wait(Sandbox::enter_vcpu), [false; 3]);
    }
}
