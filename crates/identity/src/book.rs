//! Generations of certificates and what happened to them.

use crate::{Error, Family, Kind, Package, required};
use asn1::{Cvc, CvcDate, X509};
use base::Timestamp;
use jiff::tz::Offset;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use store::Store;

const STEPS: &str = "identity-step";
/// The last second of a day, counted from its begin.
const TO_THE_END: i64 = crate::DAY - 1;

/// A certificate with what rules ask about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// DER, hexadecimal.
    #[serde(with = "hex::serde")]
    pub der: Vec<u8>,
    /// Begin of its validity, Unix seconds.
    pub from: i64,
    /// End of its validity, Unix seconds.
    pub to: i64,
    /// Serial number, hexadecimal.
    pub serial: String,
    /// Subject of its issuer.
    pub issuer: String,
}

impl Held {
    /// Reads a certificate.
    pub fn read(der: &[u8]) -> Result<Self, Error> {
        let certificate = X509::parse(der)?;
        let (from, to) = certificate.validity();
        Ok(Self {
            der: der.to_vec(),
            from,
            to,
            serial: hex::encode(certificate.serial()),
            issuer: certificate.issuer(),
        })
    }

    /// Is it valid at this moment (Unix seconds)?
    pub fn is_valid(&self, now: i64) -> bool {
        (self.from..=self.to).contains(&now)
    }
}

/// C.SAK.AUTD_CVC with the certificate of its CA.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldCvc {
    /// The Konnektor's own, hexadecimal.
    #[serde(with = "hex::serde")]
    pub own: Vec<u8>,
    /// C.CA_SAK.CS, hexadecimal.
    #[serde(with = "hex::serde")]
    pub ca: Vec<u8>,
    /// First day (CED), Unix seconds of its begin.
    pub from: i64,
    /// Last day (CXD) of the earlier of both, Unix seconds of its end.
    pub to: i64,
}

fn begin_of(date: CvcDate) -> i64 {
    let (year, month, day) = date.ymd();
    let date = jiff::civil::Date::new(year, month, day).unwrap_or(jiff::civil::Date::ZERO);
    let begin = Offset::UTC.to_timestamp(date.to_datetime(jiff::civil::Time::midnight()));
    begin.map_or(0, Timestamp::as_second)
}

impl HeldCvc {
    /// First second and last second of a certificate with that of its CA, Unix seconds.
    pub fn of(own: &Cvc, ca: &Cvc) -> (i64, i64) {
        (
            begin_of(own.effective),
            begin_of(own.expires.min(ca.expires)) + TO_THE_END,
        )
    }

    /// Reads both.
    pub fn read(own: &[u8], ca: &[u8]) -> Result<Self, Error> {
        let (from, to) = Self::of(&Cvc::parse(own)?, &Cvc::parse(ca)?);
        Ok(Self {
            own: own.to_vec(),
            ca: ca.to_vec(),
            from,
            to,
        })
    }
}

/// Where a generation comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The card itself.
    Card,
    /// The download point of the TI.
    Download,
    /// A file an administrator has brought.
    Import,
}

/// Certificates that belong together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// 0 is the card's own.
    pub number: u32,
    /// X.509 certificates.
    pub certificates: BTreeMap<Kind, Held>,
    /// CV certificates.
    pub cvc: Option<HeldCvc>,
    /// Where from.
    pub source: Source,
}

impl Generation {
    /// From certificates as they come in a package or lie on a card.
    pub fn read(number: u32, package: &Package, source: Source) -> Result<Self, Error> {
        let all = package.certificates.iter();
        let certificates = all
            .map(|(kind, der)| Ok((*kind, Held::read(der)?)))
            .collect::<Result<_, Error>>()?;
        let cvc = package.cvc.as_ref();
        Ok(Self {
            number,
            certificates,
            cvc: cvc.map(|(own, ca)| HeldCvc::read(own, ca)).transpose()?,
            source,
        })
    }

    /// Families of its certificates.
    pub fn families(&self) -> Vec<Family> {
        let mut all: Vec<Family> = self
            .certificates
            .keys()
            .map(|kind| kind.algorithm.family())
            .collect();
        all.sort();
        all.dedup();
        all
    }

    /// The earliest end of what is required of it, Unix seconds.
    pub fn end(&self) -> i64 {
        let kinds = required(self.certificates.keys().copied());
        let ends = kinds
            .iter()
            .filter_map(|kind| Some(self.certificates.get(kind)?.to));
        ends.min().unwrap_or_default()
    }
}

