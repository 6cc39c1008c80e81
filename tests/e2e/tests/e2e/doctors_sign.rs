//! Qualified signatures: one PIN for one document, one for a batch, one for a day.

use e2e::Morning;
use e2e::documents::{Item, Office, outcomes};
use signature::cades;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
const DOCTOR: &str = "8a4b1c7e-0f6d-4c1e-9a53-5d2f1b7c9e10";

fn items(count: usize) -> Vec<Item> {
    (0..count)
        .map(|number| {
            Item::text(
                &format!("R{number:03}"),
                &format!("Rezept {number}: Langlauf, täglich"),
            )
        })
        .collect()
}

fn check(item: &Item, cms: &[u8]) {
    let findings = cades::verify(cms, None, &[]).unwrap();
    assert_eq!(findings.signatures[0].outcome, Ok(()));
    assert!(cms.windows(item.bytes.len()).any(|window| window == item.bytes));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_pin_for_one_document_and_one_for_a_batch() {
    let morning = Morning::after_the_walk().await.unwrap();
    let pad = &morning.world.terminal;
    let office = Office {
        practice: &morning.world.practice,
        user: Some(DOCTOR),
    };
    let hba = e2e::card(office.practice, "HBA").await.unwrap();
    // one document: the job number stands at the terminal
    let job = office.job().await.unwrap();
    let one = items(1);
    let (answer, prompt) = tokio::join!(office.sign(&hba, &job, &one), async {
        let prompt = pad.wait_for_prompt().await;
        e2e::type_at(pad, &["123456"]).await;
        prompt
    });
    let answer = answer.unwrap();
    assert_eq!(answer.fault(), None, "{}", answer.body);
    assert!(prompt.contains(&job), "{prompt}");
    check(&one[0], outcomes(&answer).unwrap()[0].signed.as_ref().unwrap());
    // the same job number again
    assert_eq!(office.sign(&hba, &job, &one).await.unwrap().fault(), Some(4252));
    // a wrong PIN, and the key to cancel
    for (entry, code) in [("999999", 4276), ("cancel", 4049)] {
        let job = office.job().await.unwrap();
        let entries = [entry];
        let (answer, ()) = tokio::join!(office.sign(&hba, &job, &one), e2e::type_at(pad, &entries));
        assert_eq!(answer.unwrap().fault(), Some(code));
    }
    // a whole batch
    let batch = items(250);
    let job = office.job().await.unwrap();
    let (answer, ()) = tokio::join!(office.sign(&hba, &job, &batch), e2e::type_at(pad, &["123456"]));
    let answer = answer.unwrap();
    assert_eq!(answer.fault(), None, "{}", answer.body);
    let all = outcomes(&answer).unwrap();
    assert_eq!(all.len(), 250);
    for (item, outcome) in batch.iter().zip(&all) {
        assert_eq!(item.id, outcome.id);
        assert!(outcome.codes.is_empty());
        check(item, outcome.signed.as_ref().unwrap());
    }
    let job = office.job().await.unwrap();
    assert_eq!(
        office.sign(&hba, &job, &items(251)).await.unwrap().fault(),
        Some(4000)
    );
    let _ = LIMIT;
}
