//! gematik's published PKI test data (`../shared/pki-testdata`): each broken variant must fail for the reason that its
//! name says. The keys beside the certificates sign lists and status answers here, so that those fail for real.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use asn1::{X509, oid};
use base::Timestamp;
use crypto::SoftKey;
use pki::status::{self, Rules, Statement, Status};
use pki::tsl::{Contents, Edition, SignerError, Tsl, TslError};
use pki::{CheckError, Purpose, Responders, Trust};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

fn folder() -> Option<PathBuf> {
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/pki-testdata");
    let folder = base.join("testDataTemplates/certificates/ecc");
    if !folder.exists() {
        eprintln!("skipped: ../shared/pki-testdata is absent");
        return None;
    }
    Some(folder)
}

/// Certificate and key of a PKCS#12 file.
fn open(path: &Path) -> (X509, SoftKey) {
    let pem = |options: &[&str]| {
        let mut command = Command::new("openssl");
        command
            .args(["pkcs12", "-passin", "pass:00", "-in"])
            .arg(path)
            .args(options);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}: {output:?}", path.display());
        String::from_utf8(output.stdout).unwrap()
    };
    let certificate = pem(&["-nokeys", "-clcerts"]);
    let certificate = crypto::pem::decode_all("CERTIFICATE", &certificate).unwrap();
    let key = pem(&["-nocerts", "-noenc"]);
    let key = crypto::pem::decode_all("PRIVATE KEY", &key).unwrap();
    (
        X509::parse(&certificate[0]).unwrap(),
        SoftKey::from_pkcs8(&key[0]).unwrap(),
    )
}

