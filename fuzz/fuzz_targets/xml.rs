#![no_main]
//! Counting before parsing: what a parser accepts must not have more of anything than was counted.
use base::xml::{Measure, check, measure};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = check(text);
    let all = Measure {
        depth: usize::MAX,
        attributes: usize::MAX,
        namespaces: usize::MAX,
    };
    let counted = measure(text, &all).expect("no limits");
    let Ok(document) = roxmltree::Document::parse(text) else { return };
    for node in document.descendants().filter(|node| node.is_element()) {
        let depth = node.ancestors().filter(|node| node.is_element()).count();
        assert!(depth <= counted.depth, "{depth} {counted:?}");
        let declared = node.namespaces().len().saturating_sub(
            node.parent_element().map_or(0, |parent| parent.namespaces().len()),
        );
        assert!(node.attributes().len() + declared <= counted.attributes, "{counted:?}");
    }
});
