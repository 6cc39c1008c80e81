//! CAdES against `openssl cms`.

use super::common::Party;
use asn1::cms::{SignedData, SignerInfo};
use asn1::tlv;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crypto::SignatureScheme;
use signature::cades::{self, Extra};
use signature::{Error, Flaw};

const DOCUMENT: &[u8] = b"Rezept: 1 x t\xC3\xA4glich Langlauf\r\n";
const VERIFY: [&str; 8] = [
    "cms", "-verify", "-binary", "-inform", "DER", "-CAfile", "ca.pem", "-purpose",
];

fn openssl_verifies(party: &Party, cms: &[u8], detached: bool) -> Result<Vec<u8>, String> {
    party.write("signed.p7", cms);
    party.write("document", DOCUMENT);
    let mut arguments = VERIFY.to_vec();
    arguments.extend(["any", "-in", "signed.p7"]);
    if detached {
        arguments.extend(["-content", "document"]);
    }
    party.run("openssl", &arguments)
}

#[test]
fn openssl_verifies_what_we_sign() {
    for party in Party::every() {
        for enveloped in [true, false] {
            let draft = cades::sign(DOCUMENT.to_vec(), enveloped, &party.signer(), Extra::default()).unwrap();
            let cms = draft.sign_with(&party.key, &[]).unwrap();
            assert_eq!(openssl_verifies(&party, &cms, !enveloped).unwrap(), DOCUMENT);
            let mut damaged = cms.clone();
            *damaged.last_mut().unwrap() ^= 1;
            openssl_verifies(&party, &damaged, !enveloped).unwrap_err();
            let given = (!enveloped).then_some(DOCUMENT);
            let findings = cades::verify(&cms, given, &[]).unwrap();
            let [finding] = &findings.signatures[..] else {
                panic!("one signature expected");
            };
            assert_eq!(finding.outcome, Ok(()));
            assert_eq!(finding.signing_time, Some(super::common::now()));
            assert_eq!(finding.certificate.as_ref(), Some(&party.certificate));
            if !enveloped {
                let findings = cades::verify(&cms, Some(b"other"), &[]).unwrap();
                assert_eq!(findings.signatures[0].outcome, Err(Flaw::Digest));
                assert!(matches!(
                    cades::verify(&cms, None, &[]),
                    Err(Error::DocumentMissing)
                ));
            }
        }
    }
}

#[test]
fn we_verify_what_openssl_signs() {
    for party in Party::every() {
        party.write("document", DOCUMENT);
        // openssl streams no DER: indefinite lengths come from the published signatures below
        for (option, attributes) in [("-cades", true), ("-noattr", false)] {
            let mut arguments = vec![
                "cms",
                "-sign",
                "-binary",
                "-nodetach",
                "-in",
                "document",
                "-signer",
                "cert.pem",
                "-inkey",
                "key.pem",
                "-outform",
                "DER",
                "-out",
                "theirs.p7",
                option,
            ];
            if party.scheme == SignatureScheme::RsaPss {
                // with the longest salt that fits, as OpenSSL likes it
                arguments.extend(["-keyopt", "rsa_padding_mode:pss"]);
            }
            party.run("openssl", &arguments).unwrap();
            let mut cms = party.read("theirs.p7");
            let findings = cades::verify(&cms, None, &[]).unwrap();
            assert_eq!(findings.signatures[0].outcome, Ok(()), "{option}");
            let position = cms.windows(6).position(|bytes| bytes == b"Rezept").unwrap();
            cms[position] ^= 1;
            let findings = cades::verify(&cms, None, &[]).unwrap();
            let expected = if attributes { Flaw::Digest } else { Flaw::Value };
            assert_eq!(findings.signatures[0].outcome, Err(expected));
        }
    }
}

