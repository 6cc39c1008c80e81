//! Administration as a REST interface (`docs/admin-api.yaml`): its own listener, TLS, client certificate or user and
//! password with lock-out.

mod lifetime;
mod network;
mod runbooks;
mod terminals;
mod trust;
mod update;
mod users;

use crate::model::Model;
use crate::password;
use crate::protocol::{Level, Log};
use crate::server::Patient;
use crate::state::Function;
use crate::users::{ACTOR, Entry, UserRole, Who, is_below};
use crate::{Failure, Inner, Konnektor, VERSION};
use axum::extract::rejection::{
    BytesRejection, JsonRejection, PathRejection, QueryRejection, StringRejection,
};
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base::Code;
use crypto::tls::{ClientCertificate, PeerVerifier};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use store::Page;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;
use zeroize::Zeroizing;

const PATIENCE: Duration = Duration::from_secs(10);
/// For the next request on a connection.
const IDLE: Duration = Duration::from_secs(60);
/// Most connections of administrators.
const CONNECTIONS: usize = 64;
/// Most log entries at once.
const MAX_LOG: u32 = 1000;

/// An administrator whose certificate the handshake has checked.
#[derive(Clone)]
struct ByCertificate;

#[derive(Clone)]
struct Admin {
    inner: Arc<Inner>,
}

impl Konnektor {
    /// Sets the administrator's password.
    pub fn set_admin_password(&self, text: &str) -> Result<(), Failure> {
        crate::users::first_with_password(&self.inner().store, text)
    }

    /// Serves administration until the task is dropped.
    pub async fn serve_admin(&self, listener: TcpListener) -> std::io::Result<()> {
        self.serve_https(listener, self.administration()).await
    }

    /// The administration as a service: the only way in, also for pages.
    pub fn administration(&self) -> Router {
        router(Admin {
            inner: self.inner().clone(),
        })
    }

    /// Serves something to administrators, with the certificate that practice systems see, until the task is dropped.
    pub async fn serve_https(&self, listener: TcpListener, router: Router) -> std::io::Result<()> {
        let inner = self.inner().clone();
        let known = inner.clone();
        let judge = Arc::new(move |chain: &[&[u8]], _: &[u8]| {
            let shown = hex::encode(crypto::sha256(chain.first()));
            match known.config.admin_certificates.contains(&shown) {
                true => Ok(()),
                false => Err("certificate of no administrator".to_owned()),
            }
        });
        let config = rustls::ServerConfig::builder_with_provider(crypto::tls::provider())
            .with_safe_default_protocol_versions()
            .map_err(std::io::Error::other)?
            .with_client_cert_verifier(PeerVerifier::clients(judge, ClientCertificate::Optional))
            .with_cert_resolver(Arc::new(Current(inner.clone())));
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let permits = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let Ok(permit) = permits.clone().acquire_owned().await else {
                return Ok(());
            };
            let stream = crate::server::accept(&listener, &*inner.clock).await;
            let (acceptor, router, clock) = (acceptor.clone(), router.clone(), inner.clock.clone());
            inner.spawn(async move {
                let _permit = permit;
                let Some(Ok(stream)) = clock.timeout(PATIENCE, acceptor.accept(stream)).await else {
                    return;
                };
                let certified = stream.get_ref().1.peer_certificates().is_some();
                let router = match certified {
                    true => router.layer(axum::Extension(ByCertificate)),
                    false => router,
                };
                let patient = clock.clone();
                let answer = move |request: http::Request<hyper::body::Incoming>| {
                    let request = request.map(|body| Patient::new(body, patient.clone()));
                    let answering = router.clone().oneshot(request);
                    async move {
                        let Ok(response) = answering.await;
                        response
                    }
                };
                let (_stay, closing) = tokio::sync::watch::channel(false);
                // a broken connection is the caller's to notice
                let _ = crate::server::serve_http(&*clock, stream, answer, closing, IDLE).await;
            });
        }
    }
}

/// Shows what is shown to practice systems at the moment.
struct Current(Arc<Inner>);

impl std::fmt::Debug for Current {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Current")
    }
}

impl rustls::server::ResolvesServerCert for Current {
    fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<rustls::sign::CertifiedKey>> {
        self.0.admin_key()
    }
}

