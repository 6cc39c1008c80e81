//! The cards in all terminals (CM_CARD_LIST) with their sessions and reservations.

use crate::Failure;
use crate::model::Caller;
use asn1::X509;
use base::id::{CardHandle, CtId, MandantId, SlotId};
use base::{Code, Timestamp};
use card::c2c::CvcPair;
use card::pin::{PinRef, PinStatus};
use card::{CardKind, Inspection};
use soap::{CertRef, Crypt};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use terminal::SlotChannel;

/// A card as long as it is inserted.
pub struct Card {
    /// Its handle.
    pub handle: CardHandle,
    /// Where it sits.
    pub ct_id: CtId,
    /// Where it sits.
    pub slot: SlotId,
    /// Since when.
    pub inserted: Timestamp,
    /// What it is.
    pub found: Inspection,
    /// The way to it.
    pub channel: SlotChannel,
    /// CV certificates, once read.
    pub cvcs: OnceLock<CvcPair>,
    /// Certificates that were read: they do not change while the card is inserted.
    pub(crate) certificates: Mutex<HashMap<(CertRef, Crypt), Option<X509>>>,
    /// How the services describe it; names come out of certificates, which is too slow for every call.
    pub(crate) element: OnceLock<soap::CardElement>,
    /// One exchange at a time; an eGK in use is refused (4093), other cards are waited for.
    pub exclusive: Arc<tokio::sync::Mutex<()>>,
    /// Card sessions whose PIN is verified, with the password's name.
    verified: Mutex<HashSet<(String, String)>>,
    /// Card sessions that exist.
    sessions: Mutex<HashSet<String>>,
    /// The workplace that holds the eGK session.
    workplace: Mutex<Option<String>>,
}

impl Card {
    /// A card that was just recognised.
    pub fn new(
        ct_id: CtId,
        slot: SlotId,
        inserted: Timestamp,
        found: Inspection,
        channel: SlotChannel,
    ) -> Result<Self, Failure> {
        let number: [u8; 16] = crypto::random()?;
        let handle = hex::encode(number)
            .parse()
            .map_err(|_| Failure::from(Code::INTERNAL))?;
        Ok(Self {
            handle,
            ct_id,
            slot,
            inserted,
            found,
            channel,
            cvcs: OnceLock::new(),
            certificates: Mutex::default(),
            element: OnceLock::new(),
            exclusive: Arc::default(),
            verified: Mutex::default(),
            sessions: Mutex::default(),
            workplace: Mutex::default(),
        })
    }

    /// End of its AUT certificate, `YYYY-MM-DD`.
    pub fn expires(&self) -> Option<String> {
        let end = self.found.aut.as_ref()?.validity().1;
        Some(Timestamp::from_second(end).ok()?.strftime("%Y-%m-%d").to_string())
    }

    /// Reserves the card for one operation (TUC_KON_023).
    pub async fn reserve(&self) -> Result<tokio::sync::OwnedMutexGuard<()>, Failure> {
        if self.found.kind == CardKind::Egk {
            return self
                .exclusive
                .clone()
                .try_lock_owned()
                .map_err(|_| Code::CARD_RESERVED.into());
        }
        Ok(self.exclusive.clone().lock_owned().await)
    }

    /// The card session's key: SM-B by Mandant, HBA by client system and user (TIP1-A_4560).
    fn session(&self, caller: &Caller) -> String {
        match self.found.kind {
            CardKind::Hba => {
                let user = caller.user.as_ref().map_or("", |user| user.as_str());
                format!("{}/{}/{user}", caller.mandant, caller.client_system)
            }
            _ => caller.mandant.to_string(),
        }
    }

