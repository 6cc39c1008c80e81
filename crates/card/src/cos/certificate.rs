use super::state::CachedKey;
use super::{Outcome, Run, sw};
use crate::access::AccessRules;
use crate::apdu::Response;
use crate::image::Body;
use asn1::{Chat, Cvc, CvcDate, tlv};
use crypto::{EcPublic, sha256};

/// A key that can verify certificates or authenticate somebody, as the card sees it.
pub(super) struct TrustedKey {
    pub key: EcPublic,
    pub chat: Chat,
    pub expires: CvcDate,
    /// Name of the anchor at the top of its chain, whose access rules it inherits.
    pub anchor: usize,
}

impl Run<'_> {
    /// A key for checking certificates: an anchor of the image or an imported CA key.
    pub(super) fn issuer_key(&self, reference: &[u8]) -> Result<TrustedKey, u16> {
        for (id, node) in self.card.system.nodes.iter().enumerate() {
            if let Body::PublicElc(anchor) = &node.body
                && anchor.id == reference
            {
                return Ok(TrustedKey {
                    key: anchor.key.clone(),
                    chat: anchor.chat,
                    expires: anchor.expires,
                    anchor: id,
                });
            }
        }
        self.cached(reference)
    }

    /// An imported key of a card or person, for authentication.
    pub(super) fn authentication_key(&self, chr: &[u8]) -> Result<TrustedKey, u16> {
        if chr.len() != 12 {
            return Err(sw::KEY_NOT_FOUND);
        }
        self.cached(chr)
    }

    fn cached(&self, reference: &[u8]) -> Result<TrustedKey, u16> {
        let cached = self
            .card
            .cached_keys
            .iter()
            .find(|key| key.reference == reference)
            .ok_or(sw::KEY_NOT_FOUND)?;
        cached.trusted().ok_or(sw::KEY_NOT_FOUND)
    }

    pub(super) fn anchor_rules(&self, anchor: usize, authentication: bool) -> Result<AccessRules, u16> {
        match &self.card.node(anchor)?.body {
            Body::PublicElc(key) if authentication => Ok(key.authentication_rules.clone()),
            Body::PublicElc(key) => Ok(key.verification_rules.clone()),
            _ => Err(sw::KEY_NOT_FOUND),
        }
    }

    /// PSO VERIFY CERTIFICATE: imports the key of a CV certificate (gemSpec_COS N095.x).
    pub(super) fn verify_certificate(&mut self) -> Outcome {
        let cvc = Cvc::parse(&self.command.data).map_err(|_| sw::WRONG_DATA)?;
        let issuer_reference = self.channel_ref()?.issuer.clone().ok_or(sw::CONDITIONS)?;
        let issuer = self.issuer_key(&issuer_reference)?;
        let rules = self.anchor_rules(issuer.anchor, false)?;
        self.allow_by(issuer.anchor, &rules)?;
        let today = self.card.system.point_in_time;
        let root = |flags: asn1::Flags| flags.has(0) && flags.has(1);
        if issuer.expires < today && !root(issuer.chat.flags) {
            return Err(sw::KEY_EXPIRED);
        }
        if cvc.car.as_slice() != issuer_reference.as_slice() {
            return Err(sw::KEY_NOT_FOUND);
        }
        let flags = cvc.chat.flags.and(issuer.chat.flags);
        let is_root = root(flags);
        let right = cvc.is_ca() == flags.has(0)
            && cvc.chat.kind == issuer.chat.kind
            && cvc.effective <= cvc.expires
            && (is_root || cvc.expires <= issuer.expires);
        if !right
            || issuer
                .key
                .verify_prehash(&sha256([&cvc.body]), &cvc.signature)
                .is_err()
        {
            return Err(sw::WRONG_DATA);
        }
        if !is_root && cvc.expires < today {
            return Err(sw::KEY_EXPIRED);
        }
        EcPublic::from_point(issuer.key.curve(), &cvc.point).map_err(|_| sw::WRONG_DATA)?;
        let key = CachedKey {
            reference: cvc.chr.clone(),
            point: cvc.point.clone(),
            cms_list: cvc.chat.kind == asn1::ListKind::Cms,
            flags: flags.0,
            expires: cvc.expires.digits(),
            anchor: issuer.anchor,
        };
        let system = &mut self.card.system;
        if cvc.effective > system.point_in_time {
            system.point_in_time = cvc.effective;
        }
        self.card.cached_keys.retain(|old| old.reference != key.reference);
        self.card.cached_keys.push(key);
        let slots = self.card.system.cache_slots.max(2);
        let surplus = self.card.cached_keys.len().saturating_sub(slots);
        self.card.cached_keys.drain(..surplus);
        self.card.mark_keys_changed();
        Ok(Response::sw(sw::OK))
    }

    /// LIST PUBLIC KEY: references of all keys the card trusts.
    pub(super) fn list_public_key(&mut self) -> Outcome {
        if (self.command.p1, self.command.p2) != (0x01, 0x00) {
            return Err(sw::WRONG_PARAMETERS);
        }
        let anchors = self.card.system.nodes.iter().filter_map(|node| match &node.body {
            Body::PublicElc(anchor) => Some(anchor.id.clone()),
            _ => None,
        });
        let keys = anchors.chain(self.card.cached_keys.iter().map(|key| key.reference.clone()));
        let root = match &self.card.node(0)?.body {
            Body::Folder { aids, .. } => aids.first().cloned().unwrap_or_default(),
            _ => Vec::new(),
        };
        let entry = |reference: Vec<u8>| {
            let template = if reference.len() == 8 { 0xB6 } else { 0xA4 };
            tlv::nest(
                0xE0,
                [
                    tlv::encode(0x4F, &root),
                    tlv::nest(template, [tlv::encode(0x83, &reference)]),
                ],
            )
        };
        let list: Vec<Vec<u8>> = keys.map(entry).collect();
        Ok(Response::ok(list.concat()))
    }

    /// GET SECURITY STATUS KEY: has this role authenticated on this channel?
    pub(super) fn security_status_key(&mut self) -> Outcome {
        if self.command.p1 != 0x80 {
            return Err(sw::WRONG_PARAMETERS);
        }
        let flags = tlv::path(&self.command.data, &[0x7F4C, 0x53]).ok_or(sw::WRONG_DATA)?;
        let flags = asn1::Flags(flags.try_into().map_err(|_| sw::WRONG_DATA)?);
        let set = self
            .channel_ref()?
            .roles
            .values()
            .any(|chat| chat.flags.covers(flags));
        Ok(Response::sw(if set { sw::OK } else { 0x63CF }))
    }
}
