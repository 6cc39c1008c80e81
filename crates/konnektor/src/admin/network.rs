//! The network as administrators see it.

use super::{Admin, Body, Path, audit};
use crate::Failure;
use axum::extract::State;
use axum::routing::{get, post, put};
use axum::{Json, Router};
use base::Code;
use serde::Deserialize;
use serde_json::{Value, json};

pub(super) fn routes() -> Router<Admin> {
    Router::new()
        .route("/api/v1/vpn", get(vpn))
        .route("/api/v1/network", get(network))
        .route("/api/v1/network/legacy", get(legacy))
        .route("/api/v1/network/legacy/update", post(update_legacy))
        .route("/api/v1/network/legacy/step-back", post(step_back_legacy))
        .route("/api/v1/network/legacy/networks/{id}", put(choose_legacy))
        .route("/api/v1/doctor", get(doctor))
}

async fn vpn(State(admin): State<Admin>) -> Json<Value> {
    Json(admin.inner.vpn_view())
}

async fn network(State(admin): State<Admin>) -> Json<Value> {
    Json(admin.inner.network_view().await)
}

async fn legacy(State(admin): State<Admin>) -> Result<Json<Value>, Failure> {
    Ok(Json(admin.inner.legacy_view()?))
}

async fn update_legacy(State(admin): State<Admin>) -> Result<Json<Value>, Failure> {
    let new = admin.inner.update_legacy(true).await;
    audit(&admin.inner, "networks beside the TI looked for");
    Ok(Json(json!({ "new": new? })))
}

async fn step_back_legacy(State(admin): State<Admin>) -> Result<Json<Value>, Failure> {
    let done = admin.inner.step_back_legacy().await;
    audit(&admin.inner, "networks beside the TI: one list back");
    match done? {
        true => Ok(Json(admin.inner.legacy_view()?)),
        false => Err(Failure::new(
            Code::NOT_PERMITTED,
            "there is no list before this one",
        )),
    }
}

/// What becomes of a network beside the TI; `null` leaves it to the settings.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Choice {
    active: Option<bool>,
}

async fn choose_legacy(
    State(admin): State<Admin>,
    Path(id): Path<String>,
    Body(choice): Body<Choice>,
) -> Result<Json<Value>, Failure> {
    let outcome = admin.inner.choose_legacy(&id, choice.active).await;
    audit(
        &admin.inner,
        &format!("network beside the TI {id:.100}: {:?}", choice.active),
    );
    outcome?;
    Ok(Json(admin.inner.legacy_view()?))
}

async fn doctor(State(admin): State<Admin>) -> Json<crate::doctor::Diagnosis> {
    Json(admin.inner.diagnose().await)
}
