//! Administration of administrators, and coming in.

use super::{Admin, Body, Path, audit};
use crate::Failure;
use crate::users::{Entry, Must, UserRole, UserView, Who};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Extension, Json, Router};
use base::Code;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zeroize::Zeroizing;

pub(super) fn routes() -> Router<Admin> {
    Router::new()
        .route("/api/v1/logout", post(log_out))
        .route("/api/v1/me", get(me))
        .route("/api/v1/me/password", put(set_password))
        .route("/api/v1/me/second", post(begin_second).put(confirm_second))
        .route("/api/v1/users", get(users))
        .route("/api/v1/users/{name}", put(change).delete(remove))
        .route("/api/v1/users/{name}/invite", post(invite))
}

/// The one way in without having come in.
pub(super) fn door() -> Router<Admin> {
    Router::new().route("/api/v1/login", post(log_in))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LoginRequest {
    user: String,
    password: Zeroizing<String>,
    code: Option<String>,
}

async fn log_in(State(admin): State<Admin>, Body(request): Body<LoginRequest>) -> Response {
    let entry = admin
        .inner
        .log_in(&request.user, &request.password, request.code.as_deref())
        .await;
    match entry {
        Entry::Session(token) => Json(json!({ "token": token })).into_response(),
        Entry::Second => (StatusCode::UNAUTHORIZED, Json(json!({ "missing": "code" }))).into_response(),
        Entry::Wrong => (StatusCode::UNAUTHORIZED, Json(json!({ "missing": "password" }))).into_response(),
        Entry::Locked => (
            StatusCode::TOO_MANY_REQUESTS,
            "too many wrong passwords: wait a minute",
        )
            .into_response(),
    }
}

/// The token of a session.
pub(super) fn token(headers: &HeaderMap) -> Option<&str> {
    headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .strip_prefix("Bearer ")
}

async fn log_out(State(admin): State<Admin>, headers: HeaderMap) -> StatusCode {
    if let Some(token) = token(&headers) {
        admin.inner.log_out(token);
    }
    StatusCode::NO_CONTENT
}

#[derive(Serialize)]
struct MeView {
    name: String,
    role: UserRole,
    must: Vec<Must>,
}

async fn me(Extension(who): Extension<Who>) -> Json<MeView> {
    Json(MeView {
        name: who.name,
        role: who.role,
        must: who.must,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PasswordRequest {
    old: Zeroizing<String>,
    new: Zeroizing<String>,
}

async fn set_password(
    State(admin): State<Admin>,
    Extension(who): Extension<Who>,
    headers: HeaderMap,
    Body(request): Body<PasswordRequest>,
) -> Result<StatusCode, Failure> {
    let own = token(&headers).unwrap_or_default();
    admin
        .inner
        .set_password(&who.name, own, &request.old, &request.new)
        .await?;
    audit(&admin.inner, "own password changed");
    Ok(StatusCode::NO_CONTENT)
}

/// The code of the present second factor, if there is one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SecondRequest {
    code: Option<String>,
}

async fn begin_second(
    State(admin): State<Admin>,
    Extension(who): Extension<Who>,
    Body(request): Body<SecondRequest>,
) -> Result<Json<Value>, Failure> {
    let secret = admin
        .inner
        .begin_second(&who.name, request.code.as_deref())
        .await?;
    let device = &admin.inner.config.hostname;
    let uri = format!(
        "otpauth://totp/{device}:{}?secret={secret}&issuer={device}",
        who.name
    );
    Ok(Json(json!({ "secret": secret, "uri": uri })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CodeRequest {
    code: String,
}

async fn confirm_second(
    State(admin): State<Admin>,
    Extension(who): Extension<Who>,
    Body(request): Body<CodeRequest>,
) -> Result<StatusCode, Failure> {
    admin.inner.confirm_second(&who.name, &request.code)?;
    audit(&admin.inner, "own second factor set");
    Ok(StatusCode::NO_CONTENT)
}

async fn users(State(admin): State<Admin>) -> Result<Json<Vec<UserView>>, Failure> {
    admin.inner.users().map(Json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InviteRequest {
    role: Option<UserRole>,
}

async fn invite(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    Body(request): Body<InviteRequest>,
) -> Result<Json<Value>, Failure> {
    let code = admin.inner.invite(&name, request.role)?;
    audit(&admin.inner, &format!("user {name} invited"));
    Ok(Json(json!({ "code": code })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RoleRequest {
    role: UserRole,
}

async fn change(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    Body(request): Body<RoleRequest>,
) -> Result<StatusCode, Failure> {
    admin.inner.set_role(&name, request.role)?;
    audit(&admin.inner, &format!("user {name} is {:?} now", request.role));
    Ok(StatusCode::NO_CONTENT)
}

async fn remove(
    State(admin): State<Admin>,
    Extension(who): Extension<Who>,
    Path(name): Path<String>,
) -> Result<StatusCode, Failure> {
    if who.name == name {
        return Err(Failure::new(Code::NOT_PERMITTED, "nobody removes himself"));
    }
    admin.inner.remove_user(&name)?;
    audit(&admin.inner, &format!("user {name} removed"));
    Ok(StatusCode::NO_CONTENT)
}
