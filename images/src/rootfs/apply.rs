//! Applies a layer's entries to the tree.

use std::{collections::BTreeMap, io::Read, thread};

use super::{FileContent, Kind, Limits, Metadata, NodeId, Tree, limits::Counter, path, whiteout};
use crate::{
    Digest,
    ext4::BlockWriter,
    layer::{
        Entry, EntryKind, Gauge, Inflated, InflatesTooFar, LayerError, MAX_WINDOW, ReadAhead,
        TarReader, WindowTooLarge,
    },
};

/// The longest symbolic link target that ext4 stores, in bytes.
const MAX_TARGET: usize = 4095;

/// Applies layers in order, the lowest first.
pub(crate) struct Applier<'a> {
    tree: Tree,
    layers: usize,
    counter: Counter,
    inflated_left: u64,
    disk: &'a mut BlockWriter,
}

/// Why a name does not resolve: lets [`Tree::resolve`] give both kinds of error.
enum Unresolved {
    Reason(&'static str),
    Error(LayerError),
}

impl From<&'static str> for Unresolved {
    fn from(reason: &'static str) -> Self {
        Self::Reason(reason)
    }
}

impl<'a> Applier<'a> {
    pub(crate) fn new(limits: Limits, disk: &'a mut BlockWriter) -> Self {
        Self {
            tree: Tree::new(),
            layers: 0,
            counter: Counter::new(limits),
            inflated_left: limits.inflated_bytes,
            disk,
        }
    }

    /// Applies the next layer, and checks that it inflates to `diff_id`.
    pub(crate) fn layer(
        &mut self,
        blob: impl Read + Send + 'static,
        diff_id: Digest,
    ) -> Result<(), LayerError> {
        self.tree.begin_layer();
        let memory = self.counter.memory_left();
        let (inflated, gauge) = Inflated::new(blob, self.inflated_left, memory)?;
        let applied = thread::scope(|scope| {
            let mut archive = TarReader::new(ReadAhead::spawn(scope, inflated));
            self.entries(&mut archive, &gauge)?;
            archive.drain()?;
            gauge.check_diff_id(diff_id)
        });
        self.inflated_left = self.inflated_left.saturating_sub(gauge.length());
        self.layers += 1;
        applied.map_err(|error| self.explain(error))
    }

    pub(crate) fn into_tree(self) -> Tree {
        self.tree
    }

    fn entries(
        &mut self,
        archive: &mut TarReader<ReadAhead>,
        gauge: &Gauge,
    ) -> Result<(), LayerError> {
        while let Some(entry) = archive.next_entry()? {
            self.counter.inflating(gauge.memory());
            self.entry(entry, archive)?;
        }
        Ok(())
    }

    /// Bounds on inflating show as read errors: gives them their names.
    fn explain(&self, error: LayerError) -> LayerError {
        let LayerError::Read(read) = &error else {
            return error;
        };
        let Some(inner) = read.get_ref() else {
            return error;
        };
        match inner.downcast_ref::<WindowTooLarge>() {
            Some(&WindowTooLarge { window }) if window > MAX_WINDOW => {
                LayerError::Window { window }
            }
            Some(_) => self.counter.no_memory(),
            None if inner.is::<InflatesTooFar>() => self.counter.inflated(),
            None => error,
        }
    }

    fn entry(&mut self, entry: Entry, content: &mut impl Read) -> Result<(), LayerError> {
        let Entry { path, kind, .. } = &entry;
        let bad = |reason| LayerError::entry(path, reason);
        let components = path::components(path).map_err(bad)?;
        self.counter.depth(components.len())?;
        let Some((&base, parents)) = components.split_last() else {
            if !matches!(kind, EntryKind::Directory) {
                return Err(bad("the root must be a directory"));
            }
            self.tree.nodes[Tree::ROOT.0].metadata = metadata(&entry);
            return Ok(());
        };
        let is_note =
            |component: &&[u8]| whiteout::parse(component) == Some(whiteout::Whiteout::Ignored);
        if components.iter().any(is_note) {
            return Ok(());
        }
        if let Some(whiteout) = whiteout::parse(base) {
            self.counter.whiteout()?;
            return self.white_out(&entry, parents, whiteout);
        }
        self.counter.entry(&entry, base)?;
        let parent = self.parent(&entry, parents)?;
        if matches!(kind, EntryKind::Directory) && self.update_directory(parent, base, &entry) {
            return Ok(());
        }
        // As docker does, what had the name goes first: a hardlink to it has no target any more.
        self.tree.unlink(parent, base);
        let node = match kind {
            EntryKind::Hardlink(target) => self.link_target(&entry, target)?,
            _ => {
                let made = self.make(&entry, content)?;
                self.tree.add_node(metadata(&entry), made)
            }
        };
        self.tree.link(parent, base.to_vec(), node, self.layers);
        Ok(())
    }

