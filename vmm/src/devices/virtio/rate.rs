//! A limit on how fast something may be used up.

use std::time::{Duration, Instant};

/// A bucket into which a portion of tokens falls each period, as long as there is room.
#[derive(Debug)]
pub(super) struct TokenBucket {
    capacity: usize,
    portion: usize,
    period: Duration,
    level: usize,
    /// When the last portion fell.
    filled: Instant,
}

impl TokenBucket {
    /// A full bucket.
    pub(super) fn new(capacity: usize, portion: usize, period: Duration) -> Self {
        Self {
            capacity,
            portion,
            period,
            level: capacity,
            filled: Instant::now(),
        }
    }

    /// Lets in what has come until `now`. Returns how many tokens there are.
    pub(super) fn fill(&mut self, now: Instant) -> usize {
        let elapsed = now.saturating_duration_since(self.filled);
        let portions = elapsed.as_nanos() / self.period.as_nanos().max(1);
        if let Ok(portions) = u32::try_from(portions) {
            let tokens = usize::try_from(portions)
                .unwrap_or(usize::MAX)
                .saturating_mul(self.portion);
            self.level = self.level.saturating_add(tokens).min(self.capacity);
            self.filled += self.period * portions;
        } else {
            self.level = self.capacity;
            self.filled = now;
        }
        self.level
    }

    /// Takes tokens out.
    pub(super) fn take(&mut self, tokens: usize) {
        self.level = self.level.saturating_sub(tokens);
    }

    /// When the next portion falls.
    pub(super) fn next(&self) -> Instant {
        self.filled + self.period
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_portion_by_portion_up_to_its_capacity() {
        let period = Duration::from_millis(10);
        let mut bucket = TokenBucket::new(100, 30, period);
        let start = bucket.filled;
        assert_eq!(bucket.fill(start), 100);
        bucket.take(95);
        assert_eq!(bucket.fill(start + period * 9 / 10), 5);
        assert_eq!(bucket.next(), start + period);
        assert_eq!(bucket.fill(start + period), 35);
        assert_eq!(bucket.fill(start + period * 3 / 2), 35);
        assert_eq!(bucket.fill(start + period * 2), 65);
        assert_eq!(bucket.fill(start + period * 5), 100);
        bucket.take(1000);
        assert_eq!(bucket.fill(start + period * 5), 0);
        // Idle for ever so long, or a clock that went back.
        assert_eq!(bucket.fill(start), 0);
        assert_eq!(bucket.fill(start + Duration::from_secs(1 << 40)), 100);
    }
}
