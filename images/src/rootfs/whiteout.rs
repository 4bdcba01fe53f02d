//! Whiteouts: entries that remove what lower layers brought (OCI image specification, layer.md).

use super::{Kind, NodeId, Tree};

const PREFIX: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What a base name asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whiteout<'a> {
    /// Remove this sibling.
    Name(&'a [u8]),
    /// Remove everything in the directory.
    Opaque,
    /// A note of aufs to itself.
    Ignored,
}

/// Tells whether a base name is a whiteout.
pub(super) fn parse(base: &[u8]) -> Option<Whiteout<'_>> {
    let hidden = base.strip_prefix(PREFIX)?;
    Some(match hidden {
        _ if base == OPAQUE => Whiteout::Opaque,
        b"" | b"." | b".." => Whiteout::Ignored,
        _ if hidden.starts_with(PREFIX) => Whiteout::Ignored,
        _ => Whiteout::Name(hidden),
    })
}

impl Tree {
    /// Removes `name` as far as layers below `layer` brought it.
    pub(super) fn white_out(&mut self, directory: NodeId, name: &[u8], layer: usize) {
        let Some(found) = self.lookup(directory, name) else {
            return;
        };
        if found.layer < layer {
            self.unlink(directory, name);
        } else {
            self.clear_lower(found.node, layer);
        }
    }

    /// Forgets what the last layer cleared.
    pub(super) fn begin_layer(&mut self) {
        self.cleared.clear();
    }

    /// Removes everything below `directory` that layers below `layer` brought.
    pub(super) fn clear_lower(&mut self, directory: NodeId, layer: usize) {
        let mut pending = vec![directory];
        while let Some(directory) = pending.pop() {
            if !self.cleared.insert(directory) {
                continue;
            }
            let Some(children) = self.children(directory) else {
                continue;
            };
            let mut lower = Vec::new();
            for (name, entry) in children {
                if entry.layer < layer {
                    lower.push(name.clone());
                } else if matches!(self.node(entry.node).kind, Kind::Directory(_)) {
                    pending.push(entry.node);
                }
            }
            for name in lower {
                self.unlink(directory, &name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_the_kinds_apart() {
        for (base, kind) in [
            (&b"file"[..], None),
            (b".whale", None),
            (b".wh.file", Some(Whiteout::Name(b"file"))),
            (b".wh..hidden", Some(Whiteout::Name(b".hidden"))),
            (b".wh..wh..opq", Some(Whiteout::Opaque)),
            (b".wh..wh.plnk", Some(Whiteout::Ignored)),
            (b".wh.", Some(Whiteout::Ignored)),
            (b".wh..", Some(Whiteout::Ignored)),
            (b".wh...", Some(Whiteout::Ignored)),
        ] {
            assert_eq!(parse(base), kind, "{}", base.escape_ascii());
        }
    }
}