fn router(admin: Admin) -> Router {
    routes(&admin)
        .layer(axum::middleware::from_fn_with_state(admin.clone(), authenticate))
        .merge(users::door().layer(DefaultBodyLimit::max(4096)))
        .with_state(admin)
}

/// The interface behind the door: the caller must know who asks, and what his role allows.
fn inside(admin: &Admin) -> Router {
    routes(admin).with_state(admin.clone())
}

fn routes(admin: &Admin) -> Router<Admin> {
    Router::new()
        .route("/api/v1/state", get(state))
        .route("/api/v1/model", get(model).put(set_model))
        .route("/api/v1/clients/{id}/certificate", post(issue_client))
        .route("/api/v1/backup", post(export).put(import))
        .route("/api/v1/backup/preview", post(preview))
        .route("/api/v1/factory-reset", post(factory_reset))
        .route("/api/v1/state/reset", post(reset_condition))
        .route("/api/v1/logs/{log}", get(log))
        .route("/api/v1/logs/{log}/export", get(export_log))
        .route("/metrics", get(metrics))
        .merge(lifetime::routes())
        .merge(network::routes())
        .merge(runbooks::routes())
        .merge(terminals::routes())
        .merge(trust::routes())
        .merge(update::routes())
        .merge(users::routes())
        .layer(DefaultBodyLimit::max(base::limits::TSL))
        .layer(axum::middleware::from_fn_with_state(admin.clone(), permit))
}

/// By certificate, by session, or by user and password; then by what the role allows.
async fn authenticate(State(admin): State<Admin>, mut request: Request, next: Next) -> Response {
    let certified = request.extensions().get::<ByCertificate>().is_some();
    let headers = request.headers().clone();
    let who = match identify(&admin.inner, certified, &headers).await {
        Ok(who) => who,
        Err(Entry::Locked) => {
            let wait = "too many wrong passwords: wait a minute";
            return (StatusCode::TOO_MANY_REQUESTS, wait).into_response();
        }
        Err(_) => {
            let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"Administration\"")];
            return (StatusCode::UNAUTHORIZED, challenge).into_response();
        }
    };
    let path = request.uri().path();
    // who came in with a code sets password and second factor before anything else
    let first = who.must.is_empty() || is_below(path, "/api/v1/me") || path == "/api/v1/logout";
    if !first || !who.role.may(request.method(), path) {
        let what = match first {
            true => "this user's role does not allow it",
            false => "password and second factor must be set first",
        };
        let body = serde_json::json!({
            "code": Code::NOT_PERMITTED.number(), "text": Code::NOT_PERMITTED.text(), "detail": what,
        });
        return (StatusCode::FORBIDDEN, Json(body)).into_response();
    }
    let name = who.name.clone();
    request.extensions_mut().insert(who);
    ACTOR.scope(name, next.run(request)).await
}

async fn identify(inner: &Inner, certified: bool, headers: &HeaderMap) -> Result<Who, Entry> {
    if certified {
        return Ok(Who {
            name: "certificate".into(),
            role: UserRole::Super,
            must: Vec::new(),
        });
    }
    if let Some(token) = users::token(headers) {
        return inner.by_session(token).ok_or(Entry::Wrong);
    }
    let (user, secret) = password::basic(headers).ok_or(Entry::Wrong)?;
    inner.by_password(&user, &secret).await
}

/// A JSON body; what does not fit is refused in the same form as everything else.
#[derive(FromRequest)]
#[from_request(via(axum::Json), rejection(Failure))]
struct Body<T>(T);

/// A body as text.
struct Text(String);

impl<S: Send + Sync> FromRequest<S> for Text {
    type Rejection = Failure;
    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        Ok(Self(String::from_request(request, state).await?))
    }
}

/// A body as bytes.
struct Binary(axum::body::Bytes);

impl<S: Send + Sync> FromRequest<S> for Binary {
    type Rejection = Failure;
    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        Ok(Self(axum::body::Bytes::from_request(request, state).await?))
    }
}

/// A part of the path.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(Failure))]
struct Path<T>(T);

/// Parameters behind the path.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(Failure))]
struct Query<T>(T);

