//! Registries that can be reached through a proxy only: their names mean nothing here.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::json;

use crate::certificates::Authority;
use crate::place::{Place, refused};
use crate::support::registry::{Registry, free_port};
use crate::support::{assert_output, output};

/// A proxy that takes every name for `upstream`'s.
struct Proxy {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn start(upstream: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&asked);
        // Ends with the test's process.
        thread::spawn(move || {
            for client in listener.incoming() {
                let (upstream, shared) = (upstream.clone(), Arc::clone(&shared));
                // A side that hangs up ends its connection only.
                thread::spawn(move || connect(client?, &upstream, &shared));
            }
        });
        Self { address, asked }
    }

    /// What it was asked for since the last time, each once.
    fn asked(&self) -> Vec<String> {
        let mut asked = std::mem::take(&mut *self.asked.lock().unwrap());
        asked.dedup();
        asked
    }
}

fn connect(client: TcpStream, upstream: &str, asked: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    asked.lock().unwrap().push(line.trim().to_owned());
    while line != "\r\n" {
        line.clear();
        reader.read_line(&mut line)?;
    }
    let mut server = TcpStream::connect(upstream)?;
    let mut back = client.try_clone()?;
    back.write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
    let mut from = server.try_clone()?;
    thread::spawn(move || io::copy(&mut from, &mut back));
    io::copy(&mut reader, &mut server)?;
    server.shutdown(std::net::Shutdown::Write)
}

#[test]
fn each_scheme_has_its_proxy_and_some_hosts_none() {
    let authority = Authority::new();
    let (plain, secure) = (
        Registry::start(),
        Registry::configured(&authority.server(), ""),
    );
    let place = Place::new();
    plain.push(&place.layout(), "a", "a:1");
    secure.push(&place.layout(), "a", "a:1");
    let settings = json!({
        "plain.test": { "plainHttp": true },
        "registry.test": { "caFile": authority.certificate() },
    });
    place.write("home/registries.json", settings.to_string());
    let (http, https) = (Proxy::start(plain.host()), Proxy::start(secure.host()));
    let pull = |image: &str| {
        let mut command = place.pull(image);
        command
            .env("HTTP_PROXY", format!("http://{}", http.address))
            .env("https_proxy", format!("http://{}", https.address));
        command
    };
    let pulls = |command: &mut Command, image: &str| {
        assert_output(&output(command), 0, format!("{image}\n"));
    };

    let image = "plain.test/a:1";
    pulls(&mut pull(image), image);
    assert_eq!(http.asked(), ["CONNECT plain.test:80 HTTP/1.1"]);
    assert!(https.asked().is_empty());
    let image = "registry.test/a:1";
    pulls(&mut pull(image), image);
    assert_eq!(https.asked(), ["CONNECT registry.test:443 HTTP/1.1"]);
    assert!(http.asked().is_empty());

    // What the proxies do not know, they are not asked for.
    let image = format!("{}/a:1", plain.host());
    pulls(&mut pull(&image), &image);
    refused(
        pull("registry.test/b:1").env("NO_PROXY", "other.test,.test"),
        ["registry.test"],
    );
    assert!(http.asked().is_empty() && https.asked().is_empty());

    let nowhere = format!("http://me:secret@127.0.0.1:{}", free_port());
    let said = refused(
        pull("registry.test/b:1").env("https_proxy", nowhere),
        ["registry.test"],
    );
    assert!(!said.contains("secret"), "{said}");
    refused(
        pull("registry.test/b:1").env("https_proxy", "gopher://a"),
        ["HTTPS_PROXY"],
    );
}

#[test]
fn kernels_come_through_them_too() {
    let place = Place::new();
    let registry = Registry::start();
    let (http, https) = (Proxy::start(registry.host()), Proxy::start(registry.host()));
    let pull = |mirror: &str| {
        let mut command = place.terrarium();
        command
            .args(["kernel", "pull", "--mirror", mirror])
            .env("http_proxy", format!("http://{}", http.address))
            .env("HTTPS_PROXY", format!("http://{}", https.address));
        command
    };
    // What is behind the proxy is no mirror, and says so.
    refused(
        &mut pull("http://mirror.test/alpine"),
        ["http://mirror.test/alpine", "404"],
    );
    assert_eq!(http.asked(), ["CONNECT mirror.test:80 HTTP/1.1"]);
    assert!(https.asked().is_empty());
    refused(
        &mut pull("https://mirror.test/alpine"),
        ["https://mirror.test/alpine"],
    );
    assert_eq!(https.asked(), ["CONNECT mirror.test:443 HTTP/1.1"]);
    assert!(http.asked().is_empty());
    refused(
        pull("https://mirror.test/alpine").env("NO_PROXY", ".test"),
        ["mirror.test"],
    );
    assert!(http.asked().is_empty() && https.asked().is_empty());
}
