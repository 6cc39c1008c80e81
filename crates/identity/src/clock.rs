//! Is the time believable? Nothing fatal may rest on a clock alone: a device that wakes up in 1970 or 2038 keeps what it has
//! and changes nothing, until a second source agrees or a person does.

use crate::DAY;

/// What is known about time besides the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Evidence {
    /// The latest moment that somebody trusted has signed: the lists in use; Unix seconds. It never goes back.
    pub floor: i64,
    /// The clock when a person last agreed with it, Unix seconds.
    pub confirmed: Option<i64>,
}

/// Why the clock is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// It is behind what was signed already.
    Behind,
    /// It is far ahead of everything signed, and nobody agreed.
    Ahead,
}

/// How far behind the floor a clock may be.
const BEHIND: i64 = DAY;
/// How far ahead of the floor and of the last agreement it may be: a trust list that was never renewed serves 60 days.
const AHEAD: i64 = 65 * DAY;

/// The rule; `now` in Unix seconds.
pub fn doubt(now: i64, evidence: Evidence) -> Option<Doubt> {
    let known = evidence.floor.max(evidence.confirmed.unwrap_or(i64::MIN));
    match now {
        // with nothing to compare it with it is all there is
        _ if known == i64::MIN => None,
        now if now + BEHIND < evidence.floor => Some(Doubt::Behind),
        now if now > known.saturating_add(AHEAD) => Some(Doubt::Ahead),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wild_clocks_are_doubted_and_a_year_on_the_shelf_needs_an_agreement() {
        let floor = 1_800_000_000;
        let evidence = Evidence {
            floor,
            confirmed: None,
        };
        assert_eq!(doubt(0, evidence), Some(Doubt::Behind));
        assert_eq!(doubt(floor - 3600, evidence), None);
        assert_eq!(doubt(floor + 60 * DAY, evidence), None);
        let year = floor + 365 * DAY;
        assert_eq!(doubt(year, evidence), Some(Doubt::Ahead));
        let agreed = Evidence {
            confirmed: Some(year),
            ..evidence
        };
        assert_eq!(doubt(year + DAY, agreed), None);
        let nothing = Evidence {
            floor: i64::MIN,
            confirmed: None,
        };
        assert_eq!(doubt(year, nothing), None);
        // an agreement does not make the past come back
        assert_eq!(doubt(0, agreed), Some(Doubt::Behind));
    }
}
