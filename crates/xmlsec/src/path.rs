//! The few XPath expressions that say where a signature goes or is (SignaturePlacement, SignaturePtr): steps from the root
//! with a name, `*`, a local name or a position. An engine for all of XPath would be a door for much more.

use crate::Error;
use roxmltree::Node;
use std::collections::BTreeMap;

/// Most steps.
const STEPS: usize = 64;
/// Most nodes looked at. A path that finds so many on its way does not mean one place.
const WORK: usize = 1_000_000;

/// The one element that `path` means below `root`, a document's root node. Prefixes are not looked at.
///
/// Understood are `/*`, `/name`, `/prefix:name`, `/child::*`, `/following-sibling::*`, each with predicates
/// `[local-name()='name']` and `[position]`.
pub fn find<'a, 'i>(root: Node<'a, 'i>, path: &str) -> Result<Node<'a, 'i>, Error> {
    let unknown = || Error::Path(path.chars().take(200).collect());
    let (mut here, mut left) = (vec![root], WORK);
    let rest = path.trim().strip_prefix('/').ok_or_else(unknown)?;
    for (number, step) in rest.split('/').enumerate() {
        if number == STEPS {
            return Err(unknown());
        }
        let step = Step::read(step).ok_or_else(unknown)?;
        // a set: siblings of several nodes are often the same ones
        let mut next = BTreeMap::new();
        for node in here {
            for found in step.from(node, &mut left) {
                next.insert(found.id().get(), found);
            }
            if left == 0 {
                return Err(Error::PathAmbiguous(path.chars().take(200).collect()));
            }
        }
        here = next.into_values().collect();
    }
    match here.as_slice() {
        [one] => Ok(*one),
        [] => Err(Error::PathMissing(path.chars().take(200).collect())),
        _ => Err(Error::PathAmbiguous(path.chars().take(200).collect())),
    }
}

struct Step<'p> {
    siblings: bool,
    name: Option<&'p str>,
    position: Option<usize>,
}

impl<'p> Step<'p> {
    fn read(text: &'p str) -> Option<Self> {
        let text = text.trim();
        let (test, predicates) = match text.find('[') {
            Some(at) => text.split_at(at),
            None => (text, ""),
        };
        let (siblings, test) = match test.strip_prefix("following-sibling::") {
            Some(rest) => (true, rest),
            None => (false, test.strip_prefix("child::").unwrap_or(test)),
        };
        let local = test.rsplit(':').next()?;
        let is_name = |name: &str| {
            name.starts_with(|c: char| c.is_alphabetic() || c == '_')
                && name.chars().all(|c| c.is_alphanumeric() || "_-.".contains(c))
        };
        let mut step = Self {
            siblings,
            name: match local {
                "*" => None,
                name if is_name(name) => Some(name),
                _ => return None,
            },
            position: None,
        };
        let mut rest = predicates;
        while !rest.is_empty() {
            let (inside, after) = rest.strip_prefix('[')?.split_once(']')?;
            let inside = inside.trim();
            match inside.strip_prefix("local-name()") {
                Some(equals) => {
                    let quoted = equals.trim().strip_prefix('=')?.trim();
                    let name = quoted
                        .strip_prefix('\'')
                        .and_then(|name| name.strip_suffix('\''))
                        .or_else(|| quoted.strip_prefix('"').and_then(|name| name.strip_suffix('"')))?;
                    if step.name.is_some_and(|other| other != name) || !is_name(name) {
                        return None;
                    }
                    step.name = Some(name);
                }
                None => step.position = Some(inside.parse().ok().filter(|position| *position > 0)?),
            }
            rest = after.trim();
        }
        Some(step)
    }

    /// What the step leads to from a node; `left` is how many nodes may still be looked at.
    fn from<'a, 'i>(&self, node: Node<'a, 'i>, left: &mut usize) -> Vec<Node<'a, 'i>> {
        let mut looked = 0;
        let fits = |node: &Node<'_, '_>| {
            looked += 1;
            node.is_element() && self.name.is_none_or(|name| node.tag_name().name() == name)
        };
        let all: Vec<Node<'a, 'i>> = match self.siblings {
            true => node.next_siblings().skip(1).take(*left).filter(fits).collect(),
            false => node.children().take(*left).filter(fits).collect(),
        };
        *left = left.saturating_sub(looked);
        match self.position {
            None => all,
            Some(position) => all.get(position - 1).copied().into_iter().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_names_and_positions() {
        let document =
            roxmltree::Document::parse("<r xmlns='urn:r'><a><b/></a><a n='2'><b/><c/></a></r>").unwrap();
        let name = |path: &str| find(document.root(), path).map(|node| node.tag_name().name().to_owned());
        assert_eq!(name("/*").unwrap(), "r");
        assert_eq!(name("/x:r/a[2]/*[local-name()='c']").unwrap(), "c");
        assert_eq!(name("/*/child::*[1]/b").unwrap(), "b");
        assert_eq!(name("/r/a[1]/following-sibling::*[1]/c").unwrap(), "c");
        assert!(matches!(name("/r/a"), Err(Error::PathAmbiguous(_))));
        assert_eq!(name("/r/*/following-sibling::a").unwrap(), "a");
        assert!(matches!(name("/r/d"), Err(Error::PathMissing(_))));
        for bad in [
            "",
            "r",
            "//r",
            "/r[a]",
            "/r[0]",
            "/r[position()<2]",
            "/r/..",
            "/id('x')",
            "/r[local-name()='a' or 1]",
        ] {
            assert!(matches!(name(bad), Err(Error::Path(_))), "{bad}");
        }
    }

    /// 20,000 elements with 200 million pairs of siblings: refused before they fill the memory.
    #[test]
    fn paths_that_lead_everywhere_are_refused() {
        let text = format!("<r>{}</r>", "<a/>".repeat(20_000));
        let document = roxmltree::Document::parse(&text).unwrap();
        for path in [
            "/*/*/following-sibling::*",
            "/*/*/following-sibling::b",
            "/*/*/following-sibling::*/following-sibling::*",
        ] {
            assert!(
                matches!(find(document.root(), path), Err(Error::PathAmbiguous(_))),
                "{path}"
            );
        }
    }
}
