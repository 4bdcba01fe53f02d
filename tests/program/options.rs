//! The options that shape the command's surroundings.

use std::collections::BTreeSet;
use std::env::consts::ARCH;
use std::fs;

use crate::support::{
    PYTHON2, PYTHON3, assert_output, assert_refused, backend, output, python2, run, shell,
    terrarium,
};

#[test]
fn python2_answers_from_a_machine_of_its_own() {
    let program = "\
import platform, os, sys
print sys.version.split()[0], platform.system(), platform.machine(), sum(range(10))
print open('/proc/1/comm').read().strip(), len(os.listdir('/proc')) > 20";
    let expected = format!("2.7.18 Linux {ARCH} 45\nguest-init True\n");
    let output = output(&mut python2([], program));
    let got = String::from_utf8_lossy(&output.stdout).replace("\ninit True", "\nguest-init True");
    assert_eq!(got, expected, "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_official_python3_runs_with_its_libraries() {
    let program = "\
import ssl, sqlite3, ctypes, multiprocessing, zlib, lzma, hashlib, uuid, sys
queue = multiprocessing.Queue()
child = multiprocessing.Process(target=lambda q: q.put(sum(range(1000))), args=(queue,))
child.start(); value = queue.get(); child.join()
db = sqlite3.connect('/tmp/x.db'); db.execute('create table t (n)'); db.commit()
print(sys.version_info[:2], value, ssl.OPENSSL_VERSION_INFO[0] >= 3)";
    let mut command = run([], PYTHON3);
    command.args(["python3", "-c", program]);
    assert_output(&output(&mut command), 0, "(3, 12) 499500 True\n");
}

#[test]
fn the_environment_is_the_images_then_files_then_options() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "# from a file\nLANG=file\nFROM_FILE=1\n").unwrap();
    let script = "echo $LANG $PYTHON_VERSION $FROM_FILE $GIVEN $INHERITED; echo $HOME; echo $PATH";
    let mut command = shell(
        [
            "--env-file",
            file.path().to_str().unwrap(),
            "-e",
            "GIVEN=a b",
            "--env=INHERITED",
        ],
        script,
    );
    let output = output(command.env("INHERITED", "here"));
    let expected = "file 2.7.18 1 a b here\n/root\n\
                    /usr/local/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n";
    assert_output(&output, 0, expected);
}

#[test]
fn the_working_directory_is_made_if_missing() {
    let output_of = |workdir| output(&mut shell(["-w", workdir], "pwd"));
    assert_output(&output_of("/usr/bin"), 0, "/usr/bin\n");
    assert_output(&output_of("/new/and/deep"), 0, "/new/and/deep\n");
    assert_refused(&output_of("relative"), ["relative", "absolute"]);
}

#[test]
fn users_go_by_name_and_number() {
    let script = "id -u; id -g; echo $HOME";
    let output_of = |user| output(&mut shell(["--user", user], script));
    assert_output(&output_of("1234:5678"), 0, "1234\n5678\n/\n");
    assert_output(&output_of("root"), 0, "0\n0\n/root\n");
    assert_refused(&output_of("nobody-knows"), ["nobody-knows"]);
}

#[test]
fn the_host_name_is_set_everywhere() {
    let script = "hostname; cat /etc/hostname; grep -c snake /etc/hosts";
    let output = output(&mut shell(["-h", "snake"], script));
    assert_output(&output, 0, "snake\nsnake\n1\n");
}

#[test]
fn limits_hold() {
    let script = "ulimit -Sn; ulimit -Hn";
    let output = output(&mut shell(["--ulimit", "nofile=123:456"], script));
    assert_output(&output, 0, "123\n456\n");
}

#[test]
fn an_entrypoint_replaces_the_images_command_too() {
    let output_of =
        |arguments: &[&str]| output(run(["--entrypoint", "echo"], PYTHON2).args(arguments));
    assert_output(&output_of(&[]), 0, "\n");
    // All words after the image are the command's, even those that `run` knows itself.
    assert_output(&output_of(&["-n", "a", "--b"]), 0, "a --b");
    let known = ["-u", "-m", "--help", "--", "-it"];
    assert_output(&output_of(&known), 0, "-u -m --help -- -it\n");
}

#[test]
fn the_kernel_hears_further_arguments() {
    let options = ["--kernel-arg", "first.word=1", "--kernel-arg=second"];
    let script = "grep -o ' first.word=1 second' /proc/cmdline";
    assert_output(
        &output(&mut shell(options, script)),
        0,
        " first.word=1 second\n",
    );
    let refused = output(&mut shell(["--kernel-arg", "two words"], "true"));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(125), "{said}");
    assert!(said.contains("one word"), "{said}");
}

