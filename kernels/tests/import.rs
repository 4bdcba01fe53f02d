//! Importing kernels: what is kept of packages, and what is refused.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod common;

use std::fs;
use std::time::{Duration, SystemTime};

use common::{
    MODULES_AT_BOOT, Scratch, VERSION, apk, bzimage, chain, deb, gzip, module, names_in,
    package_files, vmlinux,
};
use kernels::{Arch, BootOptions, Discovery, Error, Kernel, Presence};

fn check(scratch: &Scratch, kernel: &Kernel) {
    assert_eq!(kernel.version(), VERSION);
    assert_eq!(kernel.arch(), Arch::X86_64);
    assert_eq!(kernel.discovery(), Discovery::CommandLine);
    assert_eq!(fs::read(kernel.vmlinux()).unwrap(), vmlinux());
    assert_eq!(kernel.modules_at_boot().unwrap(), MODULES_AT_BOOT);
    let presence = |module| {
        kernel
            .drivers()
            .find(|(d, _)| d.module == module)
            .unwrap()
            .1
    };
    assert_eq!(presence("virtio_console"), Presence::BuiltIn);
    assert_eq!(presence("virtio_blk"), Presence::Module);
    assert_eq!(presence("virtio_rng"), Presence::Missing);

    let mut modules = names_in(&kernel.vmlinux().with_file_name("modules"));
    modules.sort();
    assert_eq!(
        modules,
        [
            "crc32c_generic.ko",
            "ext4.ko",
            "jbd2.ko",
            "mbcache.ko",
            "virtio_blk.ko"
        ]
    );
    assert_eq!(
        scratch.store.default_for(Arch::X86_64).unwrap().id(),
        kernel.id()
    );
    assert_eq!(scratch.leftovers(), Vec::<String>::new());
}

#[test]
fn takes_debian_packages() {
    let scratch = Scratch::new();
    let package = scratch.file("linux.deb", &deb(&package_files()));
    check(&scratch, &scratch.store.import_deb(&package).unwrap());
}

#[test]
fn takes_alpine_packages() {
    let scratch = Scratch::new();
    let package = scratch.file("linux.apk", &apk(&package_files()).bytes);
    check(&scratch, &scratch.store.import_apk(&package).unwrap());
}

#[test]
fn takes_single_files_and_module_trees() {
    let scratch = Scratch::new();
    for (path, contents) in package_files() {
        let path = scratch.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }
    let modules = scratch.dir.path().join("lib/modules").join(VERSION);
    std::os::unix::fs::symlink("/usr/src/linux", modules.join("build")).unwrap();
    let boot = scratch.dir.path().join("boot");
    let (vmlinuz, config) = (boot.join("vmlinuz-test"), boot.join("config-test"));
    let kernel = scratch
        .store
        .import_files(&vmlinuz, Some(&modules), &config);
    check(&scratch, &kernel.unwrap());
}

#[test]
fn the_same_contents_are_one_kernel_and_the_last_import_is_the_default() {
    let scratch = Scratch::new();
    let first = scratch.file("linux.deb", &deb(&package_files()));
    let first = scratch.store.import_deb(&first).unwrap();
    let mut files = package_files();
    files[1].1.extend_from_slice(b"CONFIG_OTHER=y\n");
    let second = scratch.file("other.deb", &deb(&files));
    let second = scratch.store.import_deb(&second).unwrap();
    assert_ne!(first.id(), second.id());
    assert_eq!(
        scratch.store.default_for(Arch::X86_64).unwrap().id(),
        second.id()
    );

    let again = scratch.file("linux.apk", &apk(&package_files()).bytes);
    let again = scratch.store.import_apk(&again).unwrap();
    assert_eq!(again.id(), first.id());
    assert_eq!(again.source(), "linux.apk");
    assert_eq!(scratch.store.list().unwrap().len(), 2);
    assert_eq!(
        scratch.store.default_for(Arch::X86_64).unwrap().id(),
        first.id()
    );

    let error = scratch.store.get(VERSION).unwrap_err();
    assert!(matches!(error, Error::Ambiguous { .. }), "{error}");
    scratch.store.remove(second.id()).unwrap();
    assert_eq!(scratch.store.get(VERSION).unwrap().id(), first.id());
    scratch.store.remove(VERSION).unwrap();
    assert!(matches!(
        scratch.store.get(VERSION),
        Err(Error::NotFound(_))
    ));
    assert!(matches!(
        scratch.store.default_for(Arch::X86_64),
        Err(Error::NoneFor(_))
    ));
    assert_eq!(scratch.leftovers(), Vec::<String>::new());
}

