//! The chain from the device to the TI: what is broken, and whose it is to mend it.

use crate::api::Visitor;
use crate::frame::{Frame, list, show, text};
use askama::Template;
use axum::response::{IntoResponse, Response};

#[derive(Template)]
#[template(path = "network.html")]
struct Network {
    frame: Frame,
}

pub struct Link {
    pub name: String,
    pub health: String,
    pub says: String,
    pub evidence: String,
    pub milliseconds: String,
}

#[derive(Template)]
#[template(path = "doctor.html")]
struct Doctor {
    frame: Frame,
    says: String,
    links: Vec<Link>,
}

/// The page comes at once, what takes seconds follows.
pub async fn page(visitor: Visitor) -> Result<Response, Response> {
    let frame = Frame::of(&visitor, "/network", ("Diagnose", "Diagnosis")).await?;
    Ok(show(&Network { frame }))
}

pub async fn doctor(visitor: Visitor) -> Result<Response, Response> {
    let frame = Frame::of(&visitor, "/network", ("Diagnose", "Diagnosis")).await?;
    let found = visitor.get("doctor").await.map_err(IntoResponse::into_response)?;
    let language = frame.t("de", "en");
    let links = list(&found, "links").iter().map(|one| Link {
        name: text(one, "link"),
        health: text(one, "health"),
        says: text(one, language),
        evidence: text(one, "evidence"),
        milliseconds: text(one, "milliseconds"),
    });
    Ok(show(&Doctor {
        says: text(&found, language),
        links: links.collect(),
        frame,
    }))
}
