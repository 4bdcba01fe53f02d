//! `--stats`: what a machine did, in numbers.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use vmm::Stats;

use crate::output::say;
use crate::units;

/// Writes the numbers to a file as JSON, or says them on standard error.
pub fn report(stats: Option<Stats>, file: Option<&Path>) -> Result<()> {
    let Some(stats) = stats else {
        say!("terrarium: the machine did not say what it did, so --stats has nothing to tell");
        return Ok(());
    };
    let Some(path) = file else {
        for line in lines(&stats) {
            say!("{line}");
        }
        return Ok(());
    };
    let json = serde_json::to_vec_pretty(&stats).context("Cannot encode the statistics")?;
    fs::write(path, json).with_context(|| format!("Cannot write the statistics {}", path.display()))
}

/// The numbers that are known, for people.
pub fn lines(stats: &Stats) -> Vec<String> {
    let mut lines = Vec::new();
    let numbers = |numbers: &BTreeMap<String, u64>| {
        let mut numbers: Vec<_> = numbers.iter().filter(|(_, number)| **number > 0).collect();
        numbers.sort_by_key(|(_, number)| std::cmp::Reverse(**number));
        let numbers: Vec<_> = numbers
            .iter()
            .map(|(name, n)| format!("{name} {n}"))
            .collect();
        numbers.join(", ")
    };
    if !stats.exits.is_empty() {
        lines.push(format!("exits to the VMM   {}", numbers(&stats.exits)));
    }
    if let Some(nanoseconds) = stats.exit_time {
        lines.push(format!("their time         {} µs", nanoseconds / 1000));
    }
    if !stats.kvm.is_empty() {
        lines.push(format!("counted by KVM     {}", numbers(&stats.kvm)));
    }
    for device in &stats.devices {
        lines.push(format!(
            "{:18} {} operations, {} from the guest, {} to it",
            device.name,
            device.operations,
            units::bytes(device.bytes_from_guest),
            units::bytes(device.bytes_to_guest),
        ));
    }
    for (name, bytes) in [
        ("guest memory used", stats.guest_memory),
        ("memory peak", stats.memory_peak),
        ("of it the VMM's", stats.vmm_memory_peak),
    ] {
        if let Some(bytes) = bytes {
            lines.push(format!("{name:18} {}", units::bytes(bytes)));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use vmm::stats::DeviceStats;

    use super::*;

    fn stats() -> Stats {
        Stats {
            exits: [("mmio".into(), 7), ("port".into(), 0), ("other".into(), 9)].into(),
            devices: vec![DeviceStats {
                name: "block".into(),
                operations: 3,
                bytes_from_guest: 48,
                bytes_to_guest: 4096,
            }],
            memory_peak: Some(5 << 20),
            ..Stats::default()
        }
    }

    #[test]
    fn what_was_counted_is_said_and_nothing_else() {
        let lines = lines(&stats());
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[0].ends_with("other 9, mmio 7"), "{lines:?}");
        assert!(lines[1].starts_with("block") && lines[1].contains("3 operations"));
    }

    #[test]
    fn files_hold_all_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stats.json");
        report(Some(stats()), Some(&path)).unwrap();
        let read: Stats = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(read, stats());
        assert!(report(Some(stats()), Some(folder.path())).is_err());
    }
}
