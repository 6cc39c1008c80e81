//! Steps of the lifetime extension.

use super::{file, then, unusable};
use crate::api::Visitor;
use axum::Form;
use axum::body::Body;
use axum::extract::{Multipart, Path};
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
pub struct Which {
    #[serde(default)]
    generation: Option<u32>,
}

pub async fn act(visitor: Visitor, Path(action): Path<String>, Form(which): Form<Which>) -> Response {
    let generation = which.generation.unwrap_or_default();
    let outcome = match action.as_str() {
        "fetch" => visitor.send(Method::POST, "lifetime/fetch", &json!({})).await,
        "freeze" | "thaw" => {
            let body = json!({ "frozen": action == "freeze" });
            visitor.send(Method::PUT, "lifetime/frozen", &body).await
        }
        "register" | "probe" | "activate" => {
            let path = format!("lifetime/generations/{generation}/{action}");
            visitor.send(Method::POST, &path, &json!({})).await
        }
        "show" => {
            let body = json!({ "generation": which.generation });
            visitor.send(Method::PUT, "lifetime/clients", &body).await
        }
        _ => Err(unusable(action)),
    };
    then(outcome, "/lifetime")
}

pub async fn package(visitor: Visitor, form: Multipart) -> Response {
    let outcome = match file(&visitor, form).await {
        Ok((bytes, _)) => {
            visitor
                .upload(Method::PUT, "lifetime/package", Body::from(bytes))
                .await
        }
        Err(problem) => Err(problem),
    };
    then(outcome, "/lifetime")
}

/// The way back; without a file it works with what is there.
pub async fn recover(visitor: Visitor, form: Multipart) -> Response {
    let outcome = match file(&visitor, form).await {
        Ok((bytes, _)) => visitor.upload(Method::POST, "recover", Body::from(bytes)).await,
        Err(problem) => return problem.into_response(),
    };
    then(outcome, "/lifetime")
}
