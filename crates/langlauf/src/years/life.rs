//! One life, day by day.

use super::weather::{Trouble, Weather};
use super::{Card, Fate, Material, Rule, between};
use anyhow::{Context, Result, ensure};
use asn1::X509;
use base::Timestamp;
use identity::clock::{self, Evidence};
use identity::plan::{self, Attempts, Facts, Order};
use identity::select;
use identity::{
    Actor, Algorithm, Book, Change, DAY, Device, Family, Generation, HeldCvc, Kind, Outcome, Package, Probe,
    Role, Signer, Source, Stage, Step,
};
use pki::space::{Note, Record};
use pki::tsl::Tsl;
use pki::{How, Responders, Space, Trust};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use testti::registrar;
use testti::tsp::Tsp;

/// Days that a card's first certificates last, and later ones.
const FIRST: i64 = 1826;
const LATER: i64 = 1095;
/// Fair days after which a new package must be in use where it is needed.
const ENOUGH: i64 = 8;
/// Looks a day; the product looks every hour.
const LOOKS: i64 = 4;
/// From this day on the rule of 1 January 2025 wants young firmware.
const HIDDEN: i64 = 2000;
/// How long a trust list serves after its end.
const GRACE: Duration = Duration::from_secs(30 * 86_400);
/// Of so many packages one is revoked before it is used.
const REVOKED: u64 = 8;
/// A change of certificates and one of the firmware are so far apart, unless the end is near (I10).
const APART: i64 = 7;

/// Does something work on a day?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Light {
    /// Yes.
    Good,
    /// No, and the specification does not expect it to.
    Excused,
    /// No, and it should.
    Dark,
}

/// A day.
#[derive(Debug, Clone, Copy)]
pub struct Day {
    /// The tunnel.
    pub tunnel: Light,
    /// Every terminal, and so reading of eGKs.
    pub reading: Light,
    /// Batch signatures.
    pub batch: Light,
    /// Practice systems see a valid certificate.
    pub clients: Light,
    /// Generation of the tunnel's certificate.
    pub generation: Option<u32>,
    /// Is there trouble?
    pub trouble: bool,
}

impl Day {
    /// Each thing by its name.
    pub fn lights(&self) -> [(&'static str, Light); 4] {
        [
            ("Tunnel", self.tunnel),
            ("Lesen von Karten", self.reading),
            ("Stapelsignatur", self.batch),
            ("Praxissoftware", self.clients),
        ]
    }
}

/// What a life was like.
#[derive(Debug, Default)]
pub struct Report {
    /// Every day.
    pub days: Vec<Day>,
    /// What happened: day and text.
    pub events: Vec<(i64, String)>,
    /// What should not have happened.
    pub violations: Vec<(i64, String)>,
    /// How often new certificates came into use.
    pub extensions: u32,
    /// How often somebody deregistered.
    pub deregistrations: u32,
    /// First and last day of every generation of C.NK.VPN.
    pub spans: Vec<(i64, i64)>,
    /// First day and last day of each SMC-B.
    pub smbs: Vec<(i64, i64)>,
}

struct Terminal {
    name: &'static str,
    has_clock: bool,
    /// Is its firmware ever updated?
    stale: bool,
    cas: Vec<String>,
}

struct Life<'m> {
    material: &'m Material,
    fate: &'m Fate,
    iccsn: String,
    weather: Weather,
    card: Generation,
    book: Book,
    steps: Vec<Step>,
    attempts: Attempts,
    device: Device,
    tsp: Tsp,
    access: registrar::Book,
    /// First day, last day, certificate.
    smbs: Vec<(i64, i64, X509)>,
    terminals: Vec<Terminal>,
    /// The HBA's clock: the latest begin of a CV certificate it has accepted, Unix seconds.
    hba: i64,
    /// Packages by day of publication, with fair days since.
    published: Vec<(i64, Generation, i64)>,
    /// Serial numbers of certificates that were revoked before anybody used them.
    revoked: BTreeSet<String>,
    /// Package that is going to be revoked, and the day.
    doomed: Option<(u32, i64)>,
    /// Fair days since the present SMC-B came.
    smb_fair: i64,
    firmware: i64,
    space: Space,
    trust: Option<Trust>,
    responders: Arc<Responders>,
    /// What the clock showed when it was believed last, Unix seconds.
    seen: i64,
    /// The real moment of that, Unix seconds, unless it was switched off since.
    seen_at: Option<i64>,
    report: Report,
}

