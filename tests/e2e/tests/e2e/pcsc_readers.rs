//! Any PC/SC reader serves as a terminal for development: here Debian's pcscd with the driver of vsmartcard-vpcd and our own
//! virtual card behind it. The Konnektor reads it like any other.

use e2e::Morning;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(90);
const SOCKET: &str = "/run/pcscd/pcscd.comm";
const DRIVER: &str = "/usr/lib/pcsc/drivers/serial/libifdvpcd.so";

/// pcscd of our own, with only the virtual reader; or that of the machine, if one runs.
struct Daemon(Option<Child>);

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Daemon {
    fn start(folder: &Path) -> Self {
        if std::os::unix::net::UnixStream::connect(SOCKET).is_ok() {
            return Self(None);
        }
        let readers = folder.join("reader.conf.d");
        std::fs::create_dir_all(&readers).unwrap();
        let port = card::vpcd::PORT;
        let entry = format!(
            "FRIENDLYNAME \"Virtual PCD\"\nDEVICENAME /dev/null:0x{port:X}\nLIBPATH {DRIVER}\nCHANNELID 0x{port:X}\n"
        );
        std::fs::write(readers.join("vpcd"), entry).unwrap();
        let child = Command::new("pcscd")
            .args(["--foreground", "--config"])
            .arg(&readers)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("pcscd: run `make setup`");
        Self(Some(child))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_in_a_pcsc_reader_is_read_like_any_other() {
    let _one = crate::chromium::ALONE.lock().await;
    assert!(
        Path::new(DRIVER).exists(),
        "vsmartcard-vpcd is missing: run `make setup`"
    );
    let morning = Morning::after_the_walk().await.unwrap();
    let (world, practice) = (&morning.world, &morning.world.practice);
    let _daemon = Daemon::start(morning.folder.path());
    // the driver takes the first connection for a card: it must be the real one
    let mut driver = None;
    let listening = async || {
        driver = TcpStream::connect(("127.0.0.1", card::vpcd::PORT)).ok();
        driver.is_some()
    };
    world
        .wait_for("pcscd", LIMIT, &*morning.clock, listening)
        .await
        .unwrap();
    let driver = driver.unwrap();
    let closer = driver.try_clone().unwrap();

    // pcscd waits for the card's ATR before it talks to anybody
    let image = morning.folder.path().join("cards/eGK Loipengruen.xml");
    let card = std::thread::spawn(move || {
        let mut card = langlauf::world::open_card(&image).unwrap();
        card::vpcd::serve(&mut card, driver)
    });

    let ready = async || std::os::unix::net::UnixStream::connect(SOCKET).is_ok();
    world
        .wait_for("pcscd's socket", LIMIT, &*morning.clock, ready)
        .await
        .unwrap();

    // slots 1 to 3 are the readers': the virtual cards make room
    world.terminal.remove(1).unwrap();
    let gone = async || practice.cards("EGK").await.is_ok_and(|cards| cards.is_empty());
    world
        .wait_for("removed", LIMIT, &*morning.clock, gone)
        .await
        .unwrap();
    let attached = terminal::pcsc::attach(world.terminal.clone()).unwrap();
    let there = async || practice.cards("EGK").await.is_ok_and(|cards| cards.len() == 1);
    world
        .wait_for("eGK in the reader", LIMIT, &*morning.clock, there)
        .await
        .unwrap();
    let shown = world.terminal.appearance().slots;
    assert!(
        shown.iter().flatten().any(|name| name.contains("Virtual PCD")),
        "{shown:?}"
    );
    let answer = e2e::read_vsd(practice, true, true).await.unwrap();
    assert_eq!(answer.fault(), None, "{}", answer.body);

    // pulled out of the reader
    closer.shutdown(std::net::Shutdown::Both).unwrap();
    let _ = card.join();
    world
        .wait_for("pulled", LIMIT, &*morning.clock, gone)
        .await
        .unwrap();
    drop(attached);
}
