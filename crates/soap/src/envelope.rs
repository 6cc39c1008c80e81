use crate::{Malformed, has_name, ns};
use roxmltree::{Document, Node};

/// A parsed SOAP message.
pub struct Envelope<'i> {
    document: Document<'i>,
}

impl<'i> Envelope<'i> {
    /// Reads an envelope: SOAP 1.1, no document type definition, bounded in nodes, depth, attributes and namespaces.
    pub fn parse(text: &'i str) -> Result<Self, Malformed> {
        let document = crate::read::document(text)?;
        if !has_name(document.root_element(), ns::SOAP, "Envelope") {
            return Err(Malformed("SOAP 1.1 envelope expected".into()));
        }
        Ok(Self { document })
    }

    /// The one element in the body.
    pub fn body(&self) -> Result<Node<'_, 'i>, Malformed> {
        let body = self
            .document
            .root_element()
            .children()
            .find(|node| has_name(*node, ns::SOAP, "Body"));
        let mut inside = body
            .into_iter()
            .flat_map(|body| body.children().filter(Node::is_element));
        match (inside.next(), inside.next()) {
            (Some(one), None) => Ok(one),
            _ => Err(Malformed("one element in the SOAP body expected".into())),
        }
    }

    /// A header element.
    pub fn header(&self, namespace: &'static str, name: &'static str) -> Option<Node<'_, 'i>> {
        let header = self
            .document
            .root_element()
            .children()
            .find(|node| has_name(*node, ns::SOAP, "Header"))?;
        header.children().find(|node| has_name(*node, namespace, name))
    }
}

/// Puts a body into an envelope.
pub fn wrap(body: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><SOAP-ENV:Envelope xmlns:SOAP-ENV=\"{}\"><SOAP-ENV:Body>{body}\
         </SOAP-ENV:Body></SOAP-ENV:Envelope>",
        ns::SOAP
    )
}

/// Puts header and body into an envelope.
pub fn wrap_with_header(header: &str, body: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><SOAP-ENV:Envelope xmlns:SOAP-ENV=\"{}\"><SOAP-ENV:Header>{header}\
         </SOAP-ENV:Header><SOAP-ENV:Body>{body}</SOAP-ENV:Body></SOAP-ENV:Envelope>",
        ns::SOAP
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Request;

    #[test]
    fn what_is_no_envelope_is_refused() {
        for text in ["", "<a/>", "not xml", "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"] {
            assert!(Envelope::parse(text).is_err(), "{text}");
        }
        let deep = wrap(&format!("{}{}", "<a>".repeat(5000), "</a>".repeat(5000)));
        assert!(Envelope::parse(&deep).is_err());
        assert!(Envelope::parse(&wrap("")).unwrap().body().is_err());
        assert!(Envelope::parse(&wrap("<a/><b/>")).unwrap().body().is_err());
    }

    /// The requests that three vendors' clients send are understood.
    #[test]
    fn published_requests_are_understood() {
        let samples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/samples");
        if !samples.is_dir() {
            eprintln!("skipped: ../shared/samples is absent");
            return;
        }
        let mut understood = Vec::new();
        let mut stack = vec![samples];
        while let Some(path) = stack.pop() {
            if path.is_dir() {
                stack.extend(
                    std::fs::read_dir(&path)
                        .unwrap()
                        .map(|entry| entry.unwrap().path()),
                );
                continue;
            }
            let name = path.file_name().unwrap().to_string_lossy().to_lowercase();
            if name.contains("response") || path.extension().is_none_or(|e| e != "xml") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let Ok(envelope) = Envelope::parse(&text) else {
                continue;
            };
            let body = envelope.body().unwrap();
            // SignatureService, EncryptionService and PoPP come with later issues
            let ours = [ns::EVT, ns::CARD, ns::CT, ns::CERT, ns::VSD, ns::KVK];
            if body
                .tag_name()
                .namespace()
                .is_some_and(|namespace| ours.contains(&namespace))
            {
                understood.push(
                    Request::decode(body)
                        .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
                        .name(),
                );
            }
        }
        understood.sort_unstable();
        understood.dedup();
        for name in ["GetCards", "ReadCardCertificate", "ReadVSD", "VerifyCertificate"] {
            assert!(understood.contains(&name), "{name} not among {understood:?}");
        }
    }
}
