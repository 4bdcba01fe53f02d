//! Balloon device: memory that the guest does not use goes back to the host (virtio 1.2, section 5.5).
//!
//! The driver reports pages that are free ("free page reporting", section 5.5.6.7); their memory is
//! released, and the guest gets zeroed pages when it uses them again. The device never asks for more,
//! so nothing of what the guest uses is taken from it.

use rustix::param::page_size;
use vm_memory::{GuestAddress, GuestMemoryBackend};

use super::queue::{part, total};
use super::{Activation, Chain, Progress, QueueError, Segment, VirtioDevice};
use crate::memory::GuestRam;

const DEVICE_ID: u32 = 5;
const FEATURE_REPORTING: u64 = 1 << 5;

/// Inflating and deflating; nothing of that is asked for.
const QUEUE_SIZE: u16 = 16;
/// Linux reports 32 ranges at once, and does not use a smaller queue.
const REPORTING_QUEUE_SIZE: u16 = 32;
/// Drivers number the queues that there are, without gaps for features that are not offered.
const REPORTING: usize = 2;

/// Bytes that are given back before others get their turn.
const TURN: usize = 256 << 20;

/// The device.
#[derive(Debug, Default)]
pub(crate) struct Balloon {
    active: Option<Activation>,
    /// A report of which so many bytes were given back.
    under_way: Option<(Chain, usize)>,
}

/// `struct virtio_balloon_config`: a balloon of no pages is wanted, and it has none.
const CONFIG: [u8; 8] = [0; 8];

impl VirtioDevice for Balloon {
    fn id(&self) -> u32 {
        DEVICE_ID
    }

    fn features(&self) -> u64 {
        FEATURE_REPORTING
    }

    fn queue_sizes(&self) -> Vec<u16> {
        vec![QUEUE_SIZE, QUEUE_SIZE, REPORTING_QUEUE_SIZE]
    }

    fn config(&self) -> &[u8] {
        &CONFIG
    }

    fn activate(&mut self, activation: Activation) {
        self.active = Some(activation);
    }

    fn reset(&mut self) {
        self.active = None;
        self.under_way = None;
    }

    fn process(&mut self) -> Result<Progress, QueueError> {
        let Some(active) = &mut self.active else {
            return Ok(Progress::Idle);
        };
        let mut budget = TURN;
        let mut progress = Progress::Idle;
        for number in 0..=REPORTING {
            let Some((queue, memory, interrupt)) = active.queue(number) else {
                continue;
            };
            let mut left = queue.size();
            loop {
                if left == 0 || budget == 0 {
                    progress = Progress::More;
                    break;
                }
                let resumed = self.under_way.take_if(|_| number == REPORTING);
                let (chain, before) = match resumed {
                    Some(report) => report,
                    None => match queue.pop()? {
                        Some(chain) => (chain, 0),
                        None => {
                            queue.notify(interrupt)?;
                            if queue.wait()? {
                                continue;
                            }
                            break;
                        }
                    },
                };
                left -= 1;
                if number == REPORTING {
                    let pieces = part(&chain.writable, before, budget);
                    pieces.iter().for_each(|piece| release(memory, *piece));
                    let released = before + total(&pieces);
                    budget -= released - before;
                    if released < total(&chain.writable) {
                        self.under_way = Some((chain, released));
                        continue;
                    }
                }
                queue.finish(&chain, 0)?;
            }
            queue.notify(interrupt)?;
        }
        Ok(progress)
    }
}

/// Gives the host's whole pages of a segment back. They read as zeroes then.
fn release(memory: &GuestRam, segment: Segment) {
    let length = u64::try_from(segment.length).unwrap_or(u64::MAX);
    let page = u64::try_from(page_size()).unwrap_or(u64::MAX);
    let start = segment.address.0.next_multiple_of(page);
    // The segment was checked to end inside memory.
    let end = (segment.address.0 + length) / page * page;
    let Some(length) = end
        .checked_sub(start)
        .and_then(|length| usize::try_from(length).ok())
        .filter(|&length| length > 0)
    else {
        return;
    };
    let Ok(pages) = memory.get_slice(GuestAddress(start), length) else {
        return;
    };
    // SAFETY: the range is guest memory, private and anonymous, of which the guest says that it does
    // not need the contents; if it lies, it harms itself.
    // Locked memory cannot be given back: then it stays.
    let _ = unsafe {
        libc::madvise(
            pages.ptr_guard_mut().as_ptr().cast(),
            length,
            libc::MADV_DONTNEED,
        )
    };
}

#[cfg(test)]
mod tests {
    use vm_memory::Bytes;

    use super::super::testing::{DATA, Driver, EVENT_INDEX, MEMORY_SIZE, WRITE};
    use super::*;

    fn guest() -> Driver {
        let driver = Driver::started(Balloon::default(), EVENT_INDEX | FEATURE_REPORTING);
        // All of the memory behind the rings is in use.
        let ones = vec![1; usize::try_from(MEMORY_SIZE - DATA).unwrap()];
        driver.put(DATA, &ones);
        driver
    }

    /// Whether each page from `DATA` on still has what the guest wrote there.
    fn kept(driver: &Driver) -> Vec<bool> {
        (DATA..MEMORY_SIZE)
            .step_by(4096)
            .map(|page| {
                let bytes = driver.get(page, 4096);
                assert!(bytes == [1; 4096] || bytes == [0; 4096], "half a page");
                bytes[0] == 1
            })
            .collect()
    }

