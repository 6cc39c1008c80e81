use crate::ec::EC_PUBLIC_KEY;
use crate::{Curve, EcPrivate, EcPublic, Error, Hash, RsaPrivate, RsaPublic};
use der::asn1::{Any, BitString, ObjectIdentifier};
use der::{Decode, Encode};
use spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use std::fmt::Debug;
use zeroize::Zeroizing;

const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const ECDSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const SHA256_WITH_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");
const RSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");

/// The signature algorithms of the TI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignatureScheme {
    /// ECDSA, as ECDSA-Sig-Value.
    Ecdsa,
    /// RSASSA-PKCS1-v1_5.
    RsaPkcs1,
    /// RSASSA-PSS, salt as long as the hash.
    RsaPss,
}

impl SignatureScheme {
    /// Object identifier as in certificates and CMS, with SHA-256.
    pub fn oid(self) -> ObjectIdentifier {
        match self {
            SignatureScheme::Ecdsa => ECDSA_WITH_SHA256,
            SignatureScheme::RsaPkcs1 => SHA256_WITH_RSA,
            SignatureScheme::RsaPss => RSA_PSS,
        }
    }

    /// The scheme with this object identifier and SHA-256.
    pub fn from_oid(oid: ObjectIdentifier) -> Result<Self, Error> {
        let all = [
            SignatureScheme::Ecdsa,
            SignatureScheme::RsaPkcs1,
            SignatureScheme::RsaPss,
        ];
        all.into_iter()
            .find(|scheme| scheme.oid() == oid)
            .ok_or(Error::Unsupported)
    }
}

/// A private key that works and never shows itself: in software here, behind PKCS#11 in `hsm`.
pub trait Key: Send + Sync + Debug {
    /// The public half.
    fn public(&self) -> PublicKey;

    /// Signs a hash value.
    fn sign_hash(&self, scheme: SignatureScheme, hash: Hash, value: &[u8]) -> Result<Vec<u8>, Error>;

    /// Signs `message`, hashing it first with SHA-256.
    fn sign(&self, scheme: SignatureScheme, message: &[u8]) -> Result<Vec<u8>, Error> {
        self.sign_hash(scheme, Hash::Sha256, &crate::sha256([message]))
    }

    /// Opens a content key that was enciphered for it: RSAES-OAEP with SHA-256, or ECIES as cards do it
    /// ([`crate::card::elc_envelope`]).
    fn decipher(&self, cryptogram: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error>;
}

/// A public key of either kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicKey {
    /// Elliptic curve.
    Ec(EcPublic),
    /// RSA.
    Rsa(RsaPublic),
}

impl PublicKey {
    /// From SubjectPublicKeyInfo.
    pub fn from_spki(der: &[u8]) -> Result<Self, Error> {
        let info = SubjectPublicKeyInfoOwned::from_der(der).map_err(|_| Error::BadKey)?;
        let bits = info.subject_public_key.raw_bytes();
        match info.algorithm.oid {
            EC_PUBLIC_KEY => {
                let curve = info
                    .algorithm
                    .parameters
                    .and_then(|p| p.decode_as::<ObjectIdentifier>().ok());
                let curve = curve.and_then(Curve::from_oid).ok_or(Error::Unsupported)?;
                EcPublic::from_point(curve, bits).map(Self::Ec)
            }
            // a key that may only be used with PSS is the same key
            RSA_ENCRYPTION | RSA_PSS => RsaPublic::from_pkcs1(bits).map(Self::Rsa),
            _ => Err(Error::Unsupported),
        }
    }

    /// SubjectPublicKeyInfo.
    pub fn to_spki(&self) -> Result<Vec<u8>, Error> {
        let (oid, parameters, bits) = match self {
            PublicKey::Ec(key) => (EC_PUBLIC_KEY, Any::from(&key.curve().oid()), key.point()),
            PublicKey::Rsa(key) => (RSA_ENCRYPTION, Any::null(), key.to_pkcs1()?),
        };
        let info = SubjectPublicKeyInfoOwned {
            algorithm: AlgorithmIdentifierOwned {
                oid,
                parameters: Some(parameters),
            },
            subject_public_key: BitString::from_bytes(&bits).map_err(|_| Error::BadKey)?,
        };
        info.to_der().map_err(|_| Error::BadKey)
    }

