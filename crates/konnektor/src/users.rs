//! Who administers the device (TIP1-A_4808, 4810): users with roles, password and second factor, and the sessions of those who
//! have come in. There is no password from the factory: whoever comes first does so with a code that was printed once, and
//! gets nowhere before a password and a second factor are set.

use crate::password::{self, Login};
use crate::{Failure, Inner};
use axum::http::Method;
use base::Code;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use store::Store;

/// Kind of documents about users.
pub(crate) const STORE: &str = "user";
/// Name of the first administrator.
pub const FIRST: &str = "admin";
/// A session ends after so long without a request, and at last.
const IDLE: Duration = Duration::from_secs(15 * 60);
const LONGEST: Duration = Duration::from_secs(12 * 3600);
/// Most sessions.
const SESSIONS: usize = 100;
/// Most users.
const USERS: usize = 100;
/// Digits of a second factor, and how long each counts.
const STEP: i64 = 30;

/// Is it this path, or one below it?
pub(crate) fn is_below(path: &str, begin: &str) -> bool {
    let rest = path.strip_prefix(begin);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What a user may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UserRole {
    /// Everything, also users (Super-Administrator).
    Super,
    /// Everything but users, import and factory reset (Lokaler-Administrator).
    Local,
    /// What may be done from outside: no patients' or doctors' cards, no client systems, PINs, export or import (TIP1-A_7279).
    Remote,
    /// Looks, and changes nothing.
    Reader,
}

impl UserRole {
    /// May a user with this role do that?
    pub fn may(self, method: &Method, path: &str) -> bool {
        let path = path.strip_prefix("/api/v1").unwrap_or(path);
        let is = |begin: &str| is_below(path, begin);
        let own = is("/me") || path == "/logout";
        let reads = *method == Method::GET;
        let import = is("/backup") && *method == Method::PUT;
        match self {
            _ if own => true,
            UserRole::Super => true,
            // whose runbooks are offered decides who answers for them; walking is everybody's who may do what a step does
            UserRole::Local | UserRole::Remote if is("/runbooks") => reads,
            UserRole::Local => !(is("/users") || is("/factory-reset") || import),
            UserRole::Remote => {
                let barred = [
                    "/users",
                    "/factory-reset",
                    "/backup",
                    "/cards",
                    "/smb-pins",
                    "/model",
                    "/logs",
                    "/clients",
                ];
                !barred.iter().any(|begin| is(begin))
            }
            UserRole::Reader => reads && !(is("/users") || is("/backup")),
        }
    }
}

/// An administrator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// What he may do.
    pub role: UserRole,
    /// Hash of the password.
    #[serde(default)]
    password: Option<String>,
    /// Hash of a code with which he comes in once.
    #[serde(default)]
    code: Option<String>,
    /// May he send his password with each request, without a second factor? Only the first administrator of a configuration file.
    #[serde(default)]
    basic: bool,
    /// Is a second factor set?
    #[serde(default)]
    second: bool,
    /// The last step of time whose digits were used: none counts twice.
    #[serde(default)]
    used: i64,
}

/// What others may see of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UserView {
    /// Name.
    pub name: String,
    /// What he may do.
    pub role: UserRole,
    /// Is a second factor set?
    pub second: bool,
    /// Has never come in yet: a code is waiting for him.
    pub invited: bool,
}

/// What is still to be done before anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Must {
    /// Set a password.
    Password,
    /// Set a second factor.
    Second,
}

/// Who a request comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    /// Name.
    pub name: String,
    /// What he may do.
    pub role: UserRole,
    /// He came by a session or password, and has this still to do.
    pub must: Vec<Must>,
}

struct Session {
    name: String,
    since: Duration,
    last: Duration,
}

/// Sessions, by the hash of their token; a restart ends them all.
#[derive(Default)]
pub(crate) struct Sessions {
    all: Mutex<HashMap<[u8; 32], Session>>,
    /// Held while a user is read, judged and written.
    changing: Mutex<()>,
}

impl Sessions {
    fn all(&self) -> MutexGuard<'_, HashMap<[u8; 32], Session>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What came of a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// Here is the session's token.
    Session(String),
    /// The password is right; the digits of the second factor are missing or wrong.
    Second,
    /// Wrong user, password or code.
    Wrong,
    /// Too many wrong ones.
    Locked,
}

