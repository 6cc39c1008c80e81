use super::verify::BRAINPOOL_TLS13_SCHEME;
use crate::{Curve, Key, SoftKey};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};
use std::sync::Arc;

/// A key with its certificates, end entity first: what a TLS side shows.
#[derive(Debug, Clone)]
pub struct Identity {
    /// DER certificates, end entity first.
    pub chain: Vec<Vec<u8>>,
    /// The private key.
    pub key: SoftKey,
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
