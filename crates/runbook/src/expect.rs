//! What must be there in an answer, and what is kept of it.

use serde_json::{Map, Value};

/// Words for what a plain value cannot say.
const WORDS: [&str; 7] = ["has", "lacks", "all", "above", "below", "not", "one_of"];
/// Most elements kept of a list.
const KEPT: usize = 40;
/// Longest text kept, characters.
const LONG: usize = 200;

/// The word of a pattern, if it is one.
fn word(pattern: &Value) -> Option<(&str, &Value)> {
    let fields = pattern.as_object()?;
    let mut named = fields.iter().filter(|(name, _)| WORDS.contains(&name.as_str()));
    named.next().map(|(name, inner)| (name.as_str(), inner))
}

/// Can anything fit it?
pub fn is_pattern(pattern: &Value) -> Result<(), String> {
    match (word(pattern), pattern) {
        (Some(_), Value::Object(fields)) if fields.len() > 1 => Err(format!("one word at a time: {pattern}")),
        (Some(("above" | "below", inner)), _) if !inner.is_number() => {
            Err(format!("a number is expected: {pattern}"))
        }
        (Some(("one_of", inner)), _) if !inner.is_array() => Err(format!("a list is expected: {pattern}")),
        (Some(("above" | "below" | "one_of", _)), _) => Ok(()),
        (Some((_, inner)), _) => is_pattern(inner),
        (None, Value::Object(fields)) => fields.values().try_for_each(is_pattern),
        _ => Ok(()),
    }
}

/// Does it fit? What cannot be said does not.
pub fn fits(pattern: &Value, value: &Value) -> bool {
    judge(pattern, value) == Some(true)
}

/// Does it fit, does it not, or can that not be said, because something is missing? Absence is never taken for an answer.
fn judge(pattern: &Value, value: &Value) -> Option<bool> {
    let list = || value.as_array();
    let compared = |inner: &Value, holds: fn(f64, f64) -> bool| Some(holds(value.as_f64()?, inner.as_f64()?));
    match word(pattern) {
        Some(("has", inner)) => Some(list()?.iter().any(|one| fits(inner, one))),
        Some(("lacks", inner)) => Some(list()?.iter().all(|one| judge(inner, one) == Some(false))),
        // nothing is inferred from an empty list
        Some(("all", inner)) => Some(!list()?.is_empty() && list()?.iter().all(|one| fits(inner, one))),
        Some(("above", inner)) => compared(inner, |value, limit| value > limit),
        Some(("below", inner)) => compared(inner, |value, limit| value < limit),
        Some(("not", inner)) => judge(inner, value).map(|fits| !fits),
        Some((_, inner)) => Some(inner.as_array()?.contains(value)),
        None => match pattern.as_object() {
            None => Some(pattern == value),
            Some(fields) => {
                value.as_object()?;
                let mut all = Some(true);
                for (name, inner) in fields {
                    match value.get(name).and_then(|value| judge(inner, value)) {
                        // one that does not fit decides, whatever is missing beside it
                        Some(false) => return Some(false),
                        Some(true) => {}
                        None => all = None,
                    }
                }
                all
            }
        },
    }
}

/// What was asked for, as it is, and nothing else of the answer.
pub fn found(pattern: &Value, value: &Value) -> Value {
    match (word(pattern), value) {
        (Some(("has", inner)), Value::Array(list)) => match list.iter().find(|one| fits(inner, one)) {
            Some(one) => found(inner, one),
            None => some(list.iter(), inner),
        },
        (Some(("lacks", inner)), Value::Array(list)) => {
            some(list.iter().filter(|one| fits(inner, one)), inner)
        }
        (Some(("all", inner)), Value::Array(list)) => {
            let mut others = list.iter().filter(|one| !fits(inner, one)).peekable();
            match others.peek() {
                Some(_) => some(others, inner),
                None => some(list.iter(), inner),
            }
        }
        (Some(("not", inner)), _) => found(inner, value),
        (None, Value::Object(_)) if pattern.is_object() => {
            let fields = pattern.as_object().into_iter().flatten();
            let fields = fields.map(|(name, inner)| {
                let value = value.get(name).unwrap_or(&Value::Null);
                (name.clone(), found(inner, value))
            });
            Value::Object(fields.collect())
        }
        _ => scalar(value),
    }
}

fn some<'v>(list: impl Iterator<Item = &'v Value>, inner: &Value) -> Value {
    cut(list.map(|one| found(inner, one)))
}

