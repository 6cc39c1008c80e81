use crate::Error;
use roxmltree::{Node, NodeId, NodeType};
use std::collections::BTreeMap;

/// Which canonical form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Canonical XML 1.0.
    Inclusive,
    /// Canonical XML 1.1.
    Inclusive11,
    /// Exclusive canonicalisation; namespaces of these prefixes are treated as inclusive (`#default` is "").
    Exclusive(Vec<String>),
}

/// Deepest nesting.
const DEPTH: usize = 256;

/// The canonical form of `apex` and everything below it, without comments and without the subtrees `omit`. A document's
/// root node stands for the document with processing instructions around its root element.
pub fn canonicalize(apex: Node<'_, '_>, mode: &Mode, omit: &[NodeId]) -> Result<Vec<u8>, Error> {
    // inheritance of xml:base means joining addresses, which nobody needs
    if *mode == Mode::Inclusive11
        && apex
            .ancestors()
            .skip(1)
            .any(|node| node.has_attribute((XML_NS, "base")))
    {
        return Err(Error::Unacceptable("xml:base around what is signed"));
    }
    let mut writer = Writer {
        mode,
        omit,
        out: Vec::new(),
        apex: apex.id(),
    };
    writer.node(apex, &BTreeMap::new(), 0)?;
    Ok(writer.out)
}

/// Prefix (empty for the default namespace) to URI.
type Scope<'a> = BTreeMap<&'a str, &'a str>;

struct Writer<'m> {
    mode: &'m Mode,
    omit: &'m [NodeId],
    out: Vec<u8>,
    apex: NodeId,
}

const XML_NS: &str = "http://www.w3.org/XML/1998/namespace";

