//! What a guest writes is gone with it.

use std::fs::File;
use std::path::Path;

use crate::support::{PYTHON2, assert_output, output, python2, terrarium};

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
