//! The lifetime extension of this instance: `identity` decides, here it is carried out. Which certificate is shown to whom
//! ([`Inner::server_choice`], [`Inner::terminal_identities`], [`Inner::batch_cvc`]); packages ([`fetch`]), registration
//! ([`register`]), probes ([`probe`]), the way back after everything has ended ([`recover`]) and the list of all ends
//! ([`ends`]).

mod ends;
mod fetch;
mod further;
mod probe;
mod recover;
mod register;
mod view;

pub use recover::{RecoverOptions, RecoverStep};

use crate::events::Event;
use crate::state::Condition;
use crate::{Failure, Identities, Inner};
use base::{Code, Severity, Timestamp};
use crypto::Key;
use crypto::tls::{Identity, ServerChoice};
use identity::plan::{self, Attempts, Facts, Order};
use identity::select::{self, Choice};
use identity::{
    Actor, Algorithm, Book, Change, Device, Family, Generation, Kind, Ledger, Package, Role, Source, Step,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use store::Store;

/// Kind of documents about the extension that may be lost.
pub(crate) const NOTES: &str = "lifetime";
/// Most orders carried out one after the other.
const ORDERS: usize = 20;

/// What the extension needs to know of this device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LifetimeSettings {
    /// Folder of the download point inside the TI, with a slash at its end.
    pub download: Option<String>,
    /// Registration server of the VPN access service, `https://host:port/path`.
    pub registration: Option<String>,
    /// MGM_ZGDP_CONTRACTID.
    pub contract: Option<String>,
    /// Do packages, registrations and activations happen by themselves?
    pub automatic: bool,
}

impl Default for LifetimeSettings {
    fn default() -> Self {
        Self {
            download: None,
            registration: None,
            contract: None,
            automatic: true,
        }
    }
}

impl LifetimeSettings {
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        let http = |url: &String| url.starts_with("http://") && url.ends_with('/');
        if !self.download.as_ref().is_none_or(http) {
            return Err("lifetime.download must begin with http:// and end with a slash");
        }
        if self
            .registration
            .as_ref()
            .is_some_and(|url| !url.starts_with("https://"))
        {
            return Err("lifetime.registration must begin with https://");
        }
        let contract = self.contract.as_deref();
        if contract.is_some_and(|text| !soap::provisioning::is_contract(text)) {
            return Err("lifetime.contract has a character that no ContractID has (A_14623)");
        }
        if self.registration.is_some() && contract.is_none() {
            return Err("lifetime.registration needs lifetime.contract");
        }
        Ok(())
    }
}

/// What is shown to practice systems at the moment.
struct Shown {
    generations: [u32; 2],
    choice: Arc<ServerChoice>,
    admin: Arc<rustls::sign::CertifiedKey>,
}

/// The extension's state.
pub(crate) struct Lifetime {
    ledger: Mutex<Ledger>,
    device: Device,
    keys: BTreeMap<Kind, Identity>,
    attempts: Mutex<Attempts>,
    /// One thing at a time.
    busy: tokio::sync::Mutex<()>,
    /// The same, at further access services.
    elsewhere: tokio::sync::Mutex<()>,
    shown: RwLock<Option<Shown>>,
    /// When it was last looked whether anything is due, with everything done that was.
    looked: Mutex<Option<Timestamp>>,
    firmware: Mutex<Firmware>,
}

/// Which version of the firmware ran here last, and since when; certificates are not changed within a week of that (I10).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Firmware {
    version: String,
    since: Changed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Changed {
    /// It is the first one.
    Never,
    /// It has changed, and no clock that is believed has said when.
    Lately,
    /// At this moment, or somewhat before.
    At(Timestamp),
}

impl Firmware {
    fn look(store: &Store, version: &str) -> Result<Self, Failure> {
        let before: Option<Self> = store.get(NOTES, "firmware")?;
        let since = match before {
            Some(before) if before.version == version => return Ok(before),
            Some(_) => Changed::Lately,
            None => Changed::Never,
        };
        let now = Self {
            version: version.to_owned(),
            since,
        };
        store.put(NOTES, "firmware", &now)?;
        Ok(now)
    }

