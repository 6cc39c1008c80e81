//! Counters and gauges for Prometheus; one registry an instance, no globals. No numbers of cards and no names: labels say
//! where something is.

use crate::Inner;
use crate::terminals::Correlation;
use asn1::X509;
use card::CardKind;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::sync::{Mutex, PoisonError};

/// Labels of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Operation {
    /// Name of the operation.
    pub operation: String,
    /// Error code, 0 for success.
    pub code: u32,
}

/// Label of a condition.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ConditionLabel {
    /// `EC_…`.
    pub condition: String,
}

/// Label of a terminal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TerminalLabel {
    /// CtId.
    pub terminal: String,
}

/// Label of a card.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CardLabel {
    /// CtId.
    pub terminal: String,
    /// Slot from 1.
    pub slot: u32,
}

/// Label of something that ends on a date.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct EndLabel {
    /// What ends: `AK.AUT`, `SMC-B`, `trust list`, …
    pub object: String,
    /// Where it is: a curve, a terminal, a terminal's slot.
    pub place: String,
}

/// Label of an operation's duration.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OperationLabel {
    /// Name of the operation.
    pub operation: String,
}

/// All metrics of an instance.
pub struct Metrics {
    registry: Registry,
    operations: Family<Operation, Counter>,
    seconds: Family<OperationLabel, Histogram, fn() -> Histogram>,
    conditions: Family<ConditionLabel, Gauge>,
    connected: Family<TerminalLabel, Gauge>,
    ends: Family<EndLabel, Gauge>,
    open: Family<CardLabel, Gauge>,
    cards: Gauge,
    /// Held while gauges are filled: two at once would see half of them.
    filling: Mutex<()>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("langlauf");
        let new_histogram: fn() -> Histogram = || Histogram::new(exponential_buckets(0.001, 2.0, 16));
        let this = Self {
            operations: Family::default(),
            seconds: Family::new_with_constructor(new_histogram),
            conditions: Family::default(),
            connected: Family::default(),
            ends: Family::default(),
            open: Family::default(),
            cards: Gauge::default(),
            filling: Mutex::default(),
            registry: Registry::default(),
        };
        let operations = "SOAP operations by result code";
        registry.register("operations", operations, this.operations.clone());
        let duration = "Duration of SOAP operations";
        registry.register_with_unit("operation", duration, Unit::Seconds, this.seconds.clone());
        let condition = "Conditions of the operating state, 1 is set";
        registry.register("condition", condition, this.conditions.clone());
        let connected = "Active card terminals, 1 is connected";
        registry.register("terminal_connected", connected, this.connected.clone());
        let ends = "When a certificate or the trust list ends";
        registry.register_with_unit("end_timestamp", ends, Unit::Seconds, this.ends.clone());
        let open = "Inserted SM-B that a Mandant manages, 1 is unlocked";
        registry.register("smb_open", open, this.open.clone());
        registry.register("cards", "Inserted cards", this.cards.clone());
        Self { registry, ..this }
    }
}

impl Metrics {
    /// Counts one operation.
    pub fn operation(&self, name: &str, code: u16, seconds: f64) {
        let labels = Operation {
            operation: name.into(),
            code: code.into(),
        };
        self.operations.get_or_create(&labels).inc();
        let label = OperationLabel {
            operation: name.into(),
        };
        self.seconds.get_or_create(&label).observe(seconds);
    }

    fn end(&self, object: &str, place: impl Into<String>, end: i64) {
        let (object, place) = (object.to_owned(), place.into());
        self.ends.get_or_create(&EndLabel { object, place }).set(end);
    }
}

impl Inner {
    /// The text for Prometheus, with gauges as of now. What is not there any more has no line.
    pub(crate) fn metrics_text(&self) -> String {
        let metrics = &self.metrics;
        let _one = metrics.filling.lock().unwrap_or_else(PoisonError::into_inner);
        metrics.conditions.clear();
        for (condition, value, _) in self.state.all() {
            let condition = condition.describe().name;
            let gauge = metrics.conditions.get_or_create(&ConditionLabel { condition });
            gauge.set(value.into());
        }
        metrics.connected.clear();
        metrics.ends.clear();
        for terminal in self.terminals.all() {
            let id = terminal.record.config.id.to_string();
            let certificate = terminal.session.as_ref().map(|session| session.certificate());
            if let Some(certificate) = certificate.and_then(|der| X509::parse(der).ok()) {
                metrics.end("SMKT.AUT", &id, certificate.validity().1);
            }
            // of one that was only seen, or put out of use, nobody expects a connection
            if terminal.record.correlation == Correlation::Aktiv {
                let gauge = metrics.connected.get_or_create(&TerminalLabel { terminal: id });
                gauge.set(terminal.session.is_some().into());
            }
        }
        for (object, der) in self.own_certificates() {
            if let Ok(certificate) = X509::parse(&der) {
                let (object, place) = object.split_once(" ECC").unwrap_or((object, ""));
                let object = object.trim_start_matches("C.");
                metrics.end(object, place.trim(), certificate.validity().1);
            }
        }
        self.with_book(|book| {
            for family in book.families() {
                let signer = book
                    .active(family)
                    .and_then(|generation| book.registration(generation, family));
                if let Some(signer) = signer {
                    metrics.end("registration signer", "", signer.end);
                }
            }
        });
        let space = self.space();
        metrics.end("trust anchor", "", space.anchor().validity().1);
        let lists = [
            ("trust list", space.list().map(|list| list.next_update)),
            ("revocation list", space.crl().map(|crl| crl.next_update)),
            ("trusted list", space.vl().map(|vl| vl.next_update)),
        ];
        for (name, end) in lists {
            if let Some(end) = end {
                metrics.end(name, "", end.as_second());
            }
        }
        metrics.open.clear();
        let (cards, model) = (self.cards.all(), self.model());
        for card in &cards {
            let place = format!("{}/{}", card.ct_id, card.slot);
            // an eGK is the insured person's
            let aut = card
                .found
                .aut
                .as_ref()
                .filter(|_| card.found.kind != CardKind::Egk);
            if let Some(aut) = aut {
                metrics.end(card.found.kind.as_str(), place, aut.validity().1);
            }
            // one that no Mandant manages cannot be opened
            let iccsn = card.found.iccsn.as_ref();
            let managed = iccsn.is_some_and(|iccsn| model.managers(iccsn).next().is_some());
            if card.found.kind == CardKind::SmcB && managed {
                let label = CardLabel {
                    terminal: card.ct_id.to_string(),
                    slot: card.slot.number().into(),
                };
                metrics
                    .open
                    .get_or_create(&label)
                    .set(card.is_open("PIN.SMC").into());
            }
        }
        metrics.cards.set(cards.len() as i64);
        let mut text = String::new();
        match encode(&mut text, &metrics.registry) {
            Ok(()) => text,
            Err(_) => String::new(),
        }
    }
}