impl Writer<'_> {
    fn node<'a>(&mut self, node: Node<'a, '_>, rendered: &Scope<'a>, depth: usize) -> Result<(), Error>
    where
        Self: 'a,
    {
        if depth > DEPTH {
            return Err(Error::TooDeep);
        }
        if self.omit.contains(&node.id()) {
            return Ok(());
        }
        match node.node_type() {
            NodeType::Root => {
                let mut behind = false;
                for child in node.children() {
                    // each processing instruction has a line of its own
                    if child.is_pi() && behind {
                        self.out.push(b'\n');
                    }
                    self.node(child, rendered, depth + 1)?;
                    if child.is_pi() && !behind {
                        self.out.push(b'\n');
                    }
                    behind |= child.is_element();
                }
            }
            NodeType::Element => self.element(node, rendered, depth)?,
            NodeType::Text => escape_text(node.text().unwrap_or_default(), &mut self.out),
            NodeType::PI => {
                if let Some(pi) = node.pi() {
                    self.out.extend_from_slice(b"<?");
                    self.out.extend_from_slice(pi.target.as_bytes());
                    if let Some(value) = pi.value {
                        self.out.push(b' ');
                        self.out.extend_from_slice(value.as_bytes());
                    }
                    self.out.extend_from_slice(b"?>");
                }
            }
            NodeType::Comment => {}
        }
        Ok(())
    }

    fn element<'a>(&mut self, node: Node<'a, '_>, rendered: &Scope<'a>, depth: usize) -> Result<(), Error> {
        let source = node.document().input_text();
        let name = qualified_name(source, node.range().start + 1);
        let scope = in_scope(node);
        let mut wanted: Vec<&str> = match self.mode {
            Mode::Inclusive | Mode::Inclusive11 => scope.keys().copied().collect(),
            Mode::Exclusive(inclusive) => {
                let mut used = vec![prefix_of(name)];
                for attribute in node.attributes() {
                    let prefix = prefix_of(source.get(attribute.range_qname()).unwrap_or_default());
                    if !prefix.is_empty() {
                        used.push(prefix);
                    }
                }
                used.extend(
                    scope
                        .keys()
                        .filter(|prefix| inclusive.iter().any(|wanted| wanted == *prefix)),
                );
                used
            }
        };
        if !scope.contains_key("") {
            wanted.push("");
        }
        wanted.sort_unstable();
        wanted.dedup();
        let mut now = rendered.clone();
        self.out.push(b'<');
        self.out.extend_from_slice(name.as_bytes());
        for prefix in wanted {
            if prefix == "xml" {
                continue;
            }
            let uri = scope.get(prefix).copied().unwrap_or_default();
            let before = rendered.get(prefix).copied().unwrap_or_default();
            let uses_default = prefix_of(name).is_empty() || self.is_inclusive();
            if uri == before || (prefix.is_empty() && !uses_default && !self.is_inclusive_default()) {
                continue;
            }
            self.out
                .extend_from_slice(if prefix.is_empty() { b" xmlns" } else { b" xmlns:" });
            self.out.extend_from_slice(prefix.as_bytes());
            self.out.extend_from_slice(b"=\"");
            escape_attribute(uri, &mut self.out);
            self.out.push(b'"');
            now.insert(prefix, uri);
        }
        self.attributes(node, source);
        self.out.push(b'>');
        for child in node.children() {
            self.node(child, &now, depth + 1)?;
        }
        self.out.extend_from_slice(b"</");
        self.out.extend_from_slice(name.as_bytes());
        self.out.push(b'>');
        Ok(())
    }

    fn is_inclusive(&self) -> bool {
        matches!(self.mode, Mode::Inclusive | Mode::Inclusive11)
    }

    fn is_inclusive_default(&self) -> bool {
        matches!(self.mode, Mode::Exclusive(list) if list.iter().any(String::is_empty))
    }

    fn attributes(&mut self, node: Node<'_, '_>, source: &str) {
        let mut attributes: Vec<(&str, &str, &str, &str)> = node
            .attributes()
            .map(|attribute| {
                let qualified = source.get(attribute.range_qname()).unwrap_or_default();
                (
                    attribute.namespace().unwrap_or_default(),
                    attribute.name(),
                    qualified,
                    attribute.value(),
                )
            })
            .collect();
        // Canonical XML of a subtree takes over xml:lang and the like from the elements around it; 1.1 not xml:id
        if self.is_inclusive() && node.id() == self.apex {
            let around = node
                .ancestors()
                .skip(1)
                .flat_map(|ancestor| ancestor.attributes());
            for attribute in around.filter(|attribute| attribute.namespace() == Some(XML_NS)) {
                if *self.mode == Mode::Inclusive11 && attribute.name() == "id" {
                    continue;
                }
                if !attributes
                    .iter()
                    .any(|(uri, name, ..)| *uri == XML_NS && *name == attribute.name())
                {
                    let qualified = source.get(attribute.range_qname()).unwrap_or_default();
                    attributes.push((XML_NS, attribute.name(), qualified, attribute.value()));
                }
            }
        }
        attributes.sort_unstable();
        for (_, _, qualified, value) in attributes {
            self.out.push(b' ');
            self.out.extend_from_slice(qualified.as_bytes());
            self.out.extend_from_slice(b"=\"");
            escape_attribute(value, &mut self.out);
            self.out.push(b'"');
        }
    }
}

fn in_scope<'a>(node: Node<'a, '_>) -> Scope<'a> {
    let namespaces = node
        .namespaces()
        .map(|ns| (ns.name().unwrap_or_default(), ns.uri()));
    namespaces
        .filter(|(prefix, uri)| !(prefix.is_empty() && uri.is_empty()))
        .collect()
}

/// The qualified name that starts at `start` of the source text.
fn qualified_name(source: &str, start: usize) -> &str {
    let rest = source.get(start..).unwrap_or_default();
    let end = rest
        .find(|c: char| c.is_ascii_whitespace() || c == '>' || c == '/')
        .unwrap_or(rest.len());
    rest.get(..end).unwrap_or_default()
}

fn prefix_of(name: &str) -> &str {
    name.split_once(':').map_or("", |(prefix, _)| prefix)
}

fn escape_text(text: &str, out: &mut Vec<u8>) {
    for byte in text.bytes() {
        match byte {
            b'&' => out.extend_from_slice(b"&amp;"),
            b'<' => out.extend_from_slice(b"&lt;"),
            b'>' => out.extend_from_slice(b"&gt;"),
            b'\r' => out.extend_from_slice(b"&#xD;"),
            other => out.push(other),
        }
    }
}

