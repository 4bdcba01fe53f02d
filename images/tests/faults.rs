//! Registries that break, lie, or ask for credentials.

#![allow(clippy::unwrap_used, reason = "failures of helpers fail the test")]

mod common;

use std::{
    fs,
    path::Path,
    sync::{Arc, Barrier},
    thread,
};

use common::{
    archive::archive,
    layout::gzip,
    odd::messages,
    scripted::{Answer, Fixture},
};
use images::{Digest, Error, Platform, PullOptions, Reference, RegistryConfig};

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
fn only_what_is_missing_is_fetched_and_layers_come_together() {
    let layers = ["one", "two", "three", "four"].map(|name| archive(&[(name, b"content")]));
    let fixture = Fixture::of(&layers[..2]);
    let server = fixture.serve(|_, _, _| Answer::Good);
    let lower = server
        .pull(&fixture.store, &PullOptions::default())
        .unwrap();

    // The second image's layers wait for each other: alone, none would ever be whole.
    let upper = Fixture::of(&layers);
    let new = [2, 3].map(|layer: usize| Digest::of(&gzip(&layers[layer])).to_string());
    let together = Arc::new(Barrier::new(2));
    let server = upper.serve(move |path, _, _| {
        if !new.iter().any(|digest| path.ends_with(digest)) {
            return Answer::Good;
        }
        let together = Arc::clone(&together);
        Answer::HalfUntil(Box::new(move || {
            together.wait();
        }))
    });
    let image = server
        .pull(&fixture.store, &PullOptions::default())
        .unwrap();
    let fetched = |digest: &Digest| server.requests(&digest.to_string());
    assert_eq!(image.layers[..2], lower.layers);
    assert!(
        image.layers[..2]
            .iter()
            .all(|layer| fetched(&layer.digest) == 0)
    );
    assert!(
        image.layers[2..]
            .iter()
            .all(|layer| fetched(&layer.digest) == 1)
    );
}

#[test]
fn a_time_to_wait_for_is_understood() {
    let fixture = Fixture::new();
    let past = "Retry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    let server = fixture.serve(move |_, _, count| match count {
        0 => Answer::Status(429, past.to_owned(), ""),
        _ => Answer::Good,
    });
    server
        .pull(&fixture.store, &PullOptions::default())
        .unwrap();
    assert_eq!(server.requests("manifests"), 2);

    let far = "Retry-After: Fri, 31 Dec 9999 23:59:59 GMT\r\n";
    let error = fixture.fails(move |_, _, _| Answer::Status(429, far.to_owned(), "come later"));
    assert!(error.to_string().contains("429: come later"), "{error}");
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

/// Header lines that lead to the same path on another host.
fn leads_to(host: &str, path: &str) -> Answer {
    Answer::Status(307, format!("Location: http://{host}{path}\r\n"), "")
}

