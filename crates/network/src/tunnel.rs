//! A tunnel that comes up by itself and stays up: the order of a connection (TUC_KON_321, TUC_VPN-ZD_0001), reconnection at once
//! after a loss and with growing pauses after failures (TIP1-A_4375, TIP1-A_4779), and the change of its certificate
//! make-before-break: a second IKE_SA with the new certificate, and only when that stands the old one goes. What charon calls
//! reauthentication would silently go on with the old certificate.

use crate::dial::{Pause, Reason};
use crate::ike::{Concentrator, Credentials, Ike, IkeError, Sa};
use crate::locate::Inside;
use crate::report::Reports;
use crate::{Charon, DataPath, Profile, Service};
use base::{Clock, Timestamp};
use std::future::Future;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot, watch};

/// Something that is done later.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Between two looks whether the tunnel still stands; charon says it at once, but may have ended itself.
const LOOK: Duration = Duration::from_secs(10);

/// So often charon may give no answer before the tunnel counts as gone.
const DEAF: u32 = 2;

/// A concentrator with what its TXT record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The concentrator.
    pub concentrator: Concentrator,
    /// What lies behind it.
    pub inside: Option<Inside>,
}

/// Places in the order in which they are tried.
pub type Places = Vec<Place>;

/// Why no place was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no concentrator found: {0}")]
pub struct DirectoryError(pub String);

/// Knows where concentrators are. Asked anew for every round (TIP1-A_4377).
pub trait Directory: Send + Sync {
    /// The places of a service, in order.
    fn find(&self, service: Service) -> Later<'_, Result<Places, DirectoryError>>;
}

/// The packet filter, as far as a tunnel needs it: one concentrator at a time is let through.
pub trait Gate: Send + Sync {
    /// Lets IKE and ESP to and from this address through.
    fn open(&self, service: Service, address: Ipv4Addr) -> Later<'_, Result<(), String>>;
    /// And no longer.
    fn close(&self, service: Service, address: Ipv4Addr) -> Later<'_, ()>;
}

/// What a tunnel is built with.
#[derive(Clone)]
pub struct TunnelOrder {
    /// Where to.
    pub service: Service,
    /// Suites, lifetimes, networks.
    pub profile: Arc<Profile>,
    /// C.NK.VPN.
    pub credentials: Credentials,
    /// What is believed.
    pub trust: Trust,
}

/// What is believed; with nothing in it nobody is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trust {
    /// CAs of concentrators, DER: nobody else certifies one.
    pub authorities: Vec<Vec<u8>>,
    /// What else is needed to judge certificates and lists: roots, signers of revocation lists, DER.
    pub others: Vec<Vec<u8>>,
    /// Revocation lists, DER.
    pub revocation_lists: Vec<Vec<u8>>,
}

impl Trust {
    fn certificates(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.authorities.iter().chain(&self.others)
    }
}

/// An attempt that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Of which access service, counted in the order of preference.
    pub access: usize,
    /// Where; `None` if no place was found.
    pub place: Option<Concentrator>,
    /// Why.
    pub reason: Reason,
    /// What the daemon or the directory said.
    pub detail: String,
}

/// How a tunnel is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TunnelState {
    /// It does not stand.
    Down {
        /// Since when.
        since: Timestamp,
        /// The last attempt.
        last: Option<Attempt>,
    },
    /// It stands.
    Up {
        /// Since when.
        since: Timestamp,
        /// Where to.
        place: Place,
        /// What charon says.
        sa: Sa,
    },
}

/// What happened to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It stands (NETWORK/VPN_TI/UP).
    Up(Place, Sa),
    /// It has fallen (NETWORK/VPN_TI/DOWN).
    Down,
    /// It stands with another certificate; no moment without a tunnel.
    Renewed(Place, Sa),
    /// An attempt has failed.
    Failed(Attempt),
}

enum Command {
    Renew(Credentials, oneshot::Sender<Result<Sa, Attempt>>),
    Probe(Credentials, oneshot::Sender<Result<Sa, Attempt>>),
}

/// A tunnel in charge of itself; it is torn down when this is dropped or stopped.
pub struct Tunnel {
    commands: mpsc::Sender<Command>,
    trust: watch::Sender<Trust>,
    state: watch::Receiver<TunnelState>,
    task: tokio::task::JoinHandle<()>,
}

