//! The door for practice systems: HTTPS with the certificate and version each client can use, SOAP behind it.

use crate::model::Peer;
use crate::password::{self, Login};
use crate::protocol::{UNAUTHENTICATED, UNREADABLE};
use crate::tls_service::drips;
use crate::{ClientAuthentication, Failure, Inner, Konnektor, VERSION};
use base::{Clock, Code, limits};
use crypto::tls::{ClientCertificate, Identity, PeerVerifier, ServerChoice};
use http::{HeaderMap, HeaderValue, Method, Request as HttpRequest, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Frame, Incoming};
use hyper_util::rt::{TokioIo, TokioTimer};
use soap::{Directory, Envelope, Request};
use std::borrow::Cow;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

/// For the TLS handshake, and for a goodbye: who is slower keeps nothing open.
const PATIENCE: Duration = Duration::from_secs(10);
/// For the next request on a connection, and for its head. Programs keep connections for about as long.
const IDLE: Duration = Duration::from_secs(60);
/// For the body of a request.
const BODY: Duration = Duration::from_secs(60);
/// How much of a too long request is read before the connection is given up.
const MAX_DRAINED: usize = 64 << 20;
/// Most connections at a time; with what else is open it must fit into the usual 1024 descriptors of a process.
const CONNECTIONS: usize = 512;
/// Pause after a connection that could not be accepted.
const BREATH: Duration = Duration::from_millis(100);

impl Konnektor {
    /// Serves practice systems on this socket until the task is dropped, or until [`Konnektor::close`] and the end of what is
    /// being served then.
    pub async fn serve(&self, listener: TcpListener) -> std::io::Result<()> {
        let inner = self.inner().clone();
        let permits = Arc::new(Semaphore::new(CONNECTIONS));
        let mut closing = inner.closing.subscribe();
        loop {
            let Ok(permit) = permits.clone().acquire_owned().await else {
                return Ok(());
            };
            let stream = tokio::select! {
                stream = accept(&listener, &*inner.clock) => stream,
                () = told(&mut closing) => break,
            };
            let inner = inner.clone();
            let this = inner.clone();
            inner.spawn(async move {
                if let Err(error) = connection(&this, stream).await {
                    tracing::debug!(%error, "client connection ended");
                }
                drop(permit);
            });
        }
        // nobody can come any more; the last one to go gives its permit back
        drop(listener);
        let all = u32::try_from(CONNECTIONS).unwrap_or(u32::MAX);
        let _ = permits.acquire_many(all).await;
        Ok(())
    }
}

/// Until nobody new is served any more.
async fn told(closing: &mut tokio::sync::watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
}

/// The next connection. A machine that has no descriptors left says so, and gets a moment to find some.
pub(crate) async fn accept(listener: &TcpListener, clock: &dyn Clock) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                tracing::error!(%error, "connection not accepted");
                clock.sleep(BREATH).await;
            }
        }
    }
}

/// What a handshake with practice systems is done with: these certificates, and who may come in.
pub(crate) fn choice_of(
    inner: &Inner,
    brainpool: &Identity,
    nist: &Identity,
) -> Result<ServerChoice, rustls::Error> {
    let wanted = match inner.config.client_authentication {
        ClientAuthentication::Certificate => ClientCertificate::Required,
        ClientAuthentication::Password | ClientAuthentication::None => ClientCertificate::None,
    };
    // the model and not the instance: the instance holds the choice, and would hold itself
    let model = inner.model.clone();
    let judge = Arc::new(move |chain: &[&[u8]], _: &[u8]| {
        let hash = hex::encode(crypto::sha256(chain.first()));
        let model = model.read().unwrap_or_else(PoisonError::into_inner).clone();
        if model.knows_certificate(&hash) {
            return Ok(());
        }
        tracing::warn!(
            certificate = hash,
            "client certificate belongs to no client system"
        );
        Err("client certificate unknown".to_owned())
    });
    let clients = PeerVerifier::clients(judge, wanted);
    ServerChoice::new(brainpool, nist, clients)
}

/// The handshake with a practice system, with the certificates that are shown now.
pub(crate) async fn handshake(inner: &Inner, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
    let other = std::io::Error::other;
    let choice = inner
        .server_choice()
        .ok_or_else(|| other("no certificate to show"))?;
    stream.set_nodelay(true)?;
    let handshake = async {
        let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await?;
        let config = choice.config_for(&start.client_hello());
        start.into_stream(config).await
    };
    let too_slow = || std::io::Error::from(std::io::ErrorKind::TimedOut);
    inner
        .clock
        .timeout(PATIENCE, handshake)
        .await
        .ok_or_else(too_slow)?
}

