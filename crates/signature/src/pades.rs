//! PAdES (ETSI EN 319 142-1, baseline B): a signature in a PDF document, appended without touching what is there. One
//! signature a document: what a second one may change in between would have to be judged page by page.

use crate::pdf::{Dict, File, Object, Parser, Update, text_string};
use crate::{Draft, Error, Finding, Findings, Signer, cades};
use asn1::X509;
use asn1::cms::SignedData;
use base::Timestamp;
use std::collections::HashSet;

/// Room for the signature in bytes: certificate, attributes, signature value.
const ROOM: usize = 12 * 1024;
/// Deepest tree of form fields, and most fields looked at.
const FIELDS: (usize, usize) = (16, 2_000);
/// Place of the byte range's numbers, written over when they are known.
const RANGE: &[u8] = b"[0 9999999999 9999999999 9999999999]";

/// Does the document say that it is PDF/A, and which part?
pub fn pdf_a_part(pdf: &[u8]) -> Result<Option<u8>, Error> {
    let file = File::open(pdf)?;
    let (_, catalog) = file.catalog()?;
    let Some(metadata) = file.stream(catalog.get("Metadata"))? else {
        return Ok(None);
    };
    // attribute or element: pdfaid:part="2", <pdfaid:part>2<
    let text = String::from_utf8_lossy(&metadata);
    let Some((_, after)) = text.split_once("pdfaid:part") else {
        return Ok(None);
    };
    let digit = after
        .trim_start_matches(|c: char| c.is_whitespace() || "=>\"'".contains(c))
        .chars()
        .next();
    Ok(digit.and_then(|digit| digit.to_digit(10)?.try_into().ok()))
}

/// A signature over a whole PDF document; `reason` is shown by viewers.
pub fn sign(pdf: &[u8], reason: Option<&str>, signer: &Signer) -> Result<Draft, Error> {
    let file = File::open(pdf)?;
    if !fields(&file)?.is_empty() {
        return Err(Error::Variant(
            "the PDF document is signed already, and takes no second signature",
        ));
    }
    let mut update = Update::of(&file)?;
    let (signature, widget) = (update.number(), update.number());
    update.put(signature, signature_dictionary(reason, signer.at));
    let (page_number, page) = file.first_page()?;
    update.put_object(widget, &Object::Dict(widget_dictionary(signature, page_number)))?;
    let own = Object::Reference(widget, 0);
    append(&file, &mut update, (page_number, page), "Annots", own.clone())?;
    into_form(&file, &mut update, own)?;
    let (mut out, texts) = update.finish();
    // whatever the document made of it: a signature that readers would not find is none
    if fields(&File::open(&out)?)?.len() != 1 {
        return Err(Error::Format("PDF: takes no signature".into()));
    }
    let text = texts.get(&signature).copied().unwrap_or_default();
    let inside = |needle: &[u8]| {
        let bytes = out.get(text..).unwrap_or_default();
        let found = bytes.windows(needle.len()).position(|window| window == needle);
        found
            .map(|found| text + found)
            .ok_or_else(|| Error::Format("PDF: signature".into()))
    };
    let (range, contents) = (inside(RANGE)?, inside(b"/Contents <")? + b"/Contents ".len());
    // the gap is the hexadecimal string with its brackets
    let end = contents + 2 * ROOM + 2;
    let mut numbers = format!("[0 {contents} {end} {}", out.len() - end).into_bytes();
    numbers.resize(RANGE.len() - 1, b' ');
    numbers.push(b']');
    if let Some(place) = out.get_mut(range..range + RANGE.len()) {
        place.copy_from_slice(&numbers);
    }
    let parts = [out.get(..contents), out.get(end..)];
    let digest = crypto::sha256(parts.into_iter().flatten());
    let (message, finish) = cades::detached_over(&digest, signer)?;
    Ok(Draft::new(signer, vec![message], move |values, _| {
        let cms = finish(values)?;
        if cms.len() > ROOM {
            return Err(Error::NoRoom);
        }
        let hex: Vec<u8> = cms
            .iter()
            .flat_map(|byte| format!("{byte:02X}").into_bytes())
            .collect();
        let place = out.get_mut(contents + 1..contents + 1 + hex.len());
        place.ok_or(Error::NoRoom)?.copy_from_slice(&hex);
        Ok(out)
    }))
}

fn signature_dictionary(reason: Option<&str>, at: Timestamp) -> Vec<u8> {
    let mut out =
        b"<<\n/Type /Sig\n/Filter /Adobe.PPKLite\n/SubFilter /ETSI.CAdES.detached\n/ByteRange ".to_vec();
    out.extend(RANGE);
    out.extend(b"\n/Contents <");
    out.resize(out.len() + 2 * ROOM, b'0');
    out.extend(b">\n/M ");
    text_string(&at.strftime("D:%Y%m%d%H%M%SZ").to_string()).write(&mut out);
    if let Some(reason) = reason {
        out.extend(b"\n/Reason ");
        text_string(reason).write(&mut out);
    }
    out.extend(b"\n>>");
    out
}

