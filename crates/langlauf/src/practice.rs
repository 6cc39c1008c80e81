//! A small practice system: what the demo and the tests call the Konnektor with. Real ones use their own SOAP stacks.

use anyhow::{Context, Result, bail};
use asn1::X509;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crypto::tls::Identity;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;

const CONTEXT: &str = "<CCTX:Context xmlns:CCTX=\"http://ws.gematik.de/conn/ConnectorContext/v2.0\" \
    xmlns:CONN=\"http://ws.gematik.de/conn/ConnectorCommon/v5.0\"><CONN:MandantId>Praxis</CONN:MandantId>\
    <CONN:ClientSystemId>PVS</CONN:ClientSystemId><CONN:WorkplaceId>Anmeldung</CONN:WorkplaceId></CCTX:Context>";

/// A practice system with its client certificate.
#[derive(Clone)]
pub struct Practice {
    address: SocketAddr,
    identity: Option<Identity>,
    login: Option<(String, String)>,
    authorities: Arc<Vec<X509>>,
}

/// An answer: HTTP status and body.
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The SOAP message.
    pub body: String,
}

impl Answer {
    /// The code of the fault, if it is one.
    pub fn fault(&self) -> Option<u32> {
        let document = roxmltree::Document::parse(&self.body).ok()?;
        document
            .descendants()
            .find(|node| node.tag_name().name() == "Fault")?;
        self.texts("Code").last()?.parse().ok()
    }

    /// Texts of all elements with this local name.
    pub fn texts(&self, name: &str) -> Vec<String> {
        let Ok(document) = roxmltree::Document::parse(&self.body) else {
            return Vec::new();
        };
        let found = document
            .descendants()
            .filter(|node| node.tag_name().name() == name);
        found
            .map(|node| node.text().unwrap_or_default().to_owned())
            .collect()
    }

    /// Text of the first element with this local name.
    pub fn text(&self, name: &str) -> Option<String> {
        self.texts(name).into_iter().next()
    }
}

impl Practice {
    /// For the Konnektor at `address`, whose certificate one of `authorities` must have issued.
    pub fn new(address: SocketAddr, identity: Option<Identity>, authorities: Vec<X509>) -> Self {
        Self {
            address,
            identity,
            login: None,
            authorities: Arc::new(authorities),
        }
    }

    /// With user and password, where the Konnektor asks for them.
    pub fn with_login(mut self, login: Option<(String, String)>) -> Self {
        self.login = login;
        self
    }

    /// The client certificate.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    async fn exchange(&self, method: &str, path: &str, body: String) -> Result<Answer> {
        let judge = issued_by(self.authorities.clone());
        let mut sender = connect(self.address, self.identity.as_ref(), judge).await?;
        let mut request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("Host", self.address.to_string())
            .header("Content-Type", "text/xml; charset=utf-8");
        if let Some((user, password)) = &self.login {
            request = request.header("Authorization", basic(user, password));
        }
        let request = request.body(Full::new(Bytes::from(body)))?;
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await?.to_bytes();
        Ok(Answer {
            status,
            body: String::from_utf8(bytes.to_vec())?,
        })
    }

    /// `GET /connector.sds`.
    pub async fn directory(&self) -> Result<Answer> {
        self.exchange("GET", "/connector.sds", String::new()).await
    }

    /// Sends a SOAP body as it is.
    pub async fn post(&self, path: &str, body: &str) -> Result<Answer> {
        self.exchange("POST", path, soap::wrap(body)).await
    }

    /// Sends text that need not be SOAP.
    pub async fn post_raw(&self, path: &str, text: String) -> Result<Answer> {
        self.exchange("POST", path, text).await
    }

    /// Calls an operation of a service: `content` follows the context (or stands before it where the schema says so).
    pub async fn call(&self, operation: Operation<'_>) -> Result<Answer> {
        let (path, body) = operation.body();
        self.post(path, &body).await
    }

    /// The handles of all cards of this type.
    pub async fn cards(&self, card_type: &str) -> Result<Vec<String>> {
        let answer = self
            .call(Operation::GetCards {
                card_type: Some(card_type),
            })
            .await?;
        if let Some(code) = answer.fault() {
            bail!("GetCards: fault {code}");
        }
        Ok(answer.texts("CardHandle"))
    }
}