/// How far a generation has got with one family of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// It is there, nothing is known about it.
    Fetched,
    /// Every certificate was checked.
    Verified,
    /// The VPN access service knows it beside the old one.
    Registered,
    /// It has proven itself end to end.
    Probed,
    /// It is used first.
    Active,
    /// A later one is used first; this one stays selectable until it ends.
    Superseded,
    /// It is never used.
    Quarantined,
}

/// What came of a probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It works.
    Good,
    /// There was nothing to try it with.
    Skipped(String),
    /// Whoever was asked keeps to what it has; that is no reason against the rest.
    Refused(String),
    /// It does not work.
    Failed(String),
}

/// One probe with its evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// `key`, `status`, `registration`, `tunnel`, `terminal KT1`, `clients`, `hba`.
    pub name: String,
    /// What came of it.
    pub outcome: Outcome,
}

/// The SM-B whose OSIG certificate has signed a registration: its end is an end of the TI access, too (TIP1-A_5389).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signer {
    /// Number of the card.
    pub iccsn: String,
    /// Serial number of the certificate, hexadecimal.
    pub serial: String,
    /// End of the certificate, Unix seconds.
    pub end: i64,
}

/// Who caused a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    /// The Konnektor by itself.
    Device,
    /// A person.
    Administrator,
}

/// What changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "what")]
pub enum Change {
    /// A new generation is there.
    Fetched(Generation),
    /// All its certificates are good.
    Verified {
        /// Its number.
        generation: u32,
    },
    /// The VPN access service has registered it.
    Registered {
        /// Its number.
        generation: u32,
        /// With these keys.
        family: Family,
        /// Who signed.
        signer: Signer,
    },
    /// The VPN access service says that it does not know it (never concluded from silence).
    Unregistered {
        /// Its number.
        generation: u32,
        /// With these keys.
        family: Family,
    },
    /// It was tried end to end; a failed probe leaves it where it is.
    Probed {
        /// Its number.
        generation: u32,
        /// With these keys.
        family: Family,
        /// Each probe.
        probes: Vec<Probe>,
    },
    /// It is used first from now on.
    Activated {
        /// Its number.
        generation: u32,
        /// With these keys.
        family: Family,
    },
    /// It is not to be used, or if it is or was in use already only for want of anything else.
    Quarantined {
        /// Its number.
        generation: u32,
        /// Why.
        reason: String,
    },
    /// C.AK.AUT by choice; `None` leaves it to the calendar again.
    AkChosen {
        /// The generation.
        generation: Option<u32>,
    },
    /// Which C.SAK.AUT a terminal takes.
    Terminal {
        /// CtId.
        terminal: String,
        /// The generation.
        generation: u32,
    },
    /// Nothing changes by itself as long as this holds.
    Frozen {
        /// Does it?
        on: bool,
    },
}

/// A change with its circumstances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub actor: Actor,
    /// What.
    pub change: Change,
}

/// What all steps of one gSMC-K have come to.
#[derive(Debug, Clone, PartialEq)]
pub struct Book {
    /// Generations by number, without gaps.
    pub generations: Vec<Generation>,
    /// When each came.
    pub arrived: Vec<i64>,
    stages: BTreeMap<(u32, Family), Stage>,
    /// Who signed each registration, and when, Unix seconds.
    registrations: BTreeMap<(u32, Family), (Signer, i64)>,
    /// The last probes of each.
    pub probes: BTreeMap<(u32, Family), Vec<Probe>>,
    /// When they were, Unix seconds.
    pub probed_at: BTreeMap<(u32, Family), i64>,
    /// Why generations are in quarantine.
    pub quarantine: BTreeMap<u32, String>,
    /// C.AK.AUT as an administrator chose it.
    pub ak_choice: Option<u32>,
    /// What terminals take.
    pub terminals: BTreeMap<String, u32>,
    /// Does nothing change by itself?
    pub frozen: bool,
}

impl Book {
    /// The card as it was delivered.
    pub fn new(card: Generation) -> Self {
        let stages = card.families().into_iter();
        Self {
            stages: stages.map(|family| ((0, family), Stage::Active)).collect(),
            generations: vec![Generation { number: 0, ..card }],
            arrived: vec![i64::MIN],
            registrations: BTreeMap::new(),
            probes: BTreeMap::new(),
            probed_at: BTreeMap::new(),
            quarantine: BTreeMap::new(),
            ak_choice: None,
            terminals: BTreeMap::new(),
            frozen: false,
        }
    }