    /// A clock that is believed says what time it is.
    fn date(&mut self, store: &Store, now: Timestamp) -> Result<(), Failure> {
        let wrong = matches!(self.since, Changed::At(since) if since > now);
        if self.since == Changed::Lately || wrong {
            self.since = Changed::At(now);
            store.put(NOTES, "firmware", self)?;
        }
        Ok(())
    }

    fn changed(&self, now: Timestamp) -> Option<Timestamp> {
        match self.since {
            Changed::Never => None,
            Changed::Lately => Some(now),
            Changed::At(since) => Some(since),
        }
    }
}

/// What lies on the card, and its keys.
fn on_card(identities: &Identities) -> Result<(Package, BTreeMap<Kind, Identity>), Failure> {
    let kind = |role, algorithm| Kind { role, algorithm };
    let mut keys: BTreeMap<Kind, Identity> = [
        (kind(Role::AkAut, Algorithm::Brainpool), &identities.ak_brainpool),
        (kind(Role::AkAut, Algorithm::Nist), &identities.ak_nist),
        (kind(Role::SakAut, Algorithm::Brainpool), &identities.sak),
    ]
    .into_iter()
    .map(|(kind, identity)| (kind, identity.clone()))
    .collect();
    if let Some(nk) = &identities.nk {
        keys.insert(kind(Role::NkVpn, Algorithm::Brainpool), nk.clone());
    }
    for (role, identity) in &identities.rsa {
        keys.insert(kind(*role, Algorithm::Rsa), identity.clone());
    }
    let certificates = keys
        .iter()
        .filter_map(|(kind, identity)| Some((*kind, identity.chain.first()?.clone())));
    let file = |part: &str| {
        let content = identities.gsmc_k.as_ref()?.content(part);
        content.map(<[u8]>::to_vec)
    };
    let package = Package {
        certificates: certificates.collect(),
        cvc: file("C.SAK.AUTD_CVC").zip(file("C.CA_SAK.CS")),
    };
    Ok((package, keys))
}

impl Lifetime {
    pub(crate) fn open(store: &Arc<Store>, identities: &Identities) -> Result<Self, Failure> {
        let (package, keys) = on_card(identities)?;
        let unusable = |error: identity::Error| Failure::new(Code::INTERNAL, error);
        let card = Generation::read(0, &package, Source::Card).map_err(unusable)?;
        let ledger = Ledger::open(store.clone(), &identities.iccsn, card).map_err(unusable)?;
        let proving = keys
            .iter()
            .map(|(kind, identity)| (*kind, Arc::new(identity.key.clone()) as Arc<dyn Key>));
        Ok(Self {
            ledger: Mutex::new(ledger),
            device: Device {
                iccsn: identities.iccsn.clone(),
                keys: proving.collect(),
            },
            keys,
            attempts: Mutex::new(store.get(NOTES, "attempts")?.unwrap_or_default()),
            busy: tokio::sync::Mutex::default(),
            elsewhere: tokio::sync::Mutex::default(),
            shown: RwLock::default(),
            looked: Mutex::default(),
            firmware: Mutex::new(Firmware::look(store, env!("CARGO_PKG_VERSION"))?),
        })
    }
}

impl Inner {
    /// Something about the generations of certificates.
    pub(crate) fn with_book<T>(&self, work: impl FnOnce(&Book) -> T) -> T {
        let ledger = self
            .lifetime
            .ledger
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        work(ledger.book())
    }

    /// All steps of the extension so far.
    pub fn lifetime_steps(&self) -> Vec<Step> {
        let ledger = self
            .lifetime
            .ledger
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        ledger.steps().to_vec()
    }

