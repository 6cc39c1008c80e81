//! What should be done next for the lifetime extension: pure, so that years of it run in a second. Orders are carried out by
//! whoever has a network; what comes of them are steps of the book. "Nothing found" is no step.

use crate::{Book, Change, DAY, Family, Outcome, Role, Signer, Stage};
use base::Timestamp;
use jiff::civil::Weekday;
use jiff::tz::Offset;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Days before the end at which the search for new certificates begins (A_21744).
pub const BEGIN: i64 = 180;
/// Days before the end from which everything is tried as often as it may be.
const URGENT: i64 = 30;
/// Days a new certificate is looked at before it is used first.
const REST: i64 = 3;
/// Days before the end by which it should be used.
const READY: i64 = 60;
/// Days between a change of the firmware and a change of certificates, either way.
const APART: i64 = 7;
/// Days before a signer's end at which a registration is renewed with another one.
const SIGNER: i64 = 60;
/// Most attempts of one kind in a day (A_21744-03).
const QUARTERS: i64 = 4;
/// Days between two questions whether the registration still stands.
const STATUS: i64 = 7;
/// Days after a registration in which it is asked about every day: a service has said "registered" and forgotten it.
const YOUNG: i64 = 3;
/// Most the answers of the probes may be old when a generation comes into use, in seconds.
const FRESH: i64 = DAY;
/// At the end of each quarter of a day there is no moment: whoever looks every hour still comes in time, and nothing is carried
/// into the next day.
const LATE: i64 = 2 * 3600;
/// How far the clocks of the access service and the device may differ, in seconds (7061).
pub const SKEW: i64 = 300;

/// What is so at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The moment.
    pub now: Timestamp,
    /// The tunnel is up: packages can be downloaded, statuses asked for.
    pub tunnel: bool,
    /// There is a VPN access service to register with.
    pub registrar: bool,
    /// Whose signature a registration would have: the unlocked SM-B that lasts longest.
    pub signer: Option<Signer>,
    /// The clock is not believed.
    pub doubt: bool,
    /// When the firmware was changed last.
    pub firmware: Option<Timestamp>,
}

/// When something was last tried, Unix seconds. Losing it costs an attempt more.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempts(BTreeMap<String, i64>);

impl Attempts {
    /// Notes an order.
    pub fn note(&mut self, order: Order, now: Timestamp) {
        self.0.insert(order.name(), now.as_second());
    }

    fn last(&self, order: Order) -> i64 {
        self.0.get(&order.name()).copied().unwrap_or(i64::MIN)
    }
}

/// Something that needs the world outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Look for a package (TUC_KON_410).
    Fetch,
    /// Ask for the status of all certificates of a generation.
    Verify {
        /// Its number.
        generation: u32,
    },
    /// Register a certificate, beside others (TUC_KON_411).
    Register {
        /// Its generation.
        generation: u32,
        /// Its keys.
        family: Family,
    },
    /// Tell people that an SM-B must be opened, or nothing can be registered (Fail=No_Smcb).
    AskForSigner {
        /// What waits.
        generation: u32,
        /// Its keys.
        family: Family,
    },
    /// Ask whether the registration stands.
    Status {
        /// Its generation.
        generation: u32,
        /// Its keys.
        family: Family,
    },
    /// Try it end to end.
    Probe {
        /// Its generation.
        generation: u32,
        /// Its keys.
        family: Family,
    },
}

impl Order {
    fn name(self) -> String {
        match self {
            Order::Fetch => "fetch".into(),
            Order::Verify { generation } => format!("verify {generation}"),
            Order::Register { generation, family } => format!("register {generation} {family:?}"),
            Order::AskForSigner { generation, family } => format!("signer {generation} {family:?}"),
            Order::Status { generation, family } => format!("status {generation} {family:?}"),
            Order::Probe { generation, family } => format!("probe {generation} {family:?}"),
        }
    }
}

/// A number that is the same for somebody and a purpose, and spread over all of them.
pub fn draw(who: &[u8], purpose: &str, number: i64) -> u64 {
    let hash = crypto::sha256([who, purpose.as_bytes(), &number.to_be_bytes()]);
    let mut first = [0; 8];
    first.copy_from_slice(hash.get(..8).unwrap_or(&[0; 8]));
    u64::from_be_bytes(first)
}

