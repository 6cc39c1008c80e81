use crate::{Curve, EcPublic};
use rustls::SignatureScheme;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, ring};
use rustls::pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, SignatureVerificationAlgorithm, alg_id,
};
use std::sync::LazyLock;

/// ecdsa_brainpoolP256r1tls13_sha256 (RFC 8734).
pub(super) const BRAINPOOL_TLS13_SCHEME: SignatureScheme = SignatureScheme::Unknown(0x081A);

/// ECDSA on brainpoolP256r1 with one of the hashes that peers choose.
#[derive(Debug)]
enum Brainpool {
    Sha256,
    Sha384,
}

static BRAINPOOL_SHA256: &dyn SignatureVerificationAlgorithm = &Brainpool::Sha256;
static BRAINPOOL_SHA384: &dyn SignatureVerificationAlgorithm = &Brainpool::Sha384;

impl SignatureVerificationAlgorithm for Brainpool {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let key = EcPublic::from_point(Curve::BrainpoolP256r1, key).map_err(|_| InvalidSignature)?;
        let verified = match self {
            Self::Sha256 => key.verify_der(message, signature),
            Self::Sha384 => {
                crate::ecdsa_raw(signature).and_then(|raw| key.verify_prehash(&crate::sha384(message), &raw))
            }
        };
        verified.map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        // id-ecPublicKey, brainpoolP256r1, without the SEQUENCE around them
        AlgorithmIdentifier::from_slice(&[
            0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01, 0x06, 0x09, 0x2B, 0x24, 0x03, 0x03, 0x02,
            0x08, 0x01, 0x01, 0x07,
        ])
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        match self {
            Self::Sha256 => alg_id::ECDSA_SHA256,
            Self::Sha384 => alg_id::ECDSA_SHA384,
        }
    }
}

/// ring's algorithms and brainpoolP256r1.
pub fn algorithms() -> WebPkiSupportedAlgorithms {
    static ALGORITHMS: LazyLock<WebPkiSupportedAlgorithms> = LazyLock::new(|| {
        let ring = ring::default_provider().signature_verification_algorithms;
        let mut all = ring.all.to_vec();
        all.extend([BRAINPOOL_SHA256, BRAINPOOL_SHA384]);
        let mut mapping = vec![(
            BRAINPOOL_TLS13_SCHEME,
            &*Box::leak(Box::new([BRAINPOOL_SHA256])) as &'static [_],
        )];
        for (scheme, algorithms) in ring.mapping {
            let mut algorithms = algorithms.to_vec();
            // in TLS 1.2 these schemes name a hash and any curve
            match *scheme {
                SignatureScheme::ECDSA_NISTP256_SHA256 => algorithms.push(BRAINPOOL_SHA256),
                SignatureScheme::ECDSA_NISTP384_SHA384 => algorithms.push(BRAINPOOL_SHA384),
                _ => {}
            }
            mapping.push((*scheme, &*Box::leak(algorithms.into_boxed_slice())));
        }
        // leaked once for the life of the process: rustls wants static slices
        WebPkiSupportedAlgorithms {
            all: Box::leak(all.into_boxed_slice()),
            mapping: Box::leak(mapping.into_boxed_slice()),
        }
    });
    *ALGORITHMS
}

/// Checks the peer's signature in the handshake; for our own certificate verifiers, which judge trust elsewhere.
pub fn verify_handshake(
    message: &[u8],
    cert: &CertificateDer<'_>,
    signed: &rustls::DigitallySignedStruct,
    tls13: bool,
) -> Result<HandshakeSignatureValid, rustls::Error> {
    if tls13 {
        rustls::crypto::verify_tls13_signature(message, cert, signed, &algorithms())
    } else {
        rustls::crypto::verify_tls12_signature(message, cert, signed, &algorithms())
    }
}
