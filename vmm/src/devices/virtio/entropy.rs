//! Entropy device: random bytes of the host (virtio 1.2, section 5.4).

use std::time::{Duration, Instant};

use vm_memory::{Bytes, GuestMemoryError};

use super::rate::TokenBucket;
use super::{Activation, Progress, QueueError, Segment, VirtioDevice};
use crate::memory::GuestRam;
use crate::random;

const DEVICE_ID: u32 = 4;
const QUEUE_SIZE: u16 = 16;

/// Most bytes for one request. Larger requests get fewer bytes, as the device may.
const MAX_BYTES: usize = 4096;

/// Bytes that the guest gets a second, and how many it may have saved up. A kernel seeds itself with a
/// few hundred; the bound is for a guest that would keep a CPU of the host busy with its wishes.
const BYTES_PER_SECOND: usize = 1 << 20;
const BURST: usize = 64 << 10;

/// The device.
#[derive(Debug)]
pub(crate) struct Entropy {
    active: Option<Activation>,
    limit: TokenBucket,
}

impl Default for Entropy {
    fn default() -> Self {
        let period =
            Duration::from_secs(1) / u32::try_from(BYTES_PER_SECOND / MAX_BYTES).unwrap_or(1);
        Self::with_limit(TokenBucket::new(BURST, MAX_BYTES, period))
    }
}

impl Entropy {
    /// A device that gives so many bytes.
    pub(super) fn with_limit(limit: TokenBucket) -> Self {
        Self {
            active: None,
            limit,
        }
    }
}

impl VirtioDevice for Entropy {
    fn id(&self) -> u32 {
        DEVICE_ID
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> Vec<u16> {
        vec![QUEUE_SIZE]
    }

    fn config(&self) -> &[u8] {
        &[]
    }

    fn activate(&mut self, activation: Activation) {
        self.active = Some(activation);
    }

    fn reset(&mut self) {
        // The limit stays: a reset is no way around it.
        self.active = None;
    }

    fn process(&mut self) -> Result<Progress, QueueError> {
        let Some((queue, memory, interrupt)) = self.active.as_mut().and_then(|a| a.queue(0)) else {
            return Ok(Progress::Idle);
        };
        for _ in 0..queue.size() {
            let allowed = self.limit.fill(Instant::now());
            if allowed == 0 {
                queue.notify(interrupt)?;
                return Ok(Progress::At(self.limit.next()));
            }
            let Some(chain) = queue.pop()? else {
                queue.notify(interrupt)?;
                if !queue.wait()? {
                    return Ok(Progress::Idle);
                }
                continue;
            };
            // Only a host without random numbers fails, and then the driver gets none.
            let written = fill(memory, &chain.writable, allowed.min(MAX_BYTES)).unwrap_or(0);
            self.limit.take(written);
            queue.finish(&chain, written)?;
        }
        queue.notify(interrupt)?;
        Ok(Progress::More)
    }
}

fn fill(memory: &GuestRam, segments: &[Segment], most: usize) -> Result<usize, GuestMemoryError> {
    let mut bytes = [0; MAX_BYTES];
    let mut written = 0;
    for segment in segments {
        let length = segment.length.min(most - written);
        let Some(bytes) = bytes.get_mut(..length).filter(|bytes| !bytes.is_empty()) else {
            break;
        };
        if random::fill(bytes).is_err() {
            break;
        }
        memory.write_slice(bytes, segment.address)?;
        written += length;
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{DATA, Driver, EVENT_INDEX, WRITE};
    use super::*;

    /// Two kilobytes, and no more for a long time.
    fn scarce() -> Entropy {
        Entropy::with_limit(TokenBucket::new(2048, 2048, Duration::from_secs(3600)))
    }

    fn received(driver: &mut Driver) -> u32 {
        std::iter::from_fn(|| driver.used(0))
            .map(|used| used.1)
            .sum()
    }

    #[test]
    fn gives_random_bytes() {
        let mut driver = Driver::started(Entropy::default(), EVENT_INDEX);
        for place in 0..2 {
            driver.add(
                0,
                &[
                    (DATA + place * 64, 32, WRITE),
                    (DATA + place * 64 + 32, 32, WRITE),
                ],
            );
        }
        driver.run();
        assert_eq!(received(&mut driver), 128);
        let bytes = driver.get(DATA, 128);
        // 32 equal bytes in a row come once in 2^256 times.
        assert!(bytes.chunks(32).all(|part| part != [0; 32]));
        assert_ne!(bytes[..64], bytes[64..]);
    }

    #[test]
    fn a_request_of_any_size_gets_a_page_at_most() {
        let mut driver = Driver::started(Entropy::default(), EVENT_INDEX);
        driver.add(0, &[(DATA, 0x4_0000, WRITE)]);
        driver.run();
        assert_eq!(received(&mut driver), 4096);
    }

    #[test]
    fn the_rate_is_limited_and_a_reset_does_not_help() {
        let mut driver = Driver::started(scarce(), EVENT_INDEX);
        for _ in 0..5 {
            driver.add(0, &[(DATA, 1000, WRITE)]);
        }
        let progress = driver.transport.process();
        assert!(matches!(progress, Progress::At(when) if when > Instant::now()));
        assert_eq!(received(&mut driver), 2048);
        driver.write(0x70, 0);
        driver.start(EVENT_INDEX);
        driver.add(0, &[(DATA, 1000, WRITE)]);
        driver.run();
        assert_eq!(received(&mut driver), 0);
    }

    #[test]
    fn what_was_refused_comes_when_its_time_has_come() {
        let bucket = TokenBucket::new(64, 64, Duration::from_millis(50));
        let mut driver = Driver::started(Entropy::with_limit(bucket), EVENT_INDEX);
        driver.add(0, &[(DATA, 64, WRITE)]);
        driver.add(0, &[(DATA, 64, WRITE)]);
        let Progress::At(when) = driver.transport.process() else {
            panic!("not limited");
        };
        assert_eq!(received(&mut driver), 64);
        std::thread::sleep(when.saturating_duration_since(Instant::now()));
        driver.run();
        assert_eq!(received(&mut driver), 64);
    }
}
