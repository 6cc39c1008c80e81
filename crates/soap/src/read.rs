use crate::{CallContext, ns};
use roxmltree::{Document, Node, ParsingOptions};

/// A request that does not fit its schema (4000).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);

/// Reads XML: no document type definition, bounded in nodes, depth, attributes and namespaces.
pub(crate) fn document(text: &str) -> Result<Document<'_>, Malformed> {
    base::xml::check(text).map_err(|error| Malformed(error.to_string()))?;
    let options = ParsingOptions {
        nodes_limit: base::limits::XML_NODES,
        ..Default::default()
    };
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    Document::parse_with_options(text, options).map_err(|error| Malformed(format!("XML: {error}")))
}

/// Has the node this qualified name?
pub fn has_name(node: Node<'_, '_>, namespace: &str, name: &str) -> bool {
    node.is_element() && node.tag_name().name() == name && node.tag_name().namespace() == Some(namespace)
}

/// Child elements with this qualified name.
pub fn children<'a, 'i: 'a>(
    node: Node<'a, 'i>,
    namespace: &'static str,
    name: &'static str,
) -> impl Iterator<Item = Node<'a, 'i>> {
    node.children()
        .filter(move |child| has_name(*child, namespace, name))
}

/// The child element with this qualified name.
pub fn descend<'a, 'i>(
    node: Node<'a, 'i>,
    namespace: &'static str,
    name: &'static str,
) -> Result<Node<'a, 'i>, Malformed> {
    let mut found = children(node, namespace, name);
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(Malformed(format!(
            "element {name} missing in {}",
            node.tag_name().name()
        ))),
        (Some(_), Some(_)) => Err(Malformed(format!("element {name} more than once"))),
    }
}

/// Text of a child element that must be there and not be empty.
pub fn required(
    node: Node<'_, '_>,
    namespace: &'static str,
    name: &'static str,
) -> Result<String, Malformed> {
    let text = text_of(descend(node, namespace, name)?);
    if text.is_empty() {
        Err(Malformed(format!("element {name} is empty")))
    } else {
        Ok(text)
    }
}

/// Text of a child element, if it is there.
pub fn optional(node: Node<'_, '_>, namespace: &'static str, name: &'static str) -> Option<String> {
    children(node, namespace, name).next().map(text_of)
}

fn text_of(node: Node<'_, '_>) -> String {
    let parts = node
        .children()
        .filter(|child| child.is_text())
        .filter_map(|child| child.text());
    parts.collect::<String>().trim().to_owned()
}

pub(crate) fn boolean(text: &str) -> Result<bool, Malformed> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        other => Err(Malformed(format!("`{other:.20}` is not a boolean"))),
    }
}

pub(crate) fn number<T: std::str::FromStr>(text: &str) -> Result<T, Malformed> {
    text.parse()
        .map_err(|_| Malformed(format!("`{text:.20}` is not a number in range")))
}

pub(crate) fn attribute_flag(node: Node<'_, '_>, name: &str) -> Result<bool, Malformed> {
    node.attribute(name).map_or(Ok(false), boolean)
}

/// The call context; absent parts are left empty, so that the access check can answer 4021 (TIP1-A_4524).
pub(crate) fn context(node: Node<'_, '_>) -> Result<CallContext, Malformed> {
    let context = descend(node, ns::CCTX, "Context")?;
    let part = |name| optional(context, ns::CONN, name).unwrap_or_default();
    Ok(CallContext {
        mandant: part("MandantId"),
        client_system: part("ClientSystemId"),
        workplace: part("WorkplaceId"),
        user: optional(context, ns::CONN, "UserId").filter(|user| !user.is_empty()),
    })
}
