//! A run on paper.

use crate::book::{Runbook, Step};
use crate::page::{BODY, HEAD, ITEM, Pages, SMALL, TITLE};
use crate::run::{Entry, Event, Run, Standing};
use crate::{Error, Text};
use base::Timestamp;

/// The device that makes the record.
#[derive(Debug, Clone)]
pub struct About {
    /// Name and number of its gSMC-K.
    pub device: String,
    /// Version of its program.
    pub version: String,
    /// When the record is made.
    pub at: Timestamp,
    /// English instead of German?
    pub english: bool,
}

struct Words(bool);

impl Words {
    fn t<'t>(&self, de: &'t str, en: &'t str) -> &'t str {
        if self.0 { en } else { de }
    }

    fn of<'t>(&self, text: &'t Text) -> &'t str {
        self.t(&text.de, &text.en)
    }
}

/// The record of a run as a PDF, not signed yet.
pub fn record(run: &Run, about: &About) -> Result<Vec<u8>, Error> {
    let book = run.runbook()?;
    let words = Words(about.english);
    let title = format!("{}: {}", words.t("Protokoll", "Record"), words.of(&book.title));
    let mut pages = Pages::new(format!("{title} · {} · {}", run.id, moment(about.at)));
    pages.write(&title, TITLE);
    pages.gap(6.0);
    pages.write(&run.text(words.of(&book.purpose)), BODY);
    pages.gap(6.0);
    let mut facts = vec![
        (words.t("Gerät", "Device"), about.device.clone()),
        (
            words.t("Version des Geräts", "Version of the device"),
            about.version.clone(),
        ),
        (
            words.t("Prüfliste", "Runbook"),
            format!(
                "{} {}, SHA-256 {}",
                book.runbook,
                book.version,
                Runbook::digest(&run.book)
            ),
        ),
        (words.t("Durchgang", "Run"), run.id.clone()),
        (words.t("Ergebnis", "Result"), result(run, &book, &words)),
    ];
    for input in &book.inputs {
        let value = run.inputs.get(&input.name).cloned().unwrap_or_default();
        facts.push((words.of(&input.title), value));
    }
    for (name, value) in facts {
        pages.write(&format!("{name}: {value}"), BODY);
    }
    for entry in run.log.iter().filter(|entry| entry.step.is_none()) {
        pages.write(&line(entry, words.t("begonnen", "begun")), BODY);
    }
    if run.carried() > 0 {
        let text = words.t(
            "* berichtet von einem anderen Gerät, hier nicht nachgeprüft",
            "* reported by another device, not looked at again here",
        );
        pages.write(text, BODY);
    }
    for (number, step) in (1..).zip(&book.steps) {
        write_step(&mut pages, run, (number, step), &words);
    }
    Ok(pages.finish(&title))
}

/// "2026-11-29 17:03 UTC".
fn moment(at: Timestamp) -> String {
    format!("{} UTC", at.strftime("%Y-%m-%d %H:%M"))
}

fn line(entry: &Entry, what: &str) -> String {
    let (at, who, device) = (moment(entry.at), &entry.who, &entry.device);
    format!("{at} · {who} · {device}: {what}")
}

fn result(run: &Run, book: &Runbook, words: &Words) -> String {
    let skipped = book
        .steps
        .iter()
        .filter(|step| run.standing(&step.id) == Standing::Skipped)
        .count();
    match (run.current(book), skipped) {
        (Some(step), _) => format!(
            "{} – {}",
            words.t("nicht beendet", "not finished"),
            words.of(&step.title)
        ),
        (None, 0) => words.t("vollständig", "complete").to_owned(),
        (None, skipped) => format!(
            "{}: {skipped}",
            words.t("beendet, ausgelassene Schritte", "finished, steps left out")
        ),
    }
}

fn write_step(pages: &mut Pages, run: &Run, (number, step): (usize, &Step), words: &Words) {
    let standing = match run.standing(&step.id) {
        Standing::Open => words.t("offen", "open"),
        Standing::Failed => words.t("nicht in Ordnung", "not as it must be"),
        Standing::Done => words.t("erledigt", "done"),
        Standing::Skipped => words.t("ausgelassen", "left out"),
    };
    pages.gap(8.0);
    pages.room(60.0);
    pages.write(
        &format!("{number}. {} – {standing}", run.text(words.of(&step.title))),
        HEAD,
    );
    pages.write(&run.text(words.of(&step.text)), BODY);
    let own = run.log.iter().enumerate();
    let own = own.filter(|(_, entry)| entry.step.as_deref() == Some(step.id.as_str()));
    for (place, entry) in own {
        let refused = words.t("abgelehnt", "refused");
        let (what, note): (String, &str) = match &entry.event {
            Event::Began => continue,
            Event::Held { .. } => {
                let what = words.t("Voraussetzung fehlt", "something is missing before");
                (what.into(), "")
            }
            Event::Ordered { what, refused: None } => (what.clone(), ""),
            Event::Ordered {
                what,
                refused: Some(why),
            } => (format!("{what} – {refused}: {why}"), ""),
            Event::Looked { done, note, .. } => {
                let what = match done {
                    true => words.t("geprüft: in Ordnung", "looked at: good"),
                    false => words.t("geprüft: nicht in Ordnung", "looked at: not good"),
                };
                (what.into(), note)
            }
            Event::Skipped { note } => (words.t("ausgelassen", "left out").into(), note),
            Event::Undone {
                note,
                what,
                refused: why,
            } => {
                let mut text = words.t("zurückgenommen", "taken back").to_owned();
                text += &what.as_ref().map(|what| format!(" ({what})")).unwrap_or_default();
                text += &why
                    .as_ref()
                    .map(|why| format!(" – {refused}: {why}"))
                    .unwrap_or_default();
                (text, note)
            }
        };
        let star = if place < run.carried() { "* " } else { "" };
        pages.write(&format!("{star}{}", line(entry, &what)), ITEM);
        if !note.is_empty() {
            pages.write(&format!("„{note}“"), SMALL);
        }
        for finding in entry.findings() {
            let mark = if finding.good { "[x]" } else { "[  ]" };
            let says = words.t(&finding.de, &finding.en);
            pages.write(&format!("{mark} {says}: {}", finding.plain()), SMALL);
        }
    }
}
