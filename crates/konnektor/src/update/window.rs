//! When a release may be put in by itself (MGM_KSR_AUTO_UPDATE_TIME, A_18390): local time of Germany. A window that was missed
//! is made up for, unlike A_18391 has it: a practice that switches its device off every night would never be updated.

use base::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Day {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

impl Day {
    const ALL: [Day; 7] = [
        Day::Monday,
        Day::Tuesday,
        Day::Wednesday,
        Day::Thursday,
        Day::Friday,
        Day::Saturday,
        Day::Sunday,
    ];
}

/// Some hours on some days of the week.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Window {
    /// On which days it opens.
    pub days: Vec<Day>,
    /// At which full hour, 0 to 23.
    pub hour: u8,
    /// For so many hours, 1 to 12.
    pub hours: u8,
}

impl Default for Window {
    /// Monday at one (TAB_KON_670), for three hours.
    fn default() -> Self {
        Self {
            days: vec![Day::Monday],
            hour: 1,
            hours: 3,
        }
    }
}

/// Seconds since the beginning of a Monday in 1970, local time of Germany.
fn local(now: Timestamp) -> i64 {
    let utc = now.as_second();
    // Thursday was the first day
    utc + offset(utc) + 3 * DAY
}

const DAY: i64 = 86_400;

/// Central European Time: an hour, two between the last Sundays of March and October, changed at one o'clock UTC.
fn offset(utc: i64) -> i64 {
    let Ok(date) = Timestamp::from_second(utc) else {
        return 3600;
    };
    let text = date.to_string();
    let year: i64 = text.get(..4).and_then(|year| year.parse().ok()).unwrap_or(1970);
    let change = |month: u32| {
        let last: Option<Timestamp> = format!("{year:04}-{month:02}-31T01:00:00Z").parse().ok();
        last.map_or(i64::MAX, |last| {
            let day = (last.as_second().div_euclid(DAY) + 3).rem_euclid(7);
            last.as_second() - (day + 1) % 7 * DAY
        })
    };
    match (change(3)..change(10)).contains(&utc) {
        true => 7200,
        false => 3600,
    }
}

impl Window {
    pub(super) fn check(&self) -> Result<(), &'static str> {
        match self.hour < 24 && (1..=12).contains(&self.hours) && !self.days.is_empty() {
            true => Ok(()),
            false => Err("update.window needs days, an hour from 0 to 23 and 1 to 12 hours"),
        }
    }

    /// Is it open?
    pub fn is_open(&self, now: Timestamp) -> bool {
        let into_week = local(now).rem_euclid(7 * DAY);
        self.starts().any(|start| {
            let since = (into_week - start).rem_euclid(7 * DAY);
            since < i64::from(self.hours) * 3600
        })
    }

    fn starts(&self) -> impl Iterator<Item = i64> {
        let place = |day: &Day| Day::ALL.iter().position(|one| one == day);
        let days = self
            .days
            .iter()
            .filter_map(move |day| i64::try_from(place(day)?).ok());
        days.map(|day| day * DAY + i64::from(self.hour) * 3600)
    }

    /// Was a whole window over between these moments?
    pub fn has_passed(&self, from: Timestamp, now: Timestamp) -> bool {
        // by hours: it begins and ends on one
        let mut at = from;
        let (mut begun, mut steps) = (false, 0);
        while at < now && steps < 15 * 24 {
            match (begun, self.is_open(at)) {
                (false, open) => begun = open,
                (true, false) => return true,
                (true, true) => {}
            }
            let Ok(next) = at.checked_add(Duration::from_secs(3600)) else {
                break;
            };
            (at, steps) = (next, steps + 1);
        }
        steps >= 15 * 24
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn monday_at_one() {
        let window = Window::default();
        // winter: one o'clock is midnight UTC; 2026-11-30 is a Monday
        assert!(!window.is_open(at("2026-11-29T23:59:59Z")));
        assert!(window.is_open(at("2026-11-30T00:00:00Z")));
        assert!(window.is_open(at("2026-11-30T02:59:59Z")));
        assert!(!window.is_open(at("2026-11-30T03:00:00Z")));
        // summer: two hours; 2026-07-06 is a Monday
        assert!(window.is_open(at("2026-07-05T23:00:00Z")));
        assert!(!window.is_open(at("2026-07-06T02:00:00Z")));
    }

    #[test]
    fn summer_time_begins_and_ends() {
        for (before, change) in [
            (3600, "2026-03-29T01:00:00Z"),
            (7200, "2026-10-25T01:00:00Z"),
            (3600, "2030-03-31T01:00:00Z"),
            (7200, "2030-10-27T01:00:00Z"),
            (3600, "2024-03-31T01:00:00Z"),
        ] {
            let change = at(change).as_second();
            assert_eq!(offset(change - 1), before);
            assert_eq!(offset(change), 10_800 - before);
        }
    }

    #[test]
    fn across_midnight_and_the_week() {
        let window = Window {
            days: vec![Day::Sunday],
            hour: 23,
            hours: 4,
        };
        assert!(window.is_open(at("2026-11-29T22:30:00Z")));
        assert!(window.is_open(at("2026-11-30T01:30:00Z")));
        assert!(!window.is_open(at("2026-11-30T02:00:00Z")));
    }

    #[test]
    fn a_missed_window_is_known() {
        let window = Window::default();
        let friday = at("2026-11-27T10:00:00Z");
        assert!(!window.has_passed(friday, at("2026-11-30T02:30:00Z")));
        assert!(window.has_passed(friday, at("2026-11-30T08:00:00Z")));
        assert!(window.has_passed(friday, at("2027-02-01T08:00:00Z")));
        assert!(!window.has_passed(friday, friday));
    }

    /// Five years: open exactly three hours each week, whatever summer time does.
    #[test]
    fn five_years_of_windows() {
        let window = Window::default();
        let start = at("2026-01-01T00:00:00Z").as_second();
        let hours = 5 * 365 * 24;
        let open =
            (0..hours).filter(|hour| window.is_open(Timestamp::from_second(start + hour * 3600).unwrap()));
        let weeks = hours / (7 * 24);
        let open = i64::try_from(open.count()).unwrap();
        assert!((open - 3 * weeks).abs() <= 3, "{open} hours in {weeks} weeks");
    }
}
