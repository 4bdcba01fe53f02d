//! The image configuration: what to run, and the layers' uncompressed digests.

use serde::{Deserialize, Deserializer};

use crate::{Digest, Error, Platform};

/// What the image's author said about running it (OCI image specification, config.md).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageConfig {
    /// Stands before the command; empty if none.
    #[serde(deserialize_with = "null_is_empty")]
    pub entrypoint: Vec<String>,
    /// The default command, or arguments to the entry point.
    #[serde(deserialize_with = "null_is_empty")]
    pub cmd: Vec<String>,
    /// The environment, each `NAME=value`.
    #[serde(deserialize_with = "null_is_empty")]
    pub env: Vec<String>,
    /// The working directory; empty if none.
    #[serde(deserialize_with = "null_is_empty")]
    pub working_dir: String,
    /// `user` or `user:group`, by name or number; empty for root.
    #[serde(deserialize_with = "null_is_empty")]
    pub user: String,
    /// The signal that asks the command to end, such as `SIGTERM` or `15`.
    pub stop_signal: Option<String>,
}

/// The configuration document of an image.
#[derive(Clone, Debug)]
pub(crate) struct ConfigDocument {
    pub(crate) platform: Platform,
    pub(crate) config: ImageConfig,
    pub(crate) diff_ids: Vec<Digest>,
    pub(crate) created: Option<String>,
}

impl ConfigDocument {
    /// Reads the configuration of an image with `layers` layers.
    pub(crate) fn parse(bytes: &[u8], layers: usize, what: &str) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Document {
            // Not flattened: that would keep every unknown field in memory until the end.
            architecture: String,
            os: String,
            variant: Option<String>,
            #[serde(default, deserialize_with = "null_is_empty")]
            config: ImageConfig,
            rootfs: RootFs,
            created: Option<String>,
        }
        #[derive(Deserialize)]
        struct RootFs {
            #[serde(default, deserialize_with = "null_is_empty")]
            diff_ids: Vec<Digest>,
        }
        let document: Document = serde_json::from_slice(bytes).map_err(|source| Error::Json {
            what: what.to_owned(),
            source,
        })?;
        let diff_ids = document.rootfs.diff_ids;
        if diff_ids.len() != layers {
            return Err(Error::Document {
                what: what.to_owned(),
                reason: format!("it counts {} layers, the manifest {layers}", diff_ids.len()),
            });
        }
        let platform = Platform::checked(
            &document.os,
            &document.architecture,
            document.variant.as_deref(),
        )
        .map_err(|error| Error::Document {
            what: what.to_owned(),
            reason: error.to_string(),
        })?;
        Ok(Self {
            platform,
            config: document.config,
            diff_ids,
            created: document.created,
        })
    }
}

/// Docker writes `null` for what is empty.
fn null_is_empty<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:cb1521c0b8d028615597b70db382373b23778029a6b885e221b9bb9fcb623baa";

    #[test]
    fn reads_what_docker_writes() {
        let text = format!(
            r#"{{"architecture":"arm","os":"linux","variant":"v6","created":"2019-10-15T23:21:25Z",
                "config":{{"Cmd":["python2"],"Entrypoint":null,"Env":["A=b"],"User":"","Volumes":null}},
                "rootfs":{{"type":"layers","diff_ids":["{DIGEST}"]}}}}"#
        );
        let document = ConfigDocument::parse(text.as_bytes(), 1, "configuration").unwrap();
        assert_eq!(document.platform.to_string(), "linux/arm/v6");
        assert_eq!(document.config.cmd, ["python2"]);
        assert!(document.config.entrypoint.is_empty());
        assert_eq!(document.diff_ids.len(), 1);
        let error = ConfigDocument::parse(text.as_bytes(), 2, "configuration").unwrap_err();
        assert!(error.to_string().contains("counts 1 layers"), "{error}");
    }

    #[test]
    fn refuses_a_platform_that_cannot_be_written_down() {
        for (os, architecture, variant) in [
            ("", "amd64", ""),
            ("linux", "", ""),
            ("linux", "amd64/v2", ""),
            ("linux", "\\u001b[2J", ""),
            ("linux", "arm", "v 7"),
        ] {
            let text = format!(
                r#"{{"architecture":"{architecture}","os":"{os}","variant":"{variant}","rootfs":{{}}}}"#
            );
            let error = ConfigDocument::parse(text.as_bytes(), 0, "configuration").unwrap_err();
            assert!(error.to_string().contains("Invalid platform"), "{error}");
            assert!(!error.to_string().contains('\x1b'), "{error}");
        }
    }

    #[test]
    fn lives_with_a_missing_configuration() {
        for config in ["", r#""config":null,"#, r#""config":{},"#] {
            let text = format!(
                r#"{{"architecture":"amd64","os":"linux",{config}"rootfs":{{"diff_ids":null}}}}"#
            );
            let document = ConfigDocument::parse(text.as_bytes(), 0, "configuration").unwrap();
            assert_eq!(document.config, ImageConfig::default());
        }
    }
}
