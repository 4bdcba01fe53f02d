//! Files from a mirror, over HTTP. Nothing here is trusted: signatures and hashes are checked by
//! those who use the files, so the transport need not be.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use web::{Client, Options};

use crate::compression::read_bounded;
use crate::error::io_error;
use crate::{Error, FormatError};

/// To have all of a file.
const FILE_TIMEOUT: Duration = Duration::from_secs(30 * 60);

fn get(url: &str) -> Result<impl Read, Error> {
    let client = Client::new(Options {
        plain_http: true,
        body_timeout: Some(FILE_TIMEOUT),
        ..Options::default()
    })?;
    let response = client.get(url, &[], &[], None)?.response;
    let status = response.status().as_u16();
    if status != 200 {
        return Err(Error::Fetch {
            url: url.to_owned(),
            status,
        });
    }
    Ok(response.into_body().into_reader())
}

/// Fetches a file of at most `limit` bytes.
pub(super) fn to_memory(url: &str, limit: u64) -> Result<Vec<u8>, Error> {
    let body = get(url)?;
    read_bounded(body, "The file", limit).map_err(|source| Error::Repository {
        url: url.to_owned(),
        source,
    })
}

/// Fetches a file of exactly `size` bytes into a new file.
pub(super) fn to_file(url: &str, size: u64, path: &Path) -> Result<(), Error> {
    let repository = |source| Error::Repository {
        url: url.to_owned(),
        source,
    };
    let mut file = File::create_new(path).map_err(io_error("create", path))?;
    let mut body = get(url)?;
    let mut buffer = vec![0; 1 << 16];
    let mut length = 0;
    loop {
        let read = match body.read(&mut buffer) {
            Ok(read) => read,
            Err(error) => return Err(repository(error.into())),
        };
        length += u64::try_from(read).unwrap_or(u64::MAX);
        if read == 0 || length > size {
            break;
        }
        file.write_all(&buffer[..read])
            .map_err(io_error("write", path))?;
    }
    if length == size {
        Ok(())
    } else {
        Err(repository(FormatError::Malformed(format!(
            "It does not have the {size} bytes that the index says"
        ))))
    }
}
