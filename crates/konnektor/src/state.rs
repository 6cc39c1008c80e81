//! The operating state (TAB_KON_503): the set of `EC_*` conditions, the only source of health for SOAP, events, metrics
//! and administration, and what they bar (TAB_KON_504). Both tables stand here whole; a condition whose subject is not
//! built yet is never set.

use crate::Failure;
use base::id::CtId;
use base::{Code, Severity, Timestamp};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A condition.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Condition {
    CardTerminalSoftwareOutOfDate(CtId),
    CardTerminalCertificateExpiresSoon(CtId),
    CardTerminalNotAvailable(CtId),
    ConnectorSoftwareOutOfDate,
    FwUpdateAvailable,
    FwNotValidStatusBlocked,
    TimeSyncNotSuccessful,
    TimeSyncPendingWarning,
    TimeSyncPendingCritical,
    TimeDifferenceIntolerable,
    TslUpdateNotSuccessful,
    TslExpiring,
    TslOutOfDateWithinGracePeriod,
    TslOutOfDateBeyondGracePeriod,
    TslTrustAnchorExpiring,
    TslTrustAnchorOutOfDate,
    BnetzaVlUpdateNotSuccessful,
    BnetzaVlNotValid,
    CrlExpiring,
    CrlOutOfDate,
    LogOverflow,
    NoVpnTiConnection,
    NoVpnSisConnection,
    NoOnlineConnection,
    IpAddressesNotAvailable,
    FirewallNotReliable,
    RandomGeneratorNotReliable,
    SecureKeyStoreNotAvailable,
    SecurityLogNotWritable,
    SoftwareIntegrityCheckFailed,
    CryptoperationAlarm,
    NkCertificateExpiring,
    NkCertificateExpired,
    TlsClientCertificateSecurity,
    OtherErrorState(Other),
}

/// States of our own (EC_OTHER_ERROR_STATE), numbered from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Other {
    /// Something in the trust list was not believed and the last good one of it goes on.
    TrustListEntryRefused,
}

impl Other {
    fn number(self) -> u8 {
        match self {
            Other::TrustListEntryRefused => 1,
        }
    }
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
    /// After how long at the latest it must be seen.
    pub detection: Duration,
    /// For people, German.
    pub meaning: String,
}

/// What a condition may bar: the rows of TAB_KON_504.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// Operations of the EventService.
    EventService,
    /// Asking a terminal for something, and commands to cards in sessions that exist.
    Terminal,
    /// Opening a card session (TUC_KON_026).
    OpenSession,
    /// PIN operations, encryption, signatures, authentication.
    Pin,
    /// ReadCardCertificate, CheckCertificateExpiration.
    ReadCertificate,
    /// VerifyCertificate.
    VerifyCertificate,
    /// TLS to services of the TI, tunnels.
    TiService,
    /// Administration other than updates, reading logs and the factory reset, which are never barred.
    Management,
}

/// The columns of TAB_KON_504: the fatal states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Integrity,
    Random,
    Log,
    Time,
    Crl,
    TslGrace,
    Anchor,
    KeyStore,
    Firmware,
    NkCertificate,
    /// Not in the table: with an unreliable firewall the device is not usable at all (A_16203).
    Firewall,
}

impl Function {
    /// The row: what is allowed in I R L T C G A K B N, and last with an unreliable firewall.
    fn allowed(self) -> [bool; 11] {
        let row = match self {
            Function::EventService => b"-xxxxxxxx--",
            Function::Terminal => b"----xxx-x--",
            Function::OpenSession => b"----x-x----",
            Function::Pin => b"----xxx-x--",
            Function::ReadCertificate => b"----xxxxx--",
            Function::VerifyCertificate => b"----x-xxx--",
            Function::TiService => b"-----------",
            Function::Management => b"-xxxxxxxxx-",
        };
        row.map(|mark| mark == b'x')
    }
}

const SECOND: Duration = Duration::from_secs(1);
const DAY_LONG: Duration = Duration::from_secs(86_400);

