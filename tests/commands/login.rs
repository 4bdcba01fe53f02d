//! Real registries that want to know who asks, and docker's ways to keep what they want to hear.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde_json::json;

use crate::certificates::openssl;
use crate::place::Place;
use crate::support::output;
use crate::support::registry::Registry;

/// Of me:secret, by bcrypt.
const HTPASSWD: &str = "me:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";
/// The same as docker keeps it.
const AUTH: &str = "bWU6c2VjcmV0";

/// A registry that knows `me` by the password `secret`.
fn registry(place: &Place) -> (Registry, String) {
    let file = place.write("htpasswd", HTPASSWD);
    let auth = format!(
        "auth: {{htpasswd: {{realm: test, path: {}}}}}\n",
        file.display()
    );
    let registry = Registry::configured("", &auth);
    push(&registry, place);
    let image = format!("{}/a:1", registry.host());
    (registry, image)
}

fn push(registry: &Registry, place: &Place) {
    let source = format!("oci:{}:a", place.layout().display());
    registry.copy(&["--dest-creds", "me:secret"], &source, "a:1");
}

#[test]
fn a_password_is_shown_to_the_registry_that_it_is_for() {
    let place = Place::new();
    let (registry, image) = registry(&place);
    let host = registry.host();
    place.refuses(&image, [&host, "docker login"]);
    for (key, auth) in [(&host, "bWU6d3Jvbmc="), (&"registry.test".to_owned(), AUTH)] {
        let auths = json!({ "auths": { key: { "auth": auth } } });
        place.write("docker/config.json", auths.to_string());
        place.refuses(&image, [&host, "docker login"]);
    }
    let auths = json!({ "auths": { host: { "auth": AUTH } } });
    place.write("docker/config.json", auths.to_string());
    place.pulls(&image);
}

#[test]
fn helpers_are_asked() {
    let place = Place::new();
    let (registry, image) = registry(&place);
    let host = registry.host();
    let good = format!(
        r#"[ "$1 $(cat)" = "get {host}" ] && echo '{{"Username":"me","Secret":"secret"}}'"#
    );
    helper(&place, "good", &good);
    helper(
        &place,
        "empty",
        "echo 'credentials not found in native keychain'; exit 1",
    );
    helper(&place, "broken", "echo 'the keychain is locked'; exit 1");
    // Says all without having read what it was asked for.
    helper(
        &place,
        "talks",
        r#"exec <&-; echo '{"Username":"me","Secret":"secret"}'"#,
    );

    for (config, accepted) in [
        (
            json!({ "credHelpers": { host.clone(): "good" }, "credsStore": "broken" }),
            true,
        ),
        (
            json!({ "credHelpers": { "registry.test": "broken" }, "credsStore": "good" }),
            true,
        ),
        (json!({ "credsStore": "empty" }), false),
        (
            json!({ "credsStore": "empty", "auths": { host.clone(): { "auth": AUTH } } }),
            true,
        ),
        (json!({ "credsStore": "talks" }), true),
    ] {
        place.write("docker/config.json", config.to_string());
        let pulled = output(&mut with_helpers(&place, &image));
        let said = String::from_utf8_lossy(&pulled.stderr);
        assert_eq!(pulled.status.success(), accepted, "{config}: {said}");
    }
    place.write("docker/config.json", r#"{"credsStore": "broken"}"#);
    let failed = output(&mut with_helpers(&place, &image));
    let said = String::from_utf8_lossy(&failed.stderr);
    assert_eq!(failed.status.code(), Some(1), "{said}");
    for part in ["docker-credential-broken", "the keychain is locked"] {
        assert!(said.contains(part), "{said}");
    }
}

/// Makes `docker-credential-NAME`, in a folder for the PATH.
fn helper(place: &Place, name: &str, script: &str) {
    let folder = place.path("bin");
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join(format!("docker-credential-{name}"));
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
}

fn with_helpers(place: &Place, image: &str) -> Command {
    let mut command = place.pull(image);
    let path = std::env::var("PATH").unwrap();
    command.env("PATH", format!("{}:{path}", place.path("bin").display()));
    command
}

#[test]
fn tokens_are_fetched_where_the_registry_says() {
    let place = Place::new();
    let service = TokenService::start(&place);
    let registry = Registry::configured("", &service.configuration);
    push(&registry, &place);
    let host = registry.host();
    let image = format!("{host}/a:1");
    // Anybody gets a token, which is good for nothing.
    place.refuses(&image, [&host, "docker login"]);
    let auths = json!({ "auths": { host.clone(): { "auth": AUTH } } });
    place.write("docker/config.json", auths.to_string());
    place.pulls(&image);

    let other = Place::new();
    let auths = json!({ "auths": { host: { "identitytoken": "refresh-me" } } });
    other.write("docker/config.json", auths.to_string());
    other.pulls(&image);
}

/// Gives tokens for the repository `a` to `me`.
struct TokenService {
    /// What tells a registry to rely on it.
    configuration: String,
}

impl TokenService {
    fn start(place: &Place) -> Self {
        let folder = place.path("tokens");
        fs::create_dir(&folder).unwrap();
        openssl(
            Command::new("openssl")
                .args([
                    "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                ])
                .args([
                    "-out",
                    "cert.pem",
                    "-keyout",
                    "key.pem",
                    "-subj",
                    "/CN=tokens",
                ]),
            &folder,
        );
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let configuration = format!(
            "auth: {{token: {{realm: 'http://{}/token', service: test, issuer: tokens, rootcertbundle: {}}}}}\n",
            listener.local_addr().unwrap(),
            folder.join("cert.pem").display()
        );
        // Ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming() {
                answer(&stream.unwrap(), &folder);
            }
        });
        Self { configuration }
    }
}