/// Is one of the day's moments for this order past, and not used yet? Once a day, made up for on the next; four times and never
/// more when it is urgent (A_21744-03), each device at moments of its own (G9).
fn is_due(iccsn: &str, order: Order, attempts: &Attempts, now: Timestamp, urgent: bool) -> bool {
    let second = now.as_second();
    // what was noted by a clock that was ahead counts for nothing
    let last = Some(attempts.last(order))
        .filter(|last| *last <= second)
        .unwrap_or(i64::MIN);
    let quarter = DAY / QUARTERS;
    let moment = |number: i64| {
        let offset = draw(iccsn.as_bytes(), &order.name(), number) % (quarter - LATE).unsigned_abs();
        number * quarter + i64::try_from(offset).unwrap_or_default()
    };
    // one attempt in a quarter, also if it was before the moment
    let due = |number: i64| moment(number) <= second && last < number * quarter;
    if urgent {
        return due(second.div_euclid(quarter));
    }
    let day = second.div_euclid(DAY);
    let own = |day: i64| {
        let turn = draw(iccsn.as_bytes(), "quarter", day) % QUARTERS.unsigned_abs();
        day * QUARTERS + i64::try_from(turn).unwrap_or_default()
    };
    due(own(day)) || due(own(day - 1))
}

/// The earliest end of what is required of the generation that is used first, and of the CV certificates, Unix seconds; 0 if it
/// was revoked in use.
pub fn end_of_used(book: &Book) -> i64 {
    let ends = book.families().into_iter().filter_map(|family| {
        let active = book.active(family)?;
        if book.quarantine.contains_key(&active) {
            return Some(0);
        }
        let used = book.generation(active)?;
        let of_family = used.certificates.iter();
        of_family
            .filter(|(kind, _)| kind.algorithm.family() == family)
            .map(|(_, held)| held.to)
            .min()
    });
    let cvcs = book.generations.iter().filter(|one| book.is_usable(one.number));
    let cvc = cvcs.filter_map(|one| Some(one.cvc.as_ref()?.to)).max();
    ends.chain(cvc).min().unwrap_or(i64::MAX)
}

/// Generations that are newer than the one used first and not in quarantine, newest first: one that hangs must not hold up the
/// one before it.
fn candidates(book: &Book, family: Family) -> impl Iterator<Item = u32> {
    let active = book.active(family).unwrap_or_default();
    let newer = book.generations.iter().rev().map(|one| one.number);
    newer.filter(move |number| *number > active && !book.quarantine.contains_key(number))
}

/// Has its time come to be used first?
fn is_ready(book: &Book, iccsn: &str, generation: u32, now: i64) -> bool {
    let end = end_of_used(book);
    let arrived = usize::try_from(generation)
        .ok()
        .and_then(|number| book.arrived.get(number).copied());
    let urgent = end.saturating_sub(now) < URGENT * DAY;
    urgent || arrived.is_some_and(|arrived| activation(iccsn, generation, arrived, end) <= now)
}

