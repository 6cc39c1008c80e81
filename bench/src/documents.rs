//! Documents: signing against the bare operation of the key and against other people's libraries, and what the whole
//! Konnektor adds to the time that a card takes.

use crate::trust::{days, run};
use crate::{ROUNDS, load, per_second, report, spread};
use anyhow::{Context, Result, ensure};
use asn1::X509;
use base::Clock;
use crypto::{Curve, EcPrivate, Hash, Key, RsaPrivate, SignatureScheme, SoftKey, pem};
use e2e::Morning;
use e2e::documents::{Item, Office, outcomes};
use e2e::pdf::Layout;
use langlauf::practice::connect;
use pki::issue::{Authority, Name, Request, profile};
use signature::cades::{self, Extra};
use signature::xades::{self, About, Form};
use signature::{Signer, pades};
use std::path::Path;
use std::sync::Arc;

const DOCTOR: &str = "8a4b1c7e-0f6d-4c1e-9a53-5d2f1b7c9e10";
/// Bytes of a document.
const SIZE: usize = 10_000;
/// Documents of a batch, and of the small one that is taken off: what remains is free of the PIN.
const BATCH: usize = 250;
const SMALL: usize = 10;

/// A key with a certificate, also as files in `folder`.
fn signer(key: &SoftKey, scheme: SignatureScheme, folder: &Path, clock: &dyn Clock) -> Result<Signer> {
    let (from, to) = (clock.now(), days(clock.now(), 100)?);
    let root = SoftKey::Ec(EcPrivate::generate(Curve::BrainpoolP256r1)?);
    let root = Authority::root(Name::new("Langlauf", "Bench-CA"), root, "", from, to)?;
    let certificate = root.issue(&Request {
        profile: &profile::SMC_B_OSIG,
        subject: Name::new("Praxis", "Bench"),
        key: key.public(),
        admission: None,
        dns: &[],
        addresses: &[],
        from,
        to,
    })?;
    std::fs::write(
        folder.join("cert.pem"),
        pem::encode("CERTIFICATE", &certificate)?.as_bytes(),
    )?;
    std::fs::write(
        folder.join("key.pem"),
        pem::encode("PRIVATE KEY", &key.to_pkcs8()?)?.as_bytes(),
    )?;
    Ok(Signer::new(X509::parse(&certificate)?, scheme, clock.now())?)
}

/// The formats with keys in software.
pub(crate) fn formats(clock: &dyn Clock) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let document = vec![b'R'; SIZE];
    let keys = [
        (
            "RSA 2048",
            SoftKey::Rsa(RsaPrivate::generate(2048)?),
            SignatureScheme::RsaPss,
        ),
        (
            "brainpoolP256r1",
            SoftKey::Ec(EcPrivate::generate(Curve::BrainpoolP256r1)?),
            SignatureScheme::Ecdsa,
        ),
    ];
    let sign = |signer: &Signer, key: &SoftKey| -> Result<Vec<u8>> {
        let draft = cades::sign(document.clone(), true, signer, Extra::default())?;
        Ok(draft.sign_with(key, &[])?)
    };
    for (name, key, scheme) in &keys {
        let signer = signer(key, *scheme, folder.path(), clock)?;
        let hash = crypto::sha256([&document]);
        let public = key.public();
        let value = key.sign_hash(*scheme, Hash::Sha256, &hash)?;
        let signed = sign(&signer, key)?;
        let (mut signing, mut checked, mut verifying) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let bare = per_second(clock, || {
                Ok(key.sign_hash(*scheme, Hash::Sha256, &hash).map(drop)?)
            })?;
            let check = per_second(clock, || {
                Ok(public.verify_hash(*scheme, Hash::Sha256, &hash, &value)?)
            })?;
            let ours = per_second(clock, || sign(&signer, key).map(drop))?;
            let verified = per_second(clock, || Ok(cades::verify(&signed, None, &[]).map(drop)?))?;
            signing.push(ours / bare);
            checked.push(ours * (1.0 / bare + 1.0 / check));
            verifying.push(verified / check);
        }
        let line = |text: &str, figures: Vec<f64>, goal: &str| {
            report(&format!("{text}, {name}"), spread(figures), "x", goal);
        };
        line("CAdES of 10 kB / bare private-key op.", signing, ">= 0.75");
        line("the same / bare op. and its self-check", checked, ">= 0.75");
        line("CAdES verified / bare public-key op.", verifying, "-");
    }
    let [(_, rsa, _), _] = keys;
    // neither makes RSA-PSS without further ado, and signxml knows no brainpool curve
    let nist = SoftKey::Ec(EcPrivate::generate(Curve::NistP256)?);
    let keys = [
        ("RSA 2048", rsa, SignatureScheme::RsaPkcs1),
        ("P-256", nist, SignatureScheme::Ecdsa),
    ];
    for (name, key, scheme) in &keys {
        let signer = signer(key, *scheme, folder.path(), clock)?;
        let xml = format!("<bericht>{}</bericht>", "Langlauf ".repeat(SIZE / 9));
        std::fs::write(folder.path().join("document.xml"), &xml)?;
        let padding = format!("/Padding ({})", "Langlauf ".repeat(SIZE / 9));
        let pdf = e2e::pdf::document(Layout::Table, &padding);
        std::fs::write(folder.path().join("document.pdf"), &pdf)?;
        let form = Form::Enveloped {
            place: None,
            beside_others: false,
        };
        let about = About {
            description: None,
            policy: None,
        };
        let (mut xades, mut pades) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let ours = per_second(clock, || {
                let draft = xades::sign(&xml, &form, &about, &signer)?;
                Ok(draft.sign_with(key, &[]).map(drop)?)
            })?;
            xades.push(ours / peer("signxml", "document.xml", folder.path())?);
            let ours = per_second(clock, || {
                Ok(pades::sign(&pdf, None, &signer)?.sign_with(key, &[]).map(drop)?)
            })?;
            pades.push(ours / peer("pyhanko", "document.pdf", folder.path())?);
        }
        report(
            &format!("XAdES of 10 kB / signxml, {name}"),
            spread(xades),
            "x",
            ">= 1",
        );
        report(
            &format!("PAdES of 10 kB / pyHanko, {name}"),
            spread(pades),
            "x",
            ">= 1",
        );
    }
    Ok(())
}

