//! The operating state (TAB_KON_503): the set of `EC_*` conditions, the only source of health for SOAP, events, metrics
//! and administration. Conditions that concern what is built so far.

use base::id::CtId;
use base::{Severity, Timestamp};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// A condition.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Condition {
    CardTerminalNotAvailable(CtId),
    CardTerminalCertificateExpiresSoon(CtId),
    TslUpdateNotSuccessful,
    TslExpiring,
    TslOutOfDateWithinGracePeriod,
    TslOutOfDateBeyondGracePeriod,
    TslTrustAnchorExpiring,
    TslTrustAnchorOutOfDate,
    SecurityLogNotWritable,
}

impl Condition {
    /// Name on the wire, severity, type.
    pub fn describe(&self) -> (String, Severity, &'static str) {
        use Condition as C;
        match self {
            C::CardTerminalNotAvailable(id) => (
                format!("EC_CardTerminal_Not_Available({id})"),
                Severity::Error,
                "Operation",
            ),
            C::CardTerminalCertificateExpiresSoon(id) => (
                format!("EC_CardTerminal_gSMC-KT_Certificate_Expires_Soon({id})"),
                Severity::Info,
                "Operation",
            ),
            C::TslUpdateNotSuccessful => ("EC_TSL_Update_Not_Successful".into(), Severity::Info, "Operation"),
            C::TslExpiring => ("EC_TSL_Expiring".into(), Severity::Info, "Security"),
            C::TslOutOfDateWithinGracePeriod => (
                "EC_TSL_Out_Of_Date_Within_Grace_Period".into(),
                Severity::Warning,
                "Security",
            ),
            C::TslOutOfDateBeyondGracePeriod => (
                "EC_TSL_Out_Of_Date_Beyond_Grace_Period".into(),
                Severity::Fatal,
                "Security",
            ),
            C::TslTrustAnchorExpiring => ("EC_TSL_Trust_Anchor_Expiring".into(), Severity::Info, "Security"),
            C::TslTrustAnchorOutOfDate => (
                "EC_TSL_Trust_Anchor_Out_Of_Date".into(),
                Severity::Fatal,
                "Security",
            ),
            C::SecurityLogNotWritable => (
                "EC_Security_Log_Not_Writable".into(),
                Severity::Fatal,
                "Operation",
            ),
        }
    }
}

/// Days before NextUpdate at which a list counts as expiring.
const TSL_WARN_DAYS: i64 = 7;
/// CERT_TSL_DEFAULT_GRACE_PERIOD_DAYS.
const TSL_GRACE_DAYS: i64 = 30;
const DAY: i64 = 86_400;

/// The date rules of the trust list: pure, so that a calendar can drive them through years.
pub fn trust_list_conditions(
    next_update: Timestamp,
    anchor_end: i64,
    now: Timestamp,
) -> Vec<(Condition, bool)> {
    let left = next_update.as_second() - now.as_second();
    let anchor_left = anchor_end - now.as_second();
    vec![
        (Condition::TslExpiring, (0..=TSL_WARN_DAYS * DAY).contains(&left)),
        (
            Condition::TslOutOfDateWithinGracePeriod,
            (-TSL_GRACE_DAYS * DAY..0).contains(&left),
        ),
        (
            Condition::TslOutOfDateBeyondGracePeriod,
            left < -TSL_GRACE_DAYS * DAY,
        ),
        (
            Condition::TslTrustAnchorExpiring,
            (0..=30 * DAY).contains(&anchor_left),
        ),
        (Condition::TslTrustAnchorOutOfDate, anchor_left < 0),
    ]
}

/// All conditions with their value and since when it holds.
#[derive(Debug, Default)]
pub struct OperatingState {
    conditions: Mutex<BTreeMap<Condition, (bool, Timestamp)>>,
}

impl OperatingState {
    /// Sets a condition; says whether that changed it.
    pub fn set(&self, condition: Condition, value: bool, now: Timestamp) -> bool {
        let mut conditions = self.conditions.lock().unwrap_or_else(PoisonError::into_inner);
        match conditions.get(&condition) {
            Some((before, _)) if *before == value => false,
            None if !value => {
                conditions.insert(condition, (false, now));
                false
            }
            _ => {
                conditions.insert(condition, (value, now));
                true
            }
        }
    }

    /// Forgets a condition whose subject is gone.
    pub fn forget(&self, condition: &Condition) {
        self.conditions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(condition);
    }

    /// All conditions.
    pub fn all(&self) -> Vec<(Condition, bool, Timestamp)> {
        let conditions = self.conditions.lock().unwrap_or_else(PoisonError::into_inner);
        conditions
            .iter()
            .map(|(condition, (value, since))| (condition.clone(), *value, *since))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Five years, day by day, with a list every 14 days that stops coming for 50 days: the conditions follow the
    /// calendar and heal by themselves.
    #[test]
    fn five_years_of_trust_lists() {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let day = |number: i64| Timestamp::from_second(start.as_second() + number * DAY).unwrap();
        let anchor_end = day(1700).as_second();
        let mut next_update = day(30);
        let mut fatal_days = Vec::new();
        for number in 0..5 * 365 {
            let broken = (400..460).contains(&number);
            if number % 14 == 0 && !broken {
                next_update = day(number + 30);
            }
            let now = day(number);
            let set: Vec<Condition> = trust_list_conditions(next_update, anchor_end, now)
                .into_iter()
                .filter_map(|(condition, value)| value.then_some(condition))
                .collect();
            let list = set.iter().filter(|c| {
                !matches!(
                    c,
                    Condition::TslTrustAnchorExpiring | Condition::TslTrustAnchorOutOfDate
                )
            });
            assert!(list.count() <= 1, "day {number}: {set:?}");
            if set.contains(&Condition::TslOutOfDateBeyondGracePeriod) {
                fatal_days.push(number);
            }
            assert_eq!(
                set.contains(&Condition::TslTrustAnchorOutOfDate),
                number > 1700,
                "day {number}"
            );
        }
        // the last list came on day 392: valid to 422, grace to 452, healed by the next list on day 462
        assert_eq!((fatal_days.first(), fatal_days.last()), (Some(&453), Some(&461)));
    }

    #[test]
    fn only_changes_are_reported() {
        let state = OperatingState::default();
        let now = Timestamp::UNIX_EPOCH;
        assert!(!state.set(Condition::TslExpiring, false, now));
        assert!(state.set(Condition::TslExpiring, true, now));
        assert!(!state.set(Condition::TslExpiring, true, now));
        assert!(state.set(Condition::TslExpiring, false, now));
    }
}
