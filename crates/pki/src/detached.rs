//! The detached signature of a trust list on the Internet (A_21179): a sequence of algorithm, signature and the signer's
//! certificate over the whole file. Checked before anything of the file is parsed (A_21185).

use crate::tsl::{SignerError, TslError, check_signer, signer_key};
use asn1::{X509, oid, tlv};
use base::Timestamp;
use crypto::{Key, SignatureScheme, SoftKey};
use der::asn1::ObjectIdentifier as Oid;
use der::{Decode, Encode};

/// Largest signature file; gematik's have 0.7 KB.
pub const LIMIT: usize = 16 * 1024;

/// Checks `signature` over `file` up to one of `anchors`.
pub fn verify(file: &[u8], signature: &[u8], anchors: &[&X509], now: Timestamp) -> Result<(), TslError> {
    let (algorithm, value, certificate) = parts(signature).ok_or(TslError::Detached("unreadable"))?;
    let signer = X509::parse(certificate).map_err(|_| SignerError::Missing)?;
    let mut reason = SignerError::Chain;
    for anchor in anchors {
        match check_signer(&signer, anchor, now) {
            Ok(()) => {
                let scheme = SignatureScheme::from_oid(algorithm);
                let scheme = scheme.map_err(|_| TslError::Detached("algorithm not accepted"))?;
                let verified = signer_key(&signer)?.verify(scheme, file, value);
                return verified.map_err(|_| TslError::Detached("does not fit the file"));
            }
            Err(SignerError::Chain) => {}
            Err(other) => reason = other,
        }
    }
    Err(reason.into())
}

fn parts(signature: &[u8]) -> Option<(Oid, &[u8], &[u8])> {
    let (outer, rest) = tlv::read(signature).ok()?;
    let all = tlv::read_all(outer.value).ok()?;
    match all.as_slice() {
        [algorithm, value, certificate] if outer.tag == 0x30 && rest.is_empty() && value.tag == 0x03 => {
            let first = tlv::read_all(algorithm.value).ok()?.into_iter().next()?;
            let bits = value.value.strip_prefix(&[0])?;
            Some((Oid::from_der(first.raw).ok()?, bits, certificate.raw))
        }
        _ => None,
    }
}

/// Makes such a signature (test TI).
pub fn sign(file: &[u8], certificate: &[u8], key: &SoftKey) -> Result<Vec<u8>, crate::issue::IssueError> {
    let algorithm = match key {
        SoftKey::Ec(_) => oid::ECDSA_WITH_SHA256,
        SoftKey::Rsa(_) => oid::SHA256_WITH_RSA,
    };
    let value = [&[0], key.sign(key.scheme(), file)?.as_slice()].concat();
    Ok(tlv::nest(
        0x30,
        [
            tlv::nest(0x30, [algorithm.to_der()?]),
            tlv::encode(0x03, &value),
            certificate.to_vec(),
        ],
    ))
}
