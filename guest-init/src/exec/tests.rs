use std::os::unix::fs::PermissionsExt;

use super::*;

#[test]
fn looks_up_names_in_path_and_nothing_else() {
    let text = |program: &str, path: &str| -> Vec<String> {
        candidates(program.as_bytes(), path.as_bytes())
            .into_iter()
            .map(|candidate| String::from_utf8(candidate).unwrap())
            .collect()
    };
    assert_eq!(text("ls", "/a:/b/"), ["/a/ls", "/b//ls"]);
    assert_eq!(text("ls", ":/b"), ["./ls", "/b/ls"]);
    assert_eq!(text("./ls", "/a"), ["./ls"]);
    assert_eq!(text("/x/ls", "/a"), ["/x/ls"]);
    assert_eq!(text("", "/a"), [""]);
}

#[test]
fn goes_on_after_what_is_not_there_and_remembers_what_is_denied() {
    let candidates = [c"/a/x".to_owned(), c"/b/x".to_owned(), c"/c/x".to_owned()];
    let run = |answers: [Errno; 3]| {
        let mut tried = answers.into_iter();
        let error = first_of(&candidates, |_| tried.next().unwrap());
        (error, tried.len())
    };
    assert_eq!(
        run([Errno::NOENT, Errno::NOTDIR, Errno::NOENT]),
        (Errno::NOENT, 0)
    );
    assert_eq!(
        run([Errno::NOENT, Errno::ACCESS, Errno::NOENT]),
        (Errno::ACCESS, 0)
    );
    assert_eq!(
        run([Errno::ACCESS, Errno::NOEXEC, Errno::NOENT]),
        (Errno::NOEXEC, 1)
    );
}

#[test]
fn explains_with_what_is_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, contents: &str| -> Vec<u8> {
        let path = folder.path().join(name);
        fs::write(&path, contents).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.into_os_string().into_encoded_bytes()
    };
    let told = |program: &[u8], candidates: &[Vec<u8>], error| {
        let failure = explain(program, candidates, error);
        (failure.kind, failure.message)
    };
    let (kind, message) = told(b"nope", &[b"/nowhere/nope".to_vec()], Errno::NOENT);
    assert_eq!(kind, FailureKind::NotFound);
    assert_eq!(message, "exec \"nope\": executable file not found in $PATH");

    let (kind, message) = told(b"/nope", &[b"/nope".to_vec()], Errno::NOENT);
    assert_eq!(kind, FailureKind::NotFound);
    assert_eq!(message, "exec \"/nope\": no such file or directory");

    let script = file("script", "#! /no/python -u\nprint\n");
    let (kind, message) = told(&script, std::slice::from_ref(&script), Errno::NOENT);
    assert_eq!(kind, FailureKind::NotFound);
    assert!(message.ends_with("its interpreter \"/no/python\" does not exist in the image"));

    let elf = file("elf", "\u{7f}ELF");
    let (_, message) = told(&elf, std::slice::from_ref(&elf), Errno::NOENT);
    assert!(message.ends_with("its dynamic loader does not exist in the image"));

    let (kind, message) = told(&elf, std::slice::from_ref(&elf), Errno::NOEXEC);
    assert_eq!(kind, FailureKind::NotExecutable);
    assert!(message.contains("exec format error"));

    let (kind, message) = told(&elf, std::slice::from_ref(&elf), Errno::ACCESS);
    assert_eq!(kind, FailureKind::NotExecutable);
    assert!(message.ends_with("permission denied"));

    let (kind, message) = told(b"/", &[b"/".to_vec()], Errno::ACCESS);
    assert_eq!(kind, FailureKind::NotExecutable);
    assert_eq!(message, "exec \"/\": is a directory");
}
