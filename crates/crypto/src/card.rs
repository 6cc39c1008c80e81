//! The symmetric cryptography of generation 2 cards (gemSpec_COS 6.8, 13): key derivation, the primitives of secure
//! messaging, and ELC encryption. Used by both sides: the virtual card and whoever talks to a card.

use crate::{Curve, EcPrivate, EcPublic, Error, sha1, sha256};
use aes::cipher::block_padding::NoPadding;
use aes::cipher::{BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, KeyInit, KeyIvInit};
use aes::{Aes128, Aes256};
use cmac::{Cmac, Mac};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Block size of AES.
pub const BLOCK: usize = 16;

/// An AES key of 16 or 32 bytes, wiped when dropped.
pub type AesKey = Zeroizing<Vec<u8>>;

macro_rules! with_aes {
    ($key:expr, $cipher:ident => $body:expr) => {
        match $key.len() {
            16 => {
                type $cipher = Aes128;
                $body
            }
            32 => {
                type $cipher = Aes256;
                $body
            }
            _ => Err(Error::BadKey),
        }
    };
}

/// One block, for initialisation vectors derived from a counter.
pub fn encrypt_block(key: &[u8], block: &[u8; BLOCK]) -> Result<[u8; BLOCK], Error> {
    let mut out = (*block).into();
    with_aes!(key, C => {
        C::new_from_slice(key).map_err(|_| Error::BadKey)?.encrypt_block(&mut out);
        Ok(())
    })?;
    Ok(out.into())
}

/// CBC without padding; `data` must be whole blocks.
pub fn cbc_encrypt(key: &[u8], iv: &[u8; BLOCK], data: &[u8]) -> Result<Vec<u8>, Error> {
    if !data.len().is_multiple_of(BLOCK) {
        return Err(Error::BadInput);
    }
    with_aes!(key, C => {
        let cipher = cbc::Encryptor::<C>::new_from_slices(key, iv).map_err(|_| Error::BadKey)?;
        Ok(cipher.encrypt_padded_vec::<NoPadding>(data))
    })
}

/// CBC without padding; `data` must be whole blocks.
pub fn cbc_decrypt(key: &[u8], iv: &[u8; BLOCK], data: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
    if data.is_empty() || !data.len().is_multiple_of(BLOCK) {
        return Err(Error::BadInput);
    }
    with_aes!(key, C => {
        let cipher = cbc::Decryptor::<C>::new_from_slices(key, iv).map_err(|_| Error::BadKey)?;
        cipher.decrypt_padded_vec::<NoPadding>(data).map(Zeroizing::new).map_err(|_| Error::BadInput)
    })
}

/// CMAC over data that the caller has padded, first eight bytes.
pub fn mac8(key: &[u8], data: &[u8]) -> Result<[u8; 8], Error> {
    with_aes!(key, C => {
        let mut mac = <Cmac<C> as KeyInit>::new_from_slice(key).map_err(|_| Error::BadKey)?;
        mac.update(data);
        let full = mac.finalize().into_bytes();
        let mut first = [0; 8];
        first.iter_mut().zip(full.iter()).for_each(|(to, from)| *to = *from);
        Ok(first)
    })
}

/// Compares two MACs in constant time.
pub fn same_mac(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

/// ISO padding: `80 00…` up to whole blocks.
pub fn pad(data: &[u8]) -> Vec<u8> {
    let mut padded = data.to_vec();
    padded.push(0x80);
    while !padded.len().is_multiple_of(BLOCK) {
        padded.push(0);
    }
    padded
}

/// Removes ISO padding.
pub fn unpad(data: &[u8]) -> Result<&[u8], Error> {
    let end = data.iter().rposition(|b| *b != 0).ok_or(Error::BadInput)?;
    match data.get(end) {
        Some(0x80) => data.get(..end).ok_or(Error::BadInput),
        _ => Err(Error::BadInput),
    }
}

/// Session keys for secure messaging from a shared secret (gemSpec_COS N001.500 ff.).
#[derive(Clone)]
pub struct SessionKeys {
    /// For encryption.
    pub enc: AesKey,
    /// For the MAC.
    pub mac: AesKey,
}

/// Key length of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionStrength {
    /// AES-128 with SHA-1 as derivation hash.
    Aes128,
    /// AES-256 with SHA-256 as derivation hash.
    Aes256,
}

