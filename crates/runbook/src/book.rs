//! What a runbook says.

use crate::Error;
use crate::expect::is_pattern;
use base::id::{CtId, Iccsn};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Largest text, bytes.
const SOURCE: usize = 64 * 1024;
/// Most steps, and most checks of one.
const STEPS: (usize, usize) = (60, 12);
/// Longest value of an input, characters.
const INPUT: usize = 128;
/// What no step may call: who comes in, other runs, and what would throw the run itself away.
const BARRED: [&str; 7] = [
    "/api/v1/login",
    "/api/v1/logout",
    "/api/v1/me",
    "/api/v1/users",
    "/api/v1/runs",
    "/api/v1/runbooks",
    "/api/v1/factory-reset",
];

/// For people, in both languages.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// German.
    pub de: String,
    /// English.
    pub en: String,
}

/// A check list.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Runbook {
    /// Its name: lower case, digits and hyphens.
    pub runbook: String,
    /// Counts up with every change.
    pub version: u32,
    /// What it is called.
    pub title: Text,
    /// When it is used, and what is true afterwards.
    pub purpose: Text,
    /// What is asked before the first step.
    #[serde(default)]
    pub inputs: Vec<Input>,
    /// In this order.
    pub steps: Vec<Step>,
}

/// Something that is asked once, and stands as `{name}` in the steps.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Its name.
    pub name: String,
    /// The question.
    pub title: Text,
    /// What fits.
    pub kind: InputKind,
}

/// What fits an [`Input`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InputKind {
    /// Number of a card.
    Iccsn,
    /// CtId of a terminal.
    Terminal,
    /// SHA-256 as printed on a card's sheet: 64 hexadecimal digits, however they are grouped.
    Fingerprint,
    /// Anything printable, at most 128 characters.
    Text,
}

/// A fingerprint as the device writes it.
fn fingerprint(text: &str) -> Option<String> {
    let digits = text.chars().filter(|c| !matches!(c, ':' | ' ' | '-'));
    let digits: String = digits.collect::<String>().to_lowercase();
    let is_one = digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_one.then_some(digits)
}

/// One step.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Its name within the runbook.
    pub id: String,
    /// What it is called.
    pub title: Text,
    /// What a person does.
    pub text: Text,
    /// What must be true before it begins.
    #[serde(default)]
    pub before: Vec<Check>,
    /// What the device does, unless [`Self::check`] holds already.
    #[serde(default)]
    pub order: Option<Order>,
    /// What must be true afterwards.
    #[serde(default)]
    pub check: Vec<Check>,
    /// What a person must confirm, because no machine can see it.
    #[serde(default)]
    pub confirm: Option<Text>,
    /// What is kept beside what the checks found.
    #[serde(default)]
    pub keep: Vec<Keep>,
    /// The way back. Without one there is nothing to take back.
    #[serde(default)]
    pub undo: Option<Undo>,
}

/// A question to the device.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// What is true if it holds.
    pub says: Text,
    /// Path of the administration's interface that is read.
    pub get: String,
    /// JSON pointer into the answer (RFC 6901); without it the whole.
    #[serde(default)]
    pub at: String,
    /// What must be there: a value; an object, of which each named field must fit; or one of `has`, `lacks`, `all` (of a list),
    /// `above`, `below` (of a number), `not`, `one_of`.
    pub is: Value,
}

/// Something that is kept as evidence.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keep {
    /// What it is.
    pub says: Text,
    /// Path of the administration's interface that is read.
    pub get: String,
    /// JSON pointer into the answer.
    #[serde(default)]
    pub at: String,
    /// Only these fields, of an object or of each element of a list.
    pub fields: Vec<String>,
}

/// A call that changes something.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// How.
    pub method: Method,
    /// Path of the administration's interface.
    pub path: String,
    /// JSON body.
    #[serde(default)]
    pub body: Value,
}

/// Methods that change something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// POST.
    Post,
    /// PUT.
    Put,
    /// DELETE.
    Delete,
}

impl Method {
    /// As HTTP has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

/// The way back of a step.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Undo {
    /// What a person does.
    pub text: Text,
    /// What the device does.
    #[serde(default)]
    pub order: Option<Order>,
}

/// The runbooks that come with the product.
pub fn first_set() -> [&'static str; 6] {
    [
        include_str!("../books/commissioning.yaml"),
        include_str!("../books/terminal-exchange.yaml"),
        include_str!("../books/smc-b-exchange.yaml"),
        include_str!("../books/lifetime-extension.yaml"),
        include_str!("../books/recovery.yaml"),
        include_str!("../books/move.yaml"),
    ]
}

impl Runbook {
    /// Reads one, of at most 64 KiB.
    pub fn parse(source: &str) -> Result<Self, Error> {
        if source.len() > SOURCE {
            return Err(Error::Book(format!("larger than {SOURCE} bytes")));
        }
        let book: Self = serde_saphyr::from_str(source).map_err(|error| Error::Book(error.to_string()))?;
        book.examine().map_err(Error::Book)?;
        Ok(book)
    }