    /// Gives a directory that exists new metadata; its content stays. Tells whether it exists.
    fn update_directory(&mut self, parent: NodeId, base: &[u8], entry: &Entry) -> bool {
        let Some(present) = self.tree.lookup(parent, base) else {
            return false;
        };
        if self.tree.children(present.node).is_none() {
            return false;
        }
        self.tree.nodes[present.node.0].metadata = metadata(entry);
        if let Some(siblings) = self.tree.children_mut(parent) {
            let layer = self.layers;
            siblings
                .entry(base.to_vec())
                .and_modify(|name| name.layer = layer);
        }
        true
    }

    /// Makes what an entry other than a hardlink describes.
    fn make(&mut self, entry: &Entry, content: &mut impl Read) -> Result<Kind, LayerError> {
        Ok(match &entry.kind {
            EntryKind::File { size, segments } => {
                let runs = self.disk.append_file(*size, segments, content)?;
                self.counter.content(self.disk.content_bytes())?;
                Kind::File(FileContent { size: *size, runs })
            }
            EntryKind::Symlink(target) => {
                if target.is_empty() || target.len() > MAX_TARGET || target.contains(&0) {
                    return Err(LayerError::entry(
                        &entry.path,
                        "its symbolic link target is empty or too long",
                    ));
                }
                Kind::Symlink(target.clone())
            }
            &EntryKind::CharacterDevice { major, minor } => Kind::CharacterDevice { major, minor },
            &EntryKind::BlockDevice { major, minor } => Kind::BlockDevice { major, minor },
            EntryKind::Directory => Kind::Directory(BTreeMap::new()),
            EntryKind::Fifo | EntryKind::Hardlink(_) => Kind::Fifo,
        })
    }

    fn white_out(
        &mut self,
        entry: &Entry,
        parents: &[&[u8]],
        whiteout: whiteout::Whiteout<'_>,
    ) -> Result<(), LayerError> {
        let Some(parent) = self.existing(entry, parents)? else {
            return Ok(());
        };
        match whiteout {
            whiteout::Whiteout::Name(name) => self.tree.white_out(parent, name, self.layers),
            whiteout::Whiteout::Opaque => self.tree.clear_lower(parent, self.layers),
            whiteout::Whiteout::Ignored => {}
        }
        Ok(())
    }

    /// The directory that an entry goes into, made if missing.
    fn parent(&mut self, entry: &Entry, parents: &[&[u8]]) -> Result<NodeId, LayerError> {
        let layer = self.layers;
        let counter = &mut self.counter;
        let make = |name: usize| {
            counter
                .implied_directory(name)
                .map(|()| layer)
                .map_err(Unresolved::Error)
        };
        let resolved = self
            .tree
            .resolve(parents, Some(make))
            .map_err(|unresolved| unresolved.on(entry))?;
        let Some(resolved) = resolved else {
            return Ok(Tree::ROOT);
        };
        resolved.touch(&mut self.tree, layer);
        Ok(resolved.directory())
    }

    fn existing(&mut self, entry: &Entry, parents: &[&[u8]]) -> Result<Option<NodeId>, LayerError> {
        let make = None::<fn(usize) -> Result<usize, Unresolved>>;
        let resolved = self
            .tree
            .resolve(parents, make)
            .map_err(|unresolved| unresolved.on(entry))?;
        Ok(resolved.map(|resolved| resolved.directory()))
    }

    /// The file that a hardlink entry names: a symbolic link at its end is not followed.
    fn link_target(&mut self, entry: &Entry, target: &[u8]) -> Result<NodeId, LayerError> {
        let bad = |reason| LayerError::entry(&entry.path, reason);
        let components = path::components(target).map_err(bad)?;
        let found = match components.split_last() {
            Some((base, parents)) => self
                .existing(entry, parents)?
                .and_then(|parent| self.tree.lookup(parent, base)),
            None => None,
        };
        let node = found
            .ok_or_else(|| bad("the file it links to does not exist"))?
            .node;
        if self.tree.children(node).is_some() {
            return Err(bad("it is a hardlink to a directory"));
        }
        Ok(node)
    }
}

impl Unresolved {
    fn on(self, entry: &Entry) -> LayerError {
        match self {
            Self::Reason(reason) => LayerError::entry(&entry.path, reason),
            Self::Error(error) => error,
        }
    }
}

fn metadata(entry: &Entry) -> Metadata {
    Metadata {
        mode: match entry.kind {
            // Linux gives every symbolic link this mode, and chmod(2) follows the link.
            EntryKind::Symlink(_) => 0o777,
            _ => entry.mode,
        },
        uid: entry.uid,
        gid: entry.gid,
        mtime: entry.mtime,
        xattrs: entry.xattrs.clone(),
    }
}
