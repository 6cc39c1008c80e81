//! Forms: what a page sends, handed on to the administration, and where one goes from there.

use crate::api::{Problem, Visitor};
use axum::body::Bytes;
use axum::extract::Multipart;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};

pub mod account;
pub mod backup;
pub mod lifetime;
pub mod runbooks;
pub mod setup;
pub mod updates;
pub mod users;

/// Back to a page when it was done, or why it was not.
fn then<T>(outcome: Result<T, Problem>, to: &str) -> Response {
    match outcome {
        Ok(_) => Redirect::to(to).into_response(),
        Err(problem) => problem.into_response(),
    }
}

/// Something about the form itself.
fn unusable(detail: impl ToString) -> Problem {
    Problem {
        status: StatusCode::BAD_REQUEST,
        code: None,
        text: "Das Formular ist unvollständig".into(),
        detail: detail.to_string(),
    }
}

/// The file of a form, and its other fields.
async fn file(visitor: &Visitor, mut form: Multipart) -> Result<(Bytes, Vec<(String, String)>), Problem> {
    // nothing is taken from somebody who has not come in
    visitor.get("me").await?;
    let (mut file, mut fields) = (Bytes::new(), Vec::new());
    while let Some(field) = form.next_field().await.map_err(unusable)? {
        let name = field.name().unwrap_or_default().to_owned();
        match name.as_str() {
            "file" => file = field.bytes().await.map_err(unusable)?,
            _ => fields.push((name, field.text().await.map_err(unusable)?)),
        }
    }
    Ok((file, fields))
}