impl Condition {
    /// The table TAB_KON_503.
    pub fn describe(&self) -> Description {
        use Condition as C;
        use Severity::{Error, Fatal, Info, Warning};
        const OP: &str = "Operation";
        const SEC: &str = "Security";
        let (name, kind, severity, detection, meaning) = match self {
            C::CardTerminalSoftwareOutOfDate(_) => (
                "CardTerminal_Software_Out_Of_Date",
                OP,
                Info,
                DAY_LONG,
                "Die Firmware des Kartenterminals ist nicht aktuell",
            ),
            C::CardTerminalCertificateExpiresSoon(_) => (
                "CardTerminal_gSMC-KT_Certificate_Expires_Soon",
                OP,
                Info,
                DAY_LONG.saturating_mul(7),
                "Das Zertifikat der gSMC-KT läuft in weniger als 5 Wochen ab",
            ),
            C::CardTerminalNotAvailable(_) => (
                "CardTerminal_Not_Available",
                OP,
                Error,
                SECOND,
                "Das Kartenterminal ist als aktiv gekennzeichnet, aber nicht verfügbar",
            ),
            C::ConnectorSoftwareOutOfDate => (
                "Connector_Software_Out_Of_Date",
                OP,
                Info,
                DAY_LONG,
                "Es gibt ein kritisches Update für den Konnektor",
            ),
            C::FwUpdateAvailable => ("FW_Update_Available", OP, Info, DAY_LONG, "Es gibt neue Firmware"),
            C::FwNotValidStatusBlocked => (
                "FW_Not_Valid_Status_Blocked",
                SEC,
                Fatal,
                DAY_LONG,
                "Die Frist für ein kritisches Update ist abgelaufen, der TI-Zugang ist gesperrt",
            ),
            C::TimeSyncNotSuccessful => (
                "Time_Sync_Not_Successful",
                OP,
                Info,
                SECOND,
                "Die letzte Zeitsynchronisation ist fehlgeschlagen",
            ),
            C::TimeSyncPendingWarning => (
                "Time_Sync_Pending_Warning",
                SEC,
                Warning,
                DAY_LONG,
                "Seit mehr als 30 Tagen keine Zeitsynchronisation",
            ),
            C::TimeSyncPendingCritical => (
                "Time_Sync_Pending_Critical",
                SEC,
                Fatal,
                DAY_LONG,
                "Seit mehr als 50 Tagen keine Zeitsynchronisation",
            ),
            C::TimeDifferenceIntolerable => (
                "Time_Difference_Intolerable",
                SEC,
                Fatal,
                SECOND,
                "Die Zeit weicht um mehr als eine Stunde von der des Zeitservers ab",
            ),
            C::TslUpdateNotSuccessful => (
                "TSL_Update_Not_Successful",
                OP,
                Info,
                SECOND,
                "Die letzte Aktualisierung der TSL war nicht erfolgreich",
            ),
            C::TslExpiring => (
                "TSL_Expiring",
                SEC,
                Info,
                DAY_LONG,
                "Die TSL läuft in höchstens 7 Tagen ab",
            ),
            C::TslOutOfDateWithinGracePeriod => (
                "TSL_Out_Of_Date_Within_Grace_Period",
                SEC,
                Warning,
                DAY_LONG,
                "Die TSL ist abgelaufen, die Nachfrist läuft",
            ),
            C::TslOutOfDateBeyondGracePeriod => (
                "TSL_Out_Of_Date_Beyond_Grace_Period",
                SEC,
                Fatal,
                DAY_LONG,
                "Die TSL ist abgelaufen und ihre Nachfrist vorbei: eine neue TSL muss eingespielt werden",
            ),
            C::TslTrustAnchorExpiring => (
                "TSL_Trust_Anchor_Expiring",
                SEC,
                Info,
                DAY_LONG,
                "Der Vertrauensanker der TSL läuft innerhalb von 30 Tagen ab",
            ),
            C::TslTrustAnchorOutOfDate => (
                "TSL_Trust_Anchor_Out_Of_Date",
                SEC,
                Fatal,
                DAY_LONG,
                "Der Vertrauensanker der TSL ist abgelaufen",
            ),
            C::BnetzaVlUpdateNotSuccessful => (
                "BNetzA_VL_Update_Not_Successful",
                OP,
                Info,
                SECOND,
                "Die letzte Aktualisierung der BNetzA-VL war nicht erfolgreich",
            ),
            C::BnetzaVlNotValid => (
                "BNetzA_VL_not_valid",
                SEC,
                Warning,
                DAY_LONG,
                "Die BNetzA-VL ist abgelaufen: qualifizierte Zertifikate können nicht geprüft werden",
            ),
            C::CrlExpiring => (
                "CRL_Expiring",
                SEC,
                Warning,
                DAY_LONG,
                "Die CRL läuft in weniger als 3 Tagen ab",
            ),
            C::CrlOutOfDate => ("CRL_Out_Of_Date", SEC, Fatal, DAY_LONG, "Die CRL ist abgelaufen"),
            C::LogOverflow => (
                "LOG_OVERFLOW",
                OP,
                Warning,
                SECOND,
                "Protokolleinträge wurden vor Ablauf ihrer Aufbewahrungsfrist überschrieben",
            ),
            C::NoVpnTiConnection => (
                "No_VPN_TI_Connection",
                OP,
                Error,
                Duration::from_secs(300),
                "Es besteht kein VPN-Tunnel zur TI",
            ),
            C::NoVpnSisConnection => (
                "No_VPN_SIS_Connection",
                OP,
                Error,
                Duration::from_secs(300),
                "Es besteht kein VPN-Tunnel zum SIS",
            ),
            C::NoOnlineConnection => (
                "No_Online_Connection",
                OP,
                Error,
                Duration::from_secs(10),
                "Das Transportnetz ist nicht erreichbar",
            ),
            C::IpAddressesNotAvailable => (
                "IP_Adresses_Not_Available",
                SEC,
                Error,
                SECOND,
                "Eigene IP-Adressen fehlen oder sind falsch",
            ),
            C::FirewallNotReliable => (
                "Firewall_Not_Reliable",
                SEC,
                Fatal,
                SECOND,
                "Die Firewall-Regeln konnten nicht geladen werden",
            ),
            C::RandomGeneratorNotReliable => (
                "Random_Generator_Not_Reliable",
                SEC,
                Fatal,
                SECOND,
                "Der Zufallszahlengenerator ist nicht zuverlässig",
            ),
            C::SecureKeyStoreNotAvailable => (
                "Secure_KeyStore_Not_Available",
                SEC,
                Fatal,
                SECOND,
                "Der sichere Schlüsselspeicher ist nicht verfügbar",
            ),
            C::SecurityLogNotWritable => (
                "Security_Log_Not_Writable",
                OP,
                Fatal,
                SECOND,
                "Das Sicherheitslog kann nicht geschrieben werden",
            ),
            C::SoftwareIntegrityCheckFailed => (
                "Software_Integrity_Check_Failed",
                SEC,
                Fatal,
                DAY_LONG,
                "Die Integritätsprüfung der Software ist fehlgeschlagen",
            ),
            C::CryptoperationAlarm => (
                "CRYPTOPERATION_ALARM",
                SEC,
                Warning,
                Duration::from_secs(60),
                "Auffällig viele kryptographische Operationen: möglicher Missbrauch",
            ),
            C::NkCertificateExpiring => (
                "NK_Certificate_Expiring",
                SEC,
                Warning,
                DAY_LONG,
                "Das Zertifikat für den VPN-Tunnel läuft in weniger als 180 Tagen ab",
            ),
            C::NkCertificateExpired => (
                "NK_Certificate_Expired",
                SEC,
                Fatal,
                DAY_LONG,
                "Das Zertifikat für den VPN-Tunnel ist abgelaufen",
            ),
            C::TlsClientCertificateSecurity => (
                "TLS_Client_Certificate_Security",
                SEC,
                Info,
                DAY_LONG,
                "Das Serverzertifikat gegenüber Clientsystemen hat weniger als 120 Bit Sicherheit",
            ),
            C::OtherErrorState(Other::TrustListEntryRefused) => (
                "OTHER_ERROR_STATE",
                SEC,
                Warning,
                DAY_LONG,
                "Ein Eintrag der TSL wurde nicht übernommen, der letzte gute gilt weiter: Anbieter informieren",
            ),
        };
        let subject = match self {
            C::CardTerminalSoftwareOutOfDate(id)
            | C::CardTerminalCertificateExpiresSoon(id)
            | C::CardTerminalNotAvailable(id) => format!("({id})"),
            C::OtherErrorState(other) => format!("({})", other.number()),
            _ => String::new(),
        };
        Description {
            name: format!("EC_{name}{subject}"),
            severity,
            kind,
            detection,
            meaning: match self {
                C::OtherErrorState(_) => meaning.to_owned(),
                _ if subject.is_empty() => meaning.to_owned(),
                _ => format!("Kartenterminal{subject}: {meaning}"),
            },
        }
    }

