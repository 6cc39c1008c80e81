//! CETP: events pushed to practice systems (TIP1-A_4596): `CETP`, four bytes of length, an XML `Event`.

use crate::{Malformed, Writer, children, ns, optional, required};
use base::limits;

/// An event as it goes to subscribers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CetpEvent {
    /// Topic, e.g. `CARD/INSERTED`.
    pub topic: String,
    /// `Operation` or `Security`.
    pub kind: String,
    /// `Info` to `Fatal`.
    pub severity: String,
    /// The subscription it answers; empty for BOOTUP_COMPLETE.
    pub subscription: String,
    /// Parameters in order.
    pub parameters: Vec<(String, String)>,
}

impl CetpEvent {
    /// The `Event` element.
    pub fn to_xml(&self) -> String {
        let mut out = Writer::new();
        out.open("EVT:Event", &[("xmlns:EVT", ns::EVT)]);
        out.leaf("EVT:Topic", &self.topic)
            .leaf("EVT:Type", &self.kind)
            .leaf("EVT:Severity", &self.severity)
            .leaf("EVT:SubscriptionID", &self.subscription);
        out.open("EVT:Message", &[]);
        for (key, value) in &self.parameters {
            out.open("EVT:Parameter", &[])
                .leaf("EVT:Key", key)
                .leaf("EVT:Value", value)
                .close("EVT:Parameter");
        }
        out.close("EVT:Message").close("EVT:Event");
        out.finish()
    }

    /// The whole frame.
    pub fn encode(&self) -> Vec<u8> {
        let xml = self.to_xml();
        let mut frame = b"CETP".to_vec();
        frame.extend((xml.len() as u32).to_be_bytes());
        frame.extend_from_slice(xml.as_bytes());
        frame
    }

    /// Reads a frame (a client's side, and tests).
    pub fn decode(frame: &[u8]) -> Result<Self, Malformed> {
        let bad = |reason: &str| Malformed(format!("CETP: {reason}"));
        let rest = frame.strip_prefix(b"CETP").ok_or_else(|| bad("magic"))?;
        let (length, xml) = rest.split_first_chunk::<4>().ok_or_else(|| bad("length"))?;
        let length = u32::from_be_bytes(*length) as usize;
        if length > limits::CETP_MESSAGE || length != xml.len() {
            return Err(bad("length"));
        }
        let xml = std::str::from_utf8(xml).map_err(|_| bad("encoding"))?;
        base::xml::check(xml).map_err(|error| bad(&error.to_string()))?;
        let document = roxmltree::Document::parse(xml).map_err(|_| bad("XML"))?;
        let event = document.root_element();
        let message = crate::descend(event, ns::EVT, "Message")?;
        let parameters = children(message, ns::EVT, "Parameter").map(|parameter| {
            Ok((
                required(parameter, ns::EVT, "Key")?,
                optional(parameter, ns::EVT, "Value").unwrap_or_default(),
            ))
        });
        Ok(Self {
            topic: required(event, ns::EVT, "Topic")?,
            kind: required(event, ns::EVT, "Type")?,
            severity: required(event, ns::EVT, "Severity")?,
            subscription: optional(event, ns::EVT, "SubscriptionID").unwrap_or_default(),
            parameters: parameters.collect::<Result<_, Malformed>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_round_trip_and_broken_ones_are_refused() {
        let event = CetpEvent {
            topic: "CARD/INSERTED".into(),
            kind: "Operation".into(),
            severity: "Info".into(),
            subscription: "S1".into(),
            parameters: vec![
                ("CardType".into(), "EGK".into()),
                ("CardHolderName".into(), "Müller & <Co>".into()),
            ],
        };
        let frame = event.encode();
        assert_eq!(CetpEvent::decode(&frame).unwrap(), event);
        for cut in 0..frame.len() {
            assert!(CetpEvent::decode(&frame[..cut]).is_err());
        }
    }
}
