//! Check lists walked on the whole instance: the device looks, a person confirms, steps are taken back, the record is signed.

use e2e::{Morning, Station};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use langlauf::practice::{basic, connect, issued_by};
use langlauf::world::{SMC_B, World, open_card};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use terminal::simulator::{Key, VirtualTerminal};
use tokio::process::Command;

const LIMIT: Duration = Duration::from_secs(30);

/// The administration, as a program outside uses it.
pub(crate) struct Rest {
    address: SocketAddr,
    login: String,
    authorities: Arc<Vec<asn1::X509>>,
}

impl Rest {
    pub(crate) fn of(world: &World) -> Self {
        Self {
            address: world.addresses.admin,
            login: basic("admin", &world.admin_password),
            authorities: Arc::new(world.authorities.clone()),
        }
    }

    async fn bytes(&self, method: &str, path: &str, body: String) -> (u16, Bytes) {
        let judge = issued_by(self.authorities.clone());
        let mut sender = connect(self.address, None, judge).await.unwrap();
        let request = http::Request::builder()
            .method(method)
            .uri(format!("/api/v1/{path}"))
            .header("Host", "localhost")
            .header("Content-Type", "application/json")
            .header("Authorization", &self.login)
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        let status = response.status().as_u16();
        (status, response.into_body().collect().await.unwrap().to_bytes())
    }

    async fn try_it(&self, method: &str, path: &str, body: Value) -> Result<Value, String> {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let (status, bytes) = self.bytes(method, path, body).await;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        match status {
            200..300 => Ok(serde_json::from_str(&text).unwrap_or_default()),
            _ => Err(format!("{status} {text}")),
        }
    }

