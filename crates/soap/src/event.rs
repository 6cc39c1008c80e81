//! EventService 7.2.

use crate::read::{attribute_flag, context, number};
use crate::{CardElement, Malformed, Request, Status, Writer, children, descend, ns, optional, required};
use roxmltree::Node;

/// What GetResourceInformation asks about; nothing set is the Konnektor itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Resource {
    pub ct_id: Option<String>,
    pub slot: Option<u8>,
    pub iccsn: Option<String>,
    pub handle: Option<String>,
}

pub(crate) fn decode(body: Node<'_, '_>) -> Result<Request, Malformed> {
    let context = context(body)?;
    let mandant_wide = attribute_flag(body, "mandant-wide")?;
    let slot = || {
        optional(body, ns::CARDCMN, "SlotId")
            .map(|text| number(&text))
            .transpose()
    };
    let subscription = || optional(body, ns::EVT, "SubscriptionID").filter(|id| !id.is_empty());
    match body.tag_name().name() {
        "GetCards" => Ok(Request::GetCards {
            context,
            mandant_wide,
            ct_id: optional(body, ns::CARDCMN, "CtId"),
            slot: slot()?,
            card_type: optional(body, ns::CARDCMN, "CardType"),
        }),
        "GetCardTerminals" => Ok(Request::GetCardTerminals {
            context,
            mandant_wide,
        }),
        "GetResourceInformation" => Ok(Request::GetResourceInformation {
            context,
            resource: Resource {
                ct_id: optional(body, ns::CARDCMN, "CtId"),
                slot: slot()?,
                iccsn: optional(body, ns::CARDCMN, "Iccsn"),
                handle: optional(body, ns::CONN, "CardHandle"),
            },
        }),
        "Subscribe" => {
            let subscription = descend(body, ns::EVT, "Subscription")?;
            let event_to = required(subscription, ns::EVT, "EventTo")?;
            if !event_to.starts_with("cetp://") || event_to.len() > 256 {
                return Err(Malformed("EventTo must be cetp://host:port".into()));
            }
            let bounded = |text: String| {
                if text.len() <= 1024 {
                    Ok(text)
                } else {
                    Err(Malformed("text longer than 1024".into()))
                }
            };
            Ok(Request::Subscribe {
                context,
                event_to,
                topic: bounded(optional(subscription, ns::EVT, "Topic").unwrap_or_default())?,
                filter: optional(subscription, ns::EVT, "Filter")
                    .filter(|f| !f.is_empty())
                    .map(bounded)
                    .transpose()?,
            })
        }
        "Unsubscribe" => {
            let (subscription, event_to) = (subscription(), optional(body, ns::EVT, "EventTo"));
            if subscription.is_none() && event_to.is_none() {
                return Err(Malformed("SubscriptionID or EventTo expected".into()));
            }
            Ok(Request::Unsubscribe {
                context,
                subscription,
                event_to,
            })
        }
        "RenewSubscriptions" => {
            let list = children(body, ns::EVT, "SubscriptionID").filter_map(|node| node.text());
            let subscriptions: Vec<String> = list.map(|text| text.trim().to_owned()).collect();
            if subscriptions.is_empty() || subscriptions.len() > 1000 {
                return Err(Malformed("1 to 1000 SubscriptionID expected".into()));
            }
            Ok(Request::RenewSubscriptions {
                context,
                subscriptions,
            })
        }
        "GetSubscription" => Ok(Request::GetSubscription {
            context,
            mandant_wide,
            subscription: subscription(),
        }),
        other => Err(Malformed(format!("operation {other} unknown in EventService"))),
    }
}

const NAMESPACES: [(&str, &str); 6] = [
    ("xmlns:EVT", ns::EVT),
    ("xmlns:CONN", ns::CONN),
    ("xmlns:CARD", ns::CARD),
    ("xmlns:CARDCMN", ns::CARDCMN),
    ("xmlns:CT", ns::CTINFO),
    ("xmlns:PI", ns::PI),
];

fn response(name: &str, status: &Status, fill: impl FnOnce(&mut Writer)) -> String {
    let name = format!("EVT:{name}Response");
    let mut out = Writer::new();
    out.open(&name, &NAMESPACES);
    status.write(&mut out);
    fill(&mut out);
    out.close(&name);
    out.finish()
}

/// Answer to GetCards.
pub fn cards_response(status: &Status, cards: &[&CardElement]) -> String {
    response("GetCards", status, |out| {
        out.open("CARD:Cards", &[]);
        cards.iter().for_each(|card| {
            out.raw(card.as_str());
        });
        out.close("CARD:Cards");
    })
}

/// A card terminal as the services describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct TerminalInfo {
    /// The `PI:ProductInformation` element.
    pub product: String,
    pub ct_id: String,
    pub workplaces: Vec<String>,
    pub name: String,
    pub mac: String,
    pub ipv4: Option<String>,
    pub slots: u8,
    pub physical: bool,
    pub connected: bool,
}

