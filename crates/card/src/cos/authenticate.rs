use super::channel::{Agreement, Partner, SmSession};
use super::{Outcome, Run, sw};
use crate::apdu::{Expect, Response};
use crate::image::{Body, NodeId};
use crate::mutual;
use crate::sm::Session;
use asn1::tlv;
use crypto::card::{SessionKeys, SessionStrength};
use crypto::{EcPrivate, EcPublic};

/// Identifier of elcSessionkey4SM in MANAGE SECURITY ENVIRONMENT.
const SECURE_MESSAGING: u8 = 0x54;
/// Identifier of elcSessionkey4TC.
const TRUSTED_CHANNEL: u8 = 0xD4;

impl Run<'_> {
    /// GET CHALLENGE: good for one use.
    pub(super) fn get_challenge(&mut self) -> Outcome {
        let length = match self.command.expect {
            Expect::Bytes(n @ (8 | 16)) => n,
            Expect::AllShort => 16,
            _ => return Err(sw::WRONG_LENGTH),
        };
        let challenge = crypto::random_bytes(length).map_err(|_| sw::MEMORY_FAILURE)?;
        self.channel()?.challenge = Some(challenge.clone());
        Ok(Response::ok(challenge))
    }

    /// GET RANDOM.
    pub(super) fn get_random(&mut self) -> Outcome {
        self.allow(0)?;
        let length = self.command.expect.limit();
        if length == 0 {
            return Err(sw::WRONG_LENGTH);
        }
        Ok(Response::ok(
            crypto::random_bytes(length.min(4096)).map_err(|_| sw::MEMORY_FAILURE)?,
        ))
    }

    /// INTERNAL AUTHENTICATE with the chosen key.
    pub(super) fn internal_authenticate(&mut self) -> Outcome {
        let chosen = self.channel_ref()?.internal.clone().ok_or(sw::CONDITIONS)?;
        self.allow(chosen.key)?;
        let token = &self.command.data;
        match (&self.card.node(chosen.key)?.body, chosen.algorithm) {
            (Body::PrivateElc(elc), 0x00) => {
                let key = elc.key.as_ref().ok_or(sw::KEY_INVALID)?;
                if token.len() != 24 {
                    return Err(sw::WRONG_LENGTH);
                }
                // never sign for oneself: the token could be played back
                if token.ends_with(&self.card.system.iccsn8) {
                    return Err(sw::WRONG_DATA);
                }
                let signature = key
                    .sign_prehash(&role_token(token))
                    .map_err(|_| sw::KEY_INVALID)?;
                Ok(Response::ok(signature))
            }
            (Body::PrivateRsa { key, .. }, 0x05) => {
                let key = key.as_ref().ok_or(sw::KEY_INVALID)?;
                if token.len() != 32 {
                    return Err(sw::WRONG_LENGTH);
                }
                Ok(Response::ok(
                    key.sign_pss_prehash(token).map_err(|_| sw::KEY_INVALID)?,
                ))
            }
            (Body::PrivateRsa { key, .. }, 0x02) => {
                let key = key.as_ref().ok_or(sw::KEY_INVALID)?;
                Ok(Response::ok(
                    key.sign_digest_info(token).map_err(|_| sw::WRONG_LENGTH)?,
                ))
            }
            _ => Err(sw::UNSUPPORTED_FUNCTION),
        }
    }

    /// `00 82`: EXTERNAL AUTHENTICATE with an imported key, or MUTUAL AUTHENTICATE with a symmetric one.
    pub(super) fn external_or_mutual_authenticate(&mut self) -> Outcome {
        match self.command.data.len() {
            64 => self.external_authenticate(),
            mutual::LENGTH => self.mutual_authenticate(),
            _ => Err(sw::WRONG_LENGTH),
        }
    }

    fn external_authenticate(&mut self) -> Outcome {
        let (chr, _) = self.channel_ref()?.external.clone().ok_or(sw::CONDITIONS)?;
        let trusted = self.authentication_key(&chr)?;
        let rules = self.anchor_rules(trusted.anchor, true)?;
        self.allow_by(trusted.anchor, &rules)?;
        // a failed attempt clears what an earlier one gave
        self.channel()?.roles.remove(&chr);
        let challenge = self.channel()?.challenge.take().ok_or(sw::CONDITIONS)?;
        if challenge.len() != 16 {
            return Err(sw::CONDITIONS);
        }
        if trusted.expires < self.card.system.point_in_time {
            return Err(sw::KEY_EXPIRED);
        }
        let token = [&challenge[..], &self.card.system.iccsn8].concat();
        match trusted
            .key
            .verify_prehash(&role_token(&token), &self.command.data)
        {
            Ok(()) => {
                self.channel()?.grant(&chr, trusted.chat);
                Ok(Response::sw(sw::OK))
            }
            Err(_) => Err(sw::AUTHENTICATION_FAILURE),
        }
    }

    fn mutual_authenticate(&mut self) -> Outcome {
        let chosen = self.channel_ref()?.symmetric.clone().ok_or(sw::CONDITIONS)?;
        self.allow(chosen.key)?;
        let challenge = self.channel()?.challenge.take().ok_or(sw::CONDITIONS)?;
        let challenge: [u8; 16] = challenge.try_into().map_err(|_| sw::CONDITIONS)?;
        let Body::Symmetric { id, enc, mac, .. } = &self.card.node(chosen.key)?.body else {
            return Err(sw::UNSUPPORTED_FUNCTION);
        };
        let keys = SessionKeys {
            enc: enc.clone(),
            mac: mac.clone(),
        };
        let (id, strength) = (*id, strength_of(enc.len()));
        let answered = mutual::answer(
            &keys,
            &challenge,
            &self.card.system.iccsn8,
            &self.command.data,
            strength,
        );
        let (answer, session) = answered.map_err(|_| sw::AUTHENTICATION_FAILURE)?;
        let channel = self.channel()?;
        channel.session = Some(SmSession {
            messaging: Session::new(session),
            partner: Partner::Key(id),
        });
        Ok(Response::ok(answer))
    }

    /// GENERAL AUTHENTICATE: key agreement with a partner's static and ephemeral keys (N085.052 ff.).
    pub(super) fn general_authenticate(&mut self) -> Outcome {
        let chosen = self.channel_ref()?.internal.clone().ok_or(sw::CONDITIONS)?;
        let template = tlv::find(&self.command.data, 0x7C)
            .ok_or(sw::WRONG_DATA)?
            .to_vec();
        if !matches!(chosen.algorithm, SECURE_MESSAGING | TRUSTED_CHANNEL) {
            return Err(sw::UNSUPPORTED_FUNCTION);
        }
        if self.command.cla & 0x10 != 0 {
            let partner = tlv::find(&template, 0xC3).ok_or(sw::WRONG_DATA)?.to_vec();
            return self.begin_agreement(partner, chosen.key, chosen.algorithm == TRUSTED_CHANNEL);
        }
        let ephemeral = tlv::find(&template, 0x85).ok_or(sw::WRONG_DATA)?.to_vec();
        self.end_agreement(&ephemeral)
    }

    fn begin_agreement(&mut self, partner: Vec<u8>, key: NodeId, trusted_channel: bool) -> Outcome {
        if partner.ends_with(&self.card.system.iccsn8) {
            return Err(sw::AUTHENTICATION_FAILURE);
        }
        if self.authentication_key(&partner)?.expires < self.card.system.point_in_time {
            return Err(sw::KEY_EXPIRED);
        }
        let Body::PrivateElc(elc) = &self.card.node(key)?.body else {
            return Err(sw::UNSUPPORTED_FUNCTION);
        };
        let ephemeral = EcPrivate::generate(elc.curve).map_err(|_| sw::MEMORY_FAILURE)?;
        let point = ephemeral.public().point();
        self.channel()?.agreement = Some(Agreement {
            partner,
            ephemeral,
            key,
            trusted_channel,
        });
        Ok(Response::ok(tlv::nest(0x7C, [tlv::encode(0x85, &point)])))
    }

    fn end_agreement(&mut self, ephemeral: &[u8]) -> Outcome {
        let agreement = self.channel()?.agreement.take().ok_or(sw::CONDITIONS)?;
        self.allow(agreement.key)?;
        let partner = self.authentication_key(&agreement.partner)?;
        if partner.expires < self.card.system.point_in_time {
            return Err(sw::KEY_EXPIRED);
        }
        let Body::PrivateElc(elc) = &self.card.node(agreement.key)?.body else {
            return Err(sw::KEY_INVALID);
        };
        let mine = elc.key.as_ref().ok_or(sw::KEY_INVALID)?;
        let ephemeral = EcPublic::from_point(elc.curve, ephemeral).map_err(|_| sw::WRONG_DATA)?;
        let with_static = mine.agree(&ephemeral).map_err(|_| sw::WRONG_DATA)?;
        let with_ephemeral = agreement
            .ephemeral
            .agree(&partner.key)
            .map_err(|_| sw::WRONG_DATA)?;
        // both sides order the halves alike: first the user card's static key, then the security module's
        let secret = match agreement.trusted_channel {
            true => [&with_ephemeral[..], &with_static[..]].concat(),
            false => [&with_static[..], &with_ephemeral[..]].concat(),
        };
        let messaging = Session::new(SessionKeys::derive(&secret, SessionStrength::Aes128));
        let channel = self.channel()?;
        channel.grant(&agreement.partner, partner.chat);
        if agreement.trusted_channel {
            channel.trusted = Some(messaging);
        } else {
            channel.session = Some(SmSession {
                messaging,
                partner: Partner::Role(partner.chat),
            });
        }
        Ok(Response::sw(sw::OK))
    }
}

fn strength_of(key_length: usize) -> SessionStrength {
    if key_length == 32 {
        SessionStrength::Aes256
    } else {
        SessionStrength::Aes128
    }
}

/// A role authentication signs 24 bytes and the algorithm byte 00 as a number of 32 bytes, without a hash.
pub(crate) fn role_token(token: &[u8]) -> [u8; 32] {
    let mut number = [0; 32];
    number
        .iter_mut()
        .skip(7)
        .zip(token.iter().chain(&[0x00]))
        .for_each(|(to, from)| *to = *from);
    number
}