    /// Enters a step, and what follows from it for those who are shown a certificate.
    pub(crate) fn enter_step(&self, actor: Actor, change: Change) -> Result<(), Failure> {
        let step = Step {
            at: self.clock.now(),
            actor,
            change,
        };
        let text = serde_json::to_string(&match &step.change {
            // certificates are no text for a log
            Change::Fetched(generation) => serde_json::json!({
                "what": "fetched", "generation": generation.number, "source": generation.source,
            }),
            // nor is the number of the practice's card; the ledger keeps it
            Change::Registered {
                generation, family, ..
            } => serde_json::json!({
                "what": "registered", "generation": generation, "family": family,
            }),
            other => serde_json::to_value(other).unwrap_or_default(),
        });
        {
            let mut ledger = self
                .lifetime
                .ledger
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            ledger
                .enter(step)
                .map_err(|error| Failure::new(Code::NOT_PERMITTED, error))?;
        }
        let parameters = vec![
            ("Iccsn", self.identities.iccsn.clone()),
            ("Step", text.unwrap_or_default()),
        ];
        self.log(&Event::quiet("SMC_K/STEP", Severity::Info, parameters));
        self.show_certificates();
        self.vpn_again.notify_one();
        Ok(())
    }

    /// Is something of it being done at this moment?
    pub(crate) fn is_extending(&self) -> bool {
        self.lifetime.busy.try_lock().is_err()
    }

    /// Number of the generation that came last.
    pub(crate) fn newest_generation(&self) -> u32 {
        self.with_book(|book| book.newest().map(|one| one.number).unwrap_or_default())
    }

    /// The generation that a tunnel would be tried with first, and its family: after a way back that need not be the active one.
    pub(crate) fn serving(&self) -> Option<(u32, Family)> {
        let now = self.believed();
        self.with_book(|book| {
            let tunnel = select::tunnel(book, now);
            let first = tunnel.first()?;
            Some((first.generation, first.kind.algorithm.family()))
        })
    }

    /// Number of the last one before the newest that could serve.
    pub(crate) fn generation_before(&self) -> u32 {
        let newest = self.newest_generation();
        self.with_book(|book| {
            let mut older = book.generations.iter().map(|one| one.number).rev();
            older
                .find(|number| *number < newest && book.is_usable(*number))
                .unwrap_or_default()
        })
    }

    /// The device's key of this kind.
    pub(crate) fn own_key(&self, kind: Kind) -> Option<crypto::SoftKey> {
        self.lifetime.keys.get(&kind).map(|own| own.key.clone())
    }

    /// The identity that a choice means, with the certificate of its CA if the trust list knows it.
    fn identity_of(&self, choice: &Choice<'_>) -> Option<Identity> {
        let own = self.lifetime.keys.get(&choice.kind)?;
        if choice.generation == 0 {
            return Some(own.clone());
        }
        let mut chain = vec![choice.held.der.clone()];
        let trust = self.trust();
        let issuer = trust.as_ref().and_then(|trust| {
            let mut cas = trust.list().cas.iter();
            cas.find(|ca| ca.certificate.subject() == choice.held.issuer)
        });
        chain.extend(issuer.map(|ca| ca.certificate.der().to_vec()));
        Some(Identity {
            chain,
            key: own.key.clone(),
        })
    }

    /// C.AK.AUT as practice systems see it now.
    pub(crate) fn ak_identity(&self, algorithm: Algorithm) -> (u32, Identity) {
        let now = self.believed();
        let found = self.with_book(|book| {
            let choice = select::clients(book, algorithm, now)?;
            Some((choice.generation, self.identity_of(&choice)?))
        });
        let original = match algorithm {
            Algorithm::Nist => &self.identities.ak_nist,
            Algorithm::Brainpool | Algorithm::Rsa => &self.identities.ak_brainpool,
        };
        found.unwrap_or_else(|| (0, original.clone()))
    }

