//! Documents enciphered for several recipients in CMS (AuthEnvelopedData, AES-256-GCM): RSAES-OAEP for RSA keys, the TI's
//! ECIES for elliptic ones (A_17220; gemSMIME_KOMLE). The content key comes from a key elsewhere: a card, mostly.

use crate::Error;
use asn1::cms::{self, AuthEnvelopedData, WrappedKey};
use asn1::{X509, ber, oid, tlv};
use crypto::{PublicKey, aead};
use der::Encode;

/// Most recipients of a document (the specification asks for 1,000).
pub const RECIPIENTS: usize = 1_500;

/// Enciphers `document` for all of these certificates. `unprotected` are DER attributes anybody can read.
pub fn seal(mut document: Vec<u8>, recipients: &[X509], unprotected: &[Vec<u8>]) -> Result<Vec<u8>, Error> {
    let key = aead::fresh_key()?;
    let wrapped = recipients.iter().map(|certificate| {
        let public = PublicKey::from_spki(&certificate.spki()?)?;
        Ok(WrappedKey {
            recipient: cms::issuer_and_serial(certificate)?,
            algorithm: transport(&public)?,
            key: public.encipher(&key[..])?,
        })
    });
    let wrapped = wrapped.collect::<Result<Vec<_>, Error>>()?;
    if wrapped.is_empty() {
        return Err(Error::Variant("nobody to encipher for"));
    }
    let (nonce, tag) = aead::seal(&key[..], b"", &mut document)?;
    Ok(cms::auth_enveloped_data(
        &wrapped,
        &nonce,
        &document,
        &tag,
        unprotected,
    )?)
}

/// AlgorithmIdentifier of the key transport for this key.
fn transport(key: &PublicKey) -> Result<Vec<u8>, Error> {
    Ok(match key {
        PublicKey::Ec(_) => tlv::nest(0x30, [oid::ECIES.to_der()?]),
        PublicKey::Rsa(_) => {
            let null = vec![0x05, 0x00];
            let hash = tlv::nest(0x30, [oid::SHA256.to_der()?, null]);
            let mask = tlv::nest(0x30, [oid::MGF1.to_der()?, hash.clone()]);
            let parameters = tlv::nest(0x30, [tlv::encode(0xA0, &hash), tlv::encode(0xA1, &mask)]);
            tlv::nest(0x30, [oid::RSA_OAEP.to_der()?, parameters])
        }
    })
}

/// An envelope that was read.
#[derive(Debug)]
pub struct Sealed {
    der: Vec<u8>,
}

impl Sealed {
    /// Reads an envelope, also one in BER.
    pub fn read(cms: &[u8]) -> Result<Self, Error> {
        let der = ber::to_der(cms)?.into_owned();
        let data = AuthEnvelopedData::parse(&der)?;
        if data.algorithm.oid != oid::AES256_GCM {
            return Err(Error::Variant("enciphered with something else than AES-256-GCM"));
        }
        if data.recipients.len() > RECIPIENTS {
            return Err(Error::TooMuch("recipients"));
        }
        Ok(Self { der })
    }

    /// The content key as it was enciphered for this certificate, for [`crypto::Key::decipher`] or a card.
    pub fn key_for(&self, certificate: &X509) -> Result<Vec<u8>, Error> {
        let data = AuthEnvelopedData::parse(&self.der)?;
        let wanted = match certificate.is_rsa() {
            true => oid::RSA_OAEP,
            false => oid::ECIES,
        };
        let recipient = data.recipients.iter().find(|one| one.id.means(certificate));
        match recipient {
            None => Err(Error::NotForUs),
            Some(one) if one.algorithm.oid != wanted => Err(Error::Variant(
                "the content key was enciphered in a way this key cannot undo",
            )),
            Some(one) => Ok(one.key.to_vec()),
        }
    }

    /// The document.
    pub fn open(&self, content_key: &[u8]) -> Result<Vec<u8>, Error> {
        let data = AuthEnvelopedData::parse(&self.der)?;
        let mut text = data.cryptogram.into_owned();
        aead::open(content_key, data.nonce, &data.associated, &mut text, data.mac)
            .map_err(|_| Error::Damaged)?;
        Ok(text)
    }
}
