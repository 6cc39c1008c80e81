use hmac::{Hmac, KeyInit, Mac};
use sha2::Digest;

/// SHA-256 over the concatenation of `parts`.
pub fn sha256<P: AsRef<[u8]>>(parts: impl IntoIterator<Item = P>) -> [u8; 32] {
    let mut digest = sha2::Sha256::new();
    parts.into_iter().for_each(|part| digest.update(part.as_ref()));
    digest.finalize().into()
}

/// SHA-384.
pub fn sha384(data: &[u8]) -> [u8; 48] {
    sha2::Sha384::digest(data).into()
}

/// SHA-512.
pub fn sha512(data: &[u8]) -> [u8; 64] {
    sha2::Sha512::digest(data).into()
}

/// SHA-1 over the concatenation of `parts`; only for names (OCSP CertID) and the card's key derivation.
pub fn sha1<P: AsRef<[u8]>>(parts: impl IntoIterator<Item = P>) -> [u8; 20] {
    let mut digest = sha1::Sha1::new();
    parts.into_iter().for_each(|part| digest.update(part.as_ref()));
    digest.finalize().into()
}

/// HMAC-SHA-256.
pub fn hmac_sha256(key: &[u8], data: &[u8]) -> [u8; 32] {
    // HMAC takes keys of any length, so the error arm cannot be reached
    match Hmac::<sha2::Sha256>::new_from_slice(key) {
        Ok(mut mac) => {
            mac.update(data);
            mac.finalize().into_bytes().into()
        }
        Err(_) => [0; 32],
    }
}
