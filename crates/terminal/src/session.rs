use crate::Product;
use crate::command::{self, sw};
use crate::wire::{Envelope, Event, Kind, LAST_COMMAND};
use base::id::SlotId;
use base::{Clock, Code};
use card::{Channel, ChannelError, Command, Response};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Why a terminal did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TerminalError {
    /// No connection, or it broke.
    #[error("connection to the terminal: {0}")]
    Connection(String),
    /// No answer in time.
    #[error("terminal did not answer in {0:?}")]
    Timeout(Duration),
    /// The terminal said no.
    #[error("terminal refused {step}: {word:04X}")]
    Refused {
        /// What it was asked.
        step: &'static str,
        /// Its status word.
        word: u16,
    },
    /// The terminal could not prove that it is the one that was paired.
    #[error("terminal could not prove its pairing: {0}")]
    NotAuthentic(&'static str),
    /// The terminal answered nonsense.
    #[error("terminal answered nonsense")]
    Garbage,
    /// What it was to be given cannot be read here.
    #[error("firmware: {0}")]
    Firmware(String),
}

impl TerminalError {
    /// Does the terminal refuse who we are? A connection that breaks, or a terminal that somebody else uses, says nothing of that.
    pub fn is_about_us(&self) -> bool {
        match self {
            TerminalError::NotAuthentic(_) => true,
            TerminalError::Refused { step, .. } => *step != command::INIT_SESSION,
            _ => false,
        }
    }

    /// The code for the caller.
    pub fn code(&self) -> Code {
        match self {
            TerminalError::Connection(_) => Code::TERMINAL_CONNECTION,
            TerminalError::NotAuthentic(_) => Code::TERMINAL_AUTHENTICATION,
            TerminalError::Refused { word: sw::BUSY, .. } => Code::TERMINAL_BUSY,
            TerminalError::Refused {
                word: sw::TIMEOUT, ..
            } => Code::PIN_TIMEOUT,
            TerminalError::Refused {
                word: sw::CANCELLED, ..
            } => Code::USER_CANCELLED,
            TerminalError::Timeout(_) | TerminalError::Garbage | TerminalError::Refused { .. } => {
                Code::TERMINAL_ACCESS
            }
            TerminalError::Firmware(_) => Code::INTERNAL,
        }
    }
}

/// What a terminal tells without being asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TerminalEvent {
    /// An event of the protocol.
    Event(Event),
    /// The connection is over.
    Closed,
}

/// State of a slot (ICCS byte).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotState {
    /// No card.
    Empty,
    /// A card without power: nobody has opened it since it was put in.
    Inserted,
    /// A card with power.
    Powered,
}

impl SlotState {
    fn from_byte(state: u8) -> Self {
        match state {
            0x00 => Self::Empty,
            0x01 | 0x03 | 0x80 => Self::Inserted,
            _ => Self::Powered,
        }
    }
}

type Pending = Arc<Mutex<HashMap<u16, oneshot::Sender<Result<Response, TerminalError>>>>>;

/// A connection to a terminal. Commands to different slots run side by side.
pub struct Session {
    writer: tokio::sync::Mutex<WriteHalf<TlsStream<TcpStream>>>,
    pending: Pending,
    next: Mutex<u16>,
    clock: Arc<dyn Clock>,
    certificate: Vec<u8>,
    peer: SocketAddr,
    /// Held while somebody types at the PIN pad.
    pad: Arc<tokio::sync::Mutex<()>>,
    reader: tokio::task::JoinHandle<()>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Session {
    /// Connects and shakes hands. What the terminal tells goes to `events`.
    pub async fn connect(
        address: SocketAddr,
        tls: Arc<rustls::ClientConfig>,
        timeout: Duration,
        clock: Arc<dyn Clock>,
        events: mpsc::UnboundedSender<TerminalEvent>,
    ) -> Result<Arc<Self>, TerminalError> {
        let connecting = async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let name = rustls::pki_types::ServerName::from(address.ip());
            TlsConnector::from(tls).connect(name, stream).await
        };
        let stream = clock
            .timeout(timeout, connecting)
            .await
            .ok_or(TerminalError::Timeout(timeout))?;
        let stream = stream.map_err(|error| TerminalError::Connection(error.to_string()))?;
        let certificate = stream
            .get_ref()
            .1
            .peer_certificates()
            .and_then(|chain| chain.first())
            .map(|der| der.to_vec());
        let (reader, writer) = tokio::io::split(stream);
        let pending = Pending::default();
        Ok(Arc::new(Self {
            writer: tokio::sync::Mutex::new(writer),
            next: Mutex::new(0),
            clock,
            certificate: certificate.unwrap_or_default(),
            peer: address,
            pad: Arc::default(),
            reader: tokio::spawn(receive(reader, pending.clone(), events)),
            pending,
        }))
    }

    /// The certificate the terminal showed, DER.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// The PIN pad for oneself; `None` while somebody else types there.
    pub fn reserve_pad(&self) -> Option<tokio::sync::OwnedMutexGuard<()>> {
        self.pad.clone().try_lock_owned().ok()
    }

