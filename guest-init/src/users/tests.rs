use super::*;

fn database() -> Database {
    Database {
        passwd: b"root:x:0:0:root:/root:/bin/ash\n\
            bin:x:1:1:bin:/bin:/sbin/nologin\n\
            broken line\n\
            app:x:1000:1001:An app:/home/app:/bin/sh\n\
            4000:x:77:77::/odd:\n\
            homeless:x:5:5:::\n"
            .to_vec(),
        group: b"root:x:0:root\nwheel:x:10:root,app\napp:x:1001:\nvideo:x:27:app,root\nodd:x\n"
            .to_vec(),
    }
}

fn resolve(user: &str) -> Result<(u32, u32, Vec<u32>, String), String> {
    Identity::resolve(user.as_bytes(), &database())
        .map(|id| {
            let home = String::from_utf8(id.home).unwrap();
            (id.uid, id.gid, id.groups, home)
        })
        .map_err(|failure| failure.message)
}

#[test]
fn nobody_named_is_root_with_its_groups() {
    let root = Ok((0, 0, vec![0, 10, 27], "/root".to_owned()));
    for user in ["", "0", "root"] {
        assert_eq!(resolve(user), root, "{user:?}");
    }
}

#[test]
fn names_and_numbers_find_the_same_entry() {
    let app = Ok((1000, 1001, vec![1001, 10, 27], "/home/app".to_owned()));
    assert_eq!(resolve("app"), app);
    assert_eq!(resolve("1000"), app);
}

#[test]
fn a_group_replaces_all_of_the_users() {
    let home = || "/home/app".to_owned();
    assert_eq!(resolve("app:video"), Ok((1000, 27, vec![27], home())));
    assert_eq!(resolve("app:999"), Ok((1000, 999, vec![999], home())));
    assert_eq!(resolve(":video"), Ok((0, 27, vec![27], "/root".to_owned())));
}

#[test]
fn numbers_need_no_entry() {
    assert_eq!(resolve("4242"), Ok((4242, 0, vec![0], "/".to_owned())));
    assert_eq!(resolve("5"), Ok((5, 5, vec![5], "/".to_owned())));
    // Digits are a number even where they are somebody's name.
    assert_eq!(resolve("4000"), Ok((4000, 0, vec![0], "/".to_owned())));
}

#[test]
fn says_who_was_not_found() {
    assert_eq!(
        resolve("nobody").unwrap_err(),
        "Unable to find user nobody: no matching entries in passwd file"
    );
    assert_eq!(
        resolve("app:\u{1b}").unwrap_err(),
        "Unable to find group \\x1b: no matching entries in group file"
    );
    assert!(resolve("2147483648").unwrap_err().contains("2147483647"));
    assert!(resolve("0:4294967295").unwrap_err().contains("2147483647"));
    assert!(resolve("99999999999").is_err());
}

#[test]
fn an_image_without_users_has_root_and_numbers() {
    let empty = Database::default();
    let root = Identity::resolve(b"", &empty).unwrap();
    assert_eq!((root.uid, root.gid, root.home), (0, 0, b"/".to_vec()));
    assert_eq!(Identity::resolve(b"7:8", &empty).unwrap().gid, 8);
    assert!(Identity::resolve(b"root", &empty).is_err());
}
