//! A practice system without client certificate: user and password inside TLS, or nothing in a closed network.

use e2e::Morning;
use konnektor::ClientAuthentication;
use langlauf::practice::{Operation, Practice};
use langlauf::world::PRACTICE_USER;

async fn morning(how: ClientAuthentication) -> Morning {
    Morning::with(|options| options.client_authentication = how)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn by_password_and_locked_after_five_wrong_ones() {
    let morning = morning(ClientAuthentication::Password).await;
    let world = &morning.world;
    assert!(e2e::is_served(&world.practice).await);
    let directory = world.practice.directory().await.unwrap().body;
    assert!(directory.contains("ClientAutMandatory>true"), "{directory}");
    let with = |login: Option<(&str, &str)>| {
        let login = login.map(|(user, password)| (user.to_owned(), password.to_owned()));
        Practice::new(world.addresses.konnektor, None, world.authorities.clone()).with_login(login)
    };
    for wrong in [None, Some((PRACTICE_USER, "falsch")), Some(("fremd", "falsch"))] {
        let answer = with(wrong).call(Operation::GetCardTerminals).await.unwrap();
        assert_eq!((answer.status, answer.fault()), (401, Some(4204)), "{wrong:?}");
    }
    for _ in 0..5 {
        let answer = with(Some((PRACTICE_USER, "falsch")))
            .call(Operation::GetCardTerminals)
            .await;
        assert_eq!(answer.unwrap().status, 401);
    }
    let locked = world.practice.call(Operation::GetCardTerminals).await.unwrap();
    assert_eq!(locked.fault(), Some(4204));
    assert!(locked.body.contains("wait a minute"), "{}", locked.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_authentication_only_when_it_is_said() {
    let morning = morning(ClientAuthentication::None).await;
    let world = &morning.world;
    assert!(e2e::is_served(&world.practice).await);
    let directory = world.practice.directory().await.unwrap().body;
    assert!(directory.contains("ClientAutMandatory>false"), "{directory}");
}