fn widget_dictionary(signature: u32, page: u32) -> Dict {
    let zero = Object::Integer(0);
    let mut widget = Dict::default();
    for (key, value) in [
        ("Type", Object::name("Annot")),
        ("Subtype", Object::name("Widget")),
        ("FT", Object::name("Sig")),
        // with the object's number, so that no other field has this name
        ("T", text_string(&format!("Signatur{signature}"))),
        ("V", Object::Reference(signature, 0)),
        ("P", Object::Reference(page, 0)),
        // printed and locked, of no size: PDF/A wants no appearance then
        ("F", Object::Integer(132)),
        (
            "Rect",
            Object::Array(vec![zero.clone(), zero.clone(), zero.clone(), zero]),
        ),
    ] {
        widget.set(key, value);
    }
    widget
}

/// Appends to the array `key` of a dictionary object, which may lie elsewhere.
fn append(
    file: &File<'_>,
    update: &mut Update<'_, '_>,
    (number, mut dict): (u32, Dict),
    key: &str,
    item: Object,
) -> Result<(), Error> {
    let mut items = match file.resolve(dict.get(key))? {
        Object::Array(items) => items,
        Object::Null => Vec::new(),
        _ => return Err(Error::Format(format!("PDF: {key}"))),
    };
    items.push(item);
    match dict.get(key) {
        Some(Object::Reference(elsewhere, generation)) if file.has(*elsewhere, *generation) => {
            update.put_object(*elsewhere, &Object::Array(items))
        }
        _ => {
            dict.set(key, Object::Array(items));
            update.put_object(number, &Object::Dict(dict))
        }
    }
}

/// Enters a field into the document's form, which is made if there is none.
fn into_form(file: &File<'_>, update: &mut Update<'_, '_>, field: Object) -> Result<(), Error> {
    let (number, mut catalog) = file.catalog()?;
    let mut form = match file.resolve(catalog.get("AcroForm"))? {
        Object::Dict(form) => form,
        Object::Null => Dict::default(),
        _ => return Err(Error::Format("PDF: AcroForm".into())),
    };
    form.set("SigFlags", Object::Integer(3));
    let mut list = match file.resolve(form.get("Fields"))? {
        Object::Array(list) => list,
        Object::Null => Vec::new(),
        _ => return Err(Error::Format("PDF: Fields".into())),
    };
    list.push(field);
    match form.get("Fields") {
        Some(Object::Reference(elsewhere, generation)) if file.has(*elsewhere, *generation) => {
            update.put_object(*elsewhere, &Object::Array(list))?;
        }
        _ => form.set("Fields", Object::Array(list)),
    }
    match catalog.get("AcroForm") {
        Some(Object::Reference(elsewhere, generation)) if file.has(*elsewhere, *generation) => {
            update.put_object(*elsewhere, &Object::Dict(form))
        }
        _ => {
            catalog.set("AcroForm", Object::Dict(form));
            update.put_object(number, &Object::Dict(catalog))
        }
    }
}