impl SessionKeys {
    /// Derives both keys from the key derivation input.
    pub fn derive(secret: &[u8], strength: SessionStrength) -> Self {
        let key = |counter: u8| match strength {
            SessionStrength::Aes128 => {
                let hash = sha1([secret, &[0, 0, 0, counter]]);
                Zeroizing::new(hash.iter().copied().take(16).collect::<Vec<u8>>())
            }
            SessionStrength::Aes256 => Zeroizing::new(sha256([secret, &[0, 0, 0, counter]]).to_vec()),
        };
        Self {
            enc: key(1),
            mac: key(2),
        }
    }
}

/// ELC encryption of a message for a public point (gemSpec_COS 6.8.2.3): cryptogram and MAC.
/// `shared` is the x coordinate of ephemeral times static key.
pub fn elc_seal(shared: &[u8], message: &[u8]) -> Result<(Vec<u8>, [u8; 8]), Error> {
    let keys = elc_keys(shared);
    let iv = encrypt_block(&keys.enc, &[0; BLOCK])?;
    let cryptogram = cbc_encrypt(&keys.enc, &iv, &pad(message))?;
    let mac = mac8(&keys.mac, &pad(&cryptogram))?;
    Ok((cryptogram, mac))
}

/// Reverses [`elc_seal`].
pub fn elc_open(shared: &[u8], cryptogram: &[u8], mac: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
    let keys = elc_keys(shared);
    if !same_mac(&mac8(&keys.mac, &pad(cryptogram))?, mac) {
        return Err(Error::Verification);
    }
    let iv = encrypt_block(&keys.enc, &[0; BLOCK])?;
    let padded = cbc_decrypt(&keys.enc, &iv, cryptogram)?;
    Ok(Zeroizing::new(unpad(&padded)?.to_vec()))
}

/// `plain` enciphered for the owner of `target`, as PSO DECIPHER of a card and A_17220 want it:
/// `A6 {06 curve}{7F49 {86 ephemeral point}}{86 02 || cryptogram}{8E mac}`.
pub fn elc_envelope(target: &EcPublic, plain: &[u8]) -> Result<Vec<u8>, Error> {
    let ephemeral = EcPrivate::generate(target.curve())?;
    let shared = ephemeral.agree(target)?;
    let (cryptogram, mac) = elc_seal(&shared, plain)?;
    let point = object(&[0x86], &ephemeral.public().point())?;
    let parts = [
        object(&[0x06], target.curve().oid().as_bytes())?,
        object(&[0x7F, 0x49], &point)?,
        object(&[0x86], &[&[0x02], &cryptogram[..]].concat())?,
        object(&[0x8E], &mac)?,
    ];
    object(&[0xA6], &parts.concat())
}

/// Opens what [`elc_envelope`] makes for a key on `curve`, which `agree` uses wherever it is.
pub fn elc_unwrap(
    curve: Curve,
    envelope: &[u8],
    agree: impl FnOnce(&EcPublic) -> Result<Zeroizing<Vec<u8>>, Error>,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let (inside, rest) = take(&[0xA6], envelope)?;
    let (named, inside) = take(&[0x06], inside)?;
    let (point, inside) = take(&[0x7F, 0x49], inside)?;
    let (point, _) = take(&[0x86], point)?;
    let (cryptogram, inside) = take(&[0x86], inside)?;
    let (mac, _) = take(&[0x8E], inside)?;
    let [0x02, cryptogram @ ..] = cryptogram else {
        return Err(Error::BadInput);
    };
    if !rest.is_empty() || named != curve.oid().as_bytes() {
        return Err(Error::BadInput);
    }
    let ephemeral = EcPublic::from_point(curve, point)?;
    elc_open(&agree(&ephemeral)?, cryptogram, mac)
}

