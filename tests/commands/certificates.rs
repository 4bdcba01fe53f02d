//! A certificate authority, by openssl.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// An authority, and a certificate of it for `127.0.0.1` and `registry.test`.
pub struct Authority(TempDir);

impl Authority {
    pub fn new() -> Self {
        let authority = Self(tempfile::tempdir().unwrap());
        authority.make("ca", &["-subj", "/CN=Authority of a test"]);
        let (certificate, key) = (authority.path("ca.pem"), authority.path("ca.key"));
        authority.make(
            "server",
            &[
                "-subj",
                "/CN=registry.test",
                "-addext",
                "subjectAltName=DNS:registry.test,IP:127.0.0.1",
                "-addext",
                "basicConstraints=critical,CA:FALSE",
                "-CA",
                certificate.to_str().unwrap(),
                "-CAkey",
                key.to_str().unwrap(),
            ],
        );
        authority
    }

    /// The authority's certificate.
    pub fn certificate(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// What a registry must be told under `http` to speak TLS.
    pub fn server(&self) -> String {
        let (certificate, key) = (self.path("server.pem"), self.path("server.key"));
        let (certificate, key) = (certificate.display(), key.display());
        format!(", tls: {{certificate: {certificate}, key: {key}}}")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn make(&self, name: &str, options: &[&str]) {
        let (certificate, key) = (format!("{name}.pem"), format!("{name}.key"));
        openssl(
            Command::new("openssl")
                .args([
                    "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                ])
                .args(["-out", &certificate, "-keyout", &key])
                .args(options),
            self.0.path(),
        );
    }
}

/// Runs openssl in a folder.
pub fn openssl(command: &mut Command, folder: &Path) -> Vec<u8> {
    let output = command.current_dir(folder).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    output.stdout
}