/// Signatures per second of a library in Python.
fn peer(library: &str, document: &str, folder: &Path) -> Result<f64> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = |path: std::path::PathBuf| path.to_str().map(str::to_owned).context("path");
    let python = text(here.join("../.venv/bin/python"))?;
    let script = text(here.join("src/peers.py"))?;
    Ok(run(folder, &python, &[&script, library, document])?
        .trim()
        .parse()?)
}

/// Through the whole Konnektor, with virtual cards whose own time is known.
pub(crate) async fn services(morning: &Morning, clock: &dyn Clock) -> Result<()> {
    let practice = &morning.world.practice;
    let pad = &morning.world.terminal;
    let office = Office {
        practice,
        user: Some(DOCTOR),
    };
    let hba = e2e::card(practice, "HBA").await?;
    let smcb = e2e::card(practice, "SMC-B").await?;

    let (mut overhead, mut share) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let mut took = Vec::new();
        for count in [SMALL, BATCH] {
            let items: Vec<Item> = (0..count)
                .map(|number| Item::text(&format!("R{number}"), &"x".repeat(SIZE)))
                .collect();
            let job = office.job().await?;
            let (started, card) = (clock.elapsed(), pad.card_time());
            let (answer, ()) = tokio::join!(office.sign(&hba, &job, &items), e2e::type_at(pad, &["123456"]));
            let answer = answer?;
            let whole = clock.elapsed() - started;
            ensure!(
                outcomes(&answer)?
                    .iter()
                    .filter(|one| one.signed.is_some())
                    .count()
                    == count,
                "{}",
                answer.body
            );
            took.push((
                whole.as_secs_f64() * 1000.0,
                (pad.card_time() - card).as_secs_f64() * 1000.0,
            ));
        }
        let [(small, small_card), (large, large_card)] = took.as_slice() else {
            continue;
        };
        let (whole, card) = (large - small, large_card - small_card);
        overhead.push((whole - card) / (BATCH - SMALL) as f64);
        share.push(whole / card);
    }
    report(
        "batch of 250: beyond the card's time, each document",
        spread(overhead),
        "ms",
        "< 2",
    );
    report("batch of 250: whole / the card's time", spread(share), "x", "-");

    let open = async || {
        connect(
            morning.world.addresses.konnektor,
            practice.identity(),
            Arc::new(|_, _| Ok(())),
        )
        .await
    };
    let mut own = [open().await?];
    let login = soap::wrap(&office.authenticate_body(&smcb, &[7; 32]));
    let text = Item::text("R", &"x".repeat(SIZE));
    let job = office.job().await?;
    let signed = outcomes(&office.sign(&smcb, &job, &[text]).await?)?;
    let signed = signed
        .into_iter()
        .find_map(|one| one.signed)
        .context("no signature")?;
    let verify = soap::wrap(&office.verify_body(None, None, Some(&signed)));
    let (mut logins, mut verifications) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let before = pad.card_time();
        let started = clock.elapsed();
        load(&mut own, "/ws/AuthSignatureService", &login, clock).await?;
        let whole = (clock.elapsed() - started).as_secs_f64();
        logins.push(whole / (pad.card_time() - before).as_secs_f64());
        let through = load(&mut own, "/ws/SignatureService", &verify, clock).await?;
        let bare = per_second(clock, || Ok(cades::verify(&signed, None, &[]).map(drop)?))?;
        verifications.push(through / bare);
    }
    report(
        "ExternalAuthenticate: whole / the card's time",
        spread(logins),
        "x",
        "-",
    );
    report(
        "VerifyDocument of 10 kB / CAdES alone",
        spread(verifications),
        "x",
        "-",
    );
    Ok(())
}
