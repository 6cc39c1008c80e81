//! Check lists begun, walked, carried and recorded.

use super::{file, then, unusable};
use crate::api::{Problem, Visitor, escaped};
use crate::frame::text;
use axum::Form;
use axum::body::Body;
use axum::extract::{Multipart, Path};
use axum::http::{Method, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The runbook's name, and what it asks for, each under its own name.
pub async fn begin(visitor: Visitor, Form(mut form): Form<BTreeMap<String, String>>) -> Response {
    let runbook = form.remove("runbook").unwrap_or_default();
    let inputs: BTreeMap<&String, &str> = form.iter().map(|(name, value)| (name, value.trim())).collect();
    let body = json!({ "runbook": runbook, "inputs": inputs });
    walked(visitor.send(Method::POST, "runs", &body).await)
}

/// To the walk that was begun or carried.
fn walked(outcome: Result<Value, Problem>) -> Response {
    match outcome {
        Ok(view) => Redirect::to(&format!("/runs/{}", escaped(&text(&view, "id")))).into_response(),
        Err(problem) => problem.into_response(),
    }
}

/// A runbook of one's own.
pub async fn take(visitor: Visitor, form: Multipart) -> Response {
    let outcome = match file(&visitor, form).await {
        Ok((bytes, _)) => visitor.upload(Method::POST, "runbooks", Body::from(bytes)).await,
        Err(problem) => Err(problem),
    };
    then(outcome, "/runbooks")
}

/// A walk that began on another device.
pub async fn carry(visitor: Visitor, form: Multipart) -> Response {
    let work = async {
        let (bytes, _) = file(&visitor, form).await?;
        let run: Value = serde_json::from_slice(&bytes).map_err(unusable)?;
        visitor.send(Method::PUT, "runs", &run).await
    };
    walked(work.await)
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Named {
    runbook: String,
    run: String,
}

pub async fn forget(visitor: Visitor, Form(named): Form<Named>) -> Response {
    let path = match named.run.is_empty() {
        true => format!("runbooks/{}", escaped(&named.runbook)),
        false => format!("runs/{}", escaped(&named.run)),
    };
    then(visitor.send(Method::DELETE, &path, &json!({})).await, "/runbooks")
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Said {
    step: String,
    note: String,
    confirmed: Option<String>,
}

/// `walk`, `skip` or `undo`.
pub async fn act(
    visitor: Visitor,
    Path((id, action)): Path<(String, String)>,
    Form(said): Form<Said>,
) -> Response {
    let id = escaped(&id);
    let step = format!("runs/{id}/steps/{}", escaped(&said.step));
    let path = match action.as_str() {
        "walk" => step,
        "skip" | "undo" => format!("{step}/{action}"),
        _ => return unusable(action).into_response(),
    };
    let body = json!({ "note": said.note, "confirmed": said.confirmed.is_some() });
    then(
        visitor.send(Method::POST, &path, &body).await,
        &format!("/runs/{id}#now"),
    )
}

/// The signed record.
pub async fn record(visitor: Visitor, Path(id): Path<String>) -> Response {
    let id = escaped(&id);
    let path = format!("runs/{id}/record?english={}", visitor.english);
    attached(
        visitor.download(&path).await,
        "application/pdf",
        &format!("{id}.pdf"),
    )
}

/// The walk, to go on with on another device.
pub async fn log(visitor: Visitor, Path(id): Path<String>) -> Response {
    let id = escaped(&id);
    let bytes = visitor.download(&format!("runs/{id}/log")).await;
    attached(bytes, "application/json", &format!("{id}.json"))
}

fn attached(bytes: Result<Vec<u8>, Problem>, kind: &'static str, name: &str) -> Response {
    match bytes {
        Err(problem) => problem.into_response(),
        Ok(bytes) => {
            let name = format!("attachment; filename=\"{name}\"");
            let headers = [
                (header::CONTENT_TYPE, kind.to_owned()),
                (header::CONTENT_DISPOSITION, name),
            ];
            (headers, bytes).into_response()
        }
    }
}
