//! Whatever happens, and wherever the current is cut: there is always one valid set to choose, and the way goes on.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // tests

use base::Timestamp;
use identity::{
    Actor, Book, Change, DAY, Family, Generation, Held, Kind, Ledger, Outcome, Probe, Role, Signer, Source,
    Stage, Step, select,
};
use proptest::prelude::*;
use std::path::Path;
use std::sync::Arc;
use store::Store;

const ICCSN: &str = "80276009990000000010";

fn kinds() -> Vec<Kind> {
    [
        "C.NK.VPN_ECC",
        "C.AK.AUT_ECC",
        "C.AK.AUT_P256",
        "C.SAK.AUT_ECC",
        "C.NK.VPN_RSA",
    ]
    .map(|name| name.parse().unwrap())
    .to_vec()
}

/// Certificates from one day to another; nothing here reads their bytes.
fn generation(number: u32, from: i64, to: i64) -> Generation {
    let held = |kind: &Kind| Held {
        der: format!("{kind} {number}").into_bytes(),
        from: from * DAY,
        to: to * DAY,
        serial: format!("{number}"),
        issuer: "CA".into(),
    };
    Generation {
        number,
        certificates: kinds().iter().map(|kind| (*kind, held(kind))).collect(),
        cvc: None,
        source: Source::Download,
    }
}

fn step(day: i64, change: Change) -> Step {
    Step {
        at: Timestamp::from_second(day * DAY).unwrap(),
        actor: Actor::Device,
        change,
    }
}

fn signer(end: i64) -> Signer {
    Signer {
        iccsn: "smb".into(),
        serial: "1".into(),
        end: end * DAY,
    }
}

/// Any change at all, mostly ones that are not allowed.
fn any_change() -> impl Strategy<Value = (i64, u8, u32, bool, i64)> {
    (0..4000i64, 0..9u8, 0..4u32, any::<bool>(), 1..3000i64)
}

fn change_of((day, what, number, flag, span): (i64, u8, u32, bool, i64)) -> Step {
    let family = if flag { Family::Ecc } else { Family::Rsa };
    let change = match what {
        0 => Change::Fetched(generation(number, day, day + span)),
        1 => Change::Verified { generation: number },
        2 => Change::Registered {
            generation: number,
            family,
            signer: signer(day + span),
        },
        3 => Change::Unregistered {
            generation: number,
            family,
        },
        4 => Change::Probed {
            generation: number,
            family,
            probes: vec![Probe {
                name: "tunnel".into(),
                outcome: if span % 3 == 0 {
                    Outcome::Failed("no".into())
                } else {
                    Outcome::Good
                },
            }],
        },
        5 => Change::Activated {
            generation: number,
            family,
        },
        6 => Change::Quarantined {
            generation: number,
            reason: "revoked".into(),
        },
        7 => Change::AkChosen {
            generation: flag.then_some(number),
        },
        _ => Change::Terminal {
            terminal: "KT1".into(),
            generation: number,
        },
    };
    step(day, change)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Any changes in any order, refused or not: what is chosen is valid if anything usable is (I1, I7), quarantined and
    /// unverified certificates are never chosen, and each family has one active generation (I2).
    #[test]
    fn what_is_chosen_is_valid_if_anything_is(changes in prop::collection::vec(any_change(), 0..60), now in 0..6000i64) {
        let mut book = Book::new(generation(0, -10, 1000));
        for change in changes {
            let before = book.clone();
            if book.apply(&change_of(change)).is_err() {
                prop_assert_eq!(&before, &book, "a refused step changes nothing");
            }
            for family in [Family::Ecc, Family::Rsa] {
                let active = (0..book.generations.len() as u32)
                    .filter(|number| book.stage(*number, family) == Some(Stage::Active))
                    .count();
                prop_assert_eq!(active, 1);
            }
        }
        let now = now * DAY;
        let usable: Vec<&Generation> = book.generations.iter().filter(|one| book.is_usable(one.number)).collect();
        prop_assert!(usable.iter().any(|one| one.number == 0), "the card's own are always there");
        let any_valid = |kind: &Kind| usable.iter().any(|one| one.certificates[kind].is_valid(now));
        for kind in kinds() {
            let chosen = match kind.role {
                Role::NkVpn => select::tunnel(&book, now).first().copied(),
                Role::AkAut => select::clients(&book, kind.algorithm, now),
                Role::SakAut => select::terminal(&book, "KT1", now).first().copied(),
            };
            let valid = chosen.is_some_and(|choice| choice.held.is_valid(now));
            prop_assert_eq!(valid, any_valid(&kind), "{} at {}", kind, now / DAY);
            if let Some(choice) = chosen {
                prop_assert!(book.is_usable(choice.generation));
                // one that was revoked in use serves only for want of anything else
                let revoked = |number: u32| book.quarantine.contains_key(&number);
                let good = |one: &&&Generation| !revoked(one.number) && one.certificates[&kind].is_valid(now);
                prop_assert!(!revoked(choice.generation) || !usable.iter().any(|one| good(&one)));
            }
        }
    }
}

