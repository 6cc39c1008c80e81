#![no_main]
//! PDF: signing appends and changes nothing, and what was signed verifies as whole.
use asn1::X509;
use crypto::{Curve, EcPrivate, SignatureScheme, SoftKey};
use pki::issue::{Authority, Name};
use signature::{Signer, pades};
use std::sync::LazyLock;

static SIGNER: LazyLock<(Signer, SoftKey)> = LazyLock::new(|| {
    let key = SoftKey::Ec(EcPrivate::generate(Curve::BrainpoolP256r1).expect("key"));
    let moment = |text: &str| text.parse().expect("moment");
    let (from, to) = (moment("2026-01-01T00:00:00Z"), moment("2030-01-01T00:00:00Z"));
    let own = Authority::root(Name::new("F", "Fuzz"), key.clone(), "", from, to).expect("certificate");
    let certificate = X509::parse(&own.certificate).expect("certificate");
    (Signer::new(certificate, SignatureScheme::Ecdsa, from).expect("signer"), key)
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = pades::verify(data, &[]);
    let _ = pades::pdf_a_part(data);
    let (signer, key) = &*SIGNER;
    if let Ok(draft) = pades::sign(data, Some("Grund"), signer) {
        let signed = draft.sign_with(key, &[]).expect("our own value");
        assert!(signed.starts_with(data));
        // a document whose catalog is not where its own signature says may be unreadable, but is never half signed
        if let Ok(findings) = pades::verify(&signed, &[]) {
            for finding in findings.signatures.iter().filter(|one| one.whole) {
                assert_eq!(finding.outcome, Ok(()));
            }
        }
    }
});