#[test]
fn memory_and_cpus_are_as_asked_for() {
    let program = "\
import os
kib = int(open('/proc/meminfo').readline().split()[1])
print os.sysconf('SC_NPROCESSORS_ONLN'), 150000 < kib < 262144";
    let output = output(&mut python2(["--memory", "256m", "--cpus", "1.5"], program));
    assert_output(&output, 0, "2 True\n");
}

/// What `/proc/cpuinfo` says that the first CPU can.
fn cpu_features(cpuinfo: &str) -> BTreeSet<String> {
    let mut lines = cpuinfo.lines();
    let line = lines.find(|line| line.starts_with("flags") || line.starts_with("Features"));
    let (_, features) = line.unwrap().split_once(':').unwrap();
    features.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn the_cpu_can_what_the_hosts_can() {
    // QEMU translates programs for a CPU of its own.
    if backend() != "kvm" {
        return;
    }
    let host = cpu_features(&fs::read_to_string("/proc/cpuinfo").unwrap());
    let got = output(&mut shell([], "cat /proc/cpuinfo; dmesg"));
    let text = String::from_utf8_lossy(&got.stdout);
    let guest = cpu_features(&text);
    // Vectors and pointer authentication; what the host has none of, the guest has none of.
    for name in ["sse4_2", "avx2", "asimd", "sve", "paca", "pacg"] {
        let (host, guest) = (host.contains(name), guest.contains(name));
        assert_eq!(host, guest, "{name}: {text}");
    }
    // A guest of arm64 is told how much of its time others took; one of x86_64 reads KVM's clock.
    let paravirtual = if ARCH == "aarch64" {
        "using stolen time PV"
    } else {
        "kvm-clock"
    };
    assert!(text.contains(paravirtual), "{text}");
}

#[test]
fn qemu_takes_the_hosts_kvm_where_it_works() {
    let clocks = "cat /sys/devices/system/clocksource/clocksource0/available_clocksource";
    let mut qemu = terrarium();
    qemu.args([
        "run",
        "--quiet",
        "--backend",
        "qemu",
        PYTHON2,
        "sh",
        "-c",
        clocks,
    ]);
    let output = output(&mut qemu);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    // Other architectures have no clock that tells the accelerator.
    if ARCH == "x86_64" {
        assert_eq!(said.contains("kvm-clock"), backend() == "kvm", "{said}");
    }
}

#[test]
fn time_passes_as_on_the_host() {
    let program = "import time; a = time.time(); time.sleep(3); print a, time.time() - a";
    let begun = std::time::Instant::now();
    let before = std::time::SystemTime::now();
    let output = output(&mut python2([], program));
    let (most, after) = (begun.elapsed().as_secs_f64(), std::time::SystemTime::now());
    let text = String::from_utf8(output.stdout).unwrap();
    let numbers: Vec<f64> = text
        .split_whitespace()
        .map(|n| n.parse().unwrap())
        .collect();
    let since = |time: std::time::SystemTime| {
        time.duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs_f64()
    };
    let (started, slept) = (numbers[0], numbers[1]);
    assert!(
        since(before) - 1.0 < started && started < since(after) + 1.0,
        "{text}"
    );
    assert!((2.99..most).contains(&slept), "{text}");
}

#[test]
fn a_name_is_taken_only_once_at_a_time() {
    let mut first = crate::support::piped(&mut shell(["-i", "--name", "twin"], "echo up; cat"));
    let mut line = [0; 3];
    std::io::Read::read_exact(first.stdout.as_mut().unwrap(), &mut line).unwrap();
    let second = output(&mut shell(["--name", "twin"], "true"));
    assert_refused(&second, ["twin", "in use"]);
    drop(first.stdin.take());
    assert_eq!(first.wait().unwrap().code(), Some(0));
    assert_output(&output(&mut shell(["--name", "twin"], "true")), 0, "");
}

#[test]
fn what_the_machine_did_is_said_or_written() {
    let said = output(&mut shell(
        ["--stats"],
        "cat /bin/busybox >/dev/null; echo done",
    ));
    assert_eq!(said.stdout, b"done\n");
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("memory peak"), "{said:?}");

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("stats.json");
    let option = format!("--stats={}", file.display());
    assert_output(&output(&mut shell([&option], "echo done")), 0, "done\n");
    let stats = std::fs::read(&file).unwrap();
    let stats: serde_json::Value = serde_json::from_slice(&stats).unwrap();
    assert!(stats["memory_peak"].as_u64().unwrap() > 16 << 20, "{stats}");
    if backend() == "kvm" {
        let devices = stats["devices"].as_array().unwrap();
        for name in ["block", "console"] {
            let device = devices
                .iter()
                .find(|device| device["name"] == name)
                .unwrap();
            assert!(device["operations"].as_u64().unwrap() > 5, "{stats}");
            assert!(device["bytes_from_guest"].as_u64().unwrap() > 50, "{stats}");
        }
        assert!(stats["exits"]["mmio"].as_u64().unwrap() > 10, "{stats}");
        assert!(stats["kvm"]["exits"].as_u64().unwrap() > 10, "{stats}");
        assert!(
            stats["guest_memory"].as_u64().unwrap() > 16 << 20,
            "{stats}"
        );
    }
}

