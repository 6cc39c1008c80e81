//! Passwords of users: salted PBKDF2 hashes, compared in constant time, with a lock after wrong ones.

use crate::Failure;
use base::Clock;
use base::Code;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, header};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use zeroize::Zeroizing;

const ROUNDS: u32 = 100_000;
/// Wrong passwords in a row before a user has to wait.
const TRIES: u32 = 5;
/// How long the wait is.
const LOCKED: Duration = Duration::from_secs(60);
/// Verified passwords that are remembered: hashing one anew with every request would be the costliest part of it.
const REMEMBERED: usize = 1000;

/// `pbkdf2-sha256$rounds$salt$hash`, hexadecimal.
pub fn hash(password: &str) -> Result<String, Failure> {
    let salt: [u8; 16] = crypto::random()?;
    Ok(format!(
        "pbkdf2-sha256${ROUNDS}${}${}",
        hex::encode(salt),
        hex::encode(derive(password, &salt, ROUNDS))
    ))
}

/// Hash of an administrator's password, if that is long enough.
pub(crate) fn hash_of_admin(text: &str) -> Result<String, Failure> {
    match text.chars().count() {
        0..12 => Err(Failure::new(
            Code::SYNTAX,
            "the administrator's password needs 12 characters or more",
        )),
        _ => hash(text),
    }
}

fn derive(password: &str, salt: &[u8], rounds: u32) -> [u8; 32] {
    pbkdf2::pbkdf2_hmac_array::<sha2::Sha256, 32>(password.as_bytes(), salt, rounds)
}

/// Does the password fit the hash?
pub fn verify(password: &str, stored: &str) -> bool {
    let mut parts = stored.split('$');
    let (Some("pbkdf2-sha256"), Some(rounds), Some(salt), Some(hash), None) = (
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
    ) else {
        return false;
    };
    match (rounds.parse(), hex::decode(salt), hex::decode(hash)) {
        (Ok(rounds @ 1..=10_000_000), Ok(salt), Ok(hash)) => {
            crypto::card::same_mac(&derive(password, &salt, rounds), &hash)
        }
        _ => false,
    }
}

/// User and password of HTTP's Basic authentication.
pub fn basic(headers: &HeaderMap) -> Option<(String, Zeroizing<String>)> {
    let text = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let decoded = Zeroizing::new(STANDARD.decode(text.strip_prefix("Basic ")?).ok()?);
    let (user, secret) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((user.to_owned(), Zeroizing::new(secret.to_owned())))
}

/// What came of a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Login {
    /// The password is the user's.
    Right,
    /// It is not, or there is no such user.
    Wrong,
    /// Too many wrong ones before: nothing was compared.
    Locked,
}

/// The door: who has knocked wrongly how often, and who was let in lately.
pub struct Door {
    /// Under this key passwords are remembered, in memory only.
    key: [u8; 32],
    lately: Mutex<HashSet<[u8; 32]>>,
    knocking: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Wrong>>>>,
}

/// Wrong passwords in a row, and until when the door is closed.
#[derive(Default)]
struct Wrong {
    count: u32,
    until: Duration,
}

impl Wrong {
    fn one_more(&mut self, clock: &dyn Clock) {
        self.count += 1;
        if self.count >= TRIES {
            *self = Wrong {
                count: 0,
                until: clock.elapsed() + LOCKED,
            };
        }
    }
}

