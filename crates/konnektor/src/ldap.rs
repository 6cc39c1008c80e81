//! The LDAP proxy in front of the directory service (TUC_KON_290 to 293): bind, search, abandon and unbind pass, everything else is
//! refused (TIP1-A_5521). Every client has a connection of its own to the directory, whose certificate is judged first.

use crate::server::{accept, handshake};
use crate::state::Function;
use crate::{Inner, tls_service};
use futures_util::{SinkExt, StreamExt};
use ldap3_proto::LdapCodec;
use ldap3_proto::proto::{
    LdapBindCred, LdapBindResponse, LdapExtendedResponse, LdapMsg, LdapOp, LdapResult, LdapResultCode,
};
use pki::Purpose;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::client::TlsStream;
use tokio_util::codec::Framed;

/// The directory service for practice systems.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LdapSettings {
    /// Where practice systems ask, with TLS and by the same certificates as over SOAP (LDAP1, LDAP2).
    pub listen: SocketAddr,
    /// The directory, `https://host:port` of its LDAPS (the scheme says that it is TLS).
    pub directory: String,
}

impl LdapSettings {
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        match tls_service::address(&self.directory) {
            Some(_) => Ok(()),
            None => Err("ldap.directory must be https://host:port"),
        }
    }
}

/// Clients at a time.
const CLIENTS: usize = 128;
/// Longest message of a client; bytes.
pub const QUESTION: usize = 64 << 10;
/// Longest message of the directory, an entry with its certificates; bytes.
pub const ANSWER: usize = 4 << 20;
/// Deepest nesting of a filter.
pub const DEPTH: usize = 32;
/// For connecting to the directory, and how long nothing may happen on a connection.
const LIMIT: Duration = Duration::from_secs(20);
const IDLE: Duration = Duration::from_secs(300);

impl Inner {
    /// Serves the directory, for ever.
    pub(crate) async fn serve_directory(self: Arc<Self>, settings: LdapSettings) {
        let listener = loop {
            match TcpListener::bind(settings.listen).await {
                Ok(listener) => break listener,
                Err(error) => tracing::error!(%error, listen = %settings.listen, "LDAP proxy"),
            }
            self.clock.sleep(LIMIT).await;
        };
        let permits = Arc::new(Semaphore::new(CLIENTS));
        while let Ok(permit) = permits.clone().acquire_owned().await {
            let stream = accept(&listener, &*self.clock).await;
            let this = self.clone();
            self.spawn(async move {
                if let Err(error) = serve(&this, stream).await {
                    tracing::debug!(%error, "LDAP client");
                }
                drop(permit);
            });
        }
    }
}

/// What becomes of a client's message.
#[derive(Debug, PartialEq)]
enum Fate {
    /// The directory gets it.
    Passed,
    /// The directory gets it, and no answer comes.
    Last,
    /// It is answered here.
    Answered(LdapOp),
}

fn result(code: LdapResultCode, message: &str) -> LdapResult {
    LdapResult {
        code,
        matcheddn: String::new(),
        message: message.into(),
        referral: Vec::new(),
    }
}

/// The answer to a request that is not fulfilled; `None` where there is none to give.
fn refusal(op: &LdapOp, code: LdapResultCode, message: &str) -> Option<LdapOp> {
    let result = result(code, message);
    Some(match op {
        LdapOp::BindRequest(_) => LdapOp::BindResponse(LdapBindResponse {
            res: result,
            saslcreds: None,
        }),
        LdapOp::SearchRequest(_) => LdapOp::SearchResultDone(result),
        LdapOp::ModifyRequest(_) => LdapOp::ModifyResponse(result),
        LdapOp::AddRequest(_) => LdapOp::AddResponse(result),
        LdapOp::DelRequest(_) => LdapOp::DelResponse(result),
        LdapOp::ModifyDNRequest(_) => LdapOp::ModifyDNResponse(result),
        LdapOp::CompareRequest(_) => LdapOp::CompareResult(result),
        LdapOp::ExtendedRequest(_) => LdapOp::ExtendedResponse(LdapExtendedResponse {
            res: result,
            name: None,
            value: None,
        }),
        _ => return None,
    })
}

/// What a client may do (TIP1-A_5521). `None`: no client says that.
fn judge(op: &LdapOp) -> Option<Fate> {
    match op {
        LdapOp::BindRequest(bind) if !matches!(bind.cred, LdapBindCred::Simple(_)) => {
            let text = "only simple binds";
            refusal(op, LdapResultCode::AuthMethodNotSupported, text).map(Fate::Answered)
        }
        LdapOp::BindRequest(_) | LdapOp::SearchRequest(_) | LdapOp::AbandonRequest(_) => Some(Fate::Passed),
        LdapOp::UnbindRequest => Some(Fate::Last),
        other => refusal(
            other,
            LdapResultCode::UnwillingToPerform,
            "the directory is only read here",
        )
        .map(Fate::Answered),
    }
}

/// Is this something that a directory says to a client?
fn is_answer(op: &LdapOp) -> bool {
    matches!(
        op,
        LdapOp::BindResponse(_)
            | LdapOp::SearchResultEntry(_)
            | LdapOp::SearchResultDone(_)
            | LdapOp::SearchResultReference(_)
    )
}

