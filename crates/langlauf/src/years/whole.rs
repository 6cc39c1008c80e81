//! The same years on the whole instance: Konnektor, terminal, cards and test TI with every wire between them, in virtual time.
//! Every day a card is read and a document signed over SOAP; what goes wrong is drawn from the seed as in [`super::live`]. Slower
//! by three powers of ten. Only the tunnel is not built: whether it could be is asked of the access service.

use super::weather::{Trouble, Weather};
use super::{Card, Day, Fate, Light, Report, Rule, between};
use crate::demo::{PIN, Walk, failed, good};
use crate::practice::{self, Operation};
use crate::world::{Options, SMC_B, World};
use anyhow::{Context, Result, ensure};
use asn1::X509;
use base::id::Iccsn;
use base::{Clock, Timestamp, VirtualClock};
use card::cos::{NoMemory, VirtualCard};
use identity::{Actor, Change, DAY};
use konnektor::Inner;
use konnektor::lifetime::ByHand;
use konnektor::state::Condition;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use testti::cards::{self, Holder};
use testti::registrar::{Refusal, RegistrarFault};
use testti::services::OcspFault;
use testti::tsp::PackageFault;

/// Days that the card's first certificates last, and later ones; the test TI's own roots last eight years.
const FIRST: u32 = 1826;
const LATER: i64 = 500;
/// Longest life, for the roots' sake.
pub const LONGEST: u32 = 7;
/// Fair days after which a new package must be in use where it is needed.
const ENOUGH: i64 = 8;
/// Hours of a day at which the device looks: it comes after each quarter's moment. The practice works at the second of them.
const LOOKS: [u32; 4] = [5, 11, 17, 23];
/// Days between two trust lists.
const LIST: i64 = 10;
/// Day on which a new trust anchor begins (27 May 2020).
const ANCHOR: i64 = 728;
/// Days between two batch signatures with the HBA.
const BATCH: i64 = 30;

/// What the walk says of signatures that were made and cannot be judged.
const UNDECIDED: &str = "VerifyDocument: INCONCLUSIVE";

/// The device's clock: the world's, unless it is wrong.
struct OwnClock {
    world: VirtualClock,
    /// Seconds that it is ahead.
    ahead: Arc<AtomicI64>,
}

impl Clock for OwnClock {
    fn now(&self) -> Timestamp {
        let shown = self.world.now().as_second() + self.ahead.load(Ordering::Relaxed);
        Timestamp::from_second(shown).unwrap_or_default()
    }

    fn elapsed(&self) -> Duration {
        self.world.elapsed()
    }

    fn sleep(&self, span: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.world.sleep(span)
    }
}

/// Ends the ticking with the life.
struct Ticking(tokio::task::JoinHandle<()>);

impl Drop for Ticking {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Life {
    world: World,
    clock: VirtualClock,
    own: Arc<OwnClock>,
    _ticking: Ticking,
    start: i64,
    fate: Fate,
    weather: Weather,
    /// Last day and fair days since publication, of each package; the first is the card.
    published: Vec<(i64, i64)>,
    /// How many steps of the extension have been told of.
    told: usize,
    fair_before: bool,
    report: Report,
}

/// Lives a life in this folder, which must be empty; `say` hears of every day.
pub async fn live_whole(folder: &Path, fate: &Fate, say: &dyn Fn(i64)) -> Result<Report> {
    ensure!(
        fate.card != Card::Rsa,
        "a card with RSA alone has had no way into the TI since 2026 (A_28504), and the whole instance begins then"
    );
    ensure!(
        fate.rule == Rule::Ours,
        "the whole instance lives by its own rules"
    );
    ensure!(
        fate.years <= LONGEST,
        "the test TI's roots last eight years: at most {LONGEST}"
    );
    let mut life = Life::begin(folder, fate).await?;
    for day in 1..i64::from(fate.years) * 365 {
        life.morning(day).await?;
        let mut today = None;
        for hour in LOOKS {
            life.look(day, hour)
                .await
                .with_context(|| format!("day {day}, {hour} o'clock"))?;
            if Some(&hour) == LOOKS.get(1) {
                today = Some(life.work(day).await.with_context(|| format!("day {day}"))?);
            }
        }
        life.judge(day, today.context("no work")?)?;
        say(day);
    }
    life.end()
}

impl Life {
    async fn begin(folder: &Path, fate: &Fate) -> Result<Self> {
        let clock = VirtualClock::at("2026-01-01T00:00:00Z".parse()?);
        let start = clock.now().as_second();
        let days = i64::from(fate.years) * 365;
        let options = Options {
            fixed_ports: false,
            rsa: fate.card == Card::Dual,
            settings: "smb_unlock = true".parse()?,
            gsmc_k_days: FIRST,
            ..Options::demo(folder.to_owned())
        };
        let ticking = Ticking(clock.tick());
        let mut world = World::start(&options, clock.shared()).await?;
        Walk::new(&world, &clock, true, &|_| ()).run().await?;
        let own = Arc::new(OwnClock {
            world: clock.clone(),
            ahead: Arc::default(),
        });
        world.power_cut(own.clone()).await?;
        let weather = match fate.faults {
            true => Weather::new(fate.seed, days),
            false => Weather::default(),
        };
        let life = Self {
            world,
            clock,
            own,
            _ticking: ticking,
            start,
            fate: *fate,
            weather,
            published: vec![(i64::from(FIRST), i64::MAX / 2)],
            told: 0,
            fair_before: true,
            report: Report {
                spans: vec![(0, i64::from(FIRST))],
                ..Report::default()
            },
        };
        life.store_pin(&SMC_B.parse()?).await?;
        Ok(life)
    }