    /// Puts the certificates that are to be shown to practice systems and administrators in place, if they have changed: the
    /// next handshake shows them, connections that exist go on.
    pub(crate) fn show_certificates(&self) {
        let (brainpool, nist) = (
            self.ak_identity(Algorithm::Brainpool),
            self.ak_identity(Algorithm::Nist),
        );
        let generations = [brainpool.0, nist.0];
        let before = {
            let shown = self.lifetime.shown.read().unwrap_or_else(PoisonError::into_inner);
            shown.as_ref().map(|shown| shown.generations)
        };
        if before == Some(generations) {
            return;
        }
        let made = crate::server::choice_of(self, &brainpool.1, &nist.1)
            .and_then(|choice| Ok((choice, crypto::tls::certified(&nist.1)?)));
        let (choice, admin) = match made {
            Ok(made) => made,
            Err(error) => {
                // what is shown goes on being shown
                tracing::error!(%error, "certificates for practice systems not changed");
                return;
            }
        };
        *self
            .lifetime
            .shown
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Some(Shown {
            generations,
            choice: Arc::new(choice),
            admin,
        });
        self.deliveries.show(nist.1);
        if before.is_some() {
            let parameters = vec![
                ("Iccsn", self.identities.iccsn.clone()),
                ("Generation", format!("{}/{}", generations[0], generations[1])),
            ];
            self.raise(Event::info("SMC_K/CLIENTS/SWITCHED", None, parameters));
        }
    }

    /// What TLS to practice systems is done with.
    pub(crate) fn server_choice(&self) -> Option<Arc<ServerChoice>> {
        let shown = self.lifetime.shown.read().unwrap_or_else(PoisonError::into_inner);
        shown.as_ref().map(|shown| shown.choice.clone())
    }

    /// What TLS to administrators is done with.
    pub(crate) fn admin_key(&self) -> Option<Arc<rustls::sign::CertifiedKey>> {
        let shown = self.lifetime.shown.read().unwrap_or_else(PoisonError::into_inner);
        shown.as_ref().map(|shown| shown.admin.clone())
    }

    /// C.SAK.AUT for a terminal, in the order they are tried.
    pub(crate) fn terminal_identities(&self, id: &str) -> Vec<(u32, Identity)> {
        let now = self.believed();
        self.with_book(|book| {
            let all = select::terminal(book, id, now);
            all.iter()
                .filter_map(|choice| Some((choice.generation, self.identity_of(choice)?)))
                .collect()
        })
    }

    /// A terminal has taken this C.SAK.AUT.
    pub(crate) fn terminal_took(&self, id: &str, generation: u32) {
        let known = self.with_book(|book| book.terminals.get(id).copied().unwrap_or_default());
        if known != generation {
            let change = Change::Terminal {
                terminal: id.to_owned(),
                generation,
            };
            if let Err(failure) = self.enter_step(Actor::Device, change) {
                tracing::warn!(detail = failure.detail(), "what a terminal takes was not stored");
            }
        }
    }

    /// The renewed CV certificates for a batch signature; `None` are those on the card.
    pub(crate) fn batch_cvc(&self) -> Option<card::c2c::CvcPair> {
        let now = self.believed();
        self.with_book(|book| {
            let card = book.generations.first().and_then(|card| card.cvc.as_ref());
            let chosen = select::cvc(book, now).filter(|chosen| Some(*chosen) != card)?;
            Some(card::c2c::CvcPair {
                ca: asn1::Cvc::parse(&chosen.ca).ok()?,
                own: asn1::Cvc::parse(&chosen.own).ok()?,
            })
        })
    }

    /// The date rules of the tunnel's certificate. A clock that is not believed locks nobody out.
    pub(crate) fn check_own_certificates(&self) {
        self.show_certificates();
        // a clock that is not believed neither raises an alarm nor silences one
        if self.doubt().is_some() {
            return;
        }
        self.remember_clock();
        if self.identities.nk.is_none() {
            return;
        }
        let now = self.clock.now().as_second();
        // of the one that is used first, not of those that wait
        let ends = self.with_book(|book| select::tunnel(book, now).first().map(|choice| choice.held.to));
        let expiring = ends.is_some_and(|end| end - now <= plan::BEGIN * identity::DAY);
        self.set_condition(Condition::NkCertificateExpiring, expiring);
        self.set_condition(Condition::NkCertificateExpired, ends.is_none());
    }

