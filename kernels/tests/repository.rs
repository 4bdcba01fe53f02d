//! Taking the kernel from an Alpine repository: what is verified, and what is refused.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod common;

use std::net::TcpListener;

use common::repository::{KEY, Key, Kind, Mirror, list, signed};
use common::{Apk, MODULES_AT_BOOT, Scratch, apk, chain, gzip, package_files, tar, tar_segment};
use kernels::{Arch, Error, Kernel, Repository};

struct Setup {
    scratch: Scratch,
    mirror: Mirror,
    key: Key,
}

impl Setup {
    fn new() -> Self {
        let scratch = Scratch::new();
        let key = Key::make(scratch.dir.path().join("key"));
        let mirror = Mirror::start();
        Self {
            scratch,
            mirror,
            key,
        }
    }

    /// Publishes a package in an index of this age.
    fn publish(&self, package: &Apk, built: u64) {
        let index = list(package, "6.0.0-r0", built);
        self.mirror
            .put("APKINDEX.tar.gz", signed(&self.key, Kind::Sha1, &index));
        self.mirror
            .put("linux-virt-6.0.0-r0.apk", package.bytes.clone());
    }

    fn repository(&self) -> Repository {
        Repository::default()
            .on_mirror(&self.mirror.url)
            .signed_by(&self.key.public())
            .unwrap()
    }

    fn pull(&self) -> Result<Kernel, Error> {
        self.scratch.store.pull(&self.repository(), Arch::X86_64)
    }

    /// Pulls, and checks that it is refused for this reason and leaves nothing.
    fn refused(&self, reason: &str) {
        let message = chain(&self.pull().unwrap_err());
        assert!(message.contains(reason), "{message}");
        assert!(self.scratch.store.list().unwrap().is_empty());
        assert_eq!(self.scratch.leftovers(), Vec::<String>::new());
    }
}

#[test]
fn takes_the_kernel_and_then_uses_it_without_fetching_it_again() {
    let setup = Setup::new();
    setup.publish(&apk(&package_files()), 1000);
    let kernel = setup.pull().unwrap();
    assert_eq!(kernel.source(), "linux-virt-6.0.0-r0.apk");
    assert_eq!(kernel.modules_at_boot().unwrap(), MODULES_AT_BOOT);
    assert_eq!(setup.pull().unwrap().id(), kernel.id());
    let requests = setup.mirror.requests.lock().unwrap();
    assert_eq!(
        requests
            .iter()
            .filter(|path| path.ends_with(".apk"))
            .count(),
        1
    );
    assert_eq!(setup.scratch.leftovers(), Vec::<String>::new());
}

#[test]
fn takes_both_of_alpines_signatures() {
    let setup = Setup::new();
    let package = apk(&package_files());
    setup.publish(&package, 1000);
    let index = list(&package, "6.0.0-r0", 1000);
    setup
        .mirror
        .put("APKINDEX.tar.gz", signed(&setup.key, Kind::Sha256, &index));
    setup.pull().unwrap();
}

#[test]
fn refuses_bad_signatures() {
    let setup = Setup::new();
    let package = apk(&package_files());
    setup.publish(&package, 1000);
    let index = list(&package, "6.0.0-r0", 1000);

    let other = Key::make(setup.scratch.dir.path().join("other"));
    setup
        .mirror
        .put("APKINDEX.tar.gz", signed(&other, Kind::Sha1, &index));
    setup.refused("Its signature is wrong");

    // A hash other than the signature's name says.
    let signature = setup.key.sign("-sha256", &index);
    let mut mixed = gzip(&tar_segment(&[(format!(".SIGN.RSA.{KEY}"), signature)]));
    mixed.extend_from_slice(&index);
    setup.mirror.put("APKINDEX.tar.gz", mixed);
    setup.refused("Its signature is wrong");

    setup.mirror.put("APKINDEX.tar.gz", index);
    setup.refused("It is not signed");
}

#[test]
fn refuses_unknown_keys_and_alpines_own_are_no_exception() {
    let setup = Setup::new();
    setup.publish(&apk(&package_files()), 1000);
    let repository = Repository::default().on_mirror(&setup.mirror.url);
    let error = setup
        .scratch
        .store
        .pull(&repository, Arch::X86_64)
        .unwrap_err();
    let message = chain(&error);
    assert!(
        message.contains(&format!(
            "signed with {KEY:?}, which is no key that is trusted"
        )),
        "{message}"
    );
    let empty = setup.scratch.dir.path().join("store");
    assert!(matches!(
        Repository::default().signed_by(&empty),
        Err(Error::NoKeys(_))
    ));
}

