//! What every page has: who is there, the ways to the others, the language.

use crate::api::{Problem, Visitor};
use askama::Template;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Redirect, Response};
use serde_json::Value;

/// Who looks at a page, and what stands around it.
pub struct Frame {
    /// English instead of German?
    pub english: bool,
    /// Path of the page.
    pub at: &'static str,
    /// Title, German and English.
    title: (&'static str, &'static str),
    /// Who has come in.
    pub user: String,
    /// His role.
    pub role: String,
    /// Version of these pages: the addresses of their files carry it.
    pub version: String,
}

/// A way to a page.
pub struct Way {
    /// Where.
    pub to: &'static str,
    /// What it is called.
    pub name: &'static str,
}

const WAYS: [(&str, &str, &str); 10] = [
    ("/", "Übersicht", "Overview"),
    ("/setup", "Einrichten", "Set-up"),
    ("/calendar", "Kalender", "Calendar"),
    ("/lifetime", "Laufzeit", "Lifetime"),
    ("/updates", "Updates", "Updates"),
    ("/runbooks", "Prüflisten", "Runbooks"),
    ("/network", "Diagnose", "Diagnosis"),
    ("/logs", "Protokolle", "Logs"),
    ("/backup", "Sicherung", "Backup"),
    ("/users", "Benutzer", "Users"),
];

impl Frame {
    /// For a page that anybody may see.
    pub fn open(visitor: &Visitor, at: &'static str, title: (&'static str, &'static str)) -> Self {
        Self {
            english: visitor.english,
            at,
            title,
            user: String::new(),
            role: String::new(),
            version: env!("CARGO_PKG_VERSION").into(),
        }
    }

    /// For a page of somebody who has come in and has nothing else to do first.
    pub async fn of(
        visitor: &Visitor,
        at: &'static str,
        title: (&'static str, &'static str),
    ) -> Result<Self, Response> {
        let me = visitor.get("me").await.map_err(IntoResponse::into_response)?;
        let must = me
            .get("must")
            .and_then(Value::as_array)
            .is_some_and(|must| !must.is_empty());
        if must && at != "/account" {
            return Err(Redirect::to("/account").into_response());
        }
        Ok(Self {
            user: text(&me, "name"),
            role: text(&me, "role"),
            ..Self::open(visitor, at, title)
        })
    }

    /// A text in the visitor's language.
    pub fn t<'t>(&self, de: &'t str, en: &'t str) -> &'t str {
        match self.english {
            true => en,
            false => de,
        }
    }

    /// The title.
    pub fn title(&self) -> &'static str {
        self.t(self.title.0, self.title.1)
    }

    /// The ways to all pages this role may see.
    pub fn ways(&self) -> Vec<Way> {
        WAYS.into_iter()
            .filter(|(to, ..)| match *to {
                "/users" => self.role == "super",
                "/backup" => self.role == "super" || self.role == "local",
                "/logs" | "/setup" => self.role != "remote",
                _ => true,
            })
            .map(|(to, de, en)| Way {
                to,
                name: self.t(de, en),
            })
            .collect()
    }

    /// May this visitor change anything?
    pub fn changes(&self) -> bool {
        self.role != "reader"
    }

    /// A date as people write it.
    pub fn day(&self, rfc3339: &str) -> String {
        match (rfc3339.get(..4), rfc3339.get(5..7), rfc3339.get(8..10)) {
            (Some(year), Some(month), Some(day)) if !self.english => format!("{day}.{month}.{year}"),
            (Some(year), Some(month), Some(day)) => format!("{year}-{month}-{day}"),
            _ => rfc3339.to_owned(),
        }
    }

    /// Date and time (UTC) as people write them.
    pub fn moment(&self, rfc3339: &str) -> String {
        let time = rfc3339.get(11..16).unwrap_or_default();
        format!("{} {time}", self.day(rfc3339))
    }
}

/// A page, or why there is none.
pub fn show(page: &impl Template) -> Response {
    match page.render() {
        Ok(html) => Html(html).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[derive(Template)]
#[template(path = "refused.html")]
struct Refused<'p> {
    problem: &'p Problem,
}

/// What is shown of something refused.
pub fn refused(problem: &Problem) -> Response {
    (problem.status, show(&Refused { problem })).into_response()
}

/// A text in JSON; empty when it is not there.
pub fn text(json: &Value, name: &str) -> String {
    match json.get(name) {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => String::new(),
        Some(other) => other.to_string(),
    }
}

/// The entries of a list in JSON.
pub fn list<'j>(json: &'j Value, name: &str) -> &'j [Value] {
    json.get(name)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

/// Is it so?
pub fn flag(json: &Value, name: &str) -> bool {
    json.get(name).and_then(Value::as_bool).unwrap_or_default()
}