fn escape_attribute(value: &str, out: &mut Vec<u8>) {
    for byte in value.bytes() {
        match byte {
            b'&' => out.extend_from_slice(b"&amp;"),
            b'<' => out.extend_from_slice(b"&lt;"),
            b'"' => out.extend_from_slice(b"&quot;"),
            b'\t' => out.extend_from_slice(b"&#x9;"),
            b'\n' => out.extend_from_slice(b"&#xA;"),
            b'\r' => out.extend_from_slice(b"&#xD;"),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(xml: &str, mode: Mode) -> String {
        let document = roxmltree::Document::parse(xml).unwrap();
        String::from_utf8(canonicalize(document.root(), &mode, &[]).unwrap()).unwrap()
    }

    #[test]
    fn empty_elements_attributes_and_unused_namespaces() {
        let xml = "<a:r xmlns:a='urn:a' xmlns:b='urn:b' z='1' a:y='&lt;\"'><b:c/>x > y<!-- no --><d xmlns='urn:d'/></a:r>";
        assert_eq!(
            canonical(xml, Mode::Exclusive(vec![])),
            "<a:r xmlns:a=\"urn:a\" z=\"1\" a:y=\"&lt;&quot;\"><b:c xmlns:b=\"urn:b\"></b:c>x &gt; y<d xmlns=\"urn:d\"></d></a:r>"
        );
        assert_eq!(
            canonical(xml, Mode::Inclusive),
            "<a:r xmlns:a=\"urn:a\" xmlns:b=\"urn:b\" z=\"1\" a:y=\"&lt;&quot;\"><b:c></b:c>x &gt; y<d xmlns=\"urn:d\"></d></a:r>"
        );
    }

    #[test]
    fn instructions_around_the_root_have_lines_of_their_own() {
        let xml = "<?xml version='1.0'?><?a b?>  <r/> <?c?>";
        assert_eq!(canonical(xml, Mode::Inclusive11), "<?a b?>\n<r></r>\n<?c?>");
    }

    #[test]
    fn default_namespace_is_undeclared_where_it_ends() {
        let xml = "<r xmlns='urn:r'><c xmlns=''><d/></c></r>";
        assert_eq!(
            canonical(xml, Mode::Exclusive(vec![])),
            "<r xmlns=\"urn:r\"><c xmlns=\"\"><d></d></c></r>"
        );
    }

    /// Every XML file of the shared data, against libxml2.
    #[test]
    fn agrees_with_xmllint() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/schemas");
        if !root.is_dir() {
            eprintln!("skipped: ../shared is absent");
            return;
        }
        let scratch = std::env::temp_dir().join(format!("langlauf-c14n-{}.xml", std::process::id()));
        let (mut stack, mut compared) = (vec![root], 0);
        while let Some(path) = stack.pop() {
            if path.is_dir() {
                stack.extend(
                    std::fs::read_dir(&path)
                        .unwrap()
                        .map(|entry| entry.unwrap().path()),
                );
                continue;
            }
            let Ok(text) = std::fs::read_to_string(&path) else {
                continue;
            };
            // document type definitions are refused by our parser
            let Ok(document) = roxmltree::Document::parse(&text) else {
                continue;
            };
            // xmllint keeps comments, our form has none
            let mut bare = text.clone();
            let comments: Vec<_> = document
                .descendants()
                .filter(|n| n.is_comment())
                .map(|n| n.range())
                .collect();
            comments
                .into_iter()
                .rev()
                .for_each(|range| bare.replace_range(range, ""));
            std::fs::write(&scratch, &bare).unwrap();
            let document = roxmltree::Document::parse(&bare).unwrap();
            for (mode, flag) in [
                (Mode::Exclusive(vec![]), "--exc-c14n"),
                (Mode::Inclusive, "--c14n"),
                (Mode::Inclusive11, "--c14n11"),
            ] {
                let Ok(peer) = std::process::Command::new("xmllint")
                    .arg(flag)
                    .arg(&scratch)
                    .output()
                else {
                    panic!("xmllint is missing: run `make setup`");
                };
                assert!(peer.status.success(), "{}", path.display());
                let mine = canonicalize(document.root(), &mode, &[]).unwrap();
                assert_eq!(
                    String::from_utf8_lossy(&mine),
                    String::from_utf8_lossy(&peer.stdout),
                    "{}",
                    path.display()
                );
                compared += 1;
            }
        }
        std::fs::remove_file(&scratch).unwrap();
        assert!(compared > 50, "only {compared} files compared");
    }
}
