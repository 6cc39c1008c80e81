//! Access rules as they stand in card images: which command needs which security state.

use asn1::{Chat, Flags, ListKind};
use std::fmt;

/// Life cycle of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[allow(missing_docs)]
pub enum LifeCycle {
    Activated,
    Deactivated,
    Terminated,
}

impl LifeCycle {
    /// As it stands in a card image.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "ACTIVATED" => Some(LifeCycle::Activated),
            "DEACTIVATED" => Some(LifeCycle::Deactivated),
            "TERMINATED" => Some(LifeCycle::Terminated),
            _ => None,
        }
    }

    /// As it stands in a card image.
    pub fn as_str(self) -> &'static str {
        match self {
            LifeCycle::Activated => "ACTIVATED",
            LifeCycle::Deactivated => "DEACTIVATED",
            LifeCycle::Terminated => "TERMINATED",
        }
    }
}

/// A command header with wildcards, `00||b0||??||??`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pattern([Option<u8>; 4]);

impl Pattern {
    fn matches(self, header: [u8; 4]) -> bool {
        self.0
            .iter()
            .zip(header)
            .all(|(wanted, byte)| wanted.is_none_or(|wanted| wanted == byte))
    }
}

/// What must have happened before a command is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Always.
    Always,
    /// This password is verified.
    Password(u8),
    /// A role with these rights has authenticated itself.
    Role(Chat),
    /// The command came under a secure messaging session agreed with this symmetric key.
    SmKey(u8),
    /// The command came under a session agreed with a partner that has these rights.
    SmRole(Chat),
    /// The command's data were encrypted.
    SmCommandEncrypted,
    /// The answer's data are encrypted.
    SmResponseEncrypted,
    /// One of them.
    Or(Vec<Condition>),
    /// All of them.
    And(Vec<Condition>),
}

/// Security states that conditions ask for.
pub trait SecurityState {
    /// Is the password with this reference verified?
    fn password(&self, reference: u8) -> bool;
    /// Has somebody with these rights authenticated?
    fn role(&self, chat: Chat) -> bool;
    /// Does the command run under a session of this symmetric key?
    fn sm_key(&self, key: u8) -> bool;
    /// Does the command run under a session whose partner has these rights?
    fn sm_role(&self, chat: Chat) -> bool;
    /// Were the command data encrypted?
    fn command_encrypted(&self) -> bool;
    /// Will the answer be encrypted?
    fn response_encrypted(&self) -> bool;
}

impl Condition {
    /// Is the condition met?
    pub fn met(&self, state: &dyn SecurityState) -> bool {
        match self {
            Condition::Always => true,
            Condition::Password(reference) => state.password(*reference),
            Condition::Role(chat) => state.role(*chat),
            Condition::SmKey(key) => state.sm_key(*key),
            Condition::SmRole(chat) => state.sm_role(*chat),
            Condition::SmCommandEncrypted => state.command_encrypted(),
            Condition::SmResponseEncrypted => state.response_encrypted(),
            Condition::Or(any) => any.iter().any(|condition| condition.met(state)),
            Condition::And(all) => all.iter().all(|condition| condition.met(state)),
        }
    }

    /// Does the condition ask for an encrypted answer?
    pub fn wants_encrypted_answer(&self) -> bool {
        match self {
            Condition::SmResponseEncrypted => true,
            Condition::Or(parts) | Condition::And(parts) => {
                parts.iter().any(Condition::wants_encrypted_answer)
            }
            _ => false,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct RuleSet {
    life: LifeCycle,
    /// Security environment; `None` is any.
    environment: Option<u8>,
    entries: Vec<(Vec<Pattern>, Condition)>,
}

/// Over which interface a command came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interface {
    /// Contacts (`CB`).
    Contact,
    /// Contactless (`CL`).
    Contactless,
}

/// The access rules of one object as they stand in a card image. No rule means never.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessRules {
    text: String,
    contact: Vec<RuleSet>,
    contactless: Vec<RuleSet>,
}

impl AccessRules {
    /// Reads `CB{[ACTIVATED,1,{({00||b0||??||??},ALW)}]},CL{…}`; white space and case do not matter.
    pub fn parse(text: &str) -> Result<Self, BadRule> {
        let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let mut parser = Parser {
            rest: &compact,
            depth: 0,
        };
        let (mut contact, mut contactless) = (Vec::new(), Vec::new());
        while !parser.rest.is_empty() {
            if parser.take("CB{") {
                contact = parser.rule_sets()?;
            } else if parser.take("CL{") {
                contactless = parser.rule_sets()?;
            } else {
                return Err(parser.bad("CB{ or CL{"));
            }
            parser.take(",");
        }
        Ok(Self {
            text: text.to_owned(),
            contact,
            contactless,
        })
    }