    fn with_firmware<T>(&self, work: impl FnOnce(&mut Firmware) -> T) -> T {
        let firmware = self.lifetime.firmware.lock();
        work(&mut firmware.unwrap_or_else(PoisonError::into_inner))
    }

    /// Dates a change of the firmware, as soon as a clock is believed.
    pub(crate) fn date_firmware(&self, now: Timestamp) -> Result<(), Failure> {
        self.with_firmware(|firmware| firmware.date(&self.store, now))
    }

    async fn facts(&self) -> Facts {
        let settings = &self.config.lifetime;
        Facts {
            now: self.clock.now(),
            tunnel: self.reaches_ti(),
            registrar: settings.registration.is_some() && self.identities.nk.is_some(),
            signer: self.best_signer().await.map(|(_, signer)| signer),
            doubt: self.doubt().is_some(),
            firmware: self.with_firmware(|firmware| firmware.changed(self.clock.now())),
        }
    }

    /// Looks soon whether anything is due, instead of within the hour.
    pub fn look_now(&self) {
        self.look_again.notify_one();
    }

    /// Does everything that is due for the extension. Errors are events, and tried again in their time.
    pub(crate) async fn extend(self: &Arc<Self>) {
        let began = self.clock.now();
        if self.config.lifetime.automatic {
            self.do_what_is_due().await;
            // servers that are silent hold nobody up
            let inner = self.clone();
            self.spawn(async move { inner.register_elsewhere(false).await });
            self.check_own_certificates();
        }
        *self
            .lifetime
            .looked
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(began);
    }

    async fn do_what_is_due(self: &Arc<Self>) {
        // in EC_NK_Certificate_Expired only what a person does is allowed (TAB_KON_504)
        let expired = self.conditions();
        let expired = expired
            .iter()
            .any(|(condition, value, _)| *value && *condition == Condition::NkCertificateExpired);
        if expired {
            return;
        }
        let _one = self.lifetime.busy.lock().await;
        for _ in 0..ORDERS {
            let facts = self.facts().await;
            let iccsn = &self.identities.iccsn;
            let change = self.with_book(|book| plan::change(book, iccsn, &facts));
            if let Some(change) = change {
                if let Err(failure) = self.enter_step(Actor::Device, change) {
                    tracing::error!(detail = failure.detail(), "lifetime extension");
                    return;
                }
                continue;
            }
            let order = {
                let attempts = self
                    .lifetime
                    .attempts
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                self.with_book(|book| plan::next(book, iccsn, &attempts, &facts))
            };
            let Some(order) = order else { return };
            self.note_attempt(order);
            if let Err(failure) = self.carry_out(order, Actor::Device).await {
                tracing::warn!(?order, detail = failure.detail(), "lifetime extension");
            }
        }
    }

    fn note_attempt(&self, order: Order) {
        let mut attempts = self
            .lifetime
            .attempts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        attempts.note(order, self.clock.now());
        if let Err(error) = self.store.put(NOTES, "attempts", &*attempts) {
            tracing::warn!(%error, "attempts of the lifetime extension not stored");
        }
    }

    async fn carry_out(self: &Arc<Self>, order: Order, actor: Actor) -> Result<(), Failure> {
        match order {
            Order::Fetch => self.fetch_package(actor).await.map(|_| ()),
            Order::Verify { generation } => self.verify_generation(generation, actor, false).await,
            Order::Register { generation, family } => self.register(generation, family, actor).await,
            Order::AskForSigner { generation, family } => {
                self.ask_for_signer(generation, family);
                Ok(())
            }
            Order::Status { generation, family } => self.ask_status(generation, family).await.map(|_| ()),
            Order::Probe { generation, family } => self.probe(generation, family, actor).await,
        }
    }

