//! Counters and gauges for Prometheus; one registry an instance, no globals.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

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

/// All metrics of an instance.
pub struct Metrics {
    registry: Registry,
    operations: Family<Operation, Counter>,
    seconds: Histogram,
    conditions: Family<ConditionLabel, Gauge>,
    connected: Family<TerminalLabel, Gauge>,
    cards: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("langlauf");
        let operations = Family::default();
        let seconds = Histogram::new(exponential_buckets(0.001, 2.0, 16));
        let (conditions, connected, cards) = (Family::default(), Family::default(), Gauge::default());
        registry.register("operations", "SOAP operations by result code", operations.clone());
        registry.register(
            "operation_seconds",
            "Duration of SOAP operations",
            seconds.clone(),
        );
        registry.register(
            "condition",
            "Conditions of the operating state, 1 is set",
            conditions.clone(),
        );
        registry.register(
            "terminal_connected",
            "Card terminals, 1 is connected",
            connected.clone(),
        );
        registry.register("cards", "Inserted cards", cards.clone());
        Self {
            registry,
            operations,
            seconds,
            conditions,
            connected,
            cards,
        }
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
        self.seconds.observe(seconds);
    }

    /// The text for Prometheus, with gauges as of now.
    pub fn render(
        &self,
        conditions: &[(String, bool)],
        terminals: &[(String, bool)],
        cards: usize,
    ) -> String {
        for (condition, value) in conditions {
            let label = ConditionLabel {
                condition: condition.clone(),
            };
            self.conditions.get_or_create(&label).set((*value).into());
        }
        for (terminal, connected) in terminals {
            let label = TerminalLabel {
                terminal: terminal.clone(),
            };
            self.connected.get_or_create(&label).set((*connected).into());
        }
        self.cards.set(cards as i64);
        let mut text = String::new();
        match encode(&mut text, &self.registry) {
            Ok(()) => text,
            Err(_) => String::new(),
        }
    }
}