/// As many as are kept, and that there were more.
fn cut(mut list: impl Iterator<Item = Value>) -> Value {
    let mut kept: Vec<Value> = list.by_ref().take(KEPT).collect();
    let more = list.count();
    if more > 0 {
        kept.push(Value::String(format!("… +{more}")));
    }
    Value::Array(kept)
}

/// These fields of an object, or of each element of a list.
pub fn fields(names: &[String], value: &Value) -> Value {
    match value {
        Value::Array(list) => cut(list.iter().map(|one| fields(names, one))),
        Value::Object(all) => {
            let kept = names
                .iter()
                .filter_map(|name| Some((name.clone(), scalar(all.get(name)?))));
            Value::Object(kept.collect::<Map<_, _>>())
        }
        other => scalar(other),
    }
}

/// A plain value; of anything else only that it is there.
fn scalar(value: &Value) -> Value {
    match value {
        Value::String(text) if text.chars().count() > LONG => {
            let mut short: String = text.chars().take(LONG).collect();
            short.push('…');
            Value::String(short)
        }
        Value::Array(list) if list.iter().all(|one| !one.is_object() && !one.is_array()) => {
            cut(list.iter().map(scalar))
        }
        Value::Array(list) => Value::String(format!("[{}]", list.len())),
        Value::Object(_) => Value::String("{…}".into()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn words() {
        let list = json!([{ "id": "a", "days": 5 }, { "id": "b", "days": 50, "secret": "x" }]);
        for (pattern, good) in [
            (json!({ "has": { "id": "a" } }), true),
            (json!({ "has": { "id": "c" } }), false),
            (json!({ "has": { "id": "a", "days": { "above": 5 } } }), false),
            (json!({ "lacks": { "days": { "below": 5 } } }), true),
            (json!({ "lacks": { "days": { "below": 6 } } }), false),
            (json!({ "all": { "days": { "above": 4 } } }), true),
            (json!({ "all": { "secret": null } }), false),
            (json!({ "has": { "secret": { "not": null } } }), true),
            (json!({ "has": { "id": { "one_of": ["b", "c"] } } }), true),
        ] {
            assert_eq!(fits(&pattern, &list), good, "{pattern}");
        }
    }

    #[test]
    fn nothing_is_inferred_from_absence() {
        for value in [json!(null), json!({}), json!([]), json!("text")] {
            assert!(!fits(&json!({ "all": { "id": "a" } }), &value));
            assert!(!fits(&json!({ "above": 0 }), &value));
        }
        assert!(fits(&json!({ "id": null }), &json!({ "id": null })));
        assert!(!fits(&json!({ "id": null }), &json!({})));
        for value in [json!(null), json!({})] {
            assert!(!fits(&json!({ "lacks": { "id": "a" } }), &value));
        }
    }

    #[test]
    fn a_field_that_is_missing_is_no_answer() {
        let list = json!([{ "id": "a", "open": false }, { "id": "b" }]);
        // b might be open
        assert!(!fits(&json!({ "lacks": { "id": "b", "open": true } }), &list));
        assert!(!fits(&json!({ "lacks": { "open": true } }), &list));
        assert!(fits(&json!({ "lacks": { "id": "a", "open": true } }), &list));
        assert!(!fits(
            &json!({ "has": { "id": "b", "open": { "not": true } } }),
            &list
        ));
        assert!(fits(
            &json!({ "has": { "id": "a", "open": { "not": true } } }),
            &list
        ));
    }

    #[test]
    fn only_what_was_asked_for_is_kept() {
        let list = json!([{ "id": "a", "secret": "x" }, { "id": "b", "secret": "y" }]);
        assert_eq!(
            found(&json!({ "has": { "id": "b" } }), &list),
            json!({ "id": "b" })
        );
        assert_eq!(
            found(&json!({ "has": { "id": "c" } }), &list),
            json!([{ "id": "a" }, { "id": "b" }])
        );
        assert_eq!(
            found(&json!({ "lacks": { "id": "a" } }), &list),
            json!([{ "id": "a" }])
        );
        assert_eq!(
            found(&json!({ "id": "b" }), &json!({ "secret": 1 })),
            json!({ "id": null })
        );
        assert_eq!(
            fields(&["id".into()], &list),
            json!([{ "id": "a" }, { "id": "b" }])
        );
    }
}
