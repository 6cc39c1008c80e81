//! Administration of updates.

use super::{Admin, Body, Path as Segment, Text, audit};
use crate::update::{Offered, Source, TerminalFirmware, UpdateView};
use crate::{Failure, Inner};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use base::Code;
use base::id::CtId;
use http_body_util::BodyExt;
use serde::Deserialize;
use std::path::PathBuf;
use tokio::io::AsyncWriteExt;
use zeroize::Zeroizing;

/// Largest bundle, bytes.
const BUNDLE: u64 = 1 << 30;

pub(super) fn routes() -> Router<Admin> {
    Router::new()
        .route("/api/v1/update", get(view))
        .route("/api/v1/update/bundle", put(take))
        .route("/api/v1/update/offer", delete(discard))
        .route("/api/v1/update/look", post(look))
        .route("/api/v1/update/start", post(start))
        .route("/api/v1/update/terminals", get(terminals))
        .route("/api/v1/update/terminals/{id}", post(order).delete(cancel))
        .route("/api/v1/update/terminals/{id}/firmware", put(give))
        .route(
            "/api/v1/update/terminals/{id}/login",
            put(set_login).delete(forget_login),
        )
}

async fn view(State(admin): State<Admin>) -> Result<Json<UpdateView>, Failure> {
    admin.inner.update_view().await.map(Json)
}

async fn take(State(admin): State<Admin>, request: Request) -> Result<Json<Offered>, Failure> {
    let inner = &admin.inner;
    let path = receive(inner, request, BUNDLE).await;
    let this = inner.clone();
    // who hangs up must not leave half a judgement behind
    let judging = inner.spawn(async move {
        let path = path?;
        let taken = this.take_bundle(&path, Source::Administrator).await;
        let _ = std::fs::remove_file(&path);
        taken
    });
    let taken = judging
        .await
        .map_err(|error| Failure::new(Code::INTERNAL, error))?;
    let outcome = if taken.is_ok() { "taken" } else { "refused" };
    audit(inner, &format!("update: bundle {outcome}"));
    taken.map(Json)
}

/// What is sent goes into a file as it comes, of at most so many bytes: it is larger than what belongs into memory.
async fn receive(inner: &Inner, request: Request, most: u64) -> Result<PathBuf, Failure> {
    let folder = &inner.config.update.folder;
    let path = folder.join(format!("upload-{}", hex::encode(crypto::random::<8>()?)));
    let file = |error: std::io::Error| Failure::new(Code::INTERNAL, format!("{}: {error}", path.display()));
    std::fs::create_dir_all(folder).map_err(file)?;
    let writing = async {
        let mut out = tokio::fs::File::create_new(&path).await.map_err(file)?;
        let (mut body, mut left) = (request.into_body(), most);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Failure::new(Code::SYNTAX, error))?;
            let Some(data) = frame.data_ref() else { continue };
            left = left
                .checked_sub(data.len() as u64)
                .ok_or_else(|| Failure::new(Code::SYNTAX, format!("larger than {most} bytes")))?;
            out.write_all(data).await.map_err(file)?;
        }
        out.flush().await.map_err(file)
    };
    let written: Result<(), Failure> = writing.await;
    if written.is_err() {
        let _ = std::fs::remove_file(&path);
    }
    written.map(|()| path)
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

async fn terminals(State(admin): State<Admin>) -> Result<Json<Vec<TerminalFirmware>>, Failure> {
    admin.inner.terminal_firmware().map(Json)
}

async fn order(State(admin): State<Admin>, Segment(id): Segment<CtId>) -> Result<StatusCode, Failure> {
    admin.inner.order_terminal_update(&id)?;
    audit(&admin.inner, &format!("update of terminal {id} ordered"));
    Ok(StatusCode::ACCEPTED)
}

async fn cancel(State(admin): State<Admin>, Segment(id): Segment<CtId>) -> Result<StatusCode, Failure> {
    admin.inner.cancel_terminal_update(&id)?;
    audit(&admin.inner, &format!("update of terminal {id} called off"));
    Ok(StatusCode::NO_CONTENT)
}

/// A firmware from a file (TIP1-A_4839-01).
async fn give(
    State(admin): State<Admin>,
    Segment(id): Segment<CtId>,
    request: Request,
) -> Result<StatusCode, Failure> {
    let inner = &admin.inner;
    let path = receive(inner, request, terminal::firmware::LARGEST).await?;
    inner.give_terminal(&id, &path).inspect_err(|_| {
        let _ = std::fs::remove_file(&path);
    })?;
    audit(inner, &format!("firmware for terminal {id} brought"));
    Ok(StatusCode::ACCEPTED)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LoginRequest {
    user: String,
    password: Zeroizing<String>,
}

async fn set_login(
    State(admin): State<Admin>,
    Segment(id): Segment<CtId>,
    Text(body): Text,
) -> Result<StatusCode, Failure> {
    // an answer that quotes what did not fit would quote the password
    let body = Zeroizing::new(body);
    let login: LoginRequest = serde_json::from_str(&body).map_err(|_| {
        Failure::new(
            Code::SYNTAX,
            "the body must be {\"user\": \"…\", \"password\": \"…\"}",
        )
    })?;
    admin
        .inner
        .set_terminal_login(&id, &login.user, &login.password)?;
    audit(&admin.inner, &format!("administrator of terminal {id} stored"));
    Ok(StatusCode::NO_CONTENT)
}

async fn forget_login(State(admin): State<Admin>, Segment(id): Segment<CtId>) -> Result<StatusCode, Failure> {
    admin.inner.forget_terminal_login(&id)?;
    audit(&admin.inner, &format!("administrator of terminal {id} forgotten"));
    Ok(StatusCode::NO_CONTENT)
}
