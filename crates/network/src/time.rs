//! The time service: chrony, client of the TI's time servers and server of the practice (TIP1-A_4786 to TIP1-A_4795). It
//! never moves the clock by more than an hour but at its first look, and says how far off it is.

use crate::plan::Unsound;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::Ipv4Addr;
use std::path::Path;

/// Largest difference, in seconds, that is put right without a person (NTP_MAX_TIMEDIFFERENCE).
pub const MOST: u32 = 3600;

/// What the time service does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeService {
    /// Time servers of the TI.
    pub servers: BTreeSet<Ipv4Addr>,
    /// Does it put the system's clock right? Otherwise it only looks.
    pub steer: bool,
    /// Are hosts of the practice told the time? Not while offline.
    pub serve: bool,
    /// Seconds between two questions at first, as a power of two; 6 but for tests (no burst at the start, GS-A_3936).
    pub poll: u8,
}

/// What it has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// By how many milliseconds the system's clock is ahead of the servers' that were chosen.
    pub ahead: i64,
    /// Seconds since the last answer of the server that was chosen.
    pub age: u64,
    /// How many servers have answered lately.
    pub answering: u32,
}

impl TimeService {
    pub(crate) fn check(&self) -> Result<(), Unsound> {
        match self.servers.len() <= 16 && self.poll <= 10 {
            true => Ok(()),
            false => Err(Unsound::Time("at most 16 servers, and 2^10 seconds".into())),
        }
    }

    /// How far it may move the clock: anywhere at its `first` look since the machine was switched on, later by an hour at most.
    pub(crate) fn reach(first: bool) -> String {
        match first {
            true => format!("makestep 0.1 1\nmaxchange {MOST} 1 -1\n"),
            false => format!("maxchange {MOST} 0 -1\n"),
        }
    }

    /// chrony's configuration, without what [`TimeService::reach`] says.
    pub(crate) fn configuration(&self, practice: &[String], folder: &Path) -> String {
        let mut text = String::new();
        let place = folder.display();
        // it is said on the command line, and whoever compares must see that it differs
        if !self.steer {
            text += "# only looks\n";
        }
        for server in &self.servers {
            let poll = self.poll;
            // a String takes everything
            let _ = writeln!(text, "server {server} minpoll {poll} maxpoll 10");
        }
        match self.serve {
            true => practice.iter().for_each(|network| {
                let _ = writeln!(text, "allow {network}");
            }),
            false => text += "port 0\n",
        }
        let _ = writeln!(
            text,
            "maxdrift 20\nratelimit\ncmdport 0\nbindcmdaddress {place}/chronyd.sock\n\
             pidfile {place}/pid\ndriftfile {place}/drift"
        );
        text
    }
}

/// Reads `chronyc -c sources`.
pub(crate) fn read(sources: &str) -> Option<Measured> {
    let mut chosen = None;
    let mut answering = 0;
    for line in sources.lines().take(64) {
        let fields: Vec<&str> = line.split(',').collect();
        let [_, state, _, _, _, reach, age, _, measured, ..] = fields.as_slice() else {
            continue;
        };
        // the last eight questions, octal
        if u32::from_str_radix(reach, 8).ok()? & 0b111 != 0 {
            answering += 1;
        }
        if *state == "*" {
            let seconds: f64 = measured.parse().ok().filter(|one: &f64| one.is_finite())?;
            let ahead = (seconds * 1000.0).clamp(-9e17, 9e17) as i64;
            chosen = Some((ahead, age.parse().ok()?));
        }
    }
    let (ahead, age) = chosen?;
    Some(Measured {
        ahead,
        age,
        answering,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_chrony_says_is_read() {
        let text = "^,*,10.9.0.1,2,6,17,2,-7199.999997327,-7200.000002673,0.000004784\n\
                    ^,x,10.9.0.2,2,6,17,2,0.5,0.5,0.1\n^,?,10.9.0.3,0,6,0,4294967295,0.0,0.0,0.0\n";
        let wanted = Measured {
            ahead: -7_200_000,
            age: 2,
            answering: 2,
        };
        assert_eq!(read(text), Some(wanted));
        // nobody chosen
        assert_eq!(read(&text.replace("^,*", "^,?")), None);
        for bad in [
            "",
            "506 Cannot talk to daemon",
            "^,*,a,2,6,9,2,0,0,0",
            "^,*,a,2,6,7,2,0,inf,0",
        ] {
            assert_eq!(read(bad), None);
        }
    }

    #[test]
    fn whether_it_steers_is_seen_in_what_it_is_told() {
        let service = |steer| TimeService {
            servers: BTreeSet::new(),
            steer,
            serve: false,
            poll: 6,
        };
        let told = |steer| service(steer).configuration(&[], Path::new("/run/x"));
        assert_ne!(told(true), told(false));
        assert!(
            !TimeService::reach(false).contains("makestep") && TimeService::reach(true).contains("makestep")
        );
    }
}
