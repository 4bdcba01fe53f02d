//! Registries that break, lie, or ask for credentials.

#![allow(clippy::unwrap_used, reason = "failures of helpers fail the test")]

mod common;

use std::{
    collections::HashMap,
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{Arc, Mutex},
    thread,
};

use common::{archive::archive, layout::Layout};
use images::{Error, Image, Platform, PullOptions, Reference, RegistryConfig, Store};

/// What the server does with one request.
enum Answer {
    /// Serves the content.
    Good,
    /// Sends half of the content that is left, then hangs up.
    Half,
    /// Flips the content's last bit.
    Flipped,
    /// Sends another byte after the content.
    Longer,
    /// This status, with these header lines and body.
    Status(u16, String, &'static str),
}

type Script = dyn Fn(&str, &str, usize) -> Answer + Send + Sync;

/// A registry whose answers a script decides: given the path, the authorization, and how often that
/// path has been asked for before.
struct Scripted {
    host: String,
    seen: Arc<Mutex<HashMap<String, usize>>>,
}

impl Scripted {
    fn start(
        layout: &Path,
        manifest: &str,
        script: impl Fn(&str, &str, usize) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(HashMap::new()));
        let shared = Arc::clone(&seen);
        let (layout, manifest) = (layout.to_owned(), manifest.to_owned());
        let script: Arc<Script> = Arc::new(script);
        // Ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (layout, manifest) = (layout.clone(), manifest.clone());
                let (script, shared) = (Arc::clone(&script), Arc::clone(&shared));
                thread::spawn(move || {
                    // A client that hangs up ends its connection only.
                    let _ = serve(stream?, &layout, &manifest, &*script, &shared);
                    std::io::Result::Ok(())
                });
            }
        });
        Self { host, seen }
    }

    fn requests(&self, part: &str) -> usize {
        let seen = self.seen.lock().unwrap();
        seen.iter()
            .filter(|(path, _)| path.contains(part))
            .map(|(_, count)| count)
            .sum()
    }

    fn pull(&self, store: &Store, options: &PullOptions) -> Result<Image, Error> {
        let reference: Reference = format!("{}/x:1", self.host).parse().unwrap();
        store.pull(
            &reference,
            &Platform::new("linux", "amd64", None),
            options,
            &(),
        )
    }
}

fn serve(
    stream: TcpStream,
    layout: &Path,
    manifest: &str,
    script: &Script,
    seen: &Mutex<HashMap<String, usize>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let (mut authorization, mut offset) = (String::new(), 0);
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(": ") else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => value.clone_into(&mut authorization),
            "range" => offset = value["bytes=".len()..value.len() - 1].parse().unwrap(),
            _ => {}
        }
    }
    let count = {
        let mut seen = seen.lock().unwrap();
        let count = seen.entry(path.clone()).or_default();
        *count += 1;
        *count - 1
    };
    let digest = match path.rsplit('/').next().unwrap_or_default() {
        "1" => manifest,
        digest => digest,
    };
    let hex = digest.trim_start_matches("sha256:");
    let mut content = fs::read(layout.join("blobs/sha256").join(hex)).unwrap_or_default();
    let answer = script(&path, &authorization, count);
    match answer {
        Answer::Status(status, headers, body) => {
            return write!(
                stream,
                "HTTP/1.1 {status} X\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
        }
        Answer::Flipped => *content.last_mut().unwrap() ^= 1,
        Answer::Longer => content.push(0),
        Answer::Good | Answer::Half => {}
    }
    let rest = &content[offset..];
    let status = if offset > 0 {
        format!(
            "206 Partial\r\nContent-Range: bytes {offset}-{}/{}",
            content.len() - 1,
            content.len()
        )
    } else {
        "200 OK".to_owned()
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        rest.len()
    )?;
    let sent = if matches!(answer, Answer::Half) {
        rest.len() / 2
    } else {
        rest.len()
    };
    stream.write_all(&rest[..sent])
}

struct Fixture {
    work: tempfile::TempDir,
    manifest: String,
    store: Store,
}

