//! One walk through a runbook.

use crate::book::{Check, Keep, Order, Runbook, Step, filled, filled_in};
use crate::expect::{fields, fits, found};
use crate::{Error, Method};
use base::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Most entries of a log.
const ENTRIES: usize = 2000;
/// Largest entry, bytes: forty terminals with all their fields are a tenth of it.
const ENTRY: usize = 256 * 1024;
/// Longest note, characters.
const NOTE: usize = 500;

/// A walk. What counts is its log; everything else is derived from that.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Its number, 16 hexadecimal digits.
    pub id: String,
    /// The text of its runbook.
    pub book: String,
    /// What was asked at the beginning.
    pub inputs: BTreeMap<String, String>,
    /// What happened, in order; nothing is ever removed.
    pub log: Vec<Entry>,
}

/// Something that happened.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// Who walks.
    pub who: String,
    /// On which device: its name and the number of its gSMC-K.
    pub device: String,
    /// With which step.
    pub step: Option<String>,
    /// What.
    pub event: Event,
}

/// What can happen.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", deny_unknown_fields)]
pub enum Event {
    /// The walk began, or went on here with what another device says of it.
    Began,
    /// A step cannot begin: what must be true before is not.
    Held {
        /// What was found.
        findings: Vec<Finding>,
    },
    /// The device did what the step says.
    Ordered {
        /// The call.
        what: String,
        /// Why it was refused; nothing if it was done.
        refused: Option<String>,
    },
    /// It was looked, and a person has said what no machine sees.
    Looked {
        /// What was found.
        findings: Vec<Finding>,
        /// What is kept beside.
        kept: Vec<Finding>,
        /// Is the step done?
        done: bool,
        /// What the person said.
        note: String,
    },
    /// A person goes on without.
    Skipped {
        /// Why.
        note: String,
    },
    /// The step was taken back.
    Undone {
        /// Why.
        note: String,
        /// The call, if the device did something.
        what: Option<String>,
        /// Why that was refused; then nothing is taken back.
        refused: Option<String>,
    },
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// What was asked, German and English.
    pub de: String,
    /// The same in English.
    pub en: String,
    /// Is it so?
    pub good: bool,
    /// What is there.
    pub found: Value,
}

impl Entry {
    /// What was found.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        let (findings, kept): (&[Finding], &[Finding]) = match &self.event {
            Event::Held { findings } => (findings, &[]),
            Event::Looked { findings, kept, .. } => (findings, kept),
            _ => (&[], &[]),
        };
        findings.iter().chain(kept)
    }
}

impl Finding {
    /// What is there, as people read it.
    pub fn plain(&self) -> String {
        plain(&self.found)
    }
}

fn plain(value: &Value) -> String {
    let joined = |all: Vec<String>, with: &str| match all.is_empty() {
        true => "–".to_owned(),
        false => all.join(with),
    };
    match value {
        Value::Null => "–".into(),
        Value::String(text) => text.clone(),
        Value::Array(all) => joined(all.iter().map(plain).collect(), "; "),
        Value::Object(all) => {
            let fields = all.iter().map(|(name, value)| format!("{name} {}", plain(value)));
            joined(fields.collect(), ", ")
        }
        other => other.to_string(),
    }
}

/// How a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Not done yet.
    Open,
    /// Tried, and not as it must be.
    Failed,
    /// Done.
    Done,
    /// A person went on without.
    Skipped,
}

impl Run {
    /// A walk that begins.
    pub fn begin(
        id: String,
        source: &str,
        inputs: BTreeMap<String, String>,
        (at, who, device): (Timestamp, String, String),
    ) -> Result<Self, Error> {
        let book = Runbook::parse(source)?;
        book.accepts(&inputs)?;
        let inputs = book.tidied(inputs);
        let began = Entry {
            at,
            who,
            device,
            step: None,
            event: Event::Began,
        };
        Ok(Self {
            id,
            book: source.to_owned(),
            inputs,
            log: vec![began],
        })
    }

    /// A walk that another device tells of, before it goes on here.
    pub fn carry(mut self, (at, who, device): (Timestamp, String, String)) -> Result<Self, Error> {
        let book = Runbook::parse(&self.book)?;
        book.accepts(&self.inputs)?;
        let is_number = self.id.len() == 16 && self.id.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_number || self.log.is_empty() || self.log.len() >= ENTRIES {
            return Err(Error::Run("number or length of its log"));
        }
        let known = |id: &String| book.steps.iter().any(|step| step.id == *id);
        let size = |entry: &Entry| serde_json::to_vec(entry).map_or(usize::MAX, |bytes| bytes.len());
        if self.log.iter().any(|entry| size(entry) > ENTRY) {
            return Err(Error::Run("more in its log than a device writes"));
        }
        // a day is what a clock may be off by
        if self
            .log
            .last()
            .is_some_and(|last| last.at.as_second() > at.as_second() + 86_400)
        {
            return Err(Error::Run("its log comes from the future"));
        }
        let order = self.log.windows(2).all(|pair| match pair {
            [one, next] => one.at <= next.at,
            _ => true,
        });
        if !order || !self.log.iter().all(|entry| entry.step.as_ref().is_none_or(known)) {
            return Err(Error::Run("its log does not fit its runbook"));
        }
        self.note(Entry {
            at,
            who,
            device,
            step: None,
            event: Event::Began,
        })?;
        Ok(self)
    }