/// A judge that believes servers whose certificate one of `authorities` has issued.
pub fn issued_by(authorities: Arc<Vec<X509>>) -> crypto::tls::Judge {
    Arc::new(move |chain, _| {
        let shown = X509::parse(chain.first().ok_or("no certificate")?).map_err(|error| error.to_string())?;
        match authorities.iter().any(|ca| pki::signed_by(&shown, ca)) {
            true => Ok(()),
            false => Err("the server's certificate is not of this TI".to_owned()),
        }
    })
}

/// The value of HTTP's `Authorization` for a user and password.
pub fn basic(user: &str, password: &str) -> String {
    let encoded = STANDARD.encode(format!("{user}:{password}"));
    format!("Basic {encoded}")
}

/// An HTTPS connection for any number of requests.
pub async fn connect(
    address: SocketAddr,
    identity: Option<&Identity>,
    judge: crypto::tls::Judge,
) -> Result<SendRequest<Full<Bytes>>> {
    let tls = crypto::tls::client_config(identity, judge)?;
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let name = rustls::pki_types::ServerName::from(address.ip());
    let stream = tokio_rustls::TlsConnector::from(tls).connect(name, stream).await;
    let (sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream.context("TLS")?)).await?;
    tokio::spawn(async move {
        // its end is seen by whoever waits for an answer
        let _ = connection.await;
    });
    Ok(sender)
}

/// The whole SOAP message of an operation.
pub fn message(operation: Operation<'_>) -> String {
    soap::wrap(&operation.body().1)
}

/// Operations that the demo and the tests use.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub enum Operation<'a> {
    GetCards {
        card_type: Option<&'a str>,
    },
    GetCardTerminals,
    GetResourceInformation,
    Pin {
        operation: &'a str,
        handle: &'a str,
        pin: &'a str,
    },
    ReadVsd {
        ehc: &'a str,
        hpc: &'a str,
        online: bool,
        receipt: bool,
    },
    ReadCardCertificate {
        handle: &'a str,
        reference: &'a str,
        crypt: &'a str,
    },
    VerifyCertificate {
        der: &'a [u8],
        at: Option<&'a str>,
    },
    EjectCard {
        handle: &'a str,
    },
    Subscribe {
        event_to: &'a str,
        topic: &'a str,
    },
    /// For the user `user`.
    GetJobNumber {
        user: &'a str,
    },
    /// Texts, each as CMS signature with the text inside.
    SignText {
        user: &'a str,
        handle: &'a str,
        job: &'a str,
        texts: &'a [&'a str],
    },
    /// A CMS signature with its document inside.
    VerifySignature {
        cms: &'a str,
    },
}