    /// SHA-256 of a runbook's text, hexadecimal: what exactly was walked.
    pub fn digest(source: &str) -> String {
        hex::encode(crypto::sha256([source]))
    }

    fn examine(&self) -> Result<(), String> {
        is_name(&self.runbook, 48).then_some(()).ok_or("its name")?;
        if self.steps.is_empty() || self.steps.len() > STEPS.0 {
            return Err(format!("between 1 and {} steps", STEPS.0));
        }
        let names: BTreeSet<&str> = self.inputs.iter().map(|input| input.name.as_str()).collect();
        if names.len() != self.inputs.len() || !names.iter().all(|name| is_name(name, 32)) {
            return Err("names of inputs".into());
        }
        let ids: BTreeSet<&str> = self.steps.iter().map(|step| step.id.as_str()).collect();
        if ids.len() != self.steps.len() || !ids.iter().all(|id| is_name(id, 48)) {
            return Err("names of steps".into());
        }
        for step in &self.steps {
            step.examine(&names)
                .map_err(|reason| format!("step {}: {reason}", step.id))?;
        }
        Ok(())
    }

    /// What was typed, as the device writes it.
    pub(crate) fn tidied(&self, mut values: BTreeMap<String, String>) -> BTreeMap<String, String> {
        for input in self
            .inputs
            .iter()
            .filter(|input| input.kind == InputKind::Fingerprint)
        {
            if let Some(value) = values.get_mut(&input.name)
                && let Some(tidy) = fingerprint(value)
            {
                *value = tidy;
            }
        }
        values
    }

    /// Do these values fit what is asked?
    pub fn accepts(&self, values: &BTreeMap<String, String>) -> Result<(), Error> {
        for input in &self.inputs {
            let value = values.get(&input.name).map(String::as_str).unwrap_or_default();
            let refused = |why| Err(Error::Input(input.name.clone(), why));
            let length = value.chars().count();
            match input.kind {
                InputKind::Iccsn if value.parse::<Iccsn>().is_err() => {
                    return refused("the number of a card is expected, 20 digits");
                }
                InputKind::Terminal if value.parse::<CtId>().is_err() => {
                    return refused("the CtId of a terminal is expected");
                }
                InputKind::Fingerprint if fingerprint(value).is_none() => {
                    return refused("64 hexadecimal digits are expected");
                }
                _ if length == 0 || length > INPUT || value.chars().any(char::is_control) => {
                    return refused("1 to 128 printable characters are expected");
                }
                _ => (),
            }
        }
        let known = |name: &String| self.inputs.iter().any(|input| input.name == *name);
        match values.keys().find(|name| !known(name)) {
            Some(name) => Err(Error::Input(name.clone(), "not asked for")),
            None => Ok(()),
        }
    }
}

impl Step {
    fn examine(&self, names: &BTreeSet<&str>) -> Result<(), String> {
        if self.before.len() + self.check.len() + self.keep.len() > STEPS.1 {
            return Err(format!("more than {} checks", STEPS.1));
        }
        if self.check.is_empty() && self.confirm.is_none() {
            return Err(
                "neither a check nor something to confirm: nobody would know whether it was done".into(),
            );
        }
        for check in self.before.iter().chain(&self.check) {
            may_be_called("GET", &check.get, names)?;
            may_be_named(&check.is, names)?;
            is_pattern(&check.is)?;
        }
        for keep in &self.keep {
            may_be_called("GET", &keep.get, names)?;
        }
        let undo = self.undo.as_ref().and_then(|undo| undo.order.as_ref());
        for order in self.order.iter().chain(undo) {
            may_be_called(order.method.name(), &order.path, names)?;
            may_be_named(&order.body, names)?;
        }
        Ok(())
    }
}

fn is_name(text: &str, most: usize) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !text.is_empty() && text.len() <= most && text.chars().all(fits)
}