impl Fixture {
    fn new() -> Self {
        let work = tempfile::tempdir().unwrap();
        let mut layout = Layout::new(&work.path().join("layout"));
        let noise: Vec<u8> = (0..200_000_u32)
            .map(|index| index.wrapping_mul(2_654_435_761).to_le_bytes()[3])
            .collect();
        let image = layout.image("amd64", &[archive(&[("noise", &noise)])]);
        let manifest = image["digest"].as_str().unwrap().to_owned();
        layout.name(image, "x");
        let store = Store::open(&work.path().join("images")).unwrap();
        Self {
            work,
            manifest,
            store,
        }
    }

    fn serve(
        &self,
        script: impl Fn(&str, &str, usize) -> Answer + Send + Sync + 'static,
    ) -> Scripted {
        Scripted::start(&self.work.path().join("layout"), &self.manifest, script)
    }

    fn fails(&self, script: impl Fn(&str, &str, usize) -> Answer + Send + Sync + 'static) -> Error {
        self.serve(script)
            .pull(&self.store, &PullOptions::default())
            .unwrap_err()
    }
}

#[test]
fn a_broken_connection_is_gone_on_with() {
    let fixture = Fixture::new();
    let server = fixture.serve(|path, _, count| {
        if path.contains("blobs") && count < 3 {
            Answer::Half
        } else {
            Answer::Good
        }
    });
    let image = server
        .pull(&fixture.store, &PullOptions::default())
        .unwrap();
    assert_eq!(server.requests(&image.layers[0].digest.to_string()), 4);
}

#[test]
fn what_may_pass_is_tried_again() {
    let fixture = Fixture::new();
    let server = fixture.serve(|_, _, count| match count {
        0 => Answer::Status(429, "Retry-After: 1\r\n".to_owned(), ""),
        1 => Answer::Status(503, String::new(), ""),
        _ => Answer::Good,
    });
    server
        .pull(&fixture.store, &PullOptions::default())
        .unwrap();
    assert_eq!(server.requests("manifests"), 3);
}

#[test]
fn a_long_wait_is_told_instead() {
    let fixture = Fixture::new();
    let body =
        r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your rate limit."}]}"#;
    let error =
        fixture.fails(move |_, _, _| Answer::Status(429, "Retry-After: 3600\r\n".to_owned(), body));
    let message = error.to_string();
    assert!(
        message.contains("429: You have reached your rate limit."),
        "{message}"
    );
}

#[test]
fn lies_are_noticed_and_nothing_is_kept() {
    let fixture = Fixture::new();
    let flipped = fixture.fails(|path, _, _| {
        if path.contains("blobs") {
            Answer::Flipped
        } else {
            Answer::Good
        }
    });
    assert!(matches!(flipped, Error::DigestMismatch { .. }), "{flipped}");
    let longer = fixture.fails(|path, _, _| {
        if path.contains("blobs") {
            Answer::Longer
        } else {
            Answer::Good
        }
    });
    assert!(matches!(longer, Error::SizeMismatch { .. }), "{longer}");
    let server = fixture.serve(|path, _, _| {
        if path.contains("manifests") {
            Answer::Flipped
        } else {
            Answer::Good
        }
    });
    let name = format!("{}/x@{}", server.host, fixture.manifest);
    let pulled = fixture.store.pull(
        &name.parse().unwrap(),
        &Platform::host(),
        &PullOptions::default(),
        &(),
    );
    assert!(pulled.is_err());
    // The configuration is whole and may stay; nothing else came whole.
    let whole = fs::read_dir(fixture.work.path().join("images/blobs/sha256"))
        .unwrap()
        .count();
    assert!(whole <= 2);
    fixture
        .serve(|_, _, _| Answer::Good)
        .pull(&fixture.store, &PullOptions::default())
        .unwrap();
}

