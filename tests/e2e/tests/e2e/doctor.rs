//! What is wrong is said with whose it is to mend it, and nothing else is blamed.

use e2e::Morning;
use konnektor::doctor::{Diagnosis, Health, Whose};
use langlauf::demo::Walk;
use std::time::Duration;
use testti::services::OcspFault;

fn link(diagnosis: &Diagnosis, name: &str) -> (Health, Option<Whose>) {
    let found = diagnosis.links.iter().find(|one| one.link == name).unwrap();
    (found.health, found.whose)
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_fault_it_is() {
    let settings = "certificates.ocsp_grace_minutes = 0".parse().unwrap();
    let morning = Morning::with(|options| options.settings = settings)
        .await
        .unwrap();
    let world = &morning.world;
    Walk::new(world, &*morning.clock, true, &|_| ())
        .run()
        .await
        .unwrap();
    let inner = world.konnektor().unwrap().inner().clone();
    // it registers by itself, as soon as the SMC-B is open
    let registered = async || world.registrar.entries().len() == 1;
    world
        .wait_for("registered", Duration::from_secs(60), &*morning.clock, registered)
        .await
        .unwrap();
    let well = inner.diagnose().await;
    let troubled: Vec<_> = well
        .links
        .iter()
        .filter(|one| !matches!(one.health, Health::Good | Health::Unused))
        .collect();
    assert!(troubled.is_empty(), "{troubled:?}");
    assert!(well.en.contains("well"), "{}", well.en);
    // an issuer's status service is slow, then broken: not the practice's fault
    world
        .ledger
        .set_fault(Some(OcspFault::Slow(Duration::from_millis(3500))));
    let slow = inner.diagnose().await;
    assert_eq!(
        link(&slow, "status_services"),
        (Health::Poor, Some(Whose::Issuer))
    );
    assert!(
        slow.en.contains("not the practice") && slow.en.contains("slow"),
        "{}",
        slow.en
    );
    world.ledger.set_fault(Some(OcspFault::BadSignature));
    let broken = inner.diagnose().await;
    assert_eq!(
        link(&broken, "status_services"),
        (Health::Bad, Some(Whose::Issuer))
    );
    assert!(broken.de.contains("nicht an der Praxis"), "{}", broken.de);
    assert_eq!(link(&broken, "device").0, Health::Good);
    world.ledger.set_fault(None);
    // a cable is pulled: this one is the practice's
    world.terminal.set_network(false);
    let gone = async || link(&inner.diagnose().await, "cards") == (Health::Bad, Some(Whose::Practice));
    world
        .wait_for("terminal gone", Duration::from_secs(60), &*morning.clock, gone)
        .await
        .unwrap();
    let answer = inner.diagnose().await;
    assert!(!answer.en.contains("not the practice"), "{}", answer.en);
    // nothing personal or secret: no name of the card's holder, no number of an insured person
    let text = serde_json::to_string(&answer).unwrap();
    for secret in ["123456", "Praxis Dr", "X110"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
}
