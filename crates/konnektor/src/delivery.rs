//! CETP: events on their way to practice systems, in order for each address, tried again while nobody answers
//! (TIP1-A_4594 ff., TIP1-A_4611).

use crate::events::{Event, Subscriptions};
use base::Clock;
use crypto::tls::Identity;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(5);
/// Seconds between attempts.
const BACKOFF: [u64; 4] = [1, 2, 5, 10];
/// Events that wait for one address; what comes when it is full is lost, and the log says so.
const WAITING: usize = 500;
/// A queue that is empty for so long ends.
const IDLE: Duration = Duration::from_secs(60);

/// An event and the subscription it answers; empty for BOOTUP_COMPLETE.
type Item = (Event, String);

/// One queue an address.
pub(crate) struct Deliveries {
    clock: Arc<dyn Clock>,
    identity: RwLock<Identity>,
    subscriptions: Arc<Subscriptions>,
    /// EVT_MAX_TRY.
    max_tries: u32,
    runtime: tokio::runtime::Handle,
    queues: Mutex<HashMap<String, Queue>>,
}

struct Queue {
    sender: mpsc::Sender<Item>,
    worker: AbortHandle,
}

impl Deliveries {
    pub fn new(
        clock: Arc<dyn Clock>,
        identity: Identity,
        subscriptions: Arc<Subscriptions>,
        max_tries: u32,
        runtime: tokio::runtime::Handle,
    ) -> Arc<Self> {
        Arc::new(Self {
            clock,
            identity: RwLock::new(identity),
            subscriptions,
            max_tries,
            runtime,
            queues: Mutex::default(),
        })
    }

    /// Shows this identity from the next connection on.
    pub fn show(&self, identity: Identity) {
        *self.identity.write().unwrap_or_else(PoisonError::into_inner) = identity;
    }

    fn with<T>(&self, work: impl FnOnce(&mut HashMap<String, Queue>) -> T) -> T {
        work(&mut self.queues.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts an event into the queue of `address` (`cetp://host:port`).
    pub fn send(self: &Arc<Self>, address: &str, event: &Event, subscription: &str) {
        let item = (event.clone(), subscription.to_owned());
        let sent = self.with(|queues| {
            let queue = queues.entry(address.to_owned()).or_insert_with(|| {
                let (sender, receiver) = mpsc::channel(WAITING);
                let (this, address) = (self.clone(), address.to_owned());
                let work = async move { this.work_off(&address, receiver).await };
                Queue {
                    sender,
                    worker: self.runtime.spawn(work).abort_handle(),
                }
            });
            queue.sender.try_send(item).is_ok()
        });
        if !sent {
            tracing::warn!(topic = event.topic, address, "event lost: too many are waiting");
        }
    }

    /// Ends all queues with what is in them.
    pub fn stop(&self) {
        self.with(|queues| queues.drain().for_each(|(_, queue)| queue.worker.abort()));
    }

    /// One event after the other. Nobody at the address for too long: its subscriptions end.
    async fn work_off(self: Arc<Self>, address: &str, mut queue: mpsc::Receiver<Item>) {
        loop {
            let Some(next) = self.clock.timeout(IDLE, queue.recv()).await else {
                // under the lock, so that nothing is put into a queue that ends
                let ended = self.with(|queues| queue.is_empty() && queues.remove(address).is_some());
                if ended {
                    return;
                }
                continue;
            };
            let Some((event, subscription)) = next else { return };
            if !self.deliver(address, &event, &subscription).await {
                tracing::warn!(
                    address,
                    tries = self.max_tries,
                    "subscriptions of this address end"
                );
                self.with(|queues| {
                    self.subscriptions.remove_address(address);
                    queues.remove(address);
                });
                return;
            }
        }
    }

    /// Tries until it works or has failed too often.
    async fn deliver(&self, address: &str, event: &Event, subscription: &str) -> bool {
        for tries in 1..=self.max_tries {
            let identity = self
                .identity
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            let attempt = attempt(address, event, subscription, &identity);
            match self.clock.timeout(ATTEMPT, attempt).await {
                Some(Ok(())) => return true,
                Some(Err(error)) => tracing::debug!(%error, address, tries, "event not delivered"),
                None => tracing::debug!(address, tries, "event not delivered in time"),
            }
            if tries < self.max_tries {
                let place = (tries as usize).saturating_sub(1).min(BACKOFF.len() - 1);
                let pause = BACKOFF.get(place).copied().unwrap_or(10);
                self.clock.sleep(Duration::from_secs(pause)).await;
            }
        }
        false
    }
}

/// Sends one event: a connection of its own, TLS with the Konnektor as client (TIP1-A_4595).
async fn attempt(
    address: &str,
    event: &Event,
    subscription: &str,
    identity: &Identity,
) -> std::io::Result<()> {
    let address = address
        .strip_prefix("cetp://")
        .unwrap_or(address)
        .trim_end_matches('/');
    let stream = TcpStream::connect(address).await?;
    // practice systems show certificates of their own making: the event is addressed, not secret from its receiver
    let tls =
        crypto::tls::client_config(Some(identity), Arc::new(|_, _| Ok(()))).map_err(std::io::Error::other)?;
    let host = address
        .rsplit_once(':')
        .map_or(address, |(host, _)| host)
        .to_owned();
    let name = rustls::pki_types::ServerName::try_from(host).map_err(std::io::Error::other)?;
    let mut stream = tokio_rustls::TlsConnector::from(tls)
        .connect(name, stream)
        .await?;
    stream.write_all(&event.message(subscription).encode()).await?;
    stream.shutdown().await
}
