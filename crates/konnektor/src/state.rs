//! The operating state (TAB_KON_503): the set of `EC_*` conditions, the only source of health for SOAP, events, metrics
//! and administration. Conditions that concern what is built so far.

use crate::Failure;
use base::id::CtId;
use base::{Code, Severity, Timestamp};
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

/// What the table says of a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Name on the wire.
    pub name: String,
    /// How bad.
    pub severity: Severity,
    /// `Operation` or `Security`.
    pub kind: &'static str,
    /// For people, German.
    pub meaning: String,
}

/// What a condition may bar (the rows of TAB_KON_504 that exist so far).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// Asking a terminal for something, and commands to cards in sessions that exist.
    Terminal,
    /// Opening a card session (TUC_KON_026).
    OpenSession,
    /// PIN operations.
    Pin,
    /// ReadCardCertificate, CheckCertificateExpiration.
    ReadCertificate,
    /// VerifyCertificate.
    VerifyCertificate,
    /// TLS to services of the TI.
    TiService,
}

impl Condition {
    /// The table TAB_KON_503.
    pub fn describe(&self) -> Description {
        use Condition as C;
        const OP: &str = "Operation";
        const SEC: &str = "Security";
        let (name, severity, kind, meaning) = match self {
            C::CardTerminalNotAvailable(id) => (
                format!("EC_CardTerminal_Not_Available({id})"),
                Severity::Error,
                OP,
                format!("Kartenterminal({id}) ist als aktiv gekennzeichnet, aber nicht verfügbar"),
            ),
            C::CardTerminalCertificateExpiresSoon(id) => (
                format!("EC_CardTerminal_gSMC-KT_Certificate_Expires_Soon({id})"),
                Severity::Info,
                OP,
                format!(
                    "Das Zertifikat der gSMC-KT im Kartenterminal({id}) läuft in weniger als 5 Wochen ab"
                ),
            ),
            C::TslUpdateNotSuccessful => (
                "EC_TSL_Update_Not_Successful".into(),
                Severity::Info,
                OP,
                "Die letzte Aktualisierung der TSL war nicht erfolgreich".into(),
            ),
            C::TslExpiring => (
                "EC_TSL_Expiring".into(),
                Severity::Info,
                SEC,
                "Die TSL läuft in höchstens 7 Tagen ab".into(),
            ),
            C::TslOutOfDateWithinGracePeriod => (
                "EC_TSL_Out_Of_Date_Within_Grace_Period".into(),
                Severity::Warning,
                SEC,
                "Die TSL ist abgelaufen, die Nachfrist läuft".into(),
            ),
            C::TslOutOfDateBeyondGracePeriod => (
                "EC_TSL_Out_Of_Date_Beyond_Grace_Period".into(),
                Severity::Fatal,
                SEC,
                "Die TSL ist abgelaufen und ihre Nachfrist vorbei: eine neue TSL muss eingespielt werden"
                    .into(),
            ),
            C::TslTrustAnchorExpiring => (
                "EC_TSL_Trust_Anchor_Expiring".into(),
                Severity::Info,
                SEC,
                "Der Vertrauensanker der TSL läuft innerhalb von 30 Tagen ab".into(),
            ),
            C::TslTrustAnchorOutOfDate => (
                "EC_TSL_Trust_Anchor_Out_Of_Date".into(),
                Severity::Fatal,
                SEC,
                "Der Vertrauensanker der TSL ist abgelaufen".into(),
            ),
            C::SecurityLogNotWritable => (
                "EC_Security_Log_Not_Writable".into(),
                Severity::Fatal,
                OP,
                "Das Sicherheitslog kann nicht geschrieben werden".into(),
            ),
        };
        Description {
            name,
            severity,
            kind,
            meaning,
        }
    }

    /// Is this function out of order while the condition holds (TAB_KON_504)?
    pub fn bars(&self, function: Function) -> bool {
        use Function as F;
        match self {
            // the EventService goes on in all of them
            Condition::SecurityLogNotWritable => true,
            Condition::TslOutOfDateBeyondGracePeriod => {
                matches!(function, F::OpenSession | F::VerifyCertificate | F::TiService)
            }
            Condition::TslTrustAnchorOutOfDate => function == F::TiService,
            _ => false,
        }
    }
}

/// Days before NextUpdate at which a list counts as expiring.
const TSL_WARN_DAYS: i64 = 7;
/// CERT_TSL_DEFAULT_GRACE_PERIOD_DAYS.
pub(crate) const TSL_GRACE_DAYS: i64 = 30;
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

/// Certificates of terminals that end sooner are reported (five weeks).
const TERMINAL_WARN_DAYS: i64 = 35;

/// EC_CardTerminal_gSMC-KT_Certificate_Expires_Soon.
pub fn terminal_certificate_expires_soon(end: i64, now: Timestamp) -> bool {
    end - now.as_second() < TERMINAL_WARN_DAYS * DAY
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

    /// May this function run now? Otherwise 4002, with the condition that bars it.
    pub fn permit(&self, function: Function) -> Result<(), Failure> {
        let conditions = self.conditions.lock().unwrap_or_else(PoisonError::into_inner);
        let barring = conditions
            .iter()
            .find(|(condition, (value, _))| *value && condition.bars(function));
        match barring {
            None => Ok(()),
            Some((condition, _)) => Err(Failure::new(Code::CRITICAL_STATE, condition.describe().name)),
        }
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

    /// A gSMC-KT lives five years: reported for exactly its last 35 days and after its end, never before.
    #[test]
    fn five_years_of_a_terminal_certificate() {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let end = start.as_second() + 5 * 365 * DAY;
        let soon: Vec<i64> = (0..6 * 365)
            .filter(|day| {
                let now = Timestamp::from_second(start.as_second() + day * DAY).unwrap();
                terminal_certificate_expires_soon(end, now)
            })
            .collect();
        assert_eq!((soon.first(), soon.len()), (Some(&(5 * 365 - 34)), 365 + 34));
    }

    #[test]
    fn a_fatal_state_bars_what_the_table_says() {
        let state = OperatingState::default();
        let now = Timestamp::UNIX_EPOCH;
        let code = |function| state.permit(function).map_err(|failure| failure.code().number());
        assert_eq!(code(Function::TiService), Ok(()));
        state.set(Condition::TslTrustAnchorOutOfDate, true, now);
        assert_eq!(code(Function::TiService), Err(4002));
        assert_eq!(code(Function::OpenSession), Ok(()));
        state.set(Condition::TslOutOfDateBeyondGracePeriod, true, now);
        assert_eq!(code(Function::OpenSession), Err(4002));
        assert_eq!(code(Function::Pin), Ok(()));
        assert_eq!(code(Function::VerifyCertificate), Err(4002));
        state.set(Condition::SecurityLogNotWritable, true, now);
        assert_eq!(code(Function::Pin), Err(4002));
        for condition in [
            Condition::TslTrustAnchorOutOfDate,
            Condition::TslOutOfDateBeyondGracePeriod,
            Condition::SecurityLogNotWritable,
        ] {
            state.set(condition, false, now);
        }
        assert_eq!(code(Function::TiService), Ok(()));
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
