//! Which of an image's platforms is taken.

use anyhow::{Result, anyhow, bail};
use images::{Error, Image, Platform, Reference, Store};
use kernels::{Arch, Target};

use super::{GET_EMULATORS, Way, emulators};
use crate::home::Home;

/// The platforms to look for an image for, the most wanted first.
#[derive(Debug)]
pub struct Choice {
    platforms: Vec<Platform>,
    /// Nobody asked for one.
    free: bool,
}

/// The order of those that are emulated.
const EMULATED: [(&str, Option<&str>); 6] = [
    ("amd64", None),
    ("arm64", None),
    ("386", None),
    ("arm", Some("v7")),
    ("ppc64le", None),
    ("s390x", None),
];

impl Choice {
    /// The platform asked for; otherwise all that run here: the host's own (for which images for its
    /// 32-bit mode are taken too, if there is nothing better), then those that can be emulated.
    pub fn new(asked: Option<&Platform>, home: &Home) -> Result<Self> {
        if let Some(platform) = asked {
            return Ok(Self {
                platforms: vec![platform.clone()],
                free: false,
            });
        }
        let mut platforms = vec![Platform::host()];
        if let Some(host) = Arch::host() {
            let emulated = emulators(home, host)?;
            let candidates = EMULATED
                .into_iter()
                .filter(|(architecture, _)| emulated.contains(architecture))
                .map(|(architecture, variant)| Platform::new("linux", architecture, variant))
                .filter(|platform| Way::of(host, platform) == Way::Emulated);
            platforms.extend(candidates);
        }
        Ok(Self {
            platforms,
            free: true,
        })
    }

    /// The most wanted.
    pub fn first(&self) -> &Platform {
        // `new` makes no empty one.
        &self.platforms[0]
    }

    /// The image in the store that is wanted most, among those that `fits`.
    pub fn find(
        &self,
        store: &Store,
        reference: &Reference,
        fits: impl Fn(&Image) -> bool,
    ) -> Result<Option<Image>> {
        for platform in &self.platforms {
            if let Some(image) = store.find(reference, platform)?.filter(&fits) {
                return Ok(Some(image));
            }
        }
        Ok(None)
    }

    /// Fetches an image by `pull`, for the platform that is wanted most of those it exists for.
    pub fn fetch<T>(&self, pull: impl Fn(&Platform) -> Result<T, Error>) -> Result<T> {
        let error = match pull(self.first()) {
            Err(error) => error,
            pulled => return Ok(pulled?),
        };
        let Error::NoPlatform { available, .. } = &error else {
            return Err(error.into());
        };
        if let Some(other) = self.among(available) {
            return Ok(pull(other)?);
        }
        let can_be_emulated = |platform: &Platform| is_known(platform) && platform.os() == "linux";
        if self.free && available.iter().any(can_be_emulated) {
            return Err(anyhow!(
                "{error}; or run it by emulation: `{GET_EMULATORS}` (on Debian)"
            ));
        }
        Err(error.into())
    }

    /// The most wanted of those that are offered, the first left out.
    fn among(&self, offered: &[Platform]) -> Option<&Platform> {
        self.platforms.iter().skip(1).find(|wanted| {
            offered.iter().any(|offered| {
                // An emulator of 64-bit programs runs no 32-bit ones.
                wanted.architecture() == offered.architecture()
                    && wanted.distance(offered).is_some()
            })
        })
    }
}

/// Refuses a platform whose programs guests of an architecture cannot run for want of an emulator,
/// before anything is fetched.
pub fn check(home: &Home, guest: Arch, platform: &Platform) -> Result<()> {
    if Way::of(guest, platform) == Way::Emulated
        && is_known(platform)
        && !emulators(home, guest)?.contains(&platform.architecture())
    {
        bail!(
            "{platform} runs here by emulation only, and no emulator for it is stored: get one by \
             `{GET_EMULATORS}` (on Debian)"
        );
    }
    Ok(())
}

fn is_known(platform: &Platform) -> bool {
    Target::ALL
        .iter()
        .any(|target| target.architecture() == platform.architecture())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platforms(texts: &[&str]) -> Vec<Platform> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn no_platform(available: &[&str]) -> Error {
        Error::NoPlatform {
            reference: "x".to_owned(),
            wanted: Platform::host(),
            available: platforms(available),
        }
    }

    /// What is asked for, one after the other, of an image for `available`.
    fn asked(choice: &Choice, available: &[&str]) -> (Vec<String>, Result<()>) {
        let asked = std::cell::RefCell::new(Vec::new());
        let result = choice.fetch(|platform| {
            asked.borrow_mut().push(platform.to_string());
            if platforms(available)
                .iter()
                .any(|offered| platform.distance(offered).is_some())
            {
                Ok(())
            } else {
                Err(no_platform(available))
            }
        });
        (asked.into_inner(), result)
    }

    #[test]
    fn the_hosts_own_comes_first_and_emulation_last() {
        let choice = Choice {
            platforms: platforms(&["linux/amd64", "linux/arm64", "linux/arm/v7", "linux/s390x"]),
            free: true,
        };
        for (available, expected) in [
            (&["linux/s390x", "linux/amd64"][..], &["linux/amd64"][..]),
            (&["linux/s390x", "linux/386"], &["linux/amd64"]),
            (
                &["linux/s390x", "linux/arm64"],
                &["linux/amd64", "linux/arm64"],
            ),
            (&["linux/arm/v6"], &["linux/amd64", "linux/arm/v7"]),
        ] {
            let (asked, result) = asked(&choice, available);
            assert_eq!(asked, expected);
            assert!(result.is_ok());
        }
    }

    #[test]
    fn who_asks_for_a_platform_gets_no_other() {
        let choice = Choice {
            platforms: platforms(&["linux/amd64"]),
            free: false,
        };
        let (asked, result) = asked(&choice, &["linux/arm64"]);
        assert_eq!(asked, ["linux/amd64"]);
        assert!(!result.unwrap_err().to_string().contains("emulat"));
    }

    #[test]
    fn what_only_lacks_an_emulator_is_told() {
        let choice = Choice {
            platforms: platforms(&["linux/amd64"]),
            free: true,
        };
        let (_, result) = asked(&choice, &["linux/arm64"]);
        let message = result.unwrap_err().to_string();
        assert!(message.contains("terrarium emulator import"), "{message}");
        let (_, result) = super::tests::asked(&choice, &["windows/amd64"]);
        let message = result.unwrap_err().to_string();
        assert!(!message.contains("emulat"), "{message}");
    }
}
