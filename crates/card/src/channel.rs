use crate::apdu::{Command, Expect, Response};
use crate::cos::VirtualCard;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Why a command got no answer from a card.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// The card is gone.
    #[error("card removed")]
    Removed,
    /// No answer in time.
    #[error("card did not answer in time")]
    Timeout,
    /// An answer that is none.
    #[error("card answered with garbage")]
    Garbage,
    /// The terminal or reader failed.
    #[error("terminal: {0}")]
    Terminal(String),
}

/// An answer on its way.
pub type Answer<'a> = Pin<Box<dyn Future<Output = Result<Response, ChannelError>> + Send + 'a>>;

/// A way to a card.
pub trait Channel: Send + Sync {
    /// Sends a command and waits for the answer.
    fn transmit<'a>(&'a self, command: &'a Command) -> Answer<'a>;
}

impl dyn Channel + '_ {
    /// Reads a whole transparent file by its short identifier; status words other than success are returned.
    pub async fn read_file(&self, sfi: u8) -> Result<Result<Vec<u8>, u16>, ChannelError> {
        let whole = Command::new(0, 0xB0, 0x80 | sfi, 0).expect(Expect::All);
        let response = self.transmit(&whole).await?;
        match response.sw {
            0x9000 | 0x6282 => return Ok(Ok(response.data)),
            // a reader or card without extended length: piece by piece
            0x6700 | 0x6C00..=0x6CFF => {}
            word => return Ok(Err(word)),
        }
        let mut content = Vec::new();
        loop {
            let offset = content.len();
            let command = match u8::try_from(offset) {
                Ok(offset) => Command::new(0, 0xB0, 0x80 | sfi, offset),
                Err(_) => Command::new(0, 0xB0, (offset >> 8) as u8 & 0x7F, offset as u8),
            };
            let response = self.transmit(&command.expect(Expect::AllShort)).await?;
            match response.sw {
                0x9000 | 0x6282 => {
                    let last = response.data.len() < 256;
                    content.extend(response.data);
                    if last || content.len() >= 0x8000 {
                        return Ok(Ok(content));
                    }
                }
                0x6B00 if offset > 0 => return Ok(Ok(content)),
                word => return Ok(Err(word)),
            }
        }
    }

    /// Selects the MF.
    pub async fn select_mf(&self) -> Result<Response, ChannelError> {
        self.transmit(&Command::new(0, 0xA4, 0x04, 0x0C)).await
    }

    /// Selects an application.
    pub async fn select(&self, aid: &[u8]) -> Result<Response, ChannelError> {
        self.transmit(&Command::new(0, 0xA4, 0x04, 0x0C).data(aid)).await
    }
}

/// The virtual card in this process as a channel.
impl Channel for Mutex<VirtualCard> {
    fn transmit<'a>(&'a self, command: &'a Command) -> Answer<'a> {
        let answer = command
            .encode()
            .map_err(|_| ChannelError::Garbage)
            .and_then(|bytes| {
                let raw = self
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .process(&bytes);
                Response::parse(&raw).map_err(|_| ChannelError::Garbage)
            });
        Box::pin(std::future::ready(answer))
    }
}

/// Counts the commands that pass, for budgets and benchmarks.
pub struct Counting<'c> {
    inner: &'c dyn Channel,
    count: AtomicUsize,
}

impl<'c> Counting<'c> {
    /// Around another channel.
    pub fn new(inner: &'c dyn Channel) -> Self {
        Self {
            inner,
            count: AtomicUsize::new(0),
        }
    }

    /// Commands so far.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

impl Channel for Counting<'_> {
    fn transmit<'a>(&'a self, command: &'a Command) -> Answer<'a> {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.inner.transmit(command)
    }
}