fn answer(mut stream: &TcpStream, folder: &Path) {
    let mut lines = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    while lines.read_line(&mut head).unwrap() > 2 {
        let line = head.lines().last().unwrap().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.parse().unwrap();
        }
    }
    let mut form = vec![0; length];
    lines.read_exact(&mut form).unwrap();
    let form = String::from_utf8(form).unwrap();
    let known = if head.starts_with("POST /token ") {
        form.contains("refresh_token=refresh-me") && form.contains("service=test")
    } else {
        assert!(
            head.starts_with("GET /token?") && head.contains("service=test"),
            "{head}"
        );
        head.to_ascii_lowercase().contains("authorization: basic ") && head.contains(AUTH)
    };
    let body = json!({ "token": token(folder, known) }).to_string();
    let length = body.len();
    // A client that hangs up ends its connection only.
    let _ = write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
}

/// A JSON Web Token as registries take it (distribution specification, "Token Authentication
/// Implementation").
fn token(folder: &Path, known: bool) -> String {
    let certificate = openssl(
        Command::new("openssl").args(["x509", "-in", "cert.pem", "-outform", "DER"]),
        folder,
    );
    let header =
        json!({ "typ": "JWT", "alg": "RS256", "x5c": [BASE64_STANDARD.encode(certificate)] });
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seconds = |time: Duration| time.as_secs();
    let access = json!({ "type": "repository", "name": "a", "actions": ["pull", "push"] });
    let access = if known { vec![access] } else { Vec::new() };
    let claims = json!({
        "iss": "tokens", "aud": "test", "sub": "me", "jti": "1", "access": access,
        "nbf": seconds(now) - 60, "iat": seconds(now) - 60, "exp": seconds(now) + 600,
    });
    let signed = [header, claims]
        .map(|part| BASE64_URL_SAFE_NO_PAD.encode(part.to_string()))
        .join(".");
    let file = tempfile::NamedTempFile::new_in(folder).unwrap();
    fs::write(file.path(), &signed).unwrap();
    let signature = openssl(
        Command::new("openssl")
            .args(["dgst", "-sha256", "-sign", "key.pem"])
            .arg(file.path()),
        folder,
    );
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}
