//! The door for practice systems: HTTPS with the certificate and version each client can use, SOAP behind it.

use crate::model::Peer;
use crate::password::{self, Login};
use crate::{ClientAuthentication, Failure, Inner, Konnektor, VERSION};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request as HttpRequest, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base::{Code, limits};
use crypto::tls::{ClientCertificate, PeerVerifier, ServerChoice};
use http_body_util::BodyExt;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use soap::{Directory, Envelope, Request, SERVICES};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::LazyConfigAcceptor;

/// For the TLS handshake and for the head of a request: who is slower keeps nothing open.
const PATIENCE: Duration = Duration::from_secs(10);
/// How much of a too long request is read before the connection is given up.
const MAX_DRAINED: usize = 64 << 20;
/// Most connections at a time.
const CONNECTIONS: usize = 1024;
/// Prefixes that vendors' Konnektors use, and clients have hard-coded.
const PREFIXES: [&str; 3] = ["/ws", "/service", "/webservices"];

impl Konnektor {
    /// Serves practice systems on this socket until the task is dropped.
    pub async fn serve(&self, listener: TcpListener) -> std::io::Result<()> {
        let inner = self.inner().clone();
        let choice = Arc::new(server_choice(&inner).map_err(std::io::Error::other)?);
        let permits = Arc::new(Semaphore::new(CONNECTIONS));
        let router = router(inner.clone());
        loop {
            let (stream, _) = listener.accept().await?;
            let Ok(permit) = permits.clone().acquire_owned().await else {
                return Ok(());
            };
            let (inner, choice, router) = (inner.clone(), choice.clone(), router.clone());
            tokio::spawn(async move {
                if let Err(error) = connection(&inner, stream, &choice, router).await {
                    tracing::debug!(%error, "client connection ended");
                }
                drop(permit);
            });
        }
    }
}

fn server_choice(inner: &Arc<Inner>) -> Result<ServerChoice, rustls::Error> {
    let wanted = match inner.config.client_authentication {
        ClientAuthentication::Certificate => ClientCertificate::Required,
        ClientAuthentication::Password | ClientAuthentication::None => ClientCertificate::None,
    };
    let model = inner.clone();
    let judge = Arc::new(move |chain: &[&[u8]]| {
        let hash = hex::encode(crypto::sha256(chain.first()));
        if model.model().knows_certificate(&hash) {
            return Ok(());
        }
        tracing::warn!(
            certificate = hash,
            "client certificate belongs to no client system"
        );
        Err("client certificate unknown".to_owned())
    });
    let clients = PeerVerifier::clients(judge, wanted);
    ServerChoice::new(&inner.identities.ak_brainpool, &inner.identities.ak_nist, clients)
}

async fn connection(
    inner: &Inner,
    stream: TcpStream,
    choice: &ServerChoice,
    router: Router,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let handshake = async {
        let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await?;
        let config = choice.config_for(&start.client_hello());
        start.into_stream(config).await
    };
    let too_slow = || std::io::Error::from(std::io::ErrorKind::TimedOut);
    let stream = inner
        .clock
        .timeout(PATIENCE, handshake)
        .await
        .ok_or_else(too_slow)??;
    let certificate = stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(|chain| chain.first());
    let peer = Peer {
        certificate: certificate.map(|der| hex::encode(crypto::sha256([der]))),
        user: None,
    };
    let service = router.layer(axum::Extension(peer));
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
        .await
        .map_err(std::io::Error::other)
}

fn router(inner: Arc<Inner>) -> Router {
    let mut router = Router::new().route("/connector.sds", get(directory));
    for service in SERVICES {
        let name = service.path.rsplit('/').next().unwrap_or_default();
        for prefix in PREFIXES {
            for spelling in [name.to_owned(), name.to_lowercase()] {
                router = router.route(&format!("{prefix}/{spelling}"), post(soap_call));
            }
        }
    }
    // dispatch is by the body's element, so that any other path works too
    router.fallback(post(soap_call)).with_state(inner)
}

async fn directory(State(inner): State<Arc<Inner>>) -> Response {
    let base = match &inner.config.base_url {
        Some(base) => base.trim_end_matches('/').to_owned(),
        None => format!("https://{}", inner.config.listen),
    };
    let directory = Directory {
        version: VERSION,
        tls_mandatory: true,
        client_authentication: inner.config.client_authentication != ClientAuthentication::None,
        tls_base: &base,
        plain_base: None,
    };
    (
        [(header::CONTENT_TYPE, "application/xml; charset=utf-8")],
        directory.to_xml(inner.clock.now()),
    )
        .into_response()
}

