//! What time it is, and whether that can be believed: the clock against what was signed, against the time servers of the TI, and
//! against a person's word ([`identity::clock`]).

use crate::events::Event;
use crate::lifetime::NOTES;
use crate::state::Condition;
use crate::{Failure, Inner};
use base::{Severity, Timestamp};
use identity::clock::{self, Doubt, Evidence};
use std::sync::PoisonError;
use std::time::Duration;

/// So long without the time servers is told: as a warning (NTP_WARN_PERIOD), and as an error (NTP_GRACE_PERIOD); days.
const WARN: i64 = 30;
const GRACE: i64 = 50;
/// A tunnel stands that long, and there is still no time: told (TUC_KON_352).
const AWAITED: Duration = Duration::from_secs(900);
/// A measurement that is older says nothing any more; seconds.
const OLD: u64 = 86_400;

impl Inner {
    /// What is known about time besides the clock.
    fn evidence(&self) -> Evidence {
        let space = self.space();
        let signed = [
            space.list().map(|list| list.issued),
            space.crl().map(|crl| crl.this_update),
            space.vl().map(|vl| vl.issued),
        ];
        let signed = signed.into_iter().flatten().map(Timestamp::as_second).max();
        let stored = self.moment("floor");
        let floor = signed.unwrap_or(i64::MIN).max(stored.unwrap_or(i64::MIN));
        if Some(floor) > stored && floor > 0 {
            // it never goes back, also when lists are taken back
            self.keep_moment("floor", floor);
        }
        Evidence {
            floor,
            confirmed: self.moment("clock-confirmed"),
            served: self
                .served()
                .filter(|served| served.age <= OLD)
                .map(|served| served.now),
            counted: self.counted(),
        }
    }

    /// What time it is by the seconds since the clock was believed last; unless it was switched off since.
    fn counted(&self) -> Option<i64> {
        let last = *self.last_believed.lock().unwrap_or_else(PoisonError::into_inner);
        let (moment, at) = last?;
        let since = self.clock.elapsed().saturating_sub(at).as_secs();
        Some(moment.saturating_add_unsigned(since))
    }

    fn moment(&self, name: &str) -> Option<i64> {
        self.store.get::<i64>(NOTES, name).ok().flatten()
    }

    fn keep_moment(&self, name: &str, moment: i64) {
        if let Err(error) = self.store.put(NOTES, name, &moment) {
            tracing::warn!(%error, name, "moment not stored");
        }
    }

    /// Why the clock is not believed, if it is not.
    pub fn doubt(&self) -> Option<Doubt> {
        clock::doubt(self.clock.now().as_second(), self.evidence())
    }

    /// The moment by which certificates are chosen, Unix seconds: the clock's, or while that is not believed the last one that
    /// was and the seconds counted since, so that neither a wild clock nor time servers that lie change anything that anybody is
    /// shown.
    pub(crate) fn believed(&self) -> i64 {
        let (now, evidence) = (self.clock.now().as_second(), self.evidence());
        match clock::doubt(now, evidence) {
            None => now,
            Some(_) => {
                let signed = evidence.floor.max(evidence.confirmed.unwrap_or(i64::MIN));
                // switched off since: nobody has counted
                let last = evidence.counted.or_else(|| self.moment("believed"));
                signed.max(last.unwrap_or(i64::MIN))
            }
        }
    }

    /// Keeps in mind what the clock shows while it is believed.
    pub(crate) fn remember_clock(&self) {
        let now = self.clock.now();
        self.keep_moment("believed", now.as_second());
        *self.last_believed.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((now.as_second(), self.clock.elapsed()));
        if let Err(failure) = self.date_firmware(now) {
            tracing::warn!(detail = failure.detail(), "change of the firmware not dated");
        }
    }

    /// A person says that the clock is right.
    pub fn confirm_clock(&self) -> Result<(), Failure> {
        let now = self.clock.now().as_second();
        self.store.put(NOTES, "clock-confirmed", &now)?;
        self.set_condition(Condition::TimeDifferenceIntolerable, false);
        Ok(())
    }

    /// The conditions that follow from the time servers (TIP1-A_4788 and following); `up_since`: the tunnel stands.
    pub(crate) fn judge_time(&self, up_since: Option<Duration>) {
        let (now, evidence) = (self.believed(), self.evidence());
        let measured = self.served().filter(|served| served.age <= OLD);
        if measured.is_some_and(|measured| measured.age <= 3600) {
            self.keep_moment("time-synced", now);
        }
        let synced = self.moment("time-synced").unwrap_or_else(|| {
            // it has never been without them so far
            self.keep_moment("time-synced", now);
            now
        });
        let days = (now - synced) / identity::DAY;
        let awaited = up_since.is_some_and(|since| self.clock.elapsed() >= since + AWAITED);
        let silent = awaited && measured.is_none();
        self.set_condition(Condition::TimeSyncNotSuccessful, silent);
        self.set_condition(Condition::TimeSyncPendingWarning, (WARN..GRACE).contains(&days));
        self.set_condition(Condition::TimeSyncPendingCritical, days >= GRACE);
        let Some(measured) = measured else { return };
        let most = i64::from(network::MAX_TIME_DIFFERENCE) * 1000;
        // who contradicts what was signed is wrong, and makes nothing fatal; nor does what a person has settled
        let settled = clock::is_settled(self.clock.now().as_second(), evidence);
        let wrong = measured.ahead.abs() > most && clock::served(evidence).is_some() && !settled;
        let before = self
            .conditions()
            .iter()
            .any(|(one, set, _)| *one == Condition::TimeDifferenceIntolerable && *set);
        if wrong && !before {
            let off = measured.ahead / 1000;
            let text = format!("die Uhr weicht um {off} s von den Zeitservern der TI ab");
            self.raise(Event {
                severity: Severity::Fatal,
                ..Event::info("NTP/ENTERCRITICALSTATE", None, vec![("MESSAGE", text)])
            });
        }
        self.set_condition(Condition::TimeDifferenceIntolerable, wrong);
    }
}