async fn connection(inner: &Arc<Inner>, stream: TcpStream) -> std::io::Result<()> {
    let stream = handshake(inner, stream).await?;
    let certificate = stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(|chain| chain.first());
    let peer = Peer {
        certificate: certificate.map(|der| hex::encode(crypto::sha256([der]))),
        user: None,
    };
    let peer = Arc::new(peer);
    let (this, closing) = (inner.clone(), inner.closing.subscribe());
    let service = move |request| {
        let (inner, peer) = (this.clone(), peer.clone());
        async move { answer(&inner, &peer, request).await }
    };
    serve_http(&*inner.clock, stream, service, closing, IDLE).await
}

/// HTTP over one connection until its end: the client's, after a time without a request, or when nobody is served any more. Each of
/// them is said to the client: programs that keep a connection for the next call must see that it is over, not find it broken
/// with that call on its way.
pub(crate) async fn serve_http<B, F>(
    clock: &dyn Clock,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: impl Fn(HttpRequest<Incoming>) -> F + Unpin,
    mut closing: tokio::sync::watch::Receiver<bool>,
    idle: Duration,
) -> std::io::Result<()>
where
    B: hyper::body::Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    F: Future<Output = Response<B>> + Send,
{
    let service = hyper::service::service_fn(move |request| {
        let answering = answer(request);
        Box::pin(async move { Ok::<_, Infallible>(answering.await) })
    });
    let mut http = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(idle)
        .serve_connection(TokioIo::new(stream), service);
    let (mut is_told, mut told) = (false, std::pin::pin!(told(&mut closing)));
    let done = std::future::poll_fn(|context| {
        if !is_told && told.as_mut().poll(context).is_ready() {
            is_told = true;
            Pin::new(&mut http).graceful_shutdown();
        }
        http.poll_without_shutdown(context)
    })
    .await;
    let mut stream = http.into_parts().io.into_inner();
    // who has gone does not hear it
    let _ = clock.timeout(PATIENCE, stream.shutdown()).await;
    done.map_err(std::io::Error::other)
}