impl Operation<'_> {
    fn body(self) -> (&'static str, String) {
        let conn = "xmlns:CONN=\"http://ws.gematik.de/conn/ConnectorCommon/v5.0\" \
                    xmlns:CARDCMN=\"http://ws.gematik.de/conn/CardServiceCommon/v2.0\"";
        let event = |name: &str, rest: String| {
            let body = format!(
                "<E:{name} xmlns:E=\"{}\" {conn}>{CONTEXT}{rest}</E:{name}>",
                soap::ns::EVT
            );
            ("/ws/EventService", body)
        };
        match self {
            Operation::GetCards { card_type } => {
                let filter = card_type.map(|kind| format!("<CARDCMN:CardType>{kind}</CARDCMN:CardType>"));
                event("GetCards", filter.unwrap_or_default())
            }
            Operation::GetCardTerminals => event("GetCardTerminals", String::new()),
            Operation::GetResourceInformation => event("GetResourceInformation", String::new()),
            Operation::Subscribe { event_to, topic } => event(
                "Subscribe",
                format!(
                    "<E:Subscription><E:EventTo>{event_to}</E:EventTo><E:Topic>{topic}</E:Topic></E:Subscription>"
                ),
            ),
            Operation::Pin {
                operation,
                handle,
                pin,
            } => {
                let body = format!(
                    "<C:{operation} xmlns:C=\"{}\" {conn}>{CONTEXT}<CONN:CardHandle>{handle}</CONN:CardHandle>\
                     <CARDCMN:PinTyp>{pin}</CARDCMN:PinTyp></C:{operation}>",
                    soap::ns::CARD
                );
                ("/ws/CardService", body)
            }
            Operation::ReadVsd {
                ehc,
                hpc,
                online,
                receipt,
            } => {
                let body = format!(
                    "<V:ReadVSD xmlns:V=\"{}\"><V:EhcHandle>{ehc}</V:EhcHandle><V:HpcHandle>{hpc}</V:HpcHandle>\
                     <V:PerformOnlineCheck>{online}</V:PerformOnlineCheck>\
                     <V:ReadOnlineReceipt>{receipt}</V:ReadOnlineReceipt>{CONTEXT}</V:ReadVSD>",
                    soap::ns::VSD
                );
                ("/ws/VSDService", body)
            }
            Operation::ReadCardCertificate {
                handle,
                reference,
                crypt,
            } => {
                let body = format!(
                    "<Z:ReadCardCertificate xmlns:Z=\"{}\" {conn}><CONN:CardHandle>{handle}</CONN:CardHandle>{CONTEXT}\
                     <Z:CertRefList><Z:CertRef>{reference}</Z:CertRef></Z:CertRefList><Z:Crypt>{crypt}</Z:Crypt>\
                     </Z:ReadCardCertificate>",
                    soap::ns::CERT
                );
                ("/ws/CertificateService", body)
            }
            Operation::VerifyCertificate { der, at } => {
                let at = at.map(|at| format!("<Z:VerificationTime>{at}</Z:VerificationTime>"));
                let body = format!(
                    "<Z:VerifyCertificate xmlns:Z=\"{}\" xmlns:CERTCMN=\"{}\" {conn}>{CONTEXT}\
                     <CERTCMN:X509Certificate>{}</CERTCMN:X509Certificate>{}</Z:VerifyCertificate>",
                    soap::ns::CERT,
                    soap::ns::CERTCMN,
                    STANDARD.encode(der),
                    at.unwrap_or_default()
                );
                ("/ws/CertificateService", body)
            }
            Operation::EjectCard { handle } => {
                let body = format!(
                    "<T:EjectCard xmlns:T=\"{}\" {conn}>{CONTEXT}<CONN:CardHandle>{handle}</CONN:CardHandle>\
                     <T:TimeOut>2000</T:TimeOut></T:EjectCard>",
                    soap::ns::CT
                );
                ("/ws/CardTerminalService", body)
            }
            Operation::GetJobNumber { user } => signature("GetJobNumber", context_of(user)),
            Operation::SignText {
                user,
                handle,
                job,
                texts,
            } => {
                let requests = texts.iter().enumerate().map(|(number, text)| {
                    format!(
                        "<SIG:SignRequest RequestID=\"{}\"><SIG:OptionalInputs>\
                         <dss:SignatureType>urn:ietf:rfc:5652</dss:SignatureType>\
                         <SIG:IncludeEContent>true</SIG:IncludeEContent></SIG:OptionalInputs>\
                         <SIG:Document ShortText=\"Text\">\
                         <dss:Base64Data MimeType=\"text/plain; charset=utf-8\">{}</dss:Base64Data></SIG:Document>\
                         <SIG:IncludeRevocationInfo>true</SIG:IncludeRevocationInfo></SIG:SignRequest>",
                        number + 1,
                        STANDARD.encode(text)
                    )
                });
                signature(
                    "SignDocument",
                    format!(
                        "<CONN:CardHandle>{handle}</CONN:CardHandle>{}<SIG:TvMode>NONE</SIG:TvMode>\
                         <SIG:JobNumber>{job}</SIG:JobNumber>{}",
                        context_of(user),
                        requests.collect::<String>()
                    ),
                )
            }
            Operation::VerifySignature { cms } => signature(
                "VerifyDocument",
                format!(
                    "{CONTEXT}<dss:SignatureObject><dss:Base64Signature Type=\"urn:ietf:rfc:5652\">{cms}\
                     </dss:Base64Signature></dss:SignatureObject>\
                     <SIG:IncludeRevocationInfo>false</SIG:IncludeRevocationInfo>"
                ),
            ),
        }
    }
}

/// The context with somebody who is logged in.
fn context_of(user: &str) -> String {
    CONTEXT.replace(
        "</CCTX:Context>",
        &format!("<CONN:UserId>{user}</CONN:UserId></CCTX:Context>"),
    )
}

fn signature(operation: &str, content: String) -> (&'static str, String) {
    let body = format!(
        "<SIG:{operation} xmlns:SIG=\"{}\" xmlns:CONN=\"http://ws.gematik.de/conn/ConnectorCommon/v5.0\" \
         xmlns:dss=\"urn:oasis:names:tc:dss:1.0:core:schema\">{content}</SIG:{operation}>",
        soap::ns::SIG75
    );
    ("/ws/SignatureService", body)
}
