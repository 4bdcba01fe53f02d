//! What the command is started as: program, user, folder, environment, limits.

use guest_init::control::{ExitStatus, FailureKind};
use guest_init::spec::{Rlimit, RunSpec};

use crate::guest::{finish, run, shell};
use crate::image::{Disk, Image};

const RLIMIT_NOFILE: u32 = 7;

fn failure(spec: &RunSpec, disk: &Disk) -> (FailureKind, String) {
    let end = finish(spec, disk);
    end.status.expect_err("The command ran")
}

#[test]
fn programs_that_do_not_exist_or_cannot_run_are_told_apart() {
    let image = Image::new();
    image.program("opt/no-interpreter", "#!/opt/python -u\n");
    image.file("opt/not-executable", "text");
    let disk = image.disk();
    for (program, kind, message) in [
        (
            "nope",
            FailureKind::NotFound,
            "exec \"nope\": executable file not found in $PATH",
        ),
        (
            "/opt/no-interpreter",
            FailureKind::NotFound,
            "exec \"/opt/no-interpreter\": its interpreter \"/opt/python\" does not exist in the image",
        ),
        (
            "/opt/not-executable",
            FailureKind::NotExecutable,
            "exec \"/opt/not-executable\": permission denied",
        ),
    ] {
        let told = failure(&run([program]), &disk);
        assert_eq!(told, (kind, message.to_owned()));
    }
}

#[test]
fn users_and_groups_are_those_of_the_image() {
    let disk = Image::new().disk();
    let script = "id -u; id -g; id -G; echo $HOME; echo written > /dev/stdout; \
        touch /etc/x 2>/dev/null || echo no";
    for (user, expected) in [
        ("app", "1000\n1001\n1001 10 27\n/home/app\nwritten\nno\n"),
        ("app:27", "1000\n27\n27\n/home/app\nwritten\nno\n"),
        ("4242", "4242\n0\n0\n/\nwritten\nno\n"),
    ] {
        let mut spec = shell(script);
        user.as_bytes().clone_into(&mut spec.user);
        assert_eq!(finish(&spec, &disk).text(), expected, "{user:?}");
    }
    let mut spec = shell(script);
    spec.user = b"nobody".to_vec();
    let told = failure(&spec, &disk);
    let message = "Unable to find user nobody: no matching entries in passwd file";
    assert_eq!(told, (FailureKind::Setup, message.to_owned()));
}

#[test]
fn the_working_directory_is_made_and_must_be_one() {
    let image = Image::new();
    image.file("srv/file", "");
    image.program("srv/here", "#!/bin/sh\npwd\n");
    let disk = image.disk();
    let at = |path: &str, argv| RunSpec {
        working_directory: path.as_bytes().to_vec(),
        ..argv
    };
    let made = at("/a/b/../c//d", shell("pwd; stat -c '%a %u' /a/c"));
    assert_eq!(finish(&made, &disk).text(), "/a/c/d\n755 0\n");
    let relative = at("/srv", run(["./here"]));
    assert_eq!(finish(&relative, &disk).text(), "/srv\n");
    let (kind, message) = failure(&at("/srv/file", run(["pwd"])), &disk);
    assert_eq!(kind, FailureKind::Setup);
    assert!(message.contains("working directory /srv/file"), "{message}");
}

#[test]
fn environment_arguments_and_limits_arrive_as_they_are() {
    let disk = Image::new().disk();
    let mut spec = run([
        "sh",
        "-c",
        "env; printf '[%s]' \"$@\"; ulimit -n; ulimit -Hn",
        "sh",
    ]);
    spec.argv
        .extend([b"a b".to_vec(), Vec::new(), b"\xff\n".to_vec()]);
    spec.env = vec![b"A=1".to_vec(), b"B=\xfe=x".to_vec(), b"A=2".to_vec()];
    spec.rlimits = vec![Rlimit {
        resource: RLIMIT_NOFILE,
        soft: 1234,
        hard: 4321,
    }];
    let end = finish(&spec, &disk);
    assert_eq!(end.status, Ok(ExitStatus::Code(0)));
    let variables: Vec<&[u8]> = end.stdout.split(|&byte| byte == b'\n').collect();
    for variable in [
        &b"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"[..],
        b"HOSTNAME=box",
        b"HOME=/root",
        b"A=2",
        b"B=\xfe=x",
    ] {
        assert!(variables.contains(&variable), "{variable:?}");
    }
    assert!(end.stdout.ends_with(b"[a b][][\xff\n]1234\n4321\n"));
}