/// Lives a life.
pub fn live(material: &Material, fate: &Fate) -> Result<Report> {
    let mut life = Life::begin(material, fate)?;
    for day in 0..i64::from(fate.years) * 365 {
        life.morning(day)?;
        for look in 0..LOOKS {
            life.look(day, look)?;
        }
        life.judge(day)?;
    }
    life.end()
}

impl<'m> Life<'m> {
    fn begin(material: &'m Material, fate: &'m Fate) -> Result<Self> {
        let days = i64::from(fate.years) * 365;
        let iccsn = format!("80276009{:012}", fate.seed);
        let package = material.card(fate.card, &iccsn, FIRST, fate.seed)?;
        let card = Generation::read(0, &package, Source::Card)?;
        let tsp = Tsp::default();
        tsp.add(&iccsn, package, &["konnektor.konlan"], &[]);
        let weather = match fate.faults {
            true => Weather::new(fate.seed, days),
            false => Weather::default(),
        };
        let names = material.era(0)?.names.clone();
        let terminal = |name, has_clock, stale| Terminal {
            name,
            has_clock,
            stale,
            cas: names.clone(),
        };
        Ok(Self {
            material,
            fate,
            weather,
            book: Book::new(card.clone()),
            steps: Vec::new(),
            attempts: Attempts::default(),
            device: Device {
                iccsn: iccsn.clone(),
                keys: material.keys.clone(),
            },
            tsp,
            access: registrar::Book::default(),
            smbs: Vec::new(),
            terminals: vec![
                terminal("KT1", false, false),
                terminal("KT2", true, false),
                terminal("KT3", false, true),
            ],
            hba: i64::MIN,
            published: vec![(0, card.clone(), i64::MAX / 2)],
            revoked: BTreeSet::new(),
            doomed: None,
            smb_fair: 0,
            firmware: -100,
            space: Space::open(Record::default(), material.origin.clone(), GRACE).0,
            trust: None,
            responders: Arc::new(Responders::new(pki::Settings::default())),
            seen: i64::MIN,
            seen_at: None,
            report: Report {
                spans: vec![(0, FIRST)],
                ..Report::default()
            },
            iccsn,
            card,
        })
    }

    fn seconds(&self, day: i64) -> i64 {
        self.material.start + day * DAY
    }

    fn event(&mut self, day: i64, text: String) {
        self.report.events.push((day, text));
    }