/// The next thing to do, if it is time for something.
pub fn next(book: &Book, iccsn: &str, attempts: &Attempts, facts: &Facts) -> Option<Order> {
    if book.frozen || facts.doubt {
        return None;
    }
    let now = facts.now;
    let left = end_of_used(book).saturating_sub(now.as_second());
    let urgent = left < URGENT * DAY;
    // a device that was never registered stands before somebody who waits: its first attempt is at once
    let first = |order: Order| {
        let new = matches!(order, Order::Register { generation: 0, .. }) && book.is_never_registered();
        new && attempts.last(order) == i64::MIN
    };
    let due = |order: Order, urgent| first(order) || is_due(iccsn, order, attempts, now, urgent);
    let second = now.as_second();
    for family in book.families() {
        for generation in candidates(book, family) {
            let stage = book.stage(generation, family);
            let closed = facts.registrar && facts.signer.is_none();
            // each of these is a step forward: as often as it may be
            let (order, often) = match stage {
                Some(Stage::Fetched) if facts.tunnel => (Order::Verify { generation }, true),
                // without an open SM-B nothing can be asked of the access service
                Some(Stage::Verified | Stage::Registered) if closed => {
                    (Order::AskForSigner { generation, family }, false)
                }
                Some(Stage::Verified) if facts.registrar => (Order::Register { generation, family }, true),
                Some(Stage::Verified | Stage::Registered) => (Order::Probe { generation, family }, true),
                // once more before it is used: much can happen in months
                Some(Stage::Probed)
                    if !closed
                        && is_ready(book, iccsn, generation, second)
                        && !is_fresh(book, generation, family, second) =>
                {
                    (Order::Probe { generation, family }, true)
                }
                _ => continue,
            };
            if due(order, often) {
                return Some(order);
            }
        }
        // the one that is used first, and those that are going to be
        let waiting = candidates(book, family).filter(|generation| {
            matches!(
                book.stage(*generation, family),
                Some(Stage::Registered | Stage::Probed)
            )
        });
        for generation in book.active(family).into_iter().chain(waiting) {
            let order = registration(book, iccsn, generation, family, facts);
            if let Some((order, _)) = order.filter(|(order, often)| facts.registrar && due(*order, *often)) {
                return Some(order);
            }
        }
    }
    // also while another one waits: it may be one that never gets any further
    let search = facts.tunnel && left <= BEGIN * DAY;
    (search && due(Order::Fetch, urgent)).then_some(Order::Fetch)
}

/// Did it prove itself within the last day?
fn is_fresh(book: &Book, generation: u32, family: Family, now: i64) -> bool {
    let at = book.probed_at.get(&(generation, family));
    at.is_some_and(|at| (0..=FRESH).contains(&(now - at)))
}

fn ends_soon(signer: &Signer, now: i64) -> bool {
    signer.end < now + SIGNER * DAY
}

/// Is it time to renew a registration that `old` has signed, because it ends and `new` lasts longer (January 2026)?
pub fn is_outlasted(old: &Signer, new: &Signer, now: i64) -> bool {
    ends_soon(old, now) && new.end > old.end
}

/// The registration of what is used first, or is going to be: made if there is none, renewed when its signer ends and another
/// lasts longer, asked about every week and whenever it is in doubt (January 2026). With it whether it is asked as often as may be.
fn registration(
    book: &Book,
    iccsn: &str,
    generation: u32,
    family: Family,
    facts: &Facts,
) -> Option<(Order, bool)> {
    let now = facts.now.as_second();
    if book.quarantine.contains_key(&generation) {
        return None;
    }
    let one = book.generation(generation)?;
    let mut tunnel = one
        .certificates
        .iter()
        .filter(|(kind, _)| kind.role == Role::NkVpn && kind.algorithm.family() == family);
    if tunnel.next().is_none_or(|(_, held)| held.to < now) {
        return None;
    }
    let register = Order::Register { generation, family };
    match (book.registration(generation, family), &facts.signer) {
        (None, Some(_)) => Some((register, true)),
        (Some(old), Some(new)) if is_outlasted(old, new, now) => Some((register, true)),
        (Some(_), Some(_)) => {
            // every device on a day of its own
            let day = now.div_euclid(DAY)
                + i64::try_from(draw(iccsn.as_bytes(), "status", 0) % 7).unwrap_or_default();
            let probes = book.probes.get(&(generation, family)).into_iter().flatten();
            let doubtful = probes
                .filter(|probe| probe.name == "registration")
                .any(|probe| matches!(probe.outcome, Outcome::Failed(_)));
            let young = book
                .registered_at(generation, family)
                .is_some_and(|at| now - at < YOUNG * DAY);
            let often = doubtful || young || !facts.tunnel;
            let wanted = often || day % STATUS == 0;
            wanted.then_some((Order::Status { generation, family }, often))
        }
        (Some(old), None) if ends_soon(old, now) => Some((Order::AskForSigner { generation, family }, false)),
        (_, None) => None,
    }
}

