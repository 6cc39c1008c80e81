//! Signature algorithms as CMS names them.

use crate::{Error, Flaw};
use asn1::cms::Algorithm;
use asn1::{oid, tlv};
use crypto::{Error as CryptoError, Hash, PublicKey, SignatureScheme};
use der::Encode;
use der::asn1::ObjectIdentifier as Oid;

const fn oid_of(text: &'static str) -> Oid {
    Oid::new_unwrap(text)
}

/// Signature algorithms that name their hash.
const NAMED: [(Oid, SignatureScheme, Hash); 6] = [
    (oid::ECDSA_WITH_SHA256, SignatureScheme::Ecdsa, Hash::Sha256),
    (
        oid_of("1.2.840.10045.4.3.3"),
        SignatureScheme::Ecdsa,
        Hash::Sha384,
    ),
    (
        oid_of("1.2.840.10045.4.3.4"),
        SignatureScheme::Ecdsa,
        Hash::Sha512,
    ),
    (oid::SHA256_WITH_RSA, SignatureScheme::RsaPkcs1, Hash::Sha256),
    (
        oid_of("1.2.840.113549.1.1.12"),
        SignatureScheme::RsaPkcs1,
        Hash::Sha384,
    ),
    (
        oid_of("1.2.840.113549.1.1.13"),
        SignatureScheme::RsaPkcs1,
        Hash::Sha512,
    ),
];
/// ecdsa-plain-SHA256 of BSI TR-03111: r and s without DER around them.
const ECDSA_PLAIN_SHA256: Oid = oid_of("0.4.0.127.0.7.1.1.4.1.3");

/// AlgorithmIdentifier of SHA-256, with the parameters absent.
pub(crate) fn sha256() -> Result<Vec<u8>, Error> {
    Ok(tlv::nest(0x30, [oid::SHA256.to_der()?]))
}

/// AlgorithmIdentifier of a signature with SHA-256.
pub(crate) fn signing(scheme: SignatureScheme) -> Result<Vec<u8>, Error> {
    let null = vec![0x05, 0x00];
    Ok(match scheme {
        SignatureScheme::Ecdsa => tlv::nest(0x30, [oid::ECDSA_WITH_SHA256.to_der()?]),
        SignatureScheme::RsaPkcs1 => tlv::nest(0x30, [oid::SHA256_WITH_RSA.to_der()?, null]),
        SignatureScheme::RsaPss => {
            let hash = tlv::nest(0x30, [oid::SHA256.to_der()?, null]);
            let mask = tlv::nest(0x30, [oid::MGF1.to_der()?, hash.clone()]);
            let salt = tlv::encode(0x02, &[32]);
            let parameters = [
                tlv::encode(0xA0, &hash),
                tlv::encode(0xA1, &mask),
                tlv::encode(0xA2, &salt),
            ];
            tlv::nest(0x30, [oid::RSA_PSS.to_der()?, tlv::nest(0x30, parameters)])
        }
    })
}

/// A signature algorithm as it stands in a signature, with the value in the form [`PublicKey`] takes.
pub(crate) struct Signed {
    pub scheme: SignatureScheme,
    pub hash: Hash,
    /// Bytes of salt, with RSASSA-PSS.
    salt: usize,
    value: Vec<u8>,
}

impl Signed {
    /// `digest` counts where the algorithm names no hash.
    pub fn read(algorithm: &Algorithm<'_>, digest: Option<Hash>, value: &[u8]) -> Result<Self, Flaw> {
        let signed = |scheme, hash: Hash, value: &[u8]| Self {
            scheme,
            hash,
            salt: hash.size(),
            value: value.to_vec(),
        };
        if let Some((_, scheme, hash)) = NAMED.iter().find(|(oid, ..)| *oid == algorithm.oid) {
            return Ok(signed(*scheme, *hash, value));
        }
        match algorithm.oid {
            oid::RSA_ENCRYPTION => {
                let hash = digest.ok_or(Flaw::Algorithm)?;
                Ok(signed(SignatureScheme::RsaPkcs1, hash, value))
            }
            oid::RSA_PSS => {
                let (hash, salt) = pss(algorithm)?;
                let signed = signed(SignatureScheme::RsaPss, hash, value);
                Ok(Self { salt, ..signed })
            }
            ECDSA_PLAIN_SHA256 => {
                let value = crypto::ecdsa_der(value).map_err(|_| Flaw::Value)?;
                Ok(signed(SignatureScheme::Ecdsa, Hash::Sha256, &value))
            }
            _ => Err(Flaw::Algorithm),
        }
    }

    /// Is this the signature of this hash value?
    pub fn verify(&self, key: &PublicKey, value: &[u8]) -> Result<(), CryptoError> {
        match (key, self.scheme) {
            (PublicKey::Rsa(key), SignatureScheme::RsaPss) => {
                key.verify_pss(self.hash, value, &self.value, self.salt)
            }
            _ => key.verify_hash(self.scheme, self.hash, value, &self.value),
        }
    }
}

/// Hash and salt of RSASSA-PSS-params; the mask must use the same hash. We sign with a salt as long as the hash
/// (gemSpec_Krypt); OpenSSL and pyHanko take the longest that fits.
fn pss(algorithm: &Algorithm<'_>) -> Result<(Hash, usize), Flaw> {
    let parameters = algorithm.parameters.and_then(|all| tlv::find(all, 0x30));
    let parameters = parameters.ok_or(Flaw::Algorithm)?;
    let named = |value: &[u8]| {
        let (object, _) = tlv::read(value).ok()?;
        Hash::from_oid(der::Decode::from_der(object.raw).ok()?)
    };
    let hash = tlv::path(parameters, &[0xA0, 0x30]).and_then(named);
    let mask = tlv::path(parameters, &[0xA1, 0x30, 0x30]).and_then(named);
    let salt = match tlv::path(parameters, &[0xA2, 0x02]) {
        Some([salt] | [0, salt]) => usize::from(*salt),
        Some([high, low]) => usize::from(u16::from_be_bytes([*high, *low])),
        _ => return Err(Flaw::Algorithm),
    };
    match (hash, mask) {
        (Some(hash), Some(mask)) if hash == mask && salt <= 512 => Ok((hash, salt)),
        _ => Err(Flaw::Algorithm),
    }
}
