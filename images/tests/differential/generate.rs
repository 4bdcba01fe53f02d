//! Stacks of layers with every kind of entry. Names come from a small pool, so that layers meet.

use std::collections::BTreeMap;

use proptest::{collection::vec, option, prelude::*, sample::select};

/// One entry of a layer.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) path: Name,
    pub(crate) kind: Kind,
    pub(crate) metadata: Metadata,
    pub(crate) format: Format,
}

/// A name as bytes; printed readably.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Name(pub(crate) Vec<u8>);

impl std::fmt::Debug for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "'{}'", self.0.escape_ascii())
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Directory,
    File(Content),
    Symlink(Name),
    Hardlink(Name),
    Character(u32, u32),
    Block(u32, u32),
    Fifo,
    Whiteout,
    Opaque,
}

/// A file's content: bytes of one value with holes between.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    pub(crate) fill: u8,
    /// Offset and length of what is no hole.
    pub(crate) segments: Vec<(usize, usize)>,
    pub(crate) size: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct Metadata {
    pub(crate) mode: u32,
    pub(crate) uid: u64,
    pub(crate) gid: u64,
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: u32,
    pub(crate) xattrs: Vec<(&'static str, Vec<u8>)>,
}

/// How an entry is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// GNU: long names in entries of their own, base-256 numbers.
    Gnu,
    /// PAX: whatever does not fit the header in records.
    Pax,
}

pub(crate) fn stacks() -> impl Strategy<Value = Vec<Vec<Entry>>> {
    (vec(vec(entry(), 0..14), 1..5), 0..8_u8).prop_map(|(mut stack, wild)| {
        // One stack in eight keeps what makes no sense: both must refuse it.
        if wild > 0 {
            drop_senseless(&mut stack);
        }
        stack
    })
}

/// Drops most entries that cannot be applied: hardlinks to nothing, names below files.
fn drop_senseless(stack: &mut [Vec<Entry>]) {
    let mut known: BTreeMap<Vec<u8>, bool> = BTreeMap::new();
    for layer in stack {
        layer.retain(|entry| {
            let path = cleaned(&entry.path.0);
            let below_file = (0..path.len())
                .filter(|&index| path[index] == b'/')
                .any(|slash| known.get(&path[..slash]) == Some(&false));
            let to_nothing = match &entry.kind {
                Kind::Hardlink(target) => known.get(&cleaned(&target.0)) != Some(&false),
                Kind::Symlink(_) => false,
                _ => path.is_empty(),
            };
            if below_file || to_nothing {
                return false;
            }
            let below = [path.as_slice(), b"/"].concat();
            match entry.kind {
                Kind::Opaque => known.retain(|name, _| !name.starts_with(&below)),
                Kind::Directory => {
                    known.insert(path, true);
                }
                _ => {
                    known.retain(|name, _| *name != path && !name.starts_with(&below));
                    if !matches!(entry.kind, Kind::Whiteout | Kind::Symlink(_)) {
                        known.insert(path, false);
                    }
                }
            }
            true
        });
    }
}

fn cleaned(path: &[u8]) -> Vec<u8> {
    let mut components: Vec<&[u8]> = Vec::new();
    for component in path.split(|&byte| byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => drop(components.pop()),
            _ => components.push(component),
        }
    }
    components.join(&b'/')
}

fn entry() -> impl Strategy<Value = Entry> {
    (
        prop_oneof![1 => spelled(true), 12 => spelled(false)],
        kind(),
        metadata(),
        select(vec![Format::Gnu, Format::Pax]),
    )
        .prop_map(|(path, kind, mut metadata, format)| {
            if !matches!(kind, Kind::Directory | Kind::File(_)) {
                // The kernel lets only root's own namespaces on others, and umoci tries.
                metadata.xattrs.clear();
            }
            Entry {
                path,
                kind,
                metadata,
                format,
            }
        })
}

fn component() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        20 => select(vec![b"a".to_vec(), b"b".to_vec(), b"c".to_vec(), b"d".to_vec()]),
        2 => select(vec![b"not\xff\xfeutf8".to_vec(), "Größe".as_bytes().to_vec()]),
        1 => Just(vec![b'l'; 255]),
        1 => Just(b"new\nline = 7".to_vec()),
    ]
}

