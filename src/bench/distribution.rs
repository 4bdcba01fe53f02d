//! What is told of many measurements of one thing.

use serde::{Deserialize, Serialize};

/// The order statistics of a measurement, in its unit. Percentiles are the nearest rank, so each is a
/// value that was measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Distribution {
    /// The least.
    pub min: f64,
    /// The median.
    pub median: f64,
    /// The 90th percentile.
    pub p90: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The greatest.
    pub max: f64,
}

impl Distribution {
    /// Of `values`; `None` if there are none.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let rank = |percent: usize| {
            let rank = (values.len() * percent).div_ceil(100);
            values.get(rank.saturating_sub(1)).copied()
        };
        Some(Self {
            min: *values.first()?,
            median: rank(50)?,
            p90: rank(90)?,
            p99: rank(99)?,
            max: *values.last()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_measured_values() {
        let hundred = (1..=100).rev().map(f64::from).collect();
        let expected = Distribution {
            min: 1.0,
            median: 50.0,
            p90: 90.0,
            p99: 99.0,
            max: 100.0,
        };
        assert_eq!(Distribution::of(hundred), Some(expected));
        let one = Distribution::of(vec![7.0]);
        assert_eq!(one.map(|one| (one.median, one.p99)), Some((7.0, 7.0)));
        assert_eq!(Distribution::of(Vec::new()), None);
    }
}
