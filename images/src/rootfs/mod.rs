//! The root file system of an image: its layers applied one on the other, in memory.
//!
//! Layers are applied from the lowest up, as docker does, so that hardlinks, symbolic links in paths
//! and whiteouts mean what they mean there. Content goes to the disk while it streams by; the tree
//! holds names, metadata and where the content lies.

mod apply;
mod limits;
mod path;
mod whiteout;

use std::collections::{BTreeMap, HashSet};

pub(crate) use apply::Applier;
pub use limits::Limits;

use crate::layer::{Timestamp, Xattrs};

/// Number of a node in its [`Tree`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct NodeId(usize);

/// A file of any kind.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) metadata: Metadata,
    pub(crate) kind: Kind,
    /// Names that lead here.
    pub(crate) links: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Timestamp,
    pub(crate) xattrs: Xattrs,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Directory(BTreeMap<Vec<u8>, Name>),
    File(FileContent),
    Symlink(Vec<u8>),
    CharacterDevice { major: u32, minor: u32 },
    BlockDevice { major: u32, minor: u32 },
    Fifo,
}

/// Where a file's content lies on the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FileContent {
    /// Length in bytes.
    pub(crate) size: u64,
    /// Runs of blocks, ascending; what lies between is a hole.
    pub(crate) runs: Vec<Run>,
}

/// Blocks that follow each other in a file as well as on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// First block within the file.
    pub(crate) logical: u32,
    /// First block on the disk.
    pub(crate) physical: u32,
    /// Number of blocks.
    pub(crate) length: u32,
}

/// A directory's entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name {
    pub(crate) node: NodeId,
    /// The last layer that brought this name, or one below it.
    layer: usize,
}

/// The merged file system. Nodes that lost their last name stay in `nodes`, emptied.
#[derive(Debug)]
pub(crate) struct Tree {
    nodes: Vec<Node>,
    /// Directories that hold nothing of lower layers any more: clearing them again would only cost
    /// time, of which a hostile layer could waste much.
    cleared: HashSet<NodeId>,
}

impl Tree {
    pub(crate) const ROOT: NodeId = NodeId(0);

    pub(crate) fn new() -> Self {
        Self {
            nodes: vec![Node {
                metadata: Metadata {
                    mode: 0o755,
                    ..Metadata::default()
                },
                kind: Kind::Directory(BTreeMap::new()),
                links: 1,
            }],
            cleared: HashSet::new(),
        }
    }

    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// Adds a file of root's to the root directory, under a name that is free.
    pub(crate) fn add_file(&mut self, name: &[u8], mode: u16, content: FileContent) {
        let metadata = Metadata {
            mode,
            ..Metadata::default()
        };
        let node = self.add_node(metadata, Kind::File(content));
        self.link(Self::ROOT, name.to_owned(), node, 0);
    }

    fn children(&self, id: NodeId) -> Option<&BTreeMap<Vec<u8>, Name>> {
        match &self.nodes[id.0].kind {
            Kind::Directory(children) => Some(children),
            _ => None,
        }
    }

    fn children_mut(&mut self, id: NodeId) -> Option<&mut BTreeMap<Vec<u8>, Name>> {
        match &mut self.nodes[id.0].kind {
            Kind::Directory(children) => Some(children),
            _ => None,
        }
    }

    fn lookup(&self, directory: NodeId, name: &[u8]) -> Option<Name> {
        self.children(directory)?.get(name).copied()
    }

    fn add_node(&mut self, metadata: Metadata, kind: Kind) -> NodeId {
        self.nodes.push(Node {
            metadata,
            kind,
            links: 0,
        });
        NodeId(self.nodes.len() - 1)
    }

    /// Gives `node` a name, which must be free.
    fn link(&mut self, directory: NodeId, name: Vec<u8>, node: NodeId, layer: usize) {
        if let Some(children) = self.children_mut(directory) {
            children.insert(name, Name { node, layer });
            self.nodes[node.0].links += 1;
        }
    }

    /// Removes a name, with all below it.
    fn unlink(&mut self, directory: NodeId, name: &[u8]) {
        let removed = self
            .children_mut(directory)
            .and_then(|children| children.remove(name));
        let mut pending: Vec<Name> = removed.into_iter().collect();
        while let Some(Name { node, .. }) = pending.pop() {
            let node = &mut self.nodes[node.0];
            node.links -= 1;
            if node.links == 0 {
                node.metadata.xattrs.clear();
                if let Kind::Directory(children) = std::mem::replace(&mut node.kind, Kind::Fifo) {
                    pending.extend(children.into_values());
                }
            }
        }
    }
}

impl Metadata {
    /// What a directory in `self` gets that no layer describes: docker makes it for root, with the time
    /// of unpacking; here the time is 1970, so that the same layers give the same disk. As mkdir(2)
    /// does, it inherits the group of a set-group-ID directory.
    fn implied_directory(&self) -> Self {
        const SET_GROUP_ID: u16 = 0o2000;
        let inherited = self.mode & SET_GROUP_ID;
        Self {
            mode: 0o755 | inherited,
            gid: if inherited == 0 { 0 } else { self.gid },
            ..Self::default()
        }
    }
}