    /// What the world does before anybody looks.
    fn morning(&mut self, day: i64) -> Result<()> {
        let seed = self.fate.seed;
        let now = self.seconds(day);
        // practices order a new SMC-B in time; it lies in the terminal beside the old one
        let last = self.smbs.last().map(|(_, end, _)| *end);
        let lead = between(seed, "smb lead", self.smbs.len() as u64, 10, 58);
        if last.is_none_or(|end| end - lead <= day) {
            let end = day + between(seed, "smb life", self.smbs.len() as u64, 700, 1826);
            self.smbs.push((day, end, self.material.smb(day - 1, end)?));
            self.report.smbs.push((day, end));
            self.smb_fair = 0;
            self.event(
                day,
                format!("SMC-B {} gesteckt, gilt bis Tag {end}", self.smbs.len()),
            );
        }
        let fair = self.weather.is_fair(day);
        self.smb_fair += i64::from(fair);
        for (_, _, days) in self.published.iter_mut().skip(1) {
            *days += i64::from(fair);
        }
        // the next package, somewhat before or after the search begins
        let newest_end = self.report.spans.last().map_or(0, |(_, end)| *end);
        let lead = between(seed, "package lead", self.published.len() as u64, 120, 240);
        let withdrawn = self.doomed.is_some_and(|(number, at)| {
            number + 1 == u32::try_from(self.published.len()).unwrap_or_default() && at < day
        });
        let wanted = newest_end - lead <= day && newest_end < i64::from(self.fate.years) * 365;
        if wanted || withdrawn {
            let era = self.material.era(day)?;
            let end = match withdrawn {
                true => newest_end,
                false => newest_end + LATER,
            };
            let package = self.tsp.reissue(
                &self.iccsn,
                &era.issuers,
                self.material.at((day - 1) * DAY)?,
                self.material.at(end * DAY)?,
            )?;
            let number = u32::try_from(self.published.len())?;
            let generation = Generation::read(number, &package, Source::Download)?;
            self.published.push((day, generation, 0));
            self.report.spans.push((day, end));
            let draw = super::draw(seed, "revoked", u64::from(number));
            if self.fate.faults && !withdrawn && draw.is_multiple_of(REVOKED) {
                self.doomed = Some((number, day + between(seed, "revoked", u64::from(number), 0, 20)));
            }
            self.event(
                day,
                format!("TSP veröffentlicht Paket {number}, gilt bis Tag {end}"),
            );
        }
        self.revoke(day);
        self.take_list(day)?;
        self.by_hand(day)?;
        if between(seed, "firmware", day.unsigned_abs(), 1, 120) == 1 {
            self.firmware = day;
        }
        // terminals learn of new CAs with their firmware
        if day % 400 == 399 {
            let names = self.material.era(day)?.names.clone();
            for terminal in self.terminals.iter_mut().filter(|terminal| !terminal.stale) {
                terminal.cas.extend(names.iter().cloned());
            }
        }
        // the HBA meets younger certificates elsewhere
        if between(seed, "elsewhere", day.unsigned_abs(), 1, 300) == 1 {
            let begin = now - between(seed, "elsewhere begin", day.unsigned_abs(), 0, 700) * DAY;
            self.hba = self.hba.max(begin);
        }
        let revoked = self.revoked.clone();
        self.access.daily(now, |certificate| {
            revoked.contains(&hex::encode(certificate.serial()))
        });
        if self.weather.is(Trouble::Power, day) {
            self.seen_at = None;
            let mut book = Book::new(self.card.clone());
            for step in &self.steps {
                let text = serde_json::to_string(step)?;
                book.apply(&serde_json::from_str(&text)?)?;
            }
            ensure!(
                book == self.book,
                "day {day}: the book is another one after a restart"
            );
            self.attempts = Attempts::default();
        }
        Ok(())
    }

    /// Certificates are revoked that nobody uses yet; all of a card in use would be the end of the card (A_21771).
    fn revoke(&mut self, day: i64) {
        let Some((number, at)) = self.doomed else { return };
        if at != day {
            return;
        }
        let package = usize::try_from(number)
            .ok()
            .and_then(|number| self.published.get(number));
        let serials: Vec<String> = package
            .into_iter()
            .flat_map(|(_, generation, _)| generation.certificates.values())
            .map(|held| held.serial.clone())
            .collect();
        let known = self.book.generations.iter().find(|one| {
            let mut all = one.certificates.values();
            all.any(|held| serials.contains(&held.serial))
        });
        let used = known.is_some_and(|one| {
            one.families().iter().any(|family| {
                matches!(
                    self.book.stage(one.number, *family),
                    Some(Stage::Active | Stage::Superseded)
                )
            })
        });
        match used {
            true => self.doomed = None,
            false => {
                self.revoked.extend(serials);
                self.event(day, format!("TSP sperrt Paket {number}"));
            }
        }
    }

    /// The newest trust list, if it can be had.
    fn take_list(&mut self, day: i64) -> Result<()> {
        let newest = self.material.lists.iter().rev().find(|(from, _)| *from <= day);
        let (from, xml) = newest.context("no trust list")?;
        let reachable = day == 0 || !self.weather.is(Trouble::Provider, day);
        let had = self.space.list().map(|list| list.issued.as_second());
        if !reachable
            || had >= Some(self.seconds(*from))
            || clock::doubt(
                self.shown(self.seconds(day), day),
                self.evidence(self.seconds(day), day),
            )
            .is_some()
        {
            return Ok(());
        }
        let now = Timestamp::from_second(self.shown(self.seconds(day), day))?;
        // May 2020: nobody had looked at what lists announce
        if self.fate.rule == Rule::OneAnchor {
            if let Ok(signed) = Tsl::verify(xml, &[&self.material.origin.anchor], now) {
                self.trust = Some(Trust::new(Arc::new(signed.list), GRACE, self.responders.clone()));
            }
            return Ok(());
        }
        match self.space.offer_list(xml, How::Automatic, now) {
            Ok(offer) => {
                for note in &offer.notes {
                    if let Note::Activated(subject) = note {
                        self.report
                            .events
                            .push((day, format!("neuer Vertrauensanker {subject}")));
                    }
                }
                self.space = offer.space;
                let list = self.space.list().context("a list was taken")?.clone();
                self.trust = Some(Trust::new(list, GRACE, self.responders.clone()));
            }
            // a clock that is off by days can make a list look too young
            Err(error) if self.weather.clock(day).is_none() => {
                self.report
                    .violations
                    .push((day, format!("Liste nicht angenommen: {error}")));
            }
            Err(_) => {}
        }
        Ok(())
    }

