//! Administration of updates.

use super::{Admin, Body, audit};
use crate::Failure;
use crate::update::{Offered, Source, UpdateView};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use base::Code;
use http_body_util::BodyExt;
use serde::Deserialize;
use std::path::Path;
use tokio::io::AsyncWriteExt;

/// Largest bundle, bytes.
const BUNDLE: u64 = 1 << 30;

pub(super) fn routes() -> Router<Admin> {
    Router::new()
        .route("/api/v1/update", get(view))
        .route("/api/v1/update/bundle", put(take))
        .route("/api/v1/update/offer", delete(discard))
        .route("/api/v1/update/look", post(look))
        .route("/api/v1/update/start", post(start))
}

async fn view(State(admin): State<Admin>) -> Result<Json<UpdateView>, Failure> {
    admin.inner.update_view().await.map(Json)
}

/// A bundle goes into a file as it comes: it is larger than what belongs into memory.
async fn take(State(admin): State<Admin>, request: Request) -> Result<Json<Offered>, Failure> {
    let inner = &admin.inner;
    let folder = &inner.config.update.folder;
    let file = |error: std::io::Error| Failure::new(Code::INTERNAL, format!("{}: {error}", folder.display()));
    std::fs::create_dir_all(folder).map_err(file)?;
    let path = folder.join(format!("upload-{}.zip", hex::encode(crypto::random::<8>()?)));
    let received = receive(request, &path).await;
    let (this, place) = (inner.clone(), path.clone());
    // who hangs up must not leave half a judgement behind
    let judging = inner.spawn(async move {
        let taken = match received {
            Ok(()) => this.take_bundle(&place, Source::Administrator).await,
            Err(failure) => Err(failure),
        };
        let _ = std::fs::remove_file(&place);
        taken
    });
    let taken = judging
        .await
        .map_err(|error| Failure::new(Code::INTERNAL, error))?;
    let outcome = if taken.is_ok() { "taken" } else { "refused" };
    audit(inner, &format!("update: bundle {outcome}"));
    taken.map(Json)
}

async fn receive(request: Request, path: &Path) -> Result<(), Failure> {
    let file = |error: std::io::Error| Failure::new(Code::INTERNAL, format!("{}: {error}", path.display()));
    let mut out = tokio::fs::File::create_new(path).await.map_err(file)?;
    let (mut body, mut left) = (request.into_body(), BUNDLE);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::new(Code::SYNTAX, error))?;
        let Some(data) = frame.data_ref() else { continue };
        left = left
            .checked_sub(data.len() as u64)
            .ok_or_else(|| Failure::new(Code::SYNTAX, "larger than 1 GiB"))?;
        out.write_all(data).await.map_err(file)?;
    }
    out.flush().await.map_err(file)
}

async fn discard(State(admin): State<Admin>) -> Result<StatusCode, Failure> {
    admin.inner.discard_offer().await?;
    audit(&admin.inner, "update: offer discarded");
    Ok(StatusCode::NO_CONTENT)
}

/// Asks the configuration service now.
async fn look(State(admin): State<Admin>) -> Result<Json<UpdateView>, Failure> {
    let looked = admin.inner.look_at_ksr().await;
    audit(&admin.inner, "update: configuration service asked");
    looked?;
    admin.inner.update_view().await.map(Json)
}

/// Names of checks that an administrator has looked at and decides to go on without.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Start {
    #[serde(default)]
    accept: Vec<String>,
}

async fn start(State(admin): State<Admin>, Body(start): Body<Start>) -> Result<StatusCode, Failure> {
    admin.inner.start_update(&start.accept).await?;
    audit(&admin.inner, "update: started");
    Ok(StatusCode::ACCEPTED)
}
