//! A terminal gets another firmware (TUC_KON_281, TIP1-A_4833-02): as its administrator, while nobody works at it, and it is
//! believed only when it has come back and says so.

use super::{COMMAND_TIMEOUT, Correlation, secret_id};
use crate::events::Event;
use crate::{Failure, Inner};
use base::id::CtId;
use base::{Code, Severity};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use terminal::command::{self, sw};
use terminal::firmware::{Finish, download};
use terminal::{TerminalError, Version};
use tokio::sync::mpsc;
use zeroize::{Zeroize, Zeroizing};

/// How long somebody who works at the terminal is waited for, and a connection that ends.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a terminal may take to come back, beyond what it says itself. Silence is failure.
const BACK: Duration = Duration::from_secs(300);
/// How long a terminal may be given its firmware: it is out of use meanwhile.
const LONGEST: Duration = Duration::from_secs(2 * 3600);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// Longest name and password of a terminal's administrator, characters.
const LOGIN: usize = 64;

/// CT.ADMIN_USERNAME and CT.ADMIN_PASSWORD.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Login {
    user: String,
    password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Login {{ user: {:?}, .. }}", self.user)
    }
}

impl Login {
    /// Can it be sent to a terminal?
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        let fits = |text: &str| {
            (1..=LOGIN).contains(&text.chars().count())
                && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
        };
        match fits(&self.user) && fits(&self.password) {
            true => Ok(()),
            false => Err("user and password: 1 to 64 printable ASCII characters"),
        }
    }

    /// As it is stored.
    pub(crate) fn to_bytes(&self) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let bytes = serde_json::to_vec(self).map(Zeroizing::new);
        bytes.map_err(|error| Failure::new(Code::INTERNAL, error))
    }
}

impl Drop for Login {
    fn drop(&mut self) {
        self.password.zeroize();
    }
}

/// Names of these secrets begin so.
pub(crate) const LOGINS: &str = "ct-admin/";

pub(crate) fn login_id(id: &CtId) -> String {
    format!("{LOGINS}{id}")
}

/// A terminal that is being updated; whatever becomes of it, it is not any more afterwards.
struct Updating {
    inner: Arc<Inner>,
    id: CtId,
}

impl Updating {
    fn begin(inner: &Arc<Inner>, id: &CtId) -> Result<Self, Failure> {
        let begun = inner.terminals.with(|list| {
            let state = list.get_mut(id)?;
            let begun = state.updating.is_none();
            if begun {
                state.updating = Some(0);
                state.wake.notify_one();
            }
            Some(begun)
        });
        match begun {
            None => Err(Code::UNKNOWN_TERMINAL.into()),
            Some(false) => Err(Failure::new(Code::TERMINAL_BUSY, "it is being updated")),
            Some(true) => Ok(Self {
                inner: inner.clone(),
                id: id.clone(),
            }),
        }
    }

    fn show(&self, percent: u8) {
        self.inner.terminals.with(|list| {
            if let Some(state) = list.get_mut(&self.id) {
                state.updating = Some(percent);
            }
        });
    }
}

impl Drop for Updating {
    fn drop(&mut self) {
        self.inner.terminals.with(|list| {
            if let Some(state) = list.get_mut(&self.id) {
                state.updating = None;
                state.wake.notify_one();
            }
        });
    }
}

impl Inner {
    /// Stores how one logs in at a terminal as its administrator.
    pub fn set_terminal_login(
        &self,
        id: &CtId,
        user: &str,
        password: &Zeroizing<String>,
    ) -> Result<(), Failure> {
        self.terminals.get(id).ok_or(Code::UNKNOWN_TERMINAL)?;
        let login = Login {
            user: user.to_owned(),
            password: (**password).clone(),
        };
        login.check().map_err(|why| Failure::new(Code::SYNTAX, why))?;
        Ok(self.store.put_secret(&login_id(id), &login.to_bytes()?)?)
    }