    /// What administrators do now and then, not always wisely.
    fn by_hand(&mut self, day: i64) -> Result<()> {
        if !self.fate.faults {
            return Ok(());
        }
        let number = day.unsigned_abs();
        let frozen = self.weather.is(Trouble::Frozen, day);
        let mut wanted = Vec::new();
        if frozen != self.book.frozen {
            wanted.push(Change::Frozen { on: frozen });
        }
        let some = between(self.fate.seed, "some generation", number, 0, 3);
        let some = u32::try_from(some)?;
        if between(self.fate.seed, "clients", number, 1, 150) == 1 {
            let generation = (some < 3).then_some(some);
            wanted.push(Change::AkChosen { generation });
        }
        // a step back to what is still good, or forward again before its day
        if between(self.fate.seed, "step back", number, 1, 400) == 1 {
            for family in self.book.families() {
                let held = self.held(some, Role::NkVpn, family);
                let valid = held.is_some_and(|(_, der)| {
                    X509::parse(&der).is_ok_and(|one| one.is_valid_at(self.seconds(day)))
                });
                if valid {
                    wanted.push(Change::Activated {
                        generation: some,
                        family,
                    });
                }
            }
        }
        for change in wanted {
            let step = Step {
                at: self.material.at(day * DAY)?,
                actor: Actor::Administrator,
                change,
            };
            // what the state does not allow is refused, and that is all
            let mut after = self.book.clone();
            if after.apply(&step).is_ok() {
                self.book = after;
                self.event(day, format!("von Hand: {}", told(&step.change)));
                self.steps.push(step);
            }
        }
        Ok(())
    }

    /// What the device's clock shows when it is `real`.
    fn shown(&self, real: i64, day: i64) -> i64 {
        let weeks = |most| between(self.fate.seed, "clock", day.div_euclid(8).unsigned_abs(), 1, most) * DAY;
        match self.weather.clock(day) {
            Some(Trouble::Past) => 0,
            Some(Trouble::Future) => 2_147_483_647,
            Some(Trouble::Behind) => real - weeks(11),
            Some(Trouble::Ahead) => real + weeks(44),
            _ => real,
        }
    }

    fn evidence(&self, real: i64, day: i64) -> Evidence {
        Evidence {
            floor: self.space.list().map_or(i64::MIN, |list| list.issued.as_second()),
            confirmed: None,
            served: self.served(real, day),
            counted: self.seen_at.map(|at| self.seen.saturating_add(real - at)),
        }
    }

    /// What the time servers say: every second life has some.
    fn served(&self, real: i64, day: i64) -> Option<i64> {
        let weeks = between(
            self.fate.seed,
            "time servers",
            day.div_euclid(8).unsigned_abs(),
            0,
            120,
        ) - 60;
        match self.weather.is(Trouble::TimeServers, day) {
            _ if self.fate.seed.is_multiple_of(2) || self.weather.is(Trouble::Provider, day) => None,
            true => Some(real + weeks * DAY),
            false => Some(real),
        }
    }

    /// The moment by which the device chooses.
    fn believed(&self, real: i64, day: i64) -> i64 {
        let (shown, evidence) = (self.shown(real, day), self.evidence(real, day));
        match clock::doubt(shown, evidence) {
            None => shown,
            Some(_) => evidence.floor.max(evidence.counted.unwrap_or(self.seen)),
        }
    }

    /// Is one of a generation's certificates revoked?
    fn is_revoked(&self, generation: u32) -> bool {
        let one = self.book.generation(generation);
        one.is_some_and(|one| {
            let mut all = one.certificates.values();
            all.any(|held| self.revoked.contains(&held.serial))
        })
    }

