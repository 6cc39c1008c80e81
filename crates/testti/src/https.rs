//! HTTPS as the test TI's services serve it.

use crate::services::Ledger;
use axum::Router;
use crypto::tls::Identity;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// The service's one certificate, with its status.
struct Stapling {
    key: Arc<CertifiedKey>,
    ledger: Option<Ledger>,
}

impl std::fmt::Debug for Stapling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stapling")
    }
}

impl ResolvesServerCert for Stapling {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let certificate = self.key.cert.first()?;
        let answer = self.ledger.as_ref().and_then(|ledger| ledger.staple(certificate));
        Some(match answer {
            None => self.key.clone(),
            ocsp => Arc::new(CertifiedKey {
                ocsp,
                ..(*self.key).clone()
            }),
        })
    }
}

/// Serves until the task is dropped; `clients` says which client certificates are wanted, `None` wants none. With a
/// `ledger` the status of the certificate is stapled as that says.
pub(crate) async fn serve(
    listener: TcpListener,
    identity: &Identity,
    clients: Option<Arc<dyn ClientCertVerifier>>,
    router: Router,
    ledger: Option<Ledger>,
) -> std::io::Result<()> {
    let key = crypto::tls::certified(identity).map_err(std::io::Error::other)?;
    let builder = rustls::ServerConfig::builder_with_provider(crypto::tls::provider())
        .with_safe_default_protocol_versions()
        .map_err(std::io::Error::other)?;
    let builder = match clients {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let config = builder.with_cert_resolver(Arc::new(Stapling { key, ledger }));
    let acceptor = TlsAcceptor::from(Arc::new(config));
    loop {
        let (stream, _) = listener.accept().await?;
        let (acceptor, service) = (acceptor.clone(), TowerToHyperService::new(router.clone()));
        tokio::spawn(async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                // a broken connection is the caller's to notice
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            }
        });
    }
}