impl Tunnel {
    /// Begins. `directories` are those of the access services, in order of preference. What happens goes to `changes`.
    pub async fn begin(
        charon: &Charon,
        path: DataPath,
        order: TunnelOrder,
        directories: Vec<Arc<dyn Directory>>,
        gate: Arc<dyn Gate>,
        clock: Arc<dyn Clock>,
        changes: mpsc::UnboundedSender<Change>,
    ) -> Result<Self, IkeError> {
        let names = order.trust.certificates().filter_map(|der| {
            let certificate = asn1::X509::parse(der).ok()?;
            certificate.common_name()
        });
        let reports = Reports::new(names.collect());
        let listening = reports.listen(&charon.reports()).await;
        let listening = listening.map_err(|error| IkeError::Daemon(format!("reports: {error}")))?;
        let (commands, orders) = mpsc::channel(8);
        let first = TunnelState::Down {
            since: clock.now(),
            last: None,
        };
        let (sender, state) = watch::channel(first);
        let (trust, trusted) = watch::channel(order.trust.clone());
        let clock_millis = clock.elapsed().as_millis();
        let work = Work {
            ike: Ike::new(charon.vici(), clock.clone()),
            reports,
            path,
            order,
            trust: trusted,
            directories,
            gate,
            clock,
            changes,
            state: sender,
            building: charon.building.clone(),
            // no name twice, also when one before is still about to end
            number: u64::try_from(clock_millis).unwrap_or_default(),
            current: None,
            access: 0,
            pause: Pause::default(),
        };
        let task = tokio::spawn(async move {
            work.run(orders).await;
            listening.abort();
        });
        Ok(Self {
            commands,
            trust,
            state,
            task,
        })
    }

    /// How it is.
    pub fn state(&self) -> TunnelState {
        self.state.borrow().clone()
    }

    async fn ask(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<Sa, Attempt>>) -> Command,
    ) -> Result<Sa, Attempt> {
        let ended = || Attempt {
            access: 0,
            place: None,
            reason: Reason::Local,
            detail: "the tunnel was stopped".into(),
        };
        let (sender, answer) = oneshot::channel();
        self.commands.send(command(sender)).await.map_err(|_| ended())?;
        answer.await.unwrap_or_else(|_| Err(ended()))
    }

    /// From now on with this certificate: beside the old one, which goes when the new one stands. If it does not come up
    /// everything stays as it is.
    pub async fn renew(&self, credentials: Credentials) -> Result<Sa, Attempt> {
        self.ask(|sender| Command::Renew(credentials, sender)).await
    }

    /// Would a tunnel with this certificate come up? A second one is built beside the one that works, and taken down.
    pub async fn probe(&self, credentials: Credentials) -> Result<Sa, Attempt> {
        self.ask(|sender| Command::Probe(credentials, sender)).await
    }

    /// Newer CAs and revocation lists, for what is built from now on.
    pub fn trust(&self, trust: Trust) {
        self.trust.send_replace(trust);
    }

    /// Takes it down.
    pub async fn stop(self) {
        let Self { commands, task, .. } = self;
        drop(commands);
        // it ends when nobody can command it any more
        let _ = task.await;
    }
}

/// Packets go and none comes, though the other side answers: a way back was lost, such as a router's that forgot its mapping.
#[derive(Default)]
struct Silence {
    /// Packets that had come, and gone, when the last one came; and when that was.
    last: Option<((u64, u64), Duration)>,
    /// When it was last told.
    told: Option<Duration>,
}

/// So many packets without an answer are nobody's habit.
const UNANSWERED: u64 = 10;
/// Not sooner again: what does not help need not be done all the time.
const SELDOM: Duration = Duration::from_secs(300);

impl Silence {
    /// Has it lasted for `limit`? Said once in a while.
    fn lasts(&mut self, packets: (u64, u64), now: Duration, limit: Duration) -> bool {
        let ((came, went), at) = *self.last.get_or_insert((packets, now));
        if packets.0 != came || packets.1 < went {
            self.last = Some((packets, now));
            return false;
        }
        let long = now >= at + limit && packets.1 >= went + UNANSWERED;
        let seldom = self.told.is_none_or(|told| now >= told + SELDOM);
        if long && seldom {
            self.told = Some(now);
            self.last = None;
        }
        long && seldom
    }
}