fn terminal_element(out: &mut Writer, terminal: &TerminalInfo) {
    out.open("CT:CardTerminal", &[]);
    out.raw(&terminal.product).leaf("CARDCMN:CtId", &terminal.ct_id);
    out.open("CONN:WorkplaceIds", &[]);
    terminal.workplaces.iter().for_each(|id| {
        out.leaf("CONN:WorkplaceId", id);
    });
    out.close("CONN:WorkplaceIds");
    out.leaf("CT:Name", &terminal.name)
        .leaf("CT:MacAddress", &terminal.mac);
    if let Some(address) = &terminal.ipv4 {
        out.open("CT:IPAddress", &[])
            .leaf("CT:IPV4Address", address)
            .close("CT:IPAddress");
    }
    out.leaf("CT:Slots", &terminal.slots.to_string())
        .leaf("CT:IS_PHYSICAL", &terminal.physical.to_string())
        .leaf("CT:Connected", &terminal.connected.to_string());
    out.close("CT:CardTerminal");
}

/// Answer to GetCardTerminals.
pub fn terminals_response(status: &Status, terminals: &[TerminalInfo]) -> String {
    response("GetCardTerminals", status, |out| {
        out.open("CT:CardTerminals", &[]);
        terminals
            .iter()
            .for_each(|terminal| terminal_element(out, terminal));
        out.close("CT:CardTerminals");
    })
}

/// One condition of the operating state.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ErrorState {
    pub condition: String,
    pub severity: &'static str,
    pub kind: &'static str,
    pub value: bool,
    /// RFC 3339.
    pub since: String,
}

/// State of the Konnektor.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ConnectorState {
    pub vpn_ti: bool,
    pub vpn_sis: bool,
    /// RFC 3339.
    pub since: String,
    pub conditions: Vec<ErrorState>,
}

/// Answer to GetResourceInformation.
pub fn resource_response(
    status: &Status,
    card: Option<&CardElement>,
    terminal: Option<&TerminalInfo>,
    connector: Option<&ConnectorState>,
) -> String {
    response("GetResourceInformation", status, |out| {
        if let Some(card) = card {
            out.raw(card.as_str());
        }
        if let Some(terminal) = terminal {
            terminal_element(out, terminal);
        }
        if let Some(state) = connector {
            out.open("CONN:Connector", &[]);
            for (name, online) in [
                ("CONN:VPNTIStatus", state.vpn_ti),
                ("CONN:VPNSISStatus", state.vpn_sis),
            ] {
                out.open(name, &[]);
                out.leaf("CONN:ConnectionStatus", if online { "Online" } else { "Offline" });
                out.leaf("CONN:Timestamp", &state.since);
                out.close(name);
            }
            out.open("CONN:OperatingState", &[]);
            for condition in &state.conditions {
                out.open("CONN:ErrorState", &[]);
                out.leaf("CONN:ErrorCondition", &condition.condition)
                    .leaf("CONN:Severity", condition.severity)
                    .leaf("CONN:Type", condition.kind)
                    .leaf("CONN:Value", &condition.value.to_string())
                    .leaf("CONN:ValidFrom", &condition.since);
                out.close("CONN:ErrorState");
            }
            out.close("CONN:OperatingState").close("CONN:Connector");
        }
    })
}

/// A subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Subscription {
    pub id: String,
    /// RFC 3339.
    pub until: String,
    pub event_to: String,
    pub topic: String,
    pub filter: Option<String>,
}

/// Answer to Subscribe.
pub fn subscribe_response(status: &Status, id: &str, until: &str) -> String {
    response("Subscribe", status, |out| {
        out.leaf("EVT:SubscriptionID", id)
            .leaf("EVT:TerminationTime", until);
    })
}

/// Answer to Unsubscribe.
pub fn unsubscribe_response(status: &Status) -> String {
    response("Unsubscribe", status, |_| {})
}

/// Answer to RenewSubscriptions: id and new end.
pub fn renew_response(status: &Status, renewed: &[(String, String)]) -> String {
    response("RenewSubscriptions", status, |out| {
        out.open("EVT:SubscribeRenewals", &[]);
        for (id, until) in renewed {
            out.open("EVT:SubscriptionRenewal", &[]);
            out.leaf("EVT:SubscriptionID", id)
                .leaf("EVT:TerminationTime", until);
            out.close("EVT:SubscriptionRenewal");
        }
        out.close("EVT:SubscribeRenewals");
    })
}

/// Answer to GetSubscription.
pub fn subscriptions_response(status: &Status, list: &[Subscription]) -> String {
    response("GetSubscription", status, |out| {
        out.open("EVT:Subscriptions", &[]);
        for one in list {
            out.open("EVT:Subscription", &[]);
            out.leaf("EVT:SubscriptionID", &one.id)
                .leaf("EVT:TerminationTime", &one.until)
                .leaf("EVT:EventTo", &one.event_to)
                .leaf("EVT:Topic", &one.topic);
            out.maybe("EVT:Filter", one.filter.as_deref());
            out.close("EVT:Subscription");
        }
        out.close("EVT:Subscriptions");
    })
}
