//! The administration's interface: who may use it, and that it is what `docs/admin-api.yaml` says.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use e2e::Morning;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use langlauf::practice::{basic, connect, issued_by};
use std::path::Path;
use std::sync::Arc;
use tokio::process::Command;

async fn admin(morning: &Morning, path: &str, login: Option<(&str, &str)>) -> http::Response<Incoming> {
    let world = &morning.world;
    let judge = issued_by(Arc::new(world.authorities.clone()));
    let mut sender = connect(world.addresses.admin, None, judge).await.unwrap();
    let mut request = http::Request::get(path).header("Host", "localhost");
    if let Some((user, password)) = login {
        request = request.header("Authorization", basic(user, password));
    }
    let request = request.body(Default::default()).unwrap();
    sender.send_request(request).await.unwrap()
}

async fn status(morning: &Morning, login: Option<(&str, &str)>) -> u16 {
    admin(morning, "/api/v1/state", login).await.status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn five_wrong_passwords_close_the_door() {
    let morning = Morning::before().await.unwrap();
    let right = morning.world.admin_password.clone();
    assert_eq!(status(&morning, None).await, 401);
    assert_eq!(status(&morning, Some(("admin", &right))).await, 200);
    assert_eq!(status(&morning, Some(("root", &right))).await, 401);
    for _ in 0..5 {
        assert_eq!(status(&morning, Some(("admin", "falsch"))).await, 401);
    }
    assert_eq!(status(&morning, Some(("admin", &right))).await, 429);
}

/// What an operator watches: dates, terminals, open cards, operations. The rules in `deploy` speak of nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn metrics_say_what_ends_and_what_is_closed() {
    let morning = Morning::after_the_walk().await.unwrap();
    let world = &morning.world;
    let metrics = async || {
        let mut answer = admin(&morning, "/metrics", Some(("admin", &world.admin_password))).await;
        let bytes = answer.body_mut().collect().await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    };
    let text = metrics().await;
    let value = |text: &str, line: &str| {
        let found = text.lines().find_map(|found| found.strip_prefix(line));
        found.map(|value| value.trim().parse::<f64>().unwrap())
    };
    let now = morning.clock.now().as_second() as f64;
    for (object, place) in [
        ("AK.AUT", "brainpoolP256r1"),
        ("AK.AUT", "P-256"),
        ("SAK.AUT", ""),
        ("trust list", ""),
        ("trust anchor", ""),
        ("revocation list", ""),
        ("trusted list", ""),
        ("SMKT.AUT", "KT1"),
        ("SMC-B", "KT1/3"),
        ("HBA", "KT1/2"),
    ] {
        let line = format!("langlauf_end_timestamp_seconds{{object=\"{object}\",place=\"{place}\"}}");
        assert!(value(&text, &line).unwrap() > now, "{line} in {text}");
    }
    assert!(!text.contains("EGK"), "{text}");
    let open = "langlauf_smb_open{terminal=\"KT1\",slot=\"3\"}";
    assert_eq!(value(&text, open), Some(1.0));
    let read = "langlauf_operation_seconds_count{operation=\"ReadVSD\"}";
    assert!(value(&text, read).unwrap() >= 1.0, "{text}");

    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy");
    let rules = std::fs::read_to_string(deploy.join("prometheus-alerts.yml")).unwrap();
    let dashboard = std::fs::read_to_string(deploy.join("grafana-dashboard.json")).unwrap();
    serde_json::from_str::<serde_json::Value>(&dashboard).unwrap();
    let both = rules + &dashboard;
    let names = both
        .split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
        .filter(|word| word.starts_with("langlauf_"));
    assert!(names.clone().count() > 5);
    for name in names {
        assert!(
            text.lines().any(|line| line.starts_with(name)),
            "{name} in {text}"
        );
    }

    // a card that is gone has no line
    world.terminal.remove(3).unwrap();
    let gone = async || value(&metrics().await, open).is_none();
    let limit = std::time::Duration::from_secs(10);
    world
        .wait_for("gone", limit, &*morning.clock, gone)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_what_the_description_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let tool = root.join(".venv/bin/schemathesis");
    assert!(
        tool.exists(),
        "schemathesis is missing: run `make test`, which installs it"
    );
    let morning = Morning::after_the_walk().await.unwrap();
    let login = basic("admin", &morning.world.admin_password);
    let output = Command::new(tool)
        .current_dir(morning.folder.path())
        .args([
            "run",
            "--url",
            &format!("https://{}", morning.world.addresses.admin),
        ])
        .args([
            "--tls-verify",
            "konnektor-ca.pem",
            "--header",
            &format!("Authorization: {login}"),
        ])
        .args(["--max-examples", "5", "--seed", "1", "--no-color"])
        // waits for a person; guesses passwords and is locked out; takes its own password away
        .args(["--exclude-path-regex", "(pair|login|password|invite)$"])
        // a wrong password is not to close the door in the middle of the run, and that ids must refer to each other is
        // nothing a schema can say
        .args(["--exclude-checks", "ignored_auth,positive_data_acceptance"])
        .arg(root.join("docs/admin-api.yaml"))
        .output()
        .await
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(
        status(&morning, Some(("admin", &morning.world.admin_password))).await,
        200
    );
}

