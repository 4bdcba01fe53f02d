//! CPUID of a machine whose vCPUs are the cores of one package, one thread each; their APIC ids are
//! their indices (Intel SDM volume 2, CPUID; AMD APM volume 3, appendix E).

use kvm_bindings::{CpuId, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, kvm_cpuid_entry2};

const FEATURE_TSC_DEADLINE: u32 = 1 << 24; // leaf 1, ECX
const FEATURE_HYPERVISOR: u32 = 1 << 31; // leaf 1, ECX
const FEATURE_MULTITHREADING: u32 = 1 << 28; // leaf 1, EDX
const FEATURE_LEGACY_CORES: u32 = 1 << 1; // leaf 0x8000_0001, ECX

/// Replaces what the host says about its own topology, the same for all vCPUs.
pub(super) fn describe_machine(cpuid: &mut CpuId, count: u8, deadline_timer: bool) {
    let count = u32::from(count);
    let mut has_topology = false;
    for entry in cpuid.as_mut_slice() {
        match entry.function {
            1 => {
                entry.ecx |= FEATURE_HYPERVISOR;
                if deadline_timer {
                    entry.ecx |= FEATURE_TSC_DEADLINE;
                }
                set(&mut entry.edx, FEATURE_MULTITHREADING, count > 1);
                entry.ebx = entry.ebx & 0x0000_ffff | count << 16;
            }
            // Deterministic cache parameters: the last level is shared, the others are not.
            4 | 0x8000_001d if entry.eax & 0x1f != 0 => {
                let level = entry.eax >> 5 & 7;
                let sharing = if level >= 3 { count - 1 } else { 0 };
                entry.eax = entry.eax & 0x3fff | sharing << 14;
                if entry.function == 4 {
                    entry.eax |= (count - 1).min(0x3f) << 26;
                }
            }
            0xb => has_topology = true,
            0x8000_0001 => set(&mut entry.ecx, FEATURE_LEGACY_CORES, count > 1),
            0x8000_0008 => entry.ecx = core_bits(count) << 12 | (count - 1),
            _ => {}
        }
    }
    // KVM gives one subleaf of the host's; ours are two, and one end.
    cpuid.retain(|entry| !matches!(entry.function, 0xb | 0x1f));
    if has_topology {
        let levels = [
            (0, 1, 1 << 8),                    // threads of a core
            (core_bits(count), count, 2 << 8), // cores of the package
            (0, 0, 0),
        ];
        for (index, (eax, ebx, ecx)) in (0..).zip(levels) {
            // Without room, the kernel falls back to leaf 1 and 4.
            let _ = cpuid.push(kvm_cpuid_entry2 {
                function: 0xb,
                index,
                flags: KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
                eax,
                ebx,
                ecx: ecx | index,
                ..Default::default()
            });
        }
    }
}

/// Puts a vCPU's own APIC id in.
pub(super) fn describe_vcpu(cpuid: &mut CpuId, index: u8) {
    let id = u32::from(index);
    for entry in cpuid.as_mut_slice() {
        match entry.function {
            1 => entry.ebx = entry.ebx & 0x00ff_ffff | id << 24,
            0xb => entry.edx = id,
            0x8000_001e => {
                entry.eax = id;
                entry.ebx = id;
                entry.ecx = 0;
            }
            _ => {}
        }
    }
}

/// Bits of an APIC id that number the cores of a package.
fn core_bits(count: u32) -> u32 {
    count.next_power_of_two().trailing_zeros()
}

fn set(register: &mut u32, bit: u32, on: bool) {
    if on {
        *register |= bit;
    } else {
        *register &= !bit;
    }
}