    fn inner(&self) -> Result<Arc<Inner>> {
        Ok(self.world.konnektor()?.inner().clone())
    }

    fn at(&self, day: i64) -> Result<Timestamp> {
        Ok(Timestamp::from_second(self.start + day * DAY)?)
    }

    fn event(&mut self, day: i64, text: String) {
        self.report.events.push((day, text));
    }

    async fn store_pin(&self, iccsn: &Iccsn) -> Result<()> {
        let inner = self.inner()?;
        self.until("terminal connected", |inner| {
            inner.terminals().all().iter().all(|one| one.session.is_some())
        })
        .await?;
        failed(inner.store_smb_pin(iccsn, PIN.to_owned().into()).await)?;
        Ok(())
    }

    async fn until(&self, what: &str, condition: impl Fn(&Inner) -> bool) -> Result<()> {
        let inner = self.inner()?;
        let limit = Duration::from_secs(3600);
        self.world
            .wait_for(what, limit, &self.clock, async || condition(&inner))
            .await
    }

    /// What the world does before anybody looks.
    async fn morning(&mut self, day: i64) -> Result<()> {
        let weather = |trouble| self.weather.is(trouble, day);
        let down = weather(Trouble::Provider);
        let status = match (down || weather(Trouble::Status), day % 3) {
            (false, _) => None,
            (true, 0) => Some(OcspFault::Overloaded),
            (true, 1) => Some(OcspFault::BadSignature),
            (true, _) => Some(OcspFault::Down),
        };
        let registrar = match (weather(Trouble::Registrar), weather(Trouble::Forgetful), day % 2) {
            (true, _, 0) => Some(RegistrarFault::Refuses(Refusal::EntryFailed)),
            (true, ..) => Some(RegistrarFault::Down),
            (_, true, _) => Some(RegistrarFault::Forgets),
            _ => None,
        };
        let package = match down {
            true => Some(PackageFault::ServerError),
            false => self.weather.package(day),
        };
        let ahead = match self.weather.clock(day) {
            Some(Trouble::Past) => -self.clock.now().as_second(),
            Some(Trouble::Future) => 2_147_483_647 - self.clock.now().as_second(),
            Some(Trouble::Behind) => -5 * DAY,
            Some(Trouble::Ahead) => 20 * DAY,
            _ => 0,
        };
        let power = weather(Trouble::Power);
        self.world.ledger.set_fault(status);
        self.world.registrar.set_fault(registrar);
        self.world.tsp.set_fault(package);
        self.world.publisher.set_reachable(!down, true);
        self.own.ahead.store(ahead, Ordering::Relaxed);
        self.anchor(day)?;
        if day % LIST == 0 {
            self.world.publisher.publish()?;
            self.world.publisher.publish_vl()?;
        }
        self.world.publisher.publish_crl()?;
        let fair = self.weather.is_fair(day);
        for (_, days) in self.published.iter_mut().skip(1) {
            *days += i64::from(fair);
        }
        self.publish(day)?;
        if power {
            self.world.power_cut(self.own.clone()).await?;
        }
        let frozen = self.weather.is(Trouble::Frozen, day);
        if frozen != self.weather.is(Trouble::Frozen, day - 1) {
            failed(self.inner()?.lifetime_by_hand(ByHand::Freeze(frozen)).await)?;
        }
        self.institution(day).await
    }

