//! Which of an image's platforms is taken.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};
use images::{Error, Image, Platform, Reference, Store};
use kernels::{Arch, Target};

use super::{GET_EMULATORS, Way, emulators};
use crate::home::Home;

/// The platforms to look for an image for, the most wanted first.
#[derive(Debug)]
pub struct Choice {
    first: Platform,
    /// The others, once an image does not exist for the first: most runs never ask the store for them.
    others: OnceCell<Vec<Platform>>,
    /// Where emulators are stored.
    emulators: PathBuf,
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
    pub fn new(asked: Option<&Platform>, home: &Home) -> Self {
        Self {
            first: asked.cloned().unwrap_or_else(Platform::host),
            others: OnceCell::new(),
            emulators: home.emulators(),
            free: asked.is_none(),
        }
    }

    /// The most wanted.
    pub fn first(&self) -> &Platform {
        &self.first
    }

    /// All but the first.
    fn others(&self) -> Result<&[Platform]> {
        if let Some(others) = self.others.get() {
            return Ok(others);
        }
        let others = match Arch::host().filter(|_| self.free) {
            Some(host) => emulated(&self.emulators, host)?,
            None => Vec::new(),
        };
        Ok(self.others.get_or_init(|| others))
    }

    /// The image in the store that is wanted most, among those that `fits`.
    pub fn find(
        &self,
        store: &Store,
        reference: &Reference,
        fits: impl Fn(&Image) -> bool,
    ) -> Result<Option<Image>> {
        if let Some(image) = store.find(reference, &self.first)?.filter(&fits) {
            return Ok(Some(image));
        }
        for platform in self.others()? {
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
        if let Some(other) = self.among(available)? {
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
    fn among(&self, offered: &[Platform]) -> Result<Option<&Platform>> {
        Ok(self.others()?.iter().find(|wanted| {
            offered.iter().any(|offered| {
                // An emulator of 64-bit programs runs no 32-bit ones.
                wanted.architecture() == offered.architecture()
                    && wanted.distance(offered).is_some()
            })
        }))
    }
}

/// The platforms that guests of the host's architecture can emulate, the most wanted first.
fn emulated(store: &Path, host: Arch) -> Result<Vec<Platform>> {
    let emulated = emulators(store, host)?;
    Ok(EMULATED
        .into_iter()
        .filter(|(architecture, _)| emulated.contains(architecture))
        .map(|(architecture, variant)| Platform::new("linux", architecture, variant))
        .filter(|platform| Way::here(host, platform) == Way::Emulated)
        .collect())
}

/// Refuses a platform whose programs guests of an architecture cannot run for want of an emulator,
/// before anything is fetched.
pub fn check(home: &Home, guest: Arch, platform: &Platform) -> Result<()> {
    if Way::here(guest, platform) == Way::Emulated
        && is_known(platform)
        && !emulators(&home.emulators(), guest)?.contains(&platform.architecture())
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

    fn choice(free: bool, texts: &[&str]) -> Choice {
        let mut platforms = platforms(texts);
        Choice {
            first: platforms.remove(0),
            others: OnceCell::from(platforms),
            emulators: PathBuf::new(),
            free,
        }
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
        let choice = choice(
            true,
            &["linux/amd64", "linux/arm64", "linux/arm/v7", "linux/s390x"],
        );
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
        let choice = choice(false, &["linux/amd64"]);
        let (asked, result) = asked(&choice, &["linux/arm64"]);
        assert_eq!(asked, ["linux/amd64"]);
        assert!(!result.unwrap_err().to_string().contains("emulat"));
    }

    #[test]
    fn what_only_lacks_an_emulator_is_told() {
        let choice = choice(true, &["linux/amd64"]);
        let (_, result) = asked(&choice, &["linux/arm64"]);
        let message = result.unwrap_err().to_string();
        assert!(message.contains("terrarium emulator import"), "{message}");
        let (_, result) = super::tests::asked(&choice, &["windows/amd64"]);
        let message = result.unwrap_err().to_string();
        assert!(!message.contains("emulat"), "{message}");
    }
}