/// What is compared for users that do not exist, so that they cannot be told by the time it takes.
const NOBODY: &str = "pbkdf2-sha256$100000$00$00";

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Door {
    /// A door nobody has come through yet.
    pub fn new() -> Result<Self, Failure> {
        Ok(Self {
            key: crypto::random()?,
            lately: Mutex::default(),
            knocking: Mutex::default(),
        })
    }

    /// The digits of a second factor: guesses of them close the door as guesses of passwords do.
    pub async fn show_digits(&self, user: &str, clock: &dyn Clock, right: impl FnOnce() -> bool) -> Login {
        let entry = lock(&self.knocking)
            .entry(format!("second/{user}"))
            .or_default()
            .clone();
        let mut wrong = entry.lock().await;
        if wrong.until > clock.elapsed() {
            return Login::Locked;
        }
        if right() {
            *wrong = Wrong::default();
            return Login::Right;
        }
        wrong.one_more(clock);
        Login::Wrong
    }

    /// Lets a user in whose password fits `stored`; five wrong ones in a row close the door to this user for a minute.
    pub async fn knock(&self, user: &str, password: &str, stored: Option<&str>, clock: &dyn Clock) -> Login {
        // users that do not exist share one entry: their names are the caller's invention
        let entry = if stored.is_some() { user } else { "" };
        let stored = stored.unwrap_or(NOBODY);
        let token = crypto::hmac_sha256(&self.key, format!("{user}\0{password}\0{stored}").as_bytes());
        let entry = lock(&self.knocking).entry(entry.to_owned()).or_default().clone();
        // one at a time, or many at once would get past the count
        let mut wrong = entry.lock().await;
        if wrong.until > clock.elapsed() {
            return Login::Locked;
        }
        if lock(&self.lately).contains(&token) {
            return Login::Right;
        }
        let (password, hash) = (password.to_owned(), stored.to_owned());
        let right = tokio::task::spawn_blocking(move || verify(&password, &hash)).await;
        if right.unwrap_or(false) {
            *wrong = Wrong::default();
            let mut lately = lock(&self.lately);
            if lately.len() >= REMEMBERED {
                lately.clear();
            }
            lately.insert(token);
            return Login::Right;
        }
        wrong.one_more(clock);
        if wrong.until > clock.elapsed() {
            tracing::warn!("login closed for a minute after {TRIES} wrong passwords");
        }
        Login::Wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn right_and_wrong() {
        let stored = hash("geheim").unwrap();
        assert!(verify("geheim", &stored));
        assert!(!verify("Geheim", &stored));
        assert!(!verify("geheim", "pbkdf2-sha256$x$00$00"));
        assert!(!verify("", ""));
    }

    #[tokio::test]
    async fn many_at_once_get_no_more_tries() {
        let clock = base::VirtualClock::at(base::Timestamp::UNIX_EPOCH).shared();
        let (door, stored) = (Arc::new(Door::new().unwrap()), hash("geheim").unwrap());
        let knocks: Vec<_> = (0..30)
            .map(|_| {
                let (door, stored, clock) = (door.clone(), stored.clone(), clock.clone());
                tokio::spawn(async move { door.knock("anna", "falsch", Some(&stored), &*clock).await })
            })
            .collect();
        let mut compared = 0;
        for knock in knocks {
            compared += u32::from(knock.await.unwrap() == Login::Wrong);
        }
        assert_eq!(compared, TRIES);
    }

    #[tokio::test]
    async fn five_wrong_passwords_close_the_door_for_a_minute() {
        let clock = base::VirtualClock::at(base::Timestamp::UNIX_EPOCH);
        let (door, stored) = (Door::new().unwrap(), hash("geheim").unwrap());
        let knock = async |user: &str, password: &str| {
            let stored = (user == "anna").then_some(stored.as_str());
            door.knock(user, password, stored, &*clock.shared()).await
        };
        assert_eq!(knock("anna", "geheim").await, Login::Right);
        for _ in 0..TRIES {
            assert_eq!(knock("anna", "falsch").await, Login::Wrong);
        }
        assert_eq!(knock("anna", "geheim").await, Login::Locked);
        // others are not held up
        assert_eq!(knock("berta", "geheim").await, Login::Wrong);
        clock.advance(LOCKED);
        assert_eq!(knock("anna", "geheim").await, Login::Right);
        // a changed password is not remembered
        assert_eq!(
            door.knock("anna", "geheim", Some(&hash("neu").unwrap()), &*clock.shared())
                .await,
            Login::Wrong
        );
    }
}
