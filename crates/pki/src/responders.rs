//! Asking OCSP responders: what they said is remembered for the grace period, and one that fails is left in peace.

use crate::http;
use crate::status::{self, Rules, Status, StatusError};
use asn1::X509;
use base::{Clock, Timestamp, limits};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Answers that are remembered at most; each takes less than 100 bytes.
const REMEMBERED: usize = 20_000;
/// Failures in a row after which a responder is left alone.
const PATIENCE: u32 = 3;
/// For how long.
const PAUSE: Duration = Duration::from_secs(300);
/// An answer that takes longer is reported: practices wait for it.
const SLOW: Duration = Duration::from_secs(3);

/// How to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// CERT_OCSP_DEFAULT_GRACE_PERIOD_NONQES, 0 to 20 minutes.
    pub grace: Duration,
    /// CERT_OCSP_TIMEOUT_NONQES, 1 to 120 s.
    pub timeout: Duration,
    /// CERT_OCSP_TIMEOUT_QES, 1 to 120 s.
    pub timeout_qes: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(600),
            timeout: Duration::from_secs(10),
            timeout_qes: Duration::from_secs(10),
        }
    }
}

/// How a responder has been doing.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Health {
    /// Its address.
    pub url: String,
    /// When it last answered something that counts.
    pub last_good: Option<Timestamp>,
    /// Failures since then.
    pub failures: u32,
    /// When it is asked again, if it is left alone now.
    pub paused_until: Option<Timestamp>,
    /// The last failure in words.
    pub last_failure: Option<String>,
    /// How long the last answer took, in milliseconds.
    pub last_milliseconds: Option<u64>,
}

impl Health {
    fn of(url: &str) -> Self {
        Self {
            url: url.into(),
            last_good: None,
            failures: 0,
            paused_until: None,
            last_failure: None,
            last_milliseconds: None,
        }
    }
}

/// What is known about statuses and about those who tell them. It outlives any one trust list.
#[derive(Default)]
pub struct Responders {
    settings: Settings,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By SHA-256 of the certificate: it was good at this moment.
    good: HashMap<[u8; 32], Timestamp>,
    health: HashMap<String, Health>,
}

/// A question.
pub struct Question<'a> {
    /// About whom.
    pub certificate: &'a X509,
    /// Who issued it.
    pub issuer: &'a X509,
    /// Whom to ask.
    pub url: &'a str,
    /// Which responders are believed.
    pub trusted: &'a (dyn Fn(&X509) -> bool + Sync),
    /// Must the answer prove that the certificate is known?
    pub need_hash: bool,
    /// Is it about a qualified certificate?
    pub qualified: bool,
}