/// What went wrong stands in the right log, with the reference the caller was given, and without personal data.
#[tokio::test(flavor = "multi_thread")]
async fn logs_say_what_went_wrong() {
    use langlauf::practice::Operation;
    let settings = "log.performance = true\nalarm.verify_certificate = 20";
    let morning = Morning::with(|options| options.settings = settings.parse().unwrap())
        .await
        .unwrap();
    let world = &morning.world;
    let login = Some(("admin", world.admin_password.as_str()));
    let read = async |path: &str| {
        let mut answer = admin(&morning, path, login).await;
        assert_eq!(answer.status(), 200, "{path}");
        let bytes = answer.body_mut().collect().await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    };
    let eject = Operation::EjectCard {
        handle: "no-such-card",
    };
    let answer = world.practice.call(eject).await.unwrap();
    assert_eq!(answer.fault(), Some(4101));
    let reference = answer.text("EventID").unwrap();
    let system = read("/api/v1/logs/system?severity=Error").await;
    assert!(
        system.contains(&reference) && system.contains("EjectCard"),
        "{system}"
    );
    assert!(!system.contains("BOOTUP"), "{system}");
    assert!(read("/api/v1/logs/performance").await.contains("Milliseconds"));
    let export = read("/api/v1/logs/system/export").await;
    let lines: Vec<serde_json::Value> = export
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let oldest = lines.last().unwrap();
    assert!(oldest["topic"] == "BOOTUP/BOOTUP_COMPLETE", "{export}");
    // unusually many calls from one workplace are an alarm until somebody takes note
    let der = &world.pki.component_ca.certificate;
    for _ in 0..25 {
        world
            .practice
            .call(Operation::VerifyCertificate { der, at: None })
            .await
            .unwrap();
    }
    let alarm = || {
        let inner = world.konnektor().unwrap().inner();
        let found = inner
            .conditions()
            .into_iter()
            .find(|(condition, ..)| *condition == konnektor::state::Condition::CryptoperationAlarm);
        found.is_some_and(|(_, value, _)| value)
    };
    assert!(alarm());
    let security = read("/api/v1/logs/security").await;
    assert!(
        security.contains("CRYPTOPERATION_ALARM") && security.contains("Arbeitsplatz"),
        "{security}"
    );
    let inner = world.konnektor().unwrap().inner();
    inner.reset_condition("EC_CRYPTOPERATION_ALARM").unwrap();
    assert!(!alarm());
    assert!(inner.reset_condition("EC_TSL_Expiring").is_err());
}

/// A practice system gets its key and certificate as it can take them, and with either it is let in.
#[tokio::test(flavor = "multi_thread")]
async fn a_practice_system_gets_its_certificate() {
    let morning = Morning::before().await.unwrap();
    let (world, folder) = (&morning.world, morning.folder.path());
    let client = world.konnektor().unwrap().inner().model().client_systems[0]
        .id
        .clone();
    let user = format!("admin:{}", world.admin_password);
    let issue = format!(
        "https://{}/api/v1/clients/{client}/certificate",
        world.addresses.admin
    );
    let curl = async |words: &[&str]| {
        let output = Command::new("curl")
            .args(["-s", "-k"])
            .args(words)
            .output()
            .await
            .unwrap();
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    };
    let made = async |wanted: &str| {
        let (_, text) = curl(&["-u", &user, "-X", "POST", "-d", wanted, &issue]).await;
        serde_json::from_str::<serde_json::Value>(&text).unwrap()
    };
    let directory = format!("https://{}/connector.sds", world.addresses.konnektor);
    assert!(!curl(&[&directory]).await.0);
    let (pem, p12) = (folder.join("client.pem"), folder.join("client.p12"));
    std::fs::write(&pem, made("").await["pem"].as_str().unwrap()).unwrap();
    assert!(
        curl(&["--cert", pem.to_str().unwrap(), &directory])
            .await
            .1
            .contains("ConnectorServices")
    );
    let answer = made("{\"password\":\"ein Passwort\"}").await;
    assert!(answer["pem"].is_null(), "{answer}");
    std::fs::write(&p12, STANDARD.decode(answer["pkcs12"].as_str().unwrap()).unwrap()).unwrap();
    let with = format!("{}:ein Passwort", p12.display());
    let (_, text) = curl(&["--cert-type", "P12", "--cert", &with, &directory]).await;
    assert!(text.contains("ConnectorServices"), "{text}");
    for bad in ["{\"password\":\"kurz\"}", "{\"pass\":1}", "7"] {
        let answer = made(bad).await;
        assert_eq!(answer["code"], 4000, "{answer}");
        assert!(!answer.to_string().contains("kurz"), "{answer}");
    }
}
