//! What a guest writes is gone with it.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use crate::support::{PYTHON2, assert_output, assert_refused, output, python2, terrarium};

fn hash(path: &Path) -> [u8; 32] {
    use sha2::{Digest, Sha256};
    let mut hasher = Sha256::new();
    std::io::copy(&mut File::open(path).unwrap(), &mut Hasher(&mut hasher)).unwrap();
    return hasher.finalize().into();

    struct Hasher<'a>(&'a mut Sha256);
    impl std::io::Write for Hasher<'_> {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.update(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
}

#[test]
fn writes_work_and_never_reach_the_cached_disk() {
    let printed = output(terrarium().args(["disk", "--quiet", PYTHON2]));
    let path = String::from_utf8(printed.stdout).unwrap();
    let disk = Path::new(path.trim_end());
    let before = hash(disk);

    let program = "\
import os
assert os.listdir('/proc')
open('/x', 'w').write('y' * 1000000)
os.mkdir('/usr/new'); os.remove('/etc/passwd'); os.system('sync')
print os.path.getsize('/x'), open('/x').read() == 'y' * 1000000";
    assert_output(&output(&mut python2([], program)), 0, "1000000 True\n");

    let program = "import os; print os.path.exists('/x'), os.path.exists('/etc/passwd')";
    assert_output(&output(&mut python2([], program)), 0, "False True\n");
    assert_eq!(hash(disk), before);
}

#[test]
fn a_disk_of_any_size_is_kept_in_a_file_that_leaves_nothing_behind() {
    let scratch = tempfile::tempdir_in("/var/tmp").unwrap();
    let folder = scratch.path().to_str().unwrap();
    let program = "\
import os, hashlib
s = os.statvfs('/'); print s.f_blocks * s.f_frsize >> 30
block = ''.join(chr(i * 7 % 256) for i in range(65536)); h = hashlib.md5()
f = open('/big', 'w')
for i in range(320): f.write(block); h.update(block)
f.flush(); os.fsync(f.fileno()); f.close()
os.system('echo 3 > /proc/sys/vm/drop_caches')
print hashlib.md5(open('/big').read()).hexdigest() == h.hexdigest()";
    let options = ["--disk-size", "3g", "--scratch-dir", folder];
    assert_output(&output(&mut python2(options, program)), 0, "2\nTrue\n");
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
}

#[test]
fn what_cannot_be_written_is_the_guests_error() {
    // 24 MiB of room for 100 MiB.
    let scratch = tempfile::tempdir().unwrap();
    let mounted = Tmpfs::new(scratch.path(), "size=24m");
    let program = "\
import os
try:
    f = open('/big', 'w')
    for i in range(100): f.write('x' * (1 << 20))
    f.flush(); os.fsync(f.fileno())
    print 'written'
except (IOError, OSError) as e: print 'error', e.errno";
    let options = ["--scratch-dir", scratch.path().to_str().unwrap()];
    let output = output(&mut python2(options, program));
    drop(mounted);
    assert_output(&output, 0, "error 5\n");
}

#[test]
fn a_scratch_folder_that_cannot_be_used_is_named() {
    let options = ["--scratch-dir", "/nonexistent/scratch"];
    let output = output(&mut python2(options, "print 1"));
    assert_refused(&output, ["/nonexistent/scratch"]);
}

/// A file system in memory, mounted for a test.
struct Tmpfs<'a>(&'a Path);

impl<'a> Tmpfs<'a> {
    fn new(path: &'a Path, options: &str) -> Self {
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(path);
        assert!(mount.status().unwrap().success());
        Self(path)
    }
}

impl Drop for Tmpfs<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}