fn read_pem(path: &Path) -> X509 {
    let text = std::fs::read_to_string(path).unwrap();
    X509::parse(&crypto::pem::decode_all("CERTIFICATE", &text).unwrap()[0]).unwrap()
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn now() -> Timestamp {
    time("2026-01-15T12:00:00Z")
}

/// A list with every CA of the trust store and the OCSP signer that is meant to be in it, read without its signature.
fn trust(folder: &Path) -> Trust {
    let mut contents = Contents {
        location: "http://langlauf.invalid/TSL.xml".into(),
        ..Contents::default()
    };
    for entry in std::fs::read_dir(folder.join("trustStore")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let types = match name.get(..7).unwrap() {
            "GEM.EGK" => vec![oid::EGK_AUT, oid::EGK_ENC],
            "GEM.KOM" => vec![oid::NK_VPN, oid::SMKT_AUT],
            "GEM.SMC" => vec![oid::SMC_B_AUT],
            _ => continue,
        };
        contents.cas.push((read_pem(&path).der().to_vec(), types));
    }
    let (signer, _) = open(&folder.join("ocspKeystore/pkits_OCSP_Signer_57_ecc_TEST-ONLY.p12"));
    contents.responders.push(signer.der().to_vec());
    let (signer, key) = open(&folder.join("trustAnchor/TSL-Signing-Unit-51-TEST-ONLY.p12"));
    let xml = pki::tsl::write(&contents, &edition(), signer.der(), &key).unwrap();
    let list = Tsl::read(&xml).unwrap();
    assert!(list.skipped.is_empty(), "{:?}", list.skipped);
    Trust::new(Arc::new(list), Duration::ZERO, Arc::new(Responders::default()))
}

fn edition() -> Edition {
    Edition {
        sequence: 10_001,
        issued: now(),
        next_update: time("2026-02-14T12:00:00Z"),
    }
}

#[test]
fn certificates_of_cards_and_konnektors() {
    let Some(folder) = folder() else { return };
    let trust = trust(&folder);
    let konnektor = Purpose {
        types: &[oid::NK_VPN],
        roles: &[oid::ROLE_NK],
        usage: Some(pki::Use::Authenticate),
        extended: Some(oid::KP_CLIENT_AUTH),
        ..Purpose::EGK_OFFLINE
    };
    let check = |path: &str| {
        let (certificate, _) = open(&folder.join(path));
        let purpose = if path.starts_with("egk") {
            &Purpose::EGK_OFFLINE
        } else {
            &konnektor
        };
        trust.check_offline(&certificate, purpose, now()).map(|_| ())
    };
    for good in [
        "egkClient/valid/ee_default.p12",
        "egkClient/valid/ee_max_commonName.p12",
        "egkClient/valid-alternative/ee_alternative-ca.p12",
        "netzkonnektorClient/valid/ee_default.p12",
        // the words beside a role are not judged, its identifier is
        "netzkonnektorClient/valid/ee_invalid-profession-item.p12",
        "netzkonnektorClient/valid-alternative/ee_alternative-ca.p12",
    ] {
        assert_eq!(check(good), Ok(()), "{good}");
    }
    for (bad, reason) in [
        ("egkClient/invalid/ee_expired.p12", CheckError::Time),
        ("egkClient/invalid/ee_not-yet-valid.p12", CheckError::Time),
        (
            "egkClient/invalid/ee_invalid-signature.p12",
            CheckError::Signature,
        ),
        (
            "egkClient/invalid/ee_invalid-certificate-type.p12",
            CheckError::Type,
        ),
        ("netzkonnektorClient/invald/ee_expired.p12", CheckError::Time),
        (
            "netzkonnektorClient/invald/ee_not-yet-valid.p12",
            CheckError::Time,
        ),
        (
            "netzkonnektorClient/invald/ee_invalid-signature.p12",
            CheckError::Signature,
        ),
        (
            "netzkonnektorClient/invald/ee_invalid-certificate-type.p12",
            CheckError::Type,
        ),
        (
            "netzkonnektorClient/invald/ee_invalid-profession-oid.p12",
            CheckError::Role,
        ),
    ] {
        assert_eq!(check(bad), Err(reason), "{bad}");
    }
    let selfsigned = check("netzkonnektorClient/invald/ee_selfsigned.p12");
    assert!(matches!(selfsigned, Err(CheckError::Issuer(_))), "{selfsigned:?}");
}

#[test]
fn signers_of_trust_lists() {
    let Some(folder) = folder() else { return };
    let folder = folder.join("trustAnchor");
    let verify = |signer: &str, anchor: &str| {
        let (certificate, key) = open(&folder.join(signer));
        let anchor = read_pem(&folder.join(anchor));
        let contents = Contents::default();
        let xml = pki::tsl::write(&contents, &edition(), certificate.der(), &key).unwrap();
        let file = pki::detached::sign(xml.as_bytes(), certificate.der(), &key).unwrap();
        let detached = pki::detached::verify(xml.as_bytes(), &file, &[&anchor], now());
        let enveloped = Tsl::verify(&xml, &[&anchor], now()).map(|_| ());
        match (enveloped, detached) {
            (Ok(()), Ok(())) => Ok(()),
            (Err(TslError::Signer(one)), Err(TslError::Signer(other))) if one == other => Err(one),
            other => panic!("{signer}: {other:?}"),
        }
    };
    const ANCHOR: &str = "GEM.TSL-CA51-TEST-ONLY.pem";
    for number in [51, 52, 53] {
        let signer = format!("TSL-Signing-Unit-{number}-TEST-ONLY.p12");
        assert_eq!(
            verify(&signer, &format!("GEM.TSL-CA{number}-TEST-ONLY.pem")),
            Ok(())
        );
    }
    for (signer, anchor, reason) in [
        ("ee_expired.p12", ANCHOR, SignerError::Time),
        ("ee_not-yet-valid.p12", ANCHOR, SignerError::Time),
        ("ee_invalid-keyusage.p12", ANCHOR, SignerError::KeyUsage),
        (
            "ee_invalid-ext-keyusage.p12",
            ANCHOR,
            SignerError::ExtendedKeyUsage,
        ),
        ("ee_invalid-signature.p12", ANCHOR, SignerError::Signature),
        (
            "valid_tsl_signer_from_expired_ta.p12",
            "GEM.TSL-CA54-TEST-ONLY_expired.pem",
            SignerError::AnchorTime,
        ),
        (
            "valid_tsl_signer_from_not-yet-valid_ta.p12",
            "GEM.TSL-CA55-TEST-ONLY_not-yet-valid.pem",
            SignerError::AnchorTime,
        ),
        ("TSL-Signing-Unit-52-TEST-ONLY.p12", ANCHOR, SignerError::Chain),
    ] {
        assert_eq!(verify(signer, anchor), Err(reason), "{signer}");
    }
}

#[test]
fn signers_of_status_answers() {
    let Some(folder) = folder() else { return };
    let trust = trust(&folder);
    let (certificate, _) = open(&folder.join("egkClient/valid/ee_default.p12"));
    let issuer = read_pem(&folder.join("trustStore/GEM.EGK-CA52_TEST-ONLY.pem"));
    let judge = |keystore: &str| {
        let (signer, key) = open(&folder.join("ocspKeystore").join(keystore));
        let statement = Statement {
            cert_id: status::cert_id(&certificate, &issuer).unwrap(),
            status: Status::Good,
            certificate: Some(certificate.der().to_vec()),
        };
        let answer = status::answer(vec![statement], None, now(), &signer, &key).unwrap();
        let rules = Rules {
            trusted: &|signer| trust.list().responders.contains(signer),
            nonce: None,
            now: now(),
            max_age: Duration::ZERO,
            need_hash: true,
        };
        status::judge(&answer, &certificate, &issuer, &rules).map(|judged| judged.status)
    };
    assert_eq!(judge("pkits_OCSP_Signer_57_ecc_TEST-ONLY.p12"), Ok(Status::Good));
    assert_eq!(judge("ee_not-in-tsl.p12"), Err(status::StatusError::Signer));
    // same name, another key: so another certificate than the one in the list
    assert_eq!(judge("ee_different-key.p12"), Err(status::StatusError::Signer));
}

/// The complete list of gematik's test suite: everything in it is read, and its signature holds up to its anchor.
#[test]
fn the_list_of_the_test_suite() {
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/pki-testdata");
    let path = base.join("pkits-tsl-provider/src/test/resources/TSL_default.xml");
    let Ok(xml) = std::fs::read_to_string(&path) else {
        eprintln!("skipped: ../shared/pki-testdata is absent");
        return;
    };
    let list = Tsl::read(&xml).unwrap();
    assert_eq!(
        (list.sequence, list.vl.is_some(), list.crl_signers.len()),
        (1, true, 4)
    );
    assert_eq!(list.dnssec.len(), 1);
    assert!(list.cas.len() > 100 && list.responders.len() > 70 && list.cvcs.len() == 16);
    // curves and key types nobody uses here may be left out, but not many
    assert!(list.skipped.len() < 5, "{:?}", list.skipped);
    let ended = list
        .cas
        .iter()
        .filter(|ca| matches!(ca.status, pki::tsl::ServiceStatus::Revoked(_)));
    assert!(ended.count() <= 2);
}
