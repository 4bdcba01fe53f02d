//! The command's environment: the image's, then `--env-file`, then `--env`.

use std::env;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// An environment in which a later value of a name replaces an earlier one in its place.
#[derive(Debug, Default)]
pub struct Environment(Vec<Vec<u8>>);

impl Environment {
    /// Sets `NAME=value`.
    pub fn set(&mut self, assignment: Vec<u8>) {
        let name_of = |entry: &[u8]| {
            let end = entry.iter().position(|&byte| byte == b'=');
            entry.get(..end.unwrap_or(entry.len())).map(<[u8]>::to_vec)
        };
        let name = name_of(&assignment);
        match self.0.iter_mut().find(|entry| name_of(entry) == name) {
            Some(entry) => *entry = assignment,
            None => self.0.push(assignment),
        }
    }

    /// Sets `NAME=value`, or `NAME` to its value in this process; unset there, it is removed.
    pub fn set_or_inherit(&mut self, argument: &str) -> Result<()> {
        if argument.contains('\0') {
            bail!("An environment variable cannot contain a NUL byte: {argument:?}");
        }
        match argument.split_once('=') {
            Some(("", _)) | None if argument.is_empty() || argument.starts_with('=') => {
                bail!("An environment variable needs a name: {argument:?}")
            }
            Some(_) => self.set(argument.as_bytes().to_vec()),
            None => match env::var_os(argument) {
                Some(value) => {
                    let name = argument.as_bytes();
                    self.set([name, b"=", value.as_bytes()].concat());
                }
                None => self.remove(argument.as_bytes()),
            },
        }
        Ok(())
    }

    /// Reads a file of docker's form: an assignment a line, `#` begins a comment line, values are
    /// taken as they stand, quotes and all.
    pub fn read_file(&mut self, path: &Path) -> Result<()> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("Cannot read the environment file {}", path.display()))?;
        for (number, line) in text.lines().enumerate() {
            let line = line.trim_start();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let name = line.split('=').next().unwrap_or_default();
            let place = || format!("Line {} of {}", number + 1, path.display());
            if name.contains(char::is_whitespace) {
                bail!("{}: the name {name:?} contains white space", place());
            }
            self.set_or_inherit(line).with_context(place)?;
        }
        Ok(())
    }

    /// The entries, each `NAME=value`.
    pub fn into_entries(self) -> Vec<Vec<u8>> {
        self.0
    }

    fn remove(&mut self, name: &[u8]) {
        self.0.retain(|entry| {
            entry
                .strip_prefix(name)
                .is_none_or(|rest| !rest.starts_with(b"="))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(environment: Environment) -> Vec<String> {
        let text = |entry| String::from_utf8(entry).unwrap();
        environment.into_entries().into_iter().map(text).collect()
    }

    #[test]
    fn later_values_replace_earlier_ones_in_place() {
        let mut environment = Environment::default();
        for argument in ["A=1", "AB=2", "A=3=4", "B="] {
            environment.set_or_inherit(argument).unwrap();
        }
        assert_eq!(entries(environment), ["A=3=4", "AB=2", "B="]);
    }

    #[test]
    fn a_bare_name_is_inherited_or_removed() {
        let mut environment = Environment::default();
        environment.set(b"PATH=/nowhere".to_vec());
        environment.set(b"TERRARIUM_UNSET=1".to_vec());
        environment.set_or_inherit("PATH").unwrap();
        environment.set_or_inherit("TERRARIUM_UNSET").unwrap();
        let expected = format!("PATH={}", env::var("PATH").unwrap());
        assert_eq!(entries(environment), [expected]);
    }

    #[test]
    fn files_are_read_as_docker_reads_them() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(
            file.path(),
            "# comment\n\n  A=\"quoted\" # not a comment\nB=\n",
        )
        .unwrap();
        let mut environment = Environment::default();
        environment.read_file(file.path()).unwrap();
        assert_eq!(entries(environment), ["A=\"quoted\" # not a comment", "B="]);

        fs::write(file.path(), "A=1\nB C=2\n").unwrap();
        let error = Environment::default().read_file(file.path()).unwrap_err();
        assert!(format!("{error:#}").contains("Line 2"), "{error:#}");
    }

    #[test]
    fn nameless_variables_are_refused() {
        for wrong in ["", "=x", "A=\0"] {
            assert!(Environment::default().set_or_inherit(wrong).is_err());
        }
    }
}
