//! Logging in to a registry: basic authentication, and tokens for a user or for nobody (distribution
//! specification, "Token Authentication").

use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use serde::Deserialize;

use web::Client;

use super::{credentials::Credentials, read_limited};
use crate::{Error, Reference};

/// The longest token answer, in bytes.
const MAX_TOKEN: u64 = 1 << 20;

/// Keeps what a registry wants to see in the `Authorization` header.
pub(super) struct Authorizer {
    registry: String,
    reference: String,
    scope: String,
    docker_config: Option<PathBuf>,
    header: Mutex<Option<String>>,
}

impl Authorizer {
    /// For fetching `reference` from the registry `host`, with the credentials that docker's
    /// configuration has for it.
    pub(super) fn new(reference: &Reference, host: &str, docker_config: Option<&PathBuf>) -> Self {
        Self {
            registry: host.to_owned(),
            docker_config: docker_config.cloned(),
            reference: reference.to_string(),
            scope: format!("repository:{}:pull", reference.path()),
            header: Mutex::default(),
        }
    }

    /// The header's value, once there is one.
    pub(super) fn header(&self) -> Option<String> {
        self.header
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Does what a 401 answer's challenges ask for.
    pub(super) fn answer(&self, client: &Client, challenges: &[String]) -> Result<(), Error> {
        let challenges: Vec<Challenge> = challenges
            .iter()
            .filter_map(|text| Challenge::parse(text))
            .collect();
        let find = |scheme| challenges.iter().find(|c| c.scheme == scheme);
        let credentials = match &self.docker_config {
            Some(path) => Credentials::find(path, &self.registry)?,
            None => None,
        };
        let header = if let Some(challenge) = find("bearer") {
            let token = self.token(client, challenge, credentials.as_ref())?;
            format!("Bearer {token}")
        } else if find("basic").is_some() {
            let basic = credentials.and_then(|credentials| credentials.basic());
            basic.ok_or_else(|| self.refused())?
        } else {
            return Err(self.refused());
        };
        *self.header.lock().unwrap_or_else(PoisonError::into_inner) = Some(header);
        Ok(())
    }

    fn token(
        &self,
        client: &Client,
        challenge: &Challenge,
        credentials: Option<&Credentials>,
    ) -> Result<String, Error> {
        #[derive(Deserialize)]
        struct Answer {
            token: Option<String>,
            access_token: Option<String>,
        }
        let realm = challenge.parameter("realm").ok_or_else(|| self.refused())?;
        let bad = |reason: String| Error::BadAnswer {
            url: realm.to_owned(),
            reason,
        };
        let service = challenge.parameter("service").unwrap_or_default();
        let response = if let Some(Credentials::IdentityToken(token)) = credentials {
            let form = [
                ("grant_type", "refresh_token"),
                ("client_id", "terrarium"),
                ("service", service),
                ("scope", &self.scope),
                ("refresh_token", token),
            ];
            client.post(realm, &form)?
        } else {
            let query = [("scope", self.scope.as_str()), ("service", service)];
            let query = &query[..if service.is_empty() { 1 } else { 2 }];
            let basic = credentials.and_then(Credentials::basic);
            client.get(realm, query, &[], basic.as_deref())?.response
        };
        match response.status().as_u16() {
            200 => {}
            401 | 403 => return Err(self.refused()),
            status => return Err(bad(format!("the token service says {status}"))),
        }
        let bytes = read_limited(response, realm, MAX_TOKEN)?;
        let answer: Answer = serde_json::from_slice(&bytes)
            .map_err(|_| bad("the token service does not speak JSON".to_owned()))?;
        answer
            .token
            .or(answer.access_token)
            .ok_or_else(|| bad("the token service gives no token".to_owned()))
    }

    fn refused(&self) -> Error {
        Error::Unauthorized {
            reference: self.reference.clone(),
            registry: self.registry.clone(),
        }
    }
}

/// A `WWW-Authenticate` challenge (RFC 9110, section 11.6.1), the first of its header.
#[derive(Debug, PartialEq, Eq)]
struct Challenge {
    scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    fn parse(header: &str) -> Option<Self> {
        let (scheme, mut rest) = header.trim().split_once(' ')?;
        let mut parameters = Vec::new();
        while let Some((name, after)) = rest.split_once('=') {
            let (value, after) = match after.trim_start().strip_prefix('"') {
                Some(quoted) => quoted.split_once('"')?,
                None => after.split_at(after.find(',').unwrap_or(after.len())),
            };
            let name = name.trim_matches([' ', ',']).to_ascii_lowercase();
            parameters.push((name, value.trim().to_owned()));
            rest = after;
        }
        Some(Self {
            scheme: scheme.to_ascii_lowercase(),
            parameters,
        })
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_challenges() {
        let challenge = Challenge::parse(
            r#"Bearer realm="https://auth.example/token",service="reg, istry", scope=a"#,
        )
        .unwrap();
        assert_eq!(challenge.scheme, "bearer");
        assert_eq!(
            challenge.parameter("realm"),
            Some("https://auth.example/token")
        );
        assert_eq!(challenge.parameter("service"), Some("reg, istry"));
        assert_eq!(challenge.parameter("scope"), Some("a"));
        assert_eq!(challenge.parameter("error"), None);
        assert_eq!(Challenge::parse("Basic"), None);
        assert_eq!(Challenge::parse(r#"Bearer realm="open"#), None);
    }
}
