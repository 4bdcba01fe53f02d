//! Credentials from docker's own configuration: stored in the file, or kept by a helper program.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read, Write},
    path::Path,
    process::{Command, Stdio},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;

use crate::{Error, error::FileContext};

/// The name under which docker keeps what belongs to docker.io.
const HUB_KEY: &str = "https://index.docker.io/v1/";
/// The user name by which helpers mark an identity token.
const TOKEN_USER: &str = "<token>";
/// The longest configuration or helper answer taken, in bytes.
const MAX_LENGTH: u64 = 1 << 20;

/// What a registry is shown.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Credentials {
    Password {
        user: String,
        password: String,
    },
    /// Exchanged for access tokens.
    IdentityToken(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct DockerConfig {
    auths: BTreeMap<String, Stored>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Stored {
    /// `user:password` in base64.
    auth: String,
    identitytoken: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperAnswer {
    username: String,
    secret: String,
}

impl Credentials {
    /// Those for the registry `domain`, as the docker configuration at `path` has them.
    pub(super) fn find(path: &Path, domain: &str) -> Result<Option<Self>, Error> {
        let file = match fs::File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.context("open", path)?,
        };
        let mut bytes = Vec::new();
        file.take(MAX_LENGTH)
            .read_to_end(&mut bytes)
            .context("read", path)?;
        let what = || path.display().to_string();
        let config: DockerConfig =
            serde_json::from_slice(&bytes).map_err(|error| malformed(&what(), &error))?;
        let key = if domain == "docker.io" {
            HUB_KEY
        } else {
            domain
        };
        let helper = config.cred_helpers.get(key).or(config.creds_store.as_ref());
        if let Some(helper) = helper
            && let Some(found) = ask_helper(helper, key)?
        {
            return Ok(Some(found));
        }
        let stored = config
            .auths
            .iter()
            .find(|(name, _)| *name == key || host_of(name) == domain);
        stored
            .filter(|(_, stored)| !stored.auth.is_empty() || !stored.identitytoken.is_empty())
            .map(|(_, stored)| stored.read(&what()))
            .transpose()
    }

    /// The `Authorization` header of the basic scheme.
    pub(super) fn basic(&self) -> Option<String> {
        match self {
            Self::Password { user, password } => Some(format!(
                "Basic {}",
                STANDARD.encode(format!("{user}:{password}"))
            )),
            Self::IdentityToken(_) => None,
        }
    }
}

impl Stored {
    fn read(&self, what: &str) -> Result<Credentials, Error> {
        if !self.identitytoken.is_empty() {
            return Ok(Credentials::IdentityToken(self.identitytoken.clone()));
        }
        let text = STANDARD
            .decode(&self.auth)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok());
        let parts = text.as_deref().and_then(|text| text.split_once(':'));
        let (user, password) = parts.ok_or_else(|| Error::Document {
            what: what.to_owned(),
            reason: "its credentials are not USER:PASSWORD in base64".to_owned(),
        })?;
        Ok(Credentials::Password {
            user: user.to_owned(),
            password: password.trim_end_matches('\0').to_owned(),
        })
    }
}

/// Tells where the configuration breaks, without the parser's own words: they quote what stands there,
/// which can be a password.
fn malformed(what: &str, error: &serde_json::Error) -> Error {
    Error::Document {
        what: what.to_owned(),
        reason: format!(
            "it is not what `docker login` writes, at line {}, column {}",
            error.line(),
            error.column()
        ),
    }
}

/// The host in a key such as `https://host/v1/`.
fn host_of(key: &str) -> &str {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
    rest.split('/').next().unwrap_or_default()
}

/// Runs `docker-credential-NAME get`; `None` if the helper knows nothing.
fn ask_helper(name: &str, key: &str) -> Result<Option<Credentials>, Error> {
    let program = format!("docker-credential-{name}");
    let failed = |reason: String| Error::Document {
        what: format!("answer of {program}"),
        reason,
    };
    if name.contains(['/', '\0']) {
        return Err(failed("it is not the name of a program".to_owned()));
    }
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("run", &program)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that does not read its input tells why by its answer.
        let _ = stdin.write_all(key.as_bytes());
    }
    let mut answer = String::new();
    let read = match child.stdout.take() {
        Some(stdout) => stdout.take(MAX_LENGTH).read_to_string(&mut answer),
        None => Ok(0),
    };
    let status = child.wait().context("run", &program)?;
    read.context("run", &program)?;
    if !status.success() {
        return if answer.contains("credentials not found") {
            Ok(None)
        } else {
            let line: String = answer
                .lines()
                .next()
                .unwrap_or_default()
                .chars()
                .take(200)
                .collect();
            Err(failed(format!("it failed: {line}")))
        };
    }
    let answer: HelperAnswer =
        serde_json::from_str(&answer).map_err(|_| failed("it is not JSON".to_owned()))?;
    Ok(Some(if answer.username == TOKEN_USER {
        Credentials::IdentityToken(answer.secret)
    } else {
        Credentials::Password {
            user: answer.username,
            password: answer.secret,
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(json: &str, domain: &str) -> Result<Option<Credentials>, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        fs::write(&path, json).unwrap();
        Credentials::find(&path, domain)
    }

    fn password(user: &str, password: &str) -> Option<Credentials> {
        Some(Credentials::Password {
            user: user.to_owned(),
            password: password.to_owned(),
        })
    }

    #[test]
    fn reads_what_docker_login_writes() {
        // me:a:b
        let json = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"bWU6YTpi"},
            "host:5000":{"identitytoken":"t"},"https://other.example/v2/":{"auth":"bWU6YTpi"},"empty.example":{}}}"#;
        assert!(find(json, "docker.io").unwrap() == password("me", "a:b"));
        assert!(find(json, "other.example").unwrap() == password("me", "a:b"));
        let token = Credentials::IdentityToken("t".to_owned());
        assert!(find(json, "host:5000").unwrap() == Some(token));
        assert!(find(json, "empty.example").unwrap().is_none());
        assert!(find(json, "host").unwrap().is_none());
        assert!(find("{}", "host").unwrap().is_none());
    }

    #[test]
    fn a_malformed_file_does_not_tell_its_secrets() {
        // A secret in every place where something of another type belongs.
        for json in [
            r#""hunter2""#,
            r#"{"auths":"hunter2"}"#,
            r#"{"auths":{"h":"hunter2"}}"#,
            r#"{"credHelpers":"hunter2"}"#,
            r#"{"auths":{"h":{"auth":["hunter2"]}}}"#,
            r#"{"auths":{"h":{"auth":"hunter2"}}}"#,
            r#"{"auths":{"h":{"identitytoken":{"hunter2":1}}}}"#,
            r#"{"auths":{"h":{"auth":"x","auth":"hunter2"}}}"#,
            r#"{"auths":{"h":{"auth":"hunter2"#,
            "hunter2",
        ] {
            let error = find(json, "h").err().unwrap();
            let mut source: Option<&dyn std::error::Error> = Some(&error);
            while let Some(error) = source {
                assert!(
                    !format!("{error} {error:?}").contains("hunter2"),
                    "{error:?}"
                );
                source = error.source();
            }
            assert!(error.to_string().contains("config.json"), "{error}");
        }
    }

    #[test]
    fn refuses_what_is_malformed() {
        for json in [
            "",
            "1",
            r#"{"auths":{"h":{"auth":"!"}}}"#,
            r#"{"credsStore":"a/b"}"#,
        ] {
            assert!(find(json, "h").is_err(), "{json}");
        }
        let error = find(r#"{"credsStore":"that-is-not-installed"}"#, "h")
            .err()
            .unwrap();
        assert!(
            error
                .to_string()
                .contains("docker-credential-that-is-not-installed")
        );
    }
}
