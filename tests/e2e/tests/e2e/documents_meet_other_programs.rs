//! Documents in every format, through the official WSDLs: other people's programs verify and open what the Konnektor makes,
//! and the Konnektor what they make.

use crate::an_unchanged_practice_system::{Table, practice_with, run};
use asn1::{Admission, oid};
use crypto::{Curve, EcPrivate, Key, RsaPrivate, SoftKey, pem};
use e2e::Morning;
use e2e::pdf::{Layout, document};
use pki::issue::{Authority, Name, Profile, Request, profile};
use std::path::Path;

/// A certificate of the TI for a key in files.
fn office(morning: &Morning, ca: &Authority, name: &str, profile: &Profile, key: SoftKey) -> asn1::X509 {
    let pki = &morning.world.pki;
    let der = ca.issue(&Request {
        profile,
        subject: Name::new("Praxis Spur TEST-ONLY", name),
        key: key.public(),
        admission: Some(Admission {
            items: vec!["Betriebsstätte Arzt".into()],
            oids: vec![oid::INSTITUTION_PRAXIS_ARZT],
            registration: Some("1-2OFFICE".into()),
        }),
        dns: &[],
        addresses: &[],
        from: pki.validity.0,
        to: pki.validity.1,
    });
    let der = der.unwrap();
    let write = |suffix: &str, label: &str, bytes: &[u8]| {
        let path = morning.folder.path().join(format!("{name}.{suffix}"));
        std::fs::write(path, pem::encode(label, bytes).unwrap().as_bytes()).unwrap();
    };
    write("crt", "CERTIFICATE", &der);
    write("key", "PRIVATE KEY", &key.to_pkcs8().unwrap());
    morning.world.ledger.register(&der);
    asn1::X509::parse(&der).unwrap()
}

/// Every format both ways; what was refused. The test that calls it also writes down what it says.
pub async fn every_format_both_ways() -> Table {
    let Some((morning, schemas)) = practice_with(|options| options.rsa = true).await else {
        return Table::new();
    };
    let pki = &morning.world.pki;
    let folder = morning.folder.path();
    let brainpool = || SoftKey::Ec(EcPrivate::generate(Curve::BrainpoolP256r1).unwrap());
    office(
        &morning,
        &pki.smcb_ca,
        "office",
        &profile::SMC_B_OSIG,
        brainpool(),
    );
    office(
        &morning,
        &pki.smcb_ca,
        "office-enc",
        &profile::SMC_B_ENC,
        brainpool(),
    );
    let rsa = SoftKey::Rsa(RsaPrivate::generate(2048).unwrap());
    office(&morning, &pki.smcb_ca, "office-rsa", &profile::SMC_B_ENC, rsa);
    for (name, profile) in [
        ("revoked", &profile::SMC_B_OSIG),
        ("revoked-enc", &profile::SMC_B_ENC),
    ] {
        let certificate = office(&morning, &pki.smcb_ca, name, profile, brainpool());
        morning.world.ledger.revoke(certificate.der());
    }
    let authority = |ca: &Authority| pem::encode("CERTIFICATE", &ca.certificate).unwrap();
    let (smcb, qes) = (authority(&pki.smcb_ca), authority(&pki.qes_ca));
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    for (name, certificate, ca) in [("smcb-ca", &smcb, &pki.smcb_ca), ("qes-ca", &qes, &pki.qes_ca)] {
        write(&format!("{name}.pem"), certificate);
        let key = pem::encode("PRIVATE KEY", &ca.key().to_pkcs8().unwrap()).unwrap();
        write(&format!("{name}.key"), &key);
    }
    write("signers.pem", &[smcb.as_str(), qes.as_str()].concat());
    std::fs::write(folder.join("document.pdf"), document(Layout::Streams, "")).unwrap();
    run("documents.py", &morning, Path::new(&schemas)).await
}
