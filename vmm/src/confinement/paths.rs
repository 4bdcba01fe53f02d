//! Landlock: which paths a process may still open.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, Scope, path_beneath_rules,
};
use rustix::fs::{FsWord, fstatfs};

/// The newest version of Landlock whose rights are known here; older kernels enforce what they can.
const NEWEST: ABI = ABI::V6;

/// The file system of pipes without a name (`PIPEFS_MAGIC` of the kernel's `magic.h`).
const PIPE_FS: FsWord = 0x5049_5045;

/// What a process may still open by its path.
#[derive(Debug, Default)]
pub(crate) struct Paths<'a> {
    /// Files, and folders with all that is in them, to read and to execute. What does not exist is left
    /// out.
    pub(crate) readable: Vec<PathBuf>,
    /// Folders to make, write and remove files in.
    pub(crate) writable: Vec<PathBuf>,
    /// Devices, to use in every way.
    pub(crate) devices: Vec<PathBuf>,
    /// Open files, to open again for writing.
    pub(crate) reopened: Vec<BorrowedFd<'a>>,
}

/// Takes the rest of the file system, TCP, and abstract sockets and signals of other processes from the
/// calling thread and those that it starts, as far as the host's kernel can; descriptors that are open
/// stay so.
pub(crate) fn allow_only(paths: Paths<'_>) -> io::Result<()> {
    restrict(paths).map_err(io::Error::other)
}

fn restrict(paths: Paths<'_>) -> Result<(), RulesetError> {
    let read = AccessFs::from_read(NEWEST);
    let write: BitFlags<AccessFs> = AccessFs::MakeReg
        | AccessFs::ReadFile
        | AccessFs::RemoveFile
        | AccessFs::Truncate
        | AccessFs::WriteFile;
    let device = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev;
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?
        .add_rules(path_beneath_rules(paths.readable, read))?
        .add_rules(path_beneath_rules(paths.writable, write))?
        .add_rules(path_beneath_rules(paths.devices, device))?;
    // Pipes without a name are in no file system that Landlock knows: it takes no rule for them, and
    // leaves them alone.
    let is_named = |file: &BorrowedFd<'_>| !fstatfs(file).is_ok_and(|fs| fs.f_type == PIPE_FS);
    for file in paths.reopened.into_iter().filter(is_named) {
        rules = rules.add_rule(PathBeneath::new(file, AccessFs::WriteFile))?;
    }
    rules.restrict_self()?;
    Ok(())
}