    /// The condition for this command, `None` if it is never allowed.
    pub fn condition(
        &self,
        interface: Interface,
        life: LifeCycle,
        environment: u8,
        header: [u8; 4],
    ) -> Option<&Condition> {
        let sets = match interface {
            Interface::Contact => &self.contact,
            Interface::Contactless => &self.contactless,
        };
        sets.iter()
            .filter(|set| set.life == life && set.environment.is_none_or(|se| se == environment))
            .flat_map(|set| &set.entries)
            .find(|(patterns, _)| patterns.iter().any(|pattern| pattern.matches(header)))
            .map(|(_, condition)| condition)
    }

    /// The text it was read from.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for AccessRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// An access rule that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("access rule: expected {expected} at `{at}`")]
pub struct BadRule {
    expected: &'static str,
    at: String,
}

/// Deepest nesting of OR and AND.
const DEPTH: usize = 16;

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn bad(&self, expected: &'static str) -> BadRule {
        BadRule {
            expected,
            at: self.rest.chars().take(30).collect(),
        }
    }

    fn take(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn need(&mut self, token: &'static str) -> Result<(), BadRule> {
        if self.take(token) {
            Ok(())
        } else {
            Err(self.bad(token))
        }
    }

    fn until(&mut self, end: char, expected: &'static str) -> Result<&'a str, BadRule> {
        let (token, rest) = self.rest.split_once(end).ok_or_else(|| self.bad(expected))?;
        self.rest = rest;
        Ok(token)
    }

    fn rule_sets(&mut self) -> Result<Vec<RuleSet>, BadRule> {
        let mut sets = Vec::new();
        while self.take("[") {
            let life = self.until(',', "life cycle")?;
            let life = LifeCycle::parse(life).ok_or_else(|| self.bad("life cycle"))?;
            let environment = match self.until(',', "security environment")? {
                "??" => None,
                number => Some(u8::from_str_radix(number, 16).map_err(|_| self.bad("security environment"))?),
            };
            self.need("{")?;
            let mut entries = Vec::new();
            while self.take("(") {
                entries.push((self.patterns()?, self.entry_condition()?));
                self.need(")")?;
                self.take(",");
            }
            self.need("}")?;
            self.need("]")?;
            self.take(",");
            sets.push(RuleSet {
                life,
                environment,
                entries,
            });
        }
        self.need("}")?;
        Ok(sets)
    }

    fn patterns(&mut self) -> Result<Vec<Pattern>, BadRule> {
        self.need("{")?;
        let list = self.until('}', "command headers")?;
        list.split(',')
            .map(|text| {
                let bytes: Result<Vec<Option<u8>>, BadRule> = text
                    .split("||")
                    .map(|byte| match byte {
                        "??" => Ok(None),
                        hex => u8::from_str_radix(hex, 16)
                            .map(Some)
                            .map_err(|_| self.bad("command header")),
                    })
                    .collect();
                bytes?
                    .try_into()
                    .map(Pattern)
                    .map_err(|_| self.bad("four header bytes"))
            })
            .collect()
    }

    fn entry_condition(&mut self) -> Result<Condition, BadRule> {
        self.need(",")?;
        self.condition()
    }

    fn condition(&mut self) -> Result<Condition, BadRule> {
        if self.take("ALW") {
            return Ok(Condition::Always);
        }
        if self.take("SMCMDENC") {
            return Ok(Condition::SmCommandEncrypted);
        }
        if self.take("SMRSPENC") {
            return Ok(Condition::SmResponseEncrypted);
        }
        if self.take("PWD(") {
            let reference = self.until(')', "password reference")?;
            let reference = u8::from_str_radix(reference, 16).map_err(|_| self.bad("password reference"))?;
            return Ok(Condition::Password(reference));
        }
        if self.take("AUTCHAT(") {
            return Ok(Condition::Role(self.chat()?));
        }
        if self.take("SMMAC(") {
            if self.rest.starts_with("cvc_") {
                return Ok(Condition::SmRole(self.chat()?));
            }
            let key = self.until(')', "key reference")?;
            return Ok(Condition::SmKey(
                u8::from_str_radix(key, 16).map_err(|_| self.bad("key reference"))?,
            ));
        }
        if self.take("OR{") {
            return Ok(Condition::Or(self.conditions()?));
        }
        if self.take("AND{") {
            return Ok(Condition::And(self.conditions()?));
        }
        Err(self.bad("condition"))
    }

    fn conditions(&mut self) -> Result<Vec<Condition>, BadRule> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(self.bad("less nesting"));
        }
        let mut parts = Vec::new();
        loop {
            parts.push(self.condition()?);
            if self.take("}") {
                break;
            }
            self.need(",")?;
        }
        self.depth -= 1;
        Ok(parts)
    }