struct Work {
    ike: Ike,
    reports: Reports,
    path: DataPath,
    order: TunnelOrder,
    trust: watch::Receiver<Trust>,
    directories: Vec<Arc<dyn Directory>>,
    gate: Arc<dyn Gate>,
    clock: Arc<dyn Clock>,
    changes: mpsc::UnboundedSender<Change>,
    state: watch::Sender<TunnelState>,
    building: Arc<tokio::sync::Mutex<()>>,
    number: u64,
    current: Option<(Place, Sa)>,
    /// Of which access service it is.
    access: usize,
    pause: Pause,
}

/// Between 0 and 1; without random numbers in the middle.
fn lot() -> f64 {
    crypto::random::<4>().map_or(0.5, |bytes| {
        f64::from(u32::from_be_bytes(bytes)) / f64::from(u32::MAX)
    })
}

fn nothing_stands() -> Attempt {
    Attempt {
        access: 0,
        place: None,
        reason: Reason::NoAnswer,
        detail: "there is no tunnel to do it beside".into(),
    }
}

impl Work {
    fn tell(&self, change: Change) {
        // whoever listened may have gone
        let _ = self.changes.send(change);
    }

    fn set(&self, state: TunnelState) {
        self.state.send_replace(state);
    }

    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let moved = Arc::new(Notify::new());
        let watching = self.ike.watch(moved.clone());
        loop {
            let pause = match self.round(&commands).await {
                true => {
                    self.pause.reset();
                    self.stand(&mut commands, &moved).await
                }
                false => Some(self.pause.next(lot())),
            };
            let Some(pause) = pause else { break };
            let waiting = self.clock.sleep(pause);
            tokio::pin!(waiting);
            let ended = loop {
                tokio::select! {
                    () = &mut waiting => break false,
                    command = commands.recv() => match command {
                        None => break true,
                        // nothing new cuts a pause short: who was refused must not ask again and again
                        Some(command) => self.obey_down(command),
                    },
                }
            };
            if ended {
                break;
            }
        }
        watching.abort();
        self.take_down().await;
    }

    /// One access service after the other, and of each one concentrator after the other, until one works.
    async fn round(&mut self, commands: &mpsc::Receiver<Command>) -> bool {
        for (access, directory) in self.directories.clone().into_iter().enumerate() {
            let places = match directory.find(self.order.service).await {
                Ok(places) => places,
                Err(error) => {
                    self.failed(access, None, Reason::NoName, error.to_string());
                    continue;
                }
            };
            match self.try_places(access, places, commands).await {
                Some(up) => return up,
                None => continue,
            }
        }
        false
    }

    /// Does one of them work? `None` if none does and others may.
    async fn try_places(
        &mut self,
        access: usize,
        places: Places,
        commands: &mpsc::Receiver<Command>,
    ) -> Option<bool> {
        for place in places {
            // who was let go of builds nothing any more: another may be at it
            if commands.is_closed() {
                return Some(false);
            }
            let address = place.concentrator.address;
            if !crate::locate::is_host(&place.concentrator.name) {
                self.failed(
                    access,
                    Some(&place),
                    Reason::NoName,
                    "not the name of a host".into(),
                );
                continue;
            }
            if let Err(error) = self.gate.open(self.order.service, address).await {
                self.failed(access, Some(&place), Reason::Local, error);
                return Some(false);
            }
            let own = self.order.credentials.clone();
            match self.build(&place, &own, false).await {
                Ok(sa) if commands.is_closed() => {
                    self.end(&sa).await;
                    self.gate.close(self.order.service, address).await;
                    return Some(false);
                }
                Ok(sa) => {
                    self.access = access;
                    self.stands(place.clone(), sa.clone());
                    self.tell(Change::Up(place, sa));
                    return Some(true);
                }
                Err((reason, detail)) => {
                    self.gate.close(self.order.service, address).await;
                    self.failed(access, Some(&place), reason, detail);
                    if reason == Reason::Local {
                        return Some(false);
                    }
                }
            }
        }
        None
    }

    fn stands(&mut self, place: Place, sa: Sa) {
        self.current = Some((place.clone(), sa.clone()));
        self.set(TunnelState::Up {
            since: self.clock.now(),
            place,
            sa,
        });
    }

    fn failed(&self, access: usize, place: Option<&Place>, reason: Reason, detail: String) {
        let attempt = Attempt {
            access,
            place: place.map(|place| place.concentrator.clone()),
            reason,
            detail,
        };
        self.set(TunnelState::Down {
            since: self.since(),
            last: Some(attempt.clone()),
        });
        self.tell(Change::Failed(attempt));
    }

    fn since(&self) -> Timestamp {
        match &*self.state.borrow() {
            TunnelState::Down { since, .. } => *since,
            TunnelState::Up { .. } => self.clock.now(),
        }
    }

    /// Builds an IKE_SA with its CHILD_SA to a place; `beside` one that carries packets, in two steps if the other side can.
    async fn build(
        &mut self,
        place: &Place,
        own: &Credentials,
        beside: bool,
    ) -> Result<Sa, (Reason, String)> {
        let local = |error: IkeError| (Reason::Local, error.to_string());
        self.number += 1;
        self.order.trust = self.trust.borrow().clone();
        let name = format!("{}-{}", self.order.service.name(), self.number);
        let building = self.building.clone();
        let _one = building.lock().await;
        // a list or a CA of before shall not vouch for anybody
        self.ike.forget().await.map_err(local)?;
        for der in self.order.trust.certificates() {
            self.ike.load_authority(der).await.map_err(local)?;
        }
        for der in &self.order.trust.revocation_lists {
            self.ike.load_crl(der).await.map_err(local)?;
        }
        self.ike
            .load(
                &name,
                &self.order,
                &place.concentrator,
                own,
                self.path == DataPath::Kernel,
            )
            .await
            .map_err(local)?;
        let gently = match beside {
            true => self.ike.initiate_gently(&name).await.is_ok(),
            false => false,
        };
        let outcome = match gently {
            true => Ok(()),
            false => self.ike.initiate(&name).await,
        };
        let outcome = match outcome {
            Ok(()) => self.find(&name).await,
            Err(error) => Err(error),
        };
        if let Ok(Some(sa)) = outcome {
            return Ok(sa);
        }
        let reported = self.reported(&name).await;
        // what is left of the attempt would be in the way of the next one
        for outcome in [self.ike.terminate_all(&name).await, self.ike.unload(&name).await] {
            if let Err(error) = outcome {
                tracing::debug!(%error, "rest of an attempt");
            }
        }
        Err(match (outcome, reported) {
            (Err(IkeError::Daemon(detail)), None) => (Reason::Local, detail),
            (Err(error), reason) => (reason.unwrap_or(Reason::Other), error.to_string()),
            (Ok(_), reason) => (reason.unwrap_or(Reason::Other), "gone as soon as it stood".into()),
        })
    }

    /// The reason comes another way than the failure, and may come a moment later.
    async fn reported(&self, name: &str) -> Option<Reason> {
        for _ in 0..10 {
            let reason = self.reports.take(name);
            if reason.is_some() {
                return reason;
            }
            self.clock.sleep(Duration::from_millis(20)).await;
        }
        None
    }

    async fn find(&self, name: &str) -> Result<Option<Sa>, IkeError> {
        let all = self.ike.list().await?;
        Ok(all.into_iter().find(|sa| sa.name == name))
    }

    /// Watches over a tunnel that stands. The pause before the next round, or `None` when it is to end.
    async fn stand(&mut self, commands: &mut mpsc::Receiver<Command>, moved: &Notify) -> Option<Duration> {
        let mut deaf = 0;
        let mut silence = Silence::default();
        let profile = self.order.profile.clone();
        let keepalive = Duration::from_secs(profile.keepalive_seconds.into());
        loop {
            tokio::select! {
                () = moved.notified() => {}
                () = self.clock.sleep(LOOK.min(keepalive)) => {}
                command = commands.recv() => self.obey(command?).await,
            }
            let (place, before) = self.current.clone()?;
            match self.find(&before.name).await {
                // no answer says nothing of the tunnel, unless there is nobody to answer
                Err(error) if deaf < DEAF => {
                    deaf += 1;
                    tracing::warn!(%error, "tunnel not seen");
                }
                Ok(Some(sa)) => {
                    deaf = 0;
                    // a rekeyed IKE_SA has another number
                    if sa.id != before.id || sa.inner != before.inner {
                        self.stands(place, sa.clone());
                    }
                    if silence.lasts(
                        sa.packets,
                        self.clock.elapsed(),
                        keepalive * profile.keepalive_tries,
                    ) {
                        tracing::warn!(
                            "nothing comes back through the tunnel: it is built anew beside the old one"
                        );
                        let own = self.order.credentials.clone();
                        if let Err(attempt) = self.change_to(own).await {
                            tracing::warn!(?attempt, "not built anew");
                        }
                    }
                }
                Ok(None) | Err(_) => {
                    // an IKE_SA without its tunnel, and the description
                    self.end(&before).await;
                    self.gate
                        .close(self.order.service, place.concentrator.address)
                        .await;
                    self.current = None;
                    self.set(TunnelState::Down {
                        since: self.clock.now(),
                        last: None,
                    });
                    self.tell(Change::Down);
                    // at once after a loss (TIP1-A_4375)
                    return Some(Duration::ZERO);
                }
            }
        }
    }

    async fn obey(&mut self, command: Command) {
        match command {
            // it proves itself all the time
            Command::Renew(own, answer) | Command::Probe(own, answer) if self.stands_with(&own) => {
                let standing = self.current.as_ref().map(|(_, sa)| sa.clone());
                let _ = answer.send(standing.ok_or_else(nothing_stands));
            }
            Command::Renew(own, answer) => {
                let outcome = self.change_to(own).await;
                // whoever asked may have gone
                let _ = answer.send(outcome);
            }
            Command::Probe(own, answer) => {
                let outcome = self.beside(&own).await;
                if let Ok(sa) = &outcome {
                    self.end(sa).await;
                }
                let _ = answer.send(outcome);
            }
        }
    }

    fn stands_with(&self, own: &Credentials) -> bool {
        self.current.is_some() && self.order.credentials.certificate == own.certificate
    }

    fn obey_down(&mut self, command: Command) {
        match command {
            Command::Renew(own, answer) => {
                self.order.credentials = own;
                let _ = answer.send(Err(nothing_stands()));
            }
            Command::Probe(_, answer) => {
                let _ = answer.send(Err(nothing_stands()));
            }
        }
    }

    /// A second tunnel beside the one that stands, to the same place.
    async fn beside(&mut self, own: &Credentials) -> Result<Sa, Attempt> {
        let place = self.current.as_ref().map(|(place, _)| place.clone());
        let place = place.ok_or_else(nothing_stands)?;
        self.build(&place, own, true)
            .await
            .map_err(|(reason, detail)| Attempt {
                access: self.access,
                place: Some(place.concentrator.clone()),
                reason,
                detail,
            })
    }

    async fn change_to(&mut self, own: Credentials) -> Result<Sa, Attempt> {
        let new = self.beside(&own).await?;
        if let Some((place, old)) = self.current.clone() {
            self.stands(place, new.clone());
            self.end(&old).await;
        }
        self.order.credentials = own;
        if let Some((place, _)) = &self.current {
            self.tell(Change::Renewed(place.clone(), new.clone()));
        }
        Ok(new)
    }

    /// Ends one of several tunnels, by its name: its number changes with every rekeying.
    async fn end(&self, sa: &Sa) {
        for outcome in [
            self.ike.terminate_all(&sa.name).await,
            self.ike.unload(&sa.name).await,
        ] {
            if let Err(error) = outcome {
                tracing::debug!(%error, name = sa.name, "tunnel not ended");
            }
        }
    }

    async fn take_down(&mut self) {
        if let Some((place, sa)) = self.current.take() {
            self.end(&sa).await;
            self.gate
                .close(self.order.service, place.concentrator.address)
                .await;
            self.tell(Change::Down);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_packets_that_go_and_none_that_come() {
        let second = Duration::from_secs;
        let limit = second(90);
        let mut silence = Silence::default();
        // nobody speaks: that is no silence
        assert!(!silence.lasts((5, 5), second(0), limit));
        assert!(!silence.lasts((5, 5), second(1000), limit));
        // answers come
        assert!(!silence.lasts((6, 20), second(1010), limit));
        assert!(!silence.lasts((6, 40), second(1020), limit));
        assert!(!silence.lasts((7, 60), second(1100), limit));
        // none comes any more
        assert!(!silence.lasts((7, 80), second(1180), limit));
        assert!(silence.lasts((7, 90), second(1190), limit));
        // new keys, and still none: not again at once
        assert!(!silence.lasts((0, 0), second(1200), limit));
        assert!(!silence.lasts((0, 50), second(1300), limit));
        assert!(silence.lasts((0, 150), second(1500), limit));
    }
}
