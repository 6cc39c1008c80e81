//! The calendar simulator: a gSMC-K with terminals, HBA, SMC-B, TSP and VPN access service through ten years, day by day, with
//! faults drawn from a seed. The rules are the product's own (`identity::plan`, `identity::select`), the certificates are real
//! ones and are judged by the product's own judgement; only wires are missing. On every day it is asked what the specification
//! permits, and whether it works.

mod life;
mod material;
mod svg;
mod weather;
mod whole;

pub use life::{Day, Light, Report, live};
pub use material::Material;
pub use svg::picture;
pub use whole::{LONGEST, live_whole};

use std::fmt;

/// What keys a card was made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Card {
    /// RSA only: built until autumn 2020.
    Rsa,
    /// Both; only the elliptic certificates are extended.
    Dual,
    /// Elliptic only.
    Ecc,
}

impl fmt::Display for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Card::Rsa => "RSA",
            Card::Dual => "dual",
            Card::Ecc => "ECC",
        })
    }
}

/// By which rules the device lives. All but the first are those of devices that failed; they are here to fail again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Ours.
    Ours,
    /// 27 May 2020: only the trust anchor that it was made with is believed.
    OneAnchor,
    /// September 2023: what is fetched is used at once.
    AtOnce,
    /// 1 January 2025: from a certain day on firmware must be young.
    HiddenDate,
    /// 4 July 2025: when the search begins again and finds nothing, the extended certificates drop out of use.
    LatestFlag,
    /// January 2026: a registration is made once, whoever signed it.
    SameSigner,
}

/// A life to be lived.
#[derive(Debug, Clone, Copy)]
pub struct Fate {
    /// The card.
    pub card: Card,
    /// How long.
    pub years: u32,
    /// From which all chance is drawn.
    pub seed: u64,
    /// Does anything go wrong?
    pub faults: bool,
    /// The rules.
    pub rule: Rule,
}

/// A number drawn from a seed for a purpose: the same again for the same.
fn draw(seed: u64, purpose: &str, number: u64) -> u64 {
    let number = i64::try_from(number).unwrap_or_default();
    identity::plan::draw(&seed.to_be_bytes(), purpose, number)
}

/// The same, from `least` to `most`.
fn between(seed: u64, purpose: &str, number: u64, least: i64, most: i64) -> i64 {
    let span = most.abs_diff(least) + 1;
    least + i64::try_from(draw(seed, purpose, number) % span).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fate(card: Card, seed: u64) -> Fate {
        Fate {
            card,
            years: 10,
            seed,
            faults: true,
            rule: Rule::Ours,
        }
    }

    /// Ten years of each card with faults; the long form is `langlauf calendar --seeds 1000`.
    #[test]
    fn ten_years_of_every_card() {
        let material = Material::make(10).unwrap();
        let cards = [Card::Rsa, Card::Dual, Card::Ecc];
        // 15: a service that forgets a registration had left the second extension stuck for good
        let lives = cards.into_iter().flat_map(|card| [(card, 1), (card, 15)]);
        // 624: a generation revoked on its first day in use had kept its successor out
        for (card, seed) in lives.chain([(Card::Dual, 624)]) {
            let report = live(&material, &fate(card, seed)).unwrap();
            let first: Vec<_> = report.violations.iter().take(5).collect();
            assert!(first.is_empty(), "{card} {seed}: {first:?}");
            assert_eq!(report.days.len(), 3650);
            assert!(report.extensions >= 2, "{card} {seed}: {}", report.extensions);
            assert_eq!(report.deregistrations, 0);
        }
    }

    /// A year without faults in which nothing is due leaves no trace.
    #[test]
    fn nothing_happens_without_a_reason() {
        let material = Material::make(10).unwrap();
        let quiet = Fate {
            years: 3,
            faults: false,
            ..fate(Card::Dual, 1)
        };
        let report = live(&material, &quiet).unwrap();
        assert_eq!(report.violations, []);
        assert_eq!(report.extensions, 0);
        assert!(report.events.len() < 20, "{:?}", report.events);
    }

    /// The rules of devices that failed fail here, too, and ours does not in the same life.
    #[test]
    fn the_known_incidents() {
        let material = Material::make(10).unwrap();
        for rule in [
            Rule::OneAnchor,
            Rule::AtOnce,
            Rule::HiddenDate,
            Rule::LatestFlag,
            Rule::SameSigner,
        ] {
            // a switch before the proof is no harm as long as everything works: for that one something must go wrong
            let faults = rule == Rule::AtOnce;
            let fates = (0..if faults { 6 } else { 1 }).map(|seed| Fate {
                rule,
                faults,
                ..fate(Card::Ecc, seed)
            });
            let failed: Vec<Fate> = fates
                .filter(|fate| !live(&material, fate).unwrap().violations.is_empty())
                .collect();
            let naive = failed.first().unwrap_or_else(|| panic!("{rule:?} survives"));
            let ours = Fate {
                rule: Rule::Ours,
                ..*naive
            };
            assert_eq!(live(&material, &ours).unwrap().violations, [], "{rule:?}");
        }
    }
}