#[test]
fn the_initramfs_is_made_once_and_its_leftovers_are_removed() {
    let scratch = Scratch::new();
    let package = scratch.file("linux.deb", &deb(&package_files()));
    let kernel = scratch.store.import_deb(&package).unwrap();
    let dir = kernel.vmlinux().parent().unwrap().to_owned();
    fs::write(dir.join(".initramfs-crashed"), b"half").unwrap();

    let path = kernel.initramfs(b"#!init", "init").unwrap();
    let archive = fs::read(&path).unwrap();
    let has = |text: &str| {
        archive
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    };
    for name in [
        "init",
        "dev/console",
        "dev/null",
        "newroot",
        "modules/ext4.ko",
    ] {
        assert!(has(&format!("{name}\0")), "{name}");
    }
    let list: String = MODULES_AT_BOOT
        .map(|name| format!("/modules/{name}.ko\n"))
        .concat();
    assert!(has(&list));
    assert!(!dir.join(".initramfs-crashed").exists());

    fs::write(&path, b"kept").unwrap();
    assert_eq!(kernel.initramfs(b"#!init", "init").unwrap(), path);
    assert_eq!(fs::read(&path).unwrap(), b"kept");
    let other = kernel.initramfs(b"#!other", "other").unwrap();
    assert!(other != path && path.exists());

    // After a month, the next one made takes its place.
    let month_ago = SystemTime::now() - Duration::from_secs(31 * 24 * 60 * 60);
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(month_ago).unwrap();
    kernel.initramfs(b"#!third", "third").unwrap();
    assert!(other.exists() && !path.exists());
}

#[test]
fn arguments_follow_the_configuration() {
    let scratch = Scratch::new();
    let mut files = package_files();
    files[1].1 = b"CONFIG_PCI=y\nCONFIG_KALLSYMS=y\nCONFIG_SERIO_I8042=y\nCONFIG_SERIAL_8250=y\n\
                   CONFIG_EVENT_TRACING=y\nCONFIG_NULL_TTY=y\nCONFIG_INIT_ON_ALLOC_DEFAULT_ON=y\nCONFIG_DMA_CMA=y\n\
                   # CONFIG_RANDOM_TRUST_CPU is not set\n"
        .to_vec();
    let package = scratch.file("linux.deb", &deb(&files));
    let kernel = scratch.store.import_deb(&package).unwrap();
    assert_eq!(kernel.discovery(), Discovery::Acpi);
    let quiet = kernel.boot_arguments(&BootOptions::default()).join(" ");
    assert_eq!(
        quiet,
        "quiet panic=-1 reboot=t 8250.nr_uarts=0 pci=off \
         initcall_blacklist=i8042_init,pci_arch_init,tracer_init_tracefs console=ttynull \
         random.trust_cpu=on init_on_alloc=0 cma=0"
    );
    let options = BootOptions {
        serial: true,
        debug: true,
        no_kaslr: true,
    };
    let loud = kernel.boot_arguments(&options);
    assert!(loud.contains(&"console=ttyS0".to_owned()), "{loud:?}");
    assert!(!loud.contains(&"console=ttynull".to_owned()), "{loud:?}");
    // The loader moves it: the kernel itself does not know the word.
    assert!(!loud.contains(&"nokaslr".to_owned()), "{loud:?}");
    let left_out = "initcall_blacklist=i8042_init,pci_arch_init".to_owned();
    assert!(loud.contains(&left_out), "{loud:?}");
    assert!(!loud.contains(&"quiet".to_owned()) && !loud.iter().any(|a| a.starts_with("8250")));
}