    /// A generation.
    pub fn generation(&self, number: u32) -> Option<&Generation> {
        self.generations.get(usize::try_from(number).ok()?)
    }

    /// The newest generation that is not in quarantine.
    pub fn newest(&self) -> Option<&Generation> {
        let mut all = self.generations.iter().rev();
        all.find(|one| !self.quarantine.contains_key(&one.number))
    }

    /// How far it has got.
    pub fn stage(&self, generation: u32, family: Family) -> Option<Stage> {
        self.stages.get(&(generation, family)).copied()
    }

    /// The generation that is used first.
    pub fn active(&self, family: Family) -> Option<u32> {
        let mut all = self.stages.iter();
        all.find(|((_, of), stage)| *of == family && **stage == Stage::Active)
            .map(|((number, _), _)| *number)
    }

    /// Who signed its registration, if it is registered.
    pub fn registration(&self, generation: u32, family: Family) -> Option<&Signer> {
        let found = self.registrations.get(&(generation, family))?;
        Some(&found.0)
    }

    /// When it was registered last, Unix seconds.
    pub fn registered_at(&self, generation: u32, family: Family) -> Option<i64> {
        let found = self.registrations.get(&(generation, family))?;
        Some(found.1)
    }

    /// Is nothing registered, as on a new device?
    pub fn is_never_registered(&self) -> bool {
        self.registrations.is_empty()
    }

    /// The families that have to be extended.
    pub fn families(&self) -> Vec<Family> {
        let Some(card) = self.generations.first() else {
            return Vec::new();
        };
        let mut all: Vec<Family> = required(card.certificates.keys().copied())
            .iter()
            .map(|kind| kind.algorithm.family())
            .collect();
        all.dedup();
        all
    }

    /// Enters a change; one that is not allowed changes nothing.
    pub fn apply(&mut self, step: &Step) -> Result<(), Error> {
        let refuse = |why| Err(Error::Transition(why));
        match &step.change {
            Change::Fetched(generation) => {
                if generation.number as usize != self.generations.len() {
                    return refuse("a generation must follow the last one");
                }
                for family in generation.families() {
                    self.stages.insert((generation.number, family), Stage::Fetched);
                }
                self.generations.push(generation.clone());
                self.arrived.push(step.at.as_second());
            }
            Change::Verified { generation } => {
                let mut any = false;
                for ((number, _), stage) in &mut self.stages {
                    if number == generation && *stage == Stage::Fetched {
                        *stage = Stage::Verified;
                        any = true;
                    }
                }
                if !any {
                    return refuse("only what was fetched can be verified");
                }
            }
            Change::Registered {
                generation,
                family,
                signer,
            } => {
                let stage = self.stages.get_mut(&(*generation, *family));
                match stage {
                    Some(stage) if *stage == Stage::Verified => *stage = Stage::Registered,
                    Some(Stage::Registered | Stage::Probed | Stage::Active | Stage::Superseded) => {}
                    _ => return refuse("only what was verified can be registered"),
                }
                self.registrations
                    .insert((*generation, *family), (signer.clone(), step.at.as_second()));
            }
            Change::Unregistered { generation, family } => {
                self.registrations.remove(&(*generation, *family));
                if let Some(stage @ (Stage::Registered | Stage::Probed)) =
                    self.stages.get_mut(&(*generation, *family))
                {
                    *stage = Stage::Verified;
                }
            }
            Change::Probed {
                generation,
                family,
                probes,
            } => {
                let failed = probes
                    .iter()
                    .any(|probe| matches!(probe.outcome, Outcome::Failed(_)));
                match self.stages.get_mut(&(*generation, *family)) {
                    Some(stage @ (Stage::Verified | Stage::Registered)) => {
                        if !failed {
                            *stage = Stage::Probed;
                        }
                    }
                    // what fails later is not proven any more
                    Some(stage @ Stage::Probed) if failed => {
                        *stage = match self.registrations.contains_key(&(*generation, *family)) {
                            true => Stage::Registered,
                            false => Stage::Verified,
                        };
                    }
                    Some(Stage::Probed | Stage::Active | Stage::Superseded) => {}
                    _ => return refuse("only what was verified can be probed"),
                }
                self.probed_at.insert((*generation, *family), step.at.as_second());
                self.probes.insert((*generation, *family), probes.clone());
            }
            Change::Activated { generation, family } => {
                // the way back to one that was in use is open, as long as it lasts
                if !matches!(
                    self.stage(*generation, *family),
                    Some(Stage::Probed | Stage::Superseded)
                ) {
                    return refuse("only what was probed becomes active");
                }
                for ((_, of), stage) in &mut self.stages {
                    if of == family && *stage == Stage::Active {
                        *stage = Stage::Superseded;
                    }
                }
                self.stages.insert((*generation, *family), Stage::Active);
            }
            Change::Quarantined { generation, reason } => {
                let in_use = self.stages.iter().any(|((number, _), stage)| {
                    number == generation && matches!(stage, Stage::Active | Stage::Superseded)
                });
                if self.generation(*generation).is_none() || self.quarantine.contains_key(generation) {
                    return refuse("it does not exist, or is in quarantine already");
                }
                // what is or was in use stays selectable: last of all, and the search for another begins at once
                if *generation != 0 && !in_use {
                    for ((number, _), stage) in &mut self.stages {
                        if number == generation {
                            *stage = Stage::Quarantined;
                        }
                    }
                    self.registrations.retain(|(number, _), _| number != generation);
                }
                self.terminals.retain(|_, number| number != generation);
                self.ak_choice = self.ak_choice.filter(|chosen| chosen != generation);
                self.quarantine.insert(*generation, reason.clone());
            }
            Change::AkChosen { generation } => {
                if generation.is_some_and(|number| !self.is_usable(number)) {
                    return refuse("this generation was not verified");
                }
                self.ak_choice = *generation;
            }
            Change::Terminal { terminal, generation } => {
                if !self.is_usable(*generation) {
                    return refuse("this generation was not verified");
                }
                self.terminals.insert(terminal.clone(), *generation);
            }
            Change::Frozen { on } => self.frozen = *on,
        }
        Ok(())
    }

