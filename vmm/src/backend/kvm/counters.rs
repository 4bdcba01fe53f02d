//! KVM's own counters of a vCPU, read from a descriptor
//! (Documentation/virt/kvm/api.rst, `KVM_GET_STATS_FD`).

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;

use kvm_bindings::KVMIO;
use kvm_ioctls::VcpuFd;
use vmm_sys_util::ioctl::ioctl;
use vmm_sys_util::ioctl_io_nr;

ioctl_io_nr!(KVM_GET_STATS_FD, KVMIO, 0xce);

/// Bytes of `struct kvm_stats_header`.
const HEADER: usize = 24;
/// Bytes of `struct kvm_stats_desc` before the name.
const DESCRIPTION: usize = 16;
/// The bits of a counter's flags that say how it counts; zero for a sum that only grows.
const KIND: u32 = 0xf;
/// The bits that say what is counted; zero for pure numbers.
const UNIT: u32 = 0xf0;
/// More than any kernel describes.
const MOST: usize = 1 << 20;

/// The counters of one vCPU.
#[derive(Debug)]
pub(super) struct VcpuCounters {
    file: File,
    /// Name, and place in the file.
    counters: Vec<(String, u64)>,
}

impl VcpuCounters {
    /// Those of `vcpu`; `None` if the host's kernel has none (before Linux 5.14).
    pub(super) fn open(vcpu: &VcpuFd) -> Option<Self> {
        // SAFETY: the request has no argument and makes a descriptor.
        let fd = unsafe { ioctl(vcpu, KVM_GET_STATS_FD()) };
        if fd < 0 {
            return None;
        }
        // SAFETY: the descriptor is new and nobody else's.
        let file = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
        let mut header = [0; HEADER];
        file.read_exact_at(&mut header, 0).ok()?;
        let [_, name_size, count, _, descriptions, data] = words(&header)?;
        let size = (DESCRIPTION + name_size).checked_mul(count)?;
        let mut table = vec![0; Some(size).filter(|&size| size <= MOST)?];
        file.read_exact_at(&mut table, u64::try_from(descriptions).ok()?)
            .ok()?;
        let counters = table
            .chunks_exact(DESCRIPTION + name_size)
            .filter_map(describe)
            .map(|(name, offset)| (name, u64::try_from(data).unwrap_or(0) + u64::from(offset)))
            .collect();
        Some(Self { file, counters })
    }

    /// Adds the numbers by now to `sum`.
    pub(super) fn add_to(&self, sum: &mut BTreeMap<String, u64>) -> io::Result<()> {
        for (name, place) in &self.counters {
            let mut value = [0; 8];
            self.file.read_exact_at(&mut value, *place)?;
            let value = u64::from_ne_bytes(value);
            if value > 0 {
                *sum.entry(name.clone()).or_default() += value;
            }
        }
        Ok(())
    }
}

impl AsRawFd for VcpuCounters {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.file.as_raw_fd()
    }
}

/// The 32-bit words of the header.
fn words(header: &[u8; HEADER]) -> Option<[usize; 6]> {
    let mut words = [0; 6];
    for (word, bytes) in words.iter_mut().zip(header.chunks_exact(4)) {
        *word = usize::try_from(u32::from_ne_bytes(bytes.try_into().ok()?)).ok()?;
    }
    Some(words)
}

/// The name and offset of a counter, if it is a single number of how often something happened.
fn describe(description: &[u8]) -> Option<(String, u32)> {
    let word = |at: usize| {
        Some(u32::from_ne_bytes(
            description.get(at..at + 4)?.try_into().ok()?,
        ))
    };
    let flags = word(0)?;
    let values = u16::from_ne_bytes(description.get(6..8)?.try_into().ok()?);
    if flags & (KIND | UNIT) != 0 || values != 1 {
        return None;
    }
    let name = description.get(DESCRIPTION..)?;
    let name = name.split(|&byte| byte == 0).next()?;
    Some((String::from_utf8(name.to_vec()).ok()?, word(8)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description(flags: u32, values: u16, offset: u32, name: &[u8]) -> Vec<u8> {
        let mut bytes = flags.to_ne_bytes().to_vec();
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend_from_slice(&values.to_ne_bytes());
        bytes.extend_from_slice(&offset.to_ne_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(name);
        bytes
    }

    #[test]
    fn only_numbers_of_events_are_taken() {
        let exits = description(0, 1, 40, b"exits\0\0\0");
        assert_eq!(describe(&exits), Some(("exits".into(), 40)));
        // A histogram, a time, a peak, and what is cut off.
        assert_eq!(describe(&description(4, 20, 0, b"x\0")), None);
        assert_eq!(describe(&description(0x20, 1, 0, b"x\0")), None);
        assert_eq!(describe(&description(2, 1, 0, b"x\0")), None);
        assert_eq!(describe(exits.get(..10).unwrap()), None);
    }
}