    fn column(&self) -> Option<Column> {
        use Condition as C;
        Some(match self {
            C::SoftwareIntegrityCheckFailed => Column::Integrity,
            C::RandomGeneratorNotReliable => Column::Random,
            C::SecurityLogNotWritable => Column::Log,
            C::TimeSyncPendingCritical | C::TimeDifferenceIntolerable => Column::Time,
            C::CrlOutOfDate => Column::Crl,
            C::TslOutOfDateBeyondGracePeriod => Column::TslGrace,
            C::TslTrustAnchorOutOfDate => Column::Anchor,
            C::SecureKeyStoreNotAvailable => Column::KeyStore,
            C::FwNotValidStatusBlocked => Column::Firmware,
            C::NkCertificateExpired => Column::NkCertificate,
            C::FirewallNotReliable => Column::Firewall,
            _ => return None,
        })
    }

    /// Is this function out of order while the condition holds (TAB_KON_504)?
    pub fn bars(&self, function: Function) -> bool {
        let column = self.column();
        column.is_some_and(|column| !function.allowed().get(column as usize).copied().unwrap_or(false))
    }
}

/// Days before NextUpdate at which a list counts as expiring.
const TSL_WARN_DAYS: i64 = 7;
/// Days before its end at which a trust anchor counts as expiring.
const ANCHOR_WARN_DAYS: i64 = 30;
/// Days before NextUpdate at which a revocation list counts as expiring.
const CRL_WARN_DAYS: i64 = 3;
const DAY: i64 = 86_400;

