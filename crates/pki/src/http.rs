//! The smallest HTTP client the trust space needs, bounded in size: plain HTTP, or over a connection of the caller's.
//! Time is the caller's.

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Not an address we can call.
    #[error("address: {0}")]
    Address(String),
    /// The connection failed.
    #[error("connection: {0}")]
    Connection(#[from] std::io::Error),
    /// The other side does not speak HTTP.
    #[error("HTTP: {0}")]
    Protocol(String),
    /// An answer that says no.
    #[error("HTTP status {0}")]
    Status(u16),
    /// More than we take.
    #[error("answer larger than {0} bytes")]
    TooBig(usize),
}

/// Sends a request over plain HTTP and returns the body of a successful answer.
pub async fn fetch(
    method: &str,
    url: &str,
    content_type: Option<&str>,
    body: Vec<u8>,
    limit: usize,
) -> Result<Vec<u8>, HttpError> {
    let uri: http::Uri = url.parse().map_err(|_| HttpError::Address(url.into()))?;
    let host = uri.host().ok_or_else(|| HttpError::Address(url.into()))?;
    if uri.scheme_str() != Some("http") {
        return Err(HttpError::Address(format!("{url}: only http here")));
    }
    let stream = TcpStream::connect((host.trim_matches(['[', ']']), uri.port_u16().unwrap_or(80))).await?;
    exchange(stream, method, url, content_type, body, limit).await
}

/// Sends a request over a connection that exists, TLS for instance, and returns the body of a successful answer.
pub async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    method: &str,
    url: &str,
    content_type: Option<&str>,
    body: Vec<u8>,
    limit: usize,
) -> Result<Vec<u8>, HttpError> {
    let headers: Vec<_> = content_type
        .map(|kind| ("Content-Type", kind))
        .into_iter()
        .collect();
    match send(stream, method, url, &headers, body, limit).await? {
        (200..=299, body) => Ok(body),
        (status, _) => Err(HttpError::Status(status)),
    }
}

/// A SOAP call over a connection that exists. A fault comes with status 500 and is an answer.
pub async fn soap(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    url: &str,
    action: &str,
    message: String,
    limit: usize,
) -> Result<Vec<u8>, HttpError> {
    let action = format!("\"{action}\"");
    let headers = [
        ("Content-Type", "text/xml; charset=utf-8"),
        ("SOAPAction", action.as_str()),
    ];
    match send(stream, "POST", url, &headers, message.into_bytes(), limit).await? {
        (200..=299 | 500, body) => Ok(body),
        (status, _) => Err(HttpError::Status(status)),
    }
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
    limit: usize,
) -> Result<(u16, Vec<u8>), HttpError> {
    let uri: http::Uri = url.parse().map_err(|_| HttpError::Address(url.into()))?;
    let protocol = |error: hyper::Error| HttpError::Protocol(error.to_string());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(protocol)?;
    tokio::spawn(async move {
        // its end is seen by whoever waits for the answer
        let _ = connection.await;
    });
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("Host", authority(&uri));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| HttpError::Protocol(error.to_string()))?;
    let response = sender.send_request(request).await.map_err(protocol)?;
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), limit)
        .collect()
        .await
        .map_err(|_| HttpError::TooBig(limit))?;
    Ok((status, body.to_bytes().to_vec()))
}

fn authority(uri: &http::Uri) -> String {
    uri.authority().map(ToString::to_string).unwrap_or_default()
}
