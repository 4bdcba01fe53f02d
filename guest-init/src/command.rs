//! Starting the command.

use std::ffi::CString;

use guest_init::spec::RunSpec;
use rustix::fs::{CWD, Mode};
use rustix::io::Errno;
use rustix::process::Pid;

use crate::child::{Child, Step};
use crate::failure::{Context, Failure};
use crate::pipes::{self, OurEnds};
use crate::users::{Database, Identity};
use crate::{environment, exec};

/// The running command.
#[derive(Debug)]
pub(crate) struct Started {
    /// Its process, which leads a process group of its own.
    pub(crate) pid: Pid,
    /// Our ends of its streams.
    pub(crate) ends: OurEnds,
}

/// Starts the command in the current root.
pub(crate) fn start(spec: &RunSpec) -> Result<Started, Failure> {
    let identity = Identity::resolve(&spec.user, &Database::read()?)?;
    let environment = environment::complete(
        &spec.env,
        &spec.hostname,
        &identity.home,
        spec.terminal.is_some(),
    );
    let program = spec
        .argv
        .first()
        .ok_or_else(|| Failure::setup("No command is given"))?;
    let path = environment::value(&environment, b"PATH").unwrap_or_default();
    let candidates = exec::candidates(program, path);
    enter_working_directory(&spec.working_directory)?;
    let (ends, theirs) = match spec.terminal {
        Some(size) => pipes::terminal(size, identity.uid)?,
        None => pipes::pipes(spec.stdin, identity.uid)?,
    };
    let child = Child {
        identity,
        linux32: spec.linux32,
        rlimits: spec.rlimits.clone(),
        terminal: spec.terminal.is_some(),
        candidates: c_strings("program", &candidates)?,
        argv: c_strings("argument", &spec.argv)?,
        environment: c_strings("variable", &environment)?,
    };
    match child.spawn(theirs) {
        Ok(pid) => Ok(Started { pid, ends }),
        Err((Step::Execute, error)) => Err(exec::explain(program, &candidates, error)),
        Err((step, error)) => Err(error).context(|| step.describe().to_owned()),
    }
}

/// Goes to the working directory, which the command inherits, and creates it if missing.
fn enter_working_directory(path: &[u8]) -> Result<(), Failure> {
    let path = if path.is_empty() { b"/" } else { path };
    let shown = path.escape_ascii();
    if !path.starts_with(b"/") {
        return Err(Failure::setup(format!(
            "The working directory {shown} is not absolute"
        )));
    }
    let slashes = path.iter().enumerate().skip(1);
    let ends = slashes.filter_map(|(at, &byte)| (byte == b'/').then_some(at));
    for end in ends.chain([path.len()]) {
        match rustix::fs::mkdirat(CWD, &path[..end], Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST | Errno::ROFS) => {}
            Err(error) => {
                return Err(error).context(|| format!("Create the working directory {shown}"));
            }
        }
    }
    rustix::process::chdir(path).context(|| format!("Change to the working directory {shown}"))
}

fn c_strings(what: &str, strings: &[Vec<u8>]) -> Result<Vec<CString>, Failure> {
    strings
        .iter()
        .map(|string| {
            CString::new(string.as_slice())
                .context(|| format!("The {what} {}", string.escape_ascii()))
        })
        .collect()
}
