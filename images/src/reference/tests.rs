use proptest::prelude::*;

use super::*;

const DIGEST: &str = "sha256:cb1521c0b8d028615597b70db382373b23778029a6b885e221b9bb9fcb623baa";

fn canonical(text: &str) -> String {
    text.parse::<Reference>().unwrap().canonical()
}

#[test]
fn fills_in_what_docker_implies() {
    for (given, full) in [
        ("python", "docker.io/library/python:latest"),
        ("python:2.7", "docker.io/library/python:2.7"),
        ("docker.io/python", "docker.io/library/python:latest"),
        ("index.docker.io/python", "docker.io/library/python:latest"),
        ("someone/python", "docker.io/someone/python:latest"),
        ("a/b/c", "docker.io/a/b/c:latest"),
        ("localhost/x", "localhost/x:latest"),
        ("localhost:5000/a/b:t", "localhost:5000/a/b:t"),
        ("quay.example/a", "quay.example/a:latest"),
        ("HOST/a", "HOST/a:latest"),
        ("[::1]:5000/a", "[::1]:5000/a:latest"),
        (
            "127.0.0.1:1/a__b-c.d---e:T.1_-",
            "127.0.0.1:1/a__b-c.d---e:T.1_-",
        ),
    ] {
        assert_eq!(canonical(given), full);
    }
    assert_eq!(
        canonical(&format!("python@{DIGEST}")),
        format!("docker.io/library/python@{DIGEST}")
    );
    assert_eq!(
        canonical(&format!("h:1/a/b:t@{DIGEST}")),
        format!("h:1/a/b:t@{DIGEST}")
    );
}

#[test]
fn prints_the_short_form() {
    for (given, short) in [
        ("docker.io/library/python:2.7", "python:2.7"),
        ("docker.io/library/python", "python"),
        ("docker.io/a/b", "a/b"),
        ("library/a/b", "library/a/b"),
        ("localhost:5000/a", "localhost:5000/a"),
        // Without the domain these would name other registries.
        ("docker.io/localhost/a", "docker.io/localhost/a"),
        ("docker.io/a.b/c", "docker.io/a.b/c"),
    ] {
        assert_eq!(given.parse::<Reference>().unwrap().to_string(), short);
    }
}

#[test]
fn refuses_what_docker_refuses() {
    let long_path = "a/".repeat(127) + "abc";
    let long_tag = format!("a:{}", "t".repeat(129));
    let identifier = "a".repeat(64);
    for text in [
        "",
        ":tag",
        "/a",
        "a/",
        "a//b",
        "Python",
        "a/B",
        "a:",
        "a:-t",
        "a:.t",
        "a:t:u",
        "a:t/u",
        "a@sha256:00",
        "a@",
        "-a",
        "a-",
        "a___b",
        "a..b",
        "a b",
        "a\n",
        "é",
        "host:port/a",
        "host:/a ",
        "host:99999/a",
        "-host.x/a",
        "[::1/a",
        "[::1]x/a",
        "[zz]/a",
        "https://a/b",
        &long_path,
        &long_tag,
        &identifier,
    ] {
        assert!(text.parse::<Reference>().is_err(), "{text:?}");
    }
}

fn references() -> impl Strategy<Value = String> {
    let component = "[a-z0-9]{1,5}(([.]|_|__|-{1,3})[a-z0-9]{1,5}){0,2}";
    let domain = prop_oneof![
        Just(String::new()),
        Just("docker.io/".to_owned()),
        Just("index.docker.io/".to_owned()),
        Just("localhost/".to_owned()),
        "[a-zA-Z0-9]{1,5}(-[a-z0-9]{1,3})?([.][a-z0-9]{1,5}){1,2}/",
        "[a-z]{1,9}:[1-9][0-9]{0,3}/",
        Just("[::1]:5000/".to_owned()),
    ];
    // Without a dot: otherwise it could be taken for a domain.
    let first = "[a-z0-9]{1,5}((_|__|-{1,3})[a-z0-9]{1,5}){0,2}";
    let rest = prop::collection::vec(component, 0..3);
    let path = (first, rest).prop_map(|(first, rest)| [vec![first], rest].concat().join("/"));
    let tag = prop_oneof![Just(String::new()), ":[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"];
    let digest = prop_oneof![Just(String::new()), "@sha256:[0-9a-f]{64}"];
    (domain, path, tag, digest).prop_map(|(d, p, t, g)| format!("{d}{p}{t}{g}"))
}

proptest! {
    #[test]
    fn what_is_printed_means_the_same(text in references()) {
        let reference: Reference = text.parse().unwrap();
        prop_assert_eq!(&reference.to_string().parse::<Reference>().unwrap(), &reference);
        let full: Reference = reference.canonical().parse().unwrap();
        prop_assert_eq!(full.canonical(), reference.canonical());
        prop_assert_eq!(full.domain(), reference.domain());
        prop_assert_eq!(full.path(), reference.path());
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in "\\PC{0,40}") {
        if let Ok(reference) = text.parse::<Reference>() {
            prop_assert_eq!(reference.to_string().parse::<Reference>().unwrap(), reference);
        }
    }
}