#[test]
fn kernels_of_two_architectures_do_not_meet() {
    let scratch = Scratch::new();
    let x86 = scratch.file("x86.deb", &deb(&package_files()));
    let x86 = scratch.store.import_deb(&x86).unwrap();
    let mut image = vec![0; 64];
    image[56..60].copy_from_slice(b"ARM\x64");
    image.extend_from_slice(format!("Linux version {VERSION} (x)").as_bytes());
    let mut files = package_files();
    files[0].1 = image.clone();
    files[1].1.extend_from_slice(b"CONFIG_RANDOMIZE_BASE=y\n");
    let arm = scratch.file("arm.deb", &deb(&files));
    let arm = scratch.store.import_deb(&arm).unwrap();

    assert_eq!(arm.arch(), Arch::Aarch64);
    assert_eq!(arm.discovery(), Discovery::DeviceTree);
    assert_eq!(fs::read(arm.vmlinux()).unwrap(), image);
    assert_eq!(arm.modules_at_boot().unwrap(), MODULES_AT_BOOT);
    let options = BootOptions {
        no_kaslr: true,
        ..BootOptions::default()
    };
    assert!(arm.can_be_moved() && !x86.can_be_moved());
    assert!(arm.boot_arguments(&options).contains(&"nokaslr".to_owned()));
    let moved = arm.boot_arguments(&BootOptions::default());
    assert!(!moved.contains(&"nokaslr".to_owned()));
    for kernel in [&x86, &arm] {
        let id = |found: Result<Kernel, Error>| found.unwrap().id().to_owned();
        let store = &scratch.store;
        assert_eq!(id(store.default_for(kernel.arch())), kernel.id());
        assert_eq!(id(store.get_for(kernel.arch(), VERSION)), kernel.id());
        assert_eq!(id(store.get(kernel.id())), kernel.id());
    }
    assert!(matches!(
        scratch.store.get_for(Arch::X86_64, arm.id()),
        Err(Error::OtherArch { .. })
    ));
    assert!(matches!(
        scratch.store.get_for(Arch::X86_64, "7"),
        Err(Error::NotFound(_))
    ));
}

#[test]
fn a_kernel_without_a_needed_driver_says_which() {
    let scratch = Scratch::new();
    let mut files = package_files();
    files.retain(|(path, _)| !path.contains("virtio_blk"));
    let package = scratch.file("linux.deb", &deb(&files));
    let error = scratch
        .store
        .import_deb(&package)
        .unwrap()
        .initramfs(b"", "none")
        .unwrap_err();
    let message = chain(&error);
    assert!(
        message.contains(VERSION) && message.contains("virtio_blk"),
        "{message}"
    );

    let mut files = package_files();
    files.retain(|(path, _)| !path.contains("jbd2"));
    let package = scratch.file("linux.deb", &deb(&files));
    let error = scratch
        .store
        .import_deb(&package)
        .unwrap()
        .initramfs(b"", "none")
        .unwrap_err();
    assert_eq!(
        chain(&error),
        format!("Kernel {VERSION}: module ext4 needs jbd2, which is missing")
    );
}

