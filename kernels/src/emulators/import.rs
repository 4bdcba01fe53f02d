//! Taking emulators out of a package, or a single one from its file.

use std::fs::{self, File, Permissions};
use std::io::BufReader;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use object::elf::{FileHeader64, PT_INTERP};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Architecture, Endianness, Object, read::elf::ElfFile64};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::{Emulator, Emulators, PROGRAM, RECORD, Record, Target};
use crate::compression::read_bounded;
use crate::error::io_error;
use crate::folder::{sync_dir, write};
use crate::kernel::hex;
use crate::package::{Contents, read_deb};
use crate::{Arch, Error, FormatError};

/// The largest emulator accepted, in bytes: QEMU 7.2's have 13 MB.
const MAX_EMULATOR: u64 = 256 << 20;

/// What is kept of a package: emulators of known targets, by their file names.
fn kept_as(path: &str) -> Option<&str> {
    let name = path.trim_start_matches("./").strip_prefix("usr/bin/")?;
    Target::of_emulator(name).map(|_| name)
}

impl Emulators {
    /// Imports the emulators of a Debian package such as `qemu-user-static`. Those of the same kind
    /// that are stored already are replaced.
    ///
    /// # Errors
    /// If the package cannot be read, has no emulator, or one that guests could not run; the store is
    /// unchanged then.
    pub fn import_deb(&self, package: &Path) -> Result<Vec<Emulator>, Error> {
        let file = File::open(package).map_err(io_error("open", package))?;
        let read = |contents: &mut Contents| {
            read_deb(BufReader::new(file), contents)?;
            let names: Vec<String> = contents.paths().map(str::to_owned).collect();
            let read = |name: String| Ok((name.clone(), contents.read(&name, MAX_EMULATOR)?));
            names.into_iter().map(read).collect()
        };
        self.import(package, read)
    }

    /// Imports one emulator, a static program named as QEMU's are, such as `qemu-aarch64-static`.
    ///
    /// # Errors
    /// As for [`import_deb`](Self::import_deb).
    pub fn import_file(&self, path: &Path) -> Result<Vec<Emulator>, Error> {
        let file = File::open(path).map_err(io_error("open", path))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        self.import(path, |_| {
            let program = read_bounded(file, "It", MAX_EMULATOR)?;
            Ok(vec![(name.into_owned(), program)])
        })
    }

    fn import(
        &self,
        path: &Path,
        read: impl FnOnce(&mut Contents) -> Result<Vec<(String, Vec<u8>)>, FormatError>,
    ) -> Result<Vec<Emulator>, Error> {
        let _lock = self.folder.lock()?;
        let staging = self.folder.staging()?;
        let dir = self.folder.path();
        let mut contents =
            Contents::new_in(dir, kept_as).map_err(io_error("create a file in", dir))?;
        let programs = read(&mut contents).and_then(check);
        let programs = programs.map_err(|source| Error::ImportEmulator {
            path: path.to_owned(),
            source,
        })?;
        let source = path.file_name().unwrap_or_default().to_string_lossy();
        programs
            .iter()
            .map(|program| self.keep(program, &source, &staging))
            .collect()
    }

    /// Writes an emulator into its folder, in place of the one that is there.
    fn keep(&self, program: &Program, source: &str, staging: &TempDir) -> Result<Emulator, Error> {
        let name = format!("{}-on-{}", program.target, program.host);
        let path = self.folder.path().join(&name);
        let record = Record {
            target: program.target.name().to_owned(),
            host: program.host,
            source: source.to_owned(),
            sha256: hex(&Sha256::digest(&program.bytes)),
            bytes: u64::try_from(program.bytes.len()).unwrap_or(u64::MAX),
        };
        let record = serde_json::to_vec_pretty(&record)
            .map_err(|error| io_error("describe", &path)(error.into()))?;
        let new = staging.path().join(&name);
        fs::create_dir(&new).map_err(io_error("create", &new))?;
        let file = new.join(PROGRAM);
        write(&file, &program.bytes)?;
        fs::set_permissions(&file, Permissions::from_mode(0o755))
            .map_err(io_error("make executable", &file))?;
        write(&new.join(RECORD), &record)?;
        sync_dir(&new)?;
        if path.exists() {
            let old = staging.path().join(format!("{name}-old"));
            fs::rename(&path, old).map_err(io_error("replace", &path))?;
        }
        fs::rename(&new, &path).map_err(io_error("create", &path))?;
        sync_dir(self.folder.path())?;
        Emulator::read(&path)
    }
}

/// An emulator that guests can run.
struct Program {
    target: Target,
    host: Arch,
    bytes: Vec<u8>,
}

fn check(files: Vec<(String, Vec<u8>)>) -> Result<Vec<Program>, FormatError> {
    if files.is_empty() {
        return Err(FormatError::malformed(
            "It has no emulator (usr/bin/qemu-TARGET-static)",
        ));
    }
    files
        .into_iter()
        .map(|(name, bytes)| {
            let target = Target::of_emulator(&name).ok_or_else(|| {
                if bytes.starts_with(b"!<arch>\n") {
                    return FormatError::malformed("It is a package: import it by --deb FILE");
                }
                let known = Target::ALL.map(|target| target.name()).join(", ");
                FormatError::malformed(format!(
                    "An emulator is named qemu-TARGET or qemu-TARGET-static, TARGET being one of {known}"
                ))
            })?;
            let host = host(&name, &bytes)?;
            Ok(Program {
                target,
                host,
                bytes,
            })
        })
        .collect()
}

/// What an emulator runs on. It must be static: guests have no libraries of that architecture.
fn host(name: &str, program: &[u8]) -> Result<Arch, FormatError> {
    let wrong = |reason: &str| FormatError::malformed(format!("{name} {reason}"));
    let elf = ElfFile64::<Endianness>::parse(program)
        .map_err(|_| wrong("is not a 64-bit ELF program"))?;
    let arch = match elf.architecture() {
        Architecture::X86_64 => Arch::X86_64,
        Architecture::Aarch64 => Arch::Aarch64,
        _ => return Err(wrong("runs on neither x86_64 nor aarch64")),
    };
    let headers = FileHeader64::<Endianness>::parse(program)
        .and_then(|header| header.program_headers(elf.endian(), program))
        .map_err(|_| wrong("has damaged ELF headers"))?;
    if headers
        .iter()
        .any(|header| header.p_type(elf.endian()) == PT_INTERP)
    {
        return Err(wrong(
            "is not a static program: take it from the package qemu-user-static",
        ));
    }
    Ok(arch)
}
