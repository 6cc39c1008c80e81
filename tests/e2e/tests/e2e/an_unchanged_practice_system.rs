//! An unchanged practice system performs every operation.

use e2e::Morning;
use langlauf::practice::Operation;
use std::path::Path;
use tokio::process::Command;

#[tokio::test(flavor = "multi_thread")]
async fn zeep_with_the_official_wsdls_performs_every_operation() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let schemas = root.join("../shared/schemas");
    if !schemas.is_dir() {
        eprintln!("skipped: ../shared/schemas is absent");
        return;
    }
    let python = root.join(".venv/bin/python");
    assert!(
        python.exists(),
        "zeep is missing: run `make test`, which installs it"
    );
    let morning = Morning::before().await.unwrap();
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
    let output = Command::new(python)
        .arg(root.join("tests/e2e/zeep/practice.py"))
        .args([&schemas, &morning.folder.path().to_owned()])
        .arg(serde_json::to_string(&world.addresses).unwrap())
        .output()
        .await
        .unwrap();
    let (out, error) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{out}\n{error}");
    println!("{out}");
}
