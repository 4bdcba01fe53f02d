//! A repository as Alpine's are, signed with a key of its own, on loopback.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use base64ct::{Base64, Encoding};

use super::{Apk, gzip, tar, tar_segment};

/// The key that the test's repository is signed with.
pub(crate) const KEY: &str = "test@example.org-1.rsa.pub";

/// A mirror on loopback, its files by their URL's path.
pub(crate) struct Mirror {
    pub(crate) url: String,
    files: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    pub(crate) requests: Arc<Mutex<Vec<String>>>,
}

impl Mirror {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mirror = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            files: Arc::default(),
            requests: Arc::default(),
        };
        let (files, requests) = (Arc::clone(&mirror.files), Arc::clone(&mirror.requests));
        thread::spawn(move || {
            for stream in listener.incoming() {
                answer(stream.unwrap(), &files.lock().unwrap(), &requests);
            }
        });
        mirror
    }

    pub(crate) fn put(&self, path: &str, contents: Vec<u8>) {
        self.files
            .lock()
            .unwrap()
            .insert(format!("/v3.24/main/x86_64/{path}"), contents);
    }
}

fn answer(mut stream: TcpStream, files: &BTreeMap<String, Vec<u8>>, requests: &Mutex<Vec<String>>) {
    let mut request = String::new();
    let mut lines = BufReader::new(stream.try_clone().unwrap());
    lines.read_line(&mut request).unwrap();
    let path = request.split(' ').nth(1).unwrap().to_owned();
    let mut header = String::new();
    while lines.read_line(&mut header).unwrap() > 2 {
        header.clear();
    }
    let (status, contents) = match files.get(&path) {
        Some(contents) => ("200 OK", contents.as_slice()),
        None => ("404 Not Found", &[][..]),
    };
    requests.lock().unwrap().push(path);
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        contents.len()
    )
    .unwrap();
    // A client that has enough may have gone.
    let _ = stream.write_all(contents);
}

/// A key pair, made by openssl as Alpine's developers make theirs.
pub(crate) struct Key {
    dir: PathBuf,
}

impl Key {
    pub(crate) fn make(dir: PathBuf) -> Self {
        fs::create_dir_all(dir.join("public")).unwrap();
        let key = Self { dir };
        key.openssl(&["genrsa", "-out", "private.pem", "2048"]);
        let public = format!("public/{KEY}");
        key.openssl(&["rsa", "-in", "private.pem", "-pubout", "-out", &public]);
        key
    }

    pub(crate) fn public(&self) -> PathBuf {
        self.dir.join("public")
    }

    pub(crate) fn sign(&self, hash: &str, bytes: &[u8]) -> Vec<u8> {
        fs::write(self.dir.join("signed"), bytes).unwrap();
        self.openssl(&[
            "dgst",
            hash,
            "-sign",
            "private.pem",
            "-out",
            "signature",
            "signed",
        ]);
        fs::read(self.dir.join("signature")).unwrap()
    }

    fn openssl(&self, arguments: &[&str]) {
        let output = Command::new("openssl")
            .args(arguments)
            .current_dir(&self.dir)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

pub(crate) fn list(package: &Apk, version: &str, built: u64) -> Vec<u8> {
    let list = format!(
        "C:Q1AAAAAAAAAAAAAAAAAAAAAAAAAAA=\nP:other\nV:1\nA:x86_64\nS:1\nt:{built}\n\n\
         C:Q1{}\nP:linux-virt\nV:{version}\nA:x86_64\nS:{}\nI:1\nT:Linux\nt:{}\n\n",
        Base64::encode_string(&package.checksum),
        package.bytes.len(),
        built - 10,
    );
    gzip(&tar(&[
        ("DESCRIPTION".to_owned(), b"test".to_vec()),
        ("APKINDEX".to_owned(), list.into_bytes()),
    ]))
}

#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Sha1,
    Sha256,
}

pub(crate) fn signed(key: &Key, kind: Kind, index: &[u8]) -> Vec<u8> {
    let (hash, name) = match kind {
        Kind::Sha1 => ("-sha1", "RSA"),
        Kind::Sha256 => ("-sha256", "RSA256"),
    };
    let signature = key.sign(hash, index);
    let mut signed = gzip(&tar_segment(&[(format!(".SIGN.{name}.{KEY}"), signature)]));
    signed.extend_from_slice(index);
    signed
}
