use super::verify::BRAINPOOL_TLS13_SCHEME;
use crate::{Curve, Key, SoftKey, pem};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};
use std::sync::Arc;
use zeroize::Zeroizing;

/// A key with its certificates, end entity first: what a TLS side shows.
#[derive(Debug, Clone)]
pub struct Identity {
    /// DER certificates, end entity first.
    pub chain: Vec<Vec<u8>>,
    /// The private key.
    pub key: SoftKey,
}

impl Identity {
    /// From PEM text: certificates, end entity first, and one PKCS#8 key that belongs to the first.
    pub fn from_pem(text: &str) -> Result<Self, crate::Error> {
        let chain = pem::decode_all("CERTIFICATE", text)?;
        let keys = pem::decode_all("PRIVATE KEY", text)?;
        let ([first, ..], [key]) = (chain.as_slice(), keys.as_slice()) else {
            return Err(crate::Error::BadInput);
        };
        let key = SoftKey::from_pkcs8(key)?;
        // the key's SPKI stands in its certificate, or they are not a pair
        let spki = key.public().to_spki()?;
        if !first.windows(spki.len()).any(|part| part == spki) {
            return Err(crate::Error::BadKey);
        }
        Ok(Self {
            chain: chain.iter().map(|der| der.to_vec()).collect(),
            key,
        })
    }

    /// As PEM text, to be kept like a key.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, crate::Error> {
        let mut text = Zeroizing::new(String::new());
        for der in &self.chain {
            text.push_str(&pem::encode("CERTIFICATE", der)?);
        }
        text.push_str(&pem::encode("PRIVATE KEY", &self.key.to_pkcs8()?)?);
        Ok(text)
    }
}

/// The identity in the form rustls takes.
pub fn certified(identity: &Identity) -> Result<Arc<CertifiedKey>, Error> {
    let chain = identity
        .chain
        .iter()
        .map(|der| CertificateDer::from(der.clone()))
        .collect();
    let key: Arc<dyn SigningKey> = match &identity.key {
        SoftKey::Ec(key) if key.curve() == Curve::BrainpoolP256r1 => {
            Arc::new(BrainpoolKey(Arc::new(SoftKey::Ec(key.clone()))))
        }
        other => {
            let pkcs8 = other
                .to_pkcs8()
                .map_err(|error| Error::General(error.to_string()))?;
            let der = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(pkcs8.to_vec()));
            ring::sign::any_supported_type(&der)?
        }
    };
    Ok(Arc::new(CertifiedKey::new(chain, key)))
}

/// A chain with a brainpool key that lies elsewhere.
pub(super) fn certified_by(chain: &[Vec<u8>], key: Arc<dyn Key>) -> Arc<CertifiedKey> {
    let chain = chain
        .iter()
        .map(|der| CertificateDer::from(der.clone()))
        .collect();
    Arc::new(CertifiedKey::new(chain, Arc::new(BrainpoolKey(key))))
}

#[derive(Debug, Clone)]
struct BrainpoolKey(Arc<dyn Key>);

impl SigningKey for BrainpoolKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        // in TLS 1.2 ecdsa_secp256r1_sha256 only means "ECDSA with SHA-256", any curve
        let mine = [BRAINPOOL_TLS13_SCHEME, SignatureScheme::ECDSA_NISTP256_SHA256];
        let scheme = mine.into_iter().find(|scheme| offered.contains(scheme))?;
        Some(Box::new(BrainpoolSigner {
            key: self.0.clone(),
            scheme,
        }))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

#[derive(Debug)]
struct BrainpoolSigner {
    key: Arc<dyn Key>,
    scheme: SignatureScheme,
}

impl Signer for BrainpoolSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        self.key
            .sign(crate::SignatureScheme::Ecdsa, message)
            .map_err(|error| Error::General(error.to_string()))
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pem_file_without_its_key_is_refused() {
        let key = SoftKey::Ec(crate::EcPrivate::generate(Curve::BrainpoolP256r1).unwrap());
        let other = SoftKey::Ec(crate::EcPrivate::generate(Curve::BrainpoolP256r1).unwrap());
        // any DER that holds the key stands for a certificate here
        let identity = Identity {
            chain: vec![key.public().to_spki().unwrap()],
            key,
        };
        let text = identity.to_pem().unwrap();
        assert_eq!(Identity::from_pem(&text).unwrap().chain, identity.chain);
        let mixed = Identity {
            key: other,
            ..identity
        };
        assert!(Identity::from_pem(&mixed.to_pem().unwrap()).is_err());
        assert!(Identity::from_pem("").is_err());
    }
}
