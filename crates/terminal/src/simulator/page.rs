//! The page of the virtual terminal, and the same as JSON for `langlauf terminal`.

use super::{CannotDo, Fault, Key, VirtualTerminal};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;

/// What a person does.
#[derive(Debug, Clone, Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// Put a card from the table into a slot.
    Insert {
        /// Slot from 1.
        slot: u8,
        /// Name of the card.
        card: String,
    },
    /// Take the card out of a slot.
    Remove {
        /// Slot from 1.
        slot: u8,
    },
    /// Type digits and press enter.
    Type {
        /// The digits.
        digits: String,
    },
    /// Press digits without enter.
    Press {
        /// The digits.
        digits: String,
    },
    /// Press enter.
    Enter,
    /// Press cancel.
    Cancel,
    /// Press correction.
    Correct,
    /// Let something go wrong, or nothing.
    Fault {
        /// What.
        kind: Option<Fault>,
    },
    /// Pull the network cable, or put it back.
    Network {
        /// In?
        up: bool,
    },
}

/// Routes: the page, `/state`, `/action`.
pub fn router(terminal: VirtualTerminal) -> Router {
    Router::new()
        .route("/", get(page))
        .route(
            "/state",
            get(async |State(terminal): State<VirtualTerminal>| Json(terminal.appearance())),
        )
        .route("/action", post(action))
        .with_state(terminal)
}

async fn page() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'",
        ),
    ];
    (headers, include_str!("page.html")).into_response()
}

async fn action(State(terminal): State<VirtualTerminal>, Json(action): Json<Action>) -> Response {
    match act(&terminal, action) {
        Ok(()) => Json(terminal.appearance()).into_response(),
        Err(error) => (StatusCode::CONFLICT, error.to_string()).into_response(),
    }
}

fn act(terminal: &VirtualTerminal, action: Action) -> Result<(), CannotDo> {
    match action {
        Action::Insert { slot, card } => return terminal.insert(slot, &card),
        Action::Remove { slot } => return terminal.remove(slot),
        Action::Type { digits } => {
            terminal.press(Key::Digits(digits));
            terminal.press(Key::Enter);
        }
        Action::Press { digits } => terminal.press(Key::Digits(digits)),
        Action::Enter => terminal.press(Key::Enter),
        Action::Cancel => terminal.press(Key::Cancel),
        Action::Correct => terminal.press(Key::Correct),
        Action::Network { up } => terminal.set_network(up),
        Action::Fault { kind } => terminal.set_fault(kind),
    }
    Ok(())
}
