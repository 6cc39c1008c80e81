//! The lists gematik publishes, if somebody has put some into the folder that LANGLAUF_TSLS names. They are signed,
//! renewed every two weeks, and not ours to commit.
#![allow(clippy::unwrap_used, clippy::panic)]

use asn1::X509;
use pki::tsl::Tsl;
use std::path::Path;

/// Every `*.xml` verifies up to the TSL signer CA that it lists itself, on the day it was made, with its detached
/// signature if there is one beside it, and nothing in it is left out but what we cannot know.
#[test]
fn published_lists_verify() {
    let Some(folder) = std::env::var_os("LANGLAUF_TSLS") else {
        eprintln!("skipped: LANGLAUF_TSLS names no folder with published trust lists");
        return;
    };
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "xml") {
            check(&path);
            seen += 1;
        }
    }
    assert!(seen > 0);
}

fn check(path: &Path) {
    let xml = std::fs::read_to_string(path).unwrap();
    let list = Tsl::read(&xml).unwrap();
    let anchors: Vec<&X509> = list
        .cas
        .iter()
        .map(|ca| &ca.certificate)
        .filter(|ca| ca.subject().contains("TSL-Signer-CA"))
        .collect();
    let verified = Tsl::verify(&xml, &anchors, list.issued);
    let verified = verified.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let list = verified.list;
    let detached = path.with_extension("sig");
    if let Ok(signature) = std::fs::read(&detached) {
        pki::detached::verify(xml.as_bytes(), &signature, &anchors, list.issued).unwrap();
    }
    println!(
        "{}: {} {} CAs {} responders {} CRL signers {} CVCs {:?} DNSSEC, VL {}, skipped {:?}",
        path.display(),
        list.sequence,
        list.cas.len(),
        list.responders.len(),
        list.crl_signers.len(),
        list.cvcs.len(),
        list.dnssec,
        list.vl.is_some(),
        list.skipped
    );
    assert!(list.cas.len() > 50 && list.responders.len() > 50 && !list.dnssec.is_empty());
    assert!(list.skipped.is_empty());
}