fn path(depth: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    vec(component(), depth).prop_map(|components| components.join(&b'/'))
}

/// A path in one of the spellings that archives have.
fn spelled(odd: bool) -> impl Strategy<Value = Name> {
    let prefixes: &[&[u8]] = if odd {
        &[b"./", b"/", b"../", b"a/../", b"./.././", b"//"]
    } else {
        &[b""]
    };
    (select(prefixes.to_vec()), path(1..4))
        .prop_map(|(prefix, path)| Name([prefix, path.as_slice()].concat()))
}

fn kind() -> impl Strategy<Value = Kind> {
    let target = prop_oneof![
        8 => path(1..3),
        2 => path(1..3).prop_map(|path| [b"/", path.as_slice()].concat()),
        2 => path(1..3).prop_map(|path| [b"../", path.as_slice()].concat()),
        1 => Just(b".".to_vec()),
        1 => Just(vec![b't'; 59]),
        1 => Just(vec![b't'; 60]),
        1 => Just([vec![b't'; 200], b"/".to_vec(), vec![b'u'; 200]].concat()),
    ];
    prop_oneof![
        10 => Just(Kind::Directory),
        10 => content().prop_map(Kind::File),
        3 => target.prop_map(|target| Kind::Symlink(Name(target))),
        4 => path(1..3).prop_map(|target| Kind::Hardlink(Name(target))),
        1 => select(vec![(1, 3), (0, 0), (300, 5), (8, 0x1_2345)]).prop_map(|(a, b)| Kind::Character(a, b)),
        1 => select(vec![(7, 0), (259, 70_000)]).prop_map(|(a, b)| Kind::Block(a, b)),
        1 => Just(Kind::Fifo),
        4 => Just(Kind::Whiteout),
        2 => Just(Kind::Opaque),
    ]
}

fn content() -> impl Strategy<Value = Content> {
    let sizes = select(vec![0, 1, 511, 512, 513, 4095, 4096, 4097, 70_000]);
    let whole = (any::<u8>(), sizes).prop_map(|(fill, size)| Content {
        fill,
        segments: vec![(0, size)],
        size,
    });
    let sparse = (
        any::<u8>(),
        vec((0..9000_usize, 1..5000_usize), 0..8),
        0..9000_usize,
    )
        .prop_map(|(fill, gaps, tail)| {
            let mut end = 0;
            let segments = gaps
                .into_iter()
                .map(|(gap, length)| {
                    let offset = end + gap;
                    end = offset + length;
                    (offset, length)
                })
                .collect();
            Content {
                fill,
                segments,
                size: end + tail,
            }
        });
    prop_oneof![8 => whole, 2 => sparse]
}

fn metadata() -> impl Strategy<Value = Metadata> {
    let ids = || {
        select(vec![
            0,
            1,
            1000,
            65_534,
            65_536,
            2_097_152,
            4_000_000_000,
            4_294_967_294,
        ])
    };
    let times = select(vec![
        (1_350_244_992, 23_960_108),
        (1, 0),
        (-1, 0),
        (-1_000_000_000, 750_000_000),
        (2_147_483_648, 1),
        (4_102_444_800, 999_999_999),
        (8_589_934_592, 0),
    ]);
    let modes = select(vec![0o755, 0o644, 0, 0o4755, 0o2711, 0o1777, 0o7777, 0o400]);
    (modes, ids(), ids(), times, xattrs()).prop_map(
        |(mode, uid, gid, (seconds, nanoseconds), xattrs)| Metadata {
            mode,
            uid,
            gid,
            seconds,
            nanoseconds,
            xattrs,
        },
    )
}

fn xattrs() -> impl Strategy<Value = Vec<(&'static str, Vec<u8>)>> {
    // cap_net_bind_service=ep, in version 2 of the kernel's format, with a newline among its bytes.
    let capability = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\x0a\0\0\0\0\0\0\0".to_vec();
    let small = option::of(Just(("security.capability", capability)));
    let user = option::of(vec(any::<u8>(), 1..90).prop_map(|value| ("user.some", value)));
    let long = option::of(Just(("trusted.a-name-of-some-length", vec![7; 3000])));
    prop_oneof![
        6 => Just(Vec::new()),
        2 => (small, user, long).prop_map(|(a, b, c)| [a, b, c].into_iter().flatten().collect()),
    ]
}