/// A body whose sender is given up when he only drips: he would keep the connection for ever. Large ones take their time.
pub(crate) struct Patient<B> {
    body: B,
    clock: Arc<dyn Clock>,
    began: Duration,
    bytes: u64,
    waiting: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl<B> Patient<B> {
    pub(crate) fn new(body: B, clock: Arc<dyn Clock>) -> Self {
        let began = clock.elapsed();
        Self {
            body,
            clock,
            began,
            bytes: 0,
            waiting: None,
        }
    }
}

impl<B: hyper::body::Body<Data = Bytes> + Unpin> hyper::body::Body for Patient<B>
where
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) {
            this.waiting = None;
            let Some(Ok(frame)) = frame else {
                return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
            };
            this.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
            let took = this.clock.elapsed().saturating_sub(this.began);
            return Poll::Ready(match drips(this.bytes, took) {
                true => Some(Err("the request comes too slowly".into())),
                false => Some(Ok(frame)),
            });
        }
        let clock = &this.clock;
        let waiting = this.waiting.get_or_insert_with(|| clock.sleep(BODY));
        waiting
            .as_mut()
            .poll(context)
            .map(|()| Some(Err("nothing more of the request comes".into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}

type Reply = Response<Full<Bytes>>;

fn reply(status: StatusCode, content_type: &'static str, body: String) -> Reply {
    let mut reply = Response::new(Full::from(body));
    *reply.status_mut() = status;
    let content_type = HeaderValue::from_static(content_type);
    reply.headers_mut().insert(header::CONTENT_TYPE, content_type);
    reply
}

/// The directory at its place. Operations anywhere: the body says which one it is, and clients have the paths of many
/// vendors hard-coded (`/ws/…`, `/service/…`, `/webservices/…`).
async fn answer(inner: &Arc<Inner>, peer: &Peer, request: HttpRequest<Incoming>) -> Reply {
    const TEXT: &str = "text/plain; charset=utf-8";
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/connector.sds") => directory(inner),
        (&Method::GET, _) => reply(
            StatusCode::NOT_FOUND,
            TEXT,
            "the directory is at /connector.sds\n".into(),
        ),
        (&Method::POST, _) => soap_call(inner, peer, request).await,
        _ => reply(StatusCode::METHOD_NOT_ALLOWED, TEXT, "GET or POST\n".into()),
    }
}

fn directory(inner: &Inner) -> Reply {
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
    let xml = directory.to_xml(inner.clock.now());
    reply(StatusCode::OK, "application/xml; charset=utf-8", xml)
}

async fn soap_call(inner: &Arc<Inner>, peer: &Peer, request: HttpRequest<Incoming>) -> Reply {
    const XML: &str = "text/xml; charset=utf-8";
    inner.note_call();
    let started = inner.clock.elapsed();
    let (name, outcome) = match authenticate(inner, request.headers(), peer).await {
        Ok(peer) => handle(inner, &peer, request).await,
        Err(failure) => (UNAUTHENTICATED, Err(failure)),
    };
    let seconds = inner.clock.elapsed().saturating_sub(started).as_secs_f64();
    match outcome {
        Ok(body) => {
            inner.metrics.operation(name, 0, seconds);
            inner.log_performance(name, 0, seconds);
            tracing::info!(operation = name, seconds, "done");
            reply(StatusCode::OK, XML, soap::wrap(&body))
        }
        Err(failure) => {
            let code = failure.code();
            inner.metrics.operation(name, code.number(), seconds);
            inner.log_performance(name, code.number(), seconds);
            let reference = crypto::random::<8>().map(hex::encode).unwrap_or_default();
            tracing::warn!(
                operation = name,
                code = code.number(),
                detail = failure.detail(),
                reference,
                seconds,
                "failed"
            );
            inner.log_failure(name, &failure, &reference);
            let message = failure.fault(&reference, inner.clock.now()).message();
            if code != Code::CLIENT_NOT_AUTHENTICATED || name != UNAUTHENTICATED {
                return reply(StatusCode::INTERNAL_SERVER_ERROR, XML, message);
            }
            let mut refused = reply(StatusCode::UNAUTHORIZED, XML, message);
            let challenge = HeaderValue::from_static("Basic realm=\"Konnektor\"");
            refused.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            refused
        }
    }
}

/// Who calls: the certificate's owner, or with Basic authentication the user whose password is right.
async fn authenticate<'p>(
    inner: &Inner,
    headers: &HeaderMap,
    peer: &'p Peer,
) -> Result<Cow<'p, Peer>, Failure> {
    if inner.config.client_authentication != ClientAuthentication::Password {
        return Ok(Cow::Borrowed(peer));
    }
    let refused = |why: &str| Failure::new(Code::CLIENT_NOT_AUTHENTICATED, why);
    let (user, secret) = password::basic(headers).ok_or_else(|| refused("user and password expected"))?;
    let model = inner.model();
    let stored = model.password_hash(&user);
    match inner.door.knock(&user, &secret, stored, &*inner.clock).await {
        Login::Right => Ok(Cow::Owned(Peer {
            user: Some(user),
            ..peer.clone()
        })),
        Login::Wrong => Err(refused("user or password wrong")),
        Login::Locked => Err(refused("too many wrong passwords: wait a minute")),
    }
}

async fn handle(
    inner: &Arc<Inner>,
    peer: &Peer,
    request: HttpRequest<Incoming>,
) -> (&'static str, Result<String, Failure>) {
    let reading = read_body(request.into_body(), &inner.large);
    let (body, _held) = match inner.clock.timeout(BODY, reading).await.flatten() {
        Some(read) => read,
        None => {
            let failure = Failure::new(
                Code::SYNTAX,
                format!(
                    "request larger than {} bytes ({} with documents), broken off, or slower than {BODY:?}",
                    limits::SOAP_REQUEST_SMALL,
                    limits::SOAP_REQUEST_DOCUMENTS
                ),
            );
            return (UNREADABLE, Err(failure));
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
            if request.is_about_events() {
                return (name, inner.serve(request, peer).await);
            }
            // a client that hangs up must not stop what has begun at a card or a terminal
            let (this, peer) = (inner.clone(), peer.clone());
            let done = inner.spawn(async move { this.serve(request, &peer).await }).await;
            let broken = |error| Err(Failure::new(Code::INTERNAL, error));
            (name, done.unwrap_or_else(broken))
        }
        Err(malformed) => (UNREADABLE, Err(Failure::new(Code::SYNTAX, malformed))),
    }
}

/// Operations whose requests carry documents, and may be large.
const WITH_DOCUMENTS: [&[u8]; 4] = [
    b"SignDocument",
    b"VerifyDocument",
    b"EncryptDocument",
    b"DecryptDocument",
];

