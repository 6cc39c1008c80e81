//! Runbooks on this device: those that come along and the service provider's own, runs that are kept, records that are signed.
//! Who walks makes the calls ([`crate::admin`]); what is kept is every entry, as it comes.

use crate::{Failure, Inner, VERSION};
use asn1::X509;
use base::Code;
use crypto::SignatureScheme;
use identity::Algorithm;
use runbook::{About, Entry, Event, Run, Runbook, first_set, record};
use serde::Serialize;
use serde_json::{Value, json};
use signature::{Signer, pades};
use std::collections::BTreeMap;

/// Kinds of documents in the store.
pub(crate) const BOOKS: &str = "runbook";
pub(crate) const RUNS: &str = "runbook-run";
/// Most runbooks of one's own, and most runs that are kept.
const MOST: (usize, usize) = (50, 50);
/// Largest run that is carried, bytes.
const RUN: usize = 1 << 20;

impl From<runbook::Error> for Failure {
    fn from(error: runbook::Error) -> Self {
        let code = match error {
            runbook::Error::Turn(..) => Code::NOT_PERMITTED,
            _ => Code::SYNTAX,
        };
        Failure::new(code, error)
    }
}

/// A runbook that can be walked.
#[derive(Debug, Clone, Serialize)]
pub struct BookView {
    name: String,
    version: u32,
    /// SHA-256 of its text.
    sha256: String,
    /// Not one of the first set.
    own: bool,
    title: Value,
    purpose: Value,
    inputs: Vec<Value>,
    steps: usize,
}

fn both(text: &runbook::Text) -> Value {
    json!({ "de": text.de, "en": text.en })
}

impl Inner {
    /// Texts by name: one's own stand before one of the first set with the same name.
    fn books(&self) -> Result<BTreeMap<String, (String, bool)>, Failure> {
        let mut all = BTreeMap::new();
        for source in first_set() {
            all.insert(Runbook::parse(source)?.runbook, (source.to_owned(), false));
        }
        for (name, source) in self.store.all::<String>(BOOKS)? {
            all.insert(name, (source, true));
        }
        Ok(all)
    }

    /// All that can be walked.
    pub(crate) fn runbooks(&self) -> Result<Vec<BookView>, Failure> {
        let all = self.books()?.into_values().filter_map(|(source, own)| {
            // one that an older version has taken and this one does not understand stays, and is not offered
            let book = Runbook::parse(&source).ok()?;
            let inputs = book.inputs.iter().map(|input| {
                json!({ "name": input.name, "kind": format!("{:?}", input.kind).to_lowercase(), "title": both(&input.title) })
            });
            Some(BookView {
                version: book.version,
                sha256: Runbook::digest(&source),
                own,
                title: both(&book.title),
                purpose: both(&book.purpose),
                inputs: inputs.collect(),
                steps: book.steps.len(),
                name: book.runbook,
            })
        });
        Ok(all.collect())
    }

    /// The text of one.
    pub(crate) fn runbook_source(&self, name: &str) -> Result<String, Failure> {
        let found = self.books()?.remove(name).map(|(source, _)| source);
        found.ok_or_else(|| Failure::new(Code::SYNTAX, "no such runbook"))
    }

    /// Takes one's own in, or a newer version of it.
    pub(crate) fn take_runbook(&self, source: &str) -> Result<(), Failure> {
        let name = Runbook::parse(source)?.runbook;
        let own = self.store.all::<String>(BOOKS)?;
        if own.len() >= MOST.0 && !own.iter().any(|(known, _)| *known == name) {
            return Err(Failure::new(
                Code::NOT_PERMITTED,
                "50 runbooks: remove some first",
            ));
        }
        Ok(self.store.put(BOOKS, &name, &source)?)
    }

    /// Forgets one's own; one of the first set with its name is there again.
    pub(crate) fn forget_runbook(&self, name: &str) -> Result<(), Failure> {
        let known: Option<String> = self.store.get(BOOKS, name)?;
        known.ok_or_else(|| Failure::new(Code::SYNTAX, "no runbook of your own has this name"))?;
        Ok(self.store.delete(BOOKS, name)?)
    }

    /// Who walks now, for an entry: time, person, device.
    fn here(&self) -> (base::Timestamp, String, String) {
        (self.clock.now(), crate::users::actor(), self.own_name())
    }

    fn own_name(&self) -> String {
        format!("{} {}", self.config.hostname, self.identities.iccsn)
    }

    /// Begins a run.
    pub(crate) fn begin_run(&self, name: &str, inputs: BTreeMap<String, String>) -> Result<Run, Failure> {
        self.room_for_runs(None)?;
        let id = hex::encode(crypto::random::<8>()?);
        let run = Run::begin(id, &self.runbook_source(name)?, inputs, self.here())?;
        self.store.put(RUNS, &run.id, &run)?;
        Ok(run)
    }