    /// The trust anchor changes once, announced four weeks before.
    fn anchor(&self, day: i64) -> Result<()> {
        if day == ANCHOR - 28 {
            let next = self.world.pki.list_signer(2, self.at(day)?, self.at(8 * 365)?)?;
            self.world.ledger.add_issuer(&next.ca);
            self.world.ledger.register(&next.certificate);
            self.world.publisher.announce(next, self.at(ANCHOR)?);
            self.world.publisher.publish()?;
        }
        if day == ANCHOR {
            self.world.publisher.switch();
            self.world.publisher.publish()?;
        }
        Ok(())
    }

    /// The next package, somewhat before or after the search begins.
    fn publish(&mut self, day: i64) -> Result<()> {
        let newest = self.published.last().map_or(0, |(end, _)| *end);
        let lead = between(
            self.fate.seed,
            "package lead",
            self.published.len() as u64,
            120,
            240,
        );
        if newest - lead > day || newest >= i64::from(self.fate.years) * 365 {
            return Ok(());
        }
        let end = newest + LATER;
        self.world
            .reissue(&self.world.issuers(), self.at(day)?, u32::try_from(end - day)?)?;
        self.event(
            day,
            format!(
                "TSP veröffentlicht Paket {}, gilt bis Tag {end}",
                self.published.len()
            ),
        );
        self.report.spans.push((day, end));
        self.published.push((end, 0));
        Ok(())
    }