    /// Address of the terminal.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Sends a command to the terminal (address 0) or a slot, and waits for its answer.
    pub async fn send(
        &self,
        address: u16,
        command: &Command,
        timeout: Duration,
    ) -> Result<Response, TerminalError> {
        let payload = command.encode().map_err(|_| TerminalError::Garbage)?;
        let (answer, answered) = oneshot::channel();
        let sequence = {
            let (mut next, mut pending) = (lock(&self.next), lock(&self.pending));
            // a number may not be used again while its command is open
            while pending.contains_key(&next) {
                *next = if *next >= LAST_COMMAND { 0 } else { *next + 1 };
            }
            let sequence = *next;
            *next = if *next >= LAST_COMMAND { 0 } else { *next + 1 };
            pending.insert(sequence, answer);
            sequence
        };
        let envelope = Envelope {
            kind: Kind::Command,
            address,
            sequence,
            payload,
        };
        let exchange = async {
            self.writer.lock().await.write_all(&envelope.encode()).await?;
            answered
                .await
                .map_err(|_| std::io::Error::from(std::io::ErrorKind::ConnectionReset))
        };
        match self.clock.timeout(timeout, exchange).await {
            Some(Ok(outcome)) => outcome,
            Some(Err(error)) => {
                lock(&self.pending).remove(&sequence);
                Err(TerminalError::Connection(error.to_string()))
            }
            None => {
                lock(&self.pending).remove(&sequence);
                Err(TerminalError::Timeout(timeout))
            }
        }
    }

    /// Sends a command to the terminal itself and expects 9000.
    pub async fn ask(
        &self,
        step: &'static str,
        command: &Command,
        timeout: Duration,
    ) -> Result<Vec<u8>, TerminalError> {
        let response = self.send(0, command, timeout).await?;
        if response.is_ok() {
            Ok(response.data)
        } else {
            Err(TerminalError::Refused {
                step,
                word: response.sw,
            })
        }
    }

    /// What the terminal says it is.
    pub async fn product(&self, timeout: Duration) -> Result<Product, TerminalError> {
        let status = self
            .ask("GET STATUS", &command::get_status(0x46), timeout)
            .await?;
        Product::parse(&status).ok_or(TerminalError::Garbage)
    }

    /// State of all slots.
    pub async fn slots(&self, timeout: Duration) -> Result<Vec<SlotState>, TerminalError> {
        let status = self
            .ask("GET STATUS", &command::get_status(0x80), timeout)
            .await?;
        let states = asn1::tlv::find(&status, 0x80).ok_or(TerminalError::Garbage)?;
        Ok(states.iter().map(|state| SlotState::from_byte(*state)).collect())
    }

    /// Hangs up. Whoever waits for an answer gets an error; others may hold this session for as long as they like.
    pub async fn close(&self) {
        self.reader.abort();
        lock(&self.pending).clear();
        // the other side may be gone already
        let _ = self.writer.lock().await.shutdown().await;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn receive(
    mut reader: ReadHalf<TlsStream<TcpStream>>,
    pending: Pending,
    events: mpsc::UnboundedSender<TerminalEvent>,
) {
    while let Ok(Some(envelope)) = Envelope::read(&mut reader).await {
        match envelope.kind {
            Kind::Response => {
                let waiting = lock(&pending).remove(&envelope.sequence);
                // an answer that nobody waits for any more came too late
                if let Some(waiting) = waiting {
                    let response = Response::parse(&envelope.payload);
                    let _ = waiting.send(response.map_err(|_| TerminalError::Garbage));
                }
            }
            Kind::Event => {
                for event in Event::parse_all(&envelope.payload) {
                    let _ = events.send(TerminalEvent::Event(event));
                }
            }
            Kind::Command => break,
        }
    }
    lock(&pending).clear();
    let _ = events.send(TerminalEvent::Closed);
}

/// A card in a slot of a terminal.
#[derive(Clone)]
pub struct SlotChannel {
    session: Arc<Session>,
    slot: SlotId,
    timeout: Duration,
}

impl SlotChannel {
    /// The card in `slot`; a command may take `timeout` (CARD_TIMEOUT_CARD).
    pub fn new(session: Arc<Session>, slot: SlotId, timeout: Duration) -> Self {
        Self {
            session,
            slot,
            timeout,
        }
    }

    /// The connection it goes through.
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Powers the card up.
    pub async fn power_up(&self) -> Result<(), TerminalError> {
        let response = self
            .session
            .send(0, &command::reset_card(self.slot), self.timeout)
            .await?;
        match response.sw {
            0x9000 | sw::ASYNCHRONOUS => Ok(()),
            word => Err(TerminalError::Refused {
                step: "RESET ICC",
                word,
            }),
        }
    }
}

impl Channel for SlotChannel {
    fn transmit<'a>(
        &'a self,
        command: &'a Command,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<Response, ChannelError>> + Send + 'a>> {
        Box::pin(async move {
            let address = u16::from(self.slot.number());
            match self.session.send(address, command, self.timeout).await {
                Ok(Response {
                    sw: sw::NO_CARD | sw::NOT_POWERED,
                    ..
                }) => Err(ChannelError::Removed),
                Ok(Response { sw: sw::BUSY, .. }) => Err(ChannelError::Terminal("busy".into())),
                Ok(response) => Ok(response),
                Err(TerminalError::Timeout(_)) => Err(ChannelError::Timeout),
                Err(TerminalError::Garbage) => Err(ChannelError::Garbage),
                Err(other) => Err(ChannelError::Terminal(other.to_string())),
            }
        })
    }
}