macro_rules! refused {
    ($($rejection:ty),*) => {$(
        impl From<$rejection> for Failure {
            fn from(rejection: $rejection) -> Self {
                Failure::new(Code::SYNTAX, rejection.body_text())
            }
        }
    )*};
}
refused!(
    BytesRejection,
    JsonRejection,
    PathRejection,
    QueryRejection,
    StringRejection
);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = match self.code() {
            Code::SYNTAX => StatusCode::BAD_REQUEST,
            Code::UNKNOWN_TERMINAL => StatusCode::NOT_FOUND,
            _ => StatusCode::CONFLICT,
        };
        let body = serde_json::json!({
            "code": self.code().number(), "text": self.code().text(), "detail": self.detail(),
        });
        (status, Json(body)).into_response()
    }
}

pub(crate) fn audit(inner: &Inner, what: &str) {
    let parameters = vec![("User", crate::users::actor()), ("RefID", what.to_owned())];
    inner.log(&crate::events::Event::info("MGM/ADMINCHANGES", None, parameters));
}

#[derive(Serialize)]
struct StateView {
    version: &'static str,
    online: bool,
    trust_list: Option<u64>,
    conditions: Vec<ConditionView>,
}

#[derive(Serialize)]
struct ConditionView {
    name: String,
    meaning: String,
    severity: String,
    value: bool,
    since: String,
}

async fn state(State(admin): State<Admin>) -> Json<StateView> {
    let conditions = admin
        .inner
        .state
        .all()
        .into_iter()
        .map(|(condition, value, since)| {
            let about = condition.describe();
            ConditionView {
                name: about.name,
                meaning: about.meaning,
                severity: about.severity.to_string(),
                value,
                since: since.to_string(),
            }
        });
    Json(StateView {
        version: VERSION,
        online: admin.inner.config.online,
        trust_list: admin.inner.space().list().map(|list| list.sequence),
        conditions: conditions.collect(),
    })
}

async fn model(State(admin): State<Admin>) -> Json<Model> {
    Json((*admin.inner.model()).clone())
}

