//! Names in layers, and where they lead in the tree. Nothing leads out of it.

use std::collections::{BTreeMap, VecDeque};

use super::{Kind, NodeId, Tree};

/// The most symbolic links followed for one name (Linux's own limit, path_resolution(7)).
const MAX_HOPS: usize = 40;
/// The most components followed for one name, with those of symbolic links: far more than real names
/// have. Without a bound, a hostile layer could make each of its entries cost milliseconds.
const MAX_STEPS: usize = 2048;
/// The longest component, in bytes.
const MAX_NAME: usize = 255;

/// A name taken apart: `.`, `..` and empty components are gone, and `..` never climbs out.
pub(super) fn components(name: &[u8]) -> Result<Vec<&[u8]>, &'static str> {
    let mut components = Vec::new();
    for component in name.split(|&byte| byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => {
                components.pop();
            }
            _ if component.len() > MAX_NAME => return Err("its name is longer than 255 bytes"),
            _ if component.contains(&0) => return Err("its name holds a NUL"),
            _ => components.push(component),
        }
    }
    Ok(components)
}

/// A directory, with the way to it from the root.
pub(super) struct Resolved {
    way: Vec<(NodeId, Vec<u8>)>,
}

impl Resolved {
    pub(super) fn directory(&self) -> NodeId {
        self.way.last().map_or(Tree::ROOT, |(node, _)| *node)
    }

    /// Marks every name on the way as brought by `layer`.
    pub(super) fn touch(&self, tree: &mut Tree, layer: usize) {
        let mut parent = Tree::ROOT;
        for (node, name) in &self.way {
            if let Some(entry) = tree
                .children_mut(parent)
                .and_then(|children| children.get_mut(name))
            {
                entry.layer = layer;
            }
            parent = *node;
        }
    }
}

impl Tree {
    /// Follows `components` to a directory, through symbolic links, staying within the root. Missing
    /// directories are made with `make`, which is told how many bytes a name has; without it a missing
    /// one gives `None`.
    pub(super) fn resolve<E: From<&'static str>>(
        &mut self,
        components: &[&[u8]],
        mut make: Option<impl FnMut(usize) -> Result<usize, E>>,
    ) -> Result<Option<Resolved>, E> {
        let mut way: Vec<(NodeId, Vec<u8>)> = Vec::new();
        let mut pending: VecDeque<Vec<u8>> = components.iter().map(|name| name.to_vec()).collect();
        let (mut hops, mut steps) = (0, 0);
        while let Some(name) = pending.pop_front() {
            steps += 1;
            if steps + pending.len() > MAX_STEPS {
                return Err("its name leads too far through symbolic links".into());
            }
            let here = way.last().map_or(Self::ROOT, |(node, _)| *node);
            if name == b".." {
                way.pop();
                continue;
            }
            let Some(found) = self.lookup(here, &name) else {
                let Some(make) = &mut make else {
                    return Ok(None);
                };
                let layer = make(name.len())?;
                let metadata = self.node(here).metadata.implied_directory();
                let directory = self.add_node(metadata, Kind::Directory(BTreeMap::new()));
                self.link(here, name.clone(), directory, layer);
                way.push((directory, name));
                continue;
            };
            match &self.node(found.node).kind {
                Kind::Directory(_) => way.push((found.node, name)),
                Kind::Symlink(target) => {
                    hops += 1;
                    if hops > MAX_HOPS {
                        return Err("its name leads through too many symbolic links".into());
                    }
                    if target.starts_with(b"/") {
                        way.clear();
                    }
                    for component in target.rsplit(|&byte| byte == b'/') {
                        if !matches!(component, b"" | b".") {
                            if component.len() > MAX_NAME {
                                return Err("a symbolic link on its way is malformed".into());
                            }
                            pending.push_front(component.to_vec());
                        }
                    }
                }
                _ if make.is_none() => return Ok(None),
                _ => return Err("its name leads through a file that is not a directory".into()),
            }
        }
        Ok(Some(Resolved { way }))
    }
}
