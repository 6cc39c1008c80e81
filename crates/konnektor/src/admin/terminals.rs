//! Administration of terminals, cards in them, and stored PINs.

use super::{Admin, Body, Path, Query, Text, audit};
use crate::Failure;
use crate::config::TerminalConfig;
use crate::terminals::Correlation;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use base::Code;
use base::id::{CtId, Iccsn, Mac};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use terminal::Product;
use zeroize::Zeroizing;

pub(super) fn routes() -> Router<Admin> {
    Router::new()
        .route("/api/v1/terminals", get(terminals).post(add_terminal))
        .route("/api/v1/terminals/discover", post(discover))
        .route("/api/v1/terminals/{id}", delete(remove_terminal))
        .route("/api/v1/terminals/{id}/pair", post(pair))
        .route("/api/v1/terminals/{id}/correlation", put(set_correlation))
        .route("/api/v1/cards", get(cards))
        .route("/api/v1/smb-pins", get(smb_pins))
        .route(
            "/api/v1/smb-pins/{iccsn}",
            put(set_smb_pin).delete(forget_smb_pin),
        )
}

#[derive(Serialize)]
struct TerminalView {
    #[serde(flatten)]
    config: TerminalConfig,
    correlation: &'static str,
    connected: bool,
    slots: u8,
    certificate: Option<String>,
    product: Option<Product>,
}

async fn terminals(State(admin): State<Admin>) -> Json<Vec<TerminalView>> {
    let list = admin
        .inner
        .terminals
        .all()
        .into_iter()
        .map(|terminal| TerminalView {
            correlation: terminal.shown(),
            config: terminal.record.config,
            connected: terminal.session.is_some(),
            slots: terminal.slots,
            certificate: terminal.record.certificate,
            product: terminal.record.product,
        });
    Json(list.collect())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AddRequest {
    id: CtId,
    address: SocketAddr,
    /// Compared with what the terminal says, if given.
    name: Option<String>,
    mac: Option<Mac>,
}

async fn add_terminal(
    State(admin): State<Admin>,
    Body(request): Body<AddRequest>,
) -> Result<StatusCode, Failure> {
    let what = format!("terminal {} added", request.id);
    admin
        .inner
        .add_terminal(request.id, request.address, request.name, request.mac)
        .await?;
    audit(&admin.inner, &what);
    Ok(StatusCode::CREATED)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CorrelationRequest {
    correlation: Correlation,
}

async fn set_correlation(
    State(admin): State<Admin>,
    Path(id): Path<CtId>,
    Body(request): Body<CorrelationRequest>,
) -> Result<StatusCode, Failure> {
    admin.inner.set_correlation(&id, request.correlation)?;
    audit(&admin.inner, &format!("terminal {id} {:?}", request.correlation));
    Ok(StatusCode::NO_CONTENT)
}

async fn remove_terminal(State(admin): State<Admin>, Path(id): Path<CtId>) -> Result<StatusCode, Failure> {
    admin.inner.remove_terminal(&id)?;
    audit(&admin.inner, &format!("terminal {id} removed"));
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PairRequest {
    /// SHA-256 of the terminal's certificate as printed on its gSMC-KT, hexadecimal.
    fingerprint: Option<String>,
}

async fn pair(
    State(admin): State<Admin>,
    Path(id): Path<CtId>,
    Body(request): Body<PairRequest>,
) -> Result<Json<serde_json::Value>, Failure> {
    let fingerprint = admin.inner.pair(&id, request.fingerprint.as_deref()).await?;
    audit(&admin.inner, &format!("terminal {id} paired"));
    Ok(Json(serde_json::json!({ "fingerprint": fingerprint })))
}

#[derive(Deserialize)]
struct DiscoverQuery {
    address: SocketAddr,
}

async fn discover(
    State(admin): State<Admin>,
    Query(query): Query<DiscoverQuery>,
) -> Result<Json<Vec<serde_json::Value>>, Failure> {
    let found = admin.inner.search(query.address).await?;
    let view = found.iter().map(|one| {
        serde_json::json!({
            "name": one.name, "mac": one.mac.to_string(),
            "address": SocketAddr::from((one.address, one.port)).to_string(),
        })
    });
    Ok(Json(view.collect()))
}

async fn cards(State(admin): State<Admin>) -> Json<Vec<serde_json::Value>> {
    let list = admin.inner.cards.all();
    let view = list.iter().map(|card| {
        serde_json::json!({
            "handle": card.handle.as_str(), "type": card.found.kind.as_str(), "terminal": card.ct_id.as_str(),
            "slot": card.slot.number(), "inserted": card.inserted.to_string(),
            "iccsn": card.found.iccsn.as_ref().map(ToString::to_string), "open": card.is_open("PIN.SMC"),
        })
    });
    Json(view.collect())
}

async fn smb_pins(State(admin): State<Admin>) -> Result<Json<Vec<serde_json::Value>>, Failure> {
    let list = admin.inner.smb_pins()?;
    let view = list.iter().map(|(iccsn, entry)| {
        serde_json::json!({ "iccsn": iccsn, "state": entry.state, "since": entry.since.to_string() })
    });
    Ok(Json(view.collect()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SmbPinRequest {
    pin: Zeroizing<String>,
}

async fn set_smb_pin(
    State(admin): State<Admin>,
    Path(iccsn): Path<Iccsn>,
    Text(body): Text,
) -> Result<Json<serde_json::Value>, Failure> {
    let body = Zeroizing::new(body);
    // the library's own text would quote what it did not understand: a PIN
    let request: SmbPinRequest = serde_json::from_str(&body)
        .map_err(|_| Failure::new(Code::SYNTAX, "the body must be {\"pin\": \"digits\"}"))?;
    let inner = admin.inner.clone();
    // an administrator who hangs up must not stop what has begun at a card
    let storing = admin
        .inner
        .spawn(async move { inner.store_smb_pin(&iccsn, request.pin).await });
    let state = storing
        .await
        .map_err(|error| Failure::new(Code::INTERNAL, error))??;
    Ok(Json(serde_json::json!({ "state": state })))
}

async fn forget_smb_pin(State(admin): State<Admin>, Path(iccsn): Path<Iccsn>) -> Result<StatusCode, Failure> {
    admin.inner.forget_smb_pin(&iccsn)?;
    audit(&admin.inner, "PIN of an SM-B forgotten");
    Ok(StatusCode::NO_CONTENT)
}
