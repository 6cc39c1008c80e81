//! Administration of the trust space, imported CAs, and certificates that end.

use super::{Admin, Binary, Body, Path, Text, audit};
use crate::events::Event;
use crate::{Failure, Inner};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use base::{Code, Timestamp};
use serde::{Deserialize, Serialize};

pub(super) fn routes() -> Router<Admin> {
    Router::new()
        .route("/api/v1/trust", get(trust))
        .route("/api/v1/trust/list", put(import_trust_list))
        .route("/api/v1/trust/cross", put(import_cross))
        .route("/api/v1/trust/revocation-list", put(import_crl))
        .route("/api/v1/trust/trusted-list", put(import_trusted_list))
        .route("/api/v1/trust/update", post(update_lists))
        .route("/api/v1/trust/step-back", post(step_back))
        .route("/api/v1/authorities", get(authorities).post(import_authority))
        .route("/api/v1/authorities/{id}", delete(forget_authority))
        .route("/api/v1/certificates", get(certificates))
}

#[derive(Serialize)]
struct TrustView {
    anchor: AnchorView,
    announced: Option<AnchorView>,
    list: Option<ListView>,
    revocation_list: Option<ListView>,
    trusted_list: Option<ListView>,
    dnssec_anchors: Vec<u16>,
    status_services: Vec<pki::Health>,
}

#[derive(Serialize)]
struct AnchorView {
    subject: String,
    end: String,
    /// When it is to take over, if it is announced.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
}

/// A list with what is left of it.
#[derive(Serialize)]
struct ListView {
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<u64>,
    issued: String,
    next_update: String,
    /// Days until it ends; negative afterwards.
    days_left: i64,
    /// Days until it may not be used any more, if there is a grace period.
    #[serde(skip_serializing_if = "Option::is_none")]
    usable_days_left: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authorities: Option<usize>,
    /// Was a service of the TI believed with it? As long as not, the one before it is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    proven: Option<bool>,
    skipped: Vec<String>,
}

async fn trust(State(admin): State<Admin>) -> Json<TrustView> {
    let (inner, space) = (&admin.inner, admin.inner.space());
    let now = inner.clock.now();
    let days = |end: Timestamp| (end.as_second() - now.as_second()).div_euclid(86_400);
    let anchor = |certificate: &asn1::X509, from: Option<Timestamp>| AnchorView {
        subject: certificate.subject(),
        end: Timestamp::from_second(certificate.validity().1)
            .map(|end| end.to_string())
            .unwrap_or_default(),
        from: from.map(|from| from.to_string()),
    };
    let view = |issued: Timestamp, next_update: Timestamp| ListView {
        sequence: None,
        issued: issued.to_string(),
        next_update: next_update.to_string(),
        days_left: days(next_update),
        usable_days_left: None,
        authorities: None,
        proven: None,
        skipped: Vec::new(),
    };
    let grace = i64::from(inner.config.certificates.tsl_grace_days);
    Json(TrustView {
        anchor: anchor(space.anchor(), None),
        announced: space
            .announced()
            .map(|announced| anchor(&announced.certificate, Some(announced.from))),
        list: space.list().map(|list| ListView {
            sequence: Some(list.sequence),
            usable_days_left: Some(days(list.next_update) + grace),
            authorities: Some(list.cas.len()),
            proven: Some(space.is_list_proven()),
            skipped: list.skipped.clone(),
            ..view(list.issued, list.next_update)
        }),
        revocation_list: space.crl().map(|crl| view(crl.this_update, crl.next_update)),
        trusted_list: space.vl().map(|vl| ListView {
            sequence: Some(vl.sequence),
            authorities: Some(vl.cas.len()),
            skipped: vl.skipped.clone(),
            ..view(vl.issued, vl.next_update)
        }),
        dnssec_anchors: space.dnssec_anchors().map(|anchor| anchor.key_tag).collect(),
        status_services: inner.responders.health(),
    })
}

