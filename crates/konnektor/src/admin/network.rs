//! The network as administrators see it.

use super::Admin;
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};

pub(super) fn routes() -> Router<Admin> {
    Router::new()
        .route("/api/v1/vpn", get(vpn))
        .route("/api/v1/network", get(network))
        .route("/api/v1/doctor", get(doctor))
}

async fn vpn(State(admin): State<Admin>) -> Json<serde_json::Value> {
    Json(admin.inner.vpn_view())
}

async fn network(State(admin): State<Admin>) -> Json<serde_json::Value> {
    Json(admin.inner.network_view().await)
}

async fn doctor(State(admin): State<Admin>) -> Json<crate::doctor::Diagnosis> {
    Json(admin.inner.diagnose().await)
}