    /// Is this password verified in the caller's session?
    pub fn is_verified(&self, caller: &Caller, pin: &str) -> bool {
        let key = (self.session(caller), pin.to_owned());
        self.verified
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&key)
    }

    /// Is this password verified in anybody's session?
    pub(crate) fn is_open(&self, pin: &str) -> bool {
        let set = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        set.iter().any(|(_, name)| name == pin)
    }

    /// Notes a verification in the caller's session.
    pub fn set_verified(&self, caller: &Caller, pin: &str) {
        let key = (self.session(caller), pin.to_owned());
        let mut set = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        set.insert(key);
    }

    /// Notes a verification in the session of a Mandant, for an SM-B that was opened without a caller.
    pub(crate) fn set_verified_for(&self, mandant: &MandantId, pin: &str) {
        let mut set = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        set.insert((mandant.to_string(), pin.to_owned()));
    }

    /// The card has lost this verification: nobody's session has it any more.
    pub fn forget_verified(&self, pin: &str) {
        let mut set = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        set.retain(|(_, name)| name != pin);
    }

    /// One session has lost a verification.
    pub fn forget_verified_of(&self, caller: &Caller, pin: &str) {
        let key = (self.session(caller), pin.to_owned());
        let mut set = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        set.remove(&key);
    }

    /// The state of a password as the card has it. What the card has lost, no session keeps; but PIN.QES is verified on
    /// other channels than the one that is asked, by comfort signatures, which know themselves when they end.
    pub async fn pin_status(&self, pin: PinRef) -> Result<PinStatus, Failure> {
        let status = pin.status(&self.channel).await?;
        if status != PinStatus::Verified && pin.name != "PIN.QES" {
            self.forget_verified(pin.name);
        }
        Ok(status)
    }

    /// Opens or joins the caller's card session (TUC_KON_026); refuses what belongs to others (rules R6 and R9).
    /// `may_open` is asked before a new one is opened.
    pub fn enter(
        &self,
        caller: &Caller,
        may_open: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.belongs_to(caller)?;
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let session = self.session(caller);
        if !sessions.contains(&session) {
            may_open()?;
            sessions.insert(session);
        }
        Ok(())
    }

    fn belongs_to(&self, caller: &Caller) -> Result<(), Failure> {
        match self.found.kind {
            CardKind::Egk => {
                let mut holder = self.workplace.lock().unwrap_or_else(PoisonError::into_inner);
                match holder.as_deref() {
                    Some(other) if other != caller.workplace.as_str() => {
                        Err(Code::EGK_AT_OTHER_WORKPLACE.into())
                    }
                    _ => {
                        *holder = Some(caller.workplace.to_string());
                        Ok(())
                    }
                }
            }
            CardKind::Hba => {
                let own = self.session(caller);
                let client = format!("{}/{}/", caller.mandant, caller.client_system);
                let verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
                let other = verified
                    .iter()
                    .any(|(session, _)| *session != own && session.starts_with(&client));
                if other {
                    Err(Code::HBA_OF_OTHER_USER.into())
                } else {
                    Ok(())
                }
            }
            _ => Ok(()),
        }
    }

    /// The CV certificates, read at first use.
    pub async fn cvcs(&self) -> Result<&CvcPair, card::c2c::C2cError> {
        if let Some(pair) = self.cvcs.get() {
            return Ok(pair);
        }
        let pair = CvcPair::read(&self.channel).await?;
        Ok(self.cvcs.get_or_init(|| pair))
    }
}

/// All inserted cards.
#[derive(Default)]
pub struct Cards {
    list: Mutex<BTreeMap<(CtId, SlotId), Arc<Card>>>,
}

impl Cards {
    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<(CtId, SlotId), Arc<Card>>) -> T) -> T {
        work(&mut self.list.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Enters a card.
    pub fn insert(&self, card: Arc<Card>) {
        self.with(|list| list.insert((card.ct_id.clone(), card.slot), card));
    }

    /// Takes out the card of a slot.
    pub fn remove(&self, ct_id: &CtId, slot: SlotId) -> Option<Arc<Card>> {
        self.with(|list| list.remove(&(ct_id.clone(), slot)))
    }

    /// Takes out all cards of a terminal.
    pub fn remove_terminal(&self, ct_id: &CtId) -> Vec<Arc<Card>> {
        self.with(|list| {
            let keys: Vec<_> = list.keys().filter(|(id, _)| id == ct_id).cloned().collect();
            keys.into_iter().filter_map(|key| list.remove(&key)).collect()
        })
    }

    /// Lets go of all of them.
    pub(crate) fn clear(&self) {
        self.with(|list| list.clear());
    }

    /// All cards.
    pub fn all(&self) -> Vec<Arc<Card>> {
        self.with(|list| list.values().cloned().collect())
    }

    /// The card with this handle.
    pub fn by_handle(&self, handle: &str) -> Option<Arc<Card>> {
        self.with(|list| list.values().find(|card| card.handle.as_str() == handle).cloned())
    }

    /// The card in this slot.
    pub fn in_slot(&self, ct_id: &CtId, slot: SlotId) -> Option<Arc<Card>> {
        self.with(|list| list.get(&(ct_id.clone(), slot)).cloned())
    }
}
