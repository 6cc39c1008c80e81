//! What goes wrong, and when: windows of days, drawn from the seed.

use super::{between, draw};
use std::collections::BTreeMap;
use testti::tsp::PackageFault;

/// A kind of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// Packages nobody should get.
    Package,
    /// No tunnel: the provider is out of order.
    Provider,
    /// Status services do not answer.
    Status,
    /// The registration server is out of order, or refuses.
    Registrar,
    /// It says "registered" and forgets it.
    Forgetful,
    /// The SMC-B is closed: the device was restarted and nobody typed the PIN.
    Closed,
    /// The clock shows 1970.
    Past,
    /// The clock shows 2038.
    Future,
    /// The clock is behind by days, too few to be doubted.
    Behind,
    /// The clock is ahead by weeks, too few to be doubted.
    Ahead,
    /// The time servers of the TI are off by weeks.
    TimeServers,
    /// An administrator has stopped everything that happens by itself.
    Frozen,
    /// Power cut.
    Power,
}

/// Kind, days between two windows, longest window.
const CLIMATE: [(Trouble, i64, i64); 13] = [
    (Trouble::Package, 120, 60),
    (Trouble::Provider, 200, 8),
    (Trouble::Status, 150, 20),
    (Trouble::Registrar, 150, 20),
    (Trouble::Forgetful, 300, 5),
    (Trouble::Closed, 100, 12),
    (Trouble::Past, 400, 2),
    (Trouble::Future, 500, 2),
    (Trouble::Behind, 500, 4),
    (Trouble::Ahead, 500, 4),
    (Trouble::TimeServers, 500, 4),
    (Trouble::Frozen, 500, 10),
    (Trouble::Power, 40, 1),
];

/// All trouble of a life.
#[derive(Debug, Default)]
pub struct Weather {
    /// First day and last day of each window, in order.
    pub windows: BTreeMap<Trouble, Vec<(i64, i64)>>,
    seed: u64,
}

impl Weather {
    /// Drawn for so many days.
    pub fn new(seed: u64, days: i64) -> Self {
        let mut windows = BTreeMap::new();
        for (trouble, gap, longest) in CLIMATE {
            let name = format!("{trouble:?}");
            let (mut list, mut day, mut number) = (Vec::new(), 0, 0);
            while day < days {
                day += between(seed, &name, number, gap / 4, gap * 2);
                let end = day + between(seed, &name, number + 1, 0, longest - 1);
                list.push((day, end));
                day = end + 1;
                number += 2;
            }
            windows.insert(trouble, list);
        }
        Self { windows, seed }
    }

    /// Is there this trouble on a day?
    pub fn is(&self, trouble: Trouble, day: i64) -> bool {
        let list = self.windows.get(&trouble).map_or(&[][..], Vec::as_slice);
        let after = list.partition_point(|(_, end)| *end < day);
        list.get(after).is_some_and(|(begin, _)| *begin <= day)
    }

    /// What is wrong with the device's clock on a day.
    pub fn clock(&self, day: i64) -> Option<Trouble> {
        let kinds = [Trouble::Past, Trouble::Future, Trouble::Behind, Trouble::Ahead];
        kinds.into_iter().find(|kind| self.is(*kind, day))
    }

    /// What is wrong with packages on a day.
    pub fn package(&self, day: i64) -> Option<PackageFault> {
        let all = PackageFault::ALL;
        let which = draw(self.seed, "package", day.div_euclid(3).unsigned_abs()) % all.len() as u64;
        self.is(Trouble::Package, day)
            .then(|| all.get(usize::try_from(which).unwrap_or_default()).copied())
            .flatten()
    }

    /// Does nothing go wrong that could keep an extension from going on?
    pub fn is_fair(&self, day: i64) -> bool {
        CLIMATE
            .iter()
            .all(|(trouble, ..)| *trouble == Trouble::Power || !self.is(*trouble, day))
    }
}