#[test]
fn refuses_changed_indexes() {
    let setup = Setup::new();
    let package = apk(&package_files());
    setup.publish(&package, 1000);
    let signature = signed(&setup.key, Kind::Sha1, &list(&package, "6.0.0-r0", 1000));
    let length = signature.len();
    // The newest version, and another one in its place; and a byte at the end.
    let other = list(&package, "6.0.0-r1", 1000);
    let first = length - list(&package, "6.0.0-r0", 1000).len();
    setup
        .mirror
        .put("APKINDEX.tar.gz", [&signature[..first], &other].concat());
    setup.refused("Its signature is wrong");
    setup
        .mirror
        .put("APKINDEX.tar.gz", [&signature[..], &[0]].concat());
    setup.refused("Its signature is wrong");
    // Much that says nothing, where the signature should be.
    let bomb = gzip(&vec![0; 2 << 20]);
    setup
        .mirror
        .put("APKINDEX.tar.gz", [&bomb, &signature[..]].concat());
    setup.refused("Its signature has more than");
    for cut in [0, 10, first, first + 20, length - 1] {
        setup
            .mirror
            .put("APKINDEX.tar.gz", signature[..cut].to_vec());
        setup.refused("APKINDEX.tar.gz");
    }
}

#[test]
fn refuses_changed_packages() {
    let setup = Setup::new();
    let package = apk(&package_files());
    setup.publish(&package, 1000);
    let put = |bytes: Vec<u8>| setup.mirror.put("linux-virt-6.0.0-r0.apk", bytes);
    let size = package.bytes.len();

    // The last part is the files, the one before it what vouches for them.
    let mut changed = package.bytes.clone();
    changed[size - 100] ^= 1;
    put(changed);
    setup.refused("linux-virt-6.0.0-r0.apk");

    // Other files under the right size, with control data of their own that fits them.
    let mut files = package_files();
    files[2].1 = b"anything".to_vec();
    let mut other = apk(&files);
    let index = Apk {
        bytes: other.bytes.clone(),
        checksum: package.checksum.clone(),
    };
    setup.publish(&index, 1000);
    put(other.bytes.clone());
    setup.refused("not the package that its repository's index names");

    // Right control data with other files.
    let package = apk(&package_files());
    let members = member_starts(&package.bytes);
    other.bytes = [
        &package.bytes[..members[2]],
        &other.bytes[member_starts(&other.bytes)[2]..],
    ]
    .concat();
    let index = Apk {
        bytes: other.bytes.clone(),
        checksum: package.checksum.clone(),
    };
    setup.publish(&index, 1000);
    put(other.bytes);
    setup.refused("Its files are not those that its control data names");
}

/// Where the gzip members of a package begin.
fn member_starts(package: &[u8]) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut rest = package;
    while !rest.is_empty() {
        starts.push(package.len() - rest.len());
        let mut member = flate2::bufread::GzDecoder::new(&mut rest);
        std::io::copy(&mut member, &mut std::io::sink()).unwrap();
    }
    starts
}

#[test]
fn refuses_truncated_packages() {
    let setup = Setup::new();
    let package = apk(&package_files());
    setup.publish(&package, 1000);
    for length in [0, 100, package.bytes.len() - 1] {
        setup
            .mirror
            .put("linux-virt-6.0.0-r0.apk", package.bytes[..length].to_vec());
        setup.refused("bytes that the index says");
    }
    setup.mirror.put(
        "linux-virt-6.0.0-r0.apk",
        [&package.bytes[..], &[0]].concat(),
    );
    setup.refused("bytes that the index says");
}

#[test]
fn refuses_an_older_index_than_it_has_seen() {
    let setup = Setup::new();
    let package = apk(&package_files());
    setup.publish(&package, 2000);
    setup.pull().unwrap();
    setup.scratch.store.remove("6.0.0-test").unwrap();
    setup.publish(&package, 1999);
    setup.refused("older than the index that was seen last time");
    setup.publish(&package, 2001);
    setup.pull().unwrap();
}

#[test]
fn says_which_file_a_mirror_does_not_have() {
    let setup = Setup::new();
    setup.refused("Cannot fetch http://127.0.0.1:");
    let gone = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let repository = setup
        .repository()
        .on_mirror(&format!("http://{gone}/alpine/"))
        .of_branch("v1");
    let error = setup
        .scratch
        .store
        .pull(&repository, Arch::Aarch64)
        .unwrap_err();
    let message = chain(&error);
    assert!(
        message.contains(&format!("{gone}/alpine/v1/main/aarch64/APKINDEX.tar.gz")),
        "{message}"
    );
}

#[test]
fn refuses_what_an_index_cannot_say() {
    let setup = Setup::new();
    let package = apk(&package_files());
    for (version, reason) in [
        ("../../x", "incomplete or for another CPU"),
        ("", "incomplete"),
    ] {
        let index = list(&package, version, 1000);
        setup
            .mirror
            .put("APKINDEX.tar.gz", signed(&setup.key, Kind::Sha1, &index));
        setup.refused(reason);
    }
    let empty = gzip(&tar(&[("APKINDEX".to_owned(), b"P:other\n".to_vec())]));
    setup
        .mirror
        .put("APKINDEX.tar.gz", signed(&setup.key, Kind::Sha1, &empty));
    setup.refused("no package linux-virt");
}
