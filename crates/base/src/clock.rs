use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

pub use jiff::Timestamp;

/// A source of time. Nothing in Langlauf calls the system clock directly; clippy's `disallowed-methods` keeps it so.
pub trait Clock: Send + Sync + 'static {
    /// The wall clock, UTC.
    fn now(&self) -> Timestamp;
    /// Time since an arbitrary fixed point; never goes back.
    fn elapsed(&self) -> Duration;
    /// A timer. Resolves once `span` has passed on this clock.
    fn sleep(&self, span: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

impl dyn Clock {
    /// Runs `work`, but at most for `span`; `None` when the time is over.
    pub async fn timeout<T>(&self, span: Duration, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = work => Some(done),
            () = self.sleep(span) => None,
        }
    }
}

/// The machine's own clock.
pub struct SystemClock {
    start: std::time::Instant,
}

impl SystemClock {
    /// The clock of this machine, ready to be shared.
    #[allow(clippy::disallowed_methods, clippy::new_ret_no_self)] // the one place that may ask the system
    pub fn new() -> Arc<dyn Clock> {
        Arc::new(Self {
            start: std::time::Instant::now(),
        })
    }
}

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods)]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    #[allow(clippy::disallowed_methods)]
    fn sleep(&self, span: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(span))
    }
}

/// A clock that stands still until a test moves it.
#[derive(Clone)]
pub struct VirtualClock {
    state: Arc<Mutex<VirtualState>>,
}

struct VirtualState {
    start: Timestamp,
    now: Timestamp,
    timers: BTreeMap<(Timestamp, u64), tokio::sync::oneshot::Sender<()>>,
    next_timer: u64,
}

impl VirtualClock {
    /// A clock that shows `start`.
    pub fn at(start: Timestamp) -> Self {
        let state = VirtualState {
            start,
            now: start,
            timers: BTreeMap::new(),
            next_timer: 0,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// This clock as the trait object the rooms take.
    pub fn shared(&self) -> Arc<dyn Clock> {
        Arc::new(self.clone())
    }

    /// Moves time forward and wakes every timer that has come due, in order.
    pub fn advance(&self, span: Duration) {
        let mut state = self.lock();
        let target = state.now.checked_add(span).unwrap_or(Timestamp::MAX);
        while let Some(entry) = state.timers.first_entry() {
            if entry.key().0 > target {
                break;
            }
            let due = entry.key().0;
            let waker = entry.remove();
            state.now = due;
            // a dropped receiver only means that nobody waits any more
            let _ = waker.send(());
        }
        state.now = target;
    }

    /// Lets it pass with the machine's time for `real`, so many times faster.
    #[allow(clippy::disallowed_methods)] // where virtual time meets real time
    pub async fn pass(&self, real: Duration, times: u32) {
        tokio::time::sleep(real).await;
        self.advance(real * times);
    }

    /// Lets it pass on its own, ten times as fast as the machine's, so that whatever waits for seconds goes on; ends when the task
    /// is aborted.
    pub fn tick(&self) -> tokio::task::JoinHandle<()> {
        let clock = self.clone();
        tokio::spawn(async move {
            loop {
                clock.pass(Duration::from_millis(2), 10).await;
            }
        })
    }

    fn lock(&self) -> MutexGuard<'_, VirtualState> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        self.lock().now
    }

    fn elapsed(&self) -> Duration {
        let state = self.lock();
        Duration::try_from(state.now.duration_since(state.start)).unwrap_or_default()
    }

    fn sleep(&self, span: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let (waker, woken) = tokio::sync::oneshot::channel();
        let mut state = self.lock();
        let due = state.now.checked_add(span).unwrap_or(Timestamp::MAX);
        if due <= state.now {
            return Box::pin(std::future::ready(()));
        }
        let number = state.next_timer;
        state.next_timer += 1;
        state.timers.insert((due, number), waker);
        drop(state);
        Box::pin(async move {
            let _ = woken.await;
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn virtual_timers_fire_in_order_and_only_when_due() {
        let clock = VirtualClock::at("2026-01-01T00:00:00Z".parse().unwrap());
        let shared = clock.shared();
        let late = tokio::spawn(shared.sleep(Duration::from_secs(86_400 * 365)));
        let soon = tokio::spawn(shared.sleep(Duration::from_secs(10)));
        tokio::task::yield_now().await;
        clock.advance(Duration::from_secs(11));
        soon.await.unwrap();
        assert!(!late.is_finished());
        clock.advance(Duration::from_secs(86_400 * 366));
        late.await.unwrap();
        assert_eq!(clock.elapsed(), Duration::from_secs(86_400 * 366 + 11));
    }

    #[tokio::test]
    async fn timeout_gives_up_when_the_clock_says_so() {
        let clock = VirtualClock::at(Timestamp::UNIX_EPOCH);
        let shared = clock.shared();
        let waiting = tokio::spawn(async move {
            shared
                .timeout(Duration::from_secs(5), std::future::pending::<()>())
                .await
        });
        tokio::task::yield_now().await;
        clock.advance(Duration::from_secs(6));
        assert_eq!(waiting.await.unwrap(), None);
    }
}
