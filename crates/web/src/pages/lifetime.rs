//! The lifetime extension, step by step, and the way back.

use crate::api::Visitor;
use crate::frame::{Frame, flag, list, show, text};
use askama::Template;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

pub struct Generation {
    pub number: u64,
    pub source: String,
    pub stages: String,
    pub from: String,
    pub to: String,
    pub quarantine: String,
    pub probes: Vec<(String, String)>,
}

#[derive(Template)]
#[template(path = "lifetime.html")]
struct Lifetime {
    frame: Frame,
    iccsn: String,
    frozen: bool,
    search: String,
    activation: String,
    clients: String,
    doubt: String,
    generations: Vec<Generation>,
}

fn generation(frame: &Frame, one: &Value) -> Generation {
    let families = list(one, "families");
    let stages: Vec<String> = families
        .iter()
        .map(|family| format!("{}: {}", text(family, "family"), text(family, "stage")))
        .collect();
    let probes = families.iter().flat_map(|family| list(family, "probes"));
    let probes = probes.map(|probe| {
        let outcome = match probe.get("outcome") {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Object(map)) => {
                let all = map
                    .iter()
                    .map(|(name, why)| format!("{name}: {}", why.as_str().unwrap_or_default()));
                all.collect::<Vec<_>>().join(", ")
            }
            _ => String::new(),
        };
        (text(probe, "name"), outcome)
    });
    let certificates = list(one, "certificates");
    let first = |name: &str| {
        certificates
            .iter()
            .map(|one| text(one, name))
            .min()
            .unwrap_or_default()
    };
    Generation {
        number: one.get("number").and_then(Value::as_u64).unwrap_or_default(),
        source: text(one, "source"),
        stages: stages.join(", "),
        from: frame.day(&first("from")),
        to: frame.day(&first("to")),
        quarantine: text(one, "quarantine"),
        probes: probes.collect(),
    }
}

pub async fn page(visitor: Visitor) -> Result<Response, Response> {
    let frame = Frame::of(
        &visitor,
        "/lifetime",
        ("Laufzeitverlängerung", "Lifetime extension"),
    )
    .await?;
    let view = visitor
        .get("lifetime")
        .await
        .map_err(IntoResponse::into_response)?;
    let clients = view.get("clients").cloned().unwrap_or_default();
    let generations = list(&view, "generations")
        .iter()
        .map(|one| generation(&frame, one))
        .collect();
    Ok(show(&Lifetime {
        iccsn: text(&view, "iccsn"),
        frozen: flag(&view, "frozen"),
        search: frame.day(&text(&view, "search_begins")),
        activation: frame.day(&text(&view, "activation")),
        clients: text(&clients, "brainpoolP256r1"),
        doubt: text(&view, "clock_doubt"),
        generations,
        frame,
    }))
}