/// The body, if it is not longer than it may be, and what it holds of the memory for large ones as long as it is served.
/// What is longer is read to its end and dropped, within bounds: a client that is still writing would never see the answer.
async fn read_body<'s>(
    mut body: Incoming,
    large: &'s Semaphore,
) -> Option<(Vec<u8>, Option<SemaphorePermit<'s>>)> {
    let (mut kept, mut total, mut held) = (Vec::new(), 0usize, None);
    let mut limit = limits::SOAP_REQUEST_SMALL;
    while let Some(frame) = body.frame().await {
        let frame = frame.ok()?;
        let data = frame.data_ref().map(|data| data.as_ref()).unwrap_or_default();
        total += data.len();
        if total > limit && held.is_none() && carries_documents(&kept) {
            held = Some(large.acquire().await.ok()?);
            limit = limits::SOAP_REQUEST_DOCUMENTS;
        }
        if total <= limit {
            kept.extend_from_slice(data);
        } else if total > MAX_DRAINED.max(limit) {
            return None;
        }
    }
    (total <= limit).then_some((kept, held))
}

/// Is it an operation with documents? Its name stands in front of them.
fn carries_documents(begin: &[u8]) -> bool {
    let head = begin.get(..64 * 1024).unwrap_or(begin);
    WITH_DOCUMENTS
        .iter()
        .any(|name| head.windows(name.len()).any(|window| window == *name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};
    use tokio::io::{AsyncReadExt, DuplexStream, ReadBuf};

    /// A line on which a goodbye can be told from a break.
    struct Line(DuplexStream, Arc<AtomicBool>);

    impl AsyncRead for Line {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            out: &mut ReadBuf<'_>,
        ) -> Poll<std::io::Result<()>> {
            Pin::new(&mut self.0).poll_read(cx, out)
        }
    }

    impl AsyncWrite for Line {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<std::io::Result<usize>> {
            Pin::new(&mut self.0).poll_write(cx, bytes)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            self.1.store(true, Ordering::Release);
            Pin::new(&mut self.0).poll_shutdown(cx)
        }
    }

    async fn serve(idle: Duration, close: bool) -> (bool, String) {
        let (mut client, server) = tokio::io::duplex(4096);
        let goodbye = Arc::new(AtomicBool::new(false));
        let line = Line(server, goodbye.clone());
        let (tell, closing) = tokio::sync::watch::channel(false);
        let answer = |_| async { reply(StatusCode::OK, "text/plain", "well".into()) };
        let clock = base::SystemClock::new();
        let serving = async { serve_http(&*clock, line, answer, closing, idle).await };
        let asking = async {
            client
                .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                .await
                .unwrap();
            let mut text = Vec::new();
            while !text.ends_with(b"well") {
                client.read_buf(&mut text).await.unwrap();
            }
            if close {
                tell.send_replace(true);
            }
            client.read_to_end(&mut text).await.unwrap();
            String::from_utf8(text).unwrap()
        };
        let (_, text) = tokio::join!(serving, asking);
        (goodbye.load(Ordering::Acquire), text)
    }

    /// In virtual time: what stands still is given up after a minute, what drips soon after; a large one that comes is not.
    #[tokio::test]
    async fn who_only_drips_is_given_up() {
        for (bytes, pause, good) in [(100, 59, false), (1, 61, false), (1 << 20, 59, true)] {
            let clock = base::VirtualClock::at(base::Timestamp::UNIX_EPOCH);
            let (sender, mut frames) = tokio::sync::mpsc::unbounded_channel();
            let body = futures_util::stream::poll_fn(move |cx| frames.poll_recv(cx));
            let mut body = Patient::new(http_body_util::StreamBody::new(body), clock.shared());
            let dripping = async {
                for _ in 0..10 {
                    clock.advance(Duration::from_secs(pause));
                    tokio::task::yield_now().await;
                    let frame = Frame::data(Bytes::from(vec![0; bytes]));
                    let _ = sender.send(Ok::<_, std::convert::Infallible>(frame));
                    tokio::task::yield_now().await;
                }
                drop(sender);
            };
            let reading = async {
                let mut all = 0;
                while let Some(frame) = body.frame().await {
                    match frame {
                        Ok(_) => all += 1,
                        Err(_) => return all,
                    }
                }
                all
            };
            let (all, ()) = tokio::join!(reading, dripping);
            assert_eq!(all == 10, good, "{bytes} bytes every {pause} s: {all}");
        }
    }

    #[tokio::test]
    async fn every_end_is_said() {
        for (idle, close) in [(Duration::from_millis(50), false), (IDLE, true)] {
            let (goodbye, text) = serve(idle, close).await;
            assert!(goodbye, "idle {idle:?}, close {close}");
            assert!(text.starts_with("HTTP/1.1 200"), "{text}");
        }
    }
}
