//! The online check of an eGK: update flags, updates relayed between service and card, and the receipt about it.

use crate::card_key::{CardKey, Purpose as KeyPurpose};
use crate::cards::Card;
use crate::{Inner, tls_service};
use ::card::{Channel, Command};
use base::id::Iccsn;
use base::{Clock, Timestamp, limits};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crypto::Key;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use pki::Purpose;
use soap::cm::{self, Answer, Step, UpdateFlags};
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

/// Most packages of one update: a service that never ends is cut off.
const MAX_PACKAGES: usize = 50;

/// What the online check came to (Prüfungsnachweis, digest 3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Receipt {
    result: u8,
    error: Option<u32>,
    proof: Option<Vec<u8>>,
}

impl Receipt {
    /// 3: an update is technically impossible.
    pub fn impossible(error: Option<u32>) -> Self {
        Self {
            result: 3,
            error,
            proof: None,
        }
    }

    /// 5: the status of the certificate could not be found out.
    pub fn status_unknown() -> Self {
        Self {
            result: 5,
            error: None,
            proof: None,
        }
    }

    /// 4: the AUT certificate of the eGK is invalid; only on the card, when it was checked by itself.
    pub fn certificate_invalid() -> Self {
        Self {
            result: 4,
            error: None,
            proof: None,
        }
    }

    /// 6 instead of 3: impossible, and for longer than allowed.
    pub fn offline_too_long(self) -> Self {
        Self { result: 6, ..self }
    }

    /// The result.
    pub fn result(&self) -> u8 {
        self.result
    }

    /// Did the services do their work?
    pub fn is_contact(&self) -> bool {
        matches!(self.result, 1 | 2)
    }

    /// Was the card updated?
    pub fn is_update(&self) -> bool {
        self.result == 1
    }

    /// The document, compressed.
    pub fn to_gzip(&self, now: Timestamp) -> Vec<u8> {
        let mut xml = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\
             <PN xmlns=\"http://ws.gematik.de/fa/vsdm/pnw/v1.0\" CDM_VERSION=\"1.0.0\"><TS>{}</TS><E>{}</E>",
            ::card::egk::format_timestamp(now),
            self.result
        );
        if let Some(error) = self.error {
            xml.push_str(&format!("<EC>{error}</EC>"));
        }
        if let Some(proof) = &self.proof {
            xml.push_str(&format!("<PZ>{}</PZ>", STANDARD.encode(proof)));
        }
        xml.push_str("</PN>");
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        // writing to memory cannot fail
        encoder
            .write_all(xml.as_bytes())
            .and_then(|()| encoder.finish())
            .unwrap_or_default()
    }
}

