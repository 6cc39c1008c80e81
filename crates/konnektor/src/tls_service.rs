//! TLS to services of the TI (TUC_KON_110): the server's certificate is judged by the trust space before anything is
//! said, its status too; a definite "revoked" or "unknown" ends the connection, an outage of the responder does not
//! (TIP1-A_7254).

use crate::{Failure, Inner};
use asn1::X509;
use base::Code;
use crypto::Key;
use pki::{Purpose, StatusCheck};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// How long connecting, and how long an answer may take where nobody waits at a counter.
const LIMIT: Duration = Duration::from_secs(30);

/// Whom we are towards a service.
pub(crate) type ClientIdentity = (Vec<Vec<u8>>, Arc<dyn Key>);

/// Connects to the service at `url`. `limit` bounds the connection; asking for the status has limits of its own.
pub(crate) async fn connect(
    inner: &Arc<Inner>,
    url: &str,
    purpose: &'static Purpose,
    identity: Option<ClientIdentity>,
    limit: Duration,
) -> Result<TlsStream<TcpStream>, Failure> {
    let failed = |reason: String| Failure::new(Code::TLS_SERVER, format!("{url}: {reason}"));
    let (host, port) = address(url).ok_or_else(|| failed("not an https address".into()))?;
    let trust = inner.trust().ok_or_else(|| failed("no trust list yet".into()))?;
    let (clock, judging) = (inner.clock.clone(), trust.clone());
    let judge: crypto::tls::Judge = Arc::new(move |chain: &[&[u8]], stapled: &[u8]| {
        let der = chain.first().ok_or("no certificate")?;
        let certificate = X509::parse(der).map_err(|error| error.to_string())?;
        let now = clock.now();
        let mut checked = judging.check_offline(&certificate, purpose, now).map(|_| ());
        if checked.is_ok() && purpose.status != StatusCheck::None && !stapled.is_empty() {
            checked = judging.consider_stapled(&certificate, stapled, now);
        }
        checked.map_err(|error| error.to_string())
    });
    let tls = match identity {
        Some((chain, key)) => crypto::tls::client_config_with_key(&chain, key, judge),
        None => crypto::tls::client_config(None, judge),
    };
    let tls = tls.map_err(|error| failed(error.to_string()))?;
    let connecting = async {
        let stream = TcpStream::connect((host.as_str(), port)).await?;
        let name = rustls::pki_types::ServerName::try_from(host.clone()).map_err(std::io::Error::other)?;
        tokio_rustls::TlsConnector::from(tls).connect(name, stream).await
    };
    let stream = inner.clock.timeout(limit, connecting).await;
    let stream = stream.ok_or_else(|| failed(format!("no connection in {limit:?}")))?;
    let stream = stream.map_err(|error| failed(error.to_string()))?;
    let (_, session) = stream.get_ref();
    let der = session.peer_certificates().and_then(<[_]>::first);
    let certificate = der.and_then(|der| X509::parse(der).ok());
    let certificate = certificate.ok_or_else(|| failed("no certificate".into()))?;
    if purpose.status != StatusCheck::None {
        let verdict = trust.check(&certificate, purpose, &*inner.clock).await;
        let verdict = verdict.map_err(|error| Failure::new(error.code(), error).within(Code::TLS_SERVER))?;
        for warning in verdict.warnings {
            tracing::warn!(url, %warning, "certificate of a service");
        }
    }
    let sequence = trust.list().sequence;
    inner.note_service(&format!("{host}:{port}"), certificate, purpose, sequence);
    Ok(stream)
}

/// Host and port of an https address.
pub(crate) fn address(url: &str) -> Option<(String, u16)> {
    let uri: http::Uri = url.parse().ok()?;
    let https = uri.scheme_str() == Some("https");
    https.then(|| Some((uri.host()?.to_owned(), uri.port_u16().unwrap_or(443))))?
}