    /// What is revoked is never used, or if it is used already only for want of anything else.
    fn quarantine(&self, generation: u32) -> Option<Change> {
        (!self.book.quarantine.contains_key(&generation)).then(|| Change::Quarantined {
            generation,
            reason: "gesperrt".into(),
        })
    }

    /// Is there a trust list, in its grace period at least?
    fn trusts(&self, real: i64) -> bool {
        let end = self
            .trust
            .as_ref()
            .map(|trust| trust.list().next_update.as_second());
        end.is_some_and(|end| real <= end + i64::try_from(GRACE.as_secs()).unwrap_or_default())
    }

    fn smb(&self, day: i64) -> Option<&(i64, i64, X509)> {
        let closed = self.weather.is(Trouble::Closed, day);
        let valid = self.smbs.iter().filter(|(_, end, _)| *end > day);
        valid.max_by_key(|(_, end, _)| *end).filter(|_| !closed)
    }

    fn signer(&self, day: i64) -> Option<Signer> {
        let (begin, _, certificate) = self.smb(day)?;
        Some(Signer {
            iccsn: format!("smb {begin}"),
            serial: hex::encode(certificate.serial()),
            end: certificate.validity().1,
        })
    }

    fn look(&mut self, day: i64, look: i64) -> Result<()> {
        // late enough in each quarter of the day that its moment is past
        let real = self.seconds(day) + look * DAY / LOOKS + 5 * 3600;
        let shown = self.shown(real, day);
        let doubt = clock::doubt(shown, self.evidence(real, day)).is_some();
        let expected = match self.weather.clock(day) {
            None if self.weather.is(Trouble::TimeServers, day) => None,
            None => Some(false),
            Some(Trouble::Past | Trouble::Future) => Some(true),
            // that depends on the age of the trust list
            Some(_) => None,
        };
        if !doubt {
            (self.seen, self.seen_at) = (shown, Some(real));
        }
        if expected.is_some_and(|expected| expected != doubt) && self.fate.rule != Rule::OneAnchor {
            self.report.violations.push((
                day,
                "eine falsche Uhr wird geglaubt, oder eine richtige nicht".into(),
            ));
        }
        let facts = Facts {
            now: Timestamp::from_second(shown)?,
            tunnel: !self.weather.is(Trouble::Provider, day) && self.tunnel_generation(day).is_some(),
            registrar: true,
            signer: self.signer(day),
            doubt,
            firmware: Some(self.material.at(self.firmware * DAY)?),
        };
        let before = self.steps.len();
        for _ in 0..12 {
            if let Some(change) = plan::change(&self.book, &self.iccsn, &facts) {
                self.step(day, facts.now, change)?;
                continue;
            }
            let order = plan::next(&self.book, &self.iccsn, &self.attempts, &facts);
            let Some(order) = order else { break };
            self.attempts.note(order, facts.now);
            if let Some(change) = self.carry_out(day, order, &facts)? {
                self.step(day, facts.now, change)?;
            }
        }
        if doubt && self.steps.len() != before {
            self.report
                .violations
                .push((day, "eine falsche Uhr verändert etwas".into()));
        }
        Ok(())
    }

    fn step(&mut self, day: i64, at: Timestamp, change: Change) -> Result<()> {
        let step = Step {
            at,
            actor: Actor::Device,
            change,
        };
        if let Change::Activated { .. } = &step.change {
            let near = plan::end_of_used(&self.book) - at.as_second() <= 2 * APART * DAY;
            if day - self.firmware < APART && self.shown(0, day) == 0 && !near {
                self.report
                    .violations
                    .push((day, "Zertifikate und Firmware in einer Woche gewechselt".into()));
            }
        }
        self.book
            .apply(&step)
            .with_context(|| format!("day {day}: {:?}", step.change))?;
        self.report.extensions += u32::from(matches!(step.change, Change::Activated { .. }));
        let text = told(&step.change);
        self.event(day, text);
        self.steps.push(step);
        Ok(())
    }

    fn held(&self, generation: u32, role: Role, family: Family) -> Option<(Kind, Vec<u8>)> {
        let one = self.book.generation(generation)?;
        let mut all = one.certificates.iter();
        all.find(|(kind, _)| kind.role == role && kind.algorithm.family() == family)
            .map(|(kind, held)| (*kind, held.der.clone()))
    }

