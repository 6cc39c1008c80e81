//! What whole-system tests share: a morning in a practice up to the point where a test becomes interesting, and further
//! terminals.

pub mod documents;
pub mod pdf;

use anyhow::{Context, Result};
use asn1::X509;
use base::id::{CtId, Iccsn, Mac};
use base::{Clock, SystemClock};
use card::cos::{NoMemory, VirtualCard};
use konnektor::Inner;
use konnektor::protocol::Log;
use langlauf::demo::Walk;
use langlauf::practice::{Answer, Operation, Practice};
use langlauf::world::{Options, World};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use terminal::simulator::{self, Key, VirtualTerminal};
use testti::cards::{self, Holder};
use testti::person::Person;
use tokio::net::TcpListener;

/// A world in a folder of its own, after the demo's walk: paired, cards inserted, SMC-B unlocked, eGK read.
pub struct Morning {
    /// The world.
    pub world: World,
    /// Its clock.
    pub clock: Arc<dyn Clock>,
    /// Its folder, removed at the end.
    pub folder: tempfile::TempDir,
}

/// Options for a world in this folder: free ports, elliptic keys only.
pub fn options(folder: PathBuf) -> Options {
    Options {
        fixed_ports: false,
        rsa: false,
        ..Options::demo(folder)
    }
}

impl Morning {
    /// Sets a world up, without the walk.
    pub async fn before() -> Result<Self> {
        Self::with(|_| ()).await
    }

    /// Sets a world up that is a little different, without the walk.
    pub async fn with(change: impl FnOnce(&mut Options)) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let clock = SystemClock::new();
        let mut options = options(folder.path().into());
        change(&mut options);
        let world = World::start(&options, clock.clone()).await?;
        Ok(Self { world, clock, folder })
    }

    /// Sets a world up and walks through it.
    pub async fn after_the_walk() -> Result<Self> {
        let morning = Self::before().await?;
        Walk::new(&morning.world, &*morning.clock, true, &|_| ())
            .run()
            .await?;
        Ok(morning)
    }
}

/// A person at a terminal: types each entry when it is asked for and presses enter; the entry `cancel` presses that key.
pub async fn type_at(pad: &VirtualTerminal, entries: &[&str]) {
    let mut last = String::new();
    for entry in entries {
        let prompt = loop {
            let prompt = pad.wait_for_prompt().await;
            if prompt != last {
                break prompt;
            }
            tokio::task::yield_now().await;
        };
        last = prompt;
        match *entry {
            "cancel" => pad.press(Key::Cancel),
            digits => {
                pad.press(Key::Digits(digits.into()));
                pad.press(Key::Enter);
            }
        }
    }
}

/// A PIN operation of a practice system while somebody types at a terminal.
pub async fn pin(
    practice: &Practice,
    pad: &VirtualTerminal,
    (operation, handle, pin): (&str, &str, &str),
    entries: &[&str],
) -> Result<Answer> {
    let request = Operation::Pin {
        operation,
        handle,
        pin,
    };
    let (answer, ()) = tokio::join!(practice.call(request), type_at(pad, entries));
    answer
}

/// Pairs a terminal with a Konnektor; somebody presses the key.
pub async fn pair(inner: &Arc<Inner>, pad: &VirtualTerminal, id: &CtId) -> Result<()> {
    let (paired, ()) = tokio::join!(inner.pair(id, None), async {
        pad.wait_for_prompt().await;
        pad.press(Key::Enter);
    });
    paired.map_err(|failure| anyhow::anyhow!("{} {}", failure.code(), failure.detail()))?;
    Ok(())
}

/// Handle of the inserted card of this type.
pub async fn card(practice: &Practice, kind: &str) -> Result<String> {
    let mut cards = practice.cards(kind).await?;
    cards.pop().with_context(|| format!("no {kind}"))
}

/// ReadVSD of the inserted eGK with the inserted SM-B.
pub async fn read_vsd(practice: &Practice, online: bool, receipt: bool) -> Result<Answer> {
    let (ehc, hpc) = (card(practice, "EGK").await?, card(practice, "SMC-B").await?);
    let request = Operation::ReadVsd {
        ehc: &ehc,
        hpc: &hpc,
        online,
        receipt,
    };
    practice.call(request).await
}

/// Everything in the logs, as topic and details.
pub fn logged(inner: &Inner) -> Vec<(String, String)> {
    let page = store::Page {
        count: u32::MAX,
        before: None,
        severities: &[],
    };
    let entries = Log::ALL
        .into_iter()
        .filter_map(|log| inner.read_log(log, &page).ok());
    entries.flatten().map(|entry| (entry.topic, entry.body)).collect()
}