/// A whole extension, step by step.
fn extension() -> Vec<Step> {
    let family = Family::Ecc;
    vec![
        step(
            5,
            Change::Registered {
                generation: 0,
                family,
                signer: signer(2000),
            },
        ),
        step(830, Change::Fetched(generation(1, 829, 2000))),
        step(830, Change::Verified { generation: 1 }),
        step(
            831,
            Change::Registered {
                generation: 1,
                family,
                signer: signer(2000),
            },
        ),
        step(
            831,
            Change::Terminal {
                terminal: "KT1".into(),
                generation: 1,
            },
        ),
        step(
            831,
            Change::Probed {
                generation: 1,
                family,
                probes: vec![Probe {
                    name: "tunnel".into(),
                    outcome: Outcome::Good,
                }],
            },
        ),
        step(
            860,
            Change::Activated {
                generation: 1,
                family,
            },
        ),
        step(861, Change::AkChosen { generation: Some(1) }),
    ]
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        // the shared memory beside a log of writes is made anew by whoever opens it
        if !file.file_name().to_string_lossy().ends_with("-shm") {
            std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }
}

fn open(folder: &Path) -> Ledger {
    let store = Arc::new(Store::open(folder).unwrap());
    Ledger::open(store, ICCSN, generation(0, -10, 1000)).unwrap()
}

/// The current is cut after every step, and in the middle of the write of one: the file of writes ends anywhere, or a block of
/// its last part was never written. The device opens, has lost at most what was being written, and goes on to the end.
fn cut(runs: u64) {
    let steps = extension();
    let home = tempfile::tempdir().unwrap();
    let live = home.path().join("live");
    let shot = |number: usize| home.path().join(format!("shot{number}"));
    {
        let mut ledger = open(&live);
        copy(&live, &shot(0));
        for (number, step) in steps.iter().enumerate() {
            ledger.enter(step.clone()).unwrap();
            copy(&live, &shot(number + 1));
        }
    }
    let draw = |run: u64, purpose: &str| {
        let hash = crypto::sha256([&run.to_be_bytes()[..], purpose.as_bytes()]);
        u64::from_be_bytes(hash[..8].try_into().unwrap())
    };
    let mut lost = 0;
    for run in 0..runs {
        let done = 1 + usize::try_from(draw(run, "step")).unwrap_or(usize::MAX) % steps.len();
        let (folder, wal) = (home.path().join("run"), "langlauf.db-wal");
        copy(&shot(done), &folder);
        let size = |folder: &Path| std::fs::metadata(folder.join(wal)).map_or(0, |about| about.len());
        // where the last step's write begins
        let (before, whole) = (size(&shot(done - 1)), size(&folder));
        if draw(run, "torn") % 4 != 0 && whole > before {
            let at = before + draw(run, "at") % (whole - before);
            let file = std::fs::OpenOptions::new()
                .write(true)
                .open(folder.join(wal))
                .unwrap();
            match draw(run, "how") % 2 {
                0 => file.set_len(at).unwrap(),
                _ => {
                    use std::os::unix::fs::FileExt;
                    let block = at / 512 * 512;
                    file.write_all_at(&[0; 512], block.max(before)).unwrap();
                }
            }
        }
        let mut ledger = open(&folder);
        let kept = ledger.steps().len();
        assert!(kept == done || kept == done - 1, "run {run}: {kept} of {done}");
        assert_eq!(ledger.steps(), &steps[..kept]);
        lost += u64::from(kept < done);
        let now = steps[done - 1].at.as_second();
        let chosen = select::tunnel(ledger.book(), now);
        assert!(
            chosen.first().is_some_and(|choice| choice.held.is_valid(now)),
            "run {run}"
        );
        for step in &steps[kept..] {
            ledger.enter(step.clone()).unwrap();
        }
        assert_eq!(ledger.book().active(Family::Ecc), Some(1));
        drop(ledger);
        std::fs::remove_dir_all(&folder).unwrap();
    }
    assert!(lost > runs / 4, "the writes were torn: {lost}");
}

/// A later version wrote a step that this one does not know: it is passed over, and the rest counts.
#[test]
fn an_unknown_step_is_passed_over() {
    let home = tempfile::tempdir().unwrap();
    let mut ledger = open(home.path());
    ledger.enter(extension().remove(0)).unwrap();
    drop(ledger);
    let store = Store::open(home.path()).unwrap();
    let unknown = serde_json::json!({ "at": "2030-01-01T00:00:00Z", "actor": "device", "change": { "what": "blessed" } });
    store
        .put("identity-step", &format!("{ICCSN}/00000001"), &unknown)
        .unwrap();
    drop(store);
    let mut ledger = open(home.path());
    assert_eq!(ledger.steps().len(), 1);
    ledger.enter(extension().remove(1)).unwrap();
    drop(ledger);
    assert_eq!(open(home.path()).steps().len(), 2);
}

#[test]
fn the_current_is_cut_at_every_write() {
    cut(100);
}

/// `cargo test --release -p langlauf-identity -- --ignored`; part of `make soak`.
#[test]
#[ignore = "minutes"]
fn the_current_is_cut_ten_thousand_times() {
    cut(10_000);
}
