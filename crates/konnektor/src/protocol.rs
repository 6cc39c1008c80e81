//! The logs (TUC_KON_271): system, security, the Fachmodul VSDM, performance. Each is a ring of bounded size, so no log
//! can fill the disk or keep the device from starting; none holds personal data.

use crate::cards::Card;
use crate::events::Event;
use crate::state::Condition;
use crate::{Failure, Inner};
use base::{ErrorKind, Severity};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use store::{Keep, LogEntry, NewEntry, Page};

/// Names under which requests are counted that never became an operation.
pub(crate) const UNAUTHENTICATED: &str = "unauthenticated";
pub(crate) const UNREADABLE: &str = "unreadable";

/// Entries of the logs other than the security log.
const ENTRIES: u32 = 50_000;

/// The logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Log {
    /// Operation.
    System,
    /// Security: everything of that type, whatever the levels say; nobody can delete from it.
    Security,
    /// Fachmodul VSDM.
    Vsdm,
    /// How long operations took (GS-A_5130); off by default.
    Performance,
}

impl Log {
    /// All of them.
    pub const ALL: [Log; 4] = [Log::System, Log::Security, Log::Vsdm, Log::Performance];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Log::System => "system",
            Log::Security => "security",
            Log::Vsdm => "vsdm",
            Log::Performance => "performance",
        }
    }
}

/// From which severity on something is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Level {
    Debug,
    Info,
    Warning,
    Error,
    Fatal,
}

impl Level {
    fn admits(self, severity: Severity) -> bool {
        let least = match self {
            // nothing here is less than an information
            Level::Debug | Level::Info => Severity::Info,
            Level::Warning => Severity::Warning,
            Level::Error => Severity::Error,
            Level::Fatal => Severity::Fatal,
        };
        severity >= least
    }
}

/// The parameters of gemSpec_Kon 4.1.10.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// LOG_LEVEL_SYSLOG.
    pub system_level: Level,
    /// FM_VSDM_LOG_LEVEL.
    pub vsdm_level: Level,
    /// LOG_DAYS, 10 to 365.
    pub system_days: u32,
    /// SECURITY_LOG_DAYS, 10 to 365.
    pub security_days: u32,
    /// FM_VSDM_LOG_DAYS, 10 to 365.
    pub vsdm_days: u32,
    /// SECURITY_LOG_SIZE in entries, 10,000 or more.
    pub security_entries: u32,
    /// Is the performance log written?
    pub performance: bool,
    /// LOG_SUCCESSFUL_CRYPTO_OPS: are signatures, logins, encryption and decryption written down (TIP1-A_4712)?
    pub crypto_operations: bool,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            system_level: Level::Warning,
            vsdm_level: Level::Warning,
            system_days: 180,
            security_days: 180,
            vsdm_days: 180,
            security_entries: 50_000,
            performance: false,
            crypto_operations: false,
        }
    }
}

impl LogSettings {
    /// Are the values within their ranges? Otherwise which rule is broken.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        let days = [self.system_days, self.security_days, self.vsdm_days];
        if !days.iter().all(|days| (10..=365).contains(days)) {
            return Err("log: days must be 10 to 365");
        }
        match self.security_entries {
            10_000..=1_000_000 => Ok(()),
            _ => Err("log.security_entries must be 10000 to 1000000"),
        }
    }

    fn days(&self, log: Log) -> u32 {
        match log {
            Log::Security => self.security_days,
            Log::Vsdm => self.vsdm_days,
            Log::System | Log::Performance => self.system_days,
        }
    }
}

/// Where something is written; `None` if it is not worth a line.
fn route(settings: &LogSettings, topic: &str, security: bool, severity: Severity) -> Option<Log> {
    let vsdm = topic.starts_with("VSDM/") || topic == "ReadVSD";
    // what an administrator does is written down whatever the levels say
    if !security && topic.starts_with("MGM/") {
        return Some(Log::System);
    }
    match (security, vsdm) {
        (true, _) => Some(Log::Security),
        (false, true) => settings.vsdm_level.admits(severity).then_some(Log::Vsdm),
        (false, false) => settings.system_level.admits(severity).then_some(Log::System),
    }
}

/// How long failures of one kind that anybody can cause are one line.
const REPEATS: Duration = Duration::from_secs(60);

/// Failures of requests by nobody known here, by kind: since when they are counted, and how many have no line of their
/// own. Otherwise anybody on the network could push everything else out of a log.
#[derive(Default)]
pub(crate) struct Repeats(Mutex<HashMap<(String, u16), (Duration, u32)>>);

