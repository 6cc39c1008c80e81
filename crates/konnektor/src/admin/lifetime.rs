//! Administration of the lifetime extension, and the calendar of all ends.

use super::{Admin, Binary, Body, Path, Query, audit};
use crate::Failure;
use crate::lifetime::{ByHand, RecoverOptions, RecoverStep};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use base::Code;
use serde::Deserialize;

pub(super) fn routes() -> Router<Admin> {
    Router::new()
        .route("/api/v1/lifetime", get(lifetime))
        .route("/api/v1/lifetime/steps", get(steps))
        .route("/api/v1/lifetime/package", put(package))
        .route("/api/v1/lifetime/fetch", post(fetch))
        .route("/api/v1/lifetime/clients", get(clients).put(show_clients))
        .route("/api/v1/lifetime/frozen", put(freeze))
        .route(
            "/api/v1/lifetime/generations/{generation}/{action}",
            post(generation),
        )
        .route("/api/v1/calendar", get(calendar))
        .route("/api/v1/calendar.ics", get(feed))
        .route("/api/v1/recover", post(recover))
}

async fn lifetime(State(admin): State<Admin>) -> Json<serde_json::Value> {
    Json(admin.inner.lifetime_view())
}

async fn steps(State(admin): State<Admin>) -> Json<Vec<identity::Step>> {
    Json(admin.inner.lifetime_steps())
}

async fn by_hand(admin: &Admin, action: ByHand, what: &str) -> Result<Json<serde_json::Value>, Failure> {
    let outcome = admin.inner.lifetime_by_hand(action).await;
    audit(&admin.inner, &format!("lifetime extension: {what}"));
    outcome.map(|()| Json(admin.inner.lifetime_view()))
}

async fn package(
    State(admin): State<Admin>,
    Binary(bytes): Binary,
) -> Result<Json<serde_json::Value>, Failure> {
    by_hand(&admin, ByHand::Import(bytes.to_vec()), "package imported").await
}

async fn fetch(State(admin): State<Admin>) -> Result<Json<serde_json::Value>, Failure> {
    by_hand(&admin, ByHand::Fetch, "package looked for").await
}

async fn generation(
    State(admin): State<Admin>,
    Path((generation, action)): Path<(String, String)>,
) -> Result<Json<serde_json::Value>, Failure> {
    let generation = match generation.as_str() {
        "newest" => admin.inner.newest_generation(),
        "used" => admin
            .inner
            .serving()
            .map(|(number, _)| number)
            .unwrap_or_default(),
        "before" => admin.inner.generation_before(),
        number => number.parse().map_err(|_| {
            Failure::new(
                Code::SYNTAX,
                "the number of a generation, newest, used or before expected",
            )
        })?,
    };
    let order = match action.as_str() {
        "register" => ByHand::Register(generation),
        "probe" => ByHand::Probe(generation),
        "activate" => ByHand::Activate(generation),
        _ => {
            let known = "register, probe or activate expected";
            return Err(Failure::new(Code::SYNTAX, known));
        }
    };
    by_hand(&admin, order, &format!("generation {generation} {action}")).await
}

/// What practice systems see and will see, to be tried before: certificates, key pins, CAs.
async fn clients(State(admin): State<Admin>) -> Result<Json<serde_json::Value>, Failure> {
    admin.inner.clients_view().map(Json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientsRequest {
    generation: Option<u32>,
}

async fn show_clients(
    State(admin): State<Admin>,
    Body(request): Body<ClientsRequest>,
) -> Result<Json<serde_json::Value>, Failure> {
    let what = format!("C.AK.AUT of generation {:?} is shown", request.generation);
    by_hand(&admin, ByHand::ShowClients(request.generation), &what).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FrozenRequest {
    on: bool,
}

async fn freeze(
    State(admin): State<Admin>,
    Body(request): Body<FrozenRequest>,
) -> Result<Json<serde_json::Value>, Failure> {
    by_hand(
        &admin,
        ByHand::Freeze(request.on),
        &format!("frozen {}", request.on),
    )
    .await
}

async fn calendar(State(admin): State<Admin>) -> Json<Vec<serde_json::Value>> {
    let now = admin.inner.clock.now();
    let entries = admin.inner.calendar().await;
    let view = entries.iter().map(|entry| {
        let ([effect, effect_en], [remedy, remedy_en]) = (entry.subject.effect(), entry.subject.remedy());
        serde_json::json!({
            "subject": entry.subject, "name": entry.name, "iccsn": entry.iccsn, "in_use": entry.in_use,
            "end": base::Timestamp::from_second(entry.end).unwrap_or_default().to_string(),
            "days_left": (entry.end - now.as_second()).div_euclid(identity::DAY),
            "effect": effect, "effect_en": effect_en, "remedy": remedy, "remedy_en": remedy_en,
        })
    });
    Json(view.collect())
}

async fn feed(State(admin): State<Admin>) -> Response {
    let entries = admin.inner.calendar().await;
    let now = admin.inner.clock.now();
    let text = identity::calendar::icalendar(&entries, &admin.inner.config.hostname, now);
    ([(header::CONTENT_TYPE, "text/calendar; charset=utf-8")], text).into_response()
}

async fn recover(
    State(admin): State<Admin>,
    Query(options): Query<RecoverOptions>,
    Binary(bundle): Binary,
) -> Result<(StatusCode, Json<Vec<RecoverStep>>), Failure> {
    let bundle = (!bundle.is_empty()).then_some(&bundle[..]);
    let steps = admin.inner.recover(bundle, options).await?;
    audit(&admin.inner, "way back from expired certificates");
    let status = match steps.iter().all(|step| step.good) {
        true => StatusCode::OK,
        false => StatusCode::CONFLICT,
    };
    Ok((status, Json(steps)))
}
