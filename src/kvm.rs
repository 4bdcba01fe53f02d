//! Whether this host's KVM can run machines, tested once a boot.

use std::fs;
use std::path::Path;

use vmm::SelfTestError;

use crate::home::Home;

/// A name of its own for each boot of a kernel (random(4)).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Tests KVM, unless the store says that it has passed since this host's kernel started: the scratch
/// machine of the test costs more than all else that terrarium does before a guest runs. A failure
/// is never remembered, since what caused it may be mended at any time.
pub fn works(home: &Home) -> Result<(), SelfTestError> {
    let record = home.kvm();
    let Ok(boot) = fs::read_to_string(BOOT_ID) else {
        return vmm::self_test();
    };
    let passed = format!("{} {boot}", env!("CARGO_PKG_VERSION"));
    if is_recorded(&record, &passed) {
        return vmm::check_kvm();
    }
    vmm::self_test()?;
    // A store that cannot be written costs the next run some time, no more.
    let _ = fs::write(&record, &passed);
    Ok(())
}

fn is_recorded(record: &Path, passed: &str) -> bool {
    fs::read(record).is_ok_and(|recorded| recorded == passed.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_boots_record_counts() {
        let folder = tempfile::tempdir().unwrap();
        let record = folder.path().join("kvm");
        assert!(!is_recorded(&record, "0.1.0 a\n"));
        fs::write(&record, "0.1.0 a\n").unwrap();
        assert!(is_recorded(&record, "0.1.0 a\n"));
        assert!(!is_recorded(&record, "0.1.0 b\n"));
        assert!(!is_recorded(&record, "0.1.0 a"));
    }
}