/// The date rules of the trust list and its anchor: pure, so that a calendar can drive them through years.
/// `grace_days` is CERT_TSL_DEFAULT_GRACE_PERIOD_DAYS, `anchor_end` in Unix seconds.
pub fn trust_list_conditions(
    next_update: Timestamp,
    grace_days: u32,
    anchor_end: i64,
    now: Timestamp,
) -> Vec<(Condition, bool)> {
    let left = next_update.as_second() - now.as_second();
    let anchor_left = anchor_end - now.as_second();
    let grace = i64::from(grace_days) * DAY;
    vec![
        (Condition::TslExpiring, (0..=TSL_WARN_DAYS * DAY).contains(&left)),
        (
            Condition::TslOutOfDateWithinGracePeriod,
            (-grace..0).contains(&left),
        ),
        (Condition::TslOutOfDateBeyondGracePeriod, left < -grace),
        (
            Condition::TslTrustAnchorExpiring,
            (0..=ANCHOR_WARN_DAYS * DAY).contains(&anchor_left),
        ),
        (Condition::TslTrustAnchorOutOfDate, anchor_left < 0),
    ]
}

/// The date rules of the revocation list.
pub fn crl_conditions(next_update: Timestamp, now: Timestamp) -> [(Condition, bool); 2] {
    let left = next_update.as_second() - now.as_second();
    [
        (Condition::CrlExpiring, (0..CRL_WARN_DAYS * DAY).contains(&left)),
        (Condition::CrlOutOfDate, left < 0),
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

    /// Does this condition hold?
    pub fn is_set(&self, condition: &Condition) -> bool {
        let conditions = self.conditions.lock().unwrap_or_else(PoisonError::into_inner);
        conditions.get(condition).is_some_and(|(value, _)| *value)
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
            let set: Vec<Condition> = trust_list_conditions(next_update, 30, anchor_end, now)
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

    /// Every row of TAB_KON_504 in every fatal state, as the specification prints it.
    #[test]
    fn the_whole_table_of_what_still_works() {
        use Condition as C;
        use Function as F;
        let columns = [
            C::SoftwareIntegrityCheckFailed,
            C::RandomGeneratorNotReliable,
            C::SecurityLogNotWritable,
            C::TimeSyncPendingCritical,
            C::CrlOutOfDate,
            C::TslOutOfDateBeyondGracePeriod,
            C::TslTrustAnchorOutOfDate,
            C::SecureKeyStoreNotAvailable,
            C::FwNotValidStatusBlocked,
            C::NkCertificateExpired,
        ];
        for (function, row) in [
            (F::EventService, "- x x x x x x x x -"),
            (F::Terminal, "- - - - x x x - x -"),
            (F::OpenSession, "- - - - x - x - - -"),
            (F::Pin, "- - - - x x x - x -"),
            (F::ReadCertificate, "- - - - x x x x x -"),
            (F::VerifyCertificate, "- - - - x - x x x -"),
            (F::TiService, "- - - - - - - - - -"),
            (F::Management, "- x x x x x x x x x"),
        ] {
            let shown: Vec<&str> = columns
                .iter()
                .map(|column| if column.bars(function) { "-" } else { "x" })
                .collect();
            assert_eq!(shown.join(" "), row, "{function:?}");
            assert_eq!(
                C::TimeDifferenceIntolerable.bars(function),
                C::TimeSyncPendingCritical.bars(function)
            );
            assert!(C::FirewallNotReliable.bars(function));
            assert!(!C::TslExpiring.bars(function));
        }
        for column in &columns {
            assert_eq!(column.describe().severity, Severity::Fatal);
        }
    }

    /// A revocation list lives seven days: three days of warning, then fatal.
    #[test]
    fn a_revocation_list_ends() {
        let end: Timestamp = "2026-01-08T00:00:00Z".parse().unwrap();
        let at = |hours: i64| Timestamp::from_second(end.as_second() + hours * 3600).unwrap();
        let set = |hours| crl_conditions(end, at(hours)).map(|(_, value)| value);
        assert_eq!(set(-73), [false, false]);
        assert_eq!(set(-71), [true, false]);
        assert_eq!(set(0), [true, false]);
        assert_eq!(set(1), [false, true]);
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