    /// SMC-Bs end; the practice puts the next one in some weeks before, and types its PIN once. While a window of
    /// [`Trouble::Closed`] lasts there is none in the terminal.
    async fn institution(&mut self, day: i64) -> Result<()> {
        let number = self.report.smbs.len() as u64;
        let lead = between(self.fate.seed, "smb lead", number, 10, 58);
        let closed = self.weather.is(Trouble::Closed, day);
        let inside = self.world.terminal.appearance();
        let inside = inside.slots.get(2).is_some_and(|slot| slot.is_some());
        let last = self.report.smbs.last().map(|(_, end)| *end);
        // the first one lay in the terminal from the beginning, and lasts as long as the test TI
        let due = match last {
            None => day >= between(self.fate.seed, "smb first", 0, 300, 900),
            Some(end) => end - lead <= day,
        };
        if due && !closed {
            let end = day + between(self.fate.seed, "smb life", number, 700, 1826);
            let iccsn: Iccsn = format!("802760099900000{:05}", 100 + number).parse()?;
            let name = format!("SMC-B {number}");
            let mut pki = self.world.pki.clone();
            pki.validity = (self.at(day - 1)?, self.at(end)?.min(pki.validity.1));
            let holder = Holder {
                name: "Praxis Dr. Spur TEST-ONLY".into(),
                telematik_id: "1-2SPUR0001".into(),
            };
            let system = cards::smcb(&pki, &iccsn, &holder, &cards::Options::default())?;
            self.world.ledger.register_card(&system);
            let card = VirtualCard::new(system, Box::new(NoMemory))?;
            let mut model = (*self.inner()?.model()).clone();
            for mandant in &mut model.mandants {
                mandant.smb.insert(iccsn.clone());
            }
            failed(self.inner()?.set_model(model))?;
            if inside {
                self.world.terminal.remove(3)?;
            }
            self.world.terminal.put(3, &name, Arc::new(Mutex::new(card)))?;
            let wanted = iccsn.to_string();
            let practice = self.world.practice.clone();
            let known = async || {
                let answer = practice
                    .call(Operation::GetCards {
                        card_type: Some("SMC-B"),
                    })
                    .await;
                answer.is_ok_and(|answer| answer.texts("Iccsn").contains(&wanted))
            };
            self.world
                .wait_for("SMC-B recognised", Duration::from_secs(3600), &self.clock, known)
                .await?;
            self.store_pin(&iccsn).await?;
            self.event(day, format!("{name} gesteckt, gilt bis Tag {end}"));
            self.report.smbs.push((day, end));
            return Ok(());
        }
        match (closed, inside) {
            (true, true) => self.world.terminal.remove(3)?,
            (false, false) => {
                let name = match number {
                    0 => "SMC-B Praxis".to_owned(),
                    last => format!("SMC-B {}", last - 1),
                };
                self.world.terminal.insert(3, &name)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// To this hour of a day, and everything done that is due then.
    async fn look(&mut self, day: i64, hour: u32) -> Result<()> {
        let wanted = Duration::from_secs(u64::try_from(day * DAY)? + u64::from(hour) * 3600);
        self.clock.advance(wanted.saturating_sub(self.clock.elapsed()));
        let moment = self.own.now().as_second();
        self.inner()?.look_now();
        let looked = |inner: &Inner| {
            let view = inner.lifetime_view();
            let at = view.get("looked_at").and_then(|at| at.as_str());
            let at = at.and_then(|at| at.parse::<Timestamp>().ok());
            at.is_some_and(|at| (0..7200).contains(&(at.as_second() - moment)))
        };
        self.until("looked after", looked).await
    }

    /// The practice works: which of it succeeds?
    async fn work(&mut self, day: i64) -> Result<[bool; 3]> {
        let shown = self.shown().await?;
        let mut last = String::new();
        let patience = match self.is_expected(day) {
            true => 600,
            false => 5,
        };
        let mut reading = false;
        for attempt in 0..patience {
            match self.read_and_sign().await {
                Ok(()) => {
                    reading = true;
                    break;
                }
                Err(error) => last = format!("{error:#}"),
            }
            // a terminal that comes back waits up to half a minute between tries
            let connected = self
                .inner()?
                .terminals()
                .all()
                .iter()
                .any(|one| one.session.is_some());
            let times = match attempt {
                _ if !connected && attempt % 12 == 0 => 3000,
                0..20 => 5,
                _ => 100,
            };
            self.clock.pass(Duration::from_millis(10), times).await;
        }
        if !reading && self.is_expected(day) {
            self.event(day, last);
        }
        let batch = day % BATCH != 0 || !reading || self.sign_batch(day).await;
        Ok([shown, reading, batch])
    }

    /// Are cards expected to work?
    fn is_expected(&self, day: i64) -> bool {
        let hindered = [Trouble::Closed, Trouble::Past, Trouble::Future];
        !hindered.into_iter().any(|trouble| self.weather.is(trouble, day))
    }

    /// Can a status be judged? Services must answer, and a clock that is days off finds their answers too old or too young.
    fn is_status_known(&self, day: i64) -> bool {
        let hindered = [Trouble::Provider, Trouble::Status];
        self.weather.clock(day).is_none()
            && !hindered.into_iter().any(|trouble| self.weather.is(trouble, day))
    }

    /// Do practice systems see a certificate that is valid today? They are strict here.
    async fn shown(&self) -> Result<bool> {
        let (seen, now) = (Arc::new(Mutex::new(false)), self.clock.now().as_second());
        let keep = seen.clone();
        let judge: crypto::tls::Judge = Arc::new(move |chain, _| {
            let der = chain.first().ok_or("no certificate")?;
            let certificate = X509::parse(der).map_err(|error| error.to_string())?;
            if let Ok(mut seen) = keep.lock() {
                *seen = certificate.is_valid_at(now);
            }
            Ok(())
        });
        let practice = &self.world.practice;
        practice::connect(self.world.addresses.konnektor, practice.identity(), judge).await?;
        let seen = seen.lock().map(|seen| *seen);
        Ok(seen.unwrap_or_default())
    }

    async fn read_and_sign(&self) -> Result<()> {
        let practice = &self.world.practice;
        let walk = Walk::new(&self.world, &self.clock, true, &|_| ());
        let (ehc, hpc) = (walk.handle("EGK").await?, walk.handle("SMC-B").await?);
        let read = Operation::ReadVsd {
            ehc: &ehc,
            hpc: &hpc,
            online: false,
            receipt: false,
        };
        good(practice.call(read).await?)?;
        let job = good(
            practice
                .call(Operation::GetJobNumber { user: "Anmeldung" })
                .await?,
        )?;
        let job = job.text("JobNumber").context("JobNumber")?;
        let sign = Operation::SignText {
            user: "Anmeldung",
            handle: &hpc,
            job: &job,
            texts: &["Heute ist geöffnet."],
        };
        let answer = good(practice.call(sign).await?)?;
        ensure!(answer.text("Base64Signature").is_some(), "{}", answer.body);
        Ok(())
    }

    /// A doctor whom it fails tries again, twice at most; every failure is told.
    async fn sign_batch(&mut self, day: i64) -> bool {
        for _ in 0..3 {
            match self.batch().await {
                Ok(()) => return true,
                // signed, but nobody can say whether a certificate was revoked: that is the right answer on such a day
                Err(error) if !self.is_status_known(day) && error.to_string() == UNDECIDED => return true,
                Err(error) => self.event(day, format!("Stapelsignatur: {error:#}")),
            }
            self.clock.pass(Duration::from_millis(10), 100).await;
        }
        false
    }

    /// Two documents with one PIN: the HBA believes the CV certificates of the gSMC-K, or refuses.
    async fn batch(&self) -> Result<()> {
        let walk = Walk::new(&self.world, &self.clock, true, &|_| ());
        walk.sign(&["Erster Befund.", "Zweiter Befund."]).await?;
        Ok(())
    }

    /// Could the tunnel be built? With which generation?
    fn tunnel(&self) -> Result<Option<u32>> {
        let view = self.inner()?.lifetime_view();
        let Some(number) = view.get("tunnel").and_then(|number| number.as_u64()) else {
            return Ok(None);
        };
        let certificates = view.pointer(&format!("/generations/{number}/certificates"));
        let serial = certificates.and_then(|all| all.as_array()).and_then(|all| {
            let mut all = all.iter();
            let nk =
                all.find(|one| one.get("kind").and_then(|kind| kind.as_str()) == Some("C.NK.VPN_ECC"))?;
            nk.get("serial")?.as_str().map(str::to_owned)
        });
        let now = self.clock.now().as_second();
        let admitted = self.world.registrar.entries().iter().any(|entry| {
            entry.hold.is_none()
                && entry.certificate.is_valid_at(now)
                && Some(hex::encode(entry.certificate.serial())) == serial
        });
        Ok(admitted.then_some(u32::try_from(number)?))
    }

    fn judge(&mut self, day: i64, [shown, reading, batch]: [bool; 3]) -> Result<()> {
        let light = |works: bool, expected: bool| match (works, expected) {
            (true, _) => Light::Good,
            (false, false) => Light::Excused,
            (false, true) => Light::Dark,
        };
        let inner = self.inner()?;
        let generation = self.tunnel()?;
        let fair = self.weather.is_fair(day);
        let valid = self
            .published
            .iter()
            .any(|(end, fair)| *fair >= ENOUGH && *end > day);
        let provider = !self.weather.is(Trouble::Provider, day);
        let settled = day > ENOUGH;
        let expected = self.is_expected(day);
        let wrong = self.weather.is(Trouble::Past, day) || self.weather.is(Trouble::Future, day);
        let all = inner.lifetime_steps();
        for step in all.get(self.told..).unwrap_or_default() {
            self.report.extensions += u32::from(matches!(step.change, Change::Activated { .. }));
            self.report.events.push((day, super::life::told(&step.change)));
        }
        let new = all.get(self.told..).unwrap_or_default();
        let by_itself = new.iter().any(|step| step.actor == Actor::Device);
        self.told = all.len();
        if wrong && by_itself {
            self.report
                .violations
                .push((day, "eine falsche Uhr verändert etwas".into()));
        }
        let today = Day {
            tunnel: light(provider && generation.is_some(), provider && settled && valid),
            reading: light(reading, expected),
            batch: light(batch, expected && valid),
            clients: light(shown, valid),
            generation,
            trouble: !fair,
        };
        for (name, light) in today.lights() {
            if light == Light::Dark {
                // what was said of it today
                let mut told = self.report.events.iter().rev();
                let last = told.find(|(when, _)| *when == day).map(|(_, text)| text.as_str());
                let text = format!("{name} geht nicht ({})", last.unwrap_or("nichts gesagt"));
                self.report.violations.push((day, text));
            }
        }
        // what a bad day has caused is over on the evening of the next good one
        if fair && self.fair_before {
            for (condition, value, _) in inner.conditions() {
                let about = condition.describe();
                if value && about.severity == base::Severity::Fatal {
                    self.report
                        .violations
                        .push((day, format!("{} gesetzt", about.name)));
                }
            }
        }
        self.fair_before = fair;
        self.report.days.push(today);
        let asked = self.world.registrar.asked();
        let ended = asked
            .iter()
            .filter(|one| **one == soap::provisioning::Operation::Deregister);
        self.report.deregistrations = u32::try_from(ended.count())?;
        Ok(())
    }

    fn end(mut self) -> Result<Report> {
        let last = self.report.days.len() as i64;
        let inner = self.inner()?;
        let newest = self.published.len().saturating_sub(1);
        let view = inner.lifetime_view();
        let stage = view.pointer(&format!("/generations/{newest}/families/0/stage"));
        let active = stage.and_then(|stage| stage.as_str()) == Some("active");
        let (_, fair) = self.published.last().copied().context("no package")?;
        let before = newest
            .checked_sub(1)
            .and_then(|number| self.published.get(number));
        let over = before.is_some_and(|(end, _)| *end < last + 30);
        if fair >= 90 && over && !active {
            self.report
                .violations
                .push((last, "die letzte Verlängerung ist steckengeblieben".into()));
        }
        let expired = inner.conditions();
        let expired = expired
            .iter()
            .any(|(condition, value, _)| *value && *condition == Condition::NkCertificateExpired);
        ensure!(
            !expired || !self.report.violations.is_empty(),
            "expired, and nobody noticed"
        );
        Ok(self.report)
    }
}
