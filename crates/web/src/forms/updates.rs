//! Releases brought and put in.

use super::{file, then};
use crate::api::Visitor;
use axum::body::{Body, Bytes};
use axum::extract::Multipart;
use axum::http::Method;
use axum::response::Response;
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
