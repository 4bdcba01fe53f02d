//! Which architecture a guest has, and the guest-init for it.

use anyhow::{Context, Result, anyhow};
use images::Platform;
use kernels::Arch;

use crate::backend::BackendChoice;

/// guest-init by architecture, as `build.rs` found them.
static GUEST_INITS: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/guest_inits.rs"));

/// The architecture of the machine for an image: the host's, unless the image is for another one and
/// QEMU, which can translate all of a machine, was asked for by name.
pub fn arch(platform: &Platform, backend: BackendChoice) -> Result<Arch> {
    let host = Arch::host().ok_or_else(|| anyhow!("No kernel for this host's architecture"))?;
    let runs = |arch: &Arch| {
        Platform::new("linux", arch.name(), None)
            .distance(platform)
            .is_some()
    };
    if backend != BackendChoice::Qemu || runs(&host) {
        return Ok(host);
    }
    Ok(Arch::ALL.into_iter().find(runs).unwrap_or(host))
}

/// guest-init for guests of an architecture.
pub fn init(arch: Arch) -> Result<&'static [u8]> {
    GUEST_INITS
        .iter()
        .find(|(name, _)| *name == arch.name())
        .map(|(_, binary)| *binary)
        .with_context(|| {
            format!(
                "This terrarium was built without what starts {arch} guests: build it by \
                 scripts/setup, or see docs/architectures.md"
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qemu_alone_runs_guests_of_another_architecture() {
        let host = Arch::host().unwrap();
        let other = Arch::ALL.into_iter().find(|arch| *arch != host).unwrap();
        let platform = |arch: Arch| Platform::new("linux", arch.name(), None);
        for (image, backend, expected) in [
            (platform(host), BackendChoice::Auto, host),
            (platform(host), BackendChoice::Qemu, host),
            (platform(other), BackendChoice::Auto, host),
            (platform(other), BackendChoice::Kvm, host),
            (platform(other), BackendChoice::Qemu, other),
            (
                Platform::new("linux", "s390x", None),
                BackendChoice::Qemu,
                host,
            ),
        ] {
            assert_eq!(
                arch(&image, backend).unwrap(),
                expected,
                "{image} {backend:?}"
            );
        }
    }

    #[test]
    fn the_hosts_own_guest_init_is_always_there() {
        assert!(init(Arch::host().unwrap()).unwrap().starts_with(b"\x7fELF"));
    }
}