    fn carry_out(&mut self, day: i64, order: Order, facts: &Facts) -> Result<Option<Change>> {
        match order {
            Order::Fetch => {
                self.tsp.set_fault(self.weather.package(day));
                let Ok(bytes) = self.tsp.download(&self.iccsn, &self.material.pki) else {
                    return Ok(None);
                };
                let Ok(package) = Package::read(&bytes, &self.iccsn) else {
                    return Ok(None);
                };
                let Some(trust) = &self.trust else {
                    return Ok(None);
                };
                let judged = identity::verify(
                    &package,
                    &self.book,
                    &self.device,
                    trust,
                    facts.now,
                    Source::Download,
                );
                Ok(judged
                    .ok()
                    .and_then(|(generation, _)| generation.map(Change::Fetched)))
            }
            Order::Verify { generation } => Ok(match self.weather.is(Trouble::Status, day) {
                true => None,
                false if self.is_revoked(generation) => self.quarantine(generation),
                false => Some(Change::Verified { generation }),
            }),
            Order::Register { generation, family } => {
                let again = self.book.registration(generation, family).is_some();
                // a clock that differs is refused (7061), a revoked certificate, too (7021)
                let refused = self.shown(0, day) != 0 || self.is_revoked(generation);
                let down = self.weather.is(Trouble::Registrar, day);
                // who is refused looks why
                if self.is_revoked(generation) && !down && !self.weather.is(Trouble::Status, day) {
                    return Ok(self.quarantine(generation));
                }
                if down || refused || (self.fate.rule == Rule::SameSigner && again) {
                    return Ok(None);
                }
                let (Some((_, der)), Some((_, _, signer))) =
                    (self.held(generation, Role::NkVpn, family), self.smb(day))
                else {
                    return Ok(None);
                };
                if !self.weather.is(Trouble::Forgetful, day) {
                    let signer = signer.clone();
                    self.access.enter(X509::parse(&der)?, signer, facts.now);
                }
                Ok(facts.signer.clone().map(|signer| Change::Registered {
                    generation,
                    family,
                    signer,
                }))
            }
            Order::AskForSigner { .. } => Ok(None),
            Order::Status { generation, family } => {
                if self.weather.is(Trouble::Registrar, day) || self.fate.rule == Rule::SameSigner {
                    return Ok(None);
                }
                let der = self.held(generation, Role::NkVpn, family).map(|(_, der)| der);
                let ours = self.book.registered_at(generation, family).unwrap_or_default();
                let entry = der.and_then(|der| self.access.find(&der));
                let known = entry.is_some_and(|entry| {
                    entry.hold.is_none() && entry.since.as_second() + plan::SKEW >= ours
                });
                Ok((!known).then_some(Change::Unregistered { generation, family }))
            }
            Order::Probe { generation, .. }
                if self.is_revoked(generation) && !self.weather.is(Trouble::Status, day) =>
            {
                Ok(self.quarantine(generation))
            }
            Order::Probe { generation, family } => {
                let probes = self.probe(day, generation, family);
                // what terminals say is a step of its own
                let takes: Vec<&'static str> = self
                    .terminals
                    .iter()
                    .filter(|terminal| self.accepts(terminal, generation, family, day))
                    .map(|terminal| terminal.name)
                    .collect();
                for terminal in takes {
                    let change = Change::Terminal {
                        terminal: terminal.to_owned(),
                        generation,
                    };
                    if self.book.terminals.get(terminal) != Some(&generation) {
                        self.step(day, facts.now, change)?;
                    }
                }
                Ok(Some(Change::Probed {
                    generation,
                    family,
                    probes,
                }))
            }
        }
    }

    fn probe(&self, day: i64, generation: u32, family: Family) -> Vec<Probe> {
        let probe = |name: &str, good: bool, why: &str| Probe {
            name: name.into(),
            outcome: match good {
                true => Outcome::Good,
                false => Outcome::Failed(why.into()),
            },
        };
        let nk = self.held(generation, Role::NkVpn, family);
        let proven = nk
            .as_ref()
            .is_some_and(|(kind, der)| self.device.proves(*kind, der));
        let answers = !self.weather.is(Trouble::Registrar, day);
        let admitted = nk.is_some_and(|(_, der)| self.access.admits(&der, self.seconds(day)));
        vec![
            probe("key", proven, "anderer Schlüssel"),
            probe("status", !self.weather.is(Trouble::Status, day), "keine Antwort"),
            probe("registration", answers && admitted, "nicht registriert"),
            probe(
                "tunnel",
                admitted && !self.weather.is(Trouble::Provider, day),
                "kein Tunnel",
            ),
        ]
    }