    pub(crate) async fn call(&self, method: &str, path: &str, body: Value) -> Value {
        let answer = self.try_it(method, path, body).await;
        answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    pub(crate) async fn begin(&self, runbook: &str, inputs: Value) -> String {
        let begin = json!({ "runbook": runbook, "inputs": inputs });
        let view = self.call("POST", "runs", begin).await;
        view["id"].as_str().unwrap().to_owned()
    }

    /// Does a step and says how it stands then, with the last entry of its log.
    pub(crate) async fn step(&self, run: &str, step: &str) -> (String, Value) {
        let said = json!({ "confirmed": true, "note": "gesehen" });
        let view = self.call("POST", &format!("runs/{run}/steps/{step}"), said).await;
        standing(&view, step)
    }

    pub(crate) async fn done(&self, run: &str, step: &str) {
        let (standing, last) = self.step(run, step).await;
        assert_eq!(standing, "done", "{step}: {last}");
    }
}

fn standing(view: &Value, step: &str) -> (String, Value) {
    let steps = view["steps"].as_array().unwrap();
    let step = steps.iter().find(|one| one["id"] == step).unwrap();
    let last = step["log"].as_array().unwrap().last().cloned();
    (
        step["standing"].as_str().unwrap().to_owned(),
        last.unwrap_or_default(),
    )
}

/// What a finding of an entry says.
fn bad(entry: &Value) -> Vec<String> {
    let all = entry["findings"].as_array().unwrap();
    let bad = all.iter().filter(|finding| finding["good"] == false);
    bad.map(|finding| finding["de"].as_str().unwrap().to_owned())
        .collect()
}

async fn agree(pad: &VirtualTerminal) {
    pad.wait_for_prompt().await;
    pad.press(Key::Enter);
}

/// Waits until the practice's SMC-B is seen, and no other.
async fn one_smcb(morning: &Morning) {
    let world = &morning.world;
    let there = async || {
        let cards = world.practice.cards("SMC-B").await;
        cards.is_ok_and(|cards| cards.len() == 1)
    };
    let waiting = world.wait_for("SMC-B", LIMIT, &*morning.clock, there);
    waiting.await.unwrap();
}

/// Somebody types the PIN of an SMC-B.
async fn open(world: &World, pad: &VirtualTerminal, handle: &str) {
    let verify = ("VerifyPin", handle, "PIN.SMC");
    let answer = e2e::pin(&world.practice, pad, verify, &["123456"]).await;
    assert_eq!(answer.unwrap().text("PinResult").as_deref(), Some("OK"));
}

fn fingerprint(world: &World, id: &str) -> String {
    let inner = world.konnektor().unwrap().inner();
    let terminal = inner.terminals().get(&id.parse().unwrap()).unwrap();
    terminal.record.certificate.clone().unwrap()
}

/// The record, judged by pyHanko and qpdf; its text.
async fn record(rest: &Rest, world: &World, folder: &Path, run: &str) -> String {
    let (status, pdf) = rest
        .bytes("GET", &format!("runs/{run}/record"), String::new())
        .await;
    assert_eq!(status, 200);
    let (file, anchor) = (folder.join("record.pdf"), folder.join("anchor.pem"));
    std::fs::write(&file, &pdf).unwrap();
    if let Some(pictures) = std::env::var_os("LANGLAUF_PICTURES") {
        std::fs::write(Path::new(&pictures).join("record.pdf"), &pdf).unwrap();
    }
    let issuers: String = world
        .authorities
        .iter()
        .map(|ca| crypto::pem::encode("CERTIFICATE", ca.der()).unwrap().to_string())
        .collect();
    std::fs::write(&anchor, issuers).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(root.join("../../.venv/bin/python"))
        .arg(root.join("zeep/judge.py"))
        .arg("pyhanko_device")
        .args([&file, &anchor])
        .output()
        .await
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("ENTIRE_FILE"), "{said}");
    let qpdf = Command::new("qpdf")
        .arg("--check")
        .arg(&file)
        .output()
        .await
        .unwrap();
    assert!(qpdf.status.success(), "{}", String::from_utf8_lossy(&qpdf.stdout));
    // one letter more, and it is no record any more
    let mut changed = pdf.to_vec();
    let place = changed
        .windows(9)
        .position(|bytes| bytes == b"Protokoll")
        .unwrap();
    changed[place] = b'p';
    std::fs::write(&file, &changed).unwrap();
    let output = Command::new(root.join("../../.venv/bin/python"))
        .arg(root.join("zeep/judge.py"))
        .arg("pyhanko_device")
        .args([&file, &anchor])
        .output()
        .await
        .unwrap();
    assert!(!output.status.success());
    texts(&pdf)
}

