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
    /// What time it is now by the time servers of the TI, Unix seconds; nobody signs that.
    pub served: Option<i64>,
    /// What time it is by the seconds counted since the clock was believed last; unless the device was switched off since.
    pub counted: Option<i64>,
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

/// Further apart than this nobody agrees (NTP_MAX_TIMEDIFFERENCE); seconds.
const APART: i64 = 3600;

/// What the time servers say, unless it contradicts what was signed.
pub fn served(evidence: Evidence) -> Option<i64> {
    let contradicts = |served: &i64| served.saturating_add(BEHIND) < evidence.floor;
    evidence.served.filter(|served| !contradicts(served))
}

/// Has a person lately said that the clock is right?
pub fn is_settled(now: i64, evidence: Evidence) -> bool {
    evidence
        .confirmed
        .is_some_and(|at| now.saturating_sub(at).abs() < AHEAD)
}

/// The rule; `now` in Unix seconds.
pub fn doubt(now: i64, evidence: Evidence) -> Option<Doubt> {
    let known = evidence.floor.max(evidence.confirmed.unwrap_or(i64::MIN));
    match (now, served(evidence)) {
        (now, _) if now.saturating_add(BEHIND) < evidence.floor => Some(Doubt::Behind),
        // the second source decides, unless a person has just said otherwise
        (now, Some(served)) if !is_settled(now, evidence) => match now.saturating_sub(served) {
            ahead if ahead > APART => Some(Doubt::Ahead),
            ahead if ahead < -APART => Some(Doubt::Behind),
            // they may have set the clock themselves: their word alone takes nobody far who has counted the seconds
            _ if evidence
                .counted
                .is_some_and(|counted| now > counted.max(known).saturating_add(AHEAD)) =>
            {
                Some(Doubt::Ahead)
            }
            _ => None,
        },
        (now, _) => alone(now, known),
    }
}

/// Without time servers.
fn alone(now: i64, known: i64) -> Option<Doubt> {
    match now {
        // with nothing to compare it with it is all there is
        _ if known == i64::MIN => None,
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
            served: None,
            counted: None,
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
            served: None,
            counted: None,
        };
        assert_eq!(doubt(year, nothing), None);
        // an agreement does not make the past come back
        assert_eq!(doubt(0, agreed), Some(Doubt::Behind));
    }

    #[test]
    fn time_servers_decide_unless_they_contradict_what_was_signed() {
        let floor = 1_800_000_000;
        let year = floor + 365 * DAY;
        let served = |served| Evidence {
            floor,
            confirmed: None,
            served: Some(served),
            counted: None,
        };
        // a year on the shelf needs nobody's word then
        assert_eq!(doubt(year, served(year + 30)), None);
        assert_eq!(doubt(year, served(year - 2 * APART)), Some(Doubt::Ahead));
        assert_eq!(doubt(year, served(year + 2 * APART)), Some(Doubt::Behind));
        // servers from before what was signed are wrong, and change nothing
        let lie = served(floor - 10 * DAY);
        assert_eq!(super::served(lie), None);
        assert_eq!(doubt(floor + DAY, lie), None);
        assert_eq!(doubt(floor - 10 * DAY, lie), Some(Doubt::Behind));
        // a person's word counts for some weeks
        let settled = Evidence {
            confirmed: Some(year),
            ..served(year + 2 * APART)
        };
        assert_eq!(doubt(year + 60, settled), None);
        assert_eq!(doubt(year + AHEAD, settled), Some(Doubt::Ahead));
    }

    #[test]
    fn time_servers_do_not_take_a_device_years_ahead_that_has_counted() {
        let floor = 1_800_000_000;
        let now = floor + 5 * 365 * DAY;
        let evidence = |counted| Evidence {
            floor,
            confirmed: None,
            served: Some(now),
            counted,
        };
        // switched on after years: they are believed
        assert_eq!(doubt(now, evidence(None)), None);
        // running, and the clock has jumped to what they say
        assert_eq!(doubt(now, evidence(Some(floor + 30 * DAY))), Some(Doubt::Ahead));
        assert_eq!(doubt(now, evidence(Some(now - 60))), None);
    }
}
