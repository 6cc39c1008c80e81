//! Export and import.

use super::file;
use crate::api::{Problem, Visitor};
use crate::frame::{Frame, list, show, text};
use askama::Template;
use axum::Form;
use axum::extract::Multipart;
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

#[derive(Template)]
#[template(path = "exported.html")]
struct Exported {
    frame: Frame,
    passphrase: String,
    /// As an address with the file in it.
    file: String,
}

/// The file and its passphrase on one page, this once.
pub async fn export(visitor: Visitor) -> Result<Response, Response> {
    let frame = Frame::of(&visitor, "/backup", ("Sicherung", "Backup")).await?;
    let made = visitor.send(Method::POST, "backup", &json!({})).await;
    let made = made.map_err(IntoResponse::into_response)?;
    let backup = made.get("backup").cloned().unwrap_or_default();
    Ok(show(&Exported {
        frame,
        passphrase: text(&made, "passphrase"),
        file: format!(
            "data:application/json,{}",
            crate::api::escaped(&backup.to_string())
        ),
    }))
}

pub struct Difference {
    pub what: String,
    pub now: String,
    pub then: String,
}

#[derive(Template)]
#[template(path = "preview.html")]
struct Preview {
    frame: Frame,
    signer: String,
    made: String,
    confirm: String,
    backup: String,
    differences: Vec<Difference>,
}

/// What an import would change.
pub async fn preview(visitor: Visitor, form: Multipart) -> Result<Response, Response> {
    let frame = Frame::of(&visitor, "/backup", ("Sicherung", "Backup")).await?;
    let work = async {
        let (bytes, fields) = file(&visitor, form).await?;
        let backup = String::from_utf8_lossy(&bytes).into_owned();
        let passphrase = fields.into_iter().find(|(name, _)| name == "passphrase");
        let passphrase = passphrase.map(|(_, value)| value).unwrap_or_default();
        let body = json!({ "backup": backup, "passphrase": passphrase });
        let view = visitor.send(Method::POST, "backup/preview", &body).await?;
        Ok::<_, Problem>((view, backup))
    };
    let (view, backup) = work.await.map_err(IntoResponse::into_response)?;
    let differences = list(&view, "changes").iter().map(|one| Difference {
        what: text(one, "what"),
        now: text(one, "now"),
        then: text(one, "then"),
    });
    Ok(show(&Preview {
        signer: text(&view, "signer"),
        made: frame.moment(&text(&view, "made")),
        confirm: text(&view, "confirm"),
        differences: differences.collect(),
        backup,
        frame,
    }))
}

#[derive(Deserialize)]
pub struct Import {
    backup: String,
    passphrase: String,
    confirm: String,
}

pub async fn import(visitor: Visitor, Form(form): Form<Import>) -> Response {
    let body = json!({ "backup": form.backup, "passphrase": form.passphrase, "confirm": form.confirm });
    super::then(visitor.send(Method::PUT, "backup", &body).await, "/backup")
}