impl Repeats {
    /// How many came since the last line, if this one gets a line again.
    fn count(&self, operation: &str, code: u16, now: Duration) -> Option<u32> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.get_mut(&(operation.to_owned(), code));
        match known {
            Some((since, more)) if now.saturating_sub(*since) < REPEATS => {
                *more = more.saturating_add(1);
                None
            }
            Some((since, more)) => {
                *since = now;
                Some(std::mem::take(more))
            }
            None => {
                all.insert((operation.to_owned(), code), (now, 0));
                Some(0)
            }
        }
    }
}

/// Topics that are for subscribers only (annex B, column L), as long as nothing is wrong.
fn is_for_subscribers_only(topic: &str) -> bool {
    topic.starts_with("CARD/PIN/") || topic == "CERT/CARD/EXPIRATION"
}

impl Inner {
    /// LOG/CRYPTO_OP of an operation with a card's key, if that is wanted.
    pub(crate) fn log_crypto_operation(&self, operation: &'static str, card: &Card, key: &str) {
        let parameters = vec![
            ("Operation", operation.to_owned()),
            ("Karte", card.found.kind.to_string()),
            ("Keyref", key.to_owned()),
            ("CARD_HANDLE", card.handle.to_string()),
        ];
        self.log_crypto(parameters);
    }

    /// The same of an operation without one.
    pub(crate) fn log_crypto_operation_without_card(&self, operation: &'static str) {
        self.log_crypto(vec![("Operation", operation.to_owned())]);
    }

