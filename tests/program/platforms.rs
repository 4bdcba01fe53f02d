//! The seven platforms of one list of images, each by tag and by digest.

use std::env::consts::ARCH;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::registry::Registry;
use crate::support::store::Store;
use crate::support::{
    assert_output, assert_refused, backend, given, output, output_with_input, signal, started,
    terrarium,
};

/// A platform of the list, and what its programs should find.
struct Expected {
    platform: &'static str,
    /// What `uname -m` says.
    machine: &'static str,
    /// Where its Python is.
    python: &'static str,
}

const fn expected(platform: &'static str, machine: &'static str, python: &'static str) -> Expected {
    Expected {
        platform,
        machine,
        python,
    }
}

/// All seven.
fn expected_here() -> [Expected; 7] {
    // An ARM CPU's 32-bit mode is ARMv8's; QEMU's emulator has a CPU of its own.
    let arm = if ARCH == "aarch64" {
        "armv8l"
    } else {
        "armv7l"
    };
    [
        expected("linux/amd64", "x86_64", "/usr/bin/python2.7"),
        expected("linux/386", "i686", "/usr/bin/python2.7"),
        expected("linux/arm64", "aarch64", "/usr/bin/python2.7"),
        expected("linux/arm/v7", arm, "/usr/bin/python2.7"),
        expected("linux/arm/v6", arm, "/usr/bin/python3.11"),
        expected("linux/ppc64le", "ppc64le", "/usr/bin/python3.11"),
        expected("linux/s390x", "s390x", "/usr/bin/python3.11"),
    ]
}

