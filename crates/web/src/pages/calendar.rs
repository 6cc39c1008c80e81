//! Everything that ends.

use crate::api::Visitor;
use crate::frame::{Frame, flag, show, text};
use askama::Template;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

pub struct Entry {
    pub name: String,
    pub day: String,
    pub left: i64,
    pub in_use: bool,
    pub effect: String,
    pub remedy: String,
}

#[derive(Template)]
#[template(path = "calendar.html")]
struct Calendar {
    frame: Frame,
    entries: Vec<Entry>,
}

pub async fn page(visitor: Visitor) -> Result<Response, Response> {
    let frame = Frame::of(&visitor, "/calendar", ("Was wann endet", "What ends when")).await?;
    let calendar = visitor
        .get("calendar")
        .await
        .map_err(IntoResponse::into_response)?;
    let in_language = |one: &Value, name: &str| match frame.english {
        true => text(one, &format!("{name}_en")),
        false => text(one, name),
    };
    let entries = calendar.as_array().into_iter().flatten().map(|one| Entry {
        name: text(one, "name"),
        day: frame.day(&text(one, "end")),
        left: one.get("days_left").and_then(Value::as_i64).unwrap_or_default(),
        in_use: flag(one, "in_use"),
        effect: in_language(one, "effect"),
        remedy: in_language(one, "remedy"),
    });
    let entries = entries.collect();
    Ok(show(&Calendar { frame, entries }))
}
