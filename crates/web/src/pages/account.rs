//! Coming in, and one's own password and second factor.

use crate::api::Visitor;
use crate::frame::{Frame, list, show, text};
use askama::Template;
use axum::Form;
use axum::extract::Query;
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use qrcodegen::{QrCode, QrCodeEcc};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Template)]
#[template(path = "login.html")]
struct Login {
    frame: Frame,
    wrong: &'static str,
}

#[derive(Deserialize)]
pub struct Said {
    #[serde(default)]
    said: String,
}

pub async fn login(visitor: Visitor, Query(Said { said }): Query<Said>) -> Response {
    let frame = Frame::open(&visitor, "/login", ("Anmelden", "Log in"));
    let wrong = match said.as_str() {
        "code" => frame.t(
            "Der Code der Authentifizierungs-App fehlt oder passt nicht.",
            "The code of your authenticator is missing or does not fit.",
        ),
        "locked" => frame.t(
            "Zu viele Fehlversuche: bitte eine Minute warten.",
            "Too many attempts: please wait a minute.",
        ),
        "password" => frame.t(
            "Benutzer oder Passwort stimmt nicht.",
            "User or password is wrong.",
        ),
        _ => "",
    };
    show(&Login { frame, wrong })
}

#[derive(Template)]
#[template(path = "account.html")]
struct Account {
    frame: Frame,
    must_password: bool,
    must_second: bool,
    /// Secret and picture of a new second factor.
    fresh: Option<(String, String)>,
}

async fn account(visitor: &Visitor, fresh: Option<(String, String)>) -> Result<Response, Response> {
    let frame = Frame::of(visitor, "/account", ("Mein Zugang", "My access")).await?;
    let me = visitor.get("me").await.map_err(IntoResponse::into_response)?;
    let must = |what: &str| list(&me, "must").iter().any(|one| one.as_str() == Some(what));
    Ok(show(&Account {
        must_password: must("password"),
        must_second: must("second"),
        frame,
        fresh,
    }))
}

pub async fn page(visitor: Visitor) -> Result<Response, Response> {
    account(&visitor, None).await
}

/// The code of the present second factor.
#[derive(Deserialize)]
pub struct Present {
    #[serde(default)]
    code: String,
}

/// A new second factor, as picture and text.
pub async fn second(visitor: Visitor, Form(present): Form<Present>) -> Result<Response, Response> {
    let code = (!present.code.is_empty()).then_some(present.code);
    let made: Value = visitor
        .send(Method::POST, "me/second", &json!({ "code": code }))
        .await
        .map_err(IntoResponse::into_response)?;
    let picture = picture(&text(&made, "uri"));
    account(&visitor, Some((text(&made, "secret"), picture))).await
}

/// A QR code as path of an SVG, 1 unit a module; empty if the text is too long.
fn picture(text: &str) -> String {
    let Ok(code) = QrCode::encode_text(text, QrCodeEcc::Medium) else {
        return String::new();
    };
    let mut path = String::new();
    for y in 0..code.size() {
        for x in (0..code.size()).filter(|x| code.get_module(*x, y)) {
            path.push_str(&format!("M{},{}h1v1h-1z", x + 4, y + 4));
        }
    }
    path
}
