//! Documents as callers hand them over (TUC_KON_080): what they are, and whether they are that.

use crate::Failure;
use base::{Code, limits};
use signature::Error;
use soap::{Content, InputDocument};

/// What a document is, after looking at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// XML, with its text and how it was encoded.
    Xml(String, Encoding),
    /// PDF/A-1 or -2.
    PdfA,
    /// Another PDF document.
    Pdf,
    /// Text in the charset that its media type names.
    Text,
    /// A TIFF picture.
    Tiff,
    /// Anything else.
    Binary,
}

/// How characters are written (TIP1-A_4502).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Utf8,
    /// ISO-8859-1 or -15: one byte a character.
    Latin(Latin),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Latin {
    One,
    Fifteen,
}

/// Where ISO-8859-15 differs from ISO-8859-1.
const FIFTEEN: [(u8, char); 8] = [
    (0xA4, '€'),
    (0xA6, 'Š'),
    (0xA8, 'š'),
    (0xB4, 'Ž'),
    (0xB8, 'ž'),
    (0xBC, 'Œ'),
    (0xBD, 'œ'),
    (0xBE, 'Ÿ'),
];

impl Latin {
    fn decode(self, byte: u8) -> char {
        let special = FIFTEEN.iter().find(|(known, _)| *known == byte);
        match (self, special) {
            (Latin::Fifteen, Some((_, c))) => *c,
            _ => char::from(byte),
        }
    }

    fn encode(self, c: char) -> Option<u8> {
        let special = FIFTEEN.iter().find(|(_, known)| *known == c);
        match (self, special) {
            (Latin::Fifteen, Some((byte, _))) => Some(*byte),
            (Latin::Fifteen, None) if FIFTEEN.iter().any(|(byte, _)| char::from(*byte) == c) => None,
            _ => u8::try_from(u32::from(c)).ok(),
        }
    }
}

impl Encoding {
    /// The bytes of a text; characters it does not have become references, which XML reads as the same.
    pub(super) fn encode(self, text: &str) -> Vec<u8> {
        let Encoding::Latin(latin) = self else {
            return text.as_bytes().to_vec();
        };
        let mut out = Vec::with_capacity(text.len());
        for c in text.chars() {
            match latin.encode(c) {
                Some(byte) => out.push(byte),
                None => out.extend(format!("&#{};", u32::from(c)).bytes()),
            }
        }
        out
    }
}

/// How much larger a document may be that was signed here, or enciphered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Around {
    Nothing,
    Signatures,
    Envelope,
}

/// Refuses what is too large.
pub(super) fn check_size(size: usize, around: Around) -> Result<(), Failure> {
    const MIB: usize = 1024 * 1024;
    let limit = match around {
        Around::Nothing => limits::DOCUMENT,
        Around::Signatures => limits::DOCUMENT + MIB,
        // XML enciphered is base64, and has a certificate for each recipient
        Around::Envelope => limits::DOCUMENT / 3 * 4 + 8 * MIB,
    };
    match size <= limit {
        true => Ok(()),
        false => Err(Failure::new(
            Code::DOCUMENT_TOO_BIG,
            format!("{size} bytes; at most {limit} are handled"),
        )),
    }
}

/// Looks at a document and checks that it is what it says.
pub(super) fn examine(document: &InputDocument, around: Around) -> Result<Kind, Failure> {
    check_size(document.content.bytes().len(), around)?;
    let (mime, bytes) = match &document.content {
        Content::Xml(bytes) => {
            let (text, encoding) = decode_xml(bytes)?;
            xmlsec::parse(&text).map_err(|error| xml_failure(&error))?;
            return Ok(Kind::Xml(text, encoding));
        }
        Content::Data { mime, bytes } => (mime.as_deref().unwrap_or_default(), bytes),
    };
    let mut parts = mime.split(';').map(str::trim);
    let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
    let charset = parts
        .find_map(|part| part.split_once('='))
        .map(|(_, value)| value.trim_matches('"').to_ascii_lowercase());
    let wrong =
        |format: &str, detail: &str| Failure::new(Code::DOCUMENT_FORMAT_CHECK, format!("{format}: {detail}"));
    match kind.as_str() {
        "application/pdf-a" => match signature::pades::pdf_a_part(bytes) {
            Ok(Some(1 | 2)) => Ok(Kind::PdfA),
            Ok(Some(3..)) => Err(wrong("PDF/A", "parts 1 and 2 are handled, not PDF/A-3")),
            Ok(_) => Err(wrong("PDF/A", "the document does not say that it is PDF/A")),
            Err(error) => Err(wrong("PDF/A", &error.to_string())),
        },
        "application/pdf" => match bytes.starts_with(b"%PDF-") {
            true => Ok(Kind::Pdf),
            false => Err(wrong("PDF", "does not begin with %PDF-")),
        },
        "image/tiff" => match bytes.get(..4) {
            Some(b"II*\0" | b"MM\0*") => Ok(Kind::Tiff),
            _ => Err(wrong("TIFF", "does not begin like a TIFF picture")),
        },
        // without a charset text is ISO-8859-15, in which every byte is a character
        "text/plain" if charset.as_deref() == Some("utf-8") => match std::str::from_utf8(bytes) {
            Ok(_) => Ok(Kind::Text),
            Err(_) => Err(wrong("Text", "not UTF-8")),
        },
        "text/plain" => Ok(Kind::Text),
        _ => Ok(Kind::Binary),
    }
}

