//! PAdES against pyHanko and qpdf.

use super::common::{Party, judge};
use crypto::SignatureScheme;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use signature::{Error, Flaw, pades};
use std::io::Write;

/// How a document's objects are laid out.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Layout {
    /// A table of cross references, as PDF 1.4 has it.
    Table,
    /// A stream of them, with the objects in packed streams.
    Streams,
}

const XMP: &str = "<?xpacket begin='' id='W5M0MpCehiHzreSzNTczkc9d'?><x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF \
    xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'><rdf:Description rdf:about='' \
    xmlns:pdfaid='http://www.aiim.org/pdfa/ns/id/' pdfaid:part='2' pdfaid:conformance='B'/></rdf:RDF></x:xmpmeta>\
    <?xpacket end='w'?>";

/// A page with a rectangle; `form` is what stands in the catalog besides.
fn document(layout: Layout, form: &str) -> Vec<u8> {
    let content = "0 0 100 100 re f";
    let objects = [
        (
            1,
            format!("<< /Type /Catalog /Pages 2 0 R /Metadata 5 0 R {form} >>"),
        ),
        (2, "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".into()),
        (
            3,
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources << >> /Contents 4 0 R >>".into(),
        ),
        (6, "<< /Fields [] >>".into()),
    ];
    let streams = [
        (
            4,
            format!("<< /Length {} >>\nstream\n{content}\nendstream", content.len()),
        ),
        (
            5,
            format!(
                "<< /Type /Metadata /Subtype /XML /Length {} >>\nstream\n{XMP}\nendstream",
                XMP.len()
            ),
        ),
    ];
    let mut out = b"%PDF-1.7\n%\xE2\xE3\xCF\xD3\n".to_vec();
    let mut rows = vec![[0u32, 0, 65_535]; 9];
    let put = |out: &mut Vec<u8>, rows: &mut Vec<[u32; 3]>, number: usize, text: &[u8]| {
        rows[number] = [1, out.len() as u32, 0];
        out.extend(format!("{number} 0 obj\n").bytes());
        out.extend(text);
        out.extend(b"\nendobj\n");
    };
    for (number, text) in &streams {
        put(&mut out, &mut rows, *number, text.as_bytes());
    }
    let pack = |bytes: &[u8]| {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    if layout == Layout::Table {
        for (number, text) in &objects {
            put(&mut out, &mut rows, *number, text.as_bytes());
        }
        let start = out.len();
        out.extend(b"xref\n0 7\n");
        for [kind, offset, generation] in &rows[..7] {
            let kind = if *kind == 0 { 'f' } else { 'n' };
            out.extend(format!("{offset:010} {generation:05} {kind}\r\n").bytes());
        }
        let id = "<00112233445566778899AABBCCDDEEFF>";
        out.extend(
            format!("trailer\n<< /Size 7 /Root 1 0 R /ID [{id} {id}] >>\nstartxref\n{start}\n%%EOF").bytes(),
        );
        return out;
    }
    let (mut head, mut body) = (String::new(), String::new());
    for (index, (number, text)) in objects.iter().enumerate() {
        head += &format!("{number} {} ", body.len());
        body += &format!("{text}\n");
        rows[*number] = [2, 7, index as u32];
    }
    let packed = pack(format!("{head}{body}").as_bytes());
    let dict = format!(
        "<< /Type /ObjStm /N {} /First {} /Filter /FlateDecode /Length {} >>\nstream\n",
        objects.len(),
        head.len(),
        packed.len()
    );
    put(
        &mut out,
        &mut rows,
        7,
        &[dict.as_bytes(), &packed, b"\nendstream"].concat(),
    );
    let start = out.len();
    rows[8] = [1, start as u32, 0];
    // with the "up" predictor, as most writers have it
    let (mut data, mut above) = (Vec::new(), [0u8; 7]);
    for [kind, second, third] in &rows {
        let mut row = vec![*kind as u8];
        row.extend(second.to_be_bytes());
        row.extend((*third as u16).to_be_bytes());
        data.push(2);
        data.extend(row.iter().zip(above).map(|(byte, up)| byte.wrapping_sub(up)));
        above = row.try_into().unwrap();
    }
    let packed = pack(&data);
    let dict = format!(
        "8 0 obj\n<< /Type /XRef /Size 9 /W [1 4 2] /Root 1 0 R /Filter /FlateDecode /DecodeParms << /Predictor 12 /Columns 7 >> \
         /Length {} >>\nstream\n",
        packed.len()
    );
    out.extend(dict.bytes());
    out.extend(packed);
    out.extend(format!("\nendstream\nendobj\nstartxref\n{start}\n%%EOF\n").bytes());
    out
}

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
