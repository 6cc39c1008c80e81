//! XAdES against xmlsec1, libxmlsec and signxml.

use super::common::{Party, judge, now};
use crypto::SignatureScheme;
use signature::xades::{self, About, Form, Place, Policy};
use signature::{Error, Flaw};

const XML: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<?keep this?>\n<r:rezept xmlns:r=\"urn:rezept\" xmlns=\"urn:x\" \
    r:b='2' a=\"1\">\r\n  <mittel>1 &amp; 2 ä</mittel><!-- Kommentar --><leer/>\n</r:rezept>\n";

fn about() -> About {
    About {
        description: Some("Rezept <1> für Loipe".into()),
        policy: None,
    }
}

fn enveloped(beside_others: bool) -> Form {
    Form::Enveloped {
        place: None,
        beside_others,
    }
}

fn sign(party: &Party, xml: &str, form: &Form) -> String {
    let draft = xades::sign(xml, form, &about(), &party.signer()).unwrap();
    String::from_utf8(draft.sign_with(&party.key, &[]).unwrap()).unwrap()
}

fn forms() -> [Form; 3] {
    [
        enveloped(false),
        enveloped(true),
        Form::Enveloping { object: None },
    ]
}

#[test]
fn others_verify_what_we_sign() {
    for party in Party::every() {
        for form in forms() {
            let signed = sign(&party, XML, &form);
            party.write("signed.xml", signed.as_bytes());
            assert_eq!(
                judge(&party, &["xmlsec-verify", "signed.xml", "cert.pem"])
                    .unwrap()
                    .trim(),
                "1"
            );
            // signxml does not look at processing instructions around the root
            let without = sign(&party, &XML.replace("<?keep this?>\n", ""), &form);
            party.write("without.xml", without.as_bytes());
            judge(&party, &["signxml-verify", "without.xml", "cert.pem", "2"]).unwrap();
            // Debian's xmlsec1 knows no RSA-PSS
            if party.scheme != SignatureScheme::RsaPss {
                let mut arguments = vec![
                    "--verify",
                    "--trusted-pem",
                    "ca.pem",
                    "--enabled-key-data",
                    "x509",
                ];
                for name in [
                    "http://uri.etsi.org/01903/v1.3.2#:SignedProperties",
                    "http://www.w3.org/2000/09/xmldsig#:Object",
                ] {
                    arguments.extend(["--id-attr:Id", name]);
                }
                arguments.push("signed.xml");
                party.run("xmlsec1", &arguments).unwrap();
            }
            let findings = xades::verify(&signed, &[]).unwrap();
            let [finding] = &findings.signatures[..] else {
                panic!("one signature expected");
            };
            assert_eq!(finding.outcome, Ok(()), "{form:?}");
            assert!(finding.whole);
            assert_eq!(finding.signing_time, Some(now()));
            assert_eq!(finding.certificate.as_ref(), Some(&party.certificate));
            for (from, to) in [("1 &amp; 2", "1 &amp; 3"), ("2026-11-25T", "2026-11-24T")] {
                let changed = signed.replacen(from, to, 1);
                assert_ne!(changed, signed);
                let findings = xades::verify(&changed, &[]).unwrap();
                assert_eq!(findings.signatures[0].outcome, Err(Flaw::Digest), "{form:?} {to}");
                party.write("signed.xml", changed.as_bytes());
                judge(&party, &["xmlsec-verify", "signed.xml", "cert.pem"]).unwrap_err();
            }
        }
    }
}

#[test]
fn we_verify_what_signxml_signs() {
    for party in Party::every() {
        if party.scheme == SignatureScheme::RsaPkcs1 {
            continue;
        }
        party.write("document.xml", XML.as_bytes());
        judge(
            &party,
            &[
                "signxml-sign",
                "document.xml",
                "theirs.xml",
                "key.pem",
                "cert.pem",
            ],
        )
        .unwrap();
        let theirs = String::from_utf8(party.read("theirs.xml")).unwrap();
        let findings = xades::verify(&theirs, &[]).unwrap();
        assert_eq!(findings.signatures[0].outcome, Ok(()));
        assert!(findings.signatures[0].whole);
        let findings = xades::verify(&theirs.replace("1 &amp; 2", "1 &amp; 3"), &[]).unwrap();
        assert_eq!(findings.signatures[0].outcome, Err(Flaw::Digest));
    }
}

#[test]
fn side_by_side_and_over_each_other() {
    let parties = Party::every();
    let party = &parties[0];
    let one = sign(party, XML, &enveloped(true));
    let two = sign(party, &one, &enveloped(true));
    let draft = xades::countersign(&two, &about(), &party.signer()).unwrap();
    assert_eq!(draft.messages().len(), 2);
    let all = String::from_utf8(draft.sign_with(&party.key, &[]).unwrap()).unwrap();
    party.write("signed.xml", all.as_bytes());
    assert_eq!(
        judge(party, &["xmlsec-verify", "signed.xml", "cert.pem"])
            .unwrap()
            .trim(),
        "4"
    );
    let findings = xades::verify(&all, &[]).unwrap();
    assert!(
        findings.signatures.iter().all(|one| one.outcome == Ok(())),
        "{findings:?}"
    );
    let counters: Vec<_> = findings.signatures.iter().map(|one| one.counters).collect();
    assert_eq!(counters, [None, Some(0), None, Some(2)]);
    // a signature that leaves out only itself cannot have another beside it
    let alone = sign(party, XML, &enveloped(false));
    for form in [enveloped(true), enveloped(false)] {
        let refused = xades::sign(&alone, &form, &about(), &party.signer());
        assert!(matches!(refused, Err(Error::Variant(_))));
    }
}

