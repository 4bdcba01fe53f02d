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

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(function: u32, index: u32, eax: u32) -> kvm_cpuid_entry2 {
        kvm_cpuid_entry2 {
            function,
            index,
            eax,
            ebx: 0xffff_ffff,
            ecx: 0xffff_ffff,
            edx: 0xffff_ffff,
            ..Default::default()
        }
    }

    fn described(count: u8, index: u8) -> Vec<kvm_cpuid_entry2> {
        let mut cpuid = CpuId::from_entries(&[
            entry(1, 0, 0),
            entry(4, 0, 1 << 5 | 1),
            entry(4, 1, 3 << 5 | 3),
            entry(4, 2, 0),
            entry(0xb, 0, 0xff),
            entry(0x1f, 0, 0xff),
            entry(0x8000_0008, 0, 0),
            entry(0x8000_001e, 0, 0),
        ])
        .unwrap();
        describe_machine(&mut cpuid, count, true);
        describe_vcpu(&mut cpuid, index);
        cpuid.as_slice().to_vec()
    }

    fn find(entries: &[kvm_cpuid_entry2], function: u32, index: u32) -> kvm_cpuid_entry2 {
        *entries
            .iter()
            .find(|entry| (entry.function, entry.index) == (function, index))
            .unwrap()
    }

    #[test]
    fn vcpus_are_cores_of_one_package() {
        for (count, bits) in [(1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (254, 8)] {
            let entries = described(count, count - 1);
            let (count, id) = (u32::from(count), u32::from(count - 1));
            let one = find(&entries, 1, 0);
            assert_eq!((one.ebx >> 24, one.ebx >> 16 & 0xff), (id, count));
            assert_eq!(one.edx & FEATURE_MULTITHREADING != 0, count > 1);
            let threads = find(&entries, 0xb, 0);
            assert_eq!(
                (threads.eax, threads.ebx, threads.ecx, threads.edx),
                (0, 1, 0x100, id)
            );
            let cores = find(&entries, 0xb, 1);
            assert_eq!(
                (cores.eax, cores.ebx, cores.ecx, cores.edx),
                (bits, count, 0x201, id)
            );
            assert_eq!(find(&entries, 0xb, 2).ebx, 0);
            assert_eq!(find(&entries, 0x8000_0008, 0).ecx, bits << 12 | (count - 1));
            assert_eq!(find(&entries, 0x8000_001e, 0).eax, id);
            assert!(entries.iter().all(|entry| entry.function != 0x1f));
        }
    }

    #[test]
    fn only_the_last_level_cache_is_shared() {
        let entries = described(4, 0);
        let sharing = |index| find(&entries, 4, index).eax >> 14 & 0xfff;
        assert_eq!((sharing(0), sharing(1)), (0, 3));
        assert_eq!(find(&entries, 4, 0).eax >> 26, 3);
        assert_eq!(find(&entries, 4, 2).eax, 0);
    }
}
