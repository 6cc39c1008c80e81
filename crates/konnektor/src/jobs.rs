//! Job numbers (TIP1-A_4639 to 4645): they tie a signature at the practice system to the prompt at the terminal, and say
//! which signature is to be stopped.

use crate::Failure;
use base::Code;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// So many numbers in a row are all different.
const REMEMBERED: usize = 1_000;

#[derive(Default)]
struct State {
    /// Given out, newest last.
    given: VecDeque<String>,
    /// Used for a signature, newest last.
    used: VecDeque<String>,
    running: HashMap<String, Arc<AtomicBool>>,
}

/// All job numbers of an instance.
#[derive(Default)]
pub struct Jobs {
    state: Mutex<State>,
}

fn remember(list: &mut VecDeque<String>, number: &str) {
    list.push_back(number.to_owned());
    while list.len() > REMEMBERED {
        list.pop_front();
    }
}

/// `AAA-999`.
pub fn is_job_number(text: &str) -> bool {
    let bytes = text.as_bytes();
    matches!(bytes, [a, b, c, b'-', d, e, f]
        if [a, b, c].iter().all(|byte| byte.is_ascii_uppercase())
            && [d, e, f].iter().all(|byte| byte.is_ascii_digit()))
}

impl Jobs {
    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A number that was neither given out nor used lately, by chance, so that nobody can guess the next.
    pub fn next(&self) -> Result<String, Failure> {
        loop {
            let random: [u8; 8] = crypto::random()?;
            let number = u64::from_be_bytes(random);
            let letter = |value: u64| char::from(b'A' + (value % 26) as u8);
            let text = format!(
                "{}{}{}-{:03}",
                letter(number),
                letter(number / 26),
                letter(number / 676),
                (number / 17_576) % 1_000
            );
            let fresh = self.with(|state| {
                let fresh = !state.given.contains(&text) && !state.used.contains(&text);
                if fresh {
                    remember(&mut state.given, &text);
                }
                fresh
            });
            if fresh {
                return Ok(text);
            }
        }
    }

    /// Begins a signature with this number, which need not have been given out here.
    pub fn begin(&self, number: &str) -> Result<Job<'_>, Failure> {
        self.with(|state| {
            if state.used.iter().any(|used| used == number) {
                return Err(Failure::new(Code::JOB_NUMBER_USED, number));
            }
            remember(&mut state.used, number);
            let stopped = Arc::<AtomicBool>::default();
            state.running.insert(number.to_owned(), stopped.clone());
            Ok(Job {
                jobs: self,
                number: number.to_owned(),
                stopped,
            })
        })
    }

    /// How many signatures are running.
    pub fn running(&self) -> usize {
        self.with(|state| state.running.len())
    }

    /// Stops a running signature (StopSignature).
    pub fn stop(&self, number: &str) -> Result<(), Failure> {
        self.with(|state| match state.running.get(number) {
            Some(stopped) => {
                stopped.store(true, Ordering::Release);
                Ok(())
            }
            None => Err(Failure::new(Code::UNKNOWN_JOB, number)),
        })
    }
}

/// A signature that is running.
pub struct Job<'j> {
    jobs: &'j Jobs,
    /// Its number.
    pub number: String,
    stopped: Arc<AtomicBool>,
}

impl Job<'_> {
    /// Was it stopped?
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }
}

impl Drop for Job<'_> {
    fn drop(&mut self) {
        self.jobs.with(|state| state.running.remove(&self.number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn numbers_do_not_repeat() {
        let jobs = Jobs::default();
        let numbers: Vec<String> = (0..3_000).map(|_| jobs.next().unwrap()).collect();
        assert!(numbers.iter().all(|number| is_job_number(number)));
        for window in numbers.windows(REMEMBERED) {
            assert_eq!(window.iter().collect::<HashSet<_>>().len(), REMEMBERED);
        }
    }

    #[test]
    fn a_number_counts_once() {
        let jobs = Jobs::default();
        assert_eq!(jobs.stop("ABC-123").unwrap_err().code(), Code::UNKNOWN_JOB);
        let job = jobs.begin("ABC-123").unwrap();
        assert!(!job.is_stopped());
        jobs.stop("ABC-123").unwrap();
        assert!(job.is_stopped());
        drop(job);
        assert_eq!(jobs.stop("ABC-123").unwrap_err().code(), Code::UNKNOWN_JOB);
        assert_eq!(jobs.begin("ABC-123").err().unwrap().code(), Code::JOB_NUMBER_USED);
        for number in 0..1_000 {
            jobs.begin(&format!("AAA-{number:03}")).unwrap();
        }
        jobs.begin("ABC-123").unwrap();
        for text in ["", "abc-123", "ABC-12", "ABC-1234", "ABC 123", "ÄBC-123"] {
            assert!(!is_job_number(text));
        }
    }
}