/// XML in UTF-8 or one of the Latin encodings, as text.
pub(super) fn decode_xml(bytes: &[u8]) -> Result<(String, Encoding), Failure> {
    let head = bytes.get(..200.min(bytes.len())).unwrap_or_default();
    let head = String::from_utf8_lossy(head);
    let declared = head
        .strip_prefix("<?xml")
        .and_then(|rest| rest.split_once("?>"))
        .and_then(|(declaration, _)| declaration.split_once("encoding"))
        .and_then(|(_, rest)| rest.split(['"', '\'']).nth(1))
        .map(str::to_ascii_lowercase);
    let latin = match declared.as_deref() {
        Some("iso-8859-1") => Latin::One,
        Some("iso-8859-15") => Latin::Fifteen,
        _ => {
            let text = std::str::from_utf8(bytes).map_err(|_| {
                Failure::new(Code::XML_NOT_WELL_FORMED, "neither UTF-8 nor declared otherwise")
            })?;
            return Ok((text.to_owned(), Encoding::Utf8));
        }
    };
    let text = bytes.iter().map(|byte| latin.decode(*byte)).collect();
    Ok((text, Encoding::Latin(latin)))
}

fn xml_failure(error: &xmlsec::Error) -> Failure {
    let code = match error {
        xmlsec::Error::Immodest(_) | xmlsec::Error::TooDeep => Code::DOCUMENT_DIMENSIONS,
        xmlsec::Error::Doctype => Code::FORBIDDEN_CONTENT,
        _ => Code::XML_NOT_WELL_FORMED,
    };
    Failure::new(code, error)
}

/// What a format says about a document, as a failure.
pub(super) fn format_failure(error: Error, otherwise: Code) -> Failure {
    let code = match &error {
        Error::TooMuch(_) => Code::DOCUMENT_DIMENSIONS,
        Error::Forbidden(_) => Code::FORBIDDEN_CONTENT,
        Error::Variant(_) => Code::BAD_SIGNATURE_TYPE,
        Error::NoSignature => Code::NO_SIGNATURE,
        Error::NoRoom => Code::NO_ROOM_IN_PDF,
        Error::BrokenValue => Code::CARD_ERROR,
        Error::ElementMissing(_) => Code::ELEMENT_MISSING,
        Error::ElementAmbiguous(_) => Code::ELEMENT_AMBIGUOUS,
        Error::NotForUs => Code::KEY_DOES_NOT_FIT,
        Error::Damaged => Code::DECRYPTION_FAILED,
        Error::DocumentMissing | Error::Format(_) | Error::Key(_) => otherwise,
    };
    Failure::new(code, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(mime: &str, bytes: &[u8]) -> InputDocument {
        InputDocument {
            id: None,
            ref_uri: None,
            short_text: None,
            content: Content::Data {
                mime: Some(mime.into()),
                bytes: bytes.to_vec(),
            },
        }
    }

    #[test]
    fn documents_are_what_they_say() {
        let kind = |mime, bytes: &[u8]| {
            examine(&data(mime, bytes), Around::Nothing).map_err(|failure| failure.code().number())
        };
        assert_eq!(kind("text/plain; charset=utf-8", "ä".as_bytes()), Ok(Kind::Text));
        assert_eq!(kind("text/plain; charset=\"UTF-8\"", b"\xFF"), Err(4024));
        assert_eq!(kind("text/plain", b"\xFF"), Ok(Kind::Text));
        assert_eq!(kind("image/tiff", b"II*\0rest"), Ok(Kind::Tiff));
        assert_eq!(kind("image/tiff", b"GIF89a"), Err(4024));
        assert_eq!(kind("application/pdf-a", b"%PDF-1.4"), Err(4024));
        assert_eq!(kind("application/octet-stream", b"\x00"), Ok(Kind::Binary));
        assert_eq!(kind("", &vec![0; limits::DOCUMENT + 1]), Err(4283));
    }

    #[test]
    fn latin_text_comes_back_as_it_was() {
        let bytes = b"<?xml version=\"1.0\" encoding=\"ISO-8859-15\"?><a>\xE4\xA4</a>";
        let (text, encoding) = decode_xml(bytes).unwrap();
        assert!(text.ends_with("<a>ä€</a>"));
        assert_eq!(encoding.encode(&text), bytes);
        assert_eq!(encoding.encode("¤"), b"&#164;");
        assert_eq!(
            decode_xml(b"<a>\xE4</a>").unwrap_err().code(),
            Code::XML_NOT_WELL_FORMED
        );
    }

    #[test]
    fn xml_bombs_have_their_codes() {
        let xml = |text: String| InputDocument {
            id: None,
            ref_uri: None,
            short_text: None,
            content: Content::Xml(text.into_bytes()),
        };
        let code = |text: String| examine(&xml(text), Around::Nothing).unwrap_err().code().number();
        assert_eq!(code("<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>".into()), 4281);
        assert_eq!(code("<a>".repeat(100_000)), 4280);
        assert_eq!(code("<a><b></a>".into()), 4022);
    }
}
