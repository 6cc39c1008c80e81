//! Events reach a practice system in order, after it was away for a moment, and after the Konnektor was restarted.

use e2e::Morning;
use langlauf::practice::Operation;
use langlauf::world::World;
use soap::cetp::CetpEvent;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const LIMIT: Duration = Duration::from_secs(30);

/// A practice system's side of CETP.
struct Sink {
    received: Arc<Mutex<Vec<CetpEvent>>>,
    task: JoinHandle<()>,
    address: SocketAddr,
}

impl Sink {
    async fn open(morning: &Morning, address: &str, received: Arc<Mutex<Vec<CetpEvent>>>) -> Self {
        let now = morning.clock.now();
        let to = now.checked_add(Duration::from_secs(86_400)).unwrap();
        let key = crypto::SoftKey::Ec(crypto::EcPrivate::generate(crypto::Curve::NistP256).unwrap());
        let identity = crypto::tls::Identity {
            chain: vec![langlauf::world::self_signed("sink", key.clone(), now, to).unwrap()],
            key,
        };
        let key = crypto::tls::certified(&identity).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(crypto::tls::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(key)));
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let kept = received.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    continue;
                };
                let mut frame = Vec::new();
                if stream.read_to_end(&mut frame).await.is_ok() {
                    kept.lock().unwrap().push(CetpEvent::decode(&frame).unwrap());
                }
            }
        });
        Self {
            received,
            task,
            address,
        }
    }

    fn topics(&self) -> Vec<String> {
        let received = self.received.lock().unwrap();
        received.iter().map(|event| event.topic.clone()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_order_after_a_pause_and_after_a_restart() {
    let morning = Morning::after_the_walk().await.unwrap();
    let received = Arc::<Mutex<Vec<CetpEvent>>>::default();
    let sink = Sink::open(&morning, "127.0.0.1:0", received.clone()).await;
    let address = sink.address.to_string();
    let subscribe = Operation::Subscribe {
        event_to: &format!("cetp://{address}"),
        topic: "CARD/",
    };
    let made = morning.world.practice.call(subscribe).await.unwrap();
    let id = made.text("SubscriptionID").unwrap();
    let cards = async |world: &World, count: usize| {
        let there = async || {
            world
                .practice
                .cards("EGK")
                .await
                .is_ok_and(|cards| cards.len() == count)
        };
        world
            .wait_for("eGK", LIMIT, &*morning.clock, there)
            .await
            .unwrap();
    };
    let in_and_out = async |world: &World| {
        world.terminal.remove(1).unwrap();
        cards(world, 0).await;
        world.terminal.insert(1, "eGK Loipengrün").unwrap();
        cards(world, 1).await;
    };
    for _ in 0..5 {
        in_and_out(&morning.world).await;
    }
    let expected: Vec<&str> = ["CARD/REMOVED", "CARD/INSERTED"]
        .into_iter()
        .cycle()
        .take(10)
        .collect();
    let all = async || sink.topics().len() == 10;
    morning
        .world
        .wait_for("events", LIMIT, &*morning.clock, all)
        .await
        .unwrap();
    assert_eq!(sink.topics(), expected);

    // nobody there for a moment
    sink.task.abort();
    let _ = sink.task.await;
    received.lock().unwrap().clear();
    in_and_out(&morning.world).await;
    let sink = Sink::open(&morning, &address, received.clone()).await;
    let both = async || sink.topics().len() == 2;
    morning
        .world
        .wait_for("late events", LIMIT, &*morning.clock, both)
        .await
        .unwrap();
    assert_eq!(sink.topics(), ["CARD/REMOVED", "CARD/INSERTED"]);

    // a restart
    received.lock().unwrap().clear();
    let Morning { world, clock, folder } = morning;
    drop(world);
    let world = World::start(&e2e::options(folder.path().into()), clock.clone())
        .await
        .unwrap();
    // what the old one had to say of its end may come in between
    let heard = || {
        let received = received.lock().unwrap();
        let mut all = received
            .iter()
            .map(|event| (event.topic.clone(), event.subscription.clone()));
        all.find(|(topic, _)| topic == "BOOTUP/BOOTUP_COMPLETE")
    };
    let booted = async || heard().is_some();
    world.wait_for("booted", LIMIT, &*clock, booted).await.unwrap();
    assert_eq!(heard().unwrap().1, "");
    // the terminal comes back by itself, and the old subscription still tells of its cards
    let told = async || {
        let received = received.lock().unwrap();
        received
            .iter()
            .any(|event| event.topic == "CARD/INSERTED" && event.subscription == id)
    };
    world
        .wait_for("old subscription", LIMIT, &*clock, told)
        .await
        .unwrap();
    sink.task.abort();
}
