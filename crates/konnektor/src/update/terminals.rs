//! Firmware of terminals from the configuration service (TUC_KON_281, 282): what there is for each model, orders that wait for a terminal
//! that is away (TIP1-A_4831), and what became of them.

use super::ksr::{LIST, version_of};
use super::{KsrSettings, STORE};
use crate::state::Condition;
use crate::{Failure, Inner, tls_service};
use base::id::CtId;
use base::{Code, Timestamp};
use pki::Purpose;
use serde::{Deserialize, Serialize};
use slots::{Disk, RealDisk, Version};
use soap::ksr::{ACTION, Product, UpdateInformation};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

/// Kinds of documents: orders and outcomes by CtId.
pub(crate) const ORDERS: &str = "terminal-update";
pub(crate) const OUTCOMES: &str = "terminal-update-outcome";
/// Updates at the same time; at least five are asked for (TIP1-A_4833-02).
pub(super) const TOGETHER: usize = 8;
/// Between two looks at the window.
const LOOK: Duration = Duration::from_secs(60);

/// An update that a terminal is to get.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct TerminalOrder {
    update: UpdateInformation,
    since: Timestamp,
}

/// What became of the last one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalOutcome {
    /// The version it was to get; nothing for a file that somebody brought.
    pub version: Option<Version>,
    /// When it ended.
    pub at: Timestamp,
    /// Why it failed.
    pub failed: Option<String>,
}

/// Firmware of a terminal as administrators see it.
#[derive(Debug, Serialize)]
pub struct TerminalFirmware {
    /// CtId.
    pub terminal: CtId,
    /// CT.CORRELATION.
    pub correlation: &'static str,
    /// What it says it is.
    pub product: Option<terminal::Product>,
    /// Is it known how to log in there?
    pub login: bool,
    /// So much of a firmware has gone there.
    pub percent: Option<u8>,
    /// The newest that the configuration service has for it, if that is newer than what it has.
    pub available: Option<UpdateInformation>,
    /// It is to get an update since then.
    pub ordered: Option<Timestamp>,
    /// What became of the last one.
    pub last: Option<TerminalOutcome>,
}

/// One update at a time for each terminal, from its first byte until it is known what became of it.
struct Following<'i> {
    inner: &'i Inner,
    id: CtId,
}

impl<'i> Following<'i> {
    fn begin(inner: &'i Inner, id: &CtId) -> Option<Self> {
        let begun = inner.update.followed().insert(id.clone());
        begun.then(|| Self {
            inner,
            id: id.clone(),
        })
    }
}

impl Drop for Following<'_> {
    fn drop(&mut self) {
        self.inner.update.followed().remove(&self.id);
    }
}

impl super::Update {
    fn followed(&self) -> MutexGuard<'_, BTreeSet<CtId>> {
        self.following.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn product_of(product: &terminal::Product) -> Product {
    Product {
        vendor: product.vendor.clone(),
        code: product.model.clone(),
        hardware: product.hardware.to_string(),
    }
}

fn firmware_of(product: &terminal::Product) -> Version {
    let terminal::Version(a, b, c) = product.firmware;
    Version(a, b, c)
}

/// The newest of a list that is newer than what a terminal has.
fn newer(list: &[UpdateInformation], product: Option<&terminal::Product>) -> Option<UpdateInformation> {
    let product = product?;
    let own = product_of(product);
    let fitting = list.iter().filter(|entry| entry.product == own);
    let newest = fitting.max_by_key(|entry| version_of(entry))?;
    (version_of(newest) > firmware_of(product)).then(|| newest.clone())
}

impl Inner {
    /// Lists for every model there is. What cannot be had for one leaves what is known of it as it was.
    pub(super) async fn list_terminal_updates(self: &Arc<Self>, settings: &KsrSettings) {
        let products: Vec<terminal::Product> = self
            .terminals
            .all()
            .into_iter()
            .filter_map(|state| state.record.product)
            .collect();
        let mut list = self.terminal_list();
        let mut asked = Vec::new();
        for product in &products {
            let own = product_of(product);
            if asked.contains(&own) {
                continue;
            }
            asked.push(own.clone());
            let Version(a, b, c) = firmware_of(product);
            let message = soap::ksr::request(&own, [a, b, c]);
            let call = (ACTION, message);
            let answer =
                tls_service::soap(self, &settings.list, &Purpose::CONFIGURATION, None, call, LIST).await;
            let read = answer.and_then(|text| {
                soap::ksr::parse_response(&text).map_err(|error| Failure::new(Code::KSR_LIST, error))
            });
            match read {
                // an empty list is no news
                Ok(new) if new.iter().any(|entry| entry.product == own) => {
                    list.retain(|entry| entry.product != own);
                    list.extend(new.into_iter().filter(|entry| entry.product == own));
                }
                Ok(_) => {}
                Err(failure) => tracing::warn!(
                    model = own.code,
                    detail = failure.detail(),
                    "updates of terminals"
                ),
            }
        }
        if let Err(error) = self.store.put(STORE, "ksr-terminals", &list) {
            tracing::error!(%error, "list of terminals' updates not stored");
        }
        self.check_terminal_firmware();
    }

