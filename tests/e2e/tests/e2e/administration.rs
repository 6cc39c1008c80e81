//! The administration's interface: who may use it, and that it is what `docs/admin-api.yaml` says.

use e2e::Morning;
use langlauf::practice::{basic, connect, issued_by};
use std::path::Path;
use std::sync::Arc;
use tokio::process::Command;

async fn status(morning: &Morning, login: Option<(&str, &str)>) -> u16 {
    let world = &morning.world;
    let judge = issued_by(Arc::new(world.authorities.clone()));
    let mut sender = connect(world.addresses.admin, None, judge).await.unwrap();
    let mut request = http::Request::get("/api/v1/state").header("Host", "localhost");
    if let Some((user, password)) = login {
        request = request.header("Authorization", basic(user, password));
    }
    let request = request.body(Default::default()).unwrap();
    sender.send_request(request).await.unwrap().status().as_u16()
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
        // waits for a person
        .args(["--exclude-path-regex", "pair$"])
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
