//! TLS 1.2 and 1.3 by rustls with brainpoolP256r1 (RFC 8734, RFC 7027) beside P-256 and P-384.
//!
//! [`provider`] is ring's provider plus our curve; [`ServerChoice`] picks certificate and version per ClientHello, by
//! the three rules that make old and new OpenSSL clients work; [`certified`] turns a key and its chain into what
//! rustls wants. Suites: ECDHE with AES-GCM (GS-A_4384, A_17124); what else the specification lists and rustls does
//! not offer stands in `docs/divergences.md`.

mod choose;
mod judge;
mod kx;
mod sign;
mod verify;

pub use choose::{CertificateRule, ServerChoice};
pub use judge::{ClientCertificate, Judge, PeerVerifier, client_config, client_config_with_key};
pub use sign::{Identity, certified};
pub use verify::{algorithms, verify_handshake};

use rustls::crypto::{CryptoProvider, ring};
use std::sync::{Arc, LazyLock};

/// Our provider. The order of groups is the order of preference.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        let mut provider = ring::default_provider();
        provider.kx_groups = vec![
            ring::kx_group::SECP256R1,
            ring::kx_group::SECP384R1,
            kx::BRAINPOOL_TLS13,
            kx::BRAINPOOL_TLS12,
        ];
        provider.cipher_suites.retain(|suite| {
            use rustls::CipherSuite as Suite;
            matches!(
                suite.suite(),
                Suite::TLS13_AES_128_GCM_SHA256
                    | Suite::TLS13_AES_256_GCM_SHA384
                    | Suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
                    | Suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
                    | Suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
                    | Suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
            )
        });
        provider.signature_verification_algorithms = algorithms();
        Arc::new(provider)
    });
    PROVIDER.clone()
}
