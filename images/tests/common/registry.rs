//! Debian's `docker-registry` on a free loopback port.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// A running registry, stopped when dropped.
pub(crate) struct Registry {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Registry {
    pub(crate) fn start() -> Self {
        Self::configured("", "")
    }

    /// With more under `http`, and more beside it, of its configuration in YAML.
    pub(crate) fn configured(http: &str, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http: {{addr: 127.0.0.1:{port}{http}}}\n{more}",
            folder.path().join("data").display()
        );
        let path = folder.path().join("config.yml");
        fs::write(&path, config).unwrap();
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("docker-registry must be installed");
        let stderr = child.stderr.take().unwrap();
        thread::spawn(move || for _ in BufReader::new(stderr).lines() {});
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "docker-registry does not answer");
            assert!(child.try_wait().unwrap().is_none(), "docker-registry ended");
            thread::sleep(Duration::from_millis(20));
        }
        Self {
            child,
            port,
            _folder: folder,
        }
    }

    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Copies an image of an OCI layout into the registry, as it is.
    pub(crate) fn push(&self, layout: &Path, name: &str, target: &str) {
        let source = format!("oci:{}:{name}", layout.display());
        self.copy(&["--preserve-digests"], &source, target);
    }

    /// Lets skopeo copy an image into the registry.
    pub(crate) fn copy(&self, options: &[&str], source: &str, target: &str) {
        let status = Command::new("skopeo")
            .args(["copy", "--quiet", "--insecure-policy"])
            .args(["--all", "--dest-tls-verify=false"])
            .args(options)
            .arg(source)
            .arg(format!("docker://{}/{target}", self.host()))
            .status()
            .expect("skopeo must be installed");
        assert!(status.success(), "skopeo cannot push {target}");
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}
