//! What the instance does without being asked: the trust list, and the conditions that follow the calendar.

use crate::events::Event;
use crate::state::{self, Condition, TSL_GRACE_DAYS};
use crate::{Failure, Inner};
use base::Timestamp;
use pki::Trust;
use pki::tsl::{Tsl, TslError};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// How often the calendar is looked at. Conditions must be seen within a day (TAB_KON_503).
const TICK: Duration = Duration::from_secs(3600);
/// Age of a trust list at which a newer one is looked for (TIP1-A_4684).
const DAILY: Duration = Duration::from_secs(86_400);
/// How soon a device without any trust list tries again.
const EAGER: Duration = Duration::from_secs(2);
const DOWNLOAD: Duration = Duration::from_secs(30);
/// Answers of OCSP responders are good for so long (CERT_OCSP_DEFAULT_GRACE_PERIOD_NONQES).
const OCSP_GRACE: Duration = Duration::from_secs(600);
/// CERT_OCSP_TIMEOUT_NONQES.
const OCSP_TIMEOUT: Duration = Duration::from_secs(10);

impl Inner {
    /// Verifies a trust list against the anchor, stores and uses it, unless it is older than the one in use (TUC_KON_032).
    /// What it heals is healed when this returns.
    pub fn adopt_list(&self, xml: &str) -> Result<u64, Failure> {
        let _one = self.adopting.lock().unwrap_or_else(PoisonError::into_inner);
        let list = self.newer_list(xml)?;
        let sequence = list.sequence;
        self.store.put("tsl", "current", &xml)?;
        self.use_list(list);
        Ok(sequence)
    }

    /// Uses the list that was stored, after a restart.
    pub(crate) fn load_list(&self) {
        let stored = self.store.get::<String>("tsl", "current");
        let loaded = stored.map_err(Failure::from).and_then(|stored| match stored {
            Some(xml) => self.newer_list(&xml).map(Some),
            None => Ok(None),
        });
        match loaded {
            Ok(Some(list)) => self.use_list(list),
            Ok(None) => {}
            Err(failure) => tracing::error!(detail = failure.detail(), "stored trust list not usable"),
        }
    }

    fn newer_list(&self, xml: &str) -> Result<Tsl, Failure> {
        let failed = |error: TslError| Failure::new(error.code(), error);
        let list = Tsl::verify(xml, &self.identities.trust_anchor, self.clock.now()).map_err(failed)?;
        let newest = self.trust().map(|trust| trust.list().sequence);
        if newest.is_some_and(|newest| newest > list.sequence) {
            let older = TslError::Format("sequence number: older than the list in use");
            return Err(failed(older));
        }
        Ok(list)
    }

    fn use_list(&self, list: Tsl) {
        let trust = Arc::new(Trust::new(list, OCSP_GRACE, OCSP_TIMEOUT));
        *self.trust.write().unwrap_or_else(PoisonError::into_inner) = Some(trust);
        self.check_calendar();
    }

    /// The conditions that follow the calendar, as of now.
    pub(crate) fn check_calendar(&self) {
        if let Some(trust) = self.trust() {
            let anchor_end = self.identities.trust_anchor.validity().1;
            let next_update = trust.list().next_update;
            for (condition, value) in state::trust_list_conditions(next_update, anchor_end, self.clock.now())
            {
                self.set_condition(condition, value);
            }
        }
        self.check_terminal_certificates();
    }

    /// Looks for a trust list daily, sooner after a failure, and keeps the conditions true.
    pub(crate) async fn maintain(self: Arc<Self>) {
        let mut updated: Option<Duration> = None;
        loop {
            let now = self.clock.elapsed();
            if self.config.online
                && let Some(url) = &self.config.tsl_url
                && updated.is_none_or(|before| now.saturating_sub(before) >= DAILY)
            {
                let outcome = self.update_list(url).await;
                match &outcome {
                    Ok(()) => updated = Some(now),
                    Err(reason) => tracing::warn!(reason, "trust list not updated"),
                }
                self.set_condition(Condition::TslUpdateNotSuccessful, outcome.is_err());
            }
            self.check_calendar();
            let eager = self.trust().is_none() && self.config.tsl_url.is_some();
            self.clock.sleep(if eager { EAGER } else { TICK }).await;
        }
    }

    async fn update_list(&self, url: &str) -> Result<(), String> {
        let fetching = pki::http::fetch("GET", url, None, Vec::new(), base::limits::TSL);
        let fetched = self.clock.timeout(DOWNLOAD, fetching).await;
        let bytes = fetched
            .ok_or("no answer in 30 s")?
            .map_err(|error| error.to_string())?;
        let xml = String::from_utf8(bytes).map_err(|error| error.to_string())?;
        self.adopt_list(&xml).map_err(|failure| failure.detail())?;
        Ok(())
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
            let list = self.trust().map(|trust| trust.list().next_update.to_string());
            ("NextUpdateTSL", list.unwrap_or_default())
        };
        let grace = ("GracePeriodTSL", TSL_GRACE_DAYS.to_string());
        match condition {
            C::CardTerminalNotAvailable(id) | C::CardTerminalCertificateExpiresSoon(id) => {
                vec![("CtID", id.to_string())]
            }
            C::TslUpdateNotSuccessful => {
                let issued = self.trust().map(|trust| trust.list().issued.to_string());
                vec![("LastUpdateTSL", issued.unwrap_or_default())]
            }
            C::TslExpiring => vec![next_update()],
            C::TslOutOfDateWithinGracePeriod | C::TslOutOfDateBeyondGracePeriod => {
                vec![next_update(), grace]
            }
            C::TslTrustAnchorExpiring | C::TslTrustAnchorOutOfDate => {
                let end = Timestamp::from_second(self.identities.trust_anchor.validity().1);
                vec![(
                    "ExpiringDateTrustAnchor",
                    end.map(|end| end.to_string()).unwrap_or_default(),
                )]
            }
            C::SecurityLogNotWritable => Vec::new(),
        }
    }
}
