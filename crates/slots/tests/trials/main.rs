//! Trials in virtual time: a gallery of bad releases, and power cuts at any write.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod disk;
mod world;

use disk::SimDisk;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use slots::{Area, Disk, Limits, Manifest, Pointer, Result, Slot, Standing, Supervisor};
use std::path::Path;
use world::{KEY, Kind, NEW, OLD, SimWorld, device};

type Device = Supervisor<SimDisk, SimWorld>;

fn start(area: &Area<SimDisk>, order: bool) -> Device {
    let world = SimWorld::new(area.disk.clone(), order);
    Supervisor::new(area.clone(), world, Limits::default())
}

/// Runs until nothing is on trial and a release serves, with the order behind it.
fn run_until_settled(device: &mut Device, seconds: u64) {
    let end = device.world().seconds() + seconds;
    while device.world().seconds() < end && device.step() {}
}

#[test]
fn a_gallery_of_bad_releases() {
    println!("{:<22} {:>8}  outcome", "release", "seconds");
    for kind in Kind::ALL {
        let area = device(kind);
        let mut device = start(&area, true);
        run_until_settled(&mut device, 2 * 3600);
        let pointer = device.pointer().unwrap().clone();
        assert_eq!(
            Pointer::parse(&serde_json::to_vec(&pointer).unwrap()).unwrap(),
            pointer
        );
        let expected = if kind.is_good() { NEW } else { OLD };
        assert_eq!(
            device.world().serving(),
            Some(expected),
            "{kind:?}: {:?}",
            pointer.outcomes
        );
        assert_eq!(pointer.version(), Some(expected));
        let last = pointer
            .outcomes
            .iter()
            .find(|outcome| outcome.version == NEW)
            .unwrap();
        println!(
            "{:<22} {:>8}  {:?}",
            format!("{kind:?}"),
            last.seconds,
            last.result
        );
        match kind {
            Kind::Good | Kind::Migrates => assert_eq!(last.result, Result::Confirmed),
            Kind::EndsLater | Kind::LeaksLater => {
                assert!(
                    matches!(last.result, Result::FellBack { .. }),
                    "{kind:?}: {last:?}"
                );
            }
            _ => {
                assert!(
                    matches!(last.result, Result::RolledBack { .. }),
                    "{kind:?}: {last:?}"
                );
                // back in service within three minutes of the order
                let world = device.world();
                let ordered = 12;
                let (back, _) = world
                    .starts
                    .iter()
                    .rev()
                    .find(|(_, version)| *version == Some(OLD))
                    .unwrap();
                assert!(
                    back + 3 - ordered <= 180,
                    "{kind:?} took {} s",
                    back + 3 - ordered
                );
            }
        }
        let restored = pointer
            .outcomes
            .iter()
            .any(|outcome| matches!(outcome.result, Result::StateRestored { .. }));
        assert_eq!(restored, kind == Kind::WrecksTheState, "{kind:?}");
        // what was copied for the return is gone when it has served
        assert!(
            kind.is_good() || !area.disk.exists(Path::new("/slots/before")),
            "{kind:?}"
        );
        assert_eq!(area.disk.read(Path::new("/state/key")).unwrap(), KEY);
    }
}

/// Neither release nor rescue program can run for a while: when that has passed a release runs again, by itself.
#[test]
fn what_kept_everything_from_running_passes() {
    let area = device(Kind::Good);
    let mut device = start(&area, false);
    device.world().broken_until = 1000;
    run_until_settled(&mut device, 900);
    assert_eq!(device.world().serving(), None);
    run_until_settled(&mut device, 2 * 3600);
    let serving = device.world().serving();
    assert!(serving.is_some(), "{:?}", device.pointer());
}

/// What must hold on the disk of a device that was just switched on, before anything runs.
fn check_disk(area: &Area<SimDisk>, seed: u64) {
    let pointer = area
        .pointer()
        .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    let held = pointer.content(pointer.confirmed).unwrap();
    assert_eq!(held.standing, Standing::Confirmed, "seed {seed}");
    // what the pointer calls confirmed can be booted, also the one to fall back to
    for slot in [Slot::A, Slot::B] {
        if let Some(held) = pointer
            .content(slot)
            .filter(|held| held.standing == Standing::Confirmed)
        {
            let lies = Manifest::verify(&area.disk, &area.slot(slot));
            let lies = lies.unwrap_or_else(|error| panic!("seed {seed}: slot {slot:?}: {error}"));
            assert_eq!(lies.version, held.version, "seed {seed}");
        }
    }
    let key = |folder: &str| area.disk.read(&Path::new(folder).join("key"));
    match key("/state") {
        Ok(key) => assert_eq!(key, KEY, "seed {seed}: identity"),
        Err(_) => {
            assert!(
                pointer.restoring,
                "seed {seed}: no state, and nobody is putting it back"
            );
            assert_eq!(
                key("/slots/before").unwrap(),
                KEY,
                "seed {seed}: identity in the copy"
            );
        }
    }
}

/// One device, with up to three power cuts while it is updated or returns.
fn live(seed: u64, most: usize) -> usize {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let kind = Kind::ALL[random.next_u32() as usize % Kind::ALL.len()];
    let area = device(kind);
    let mut cuts = 0;
    // so long until the slowest shows what it is
    let life = if kind == Kind::LeaksLater { 1800 } else { 300 };
    for _ in 0..1 + random.next_u32() % 3 {
        area.disk.cut_after(1 + random.next_u32() as usize % most);
        // as a Konnektor does: what was not tried is ordered again
        let again = !area.disk.exists(Path::new("/slots/incoming"));
        let mut device = start(&area, !again);
        while device.world().seconds() < life && !area.disk.is_cut() && device.step() {}
        if !area.disk.is_cut() {
            break;
        }
        cuts += 1;
        area.disk.reboot(&mut random);
        check_disk(&area, seed);
    }
    // from here on there is power
    area.disk.reboot(&mut random);
    check_disk(&area, seed);
    let ordered = area.disk.exists(Path::new("/slots/incoming"));
    let mut device = start(&area, ordered);
    run_until_settled(&mut device, life);
    let pointer = device.pointer().unwrap().clone();
    let serving = device.world().serving();
    assert_eq!(
        serving,
        pointer.version(),
        "seed {seed}, {kind:?}: {:?}",
        pointer.outcomes
    );
    assert!(serving.is_some() && pointer.trial.is_none(), "seed {seed}");
    if !kind.is_good() {
        assert_eq!(
            serving,
            Some(OLD),
            "seed {seed}, {kind:?}: {:?}",
            pointer.outcomes
        );
    }
    check_disk(&area, seed);
    cuts
}

#[test]
fn ten_thousand_power_cuts() {
    // how many writes the longest update and return take: cuts are spread over all of them
    let most = Kind::ALL.map(|kind| {
        let area = device(kind);
        let before = area.disk.operations();
        run_until_settled(&mut start(&area, true), 1800);
        area.disk.operations() - before
    });
    let most = most.into_iter().max().unwrap();
    let (mut cuts, mut seed) = (0, 0);
    while cuts < 10_000 {
        cuts += live(seed, most);
        seed += 1;
    }
    println!("{cuts} power cuts in {seed} devices, at up to {most} writes");
}
