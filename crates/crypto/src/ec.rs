use crate::bp256fast::BrainpoolP256r1;
use crate::{Error, random, sha256};
use der::asn1::{BitString, ObjectIdentifier, OctetString};
use der::{Encode, Sequence};
use ecdsa::signature::hazmat::{PrehashSigner, PrehashVerifier};
use p256::NistP256;
use std::fmt;
use zeroize::Zeroizing;

/// The curves of the TI that we use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Curve {
    /// brainpoolP256r1 (RFC 5639): cards, card certificates, most CAs.
    BrainpoolP256r1,
    /// NIST P-256: components and clients.
    NistP256,
}

impl Curve {
    /// Object identifier of the curve.
    pub fn oid(self) -> ObjectIdentifier {
        match self {
            Curve::BrainpoolP256r1 => ObjectIdentifier::new_unwrap("1.3.36.3.3.2.8.1.1.7"),
            Curve::NistP256 => ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7"),
        }
    }

    /// The curve with this object identifier, if it is one of ours.
    pub fn from_oid(oid: ObjectIdentifier) -> Option<Self> {
        [Curve::BrainpoolP256r1, Curve::NistP256]
            .into_iter()
            .find(|curve| curve.oid() == oid)
    }
}

/// id-ecPublicKey.
pub(crate) const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");

#[derive(Clone)]
enum Public {
    Brainpool(ecdsa::VerifyingKey<BrainpoolP256r1>),
    Nist(ecdsa::VerifyingKey<NistP256>),
}

/// A public point on one of our curves; constructing one proves that it lies on the curve.
#[derive(Clone)]
pub struct EcPublic(Public);

impl EcPublic {
    /// From the uncompressed form `04 || x || y`.
    pub fn from_point(curve: Curve, point: &[u8]) -> Result<Self, Error> {
        if point.len() != 65 || point.first() != Some(&4) {
            return Err(Error::BadKey);
        }
        Ok(Self(match curve {
            Curve::BrainpoolP256r1 => {
                Public::Brainpool(ecdsa::VerifyingKey::from_sec1_bytes(point).map_err(|_| Error::BadKey)?)
            }
            Curve::NistP256 => {
                Public::Nist(ecdsa::VerifyingKey::from_sec1_bytes(point).map_err(|_| Error::BadKey)?)
            }
        }))
    }

    /// The curve.
    pub fn curve(&self) -> Curve {
        match self.0 {
            Public::Brainpool(_) => Curve::BrainpoolP256r1,
            Public::Nist(_) => Curve::NistP256,
        }
    }

    /// The uncompressed form, 65 bytes.
    pub fn point(&self) -> Vec<u8> {
        match &self.0 {
            Public::Brainpool(key) => key.to_sec1_point(false).as_bytes().to_vec(),
            Public::Nist(key) => key.to_sec1_point(false).as_bytes().to_vec(),
        }
    }

    /// Checks `r || s` over a finished hash of at least 32 bytes.
    pub fn verify_prehash(&self, hash: &[u8], signature: &[u8]) -> Result<(), Error> {
        let failed = |_| Error::Verification;
        match &self.0 {
            Public::Brainpool(key) => {
                let signature = ecdsa::Signature::from_slice(signature).map_err(failed)?;
                key.verify_prehash(hash, &signature).map_err(failed)
            }
            Public::Nist(key) => {
                let signature = ecdsa::Signature::from_slice(signature).map_err(failed)?;
                key.verify_prehash(hash, &signature).map_err(failed)
            }
        }
    }

    /// Checks an ECDSA-Sig-Value (DER) over SHA-256 of `message`.
    pub fn verify_der(&self, message: &[u8], signature: &[u8]) -> Result<(), Error> {
        self.verify_prehash(&sha256([message]), &raw_from_der(signature)?)
    }
}

impl PartialEq for EcPublic {
    fn eq(&self, other: &Self) -> bool {
        self.curve() == other.curve() && self.point() == other.point()
    }
}

impl Eq for EcPublic {}

impl fmt::Debug for EcPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EcPublic({:?})", self.curve())
    }
}

#[derive(Clone)]
enum Private {
    Brainpool(Box<ecdsa::SigningKey<BrainpoolP256r1>>),
    Nist(Box<ecdsa::SigningKey<NistP256>>),
}

/// A private key on one of our curves. Wiped from memory when dropped.
#[derive(Clone)]
pub struct EcPrivate(Private);

impl EcPrivate {
    /// A new key from the operating system's randomness.
    pub fn generate(curve: Curve) -> Result<Self, Error> {
        // a scalar outside [1, n) is rare on P-256 and happens in a third of the cases on brainpoolP256r1
        for _ in 0..64 {
            let bytes = Zeroizing::new(random::<32>()?);
            if let Ok(key) = Self::from_scalar(curve, &bytes[..]) {
                return Ok(key);
            }
        }
        Err(Error::Random)
    }

