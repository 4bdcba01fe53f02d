//! A proxy that spoils one blob on its way from a registry.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// What happens to the blob.
#[derive(Clone, Copy, PartialEq)]
pub enum Fault {
    /// One bit in its middle is another.
    FlippedBit,
    /// Its second half is missing, and the registry says nothing of it.
    Short,
    /// The connection breaks in its middle, the first time.
    BrokenOnce,
    /// Its second half does not come.
    Stalled,
}

/// Starts a proxy for the registry at `upstream` and returns its address. It spoils the blob whose
/// digest is `blob`, and ends with the test program.
pub fn start(upstream: String, blob: String, fault: Fault) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let broken = Arc::new(AtomicBool::new(false));
    thread::spawn(move || {
        for client in listener.incoming() {
            let (upstream, blob, broken) = (upstream.clone(), blob.clone(), Arc::clone(&broken));
            thread::spawn(move || {
                let (request, mut answer) = exchange(client.as_ref().unwrap(), &upstream);
                if request.contains(&blob)
                    && !(fault == Fault::BrokenOnce && broken.swap(true, Ordering::Relaxed))
                {
                    spoil(&mut answer, fault);
                }
                // The client may have given up.
                let _ = client.as_ref().unwrap().write_all(&answer);
                if fault == Fault::Stalled && request.contains(&blob) {
                    thread::park();
                }
            });
        }
    });
    address
}

/// Hands on one request, and reads its whole answer. Returns the request's first line and the answer.
fn exchange(client: &TcpStream, upstream: &str) -> (String, Vec<u8>) {
    let mut lines = BufReader::new(client).lines().map(Result::unwrap);
    let request = lines.next().unwrap_or_default();
    let mut head = format!("{request}\r\nconnection: close\r\n");
    for line in lines.take_while(|line| !line.is_empty()) {
        if !line.to_lowercase().starts_with("connection:") {
            head += &line;
            head += "\r\n";
        }
    }
    head += "\r\n";
    let mut server = TcpStream::connect(upstream).unwrap();
    server.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).unwrap();
    (request, answer)
}

fn spoil(answer: &mut Vec<u8>, fault: Fault) {
    let end = b"\r\n\r\n";
    let start = answer.windows(4).position(|part| part == end).unwrap() + end.len();
    let length = answer.len() - start;
    let middle = start + length / 2;
    match fault {
        Fault::FlippedBit => answer[middle] ^= 1,
        Fault::BrokenOnce | Fault::Stalled => answer.truncate(middle),
        Fault::Short => {
            let head = String::from_utf8(answer[..start].to_vec()).unwrap();
            let said = format!("Content-Length: {length}\r\n");
            assert!(head.contains(&said), "{head}");
            let head = head.replace(&said, &format!("Content-Length: {}\r\n", length / 2));
            let body = answer[start..middle].to_vec();
            *answer = [head.into_bytes(), body].concat();
        }
    }
}
