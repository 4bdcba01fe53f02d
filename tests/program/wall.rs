//! What stands between a machine's process and the host, seen from outside; and that nothing outlives
//! a command that is killed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{assert_output, backend, output, own_home, shell, started, terrarium};

/// The processes that `parent` started and has not waited for.
fn children(parent: u32) -> Vec<u32> {
    let numbers = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let name = entry.ok()?.file_name();
        name.to_str()?.parse::<u32>().ok()
    });
    numbers
        .filter(|number| {
            // The name before may contain anything, parentheses included.
            fs::read_to_string(format!("/proc/{number}/stat")).is_ok_and(|stat| {
                let after_name = stat.rsplit(')').next().unwrap_or_default();
                after_name.split_whitespace().nth(1) == Some(&parent.to_string())
            })
        })
        .collect()
}

/// The process that runs the guest of a command.
fn machine_of(command: &Child) -> PathBuf {
    let children = children(command.id());
    assert_eq!(children.len(), 1, "{children:?}");
    Path::new("/proc").join(children[0].to_string())
}

/// The value of a line of `/proc/PID/status`.
fn status(process: &Path, name: &str) -> String {
    let text = fs::read_to_string(process.join("status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap().trim_start_matches(':').trim().to_owned()
}

fn end(mut command: Child) {
    command.kill().unwrap();
    command.wait().unwrap();
}

#[test]
fn the_machines_process_is_confined() {
    let on_kvm = backend() == "kvm";
    let command = started(&mut shell(["--cpus", "2"], "echo ready; exec sleep 600"));
    let machine = machine_of(&command);
    let root = status(Path::new("/proc/self"), "Uid").starts_with('0');
    let uid = status(&machine, "Uid");
    // QEMU opens root's files by their paths, so as root it keeps what lets it read them.
    let capabilities = if on_kvm || !root { "0" } else { "2" };
    assert!(!on_kvm || !uid.split('\t').any(|uid| uid == "0"), "{uid}");
    for set in ["CapPrm", "CapEff"] {
        assert_eq!(
            status(&machine, set),
            format!("{capabilities:0>16}"),
            "{set}"
        );
    }
    for set in ["CapInh", "CapAmb"] {
        assert_eq!(status(&machine, set), "0".repeat(16), "{set}");
    }
    for kind in ["mnt", "pid", "net", "ipc", "uts"] {
        let of = |process: &Path| fs::read_link(process.join("ns").join(kind)).unwrap();
        assert_ne!(of(&machine), of(Path::new("/proc/self")), "{kind}");
    }
    if on_kvm {
        assert_eq!(fs::read_dir(machine.join("root")).unwrap().count(), 0);
    }
    let limits = fs::read_to_string(machine.join("limits")).unwrap();
    let core = limits.lines().find(|l| l.starts_with("Max core file size"));
    assert!(core.unwrap().contains(" 0 "), "{limits}");
    if on_kvm {
        let limit = |name: &str| {
            let rest = limits.lines().find_map(|line| line.strip_prefix(name))?;
            rest.split_whitespace().next()?.parse::<u64>().ok()
        };
        assert!(limit("Max open files").unwrap() < 200, "{limits}");
        assert!(limit("Max address space").unwrap() < 16 << 30, "{limits}");
        assert_eq!(limit("Max file size"), Some(0), "{limits}");
    }

    let tasks = fs::read_dir(machine.join("task")).unwrap();
    let tasks: Vec<_> = tasks.map(|task| task.unwrap().path()).collect();
    // With KVM one reports, one does the devices' work, two run vCPUs.
    assert!(tasks.len() >= if on_kvm { 4 } else { 2 }, "{tasks:?}");
    for task in &tasks {
        // What works for io_uring is the kernel's and runs nothing of ours.
        if status(task, "Name").starts_with("iou-") {
            continue;
        }
        assert_eq!(status(task, "NoNewPrivs"), "1", "{}", status(task, "Name"));
        assert_eq!(status(task, "Seccomp"), "2", "{}", status(task, "Name"));
    }

    // Nothing of the owner's is open: no terminal, no lock, no end of a stream. Where the process has
    // forgotten its mounts, the kernel names files by what is left of their paths.
    for entry in fs::read_dir(machine.join("fd")).unwrap() {
        let target = fs::read_link(entry.unwrap().path()).unwrap();
        let text = target.to_string_lossy();
        let expected = ["/null", "/kvm", ".ext4", "/vmlinux", "(deleted)"]
            .iter()
            .any(|end| text.ends_with(end))
            || ["anon_inode:", "socket:", "/memfd:"]
                .iter()
                .any(|kind| text.starts_with(kind));
        assert!(expected, "{text} is open");
    }
    end(command);
}

#[test]
fn a_machine_without_walls_says_so() {
    let output = output(&mut shell(["--no-sandbox"], "echo done"));
    assert_eq!(output.stdout, b"done\n");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("--no-sandbox"), "{said}");
}

/// That a machine's process, whose command has ended, is gone soon, or dead and waiting for whoever is there
/// to be its parent now.
fn assert_ends(machine: &Path) {
    let deadline = Instant::now() + Duration::from_secs(20);
    let runs = || {
        let status = fs::read_to_string(machine.join("status")).unwrap_or_default();
        status.contains("State:") && !status.contains("State:\tZ")
    };
    while runs() {
        assert!(
            Instant::now() < deadline,
            "{} still runs",
            machine.display()
        );
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_machine_ends_with_its_command() {
    let mut command = started(&mut shell([], "echo ready; exec sleep 1"));
    let machine = machine_of(&command);
    assert!(command.wait().unwrap().success());
    assert_ends(&machine);
}

/// All files below a folder.
fn files(folder: &Path, found: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            files(&path, found);
        } else {
            found.insert(path);
        }
    }
}

#[test]
fn a_killed_command_leaves_nothing_behind() {
    let own = own_home();
    let here = |command: &mut Command| output(command.env("TERRARIUM_HOME", own.path()));
    let all = || {
        let mut all = BTreeSet::new();
        files(own.path(), &mut all);
        all
    };
    // The first run makes what stays: the image's disk.
    assert_output(
        &here(&mut shell(["--name", "killed"], "echo once")),
        0,
        "once\n",
    );
    let before = all();
    let temporary = tempfile::tempdir().unwrap();
    let scratch = temporary.path().to_str().unwrap();
    let script = "echo much >/file; sync; echo ready; exec sleep 600";
    let mut run = shell(["--name", "killed", "--scratch-dir", scratch], script);
    run.env("TERRARIUM_HOME", own.path()).env("TMPDIR", scratch);
    let mut command = started(&mut run);
    let machine = machine_of(&command);
    command.kill().unwrap();
    command.wait().unwrap();
    assert_ends(&machine);
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0);
    // Its name alone can still be seen, by a file that is locked no more.
    let name = own.path().join("run/killed");
    assert_eq!(all().difference(&before).collect::<Vec<_>>(), [&name]);
    assert_output(
        &here(terrarium().arg("prune")),
        0,
        "Removed 0 blobs and 0 disks, 0 B\n",
    );
    assert_eq!(all(), before);
}

#[test]
fn a_killed_machine_is_an_error_and_no_hang() {
    let command = started(&mut shell([], "echo ready; exec sleep 600"));
    let machine = machine_of(&command);
    let number: i32 = machine
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    let number = rustix::process::Pid::from_raw(number).unwrap();
    rustix::process::kill_process(number, rustix::process::Signal::KILL).unwrap();
    let output = command.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{said}");
    assert!(said.contains("killed by signal 9"), "{said}");
}

#[test]
fn the_guests_kernel_has_nothing_to_complain_about() {
    // Errors and worse, as the kernel itself sees them.
    let script = "dmesg -r >/tmp/all && grep -c . /tmp/all >&2; grep '^<[0-3]>' /tmp/all; echo end";
    for cpus in ["1", "2", "4"] {
        let output = output(&mut shell(["--cpus", cpus], script));
        assert_output(&output, 0, "end\n");
        // There is something to read.
        let lines = String::from_utf8_lossy(&output.stderr)
            .trim()
            .parse::<u32>();
        assert!(lines.unwrap() > 50);
    }
}
