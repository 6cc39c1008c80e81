//! The configuration goes into a file and comes back, and the device goes back to the state of delivery.

use base::Code;
use e2e::{Morning, is_served};
use konnektor::model::User;
use konnektor::state::Condition;
use konnektor::terminals::Correlation;
use langlauf::practice::Operation;
use std::path::Path;
use std::time::Duration;
use tokio::process::Command;

const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_reset_and_restored() {
    let morning = Morning::after_the_walk().await.unwrap();
    let (world, clock) = (&morning.world, &*morning.clock);
    let inner = world.konnektor().unwrap().inner();
    let login = "87654321".to_owned().into();
    inner
        .set_terminal_login(&"KT1".parse().unwrap(), "admin", &login)
        .unwrap();
    let (backup, passphrase) = inner.export().await.unwrap();
    assert!(passphrase.len() >= 16);
    let text = serde_json::to_string_pretty(&backup).unwrap();
    let file = morning.folder.path().join("backup.json");
    std::fs::write(&file, &text).unwrap();

    // whoever has the description can read it: another language, another library, openssl for the signature
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(root.join("../../.venv/bin/python"))
        .arg(root.join("zeep/open_backup.py"))
        .arg(&file)
        .arg(&**passphrase)
        .output()
        .await
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let contents: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(contents["terminals"][0]["id"], "KT1");
    assert_eq!(
        contents["terminals"][0]["pairing_secret"].as_str().unwrap().len(),
        32
    );
    assert_eq!(contents["terminals"][0]["login"]["user"], "admin");
    assert!(
        contents["information_model"]["mandants"][0]["id"].is_string(),
        "{contents}"
    );
    assert!(!text.contains("pairing_secret"));

    // nothing would change; the SM-B of the practice has signed
    let preview = inner.preview(&text, &passphrase).unwrap();
    assert_eq!(
        (preview.changes.len(), preview.settings.len()),
        (0, 0),
        "{preview:?}"
    );
    assert!(
        preview.signer.contains("Praxis Dr. Spur") && preview.signer_problem.is_none(),
        "{preview:?}"
    );
    // a wrong passphrase, a changed letter, nothing confirmed
    let code = |outcome: Result<_, konnektor::Failure>| outcome.map(|_: ()| ()).unwrap_err().code();
    let look = |text: &str, passphrase: &str| inner.preview(text, passphrase).map(|_| ());
    assert_eq!(code(look(&text, "wrong")), Code::SYNTAX);
    let changed = text.replace("\"made\": \"2", "\"made\": \"3");
    assert_eq!(code(look(&changed, &passphrase)), Code::SYNTAX);
    assert_eq!(code(inner.import(&text, &passphrase, "")), Code::SYNTAX);

    let back = async || {
        let answer = world.practice.call(Operation::GetCardTerminals).await;
        answer.is_ok_and(|answer| answer.texts("Connected") == ["true"])
            && world
                .practice
                .cards("EGK")
                .await
                .is_ok_and(|cards| cards.len() == 1)
    };
    // imported over the device as it is, several times: each connection gives way to the next, and none acts for another
    for _ in 0..3 {
        inner.import(&text, &passphrase, &preview.confirm).unwrap();
    }
    world
        .wait_for("terminal and card", LIMIT, clock, back)
        .await
        .unwrap();
    let missing = Condition::CardTerminalNotAvailable("KT1".parse().unwrap());
    assert!(
        inner
            .conditions()
            .iter()
            .all(|(condition, value, _)| *condition != missing || !value)
    );
    // what an import would bring along unseen: another certificate of a terminal, another password
    let shown = |text: &str| {
        let preview = inner.preview(text, &passphrase).unwrap();
        preview
            .changes
            .into_iter()
            .map(|change| change.what)
            .collect::<Vec<_>>()
    };
    assert!(shown(&text).is_empty());
    let mut model = (*inner.model()).clone();
    model.client_systems[0].users.insert(
        0,
        User {
            name: "second".into(),
            password_hash: konnektor::password::hash("first").unwrap(),
        },
    );
    let before = inner.model();
    inner.set_model(model.clone()).unwrap();
    let (backup, phrase) = inner.export().await.unwrap();
    model.client_systems[0].users[0].password_hash = konnektor::password::hash("second").unwrap();
    inner.set_model(model).unwrap();
    let other = serde_json::to_string(&backup).unwrap();
    let changes = inner.preview(&other, &phrase).unwrap().changes;
    assert!(
        changes.len() == 1 && changes[0].what.contains("client_systems"),
        "{changes:?}"
    );
    inner.set_model((*before).clone()).unwrap();

    // back to the state of delivery; there is no file with a first password, so the present one stays
    let konnektor = world.konnektor().unwrap();
    konnektor.set_admin_password("a password of some length").unwrap();
    let sequence = inner.space().list().unwrap().sequence;
    inner.factory_reset().unwrap();
    let users = inner.users().unwrap();
    assert!(users.len() == 1 && !users[0].invited, "{users:?}");
    let id = "KT1".parse().unwrap();
    assert_eq!(
        inner.terminals().get(&id).unwrap().record.correlation,
        Correlation::Zugewiesen
    );
    assert!(inner.store().secret("pairing/KT1").unwrap().is_none());
    assert_eq!(inner.space().list().unwrap().sequence, sequence);
    let none = async || {
        world
            .practice
            .cards("EGK")
            .await
            .is_ok_and(|cards| cards.is_empty())
    };
    world.wait_for("no card", LIMIT, clock, none).await.unwrap();

    // and restored, without anybody at the terminal
    let preview = inner.preview(&text, &passphrase).unwrap();
    let changes: Vec<&str> = preview
        .changes
        .iter()
        .map(|change| change.what.as_str())
        .collect();
    assert_eq!(changes, ["receipt_key", "terminals/KT1"]);
    assert!(!format!("{preview:?}").contains(contents["terminals"][0]["pairing_secret"].as_str().unwrap()));
    assert!(!inner.terminal_firmware().unwrap()[0].login);
    inner.import(&text, &passphrase, &preview.confirm).unwrap();
    world
        .wait_for("terminal and card", LIMIT, clock, back)
        .await
        .unwrap();
    assert!(inner.terminal_firmware().unwrap()[0].login);
    assert!(inner.preview(&text, &passphrase).unwrap().changes.is_empty());
    assert!(is_served(&world.practice).await);
    let logged = e2e::logged(inner);
    for topic in ["MGM/CONFIG_EXIMPORT", "MGM/FACTORYSETTINGS"] {
        assert!(logged.iter().any(|(found, _)| found == topic), "{topic}");
    }
}
