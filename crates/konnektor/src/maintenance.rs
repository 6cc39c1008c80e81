//! What the instance does without being asked: lists of the trust space, certificates that end, and the conditions that
//! follow the calendar.

use crate::events::Event;
use crate::state::{self, Condition};
use crate::{Failure, Inner};
use base::Timestamp;
use std::sync::Arc;
use std::time::Duration;

/// How often the calendar is looked at. Conditions must be seen within a day (TAB_KON_503).
const TICK: Duration = Duration::from_secs(3600);
/// Longest time between two looks for newer lists (TIP1-A_4684).
const DAILY: Duration = Duration::from_secs(86_400);
/// How soon a device without any trust list tries again, and how slowly if that goes on.
const EAGER: Duration = Duration::from_secs(2);
const EAGER_LIMIT: Duration = Duration::from_secs(300);

/// Something that is looked for from time to time.
struct Chore {
    /// Longest time between two looks that found what they wanted.
    every: Duration,
    next: Duration,
}

impl Chore {
    fn new(every: Duration) -> Self {
        Self {
            every,
            next: Duration::ZERO,
        }
    }

    fn is_due(&self, now: Duration) -> bool {
        self.next <= now
    }

    /// After a success somewhere in the last quarter of the interval, so that many devices started together do not ask
    /// together for ever (TIP1-A_4685, TIP1-A_6732); after a failure at the next tick.
    fn done(&mut self, good: bool, now: Duration) {
        let quarter = self.every / 4;
        let span = match good {
            true => self.every - quarter.mul_f64(random_fraction()),
            false => TICK.mul_f64(0.5),
        };
        self.next = now + span;
    }
}

/// Between 0 and 1. Without random numbers everybody is equal, which is no disaster here.
fn random_fraction() -> f64 {
    crypto::random::<4>().map_or(0.5, |bytes| {
        f64::from(u32::from_be_bytes(bytes)) / f64::from(u32::MAX)
    })
}

impl Inner {
    /// The conditions that follow the calendar, as of now.
    pub(crate) fn check_calendar(&self) {
        self.check_terminal_certificates();
        self.check_own_certificates();
        // a clock that is not believed makes nothing fatal, and heals nothing (G7)
        if self.doubt().is_some() {
            return;
        }
        let (space, now) = (self.space(), self.clock.now());
        let grace = self.config.certificates.tsl_grace_days;
        if let Some(list) = space.list() {
            let anchor_end = space.anchor().validity().1;
            for (condition, value) in state::trust_list_conditions(list.next_update, grace, anchor_end, now) {
                self.set_condition(condition, value);
            }
        }
        if let Some(crl) = space.crl() {
            for (condition, value) in state::crl_conditions(crl.next_update, now) {
                self.set_condition(condition, value);
            }
        }
        self.check_ksr_list();
        if let Some(vl) = space.vl() {
            self.set_condition(Condition::BnetzaVlNotValid, vl.next_update < now);
        }
    }

    /// Does everything in its time, for ever.
    pub(crate) async fn maintain(self: Arc<Self>) {
        let settings = self.config.certificates;
        let mut lists = Chore::new(DAILY);
        let mut vl = Chore::new(Duration::from_secs(3600 * u64::from(settings.vl_update_hours)));
        let mut expiries = Chore::new(DAILY * settings.check_days);
        let mut logs = Chore::new(DAILY);
        let mut eager = None;
        loop {
            let now = self.clock.elapsed();
            if self.config.online {
                if lists.is_due(now) || eager.is_some() {
                    lists.done(self.update_lists().await, now);
                }
                // a new trust list may have taken its signer away
                let wanted = vl.is_due(now) || self.space().vl().is_none();
                if self.config.lu_sak && wanted && self.trust().is_some() {
                    let outcome = self.update_vl().await;
                    vl.done(outcome.is_ok(), now);
                    self.report(&outcome, Condition::BnetzaVlUpdateNotSuccessful);
                }
            }
            self.check_calendar();
            self.extend().await;
            self.tell_of_ends().await;
            if settings.check_days > 0 && expiries.is_due(now) {
                self.report_expiries().await;
                expiries.done(true, now);
            }
            if logs.is_due(now) {
                self.forget_old_logs();
                logs.done(true, now);
            }
            let sources = self.config.tsl_url.is_some() || !self.config.tsl_internet_urls.is_empty();
            let without = self.config.online && sources && self.trust().is_none();
            eager = without.then(|| eager.map_or(EAGER, |pause: Duration| (pause * 2).min(EAGER_LIMIT)));
            self.unlock_closed().await;
            let waiting = self.clock.sleep(eager.unwrap_or(TICK));
            tokio::pin!(waiting);
            loop {
                tokio::select! {
                    () = &mut waiting => break,
                    () = self.look_again.notified() => break,
                    () = self.unlock_again.notified() => self.unlock_closed().await,
                }
            }
        }
    }

