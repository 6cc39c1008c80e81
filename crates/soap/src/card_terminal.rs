//! CardTerminalService 1.1.

use crate::read::{context, number};
use crate::{CardElement, Malformed, Request, Status, Writer, children, descend, ns, optional, required};
use roxmltree::Node;

/// A slot of a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// CtId.
    pub ct_id: String,
    /// SlotId, from 1.
    pub slot: u8,
}

/// What is to be ejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EjectTarget {
    /// The card with this handle.
    Handle(String),
    /// Whatever is in this slot.
    Slot(Slot),
}

fn slot(node: Node<'_, '_>) -> Result<Slot, Malformed> {
    Ok(Slot {
        ct_id: required(node, ns::CARDCMN, "CtId")?,
        slot: number(&required(node, ns::CARDCMN, "SlotId")?)?,
    })
}

pub(crate) fn decode(body: Node<'_, '_>) -> Result<Request, Malformed> {
    let context = context(body)?;
    let message = optional(body, ns::CT, "DisplayMsg");
    if message.as_ref().is_some_and(|text| text.chars().count() > 48) {
        return Err(Malformed("DisplayMsg has more than 48 characters".into()));
    }
    let timeout = optional(body, ns::CT, "TimeOut")
        .map(|text| number(&text))
        .transpose()?;
    match body.tag_name().name() {
        "RequestCard" => Ok(Request::RequestCard {
            context,
            slot: slot(descend(body, ns::CT, "Slot")?)?,
            card_type: optional(body, ns::CARDCMN, "CardType"),
            message,
            timeout_s: timeout,
        }),
        "EjectCard" => {
            let target = match children(body, ns::CT, "Slot").next() {
                Some(node) => EjectTarget::Slot(slot(node)?),
                None => EjectTarget::Handle(required(body, ns::CONN, "CardHandle")?),
            };
            Ok(Request::EjectCard {
                context,
                target,
                message,
                timeout_ms: timeout,
            })
        }
        other => Err(Malformed(format!(
            "operation {other} unknown in CardTerminalService"
        ))),
    }
}

const NAMESPACES: [(&str, &str); 4] = [
    ("xmlns:CT", ns::CT),
    ("xmlns:CONN", ns::CONN),
    ("xmlns:CARD", ns::CARD),
    ("xmlns:CARDCMN", ns::CARDCMN),
];

/// Answer to RequestCard.
pub fn request_card_response(status: &Status, already: Option<bool>, card: Option<&CardElement>) -> String {
    let mut out = Writer::new();
    out.open("CT:RequestCardResponse", &NAMESPACES);
    status.write(&mut out);
    out.maybe(
        "CT:AlreadyInserted",
        already.map(|already| already.to_string()).as_deref(),
    );
    if let Some(card) = card {
        out.raw(card.as_str());
    }
    out.close("CT:RequestCardResponse");
    out.finish()
}

/// Answer to EjectCard.
pub fn eject_response(status: &Status) -> String {
    let mut out = Writer::new();
    out.open("CT:EjectCardResponse", &NAMESPACES);
    status.write(&mut out);
    out.close("CT:EjectCardResponse");
    out.finish()
}