    fn accepts(&self, terminal: &Terminal, generation: u32, family: Family, day: i64) -> bool {
        let one = self.book.generation(generation);
        let held = one.and_then(|one| {
            let mut all = one.certificates.iter();
            all.find(|(kind, _)| kind.role == Role::SakAut && kind.algorithm.family() == family)
                .map(|(_, held)| held)
        });
        held.is_some_and(|held| {
            terminal.cas.contains(&held.issuer) && (!terminal.has_clock || held.is_valid(self.seconds(day)))
        })
    }

    /// The generation with which a tunnel can be built today.
    fn tunnel_generation(&self, day: i64) -> Option<u32> {
        let now = self.seconds(day);
        let admitted = |choice: &select::Choice<'_>| self.access.admits(&choice.held.der, now);
        let ours = select::tunnel(&self.book, self.believed(now, day));
        if !self.trusts(now) {
            return None;
        }
        let choice = match self.fate.rule {
            Rule::Ours | Rule::SameSigner | Rule::OneAnchor => ours.into_iter().find(admitted),
            Rule::AtOnce => {
                // whatever came last is used from the moment it is there
                let newest = self.book.generations.last()?.number;
                let (_, der) = self.held(newest, Role::NkVpn, *self.book.families().first()?)?;
                return self.access.admits(&der, now).then_some(newest);
            }
            Rule::LatestFlag => {
                let end = plan::end_of_used(&self.book);
                let searching = end - now <= plan::BEGIN * DAY;
                let used = self.book.active(*self.book.families().first()?)?;
                let newer = self.book.newest().is_some_and(|one| one.number > used);
                let dropped = searching && !newer && used > 0;
                ours.into_iter()
                    .find(|choice| admitted(choice) && !(dropped && choice.generation > 0))
            }
            Rule::HiddenDate => {
                let refused = day >= HIDDEN && day - self.firmware > 30;
                ours.into_iter().find(|choice| admitted(choice) && !refused)
            }
        };
        choice.map(|choice| choice.generation)
    }

    /// Generations that are, or by now must be, at hand.
    fn due(&self) -> impl Iterator<Item = &Generation> {
        let due = self.published.iter().filter(|(_, _, fair)| *fair >= ENOUGH);
        let good = |one: &&Generation| {
            let mut all = one.certificates.values();
            !all.any(|held| self.revoked.contains(&held.serial))
        };
        due.map(|(_, generation, _)| generation).filter(good)
    }

