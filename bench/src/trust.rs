//! The trust space: checks of certificates against OpenSSL, a large trust list against xmlsec1.

use crate::{ROUNDS, report, spread};
use anyhow::{Context, Result, ensure};
use asn1::X509;
use base::{Clock, Timestamp};
use crypto::{Curve, EcPrivate, Key, PublicKey, SoftKey, pem};
use pki::issue::{Authority, Name, Request, profile};
use pki::tsl::{Edition, Tsl};
use pki::{Purpose, Responders, Settings, Trust};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use testti::services::{self, Ledger};
use testti::{Publisher, SavedKeys, TestPki};
use tokio::net::TcpListener;

/// Certificates in one round.
const BATCH: usize = 300;
/// What a cold round asks about; a process for each at the peer takes its time.
const ASKED: usize = 40;
/// CAs in the large list: with them it is as large as production's, 0.65 MB.
const AUTHORITIES: usize = 380;

fn key() -> Result<SoftKey> {
    Ok(SoftKey::Ec(EcPrivate::generate(Curve::BrainpoolP256r1)?))
}

pub(crate) fn days(from: Timestamp, days: i64) -> Result<Timestamp> {
    Ok(Timestamp::from_second(from.as_second() + days * 86_400)?)
}

pub(crate) fn run(folder: &Path, program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .output()?;
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    ensure!(output.status.success(), "{program}: {text}");
    Ok(text)
}

pub(crate) async fn figures(clock: &Arc<dyn Clock>) -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let url = format!("http://{address}/ocsp");
    let pki = TestPki::open(&mut SavedKeys::default(), clock.now(), &url)?;
    let ledger = Ledger::new(&pki, clock.clone());
    let publisher = Publisher::new(
        &pki,
        clock.clone(),
        &format!("http://{address}"),
        "https://localhost",
    )?;
    let router = services::router(ledger.clone(), publisher.clone());
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let folder = tempfile::tempdir()?;
    checks(clock, &pki, &ledger, &publisher, &url, folder.path()).await?;
    list(clock, &pki, folder.path())?;
    server.abort();
    Ok(())
}

async fn checks(
    clock: &Arc<dyn Clock>,
    pki: &TestPki,
    ledger: &Ledger,
    publisher: &Publisher,
    url: &str,
    folder: &Path,
) -> Result<()> {
    let public: PublicKey = key()?.public();
    let mut certificates = Vec::new();
    for number in 0..BATCH {
        let der = pki.smcb_ca.issue(&Request {
            profile: &profile::SMC_B_AUT,
            subject: Name::new("Praxis", &format!("Praxis {number}")),
            key: public.clone(),
            admission: None,
            dns: &[],
            addresses: &[],
            from: clock.now(),
            to: days(clock.now(), 100)?,
        })?;
        ledger.register(&der);
        std::fs::write(
            folder.join(format!("{number}.pem")),
            pem::encode("CERTIFICATE", &der)?.as_bytes(),
        )?;
        certificates.push(X509::parse(&der)?);
    }
    let authority = pem::encode("CERTIFICATE", &pki.smcb_ca.certificate)?;
    let signer = pem::encode("CERTIFICATE", pki.ocsp_signer.0.der())?;
    std::fs::write(folder.join("ca.pem"), authority.as_bytes())?;
    std::fs::write(folder.join("signer.pem"), signer.as_bytes())?;
    let xml = String::from_utf8(publisher.file("/TSL.xml").context("list")?)?;
    let list = Arc::new(Tsl::read(&xml)?);
    let trust = || {
        Trust::new(
            list.clone(),
            Duration::from_secs(86_400),
            Arc::new(Responders::new(Settings::default())),
        )
    };

    let names: Vec<String> = (0..BATCH).map(|number| format!("{number}.pem")).collect();
    let (mut warm, mut cold) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let space = trust();
        let started = clock.elapsed();
        for certificate in certificates.iter().take(ASKED) {
            space.check(certificate, &Purpose::ANY, &**clock).await?;
        }
        let mine = ASKED as f64 / (clock.elapsed() - started).as_secs_f64();
        let started = clock.elapsed();
        for name in names.iter().take(ASKED) {
            let arguments = [
                "ocsp",
                "-issuer",
                "ca.pem",
                "-cert",
                name,
                "-url",
                url,
                "-VAfile",
                "signer.pem",
            ];
            ensure!(
                run(folder, "openssl", &arguments)?.contains("good"),
                "openssl ocsp"
            );
        }
        let theirs = ASKED as f64 / (clock.elapsed() - started).as_secs_f64();
        cold.push(mine / theirs);

        // all are remembered before the warm round
        for certificate in &certificates {
            space.check(certificate, &Purpose::ANY, &**clock).await?;
        }
        let started = clock.elapsed();
        for certificate in &certificates {
            space.check(certificate, &Purpose::ANY, &**clock).await?;
        }
        let mine = BATCH as f64 / (clock.elapsed() - started).as_secs_f64();
        let started = clock.elapsed();
        let mut arguments = vec!["verify", "-partial_chain", "-CAfile", "ca.pem"];
        arguments.extend(names.iter().map(String::as_str));
        run(folder, "openssl", &arguments)?;
        let theirs = BATCH as f64 / (clock.elapsed() - started).as_secs_f64();
        warm.push(mine / theirs);
    }
    report(
        "certificate checks, warm / openssl verify (one process)",
        spread(warm),
        "x",
        "-",
    );
    report(
        "certificate checks, cold / openssl ocsp (a process each)",
        spread(cold),
        "x",
        "-",
    );
    Ok(())
}

