//! An unchanged practice system performs every operation, and is refused for every reason.

use crate::documents_meet_other_programs::every_format_both_ways;
use e2e::Morning;
use langlauf::practice::Operation;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use tokio::process::Command;

/// Codes by operation.
pub type Table = BTreeMap<String, BTreeSet<u16>>;

/// A paired terminal with all cards, and the official schemas; `None` where they are absent.
async fn practice(settings: &str) -> Option<(Morning, PathBuf)> {
    practice_with(|options| options.settings = settings.parse().unwrap()).await
}

/// The same in a world that is otherwise different.
pub async fn practice_with(change: impl FnOnce(&mut langlauf::world::Options)) -> Option<(Morning, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let schemas = root.join("../shared/schemas");
    if !schemas.is_dir() {
        eprintln!("skipped: ../shared/schemas is absent");
        return None;
    }
    let morning = Morning::with(change).await.unwrap();
    let world = &morning.world;
    let inner = world.konnektor().unwrap().inner();
    let limit = std::time::Duration::from_secs(20);
    world
        .wait_for("trust list", limit, &*morning.clock, async || {
            inner.trust().is_some()
        })
        .await
        .unwrap();
    let id = "KT1".parse().unwrap();
    e2e::pair(inner, &world.terminal, &id).await.unwrap();
    for (slot, name) in [(1, "eGK Loipengrün"), (2, "HBA Dr. Spur"), (3, "SMC-B Praxis")] {
        world.terminal.insert(slot, name).unwrap();
    }
    let recognised = async || {
        let answer = world.practice.call(Operation::GetCards { card_type: None }).await;
        answer.is_ok_and(|answer| answer.texts("CardHandle").len() == 4)
    };
    world
        .wait_for("cards", limit, &*morning.clock, recognised)
        .await
        .unwrap();
    Some((morning, schemas))
}

/// Runs a script of zeep; what came out stands in its last line.
pub async fn run<T: serde::de::DeserializeOwned>(script: &str, morning: &Morning, schemas: &Path) -> T {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let python = root.join(".venv/bin/python");
    assert!(
        python.exists(),
        "zeep is missing: run `make test`, which installs it"
    );
    let output = Command::new(python)
        .arg(root.join("tests/e2e/zeep").join(script))
        .args([schemas, morning.folder.path()])
        .arg(serde_json::to_string(&morning.world.addresses).unwrap())
        .output()
        .await
        .unwrap();
    let (out, error) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{out}\n{error}");
    serde_json::from_str(out.lines().last().unwrap()).unwrap()
}

/// zeep performs every operation, and is refused for every reason. The table in `docs/conformance.md` is what really
/// happens: each operation with each code that zeep was refused with.
#[tokio::test(flavor = "multi_thread")]
async fn zeep_performs_every_operation_and_is_refused_for_every_reason() {
    let Some((morning, schemas)) = practice("").await else {
        return;
    };
    let (other, _) = practice("card_timeout_seconds = 1").await.unwrap();
    let (mut table, refusals, documents) = tokio::join!(
        run::<Table>("practice.py", &morning, &schemas),
        run::<Table>("refusals.py", &other, &schemas),
        every_format_both_ways()
    );
    for (operation, codes) in refusals.into_iter().chain(documents) {
        table.entry(operation).or_default().extend(codes);
    }
    let mut text = String::from("| operation | codes |\n|---|---|\n");
    for (operation, codes) in &table {
        let codes: Vec<String> = codes.iter().map(u16::to_string).collect();
        text.push_str(&format!("| {operation} | {} |\n", codes.join(", ")));
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/conformance.md");
    let document = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = document.split_once("<!-- begin -->\n").unwrap();
    let (current, after) = rest.split_once("<!-- end -->").unwrap();
    if current != text && std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(
            &path,
            format!("{before}<!-- begin -->\n{text}<!-- end -->{after}"),
        )
        .unwrap();
        return;
    }
    assert_eq!(current, text, "UPDATE_DOCS=1 writes the table anew");
}
