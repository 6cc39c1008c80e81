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
    /// Fair days since the present SMC-B came.
    smb_fair: i64,
    firmware: i64,
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
        let package = material.card(fate.card, &iccsn, FIRST)?;
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
            smb_fair: 0,
            firmware: -100,
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
        if newest_end - lead <= day && newest_end < i64::from(self.fate.years) * 365 {
            let era = self.material.era(day)?;
            let end = newest_end + LATER;
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
            self.event(
                day,
                format!("TSP veröffentlicht Paket {number}, gilt bis Tag {end}"),
            );
        }
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
        self.access.daily(now, |_| false);
        if self.weather.is(Trouble::Power, day) {
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
        let shown = match (
            self.weather.is(Trouble::Past, day),
            self.weather.is(Trouble::Future, day),
        ) {
            (true, _) => 0,
            (_, true) => 2_147_483_647,
            _ => real,
        };
        // a trust list is never older than two weeks
        let evidence = Evidence {
            floor: real - 14 * DAY,
            confirmed: None,
        };
        let doubt = clock::doubt(shown, evidence).is_some();
        if doubt != (shown != real) {
            self.report
                .violations
                .push((day, "eine falsche Uhr wird geglaubt".into()));
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
        self.book
            .apply(&step)
            .with_context(|| format!("day {day}: {:?}", step.change))?;
        let text = match &step.change {
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
                self.report.extensions += 1;
                format!("Generation {generation} in Gebrauch")
            }
            other => format!("{other:?}"),
        };
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
                let trust = &self.material.era(day)?.trust;
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
            Order::Verify { generation } => {
                Ok((!self.weather.is(Trouble::Status, day)).then_some(Change::Verified { generation }))
            }
            Order::Register { generation, family } => {
                let again = self.book.registration(generation, family).is_some();
                if self.weather.is(Trouble::Registrar, day) || (self.fate.rule == Rule::SameSigner && again) {
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
        let ours = select::tunnel(&self.book, now);
        let choice = match self.fate.rule {
            Rule::Ours | Rule::SameSigner => ours.into_iter().find(admitted),
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
        due.map(|(_, generation, _)| generation)
    }

    fn judge(&mut self, day: i64) -> Result<()> {
        let now = self.seconds(day);
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
            let works = select::terminal(&self.book, terminal.name, now)
                .iter()
                .any(|choice| self.accepts(terminal, choice.generation, choice.kind.algorithm.family(), day));
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
        let shown = select::cvc(&self.book, now).cloned();
        let batch = light(
            shown.as_ref().is_some_and(takes),
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
            select::clients(&self.book, *algorithm, now).is_some_and(|choice| choice.held.is_valid(now))
        });
        let clients = light(seen, self.due().any(|one| valid(one, Role::AkAut)));
        let today = Day {
            tunnel,
            reading,
            batch,
            clients,
            generation,
            trouble: !self.weather.is_fair(day),
        };
        for (name, light) in [
            ("Tunnel", tunnel),
            ("Lesen von Karten", reading),
            ("Stapelsignatur", batch),
            ("Praxissoftware", clients),
        ] {
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
            if lost {
                self.report
                    .violations
                    .push((last, format!("Generation {number} ist in Quarantäne")));
            }
        }
        Ok(self.report)
    }
}