    /// From the big-endian scalar, 32 bytes.
    pub fn from_scalar(curve: Curve, scalar: &[u8]) -> Result<Self, Error> {
        Ok(Self(match curve {
            Curve::BrainpoolP256r1 => Private::Brainpool(Box::new(
                ecdsa::SigningKey::from_slice(scalar).map_err(|_| Error::BadKey)?,
            )),
            Curve::NistP256 => Private::Nist(Box::new(
                ecdsa::SigningKey::from_slice(scalar).map_err(|_| Error::BadKey)?,
            )),
        }))
    }

    /// The scalar, 32 bytes.
    pub fn scalar(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(match &self.0 {
            Private::Brainpool(key) => key.to_bytes().to_vec(),
            Private::Nist(key) => key.to_bytes().to_vec(),
        })
    }

    /// The curve.
    pub fn curve(&self) -> Curve {
        match self.0 {
            Private::Brainpool(_) => Curve::BrainpoolP256r1,
            Private::Nist(_) => Curve::NistP256,
        }
    }

    /// The public point.
    pub fn public(&self) -> EcPublic {
        EcPublic(match &self.0 {
            Private::Brainpool(key) => Public::Brainpool(*key.verifying_key()),
            Private::Nist(key) => Public::Nist(*key.verifying_key()),
        })
    }

    /// Signs a finished hash of 32 bytes or more; `r || s`, 64 bytes. Nonces are deterministic (RFC 6979).
    pub fn sign_prehash(&self, hash: &[u8]) -> Result<Vec<u8>, Error> {
        let bad = |_| Error::BadInput;
        Ok(match &self.0 {
            Private::Brainpool(key) => {
                let signature: ecdsa::Signature<BrainpoolP256r1> = key.sign_prehash(hash).map_err(bad)?;
                signature.to_vec()
            }
            Private::Nist(key) => {
                let signature: ecdsa::Signature<NistP256> = key.sign_prehash(hash).map_err(bad)?;
                signature.to_vec()
            }
        })
    }

    /// Signs SHA-256 of `message`; DER (ECDSA-Sig-Value).
    pub fn sign_der(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        der_from_raw(&self.sign_prehash(&sha256([message]))?)
    }

    /// The x coordinate of the shared point (ECKA), 32 bytes.
    pub fn agree(&self, other: &EcPublic) -> Result<Zeroizing<Vec<u8>>, Error> {
        match (&self.0, &other.0) {
            (Private::Brainpool(mine), Public::Brainpool(theirs)) => {
                let shared =
                    elliptic_curve::ecdh::diffie_hellman(mine.as_nonzero_scalar(), theirs.as_affine());
                Ok(Zeroizing::new(shared.raw_secret_bytes().to_vec()))
            }
            (Private::Nist(mine), Public::Nist(theirs)) => {
                let shared =
                    elliptic_curve::ecdh::diffie_hellman(mine.as_nonzero_scalar(), theirs.as_affine());
                Ok(Zeroizing::new(shared.raw_secret_bytes().to_vec()))
            }
            _ => Err(Error::BadKey),
        }
    }

    /// PKCS#8 (RFC 5958) with the public key, as OpenSSL reads it.
    pub fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, Error> {
        let encoded = |_| Error::BadKey;
        let inner = EcPrivateKey {
            version: 1,
            private_key: OctetString::new(&self.scalar()[..]).map_err(encoded)?,
            parameters: None,
            public_key: Some(BitString::from_bytes(&self.public().point()).map_err(encoded)?),
        };
        let info = PrivateKeyInfo {
            version: 0,
            algorithm: spki::AlgorithmIdentifier {
                oid: EC_PUBLIC_KEY,
                parameters: Some(self.curve().oid()),
            },
            private_key: OctetString::new(inner.to_der().map_err(encoded)?).map_err(encoded)?,
        };
        Ok(Zeroizing::new(info.to_der().map_err(encoded)?))
    }

    /// From PKCS#8.
    pub fn from_pkcs8(bytes: &[u8]) -> Result<Self, Error> {
        use der::Decode;
        let info = PrivateKeyInfo::from_der(bytes).map_err(|_| Error::BadKey)?;
        let curve = info
            .algorithm
            .parameters
            .and_then(Curve::from_oid)
            .ok_or(Error::Unsupported)?;
        let inner = EcPrivateKey::from_der(info.private_key.as_bytes()).map_err(|_| Error::BadKey)?;
        Self::from_scalar(curve, inner.private_key.as_bytes())
    }
}

impl fmt::Debug for EcPrivate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EcPrivate({:?})", self.curve())
    }
}