    fn terminal_list(&self) -> Vec<UpdateInformation> {
        self.store
            .get(STORE, "ksr-terminals")
            .ok()
            .flatten()
            .unwrap_or_default()
    }

    /// EC_CardTerminal_Software_Out_Of_Date for each; is there anything new for any?
    pub(super) fn check_terminal_firmware(&self) -> bool {
        let (list, mut any) = (self.terminal_list(), false);
        for state in self.terminals.all() {
            let new = newer(&list, state.record.product.as_ref()).is_some();
            any |= new;
            let condition = Condition::CardTerminalSoftwareOutOfDate(state.record.config.id);
            self.set_condition(condition, new);
        }
        any
    }

    /// Firmware of every terminal.
    pub fn terminal_firmware(&self) -> Result<Vec<TerminalFirmware>, Failure> {
        let list = self.terminal_list();
        let all = self.terminals.all().into_iter().map(|state| {
            let id = state.record.config.id.clone();
            // whoever sees that an order is over sees what became of it, and the other way round
            let _one = self.update.followed();
            let order: Option<TerminalOrder> = self.store.get(ORDERS, id.as_str())?;
            Ok(TerminalFirmware {
                correlation: state.shown(),
                login: self.has_terminal_login(&id),
                percent: state.updating,
                available: newer(&list, state.record.product.as_ref()),
                ordered: order.map(|order| order.since),
                last: self.store.get(OUTCOMES, id.as_str())?,
                product: state.record.product,
                terminal: id,
            })
        });
        all.collect()
    }

    /// A terminal is to get what the configuration service has for it: at once, or when it is back (TIP1-A_4831).
    pub fn order_terminal_update(self: &Arc<Self>, id: &CtId) -> Result<(), Failure> {
        let state = self.terminals.get(id).ok_or(Code::UNKNOWN_TERMINAL)?;
        let refused = |why: &str| Failure::new(Code::TERMINAL_UPDATE_FAILED, why);
        if !self.has_terminal_login(id) {
            return Err(Failure::new(
                Code::TERMINAL_ADMIN_LOGIN,
                "store the terminal's administrator first",
            ));
        }
        let update = newer(&self.terminal_list(), state.record.product.as_ref());
        let update = update.ok_or_else(|| refused("the configuration service has nothing newer for it"))?;
        let order = TerminalOrder {
            update,
            since: self.clock.now(),
        };
        {
            let _one = self.update.followed();
            self.store.put(ORDERS, id.as_str(), &order)?;
        }
        self.terminal_is_back(id);
        Ok(())
    }

    /// It is not to get it any more; what has begun goes to its end.
    pub fn cancel_terminal_update(&self, id: &CtId) -> Result<(), Failure> {
        self.terminals.get(id).ok_or(Code::UNKNOWN_TERMINAL)?;
        Ok(self.store.delete(ORDERS, id.as_str())?)
    }

    /// What is known about the firmware of a terminal that is not there any more.
    pub(crate) fn forget_terminal_update(&self, id: &CtId) -> Result<(), Failure> {
        self.store.delete(ORDERS, id.as_str())?;
        Ok(self.store.delete(OUTCOMES, id.as_str())?)
    }

    /// A terminal can be reached: does an order wait for it?
    pub(crate) fn terminal_is_back(self: &Arc<Self>, id: &CtId) {
        // also what it says it is may have changed
        self.check_terminal_firmware();
        let order = self
            .store
            .get::<TerminalOrder>(ORDERS, id.as_str())
            .ok()
            .flatten();
        let Some(order) = order else { return };
        if self.terminals.connected(id).is_err() {
            return;
        }
        let (this, id) = (self.clone(), id.clone());
        self.spawn(async move { this.follow(&id, &order).await });
    }

