//! Which architecture a guest has, and the guest-init for it.

use anyhow::{Context, Result, anyhow};
use images::Platform;
use kernels::{Arch, Store};

use crate::backend::BackendChoice;
use crate::home::Home;
use crate::platform::{Way, emulators};

/// A guest-init.
#[derive(Clone, Copy, Debug)]
pub struct GuestInit {
    arch: &'static str,
    /// SHA-256 of the binary, in hexadecimal digits.
    pub digest: &'static str,
    /// A static executable.
    pub binary: &'static [u8],
}

/// One an architecture, as `build.rs` found them.
static GUEST_INITS: &[GuestInit] = include!(concat!(env!("OUT_DIR"), "/guest_inits.rs"));

/// The architecture of the machine for an image: the host's, unless QEMU, which can translate all of a
/// machine, was asked for by name, the image is for another one that machines can have, and either a
/// kernel for it is at hand (stored, or the one named) or there is no emulator for its programs.
pub fn arch(
    home: &Home,
    platform: &Platform,
    backend: BackendChoice,
    kernel: Option<&str>,
) -> Result<Arch> {
    let host = Arch::host().ok_or_else(|| anyhow!("No kernel for this host's architecture"))?;
    let Some(other) = translatable(host, platform, backend) else {
        return Ok(host);
    };
    let kernels = Store::open(&home.kernels())?;
    let is_at_hand = match kernel {
        Some(id) => kernels.get_for(host, id).is_err(),
        None => init(other).is_ok() && kernels.default_for(other).is_ok(),
    };
    let whole =
        is_at_hand || !emulators(&home.emulators(), host)?.contains(&platform.architecture());
    Ok(if whole { other } else { host })
}

/// The architecture of a machine that QEMU may translate for an image, if the host's is not the
/// image's.
fn translatable(host: Arch, platform: &Platform, backend: BackendChoice) -> Option<Arch> {
    let runs = |arch: &Arch| Way::of(*arch, platform) != Way::Emulated;
    if backend != BackendChoice::Qemu || runs(&host) {
        return None;
    }
    Arch::ALL.into_iter().find(runs)
}

/// guest-init for guests of an architecture.
pub fn init(arch: Arch) -> Result<GuestInit> {
    GUEST_INITS
        .iter()
        .find(|init| init.arch == arch.name())
        .copied()
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
            (platform(host), BackendChoice::Auto, None),
            (platform(host), BackendChoice::Qemu, None),
            (platform(other), BackendChoice::Auto, None),
            (platform(other), BackendChoice::Kvm, None),
            (platform(other), BackendChoice::Qemu, Some(other)),
            (
                Platform::new("linux", "s390x", None),
                BackendChoice::Qemu,
                None,
            ),
        ] {
            let found = translatable(host, &image, backend);
            assert_eq!(found, expected, "{image} {backend:?}");
        }
    }

    #[test]
    fn the_hosts_own_guest_init_is_always_there() {
        let init = init(Arch::host().unwrap()).unwrap();
        assert!(init.binary.starts_with(b"\x7fELF"));
        assert_eq!(init.digest.len(), 64);
    }
}