async fn soap_call(
    State(inner): State<Arc<Inner>>,
    axum::Extension(mut peer): axum::Extension<Peer>,
    headers: HeaderMap,
    request: HttpRequest,
) -> Response {
    let started = inner.clock.elapsed();
    let (name, outcome) = match authenticate(&inner, &headers, &mut peer).await {
        Ok(()) => handle(&inner, &peer, request).await,
        Err(failure) => ("unauthenticated", Err(failure)),
    };
    let seconds = inner.clock.elapsed().saturating_sub(started).as_secs_f64();
    let content_type = [(header::CONTENT_TYPE, "text/xml; charset=utf-8")];
    match outcome {
        Ok(body) => {
            inner.metrics.operation(name, 0, seconds);
            tracing::info!(operation = name, seconds, "done");
            (content_type, soap::wrap(&body)).into_response()
        }
        Err(failure) => {
            let code = failure.code();
            inner.metrics.operation(name, code.number(), seconds);
            let reference = crypto::random::<8>().map(hex::encode).unwrap_or_default();
            tracing::warn!(
                operation = name,
                code = code.number(),
                detail = failure.detail(),
                reference,
                seconds,
                "failed"
            );
            let message = failure.fault(&reference, inner.clock.now()).message();
            let status = match code {
                Code::CLIENT_NOT_AUTHENTICATED if name == "unauthenticated" => StatusCode::UNAUTHORIZED,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            };
            let mut response = (status, content_type, message).into_response();
            if status == StatusCode::UNAUTHORIZED {
                let challenge = header::HeaderValue::from_static("Basic realm=\"Konnektor\"");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            }
            response
        }
    }
}

async fn authenticate(inner: &Inner, headers: &HeaderMap, peer: &mut Peer) -> Result<(), Failure> {
    if inner.config.client_authentication != ClientAuthentication::Password {
        return Ok(());
    }
    let refused = |why: &str| Failure::new(Code::CLIENT_NOT_AUTHENTICATED, why);
    let (user, secret) = password::basic(headers).ok_or_else(|| refused("user and password expected"))?;
    let model = inner.model();
    let stored = model.password_hash(&user);
    match inner.door.knock(&user, &secret, stored, &*inner.clock).await {
        Login::Right => peer.user = Some(user),
        Login::Wrong => return Err(refused("user or password wrong")),
        Login::Locked => return Err(refused("too many wrong passwords: wait a minute")),
    }
    Ok(())
}

async fn handle(
    inner: &Arc<Inner>,
    peer: &Peer,
    request: HttpRequest,
) -> (&'static str, Result<String, Failure>) {
    // none of the operations served so far carries a document
    let limit = limits::SOAP_REQUEST_SMALL;
    let body = match read_body(request.into_body(), limit).await {
        Some(body) => body,
        None => {
            let failure = Failure::new(
                Code::SYNTAX,
                format!("request larger than {limit} bytes or broken off"),
            );
            return ("unreadable", Err(failure));
        }
    };
    let request = std::str::from_utf8(&body)
        .map_err(|_| soap::Malformed("UTF-8 expected".into()))
        .and_then(|text| {
            let envelope = Envelope::parse(text)?;
            Request::decode(envelope.body()?)
        });
    match request {
        Ok(request) => {
            let name = request.name();
            (name, inner.serve(request, peer).await)
        }
        Err(malformed) => ("unreadable", Err(Failure::new(Code::SYNTAX, malformed))),
    }
}

/// The body, if it is not longer than `limit`. What is longer is read to its end and dropped, within bounds: a client that
/// is still writing would never see the answer.
async fn read_body(mut body: Body, limit: usize) -> Option<Vec<u8>> {
    let (mut kept, mut total) = (Vec::new(), 0usize);
    while let Some(frame) = body.frame().await {
        let frame = frame.ok()?;
        let data = frame.data_ref().map(|data| data.as_ref()).unwrap_or_default();
        total += data.len();
        if total <= limit {
            kept.extend_from_slice(data);
        } else if total > MAX_DRAINED {
            return None;
        }
    }
    (total <= limit).then_some(kept)
}
