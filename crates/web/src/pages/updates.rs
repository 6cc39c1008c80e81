//! Releases: what runs, what is offered, what stands against it, what became of earlier ones.

use crate::api::Visitor;
use crate::frame::{Frame, flag, list, show, text};
use askama::Template;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

pub struct Check {
    pub name: String,
    pub good: bool,
    pub must: bool,
    pub says: String,
}

pub struct Offer {
    pub version: String,
    pub since: String,
    pub expires: String,
    pub notes: String,
    pub failed: String,
    pub ordered: bool,
    pub checks: Vec<Check>,
    pub possible: bool,
}

pub struct Outcome {
    pub version: String,
    pub result: String,
    pub reason: String,
    pub seconds: String,
}

#[derive(Template)]
#[template(path = "updates.html")]
struct Updates {
    frame: Frame,
    version: String,
    supervised: bool,
    automatic: bool,
    window: String,
    trial: String,
    before: String,
    offer: Option<Offer>,
    listed: Vec<Listed>,
    terminals: Vec<Terminal>,
    outcomes: Vec<Outcome>,
}

/// Firmware of a terminal.
pub struct Terminal {
    pub id: String,
    pub model: String,
    pub version: String,
    pub available: String,
    pub state: String,
    pub good: bool,
    pub login: bool,
    pub possible: bool,
}

fn terminal(frame: &Frame, one: &Value) -> Terminal {
    let part = |name: &str| one.get(name).cloned().unwrap_or_default();
    let version = |json: &Value, name: &str| {
        let numbers: Vec<String> = list(json, name).iter().map(ToString::to_string).collect();
        numbers.join(".")
    };
    let (product, last) = (part("product"), part("last"));
    let (failed, percent) = (text(&last, "failed"), text(one, "percent"));
    let ordered = !text(one, "ordered").is_empty();
    let (state, good) = match (percent.is_empty(), ordered, last.is_object(), failed.is_empty()) {
        (false, ..) => (
            format!("{} {percent} %", frame.t("wird aktualisiert", "being updated")),
            true,
        ),
        (_, true, ..) => (
            frame
                .t("wartet auf das Terminal", "waits for the terminal")
                .to_owned(),
            true,
        ),
        (_, _, true, false) => (
            format!("{}: {failed}", frame.t("fehlgeschlagen", "failed")),
            false,
        ),
        (_, _, true, true) => (frame.t("aktualisiert", "updated").to_owned(), true),
        _ => (String::new(), true),
    };
    let (available, login) = (version(&part("available"), "version"), flag(one, "login"));
    Terminal {
        id: text(one, "terminal"),
        model: format!("{} {}", text(&product, "vendor"), text(&product, "model")),
        version: version(&product, "firmware"),
        possible: !available.is_empty() && login && !ordered && percent.is_empty(),
        available,
        state,
        good,
        login,
    }
}

/// What the configuration service has.
pub struct Listed {
    pub version: String,
    pub critical: bool,
    pub deadline: String,
    pub notes: String,
}

fn listed(frame: &Frame, one: &Value) -> Listed {
    let numbers: Vec<String> = list(one, "version").iter().map(ToString::to_string).collect();
    Listed {
        version: numbers.join("."),
        critical: flag(one, "critical"),
        deadline: frame.day(&text(one, "deadline")),
        notes: text(one, "notes"),
    }
}

fn offer(frame: &Frame, one: &Value) -> Offer {
    let checks: Vec<Check> = list(one, "checks")
        .iter()
        .map(|check| Check {
            name: text(check, "name"),
            good: flag(check, "good"),
            must: flag(check, "must"),
            says: text(check, frame.t("de", "en")),
        })
        .collect();
    Offer {
        version: text(one, "version"),
        since: frame.moment(&text(one, "since")),
        expires: frame.day(&text(one, "expires")),
        notes: text(one, "notes"),
        failed: text(one, "failed"),
        ordered: !text(one, "ordered").is_empty(),
        possible: checks.iter().all(|check| check.good || !check.must),
        checks,
    }
}