async fn set_model(State(admin): State<Admin>, Body(model): Body<Model>) -> Result<StatusCode, Failure> {
    admin.inner.set_model(model)?;
    audit(&admin.inner, "information model");
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Wanted {
    /// For a PKCS#12 file.
    password: Option<Zeroizing<String>>,
}

async fn issue_client(
    State(admin): State<Admin>,
    Path(id): Path<String>,
    Binary(body): Binary,
) -> Result<Json<serde_json::Value>, Failure> {
    let wanted: Wanted = match body.is_empty() {
        true => Wanted::default(),
        // the library's own text could quote the password
        false => serde_json::from_slice(&body)
            .map_err(|_| Failure::new(Code::SYNTAX, "nothing, or an object with a password, expected"))?,
    };
    let issued = admin.inner.issue_client(&id, wanted.password.as_ref())?;
    audit(
        &admin.inner,
        &format!("certificate {} for a client system", issued.hash),
    );
    let form = if wanted.password.is_some() {
        "pkcs12"
    } else {
        "pem"
    };
    Ok(Json(
        serde_json::json!({ form: *issued.file, "sha256": issued.hash }),
    ))
}

#[derive(Deserialize)]
struct LogQuery {
    #[serde(default = "hundred")]
    count: u32,
    /// Only entries before this number.
    before: Option<i64>,
    /// Only this severity and worse.
    severity: Option<Level>,
}

fn hundred() -> u32 {
    100
}

async fn log(
    State(admin): State<Admin>,
    Path(log): Path<Log>,
    Query(query): Query<LogQuery>,
) -> Result<Response, Failure> {
    if query.count > MAX_LOG {
        return Err(Failure::new(Code::SYNTAX, format!("at most {MAX_LOG} entries")));
    }
    let page = Page {
        count: query.count,
        before: query.before,
        severities: match query.severity {
            None | Some(Level::Debug | Level::Info) => &[],
            Some(Level::Warning) => &["Warning", "Error", "Fatal"],
            Some(Level::Error) => &["Error", "Fatal"],
            Some(Level::Fatal) => &["Fatal"],
        },
    };
    Ok(Json(admin.inner.read_log(log, &page)?).into_response())
}

/// A whole log, a line of JSON for each entry, the newest first.
async fn export_log(State(admin): State<Admin>, Path(log): Path<Log>) -> Result<Response, Failure> {
    audit(&admin.inner, "log exported");
    let inner = admin.inner;
    // page by page, for a log may be larger than what should lie in memory
    let pages = futures_util::stream::try_unfold(None, move |before| {
        let page = Page {
            count: MAX_LOG,
            before,
            severities: &[],
        };
        let text = inner.read_log(log, &page).and_then(|entries| {
            let mut text = String::new();
            for entry in &entries {
                let line =
                    serde_json::to_string(entry).map_err(|error| Failure::new(Code::INTERNAL, error))?;
                text.push_str(&line);
                text.push('\n');
            }
            Ok(entries.last().map(|last| (text, Some(last.number))))
        });
        std::future::ready(text.map_err(|failure| std::io::Error::other(failure.detail())))
    });
    let body = axum::body::Body::from_stream(pages);
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

#[derive(Deserialize)]
struct ResetQuery {
    condition: String,
}

async fn reset_condition(
    State(admin): State<Admin>,
    Query(query): Query<ResetQuery>,
) -> Result<StatusCode, Failure> {
    admin.inner.reset_condition(&query.condition)?;
    audit(&admin.inner, &format!("{} reset", query.condition));
    Ok(StatusCode::NO_CONTENT)
}

async fn export(State(admin): State<Admin>) -> Result<Json<serde_json::Value>, Failure> {
    let (backup, passphrase) = admin.inner.export().await?;
    audit(&admin.inner, "configuration exported");
    Ok(Json(
        serde_json::json!({ "passphrase": *passphrase, "backup": backup }),
    ))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BackupRequest {
    /// The file, as text.
    backup: String,
    passphrase: Zeroizing<String>,
    /// What the preview said; only for the import itself.
    confirm: Option<String>,
}

async fn preview(
    State(admin): State<Admin>,
    Text(body): Text,
) -> Result<Json<crate::backup::Preview>, Failure> {
    let request = backup_request(body)?;
    let inner = admin.inner;
    let preview = unhurried(move || inner.preview(&request.backup, &request.passphrase)).await?;
    Ok(Json(preview))
}

async fn import(State(admin): State<Admin>, Text(body): Text) -> Result<StatusCode, Failure> {
    let request = backup_request(body)?;
    let confirm = request.confirm.unwrap_or_default();
    let inner = admin.inner.clone();
    unhurried(move || inner.import(&request.backup, &request.passphrase, &confirm)).await?;
    audit(&admin.inner, "configuration imported");
    Ok(StatusCode::NO_CONTENT)
}

/// Deriving a key takes its time; others are not to wait for it.
async fn unhurried<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Failure::new(Code::INTERNAL, error))?
}

fn backup_request(body: String) -> Result<BackupRequest, Failure> {
    let body = Zeroizing::new(body);
    // the library's own text would quote what it did not understand: a passphrase
    serde_json::from_str(&body).map_err(|_| {
        Failure::new(
            Code::SYNTAX,
            "the body must have backup and passphrase, and confirm to import",
        )
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResetRequest {
    confirm: String,
}

async fn factory_reset(
    State(admin): State<Admin>,
    Body(request): Body<ResetRequest>,
) -> Result<StatusCode, Failure> {
    if request.confirm != "factory reset" {
        return Err(Failure::new(Code::SYNTAX, "confirm must be \"factory reset\""));
    }
    admin.inner.factory_reset()?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a fatal state bars of administration; reading, updates and the factory reset go on in all of them (TAB_KON_504).
async fn permit(State(admin): State<Admin>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let always = request.method() == axum::http::Method::GET
        || path == "/api/v1/factory-reset"
        // a walk may go on: each of its calls comes through here by itself
        || ["/api/v1/update", "/api/v1/me", "/api/v1/logout", "/api/v1/runs"]
            .iter()
            .any(|begin| is_below(path, begin));
    if !always && let Err(failure) = admin.inner.state.permit(Function::Management) {
        return failure.into_response();
    }
    next.run(request).await
}

async fn metrics(State(admin): State<Admin>) -> Response {
    (
        [(
            header::CONTENT_TYPE,
            "application/openmetrics-text; version=1.0.0",
        )],
        admin.inner.metrics_text(),
    )
        .into_response()
}
