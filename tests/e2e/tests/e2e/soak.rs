//! Hours in a practice where everything happens in any order: after each incident a health card is read, and neither memory
//! nor open files grow. `make soak`; `SOAK_SECONDS` says how long, `SOAK_SEED` which order.

use e2e::Morning;
use langlauf::world::{SMC_B, World};
use langlauf::years::{self, Card, Fate, Rule};
use std::time::Duration;
use terminal::simulator::Fault;
use zeroize::Zeroizing;

const LIMIT: Duration = Duration::from_secs(60);

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// Resident memory in KiB and open files of this process: Konnektor, terminal, cards and practice.
fn used() -> (u64, usize) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let memory = line.and_then(|line| line.split_whitespace().next()).unwrap();
    let files = std::fs::read_dir("/proc/self/fd").unwrap().count();
    (memory.parse().unwrap(), files)
}

/// Is a health card read, with an SM-B that nobody has unlocked by hand?
async fn reads(world: &World) -> bool {
    let answer = e2e::read_vsd(&world.practice, false, false).await;
    answer.is_ok_and(|answer| answer.fault().is_none())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make soak"]
async fn whatever_happens_the_next_card_is_read() {
    let settings = "smb_unlock = true\ncard_timeout_seconds = 1";
    let morning = Morning::with(|options| options.settings = settings.parse().unwrap())
        .await
        .unwrap();
    let (world, clock) = (&morning.world, &*morning.clock);
    langlauf::demo::Walk::new(world, clock, true, &|_| ())
        .run()
        .await
        .unwrap();
    let inner = world.konnektor().unwrap().inner();
    let pin = Zeroizing::new("123456".to_owned());
    inner.store_smb_pin(&SMC_B.parse().unwrap(), pin).await.unwrap();

    let (seconds, seed) = (setting("SOAK_SECONDS", 600), setting("SOAK_SEED", 1));
    let end = clock.elapsed() + Duration::from_secs(seconds);
    let mut early = None;
    let mut number = 0u64;
    while clock.elapsed() < end {
        let [choice, ..] = crypto::sha256([format!("{seed} {number}")]);
        let incident =
            ["eGK", "SMC-B", "cable", "garbage", "silence", "broken", "pulled"][usize::from(choice % 7)];
        let terminal = &world.terminal;
        let again = |slot: u8, card: &str| {
            let _ = terminal.remove(slot);
            terminal.insert(slot, card).unwrap();
        };
        let fault = match incident {
            "garbage" => Some(Fault::CardGarbage),
            "silence" => Some(Fault::CardSilence),
            "broken" => Some(Fault::BrokenEnvelope),
            _ => None,
        };
        match incident {
            "eGK" => again(1, "eGK Loipengrün"),
            "SMC-B" => again(3, "SMC-B Praxis"),
            "cable" => {
                terminal.set_network(false);
                terminal.set_network(true);
            }
            // while it is read
            "pulled" => {
                tokio::join!(reads(world), async { terminal.remove(1).unwrap() });
                terminal.insert(1, "eGK Loipengrün").unwrap();
            }
            _ => {
                terminal.set_fault(fault);
                reads(world).await;
                terminal.set_fault(None);
            }
        }
        let outcome = world
            .wait_for(incident, LIMIT, clock, async || reads(world).await)
            .await;
        outcome.unwrap_or_else(|error| panic!("seed {seed}, incident {number}: {error}"));
        number += 1;
        if early.is_none() && clock.elapsed() + Duration::from_secs(seconds * 3 / 4) > end {
            early = Some(used());
        }
    }
    let (memory, files) = early.unwrap();
    let (memory_now, files_now) = used();
    println!("{number} incidents; {memory} to {memory_now} KiB, {files} to {files_now} open files");
    assert!(memory_now < memory + 16 * 1024, "{memory} to {memory_now} KiB");
    assert!(files_now < files + 16, "{files} to {files_now}");
}

/// Seven years of the whole instance with two extensions, for each kind of card that has a way into the TI; the short form is `lifetime::by_the_calendar_with_everything_going_wrong`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes; make soak"]
async fn seven_years() {
    for card in [Card::Ecc, Card::Dual] {
        let folder = tempfile::tempdir().unwrap();
        let fate = Fate {
            card,
            years: years::LONGEST,
            seed: 1,
            faults: true,
            rule: Rule::Ours,
        };
        let report = years::live_whole(folder.path(), &fate, &|_| ()).await.unwrap();
        let first: Vec<_> = report.violations.iter().take(5).collect();
        assert!(first.is_empty(), "{card:?}: {first:?}");
        assert_eq!((report.extensions, report.deregistrations), (2, 0), "{card:?}");
    }
}