    /// Its runbook.
    pub fn runbook(&self) -> Result<Runbook, Error> {
        Runbook::parse(&self.book)
    }

    /// How a step stands.
    pub fn standing(&self, step: &str) -> Standing {
        let mut standing = Standing::Open;
        let own = self
            .log
            .iter()
            .filter(|entry| entry.step.as_deref() == Some(step));
        for entry in own {
            standing = match &entry.event {
                Event::Looked { done: true, .. } => Standing::Done,
                Event::Looked { .. } | Event::Held { .. } => Standing::Failed,
                Event::Ordered { refused: Some(_), .. } => Standing::Failed,
                Event::Skipped { .. } => Standing::Skipped,
                Event::Undone { refused: None, .. } => Standing::Open,
                Event::Began | Event::Ordered { .. } | Event::Undone { .. } => standing,
            };
        }
        standing
    }

    /// Is it done, or left out?
    pub fn is_behind(&self, step: &Step) -> bool {
        matches!(self.standing(&step.id), Standing::Done | Standing::Skipped)
    }

    /// The step whose turn it is; nothing at the end.
    pub fn current<'b>(&self, book: &'b Runbook) -> Option<&'b Step> {
        book.steps.iter().find(|step| !self.is_behind(step))
    }

    /// The last step that is behind, the only one that can be taken back: the way back is the way there, backwards.
    pub fn last<'b>(&self, book: &'b Runbook) -> Option<&'b Step> {
        let behind = book.steps.iter().take_while(|step| self.is_behind(step));
        behind.last()
    }

    /// Is there room in the log for one more step with all that belongs to it?
    pub fn has_room(&self) -> bool {
        self.log.len() + 10 <= ENTRIES
    }

    /// So many entries from the beginning come from another device, which says so.
    pub fn carried(&self) -> usize {
        self.log
            .iter()
            .rposition(|entry| entry.step.is_none())
            .unwrap_or_default()
    }

    /// Takes note. Time does not run backwards in a log, whatever the clock says.
    pub fn note(&mut self, mut entry: Entry) -> Result<(), Error> {
        if self.log.len() >= ENTRIES {
            return Err(Error::Run("its log is full: begin a new run"));
        }
        if let Event::Looked { note, .. } | Event::Skipped { note } | Event::Undone { note, .. } =
            &mut entry.event
        {
            *note = note.chars().filter(|c| !c.is_control()).take(NOTE).collect();
        }
        if let Some(last) = self.log.last() {
            entry.at = entry.at.max(last.at);
        }
        self.log.push(entry);
        Ok(())
    }

    /// Path of a call, with the inputs.
    pub fn path(&self, path: &str) -> String {
        filled(path, &self.inputs, true)
    }

    /// Text for people, with the inputs.
    pub fn text(&self, text: &str) -> String {
        filled(text, &self.inputs, false)
    }

    /// An order with the inputs: method, path, body.
    pub fn order(&self, order: &Order) -> (Method, String, Value) {
        (
            order.method,
            self.path(&order.path),
            filled_in(&order.body, &self.inputs),
        )
    }

    /// Judges an answer, or why there was none.
    pub fn judge(&self, check: &Check, answer: &Result<Value, String>) -> Finding {
        let pattern = filled_in(&check.is, &self.inputs);
        let (good, found) = match answer {
            Err(reason) => (false, Value::String(reason.clone())),
            Ok(answer) => {
                let value = answer.pointer(&check.at);
                let good = value.is_some_and(|value| fits(&pattern, value));
                (good, found(&pattern, value.unwrap_or(&Value::Null)))
            }
        };
        Finding {
            de: self.text(&check.says.de),
            en: self.text(&check.says.en),
            good,
            found,
        }
    }

    /// What is kept of an answer.
    pub fn keep(&self, keep: &Keep, answer: &Result<Value, String>) -> Finding {
        let (good, found) = match answer {
            Err(reason) => (false, Value::String(reason.clone())),
            Ok(answer) => {
                let value = answer.pointer(&keep.at).unwrap_or(&Value::Null);
                (!value.is_null(), fields(&keep.fields, value))
            }
        };
        Finding {
            de: self.text(&keep.says.de),
            en: self.text(&keep.says.en),
            good,
            found,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const BOOK: &str = "
runbook: a
version: 1
title: {de: T, en: T}
purpose: {de: P, en: P}
steps:
  - {id: one, title: {de: T, en: T}, text: {de: T, en: T}, confirm: {de: C, en: C}, undo: {text: {de: U, en: U}}}
  - {id: two, title: {de: T, en: T}, text: {de: T, en: T}, confirm: {de: C, en: C}}
";

    fn here(second: i64) -> (Timestamp, String, String) {
        (
            Timestamp::from_second(second).unwrap(),
            "who".into(),
            "device".into(),
        )
    }

    fn note(run: &mut Run, second: i64, step: &str, event: Event) {
        let (at, who, device) = here(second);
        let step = Some(step.to_owned());
        run.note(Entry {
            at,
            who,
            device,
            step,
            event,
        })
        .unwrap();
    }

    fn looked(done: bool) -> Event {
        Event::Looked {
            findings: Vec::new(),
            kept: Vec::new(),
            done,
            note: String::new(),
        }
    }

    fn undone(refused: Option<String>) -> Event {
        Event::Undone {
            note: String::new(),
            what: None,
            refused,
        }
    }

    fn begun() -> Run {
        Run::begin("0123456789abcdef".into(), BOOK, BTreeMap::new(), here(100)).unwrap()
    }

    #[test]
    fn there_and_back() {
        let book = Runbook::parse(BOOK).unwrap();
        let mut run = begun();
        let current = |run: &Run| run.current(&book).map(|step| step.id.clone());
        let last = |run: &Run| run.last(&book).map(|step| step.id.clone());
        assert_eq!((current(&run).as_deref(), last(&run)), (Some("one"), None));
        note(&mut run, 101, "one", looked(false));
        assert_eq!(run.standing("one"), Standing::Failed);
        note(&mut run, 102, "one", looked(true));
        assert_eq!(
            (current(&run).as_deref(), last(&run).as_deref()),
            (Some("two"), Some("one"))
        );
        // a way back that was refused takes nothing back
        note(&mut run, 103, "one", undone(Some("no".into())));
        assert_eq!(run.standing("one"), Standing::Done);
        note(&mut run, 104, "one", undone(None));
        assert_eq!(current(&run).as_deref(), Some("one"));
        note(&mut run, 105, "one", Event::Skipped { note: "why".into() });
        note(&mut run, 106, "two", looked(true));
        assert_eq!((current(&run), last(&run).as_deref()), (None, Some("two")));
    }

    #[test]
    fn a_log_goes_on_elsewhere_and_cannot_be_made_up() {
        let mut run = begun();
        note(&mut run, 101, "one", looked(true));
        let text = serde_json::to_string(&run).unwrap();
        let there: Run = serde_json::from_str(&text).unwrap();
        // the other clock is behind: the log is not
        let carried = there.clone().carry(here(50)).unwrap();
        assert_eq!((carried.standing("one"), carried.carried()), (Standing::Done, 2));
        let mut bad = there.clone();
        bad.log[1].step = Some("three".into());
        assert!(bad.carry(here(200)).is_err());
        let mut bad = there.clone();
        bad.log.reverse();
        assert!(bad.carry(here(200)).is_err());
        let mut bad = there.clone();
        bad.log[1].at = Timestamp::from_second(9_000_000_000).unwrap();
        assert!(bad.carry(here(200)).is_err());
        let mut bad = there.clone();
        bad.log[1].who = "a".repeat(ENTRY + 1);
        assert!(bad.carry(here(200)).is_err());
        let mut bad = there;
        bad.id = "../x".into();
        assert!(bad.carry(here(200)).is_err());
    }

    #[test]
    fn what_is_said_is_short_and_plain() {
        let mut run = begun();
        note(
            &mut run,
            99,
            "one",
            Event::Skipped {
                note: format!("a\n{}", "b".repeat(9_000)),
            },
        );
        let entry = run.log.last().unwrap();
        assert_eq!(entry.at, run.log[0].at);
        assert!(
            matches!(&entry.event, Event::Skipped { note } if note.len() == NOTE && !note.contains('\n'))
        );
        let absent = json!({});
        let check = "{says: {de: S, en: S}, get: /api/v1/state, at: /a/b, is: null}";
        let check: Check = serde_saphyr::from_str(check).unwrap();
        assert!(!run.judge(&check, &Ok(absent)).good);
        assert!(run.judge(&check, &Ok(json!({ "a": { "b": null } }))).good);
        assert!(!run.judge(&check, &Err("HTTP 403".into())).good);
    }
}