    fn resident(driver: &Driver) -> usize {
        let slice = driver
            .memory
            .get_slice(
                GuestAddress(DATA),
                usize::try_from(MEMORY_SIZE - DATA).unwrap(),
            )
            .unwrap();
        let mut pages = vec![0_u8; slice.len() / 4096];
        let address = slice.ptr_guard().as_ptr().cast_mut().cast();
        // SAFETY: the vector has a byte for each page of the range.
        let result = unsafe { libc::mincore(address, slice.len(), pages.as_mut_ptr()) };
        assert_eq!(result, 0);
        pages.iter().filter(|&&page| page & 1 != 0).count()
    }

    #[test]
    fn asks_for_nothing_and_offers_reporting() {
        let driver = guest();
        assert_eq!(driver.rings.len(), 3);
        assert_eq!(driver.rings[REPORTING].size, 32);
        assert_eq!(driver.read(0x10) & 0xff, 1 << 5);
        assert_eq!((driver.read(0x100), driver.read(0x104)), (0, 0));
    }

    #[test]
    fn reported_pages_go_back_to_the_host() {
        let mut driver = guest();
        assert_eq!(resident(&driver), 128);
        driver.add(
            REPORTING,
            &[(DATA, 0x1_0000, WRITE), (DATA + 0x2_0000, 0x4000, WRITE)],
        );
        driver.run();
        assert_eq!(driver.used(REPORTING), Some((0, 0)));
        // Before `kept` looks at them, which brings pages of zeroes back.
        assert_eq!(resident(&driver), 128 - 16 - 4);
        let expected = (0..128).map(|page| !(page < 16 || (32..36).contains(&page)));
        assert!(kept(&driver).into_iter().eq(expected));
        // They are of use again.
        driver.memory.write_obj(7_u8, GuestAddress(DATA)).unwrap();
        assert_eq!(driver.get(DATA, 2), [7, 0]);
    }

    #[test]
    fn only_whole_pages_of_what_was_reported_go() {
        for (address, length, pages) in [
            (DATA + 1, 0x2000, 1..2),
            (DATA, 0x1fff, 0..1),
            (DATA + 0x800, 0x800, 0..0),
            (DATA + 0x800, 0x1000, 0..0),
            (DATA + 0xfff, 2, 0..0),
            (MEMORY_SIZE - 0x1000, 0x1000, 127..128),
        ] {
            let mut driver = guest();
            driver.add(REPORTING, &[(address, length, WRITE)]);
            driver.run();
            assert_eq!(driver.used(REPORTING), Some((0, 0)));
            let expected = (0..128).map(|page| !pages.contains(&page));
            assert!(
                kept(&driver).into_iter().eq(expected),
                "{address:#x}+{length:#x}"
            );
        }
    }

    #[test]
    fn what_is_not_memory_stops_the_device() {
        for (address, length) in [
            (MEMORY_SIZE - 0x1000, 0x2000),
            (MEMORY_SIZE, 0x1000),
            (u64::MAX - 0xfff, 0x1000),
            (0xd000_0000, 0x1000),
            (DATA, u32::MAX),
        ] {
            let mut driver = guest();
            driver.add(
                REPORTING,
                &[(DATA, 0x1000, WRITE), (address, length, WRITE)],
            );
            driver.run();
            assert!(driver.is_broken(), "{address:#x}+{length:#x}");
            assert!(kept(&driver).into_iter().all(|kept| kept));
        }
    }

    #[test]
    fn what_the_guest_inflates_or_may_only_be_read_stays() {
        let mut driver = guest();
        let page = u32::try_from(DATA / 4096).unwrap();
        driver.put(0x7_0000, &page.to_le_bytes());
        driver.add(0, &[(0x7_0000, 4, 0)]);
        driver.add(1, &[(0x7_0000, 4, 0)]);
        driver.add(REPORTING, &[(DATA, 0x1000, 0)]);
        driver.run();
        for queue in 0..3 {
            assert_eq!(driver.used(queue), Some((0, 0)));
        }
        assert!(kept(&driver).into_iter().all(|kept| kept));
    }

    #[test]
    fn a_flood_of_reports_lets_others_have_their_turn() {
        let mut driver = guest();
        for _ in 0..32 {
            driver.add(REPORTING, &[(DATA, 0x1000, WRITE)]);
        }
        assert_eq!(driver.transport.process(), Progress::More);
        driver.run();
        assert_eq!((0..33).filter_map(|_| driver.used(REPORTING)).count(), 32);
    }
    #[test]
    fn a_report_of_more_than_a_turn_comes_to_its_end() {
        let mut driver = guest();
        // The same pages many times, 437 MiB in all, described in memory that is not among them.
        driver.add_indirect(REPORTING, 0x6_0000, &[(DATA, 0x7_0000, WRITE); 1000]);
        assert_eq!(driver.transport.process(), Progress::More);
        assert_eq!(driver.used(REPORTING), None);
        assert_eq!(driver.transport.process(), Progress::Idle);
        assert_eq!(driver.used(REPORTING), Some((0, 0)));
        let expected = (0..128).map(|page| page >= 112);
        assert!(kept(&driver).into_iter().eq(expected));
    }
}
