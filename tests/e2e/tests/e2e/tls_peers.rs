//! openssl and curl reach the Konnektor with every kind of ClientHello, and see the certificate that suits them.

use e2e::Morning;
use tokio::process::Command;

async fn run(morning: &Morning, program: &str, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(morning.folder.path())
        .stdin(std::process::Stdio::null())
        .output()
        .await
        .unwrap_or_else(|error| panic!("{program}: {error}: run `make setup`"));
    let text = [output.stdout, output.stderr]
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .concat();
    (output.status.success(), text)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_follows_the_client_hello() {
    let morning = Morning::before().await.unwrap();
    let address = morning.world.addresses.konnektor.to_string();
    let common = [
        "s_client",
        "-connect",
        &address,
        "-CAfile",
        "konnektor-ca.pem",
        "-verify_return_error",
    ];
    let client = ["-cert", "practice.crt", "-key", "practice.key"];
    for (extra, expected) in [
        (&[][..], &["TLSv1.3", "KOMP-CA8"][..]),
        (
            &["-tls1_2"][..],
            &["TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384", "KOMP-CA8"][..],
        ),
        (
            &["-tls1_2", "-groups", "brainpoolP256r1:P-256"][..],
            &["TLSv1.2", "KOMP-CA9"][..],
        ),
        // TLS 1.3 would be possible, but this OpenSSL has no brainpool there: 1.2 it is
        (
            &["-groups", "brainpoolP256r1:P-256"][..],
            &["TLSv1.2", "KOMP-CA9"][..],
        ),
        (
            &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"][..],
            &["ECDHE-ECDSA-AES128-GCM-SHA256"][..],
        ),
    ] {
        let arguments = [&common[..], &client, extra].concat();
        let (good, text) = run(&morning, "openssl", &arguments).await;
        assert!(
            good && text.contains("Verify return code: 0 (ok)"),
            "{extra:?}: {text}"
        );
        for part in expected {
            assert!(text.contains(part), "{extra:?}: {part} missing in {text}");
        }
    }
    for refused in [
        &["-tls1_1"][..],
        &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-SHA384"],
    ] {
        let (good, text) = run(&morning, "openssl", &[&common[..], &client, refused].concat()).await;
        assert!(!good, "{refused:?}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_reads_the_directory_and_stays_outside_without_a_certificate() {
    let morning = Morning::before().await.unwrap();
    let url = format!("https://{}/connector.sds", morning.world.addresses.konnektor);
    let with = [
        "-sS",
        "--fail",
        "--cacert",
        "konnektor-ca.pem",
        "--cert",
        "practice.crt",
        "--key",
        "practice.key",
        &url,
    ];
    let (good, text) = run(&morning, "curl", &with).await;
    assert!(good && text.contains("EventService"), "{text}");
    let (good, text) = run(
        &morning,
        "curl",
        &["-sS", "--fail", "--cacert", "konnektor-ca.pem", &url],
    )
    .await;
    assert!(!good, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_resumed_and_says_who_the_client_was() {
    let morning = Morning::before().await.unwrap();
    let address = morning.world.addresses.konnektor.to_string();
    let common = ["s_client", "-connect", &address, "-CAfile", "konnektor-ca.pem"];
    for version in ["-tls1_2", "-tls1_3"] {
        // TLS 1.3 tickets come with the first answer
        let full = [
            "-cert",
            "practice.crt",
            "-key",
            "practice.key",
            "-sess_out",
            "session",
            "-ign_eof",
        ];
        let request = "GET /connector.sds HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let (_, text) = feed(&morning, &[&common[..], &full, &[version]].concat(), request).await;
        assert!(
            text.contains("New, ") && text.contains("200 OK"),
            "{version}: {text}"
        );
        let again = ["-sess_in", "session", "-ign_eof"];
        let (_, text) = feed(&morning, &[&common[..], &again, &[version]].concat(), request).await;
        assert!(
            text.contains("Reused, ") && text.contains("200 OK"),
            "{version}: {text}"
        );
    }
}

async fn feed(morning: &Morning, arguments: &[&str], input: &str) -> (bool, String) {
    use tokio::io::AsyncWriteExt;
    let mut child = Command::new("openssl")
        .args(arguments)
        .current_dir(morning.folder.path())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    drop(stdin);
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (output.status.success(), text.concat())
}

/// The other way round: our client against OpenSSL's server, with brainpool certificates on both sides, whatever hash the
/// server signs with.
#[tokio::test(flavor = "multi_thread")]
async fn our_client_reaches_openssl_servers() {
    let morning = Morning::before().await.unwrap();
    let now = morning.clock.now();
    let to = now.checked_add(std::time::Duration::from_secs(86_400)).unwrap();
    let key = crypto::SoftKey::Ec(crypto::EcPrivate::generate(crypto::Curve::BrainpoolP256r1).unwrap());
    let client = crypto::tls::Identity {
        chain: vec![langlauf::world::self_signed("brainpool client", key.clone(), now, to).unwrap()],
        key,
    };
    let folder = morning.folder.path();
    std::fs::write(folder.join("client.pem"), client.to_pem().unwrap().as_bytes()).unwrap();
    // left alone it signs with SHA-384, ours with SHA-256
    for choice in [
        &["-groups", "brainpoolP256r1"][..],
        &["-groups", "brainpoolP256r1:P-256", "-sigalgs", "ECDSA+SHA256"],
        &[
            "-groups",
            "P-256:brainpoolP256r1",
            "-serverpref",
            "-sigalgs",
            "ECDSA+SHA384:ECDSA+SHA256",
        ],
    ] {
        let port = {
            let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            free.local_addr().unwrap().port()
        };
        let mut server = Command::new("openssl")
            .args([
                "s_server",
                "-accept",
                &port.to_string(),
                "-quiet",
                "-naccept",
                "2",
            ])
            .args([
                "-cert",
                "identities/ak-brainpool.pem",
                "-key",
                "identities/ak-brainpool.pem",
            ])
            .args(["-Verify", "1", "-CAfile", "client.pem"])
            .args(choice)
            .current_dir(folder)
            .stdin(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
        let limit = std::time::Duration::from_secs(10);
        let mut reached = Err(anyhow::anyhow!("never tried"));
        let trying = async || {
            let judge = langlauf::practice::issued_by(std::sync::Arc::new(morning.world.authorities.clone()));
            reached = langlauf::practice::connect(address, Some(&client), judge)
                .await
                .map(drop);
            let waiting = |error: &anyhow::Error| {
                let io = error.downcast_ref::<std::io::Error>();
                io.is_some_and(|io| io.kind() == std::io::ErrorKind::ConnectionRefused)
            };
            !reached.as_ref().is_err_and(waiting)
        };
        morning
            .world
            .wait_for("server", limit, &*morning.clock, trying)
            .await
            .unwrap();
        reached.unwrap_or_else(|error| panic!("{choice:?}: {error:#}"));
        server.kill().await.unwrap();
    }
}