tokio::task_local! {
    /// On whose behalf the request is done.
    pub(crate) static ACTOR: String;
}

/// On whose behalf this is done, for the log.
pub(crate) fn actor() -> String {
    ACTOR
        .try_with(Clone::clone)
        .unwrap_or_else(|_| "local".to_owned())
}

fn is_name(name: &str) -> bool {
    (1..=32).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

fn secret_id(name: &str) -> String {
    format!("second/{name}")
}

/// Four groups of four letters and digits that nobody confuses; 80 bits.
pub fn new_code() -> Result<String, Failure> {
    const LETTERS: &[u8] = b"ABCDEFGHJKMNPQRSTUVWXYZ23456789A";
    let random: [u8; 16] = crypto::random()?;
    let letters: Vec<char> = random
        .iter()
        .filter_map(|byte| {
            LETTERS
                .get(usize::from(byte % 32))
                .map(|letter| char::from(*letter))
        })
        .collect();
    let groups: Vec<String> = letters.chunks(4).map(|group| group.iter().collect()).collect();
    Ok(groups.join("-"))
}

/// Lets the first administrator in with a code, which is given back; what was set before does not count any more. For the command
/// line, where whoever calls owns the device.
pub fn invite_first(store: &Store) -> Result<String, Failure> {
    let code = new_code()?;
    let user = User {
        role: UserRole::Super,
        password: None,
        code: Some(password::hash(&code)?),
        basic: false,
        second: false,
        used: 0,
    };
    store.delete_secret(&secret_id(FIRST))?;
    store.put(STORE, FIRST, &user)?;
    Ok(code)
}

/// Sets the first administrator's password, as a file of the configuration has it; a second factor of before does not count any
/// more.
pub(crate) fn first_with_password(store: &Store, text: &str) -> Result<(), Failure> {
    let user = User {
        role: UserRole::Super,
        password: Some(password::hash_of_admin(text)?),
        code: None,
        basic: true,
        second: false,
        used: 0,
    };
    store.delete_secret(&secret_id(FIRST))?;
    Ok(store.put(STORE, FIRST, &user)?)
}

impl Inner {
    fn user(&self, name: &str) -> Option<User> {
        self.store.get(STORE, name).ok().flatten()
    }

    /// All users.
    pub fn users(&self) -> Result<Vec<UserView>, Failure> {
        let all = self.store.all::<User>(STORE)?;
        let view = all.into_iter().map(|(name, user)| UserView {
            name,
            role: user.role,
            second: user.second,
            invited: user.code.is_some(),
        });
        Ok(view.collect())
    }

    /// User and password with each request: only the first administrator of a configuration file, without a second factor.
    pub(crate) async fn by_password(&self, name: &str, secret: &str) -> Result<Who, Entry> {
        let user = self.user(name);
        let stored = user.as_ref().and_then(|user| user.password.as_deref());
        match self.knock(name, secret, stored).await {
            Login::Right => {}
            Login::Wrong => return Err(Entry::Wrong),
            Login::Locked => return Err(Entry::Locked),
        }
        match user {
            Some(user) if user.basic && !user.second => Ok(Who {
                name: name.to_owned(),
                role: user.role,
                must: Vec::new(),
            }),
            Some(_) => Err(Entry::Second),
            None => Err(Entry::Wrong),
        }
    }

    async fn knock(&self, name: &str, secret: &str, stored: Option<&str>) -> Login {
        // a practice system's user of the same name has a door of its own
        let entry = format!("administration/{name}");
        self.door.knock(&entry, secret, stored, &*self.clock).await
    }

    /// Comes in: with password and second factor, or once with a code.
    pub async fn log_in(&self, name: &str, secret: &str, digits: Option<&str>) -> Entry {
        let user = self.user(name);
        let stored = user
            .as_ref()
            .and_then(|user| user.code.as_deref().or(user.password.as_deref()));
        let entry = match self.knock(name, secret, stored).await {
            Login::Locked => Entry::Locked,
            Login::Wrong => Entry::Wrong,
            Login::Right => match user {
                None => Entry::Wrong,
                Some(user) if user.second => self.second_factor(name, user, digits).await,
                Some(_) => self.open_session(name),
            },
        };
        let outcome = match &entry {
            Entry::Session(_) => "in",
            Entry::Second => "second factor missing or wrong",
            Entry::Wrong => "wrong",
            Entry::Locked => "locked",
        };
        let known = self.user(name).map_or("unknown", |_| name);
        // what anybody can cause is one line a minute
        if matches!(entry, Entry::Session(_)) || self.is_news(outcome) {
            let parameters = vec![("User", known.to_owned()), ("Outcome", outcome.to_owned())];
            self.log(&crate::events::Event::quiet(
                "MGM/LOGIN",
                base::Severity::Info,
                parameters,
            ));
        }
        entry
    }

    async fn second_factor(&self, name: &str, user: User, digits: Option<&str>) -> Entry {
        let Some(digits) = digits else {
            return Entry::Second;
        };
        let right = || self.takes_digits(name, &user, digits);
        match self.door.show_digits(name, &*self.clock, right).await {
            Login::Right => self.open_session(name),
            Login::Wrong => Entry::Second,
            Login::Locked => Entry::Locked,
        }
    }

    /// Are these his digits, for the first time? The user is read again under the lock: he may have been changed since his
    /// password was compared.
    fn takes_digits(&self, name: &str, compared: &User, digits: &str) -> bool {
        let _one = self.sessions.changing();
        let same = |user: &User| user.password == compared.password && user.second;
        let Some(mut user) = self.user(name).filter(same) else {
            return false;
        };
        let now = self.clock.now().as_second();
        let secret = self.store.secret(&secret_id(name)).ok().flatten();
        let Some(step) = secret.and_then(|secret| fitting_step(&secret, digits, now)) else {
            return false;
        };
        // none counts twice; a step far ahead was used when the clock was
        let ahead = user.used > now.div_euclid(STEP) + 1;
        if step <= user.used && !ahead {
            return false;
        }
        user.used = step;
        self.store.put(STORE, name, &user).is_ok()
    }

    fn open_session(&self, name: &str) -> Entry {
        let Ok(token) = crypto::random::<32>() else {
            return Entry::Wrong;
        };
        let (token, now) = (hex::encode(token), self.clock.elapsed());
        let mut sessions = self.sessions.all();
        sessions.retain(|_, session| session.is_open(now));
        if sessions.len() >= SESSIONS {
            return Entry::Locked;
        }
        let session = Session {
            name: name.to_owned(),
            since: now,
            last: now,
        };
        sessions.insert(crypto::sha256([&token]), session);
        Entry::Session(token)
    }

    /// Whose session it is; it lives on by that.
    pub(crate) fn by_session(&self, token: &str) -> Option<Who> {
        let now = self.clock.elapsed();
        let name = {
            let mut sessions = self.sessions.all();
            let session = sessions.get_mut(&crypto::sha256([token]))?;
            if !session.is_open(now) {
                return None;
            }
            session.last = now;
            session.name.clone()
        };
        let user = self.user(&name)?;
        let mut must = Vec::new();
        if user.password.is_none() || user.code.is_some() {
            must.push(Must::Password);
        }
        if !user.second {
            must.push(Must::Second);
        }
        Some(Who {
            name,
            role: user.role,
            must,
        })
    }

    /// Ends a session.
    pub fn log_out(&self, token: &str) {
        self.sessions.all().remove(&crypto::sha256([token]));
    }

    fn end_sessions(&self, name: &str) {
        self.sessions.all().retain(|_, session| session.name != name);
    }

    fn change_user(
        &self,
        name: &str,
        change: impl FnOnce(&mut User) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let _one = self.sessions.changing();
        let mut user = self
            .user(name)
            .ok_or_else(|| Failure::new(Code::SYNTAX, "no such user"))?;
        change(&mut user)?;
        Ok(self.store.put(STORE, name, &user)?)
    }

    /// A user's new password, twelve characters or more; the old one, or the code he came in with, is asked for. All his
    /// sessions end but the one with the token `own`.
    pub async fn set_password(&self, name: &str, own: &str, old: &str, new: &str) -> Result<(), Failure> {
        let user = self.user(name);
        let stored = user
            .as_ref()
            .and_then(|user| user.code.as_deref().or(user.password.as_deref()));
        if self.knock(name, old, stored).await != Login::Right {
            return Err(Failure::new(
                Code::NOT_PERMITTED,
                "the present password is another one",
            ));
        }
        if old == new {
            return Err(Failure::new(Code::SYNTAX, "the new password must be another one"));
        }
        let hash = password::hash_of_admin(new)?;
        self.change_user(name, |user| {
            (user.password, user.code) = (Some(hash), None);
            Ok(())
        })?;
        // whoever has come in elsewhere with the old one is out
        self.sessions
            .all()
            .retain(|key, session| session.name != name || *key == crypto::sha256([own]));
        Ok(())
    }

    /// A new secret for the second factor, not in force yet: base32, for an authenticator.
    pub async fn begin_second(&self, name: &str, digits: Option<&str>) -> Result<String, Failure> {
        if let Some(user) = self.user(name).filter(|user| user.second) {
            // a session that somebody found open does not change the second factor
            let right = || digits.is_some_and(|digits| self.takes_digits(name, &user, digits));
            if self.door.show_digits(name, &*self.clock, right).await != Login::Right {
                return Err(Failure::new(
                    Code::NOT_PERMITTED,
                    "the code of the present second factor is asked for",
                ));
            }
        }
        let secret: [u8; 20] = crypto::random()?;
        self.store.put_secret(&format!("second-new/{name}"), &secret)?;
        Ok(base32(&secret))
    }

    /// Puts it in force, once its digits were shown.
    pub fn confirm_second(&self, name: &str, digits: &str) -> Result<(), Failure> {
        let id = format!("second-new/{name}");
        let secret = self.store.secret(&id)?;
        let secret = secret.ok_or_else(|| Failure::new(Code::SYNTAX, "there is no new second factor"))?;
        let step = fitting_step(&secret, digits, self.clock.now().as_second());
        let step = step.ok_or_else(|| {
            Failure::new(
                Code::NOT_PERMITTED,
                "these are not its digits; is the clock right?",
            )
        })?;
        self.store.put_secret(&secret_id(name), &secret)?;
        self.change_user(name, |user| {
            (user.second, user.used) = (true, step);
            Ok(())
        })?;
        Ok(self.store.delete_secret(&id)?)
    }

    /// A new user, or one who has lost his password or second factor: the code with which he comes in once.
    pub fn invite(&self, name: &str, role: Option<UserRole>) -> Result<String, Failure> {
        if !is_name(name) {
            return Err(Failure::new(
                Code::SYNTAX,
                "a name has 1 to 32 letters, digits, dots or dashes",
            ));
        }
        let _one = self.sessions.changing();
        let before = self.user(name);
        if before.is_none() && self.users()?.len() >= USERS {
            return Err(Failure::new(Code::NOT_PERMITTED, "there are 100 users already"));
        }
        let role = role.or(before.map(|user| user.role)).unwrap_or(UserRole::Reader);
        self.keep_a_super(name, Some(role))?;
        let code = new_code()?;
        let user = User {
            role,
            password: None,
            code: Some(password::hash(&code)?),
            basic: false,
            second: false,
            used: 0,
        };
        self.store.delete_secret(&secret_id(name))?;
        self.store.put(STORE, name, &user)?;
        self.end_sessions(name);
        Ok(code)
    }

    /// Another role for a user.
    pub fn set_role(&self, name: &str, role: UserRole) -> Result<(), Failure> {
        self.change_user(name, |user| {
            self.keep_a_super(name, Some(role))?;
            user.role = role;
            Ok(())
        })
    }

    /// Removes a user.
    pub fn remove_user(&self, name: &str) -> Result<(), Failure> {
        let _one = self.sessions.changing();
        if self.user(name).is_none() {
            return Err(Failure::new(Code::SYNTAX, "no such user"));
        }
        self.keep_a_super(name, None)?;
        self.store.delete_secret(&secret_id(name))?;
        self.store.delete(STORE, name)?;
        self.end_sessions(name);
        Ok(())
    }

    /// Back to the first administrator alone: with this password, or as he is when there is none. All sessions end.
    pub(crate) fn forget_users(&self, first: Option<&str>) -> Result<(), Failure> {
        let _one = self.sessions.changing();
        for user in self.users()?.iter().filter(|user| user.name != FIRST) {
            self.store.delete_secret(&secret_id(&user.name))?;
            self.store.delete(STORE, &user.name)?;
        }
        if let Some(text) = first {
            first_with_password(&self.store, text)?;
        }
        self.sessions.all().clear();
        let _ = std::fs::remove_file(self.config.update.folder.join("backup.json"));
        Ok(())
    }

    /// One super administrator who can come in must always be left.
    fn keep_a_super(&self, changed: &str, role: Option<UserRole>) -> Result<(), Failure> {
        let others = self
            .users()?
            .into_iter()
            .any(|user| user.name != changed && user.role == UserRole::Super && !user.invited);
        match others || role == Some(UserRole::Super) {
            true => Ok(()),
            false => Err(Failure::new(
                Code::NOT_PERMITTED,
                "one super administrator must be left",
            )),
        }
    }
}

impl Session {
    fn is_open(&self, now: Duration) -> bool {
        now.saturating_sub(self.last) <= IDLE && now.saturating_sub(self.since) <= LONGEST
    }
}

/// The step of time whose digits these are: this one, the one before or the one after.
fn fitting_step(secret: &[u8], digits: &str, now: i64) -> Option<i64> {
    let digits: String = digits.chars().filter(|c| !c.is_whitespace()).collect();
    let step = now.div_euclid(STEP);
    [step, step - 1, step + 1].into_iter().find(|step| {
        let right = format!(
            "{:06}",
            crypto::one_time_digits(secret, u64::try_from(*step).unwrap_or_default())
        );
        crypto::card::same_mac(right.as_bytes(), digits.as_bytes())
    })
}

/// Base32 without padding (RFC 4648), as authenticators take it.
fn base32(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let bits: Vec<u8> = bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1))
        .collect();
    bits.chunks(5)
        .map(|five| {
            let value = five.iter().fold(0, |value, bit| value << 1 | bit) << (5 - five.len());
            char::from(LETTERS.get(usize::from(value)).copied().unwrap_or(b'A'))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238, appendix B, SHA-1, the last six digits.
    #[test]
    fn digits_of_the_standard() {
        let secret = b"12345678901234567890";
        for (time, digits) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_234_567_890, "005924"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(fitting_step(secret, digits, time), Some(time / 30), "{time}");
            assert_eq!(fitting_step(secret, digits, time + 30), Some(time / 30), "{time}");
            assert_eq!(fitting_step(secret, digits, time + 90), None, "{time}");
        }
        assert_eq!(fitting_step(secret, "", 59), None);
        assert_eq!(
            base32(b"12345678901234567890"),
            "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
        );
        assert_eq!(base32(b"a"), "ME");
    }

    #[test]
    fn roles_and_what_they_may() {
        let may = |role: UserRole, method: Method, path: &str| role.may(&method, &format!("/api/v1{path}"));
        for role in [
            UserRole::Super,
            UserRole::Local,
            UserRole::Remote,
            UserRole::Reader,
        ] {
            assert!(may(role, Method::GET, "/state"));
            assert!(may(role, Method::PUT, "/me/password"));
            assert_eq!(
                may(role, Method::POST, "/users"),
                role == UserRole::Super,
                "{role:?}"
            );
            assert_eq!(may(role, Method::POST, "/factory-reset"), role == UserRole::Super);
            assert_eq!(may(role, Method::POST, "/update/start"), role != UserRole::Reader);
            assert_eq!(may(role, Method::GET, "/cards"), role != UserRole::Remote);
            let keeps = matches!(role, UserRole::Super | UserRole::Local);
            assert_eq!(may(role, Method::POST, "/backup"), keeps, "{role:?}");
            assert_eq!(may(role, Method::PUT, "/backup"), role == UserRole::Super);
            assert_eq!(may(role, Method::PUT, "/smb-pins/80276"), keeps);
        }
        // a path that only begins alike is another one
        assert!(may(UserRole::Local, Method::GET, "/usersettings"));
        assert!(!may(UserRole::Reader, Method::POST, "/menu"));
        assert!(!UserRole::Reader.may(&Method::POST, "/metrics"));
    }

    #[test]
    fn codes_are_not_confused() {
        let code = new_code().unwrap();
        assert_eq!(code.len(), 19);
        assert!(!code.contains(['0', 'O', '1', 'I', 'L']), "{code}");
    }
}
