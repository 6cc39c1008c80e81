use super::VirtualTerminal;
use super::commands::{Client, Connection};
use crate::wire::{Envelope, Event, Kind, parse_search};
use asn1::{X509, oid};
use crypto::tls::{self, ClientCertificate, PeerVerifier};
use rustls::ServerConfig;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncWriteExt, WriteHalf};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Mutex, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Block and message time-outs of a terminal (SICCT 6.1.6).
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(5);
/// Silence after which a terminal that sends keep-alives hangs up.
const SILENCE: Duration = Duration::from_secs(120);
/// Interval of KEEP ALIVE events (A_22891).
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// What the terminal shows and believes.
#[derive(Clone)]
pub struct Identity {
    /// ID.SMKT.AUT.
    pub smkt: tls::Identity,
    /// CAs that may certify a Konnektor's ID.SAK.AUT.
    pub konnektor_cas: Arc<Vec<X509>>,
}

/// Serves the terminal on this socket, over TCP and discovery datagrams, until the task is dropped.
pub async fn serve(
    terminal: VirtualTerminal,
    listener: TcpListener,
    identity: Identity,
) -> std::io::Result<()> {
    let address = listener.local_addr()?;
    let config = server_config(&identity).map_err(std::io::Error::other)?;
    let acceptor = TlsAcceptor::from(config);
    let discovery = answer_searches(terminal.clone(), address);
    let connections = async {
        loop {
            let (stream, _) = listener.accept().await?;
            let (terminal, acceptor, identity) = (terminal.clone(), acceptor.clone(), identity.clone());
            tokio::spawn(async move {
                if let Err(error) = connection(&terminal, stream, acceptor, &identity).await {
                    tracing::debug!(%error, "terminal connection ended");
                }
            });
        }
    };
    tokio::select! {
        outcome = connections => outcome,
        outcome = discovery => outcome,
    }
}

fn server_config(identity: &Identity) -> Result<Arc<ServerConfig>, rustls::Error> {
    // who the client is decides what it may do, not whether it may connect (A_22456)
    let verifier = PeerVerifier::clients(Arc::new(|_, _| Ok(())), ClientCertificate::Optional);
    let key = tls::certified(&identity.smkt)?;
    let config = ServerConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(key)));
    Ok(Arc::new(config))
}

/// A terminal judges a Konnektor's certificate only by CA, type, role and use; it has no reliable clock (A_22882).
fn judge(der: Option<&[u8]>, cas: &[X509]) -> Client {
    let Some(certificate) = der.and_then(|der| X509::parse(der).ok()) else {
        return Client::Invalid;
    };
    let Ok(issuer) = certificate.issuer_der() else {
        return Client::Invalid;
    };
    let signed = cas.iter().any(|ca| {
        ca.subject_der().is_ok_and(|subject| subject == issuer) && pki::signed_by(&certificate, ca)
    });
    let right = certificate.has_policy(oid::SAK_AUT)
        && certificate.has_role(oid::ROLE_SAK)
        && certificate.extended_key_usage.contains(&oid::KP_CLIENT_AUTH);
    match certificate.spki() {
        Ok(key) if signed && right => Client::Konnektor { key },
        _ => Client::Invalid,
    }
}