    async fn follow(self: &Arc<Self>, id: &CtId, order: &TerminalOrder) {
        let Some(_this) = Following::begin(self, id) else {
            return;
        };
        let Ok(_one) = self.update.terminals.acquire().await else {
            return;
        };
        // asked twice, or called off while others had their turn
        let still: Option<TerminalOrder> = self.store.get(ORDERS, id.as_str()).ok().flatten();
        if still.is_none_or(|still| still.since != order.since) {
            return;
        }
        let now = self.terminals.get(id).and_then(|state| state.record.product);
        let outcome = match now {
            // another one of the same name, and one that somebody has updated since
            Some(now) if product_of(&now) != order.update.product => Err(Failure::new(
                Code::TERMINAL_UPDATE_FAILED,
                "another terminal than the one it was ordered for",
            )),
            Some(now) if firmware_of(&now) >= version_of(&order.update) => Ok(()),
            _ => self.fetch_and_install(id, &order.update).await,
        };
        let away = [
            Code::TERMINAL_NOT_CONNECTED,
            Code::TERMINAL_NOT_ACTIVE,
            Code::TERMINAL_BUSY,
        ];
        match &outcome {
            // it waits until the terminal is back, or until nobody works at it
            Err(failure) if away.contains(&failure.code()) => {
                tracing::info!(terminal = %id, detail = failure.detail(), "update of a terminal waits");
            }
            _ => self.note_outcome(id, Some(order), outcome),
        }
    }

    fn note_outcome(&self, id: &CtId, order: Option<&TerminalOrder>, outcome: Result<(), Failure>) {
        if let Err(failure) = &outcome {
            let severity = failure.code().severity();
            self.raise(self.terminal_update_event("KSR/ERROR", id, severity, failure.parameters()));
        }
        let outcome = TerminalOutcome {
            version: order.map(|order| version_of(&order.update)),
            at: self.clock.now(),
            failed: outcome
                .err()
                .map(|failure| format!("{} {}", failure.code().number(), failure.detail())),
        };
        let stored = || {
            let _one = self.update.followed();
            // the outcome first: an order without one would be followed again
            self.store.put(OUTCOMES, id.as_str(), &outcome)?;
            let now = self.store.get::<TerminalOrder>(ORDERS, id.as_str())?;
            match (now, order) {
                (Some(now), Some(order)) if now.since == order.since => {
                    self.store.delete(ORDERS, id.as_str())
                }
                _ => Ok(()),
            }
        };
        if let Err(error) = stored() {
            tracing::error!(%error, terminal = %id, "outcome of a terminal's update not stored");
        }
        self.check_terminal_firmware();
        self.show_update_conditions();
    }

    async fn fetch_and_install(
        self: &Arc<Self>,
        id: &CtId,
        update: &UpdateInformation,
    ) -> Result<(), Failure> {
        let failed = |why: &dyn std::fmt::Display| {
            Failure::new(Code::TERMINAL_UPDATE_DOWNLOAD, format!("{}: {why}", update.id))
        };
        let settings = self.config.update.ksr.clone();
        let settings = settings.ok_or_else(|| failed(&"update.ksr is not configured"))?;
        let [file] = update.files.as_slice() else {
            return Err(failed(&"one file expected"));
        };
        if file.size > terminal::firmware::LARGEST {
            return Err(failed(&"larger than a terminal's firmware may be"));
        }
        let folder = &self.config.update.folder;
        std::fs::create_dir_all(folder).map_err(|error| failed(&error))?;
        // a file for each terminal: eight of one model may ask at the same time
        let place = hex::encode(crypto::sha256([id.as_str()]));
        let end = format!("-{}.part", place.get(..16).unwrap_or_default());
        let name = format!("{}{end}", update.id);
        // only the newest is kept (TIP1-A_4836-02)
        for (other, _) in RealDisk.list(folder).unwrap_or_default() {
            if other.ends_with(&end) && other != name {
                let _ = std::fs::remove_file(folder.join(other));
            }
        }
        let path = folder.join(name);
        let url = format!("{}{}", settings.firmware, file.name);
        tls_service::download(self, &url, &Purpose::CONFIGURATION, &path, file.size)
            .await
            .map_err(|failure| failure.within(Code::TERMINAL_UPDATE_DOWNLOAD))?;
        let Version(a, b, c) = version_of(update);
        let installed = self
            .install_firmware(id, &path, Some(terminal::Version(a, b, c)))
            .await;
        let keep = matches!(&installed, Err(failure) if failure.code() == Code::TERMINAL_BUSY);
        if !keep {
            let _ = std::fs::remove_file(&path);
        }
        installed
    }

