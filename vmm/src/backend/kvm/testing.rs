//! What tests of the backend's parts share.

use std::sync::{Arc, Mutex};

use kvm_ioctls::{Kvm, VcpuFd};
use vm_memory::GuestAddress;

use super::machine::Parts;
use super::sandbox::Sandbox;
use crate::arch::Chipset;
use crate::backend::timeline::Timeline;
use crate::devices::bus::Bus;
use crate::devices::platform::PlatformDevices;
use crate::devices::virtio::VirtioDevice;
use crate::memory::{self, GuestRam};
use crate::self_test::{self, SelfTestError};
use crate::stats::ExitCounters;

/// KVM, if this host has it; it must, where `TERRARIUM_TEST_KVM` is set.
pub(super) fn kvm() -> Option<Kvm> {
    match self_test::open() {
        Ok(kvm) => Some(kvm),
        Err(error @ (SelfTestError::NoDevice | SelfTestError::NoPermission)) => {
            assert!(
                std::env::var_os("TERRARIUM_TEST_KVM").is_none(),
                "cannot be tested: {error}"
            );
            eprintln!("not tested here: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// A machine of 1 MiB with these devices, and its vCPUs as KVM makes them.
pub(super) fn parts(
    kvm: &Kvm,
    devices: Vec<Box<dyn VirtioDevice>>,
    vcpus: u8,
    timeline: Arc<Timeline>,
) -> (Parts, Vec<VcpuFd>) {
    let vm = kvm.create_vm().unwrap();
    let memory = GuestRam::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap();
    memory::attach(&vm, &memory).unwrap();
    let mut chipset = Chipset::new(&vm, vcpus).unwrap();
    let vcpus = (0..vcpus).map(|index| vm.create_vcpu(index.into()));
    let vcpus: Vec<_> = vcpus.map(Result::unwrap).collect();
    // Without that, devices on aarch64 have nothing to interrupt.
    chipset.complete(&vcpus).unwrap();
    let parts = Parts {
        bus: Bus::new(devices, &vm, &memory).unwrap(),
        platform: Mutex::new(PlatformDevices::new(None)),
        sandbox: Arc::new(Sandbox::new(true).unwrap()),
        exits: ExitCounters::default(),
        counters: Vec::new(),
        timeline,
        _vm: vm,
        memory,
    };
    (parts, vcpus)
}