    /// Goes on here with a run that another device tells of; one that is known here already only ever grows. A runbook that nobody
    /// has taken in here comes along only by `any_book`: who takes them in.
    pub(crate) fn carry_run(&self, run: Run, any_book: bool) -> Result<Run, Failure> {
        let refused = |why| Err(Failure::new(Code::NOT_PERMITTED, why));
        let _one = self.walking_alone()?;
        let size = serde_json::to_vec(&run).map_or(usize::MAX, |bytes| bytes.len());
        if size > RUN {
            return refused("larger than a run may be");
        }
        self.room_for_runs(Some(&run.id))?;
        let books = self.books()?;
        if !any_book && !books.values().any(|(source, _)| *source == run.book) {
            return refused("its runbook is not one of this device: a super administrator must carry it");
        }
        let known: Option<Run> = self.store.get(RUNS, &run.id)?;
        if let Some(known) = known {
            let (ours, theirs) = (known.log.len(), run.log.len());
            let same = serde_json::to_value(&known.log).ok()
                == serde_json::to_value(run.log.get(..ours.min(theirs)).unwrap_or_default()).ok();
            if !same || known.book != run.book || known.inputs != run.inputs {
                return refused("this run went on here: what comes does not begin with what is known");
            }
        }
        let run = run.carry(self.here())?;
        self.store.put(RUNS, &run.id, &run)?;
        Ok(run)
    }

    /// Nobody does a step meanwhile.
    pub(crate) fn walking_alone(&self) -> Result<tokio::sync::MutexGuard<'_, ()>, Failure> {
        let alone = self.walking.try_lock();
        alone.map_err(|_| Failure::new(Code::NOT_PERMITTED, "a step is being done: wait for it"))
    }

    fn room_for_runs(&self, known: Option<&str>) -> Result<(), Failure> {
        let all = self.runs()?;
        let is_known = known.is_some_and(|id| all.iter().any(|run| run.id == id));
        match all.len() < MOST.1 || is_known {
            true => Ok(()),
            false => Err(Failure::new(
                Code::NOT_PERMITTED,
                "50 runs are kept: remove some first",
            )),
        }
    }

    /// All runs, the newest first.
    pub(crate) fn runs(&self) -> Result<Vec<Run>, Failure> {
        let mut all: Vec<Run> = self.store.all(RUNS)?.into_iter().map(|(_, run)| run).collect();
        all.sort_by_key(|run| std::cmp::Reverse(run.log.last().map(|entry| entry.at)));
        Ok(all)
    }

    /// One run.
    pub(crate) fn run(&self, id: &str) -> Result<Run, Failure> {
        let found = self.store.get(RUNS, id)?;
        found.ok_or_else(|| Failure::new(Code::SYNTAX, "no such run"))
    }

    /// Forgets a run.
    pub(crate) fn forget_run(&self, id: &str) -> Result<(), Failure> {
        let _one = self.walking_alone()?;
        self.run(id)?;
        Ok(self.store.delete(RUNS, id)?)
    }

    /// Takes note of something in a run, at once.
    pub(crate) fn note_run(&self, run: &mut Run, step: &str, event: Event) -> Result<(), Failure> {
        let (at, who, device) = self.here();
        run.note(Entry {
            at,
            who,
            device,
            step: Some(step.to_owned()),
            event,
        })?;
        Ok(self.store.put(RUNS, &run.id, run)?)
    }

    /// The record of a run as a PDF, signed by the device with the key that practice systems know it by (C.AK.AUT), also when its
    /// certificate has ended: recovery wants a record, too.
    pub(crate) fn run_record(&self, run: &Run, english: bool) -> Result<Vec<u8>, Failure> {
        let internal = |error: &dyn std::fmt::Display| Failure::new(Code::INTERNAL, error);
        let about = About {
            device: self.own_name(),
            version: VERSION.to_owned(),
            at: self.clock.now(),
            english,
        };
        let pdf = record(run, &about)?;
        let (_, identity) = self.ak_identity(Algorithm::Brainpool);
        let certificate = identity.chain.first().ok_or(Code::INTERNAL)?;
        let certificate = X509::parse(certificate).map_err(|error| internal(&error))?;
        let signer =
            Signer::new(certificate, SignatureScheme::Ecdsa, about.at).map_err(|error| internal(&error))?;
        let draft = pades::sign(&pdf, Some(&about.device), &signer).map_err(|error| internal(&error))?;
        draft
            .sign_with(&identity.key, &[])
            .map_err(|error| internal(&error))
    }
}
