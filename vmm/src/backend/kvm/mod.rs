//! The backend that runs machines on `/dev/kvm`, each in a process of its own.

mod counters;
mod gate;
pub(crate) mod kick;
mod lifecycle;
mod machine;
mod process;
pub(crate) mod sandbox;
#[cfg(test)]
mod testing;
mod vcpu;

use std::io;
use std::mem;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kvm_ioctls::VcpuFd;
use rustix::thread::sched_getaffinity;

use self::counters::VcpuCounters;
use self::lifecycle::Lifecycle;
use self::machine::{KvmMachine, Parts};
use self::process::VmmProcess;
use self::sandbox::Sandbox;
use crate::arch::{self, Chipset, VcpuTemplate};
use crate::backend::timeline::{Step, Timeline};
use crate::backend::{Backend, Machine, StartError};
use crate::config::{Arch, VmConfig};
use crate::devices::MmioSlot;
use crate::devices::bus::Bus;
use crate::devices::platform::PlatformDevices;
use crate::devices::serial::SerialPort;
use crate::devices::virtio::VirtioDevice;
use crate::devices::virtio::balloon::Balloon;
use crate::devices::virtio::block::Block;
use crate::devices::virtio::console::Console;
use crate::devices::virtio::entropy::Entropy;
use crate::stats::ExitCounters;
use crate::{memory, self_test, thread};

/// The KVM backend.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kvm;

impl Backend for Kvm {
    fn name(&self) -> &'static str {
        "kvm"
    }

    fn start(&self, config: VmConfig) -> Result<Box<dyn Machine>, StartError> {
        Ok(Box::new(VmmProcess::start(config)?))
    }
}

/// A machine that is ready to run.
#[derive(Debug)]
struct Built {
    parts: Parts,
    vcpus: Vec<VcpuFd>,
    lifecycle: Arc<Lifecycle>,
}

impl Built {
    /// Starts it in this process. Its guest waits for [`KvmMachine::enter_guest`].
    fn start(self) -> Result<KvmMachine, StartError> {
        KvmMachine::start(self.parts, self.vcpus, self.lifecycle)
            .map_err(failed("Cannot start the virtual machine's threads"))
    }
}

/// Makes the machine of `config`, with its kernel in memory, in this process.
fn build(mut config: VmConfig, timeline: Arc<Timeline>) -> Result<Built, StartError> {
    let kvm = self_test::open().map_err(|error| StartError::Host {
        what: "Cannot use KVM".into(),
        source: io::Error::other(error),
    })?;
    let kvm = Arc::new(kvm);
    check(&config, &kvm)?;

    let no_memory = format!(
        "Cannot get {} MiB of memory for the guest",
        config.memory >> 20
    );
    let no_memory = failed(&no_memory);
    // KVM makes a machine in no time, but then waits for the host's kernel to let it start a thread.
    let no_vm = failed("Cannot create a virtual machine with KVM");
    let its_kvm = Arc::clone(&kvm);
    let vm = thread::spawn("vm", move || its_kvm.create_vm()).map_err(&no_vm)?;
    give_turn_to_kvm();
    let devices = devices(&mut config)?;
    let slots: Vec<_> = (0..devices.len())
        .map(|index| MmioSlot::new(index).ok_or_else(too_many_devices))
        .collect::<Result<_, _>>()?;
    timeline.mark(Step::Opened);
    let memory = memory::allocate(&arch::memory_ranges(config.memory)).map_err(&no_memory)?;
    timeline.mark(Step::Memory);
    let kernel = arch::load(&memory, &config)?;
    timeline.mark(Step::Kernel);
    let vm = vm
        .join()
        .ok_or_else(|| no_vm(io::Error::other("a panic")))?;
    let vm = vm.map_err(|error| no_vm(error.into()))?;
    memory::attach(&vm, &memory).map_err(&no_memory)?;
    timeline.mark(Step::Vm);

    let set_up = failed("Cannot set up a virtual machine with KVM");
    let mut chipset = Chipset::new(&vm, config.vcpus).map_err(&set_up)?;
    let template = VcpuTemplate::new(&kvm, &vm, config.vcpus).map_err(&set_up)?;
    let mut vcpus = Vec::with_capacity(config.vcpus.into());
    for index in 0..config.vcpus {
        let vcpu = vm
            .create_vcpu(index.into())
            .map_err(|e| failed(&format!("Cannot create vCPU {index}"))(e.into()))?;
        template
            .apply(&vcpu, index)
            .map_err(failed(&format!("Cannot set up vCPU {index}")))?;
        vcpus.push(vcpu);
    }
    chipset.complete(&vcpus).map_err(&set_up)?;
    let entry = arch::describe(&memory, &config, &slots, &chipset, &kernel)?;
    arch::enter_kernel(&vcpus, entry, &memory).map_err(failed("Cannot set up the vCPUs"))?;
    timeline.mark(Step::Vcpus);

    let lifecycle = Arc::new(Lifecycle::new(config.vcpus).map_err(&set_up)?);
    let bus = Bus::new(devices, &vm, &memory)
        .map_err(failed("Cannot connect the devices to the virtual machine"))?;
    let serial = config
        .serial
        .map(|output| SerialPort::new(&vm, output, lifecycle.stop()))
        .transpose()
        .map_err(&set_up)?;
    let counted = if config.stats { vcpus.as_slice() } else { &[] };
    let counters = counted.iter().filter_map(VcpuCounters::open).collect();
    timeline.mark(Step::Devices);
    let parts = Parts {
        bus,
        platform: Mutex::new(PlatformDevices::new(serial)),
        sandbox: Arc::new(Sandbox::new(config.sandbox).map_err(&set_up)?),
        exits: ExitCounters::new(config.stats),
        counters,
        timeline,
        _vm: vm,
        memory,
    };
    Ok(Built {
        parts,
        vcpus,
        lifecycle,
    })
}

