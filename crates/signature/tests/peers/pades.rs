//! PAdES against pyHanko and qpdf.

use super::common::{Party, judge};
use super::pdf::{Layout, document};
use crypto::SignatureScheme;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use signature::{Error, Flaw, pades};
use std::io::Write;

fn sign(party: &Party, pdf: &[u8]) -> Vec<u8> {
    let draft = pades::sign(pdf, Some("Befund für Loipe"), &party.signer()).unwrap();
    draft.sign_with(&party.key, &[]).unwrap()
}

#[test]
fn pyhanko_verifies_what_we_sign() {
    for party in Party::every() {
        for layout in [Layout::Table, Layout::Streams] {
            for form in ["", "/AcroForm 6 0 R", "/AcroForm << /Fields [] >>"] {
                let pdf = document(layout, form);
                assert_eq!(pades::pdf_a_part(&pdf).unwrap(), Some(2));
                let signed = sign(&party, &pdf);
                assert!(signed.starts_with(&pdf));
                party.write("signed.pdf", &signed);
                party.run("qpdf", &["--check", "signed.pdf"]).unwrap();
                let said = judge(&party, &["pyhanko-verify", "signed.pdf", "ca.pem"]).unwrap();
                assert_eq!(said.trim(), "ENTIRE_FILE Befund für Loipe", "{layout:?} {form}");
                let findings = pades::verify(&signed, &[]).unwrap();
                assert_eq!(findings.signatures[0].outcome, Ok(()));
                assert!(findings.signatures[0].whole);
                assert_eq!(findings.signatures[0].signing_time, Some(super::common::now()));
                assert!(matches!(
                    pades::sign(&signed, None, &party.signer()),
                    Err(Error::Variant(_))
                ));
            }
        }
    }
}

#[test]
fn we_verify_what_pyhanko_signs() {
    for party in Party::every() {
        if party.scheme == SignatureScheme::RsaPkcs1 {
            continue;
        }
        for layout in [Layout::Table, Layout::Streams] {
            party.write("document.pdf", &document(layout, ""));
            judge(
                &party,
                &[
                    "pyhanko-sign",
                    "document.pdf",
                    "theirs.pdf",
                    "key.pem",
                    "cert.pem",
                    "ca.pem",
                ],
            )
            .unwrap();
            let theirs = party.read("theirs.pdf");
            let findings = pades::verify(&theirs, &[]).unwrap();
            assert_eq!(findings.signatures[0].outcome, Ok(()));
            assert!(findings.signatures[0].whole);
            // something behind the signature is not signed
            let longer = [&theirs[..], b"\n% more\n"].concat();
            assert!(!pades::verify(&longer, &[]).unwrap().signatures[0].whole);
            let mut changed = theirs.clone();
            let position = changed.windows(4).position(|bytes| bytes == b"re f").unwrap();
            changed[position + 3] = b'n';
            let findings = pades::verify(&changed, &[]).unwrap();
            assert_eq!(findings.signatures[0].outcome, Err(Flaw::Digest));
        }
    }
}

/// Documents made to take all memory or all time, and some that are merely broken.
#[test]
fn bombs_are_refused_in_bounded_memory() {
    let party = &Party::every()[0];
    let mut bombs: Vec<(&str, Vec<u8>)> = Vec::new();
    // an object stream that unpacks to far more than anybody needs
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    for _ in 0..100 {
        encoder.write_all(&[b' '; 1024 * 1024]).unwrap();
    }
    let packed = encoder.finish().unwrap();
    let mut pdf = b"%PDF-1.7\n".to_vec();
    let stream = pdf.len();
    pdf.extend(
        format!(
            "7 0 obj\n<< /Type /ObjStm /N 1 /First 4 /Filter /FlateDecode /Length {} >>\nstream\n",
            packed.len()
        )
        .bytes(),
    );
    pdf.extend(&packed);
    pdf.extend(b"\nendstream\nendobj\n");
    let start = pdf.len();
    let mut data = Vec::new();
    for row in [[2u8, 0, 0, 0, 7, 0, 0], [1, 0, 0, 0, stream as u8, 0, 0]] {
        data.extend(row);
    }
    pdf.extend(
        format!(
            "8 0 obj\n<< /Type /XRef /Size 9 /W [1 4 2] /Index [1 1 7 1] /Root 1 0 R /Length {} >>\nstream\n",
            data.len()
        )
        .bytes(),
    );
    pdf.extend(&data);
    pdf.extend(format!("\nendstream\nendobj\nstartxref\n{start}\n%%EOF\n").bytes());
    bombs.push(("object stream", pdf));
    let table = |rows: &str, trailer: &str, objects: &str| {
        let mut pdf = format!("%PDF-1.4\n{objects}").into_bytes();
        let start = pdf.len();
        pdf.extend(format!("xref\n{rows}trailer\n{trailer}\nstartxref\n{start}\n%%EOF").bytes());
        pdf
    };
    bombs.push((
        "circle of sections",
        table("0 0\n", "<< /Size 1 /Root 1 0 R /Prev 9 >>", ""),
    ));
    bombs.push(("page tree in a circle", table("1 2\n0000000009 00000 n\r\n0000000060 00000 n\r\n", "<< /Size 3 /Root 1 0 R >>",
        "1 0 obj\n<< /Type /Catalog /Pages 2 0 R >>\nendobj\n      2 0 obj\n<< /Type /Pages /Kids [2 0 R] >>\nendobj\n")));
    bombs.push((
        "deep",
        table(
            "1 1\n0000000009 00000 n\r\n",
            "<< /Size 2 /Root 1 0 R >>",
            &format!("1 0 obj\n{}", "[".repeat(1_000_000)),
        ),
    ));
    bombs.push((
        "wide",
        table(
            "1 1\n0000000009 00000 n\r\n",
            "<< /Size 2 /Root 1 0 R >>",
            &format!("1 0 obj\n[{}", "0 ".repeat(5_000_000)),
        ),
    ));
    bombs.push((
        "encrypted",
        table("0 0\n", "<< /Size 1 /Root 1 0 R /Encrypt 2 0 R >>", ""),
    ));
    bombs.push((
        "many rows",
        table("0 4294967295\n", "<< /Size 1 /Root 1 0 R >>", ""),
    ));
    bombs.push((
        "junk in front",
        [b"junk", &document(Layout::Table, "")[..]].concat(),
    ));
    bombs.push(("nothing", Vec::new()));
    bombs.push(("no PDF", b"%PDF-1.4\nhello".to_vec()));
    for (name, pdf) in bombs {
        assert!(pades::sign(&pdf, None, &party.signer()).is_err(), "{name}");
        assert!(pades::verify(&pdf, &[]).is_err(), "{name}");
    }
}

#[test]
fn every_changed_byte_is_found() {
    let party = &Party::every()[0];
    let signed = sign(party, &document(Layout::Table, ""));
    for position in (0..signed.len()).step_by(17) {
        let mut changed = signed.clone();
        changed[position] ^= 1;
        let believed = pades::verify(&changed, &[]).is_ok_and(|findings| {
            findings.signatures.iter().all(|one| {
                one.outcome == Ok(()) && one.whole && one.certificate == Some(party.certificate.clone())
            })
        });
        // in the filling behind the signature nothing is said
        let hex = signed
            .windows(11)
            .position(|bytes| bytes == b"/Contents <")
            .unwrap();
        assert!(!believed || position > hex, "{position}");
    }
}