    /// Forgets it.
    pub fn forget_terminal_login(&self, id: &CtId) -> Result<(), Failure> {
        self.terminals.get(id).ok_or(Code::UNKNOWN_TERMINAL)?;
        Ok(self.store.delete_secret(&login_id(id))?)
    }

    pub(crate) fn terminal_login(&self, id: &CtId) -> Result<Option<Login>, Failure> {
        let stored = self.store.secret(&login_id(id))?;
        Ok(stored.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// Is it known how one logs in there?
    pub(crate) fn has_terminal_login(&self, id: &CtId) -> bool {
        self.terminal_login(id).is_ok_and(|login| login.is_some())
    }

    /// Gives a terminal this firmware and waits until it is back with it; `expected` is what it must say then, without it anything
    /// but what it said before. Nobody may be typing or working with a card there. Errors: 4187 with the reason, 4030 if the stored
    /// login is wrong, and why it cannot be reached ([`Terminals::connected`](super::Terminals::connected)).
    pub(crate) async fn install_firmware(
        self: &Arc<Self>,
        id: &CtId,
        firmware: &Path,
        expected: Option<Version>,
    ) -> Result<(), Failure> {
        let unreadable =
            |error: std::io::Error| Failure::new(Code::INTERNAL, format!("{}: {error}", firmware.display()));
        let length = firmware.metadata().map_err(unreadable)?.len();
        let login = self.terminal_login(id)?.ok_or_else(|| {
            Failure::new(
                Code::TERMINAL_ADMIN_LOGIN,
                "no administrator's login is stored for this terminal",
            )
        })?;
        let session = self.terminals.connected(id)?;
        let record = self.terminals.get(id).ok_or(Code::UNKNOWN_TERMINAL)?.record;
        let before = record.product.as_ref().map(|product| product.firmware);
        let busy = || Failure::new(Code::TERMINAL_BUSY, "somebody is working at it");
        let _pad = session.reserve_pad().ok_or_else(busy)?;
        let mut cards = Vec::new();
        for card in self.cards.all().into_iter().filter(|card| card.ct_id == *id) {
            let reserved = self.clock.timeout(PATIENCE, card.reserve()).await;
            cards.push(reserved.and_then(Result::ok).ok_or_else(busy)?);
        }
        let updating = Updating::begin(self, id)?;
        drop(session);
        let alone = async {
            while self
                .terminals
                .get(id)
                .is_some_and(|state| state.session.is_some())
            {
                self.clock.sleep(LOOK).await;
            }
        };
        let alone = self.clock.timeout(PATIENCE, alone).await;
        alone.ok_or_else(|| Failure::new(Code::TERMINAL_BUSY, "its connection does not end"))?;
        self.raise(self.terminal_update_event("KSR/UPDATE/START", id, Severity::Info, Vec::new()));
        let give = async || {
            let (events, _unused) = mpsc::unbounded_channel();
            let session = self.open(&record, (&login.user, &login.password), events).await?;
            let told = |bytes: u64| {
                let percent = bytes.saturating_mul(100).checked_div(length).unwrap_or_default();
                updating.show(u8::try_from(percent).unwrap_or(100));
            };
            let finish = match tokio::fs::File::open(firmware).await {
                Ok(file) => download(&session, file, told).await,
                Err(error) => Err(TerminalError::Firmware(error.to_string())),
            };
            // a farewell to somebody who may be gone already
            let _ = session.send(0, &command::close_session(), COMMAND_TIMEOUT).await;
            session.close().await;
            finish
        };
        // one that falls silent is begun with once more (SICCT 5.23.1.2), on a line of its own
        let twice = async {
            match give().await {
                Err(TerminalError::Timeout(_)) => give().await,
                outcome => outcome,
            }
        };
        let given = self.clock.timeout(LONGEST, twice).await;
        let given = given.unwrap_or(Err(TerminalError::Timeout(LONGEST)));
        drop((updating, cards));
        let outcome = match given {
            Ok(finish) => self.wait_for_firmware(id, (before, expected), finish).await,
            Err(TerminalError::Refused {
                step,
                word: sw::BAD_LOGIN,
            }) if step == command::INIT_SESSION => Err(Failure::new(
                Code::TERMINAL_ADMIN_LOGIN,
                "the terminal refuses the stored login",
            )),
            Err(error) => Err(Failure::new(error.code(), error).within(Code::TERMINAL_UPDATE_FAILED)),
        };
        let raise = |topic: &str, parameters| {
            self.raise(self.terminal_update_event(topic, id, Severity::Info, parameters));
        };
        if let Ok(version) = &outcome {
            let parameters = vec![
                ("NewFirmwareversion", version.to_string()),
                ("ConfigurationChanged", "N".to_owned()),
                ("ManualInputNeeded", "N".to_owned()),
            ];
            raise("KSR/UPDATE/SUCCESS", parameters);
        }
        let failed = outcome.as_ref().err();
        raise(
            "KSR/UPDATE/END",
            failed.map(Failure::parameters).unwrap_or_default(),
        );
        outcome.map(|_| ())
    }

    /// It must come back, prove its pairing, and say what it is.
    async fn wait_for_firmware(
        &self,
        id: &CtId,
        (before, expected): (Option<Version>, Option<Version>),
        finish: Finish,
    ) -> Result<Version, Failure> {
        let failed = |why: String| Failure::new(Code::TERMINAL_UPDATE_FAILED, why);
        let back = async {
            loop {
                let state = self.terminals.get(id)?;
                let product = state.session.and(state.record.product);
                let version = product.map(|product| product.firmware);
                // it may answer for a moment before it starts again
                if version.is_some() && version != before {
                    return version;
                }
                self.clock.sleep(LOOK).await;
            }
        };
        let limit = finish.wait + BACK;
        let hint = if finish.by_hand {
            "; it asks for a person"
        } else {
            ""
        };
        match self.clock.timeout(limit, back).await {
            Some(Some(version)) if expected.is_none_or(|expected| expected == version) => Ok(version),
            Some(Some(version)) => Err(failed(format!("it came back with {version}"))),
            Some(None) => Err(failed("it was removed meanwhile".into())),
            None => {
                let there = self.terminals.get(id).and_then(|state| state.session).is_some();
                let (seconds, what) = (
                    limit.as_secs(),
                    if there { "with its old firmware" } else { "silent" },
                );
                Err(failed(format!("after {seconds} s it is {what}{hint}")))
            }
        }
    }

    /// An event about the firmware of a terminal.
    pub(crate) fn terminal_update_event(
        &self,
        topic: &str,
        id: &CtId,
        severity: Severity,
        more: Vec<(&'static str, String)>,
    ) -> Event {
        let mut parameters = vec![("Target", "KT".to_owned()), ("CtID", id.to_string())];
        parameters.extend(more);
        Event {
            kind: "Security",
            severity,
            ..Event::info(topic, Some(id.clone()), parameters)
        }
    }

    /// Secrets of a terminal that is not there any more.
    pub(super) fn forget_terminal_secrets(&self, id: &CtId) -> Result<(), Failure> {
        self.store.delete_secret(&secret_id(id))?;
        self.store.delete_secret(&login_id(id))?;
        self.forget_terminal_update(id)
    }
}

impl super::TerminalState {
    /// CT.CORRELATION as it is shown; being updated is nothing that is stored (TIP1-A_4543).
    pub fn shown(&self) -> &'static str {
        match self.record.correlation {
            _ if self.updating.is_some() => "aktualisierend",
            Correlation::Bekannt => "bekannt",
            Correlation::Zugewiesen => "zugewiesen",
            Correlation::Gepairt => "gepairt",
            Correlation::Aktiv => "aktiv",
        }
    }

    /// Is a connection wanted?
    pub(super) fn is_wanted(&self) -> bool {
        self.record.correlation == Correlation::Aktiv && self.updating.is_none()
    }
}
