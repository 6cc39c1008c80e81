//! PDF documents for tests, in both layouts that writers use. Also taken by the tests of `signature`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // tests

use flate2::Compression;
use flate2::write::ZlibEncoder;
use std::io::Write;

/// How a document's objects are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// A table of cross references, as PDF 1.4 has it.
    Table,
    /// A stream of them, with the objects in packed streams.
    Streams,
}

const XMP: &str = "<?xpacket begin='' id='W5M0MpCehiHzreSzNTczkc9d'?><x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF \
    xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'><rdf:Description rdf:about='' \
    xmlns:pdfaid='http://www.aiim.org/pdfa/ns/id/' pdfaid:part='2' pdfaid:conformance='B'/></rdf:RDF></x:xmpmeta>\
    <?xpacket end='w'?>";

/// A page with a rectangle that says it is PDF/A-2b; `form` is what stands in the catalog besides.
pub fn document(layout: Layout, form: &str) -> Vec<u8> {
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
