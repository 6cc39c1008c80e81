//! The logs.

use crate::api::{Visitor, escaped};
use crate::frame::{Frame, show, text};
use askama::Template;
use axum::extract::Query;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

#[derive(Deserialize)]
pub struct Which {
    #[serde(default = "system")]
    log: String,
    #[serde(default)]
    severity: String,
    #[serde(default)]
    before: String,
}

fn system() -> String {
    "system".into()
}

pub struct Line {
    pub number: String,
    pub time: String,
    pub topic: String,
    pub severity: String,
    pub body: String,
}

#[derive(Template)]
#[template(path = "logs.html")]
struct Logs {
    frame: Frame,
    log: String,
    severity: String,
    lines: Vec<Line>,
    last: String,
}

pub async fn page(visitor: Visitor, Query(which): Query<Which>) -> Result<Response, Response> {
    let frame = Frame::of(&visitor, "/logs", ("Protokolle", "Logs")).await?;
    let mut path = format!("logs/{}?count=100", escaped(&which.log));
    for (name, value) in [("severity", &which.severity), ("before", &which.before)] {
        if !value.is_empty() {
            path.push_str(&format!("&{name}={}", escaped(value)));
        }
    }
    let entries = visitor.get(&path).await.map_err(IntoResponse::into_response)?;
    let lines: Vec<Line> = entries
        .as_array()
        .into_iter()
        .flatten()
        .map(|one| Line {
            number: text(one, "number"),
            time: frame.moment(&text(one, "time")),
            topic: text(one, "topic"),
            severity: text(one, "severity"),
            body: text(one, "body"),
        })
        .collect();
    let last = match lines.len() {
        100 => lines.last().map(|line| line.number.clone()).unwrap_or_default(),
        _ => String::new(),
    };
    Ok(show(&Logs {
        frame,
        log: which.log,
        severity: which.severity,
        lines,
        last,
    }))
}
