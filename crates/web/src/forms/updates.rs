//! Releases brought and put in.

use super::{file, then, unusable};
use crate::api::{Visitor, escaped};
use axum::Form;
use axum::body::{Body, Bytes};
use axum::extract::{Multipart, Path};
use axum::http::Method;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;

pub async fn bundle(visitor: Visitor, form: Multipart) -> Response {
    let outcome = match file(&visitor, form).await {
        Ok((bytes, _)) => {
            visitor
                .upload(Method::PUT, "update/bundle", Body::from(bytes))
                .await
        }
        Err(problem) => Err(problem),
    };
    then(outcome, "/updates")
}

/// `accept=NAME` for each check that a person decides to go on without.
pub async fn start(visitor: Visitor, form: Bytes) -> Response {
    let text = String::from_utf8_lossy(&form).into_owned();
    let accept: Vec<&str> = text
        .split('&')
        .filter_map(|pair| pair.strip_prefix("accept="))
        .collect();
    then(
        visitor
            .send(Method::POST, "update/start", &json!({ "accept": accept }))
            .await,
        "/updates",
    )
}

pub async fn look(visitor: Visitor) -> Response {
    then(
        visitor.send(Method::POST, "update/look", &json!({})).await,
        "/updates",
    )
}

pub async fn discard(visitor: Visitor) -> Response {
    then(
        visitor.send(Method::DELETE, "update/offer", &json!({})).await,
        "/updates",
    )
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Terminal {
    id: String,
    user: String,
    password: String,
}

/// `order`, `login` or `forget`.
pub async fn terminal(visitor: Visitor, Path(action): Path<String>, Form(form): Form<Terminal>) -> Response {
    let path = format!("update/terminals/{}", escaped(&form.id));
    let outcome = match action.as_str() {
        "order" => visitor.send(Method::POST, &path, &json!({})).await,
        "login" => {
            let body = json!({ "user": form.user, "password": form.password });
            visitor.send(Method::PUT, &format!("{path}/login"), &body).await
        }
        "forget" => {
            visitor
                .send(Method::DELETE, &format!("{path}/login"), &json!({}))
                .await
        }
        _ => Err(unusable(action)),
    };
    then(outcome, "/updates")
}

/// A firmware for a terminal, from a file.
pub async fn firmware(visitor: Visitor, form: Multipart) -> Response {
    let outcome = match file(&visitor, form).await {
        Ok((bytes, fields)) => {
            let id = fields.iter().find(|(name, _)| name == "id");
            let id = escaped(id.map(|(_, id)| id.as_str()).unwrap_or_default());
            let path = format!("update/terminals/{id}/firmware");
            visitor.upload(Method::PUT, &path, Body::from(bytes)).await
        }
        Err(problem) => Err(problem),
    };
    then(outcome, "/updates")
}