#[test]
fn refuses_what_is_no_kernel_and_leaves_nothing() {
    let scratch = Scratch::new();
    let files = package_files();
    let without = |name: &str| {
        let mut files = files.clone();
        files.retain(|(path, _)| !path.starts_with(name));
        files
    };
    let with_kernel = |kernel: Vec<u8>| {
        let mut files = files.clone();
        files[0].1 = kernel;
        files
    };
    let mut lying = gzip(&vmlinux());
    let last = lying.len() - 1;
    lying[last] ^= 1;
    let mut twice = files.clone();
    twice.push(("boot/vmlinuz-two".to_owned(), vec![]));
    let mut odd_module = files.clone();
    odd_module.push((
        format!("lib/modules/{VERSION}/kernel/odd.ko"),
        b"not ELF".to_vec(),
    ));

    let whole = deb(&files);
    for (package, reason) in [
        (b"!<arch>\nnonsense".to_vec(), "no ar archive"),
        (vec![], "cannot be read to its end"),
        (
            whole[..whole.len() / 2].to_vec(),
            "cannot be read to its end",
        ),
        (b"!<arch>\n".to_vec(), "no data.tar"),
        ([&whole[..], &whole[8..]].concat(), "several data.tar"),
        (deb(&without("boot/vmlinuz")), "no kernel"),
        (deb(&without("boot/config")), "no kernel configuration"),
        (deb(&twice), "several kernels"),
        (deb(&odd_module), "odd.ko is not a module"),
        (
            deb(&with_kernel(b"#!/bin/sh".to_vec())),
            "no kernel of a known form",
        ),
        (
            deb(&with_kernel(bzimage(b"junk"))),
            "compression is not known",
        ),
        (
            deb(&with_kernel(bzimage(&lying))),
            "cannot be read to its end",
        ),
        (
            deb(&with_kernel(bzimage(&gzip(b"not ELF")))),
            "no kernel of a known form",
        ),
    ] {
        let path = scratch.file("bad.deb", &package);
        let message = chain(&scratch.store.import_deb(&path).unwrap_err());
        assert!(
            message.contains(reason) && message.contains("bad.deb"),
            "{message}: {reason}"
        );
        assert_eq!(scratch.leftovers(), Vec::<String>::new());
    }
    assert!(scratch.store.list().unwrap().is_empty());
}

#[test]
fn paths_of_packages_lead_nowhere() {
    let scratch = Scratch::new();
    let mut files = package_files();
    let deep = "deep/".repeat(30);
    for (path, contents) in &mut files {
        *path = path.replace("/kernel/", &format!("/kernel/{deep}"));
        if path.ends_with("ext4.ko.gz") {
            *contents = gzip(&module(&[
                "depends=jbd2,mbcache,../../evil",
                "softdep=pre: crypto-crc32c ../evil",
            ]));
        }
    }
    for name in [
        "../../../evil.ko",
        "/etc/evil.ko",
        "x/new\nline.ko",
        "x/...ko",
        "x/.ko",
    ] {
        files.push((format!("lib/modules/{name}"), module(&["alias=../evil"])));
    }
    let path = scratch.file("linux.deb", &deb(&files));
    let kernel = scratch.store.import_deb(&path).unwrap();
    let error = kernel.modules_at_boot().unwrap_err();
    assert!(
        matches!(&error, Error::MissingModule { dependency, .. } if dependency == "../../evil")
    );
    for entry in walkdir(scratch.dir.path()) {
        assert!(!entry.contains("line") && !entry.contains("..."), "{entry}");
    }
    assert_eq!(scratch.leftovers(), Vec::<String>::new());
}

/// All paths below a folder.
fn walkdir(dir: &std::path::Path) -> Vec<String> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        paths.push(path.to_str().unwrap().to_owned());
        if path.is_dir() {
            paths.extend(walkdir(&path));
        }
    }
    paths
}