/// The platforms that the CPU runs: the host's own, and those of its 32-bit mode.
fn on_the_cpu() -> (&'static str, &'static [&'static str]) {
    match ARCH {
        "x86_64" => ("linux/amd64", &["linux/386"]),
        "aarch64" => ("linux/arm64", &["linux/arm/v7", "linux/arm/v6"]),
        other => panic!("no platform is known for {other}"),
    }
}

fn is_on_the_cpu(platform: &str) -> bool {
    let (native, compat) = on_the_cpu();
    platform == native || compat.contains(&platform)
}

/// What is run here: all of it on QEMU, only what runs on the CPU on KVM, which in the emulated host is
/// an emulation itself.
fn run_here() -> Vec<Expected> {
    let mut list = Vec::from(expected_here());
    if backend() == "kvm" {
        list.retain(|row| is_on_the_cpu(row.platform));
    }
    list
}

/// The name of the list in the tests' registry.
const NAME: &str = "platforms:1";

fn layout() -> PathBuf {
    PathBuf::from(given("TERRARIUM_TEST_PLATFORMS"))
}

/// The digest of the list.
fn digest() -> String {
    let index = std::fs::read(layout().join("index.json")).unwrap();
    let index: Value = serde_json::from_slice(&index).unwrap();
    index["manifests"][0]["digest"].as_str().unwrap().to_owned()
}

/// All that a shell and a Python of any platform can do.
const SCRIPT: &str = r#"
uname -m
printf 'one\ntwo\nthree\n' | sort -r | head -n 2 | tr '\n' ' '; echo
sh -c 'kill -TERM $$'; echo killed $?
trap 'echo caught' USR1; kill -USR1 $$
printf '#!/bin/sh\necho script "$0" "$@"\n' >/tmp/script; chmod 755 /tmp/script; /tmp/script a 'b c'
printf '#!/usr/bin/python -S\nimport sys; print(sys.argv)\n' >/tmp/python; chmod 755 /tmp/python; /tmp/python x
grep -lx emulators /sys/block/*/serial | wc -l; grep -c '^binfmt_misc ' /proc/modules
python -S - <<END
import os, platform, signal, subprocess, sys, threading
print(platform.machine())
print(sys.executable)
print(os.path.realpath(sys.executable) == os.readlink("/proc/self/exe"))
print(subprocess.call([sys.executable, "-S", "-c", "import sys; sys.exit(3)"]))
print(subprocess.call(["/proc/self/exe", "-S", "-c", "import sys; sys.exit(4)"]))
print(subprocess.call(["sh", "-c", "kill -SEGV \$\$"]) == -signal.SIGSEGV)
lock, counts = threading.Lock(), []
def count(number):
    for i in range(100):
        with lock:
            counts.append(number)
threads = [threading.Thread(target=count, args=(n,)) for n in range(4)]
for t in threads: t.start()
for t in threads: t.join()
print(len(counts), sorted(set(counts)))
END
exit 7
"#;

fn answer(expected: &Expected) -> String {
    let Expected {
        machine, python, ..
    } = expected;
    let counts = if python.contains("python2") {
        "(400, [0, 1, 2, 3])"
    } else {
        "400 [0, 1, 2, 3]"
    };
    // What the CPU runs carries nothing of the emulators, though they are stored.
    let carried = u8::from(!is_on_the_cpu(expected.platform));
    format!(
        "{machine}\ntwo three \nkilled 143\ncaught\nscript /tmp/script a b c\n['/tmp/python', 'x']\n\
         {carried}\n{carried}\n{machine}\n/usr/bin/python\nTrue\n3\n4\nTrue\n{counts}\n"
    )
}

/// A signal to the run reaches the program, whose answer is its exit code.
const WAITING: &str = r#"
import os, signal, sys, time
def caught(number, frame):
    print("caught %d" % number)
    sys.exit(9)
signal.signal(signal.SIGTERM, caught)
os.write(1, b"ready\n")
while True:
    time.sleep(0.2)
"#;

fn import_emulators(store: &Store) {
    let mut import = store.command(terrarium());
    import.args(["emulator", "import", "--deb"]);
    let imported = output(import.arg(given("TERRARIUM_TEST_EMULATORS_DEB")));
    assert_output(&imported, 0, "aarch64\narm\ni386\nppc64le\ns390x\nx86_64\n");
}

#[test]
fn every_platform_runs_by_tag_and_by_digest() {
    let registry = Registry::start();
    registry.push(&layout(), "localhost/platforms:1", NAME);
    let tag = format!("{}/{NAME}", registry.host());
    let by_digest = format!("{}/platforms@{}", registry.host(), digest());
    let store = Store::new();
    import_emulators(&store);
    let check = |expected: &Expected| {
        let mut whole = store.run(["--platform", expected.platform], &tag);
        let got = output(whole.args(["sh", "-c", SCRIPT]));
        assert_output(&got, 7, answer(expected));

        let mut waiting = store.run(["--platform", expected.platform], &by_digest);
        let child = started(waiting.args(["python", "-S", "-c", WAITING]));
        signal(&child, Signal::TERM);
        assert_output(&child.wait_with_output().unwrap(), 9, "caught 15\n");
    };
    let (expected_here, next) = (run_here(), AtomicUsize::new(0));
    let work = || {
        while let Some(expected) = expected_here.get(next.fetch_add(1, Ordering::Relaxed)) {
            check(expected);
        }
    };
    thread::scope(|scope| {
        scope.spawn(work);
        scope.spawn(work);
    });
}

/// Pushes the list's image for s390x alone.
fn push_s390x(registry: &Registry) -> String {
    let image = format!("{}/foreign:1", registry.host());
    let status = Command::new("skopeo")
        .args([
            "copy",
            "--quiet",
            "--insecure-policy",
            "--override-arch",
            "s390x",
        ])
        .arg("--dest-tls-verify=false")
        .arg(format!("oci:{}:localhost/platforms:1", layout().display()))
        .arg(format!("docker://{image}"))
        .status()
        .unwrap();
    assert!(status.success());
    image
}

#[test]
fn an_image_for_another_platform_alone_is_emulated_and_that_is_said_once() {
    let registry = Registry::start();
    let image = push_s390x(&registry);
    let store = Store::new();
    let how = "terrarium emulator import";
    let refused = output(&mut store.run([], &image));
    let (native, compat) = on_the_cpu();
    let only = format!("no {native}, only linux/s390x");
    assert_refused(&refused, [&only, how]);
    let refused = output(&mut store.run(["--platform", "linux/s390x"], &image));
    assert_refused(&refused, ["linux/s390x runs here by emulation only", how]);
    assert_eq!(
        runs(&store, "linux/s390x"),
        ("emulated".into(), Some("an emulator".into()))
    );

    import_emulators(&store);
    assert_eq!(runs(&store, "linux/s390x"), ("emulated".into(), None));
    for platform in compat {
        assert_eq!(runs(&store, platform), ("32-bit".into(), None));
    }
    assert_eq!(runs(&store, native), ("native".into(), None));
    let mut loud = store.command(terrarium());
    loud.args(["run", "--backend", &backend(), &image, "uname", "-m"]);
    let got = output(&mut loud);
    assert_output(&got, 0, "s390x\n");
    let said = String::from_utf8(got.stderr).unwrap();
    assert_eq!(said.matches("linux/s390x is emulated").count(), 1, "{said}");

    // What is stored needs no registry. Programs of the guest see nothing of the emulators, and
    // set-user-ID programs are that.
    drop(registry);
    let script = "ls -d /emulators /binfmt_misc 2>/dev/null
        cp /usr/bin/python /tmp/nobodys; chown 65534 /tmp/nobodys; chmod 4755 /tmp/nobodys
        /tmp/nobodys -S -c 'import os; print(os.geteuid())'";
    let mut stored = store.run(["--pull", "never"], &image);
    assert_output(&output(stored.args(["sh", "-c", script])), 0, "65534\n");

    // And may start programs of yet another machine, with the arguments that they are given.
    let busybox = std::fs::read(given("TERRARIUM_TEST_BUSYBOX")).unwrap();
    let machine = match busybox[18] {
        62 => "x86_64",
        183 => "aarch64",
        other => panic!("the machine of ELF files with number {other}"),
    };
    let script = "cat >/tmp/busybox; chmod 755 /tmp/busybox
        uname -m; /tmp/busybox uname -m; /tmp/busybox echo a 'b c'";
    let mut stored = store.run(["--pull", "never", "-i"], &image);
    let got = output_with_input(stored.args(["sh", "-c", script]), busybox);
    assert_output(&got, 0, format!("s390x\n{machine}\na b c\n"));
}

/// How a platform runs, and what is missing.
fn runs(store: &Store, platform: &str) -> (String, Option<String>) {
    let mut list = store.command(terrarium());
    let got = output(list.args(["platforms", "--json"]));
    let rows: Value = serde_json::from_slice(&got.stdout).unwrap();
    let rows = rows.as_array().unwrap();
    let row = rows.iter().find(|row| row["platform"] == platform).unwrap();
    let text = |name: &str| row[name].as_str().map(str::to_owned);
    assert_eq!(row["missing"].is_null(), row["command"].is_null());
    (text("runs").unwrap(), text("missing"))
}