/// One SOAP call. A fault comes back like an answer; anything else without success is an error.
pub(crate) async fn soap(
    inner: &Arc<Inner>,
    url: &str,
    purpose: &'static Purpose,
    identity: Option<ClientIdentity>,
    (action, message): (&str, String),
    limit: Duration,
) -> Result<String, Failure> {
    let failed = |reason: String| Failure::new(Code::TLS_SERVER, format!("{url}: {reason}"));
    let stream = connect(inner, url, purpose, identity, limit).await?;
    let calling = pki::http::soap(stream, url, action, message, base::limits::SOAP_REQUEST_SMALL);
    let answer = inner.clock.timeout(limit, calling).await;
    let answer = answer.ok_or_else(|| failed(format!("no answer in {limit:?}")))?;
    let bytes = answer.map_err(|error| failed(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| failed(error.to_string()))
}

/// After so many seconds whatever is sent must have come as fast as this on average, bytes a second.
const GRACE: u64 = 60;
const SLOWEST: u64 = 4096;

/// Does somebody only drip? He would keep everybody else waiting for ever.
pub(crate) fn drips(bytes: u64, took: Duration) -> bool {
    took.as_secs() > GRACE && bytes / took.as_secs() < SLOWEST
}

/// A large file of this size from a service of the TI, into `path`; what is there of it already is not asked for again. Whoever gives
/// nothing for a while, or hardly anything, is given up, whoever gives more than announced, too.
pub(crate) async fn download(
    inner: &Arc<Inner>,
    url: &str,
    purpose: &'static Purpose,
    path: &std::path::Path,
    size: u64,
) -> Result<(), Failure> {
    use http_body_util::BodyExt;
    use tokio::io::AsyncWriteExt;
    let failed = |reason: &dyn std::fmt::Display| Failure::new(Code::TLS_SERVER, format!("{url}: {reason}"));
    let there = path.metadata().map_or(0, |about| about.len());
    if there == size && size > 0 {
        return Ok(());
    }
    let there = if there > size { 0 } else { there };
    let stream = connect(inner, url, purpose, None, LIMIT).await?;
    let uri: http::Uri = url.parse().map_err(|error| failed(&error))?;
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io)
        .await
        .map_err(|error| failed(&error))?;
    inner.spawn(connection);
    let mut request = http::Request::get(uri.path_and_query().map_or("/", |path| path.as_str())).header(
        http::header::HOST,
        uri.authority().map(ToString::to_string).unwrap_or_default(),
    );
    if there > 0 {
        request = request.header(http::header::RANGE, format!("bytes={there}-"));
    }
    let request = request
        .body(http_body_util::Empty::<hyper::body::Bytes>::new())
        .map_err(|error| failed(&error))?;
    let answer = inner.clock.timeout(LIMIT, sender.send_request(request)).await;
    let answer = answer
        .ok_or_else(|| failed(&"no answer"))?
        .map_err(|error| failed(&error))?;
    let goes_on = answer.status() == http::StatusCode::PARTIAL_CONTENT;
    if !answer.status().is_success() {
        return Err(failed(&answer.status()));
    }
    let mut options = tokio::fs::OpenOptions::new();
    options
        .create(true)
        .write(true)
        .append(goes_on)
        .truncate(!goes_on);
    let mut file = options.open(path).await.map_err(|error| failed(&error))?;
    let (mut body, mut left) = (answer.into_body(), if goes_on { size - there } else { size });
    let (began, whole) = (inner.clock.elapsed(), left);
    let receiving = async {
        loop {
            let took = inner.clock.elapsed().saturating_sub(began);
            if left > 0 && drips(whole - left, took) {
                return Err(failed(&format!("slower than {SLOWEST} bytes a second")));
            }
            let frame = inner.clock.timeout(LIMIT, body.frame()).await;
            let Some(frame) = frame.ok_or_else(|| failed(&"nothing came for a while"))? else {
                return Ok(());
            };
            let frame = frame.map_err(|error| failed(&error))?;
            let Some(data) = frame.data_ref() else { continue };
            left = left
                .checked_sub(data.len() as u64)
                .ok_or_else(|| failed(&"more than the list says"))?;
            file.write_all(data).await.map_err(|error| failed(&error))?;
        }
    };
    let received: Result<(), Failure> = receiving.await;
    // what came before the line broke is kept
    file.flush().await.map_err(|error| failed(&error))?;
    received?;
    file.sync_all().await.map_err(|error| failed(&error))?;
    match left {
        0 => Ok(()),
        left => Err(failed(&format!("{left} bytes are missing"))),
    }
}

/// One file from a service of the TI.
pub(crate) async fn fetch(
    inner: &Arc<Inner>,
    url: &str,
    purpose: &'static Purpose,
    limit: usize,
) -> Result<Vec<u8>, Failure> {
    let stream = connect(inner, url, purpose, None, LIMIT).await?;
    let fetching = pki::http::exchange(stream, "GET", url, None, Vec::new(), limit);
    let failed = |reason: String| Failure::new(Code::TLS_SERVER, format!("{url}: {reason}"));
    let bytes = inner.clock.timeout(LIMIT, fetching).await;
    let bytes = bytes.ok_or_else(|| failed(format!("no answer in {LIMIT:?}")))?;
    bytes.map_err(|error| failed(error.to_string()))
}
