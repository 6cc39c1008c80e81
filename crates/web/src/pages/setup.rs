//! Setting the practice up, from the terminal to the practice system: each step shows what is there and what comes next.

use crate::api::Visitor;
use crate::frame::{Frame, flag, list, show, text};
use askama::Template;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

pub struct Terminal {
    pub id: String,
    pub name: String,
    pub address: String,
    pub correlation: String,
    pub connected: bool,
    pub certificate: String,
}

pub struct Card {
    pub kind: String,
    pub place: String,
    pub iccsn: String,
    pub closed: bool,
}

pub struct Mandant {
    pub id: String,
    pub terminals: String,
    pub smb: String,
    pub access: String,
}

pub struct Client {
    pub id: String,
    pub certificates: usize,
    pub users: usize,
}

pub struct Workplace {
    pub id: String,
    pub terminals: String,
}

#[derive(Template)]
#[template(path = "setup.html")]
struct Setup {
    frame: Frame,
    terminals: Vec<Terminal>,
    cards: Vec<Card>,
    mandants: Vec<Mandant>,
    clients: Vec<Client>,
    workplaces: Vec<Workplace>,
}

impl Setup {
    /// Can this terminal be paired now?
    fn waits(&self, terminal: &Terminal) -> bool {
        matches!(terminal.correlation.as_str(), "bekannt" | "zugewiesen")
    }
}

fn joined(values: &[Value]) -> String {
    let all: Vec<&str> = values.iter().filter_map(Value::as_str).collect();
    all.join(", ")
}

pub async fn page(visitor: Visitor) -> Result<Response, Response> {
    let frame = Frame::of(&visitor, "/setup", ("Praxis einrichten", "Set up the practice")).await?;
    let get = async |path: &str| visitor.get(path).await.map_err(IntoResponse::into_response);
    let (terminals, cards, model) = (get("terminals").await?, get("cards").await?, get("model").await?);
    let terminals = terminals.as_array().into_iter().flatten().map(|one| Terminal {
        id: text(one, "id"),
        name: text(one, "name"),
        address: text(one, "address"),
        correlation: text(one, "correlation"),
        connected: flag(one, "connected"),
        certificate: text(one, "certificate"),
    });
    let cards = cards.as_array().into_iter().flatten().map(|one| Card {
        kind: text(one, "type"),
        place: format!("{} · {}", text(one, "terminal"), text(one, "slot")),
        iccsn: text(one, "iccsn"),
        closed: text(one, "type") == "SMC-B" && !flag(one, "open"),
    });
    let mandants = list(&model, "mandants").iter().map(|one| {
        let access = list(one, "access").iter();
        let access: Vec<String> = access
            .map(|pair| format!("{} → {}", text(pair, "client_system"), text(pair, "workplace")))
            .collect();
        Mandant {
            id: text(one, "id"),
            terminals: joined(list(one, "terminals")),
            smb: joined(list(one, "smb")),
            access: access.join(", "),
        }
    });
    let clients = list(&model, "client_systems").iter().map(|one| Client {
        id: text(one, "id"),
        certificates: list(one, "certificates").len(),
        users: list(one, "users").len(),
    });
    let workplaces = list(&model, "workplaces").iter().map(|one| Workplace {
        id: text(one, "id"),
        terminals: joined(list(one, "local_terminals")),
    });
    Ok(show(&Setup {
        frame,
        terminals: terminals.collect(),
        cards: cards.collect(),
        mandants: mandants.collect(),
        clients: clients.collect(),
        workplaces: workplaces.collect(),
    }))
}