/// The curve an envelope is for.
pub fn elc_curve(envelope: &[u8]) -> Option<Curve> {
    let (inside, _) = take(&[0xA6], envelope).ok()?;
    let (oid, _) = take(&[0x06], inside).ok()?;
    [Curve::BrainpoolP256r1, Curve::NistP256]
        .into_iter()
        .find(|curve| curve.oid().as_bytes() == oid)
}

fn object(tag: &[u8], value: &[u8]) -> Result<Vec<u8>, Error> {
    let length = u16::try_from(value.len()).map_err(|_| Error::BadInput)?;
    let [high, low] = length.to_be_bytes();
    let length = match length {
        0..=0x7F => vec![low],
        0x80..=0xFF => vec![0x81, low],
        _ => vec![0x82, high, low],
    };
    Ok([tag, &length, value].concat())
}

fn take<'a>(tag: &[u8], bytes: &'a [u8]) -> Result<(&'a [u8], &'a [u8]), Error> {
    let rest = bytes.strip_prefix(tag).ok_or(Error::BadInput)?;
    let (length, rest) = match rest {
        [short @ 0..=0x7F, rest @ ..] => (usize::from(*short), rest),
        [0x81, low, rest @ ..] => (usize::from(*low), rest),
        [0x82, high, low, rest @ ..] => (usize::from(u16::from_be_bytes([*high, *low])), rest),
        _ => return Err(Error::BadInput),
    };
    rest.split_at_checked(length).ok_or(Error::BadInput)
}

fn elc_keys(shared: &[u8]) -> SessionKeys {
    SessionKeys::derive(shared, SessionStrength::Aes256)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elc_round_trip_and_tamper() {
        let (cryptogram, mac) = elc_seal(&[7; 32], b"transport key").unwrap();
        assert_eq!(
            &elc_open(&[7; 32], &cryptogram, &mac).unwrap()[..],
            b"transport key"
        );
        assert_eq!(
            elc_open(&[8; 32], &cryptogram, &mac).unwrap_err(),
            Error::Verification
        );
        assert_eq!(
            elc_open(&[7; 32], &cryptogram[..16], &mac).is_ok(),
            cryptogram.len() == 16
        );
    }

    #[test]
    fn envelope_round_trip_and_tamper() {
        for curve in [Curve::BrainpoolP256r1, Curve::NistP256] {
            let key = EcPrivate::generate(curve).unwrap();
            let envelope = elc_envelope(&key.public(), &[5; 32]).unwrap();
            assert_eq!(elc_curve(&envelope), Some(curve));
            assert_eq!(
                &elc_unwrap(key.curve(), &envelope, |point| key.agree(point)).unwrap()[..],
                [5; 32]
            );
            for position in 0..envelope.len() {
                let mut other = envelope.clone();
                other[position] ^= 1;
                assert!(
                    elc_unwrap(key.curve(), &other, |point| key.agree(point)).is_err(),
                    "{position}"
                );
            }
        }
    }

    /// RFC 4493 example 2: AES-CMAC of one block.
    #[test]
    fn cmac_rfc4493() {
        let key = hex::decode("2b7e151628aed2a6abf7158809cf4f3c").unwrap();
        let data = hex::decode("6bc1bee22e409f96e93d7e117393172a").unwrap();
        assert_eq!(hex::encode(mac8(&key, &data).unwrap()), "070a16b46b4d4144");
    }

    #[test]
    fn padding() {
        assert_eq!(unpad(&pad(b"")).unwrap(), b"");
        assert_eq!(pad(&[1; 16]).len(), 32);
        assert!(unpad(&[0; 16]).is_err());
        assert!(unpad(&[1; 16]).is_err());
        assert!(cbc_decrypt(&[0; 16], &[0; 16], &[1; 15]).is_err());
        assert!(cbc_encrypt(&[0; 15], &[0; 16], &[1; 16]).is_err());
    }
}
