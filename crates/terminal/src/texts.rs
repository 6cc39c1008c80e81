//! What a terminal shows (TAB_KON_090, TIP1-A_4561-02): one table. `/` is a soft line break (0B), `|` divides message
//! and prompt (0F), as in the specification.

use card::CardKind;

/// What the person is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Type the PIN.
    Verify,
    /// Type the old, then twice the new PIN.
    Change,
    /// Type the transport PIN, then twice the new PIN.
    ChangeTransport,
    /// Type twice a first PIN.
    FirstValue,
    /// Type the PUK.
    Unblock,
    /// Type the PUK, then twice the new PIN.
    UnblockWithNew,
    /// Switch the PIN on.
    Enable,
    /// Switch the PIN off.
    Disable,
}

fn shape(text: &str) -> String {
    text.replace('/', "\u{0B}").replace('|', "\u{0F}")
}

/// Names of a password on the display: card, kind of PIN, prompt.
fn names(kind: CardKind, pin: &str) -> (&'static str, &'static str, &'static str) {
    match (kind, pin) {
        (CardKind::Hba, "PIN.QES") => ("HBA", "Signatur", "QES"),
        (CardKind::Hba, _) => ("HBA", "Freigabe", "HBA"),
        (CardKind::SmcB, _) => ("SMC-B", "Freigabe", "SMC"),
        _ => ("eGK", "Versicherten", "eGK"),
    }
}

/// The texts for a task, in the order PERFORM VERIFICATION (5) or MODIFY VERIFICATION DATA (8) wants them.
pub fn texts(task: Task, kind: CardKind, pin: &str, slot: u8, application: &str) -> Vec<String> {
    let (card, sort, prompt) = names(kind, pin);
    let ask = match (task, kind) {
        (Task::Verify, CardKind::SmcB) => format!("Eingabe /PIN /SMC-B /SLOT:{slot}|PIN.SMC:"),
        (Task::Verify, CardKind::Egk) => format!("PIN /für /{application:.32}|PIN.eGK:"),
        (Task::Enable, _) => format!("PIN-Schutz /{application:.16} /einschalten|PIN.{prompt}:"),
        (Task::Disable, _) => format!("PIN-Schutz /{application:.16} /abschalten|PIN.{prompt}:"),
        (Task::Unblock | Task::UnblockWithNew, _) => format!("Eingabe /{sort}-PUK /{card}|PUK.{prompt}:"),
        (Task::ChangeTransport, _) => format!("Eingabe /Transport-/PIN /{card}|T-PIN.{prompt}:"),
        _ => format!("Eingabe /{sort}-PIN /{card}|PIN.{prompt}:"),
    };
    let new = format!("Eingabe /neue /{sort}-PIN /(6-8 Ziffern)|PIN.{prompt}:");
    let repeat = format!("Wiederholung /neue /{sort}-PIN|PIN.{prompt}:");
    let (good, bad) = match task {
        Task::Unblock | Task::UnblockWithNew => {
            ("PIN /erfolgreich /entsperrt!", "PUK /falsch /oder /gesperrt!")
        }
        Task::Change | Task::ChangeTransport | Task::FirstValue => {
            ("PIN /erfolgreich /geändert!", "PIN /falsch /oder /gesperrt!")
        }
        _ => ("PIN /erfolgreich /verifiziert!", "PIN /falsch /oder /gesperrt!"),
    };
    let differ = "PINs /nicht /identisch! /Abbruch!".to_owned();
    let (confirm, abort) = ("Eingabe /bestätigen".to_owned(), "Abbruch".to_owned());
    let list = match task {
        Task::Verify | Task::Enable | Task::Disable | Task::Unblock => {
            vec![ask, good.into(), bad.into(), confirm, abort]
        }
        _ => vec![ask, good.into(), bad.into(), new, repeat, differ, confirm, abort],
    };
    list.iter().map(|text| shape(text)).collect()
}

/// Asks for a card to be put in (TAB_KON_727).
pub fn insert_card(kind: Option<&str>, slot: u8) -> String {
    shape(&format!(
        "Bitte /{} /in /SLOT {slot} /stecken",
        kind.unwrap_or("Karte")
    ))
}

/// Asks for a card to be taken out.
pub fn remove_card(slot: u8) -> String {
    shape(&format!("Bitte /Karte /aus /SLOT {slot} /entnehmen"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_specified_words() {
        let smcb = texts(Task::Verify, CardKind::SmcB, "PIN.SMC", 3, "");
        assert_eq!(
            smcb[0],
            "Eingabe \u{0B}PIN \u{0B}SMC-B \u{0B}SLOT:3\u{0F}PIN.SMC:"
        );
        assert_eq!(smcb[1], "PIN \u{0B}erfolgreich \u{0B}verifiziert!");
        let hba = texts(Task::Verify, CardKind::Hba, "PIN.CH", 2, "");
        assert_eq!(hba[0], "Eingabe \u{0B}Freigabe-PIN \u{0B}HBA\u{0F}PIN.HBA:");
        assert_eq!(
            insert_card(Some("eGK"), 1),
            "Bitte \u{0B}eGK \u{0B}in \u{0B}SLOT 1 \u{0B}stecken"
        );
    }

    /// At most 40 characters of message and 10 of prompt fit every display.
    #[test]
    fn texts_fit_every_display() {
        let tasks = [
            Task::Verify,
            Task::Change,
            Task::ChangeTransport,
            Task::FirstValue,
            Task::Unblock,
            Task::UnblockWithNew,
            Task::Enable,
            Task::Disable,
        ];
        for task in tasks {
            for (kind, pin) in [
                (CardKind::Egk, "MRPIN.NFD"),
                (CardKind::Hba, "PIN.QES"),
                (CardKind::SmcB, "PIN.SMC"),
            ] {
                for text in texts(task, kind, pin, 3, "Notfalldaten") {
                    let (message, prompt) = text.split_once('\u{0F}').unwrap_or((&text, ""));
                    assert!(message.chars().count() <= 48 && prompt.len() <= 10, "{text:?}");
                }
            }
        }
    }
}
