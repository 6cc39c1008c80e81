use crate::cetp::CetpEvent;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use uppsala::{Document, XPathEvaluator};

/// An XPath expression a subscriber wants events to meet (TIP1-A_4598-02). Names without a prefix and with the prefix EVT
/// are those of the EventService.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Filter(String);

/// An expression that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("XPath: {0}")]
pub struct BadFilter(String);

/// Nodes one evaluation may look at: an event has some dozens.
const MAX_VISITS: usize = 20_000;
const MAX_DEPTH: u32 = 16;

impl FromStr for Filter {
    type Err = BadFilter;
    /// Tries the expression on an empty event, so that nonsense is refused when it is subscribed.
    fn from_str(text: &str) -> Result<Self, BadFilter> {
        let filter = Self(text.to_owned());
        let empty = CetpEvent {
            topic: String::new(),
            kind: String::new(),
            severity: String::new(),
            subscription: String::new(),
            parameters: Vec::new(),
        };
        filter.passes(&empty)?;
        Ok(filter)
    }
}

impl TryFrom<String> for Filter {
    type Error = BadFilter;
    fn try_from(text: String) -> Result<Self, BadFilter> {
        text.parse()
    }
}

impl From<Filter> for String {
    fn from(filter: Filter) -> String {
        filter.0
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Filter {
    /// Is the result non-empty (or true, or not zero)?
    pub fn passes(&self, event: &CetpEvent) -> Result<bool, BadFilter> {
        let with_prefix = event.to_xml();
        // XPath 1.0 has no default namespace for expressions: names without a prefix are looked for in the same event
        // without namespaces
        let without = with_prefix.replace("<EVT:", "<").replace("</EVT:", "</");
        Ok(self.holds_in(&with_prefix)? || self.holds_in(&without)?)
    }

    fn holds_in(&self, xml: &str) -> Result<bool, BadFilter> {
        let failed = |error: uppsala::XmlError| BadFilter(error.to_string());
        let mut document: Document<'_> = uppsala::parse(xml).map_err(failed)?;
        document.prepare_xpath();
        let mut evaluator = XPathEvaluator::new()
            .with_max_depth(MAX_DEPTH)
            .with_max_node_visits(MAX_VISITS);
        evaluator.add_namespace("EVT", crate::ns::EVT);
        let result = evaluator.evaluate(&document, document.root(), &self.0);
        Ok(result.map_err(failed)?.to_boolean())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(expression: &str) -> bool {
        let event = CetpEvent {
            topic: "CARD/INSERTED".into(),
            kind: "Operation".into(),
            severity: "Info".into(),
            subscription: "1".into(),
            parameters: vec![
                ("CardType".into(), "EGK".into()),
                ("CtID".into(), "KT1 <&>".into()),
            ],
        };
        expression
            .parse::<Filter>()
            .and_then(|filter| filter.passes(&event))
            .unwrap()
    }

    #[test]
    fn with_and_without_prefix() {
        assert!(passes(
            "/EVT:Event/EVT:Message/EVT:Parameter[EVT:Key='CardType' and EVT:Value='EGK']"
        ));
        assert!(passes("/Event/Message/Parameter[Key='CardType' and Value='EGK']"));
        assert!(!passes(
            "/Event/Message/Parameter[Key='CardType' and Value='HBA']"
        ));
        assert!(passes("//EVT:Value[starts-with(., 'KT1')]"));
        assert!(passes("count(//Parameter) = 2"));
        assert!(!passes("false()"));
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in ["", "/Event[", "//*[position(", "1 +", &"(".repeat(200)] {
            assert!(bad.parse::<Filter>().is_err(), "{bad}");
        }
    }
}
