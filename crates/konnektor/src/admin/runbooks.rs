//! Administration of runbooks, and walking through them: what a step asks for is a call of this interface by who walks, with his
//! rights and no others.

use super::{Admin, Body, Path, Query, Text, audit};
use crate::users::{ACTOR, UserRole, Who};
use crate::{Failure, Inner};
use axum::extract::State;
use axum::http::{Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use base::Code;
use http_body_util::{BodyExt, Limited};
use runbook::{Event, Finding, Order, Run, Runbook, Step, is_barred};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;
use tower::ServiceExt;

/// Largest answer that is looked at, bytes.
const ANSWER: usize = 4 << 20;
/// How long the effect of an order is waited for, and how often it is looked.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(500);

pub(super) fn routes() -> Router<Admin> {
    Router::new()
        .route("/api/v1/runbooks", get(books).post(take))
        .route("/api/v1/runbooks/{name}", get(source).delete(forget))
        .route("/api/v1/runs", get(runs).post(begin).put(carry))
        .route("/api/v1/runs/{id}", get(run).delete(forget_run))
        .route("/api/v1/runs/{id}/log", get(log))
        .route("/api/v1/runs/{id}/record", get(paper))
        .route("/api/v1/runs/{id}/steps/{step}", post(walk))
        .route("/api/v1/runs/{id}/steps/{step}/skip", post(skip))
        .route("/api/v1/runs/{id}/steps/{step}/undo", post(undo))
}

async fn books(State(admin): State<Admin>) -> Result<Response, Failure> {
    Ok(Json(admin.inner.runbooks()?).into_response())
}

async fn source(State(admin): State<Admin>, Path(name): Path<String>) -> Result<Response, Failure> {
    let source = admin.inner.runbook_source(&name)?;
    Ok(([(header::CONTENT_TYPE, "application/yaml")], source).into_response())
}

async fn take(State(admin): State<Admin>, Text(source): Text) -> Result<StatusCode, Failure> {
    admin.inner.take_runbook(&source)?;
    audit(&admin.inner, "runbook taken in");
    Ok(StatusCode::NO_CONTENT)
}

async fn forget(State(admin): State<Admin>, Path(name): Path<String>) -> Result<StatusCode, Failure> {
    admin.inner.forget_runbook(&name)?;
    audit(&admin.inner, "runbook forgotten");
    Ok(StatusCode::NO_CONTENT)
}

/// Has this role a right to what the steps of a run look at? What they found is not shown to others (TIP1-A_7279).
fn sees(who: &Who, run: &Run, step: &Step) -> bool {
    let checks = step.before.iter().chain(&step.check).map(|check| &check.get);
    let mut paths = checks.chain(step.keep.iter().map(|keep| &keep.get));
    paths.all(|path| {
        let path = run.path(path);
        who.role
            .may(&Method::GET, path.split('?').next().unwrap_or_default())
    })
}

/// The whole of a run is for who may see all of it.
fn whole(admin: &Admin, who: &Who, id: &str) -> Result<Run, Failure> {
    let run = admin.inner.run(id)?;
    let book = run.runbook()?;
    match book.steps.iter().all(|step| sees(who, &run, step)) {
        true => Ok(run),
        false => Err(Failure::new(
            Code::NOT_PERMITTED,
            "it shows what this role may not see",
        )),
    }
}

async fn runs(State(admin): State<Admin>) -> Result<Response, Failure> {
    let all = admin.inner.runs()?;
    let all: Vec<Value> = all.iter().filter_map(|run| summary(run).ok()).collect();
    Ok(Json(all).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Begin {
    runbook: String,
    #[serde(default)]
    inputs: BTreeMap<String, String>,
}

async fn begin(
    State(admin): State<Admin>,
    Extension(who): Extension<Who>,
    Body(begin): Body<Begin>,
) -> Result<Response, Failure> {
    let run = admin.inner.begin_run(&begin.runbook, begin.inputs)?;
    audit(&admin.inner, &format!("run {} begun: {}", run.id, begin.runbook));
    Ok(Json(view(&run, &who)?).into_response())
}

/// A run as [`log`] gave it on another device.
async fn carry(
    State(admin): State<Admin>,
    Extension(who): Extension<Who>,
    Body(run): Body<Run>,
) -> Result<Response, Failure> {
    let run = admin.inner.carry_run(run, who.role == UserRole::Super)?;
    audit(&admin.inner, &format!("run {} goes on here", run.id));
    Ok(Json(view(&run, &who)?).into_response())
}

async fn run(
    State(admin): State<Admin>,
    Extension(who): Extension<Who>,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    Ok(Json(view(&admin.inner.run(&id)?, &who)?).into_response())
}

async fn log(
    State(admin): State<Admin>,
    Extension(who): Extension<Who>,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    Ok(Json(whole(&admin, &who, &id)?).into_response())
}

async fn forget_run(State(admin): State<Admin>, Path(id): Path<String>) -> Result<StatusCode, Failure> {
    admin.inner.forget_run(&id)?;
    audit(&admin.inner, &format!("run {id} forgotten"));
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Language {
    #[serde(default)]
    english: bool,
}

async fn paper(
    State(admin): State<Admin>,
    Extension(who): Extension<Who>,
    Path(id): Path<String>,
    Query(language): Query<Language>,
) -> Result<Response, Failure> {
    let run = whole(&admin, &who, &id)?;
    // pages are set while others are served
    let inner = admin.inner.clone();
    let setting = tokio::task::spawn_blocking(move || inner.run_record(&run, language.english));
    let pdf = setting
        .await
        .map_err(|error| Failure::new(Code::INTERNAL, error))??;
    let name = format!("attachment; filename=\"{id}.pdf\"");
    let headers = [
        (header::CONTENT_TYPE, "application/pdf".to_owned()),
        (header::CONTENT_DISPOSITION, name),
    ];
    Ok((headers, pdf).into_response())
}

fn summary(run: &Run) -> Result<Value, Failure> {
    let book = run.runbook()?;
    Ok(json!({
        "id": run.id, "runbook": book.runbook, "version": book.version,
        "title": { "de": book.title.de, "en": book.title.en },
        "began": run.log.first().map(|entry| entry.at.to_string()),
        "last": run.log.last().map(|entry| entry.at.to_string()),
        "steps": book.steps.len(), "behind": book.steps.iter().filter(|step| run.is_behind(step)).count(),
        "current": run.current(&book).map(|step| &step.id),
    }))
}

fn view(run: &Run, who: &Who) -> Result<Value, Failure> {
    let book = run.runbook()?;
    let both = |text: &runbook::Text| json!({ "de": run.text(&text.de), "en": run.text(&text.en) });
    let last = run.last(&book);
    let steps: Vec<Value> = book
        .steps
        .iter()
        .map(|step| {
            let own = run
                .log
                .iter()
                .filter(|entry| entry.step.as_deref() == Some(step.id.as_str()));
            let shown = sees(who, run, step);
            let own = own.map(|entry| line(entry, shown));
            let undo = step.undo.as_ref();
            json!({
                "id": step.id, "title": both(&step.title), "text": both(&step.text),
                "standing": run.standing(&step.id),
                "confirm": step.confirm.as_ref().map(both),
                "undo": undo.map(|undo| both(&undo.text)),
                "undoable": last.is_some_and(|last| last.id == step.id) && step.undo.is_some(),
                "order": step.order.as_ref().map(|order| said(run, order)),
                "undo_order": undo.and_then(|undo| undo.order.as_ref()).map(|order| said(run, order)),
                "log": own.collect::<Vec<_>>(),
            })
        })
        .collect();
    let mut view = summary(run)?;
    if let Some(fields) = view.as_object_mut() {
        fields.insert("purpose".into(), both(&book.purpose));
        fields.insert("inputs".into(), json!(run.inputs));
        fields.insert("sha256".into(), json!(Runbook::digest(&run.book)));
        fields.insert("steps".into(), json!(steps));
    }
    Ok(view)
}

/// A call as people can read it before they let it be made.
fn said(run: &Run, order: &Order) -> String {
    let (method, path, body) = run.order(order);
    match body {
        Value::Null => format!("{} {path}", method.name()),
        body => format!("{} {path} {body}", method.name()),
    }
}

/// An entry of the log as people look at it; [`log`] has all of it. What was found is `shown`, or only that something was.
fn line(entry: &runbook::Entry, shown: bool) -> Value {
    let (what, good, text) = match &entry.event {
        Event::Began => ("began", true, String::new()),
        Event::Held { .. } => ("held", false, String::new()),
        Event::Ordered { what, refused: None } => ("ordered", true, what.clone()),
        Event::Ordered {
            what,
            refused: Some(why),
        } => ("ordered", false, format!("{what}: {why}")),
        Event::Looked { done, note, .. } => ("looked", *done, note.clone()),
        Event::Skipped { note } => ("skipped", true, note.clone()),
        Event::Undone { note, refused, .. } => {
            let why = refused.as_deref().unwrap_or_default();
            (
                "undone",
                refused.is_none(),
                format!("{note} {why}").trim().to_owned(),
            )
        }
    };
    let findings = entry.findings().map(|finding| {
        let found = match shown {
            true => finding.plain(),
            false => "nicht für diese Rolle / not for this role".into(),
        };
        json!({ "de": finding.de, "en": finding.en, "good": finding.good, "found": found })
    });
    json!({
        "at": entry.at.to_string(), "who": entry.who, "device": entry.device,
        "event": what, "good": good, "text": text, "findings": findings.collect::<Vec<_>>(),
    })
}

/// The interface, on behalf of who walks.
struct Walker {
    inner: Arc<Inner>,
    interface: Router,
    who: Who,
}

impl Walker {
    async fn call(&self, method: Method, path: &str, body: &Value) -> Result<Value, String> {
        let body = match body {
            Value::Null => axum::body::Body::empty(),
            body => axum::body::Body::from(body.to_string()),
        };
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::CONTENT_TYPE, "application/json")
            .body(body)
            .map_err(|error| error.to_string())?;
        // what will be called is judged, not what was written
        let called = request.uri().path();
        if is_barred(request.method().as_str(), called) {
            return Err("das darf keine Prüfliste / no runbook may do that".into());
        }
        if !self.who.role.may(request.method(), called) {
            return Err("diese Rolle darf das nicht / this role may not do that".into());
        }
        request.extensions_mut().insert(self.who.clone());
        let Ok(response) = self.interface.clone().oneshot(request).await;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER).collect().await;
        let body = body.map_err(|error| error.to_string())?.to_bytes();
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        if status.is_success() {
            return Ok(answer);
        }
        let text = |name: &str| {
            answer
                .get(name)
                .map(|value| value.as_str().map_or(value.to_string(), str::to_owned))
        };
        let parts: Vec<String> = ["code", "text", "detail"].into_iter().filter_map(text).collect();
        Err(match parts.is_empty() {
            true => format!("HTTP {status}"),
            false => parts.join(" "),
        })
    }

    /// Reads each path once: what is judged together was read together.
    async fn look(&self, run: &Run, step: &Step, before: bool) -> (Vec<Finding>, Vec<Finding>) {
        let checks = if before { &step.before } else { &step.check };
        let mut answers: BTreeMap<String, Result<Value, String>> = BTreeMap::new();
        let keeps = if before { &[][..] } else { &step.keep };
        let paths = checks.iter().map(|check| &check.get);
        for path in paths.chain(keeps.iter().map(|keep| &keep.get)) {
            let path = run.path(path);
            if let Entry::Vacant(place) = answers.entry(path.clone()) {
                place.insert(self.call(Method::GET, &path, &Value::Null).await);
            }
        }
        let none = Err(String::new());
        let answer = |path: &str| answers.get(&run.path(path)).unwrap_or(&none);
        let findings = checks.iter().map(|check| run.judge(check, answer(&check.get)));
        let kept = keeps.iter().map(|keep| run.keep(keep, answer(&keep.get)));
        (findings.collect(), kept.collect())
    }

    async fn order(&self, run: &Run, order: &Order) -> (String, Result<Value, String>) {
        let (method, path, body) = run.order(order);
        let what = format!("{} {path}", method.name());
        let method = match method {
            runbook::Method::Post => Method::POST,
            runbook::Method::Put => Method::PUT,
            runbook::Method::Delete => Method::DELETE,
        };
        (what, self.call(method, &path, &body).await)
    }

    /// One step: what must be true before, the order unless its aim is reached already, what must be true afterwards. Every line
    /// is in the log before the next is begun.
    async fn walk(&self, run: &mut Run, id: &str, said: Said) -> Result<(), Failure> {
        let book = run.runbook()?;
        let step = turn(run, &book, id)?;
        let held = |findings: &[Finding]| findings.iter().any(|finding| !finding.good);
        let (findings, _) = self.look(run, step, true).await;
        if held(&findings) {
            return self.inner.note_run(run, id, Event::Held { findings });
        }
        let (mut findings, mut kept) = self.look(run, step, false).await;
        let reached = !findings.is_empty() && !held(&findings);
        if let Some(order) = step.order.as_ref().filter(|_| !reached) {
            let (what, answer) = self.order(run, order).await;
            let refused = answer.err();
            let ended = refused.is_some();
            self.inner.note_run(run, id, Event::Ordered { what, refused })?;
            if ended {
                return Ok(());
            }
            // what was ordered may take a moment to be seen: a terminal that was paired connects
            let began = self.inner.clock.elapsed();
            loop {
                (findings, kept) = self.look(run, step, false).await;
                if !held(&findings) || self.inner.clock.elapsed() - began > PATIENCE {
                    break;
                }
                self.inner.clock.sleep(PAUSE).await;
            }
        }
        if let Some(text) = &step.confirm {
            findings.push(Finding {
                de: run.text(&text.de),
                en: run.text(&text.en),
                good: said.confirmed,
                found: Value::Bool(said.confirmed),
            });
        }
        let done = !held(&findings);
        let note = said.note;
        self.inner.note_run(
            run,
            id,
            Event::Looked {
                findings,
                kept,
                done,
                note,
            },
        )
    }

    async fn undo(&self, run: &mut Run, id: &str, note: String) -> Result<(), Failure> {
        let book = run.runbook()?;
        let refuse = |why| Failure::from(runbook::Error::Turn(id.to_owned(), why));
        let last = run.last(&book).filter(|last| last.id == id);
        let step = last.ok_or_else(|| refuse("only the last one that is done can be taken back"))?;
        let undo = step
            .undo
            .as_ref()
            .ok_or_else(|| refuse("there is no way back from it"))?;
        let (what, refused) = match &undo.order {
            None => (None, None),
            Some(order) => {
                let (what, answer) = self.order(run, order).await;
                (Some(what), answer.err())
            }
        };
        self.inner
            .note_run(run, id, Event::Undone { note, what, refused })
    }
}

fn turn<'b>(run: &Run, book: &'b Runbook, id: &str) -> Result<&'b Step, Failure> {
    let current = run.current(book).filter(|step| step.id == id);
    current.ok_or_else(|| runbook::Error::Turn(id.to_owned(), "it is not its turn: reload the page").into())
}

