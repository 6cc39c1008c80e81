//! Users and roles.

use crate::api::Visitor;
use crate::frame::{Frame, flag, show, text};
use askama::Template;
use axum::response::{IntoResponse, Response};

pub struct User {
    pub name: String,
    pub role: String,
    pub second: bool,
    pub invited: bool,
}

#[derive(Template)]
#[template(path = "users.html")]
struct Users {
    frame: Frame,
    users: Vec<User>,
    /// For whom, and his code.
    fresh: Option<(String, String)>,
}

/// The page, with the code of a user who was just invited: it is shown this once.
pub async fn users(visitor: &Visitor, fresh: Option<(String, String)>) -> Result<Response, Response> {
    let frame = Frame::of(visitor, "/users", ("Benutzer", "Users")).await?;
    let all = visitor.get("users").await.map_err(IntoResponse::into_response)?;
    let users = all.as_array().into_iter().flatten().map(|one| User {
        name: text(one, "name"),
        role: text(one, "role"),
        second: flag(one, "second"),
        invited: flag(one, "invited"),
    });
    let users = users.collect();
    Ok(show(&Users { frame, users, fresh }))
}

pub async fn page(visitor: Visitor) -> Result<Response, Response> {
    users(&visitor, None).await
}