#[derive(Sequence)]
struct EcPrivateKey {
    version: u8,
    private_key: OctetString,
    /// Some programs repeat the curve here.
    #[asn1(context_specific = "0", optional = "true", tag_mode = "EXPLICIT")]
    parameters: Option<ObjectIdentifier>,
    #[asn1(context_specific = "1", optional = "true", tag_mode = "EXPLICIT")]
    public_key: Option<BitString>,
}

#[derive(Sequence)]
struct PrivateKeyInfo {
    version: u8,
    algorithm: spki::AlgorithmIdentifier<ObjectIdentifier>,
    private_key: OctetString,
}

#[derive(Sequence)]
struct SigValue {
    r: der::asn1::Uint,
    s: der::asn1::Uint,
}

/// `r || s` to ECDSA-Sig-Value.
pub fn der_from_raw(raw: &[u8]) -> Result<Vec<u8>, Error> {
    let (r, s) = raw.split_at_checked(raw.len() / 2).ok_or(Error::BadInput)?;
    let integer = |bytes: &[u8]| der::asn1::Uint::new(bytes).map_err(|_| Error::BadInput);
    SigValue {
        r: integer(r)?,
        s: integer(s)?,
    }
    .to_der()
    .map_err(|_| Error::BadInput)
}

/// ECDSA-Sig-Value to `r || s` for a 256-bit curve.
pub fn raw_from_der(signature: &[u8]) -> Result<Vec<u8>, Error> {
    use der::Decode;
    let value = SigValue::from_der(signature).map_err(|_| Error::Verification)?;
    let mut raw = Vec::with_capacity(64);
    for part in [value.r.as_bytes(), value.s.as_bytes()] {
        let padding = 32usize.checked_sub(part.len()).ok_or(Error::Verification)?;
        raw.extend(std::iter::repeat_n(0, padding));
        raw.extend_from_slice(part);
    }
    Ok(raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sign_verify_and_der_both_curves() {
        for curve in [Curve::BrainpoolP256r1, Curve::NistP256] {
            let key = EcPrivate::generate(curve).unwrap();
            let signature = key.sign_der(b"message").unwrap();
            key.public().verify_der(b"message", &signature).unwrap();
            assert_eq!(
                key.public().verify_der(b"messagf", &signature),
                Err(Error::Verification)
            );
            assert_eq!(
                der_from_raw(&raw_from_der(&signature).unwrap()).unwrap(),
                signature
            );
            let again = EcPrivate::from_pkcs8(&key.to_pkcs8().unwrap()).unwrap();
            assert_eq!(again.public(), key.public());
        }
    }

    /// RFC 7027 appendix A.1: key agreement on brainpoolP256r1.
    #[test]
    fn rfc7027_brainpool_p256r1() {
        let h = |s: &str| hex::decode(s).unwrap();
        let a = "81DB1EE100150FF2EA338D708271BE38300CB54241D79950F77B063039804F1D";
        let ax = "44106E913F92BC02A1705D9953A8414DB95E1AAA49E81D9E85F929A8E3100BE5";
        let ay = "8AB4846F11CACCB73CE49CBDD120F5A900A69FD32C272223F789EF10EB089BDC";
        let b = "55E40BC41E37E3E2AD25C3C6654511FFA8474A91A0032087593852D3E7D76BD3";
        let bx = "8D2D688C6CF93E1160AD04CC4429117DC2C41825E1E9FCA0ADDD34E6F1B39F7B";
        let by = "990C57520812BE512641E47034832106BC7D3E8DD0E4C7F1136D7006547CEC6A";
        let z = "89AFC39D41D3B327814B80940B042590F96556EC91E6AE7939BCE31F3A18BF2B";
        let curve = Curve::BrainpoolP256r1;
        let alice = EcPrivate::from_scalar(curve, &h(a)).unwrap();
        assert_eq!(alice.public().point(), h(&format!("04{ax}{ay}")));
        let bob = EcPublic::from_point(curve, &h(&format!("04{bx}{by}"))).unwrap();
        assert_eq!(EcPrivate::from_scalar(curve, &h(b)).unwrap().public(), bob);
        assert_eq!(&alice.agree(&bob).unwrap()[..], &h(z)[..]);
    }

    #[test]
    fn bad_points_are_refused() {
        let mut point = EcPrivate::generate(Curve::BrainpoolP256r1)
            .unwrap()
            .public()
            .point();
        assert!(EcPublic::from_point(Curve::NistP256, &point).is_err());
        point[64] ^= 1;
        assert!(EcPublic::from_point(Curve::BrainpoolP256r1, &point).is_err());
        assert!(EcPublic::from_point(Curve::BrainpoolP256r1, &[]).is_err());
        assert!(EcPrivate::from_scalar(Curve::BrainpoolP256r1, &[0; 32]).is_err());
        assert!(EcPrivate::from_scalar(Curve::BrainpoolP256r1, &[0xFF; 32]).is_err());
    }
}
