//! Real work, counted: the same look before an update and after it, so that what did not work before is not required after.

use crate::Inner;
use crate::card_key::{CardKey, Purpose};
use crate::cards::Card;
use card::CardKind;
use crypto::{Hash, Key, SignatureScheme};
use slots::Work;
use std::sync::Arc;

impl Inner {
    /// What works at the moment. `before` an update only what comes back without a person counts: an SM-B that somebody has to
    /// open is no work to be missed.
    pub(super) async fn work(self: &Arc<Self>, before: bool) -> Work {
        let terminals = self.terminals.all();
        let cards = self.cards.all();
        let stays = |card: &Arc<Card>| matches!(card.found.kind, CardKind::SmcB | CardKind::SmcKt);
        let signs = !before || self.config.smb_unlock;
        Work {
            tunnels: (self.config.vpn.is_some() && self.config.online && self.reaches_ti()).into(),
            status: self.status_answers().await.into(),
            terminals: count(terminals.iter().filter(|terminal| terminal.session.is_some())),
            cards: count(cards.iter().filter(|card| stays(card))),
            signatures: (signs && self.an_institution_signs().await).into(),
        }
    }

    /// Does a status service answer for a certificate of the device, asked now or lately?
    async fn status_answers(&self) -> bool {
        let Some(trust) = self.trust().filter(|_| self.config.online) else {
            return false;
        };
        let own = self.identities.ak_brainpool.chain.first();
        let Some(certificate) = own.and_then(|der| asn1::X509::parse(der).ok()) else {
            return false;
        };
        let purpose = identity::Role::AkAut.purpose();
        let _ = trust.check(&certificate, &purpose, &*self.clock).await;
        self.responders.health().iter().any(|one| one.last_good.is_some())
    }

    /// An SM-B that is open signs a random number, and its certificate verifies it.
    async fn an_institution_signs(&self) -> bool {
        for card in self.cards.all() {
            if card.found.kind == CardKind::SmcB && card.is_open("PIN.SMC") && self.signs(&card).await {
                return true;
            }
        }
        false
    }

    async fn signs(&self, card: &Card) -> bool {
        let Ok(key) = CardKey::elliptic(self, card, Purpose::Authenticate).await else {
            return false;
        };
        let Ok(value) = crypto::random::<32>() else {
            return false;
        };
        match key
            .sign_on_card(SignatureScheme::Ecdsa, Hash::Sha256, &value)
            .await
        {
            Ok(signature) => {
                let public = key.public();
                public
                    .verify_hash(SignatureScheme::Ecdsa, Hash::Sha256, &value, &signature)
                    .is_ok()
            }
            Err(_) => false,
        }
    }
}

fn count<T>(all: impl Iterator<Item = T>) -> u32 {
    u32::try_from(all.count()).unwrap_or(u32::MAX)
}