/// When a generation that has proven itself is used first. At a moment of the device's own between three days after its
/// arrival and sixty days before the end, on a Tuesday, Wednesday or Thursday between 9 and 15 hours UTC; at once if that is
/// past. `end` is that of what is used now; all in Unix seconds.
pub fn activation(iccsn: &str, generation: u32, arrived: i64, end: i64) -> i64 {
    let from = arrived.saturating_add(REST * DAY);
    let span = end.saturating_sub(READY * DAY).saturating_sub(from).max(DAY);
    let share = draw(iccsn.as_bytes(), "activation", generation.into()) % span.unsigned_abs();
    let mut day = (from + i64::try_from(share).unwrap_or_default()).div_euclid(DAY);
    for _ in 0..7 {
        let begin = Timestamp::from_second(day * DAY).unwrap_or(Timestamp::UNIX_EPOCH);
        match Offset::UTC.to_datetime(begin).weekday() {
            Weekday::Tuesday | Weekday::Wednesday | Weekday::Thursday => break,
            _ => day += 1,
        }
    }
    let hours =
        9 * 3600 + i64::try_from(draw(iccsn.as_bytes(), "hour", day) % (6 * 3600)).unwrap_or_default();
    day * DAY + hours
}

/// The change that follows from what is known, without asking anybody: a proven generation is used first when its time has
/// come.
pub fn change(book: &Book, iccsn: &str, facts: &Facts) -> Option<Change> {
    if book.frozen || facts.doubt {
        return None;
    }
    let now = facts.now.as_second();
    let left = end_of_used(book).saturating_sub(now);
    let apart = facts
        .firmware
        .is_none_or(|changed| now - changed.as_second() >= APART * DAY);
    if !apart && left > 2 * APART * DAY {
        return None;
    }
    // both families together would be all identities at once
    let families = book.families().into_iter().rev();
    let mut proven = families.flat_map(|family| candidates(book, family).map(move |one| (one, family)));
    let (generation, family) =
        proven.find(|(generation, family)| match book.stage(*generation, *family) {
            Some(Stage::Probed) => {
                is_ready(book, iccsn, *generation, now) && is_fresh(book, *generation, *family, now)
            }
            // somebody went back to an older one, and that one ends
            Some(Stage::Superseded) => left < URGENT * DAY,
            _ => false,
        })?;
    Some(Change::Activated { generation, family })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everybody has moments of his own, once a day, and a device that looks every hour misses none.
    #[test]
    fn moments_are_spread_and_none_is_missed() {
        let start = 1_800_000_000 / DAY * DAY;
        let mut by_hour = [0; 24];
        for device in 0..200 {
            let iccsn = format!("{device:020}");
            for (urgent, expected) in [(false, 30), (true, 120)] {
                let mut attempts = Attempts::default();
                attempts.note(Order::Fetch, Timestamp::from_second(start - 1).unwrap());
                let (mut count, mut days) = (0, [0; 30]);
                for hour in 0..30 * 24 {
                    let now = Timestamp::from_second(start + hour * 3600).unwrap();
                    if is_due(&iccsn, Order::Fetch, &attempts, now, urgent) {
                        attempts.note(Order::Fetch, now);
                        count += 1;
                        days[usize::try_from(hour / 24).unwrap()] += 1;
                        by_hour[usize::try_from(hour % 24).unwrap()] += usize::from(!urgent);
                    }
                }
                assert!((expected - 2..=expected + 1).contains(&count), "{urgent} {count}");
                assert!(days.iter().all(|count| *count <= 4), "{days:?}");
            }
        }
        // the last two hours of each six have none or few
        let busy = by_hour.iter().filter(|count| **count > 150).count();
        assert!(
            busy >= 16 && by_hour.iter().all(|count| *count < 450),
            "{by_hour:?}"
        );
    }

    /// A device that is set up registers at once, whatever its moments are, and then no more often than four times a day.
    #[test]
    fn a_new_device_registers_at_once() {
        let held = crate::Held {
            der: vec![0],
            from: 0,
            to: 30_000 * DAY,
            serial: "1".into(),
            issuer: "CA".into(),
        };
        let book = Book::new(crate::Generation {
            number: 0,
            certificates: [("C.NK.VPN_ECC".parse().unwrap(), held)].into(),
            cvc: None,
            source: crate::Source::Card,
        });
        let order = Order::Register {
            generation: 0,
            family: Family::Ecc,
        };
        let start = 20_000 * DAY;
        for begin in (0..24).map(|hour| start + hour * 3600 + 1) {
            let (mut attempts, mut all) = (Attempts::default(), Vec::new());
            for minute in 0..2 * 24 * 60 {
                let now = Timestamp::from_second(begin + minute * 60).unwrap();
                let facts = Facts {
                    now,
                    tunnel: false,
                    registrar: true,
                    signer: Some(Signer {
                        iccsn: "1".into(),
                        serial: "1".into(),
                        end: 30_000 * DAY,
                    }),
                    doubt: false,
                    firmware: None,
                };
                if let Some(due) = next(&book, "80276009990000000010", &attempts, &facts) {
                    assert_eq!(due, order);
                    attempts.note(due, now);
                    all.push(minute);
                }
            }
            assert_eq!(all.first(), Some(&0));
            // one in each quarter that there is
            assert!((8..=9).contains(&all.len()), "{all:?}");
        }
    }

    /// An administrator has gone back to the certificates before: when those end, the later ones come into use again by
    /// themselves, and not before.
    #[test]
    fn nobody_is_left_behind_after_a_step_back() {
        let held = |to: i64| crate::Held {
            der: to.to_be_bytes().to_vec(),
            from: 0,
            to: to * DAY,
            serial: to.to_string(),
            issuer: "CA".into(),
        };
        let kind: crate::Kind = "C.NK.VPN_ECC".parse().unwrap();
        let generation = |number, to| crate::Generation {
            number,
            certificates: [(kind, held(to))].into(),
            cvc: None,
            source: crate::Source::Download,
        };
        let family = Family::Ecc;
        let mut book = Book::new(generation(0, 1000));
        let mut enter = |day: i64, change| {
            let step = crate::Step {
                at: Timestamp::from_second(day * DAY).unwrap(),
                actor: crate::Actor::Administrator,
                change,
            };
            book.apply(&step).unwrap();
        };
        enter(830, Change::Fetched(generation(1, 3000)));
        enter(830, Change::Verified { generation: 1 });
        let probes = Vec::new();
        enter(
            830,
            Change::Probed {
                generation: 1,
                family,
                probes,
            },
        );
        enter(
            831,
            Change::Activated {
                generation: 1,
                family,
            },
        );
        enter(
            832,
            Change::Activated {
                generation: 0,
                family,
            },
        );
        for day in 833..1000 {
            let facts = Facts {
                now: Timestamp::from_second(day * DAY).unwrap(),
                tunnel: true,
                registrar: false,
                signer: None,
                doubt: false,
                firmware: None,
            };
            let change = change(&book, "1", &facts);
            let wanted = (day > 1000 - URGENT).then_some(Change::Activated {
                generation: 1,
                family,
            });
            assert_eq!(change, wanted, "day {day}");
        }
    }

    /// The use of new certificates is spread over months, on working days, and in time.
    #[test]
    fn activations_are_spread_over_working_hours() {
        let arrived = 1_800_000_000;
        let end = arrived + BEGIN * DAY;
        let mut days = std::collections::BTreeSet::new();
        for device in 0..500 {
            let at = activation(&format!("{device:020}"), 1, arrived, end);
            assert!(at >= arrived + REST * DAY - DAY && at <= end - (READY - 8) * DAY);
            let local = Offset::UTC.to_datetime(Timestamp::from_second(at).unwrap());
            assert!((9..15).contains(&local.hour()));
            assert!(matches!(
                local.weekday(),
                Weekday::Tuesday | Weekday::Wednesday | Weekday::Thursday
            ));
            days.insert(at.div_euclid(DAY));
        }
        assert!(days.len() > 40, "{}", days.len());
        // too late for a window: at once, that is within days
        let late = activation("1", 1, end - 10 * DAY, end);
        assert!(late < end);
    }
}