    fn judge(&mut self, day: i64) -> Result<()> {
        let now = self.seconds(day);
        let believed = self.believed(now, day);
        let trusts = self.trusts(now);
        let light = |works: bool, expected: bool| match (works, expected) {
            (true, _) => Light::Good,
            (false, false) => Light::Excused,
            (false, true) => Light::Dark,
        };
        let families = self.book.families();
        let valid = |one: &Generation, role: Role| {
            one.certificates.iter().any(|(kind, held)| {
                kind.role == role && families.contains(&kind.algorithm.family()) && held.is_valid(now)
            })
        };
        // the present SMC-B must have had time to sign, or the one before must still be good
        let present = self.smbs.last().is_some_and(|(_, end, _)| *end > day) && self.smb_fair >= ENOUGH;
        let before = self
            .smbs
            .len()
            .checked_sub(2)
            .and_then(|number| self.smbs.get(number))
            .is_some_and(|(begin, end, _)| *end > day && day - begin > 200);
        let provider = !self.weather.is(Trouble::Provider, day);
        let generation = self.tunnel_generation(day);
        let tunnel = light(
            provider && generation.is_some(),
            provider && (present || before) && self.due().any(|one| valid(one, Role::NkVpn)),
        );
        let mut reading = Light::Good;
        for terminal in &self.terminals {
            let works = trusts
                && select::terminal(&self.book, terminal.name, believed)
                    .iter()
                    .any(|choice| {
                        self.accepts(terminal, choice.generation, choice.kind.algorithm.family(), day)
                    });
            let expected = self.due().any(|one| {
                one.certificates.iter().any(|(kind, held)| {
                    kind.role == Role::SakAut
                        && terminal.cas.contains(&held.issuer)
                        && (!terminal.has_clock || held.is_valid(now))
                })
            });
            match light(works, expected) {
                Light::Dark => reading = Light::Dark,
                Light::Excused if reading == Light::Good => reading = Light::Excused,
                _ => {}
            }
        }
        let takes = |cvc: &HeldCvc| cvc.to >= self.hba.max(now);
        let shown = select::cvc(&self.book, believed).cloned();
        let batch = light(
            trusts && shown.as_ref().is_some_and(takes),
            self.due()
                .filter_map(|one| one.cvc.as_ref())
                .any(|cvc| cvc.from <= now && takes(cvc)),
        );
        if let Some(cvc) = shown.filter(takes) {
            self.hba = self.hba.max(cvc.from);
        }
        let algorithms: &[Algorithm] = match self.fate.card {
            Card::Rsa => &[Algorithm::Rsa],
            Card::Dual | Card::Ecc => &[Algorithm::Brainpool, Algorithm::Nist],
        };
        let seen = algorithms.iter().all(|algorithm| {
            select::clients(&self.book, *algorithm, believed).is_some_and(|choice| choice.held.is_valid(now))
        });
        // by a clock that is a few days behind, yesterday's certificate is still good
        let good_then = algorithms.iter().all(|algorithm| {
            select::clients(&self.book, *algorithm, believed)
                .is_some_and(|choice| choice.held.is_valid(believed))
        });
        let behind = self.weather.is(Trouble::Behind, day) && good_then;
        let clients = light(seen, !behind && self.due().any(|one| valid(one, Role::AkAut)));
        let today = Day {
            tunnel,
            reading,
            batch,
            clients,
            generation,
            trouble: !self.weather.is_fair(day),
        };
        for (name, light) in today.lights() {
            if light == Light::Dark {
                self.report.violations.push((day, format!("{name} geht nicht")));
            }
        }
        self.report.days.push(today);
        Ok(())
    }

    fn end(mut self) -> Result<Report> {
        let last = self.report.days.len() as i64;
        let newest = self.published.last().context("no package")?;
        let stuck = newest.1.number > 0
            && newest.2 >= 90
            && self
                .book
                .families()
                .iter()
                .any(|family| self.book.active(*family) != Some(newest.1.number));
        // the last package may still wait for its day
        let end = self.seconds(last) + 30 * DAY;
        if stuck && plan::end_of_used(&self.book) < end {
            self.report
                .violations
                .push((last, "die letzte Verlängerung ist steckengeblieben".into()));
        }
        for (number, one) in self.book.generations.iter().enumerate() {
            let number = u32::try_from(number)?;
            let lost = one
                .families()
                .iter()
                .any(|family| self.book.stage(number, *family) == Some(Stage::Quarantined));
            if lost && !self.is_revoked(number) {
                self.report
                    .violations
                    .push((last, format!("Generation {number} ist in Quarantäne")));
            }
        }
        Ok(self.report)
    }
}

/// A step, in a line of a timeline.
pub(super) fn told(change: &Change) -> String {
    match change {
        Change::Fetched(generation) => format!("Generation {} geholt", generation.number),
        Change::Verified { generation } => format!("Generation {generation} geprüft"),
        Change::Registered {
            generation, signer, ..
        } => {
            format!(
                "Generation {generation} registriert, signiert von {}",
                signer.iccsn
            )
        }
        Change::Unregistered { generation, .. } => {
            format!("Generation {generation} ist nicht mehr registriert")
        }
        Change::Probed {
            generation, probes, ..
        } => {
            let failed = probes
                .iter()
                .find(|probe| matches!(probe.outcome, Outcome::Failed(_)));
            match failed {
                None => format!("Generation {generation} erprobt"),
                Some(probe) => format!("Generation {generation} erprobt: {} misslingt", probe.name),
            }
        }
        Change::Activated { generation, .. } => {
            format!("Generation {generation} in Gebrauch")
        }
        other => format!("{other:?}"),
    }
}
