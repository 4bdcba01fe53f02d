//! The root file system as the command sees it.

use guest_init::control::FailureKind;
use vmm::config::Writes;

use crate::guest::{Guest, finish, shell};
use crate::image::Image;

#[test]
fn a_container_finds_what_it_expects() {
    let disk = Image::new().disk();
    let script = "cut -d' ' -f2,3 /proc/mounts; hostname; ls /dev; ls -l /dev/fd /dev/stdin | sed 's/.* -> //'; \
        stat -c '%a %t %T' /dev/null /dev/urandom /dev/tty; stat -c %a /dev/shm /dev/mqueue; \
        ifconfig lo | grep -o 'inet addr:[0-9.]*'; ping -c 1 -q 127.0.0.1 | grep -o '1 packets received'; \
        echo x > /dev/shm/f && cat /dev/shm/f; ls / ";
    let text = finish(&shell(script), &disk).text();
    let expected = "\
        / ext4\n\
        /etc/hostname rootfs\n\
        /etc/hosts rootfs\n\
        /etc/resolv.conf rootfs\n\
        /proc proc\n\
        /sys sysfs\n\
        /sys/fs/cgroup cgroup2\n\
        /dev tmpfs\n\
        /dev/pts devpts\n\
        /dev/shm tmpfs\n\
        /dev/mqueue mqueue\n\
        box\n\
        fd\nfull\nmqueue\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n\
        /proc/self/fd\n/proc/self/fd/0\n\
        666 1 3\n666 1 9\n666 5 0\n1777\n1777\n\
        inet addr:127.0.0.1\n1 packets received\nx\n\
        bin\ndev\netc\nlost+found\nproc\nsys\ntmp\n";
    assert_eq!(text, expected);
}

#[test]
fn files_of_the_run_cover_the_images_whatever_it_has_there() {
    let image = Image::new();
    image.file("etc/hostname", "image\n");
    image.link("etc/hosts", "/bin/victim");
    image.link("etc/resolv.conf", "../../../proc/sys/kernel/hostname");
    image.program("bin/victim", "#!/bin/sh\necho untouched\n");
    let disk = image.disk();
    let script = "cat /etc/hostname; tail -n 1 /etc/hosts; wc -c < /etc/resolv.conf; victim; \
        umount /etc/hostname && cat /etc/hostname; umount /etc/hosts; readlink /etc/hosts; \
        echo nameserver 1.1.1.1 > /etc/resolv.conf && cat /etc/resolv.conf; hostname";
    assert_eq!(
        finish(&shell(script), &disk).text(),
        "box\n127.0.1.1\tbox\n0\nuntouched\nimage\n/bin/victim\nnameserver 1.1.1.1\nbox\n"
    );
}

#[test]
fn an_image_without_etc_gets_its_files_and_runs_as_root() {
    let image = Image::new();
    std::fs::remove_dir_all(image.path("etc")).unwrap();
    let disk = image.disk();
    let script = "id -u; cat /etc/hostname; ls /etc; stat -c %a /etc; echo $HOME";
    assert_eq!(
        finish(&shell(script), &disk).text(),
        "0\nbox\nhostname\nhosts\nresolv.conf\n755\n/\n"
    );
}

#[test]
fn a_link_in_place_of_a_mount_point_is_refused() {
    for name in ["proc", "etc"] {
        let image = Image::new();
        std::fs::remove_dir_all(image.path(name)).ok();
        image.link(name, "tmp");
        let (kind, message) = finish(&shell("true"), &image.disk()).status.unwrap_err();
        assert_eq!(kind, FailureKind::Setup);
        assert!(message.contains(&format!("/{name} ")), "{message}");
    }
}

#[test]
fn a_user_database_that_is_no_file_is_refused_without_waiting() {
    let image = Image::new();
    std::fs::remove_file(image.path("etc/passwd")).unwrap();
    image.link("etc/passwd", "/dev/tty");
    let (kind, message) = finish(&shell("true"), &image.disk()).status.unwrap_err();
    assert_eq!(kind, FailureKind::Setup);
    assert!(message.contains("/etc/passwd"), "{message}");
}

#[test]
fn the_root_can_be_read_only() {
    let image = Image::new();
    image
        .folder("proc")
        .folder("sys")
        .folder("dev")
        .file("etc/hosts", "");
    let disk = image.disk();
    let mut spec =
        shell("touch /x 2>/dev/null || echo refused; cat /etc/hosts | head -n 1; ls /etc");
    spec.root.read_only = true;
    let end = Guest::boot_with(&spec.encode().unwrap(), &disk, Writes::Refused).end();
    let hosts = "127.0.0.1\tlocalhost\n";
    assert_eq!(
        end.text(),
        format!("refused\n{hosts}group\nhosts\npasswd\n")
    );
}

/// The host's time, in seconds since 1970.
fn now() -> u64 {
    let since_1970 = std::time::SystemTime::UNIX_EPOCH.elapsed();
    since_1970.unwrap().as_secs()
}

#[test]
fn the_wall_clock_is_the_hosts() {
    let disk = Image::new().disk();
    let before = now();
    let text = finish(&shell("date +%s"), &disk).text();
    let told: u64 = text.trim().parse().unwrap();
    // The guest's share of the boot may be counted twice where its clocks are slow.
    assert!((before..=now() + 5).contains(&told), "{before} {told}");
}

#[test]
fn the_wall_clock_is_set_forward_only() {
    const HOUR: u64 = 3600;
    let disk = Image::new().disk();
    // The machine has a clock, which is right.
    for (host, expected) in [(now() - HOUR, now()), (now() + HOUR, now() + HOUR)] {
        let mut spec = shell("date +%s");
        spec.wall_clock_ns = host * 1_000_000_000;
        let text = finish(&spec, &disk).text();
        let told: u64 = text.trim().parse().unwrap();
        // Boots take a while on a busy host, but no such part of an hour.
        assert!(told.abs_diff(expected) < HOUR / 4, "{expected} {told}");
    }
}