    /// A certificate of a generation for the tunnel.
    fn tunnel_certificate(&self, generation: u32, family: Family) -> Result<identity::Held, Failure> {
        self.with_book(|book| {
            let one = book.generation(generation)?;
            let mut all = one.certificates.iter();
            let found = all.find(|(kind, _)| kind.role == Role::NkVpn && kind.algorithm.family() == family);
            found.map(|(_, held)| held.clone())
        })
        .ok_or_else(|| Failure::new(Code::SYNTAX, "no C.NK.VPN of this generation"))
    }

    /// Everything an administrator does to the extension by hand goes one at a time with what happens by itself.
    pub async fn lifetime_by_hand(self: &Arc<Self>, action: ByHand) -> Result<(), Failure> {
        let _one = self.lifetime.busy.lock().await;
        let outcome = self.do_by_hand(action).await;
        self.check_own_certificates();
        outcome
    }

    async fn do_by_hand(self: &Arc<Self>, action: ByHand) -> Result<(), Failure> {
        match action {
            ByHand::Import(_) | ByHand::Fetch => {
                match action {
                    ByHand::Import(bytes) => self.take_in(&bytes, Source::Import, Actor::Administrator)?,
                    _ => self.fetch_package(Actor::Administrator).await?,
                };
                // who asks wants to know what came, also where nothing goes on by itself
                let newest = self.newest_generation();
                self.verify_generation(newest, Actor::Administrator, false).await
            }
            ByHand::Register(generation) => {
                for family in self.with_book(Book::families) {
                    self.register(generation, family, Actor::Administrator).await?;
                }
                self.register_elsewhere(true).await;
                Ok(())
            }
            ByHand::Probe(generation) => {
                for family in self.with_book(Book::families) {
                    self.probe(generation, family, Actor::Administrator).await?;
                }
                Ok(())
            }
            ByHand::Activate(generation) => {
                for family in self.with_book(Book::families) {
                    self.enter_step(Actor::Administrator, Change::Activated { generation, family })?;
                }
                Ok(())
            }
            ByHand::ShowClients(generation) => {
                self.enter_step(Actor::Administrator, Change::AkChosen { generation })
            }
            ByHand::Freeze(on) => self.enter_step(Actor::Administrator, Change::Frozen { on }),
        }
    }
}

/// What an administrator can do by hand.
#[derive(Debug, Clone)]
pub enum ByHand {
    /// Takes in a package (A_21879).
    Import(Vec<u8>),
    /// Looks for a package now.
    Fetch,
    /// Registers a generation (A_21881).
    Register(u32),
    /// Tries a generation end to end.
    Probe(u32),
    /// Uses a proven generation first, now.
    Activate(u32),
    /// Shows this generation of C.AK.AUT to practice systems; `None` leaves it to the calendar.
    ShowClients(Option<u32>),
    /// Nothing changes by itself any more, or again.
    Freeze(bool),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_the_firmware_is_noticed_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        let at = |second| Timestamp::from_second(second).unwrap();
        let look = |version, second| {
            let mut firmware = Firmware::look(&store, version).unwrap();
            let before = firmware.since;
            firmware.date(&store, at(second)).unwrap();
            (before, firmware.since)
        };
        assert_eq!(look("1.0", 10), (Changed::Never, Changed::Never));
        assert_eq!(look("1.0", 20), (Changed::Never, Changed::Never));
        assert_eq!(look("1.1", 30), (Changed::Lately, Changed::At(at(30))));
        assert_eq!(look("1.1", 40), (Changed::At(at(30)), Changed::At(at(30))));
        // back to the one before is a change, too
        assert_eq!(look("1.0", 50), (Changed::Lately, Changed::At(at(50))));
        // as long as no clock is believed it has just been changed; what a wild one has written is put right
        let firmware = Firmware::look(&store, "1.2").unwrap();
        assert_eq!(firmware.changed(at(0)), Some(at(0)));
        assert_eq!(look("1.2", 2_147_483_647).1, Changed::At(at(2_147_483_647)));
        assert_eq!(look("1.2", 60).1, Changed::At(at(60)));
    }
}
