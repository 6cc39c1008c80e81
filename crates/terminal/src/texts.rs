//! What a terminal shows (TAB_KON_090, TIP1-A_4561-02; TAB_KON_727, TIP1-A_5408): one table. `/` is a soft line break
//! (0B), `|` divides message and prompt (0F), as in the specification.

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

/// Turns the marks of the table into control characters. Values are put in afterwards: what stands in them is no mark.
fn shape(text: &str) -> String {
    text.replace('/', "\u{0B}").replace('|', "\u{0F}")
}

/// A password on a display: prompts for the PIN, the PUK, the transport PIN, the new PIN and its repetition. `X` is the
/// slot, `ANW` the application.
struct Prompts {
    verify: &'static str,
    old: &'static str,
    puk: &'static str,
    transport: &'static str,
    new: &'static str,
    repeat: &'static str,
}

const EGK: Prompts = Prompts {
    verify: "PIN /für /ANW|PIN.eGK:",
    old: "PIN /für /ANW|PIN.eGK:",
    puk: "Eingabe /Versicherten-/PUK|PUK.eGK:",
    transport: "Eingabe /Transport-/Versicherten-/PIN|T-PIN.eGK:",
    new: "Eingabe /neue /Versicherten-/PIN /(6-8 Ziffern)|PIN.eGK:",
    repeat: "Eingabe /Versicherten-/PIN /wiederholen!|PIN.eGK:",
};

/// PIN.AMTS_REP: to change it, the insured person's own PIN is asked for.
const EGK_PROXY: Prompts = Prompts {
    verify: "Vertreter-PIN /für /ANW|Vertr-PIN:",
    old: "Vertreter-PIN /ändern|PIN.eGK:",
    puk: "Vertreter-PIN /entsperren|PIN.eGK:",
    transport: "Eingabe /Transport-/Versicherten-/PIN|T-PIN.eGK:",
    new: "Eingabe /neue /Vertreter-PIN /(6-8 Ziffern)|Vertr-PIN:",
    repeat: "Eingabe /neue /Vertreter-PIN /wiederholen!|Vertr-PIN:",
};

const HBA_CH: Prompts = Prompts {
    verify: "Eingabe /Freigabe-PIN /HBA|PIN.HBA:",
    old: "Eingabe /Freigabe-PIN /HBA|PIN.HBA:",
    puk: "Eingabe /Freigabe-PUK /HBA|PUK.HBA:",
    transport: "Eingabe /Transport-/PIN /HBA|T-PIN.HBA:",
    new: "Eingabe /neue /Freigabe-PIN /HBA /(6-8 Ziffern)|PIN.HBA:",
    repeat: "Eingabe /für HBA /wiederholen!|PIN.HBA:",
};

/// PIN.QES outside of a signature, which has a job number in front (TIP1-A_4639).
const HBA_QES: Prompts = Prompts {
    verify: "Eingabe /Signatur-PIN /HBA|PIN.QES:",
    old: "Eingabe /Signatur-PIN /HBA|PIN.QES:",
    puk: "Eingabe /Signatur-PUK /HBA|PUK.QES:",
    transport: "Eingabe /Transport-/PIN /HBA|T-PIN.QES:",
    new: "Eingabe /neue /Signatur-PIN /HBA /(6-8 Ziffern)|PIN.QES:",
    repeat: "Eingabe /für HBA /wiederholen!|PIN.QES:",
};

const SMC_B: Prompts = Prompts {
    verify: "Eingabe /PIN SMC-B /SLOT:X|PIN.SMC:",
    old: "Eingabe /PIN SMC-B /SLOT:X|PIN.SMC:",
    puk: "Eingabe /PUK SMC-B /SLOT:X|PUK.SMC:",
    transport: "Eingabe /Transport-/PIN SMC-B /SLOT:X|T-PIN.SMC:",
    new: "Eingabe /neue /PIN SMC-B /SLOT:X /(6-8 Ziffern)|PIN.SMC:",
    repeat: "Eingabe /PIN.SMC /SLOT:X /wiederholen!|PIN.SMC:",
};