    fn chat(&mut self) -> Result<Chat, BadRule> {
        let text = self.until(')', "flag list")?;
        parse_chat(text).ok_or_else(|| self.bad("flag list"))
    }
}

/// Reads `cvc_FlagList_TI:00000004000000`.
pub fn parse_chat(text: &str) -> Option<Chat> {
    let (list, flags) = text.split_once(':')?;
    let kind = match list {
        "cvc_FlagList_TI" => ListKind::Ti,
        "cvc_FlagList_CMS" => ListKind::Cms,
        _ => return None,
    };
    let flags = hex::decode(flags).ok()?.try_into().ok()?;
    Some(Chat {
        kind,
        flags: Flags(flags),
    })
}

/// Writes what [`parse_chat`] reads.
pub fn chat_text(chat: Chat) -> String {
    let list = match chat.kind {
        ListKind::Ti => "cvc_FlagList_TI",
        ListKind::Cms => "cvc_FlagList_CMS",
    };
    format!("{list}:{:?}", chat.flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nobody;
    impl SecurityState for Nobody {
        fn password(&self, reference: u8) -> bool {
            reference == 1
        }
        fn role(&self, _: Chat) -> bool {
            false
        }
        fn sm_key(&self, _: u8) -> bool {
            false
        }
        fn sm_role(&self, _: Chat) -> bool {
            false
        }
        fn command_encrypted(&self) -> bool {
            false
        }
        fn response_encrypted(&self) -> bool {
            false
        }
    }

    const GVD: &str = "CB{ [ACTIVATED,1,{ ({00||b0||??||??},OR{PWD(02),AND{PWD(01),AUTCHAT(cvc_FlagList_TI:00000004000000)},
        AND{OR{SMMAC(12),SMMAC(cvc_FlagList_CMS:00400000000000)},SMRSPENC}}), ({00||20||00||??,00||24||00||??},ALW) }],
        [DEACTIVATED,??,{({00||44||00||00},PWD(01))}]}, CL{[ACTIVATED,1,{}]}";

    #[test]
    fn published_form_is_read_and_judged() {
        let rules = AccessRules::parse(GVD).unwrap();
        let of = |life, se, header| rules.condition(Interface::Contact, life, se, header);
        let read = of(LifeCycle::Activated, 1, [0, 0xB0, 0x83, 0]).unwrap();
        assert!(!read.met(&Nobody));
        assert!(read.wants_encrypted_answer());
        assert!(of(LifeCycle::Activated, 1, [0, 0x20, 0, 1]).unwrap().met(&Nobody));
        assert!(of(LifeCycle::Activated, 2, [0, 0x20, 0, 1]).is_none());
        assert!(
            of(LifeCycle::Deactivated, 7, [0, 0x44, 0, 0])
                .unwrap()
                .met(&Nobody)
        );
        assert!(of(LifeCycle::Activated, 1, [0, 0xD6, 0, 0]).is_none());
        assert!(
            rules
                .condition(Interface::Contactless, LifeCycle::Activated, 1, [0, 0xB0, 0, 0])
                .is_none()
        );
    }

    #[test]
    fn broken_rules_say_where() {
        for text in [
            "CB",
            "CB{[ACTIVATED,1,{({00||b0||??},ALW)}]}",
            "CB{[ACTIVATED,1,{({00||b0||??||??},MAYBE)}]}",
            "XX{}",
        ] {
            assert!(AccessRules::parse(text).is_err(), "{text}");
        }
        let deep = format!("CB{{[ACTIVATED,1,{{({{00||b0||??||??}},{}", "OR{".repeat(100));
        assert!(AccessRules::parse(&deep).is_err());
    }
}