#[test]
fn under_a_policy_beside_what_is_signed() {
    let party = &Party::every()[0];
    let xml = "<n:NFD_Document xmlns:n='urn:n'><n:Notfalldaten ID='N1'><n:d>0</n:d></n:Notfalldaten><n:SignatureArzt/>\
        </n:NFD_Document>";
    let form = Form::Detached {
        place: Place::FirstChildOf("/*[local-name()='NFD_Document']/*[local-name()='SignatureArzt']".into()),
        id: "N1".into(),
    };
    let about = About {
        policy: Some(Policy {
            uri: "urn:gematik:fa:sak:nfdm:r1:v1".into(),
            schemas: vec![("urn:gematik:fa:sak:nfdm:r1:v1:NFD_Document.xsd".into(), [7; 32])],
        }),
        ..about()
    };
    let draft = xades::sign(xml, &form, &about, &party.signer()).unwrap();
    let signed = String::from_utf8(draft.sign_with(&party.key, &[vec![0x30, 0]]).unwrap()).unwrap();
    party.write("signed.xml", signed.as_bytes());
    let mut arguments = vec![
        "--verify",
        "--trusted-pem",
        "ca.pem",
        "--enabled-key-data",
        "x509",
        "--ignore-manifests",
    ];
    for name in [
        "http://uri.etsi.org/01903/v1.3.2#:SignedProperties",
        "http://www.w3.org/2000/09/xmldsig#:Manifest",
    ] {
        arguments.extend(["--id-attr:Id", name]);
    }
    arguments.extend(["--id-attr:ID", "urn:n:Notfalldaten", "signed.xml"]);
    party.run("xmlsec1", &arguments).unwrap();
    let findings = xades::verify(&signed, &[]).unwrap();
    assert_eq!(findings.signatures[0].outcome, Ok(()));
    assert!(!findings.signatures[0].whole);
    assert_eq!(
        findings.signatures[0].policy.as_deref(),
        Some("urn:gematik:fa:sak:nfdm:r1:v1")
    );
    assert_eq!(findings.ocsp, [vec![0x30, 0]]);
}

/// Signature wrapping, in the ways that have worked elsewhere.
#[test]
fn wrapped_documents_are_not_believed() {
    let party = &Party::every()[0];
    let xml = "<a ID='doc'><b>gut</b></a>";
    let signed = sign(party, xml, &enveloped(false));
    let evil = signed.replace("gut", "schlecht");
    let inner = &signed;
    // the signed element moved elsewhere, another one with the same id in its place
    for wrapped in [
        format!("<a ID='doc'><b>schlecht</b>{inner}</a>"),
        format!("<a ID='other'><b>schlecht</b>{inner}</a>"),
        format!("<x>{inner}{evil}</x>"),
    ] {
        let believed = xades::verify(&wrapped, &[]).is_ok_and(|findings| {
            findings
                .signatures
                .iter()
                .all(|one| one.outcome == Ok(()) && one.whole)
        });
        assert!(!believed, "{wrapped}");
    }
    let xpath = signed.replace(
        "http://www.w3.org/2006/12/xml-c14n11\"/></ds:Transforms>",
        "http://www.w3.org/TR/1999/REC-xpath-19991116\"/></ds:Transforms>",
    );
    assert!(matches!(xades::verify(&xpath, &[]), Err(Error::Forbidden(_))));
}

/// What anybody can write into a signature without breaking it says nothing about it.
#[test]
fn nothing_counts_that_is_not_signed() {
    let party = &Party::every()[0];
    let stowaway = "<ds:Object xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\"><q:QualifyingProperties \
        xmlns:q=\"http://uri.etsi.org/01903/v1.3.2#\"><q:SigningTime>2001-01-01T00:00:00Z</q:SigningTime><q:SigPolicyId>\
        <q:Identifier>urn:gematik:fa:sak:nfdm:r1:v1</q:Identifier></q:SigPolicyId></q:QualifyingProperties></ds:Object>";
    let signed = sign(party, XML, &enveloped(false));
    let (before, after) = signed.split_once("</ds:KeyInfo>").unwrap();
    let changed = format!("{before}</ds:KeyInfo>{stowaway}{after}");
    let finding = &xades::verify(&changed, &[]).unwrap().signatures[0];
    assert_eq!(finding.outcome, Ok(()));
    assert_eq!((finding.signing_time, &finding.policy), (Some(now()), &None));
    // properties in front of the signed ones are taken for them, and then it is broken
    let twice = stowaway.replace("QualifyingProperties", "SignedProperties");
    let changed = format!("{before}</ds:KeyInfo>{twice}{after}");
    let finding = &xades::verify(&changed, &[]).unwrap().signatures[0];
    assert_eq!(finding.outcome, Err(Flaw::Reference));
    // a second document beside the signed one
    let signed = sign(party, XML, &Form::Enveloping { object: None });
    assert!(xades::verify(&signed, &[]).unwrap().signatures[0].whole);
    let (before, after) = signed.split_once("</ds:KeyInfo>").unwrap();
    let second = "<ds:Object xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\"><rezept/></ds:Object>";
    let changed = format!("{before}</ds:KeyInfo>{second}{after}");
    let finding = &xades::verify(&changed, &[]).unwrap().signatures[0];
    assert_eq!((finding.outcome, finding.whole), (Ok(()), false));
}