fn prompts(kind: CardKind, pin: &str) -> &'static Prompts {
    match (kind, pin) {
        (CardKind::Hba, "PIN.QES") => &HBA_QES,
        (CardKind::Hba, _) => &HBA_CH,
        (CardKind::SmcB, _) => &SMC_B,
        (_, "PIN.AMTS_REP") => &EGK_PROXY,
        _ => &EGK,
    }
}

/// What the display calls the application of a multi-reference PIN (TAB_KON_838, at most 16 characters). PIN.CH and others
/// that are not in the table are named by what they are.
pub fn application(pin: &str) -> &'static str {
    match pin {
        "MRPIN.NFD" | "MRPIN.NFD_READ" => "Notfalldaten",
        "MRPIN.DPE" | "MRPIN.DPE_READ" => "Pers.Erklärungen",
        "MRPIN.AMTS" | "PIN.AMTS_REP" => "Medikationsdaten",
        "MRPIN.GDD" => "PIN GDD",
        "MRPIN.OSE" => "Organspende",
        _ => "Versicherten-PIN",
    }
}

/// The texts for a task, in the order PERFORM VERIFICATION (5) or MODIFY VERIFICATION DATA (8) wants them.
pub fn texts(task: Task, kind: CardKind, pin: &str, slot: u8) -> Vec<String> {
    let prompts = prompts(kind, pin);
    let ask = match task {
        Task::Verify => prompts.verify,
        // without an old PIN nobody is asked for one
        Task::Change | Task::FirstValue => prompts.old,
        Task::ChangeTransport => prompts.transport,
        Task::Unblock | Task::UnblockWithNew => prompts.puk,
        Task::Enable => "PIN-Schutz /ANW /einschalten|PIN.eGK:",
        Task::Disable => "PIN-Schutz /ANW /abschalten|PIN.eGK:",
    };
    let (good, bad) = match task {
        Task::Unblock | Task::UnblockWithNew => {
            ("PIN /erfolgreich /entsperrt!", "PUK /falsch /oder /gesperrt!")
        }
        Task::Change | Task::ChangeTransport | Task::FirstValue => {
            ("PIN /erfolgreich /geändert!", "PIN /falsch /oder /gesperrt!")
        }
        Task::Verify | Task::Enable | Task::Disable => {
            ("PIN /erfolgreich /verifiziert!", "PIN /falsch /oder /gesperrt!")
        }
    };
    // SICCT wants these two as well; the specification leaves their words to us
    let (confirm, abort) = ("Eingabe /bestätigen", "Abbruch");
    let list = match task {
        Task::Verify | Task::Enable | Task::Disable | Task::Unblock => vec![ask, good, bad, confirm, abort],
        _ => vec![
            ask,
            good,
            bad,
            prompts.new,
            prompts.repeat,
            "PINs /nicht /identisch! /Abbruch!",
            confirm,
            abort,
        ],
    };
    list.into_iter()
        .map(|text| {
            shape(text)
                .replace("ANW", application(pin))
                .replace("SLOT:X", &format!("SLOT:{slot}"))
        })
        .collect()
}

/// The texts for a PIN.QES that is to be used for signatures: of this job, or for a comfort signature.
pub fn signature(job: Option<&str>) -> Vec<String> {
    let mut list = texts(Task::Verify, CardKind::Hba, "PIN.QES", 0);
    if let Some(ask) = list.first_mut() {
        *ask = match job {
            Some(job) => shape("#JOB /Eingabe /Signatur-PIN /HBA|PIN.QES:").replace("JOB", job),
            None => shape("Komfortsignatur /aktivieren /HBA|PIN.QES:"),
        };
    }
    list
}

