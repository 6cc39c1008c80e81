use super::sign::{Identity, certified, certified_by};
use super::verify::{algorithms, verify_handshake};
use crate::Key;
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
};
use std::fmt;
use std::sync::Arc;

/// Decides about a peer's certificates, end entity first, and the OCSP answer it has stapled to that (empty if none). The
/// reason of a refusal goes to the log.
pub type Judge = Arc<dyn Fn(&[&[u8]], &[u8]) -> Result<(), String> + Send + Sync>;

/// Trust in the TI does not follow web rules (roles, trust list, pinning), so it is decided by a [`Judge`];
/// only the handshake signature is checked here.
pub struct PeerVerifier {
    judge: Judge,
    client_certificate: ClientCertificate,
}

/// Does a server ask for a client certificate?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificate {
    /// The handshake fails without.
    Required,
    /// It is asked for, and its absence is somebody else's decision.
    Optional,
    /// It is not asked for.
    None,
}

impl PeerVerifier {
    /// For a client: judges servers.
    pub fn servers(judge: Judge) -> Arc<dyn ServerCertVerifier> {
        Arc::new(Self {
            judge,
            client_certificate: ClientCertificate::None,
        })
    }

    /// For a server: judges clients.
    pub fn clients(judge: Judge, client_certificate: ClientCertificate) -> Arc<dyn ClientCertVerifier> {
        Arc::new(Self {
            judge,
            client_certificate,
        })
    }

    fn decide(
        &self,
        end_entity: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        stapled: &[u8],
    ) -> Result<(), Error> {
        let chain: Vec<&[u8]> = std::iter::once(end_entity)
            .chain(others)
            .map(AsRef::as_ref)
            .collect();
        (self.judge)(&chain, stapled).map_err(|reason| {
            let reason = rustls::OtherError(Arc::new(Refused(reason)));
            Error::InvalidCertificate(CertificateError::Other(reason))
        })
    }
}

/// Why a peer was refused, on its way through rustls.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refused(String);

impl fmt::Debug for PeerVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PeerVerifier")
    }
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        stapled: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.decide(end_entity, intermediates, stapled)
            .map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_handshake(message, cert, signed, false)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_handshake(message, cert, signed, true)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}

impl ClientCertVerifier for PeerVerifier {
    fn offer_client_auth(&self) -> bool {
        self.client_certificate != ClientCertificate::None
    }

    fn client_auth_mandatory(&self) -> bool {
        self.client_certificate == ClientCertificate::Required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.decide(end_entity, intermediates, &[])
            .map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_handshake(message, cert, signed, false)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_handshake(message, cert, signed, true)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}

/// A client configuration that shows `identity` (if any) and lets `judge` decide about the server.
pub fn client_config(identity: Option<&Identity>, judge: Judge) -> Result<Arc<ClientConfig>, Error> {
    let builder = ClientConfig::builder_with_provider(super::provider())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(PeerVerifier::servers(judge));
    Ok(Arc::new(match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => builder.with_client_cert_resolver(Arc::new(ShowIdentity(certified(identity)?))),
    }))
}

/// A client configuration whose key is somewhere else, on a card for instance. Signing blocks.
pub fn client_config_with_key(
    chain: &[Vec<u8>],
    key: Arc<dyn Key>,
    judge: Judge,
) -> Result<Arc<ClientConfig>, Error> {
    let builder = ClientConfig::builder_with_provider(super::provider())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(PeerVerifier::servers(judge));
    Ok(Arc::new(builder.with_client_cert_resolver(Arc::new(
        ShowIdentity(certified_by(chain, key)),
    ))))
}

/// Shows the one identity whenever its key can sign what the server accepts.
#[derive(Debug)]
struct ShowIdentity(Arc<CertifiedKey>);

impl ResolvesClientCert for ShowIdentity {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.key.choose_scheme(schemes).map(|_| self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}
