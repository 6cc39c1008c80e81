//! S/MIME (RFC 5751), as mail programs and KIM read it: a MIME entity inside a CMS signature (`application/pkcs7-mime`);
//! read also beside one (`multipart/signed`).

use crate::cades::{self, Extra};
use crate::{Draft, Error, Findings, Signer};
use asn1::X509;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Longest header.
const HEADER: usize = 256 * 1024;

/// A message with its headers: name and value, unfolded.
struct Message<'a> {
    headers: Vec<(&'a str, String)>,
    body: &'a [u8],
}

impl<'a> Message<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, Error> {
        let bad = |what: &str| Error::Format(format!("MIME: {what}"));
        let end = |blank: &[u8]| {
            bytes
                .windows(blank.len())
                .take(HEADER)
                .position(|window| window == blank)
        };
        let (head, body) = match (end(b"\r\n\r\n"), end(b"\n\n")) {
            (Some(at), other) if other.is_none_or(|other| at < other) => {
                (bytes.get(..at + 2), bytes.get(at + 4..))
            }
            (_, Some(at)) => (bytes.get(..at + 1), bytes.get(at + 2..)),
            _ => return Err(bad("no end of the headers")),
        };
        let head = std::str::from_utf8(head.unwrap_or_default()).map_err(|_| bad("headers"))?;
        let mut headers: Vec<(&str, String)> = Vec::new();
        for line in head.lines() {
            if line.starts_with([' ', '\t']) {
                let (_, value) = headers.last_mut().ok_or_else(|| bad("headers"))?;
                value.push(' ');
                value.push_str(line.trim());
                continue;
            }
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| bad("header without a colon"))?;
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(bad("header name"));
            }
            headers.push((name, value.trim().to_owned()));
        }
        Ok(Self {
            headers,
            body: body.unwrap_or_default(),
        })
    }

    fn get(&self, wanted: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| value.as_str())
    }
}

fn is_content(name: &str) -> bool {
    name.get(..8)
        .is_some_and(|start| start.eq_ignore_ascii_case("content-"))
}

/// Lines end with CR LF, as text is signed.
fn canonical(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 32);
    let mut last = 0;
    for byte in bytes {
        if *byte == b'\n' && last != b'\r' {
            out.push(b'\r');
        }
        out.push(*byte);
        last = *byte;
    }
    out
}

/// A signature around a MIME message. Its content goes inside; other headers stay outside.
pub fn sign(message: &[u8], signer: &Signer, extra: Extra) -> Result<Draft, Error> {
    let read = Message::read(message)?;
    let (mut inner, mut outer) = (Vec::new(), Vec::new());
    for (name, value) in &read.headers {
        if is_content(name) {
            inner.extend(format!("{name}: {value}\r\n").bytes());
        } else if !name.eq_ignore_ascii_case("mime-version") {
            outer.extend(format!("{name}: {value}\r\n").bytes());
        }
    }
    if inner.is_empty() {
        inner.extend(b"Content-Type: text/plain; charset=utf-8\r\n");
    }
    inner.extend(b"\r\n");
    inner.extend(canonical(read.body));
    outer.extend(
        b"MIME-Version: 1.0\r\nContent-Type: application/pkcs7-mime; smime-type=signed-data; name=\"smime.p7m\"\r\n\
          Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=\"smime.p7m\"\r\n\r\n",
    );
    let draft = cades::sign(inner, true, signer, extra)?;
    Ok(draft.then(move |cms| {
        for line in STANDARD.encode(cms).as_bytes().chunks(76) {
            outer.extend_from_slice(line);
            outer.extend(b"\r\n");
        }
        outer
    }))
}

fn base64(body: &[u8]) -> Result<Vec<u8>, Error> {
    let compact: Vec<u8> = body
        .iter()
        .copied()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    STANDARD
        .decode(compact)
        .map_err(|_| Error::Format("MIME: base64 expected".into()))
}

/// Checks the signatures of a MIME message.
pub fn verify(message: &[u8], known: &[X509]) -> Result<Findings, Error> {
    let read = Message::read(message)?;
    let kind = read.get("content-type").unwrap_or_default().to_owned();
    let lower = kind.to_ascii_lowercase();
    if lower.starts_with("application/pkcs7-mime") || lower.starts_with("application/x-pkcs7-mime") {
        let binary = read
            .get("content-transfer-encoding")
            .is_some_and(|how| how.eq_ignore_ascii_case("binary"));
        let cms = match binary {
            true => read.body.to_vec(),
            false => base64(read.body)?,
        };
        return cades::verify(&cms, None, known);
    }
    if !lower.starts_with("multipart/signed") {
        return Err(Error::NoSignature);
    }
    let boundary = kind
        .split(';')
        .filter_map(|part| part.trim().split_once('='))
        .find(|(name, _)| name.eq_ignore_ascii_case("boundary"))
        .map(|(_, value)| value.trim_matches('"'))
        .ok_or_else(|| Error::Format("MIME: boundary missing".into()))?;
    let whole = canonical(read.body);
    // the first delimiter may stand at the very beginning
    let text = [b"\r\n", &whole[..]].concat();
    let parts = split(&text, format!("\r\n--{boundary}").as_bytes());
    let [_, document, signature, ..] = parts.as_slice() else {
        return Err(Error::Format("MIME: two parts expected".into()));
    };
    let document = document.strip_prefix(b"\r\n").unwrap_or(document);
    let signature = signature.strip_prefix(b"\r\n").unwrap_or(signature);
    let cms = base64(Message::read(signature)?.body)?;
    cades::verify(&cms, Some(document), known)
}

/// The pieces between delimiters, at most four.
fn split<'a>(text: &'a [u8], delimiter: &[u8]) -> Vec<&'a [u8]> {
    let (mut rest, mut parts) = (text, Vec::new());
    while parts.len() < 3
        && let Some(at) = rest
            .windows(delimiter.len())
            .position(|window| window == delimiter)
    {
        parts.push(rest.get(..at).unwrap_or_default());
        rest = rest.get(at + delimiter.len()..).unwrap_or_default();
    }
    parts.push(rest);
    parts
}
