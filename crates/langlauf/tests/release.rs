//! A release by the command line, as `docs/release.md` has it: keys in different hands, one of them in an HSM.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::path::Path;
use std::process::{Command, Output};

const BINARY: &str = env!("CARGO_BIN_EXE_langlauf");
const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";

struct Desk<'f>(&'f Path);

impl Desk<'_> {
    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        Command::new(program)
            .args(arguments)
            .current_dir(self.0)
            .env("SOFTHSM2_CONF", self.0.join("softhsm.conf"))
            .env("LANGLAUF_PKCS11_MODULE", MODULE)
            .env("LANGLAUF_PKCS11_TOKEN", "releases")
            .env("LANGLAUF_PKCS11_PIN", "1234")
            .output()
            .unwrap_or_else(|error| panic!("{program} is missing, run `make setup`: {error}"))
    }

    /// `langlauf release …`, which must work; what it says.
    fn release(&self, line: &str) -> String {
        let output = self.try_release(line);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{line}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn try_release(&self, line: &str) -> Output {
        let words: Vec<&str> = std::iter::once("release")
            .chain(line.split_whitespace())
            .collect();
        self.run(BINARY, &words)
    }

    fn hsm(&self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let output = self.run("softhsm2-util", &words);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn from_keys_to_a_bundle() {
    let folder = tempfile::tempdir().unwrap();
    let desk = Desk(folder.path());
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let tokens = folder.path().join("tokens");
    std::fs::create_dir(&tokens).unwrap();
    write(
        "softhsm.conf",
        &format!("directories.tokendir = {}\nlog.level = ERROR\n", tokens.display()),
    );
    desk.release("keys keys");
    // one of the keys for releases goes into an HSM, and only there
    desk.hsm("--init-token --free --label releases --so-pin 5678 --pin 1234");
    desk.hsm("--token releases --pin 1234 --import keys/targets-2.pem --label second --id 02");
    std::fs::remove_file(folder.path().join("keys/targets-2.pem")).unwrap();
    let public = desk.release("public pkcs11:second");
    assert_eq!(
        public,
        std::fs::read_to_string(folder.path().join("keys/targets-2.pub.pem")).unwrap()
    );
    let publics = |role: &str| {
        let all = (1..=3).map(|number| format!("--{role} keys/{role}-{number}.pub.pem"));
        all.collect::<Vec<_>>().join(" ")
    };
    desk.release(&format!(
        "root {} {} --snapshot keys/snapshot.pub.pem --timestamp keys/timestamp.pub.pem --out root.json",
        publics("root"),
        publics("targets")
    ));
    desk.release("sign root.json --key keys/root-1.pem");
    assert!(
        !desk.try_release("add-root repository root.json").status.success(),
        "one signature short"
    );
    desk.release("sign root.json --key keys/root-3.pem");
    desk.release("add-root repository root.json");
    for (name, text) in [
        ("program", "#!/bin/sh\n"),
        ("NOTES.md", "# 0.2.0\n"),
        ("sbom.json", "{}"),
    ] {
        write(name, text);
    }
    let build = |out: &str| {
        desk.release(&format!(
            "build --program program --version 0.2.0 --source abc --notes NOTES.md --sbom sbom.json --out {out}"
        ));
        std::fs::read(folder.path().join(out)).unwrap()
    };
    assert_eq!(build("0.2.0.zip"), build("again.zip"));
    desk.release("draft repository --artefact 0.2.0.zip --version 0.2.0 --out draft.json");
    desk.release("sign draft.json --key keys/targets-1.pem");
    let keys = "--key keys/snapshot.pem --key keys/timestamp.pem";
    let short = desk.try_release(&format!("publish repository draft.json {keys}"));
    assert!(!short.status.success(), "one signature short");
    desk.release("sign draft.json --key pkcs11:second");
    desk.release(&format!("publish repository draft.json {keys}"));
    desk.release("refresh repository --key keys/timestamp.pem");
    desk.release("bundle repository --version 0.2.0 --out bundle.zip");
    let judged = desk.release("check bundle.zip --root root.json");
    assert!(
        judged.starts_with("0.2.0 may be taken until") && judged.contains("group 1: 0.2.0"),
        "{judged}"
    );
    desk.release("unpack 0.2.0.zip unpacked");
    assert!(folder.path().join("unpacked/release.json").exists());
    // keys are never overwritten
    assert!(!desk.try_release("keys keys").status.success());
}
