//! A whole practice through virtual time: Konnektor, terminal, cards and test TI, with trust lists, revocation lists and
//! trust anchors that change, downloads that fail for weeks and responders that lie. Every day a card is read.

use base::{Clock, Timestamp, VirtualClock};
use e2e::read_vsd;
use konnektor::Inner;
use konnektor::state::Condition;
use langlauf::demo::Walk;
use langlauf::world::World;
use std::time::Duration;
use testti::services::OcspFault;

const DAY: Duration = Duration::from_secs(86_400);
/// Days on which a trust anchor begins: the one before ends on that day; two within one grace period.
const CHANGES: [u32; 3] = [40, 60, 500];
const FAULTS: [Option<OcspFault>; 6] = [
    None,
    Some(OcspFault::Down),
    Some(OcspFault::Garbage),
    Some(OcspFault::BadSignature),
    Some(OcspFault::Overloaded),
    Some(OcspFault::Future),
];

struct Life {
    clock: VirtualClock,
    start: Timestamp,
    _ticking: tokio::task::JoinHandle<()>,
}

impl Life {
    fn at(&self, day: u32) -> Timestamp {
        self.start.checked_add(DAY * day).unwrap()
    }

    /// To noon of a day.
    fn pass_to(&self, day: u32) {
        let noon = self.at(day).checked_add(DAY / 2).unwrap();
        let left = noon.duration_since(self.clock.now());
        self.clock.advance(Duration::try_from(left).unwrap_or_default());
    }
}

/// Reads the card, waiting for terminal and card if the night was long.
async fn read(world: &World, clock: &VirtualClock, online: bool, day: u32) -> String {
    let mut last = String::new();
    for _ in 0..500 {
        match read_vsd(&world.practice, online, online).await {
            Ok(answer) if answer.fault().is_none() => {
                let receipt = langlauf::demo::container(&answer, "Pruefungsnachweis");
                return receipt.unwrap_or_default();
            }
            Ok(answer) => last = answer.body,
            Err(error) => last = format!("{error:#}"),
        }
        // a terminal that comes back waits up to half a minute between tries
        clock.pass(Duration::from_millis(10), 100).await;
    }
    panic!("day {day}: no card could be read: {last}");
}

fn fatal(inner: &Inner) -> Vec<String> {
    let conditions = inner.conditions().into_iter();
    conditions
        .filter(|(condition, value, _)| *value && condition.describe().severity == base::Severity::Fatal)
        .map(|(condition, ..)| condition.describe().name)
        .collect()
}

async fn live(days: u32) {
    let folder = tempfile::tempdir().unwrap();
    let clock = VirtualClock::at("2026-01-01T00:00:00Z".parse().unwrap());
    let mut options = e2e::options(folder.path().into());
    options.settings = "smb_unlock = true".parse().unwrap();
    let life = Life {
        start: clock.now(),
        _ticking: clock.tick(),
        clock,
    };
    let clock = &life.clock;
    let mut world = World::start(&options, clock.shared()).await.unwrap();
    Walk::new(&world, clock, true, &|_| ()).run().await.unwrap();
    let inner = |world: &World| world.konnektor().unwrap().inner().clone();
    let smb = langlauf::world::SMC_B.parse().unwrap();
    inner(&world)
        .store_smb_pin(&smb, "123456".to_owned().into())
        .await
        .unwrap();

    let mut changes = CHANGES.iter().copied().enumerate().peekable();
    let mut announced = None;
    let mut online_reads = 0;
    for day in 1..=days {
        life.pass_to(day);
        let publisher = world.publisher.clone();
        if let Some((position, begin)) = changes.peek().copied() {
            let lead = if begin == 60 { 20 } else { 28 };
            if announced != Some(begin) && day + lead >= begin {
                let end = CHANGES.get(position + 1).copied().unwrap_or(2000);
                let next = world
                    .pki
                    .list_signer(position as u32 + 2, life.at(day), life.at(end + 1))
                    .unwrap();
                world.ledger.add_issuer(&next.ca);
                world.ledger.register(&next.certificate);
                publisher.announce(next, life.at(begin));
                announced = Some(begin);
                publisher.publish().unwrap();
            }
            if day == begin {
                publisher.switch();
                changes.next();
                publisher.publish().unwrap();
            }
        }
        if day % 14 == 0 {
            publisher.publish().unwrap();
        }
        publisher.publish_crl().unwrap();
        // twenty days without any download; then the same inside the TI only
        let month = day % 200;
        publisher.set_reachable(
            !(100..120).contains(&month) && !(150..170).contains(&month),
            !(100..120).contains(&month),
        );
        let fault = FAULTS[(day / 3) as usize % FAULTS.len()];
        world.ledger.set_fault(fault);

        let broken = (100..120).contains(&month);
        let online = !broken && fault.is_none() && day % 3 == 0;
        let receipt = read(&world, clock, online, day).await;
        if online {
            online_reads += 1;
            let good = receipt.contains("<E>1</E>") || receipt.contains("<E>2</E>");
            assert!(
                good,
                "day {day}: {receipt} {:?}",
                inner(&world).responders().health()
            );
        }
        // seven days of a revocation list do not last through twenty, nor an anchor that ends in them: fatal for
        // services of the TI, never for a card, and over as soon as a download works
        let device = inner(&world);
        let allowed: &[&str] = match broken {
            true => &["EC_CRL_Out_Of_Date", "EC_TSL_Trust_Anchor_Out_Of_Date"],
            false => &[],
        };
        let right = async || fatal(&device).iter().all(|name| allowed.contains(&name.as_str()));
        let seen = world.wait_for("no fatal state", DAY / 24, clock, right).await;
        seen.unwrap_or_else(|_| panic!("day {day}: {:?}", fatal(&device)));
        if broken && (102..120).contains(&month) {
            let failed = inner(&world)
                .conditions()
                .into_iter()
                .any(|(condition, value, _)| condition == Condition::TslUpdateNotSuccessful && value);
            assert!(failed, "day {day}");
        }
        // a power cut now and then
        if day % 90 == 45 {
            world.power_cut(clock.shared()).await.unwrap();
        }
    }
    assert!(online_reads > days / 30, "{online_reads}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_weeks() {
    live(70).await;
}

/// `cargo test -p langlauf-e2e --test e2e -- --ignored a_thousand_days`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes; make calendar"]
async fn a_thousand_days() {
    live(1000).await;
}
