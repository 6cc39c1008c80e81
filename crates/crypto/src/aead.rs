//! AES-256-GCM in place, for documents: one nonce of twelve bytes, one tag of sixteen.

use crate::{Error, random};
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use zeroize::Zeroizing;

/// A fresh content key.
pub fn fresh_key() -> Result<Zeroizing<[u8; 32]>, Error> {
    random().map(Zeroizing::new)
}

/// Enciphers `text` where it stands.
pub fn seal(key: &[u8], associated: &[u8], text: &mut [u8]) -> Result<([u8; 12], [u8; 16]), Error> {
    let nonce: [u8; 12] = random()?;
    let cipher = Aes256Gcm::new_from_slice(key).map_err(|_| Error::BadKey)?;
    let tag = cipher
        .encrypt_inout_detached(&Nonce::from(nonce), associated, text.into())
        .map_err(|_| Error::BadInput)?;
    Ok((nonce, tag.into()))
}

/// Deciphers `text` where it stands; if the tag is wrong nothing of it may be used.
pub fn open(key: &[u8], nonce: &[u8], associated: &[u8], text: &mut [u8], tag: &[u8]) -> Result<(), Error> {
    let nonce: [u8; 12] = nonce.try_into().map_err(|_| Error::BadInput)?;
    let tag: [u8; 16] = tag.try_into().map_err(|_| Error::BadInput)?;
    let cipher = Aes256Gcm::new_from_slice(key).map_err(|_| Error::BadKey)?;
    cipher
        .decrypt_inout_detached(&Nonce::from(nonce), associated, text.into(), &Tag::from(tag))
        .map_err(|_| Error::Verification)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_tamper() {
        let key = fresh_key().unwrap();
        let mut text = b"document".to_vec();
        let (nonce, tag) = seal(&key[..], b"", &mut text).unwrap();
        assert_ne!(text, b"document");
        let mut copy = text.clone();
        assert_eq!(
            open(&key[..], &nonce, b"x", &mut copy, &tag),
            Err(Error::Verification)
        );
        open(&key[..], &nonce, b"", &mut text, &tag).unwrap();
        assert_eq!(text, b"document");
    }
}
