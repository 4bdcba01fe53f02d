//! Every kind of kernel boots the image. A stage of its own (`scripts/test kernels`), because building the
//! minimal kernel takes minutes; `scripts/test program` leaves these tests out.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{PYTHON2, assert_output, backend, given, home, mirror, output, terrarium};

/// A store with the images of a test home and a kernel of its own.
struct OwnKernel {
    home: tempfile::TempDir,
    id: String,
}

impl OwnKernel {
    /// Gets a kernel by `terrarium kernel` with these arguments.
    fn by(arguments: &[&str]) -> Self {
        Self::beside(&home(), arguments)
    }

    /// The same for the images of another home.
    fn beside(home: &Path, arguments: &[&str]) -> Self {
        let own = tempfile::tempdir().unwrap();
        for folder in ["images", "disks"] {
            symlink(home.join(folder), own.path().join(folder)).unwrap();
        }
        let mut command = terrarium();
        command.env("TERRARIUM_HOME", own.path());
        let made = output(command.arg("kernel").args(arguments));
        let said = String::from_utf8_lossy(&made.stderr);
        assert_eq!(made.status.code(), Some(0), "{said}");
        let listed = output(command_in(own.path()).args(["kernel", "ls", "--json"]));
        let kernels: Value = serde_json::from_slice(&listed.stdout).unwrap();
        let id = kernels[0]["id"].as_str().unwrap().to_owned();
        Self { home: own, id }
    }

    fn inspect(&self) -> Value {
        let mut command = command_in(self.home.path());
        let output = output(command.args(["kernel", "inspect", "--json", &self.id]));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Gets the minimal kernel that is built in a folder.
    fn minimal(home: &Path, folder: &str) -> Self {
        let file = |name| format!("{folder}/{name}");
        let (vmlinuz, config) = (file("vmlinuz"), file("config"));
        Self::beside(
            home,
            &["import", "--vmlinuz", &vmlinuz, "--config", &config],
        )
    }

    /// Runs a line of Python on the backend under test.
    fn boots(&self, release: &str) {
        self.boots_on(&["--backend", &backend()], release);
    }

    /// Runs a line of Python with two CPUs, on a disk that is written to, and checks which kernel it saw, and
    /// that this had nothing to complain of: no message of an error or worse among all that it said.
    fn boots_on(&self, options: &[&str], release: &str) {
        let program = "\
import os, platform
open('/written', 'w').write('x' * 1000000); os.system('sync')
print platform.release(), os.path.getsize('/written'), os.sysconf('SC_NPROCESSORS_ONLN')
print len(os.urandom(8)), open('/sys/class/misc/hw_random/rng_current').read().strip()
log = os.popen('dmesg -r').readlines()
print len(log) > 50, [line for line in log if '<0>' <= line[:3] <= '<3>']";
        let mut command = command_in(self.home.path());
        command
            .args(["run", "--quiet", "--cpus", "2"])
            .args(options)
            .args([PYTHON2, "python2", "-c", program]);
        let expected = format!("{release} 1000000 2\n8 virtio_rng.0\nTrue []\n");
        assert_output(&output(&mut command), 0, &expected);
    }
}

fn command_in(home: &Path) -> std::process::Command {
    let mut command = terrarium();
    command.env("TERRARIUM_HOME", home);
    command
}

fn release(kernel: &Value) -> &str {
    kernel["version"].as_str().unwrap()
}

#[test]
fn the_cloud_kernel_boots() {
    let kernel = OwnKernel::by(&["import", "--deb", &given("TERRARIUM_TEST_KERNEL_DEB")]);
    let inspected = kernel.inspect();
    assert!(release(&inspected).contains("-cloud-"), "{inspected}");
    kernel.boots(release(&inspected));
}

#[test]
fn the_ordinary_kernel_boots() {
    let kernel = OwnKernel::by(&[
        "import",
        "--deb",
        &given("TERRARIUM_TEST_KERNEL_DEB_ORDINARY"),
    ]);
    let inspected = kernel.inspect();
    assert!(!release(&inspected).contains("-cloud-"), "{inspected}");
    // Its ext4 is a module, which needs others.
    let modules = inspected["modules_at_boot"].as_array().unwrap();
    assert!(modules.contains(&"ext4".into()) && modules.contains(&"jbd2".into()));
    kernel.boots(release(&inspected));
}

#[test]
fn a_kernel_from_a_signed_alpine_repository_boots() {
    let repository = PathBuf::from(given("TERRARIUM_TEST_ALPINE_REPOSITORY"));
    let keys = repository.join("keys");
    let mirror = mirror::serve(repository);
    let kernel = OwnKernel::by(&[
        "pull",
        "--mirror",
        &mirror,
        "--keys",
        keys.to_str().unwrap(),
    ]);
    let inspected = kernel.inspect();
    let source = inspected["source"].as_str().unwrap();
    assert!(
        source.starts_with("linux-virt-") && source.ends_with(".apk"),
        "{source}"
    );
    kernel.boots(release(&inspected));
}

/// Nothing is a module, and nothing that the catalogue knows is missing, but for PCI.
fn assert_whole(kernel: &Value) {
    assert!(release(kernel).ends_with("-terrarium"), "{kernel}");
    assert_eq!(kernel["modules_at_boot"], Value::Array(Vec::new()));
    for driver in kernel["drivers"].as_array().unwrap() {
        let expected = if driver["name"] == "virtio_pci" {
            "missing"
        } else {
            "built in"
        };
        assert_eq!(driver["presence"], expected, "{driver}");
    }
}

#[test]
fn the_minimal_kernel_boots() {
    let kernel = OwnKernel::minimal(&home(), &given("TERRARIUM_TEST_KERNEL_MINIMAL"));
    let inspected = kernel.inspect();
    assert_whole(&inspected);
    kernel.boots(release(&inspected));
}

#[test]
fn the_minimal_arm64_kernel_boots_on_any_host() {
    let home = PathBuf::from(given("TERRARIUM_TEST_HOME_ARM64"));
    let kernel = OwnKernel::minimal(&home, &given("TERRARIUM_TEST_KERNEL_MINIMAL_ARM64"));
    let inspected = kernel.inspect();
    assert_eq!(inspected["arch"], "aarch64");
    assert_whole(&inspected);
    let options = ["--backend", "qemu", "--platform", "linux/arm64"];
    kernel.boots_on(&options, release(&inspected));
}
