use super::kx::{GROUP_TLS12, GROUP_TLS13};
use super::sign::{Identity, certified};
use super::verify::BRAINPOOL_TLS13_SCHEME;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, ProducesTickets, ServerConfig, StoresServerSessions};
use rustls::{Error, NamedGroup, SignatureScheme, SupportedProtocolVersion, version};
use std::sync::Arc;

/// Which certificate and which versions a ClientHello gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateRule {
    /// The client knows RFC 8734: brainpool certificate, TLS 1.3 or 1.2.
    Brainpool,
    /// The client offers brainpool only for TLS 1.2: brainpool certificate and TLS 1.2, or it could not show its own.
    BrainpoolTls12,
    /// Everybody else: P-256 certificate, TLS 1.3 or 1.2.
    Nist,
}

impl CertificateRule {
    /// The rule for what a ClientHello offers.
    pub fn of(groups: &[NamedGroup], schemes: &[SignatureScheme]) -> Self {
        if groups.contains(&GROUP_TLS13) && schemes.contains(&BRAINPOOL_TLS13_SCHEME) {
            CertificateRule::Brainpool
        } else if groups.contains(&GROUP_TLS12) {
            CertificateRule::BrainpoolTls12
        } else {
            CertificateRule::Nist
        }
    }
}

/// A server with a brainpool and a P-256 certificate. Which one a client sees is decided per ClientHello.
#[derive(Debug, Clone)]
pub struct ServerChoice {
    brainpool: Arc<ServerConfig>,
    brainpool_tls12: Arc<ServerConfig>,
    nist: Arc<ServerConfig>,
}

impl ServerChoice {
    /// Both identities behind one client verifier. Sessions can be resumed (GS-A_5328) in all three ways.
    pub fn new(
        brainpool: &Identity,
        nist: &Identity,
        clients: Arc<dyn ClientCertVerifier>,
    ) -> Result<Self, Error> {
        const BOTH: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];
        const TLS12: &[&SupportedProtocolVersion] = &[&version::TLS12];
        let sessions: Arc<dyn StoresServerSessions> = rustls::server::ServerSessionMemoryCache::new(4096);
        let tickets = rustls::crypto::ring::Ticketer::new()?;
        let config =
            |identity, versions| server_config(identity, versions, clients.clone(), &sessions, &tickets);
        Ok(Self {
            brainpool: config(brainpool, BOTH)?,
            brainpool_tls12: config(brainpool, TLS12)?,
            nist: config(nist, BOTH)?,
        })
    }

    /// The configuration for this client.
    pub fn config_for(&self, hello: &ClientHello<'_>) -> Arc<ServerConfig> {
        match CertificateRule::of(
            hello.named_groups().unwrap_or_default(),
            hello.signature_schemes(),
        ) {
            CertificateRule::Brainpool => self.brainpool.clone(),
            CertificateRule::BrainpoolTls12 => self.brainpool_tls12.clone(),
            CertificateRule::Nist => self.nist.clone(),
        }
    }
}

fn server_config(
    identity: &Identity,
    versions: &[&'static SupportedProtocolVersion],
    clients: Arc<dyn ClientCertVerifier>,
    sessions: &Arc<dyn StoresServerSessions>,
    tickets: &Arc<dyn ProducesTickets>,
) -> Result<Arc<ServerConfig>, Error> {
    let builder = ServerConfig::builder_with_provider(super::provider()).with_protocol_versions(versions)?;
    let resolver = rustls::sign::SingleCertAndKey::from(certified(identity)?);
    let mut config = builder
        .with_client_cert_verifier(clients)
        .with_cert_resolver(Arc::new(resolver));
    config.session_storage = sessions.clone();
    config.ticketer = tickets.clone();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_rules() {
        let (bp12, bp13, p256) = (
            NamedGroup::Unknown(26),
            NamedGroup::Unknown(31),
            NamedGroup::secp256r1,
        );
        let bp_scheme = SignatureScheme::Unknown(0x081A);
        let ecdsa = SignatureScheme::ECDSA_NISTP256_SHA256;
        assert_eq!(
            CertificateRule::of(&[bp13, p256], &[bp_scheme]),
            CertificateRule::Brainpool
        );
        assert_eq!(
            CertificateRule::of(&[bp12, p256], &[ecdsa]),
            CertificateRule::BrainpoolTls12
        );
        // OpenSSL 3.6 offers the scheme but neither group
        assert_eq!(
            CertificateRule::of(&[p256], &[bp_scheme, ecdsa]),
            CertificateRule::Nist
        );
        assert_eq!(CertificateRule::of(&[], &[]), CertificateRule::Nist);
    }
}
