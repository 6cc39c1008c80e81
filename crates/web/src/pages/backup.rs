//! Export and import of the configuration.

use crate::api::Visitor;
use crate::frame::{Frame, show};
use askama::Template;
use axum::response::Response;

#[derive(Template)]
#[template(path = "backup.html")]
struct Backup {
    frame: Frame,
}

pub async fn page(visitor: Visitor) -> Result<Response, Response> {
    let frame = Frame::of(&visitor, "/backup", ("Sicherung", "Backup")).await?;
    Ok(show(&Backup { frame }))
}
