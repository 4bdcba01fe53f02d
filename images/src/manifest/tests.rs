use super::*;

const DIGEST: &str = "sha256:cb1521c0b8d028615597b70db382373b23778029a6b885e221b9bb9fcb623baa";

fn manifest(config_type: &str, layer_type: &str) -> String {
    format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"{config_type}","digest":"{DIGEST}","size":1}},
            "layers":[{{"mediaType":"{layer_type}","digest":"{DIGEST}","size":1}}]}}"#
    )
}

fn parse(text: &str) -> Result<Document, Error> {
    Document::parse(text.as_bytes(), "", "manifest of x")
}

#[test]
fn takes_both_dialects() {
    for (config, layer) in [
        (OCI_CONFIG, "application/vnd.oci.image.layer.v1.tar"),
        (OCI_CONFIG, "application/vnd.oci.image.layer.v1.tar+zstd"),
        (
            DOCKER_CONFIG,
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
        ),
    ] {
        assert!(matches!(
            parse(&manifest(config, layer)),
            Ok(Document::Manifest(_))
        ));
    }
}

#[test]
fn refuses_with_a_reason() {
    let layer = "application/vnd.oci.image.layer.v1.tar+gzip";
    for (text, reason) in [
        (manifest("application/x-helm", layer), "artifact"),
        (
            manifest(
                OCI_CONFIG,
                "application/vnd.oci.image.layer.nondistributable.v1.tar",
            ),
            "foreign",
        ),
        (
            manifest(
                DOCKER_CONFIG,
                "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            ),
            "foreign",
        ),
        (
            manifest(OCI_CONFIG, "text/plain"),
            "not a file system layer",
        ),
        (r#"{"schemaVersion":1}"#.to_owned(), "schema version 1"),
        (
            manifest(OCI_CONFIG, layer).replacen('{', r#"{"manifests":[],"#, 1),
            "an index and a manifest",
        ),
        (
            r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#.to_owned(),
            "an index and a manifest",
        ),
    ] {
        let error = parse(&text).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
    assert!(parse("{").is_err());
    assert!(parse("[]").is_err());
}

#[test]
fn passes_over_attestations() {
    let entry = |os: &str, arch: &str, annotation: &str| {
        format!(
            r#"{{"mediaType":"{OCI_MANIFEST}","digest":"{DIGEST}","size":7,
                "platform":{{"os":"{os}","architecture":"{arch}"}},"annotations":{{{annotation}}}}}"#
        )
    };
    let text = format!(
        r#"{{"schemaVersion":2,"manifests":[{},{},{}]}}"#,
        entry("unknown", "unknown", ""),
        entry(
            "linux",
            "amd64",
            r#""vnd.docker.reference.type":"attestation-manifest""#
        ),
        entry("linux", "386", ""),
    );
    let Document::Index(index) = parse(&text).unwrap() else {
        panic!("not an index")
    };
    let chosen = index.choose(&Platform::new("linux", "amd64", None), "x");
    let platform = chosen.unwrap().platform.clone().unwrap();
    assert_eq!(platform.architecture, "386");
    let error = index.choose(&Platform::new("linux", "s390x", None), "x");
    let message = error.unwrap_err().to_string();
    assert!(
        message.contains("no linux/s390x, only linux/386"),
        "{message}"
    );
}

#[test]
fn a_digest_that_cannot_be_checked_hides_no_other_image() {
    let image = |digest: &str, architecture: &str| {
        format!(
            r#"{{"digest":"{digest}","size":1,"platform":{{"os":"linux","architecture":"{architecture}"}}}}"#
        )
    };
    let sha512 = format!("sha512:{}", "0".repeat(128));
    let index = |digest: &str| {
        let (first, second) = (image(digest, "amd64"), image(DIGEST, "arm64"));
        parse(&format!(
            r#"{{"schemaVersion":2,"manifests":[{first},{second}]}}"#
        ))
    };
    let Document::Index(parsed) = index(&sha512).unwrap() else {
        panic!("not an index");
    };
    let choose = |text: &str| parsed.choose(&text.parse().unwrap(), "x").cloned();
    assert_eq!(choose("linux/arm64").unwrap().digest.to_string(), DIGEST);
    assert!(
        choose("linux/amd64")
            .unwrap_err()
            .to_string()
            .contains("linux/arm64")
    );
    // What is no digest at all is an error.
    assert!(index("sha256:12").is_err());
    // In a manifest nothing can be left out.
    let layer = "application/vnd.oci.image.layer.v1.tar";
    let error = parse(&manifest(OCI_CONFIG, layer).replace(DIGEST, &sha512)).unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("sha512 is not supported"), "{source}");
}