#[test]
fn a_redirect_takes_no_credentials_along() {
    let fixture = Fixture::new();
    let challenge = |realm: &str| {
        let header = format!("WWW-Authenticate: {realm}\r\n");
        Answer::Status(401, header, "")
    };
    let storage = fixture.serve(|_, authorization, _| {
        assert_eq!(authorization, "", "credentials shown to another host");
        Answer::Good
    });
    let host = storage.host.clone();
    let server = fixture.serve(move |path, authorization, _| match authorization {
        "Basic bWU6c2VjcmV0" if path.contains("blobs") => leads_to(&host, path),
        "Basic bWU6c2VjcmV0" => Answer::Good,
        _ => challenge("Basic realm=\"x\""),
    });
    let options = logged_in(fixture.work.path(), &server.host);
    let image = server.pull(&fixture.store, &options).unwrap();
    assert_eq!(storage.requests(&image.layers[0].digest.to_string()), 1);

    // Nor does another host get them by asking for them.
    let thief = fixture.serve(|_, _, _| Answer::Status(200, String::new(), r#"{"token":"x"}"#));
    let realm = format!("Bearer realm=\"http://{}/token\",service=\"s\"", thief.host);
    let other = fixture.serve(move |_, _, _| challenge(&realm));
    let host = other.host.clone();
    let server = fixture.serve(move |path, _, _| leads_to(&host, path));
    let options = logged_in(fixture.work.path(), &server.host);
    let error = server.pull(&fixture.store, &options).unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
    assert_eq!((other.requests(""), thief.requests("")), (1, 0));
}

#[test]
fn a_redirect_within_the_registry_keeps_them() {
    let fixture = Fixture::new();
    let server = fixture.serve(|path, authorization, _| {
        let moved = path.replace("/v2/", "/elsewhere/");
        match authorization {
            "Basic bWU6c2VjcmV0" if moved == path => Answer::Good,
            "Basic bWU6c2VjcmV0" => Answer::Status(307, format!("Location: {moved}\r\n"), ""),
            _ => Answer::Status(401, "WWW-Authenticate: Basic realm=x\r\n".to_owned(), ""),
        }
    });
    let options = logged_in(fixture.work.path(), &server.host);
    server.pull(&fixture.store, &options).unwrap();
    assert!(server.requests("/elsewhere/") > 2);
}

#[test]
fn redirects_end() {
    let fixture = Fixture::new();
    for location in ["/v2/x/manifests/1", "ftp://a/b", "http://"] {
        let header = format!("Location: {location}\r\n");
        let error = fixture.fails(move |_, _, _| Answer::Status(302, header.clone(), ""));
        assert!(matches!(error, Error::BadAnswer { .. }), "{error}");
    }
}

#[test]
fn what_never_ends_is_cut_off() {
    const ENDLESS: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
    const HUGE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\n\r\n";
    const SPACES: &[u8] = &[b' '; 1 << 16];
    for head in [ENDLESS, HUGE] {
        let fixture = Fixture::new();
        let error = fixture.fails(move |_, _, _| Answer::Raw(head, SPACES));
        assert!(
            error.to_string().contains("longer than 4194304 bytes"),
            "{error}"
        );
        // The configuration, or the layer: neither may be longer than promised.
        let error = fixture.fails(move |path, _, _| match path.contains("blobs") {
            true => Answer::Raw(head, SPACES),
            false => Answer::Good,
        });
        assert!(matches!(error, Error::SizeMismatch { .. }), "{error}");
        let config = fixture.config();
        let error = fixture.fails(move |path, _, _| {
            match path.contains("blobs") && !path.contains(&config) {
                true => Answer::Raw(head, SPACES),
                false => Answer::Good,
            }
        });
        assert!(matches!(error, Error::SizeMismatch { .. }), "{error}");
    }
    // Headers that never end, and a message of an error that never ends.
    let fixture = Fixture::new();
    let error = fixture.fails(|_, _, _| Answer::Raw("HTTP/1.1 200 OK\r\n", b"A: b\r\n"));
    assert!(matches!(error, Error::Transport { .. }), "{error}");
    let error = fixture.fails(|_, _, _| Answer::Raw("HTTP/1.1 418 X\r\n\r\n", SPACES));
    assert!(
        matches!(error, Error::Status { status: 418, .. }),
        "{error}"
    );
    let error = fixture.fails(|_, _, _| {
        Answer::Status(
            401,
            "WWW-Authenticate: Bearer realm=\"/token\"\r\n".to_owned(),
            "",
        )
    });
    assert!(matches!(error, Error::BadAnswer { .. }), "{error}");
}

#[test]
fn a_wrong_length_is_noticed() {
    let check = |head: &'static str| {
        let fixture = Fixture::new();
        let error = fixture.fails(move |_, _, _| Answer::Raw(head, b""));
        let known = matches!(error, Error::Transport { .. } | Error::Json { .. });
        assert!(known, "{head:?}: {}", messages(&error));
    };
    // At the same time: each is tried again and again.
    thread::scope(|scope| {
        for head in [
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\nConnection: close\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\n{}",
            "no HTTP at all",
            "",
        ] {
            scope.spawn(move || check(head));
        }
    });
}

#[test]
fn a_token_service_is_asked_over_http_only() {
    let fixture = Fixture::new();
    let secret = fixture.work.path().join("token");
    fs::write(&secret, r#"{"token":"x"}"#).unwrap();
    for realm in [
        format!("file://{}", secret.display()),
        "ftp://127.0.0.1/token".to_owned(),
        "//127.0.0.1/token".to_owned(),
        "javascript:alert(1)".to_owned(),
        "http://".to_owned(),
        String::new(),
    ] {
        let header = format!("WWW-Authenticate: Bearer realm=\"{realm}\",service=\"s\"\r\n");
        let server = fixture.serve(move |_, authorization, _| match authorization {
            "" => Answer::Status(401, header.clone(), ""),
            _ => Answer::Good,
        });
        let error = server
            .pull(
                &fixture.store,
                &logged_in(fixture.work.path(), &server.host),
            )
            .unwrap_err();
        let known = matches!(error, Error::BadAnswer { .. } | Error::Unauthorized { .. });
        assert!(known, "{realm}: {}", messages(&error));
    }
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
