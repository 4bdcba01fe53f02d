//! Which program a command is, and why it could not be executed.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use guest_init::control::FailureKind;
use rustix::io::Errno;

use crate::failure::Failure;

/// Bytes of a script's first line that the kernel looks at (`BINPRM_BUF_SIZE`).
const FIRST_LINE: u64 = 256;

/// The files that `program` may mean, in the order to try them: itself if it has a slash, otherwise
/// one in each folder of `path`. An empty folder is the working directory, as in execvp(3).
pub(crate) fn candidates(program: &[u8], path: &[u8]) -> Vec<Vec<u8>> {
    if program.is_empty() || program.contains(&b'/') {
        return vec![program.to_vec()];
    }
    path.split(|&byte| byte == b':')
        .map(|folder| match folder {
            b"" => [b"./", program].concat(),
            folder => [folder, b"/", program].concat(),
        })
        .collect()
}

/// Executes the first candidate that can be. Returns why none could: `EACCES` if one exists, else
/// what the last said. Called between fork and exec.
pub(crate) fn first_of(candidates: &[CString], mut exec: impl FnMut(&CString) -> Errno) -> Errno {
    let mut denied = false;
    for candidate in candidates {
        match exec(candidate) {
            Errno::NOENT | Errno::NOTDIR => {}
            Errno::ACCESS => denied = true,
            error => return error,
        }
    }
    if denied { Errno::ACCESS } else { Errno::NOENT }
}

/// Says why executing `program` failed with `error`, having tried `candidates` with the current
/// working directory.
pub(crate) fn explain(program: &[u8], candidates: &[Vec<u8>], error: Errno) -> Failure {
    let found = candidates.iter().find(|candidate| is_file(candidate));
    let name = program.escape_ascii();
    let (kind, message) = match (found, error) {
        (Some(file), Errno::NOENT | Errno::NOTDIR) => (
            FailureKind::NotFound,
            format!(
                "exec \"{}\": {} does not exist in the image",
                file.escape_ascii(),
                interpreter(file)
            ),
        ),
        (None, _) if !program.contains(&b'/') => (
            FailureKind::NotFound,
            format!("exec \"{name}\": executable file not found in $PATH"),
        ),
        (None, Errno::NOENT | Errno::NOTDIR) => (
            FailureKind::NotFound,
            format!("exec \"{name}\": no such file or directory"),
        ),
        (None, Errno::ACCESS) if is_folder(program) => (
            FailureKind::NotExecutable,
            format!("exec \"{name}\": is a directory"),
        ),
        (Some(file), Errno::ACCESS) => (
            FailureKind::NotExecutable,
            format!("exec \"{}\": permission denied", file.escape_ascii()),
        ),
        (Some(file), Errno::NOEXEC) => (
            FailureKind::NotExecutable,
            format!(
                "exec \"{}\": exec format error: not a program for this machine, or a script \
                 without #! in its first line",
                file.escape_ascii()
            ),
        ),
        (_, error) => (
            FailureKind::NotExecutable,
            format!("exec \"{name}\": {error}"),
        ),
    };
    Failure { kind, message }
}

/// What the kernel needs to run a file that exists.
fn interpreter(file: &[u8]) -> String {
    let mut start = Vec::new();
    let read =
        File::open(as_path(file)).and_then(|file| file.take(FIRST_LINE).read_to_end(&mut start));
    match (read, start.strip_prefix(b"#!")) {
        (Ok(_), Some(rest)) => {
            let line = rest.split(|&byte| byte == b'\n').next().unwrap_or(rest);
            let program = line
                .trim_ascii()
                .split(|byte| byte.is_ascii_whitespace())
                .next()
                .unwrap_or(line);
            format!("its interpreter \"{}\"", program.escape_ascii())
        }
        _ => "its dynamic loader".to_owned(),
    }
}

fn is_file(path: &[u8]) -> bool {
    fs::metadata(as_path(path)).is_ok_and(|data| data.is_file())
}

fn is_folder(path: &[u8]) -> bool {
    fs::metadata(as_path(path)).is_ok_and(|data| data.is_dir())
}

fn as_path(path: &[u8]) -> &Path {
    Path::new(std::ffi::OsStr::from_bytes(path))
}

#[cfg(test)]
mod tests;