#[test]
fn memory_that_the_guest_frees_goes_back_if_asked() {
    let program = "\
import os, time
print os.popen('grep -l virtio:d00000005 /sys/bus/virtio/devices/*/uevent').read() != ''
much = 'x' * 150000000
del much
time.sleep(8)";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("stats.json");
    let option = format!("--stats={}", file.display());
    let run = |wanted: &str, there: &str| -> Option<u64> {
        let mut run = python2(["--memory", "256m", wanted, &option], program);
        assert_output(&output(&mut run), 0, there);
        let stats = std::fs::read(&file).unwrap();
        let stats: serde_json::Value = serde_json::from_slice(&stats).unwrap();
        stats["guest_memory"].as_u64()
    };
    let kept = run("--rm", "False\n");
    let given_back = run("--balloon", "True\n");
    if backend() == "kvm" {
        let (kept, given_back) = (kept.unwrap(), given_back.unwrap());
        assert!(kept > 150_000_000, "{kept}");
        assert!(given_back + 75_000_000 < kept, "{given_back} of {kept}");
    }
}

#[test]
fn the_stages_of_a_run_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trace.json");
    let option = format!("--trace={}", file.display());
    let events = || -> Vec<serde_json::Value> {
        let trace = fs::read(&file).unwrap();
        fs::remove_file(&file).unwrap();
        serde_json::from_slice(&trace).unwrap()
    };
    let said = output(&mut shell([&option], "echo done; exit 3"));
    assert_output(&said, 3, "done\n");
    let events_of_run = events();
    let (stages, facts): (Vec<_>, Vec<_>) =
        events_of_run.iter().partition(|event| event["ph"] == "X");
    let mut names = stages.iter().map(|stage| stage["name"].as_str().unwrap());
    for name in [
        "arguments",
        "image",
        "kernel",
        "backend",
        "kernel boot",
        "guest setup",
        "command until first output",
        "command",
        "drain",
        "stop",
    ] {
        assert!(names.any(|it| it == name), "no {name} in {stages:?}");
    }
    // Each begins where the one before it ended.
    for pair in stages.windows(2) {
        let ended = pair[0]["ts"].as_f64().unwrap() + pair[0]["dur"].as_f64().unwrap();
        let gap = pair[1]["ts"].as_f64().unwrap() - ended;
        assert!(gap.abs() < 1.0, "{gap} us between {pair:?}");
    }
    assert_eq!(facts.len(), 2, "{facts:?}");
    for fact in facts {
        assert!(fact["args"]["microseconds"].as_u64() > Some(0), "{fact}");
    }

    // A run that fails has stages as well.
    let said = output(&mut shell([&option], "reboot -f; sleep 600"));
    assert_eq!(said.status.code(), Some(125));
    assert!(events().iter().any(|event| event["name"] == "guest setup"));
}

#[test]
fn debugging_shows_the_guests_kernel_and_the_registers_it_stopped_with() {
    let script = "reboot -f; sleep 600";
    let shown = output(&mut shell(["--debug"], script));
    assert_output(&shown, 125, "");
    let shown = String::from_utf8_lossy(&shown.stderr);
    assert!(shown.contains("Linux version "), "{shown}");
    if backend() == "kvm" && ARCH == "x86_64" {
        assert!(shown.contains("rip 0"), "{shown}");
    }
    let quiet = output(&mut shell([], script));
    let quiet = String::from_utf8_lossy(&quiet.stderr);
    assert_eq!(quiet.lines().count(), 1, "{quiet}");
}

#[test]
fn the_log_says_what_is_done() {
    let log = |level: &str| {
        let output = output(shell([], "echo done").env("TERRARIUM_LOG", level));
        assert_eq!(output.stdout, b"done\n");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = log("info");
    assert!(said.contains(r#"stage{name="kernel boot"}"#), "{said}");
    assert!(log("vmm=debug").contains("DEBUG"));
    assert!(log("vmm=loud").contains("TERRARIUM_LOG=vmm=loud is no level"));
    assert_eq!(log(""), "");
}
