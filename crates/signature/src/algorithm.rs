//! Signature algorithms as CMS names them.

use crate::{Error, Flaw};
use asn1::cms::Algorithm;
use asn1::{oid, tlv};
use crypto::{Hash, SignatureScheme};
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

/// A signature algorithm as it stands in a signature; `digest` counts where the algorithm names no hash. The value is
/// brought into the form [`crypto::PublicKey::verify_hash`] takes.
pub(crate) fn read(
    algorithm: &Algorithm<'_>,
    digest: Option<Hash>,
    value: &[u8],
) -> Result<(SignatureScheme, Hash, Vec<u8>), Flaw> {
    if let Some((_, scheme, hash)) = NAMED.iter().find(|(oid, ..)| *oid == algorithm.oid) {
        return Ok((*scheme, *hash, value.to_vec()));
    }
    match algorithm.oid {
        oid::RSA_ENCRYPTION => Ok((
            SignatureScheme::RsaPkcs1,
            digest.ok_or(Flaw::Algorithm)?,
            value.to_vec(),
        )),
        oid::RSA_PSS => Ok((SignatureScheme::RsaPss, pss_hash(algorithm)?, value.to_vec())),
        ECDSA_PLAIN_SHA256 => Ok((
            SignatureScheme::Ecdsa,
            Hash::Sha256,
            crypto::ecdsa_der(value).map_err(|_| Flaw::Value)?,
        )),
        _ => Err(Flaw::Algorithm),
    }
}

/// The hash of RSASSA-PSS-params; the mask must use the same one, and the salt be as long (gemSpec_Krypt).
fn pss_hash(algorithm: &Algorithm<'_>) -> Result<Hash, Flaw> {
    let parameters = algorithm.parameters.and_then(|all| tlv::find(all, 0x30));
    let parameters = parameters.ok_or(Flaw::Algorithm)?;
    let named = |value: &[u8]| {
        let (object, _) = tlv::read(value).ok()?;
        Hash::from_oid(der::Decode::from_der(object.raw).ok()?)
    };
    let hash = tlv::path(parameters, &[0xA0, 0x30]).and_then(named);
    let mask = tlv::path(parameters, &[0xA1, 0x30, 0x30]).and_then(named);
    let salt = tlv::path(parameters, &[0xA2, 0x02]).map_or(&[20][..], |salt| salt);
    match (hash, mask) {
        (Some(hash), Some(mask)) if hash == mask && salt == [hash.size() as u8] => Ok(hash),
        _ => Err(Flaw::Algorithm),
    }
}