/// Lets KVM come to where it waits, which it does much longer: the sooner it waits, the more is done meanwhile.
/// Where there is only one CPU, whoever loads a kernel would keep KVM's new thread from its first turn for as
/// long as a scheduler's slice lasts.
fn give_turn_to_kvm() {
    /// What KVM needs until then, with some room.
    const TURN: Duration = Duration::from_millis(1);
    if sched_getaffinity(None).is_ok_and(|cpus| cpus.count() == 1) {
        std::thread::sleep(TURN);
    }
}

fn check(config: &VmConfig, kvm: &kvm_ioctls::Kvm) -> Result<(), StartError> {
    let most = usize::from(arch::MAX_VCPUS).min(kvm.get_max_vcpus());
    let message = if config.arch != Arch::HOST {
        "KVM runs guests of the host's architecture only; the qemu backend runs others".to_owned()
    } else if config.vcpus == 0 {
        "A machine needs a vCPU".to_owned()
    } else if usize::from(config.vcpus) > most {
        format!(
            "{} vCPUs are more than the {most} possible here",
            config.vcpus
        )
    } else if config.memory == 0 || !config.memory.is_multiple_of(4096) {
        format!(
            "{} bytes of memory are not a number of pages",
            config.memory
        )
    } else {
        return Ok(());
    };
    Err(StartError::Config(message))
}

/// The devices, disks first, so that the guest names them in this order.
fn devices(config: &mut VmConfig) -> Result<Vec<Box<dyn VirtioDevice>>, StartError> {
    let mut devices: Vec<Box<dyn VirtioDevice>> = Vec::new();
    for disk in &config.disks {
        devices.push(Box::new(Block::new(disk)?));
    }
    if !config.ports.is_empty() {
        devices.push(Box::new(Console::new(mem::take(&mut config.ports))));
    }
    devices.push(Box::new(Entropy::default()));
    if config.balloon {
        devices.push(Box::new(Balloon::default()));
    }
    Ok(devices)
}

fn too_many_devices() -> StartError {
    StartError::Config(format!(
        "A machine can have {} disks at most",
        arch::MAX_DEVICES - 3
    ))
}

fn failed(what: &str) -> impl Fn(io::Error) -> StartError {
    let what = what.to_owned();
    move |source| StartError::Host {
        what: what.clone(),
        source,
    }
}