/// A list as large as production's: read and verified, against xmlsec1 verifying the signature alone.
fn list(clock: &Arc<dyn Clock>, pki: &TestPki, folder: &Path) -> Result<()> {
    let mut contents = pki.list_contents("http://localhost", "https://localhost");
    let (from, to) = (clock.now(), days(clock.now(), 1000)?);
    for number in 0..AUTHORITIES {
        let name = Name::new("Langlauf TEST-ONLY", &format!("LANGLAUF.CA{number}"));
        let authority = Authority::root(name, key()?, "http://localhost", from, to)?;
        contents
            .cas
            .push((authority.certificate, vec![asn1::oid::AK_AUT, asn1::oid::NK_VPN]));
    }
    let edition = Edition {
        sequence: 10_500,
        issued: Timestamp::from_second(from.as_second())?,
        next_update: Timestamp::from_second(to.as_second())?,
    };
    let xml = pki::tsl::write(&contents, &edition, &pki.tsl.certificate, &pki.tsl.key)?;
    std::fs::write(folder.join("list.xml"), &xml)?;
    let signer = pem::encode("CERTIFICATE", &pki.tsl.certificate)?;
    std::fs::write(folder.join("signer.crt"), signer.as_bytes())?;
    let anchor = X509::parse(&pki.tsl.ca.certificate)?;
    let arguments = [
        "--verify",
        "--pubkey-cert-pem",
        "signer.crt",
        "--enabled-key-data",
        "key-name",
        "--id-attr:Id",
        "http://uri.etsi.org/01903/v1.3.2#:SignedProperties",
        "list.xml",
    ];
    let (mut ratios, mut own) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let started = clock.elapsed();
        Tsl::verify(&xml, &[&anchor], clock.now())?;
        let mine = (clock.elapsed() - started).as_secs_f64();
        let started = clock.elapsed();
        run(folder, "xmlsec1", &arguments)?;
        let theirs = (clock.elapsed() - started).as_secs_f64();
        ratios.push(theirs / mine);
        own.push(mine * 1000.0);
    }
    let size = xml.len() as f64 / 1e6;
    report(
        &format!("trust list of {size:.2} MB read and verified"),
        spread(own),
        "ms",
        "-",
    );
    report(
        "xmlsec1 verifying its signature / that",
        spread(ratios),
        "x",
        ">= 1",
    );
    Ok(())
}