#[test]
fn refusals_have_names() {
    let fixture = Fixture::new();
    let status = |status| fixture.fails(move |_, _, _| Answer::Status(status, String::new(), ""));
    assert!(matches!(status(401), Error::Unauthorized { .. }));
    assert!(matches!(status(403), Error::Unauthorized { .. }));
    assert!(matches!(status(404), Error::NotFound { .. }));
    assert!(matches!(status(418), Error::Status { status: 418, .. }));
    let reference: Reference = "127.0.0.1:1/x".parse().unwrap();
    let refused = fixture
        .store
        .pull(&reference, &Platform::host(), &PullOptions::default(), &());
    assert!(matches!(refused.unwrap_err(), Error::Transport { .. }));
}

/// Options with docker's credentials me:secret for a host.
fn logged_in(work: &Path, host: &str) -> PullOptions {
    let path = work.join("config.json");
    fs::write(
        &path,
        format!(r#"{{"auths":{{"{host}":{{"auth":"bWU6c2VjcmV0"}}}}}}"#),
    )
    .unwrap();
    PullOptions {
        docker_config: Some(path),
        ..PullOptions::default()
    }
}

#[test]
fn credentials_answer_a_basic_challenge() {
    let fixture = Fixture::new();
    let server = fixture.serve(|_, authorization, _| {
        if authorization == "Basic bWU6c2VjcmV0" {
            Answer::Good
        } else {
            Answer::Status(
                401,
                "WWW-Authenticate: Basic realm=\"x\"\r\n".to_owned(),
                "",
            )
        }
    });
    let anonymous = server.pull(&fixture.store, &PullOptions::default());
    assert!(matches!(anonymous.unwrap_err(), Error::Unauthorized { .. }));
    server
        .pull(
            &fixture.store,
            &logged_in(fixture.work.path(), &server.host),
        )
        .unwrap();
}

#[test]
fn credentials_buy_a_token() {
    let fixture = Fixture::new();
    let tokens = fixture.serve(|path, authorization, _| {
        assert!(
            path.contains("scope=repository") && path.contains("service=s"),
            "{path}"
        );
        let body = match authorization {
            "Basic bWU6c2VjcmV0" => r#"{"token":"mine"}"#,
            _ => r#"{"access_token":"anybody"}"#,
        };
        Answer::Status(200, String::new(), body)
    });
    let realm = format!(
        "WWW-Authenticate: Bearer realm=\"http://{}/token\",service=\"s\"\r\n",
        tokens.host
    );
    let server = fixture.serve(move |_, authorization, _| match authorization {
        "Bearer mine" => Answer::Good,
        _ => Answer::Status(401, realm.clone(), ""),
    });
    let anonymous = server.pull(&fixture.store, &PullOptions::default());
    assert!(matches!(anonymous.unwrap_err(), Error::Unauthorized { .. }));
    server
        .pull(
            &fixture.store,
            &logged_in(fixture.work.path(), &server.host),
        )
        .unwrap();
}

#[test]
fn mirrors_come_first_and_may_fail() {
    let fixture = Fixture::new();
    let broken = fixture.serve(|_, _, _| Answer::Status(404, String::new(), ""));
    let mirror = fixture.serve(|_, _, _| Answer::Good);
    let path = fixture.work.path().join("registries.json");
    let hosts = format!(
        r#"{{"registry.invalid":{{"mirrors":["127.0.0.1:1","{}","{}"]}}}}"#,
        broken.host, mirror.host
    );
    fs::write(&path, hosts).unwrap();
    let options = PullOptions {
        registries: RegistryConfig::read(&path).unwrap(),
        ..PullOptions::default()
    };
    let reference: Reference = "registry.invalid/x:1".parse().unwrap();
    let platform = Platform::new("linux", "amd64", None);
    let image = fixture
        .store
        .pull(&reference, &platform, &options, &())
        .unwrap();
    assert_eq!(image.reference, reference);
    assert!(broken.requests("manifests") > 0);
    fs::write(&path, r#"{"a":{"mirrors":[],"insecure":1}}"#).unwrap();
    assert!(RegistryConfig::read(&path).is_err());
}
