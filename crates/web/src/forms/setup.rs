//! Steps of the set-up.

use super::{then, unusable};
use crate::api::{Problem, Visitor, escaped};
use crate::frame::text;
use axum::Form;
use axum::extract::Path;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Step {
    id: String,
    address: String,
    fingerprint: String,
    correlation: String,
    iccsn: String,
    pin: String,
    mandant: String,
    client: String,
    workplace: String,
    terminal: String,
}

pub async fn act(visitor: Visitor, Path(action): Path<String>, Form(step): Form<Step>) -> Response {
    let id = escaped(&step.id);
    let optional = |text: &str| (!text.trim().is_empty()).then(|| text.trim().to_owned());
    let outcome = match action.as_str() {
        "discover" => {
            let path = format!("terminals/discover?address={}", escaped(&step.address));
            visitor.send(Method::POST, &path, &json!({})).await
        }
        "add" => {
            let body = json!({ "id": step.id, "address": step.address });
            visitor.send(Method::POST, "terminals", &body).await
        }
        "pair" => {
            let body = json!({ "fingerprint": optional(&step.fingerprint) });
            visitor
                .send(Method::POST, &format!("terminals/{id}/pair"), &body)
                .await
        }
        "correlation" => {
            let body = json!({ "correlation": step.correlation });
            visitor
                .send(Method::PUT, &format!("terminals/{id}/correlation"), &body)
                .await
        }
        "remove" => {
            visitor
                .send(Method::DELETE, &format!("terminals/{id}"), &json!({}))
                .await
        }
        "pin" => {
            let path = format!("smb-pins/{}", escaped(&step.iccsn));
            visitor
                .send(Method::PUT, &path, &json!({ "pin": step.pin }))
                .await
        }
        _ => change_model(&visitor, &action, &step).await,
    };
    then(outcome, "/setup")
}

/// Reads the information model, changes it, and sends it back: it is checked there.
async fn change_model(visitor: &Visitor, action: &str, step: &Step) -> Result<Value, Problem> {
    let mut model = visitor.get("model").await?;
    change(&mut model, action, step).ok_or_else(|| unusable(action))?;
    visitor.send(Method::PUT, "model", &model).await
}

fn find<'m>(model: &'m mut Value, list: &str, id: &str) -> Option<&'m mut Value> {
    let all = model.get_mut(list)?.as_array_mut()?;
    all.iter_mut()
        .find(|one| one.get("id").and_then(Value::as_str) == Some(id))
}

/// Adds something to a list that has it only once.
fn add(list: &mut Value, new: Value) -> Option<()> {
    let all = list.as_array_mut()?;
    if !all.contains(&new) {
        all.push(new);
    }
    Some(())
}

fn change(model: &mut Value, action: &str, step: &Step) -> Option<()> {
    let id = step.id.trim();
    match action {
        "mandant" => add(
            model.get_mut("mandants")?,
            json!({ "id": id, "terminals": [], "smb": [], "access": [], "remote_pin": [] }),
        ),
        "client" => add(
            model.get_mut("client_systems")?,
            json!({ "id": id, "certificates": [], "users": [] }),
        ),
        "workplace" => {
            let terminals: Vec<&str> = Some(step.terminal.as_str())
                .filter(|id| !id.is_empty())
                .into_iter()
                .collect();
            add(
                model.get_mut("workplaces")?,
                json!({ "id": id, "local_terminals": terminals, "remote_terminals": [] }),
            )
        }
        "assign" => {
            let mandant = find(model, "mandants", &step.mandant)?;
            if !step.terminal.is_empty() {
                add(mandant.get_mut("terminals")?, json!(step.terminal))?;
            }
            if !step.iccsn.is_empty() {
                add(mandant.get_mut("smb")?, json!(step.iccsn))?;
            }
            if !step.client.is_empty() && !step.workplace.is_empty() {
                let access = json!({ "client_system": step.client, "workplace": step.workplace });
                add(mandant.get_mut("access")?, access)?;
            }
            Some(())
        }
        "forget-mandant" | "forget-client" | "forget-workplace" => {
            let list = match action {
                "forget-mandant" => "mandants",
                "forget-client" => "client_systems",
                _ => "workplaces",
            };
            let all = model.get_mut(list)?.as_array_mut()?;
            all.retain(|one| one.get("id").and_then(Value::as_str) != Some(id));
            Some(())
        }
        _ => None,
    }
}

#[derive(Deserialize)]
pub struct Client {
    id: String,
    /// For a PKCS#12 file; without it PEM.
    #[serde(default)]
    password: String,
}

/// A certificate for a practice system, with its key: it is made and given away this once.
pub async fn certificate(visitor: Visitor, Form(client): Form<Client>) -> Response {
    let path = format!("clients/{}/certificate", escaped(&client.id));
    let wanted = match client.password.as_str() {
        "" => json!({}),
        password => json!({ "password": password }),
    };
    match visitor.send(Method::POST, &path, &wanted).await {
        Err(problem) => problem.into_response(),
        Ok(made) => {
            let pkcs12 = STANDARD.decode(text(&made, "pkcs12")).unwrap_or_default();
            let (kind, ending, file) = match pkcs12.is_empty() {
                true => ("application/x-pem-file", "pem", text(&made, "pem").into_bytes()),
                false => ("application/x-pkcs12", "p12", pkcs12),
            };
            let safe = client
                .id
                .chars()
                .filter(|c| c.is_ascii_alphanumeric())
                .collect::<String>();
            let headers = [
                (header::CONTENT_TYPE, kind.to_owned()),
                (
                    header::CONTENT_DISPOSITION,
                    format!("attachment; filename=\"{safe}.{ending}\""),
                ),
            ];
            (StatusCode::OK, headers, file).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_practice_grows_step_by_step() {
        let mut model = json!({ "mandants": [], "client_systems": [], "workplaces": [] });
        let step = |id: &str| Step {
            id: id.into(),
            terminal: "KT1".into(),
            ..Step::default()
        };
        for (action, id) in [
            ("mandant", "Praxis"),
            ("client", "PVS"),
            ("workplace", "Anmeldung"),
            ("client", "PVS"),
        ] {
            change(&mut model, action, &step(id)).unwrap();
        }
        let assign = Step {
            mandant: "Praxis".into(),
            client: "PVS".into(),
            workplace: "Anmeldung".into(),
            terminal: "KT1".into(),
            iccsn: "80276009990000000002".into(),
            ..Step::default()
        };
        change(&mut model, "assign", &assign).unwrap();
        change(&mut model, "assign", &assign).unwrap();
        let expected = json!({
            "mandants": [{ "id": "Praxis", "terminals": ["KT1"], "smb": ["80276009990000000002"],
                "access": [{ "client_system": "PVS", "workplace": "Anmeldung" }], "remote_pin": [] }],
            "client_systems": [{ "id": "PVS", "certificates": [], "users": [] }],
            "workplaces": [{ "id": "Anmeldung", "local_terminals": ["KT1"], "remote_terminals": [] }],
        });
        assert_eq!(model, expected);
        assert_eq!(change(&mut model, "assign", &Step::default()), None);
        assert_eq!(change(&mut model, "rubbish", &Step::default()), None);
        change(&mut model, "forget-client", &step("PVS")).unwrap();
        assert_eq!(model["client_systems"], json!([]));
    }
}
