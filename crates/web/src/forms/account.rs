//! Coming in and going out.

use super::then;
use crate::api::{COOKIE, LANGUAGE, Visitor};
use crate::frame::text;
use axum::Form;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
pub struct Login {
    user: String,
    password: String,
    #[serde(default)]
    code: String,
}

fn with_cookie(mut response: Response, cookie: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(cookie) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
    response
}

pub async fn login(visitor: Visitor, Form(form): Form<Login>) -> Response {
    let code = (!form.code.is_empty()).then_some(form.code);
    let body = json!({ "user": form.user, "password": form.password, "code": code });
    match visitor.send(Method::POST, "login", &body).await {
        Ok(answer) => {
            let token = text(&answer, "token");
            let cookie = format!("{COOKIE}={token}; Path=/; Secure; HttpOnly; SameSite=Strict");
            with_cookie(Redirect::to("/").into_response(), &cookie)
        }
        Err(problem) => {
            let said = match problem.status {
                StatusCode::TOO_MANY_REQUESTS => "locked",
                // the administration says which of the two is missing
                StatusCode::UNAUTHORIZED if problem.detail == "code" => "code",
                _ => "password",
            };
            Redirect::to(&format!("/login?said={said}")).into_response()
        }
    }
}

pub async fn logout(visitor: Visitor) -> Response {
    // who was out already is out
    let _ = visitor.send(Method::POST, "logout", &json!({})).await;
    let cookie = format!("{COOKIE}=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Strict");
    with_cookie(Redirect::to("/login").into_response(), &cookie)
}

#[derive(Deserialize)]
pub struct Language {
    language: String,
    #[serde(default)]
    back: String,
}

pub async fn language(Form(form): Form<Language>) -> Response {
    let language = if form.language == "en" { "en" } else { "de" };
    let cookie = format!("{LANGUAGE}={language}; Path=/; Max-Age=31536000; Secure; SameSite=Strict");
    // only to a page of ours
    let own = form.back.starts_with('/') && !form.back.starts_with("//");
    let back = if own { form.back.as_str() } else { "/" };
    with_cookie(Redirect::to(back).into_response(), &cookie)
}

#[derive(Deserialize)]
pub struct Password {
    old: String,
    new: String,
    again: String,
}

pub async fn password(visitor: Visitor, Form(form): Form<Password>) -> Response {
    if form.new != form.again {
        return super::unusable("Die beiden neuen Passwörter sind verschieden / the new passwords differ")
            .into_response();
    }
    let body = json!({ "old": form.old, "new": form.new });
    then(visitor.send(Method::PUT, "me/password", &body).await, "/account")
}

#[derive(Deserialize)]
pub struct Confirm {
    code: String,
}

pub async fn confirm(visitor: Visitor, Form(form): Form<Confirm>) -> Response {
    then(
        visitor
            .send(Method::PUT, "me/second", &json!({ "code": form.code }))
            .await,
        "/account",
    )
}