impl Responders {
    /// With these settings.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            state: Mutex::default(),
        }
    }

    /// How it asks.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How all responders ever asked are doing, by address.
    pub fn health(&self) -> Vec<Health> {
        let mut all: Vec<Health> = self.state().health.values().cloned().collect();
        all.sort_by(|one, other| one.url.cmp(&other.url));
        all
    }

    /// Was it good within the grace period before `now`? Then as of when.
    pub fn remembered(&self, certificate: &X509, now: Timestamp) -> Option<Timestamp> {
        let time = self
            .state()
            .good
            .get(&crypto::sha256([certificate.der()]))
            .copied()?;
        self.is_fresh(time, now).then_some(time)
    }

    /// Judges an answer that came by another way than by asking (stapled, or downloaded with a trust list), and
    /// remembers a good one.
    pub fn consider(
        &self,
        answer: &[u8],
        question: &Question<'_>,
        nonce: Option<&[u8]>,
        max_age: Duration,
        now: Timestamp,
    ) -> Result<Status, StatusError> {
        let rules = Rules {
            trusted: question.trusted,
            nonce,
            now,
            max_age,
            need_hash: question.need_hash,
        };
        let judged = status::judge(answer, question.certificate, question.issuer, &rules)?;
        // the grace period is for certificates that are not qualified (TIP1-A_4689)
        if judged.status == Status::Good && !question.qualified {
            self.remember(question.certificate, judged.produced, now);
        }
        Ok(judged.status)
    }

    /// Asks, unless the responder is being left alone (TUC_PKI_006).
    pub async fn ask(&self, question: &Question<'_>, clock: &dyn Clock) -> Result<Status, StatusError> {
        self.fetch(question, clock).await.map(|(status, _)| status)
    }

    /// The same with the answer itself, DER OCSPResponse.
    pub async fn fetch(
        &self,
        question: &Question<'_>,
        clock: &dyn Clock,
    ) -> Result<(Status, Vec<u8>), StatusError> {
        let url = question.url;
        if let Some(paused) = self.paused(url, clock.now()) {
            return Err(paused);
        }
        let nonce: [u8; 16] = crypto::random().map_err(|_| unreachable(url, "no random numbers here"))?;
        let id = status::cert_id(question.certificate, question.issuer)?;
        let request = asn1::ocsp::encode_request(id, Some(&nonce))?;
        let begin = clock.elapsed();
        let timeout = match question.qualified {
            true => self.settings.timeout_qes,
            false => self.settings.timeout,
        };
        let kind = Some("application/ocsp-request");
        let asking = http::fetch("POST", url, kind, request, limits::OCSP_RESPONSE);
        let answer = match clock.timeout(timeout, asking).await {
            None => Err(unreachable(
                url,
                &format!("no answer within {} s", timeout.as_secs()),
            )),
            Some(Err(error)) => Err(unreachable(url, &error.to_string())),
            Some(Ok(answer)) => {
                let judged = self.consider(&answer, question, Some(&nonce), self.settings.grace, clock.now());
                judged.map(|status| (status, answer))
            }
        };
        self.note(url, &answer, clock.elapsed().saturating_sub(begin), clock.now());
        answer
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_fresh(&self, time: Timestamp, now: Timestamp) -> bool {
        now.duration_since(time).unsigned_abs() <= self.settings.grace
    }

    fn remember(&self, certificate: &X509, produced: Timestamp, now: Timestamp) {
        let mut state = self.state();
        if state.good.len() >= REMEMBERED {
            state.good.retain(|_, time| self.is_fresh(*time, now));
        }
        // so many within the grace period: the next ones are asked again
        if state.good.len() < REMEMBERED {
            state.good.insert(crypto::sha256([certificate.der()]), produced);
        }
    }

    fn paused(&self, url: &str, now: Timestamp) -> Option<StatusError> {
        let mut state = self.state();
        let health = state.health.get_mut(url)?;
        let until = health.paused_until?;
        // a clock that was set back must not prolong the pause for ever
        let over = until <= now || now.checked_add(PAUSE).is_ok_and(|longest| until > longest);
        if over {
            health.paused_until = None;
            return None;
        }
        Some(StatusError::Paused {
            url: url.into(),
            failures: health.failures,
            until,
            reason: health.last_failure.clone().unwrap_or_default(),
        })
    }

    fn note<T>(&self, url: &str, answer: &Result<T, StatusError>, took: Duration, now: Timestamp) {
        let mut state = self.state();
        let health = state
            .health
            .entry(url.to_owned())
            .or_insert_with(|| Health::of(url));
        health.last_milliseconds = u64::try_from(took.as_millis()).ok();
        if took >= SLOW {
            tracing::warn!(url, seconds = took.as_secs(), "status service is slow");
        }
        match answer {
            Ok(_) => {
                health.last_good = Some(now);
                health.failures = 0;
                health.last_failure = None;
            }
            Err(error) => {
                health.last_failure = Some(error.to_string());
                // who answers is there: a wrong answer about one certificate must not silence him for all others
                health.failures = match error.is_outage() {
                    true => health.failures + 1,
                    false => 0,
                };
                // the first failure after a pause begins the next one
                if health.failures >= PATIENCE {
                    health.paused_until = now.checked_add(PAUSE).ok();
                }
                tracing::warn!(url, failures = health.failures, %error, "status not found out");
            }
        }
    }
}

fn unreachable(url: &str, reason: &str) -> StatusError {
    StatusError::Unreachable {
        url: url.into(),
        reason: reason.into(),
    }
}
