//! Pages for the person in front of the device: German first, English second, made on the server, quick on an old PC, without
//! anything from elsewhere.
//!
//! They know the device only through its administration ([`router`] is given it as a service and calls it as any program
//! would, on behalf of the session in the cookie): what a page can do, a script can, and what a role may not do, no page can.
//! A page reads JSON, a form sends JSON; what the administration refuses is shown with its code and what to do.
//! Everything works without scripts; htmx only refreshes what changes by itself.

mod api;
mod forms;
mod frame;
mod pages;

use api::Api;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

/// Largest form, bytes; files are larger.
const FORM: usize = 1 << 20;
/// Largest file, bytes: a release.
const FILE: usize = 256 << 20;

/// All pages, over an administration.
pub fn router(administration: Router) -> Router {
    Router::new()
        .route("/", get(pages::home::page))
        .route("/health", get(pages::home::health))
        .route("/login", get(pages::account::login).post(forms::account::login))
        .route("/logout", post(forms::account::logout))
        .route("/account", get(pages::account::page))
        .route("/account/password", post(forms::account::password))
        .route("/account/second", post(pages::account::second))
        .route("/account/second/confirm", post(forms::account::confirm))
        .route("/language", post(forms::account::language))
        .route("/setup", get(pages::setup::page))
        .route("/setup/{action}", post(forms::setup::act))
        .route("/setup/certificate", post(forms::setup::certificate))
        .route("/calendar", get(pages::calendar::page))
        .route("/lifetime", get(pages::lifetime::page))
        .route("/lifetime/{action}", post(forms::lifetime::act))
        .route("/updates", get(pages::updates::page))
        .route("/updates/look", post(forms::updates::look))
        .route("/updates/start", post(forms::updates::start))
        .route("/updates/discard", post(forms::updates::discard))
        .route("/updates/terminal/{action}", post(forms::updates::terminal))
        .route("/runbooks", get(pages::runbooks::page))
        .route("/runbooks/begin", post(forms::runbooks::begin))
        .route("/runbooks/take", post(forms::runbooks::take))
        .route("/runbooks/carry", post(forms::runbooks::carry))
        .route("/runbooks/forget", post(forms::runbooks::forget))
        .route("/runs/{id}", get(pages::runbooks::run))
        .route("/runs/{id}/record", get(forms::runbooks::record))
        .route("/runs/{id}/log", get(forms::runbooks::log))
        .route("/runs/{id}/{action}", post(forms::runbooks::act))
        .route("/network", get(pages::network::page))
        .route("/network/doctor", get(pages::network::doctor))
        .route("/logs", get(pages::logs::page))
        .route("/backup", get(pages::backup::page))
        .route("/backup/export", post(forms::backup::export))
        .route("/backup/import", post(forms::backup::import))
        .route("/users", get(pages::users::page))
        .route("/users/{action}", post(forms::users::act))
        .route("/static/{file}", get(asset))
        .layer(DefaultBodyLimit::max(FORM))
        .merge(
            Router::new()
                .route("/lifetime/package", post(forms::lifetime::package))
                .route("/lifetime/recover", post(forms::lifetime::recover))
                .route("/updates/bundle", post(forms::updates::bundle))
                .route("/updates/terminal/firmware", post(forms::updates::firmware))
                .route("/backup/preview", post(forms::backup::preview))
                .layer(DefaultBodyLimit::max(FILE)),
        )
        .layer(axum::middleware::from_fn(guard))
        .with_state(Api::new(administration))
}

/// Forms come from these pages, and nothing from elsewhere is shown on them.
async fn guard(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let own_site = matches!(text("sec-fetch-site"), None | Some("same-origin" | "none"));
    let own_origin = match (text("origin"), text("host")) {
        (Some(origin), Some(host)) => origin.strip_prefix("https://") == Some(host),
        (Some(_), None) => false,
        (None, _) => true,
    };
    if *request.method() != Method::GET && !(own_site && own_origin) {
        return (StatusCode::FORBIDDEN, "this form did not come from these pages").into_response();
    }
    let is_static = request.uri().path().starts_with("/static/");
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
             form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::STRICT_TRANSPORT_SECURITY, "max-age=31536000"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if !is_static {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

async fn asset(axum::extract::Path(file): axum::extract::Path<String>) -> Response {
    let (kind, bytes): (_, &'static [u8]) = match file.as_str() {
        "style.css" => ("text/css; charset=utf-8", include_bytes!("../static/style.css")),
        "htmx.min.js" => ("text/javascript", include_bytes!("../static/htmx.min.js")),
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    // the address carries the version, see frame.html
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    (headers, bytes).into_response()
}