    /// Is it usable, and was it not revoked in use either?
    pub fn is_good(&self, generation: u32) -> bool {
        self.is_usable(generation) && !self.quarantine.contains_key(&generation)
    }

    /// Was it verified, and not put into quarantine before it was ever used?
    pub fn is_usable(&self, generation: u32) -> bool {
        let mut stages = self
            .stages
            .iter()
            .filter(|((number, _), _)| *number == generation)
            .peekable();
        stages.peek().is_some()
            && stages.all(|(_, stage)| !matches!(stage, Stage::Fetched | Stage::Quarantined))
    }
}

/// A book in the store: every step is a row of its own, written before it counts.
pub struct Ledger {
    store: Arc<Store>,
    iccsn: String,
    next: usize,
    book: Book,
    steps: Vec<Step>,
}

impl Ledger {
    /// Opens the book of the gSMC-K with this number; what lies on the card is its first generation. Steps of other cards
    /// stay where they are and count for nothing; so does a step that cannot follow the one before it.
    pub fn open(store: Arc<Store>, iccsn: &str, card: Generation) -> Result<Self, Error> {
        let mut ledger = Self {
            store,
            iccsn: iccsn.to_owned(),
            next: 0,
            book: Book::new(card),
            steps: Vec::new(),
        };
        let prefix = format!("{iccsn}/");
        // a later version may have written steps that this one does not know (I6)
        for (id, row) in ledger.store.all::<serde_json::Value>(STEPS)? {
            let Some(number) = id.strip_prefix(&prefix) else {
                continue;
            };
            ledger.next = ledger.next.max(number.parse::<usize>().unwrap_or_default() + 1);
            if let Ok(step) = serde_json::from_value::<Step>(row)
                && ledger.book.apply(&step).is_ok()
            {
                ledger.steps.push(step);
            }
        }
        Ok(ledger)
    }

    /// What all steps have come to.
    pub fn book(&self) -> &Book {
        &self.book
    }

    /// All steps that count.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Enters a step: tried, stored, then in force.
    pub fn enter(&mut self, step: Step) -> Result<(), Error> {
        let mut next = self.book.clone();
        next.apply(&step)?;
        let id = format!("{}/{:08}", self.iccsn, self.next);
        self.store.put(STEPS, &id, &step)?;
        self.next += 1;
        self.book = next;
        self.steps.push(step);
        Ok(())
    }
}