type Directory = Framed<TlsStream<TcpStream>, LdapCodec>;

/// The next message of the directory, if there is a connection to it.
async fn answer(directory: &mut Option<Directory>) -> Option<std::io::Result<LdapMsg>> {
    match directory {
        Some(directory) => directory.next().await,
        None => std::future::pending().await,
    }
}

/// Whoever does not take what he gets is given up.
async fn within(inner: &Inner, sending: impl Future<Output = std::io::Result<()>>) -> std::io::Result<()> {
    let sent = inner.clock.timeout(IDLE, sending).await;
    sent.unwrap_or_else(|| Err(std::io::ErrorKind::TimedOut.into()))
}

async fn serve(inner: &Arc<Inner>, stream: TcpStream) -> std::io::Result<()> {
    let other = std::io::Error::other;
    let stream = handshake(inner, stream).await?;
    let mut client = Framed::new(stream, LdapCodec::new(Some(QUESTION), Some(DEPTH)));
    let mut directory: Option<Directory> = None;
    loop {
        let idle = inner.clock.sleep(IDLE);
        tokio::select! {
            () = idle => return Err(other("nothing happens")),
            question = client.next() => {
                let Some(question) = question else { return Ok(()) };
                let question = question?;
                let (number, fate) = (question.msgid, judge(&question.op).ok_or_else(|| other("no request"))?);
                let refuse = |op| LdapMsg { msgid: number, op, ctrl: Vec::new() };
                if let Fate::Answered(op) = fate {
                    within(inner, client.send(refuse(op))).await?;
                    continue;
                }
                if directory.is_none() && fate == Fate::Passed {
                    match connect(inner).await {
                        Ok(connection) => directory = Some(connection),
                        Err(reason) => {
                            tracing::warn!(reason, "directory service");
                            let text = "Der Verzeichnisdienst ist nicht erreichbar";
                            if let Some(op) = refusal(&question.op, LdapResultCode::Unavailable, text) {
                                within(inner, client.send(refuse(op))).await?;
                            }
                            continue;
                        }
                    }
                }
                if let Some(directory) = &mut directory {
                    within(inner, directory.send(question)).await?;
                }
                if fate == Fate::Last {
                    return Ok(());
                }
            }
            answer = answer(&mut directory) => {
                let answer = answer.ok_or_else(|| other("the directory has hung up"))??;
                if !is_answer(&answer.op) {
                    return Err(other("the directory says what nobody asked for"));
                }
                within(inner, client.send(answer)).await?;
            }
        }
    }
}

/// A connection to the directory (TUC_KON_290); only while the TI is in reach.
async fn connect(inner: &Arc<Inner>) -> Result<Directory, String> {
    let settings = inner.config.ldap.as_ref().ok_or("not configured")?;
    if !inner.config.online || !inner.reaches_ti() {
        return Err("the TI is out of reach".into());
    }
    inner
        .state
        .permit(Function::TiService)
        .map_err(|failure| failure.detail())?;
    let stream = tls_service::connect(inner, &settings.directory, &Purpose::DIRECTORY, None, LIMIT).await;
    let stream = stream.map_err(|failure| failure.detail())?;
    Ok(Framed::new(stream, LdapCodec::new(Some(ANSWER), Some(DEPTH))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ldap3_proto::proto::{LdapBindRequest, LdapCompareRequest, SaslCredentials};

    #[test]
    fn only_reading_passes() {
        let bind = |cred| {
            LdapOp::BindRequest(LdapBindRequest {
                version: 3,
                dn: String::new(),
                cred,
            })
        };
        assert_eq!(
            judge(&bind(LdapBindCred::Simple(String::new()))),
            Some(Fate::Passed)
        );
        assert_eq!(judge(&LdapOp::AbandonRequest(1)), Some(Fate::Passed));
        assert_eq!(judge(&LdapOp::UnbindRequest), Some(Fate::Last));
        let code = |op: LdapOp| match judge(&op) {
            Some(Fate::Answered(LdapOp::DelResponse(result) | LdapOp::CompareResult(result))) => result.code,
            Some(Fate::Answered(LdapOp::BindResponse(answer))) => answer.res.code,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            code(LdapOp::DelRequest("cn=x".into())),
            LdapResultCode::UnwillingToPerform
        );
        let compare = LdapOp::CompareRequest(LdapCompareRequest {
            dn: String::new(),
            atype: "cn".into(),
            val: Vec::new(),
        });
        assert_eq!(code(compare), LdapResultCode::UnwillingToPerform);
        let sasl = bind(LdapBindCred::SASL(SaslCredentials {
            mechanism: "EXTERNAL".into(),
            credentials: Vec::new(),
        }));
        assert_eq!(code(sasl), LdapResultCode::AuthMethodNotSupported);
        // an answer is nothing that a client says
        assert_eq!(
            judge(&LdapOp::SearchResultDone(result(LdapResultCode::Success, ""))),
            None
        );
    }
}
