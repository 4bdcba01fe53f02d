//! One request: authorized, with its failures turned into errors.

use std::{
    io::Read,
    time::{Duration, SystemTime},
};

use serde::Deserialize;
use ureq::{Body, http::Response};
use web::Answer;

use super::{Repository, steady};
use crate::Error;

impl Repository<'_> {
    /// Sends a GET request, logging in if the registry asks for it. Other servers, to which the
    /// registry may lead, are shown no credentials.
    pub(super) fn get(&self, url: &str, headers: &[(&str, &str)]) -> Result<Response<Body>, Error> {
        let answer = self.send(url, headers)?;
        if answer.response.status() != 401 || !answer.same_origin {
            return self.checked(url, answer.response);
        }
        let challenges: Vec<String> = answer
            .response
            .headers()
            .get_all("www-authenticate")
            .iter()
            .filter_map(|value| value.to_str().ok().map(str::to_owned))
            .collect();
        drop(answer);
        self.authorizer.answer(&self.client, &challenges)?;
        self.checked(url, self.send(url, headers)?.response)
    }

    fn send(&self, url: &str, headers: &[(&str, &str)]) -> Result<Answer, Error> {
        let authorization = self.authorizer.header();
        Ok(self
            .client
            .get(url, &[], headers, authorization.as_deref())?)
    }

    fn checked(&self, url: &str, response: Response<Body>) -> Result<Response<Body>, Error> {
        let status = response.status().as_u16();
        match status {
            200 | 206 => Ok(response),
            401 | 403 => Err(Error::Unauthorized {
                reference: self.reference.to_string(),
                registry: self.reference.domain().to_owned(),
            }),
            404 => Err(Error::NotFound {
                reference: self.reference.to_string(),
                registry: self.reference.domain().to_owned(),
            }),
            _ => Err(Error::Status {
                url: url.to_owned(),
                status,
                retry_after: retry_after(&response),
                detail: detail(response),
            }),
        }
    }
}

/// Whether a response goes on at `offset`, rather than starting over.
pub(super) fn continues_at(response: &Response<Body>, offset: u64) -> bool {
    let range = response
        .headers()
        .get("content-range")
        .and_then(|value| value.to_str().ok());
    response.status() == 206
        && range.is_some_and(|range| range.starts_with(&format!("bytes {offset}-")))
}

/// The pause that the server asks for, in seconds or as a time (RFC 9110, section 10.2.3).
fn retry_after(response: &Response<Body>) -> Option<Duration> {
    let value = response.headers().get("retry-after")?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let time = httpdate::parse_http_date(value).ok()?;
    // A time that has passed means now.
    Some(time.duration_since(SystemTime::now()).unwrap_or_default())
}

/// What the registry said: the first message of its JSON, or its first line.
fn detail(response: Response<Body>) -> String {
    #[derive(Deserialize)]
    struct Answer {
        errors: Vec<Message>,
    }
    #[derive(Deserialize)]
    struct Message {
        message: String,
    }
    let mut text = String::new();
    // Only for the message: what cannot be read is not told.
    let _ = steady::body(response).take(4096).read_to_string(&mut text);
    let message = match serde_json::from_str::<Answer>(&text) {
        Ok(answer) => answer.errors.into_iter().next().map(|error| error.message),
        Err(_) => text.lines().next().map(str::to_owned),
    };
    let message: String = message
        .unwrap_or_default()
        .chars()
        .filter(|c| !c.is_control())
        .take(200)
        .collect();
    if message.is_empty() {
        message
    } else {
        format!(": {message}")
    }
}