/// May a step call that? For what is really called: the caller asks this of the URI it has made, with the inputs in it.
pub fn is_barred(method: &str, path: &str) -> bool {
    let below = |begin: &str| {
        let rest = path.strip_prefix(begin);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    // what a walk sends stands in its log: no PINs and passwords
    let secret =
        method == "PUT" && (below("/api/v1/smb-pins") || below("/api/v1/backup") || path.ends_with("/login"));
    !path.starts_with("/api/v1/") || secret || BARRED.iter().any(|begin| below(begin))
}

/// Only the administration, and not all of it; what is called must be seen from the runbook, whatever the inputs are.
fn may_be_called(method: &str, path: &str, names: &BTreeSet<&str>) -> Result<(), String> {
    let plain = path.split('?').next().unwrap_or_default();
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "/-_.{}".contains(c);
    let first = plain
        .strip_prefix("/api/v1/")
        .and_then(|rest| rest.split('/').next());
    let open = first.is_none_or(|first| first.is_empty() || first.contains('{'));
    let odd = plain.contains("..") || plain.contains("//") || path.contains('#') || !plain.chars().all(fits);
    if odd || open || is_barred(method, plain) {
        return Err(format!("{path} may not be called"));
    }
    known_names(path, names)
}

fn may_be_named(value: &Value, names: &BTreeSet<&str>) -> Result<(), String> {
    match value {
        Value::String(text) => known_names(text, names),
        Value::Array(all) => all.iter().try_for_each(|one| may_be_named(one, names)),
        Value::Object(all) => all.values().try_for_each(|one| may_be_named(one, names)),
        _ => Ok(()),
    }
}

fn known_names(text: &str, names: &BTreeSet<&str>) -> Result<(), String> {
    let asked = text.split('{').skip(1).map(|rest| rest.split('}').next());
    for name in asked {
        let name = name.unwrap_or_default();
        if !names.contains(name) {
            return Err(format!("{{{name}}} is no input"));
        }
    }
    Ok(())
}

/// Puts the inputs where `{name}` stands.
pub(crate) fn filled(text: &str, values: &BTreeMap<String, String>, escape: bool) -> String {
    let mut out = text.to_owned();
    for (name, value) in values {
        let value = if escape { escaped(value) } else { value.clone() };
        out = out.replace(&format!("{{{name}}}"), &value);
    }
    out
}

pub(crate) fn filled_in(value: &Value, values: &BTreeMap<String, String>) -> Value {
    match value {
        Value::String(text) => Value::String(filled(text, values, false)),
        Value::Array(all) => all.iter().map(|one| filled_in(one, values)).collect(),
        Value::Object(all) => {
            let fields = all
                .iter()
                .map(|(name, one)| (name.clone(), filled_in(one, values)));
            Value::Object(fields.collect())
        }
        other => other.clone(),
    }
}

/// As it may stand in a path or query.
fn escaped(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book(steps: &str) -> Result<Runbook, Error> {
        let head = "runbook: a\nversion: 1\ntitle: {de: T, en: T}\npurpose: {de: P, en: P}\n\
                    inputs: [{name: card, kind: iccsn, title: {de: K, en: C}}]\nsteps:\n";
        Runbook::parse(&format!("{head}{steps}"))
    }

    #[test]
    fn the_first_set_can_be_read() {
        let all: BTreeSet<String> = first_set()
            .iter()
            .map(|source| Runbook::parse(source).unwrap().runbook)
            .collect();
        assert_eq!(all.len(), first_set().len());
    }

    #[test]
    fn what_a_step_may_not_do() {
        let step = |more: &str| {
            book(&format!(
                " - {{id: s, title: {{de: T, en: T}}, text: {{de: T, en: T}}, {more}}}\n"
            ))
        };
        let confirm = "confirm: {de: C, en: C}";
        assert!(step(confirm).is_ok());
        for bad in [
            "before: []".to_owned(),
            format!("{confirm}, order: {{method: post, path: /api/v1/factory-reset}}"),
            format!("{confirm}, order: {{method: put, path: /api/v1/me/password}}"),
            format!("{confirm}, order: {{method: put, path: /api/v1/x/../me/password}}"),
            format!("{confirm}, order: {{method: put, path: /api/v1/%6De/password}}"),
            format!("{confirm}, order: {{method: put, path: /metrics}}"),
            format!("{confirm}, order: {{method: get, path: /api/v1/state}}"),
            format!("{confirm}, order: {{method: put, path: \"/api/v1/smb-pins/{{other}}\"}}"),
            format!("{confirm}, order: {{method: post, path: \"/api/v1/factory-reset#\"}}"),
            format!("{confirm}, order: {{method: post, path: \"/api/v1/{{card}}/x\"}}"),
            format!(
                "{confirm}, order: {{method: put, path: \"/api/v1/smb-pins/{{card}}\", body: {{pin: x}}}}"
            ),
            format!("{confirm}, order: {{method: put, path: /api/v1/update/terminals/a/login}}"),
            format!("{confirm}, unknown: 1"),
            "check: [{says: {de: S, en: S}, get: /api/v1/state, is: {above: a}}]".to_owned(),
            "check: [{says: {de: S, en: S}, get: /api/v1/state, is: {has: 1, lacks: 2}}]".to_owned(),
        ] {
            assert!(matches!(step(&bad), Err(Error::Book(_))), "{bad}");
        }
        let good = format!("{confirm}, order: {{method: delete, path: \"/api/v1/smb-pins/{{card}}\"}}");
        assert!(step(&good).is_ok());
    }

    #[test]
    fn what_is_asked_must_fit() {
        let book = book(" - {id: s, title: {de: T, en: T}, text: {de: T, en: T}, confirm: {de: C, en: C}}\n");
        let book = book.unwrap();
        let with = |name: &str, value: &str| book.accepts(&[(name.into(), value.into())].into());
        assert!(with("card", "80276001011699901501").is_ok());
        assert!(with("card", "802760010116999015").is_err());
        assert!(with("other", "80276001011699901501").is_err());
        assert!(book.accepts(&BTreeMap::new()).is_err());
    }

    #[test]
    fn what_is_filled_in_stays_within_its_place() {
        let values = [("a".to_owned(), "x/../y?z".to_owned())].into();
        assert_eq!(
            filled("/api/v1/t/{a}/pair", &values, true),
            "/api/v1/t/x%2F%2E%2E%2Fy%3Fz/pair"
        );
    }
}