#[test]
fn side_by_side_and_over_each_other() {
    let parties = Party::every();
    let (first, second) = (&parties[0], &parties[3]);
    for enveloped in [true, false] {
        let given = (!enveloped).then_some(DOCUMENT);
        let draft = cades::sign(DOCUMENT.to_vec(), enveloped, &first.signer(), Extra::default()).unwrap();
        let one = draft.sign_with(&first.key, &[]).unwrap();
        let draft = cades::sign_beside(one, given, &second.signer(), Extra::default()).unwrap();
        let two = draft.sign_with(&second.key, &[]).unwrap();
        // openssl looks at both, each with its own anchor
        let anchors = [first.read("ca.pem"), second.read("ca.pem")].concat();
        std::fs::write(first.folder().join("ca.pem"), anchors).unwrap();
        assert_eq!(openssl_verifies(first, &two, !enveloped).unwrap(), DOCUMENT);
        let draft = cades::countersign(two, &first.signer()).unwrap();
        assert_eq!(draft.messages().len(), 2);
        let all = draft.sign_with(&first.key, &[]).unwrap();
        assert_eq!(openssl_verifies(first, &all, !enveloped).unwrap(), DOCUMENT);
        let findings = cades::verify(&all, given, &[]).unwrap();
        let counters: Vec<_> = findings.signatures.iter().map(|one| one.counters).collect();
        assert_eq!(counters.iter().filter(|one| one.is_none()).count(), 2);
        assert_eq!(counters.len(), 4);
        assert!(findings.signatures.iter().all(|one| one.outcome == Ok(())));
        first.write(
            "ca.pem",
            crypto::pem::encode("CERTIFICATE", first.authority.der())
                .unwrap()
                .as_bytes(),
        );
    }
}

#[test]
fn a_wrong_value_never_leaves() {
    let parties = Party::every();
    let (one, other) = (&parties[0], &parties[1]);
    let draft = cades::sign(DOCUMENT.to_vec(), true, &one.signer(), Extra::default()).unwrap();
    assert!(matches!(
        draft.sign_with(&other.key, &[]),
        Err(Error::BrokenValue)
    ));
}

#[test]
fn every_changed_bit_is_found() {
    let party = &Party::every()[0];
    let draft = cades::sign(DOCUMENT.to_vec(), true, &party.signer(), Extra::default()).unwrap();
    let cms = draft.sign_with(&party.key, &[]).unwrap();
    let mut unnoticed = Vec::new();
    for position in 0..cms.len() * 8 {
        let mut damaged = cms.clone();
        damaged[position / 8] ^= 1 << (position % 8);
        if let Ok(findings) = cades::verify(&damaged, None, &[])
            && findings.signatures.iter().all(|one| one.outcome == Ok(()))
            && findings.signatures[0].certificate == Some(party.certificate.clone())
        {
            unnoticed.push(position / 8);
        }
    }
    unnoticed.dedup();
    // versions, hash algorithms named again outside of the signature, and the sets' own tags: nothing anybody relies on
    assert!(unnoticed.len() <= 20, "{unnoticed:?} of {}", cms.len());
}

/// What the Konnektor of another vendor signed, and what gematik published.
#[test]
fn published_signatures() {
    let samples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/samples");
    if !samples.is_dir() {
        eprintln!("skipped: ../shared is absent");
        return;
    }
    for (file, count) in [
        ("erezept-2025-01-15/02_sign_avs_response.xml", 1),
        (
            "signature-service/SignDoc_CAdES_enveloping_KIM_nonQES_resp.xml",
            1,
        ),
    ] {
        let text = std::fs::read_to_string(samples.join(file)).unwrap();
        let (_, rest) = text.split_once("Base64Signature").unwrap();
        let (base64, _) = rest.split_once('>').unwrap().1.split_once('<').unwrap();
        let compact: String = base64.split_ascii_whitespace().collect();
        let cms = STANDARD.decode(compact).unwrap();
        let findings = cades::verify(&cms, None, &[]).unwrap();
        assert_eq!(findings.signatures.len(), count, "{file}");
        for finding in &findings.signatures {
            assert_eq!(finding.outcome, Ok(()), "{file}");
            assert!(finding.signing_time.is_some());
        }
    }
}

/// A signature over signed attributes is none over a document that looks like them.
#[test]
fn attributes_are_no_document() {
    let party = &Party::every()[0];
    let draft = cades::sign(DOCUMENT.to_vec(), true, &party.signer(), Extra::default()).unwrap();
    let signed = draft.sign_with(&party.key, &[]).unwrap();
    let mut data = SignedData::parse(&signed).unwrap();
    let raw = data.signers[0].to_vec();
    let (attributes, info) = (
        SignerInfo::parse(&raw).unwrap().to_be_verified().unwrap(),
        tlv::read(&raw).unwrap().0,
    );
    let bare = tlv::read_all(info.value).unwrap().into_iter();
    let bare = bare.filter(|field| field.tag != 0xA0).map(|field| field.raw);
    data.signers = vec![tlv::nest(0x30, bare).into()];
    data.content = Some(&attributes);
    let forged = data.to_der().unwrap();
    let finding = &cades::verify(&forged, None, &[]).unwrap().signatures[0];
    assert_eq!(finding.outcome, Err(Flaw::Attributes));
}
