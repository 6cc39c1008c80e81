//! The first page: does everything work, what will end when, what must I do.

use crate::api::Visitor;
use crate::frame::{Frame, flag, list, show, text};
use askama::Template;
use axum::response::Response;
use serde_json::Value;

/// How it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Light {
    Good,
    Poor,
    Bad,
}

/// Something to do, with the way to where it is done.
pub struct Task {
    pub what: String,
    pub to: &'static str,
}

/// Something that ends.
pub struct End {
    pub name: String,
    pub day: String,
    pub left: i64,
    pub soon: bool,
}

#[derive(Template)]
#[template(path = "home.html")]
struct Home {
    frame: Frame,
    health: Health,
    ends: Vec<End>,
}

#[derive(Template)]
#[template(path = "health.html")]
struct Health {
    english: bool,
    light: Light,
    wrong: Vec<(String, String)>,
    tasks: Vec<Task>,
    terminals: (usize, usize),
    cards: Vec<String>,
}

impl Health {
    fn t<'t>(&self, de: &'t str, en: &'t str) -> &'t str {
        if self.english { en } else { de }
    }

    fn is(&self, light: Light) -> bool {
        self.light == light
    }
}

/// Which page helps with a condition.
fn way(condition: &str) -> &'static str {
    let has = |part: &str| condition.contains(part);
    match () {
        () if has("CardTerminal") => "/setup",
        () if has("NK_Certificate") => "/lifetime",
        () if has("FW_") || has("Software") => "/updates",
        () if has("LOG") || has("Cryptoperation") => "/logs",
        () => "/network",
    }
}

async fn look(visitor: &Visitor) -> Result<Health, Response> {
    use axum::response::IntoResponse;
    let (state, terminals, cards) = (
        visitor.get("state").await,
        visitor.get("terminals").await,
        visitor.get("cards").await,
    );
    let state = state.map_err(IntoResponse::into_response)?;
    let (terminals, cards) = (terminals.unwrap_or_default(), cards.unwrap_or_default());
    let english = visitor.english;
    let t = |de: &str, en: &str| if english { en.to_owned() } else { de.to_owned() };
    let mut light = Light::Good;
    let (mut wrong, mut tasks) = (Vec::new(), Vec::new());
    for condition in list(&state, "conditions").iter().filter(|one| flag(one, "value")) {
        let (name, meaning, severity) = (
            text(condition, "name"),
            text(condition, "meaning"),
            text(condition, "severity"),
        );
        light = light.max(match severity.as_str() {
            "Fatal" | "Error" => Light::Bad,
            "Warning" => Light::Poor,
            _ => Light::Good,
        });
        tasks.push(Task {
            what: meaning.clone(),
            to: way(&name),
        });
        wrong.push((meaning, name));
    }
    let all: Vec<&Value> = terminals.as_array().into_iter().flatten().collect();
    let own: Vec<&&Value> = all
        .iter()
        .filter(|one| text(one, "correlation") != "bekannt")
        .collect();
    let connected = own.iter().filter(|one| flag(one, "connected")).count();
    if own.is_empty() {
        light = light.max(Light::Poor);
        tasks.push(Task {
            what: t(
                "Noch ist kein Kartenterminal eingerichtet",
                "No card terminal is set up yet",
            ),
            to: "/setup",
        });
    } else if connected < own.len() {
        light = light.max(Light::Poor);
        tasks.push(Task {
            what: t(
                "Ein Kartenterminal ist nicht verbunden",
                "A card terminal is not connected",
            ),
            to: "/setup",
        });
    }
    let cards: Vec<&Value> = cards.as_array().into_iter().flatten().collect();
    let closed = cards
        .iter()
        .any(|card| text(card, "type") == "SMC-B" && !flag(card, "open"));
    if closed {
        light = light.max(Light::Poor);
        tasks.push(Task {
            what: t(
                "Eine SMC-B ist nicht freigeschaltet: PIN im Praxissystem oder hier eingeben",
                "An SMC-B is closed: enter its PIN in the practice system or here",
            ),
            to: "/setup",
        });
    }
    Ok(Health {
        english,
        light,
        wrong,
        tasks,
        terminals: (connected, own.len()),
        cards: cards.iter().map(|card| text(card, "type")).collect(),
    })
}

pub async fn page(visitor: Visitor) -> Result<Response, Response> {
    let frame = Frame::of(&visitor, "/", ("Übersicht", "Overview")).await?;
    let health = look(&visitor).await?;
    let calendar = visitor.get("calendar").await.unwrap_or_default();
    let ends = calendar
        .as_array()
        .into_iter()
        .flatten()
        .filter(|one| flag(one, "in_use"))
        .take(5);
    let ends = ends.map(|one| {
        let left = one.get("days_left").and_then(Value::as_i64).unwrap_or_default();
        End {
            name: text(one, "name"),
            day: frame.day(&text(one, "end")),
            left,
            // lists are renewed by themselves, long before a person need think of them
            soon: match text(one, "subject").ends_with("list") {
                true => left < 3,
                false => left < 90,
            },
        }
    });
    let ends = ends.collect();
    Ok(show(&Home { frame, health, ends }))
}

/// The part that changes by itself.
pub async fn health(visitor: Visitor) -> Result<Response, Response> {
    look(&visitor).await.map(|health| show(&health))
}