#[test]
fn bombs_are_stopped_early() {
    let scratch = Scratch::new();
    let mut files = package_files();
    files[1].1 = gzip(&vec![b'#'; 8 << 20]);
    let package = scratch.file("bomb.deb", &deb(&files));
    let message = chain(&scratch.store.import_deb(&package).unwrap_err());
    assert!(
        message.contains("boot/config-test has more than"),
        "{message}"
    );
    // In an Alpine package, what comes before anything can be verified.
    let bomb = gzip(&vec![0; 20 << 20]);
    let whole = apk(&package_files()).bytes;
    for package in [bomb.clone(), [bomb, whole].concat()] {
        let package = scratch.file("bomb.apk", &package);
        let message = chain(&scratch.store.import_apk(&package).unwrap_err());
        assert!(
            message.contains("Its control data has more than"),
            "{message}"
        );
    }
    // Modules, each of a size that one may have.
    let mut files = package_files();
    let large = [module(&["depends=jbd2,mbcache"]), vec![0; 100 << 20]].concat();
    for (path, contents) in &mut files {
        if let Some(name) = ["ext4", "jbd2", "mbcache"]
            .iter()
            .find(|name| path.contains(&format!("/{name}.ko")))
        {
            *path = format!("lib/modules/{VERSION}/kernel/{name}.ko.gz");
            *contents = gzip(&large);
        }
    }
    let package = scratch.file("bomb.deb", &deb(&files));
    let message = chain(&scratch.store.import_deb(&package).unwrap_err());
    assert!(message.contains("larger than any kernel's"), "{message}");
    assert_eq!(scratch.leftovers(), Vec::<String>::new());
}

#[test]
fn dependencies_do_not_multiply() {
    let scratch = Scratch::new();
    let mut files = package_files();
    // Each of the words stands for each of the modules.
    let words = format!("softdep=pre: {}", "all ".repeat(2000));
    for (path, contents) in &mut files {
        if path.ends_with("ext4.ko.gz") {
            *contents = gzip(&module(&["depends=jbd2,mbcache", &words]));
        }
    }
    let many = |number| {
        let path = format!("lib/modules/{VERSION}/kernel/many{number}.ko");
        (path, module(&["alias=all", "alias=all"]))
    };
    files.extend((0..2000).map(many));
    let package = scratch.file("many.deb", &deb(&files));
    let message = chain(&scratch.store.import_deb(&package).unwrap_err());
    assert!(message.contains("depend on too many others"), "{message}");
    assert_eq!(scratch.leftovers(), Vec::<String>::new());
}

#[test]
fn lists_of_what_is_built_in_come_to_an_end() {
    let scratch = Scratch::new();
    let names = (0..700_000).map(|number| format!("m{number}\n"));
    let depends = format!("m.depends={}\0", "a,".repeat(3 << 20));
    for (name, list) in [
        ("builtin", names.collect::<String>()),
        ("builtin.modinfo", depends),
    ] {
        let mut files = package_files();
        files.push((format!("lib/modules/x/modules.{name}"), list.into_bytes()));
        let package = scratch.file("list.deb", &deb(&files));
        let message = chain(&scratch.store.import_deb(&package).unwrap_err());
        assert!(
            message.contains("say more of themselves"),
            "{name}: {message}"
        );
    }
}

#[test]
fn a_configuration_that_is_no_text_does_not_spoil_the_store() {
    let scratch = Scratch::new();
    let mut files = package_files();
    files[1]
        .1
        .extend_from_slice(b"CONFIG_LOCALVERSION=\"\xff\"\n");
    let package = scratch.file("latin.deb", &deb(&files));
    let kernel = scratch.store.import_deb(&package).unwrap();
    assert!(kernel.config().is_built_in("CONFIG_VIRTIO_MMIO"));
    assert_eq!(scratch.store.list().unwrap().len(), 1);
}

#[test]
fn what_a_killed_import_left_is_removed_by_the_next() {
    let scratch = Scratch::new();
    let staging = scratch.dir.path().join("store/staging/half");
    fs::create_dir_all(&staging).unwrap();
    fs::write(staging.join("vmlinux"), b"half").unwrap();
    assert!(scratch.store.list().unwrap().is_empty());
    let package = scratch.file("linux.deb", &deb(&package_files()));
    check(&scratch, &scratch.store.import_deb(&package).unwrap());
}