fn outcome(frame: &Frame, one: &Value) -> Outcome {
    let result = match text(one, "result").as_str() {
        "confirmed" => frame.t("bestätigt", "confirmed"),
        "refused" => frame.t("abgelehnt", "refused"),
        "rolled_back" => frame.t("zurückgenommen", "taken back"),
        "fell_back" => frame.t("später zurückgenommen", "taken back later"),
        "state_restored" => frame.t("Zustand wiederhergestellt", "state put back"),
        _ => frame.t("Notbetrieb", "rescue"),
    };
    let reason = one.get("reason").cloned().unwrap_or_default();
    let kind = match text(&reason, "kind").as_str() {
        "damaged" => frame.t("beschädigt", "damaged"),
        "not_started" => frame.t("ließ sich nicht starten", "could not be started"),
        "ended" => frame.t("beendete sich selbst", "ended by itself"),
        "not_ready" => frame.t("wurde nicht rechtzeitig bereit", "was not ready in time"),
        "hung" => frame.t("antwortete nicht mehr", "stopped answering"),
        "memory" => frame.t("brauchte zu viel Speicher", "took too much memory"),
        "disk" => frame.t("füllte die Festplatte", "filled the disk"),
        "self_test" => frame.t("Selbsttest fehlgeschlagen", "its examination failed"),
        "no_work" => frame.t("tat nicht, was vorher ging", "did not do what worked before"),
        "interrupted" => frame.t("wurde unterbrochen", "was interrupted"),
        _ => "",
    };
    let detail = text(&reason, "detail");
    Outcome {
        version: text(one, "version"),
        result: result.to_owned(),
        reason: match detail.is_empty() {
            true => kind.to_owned(),
            false => format!("{kind}: {detail}"),
        },
        seconds: text(one, "seconds"),
    }
}

pub async fn page(visitor: Visitor) -> Result<Response, Response> {
    let frame = Frame::of(&visitor, "/updates", ("Updates", "Updates")).await?;
    let get = async |path: &str| visitor.get(path).await.map_err(IntoResponse::into_response);
    let (view, terminals) = (get("update").await?, get("update/terminals").await?);
    let terminals = terminals.as_array().into_iter().flatten();
    let slots = view.get("slots").cloned().unwrap_or_default();
    let confirmed = text(&slots, "confirmed");
    let other = if confirmed == "a" { "b" } else { "a" };
    let other = slots
        .get(other)
        .filter(|held| text(held, "standing") == "confirmed");
    let window = view.get("window").cloned().unwrap_or_default();
    let days: Vec<&str> = list(&window, "days")
        .iter()
        .filter_map(Value::as_str)
        .map(|day| match day {
            "monday" => frame.t("Montag", "Monday"),
            "tuesday" => frame.t("Dienstag", "Tuesday"),
            "wednesday" => frame.t("Mittwoch", "Wednesday"),
            "thursday" => frame.t("Donnerstag", "Thursday"),
            "friday" => frame.t("Freitag", "Friday"),
            "saturday" => frame.t("Samstag", "Saturday"),
            _ => frame.t("Sonntag", "Sunday"),
        })
        .collect();
    Ok(show(&Updates {
        version: text(&view, "version"),
        supervised: flag(&view, "supervised"),
        automatic: flag(&view, "automatic"),
        window: format!(
            "{} {}:00, {} h",
            days.join(", "),
            text(&window, "hour"),
            text(&window, "hours")
        ),
        trial: slots
            .get("trial")
            .map(|trial| text(trial, "version"))
            .unwrap_or_default(),
        before: other.map(|held| text(held, "version")).unwrap_or_default(),
        offer: view
            .get("offered")
            .filter(|one| one.is_object())
            .map(|one| offer(&frame, one)),
        listed: list(&view, "ksr").iter().map(|one| listed(&frame, one)).collect(),
        terminals: terminals.map(|one| terminal(&frame, one)).collect(),
        outcomes: list(&slots, "outcomes")
            .iter()
            .map(|one| outcome(&frame, one))
            .collect(),
        frame,
    }))
}
