//! A registry that does as a test says.

use std::{
    collections::HashMap,
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{Arc, Mutex},
    thread,
};

use images::{Error, Image, Platform, PullOptions, Reference, Store};

use super::{archive::archive, layout::Layout};

/// What the server does with one request.
pub(crate) enum Answer {
    /// Serves the content.
    Good,
    /// Sends half of the content that is left, then hangs up.
    Half,
    /// Flips the content's last bit.
    Flipped,
    /// Sends another byte after the content.
    Longer,
    /// Sends the content from its beginning, whatever was asked for.
    Anew,
    /// Sends half of the content that is left, and the rest once the closure returns.
    HalfUntil(Box<dyn Fn() + Send + Sync>),
    /// Sends this once, then the second part for ever.
    Raw(&'static str, &'static [u8]),
    /// This status, with these header lines and body.
    Status(u16, String, &'static str),
}

type Script = dyn Fn(&str, &str, usize) -> Answer + Send + Sync;

/// A registry whose answers a script decides: given the path, the authorization, and how often that
/// path has been asked for before.
pub(crate) struct Scripted {
    pub(crate) host: String,
    seen: Arc<Mutex<HashMap<String, usize>>>,
}

impl Scripted {
    pub(crate) fn start(
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

    pub(crate) fn requests(&self, part: &str) -> usize {
        let seen = self.seen.lock().unwrap();
        seen.iter()
            .filter(|(path, _)| path.contains(part))
            .map(|(_, count)| count)
            .sum()
    }

    pub(crate) fn pull(&self, store: &Store, options: &PullOptions) -> Result<Image, Error> {
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
        Answer::Raw(first, then) => {
            stream.write_all(first.as_bytes())?;
            // Ends when the client hangs up.
            while !then.is_empty() {
                stream.write_all(then)?;
            }
            return Ok(());
        }
        Answer::Flipped => *content.last_mut().unwrap() ^= 1,
        Answer::Longer => content.push(0),
        Answer::Anew => offset = 0,
        Answer::Good | Answer::Half | Answer::HalfUntil(_) => {}
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
    let (first, second) = rest.split_at(rest.len() / 2);
    stream.write_all(first)?;
    match answer {
        Answer::Half => return Ok(()),
        Answer::HalfUntil(wait) => wait(),
        _ => {}
    }
    stream.write_all(second)
}

/// A store, and an image of one layer for scripted registries to serve.
pub(crate) struct Fixture {
    pub(crate) work: tempfile::TempDir,
    pub(crate) manifest: String,
    pub(crate) store: Store,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let noise: Vec<u8> = (0..200_000_u32)
            .map(|index| index.wrapping_mul(2_654_435_761).to_le_bytes()[3])
            .collect();
        Self::of(&[archive(&[("noise", &noise)])])
    }

    /// An image of these layers.
    pub(crate) fn of(layers: &[Vec<u8>]) -> Self {
        let work = tempfile::tempdir().unwrap();
        let mut layout = Layout::new(&work.path().join("layout"));
        let image = layout.image("amd64", layers);
        let manifest = image["digest"].as_str().unwrap().to_owned();
        layout.name(image, "x");
        let store = Store::open(&work.path().join("images")).unwrap();
        Self {
            work,
            manifest,
            store,
        }
    }

    /// The digest of the image's configuration.
    pub(crate) fn config(&self) -> String {
        let hex = self.manifest.trim_start_matches("sha256:");
        let path = self.work.path().join("layout/blobs/sha256").join(hex);
        let manifest: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        manifest["config"]["digest"].as_str().unwrap().to_owned()
    }

    pub(crate) fn serve(
        &self,
        script: impl Fn(&str, &str, usize) -> Answer + Send + Sync + 'static,
    ) -> Scripted {
        Scripted::start(&self.work.path().join("layout"), &self.manifest, script)
    }

    pub(crate) fn fails(
        &self,
        script: impl Fn(&str, &str, usize) -> Answer + Send + Sync + 'static,
    ) -> Error {
        self.serve(script)
            .pull(&self.store, &PullOptions::default())
            .unwrap_err()
    }
}