    /// Checks a signature over `message` with SHA-256, as certificates, OCSP and CMS carry it.
    pub fn verify(&self, scheme: SignatureScheme, message: &[u8], signature: &[u8]) -> Result<(), Error> {
        self.verify_hash(scheme, Hash::Sha256, &crate::sha256([message]), signature)
    }

    /// Checks a signature over a hash value.
    pub fn verify_hash(
        &self,
        scheme: SignatureScheme,
        hash: Hash,
        value: &[u8],
        signature: &[u8],
    ) -> Result<(), Error> {
        match (self, scheme) {
            (PublicKey::Ec(key), SignatureScheme::Ecdsa) => {
                key.verify_prehash(value, &crate::ecdsa_raw(signature)?)
            }
            (PublicKey::Rsa(key), SignatureScheme::RsaPkcs1) => key.verify_pkcs1(hash, value, signature),
            (PublicKey::Rsa(key), SignatureScheme::RsaPss) => {
                key.verify_pss(hash, value, signature, hash.size())
            }
            _ => Err(Error::Unsupported),
        }
    }

    /// Enciphers a content key for the owner: RSAES-OAEP with SHA-256, or ECIES as cards open it (A_17220).
    pub fn encipher(&self, content_key: &[u8]) -> Result<Vec<u8>, Error> {
        match self {
            PublicKey::Ec(key) => crate::card::elc_envelope(key, content_key),
            PublicKey::Rsa(key) => key.encrypt_oaep(content_key),
        }
    }
}

/// A private key in memory.
#[derive(Debug, Clone)]
pub enum SoftKey {
    /// Elliptic curve.
    Ec(EcPrivate),
    /// RSA.
    Rsa(RsaPrivate),
}

impl SoftKey {
    /// From PKCS#8 DER.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, Error> {
        EcPrivate::from_pkcs8(der)
            .map(Self::Ec)
            .or_else(|_| RsaPrivate::from_pkcs8(der).map(Self::Rsa))
    }

    /// PKCS#8 DER.
    pub fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, Error> {
        match self {
            SoftKey::Ec(key) => key.to_pkcs8(),
            SoftKey::Rsa(key) => key.to_pkcs8(),
        }
    }

    /// The scheme this key signs certificates with.
    pub fn scheme(&self) -> SignatureScheme {
        match self {
            SoftKey::Ec(_) => SignatureScheme::Ecdsa,
            SoftKey::Rsa(_) => SignatureScheme::RsaPkcs1,
        }
    }
}

impl Key for SoftKey {
    fn public(&self) -> PublicKey {
        match self {
            SoftKey::Ec(key) => PublicKey::Ec(key.public()),
            SoftKey::Rsa(key) => PublicKey::Rsa(key.public()),
        }
    }

    fn sign_hash(&self, scheme: SignatureScheme, hash: Hash, value: &[u8]) -> Result<Vec<u8>, Error> {
        match (self, scheme) {
            (SoftKey::Ec(key), SignatureScheme::Ecdsa) => crate::ecdsa_der(&key.sign_prehash(value)?),
            (SoftKey::Rsa(key), SignatureScheme::RsaPkcs1) => key.sign_digest_info(&hash.digest_info(value)),
            (SoftKey::Rsa(key), SignatureScheme::RsaPss) if hash == Hash::Sha256 => {
                key.sign_pss_prehash(value)
            }
            _ => Err(Error::Unsupported),
        }
    }

    fn decipher(&self, cryptogram: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        match self {
            SoftKey::Ec(key) => crate::card::elc_unwrap(key.curve(), cryptogram, |other| key.agree(other)),
            SoftKey::Rsa(key) => key.decrypt_oaep(cryptogram),
        }
    }
}