/// Names and signature dictionaries of signed fields, each once, however often it is named.
fn fields(file: &File<'_>) -> Result<Vec<(String, Dict)>, Error> {
    let (_, catalog) = file.catalog()?;
    let form = file.resolve(catalog.get("AcroForm"))?;
    let list = file.resolve(form.as_dict().and_then(|form| form.get("Fields")))?;
    let Object::Array(list) = list else {
        return Ok(Vec::new());
    };
    let mut open: Vec<(Object, bool, usize)> =
        list.into_iter().rev().map(|field| (field, false, 0)).collect();
    let (mut found, mut looked, mut seen) = (Vec::new(), 0, HashSet::new());
    while let Some((field, inherited, depth)) = open.pop() {
        if let Object::Reference(number, _) = field
            && !seen.insert(number)
        {
            continue;
        }
        looked += 1;
        if looked > FIELDS.1 || depth > FIELDS.0 {
            return Err(Error::TooMuch("PDF form fields"));
        }
        let Object::Dict(field) = file.resolve(Some(&field))? else {
            continue;
        };
        let is_signature = field.is("FT", "Sig") || (inherited && field.get("FT").is_none());
        if let Object::Array(kids) = file.resolve(field.get("Kids"))? {
            open.extend(kids.into_iter().rev().map(|kid| (kid, is_signature, depth + 1)));
        }
        if let (true, Object::Dict(value)) = (is_signature, file.resolve(field.get("V"))?) {
            let name = match field.get("T") {
                Some(Object::String(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
                _ => String::new(),
            };
            found.push((name, value));
            if found.len() > cades::SIGNATURES {
                return Err(Error::TooMuch("signatures"));
            }
        }
    }
    Ok(found)
}

/// Checks all signatures of a PDF document. One that does not cover the end of the file covers only an earlier state.
pub fn verify(pdf: &[u8], known: &[X509]) -> Result<Findings, Error> {
    let file = File::open(pdf)?;
    let all = fields(&file)?;
    if all.is_empty() {
        return Err(Error::NoSignature);
    }
    let mut findings = Findings::default();
    for (name, dict) in all {
        let (covered, cms, whole) = covered(pdf, &dict)?;
        // what follows the CMS is filling
        let cms = asn1::ber::to_der(asn1::ber::first(&cms)?)?;
        let data = SignedData::parse(&cms)?;
        let mut inside = cades::verify_data(&data, Some(&covered), known)?;
        let time = match dict.get("M") {
            Some(Object::String(text)) => moment(text),
            _ => None,
        };
        for finding in &mut inside.signatures {
            finding.whole = whole;
            finding.place.clone_from(&name);
            finding.signing_time = finding.signing_time.or(time);
        }
        let offset = findings.signatures.len();
        findings
            .signatures
            .extend(inside.signatures.into_iter().map(|finding| Finding {
                counters: finding.counters.map(|over| over + offset),
                ..finding
            }));
        if findings.signatures.len() > cades::SIGNATURES {
            return Err(Error::TooMuch("signatures"));
        }
        findings.certificates.extend(inside.certificates);
        findings.ocsp.extend(inside.ocsp);
    }
    Ok(findings)
}

/// What a byte range covers, the CMS in its gap, and whether the whole file is covered.
fn covered(pdf: &[u8], dict: &Dict) -> Result<(Vec<u8>, Vec<u8>, bool), Error> {
    let bad = |what: &str| Error::Format(format!("PDF signature: {what}"));
    let (Some(Object::Array(range)), Some(Object::String(contents))) =
        (dict.get("ByteRange"), dict.get("Contents"))
    else {
        return Err(bad("ByteRange or Contents missing"));
    };
    let numbers: Option<Vec<usize>> = range
        .iter()
        .map(|number| usize::try_from(number.as_integer()?).ok())
        .collect();
    let Some([0, first, start, length]) = numbers.as_deref() else {
        return Err(bad("ByteRange"));
    };
    let end = start.checked_add(*length).ok_or_else(|| bad("ByteRange"))?;
    let parts = (pdf.get(..*first), pdf.get(*first..*start), pdf.get(*start..end));
    let (Some(before), Some(gap), Some(after)) = parts else {
        return Err(bad("ByteRange"));
    };
    // nothing but the signature itself may lie in the gap
    let mut parser = Parser::at(gap, 0);
    let inside = parser.object().ok().filter(|_| parser.position == gap.len());
    if !gap.starts_with(b"<") || !matches!(inside, Some(Object::String(text)) if text == *contents) {
        return Err(bad("something else than the signature is left out"));
    }
    Ok(([before, after].concat(), contents.clone(), end == pdf.len()))
}

/// `D:YYYYMMDDHHmmSS` with an offset.
fn moment(text: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(text).ok()?.strip_prefix("D:")?;
    let part = |range: std::ops::Range<usize>| text.get(range);
    let (year, month, day) = (part(0..4)?, part(4..6)?, part(6..8)?);
    let (hour, minute, second) = (part(8..10)?, part(10..12)?, part(12..14)?);
    let zone = match text.get(14..).unwrap_or_default() {
        "" | "Z" | "Z00'00'" | "Z00'00" => "+00:00".to_owned(),
        zone => {
            let digits: String = zone.chars().filter(char::is_ascii_digit).collect();
            format!("{}{}:{}", zone.get(..1)?, digits.get(..2)?, digits.get(2..4)?)
        }
    };
    format!("{year}-{month}-{day}T{hour}:{minute}:{second}{zone}")
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crypto::{Curve, EcPrivate, SignatureScheme, SoftKey};
    use pki::issue::{Authority, Name};

    /// A document of these objects (number, generation, text) with a table of where they lie.
    fn document(objects: &[(u32, u32, &str)], trailer: &str) -> Vec<u8> {
        let (mut out, mut rows) = (b"%PDF-1.7\n".to_vec(), String::new());
        for (number, generation, text) in objects {
            rows += &format!("{number} 1\n{:010} {generation:05} n\r\n", out.len());
            out.extend(format!("{number} {generation} obj\n{text}\nendobj\n").bytes());
        }
        let start = out.len();
        out.extend(format!("xref\n{rows}trailer\n<< {trailer} >>\nstartxref\n{start}\n%%EOF\n").bytes());
        out
    }

    const PAGES: (u32, u32, &str) = (2, 0, "<< /Type /Pages /Kids [3 0 R] /Count 1 >>");
    const TRAILER: &str = "/Root 1 0 R /Size 8";

    fn signed(pdf: &[u8]) -> Result<Vec<u8>, Error> {
        let key = SoftKey::Ec(EcPrivate::generate(Curve::BrainpoolP256r1).unwrap());
        let moment = |text: &str| text.parse().unwrap();
        let (from, to) = (moment("2026-01-01T00:00:00Z"), moment("2030-01-01T00:00:00Z"));
        let own = Authority::root(Name::new("T", "Test"), key.clone(), "", from, to).unwrap();
        let certificate = X509::parse(&own.certificate).unwrap();
        let signer = Signer::new(certificate, SignatureScheme::Ecdsa, from).unwrap();
        sign(pdf, None, &signer)?.sign_with(&key, &[])
    }

    /// Small files that want gigabytes: many names of one large object, a packed table of nothing, the same text again and
    /// again. Each of them is refused by what is left of the work, not by the machine.
    #[test]
    fn small_documents_that_want_much_are_refused() {
        let wide = format!("<<{}>>", "//".repeat(199_000));
        let many = format!("<< /Fields [{}] >>", "5 0 R ".repeat(1_900));
        let catalog = (1, 0, "<< /Type /Catalog /Pages 2 0 R /AcroForm 4 0 R >>");
        let page = (3, 0, "<< /Type /Page >>");
        let once = document(
            &[
                catalog,
                PAGES,
                page,
                (4, 0, &many),
                (5, 0, "<< /FT /Sig /V 6 0 R >>"),
                (6, 0, &wide),
            ],
            TRAILER,
        );
        // named often, it is still one field; and no signature
        assert!(matches!(verify(&once, &[]), Err(Error::Format(_))));
        let names: Vec<String> = (10..110).map(|number| format!("{number} 0 R")).collect();
        let fields: Vec<_> = (10..110)
            .map(|number| (number, 0, "<< /FT /Sig /V 6 0 R >>"))
            .collect();
        let form = format!("<< /Fields [{}] >>", names.join(" "));
        let mut objects = vec![catalog, PAGES, page, (4, 0, form.as_str()), (6, 0, &wide)];
        objects.extend(fields);
        let different = document(&objects, TRAILER);
        assert!(matches!(verify(&different, &[]), Err(Error::TooMuch(_))));
        assert!(matches!(signed(&different), Err(Error::TooMuch(_))));

        use std::io::Write as _;
        let mut packer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        packer.write_all(&vec![0; 32 * 1024 * 1024]).unwrap();
        let packed = packer.finish().unwrap();
        let mut bomb = b"%PDF-1.7\n".to_vec();
        bomb.extend(
            format!(
                "1 0 obj\n<< /Type /XRef /W [1 0 0] /Index [0 67108864] /Filter /FlateDecode /Length {} >>\nstream\n",
                packed.len()
            )
            .bytes(),
        );
        bomb.extend(packed);
        bomb.extend(b"\nendstream\nendobj\nstartxref\n9\n%%EOF\n");
        assert!(matches!(pdf_a_part(&bomb), Err(Error::TooMuch(_))));
    }

    /// What is signed is found again, also where the document names objects that are not there; and what would be broken by
    /// signing is refused.
    #[test]
    fn a_signature_is_always_found_again() {
        let catalog = "<< /Type /Catalog /Pages 2 0 R /AcroForm 10 0 R >>";
        let dangling = document(
            &[(1, 0, catalog), PAGES, (3, 0, "<< /Type /Page /Annots 9 0 R >>")],
            TRAILER,
        );
        let good = signed(&dangling).unwrap();
        let findings = verify(&good, &[]).unwrap();
        assert_eq!(findings.signatures.len(), 1);
        assert!(
            findings
                .signatures
                .iter()
                .all(|one| one.whole && one.outcome.is_ok())
        );

        let reused = document(
            &[(1, 2, catalog), PAGES, (3, 0, "<< /Type /Page >>")],
            "/Root 1 2 R /Size 8",
        );
        assert!(matches!(signed(&reused), Err(Error::Variant(_))));
        let huge = document(
            &[(1, 0, catalog), PAGES, (3, 0, "<< /Type /Page >>")],
            "/Root 1 0 R /Size 4294967295",
        );
        assert!(matches!(signed(&huge), Err(Error::TooMuch(_))));
    }
}
