//! A running machine: its threads, and what they share.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use kvm_ioctls::{VcpuFd, VmFd};

use super::lifecycle::{Lifecycle, PanicGuard};
use super::sandbox::Sandbox;
use super::vcpu;
use crate::arch::PlatformDevices;
use crate::backend::{Machine, VmExit};
use crate::devices::bus::Bus;
use crate::devices::event_loop::EventLoop;
use crate::memory::GuestRam;
use crate::signals;

/// A machine on KVM.
#[derive(Debug)]
pub(super) struct KvmMachine {
    threads: Vec<JoinHandle<()>>,
    lifecycle: Arc<Lifecycle>,
}

/// All that the machine's threads use. The last one to end frees it.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) bus: Bus,
    pub(super) platform: Mutex<PlatformDevices>,
    pub(super) sandbox: Sandbox,
    // After the devices, which refer to both; and memory after the machine that it is mapped into.
    pub(super) _vm: VmFd,
    pub(super) _memory: GuestRam,
}

impl KvmMachine {
    /// Starts the machine's threads.
    pub(super) fn start(
        parts: Parts,
        vcpus: Vec<VcpuFd>,
        lifecycle: Arc<Lifecycle>,
    ) -> io::Result<Self> {
        let parts = Arc::new(parts);
        // From here on, dropping it ends what has been started.
        let mut machine = Self {
            threads: Vec::with_capacity(vcpus.len() + 1),
            lifecycle,
        };
        {
            let (parts, lifecycle) = (Arc::clone(&parts), Arc::clone(&machine.lifecycle));
            machine.spawn("devices".into(), move || run_devices(&parts, &lifecycle))?;
        }
        for (index, vcpu) in (0..).zip(vcpus) {
            let (parts, lifecycle) = (Arc::clone(&parts), Arc::clone(&machine.lifecycle));
            machine.spawn(format!("vcpu{index}"), move || {
                vcpu::run(index, vcpu, &parts, &lifecycle);
            })?;
        }
        Ok(machine)
    }

    fn spawn(&mut self, name: String, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.threads
            .push(thread::Builder::new().name(name).spawn(run)?);
        Ok(())
    }
}

impl Machine for KvmMachine {
    fn stopped(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is open as long as `self`.
        unsafe { BorrowedFd::borrow_raw(self.lifecycle.stopped().as_raw_fd()) }
    }

    fn exit(&mut self) -> Option<VmExit> {
        self.lifecycle.exit()
    }

    fn stop(&mut self) {
        self.lifecycle.end(None);
        for thread in self.threads.drain(..) {
            // A panic has been reported by the thread's guard.
            let _ = thread.join();
        }
    }
}

impl Drop for KvmMachine {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run_devices(parts: &Parts, lifecycle: &Lifecycle) {
    let _settle = Settle(lifecycle);
    let _guard = PanicGuard {
        lifecycle,
        thread: "device",
    };
    let result = signals::block_all()
        .and_then(|()| EventLoop::new(&parts.bus, lifecycle.stop()))
        .and_then(|mut events| {
            parts.sandbox.enter_devices()?;
            events.run()?;
            events.drain();
            Ok(())
        });
    if let Err(error) = result {
        let message = format!("The machine's devices failed: {error}");
        lifecycle.end(Some(VmExit::Broken(message)));
    }
}

/// Lets the owner know of the machine's end when the devices' thread ends, however it does.
struct Settle<'a>(&'a Lifecycle);

impl Drop for Settle<'_> {
    fn drop(&mut self) {
        self.0.settle();
    }
}
