//! The administration as a service, called on behalf of a session.

use axum::Router;
use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use http_body_util::{BodyExt, Limited};
use serde_json::Value;
use std::convert::Infallible;
use tower::ServiceExt;

/// Largest answer that is read, bytes.
const ANSWER: usize = 32 << 20;
/// Name of the cookie with the session's token.
pub const COOKIE: &str = "langlauf";
/// Name of the cookie with the language.
pub const LANGUAGE: &str = "sprache";

/// The administration.
#[derive(Clone)]
pub struct Api {
    router: Router,
}

/// Why something was refused.
#[derive(Debug, Clone)]
pub struct Problem {
    /// HTTP status.
    pub status: StatusCode,
    /// The specification's code, if there is one.
    pub code: Option<u64>,
    /// In words, German.
    pub text: String,
    /// What to look at, English.
    pub detail: String,
}

impl Problem {
    fn of(status: StatusCode, body: &[u8]) -> Self {
        let json: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |name: &str| {
            json.get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let (said, detail) = (text("text"), text("detail"));
        Self {
            status,
            code: json.get("code").and_then(Value::as_u64),
            text: match said.is_empty() {
                true => format!("HTTP {status}"),
                false => said,
            },
            detail: match (detail.is_empty(), json.is_null()) {
                (true, true) => String::from_utf8_lossy(body).chars().take(500).collect(),
                // what is missing to come in
                (true, false) => text("missing"),
                (false, _) => detail,
            },
        }
    }
}

impl Api {
    pub fn new(router: Router) -> Self {
        Self { router }
    }

    async fn call(&self, request: Request<Body>) -> Result<Vec<u8>, Problem> {
        let Ok(response) = self.router.clone().oneshot(request).await;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER).collect().await;
        let body = body
            .map(|body| body.to_bytes().to_vec())
            .map_err(|error| Problem {
                status: StatusCode::BAD_GATEWAY,
                code: None,
                text: "Die Antwort ist zu groß".into(),
                detail: error.to_string(),
            })?;
        match status.is_success() {
            true => Ok(body),
            false => Err(Problem::of(status, &body)),
        }
    }
}

/// A visitor: what his cookies say.
#[derive(Clone)]
pub struct Visitor {
    api: Api,
    /// Token of the session.
    pub token: Option<String>,
    /// The language he has chosen, or his browser prefers.
    pub english: bool,
}

/// A cookie of a request.
fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let all = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok());
    all.flat_map(|line| line.split(';')).find_map(|pair| {
        let (key, value) = pair.trim().split_once('=')?;
        (key == name).then(|| value.to_owned())
    })
}

impl FromRequestParts<Api> for Visitor {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Infallible> {
        let headers = &parts.headers;
        let prefers = headers
            .get(header::ACCEPT_LANGUAGE)
            .and_then(|value| value.to_str().ok());
        let first = prefers.and_then(|list| list.split(',').next()).unwrap_or("de");
        let chosen = cookie(headers, LANGUAGE);
        Ok(Self {
            api: api.clone(),
            token: cookie(headers, COOKIE),
            english: match chosen.as_deref() {
                Some("en") => true,
                Some(_) => false,
                None => first.starts_with("en"),
            },
        })
    }
}

impl Visitor {
    async fn request(
        &self,
        method: Method,
        path: &str,
        kind: Option<&str>,
        body: Body,
    ) -> Result<Vec<u8>, Problem> {
        let mut request = Request::builder().method(method).uri(format!("/api/v1/{path}"));
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if let Some(kind) = kind {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        let request = request.body(body).map_err(|error| Problem {
            status: StatusCode::BAD_REQUEST,
            code: None,
            text: "Die Eingabe hat ein Zeichen, das nicht sein darf".into(),
            detail: error.to_string(),
        })?;
        self.api.call(request).await
    }

    /// Reads something.
    pub async fn get(&self, path: &str) -> Result<Value, Problem> {
        let bytes = self.request(Method::GET, path, None, Body::empty()).await?;
        Ok(serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// Reads a file.
    pub async fn download(&self, path: &str) -> Result<Vec<u8>, Problem> {
        self.request(Method::GET, path, None, Body::empty()).await
    }

    /// Does something; gives back what the answer says.
    pub async fn send(&self, method: Method, path: &str, body: &Value) -> Result<Value, Problem> {
        let body = Body::from(body.to_string());
        let bytes = self.request(method, path, Some("application/json"), body).await?;
        Ok(serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// Sends a file.
    pub async fn upload(&self, method: Method, path: &str, body: Body) -> Result<Value, Problem> {
        let bytes = self
            .request(method, path, Some("application/octet-stream"), body)
            .await?;
        Ok(serde_json::from_slice(&bytes).unwrap_or_default())
    }
}

/// Where a visitor is sent who has not come in, or has something to do first.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        match self.status {
            StatusCode::UNAUTHORIZED => Redirect::to("/login").into_response(),
            _ => crate::frame::refused(&self),
        }
    }
}

/// A part of a path or query as it may stand there.
pub fn escaped(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