/// What the terminal shows after a remote entry, instead of the result, which it cannot know (rows of remote PIN).
pub fn remote(mut texts: Vec<String>) -> Vec<String> {
    let outcomes = ["Eingabe /wird /bearbeitet.", "Eingabe /fehlgeschlagen."];
    for (place, text) in texts.iter_mut().skip(1).zip(outcomes) {
        *place = shape(text);
    }
    texts
}

/// How the display names a card type of the interface.
fn card_name(kind: &str) -> Option<&'static str> {
    match kind {
        "EGK" => Some("eGK"),
        "HBA" | "HBAx" | "HBA-qSig" => Some("HBA"),
        "SMC-B" | "SM-B" => Some("SMC-B"),
        _ => None,
    }
}

/// Asks for a card of this type (as the interface names it) to be put in.
pub fn insert_card(kind: Option<&str>, slot: u8) -> String {
    let name = kind.and_then(card_name).unwrap_or("Karte");
    shape(&format!("Bitte /{name} /in /SLOT {slot} /stecken"))
}

/// Asks for a card to be taken out.
pub fn remove_card(kind: Option<&str>, slot: u8) -> String {
    match kind.and_then(card_name) {
        Some(name) => shape(&format!("Bitte /{name} /aus /SLOT {slot} /entnehmen")),
        None => shape("Bitte /Karte /entnehmen"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(task: Task, kind: CardKind, pin: &str) -> Vec<String> {
        texts(task, kind, pin, 3)
            .iter()
            .map(|text| text.replace('\u{0B}', "/").replace('\u{0F}', "|"))
            .collect()
    }

    #[test]
    fn the_specified_words() {
        let smcb = shown(Task::Verify, CardKind::SmcB, "PIN.SMC");
        assert_eq!(smcb[0], "Eingabe /PIN SMC-B /SLOT:3|PIN.SMC:");
        assert_eq!(smcb[1], "PIN /erfolgreich /verifiziert!");
        let hba = shown(Task::Change, CardKind::Hba, "PIN.CH");
        assert_eq!(hba[0], "Eingabe /Freigabe-PIN /HBA|PIN.HBA:");
        assert_eq!(hba[3], "Eingabe /neue /Freigabe-PIN /HBA /(6-8 Ziffern)|PIN.HBA:");
        assert_eq!(hba[4], "Eingabe /für HBA /wiederholen!|PIN.HBA:");
        let proxy = shown(Task::UnblockWithNew, CardKind::Egk, "PIN.AMTS_REP");
        assert_eq!(proxy[0], "Vertreter-PIN /entsperren|PIN.eGK:");
        assert_eq!(
            shown(Task::Enable, CardKind::Egk, "MRPIN.DPE")[0],
            "PIN-Schutz /Pers.Erklärungen /einschalten|PIN.eGK:"
        );
        assert_eq!(
            signature(Some("ABC-123"))[0],
            "#ABC-123 \u{0B}Eingabe \u{0B}Signatur-PIN \u{0B}HBA\u{0F}PIN.QES:"
        );
        assert_eq!(
            signature(None)[0],
            "Komfortsignatur \u{0B}aktivieren \u{0B}HBA\u{0F}PIN.QES:"
        );
        assert_eq!(
            insert_card(Some("EGK"), 1),
            "Bitte \u{0B}eGK \u{0B}in \u{0B}SLOT 1 \u{0B}stecken"
        );
        assert_eq!(remove_card(None, 1), "Bitte \u{0B}Karte \u{0B}entnehmen");
    }

    /// At most 48 characters of message and 10 of prompt fit every display.
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
                (CardKind::Egk, "MRPIN.DPE"),
                (CardKind::Egk, "PIN.AMTS_REP"),
                (CardKind::Hba, "PIN.QES"),
                (CardKind::SmcB, "PIN.SMC"),
            ] {
                for text in texts(task, kind, pin, 3) {
                    let (message, prompt) = text.split_once('\u{0F}').unwrap_or((&text, ""));
                    assert!(message.chars().count() <= 48 && prompt.len() <= 10, "{text:?}");
                }
            }
        }
    }
}