/// The texts of a document that is not compressed: as they are, or in hexadecimal when they are not plain.
fn texts(pdf: &[u8]) -> String {
    let latin = |bytes: &[u8]| bytes.iter().map(|byte| char::from(*byte)).collect::<String>();
    let text = latin(pdf);
    let inside = text
        .split('<')
        .filter_map(|part| hex::decode(part.split('>').next()?).ok());
    let hexadecimal: Vec<String> = inside.map(|bytes| latin(&bytes)).collect();
    text.clone() + &hexadecimal.join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_commissioned() {
    let mut morning = Morning::after_the_walk().await.unwrap();
    let rest = Rest::of(&morning.world);
    let hash = fingerprint(&morning.world, "KT1");
    // as it is printed
    let printed: Vec<String> = hash
        .to_uppercase()
        .as_bytes()
        .chunks(2)
        .map(|two| String::from_utf8(two.to_vec()).unwrap())
        .collect();
    let right =
        json!({ "terminal": "KT1", "fingerprint": printed.join(":"), "smcb": SMC_B, "client": "PVS" });
    // what does not fit is said before anything is begun
    for (name, value) in [("smcb", "123"), ("terminal", ""), ("client", "")] {
        let mut wrong = right.clone();
        wrong[name] = json!(value);
        let begin = json!({ "runbook": "commissioning", "inputs": wrong });
        let refused = rest.try_it("POST", "runs", begin).await.unwrap_err();
        assert!(refused.starts_with("400") && refused.contains(name), "{refused}");
    }
    let run = rest.begin("commissioning", right).await;
    // not its turn
    let early = rest
        .try_it("POST", &format!("runs/{run}/steps/clock"), json!({}))
        .await;
    assert!(early.unwrap_err().starts_with("409"));
    // a person must say so
    let view = rest
        .call("POST", &format!("runs/{run}/steps/place"), json!({}))
        .await;
    let (how, last) = standing(&view, "place");
    assert_eq!((how.as_str(), bad(&last).len()), ("failed", 1), "{last}");
    rest.done(&run, "place").await;
    // left out only with a reason
    let skip = format!("runs/{run}/steps/account/skip");
    assert!(
        rest.try_it("POST", &skip, json!({}))
            .await
            .unwrap_err()
            .starts_with("400")
    );
    rest.call("POST", &skip, json!({ "note": "macht die Praxis selbst" }))
        .await;
    for step in ["clock", "trust", "terminal"] {
        rest.done(&run, step).await;
    }
    // it was paired already, so nobody was asked; taken back, the terminal must agree again
    let undo = format!("runs/{run}/steps/terminal/undo");
    let view = rest
        .call("POST", &undo, json!({ "note": "falsches Terminal" }))
        .await;
    assert_eq!(standing(&view, "terminal").0, "open");
    let terminals = rest.call("GET", "terminals", Value::Null).await;
    assert_eq!(terminals[0]["correlation"], "zugewiesen");
    let ((), ()) = tokio::join!(rest.done(&run, "terminal"), agree(&morning.world.terminal));
    let view = rest.call("GET", &format!("runs/{run}"), Value::Null).await;
    let log = view["steps"][4]["log"].as_array().unwrap().clone();
    let events: Vec<&str> = log.iter().map(|entry| entry["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["looked", "undone", "ordered", "looked"]);

    // the power fails: it goes on where it was, and the card has lost its PIN state
    morning.world.power_off();
    morning.world.power_on(morning.clock.clone()).await.unwrap();
    let world = &morning.world;
    one_smcb(&morning).await;
    let (how, last) = rest.step(&run, "card").await;
    assert_eq!(how, "failed");
    assert_eq!(
        bad(&last),
        [format!("SMC-B {SMC_B} steckt und ist freigeschaltet")]
    );
    assert!(
        last["findings"][0]["found"]
            .as_str()
            .unwrap()
            .contains("open false"),
        "{last}"
    );
    let smcb = e2e::card(&world.practice, "SMC-B").await.unwrap();
    open(world, &world.terminal, &smcb).await;
    let trusted = async || world.konnektor().unwrap().inner().trust().is_some();
    world
        .wait_for("trust list", LIMIT, &*morning.clock, trusted)
        .await
        .unwrap();
    for step in ["card", "model", "ti", "work", "ends", "backup", "handover"] {
        rest.done(&run, step).await;
    }
    let view = rest.call("GET", &format!("runs/{run}"), Value::Null).await;
    assert_eq!((&view["current"], &view["behind"]), (&Value::Null, &json!(12)));
    // no secret has got into the log
    let (_, whole) = rest.bytes("GET", &format!("runs/{run}/log"), String::new()).await;
    let whole = String::from_utf8_lossy(&whole);
    assert!(
        !whole.contains("password_hash") && whole.contains("days_left"),
        "{whole}"
    );
    let text = record(&rest, world, morning.folder.path(), &run).await;
    for part in [
        "Inbetriebnahme",
        "falsches Terminal",
        "macht die Praxis selbst",
        "ausgelassene Schritte: 1",
    ] {
        assert!(text.contains(part), "{part}");
    }
    let logged = e2e::logged(world.konnektor().unwrap().inner());
    assert!(logged.iter().any(|(topic, _)| topic == "MGM/ADMINCHANGES"));
}

/// The practice gets another terminal, and then another SMC-B; the old ones are in use until the new ones have worked.
#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_and_a_card_are_exchanged() {
    let morning = Morning::after_the_walk().await.unwrap();
    let (world, clock) = (&morning.world, &*morning.clock);
    let rest = Rest::of(world);
    let mac = base::id::Mac([2, 0x4c, 0x4c, 0, 0, 0x77]);
    let station = Station::start(&morning, "KT2", mac, &["SMC-B"]).await.unwrap();
    let second = station.smb[0].to_string();
    // its new card comes later
    station.terminal.remove(1).unwrap();
    let add = json!({ "id": "KT2", "address": station.address.to_string() });
    rest.call("POST", "terminals", add).await;
    // the printed fingerprint is another one: the pairing is refused, and says so
    let wrong = json!({ "old": "KT1", "new": "KT2", "fingerprint": "00".repeat(32) });
    let run = rest.begin("terminal-exchange", wrong).await;
    rest.done(&run, "before").await;
    let (how, last) = rest.step(&run, "pair").await;
    assert_eq!(
        (how.as_str(), last["event"].as_str()),
        ("failed", Some("ordered")),
        "{last}"
    );
    rest.call("DELETE", &format!("runs/{run}"), Value::Null).await;

    let right = json!({ "old": "KT1", "new": "KT2", "fingerprint": station.fingerprint() });
    let run = rest.begin("terminal-exchange", right).await;
    rest.done(&run, "before").await;
    let ((), ()) = tokio::join!(rest.done(&run, "pair"), agree(&station.terminal));
    let (how, last) = rest.step(&run, "assign").await;
    assert_eq!((how.as_str(), bad(&last).len()), ("failed", 2), "{last}");
    let mut model = rest.call("GET", "model", Value::Null).await;
    let add = |list: &mut Value, id: &str| list.as_array_mut().unwrap().push(json!(id));
    add(&mut model["mandants"][0]["terminals"], "KT2");
    add(&mut model["workplaces"][0]["local_terminals"], "KT2");
    rest.call("PUT", "model", model).await;
    rest.done(&run, "assign").await;
    // the cards move; the SMC-B must be opened in its new place
    for slot in 1..4 {
        let _ = world.terminal.remove(slot);
    }
    let image = morning.folder.path().join("cards/SMC-B Praxis.xml");
    let card = Arc::new(Mutex::new(open_card(&image).unwrap()));
    station.terminal.put(3, "SMC-B Praxis", card).unwrap();
    one_smcb(&morning).await;
    assert_eq!(rest.step(&run, "cards").await.0, "failed");
    let open = async |handle: &str| open(world, &station.terminal, handle).await;
    open(&e2e::card(&world.practice, "SMC-B").await.unwrap()).await;
    for step in ["cards", "work", "remove", "dispose"] {
        rest.done(&run, step).await;
    }
    let terminals = rest.call("GET", "terminals", Value::Null).await;
    let paired = terminals
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["correlation"] != "bekannt");
    assert_eq!(paired.count(), 1, "{terminals}");

    // and the SMC-B
    let run = rest
        .begin("smc-b-exchange", json!({ "old": SMC_B, "new": second }))
        .await;
    rest.done(&run, "delivered").await;
    assert_eq!(rest.step(&run, "insert").await.0, "failed");
    station.terminal.insert(1, "SMC-B").unwrap();
    let both = async || {
        let cards = rest.call("GET", "cards", Value::Null).await;
        cards
            .as_array()
            .unwrap()
            .iter()
            .filter(|card| card["type"] == "SMC-B")
            .count()
            == 2
    };
    world.wait_for("both", LIMIT, clock, both).await.unwrap();
    rest.done(&run, "insert").await;
    assert_eq!(rest.step(&run, "assign").await.0, "failed");
    let mut model = rest.call("GET", "model", Value::Null).await;
    add(&mut model["mandants"][0]["smb"], &second);
    rest.call("PUT", "model", model).await;
    rest.done(&run, "assign").await;
    assert_eq!(rest.step(&run, "open").await.0, "failed");
    let cards = rest.call("GET", "cards", Value::Null).await;
    let new = cards
        .as_array()
        .unwrap()
        .iter()
        .find(|card| card["iccsn"] == second.as_str());
    open(new.unwrap()["handle"].as_str().unwrap()).await;
    rest.done(&run, "open").await;
    // the old card is still in
    assert_eq!(rest.step(&run, "work").await.0, "failed");
    station.terminal.remove(3).unwrap();
    let out = async || {
        let cards = rest.call("GET", "cards", Value::Null).await;
        cards
            .as_array()
            .unwrap()
            .iter()
            .filter(|card| card["type"] == "SMC-B")
            .count()
            == 1
    };
    world.wait_for("out", LIMIT, clock, out).await.unwrap();
    for step in ["work", "registration", "services", "forget", "dispose"] {
        rest.done(&run, step).await;
    }
    record(&rest, world, morning.folder.path(), &run).await;
}

/// The box is exchanged: what was begun on the old one goes on on the new one, which knows nothing but the backup.
#[tokio::test(flavor = "multi_thread")]
async fn a_practice_moves_to_a_new_box() {
    let mut morning = Morning::after_the_walk().await.unwrap();
    let rest = Rest::of(&morning.world);
    let number = morning.world.konnektor().unwrap().inner().lifetime_view()["iccsn"].clone();
    let run = rest.begin("move", json!({ "number": number })).await;
    for step in ["stock", "export"] {
        rest.done(&run, step).await;
    }
    let made = rest.call("POST", "backup", json!({})).await;
    let log = rest.call("GET", &format!("runs/{run}/log"), Value::Null).await;
    // an empty box
    morning.world.power_off();
    let state = morning.world.config.parent().unwrap().join("konnektor");
    assert!(state.join("langlauf.db").exists());
    std::fs::remove_dir_all(&state).unwrap();
    morning.world.power_on(morning.clock.clone()).await.unwrap();
    let world = &morning.world;
    world
        .konnektor()
        .unwrap()
        .set_admin_password(&world.admin_password)
        .unwrap();
    let trusted = async || world.konnektor().unwrap().inner().trust().is_some();
    world
        .wait_for("trust list", LIMIT, &*morning.clock, trusted)
        .await
        .unwrap();
    assert!(
        rest.try_it("GET", &format!("runs/{run}"), Value::Null)
            .await
            .is_err()
    );
    // one that was tampered with on the way is none
    let mut made_up = log.clone();
    made_up["log"][1]["step"] = json!("dispose-of-everything");
    assert!(
        rest.try_it("PUT", "runs", made_up)
            .await
            .unwrap_err()
            .starts_with("400")
    );
    let view = rest.call("PUT", "runs", log.clone()).await;
    assert_eq!(view["current"], "carry");
    for step in ["carry", "off"] {
        rest.done(&run, step).await;
    }
    // what is known here does not become less
    let shorter = rest.try_it("PUT", "runs", log).await.unwrap_err();
    assert!(shorter.starts_with("409"), "{shorter}");
    assert_eq!(rest.step(&run, "import").await.0, "failed");
    let (backup, passphrase) = (made["backup"].to_string(), &made["passphrase"]);
    let body = json!({ "backup": backup, "passphrase": passphrase });
    let preview = rest.call("POST", "backup/preview", body).await;
    let body = json!({ "backup": backup, "passphrase": passphrase, "confirm": preview["confirm"] });
    rest.call("PUT", "backup", body).await;
    rest.done(&run, "import").await;
    one_smcb(&morning).await;
    assert_eq!(rest.step(&run, "terminals").await.0, "failed");
    let smcb = e2e::card(&world.practice, "SMC-B").await.unwrap();
    open(world, &world.terminal, &smcb).await;
    for step in ["terminals", "ti", "work", "dispose"] {
        rest.done(&run, step).await;
    }
}

/// Everybody walks with his own rights; one's own runbooks are the super administrator's to take in.
#[tokio::test(flavor = "multi_thread")]
async fn rights_are_those_of_who_walks() {
    let morning = Morning::after_the_walk().await.unwrap();
    let (world, rest) = (&morning.world, Rest::of(&morning.world));
    let inner = world.konnektor().unwrap().inner();
    let own = "runbook: own\nversion: 1\ntitle: {de: E, en: O}\npurpose: {de: E, en: O}\nsteps:\n\
        \x20 - id: cards\n    title: {de: K, en: C}\n    text: {de: K, en: C}\n\
        \x20   check: [{says: {de: Eine SMC-B steckt, en: An SMC-B is in}, get: /api/v1/cards, is: {has: {type: SMC-B}}}]\n\
        \x20 - id: freeze\n    title: {de: F, en: F}\n    text: {de: F, en: F}\n\
        \x20   order: {method: put, path: /api/v1/lifetime/frozen, body: {on: true}}\n\
        \x20   check: [{says: {de: A, en: F}, get: /api/v1/lifetime, at: /frozen, is: true}]\n";
    let take = async |rest: &Rest, text: &str| rest.bytes("POST", "runbooks", text.to_owned()).await.0;
    assert_eq!(take(&rest, "runbook: [").await, 400);
    assert_eq!(
        take(&rest, &own.replace("/api/v1/lifetime/frozen", "/api/v1/users/x")).await,
        400
    );
    assert_eq!(take(&rest, own).await, 204);
    let as_user = |name: &str| Rest {
        login: basic(name, "ein langes Passwort"),
        ..Rest::of(world)
    };
    for (name, role) in [("fern", "remote"), ("leser", "reader")] {
        let hash = konnektor::password::hash("ein langes Passwort").unwrap();
        let user = json!({ "role": role, "password": hash, "basic": true });
        inner.store().put("user", name, &user).unwrap();
    }
    let run = rest.begin("own", json!({})).await;
    // what a walk shows of cards is not for him either, and a runbook of his own does not come along with a walk
    let (_, log) = rest.bytes("GET", &format!("runs/{run}/log"), String::new()).await;
    let mut smuggled: Value = serde_json::from_slice(&log).unwrap();
    let fern = as_user("fern");
    let seen = fern.try_it("GET", &format!("runs/{run}/log"), Value::Null).await;
    assert!(seen.unwrap_err().starts_with("409"));
    smuggled["book"] = json!(own.replace("frozen, body: {on: true}", "frozen, body: {on: false}"));
    for _ in 0..2 {
        let refused = fern.try_it("PUT", "runs", smuggled.clone()).await.unwrap_err();
        assert!(refused.starts_with("409"), "{refused}");
        smuggled["id"] = json!("0123456789abcdef");
    }
    let (remote, reader) = (as_user("fern"), as_user("leser"));
    assert!(
        reader
            .try_it("GET", &format!("runs/{run}"), Value::Null)
            .await
            .is_ok()
    );
    let path = format!("runs/{run}/steps/cards");
    assert!(
        reader
            .try_it("POST", &path, json!({}))
            .await
            .unwrap_err()
            .starts_with("403")
    );
    assert_eq!(take(&remote, own).await, 403);
    // from afar nobody sees cards, so he cannot have them looked at either
    let (how, last) = remote.step(&run, "cards").await;
    assert_eq!(how, "failed");
    assert!(
        last["findings"][0]["found"].as_str().unwrap().contains("Rolle"),
        "{last}"
    );
    rest.done(&run, "cards").await;
    // but this he may
    remote.done(&run, "freeze").await;
    assert_eq!(rest.call("GET", "lifetime", Value::Null).await["frozen"], true);
    let view = rest.call("GET", &format!("runs/{run}"), Value::Null).await;
    assert_eq!(view["steps"][1]["log"][0]["who"], "fern");
    rest.call("DELETE", "runbooks/own", Value::Null).await;
    assert!(
        rest.try_it("POST", "runs", json!({ "runbook": "own" }))
            .await
            .is_err()
    );
    // a run knows its own runbook
    assert_eq!(
        rest.call("GET", &format!("runs/{run}"), Value::Null).await["behind"],
        2
    );
}
