//! HTTPS as the test TI's services serve it.

use axum::Router;
use crypto::tls::Identity;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use rustls::server::danger::ClientCertVerifier;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Serves until the task is dropped; `clients` says which client certificates are wanted, `None` wants none.
pub(crate) async fn serve(
    listener: TcpListener,
    identity: &Identity,
    clients: Option<Arc<dyn ClientCertVerifier>>,
    router: Router,
) -> std::io::Result<()> {
    let key = crypto::tls::certified(identity).map_err(std::io::Error::other)?;
    let builder = rustls::ServerConfig::builder_with_provider(crypto::tls::provider())
        .with_safe_default_protocol_versions()
        .map_err(std::io::Error::other)?;
    let builder = match clients {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let config = builder.with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(key)));
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
