use super::{Outcome, Run, sw};
use crate::apdu::Response;
use crate::image::Body;
use asn1::tlv;
use crypto::{Curve, EcPublic, RsaPublic, card};
use zeroize::Zeroizing;

impl Run<'_> {
    /// PERFORM SECURITY OPERATION in all its forms.
    pub(super) fn perform_security_operation(&mut self) -> Outcome {
        match (self.command.p1, self.command.p2) {
            (0x00, 0xBE) => self.verify_certificate(),
            (0x9E, 0x9A) => self.compute_digital_signature(),
            (0x80, 0x86) => self.decipher(),
            (0x86, 0x80) => self.encipher(),
            (0x86, 0xB8) => self.transcipher(),
            (0x8E, 0x80) => self.compute_checksum(),
            (0x00, 0xA2) => self.verify_checksum(),
            (0x00, 0xA8) => self.verify_digital_signature(),
            // the COS of generation 2 has no HASH
            _ => Err(sw::WRONG_PARAMETERS),
        }
    }

    fn compute_digital_signature(&mut self) -> Outcome {
        let chosen = self.channel_ref()?.sign.clone().ok_or(sw::CONDITIONS)?;
        self.allow(chosen.key)?;
        let data = &self.command.data;
        match (&self.card.node(chosen.key)?.body, chosen.algorithm) {
            (Body::PrivateElc(elc), 0x00) => {
                let key = elc.key.as_ref().ok_or(sw::KEY_INVALID)?;
                if data.len() > 32 || data.is_empty() {
                    return Err(sw::WRONG_LENGTH);
                }
                let mut hash = vec![0; 32 - data.len()];
                hash.extend_from_slice(data);
                Ok(Response::ok(key.sign_prehash(&hash).map_err(|_| sw::WRONG_DATA)?))
            }
            (Body::PrivateRsa { key, .. }, 0x05) => {
                let key = key.as_ref().ok_or(sw::KEY_INVALID)?;
                Ok(Response::ok(
                    key.sign_pss_prehash(data).map_err(|_| sw::WRONG_LENGTH)?,
                ))
            }
            (Body::PrivateRsa { key, .. }, 0x02) => {
                let key = key.as_ref().ok_or(sw::KEY_INVALID)?;
                Ok(Response::ok(
                    key.sign_digest_info(data).map_err(|_| sw::WRONG_LENGTH)?,
                ))
            }
            _ => Err(sw::UNSUPPORTED_FUNCTION),
        }
    }

    /// DECIPHER: with session keys of a trusted channel (padding indicator 01), or with a private key.
    fn decipher(&mut self) -> Outcome {
        if let [0x01, ..] = self.command.data.as_slice()
            && self.channel_ref()?.trusted.is_some()
        {
            let data = self.command.data.clone();
            let session = self.channel()?.trusted.as_mut().ok_or(sw::CONDITIONS)?;
            return Ok(Response::ok(session.decrypt(&data).map_err(|_| sw::WRONG_DATA)?));
        }
        let plain = self.decipher_with_key(&self.command.data.clone())?;
        Ok(Response::ok(plain.to_vec()))
    }

    fn decipher_with_key(&mut self, cryptogram: &[u8]) -> Result<Zeroizing<Vec<u8>>, u16> {
        let chosen = self.channel_ref()?.decipher.clone().ok_or(sw::CONDITIONS)?;
        self.allow(chosen.key)?;
        match (&self.card.node(chosen.key)?.body, chosen.algorithm) {
            (Body::PrivateRsa { key, .. }, algorithm) => {
                let key = key.as_ref().ok_or(sw::KEY_INVALID)?;
                let [0x00, cryptogram @ ..] = cryptogram else {
                    return Err(sw::WRONG_DATA);
                };
                let plain = match algorithm {
                    0x85 => key.decrypt_oaep(cryptogram),
                    _ => key.decrypt_pkcs1(cryptogram),
                };
                plain.map_err(|_| sw::WRONG_DATA)
            }
            (Body::PrivateElc(elc), 0x0B) => {
                let key = elc.key.as_ref().ok_or(sw::KEY_INVALID)?;
                card::elc_unwrap(key.curve(), cryptogram, |other| key.agree(other))
                    .map_err(|_| sw::WRONG_DATA)
            }
            _ => Err(sw::UNSUPPORTED_FUNCTION),
        }
    }

    /// ENCIPHER: with session keys of a trusted channel, or for an imported public key.
    fn encipher(&mut self) -> Outcome {
        let data = self.command.data.clone();
        if let Some(session) = self.channel()?.trusted.as_mut() {
            session.step();
            return Ok(Response::ok(session.encrypt(&data).map_err(|_| sw::WRONG_DATA)?));
        }
        if let Some((chr, _)) = self.channel_ref()?.encipher.clone() {
            let target = self.authentication_key(&chr)?.key;
            return Ok(Response::ok(
                card::elc_envelope(&target, &data).map_err(|_| sw::WRONG_DATA)?,
            ));
        }
        // the key comes along: A0 {80 algorithm}{06 curve}{7F49 …}{80 message}
        let inside = tlv::find(&data, 0xA0).ok_or(sw::WRONG_DATA)?;
        let objects = tlv::read_all(inside).map_err(|_| sw::WRONG_DATA)?;
        let message = objects
            .iter()
            .rfind(|object| object.tag == 0x80)
            .ok_or(sw::WRONG_DATA)?
            .value;
        Ok(Response::ok(encrypt_for(inside, message).ok_or(sw::KEY_INVALID)?))
    }

    /// TRANSCIPHER: opens `A6` with the card's key and closes it again for the key in `A0`.
    fn transcipher(&mut self) -> Outcome {
        let data = self.command.data.clone();
        let cryptogram = tlv::find(&data, 0xA6).ok_or(sw::WRONG_DATA)?;
        let target = tlv::find(&data, 0xA0).ok_or(sw::WRONG_DATA)?;
        // an RSA cryptogram stands alone in a DO 86, an ELC one is the whole A6
        let plain = match tlv::find(cryptogram, 0x06) {
            Some(_) => self.decipher_with_key(&tlv::encode(0xA6, cryptogram))?,
            None => self.decipher_with_key(tlv::find(cryptogram, 0x86).ok_or(sw::WRONG_DATA)?)?,
        };
        Ok(Response::ok(encrypt_for(target, &plain).ok_or(sw::WRONG_DATA)?))
    }

    /// VERIFY DIGITAL SIGNATURE `{06 oid}{90 hash}{9C {7F49 {86 point}}}{9E r||s}` with a key that comes along.
    fn verify_digital_signature(&mut self) -> Outcome {
        let data = &self.command.data;
        let curve = curve_of(tlv::find(data, 0x06).ok_or(sw::WRONG_DATA)?).ok_or(sw::WRONG_DATA)?;
        let hash = tlv::find(data, 0x90).ok_or(sw::WRONG_DATA)?;
        let point = tlv::path(data, &[0x9C, 0x7F49, 0x86]).ok_or(sw::WRONG_DATA)?;
        let signature = tlv::find(data, 0x9E).ok_or(sw::WRONG_DATA)?;
        let key = EcPublic::from_point(curve, point).map_err(|_| sw::WRONG_DATA)?;
        key.verify_prehash(hash, signature).map_err(|_| sw::WRONG_DATA)?;
        Ok(Response::sw(sw::OK))
    }

    /// COMPUTE CRYPTOGRAPHIC CHECKSUM with session keys: flag 01 moves the counter first, 00 keeps it.
    fn compute_checksum(&mut self) -> Outcome {
        let data = self.command.data.clone();
        let (flag, message) = data.split_first().ok_or(sw::WRONG_LENGTH)?;
        let session = self.channel()?.trusted.as_mut().ok_or(sw::CONDITIONS)?;
        match flag {
            0x00 => {}
            0x01 => session.step(),
            _ => return Err(sw::WRONG_DATA),
        }
        Ok(Response::ok(session.mac(message).map_err(|_| sw::WRONG_DATA)?))
    }

    /// VERIFY CRYPTOGRAPHIC CHECKSUM `{80 message}{8E mac}`; a wrong one erases the session keys.
    fn verify_checksum(&mut self) -> Outcome {
        let data = self.command.data.clone();
        let message = tlv::find(&data, 0x80).ok_or(sw::WRONG_DATA)?;
        let mac = tlv::find(&data, 0x8E).ok_or(sw::WRONG_DATA)?;
        let channel = self.channel()?;
        let session = channel.trusted.as_mut().ok_or(sw::CONDITIONS)?;
        session.step();
        let expected = session.mac(message).map_err(|_| sw::WRONG_DATA)?;
        if card::same_mac(&expected, mac) {
            return Ok(Response::sw(sw::OK));
        }
        channel.trusted = None;
        Err(sw::WRONG_DATA)
    }

    /// GENERATE ASYMMETRIC KEY PAIR, P1 81: reads the public key of a private one.
    pub(super) fn read_public_key(&mut self) -> Outcome {
        if self.command.p1 != 0x81 {
            return Err(sw::UNSUPPORTED_FUNCTION);
        }
        let channel = self.channel_ref()?;
        let chosen = channel
            .sign
            .as_ref()
            .or(channel.decipher.as_ref())
            .or(channel.internal.as_ref());
        let key = chosen.ok_or(sw::CONDITIONS)?.key;
        self.allow(key)?;
        match &self.card.node(key)?.body {
            Body::PrivateElc(elc) => {
                let point = elc.key.as_ref().ok_or(sw::KEY_INVALID)?.public().point();
                Ok(Response::ok(tlv::nest(0x7F49, [tlv::encode(0x86, &point)])))
            }
            Body::PrivateRsa { key, .. } => {
                let numbers = key
                    .as_ref()
                    .ok_or(sw::KEY_INVALID)?
                    .numbers()
                    .map_err(|_| sw::KEY_INVALID)?;
                let [n, e, ..] = numbers;
                Ok(Response::ok(tlv::nest(
                    0x7F49,
                    [tlv::encode(0x81, &n), tlv::encode(0x82, &e)],
                )))
            }
            _ => Err(sw::UNSUPPORTED_FUNCTION),
        }
    }
}

fn curve_of(oid: &[u8]) -> Option<Curve> {
    match oid {
        [0x2B, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x07] => Some(Curve::BrainpoolP256r1),
        [0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07] => Some(Curve::NistP256),
        _ => None,
    }
}

/// Encrypts for the public key in a template `{80 algorithm}{06 curve}{7F49 {86 point}}` or `{7F49 {81 n}{82 e}}`.
fn encrypt_for(template: &[u8], plain: &[u8]) -> Option<Vec<u8>> {
    let key = tlv::find(template, 0x7F49)?;
    if let Some(point) = tlv::find(key, 0x86) {
        let curve = curve_of(tlv::find(template, 0x06)?)?;
        return card::elc_envelope(&EcPublic::from_point(curve, point).ok()?, plain).ok();
    }
    let target = RsaPublic::from_numbers(tlv::find(key, 0x81)?, tlv::find(key, 0x82)?).ok()?;
    Some([&[0x00], &target.encrypt_oaep(plain).ok()?[..]].concat())
}