/// What a person says with a step.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Said {
    /// What only a person can see is so.
    confirmed: bool,
    note: String,
}

enum Move {
    Walk,
    Skip,
    Undo,
}

/// Goes on in a task of its own: who hangs up while a terminal waits for its OK must not leave half a step behind.
async fn go(
    admin: Admin,
    who: Who,
    (id, step): (String, String),
    what: Move,
    said: Said,
) -> Result<Response, Failure> {
    let inner = admin.inner.clone();
    let walker = Walker {
        inner: inner.clone(),
        interface: super::inside(&admin),
        who: who.clone(),
    };
    let walking = async move {
        let _one = walker.inner.walking_alone()?;
        let mut run = walker.inner.run(&id)?;
        if !run.has_room() {
            return Err(Failure::new(
                Code::NOT_PERMITTED,
                "the log of this run is full: begin a new one",
            ));
        }
        match what {
            Move::Walk => walker.walk(&mut run, &step, said).await?,
            Move::Undo => walker.undo(&mut run, &step, said.note).await?,
            Move::Skip => {
                turn(&run, &run.runbook()?, &step)?;
                if said.note.trim().is_empty() {
                    return Err(Failure::new(Code::SYNTAX, "a note says why a step is left out"));
                }
                walker
                    .inner
                    .note_run(&mut run, &step, Event::Skipped { note: said.note })?;
            }
        }
        Ok(Json(view(&run, &walker.who)?).into_response())
    };
    let task = inner.spawn(ACTOR.scope(who.name, walking));
    task.await.map_err(|error| Failure::new(Code::INTERNAL, error))?
}

async fn walk(
    State(admin): State<Admin>,
    Extension(who): Extension<Who>,
    Path(at): Path<(String, String)>,
    Body(said): Body<Said>,
) -> Result<Response, Failure> {
    go(admin, who, at, Move::Walk, said).await
}

async fn skip(
    State(admin): State<Admin>,
    Extension(who): Extension<Who>,
    Path(at): Path<(String, String)>,
    Body(said): Body<Said>,
) -> Result<Response, Failure> {
    go(admin, who, at, Move::Skip, said).await
}

async fn undo(
    State(admin): State<Admin>,
    Extension(who): Extension<Who>,
    Path(at): Path<(String, String)>,
    Body(said): Body<Said>,
) -> Result<Response, Failure> {
    go(admin, who, at, Move::Undo, said).await
}
