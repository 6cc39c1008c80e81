//! The command line as the README shows it: a demo without a Konnektor, a Konnektor from its file, and the commands of
//! terminal and administration against them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)] // tests

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const BINARY: &str = env!("CARGO_BIN_EXE_langlauf");

/// A running role that ends with its handle; its first line of output is there.
struct Running {
    child: Child,
    said: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(arguments: &[&str]) -> Running {
    let mut child = Command::new(BINARY)
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut said)
        .unwrap();
    Running { child, said }
}

/// Runs a command to its end: success, output and errors.
fn run(arguments: &[impl AsRef<OsStr>]) -> (bool, String) {
    let output = Command::new(BINARY).args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (output.status.success(), text.concat())
}

/// Runs a command until its output says what is wanted, at most for half a minute.
fn until(arguments: &[impl AsRef<OsStr>], wanted: impl Fn(&str) -> bool) -> String {
    for _ in 0..300 {
        let (_, text) = run(arguments);
        if wanted(&text) {
            return text;
        }
        std::thread::park_timeout(Duration::from_millis(100));
    }
    panic!("not within half a minute: {}", run(arguments).1);
}

#[test]
fn a_konnektor_of_its_own_is_paired_and_read_by_commands() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    let demo = [
        "demo",
        "--folder",
        folder,
        "--free-ports",
        "--no-rsa",
        "--json",
        "--no-konnektor",
    ];
    let world = start(&demo);
    let addresses: serde_json::Value = serde_json::from_str(&world.said).unwrap();
    let address = |name: &str| addresses[name].as_str().unwrap().to_owned();
    let config = Path::new(folder).join("konnektor.toml");
    let konnektor = start(&["konnektor", "--config", config.to_str().unwrap()]);
    assert!(
        konnektor.said.contains(&address("konnektor")),
        "{}",
        konnektor.said
    );

    let admin = address("admin");
    let admin = |arguments: &[&'static str]| {
        let mut all = vec![
            "admin".to_owned(),
            "--folder".into(),
            folder.into(),
            "--address".into(),
            admin.clone(),
        ];
        all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        all
    };
    let call = |arguments: &[&'static str]| run(&admin(arguments));
    let wait =
        |arguments: &[&'static str], wanted: &str| until(&admin(arguments), |text| text.contains(wanted));
    wait(&["trust"], "usable_days_left");
    assert!(call(&["state"]).1.contains("\"version\""));
    assert!(call(&["metrics"]).1.contains("langlauf_condition"));
    let (found, error) = call(&["call", "GET", "/api/v1/nothing"]);
    assert!(!found && error.contains("404"), "{error}");

    // pairing waits for a person, who presses OK on the page
    let pairing = {
        let all = admin(&["pair", "KT1"]);
        std::thread::spawn(move || run(&all))
    };
    let page = address("page");
    let terminal = |arguments: &[&str]| run(&[&["terminal", "--page", &page], arguments].concat());
    until(&["terminal", "--page", &page, "show"], |text| {
        text.contains("PAIREN OK?")
    });
    assert!(terminal(&["enter"]).0);
    let (paired, text) = pairing.join().unwrap();
    assert!(paired && text.contains("fingerprint"), "{text}");
    wait(&["terminals"], "\"connected\": true");

    assert!(terminal(&["insert", "1", "eGK Loipengrün"]).0);
    assert!(!terminal(&["insert", "1", "HBA Dr. Spur"]).0);
    wait(&["cards"], "EGK");
    assert!(terminal(&["fault", "card-silence"]).0 && terminal(&["fault", "none"]).0);
    assert!(terminal(&["network", "off"]).0);
    wait(&["terminals"], "\"connected\": false");
    assert!(terminal(&["network", "on"]).0);
    wait(&["cards"], "EGK");
    assert!(terminal(&["remove", "1"]).0);
    assert!(call(&["log", "5"]).1.contains("CARD/REMOVED"));
    assert!(call(&["correlation", "KT1", "gepairt"]).0);
    wait(&["terminals"], "\"connected\": false");
    let (moved, error) = call(&["correlation", "KT1", "bekannt"]);
    assert!(!moved && error.contains("4037"), "{error}");

    // a check list, walked by somebody who types: not confirmed, confirmed, left out, taken along, recorded
    let runbook = |arguments: &[&str], typed: &str| {
        let before = ["runbook", "--folder", folder, "--address", &address("admin")];
        let mut child = Command::new(BINARY)
            .args(before)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // who has read enough hears no more
        let _ = stdin.write_all(typed.as_bytes());
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        (output.status.success(), text.concat())
    };
    let file = |name: &str| Path::new(folder).join(name).to_str().unwrap().to_owned();
    assert!(runbook(&["list"], "").1.contains("commissioning"));
    let book = runbook(&["show", "recovery"], "").1;
    std::fs::write(
        file("own.yaml"),
        book.replace("runbook: recovery", "runbook: own"),
    )
    .unwrap();
    let (good, text) = runbook(&["check", &file("own.yaml")], "");
    assert!(good && text.contains("\"steps\": 7"), "{text}");
    assert!(runbook(&["take", &file("own.yaml")], "").0);
    let smcb = format!("smcb={}", langlauf::world::SMC_B);
    let typed = "\nnein\n\n\nja\nliegt vor\na\nUhr war gestellt\nq\n";
    let (good, text) = runbook(&["begin", "own", &smcb], typed);
    assert!(
        good && text.contains("XX  looked") && text.contains("ok  looked"),
        "{text}"
    );
    assert!(text.contains("ok  skipped Uhr war gestellt"), "{text}");
    let runs: serde_json::Value = serde_json::from_str(&runbook(&["runs"], "").1).unwrap();
    assert_eq!(
        (&runs[0]["behind"], &runs[0]["current"]),
        (&2.into(), &"card".into()),
        "{runs:#}"
    );
    let id = runs[0]["id"].as_str().unwrap();
    let (again, text) = runbook(&["go", id], "\n\nq\n");
    assert!(again && text.contains("SMC-B stecken"), "{text}");
    assert!(runbook(&["record", id, &file("record.pdf")], "").0);
    assert!(std::fs::read(file("record.pdf")).unwrap().starts_with(b"%PDF-"));
    assert!(runbook(&["export", id, &file("run.json")], "").0);
    let (carried, text) = runbook(&["carry", &file("run.json")], "q\n");
    assert!(carried && text.contains(id), "{text}");
    let (firmware, text) = call(&["terminal-firmware"]);
    assert!(firmware && text.contains("\"login\": false"), "{text}");
    let (ordered, error) = call(&["update-terminal", "KT1"]);
    assert!(!ordered && error.contains("4030"), "{error}");

    // the model goes out and comes back
    let (_, model) = call(&["model"]);
    let file = Path::new(folder).join("model.json");
    std::fs::write(&file, &model).unwrap();
    let all = [admin(&["set-model"]), vec![file.to_str().unwrap().to_owned()]].concat();
    let (set, error) = run(&all);
    assert!(set, "{error}");
}

#[test]
fn a_bad_configuration_says_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("konnektor.toml");
    let path = file.to_str().unwrap();
    let (good, text) = run(&["konnektor", "--config", path]);
    assert!(!good && text.contains("konnektor.toml"), "{text}");
    std::fs::write(&file, "listen = \"127.0.0.1:0\"\nkeep_alive_secnods = 5\n").unwrap();
    let (good, text) = run(&["konnektor", "--config", path]);
    assert!(!good && text.contains("keep_alive_secnods"), "{text}");
}

#[test]
fn the_demo_walks_alone_and_prints_json() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    let (good, text) = run(&[
        "demo",
        "--once",
        "--json",
        "--free-ports",
        "--no-rsa",
        "--extend",
        "--folder",
        folder,
    ]);
    assert!(good, "{text}");
    let steps: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &serde_json::Value| line.get("step").is_some())
        .collect();
    // the walk, and the lifetime extension
    assert_eq!(steps.len(), 9 + 9, "{text}");
    let active = |step: &&serde_json::Value| step["step"] == "use it first";
    let active = steps.iter().find(active).unwrap();
    assert!(
        active["result"]
            .as_str()
            .unwrap()
            .starts_with("generation 1 active"),
        "{text}"
    );
    assert!(
        steps
            .iter()
            .all(|step| step["milliseconds"].is_f64() && step["result"].is_string())
    );
}
