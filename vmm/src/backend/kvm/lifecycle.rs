//! How a machine's threads tell each other that it is over.

use std::io;
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread;

use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::gate::Gate;
use super::kick::VcpuThread;
use crate::backend::VmExit;

/// State shared by all threads of a machine and by its owner.
#[derive(Debug)]
pub(super) struct Lifecycle {
    /// Readable once the machine has stopped by itself.
    stopped: EventFd,
    /// Readable once all threads must end.
    stop: EventFd,
    gate: Gate,
    stopping: AtomicBool,
    settled: AtomicBool,
    exit: Mutex<Option<VmExit>>,
    vcpus: Vec<VcpuThread>,
}

impl Lifecycle {
    pub(super) fn new(vcpus: u8) -> io::Result<Self> {
        Ok(Self {
            stopped: EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?,
            stop: EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?,
            gate: Gate::new(vcpus),
            stopping: AtomicBool::new(false),
            settled: AtomicBool::new(false),
            exit: Mutex::new(None),
            vcpus: (0..vcpus).map(|_| VcpuThread::default()).collect(),
        })
    }

    /// Ends all threads. The first reason given is the machine's; without one it was told to stop.
    pub(super) fn end(&self, exit: Option<VmExit>) {
        {
            // Whoever comes second finds the reason there.
            let mut reason = self.exit_lock();
            if self.stopping.swap(true, Ordering::SeqCst) {
                return;
            }
            *reason = exit;
        }
        self.gate.open();
        // A counter of a few cannot be full.
        let _ = self.stop.write(1);
        for vcpu in &self.vcpus {
            vcpu.kick();
        }
    }

    /// Whether threads must end.
    pub(super) fn is_ending(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// All that the guest sent has reached the host: the owner may know that the machine stopped.
    pub(super) fn settle(&self) {
        if self.exit_lock().is_some() {
            self.settled.store(true, Ordering::SeqCst);
            let _ = self.stopped.write(1);
        }
    }

    /// Why the machine stopped by itself, once that is settled.
    pub(super) fn exit(&self) -> Option<VmExit> {
        if self.settled.load(Ordering::SeqCst) {
            self.exit_lock().clone()
        } else {
            None
        }
    }

    pub(super) fn stopped(&self) -> &EventFd {
        &self.stopped
    }

    pub(super) fn stop(&self) -> &EventFd {
        &self.stop
    }

    pub(super) fn gate(&self) -> &Gate {
        &self.gate
    }

    pub(super) fn vcpu(&self, index: u8) -> Option<&VcpuThread> {
        self.vcpus.get(usize::from(index))
    }

    fn exit_lock(&self) -> MutexGuard<'_, Option<VmExit>> {
        self.exit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the process's last panic said, once [`remember_panics`] was called.
static PANIC: Mutex<Option<String>> = Mutex::new(None);
static REMEMBER: AtomicBool = AtomicBool::new(false);

/// Makes it possible to [remember panics](remember_panics) in processes that are forked from here on.
///
/// Changing the hook takes a lock, which another thread may hold that panics: in a forked process, where
/// that thread is not, nobody would ever give it back.
pub(super) fn prepare_for_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !REMEMBER.load(Ordering::SeqCst) {
                usual(panic);
            // A thread that panics with the lock has no more to say.
            } else if let Ok(mut text) = PANIC.try_lock() {
                *text = Some(panic.to_string());
            }
        }));
    });
}

/// Has the text of a panic kept for a machine's end, instead of written to standard error.
pub(super) fn remember_panics() {
    REMEMBER.store(true, Ordering::SeqCst);
}

/// That this thread of a machine panicked.
pub(super) fn panicked(thread: &str) -> VmExit {
    let mut message = format!("The machine's {thread} thread panicked");
    if let Some(text) = &*PANIC.lock().unwrap_or_else(PoisonError::into_inner) {
        message = format!("{message}: {text}");
    }
    VmExit::Broken(message)
}