/// Is a practice system answered?
pub async fn is_served(practice: &Practice) -> bool {
    let answer = practice.call(Operation::GetCardTerminals).await;
    answer.is_ok_and(|answer| answer.fault().is_none())
}

/// Runs all of them side by side.
pub async fn all(work: impl IntoIterator<Item = impl Future<Output = ()>>) {
    futures_util::future::join_all(work).await;
}

/// A further terminal, with cards of its own, at a port of its own.
pub struct Station {
    /// The terminal.
    pub terminal: VirtualTerminal,
    /// Where it listens.
    pub address: SocketAddr,
    /// Numbers of its SMC-Bs.
    pub smb: Vec<Iccsn>,
    identity: simulator::Identity,
    server: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Drop for Station {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// A number no other card of this process has.
fn number() -> Result<Iccsn> {
    static NEXT: AtomicU32 = AtomicU32::new(100);
    Ok(format!("80276009990000{:06}", NEXT.fetch_add(1, Ordering::Relaxed)).parse()?)
}

impl Station {
    /// Starts a terminal with a gSMC-KT in slot 4 and cards of these types in slots 1 to 3.
    pub async fn start(morning: &Morning, name: &str, mac: Mac, kinds: &[&str]) -> Result<Self> {
        let (world, clock) = (&morning.world, &morning.clock);
        let terminal = VirtualTerminal::new(name, mac, clock.clone(), None)?;
        let put = |slot: u8, name: &str, system| {
            let card = VirtualCard::new(system, Box::new(NoMemory))?;
            terminal.put(slot, name, Arc::new(Mutex::new(card)))?;
            Ok::<(), anyhow::Error>(())
        };
        let options = cards::Options::default();
        let holder = Holder {
            name: format!("Praxis {name} TEST-ONLY"),
            telematik_id: format!("1-2{name}"),
        };
        let mut smb = Vec::new();
        for (kind, slot) in kinds.iter().zip(1..) {
            let iccsn = number()?;
            let system = match *kind {
                "EGK" => cards::egk(&world.pki, &iccsn, &Person::example(), clock.now(), &options)?,
                "HBA" => cards::hba(&world.pki, &iccsn, &holder, &options)?,
                _ => {
                    smb.push(iccsn.clone());
                    cards::smcb(&world.pki, &iccsn, &holder, &options)?
                }
            };
            put(slot, kind, system)?;
        }
        let (system, smkt) = cards::gsmc_kt(&world.pki, &number()?)?;
        put(4, "gSMC-KT", system)?;
        let authorities: Vec<X509> = world.authorities.clone();
        let identity = simulator::Identity {
            smkt,
            konnektor_cas: Arc::new(authorities),
        };
        Self::serve(terminal, identity, smb).await
    }

    async fn serve(
        terminal: VirtualTerminal,
        identity: simulator::Identity,
        smb: Vec<Iccsn>,
    ) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let server = tokio::spawn(simulator::serve(terminal.clone(), listener, identity.clone()));
        Ok(Self {
            terminal,
            address,
            smb,
            identity,
            server,
        })
    }

    /// SHA-256 of its certificate, as printed on its gSMC-KT.
    pub fn fingerprint(&self) -> String {
        hex::encode(crypto::sha256(self.identity.smkt.chain.first()))
    }

    /// Says where it is.
    pub async fn announce(&self, to: SocketAddr) -> Result<()> {
        let own = SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.address.port());
        Ok(simulator::announce(&self.terminal, own, to).await?)
    }

    /// Pairs it with the Konnektor of this morning; somebody presses the key.
    pub async fn pair(&self, morning: &Morning, id: &CtId) -> Result<()> {
        pair(morning.world.konnektor()?.inner(), &self.terminal, id).await
    }

    /// The same terminal, with its pairings and cards, at another port; the old one is dead.
    pub async fn move_to_another_port(&self, morning: &Morning) -> Result<Self> {
        self.server.abort();
        // connections of the old port end with the cable
        self.terminal.set_network(false);
        let alone = async || !self.terminal.appearance().connected;
        let limit = Duration::from_secs(10);
        morning
            .world
            .wait_for("cable", limit, &*morning.clock, alone)
            .await?;
        let terminal = self.terminal.clone();
        let moved = Self::serve(terminal, self.identity.clone(), self.smb.clone()).await?;
        moved.terminal.set_network(true);
        Ok(moved)
    }
}
