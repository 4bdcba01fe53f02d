//! Whom the command runs as, by the image's own /etc/passwd and /etc/group.
//!
//! The rules are those of docker's `--user`: see [`Identity::resolve`].

use std::fs::File;
use std::io::Read;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::failure::{Context, Failure};

/// The largest user and group number that docker takes.
const MAX_ID: u32 = i32::MAX.cast_unsigned();
/// Bytes read of /etc/passwd and /etc/group each.
const MAX_FILE: u64 = 16 << 20;

/// A user with groups and home, all numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// User number.
    pub(crate) uid: u32,
    /// Primary group.
    pub(crate) gid: u32,
    /// Supplementary groups, the primary one first.
    pub(crate) groups: Vec<u32>,
    /// Home directory.
    pub(crate) home: Vec<u8>,
}

/// The image's user database.
#[derive(Debug, Default)]
pub(crate) struct Database {
    passwd: Vec<u8>,
    group: Vec<u8>,
}

impl Database {
    /// Reads /etc/passwd and /etc/group of the current root. A file that does not exist is empty.
    pub(crate) fn read() -> Result<Self, Failure> {
        Ok(Self {
            passwd: read_file("/etc/passwd")?,
            group: read_file("/etc/group")?,
        })
    }
}

impl Identity {
    /// Resolves `user` or `user:group`, each a name or a number, an empty user being root.
    ///
    /// A number needs no entry; its group is then 0. Without a group, the user's own one and those
    /// that list the user by name are taken; with one, only that.
    pub(crate) fn resolve(user: &[u8], database: &Database) -> Result<Self, Failure> {
        let mut parts = user.splitn(2, |&byte| byte == b':');
        let user = parts.next().unwrap_or_default();
        let group = parts.next().unwrap_or_default();
        let user = if user.is_empty() { b"0" } else { user };
        let entry = passwd_entry(user, &database.passwd);
        let mut identity = match (&entry, number(user)) {
            (Some(entry), _) => Self {
                uid: entry.uid,
                gid: entry.gid,
                groups: Vec::new(),
                home: entry.home.to_vec(),
            },
            (None, Some(uid)) => Self {
                uid: in_range(uid)?,
                gid: 0,
                groups: Vec::new(),
                home: b"/".to_vec(),
            },
            (None, None) => {
                return Err(Failure::setup(format!(
                    "Unable to find user {}: no matching entries in passwd file",
                    user.escape_ascii()
                )));
            }
        };
        if identity.home.is_empty() {
            identity.home = b"/".to_vec();
        }
        let mut others = Vec::new();
        if !group.is_empty() {
            identity.gid = resolve_group(group, &database.group)?;
        } else if let Some(entry) = entry {
            others = groups_of(entry.name, &database.group);
        }
        identity.groups.push(identity.gid);
        for gid in others {
            if !identity.groups.contains(&gid) {
                identity.groups.push(gid);
            }
        }
        Ok(identity)
    }
}

/// A line of /etc/passwd.
struct PasswdEntry<'a> {
    name: &'a [u8],
    uid: u32,
    gid: u32,
    home: &'a [u8],
}

fn passwd_entry<'a>(user: &[u8], passwd: &'a [u8]) -> Option<PasswdEntry<'a>> {
    let wanted = number(user);
    entries(passwd).find_map(|fields| {
        let entry = PasswdEntry {
            name: fields.first()?,
            uid: number(fields.get(2)?)?,
            gid: number(fields.get(3)?)?,
            home: fields.get(5).copied().unwrap_or_default(),
        };
        let matches = match wanted {
            Some(uid) => entry.uid == uid,
            None => entry.name == user,
        };
        matches.then_some(entry)
    })
}

fn resolve_group(group: &[u8], file: &[u8]) -> Result<u32, Failure> {
    if let Some(gid) = number(group) {
        return in_range(gid);
    }
    entries(file)
        .find(|fields| fields.first() == Some(&group))
        .and_then(|fields| number(fields.get(2)?))
        .ok_or_else(|| {
            Failure::setup(format!(
                "Unable to find group {}: no matching entries in group file",
                group.escape_ascii()
            ))
        })
}

fn groups_of(user: &[u8], file: &[u8]) -> Vec<u32> {
    entries(file)
        .filter(|fields| {
            fields
                .get(3)
                .is_some_and(|members| members.split(|&byte| byte == b',').any(|name| name == user))
        })
        .filter_map(|fields| number(fields.get(2)?))
        .collect()
}

/// The lines of a database file, each cut at its colons.
fn entries(file: &[u8]) -> impl Iterator<Item = Vec<&[u8]>> {
    file.split(|&byte| byte == b'\n')
        .map(|line| line.trim_ascii().split(|&byte| byte == b':').collect())
}

fn number(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text)
        .ok()
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?
        .parse()
        .ok()
}

fn in_range(id: u32) -> Result<u32, Failure> {
    if id <= MAX_ID {
        return Ok(id);
    }
    Err(Failure::setup(format!(
        "User and group numbers are 0 to {MAX_ID}, not {id}"
    )))
}

/// Reads a file that the image may have made anything of: a device or a fifo is not even waited for.
fn read_file(path: &str) -> Result<Vec<u8>, Failure> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(Vec::new()),
        Err(error) => return Err(error).context(|| format!("Open {path} of the image")),
    };
    let status = rustix::fs::fstat(&file).context(|| format!("Look at {path} of the image"))?;
    if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
        return Err(Failure::setup(format!("{path} of the image is not a file")));
    }
    let mut contents = Vec::new();
    File::from(file)
        .take(MAX_FILE)
        .read_to_end(&mut contents)
        .context(|| format!("Read {path} of the image"))?;
    Ok(contents)
}

#[cfg(test)]
mod tests;
