//! A mirror of files on loopback.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;

/// Serves the files of a folder until the test program ends, and returns the folder's URL.
pub fn serve(folder: PathBuf) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for client in listener.incoming() {
            answer(client.unwrap(), &folder);
        }
    });
    url
}

fn answer(mut client: TcpStream, folder: &Path) {
    let mut lines = BufReader::new(&client).lines().map(Result::unwrap);
    let request = lines.next().unwrap();
    let path = request.split(' ').nth(1).unwrap().to_owned();
    lines.take_while(|line| !line.is_empty()).for_each(drop);
    let (status, contents) = match fs::read(folder.join(path.trim_start_matches('/'))) {
        Ok(contents) => ("200 OK", contents),
        Err(_) => ("404 Not Found", Vec::new()),
    };
    let length = contents.len();
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    // A client that has enough may have gone.
    let _ = client.write_all(&[head.into_bytes(), contents].concat());
}