    fn log_crypto(&self, parameters: Vec<(&'static str, String)>) {
        if self.config.log.crypto_operations {
            self.log(&Event {
                kind: "Security",
                ..Event::quiet("LOG/CRYPTO_OP", Severity::Info, parameters)
            });
        }
    }

    /// An event into its log, without personal data.
    pub(crate) fn log(&self, event: &Event) {
        let details = event.for_log();
        if event.severity >= Severity::Warning || !is_for_subscribers_only(&event.topic) {
            let security = event.kind == "Security";
            if let Some(log) = route(&self.config.log, &event.topic, security, event.severity) {
                self.write(log, &event.topic, event.severity, &details);
            }
        }
        tracing::info!(topic = event.topic, severity = %event.severity, parameters = details, "event");
    }

    /// An operation that failed, with its trace (TIP1-A_4521); `reference` stands in the fault that the caller has.
    pub(crate) fn log_failure(&self, operation: &str, failure: &Failure, reference: &str) {
        let code = failure.code();
        let security = code.kind() == ErrorKind::Security;
        let Some(log) = route(&self.config.log, operation, security, code.severity()) else {
            return;
        };
        let mut repeated = 0;
        if [UNAUTHENTICATED, UNREADABLE].contains(&operation) {
            match self.repeats.count(operation, code.number(), self.clock.elapsed()) {
                Some(more) => repeated = more,
                None => return,
            }
        }
        let mut body = serde_json::json!({
            "Error": code.number(), "Trace": failure.codes(), "Detail": failure.detail(), "Reference": reference,
        });
        if let (1.., Some(body)) = (repeated, body.as_object_mut()) {
            body.insert("Repeated".into(), repeated.into());
        }
        self.write(log, operation, code.severity(), &body.to_string());
    }

    /// How long an operation took; `code` is 0 if it succeeded.
    pub(crate) fn log_performance(&self, operation: &str, code: u16, seconds: f64) {
        if self.config.log.performance {
            let body = serde_json::json!({ "Milliseconds": (seconds * 1000.0).round(), "Error": code });
            self.write(Log::Performance, operation, Severity::Info, &body.to_string());
        }
    }

    fn write(&self, log: Log, topic: &str, severity: Severity, body: &str) {
        let now = self.clock.now();
        let settings = &self.config.log;
        let span = Duration::from_secs(u64::from(settings.days(log)) * 86_400);
        let keep = Keep {
            entries: match log {
                Log::Security => settings.security_entries,
                _ => ENTRIES,
            },
            since: now.checked_sub(span).unwrap_or_default(),
        };
        let entry = NewEntry {
            time: now,
            topic,
            severity: &severity.to_string(),
            body,
        };
        let written = self.store.log(log.name(), &entry, &keep);
        if let Err(error) = &written {
            tracing::error!(%error, log = log.name(), "log not writable");
        }
        // the events about these come here again, and then change nothing more
        if log == Log::Security || written.is_ok() {
            self.set_condition(Condition::SecurityLogNotWritable, written.is_err());
        }
        let known = || self.overflowing().is_some();
        if matches!(written, Ok(true)) && log != Log::Performance && !known() {
            // only an administrator resets it, so it must outlast a restart
            if let Err(error) = self.store.put("condition", "log-overflow", &log) {
                tracing::error!(%error, "log overflow not stored");
            }
            self.set_condition(Condition::LogOverflow, true);
        }
    }

    /// Has a failed login of this kind not been written down within the last minute?
    pub(crate) fn is_news(&self, outcome: &str) -> bool {
        self.repeats.count(outcome, 0, self.clock.elapsed()).is_some()
    }

    /// The log that has lost entries too young for that, until an administrator has taken note.
    pub(crate) fn overflowing(&self) -> Option<Log> {
        self.store.get("condition", "log-overflow").ok().flatten()
    }

    /// What lasts longer than a restart.
    pub(crate) fn restore_conditions(&self) {
        if self.overflowing().is_some() {
            self.set_condition(Condition::LogOverflow, true);
        }
    }

    /// An administrator has taken note (TIP1-A_4513).
    pub fn reset_condition(&self, name: &str) -> Result<(), Failure> {
        let resettable = [Condition::LogOverflow, Condition::CryptoperationAlarm];
        let condition = resettable
            .into_iter()
            .find(|condition| condition.describe().name == name)
            .ok_or_else(|| {
                Failure::new(
                    base::Code::SYNTAX,
                    format!("{name} cannot be reset; it ends when its cause does"),
                )
            })?;
        if condition == Condition::LogOverflow {
            self.store.delete("condition", "log-overflow")?;
        }
        self.set_condition(condition, false);
        Ok(())
    }

    /// Entries of a log, the newest first.
    pub fn read_log(&self, log: Log, page: &Page<'_>) -> Result<Vec<LogEntry>, Failure> {
        Ok(self.store.log_page(log.name(), page)?)
    }

    /// Forgets what has become older than its days. The security log is only ever shortened by its size.
    pub(crate) fn forget_old_logs(&self) {
        for log in Log::ALL.into_iter().filter(|log| *log != Log::Security) {
            let span = Duration::from_secs(u64::from(self.config.log.days(log)) * 86_400);
            let before = self.clock.now().checked_sub(span).unwrap_or_default();
            if let Err(error) = self.store.forget_log(log.name(), before) {
                tracing::error!(%error, log = log.name(), "old entries not forgotten");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_anybody_can_cause_is_one_line_a_minute() {
        let repeats = Repeats::default();
        let count = |name, code, second| repeats.count(name, code, Duration::from_secs(second));
        assert_eq!(count(UNREADABLE, 4000, 0), Some(0));
        for second in 1..60 {
            assert_eq!(count(UNREADABLE, 4000, second), None);
        }
        assert_eq!(count(UNREADABLE, 4001, 30), Some(0));
        assert_eq!(count(UNREADABLE, 4000, 60), Some(59));
        assert_eq!(count(UNREADABLE, 4000, 200), Some(0));
    }

    #[test]
    fn where_things_are_written() {
        let quiet = LogSettings::default();
        assert_eq!(route(&quiet, "CARD/INSERTED", false, Severity::Info), None);
        assert_eq!(
            route(&quiet, "CT/ERROR", false, Severity::Warning),
            Some(Log::System)
        );
        assert_eq!(
            route(&quiet, "MGM/ADMINCHANGES", false, Severity::Info),
            Some(Log::System)
        );
        assert_eq!(route(&quiet, "X", true, Severity::Info), Some(Log::Security));
        assert_eq!(
            route(&quiet, "VSDM/TI_OFFLINE", false, Severity::Error),
            Some(Log::Vsdm)
        );
        assert_eq!(route(&quiet, "ReadVSD", false, Severity::Info), None);
        let loud = LogSettings {
            system_level: Level::Info,
            vsdm_level: Level::Fatal,
            ..quiet
        };
        assert_eq!(
            route(&loud, "CARD/INSERTED", false, Severity::Info),
            Some(Log::System)
        );
        assert_eq!(route(&loud, "ReadVSD", false, Severity::Error), None);
        assert_eq!(
            route(&loud, "ReadVSD", true, Severity::Error),
            Some(Log::Security)
        );
    }
}