/// Why the back end could not be used.
#[derive(Debug, thiserror::Error)]
enum BackEnd {
    #[error("{0}")]
    Unreachable(String),
    #[error(transparent)]
    Answer(#[from] Answer),
    #[error("card answered {0:04X} where {1:04X} was expected")]
    Card(u16, u16),
}

/// Asks for update flags and carries the updates out. Trouble with the back end never hinders reading the card: it
/// becomes part of the receipt.
pub(super) async fn check_and_update(
    inner: &Arc<Inner>,
    source: &Card,
    egk: &dyn Channel,
    iccsn: &Iccsn,
    insurer: &str,
) -> Receipt {
    match try_update(inner, source, egk, iccsn, insurer).await {
        Ok(receipt) => receipt,
        Err(error) => {
            tracing::warn!(%error, "online check of an eGK");
            match error {
                BackEnd::Answer(Answer::Fault(code)) => Receipt::impossible(Some(code)),
                _ => Receipt::impossible(None),
            }
        }
    }
}

async fn try_update(
    inner: &Arc<Inner>,
    source: &Card,
    egk: &dyn Channel,
    iccsn: &Iccsn,
    insurer: &str,
) -> Result<Receipt, BackEnd> {
    let mut connection = Connection::open(inner, source).await?;
    let number = iccsn.to_string();
    let flags = connection
        .call(insurer, "UFS", cm::get_update_flags(&number, insurer))
        .await?;
    let flags = UpdateFlags::parse(&flags)?;
    let mandatory: Vec<_> = flags.flags.iter().filter(|flag| flag.mandatory).collect();
    if mandatory.is_empty() {
        return Ok(Receipt {
            result: 2,
            error: None,
            proof: flags.receipt,
        });
    }
    let mut proof = flags.receipt;
    for flag in mandatory {
        let service = &flag.service;
        let begin = cm::perform_updates(&number, &flag.id, service);
        let mut step = Step::parse(&connection.call(&service.provider, &service.kind, begin).await?)?;
        for _ in 0..MAX_PACKAGES {
            if service.kind == "VSD" {
                proof = step
                    .performed
                    .iter()
                    .find_map(|(_, receipt)| receipt.clone())
                    .or(proof);
            }
            let Some(commands) = step.commands.take() else {
                break;
            };
            let (responses, unexpected) = run_package(egk, &commands).await?;
            let next = cm::next_package(service, &step.conversation, &responses, unexpected.is_some());
            let answer = connection.call(&service.provider, &service.kind, next).await;
            if let Some((got, expected)) = unexpected {
                return Err(BackEnd::Card(got, expected));
            }
            step = Step::parse(&answer?)?;
        }
    }
    Ok(Receipt {
        result: 1,
        error: None,
        proof,
    })
}

/// Sends a package to the card, up to the first unexpected status word (63Cx counts as success).
async fn run_package(
    egk: &dyn Channel,
    commands: &[cm::CommandItem],
) -> Result<(Vec<Vec<u8>>, Option<(u16, u16)>), BackEnd> {
    let mut responses = Vec::new();
    for item in commands {
        let command =
            Command::parse(&item.command).map_err(|error| BackEnd::Unreachable(error.to_string()))?;
        let response = egk
            .transmit(&command)
            .await
            .map_err(|error| BackEnd::Unreachable(error.to_string()))?;
        responses.push(response.encode());
        let good = response.sw == item.expected || response.sw & 0xFFF0 == 0x63C0;
        if !good {
            return Ok((responses, Some((response.sw, item.expected))));
        }
    }
    Ok((responses, None))
}

/// A connection to the Intermediär, kept for all calls of one check.
struct Connection {
    sender: hyper::client::conn::http1::SendRequest<Full<Bytes>>,
    host: String,
    clock: Arc<dyn Clock>,
    limit: Duration,
}

impl Connection {
    async fn open(inner: &Arc<Inner>, source: &Card) -> Result<Self, BackEnd> {
        let unreachable = |error: String| BackEnd::Unreachable(error);
        let url = inner.config.vsdm_url.as_deref().unwrap_or_default();
        let (host, port) = tls_service::address(url).ok_or_else(|| unreachable(format!("address {url}")))?;
        let key = CardKey::elliptic(inner, source, KeyPurpose::Authenticate).await;
        let key = key.map_err(|failure| unreachable(failure.detail()))?;
        let identity = (
            vec![key.certificate().der().to_vec()],
            Arc::new(key) as Arc<dyn Key>,
        );
        // a service that does not answer must leave time for reading the card without it
        let limit = Duration::from_secs(inner.config.vsdm_max_seconds.div_ceil(3));
        let stream = tls_service::connect(inner, url, &Purpose::INTERMEDIARY, Some(identity), limit).await;
        let stream = stream.map_err(|failure| unreachable(failure.detail()))?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(|error| unreachable(error.to_string()))?;
        tokio::spawn(async move {
            // its end is seen by the next call
            let _ = connection.await;
        });
        Ok(Self {
            sender,
            host: format!("{host}:{port}"),
            clock: inner.clock.clone(),
            limit,
        })
    }

    async fn call(&mut self, provider: &str, service: &str, message: String) -> Result<String, BackEnd> {
        let (clock, limit) = (self.clock.clone(), self.limit);
        let answer = clock
            .timeout(limit, self.exchange(provider, service, message))
            .await;
        answer.unwrap_or_else(|| Err(BackEnd::Unreachable(format!("no answer in {limit:?}"))))
    }

    async fn exchange(&mut self, provider: &str, service: &str, message: String) -> Result<String, BackEnd> {
        let unreachable = |error: hyper::Error| BackEnd::Unreachable(error.to_string());
        let request = http::Request::post(format!("/{provider}/{service}/2.0"))
            .header("Host", &self.host)
            .header("Content-Type", "text/xml; charset=utf-8")
            .header("SOAPAction", "\"\"")
            .body(Full::new(Bytes::from(message)))
            .map_err(|error| BackEnd::Unreachable(error.to_string()))?;
        self.sender.ready().await.map_err(unreachable)?;
        let response = self.sender.send_request(request).await.map_err(unreachable)?;
        let status = response.status();
        // a SOAP fault comes with 500 and says why; anything else without success says nothing
        if !status.is_success() && status != http::StatusCode::INTERNAL_SERVER_ERROR {
            return Err(BackEnd::Unreachable(format!("HTTP {status}")));
        }
        let body = Limited::new(response.into_body(), limits::BACKEND_RESPONSE)
            .collect()
            .await;
        let body = body.map_err(|error| BackEnd::Unreachable(error.to_string()))?;
        String::from_utf8(body.to_bytes().to_vec()).map_err(|error| BackEnd::Unreachable(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_fits_its_file() {
        let receipt = Receipt {
            result: 1,
            error: Some(12999),
            proof: Some(vec![7; 47]),
        };
        let gzip = receipt.to_gzip("2026-11-23T00:00:00Z".parse().unwrap());
        // length, nonce and tag come on top
        assert!(
            gzip.len() + 2 + 12 + 16 <= ::card::egk::RECEIPT_SIZE,
            "{}",
            gzip.len()
        );
    }
}
