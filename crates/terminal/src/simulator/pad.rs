use base::Clock;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// For the first and every further key (gemSpec_KT overrides SICCT).
const KEY_TIMEOUT: Duration = Duration::from_secs(30);

/// A key of the PIN pad.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// Digits, one or many.
    Digits(String),
    /// Enter.
    Enter,
    /// Cancel.
    Cancel,
    /// Correction: forgets the last digit.
    Correct,
}

/// How an entry ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    Digits(String),
    Cancelled,
    TimedOut,
}

/// The keypad: keys wait until somebody asks for them; asking clears what was pressed before.
pub(super) struct Pad {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    pressed: Notify,
    asked: Notify,
}

#[derive(Default)]
struct State {
    prompt: Option<String>,
    keys: VecDeque<Key>,
    typed: usize,
}

impl Pad {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            state: Mutex::default(),
            pressed: Notify::new(),
            asked: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn prompt(&self) -> Option<String> {
        self.state().prompt.clone()
    }

    pub fn typed(&self) -> usize {
        self.state().typed
    }

    /// Keys pressed while nobody asks go nowhere, as on a real keypad.
    pub fn press(&self, key: Key) {
        let mut state = self.state();
        if state.prompt.is_some() {
            state.keys.push_back(key);
            self.pressed.notify_one();
        }
    }

    pub async fn wait_for_prompt(&self) -> String {
        loop {
            let asked = self.asked.notified();
            if let Some(prompt) = self.prompt() {
                return prompt;
            }
            asked.await;
        }
    }

    /// Asks for digits, ended by enter; with `consent`, only for enter or cancel.
    pub async fn ask(&self, prompt: &str, first_key: Duration) -> Entry {
        {
            let mut state = self.state();
            *state = State {
                prompt: Some(prompt.to_owned()),
                ..State::default()
            };
        }
        self.asked.notify_waiters();
        let entry = self.collect(first_key.max(KEY_TIMEOUT)).await;
        *self.state() = State::default();
        entry
    }

    async fn collect(&self, first_key: Duration) -> Entry {
        let mut digits = String::new();
        let mut patience = first_key;
        loop {
            let key = self.state().keys.pop_front();
            match key {
                Some(Key::Digits(more)) => digits.extend(more.chars().filter(char::is_ascii_digit).take(12)),
                Some(Key::Correct) => drop(digits.pop()),
                Some(Key::Enter) => return Entry::Digits(digits),
                Some(Key::Cancel) => return Entry::Cancelled,
                None => {
                    if self
                        .clock
                        .timeout(patience, self.pressed.notified())
                        .await
                        .is_none()
                    {
                        return Entry::TimedOut;
                    }
                    continue;
                }
            }
            patience = KEY_TIMEOUT;
            self.state().typed = digits.len();
        }
    }
}