    /// A terminal gets a firmware that an administrator has brought; the file is gone afterwards.
    pub(crate) fn give_terminal(self: &Arc<Self>, id: &CtId, path: &Path) -> Result<(), Failure> {
        self.terminals.connected(id)?;
        if !self.has_terminal_login(id) {
            return Err(Failure::new(
                Code::TERMINAL_ADMIN_LOGIN,
                "store the terminal's administrator first",
            ));
        }
        let (this, id, path) = (self.clone(), id.clone(), path.to_owned());
        self.spawn(async move {
            let Ok(_one) = this.update.terminals.acquire().await else {
                return;
            };
            let outcome = match Following::begin(&this, &id) {
                Some(_this) => this.install_firmware(&id, &path, None).await,
                None => Err(Failure::new(Code::TERMINAL_BUSY, "it is being updated")),
            };
            let _ = std::fs::remove_file(&path);
            this.note_outcome(&id, None, outcome);
        });
        Ok(())
    }

    /// Terminals that would be updated by themselves now, or are being updated.
    pub(super) fn terminals_to_update(&self) -> Vec<TerminalFirmware> {
        let mut all = self.terminal_firmware().unwrap_or_default();
        all.retain(|one| {
            let version = one.available.as_ref().map(version_of);
            let failed = |last: &TerminalOutcome| last.failed.is_some() && last.version == version;
            let wanted = version.is_some() && one.login && !one.last.as_ref().is_some_and(failed);
            wanted || one.ordered.is_some() || one.percent.is_some()
        });
        all
    }

    /// Is a terminal being updated, or will one be at once? One that is away holds nobody up.
    pub(super) fn terminals_are_due(&self) -> bool {
        let due = self.terminals_to_update();
        due.iter()
            .any(|one| one.percent.is_some() || self.terminals.connected(&one.terminal).is_ok())
    }

    /// Orders what is due in the window, and follows what waits for a terminal where somebody worked.
    pub(crate) async fn keep_terminals_updated(self: Arc<Self>, settings: KsrSettings) {
        loop {
            self.clock.sleep(LOOK).await;
            let window = &self.config.update.window;
            let open = settings.terminals && self.doubt().is_none() && window.is_open(self.clock.now());
            for one in self.terminals_to_update() {
                if one.ordered.is_some() {
                    self.terminal_is_back(&one.terminal);
                } else if open
                    && one.percent.is_none()
                    && let Err(failure) = self.order_terminal_update(&one.terminal)
                {
                    tracing::warn!(terminal = %one.terminal, detail = failure.detail(), "update of a terminal");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(vendor: &str, version: [u16; 3]) -> UpdateInformation {
        UpdateInformation {
            id: "A".into(),
            product: Product {
                vendor: vendor.into(),
                code: "KT".into(),
                hardware: "1.0.0".into(),
            },
            name: String::new(),
            version,
            critical: false,
            deadline: None,
            files: Vec::new(),
            documents: Vec::new(),
            notes: String::new(),
        }
    }

    #[test]
    fn the_newest_of_its_own_kind() {
        let product = terminal::Product {
            vendor: "A".into(),
            model: "KT".into(),
            firmware: terminal::Version(1, 2, 0),
            hardware: terminal::Version(1, 0, 0),
            ..terminal::Product::default()
        };
        let list = [
            entry("A", [1, 1, 0]),
            entry("A", [1, 3, 0]),
            entry("B", [2, 0, 0]),
            entry("A", [1, 2, 9]),
        ];
        assert_eq!(
            newer(&list, Some(&product)).map(|entry| entry.version),
            Some([1, 3, 0])
        );
        let newest = terminal::Product {
            firmware: terminal::Version(1, 3, 0),
            ..product.clone()
        };
        assert_eq!(newer(&list, Some(&newest)), None);
        assert_eq!(newer(&[], Some(&product)), None);
        let other = terminal::Product {
            hardware: terminal::Version(2, 0, 0),
            ..product
        };
        assert_eq!(newer(&list, Some(&other)), None);
    }
}