async fn import_trust_list(
    State(admin): State<Admin>,
    Text(xml): Text,
) -> Result<Json<serde_json::Value>, Failure> {
    let adopted = admin.inner.adopt_list(&xml, pki::How::ByHand).await;
    let adopted = imported(&admin.inner, "CERT/TSL/IMPORT", Code::TSL_MANUAL_IMPORT, adopted)?;
    audit(&admin.inner, &format!("trust list {} imported", adopted.sequence));
    Ok(Json(serde_json::json!({
        "sequence": adopted.sequence, "unchanged": adopted.unchanged, "notes": adopted.notes,
    })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CrossRequest {
    /// PEM: the new anchor, certified by the anchor in use.
    cross: String,
    /// PEM: the new anchor's own certificate.
    anchor: String,
    /// A trust list signed under the new anchor.
    list: String,
}

async fn import_cross(
    State(admin): State<Admin>,
    Body(request): Body<CrossRequest>,
) -> Result<Json<serde_json::Value>, Failure> {
    let (cross, anchor) = (
        one_certificate(&request.cross)?,
        one_certificate(&request.anchor)?,
    );
    let adopted = admin.inner.adopt_by_cross(&cross, &anchor, &request.list).await?;
    audit(&admin.inner, "trust anchor changed by cross certificate");
    Ok(Json(
        serde_json::json!({ "sequence": adopted.sequence, "notes": adopted.notes }),
    ))
}

async fn step_back(State(admin): State<Admin>) -> Result<StatusCode, Failure> {
    if !admin.inner.step_back().await? {
        return Err(Failure::new(
            Code::TSL_INIT,
            "there is no trust list before the one in use",
        ));
    }
    audit(&admin.inner, "trust list set aside");
    Ok(StatusCode::NO_CONTENT)
}

async fn import_crl(
    State(admin): State<Admin>,
    Binary(der): Binary,
) -> Result<Json<serde_json::Value>, Failure> {
    let adopted = admin.inner.adopt_crl(&der).await;
    let end = imported(&admin.inner, "CERT/CRL/IMPORT", Code::CRL_INVALID, adopted)?;
    audit(&admin.inner, "revocation list imported");
    Ok(Json(serde_json::json!({ "next_update": end.to_string() })))
}

async fn import_trusted_list(
    State(admin): State<Admin>,
    Text(xml): Text,
) -> Result<Json<serde_json::Value>, Failure> {
    let adopted = admin.inner.adopt_vl(&xml, pki::How::ByHand).await;
    let sequence = imported(
        &admin.inner,
        "CERT/BNETZA_VL/IMPORT",
        Code::VL_MANUAL_IMPORT,
        adopted,
    )?;
    audit(&admin.inner, "trusted list imported");
    Ok(Json(serde_json::json!({ "sequence": sequence })))
}

/// An import that failed is an event of its own, and its last code says that it was by hand.
fn imported<T>(inner: &Inner, topic: &str, code: Code, outcome: Result<T, Failure>) -> Result<T, Failure> {
    outcome.map_err(|failure| {
        let reason = vec![("Bedeutung", failure.detail())];
        inner.log(&Event::quiet(topic, base::Severity::Error, reason));
        match failure.code() == code {
            true => failure,
            false => failure.within(code),
        }
    })
}

/// Looks for newer lists now instead of at the next turn (A_23274).
async fn update_lists(State(admin): State<Admin>) -> Result<StatusCode, Failure> {
    admin.inner.update_now().await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Serialize)]
struct AuthorityView {
    id: String,
    subject: String,
    end: String,
}

async fn authorities(State(admin): State<Admin>) -> Result<Json<Vec<AuthorityView>>, Failure> {
    let all = admin.inner.imported_authorities()?;
    let view = |certificate: &asn1::X509| AuthorityView {
        id: hex::encode(crypto::sha256([certificate.der()])),
        subject: certificate.subject(),
        end: Timestamp::from_second(certificate.validity().1)
            .map(|end| end.to_string())
            .unwrap_or_default(),
    };
    Ok(Json(all.iter().map(view).collect()))
}

async fn import_authority(
    State(admin): State<Admin>,
    Text(pem): Text,
) -> Result<Json<serde_json::Value>, Failure> {
    let id = admin.inner.import_authority(&one_certificate(&pem)?)?;
    audit(&admin.inner, "CA imported");
    Ok(Json(serde_json::json!({ "id": id })))
}

async fn forget_authority(State(admin): State<Admin>, Path(id): Path<String>) -> Result<StatusCode, Failure> {
    admin.inner.forget_authority(&id)?;
    audit(&admin.inner, "imported CA forgotten");
    Ok(StatusCode::NO_CONTENT)
}

fn one_certificate(pem: &str) -> Result<asn1::X509, Failure> {
    let all = crypto::pem::decode_all("CERTIFICATE", pem);
    let all = all.map_err(|error| Failure::new(Code::SYNTAX, error))?;
    let [der] = all.as_slice() else {
        return Err(Failure::new(Code::SYNTAX, "one certificate in PEM expected"));
    };
    asn1::X509::parse(der).map_err(|error| Failure::new(Code::CERTIFICATE_UNREADABLE, error))
}

async fn certificates(State(admin): State<Admin>) -> Json<Vec<crate::expiry::Watched>> {
    Json(admin.inner.report_expiries().await)
}
