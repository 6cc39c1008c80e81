//! Check lists: which there are, the walks through them, and one walk step by step.

use crate::api::{Visitor, escaped};
use crate::frame::{Frame, flag, list, show, text};
use askama::Template;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

pub struct Input {
    pub name: String,
    pub title: String,
}

pub struct Book {
    pub name: String,
    pub version: String,
    pub own: bool,
    pub title: String,
    pub purpose: String,
    pub steps: String,
    pub inputs: Vec<Input>,
}

pub struct Walk {
    pub id: String,
    pub title: String,
    pub began: String,
    pub last: String,
    pub progress: String,
    pub ended: bool,
}

#[derive(Template)]
#[template(path = "runbooks.html")]
struct Runbooks {
    frame: Frame,
    books: Vec<Book>,
    walks: Vec<Walk>,
}

/// A text that comes in both languages.
fn said(frame: &Frame, json: &Value, name: &str) -> String {
    let both = json.get(name).cloned().unwrap_or_default();
    text(&both, frame.t("de", "en"))
}

fn book(frame: &Frame, one: &Value) -> Book {
    let inputs = list(one, "inputs").iter().map(|input| Input {
        name: text(input, "name"),
        title: said(frame, input, "title"),
    });
    Book {
        name: text(one, "name"),
        version: text(one, "version"),
        own: flag(one, "own"),
        title: said(frame, one, "title"),
        purpose: said(frame, one, "purpose"),
        steps: text(one, "steps"),
        inputs: inputs.collect(),
    }
}

fn walk(frame: &Frame, one: &Value) -> Walk {
    Walk {
        id: text(one, "id"),
        title: said(frame, one, "title"),
        began: frame.moment(&text(one, "began")),
        last: frame.moment(&text(one, "last")),
        progress: format!("{}/{}", text(one, "behind"), text(one, "steps")),
        ended: text(one, "current").is_empty(),
    }
}

pub async fn page(visitor: Visitor) -> Result<Response, Response> {
    let frame = Frame::of(&visitor, "/runbooks", ("Prüflisten", "Runbooks")).await?;
    let get = async |path: &str| visitor.get(path).await.map_err(IntoResponse::into_response);
    let (books, walks) = (get("runbooks").await?, get("runs").await?);
    let all = |json: &Value| json.as_array().cloned().unwrap_or_default();
    Ok(show(&Runbooks {
        books: all(&books).iter().map(|one| book(&frame, one)).collect(),
        walks: all(&walks).iter().map(|one| walk(&frame, one)).collect(),
        frame,
    }))
}

pub struct Finding {
    pub says: String,
    pub good: bool,
    pub found: String,
}

pub struct Line {
    pub head: String,
    pub what: &'static str,
    pub good: bool,
    pub text: String,
    pub findings: Vec<Finding>,
}

pub struct Step {
    pub id: String,
    pub title: String,
    pub text: String,
    pub standing: String,
    pub now: bool,
    pub order: String,
    pub undo_order: String,
    pub confirm: String,
    pub undo: String,
    pub undoable: bool,
    pub log: Vec<Line>,
}

#[derive(Template)]
#[template(path = "run.html")]
struct RunPage {
    frame: Frame,
    id: String,
    title: String,
    purpose: String,
    book: String,
    inputs: Vec<(String, String)>,
    ended: bool,
    steps: Vec<Step>,
}

fn line(frame: &Frame, one: &Value) -> Line {
    let good = flag(one, "good");
    let findings = list(one, "findings").iter().map(|finding| Finding {
        says: text(finding, frame.t("de", "en")),
        good: flag(finding, "good"),
        found: text(finding, "found"),
    });
    let (de, en) = match (text(one, "event").as_str(), good) {
        ("held", _) => ("Voraussetzung fehlt", "something is missing before"),
        ("ordered", true) => ("ausgeführt", "done by the device"),
        ("ordered", false) => ("abgelehnt", "refused"),
        ("looked", true) => ("geprüft: in Ordnung", "looked at: good"),
        ("looked", false) => ("geprüft: nicht in Ordnung", "looked at: not good"),
        ("skipped", _) => ("ausgelassen", "left out"),
        ("undone", true) => ("zurückgenommen", "taken back"),
        ("undone", false) => ("Rücknahme abgelehnt", "taking back refused"),
        _ => ("begonnen", "begun"),
    };
    Line {
        head: format!(
            "{} · {} · {}",
            frame.moment(&text(one, "at")),
            text(one, "who"),
            text(one, "device")
        ),
        what: if frame.english { en } else { de },
        good,
        text: text(one, "text"),
        findings: findings.collect(),
    }
}

pub async fn run(visitor: Visitor, Path(id): Path<String>) -> Result<Response, Response> {
    let frame = Frame::of(&visitor, "/runbooks", ("Prüfliste", "Runbook")).await?;
    let view = visitor.get(&format!("runs/{}", escaped(&id))).await;
    let view = view.map_err(IntoResponse::into_response)?;
    let current = text(&view, "current");
    let steps = list(&view, "steps").iter().map(|one| Step {
        id: text(one, "id"),
        title: said(&frame, one, "title"),
        text: said(&frame, one, "text"),
        standing: text(one, "standing"),
        now: text(one, "id") == current,
        order: text(one, "order"),
        undo_order: text(one, "undo_order"),
        confirm: said(&frame, one, "confirm"),
        undo: said(&frame, one, "undo"),
        undoable: flag(one, "undoable"),
        log: list(one, "log").iter().map(|one| line(&frame, one)).collect(),
    });
    let inputs = view.get("inputs").and_then(Value::as_object);
    let inputs = inputs.into_iter().flatten();
    Ok(show(&RunPage {
        id: text(&view, "id"),
        title: said(&frame, &view, "title"),
        purpose: said(&frame, &view, "purpose"),
        book: format!("{} {}", text(&view, "runbook"), text(&view, "version")),
        inputs: inputs
            .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
            .collect(),
        ended: current.is_empty(),
        steps: steps.collect(),
        frame,
    }))
}