    /// Trust list, then revocation list (TIP1-A_4684). True if all is as it should be.
    async fn update_lists(&self) -> bool {
        let outcome = self.update_list().await;
        self.report(&outcome, Condition::TslUpdateNotSuccessful);
        let crl = self.update_crl().await;
        if let Err(failure) = &crl {
            tracing::warn!(reason = failure.detail(), "revocation list not updated");
        }
        outcome.is_ok() && crl.is_ok()
    }

    fn report(&self, outcome: &Result<(), Failure>, condition: Condition) {
        if let Err(failure) = outcome {
            tracing::warn!(
                code = failure.code().number(),
                reason = failure.detail(),
                "list not updated"
            );
        }
        self.set_condition(condition, outcome.is_err());
    }

    /// Sets a condition and tells everybody if that changed it.
    pub(crate) fn set_condition(&self, condition: Condition, value: bool) {
        if !self.state.set(condition.clone(), value, self.clock.now()) {
            return;
        }
        let about = condition.describe();
        let mut parameters = vec![("Value", value.to_string())];
        parameters.extend(self.parameters(&condition));
        parameters.push(("Bedeutung", about.meaning));
        self.raise(Event {
            topic: format!("OPERATIONAL_STATE/{}", about.name),
            kind: about.kind,
            severity: about.severity,
            parameters,
            terminal: None,
            card: None,
        });
    }

    /// The further parameters of a condition's event (TAB_KON_503).
    fn parameters(&self, condition: &Condition) -> Vec<(&'static str, String)> {
        use Condition as C;
        let next_update = || {
            let list = self.space().list().map(|list| list.next_update.to_string());
            ("NextUpdateTSL", list.unwrap_or_default())
        };
        let grace = (
            "GracePeriodTSL",
            self.config.certificates.tsl_grace_days.to_string(),
        );
        let shown = |end: Option<Timestamp>| end.map(|end| end.to_string()).unwrap_or_default();
        let space = self.space();
        match condition {
            C::CardTerminalNotAvailable(id)
            | C::CardTerminalCertificateExpiresSoon(id)
            | C::CardTerminalSoftwareOutOfDate(id) => vec![("CtID", id.to_string())],
            C::TslUpdateNotSuccessful => {
                vec![("LastUpdateTSL", shown(space.list().map(|list| list.issued)))]
            }
            C::TslExpiring => vec![next_update()],
            C::TslOutOfDateWithinGracePeriod | C::TslOutOfDateBeyondGracePeriod => {
                vec![next_update(), grace]
            }
            C::TslTrustAnchorExpiring | C::TslTrustAnchorOutOfDate => {
                let end = Timestamp::from_second(space.anchor().validity().1);
                vec![("ExpiringDateTrustAnchor", shown(end.ok()))]
            }
            C::BnetzaVlUpdateNotSuccessful => {
                vec![("LastUpdateBNetzAVL", shown(space.vl().map(|vl| vl.issued)))]
            }
            C::BnetzaVlNotValid => vec![("NextUpdateBNetzAVL", shown(space.vl().map(|vl| vl.next_update)))],
            C::CrlExpiring => vec![("ExpiringDateCRL", shown(space.crl().map(|crl| crl.next_update)))],
            C::LogOverflow => {
                let log = self.overflowing().map(|log| log.name().to_owned());
                vec![("Protokoll", log.unwrap_or_default())]
            }
            C::CryptoperationAlarm => self.monitor.last().map_or_else(Vec::new, |alarm| {
                vec![
                    ("Operation", alarm.operation.to_owned()),
                    ("Count", alarm.count.to_string()),
                    ("Arbeitsplatz", alarm.workplace),
                    ("Meldung", "Ungewöhnlich viele Aufrufe in zehn Minuten".to_owned()),
                ]
            }),
            C::NkCertificateExpiring | C::NkCertificateExpired => {
                let own = self.own_certificates();
                let tunnel = own.iter().find(|(name, _)| name.starts_with("C.NK.VPN"));
                let tunnel = tunnel.and_then(|(_, der)| asn1::X509::parse(der).ok());
                vec![
                    ("Iccsn", self.identities.iccsn.clone()),
                    (
                        "Serial",
                        tunnel.map(|one| hex::encode(one.serial())).unwrap_or_default(),
                    ),
                ]
            }
            C::CrlOutOfDate => vec![("NextUpdateCRL", shown(space.crl().map(|crl| crl.next_update)))],
            _ => Vec::new(),
        }
    }
}
