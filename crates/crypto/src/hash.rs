use der::asn1::ObjectIdentifier;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Digest;

/// Six digits of a moment (RFC 4226, RFC 6238 with SHA-1): the second factor of an authenticator.
pub fn one_time_digits(secret: &[u8], step: u64) -> u32 {
    // keys of any length are allowed
    let Ok(mut mac) = Hmac::<sha1::Sha1>::new_from_slice(secret) else {
        return 0;
    };
    mac.update(&step.to_be_bytes());
    let mac = mac.finalize().into_bytes();
    let offset = usize::from(mac.last().copied().unwrap_or_default() & 0x0F);
    let four = mac.get(offset..offset + 4).and_then(|four| four.try_into().ok());
    let number = u32::from_be_bytes(four.unwrap_or_default()) & 0x7FFF_FFFF;
    number % 1_000_000
}

/// The hash functions of signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    /// All of them.
    pub const ALL: [Hash; 3] = [Hash::Sha256, Hash::Sha384, Hash::Sha512];

    /// Over the concatenation of `parts`.
    pub fn of<P: AsRef<[u8]>>(self, parts: impl IntoIterator<Item = P>) -> Vec<u8> {
        fn run<D: Digest, P: AsRef<[u8]>>(parts: impl IntoIterator<Item = P>) -> Vec<u8> {
            let mut digest = D::new();
            parts.into_iter().for_each(|part| digest.update(part.as_ref()));
            digest.finalize().to_vec()
        }
        match self {
            Hash::Sha256 => run::<sha2::Sha256, P>(parts),
            Hash::Sha384 => run::<sha2::Sha384, P>(parts),
            Hash::Sha512 => run::<sha2::Sha512, P>(parts),
        }
    }

    /// Length of its values in bytes.
    pub fn size(self) -> usize {
        match self {
            Hash::Sha256 => 32,
            Hash::Sha384 => 48,
            Hash::Sha512 => 64,
        }
    }

    /// Object identifier.
    pub fn oid(self) -> ObjectIdentifier {
        ObjectIdentifier::new_unwrap(match self {
            Hash::Sha256 => "2.16.840.1.101.3.4.2.1",
            Hash::Sha384 => "2.16.840.1.101.3.4.2.2",
            Hash::Sha512 => "2.16.840.1.101.3.4.2.3",
        })
    }

    /// The one with this object identifier.
    pub fn from_oid(oid: ObjectIdentifier) -> Option<Self> {
        Self::ALL.into_iter().find(|hash| hash.oid() == oid)
    }

    /// DigestInfo of PKCS #1 for a value of this hash.
    pub fn digest_info(self, value: &[u8]) -> Vec<u8> {
        let last = match self {
            Hash::Sha256 => 1,
            Hash::Sha384 => 2,
            Hash::Sha512 => 3,
        };
        let size = value.len() as u8;
        let mut info = vec![0x30, size + 17, 0x30, 0x0D, 0x06, 0x09];
        info.extend([
            0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, last, 0x05, 0x00, 0x04, size,
        ]);
        info.extend_from_slice(value);
        info
    }
}

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