async fn connection(
    terminal: &VirtualTerminal,
    stream: TcpStream,
    acceptor: TlsAcceptor,
    identity: &Identity,
) -> std::io::Result<()> {
    let mut network = terminal.shared.network.subscribe();
    if !*network.borrow() {
        return Ok(());
    }
    stream.set_nodelay(true)?;
    let clock = terminal.shared.clock.clone();
    let timed_out = || std::io::Error::from(std::io::ErrorKind::TimedOut);
    let stream = clock
        .timeout(MESSAGE_TIMEOUT, acceptor.accept(stream))
        .await
        .ok_or_else(timed_out)??;
    let certificate = stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(|chain| chain.first())
        .map(|der| der.to_vec());
    let client = judge(certificate.as_deref(), &identity.konnektor_cas);
    let (mut reader, writer) = tokio::io::split(stream);
    let (heard, mut envelopes) = mpsc::channel(16);
    // a task of its own: an event must not cut off an envelope that is half read
    let reading = tokio::spawn(async move {
        loop {
            let read = Envelope::read(&mut reader).await;
            let last = !matches!(read, Ok(Some(_)));
            if heard.send(read).await.is_err() || last {
                return;
            }
        }
    });
    let writer = Arc::new(Mutex::new(writer));
    let connection = Arc::new(Connection::new(
        terminal.clone(),
        client,
        identity.smkt.key.clone(),
    ));
    let mut events = terminal.shared.events.subscribe();
    let mut event_number = 0xFD00u16;
    let mut last_heard = clock.elapsed();
    // whatever ends it, what follows must happen
    let outcome = async {
        loop {
            tokio::select! {
                Some(read) = envelopes.recv() => match read {
                    Ok(Some(envelope)) if envelope.kind == Kind::Command => {
                        last_heard = clock.elapsed();
                        let (connection, writer) = (connection.clone(), writer.clone());
                        // several commands may be open: a PIN entry does not stop GET STATUS
                        tokio::spawn(async move {
                            let payload = connection.command(envelope.address, &envelope.payload).await;
                            let answer = Envelope { kind: Kind::Response, payload, ..envelope };
                            // who has hung up gets no answer
                            let _ = match connection.breaks_off() {
                                false => send(&writer, &answer).await,
                                true => break_off(&writer, &answer).await,
                            };
                        });
                    }
                    Ok(Some(_)) => {
                        event(&writer, &mut event_number, Event::ProtocolError(0x10)).await?;
                    }
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(std::io::Error::other(error)),
                },
                Ok(happened) = events.recv() => {
                    if connection.in_session() {
                        event(&writer, &mut event_number, happened).await?;
                    }
                }
                () = clock.sleep(KEEP_ALIVE) => {
                    if clock.elapsed().saturating_sub(last_heard) > SILENCE {
                        event(&writer, &mut event_number, Event::SignOff).await?;
                        break Ok(());
                    }
                    if connection.in_session() {
                        event(&writer, &mut event_number, Event::KeepAlive).await?;
                    }
                }
                Ok(()) = network.changed() => if !*network.borrow() { break Ok(()) },
            }
        }
    }
    .await;
    reading.abort();
    connection.end();
    // a command that still waits for a person must not keep the line open
    let _ = writer.lock().await.shutdown().await;
    outcome
}

type Writer = Mutex<WriteHalf<TlsStream<TcpStream>>>;

async fn send(writer: &Writer, envelope: &Envelope) -> std::io::Result<()> {
    let mut writer = writer.lock().await;
    writer.write_all(&envelope.encode()).await?;
    writer.flush().await
}

/// Half an answer, and the line is dead.
async fn break_off(writer: &Writer, envelope: &Envelope) -> std::io::Result<()> {
    let bytes = envelope.encode();
    let half = bytes.get(..bytes.len().div_ceil(2)).unwrap_or_default();
    let mut writer = writer.lock().await;
    writer.write_all(half).await?;
    writer.shutdown().await
}

async fn event(writer: &Writer, number: &mut u16, event: Event) -> std::io::Result<()> {
    let envelope = Envelope {
        kind: Kind::Event,
        address: 0,
        sequence: *number,
        payload: event.encode(),
    };
    *number = if *number == u16::MAX { 0xFD00 } else { *number + 1 };
    send(writer, &envelope).await
}

/// Answers searches on the UDP port of the same number. Another terminal on this machine may have it already: then
/// this one is found by hand only.
async fn answer_searches(terminal: VirtualTerminal, address: SocketAddr) -> std::io::Result<()> {
    let SocketAddr::V4(v4) = address else {
        return std::future::pending().await;
    };
    let Ok(socket) = UdpSocket::bind((*v4.ip(), v4.port())).await else {
        return std::future::pending().await;
    };
    let mut buffer = [0; 512];
    loop {
        let (length, _) = socket.recv_from(&mut buffer).await?;
        if let Ok((to, port)) = parse_search(buffer.get(..length).unwrap_or_default()) {
            let own = if v4.ip().is_unspecified() {
                Ipv4Addr::LOCALHOST
            } else {
                *v4.ip()
            };
            let answer = terminal.announcement(own, v4.port()).encode();
            let _ = socket.send_to(&answer, (to, port)).await;
        }
    }
}

/// Says unasked where the terminal is (SICCT 7): to one address, or to a broadcast address.
pub async fn announce(
    terminal: &VirtualTerminal,
    own: std::net::SocketAddrV4,
    target: SocketAddr,
) -> std::io::Result<()> {
    let socket = UdpSocket::bind((*own.ip(), 0)).await?;
    socket.set_broadcast(true)?;
    let datagram = terminal.announcement(*own.ip(), own.port()).encode();
    socket.send_to(&datagram, target).await.map(drop)
}
