//! The interrupt controller (Linux's `Documentation/virt/kvm/devices/arm-vgic-v3.rst` and
//! `arm-vgic.rst`): a GICv3, or a GICv2 on hosts that have no other.

use std::io;

use kvm_bindings::{
    KVM_DEV_ARM_VGIC_CTRL_INIT, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_DEV_ARM_VGIC_GRP_CTRL,
    KVM_DEV_ARM_VGIC_GRP_NR_IRQS, KVM_VGIC_V2_ADDR_TYPE_CPU, KVM_VGIC_V2_ADDR_TYPE_DIST,
    KVM_VGIC_V3_ADDR_TYPE_DIST, KVM_VGIC_V3_ADDR_TYPE_REDIST, kvm_create_device, kvm_device_attr,
    kvm_device_type_KVM_DEV_TYPE_ARM_VGIC_V2, kvm_device_type_KVM_DEV_TYPE_ARM_VGIC_V3,
};
use kvm_ioctls::{DeviceFd, VcpuFd, VmFd};

use super::layout;
use super::vcpu::affinity;

/// Which interrupt controller a machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GicVersion {
    V2,
    V3,
}

/// What KVM itself emulates beside the vCPUs, and what the guest is to be told of these.
#[derive(Debug)]
pub(crate) struct Chipset {
    gic: DeviceFd,
    pub(super) version: GicVersion,
    /// Affinity fields of each vCPU's `MPIDR_EL1`, once the vCPUs exist.
    pub(super) affinities: Vec<u64>,
}

impl Chipset {
    /// Creates it. Needed before the first vCPU.
    pub(crate) fn new(vm: &VmFd, _vcpus: u8) -> io::Result<Self> {
        let (gic, version) = match create(vm, kvm_device_type_KVM_DEV_TYPE_ARM_VGIC_V3) {
            Ok(gic) => (gic, GicVersion::V3),
            Err(_) => (
                create(vm, kvm_device_type_KVM_DEV_TYPE_ARM_VGIC_V2)?,
                GicVersion::V2,
            ),
        };
        set_u32(&gic, KVM_DEV_ARM_VGIC_GRP_NR_IRQS, layout::INTERRUPT_COUNT)?;
        let addresses = match version {
            GicVersion::V3 => [
                (KVM_VGIC_V3_ADDR_TYPE_DIST, layout::GIC_DISTRIBUTOR),
                (KVM_VGIC_V3_ADDR_TYPE_REDIST, layout::GIC_REDISTRIBUTORS),
            ],
            GicVersion::V2 => [
                (KVM_VGIC_V2_ADDR_TYPE_DIST, layout::GIC_DISTRIBUTOR),
                (KVM_VGIC_V2_ADDR_TYPE_CPU, layout::GIC_CPU_INTERFACE),
            ],
        };
        for (kind, address) in addresses {
            set_address(&gic, kind, address)?;
        }
        Ok(Self {
            gic,
            version,
            affinities: Vec::new(),
        })
    }

    /// To be called when all vCPUs exist and are initialized.
    pub(crate) fn complete(&mut self, vcpus: &[VcpuFd]) -> io::Result<()> {
        self.gic.set_device_attr(&kvm_device_attr {
            group: KVM_DEV_ARM_VGIC_GRP_CTRL,
            attr: KVM_DEV_ARM_VGIC_CTRL_INIT.into(),
            ..Default::default()
        })?;
        self.affinities = vcpus.iter().map(affinity).collect::<io::Result<_>>()?;
        Ok(())
    }
}

fn create(vm: &VmFd, kind: u32) -> io::Result<DeviceFd> {
    let mut device = kvm_create_device {
        type_: kind,
        ..Default::default()
    };
    Ok(vm.create_device(&mut device)?)
}

fn set_address(gic: &DeviceFd, kind: u32, address: u64) -> io::Result<()> {
    gic.set_device_attr(&kvm_device_attr {
        group: KVM_DEV_ARM_VGIC_GRP_ADDR,
        attr: kind.into(),
        addr: (&raw const address).addr() as u64,
        flags: 0,
    })?;
    Ok(())
}

fn set_u32(gic: &DeviceFd, group: u32, value: u32) -> io::Result<()> {
    gic.set_device_attr(&kvm_device_attr {
        group,
        attr: 0,
        addr: (&raw const value).addr() as u64,
        flags: 0,
    })?;
    Ok(())
}
