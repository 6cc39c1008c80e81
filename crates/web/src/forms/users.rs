//! Users invited, changed, removed.

use super::{then, unusable};
use crate::api::{Visitor, escaped};
use crate::frame::text;
use crate::pages::users::users;
use axum::Form;
use axum::extract::Path;
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
pub struct User {
    name: String,
    #[serde(default)]
    role: String,
}

pub async fn act(
    visitor: Visitor,
    Path(action): Path<String>,
    Form(user): Form<User>,
) -> Result<Response, Response> {
    let path = format!("users/{}", escaped(&user.name));
    let role = (!user.role.is_empty()).then_some(user.role);
    let outcome = match action.as_str() {
        "invite" => {
            let body = json!({ "role": role });
            let made = visitor.send(Method::POST, &format!("{path}/invite"), &body).await;
            let made = made.map_err(IntoResponse::into_response)?;
            return users(&visitor, Some((user.name, text(&made, "code")))).await;
        }
        "role" => visitor.send(Method::PUT, &path, &json!({ "role": role })).await,
        "remove" => visitor.send(Method::DELETE, &path, &json!({})).await,
        _ => Err(unusable(action)),
    };
    Ok(then(outcome, "/users"))
}
