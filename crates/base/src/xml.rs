//! Whether an XML text is modest enough to be given to a parser at all. Parsers take time that grows with the square of
//! the attributes of one element, and memory that grows with the square of nested namespace declarations; so both are
//! counted before, in one pass without allocation worth mentioning. And text on its way into XML.

use crate::limits;

/// What there is too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Immodest {
    /// Elements inside each other.
    #[error("XML nested deeper than {} elements", limits::XML_DEPTH)]
    Depth,
    /// Attributes of one element.
    #[error("more than {} attributes at one element", limits::XML_ATTRIBUTES)]
    Attributes,
    /// Namespace declarations that are in force together.
    #[error("too many namespace declarations")]
    Namespaces,
}

/// How much there is of everything that is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Measure {
    /// Deepest nesting of elements.
    pub depth: usize,
    /// Most attributes of one element, namespace declarations among them.
    pub attributes: usize,
    /// Declarations in force at each element, summed: what a parser copies and a canonicaliser goes through.
    pub namespaces: usize,
}

/// Escapes text for element content and attribute values.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // characters that XML 1.0 cannot carry at all
            c if c.is_control() && !matches!(c, '\t' | '\n' | '\r') => out.push('\u{FFFD}'),
            c => out.push(c),
        }
    }
    out
}

/// Judges a text. Of what is not well-formed it says nothing in particular; the parser will.
pub fn check(text: &str) -> Result<(), Immodest> {
    let most = Measure {
        depth: limits::XML_DEPTH,
        attributes: limits::XML_ATTRIBUTES,
        namespaces: limits::XML_NAMESPACES,
    };
    measure(text, &most).map(|_| ())
}

/// Measures a text, as far as it stays within `most`.
pub fn measure(text: &str, most: &Measure) -> Result<Measure, Immodest> {
    let mut rest = text.as_bytes();
    let mut found = Measure::default();
    // declarations in force, for each open element
    let mut open: Vec<usize> = Vec::new();
    while let Some(position) = rest.iter().position(|byte| *byte == b'<') {
        rest = rest.get(position..).unwrap_or_default();
        let skipped = [("<!--", "-->"), ("<![CDATA[", "]]>"), ("<?", "?>")]
            .into_iter()
            .find(|(begin, _)| rest.starts_with(begin.as_bytes()));
        if let Some((begin, end)) = skipped {
            rest = after(rest.get(begin.len()..).unwrap_or_default(), end.as_bytes());
            continue;
        }
        let tag = Tag::scan(rest);
        rest = rest.get(tag.length..).unwrap_or_default();
        if tag.closes {
            open.pop();
            continue;
        }
        found.attributes = found.attributes.max(tag.attributes);
        if found.attributes > most.attributes {
            return Err(Immodest::Attributes);
        }
        let in_force = open.last().copied().unwrap_or_default() + tag.declarations;
        found.namespaces += in_force;
        if found.namespaces > most.namespaces {
            return Err(Immodest::Namespaces);
        }
        found.depth = found.depth.max(open.len() + 1);
        if found.depth > most.depth {
            return Err(Immodest::Depth);
        }
        if !tag.empty {
            open.push(in_force);
        }
    }
    Ok(found)
}

/// What follows the first `end` in `bytes`; nothing if there is none.
fn after<'a>(bytes: &'a [u8], end: &[u8]) -> &'a [u8] {
    let found = bytes.windows(end.len()).position(|window| window == end);
    found
        .and_then(|position| bytes.get(position + end.len()..))
        .unwrap_or_default()
}

struct Tag {
    length: usize,
    closes: bool,
    empty: bool,
    attributes: usize,
    declarations: usize,
}

impl Tag {
    /// `bytes` begin with `<`.
    fn scan(bytes: &[u8]) -> Self {
        let mut tag = Self {
            length: bytes.len(),
            closes: bytes.get(1) == Some(&b'/'),
            empty: false,
            attributes: 0,
            declarations: 0,
        };
        let (mut quote, mut word, mut between) = (None, 1, false);
        for (position, byte) in bytes.iter().copied().enumerate().skip(1) {
            match (quote, byte) {
                (Some(open), _) if byte == open => (quote, between) = (None, true),
                (Some(_), _) => {}
                (None, b'"' | b'\'') => quote = Some(byte),
                (None, b'>') => {
                    tag.empty = bytes.get(position - 1) == Some(&b'/');
                    tag.length = position + 1;
                    break;
                }
                (None, b'=') => {
                    tag.attributes += 1;
                    let name = bytes.get(word..position).unwrap_or_default();
                    tag.declarations += usize::from(name.starts_with(b"xmlns"));
                }
                (None, _) if byte.is_ascii_whitespace() => between = true,
                (None, _) if between => (word, between) = (position, false),
                (None, _) => {}
            }
        }
        tag
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_texts_pass() {
        for text in [
            "",
            "no XML",
            "<a/>",
            "<?xml version='1.0'?><!-- = = < > --><a b = \"1 > 2\" c='<'><![CDATA[<x><x>]]><d/></a>",
            "<a",
            "</a></a></a>",
            "<a b='",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
        let comment = format!("<a><!--{}--></a>", "x='1' ".repeat(10_000));
        assert_eq!(check(&comment), Ok(()));
        let wide = format!("<a>{}</a>", "<b c='1' xmlns:d='e'/>".repeat(100_000));
        assert_eq!(check(&wide), Ok(()));
    }

    #[test]
    fn bombs_do_not() {
        let deep = |number| format!("{}{}", "<a>".repeat(number), "</a>".repeat(number));
        assert_eq!(check(&deep(limits::XML_DEPTH)), Ok(()));
        assert_eq!(check(&deep(limits::XML_DEPTH + 1)), Err(Immodest::Depth));
        let many: String = (0..=limits::XML_ATTRIBUTES)
            .map(|number| format!(" a{number}='' "))
            .collect();
        assert_eq!(check(&format!("<a{many}/>")), Err(Immodest::Attributes));
        // each inner element would copy, or at least go through, all declarations of the outer one
        let outer: String = (0..200)
            .map(|number| format!(" xmlns:n{number} = 'u{number}'"))
            .collect();
        for inner in ["<b xmlns:x='y'/>", "<b/>"] {
            let text = format!("<a{outer}>{}</a>", inner.repeat(50_000));
            assert_eq!(check(&text), Err(Immodest::Namespaces));
        }
    }
}
