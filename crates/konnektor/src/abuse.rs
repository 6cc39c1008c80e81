//! Watching for abuse (TIP1-A_4597): per workplace, the sum of an operation's calls over ten minutes, failures counting
//! more than successes. Beyond the alarm value a condition is set, which only an administrator resets.

use crate::Inner;
use crate::state::Condition;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const WINDOW: Duration = Duration::from_secs(600);
/// OK_Val and NOK_Val; fixed.
const SUCCESS: u32 = 1;
const FAILURE: u32 = 5;
/// Most workplaces that are watched; the information model has an end too.
const WORKPLACES: usize = 10_000;

/// Alarm values of EVT_MONITOR_OPERATIONS, 0 to 9999; 0 is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlarmSettings {
    /// EncryptDocument.
    pub encrypt_document: u32,
    /// DecryptDocument.
    pub decrypt_document: u32,
    /// SignDocument with an SM-B. The default is soon reached in a pharmacy or a hospital.
    pub sign_document: u32,
    /// VerifyDocument.
    pub verify_document: u32,
    /// VerifyCertificate.
    pub verify_certificate: u32,
}

impl Default for AlarmSettings {
    fn default() -> Self {
        Self {
            encrypt_document: 101,
            decrypt_document: 101,
            sign_document: 41,
            verify_document: 61,
            verify_certificate: 401,
        }
    }
}

impl AlarmSettings {
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        let all = [
            self.encrypt_document,
            self.decrypt_document,
            self.sign_document,
            self.verify_document,
            self.verify_certificate,
        ];
        match all.iter().all(|value| *value <= 9_999) {
            true => Ok(()),
            false => Err("alarm values must be 0 to 9999"),
        }
    }

    fn of(&self, operation: &str) -> u32 {
        match operation {
            "EncryptDocument" => self.encrypt_document,
            "DecryptDocument" => self.decrypt_document,
            "SignDocument" => self.sign_document,
            "VerifyDocument" => self.verify_document,
            "VerifyCertificate" => self.verify_certificate,
            _ => 0,
        }
    }
}

/// What raised the alarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// Name of the operation.
    pub operation: &'static str,
    /// Sum over the window.
    pub count: u32,
    /// Where.
    pub workplace: String,
}

/// When, and what each counts.
type Calls = VecDeque<(Duration, u32)>;

/// Sums by operation and workplace.
#[derive(Default)]
pub struct Monitor {
    calls: Mutex<HashMap<(&'static str, String), Calls>>,
    last: Mutex<Option<Alarm>>,
}

impl Monitor {
    /// Counts a call; the alarm if the sum is beyond `limit`.
    fn count(
        &self,
        operation: &'static str,
        workplace: &str,
        good: bool,
        limit: u32,
        now: Duration,
    ) -> Option<Alarm> {
        if limit == 0 {
            return None;
        }
        let mut all = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (operation, workplace.to_owned());
        if all.len() >= WORKPLACES && !all.contains_key(&key) {
            all.retain(|_, calls| {
                calls
                    .back()
                    .is_some_and(|(when, _)| now.saturating_sub(*when) < WINDOW)
            });
            if all.len() >= WORKPLACES {
                return None;
            }
        }
        let calls = all.entry(key).or_default();
        while calls
            .front()
            .is_some_and(|(when, _)| now.saturating_sub(*when) >= WINDOW)
        {
            calls.pop_front();
        }
        calls.push_back((now, if good { SUCCESS } else { FAILURE }));
        let count = calls.iter().map(|(_, value)| value).sum();
        if count <= limit {
            return None;
        }
        // one alarm for each excess, and bounded memory
        calls.clear();
        Some(Alarm {
            operation,
            count,
            workplace: workplace.to_owned(),
        })
    }

    /// The last alarm.
    pub(crate) fn last(&self) -> Option<Alarm> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Inner {
    /// An operation has been called from a workplace.
    pub(crate) fn watch_for_abuse(&self, operation: &'static str, workplace: &str, good: bool) {
        // a name that somebody made up would be one nobody can look after
        if !self
            .model()
            .workplaces
            .iter()
            .any(|known| known.id.as_str() == workplace)
        {
            return;
        }
        let limit = self.config.alarm.of(operation);
        let now = self.clock.elapsed();
        if let Some(alarm) = self.monitor.count(operation, workplace, good, limit, now) {
            tracing::warn!(
                operation,
                workplace,
                count = alarm.count,
                "unusually many operations"
            );
            *self.monitor.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(alarm);
            self.set_condition(Condition::CryptoperationAlarm, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_over_ten_minutes() {
        let monitor = Monitor::default();
        let count = |workplace: &str, good, second| {
            monitor.count(
                "VerifyCertificate",
                workplace,
                good,
                10,
                Duration::from_secs(second),
            )
        };
        for second in 0..10 {
            assert_eq!(count("A", true, second), None);
        }
        assert_eq!(count("B", false, 10), None);
        assert_eq!(count("A", true, 600), None, "the first has left the window");
        let alarm = count("A", true, 600).unwrap();
        assert_eq!((alarm.count, alarm.workplace.as_str()), (11, "A"));
        assert_eq!(count("B", false, 11), None);
        assert_eq!(count("B", true, 12).unwrap().count, 11);
        assert_eq!(
            monitor.count("VerifyCertificate", "C", false, 0, Duration::ZERO),
            None
        );
    }
}