/// Ends the machine as broken when the thread that holds it panics.
pub(super) struct PanicGuard<'a> {
    pub(super) lifecycle: &'a Lifecycle,
    pub(super) thread: &'a str,
}

impl Drop for PanicGuard<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.lifecycle.end(Some(panicked(self.thread)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc;
    use std::time::Duration;

    use rustix::process::{Signal, kill_process};

    use super::*;
    use crate::backend::fork;

    /// A message that takes until it is told to go on, with all locks of a panic.
    struct Slow {
        begun: mpsc::Sender<()>,
        go_on: mpsc::Receiver<()>,
    }

    impl fmt::Display for Slow {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let _ = self.begun.send(());
            let _ = self.go_on.recv_timeout(LIMIT);
            f.write_str("as it should")
        }
    }

    const LIMIT: Duration = Duration::from_secs(20);

    #[test]
    fn a_process_made_during_a_panic_can_remember_another_one() {
        prepare_for_panics();
        let (begun, begins) = mpsc::channel();
        let (goes_on, go_on) = mpsc::channel();
        let panicking = thread::spawn(move || panic!("{}", Slow { begun, go_on }));
        begins.recv_timeout(LIMIT).unwrap();
        let (mut said, mut says) = UnixStream::pair().unwrap();
        let child = fork::spawn(
            || (),
            |()| {
                remember_panics();
                let panics = || -> () { panic!("another one") };
                let thread = crate::thread::spawn("panics", panics);
                assert_eq!(thread.unwrap().join(), None);
                let text = PANIC.lock().unwrap().take().unwrap_or_default();
                says.write_all(text.as_bytes()).unwrap();
            },
        )
        .unwrap();
        said.set_read_timeout(Some(LIMIT)).unwrap();
        let mut text = [0; 200];
        let length = said.read(&mut text);
        let _ = kill_process(child, Signal::KILL);
        let _ = fork::wait(child);
        drop(goes_on);
        assert!(panicking.join().is_err());
        let text = String::from_utf8_lossy(&text[..length.unwrap()]).into_owned();
        assert!(text.ends_with("another one"), "{text:?}");
    }

    #[test]
    fn the_first_reason_counts_and_is_told_once_settled() {
        let lifecycle = Lifecycle::new(2).unwrap();
        assert!(!lifecycle.is_ending());
        lifecycle.settle();
        lifecycle.end(Some(VmExit::Guest));
        lifecycle.end(Some(VmExit::Broken(String::new())));
        lifecycle.end(None);
        assert!(lifecycle.is_ending());
        assert_eq!(lifecycle.stop().read().unwrap(), 1);
        assert_eq!(lifecycle.exit(), None);
        assert!(lifecycle.stopped().read().is_err());
        lifecycle.settle();
        assert_eq!(lifecycle.exit(), Some(VmExit::Guest));
        assert_eq!(lifecycle.stopped().read().unwrap(), 1);
    }

    #[test]
    fn a_machine_that_was_told_to_stop_did_not_stop_by_itself() {
        let lifecycle = Lifecycle::new(1).unwrap();
        lifecycle.end(None);
        lifecycle.end(Some(VmExit::Guest));
        lifecycle.settle();
        assert_eq!(lifecycle.exit(), None);
        assert!(lifecycle.stopped().read().is_err());
    }

    #[test]
    fn a_panic_breaks_the_machine() {
        let lifecycle = Lifecycle::new(1).unwrap();
        thread::scope(|scope| {
            let panicking = scope.spawn(|| {
                let _guard = PanicGuard {
                    lifecycle: &lifecycle,
                    thread: "test",
                };
                panic!("as it should");
            });
            assert!(panicking.join().is_err());
        });
        lifecycle.settle();
        let Some(VmExit::Broken(message)) = lifecycle.exit() else {
            panic!("not broken");
        };
        assert!(message.contains("test thread"));
    }
}
