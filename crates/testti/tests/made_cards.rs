//! Personalised cards work with each other: rights are really granted, and the VSDD really changes an eGK.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)] // tests

use base::SystemClock;
use card::c2c::{self, CvcPair};
use card::cos::{NoMemory, VirtualCard};
use card::image;
use card::{
    CardKind, Channel, Command, Expect, Introduction, LogicalChannel, Response, SecurityModule,
    TrustedChannel, UserCard, inspect,
};
use std::sync::Mutex;
use testti::cards::{self, Holder, Options};
use testti::person::Person;
use testti::{SavedKeys, TestPki};

fn run(system: image::ObjectSystem) -> Mutex<VirtualCard> {
    // through the image format, so that what we write is what we test
    let read = image::read(&image::write(&system)).unwrap();
    Mutex::new(VirtualCard::new(read, Box::new(NoMemory)).unwrap())
}

fn send(card: &Mutex<VirtualCard>, hex: &str) -> Response {
    Response::parse(
        &card
            .lock()
            .unwrap()
            .process(&hex::decode(hex.replace(' ', "")).unwrap()),
    )
    .unwrap()
}

#[tokio::test]
async fn an_unlocked_egk_shows_protected_data_and_takes_a_log_record() {
    let clock = SystemClock::new();
    let pki = TestPki::open(&mut SavedKeys::default(), clock.now(), "http://127.0.0.1:1/ocsp").unwrap();
    let trust = pki::CvcTrust::new(list(&pki, &clock).cvcs);
    assert_eq!(trust.len(), 4);
    let (egk_iccsn, smcb_iccsn, hba_iccsn) = (
        "80276009990000000001".parse().unwrap(),
        "80276009990000000002".parse().unwrap(),
        "80276009990000000003".parse().unwrap(),
    );
    let options = Options::default();
    let holder = Holder {
        name: "Praxis Dr. Spur".into(),
        telematik_id: "1-20001".into(),
    };
    let egk = run(cards::egk(&pki, &egk_iccsn, &Person::example(), clock.now(), &options).unwrap());
    let smcb = run(cards::smcb(&pki, &smcb_iccsn, &holder, &options).unwrap());
    let hba = run(cards::hba(&pki, &hba_iccsn, &holder, &options).unwrap());
    for (card, kind) in [
        (&egk, CardKind::Egk),
        (&smcb, CardKind::SmcB),
        (&hba, CardKind::Hba),
    ] {
        let found = inspect(card as &dyn Channel).await.unwrap();
        assert_eq!(found.kind, kind);
        assert!(found.aut.is_some());
    }
    for (source, pin) in [
        (&smcb, "00200001 08 26123456FFFFFFFF"),
        (&hba, "00200001 08 26123456FFFFFFFF"),
    ] {
        egk.lock().unwrap().reset();
        send(&egk, "00A4040C 06 D27600000102");
        assert_eq!(send(&egk, "00B08300000000").sw, 0x6982);
        assert_eq!(send(source, pin).sw, 0x9000);
        let channel: &dyn Channel = source;
        let pair = CvcPair::read(channel).await.unwrap();
        c2c::unlock(channel, &pair, &egk, &egk_iccsn, &trust)
            .await
            .unwrap();
        let today = pki.cvc_validity.0;
        c2c::prove_genuine(&egk, &egk_iccsn, &trust, today).await.unwrap();
        send(&egk, "00A4040C 06 D27600000102");
        assert_eq!(send(&egk, "00B08300000000").sw, 0x9000);
        let record = card::egk::log_record(clock.now(), b'1', b'r', smcb_iccsn_bytes(), "Praxis");
        let append = Command::new(0, 0xE2, 0, 0x30).data(record);
        assert_eq!((&egk as &dyn Channel).transmit(&append).await.unwrap().sw, 0x9000);
    }
}

fn smcb_iccsn_bytes() -> &'static [u8; 10] {
    &[0x80, 0x27, 0x60, 0x09, 0x99, 0, 0, 0, 0, 2]
}

#[tokio::test]
async fn cross_certificates_lead_to_another_root() {
    let clock = SystemClock::new();
    let pki = TestPki::open(&mut SavedKeys::default(), clock.now(), "http://127.0.0.1:1/ocsp").unwrap();
    let list = list(&pki, &clock);
    let trust = pki::CvcTrust::new(list.cvcs.clone());
    let old = list
        .cvcs
        .iter()
        .find(|cvc| cvc.chr == cvc.car && cvc.chr != pki.cvc_root.reference)
        .unwrap();
    let path = trust
        .path(std::slice::from_ref(&old.chr), &pki.cvc_root.reference)
        .unwrap();
    assert_eq!(path.len(), 1);
    assert!(
        trust
            .path(&[b"NOBODY01".to_vec()], &pki.cvc_root.reference)
            .is_none()
    );
}

/// Each root vouches for the other.
#[test]
fn roots_are_cross_certified() {
    let clock = SystemClock::new();
    let pki = TestPki::open(&mut SavedKeys::default(), clock.now(), "http://127.0.0.1:1/ocsp").unwrap();
    let roots: Vec<_> = pki
        .anchors()
        .iter()
        .map(|der| asn1::X509::parse(der).unwrap())
        .collect();
    let crosses: Vec<_> = pki
        .cross_certificates()
        .iter()
        .map(|der| asn1::X509::parse(der).unwrap())
        .collect();
    for (cross, (subject, issuer)) in crosses
        .iter()
        .zip([(&roots[0], &roots[1]), (&roots[1], &roots[0])])
    {
        assert!(cross.is_ca && cross.subject() == subject.subject() && pki::signed_by(cross, issuer));
    }
}

/// gSMC-KT and SMC-B agree on keys, and a command goes through the trusted channel: what remote PIN will use.
/// The PIN a gSMC-KT has enciphered opens SMC-B and HBA, also PIN.QES in environment 2; a wrong one counts down there.
#[tokio::test]
async fn a_security_module_card_opens_a_trusted_channel() {
    let clock = SystemClock::new();
    let pki = TestPki::open(&mut SavedKeys::default(), clock.now(), "http://127.0.0.1:1/ocsp").unwrap();
    let list = list(&pki, &clock);
    let trust = pki::CvcTrust::new(list.cvcs);
    let holder = Holder {
        name: "Praxis".into(),
        telematik_id: "1-2".into(),
    };
    let module = run(cards::gsmc_kt(&pki, &"80276009990000000009".parse().unwrap())
        .unwrap()
        .0);
    let smcb = cards::smcb(
        &pki,
        &"80276009990000000002".parse().unwrap(),
        &holder,
        &Options::default(),
    );
    let hba = cards::hba(
        &pki,
        &"80276009990000000003".parse().unwrap(),
        &holder,
        &Options::default(),
    );
    let (smcb, hba) = (run(smcb.unwrap()), run(hba.unwrap()));
    let encipher = |digits: &str| {
        let block = image::PinBlock::from_digits(digits).unwrap();
        let command = Command::new(0, 0x2A, 0x86, 0x80)
            .data(*block.as_bytes())
            .expect(Expect::AllShort);
        let raw = module.lock().unwrap().process(&command.encode().unwrap());
        Response::parse(&raw).unwrap().data
    };
    for (user, application, reference) in [
        (&smcb, None, 0x01),
        (&hba, None, 0x01),
        (&hba, Some(card::pin::AID_QES), 0x81),
    ] {
        let open = async || {
            TrustedChannel::open(
                SecurityModule::of_terminal(&module),
                UserCard::new(user),
                &trust,
                application,
            )
            .await
            .unwrap()
        };
        let channel = open().await;
        assert_eq!(
            channel
                .send(0x20, 0, reference, &encipher("999999"))
                .await
                .unwrap(),
            0x63C2
        );
        // the same channel goes on: counters of both cards keep in step
        assert_eq!(
            channel
                .send(0x20, 0, reference, &encipher("123456"))
                .await
                .unwrap(),
            0x9000
        );
        assert_eq!(send(user, &format!("802000{reference:02X}")).sw, 0x9000);
        // a plain command has ended it
        assert!(
            channel
                .send(0x20, 0, reference, &encipher("123456"))
                .await
                .is_err()
        );
        // a block that was changed on the way opens nothing
        let channel = open().await;
        let mut changed = encipher("123456");
        changed[3] ^= 1;
        assert_ne!(
            channel.send(0x20, 0, reference, &changed).await.unwrap_or(0),
            0x9000
        );
    }
    // a module whose certificate comes from elsewhere gets no channel
    let other = TestPki::open(&mut SavedKeys::default(), clock.now(), "http://127.0.0.1:1/ocsp").unwrap();
    let foreign = run(cards::gsmc_kt(&other, &"80276009990000000019".parse().unwrap())
        .unwrap()
        .0);
    let foreign = SecurityModule::of_terminal(&foreign);
    let refused = TrustedChannel::open(foreign, UserCard::new(&smcb), &trust, None).await;
    assert!(refused.is_err());
}

/// A batch: the PIN over the terminal's module, hash values over the Konnektor's, all in DF.QES over a logical channel,
/// while others use the card; as many signatures as EF.SSEC says.
#[tokio::test]
async fn one_pin_for_a_batch_of_signatures() {
    let clock = SystemClock::new();
    let pki = TestPki::open(&mut SavedKeys::default(), clock.now(), "http://127.0.0.1:1/ocsp").unwrap();
    let trust = pki::CvcTrust::new(list(&pki, &clock).cvcs);
    let holder = Holder {
        name: "Dr. Spur".into(),
        telematik_id: "1-1".into(),
    };
    let number = |text: &str| text.parse().unwrap();
    let identities = pki.konnektor("80276009990000000010", &[], 1826, false).unwrap();
    let options = Options::default();
    let hba = run(cards::hba(&pki, &number("80276009990000000003"), &holder, &options).unwrap());
    let kt = run(cards::gsmc_kt(&pki, &number("80276009990000000009")).unwrap().0);
    let sak = run(cards::gsmc_k(&pki, &number("80276009990000000010"), &identities).unwrap());
    let logical = LogicalChannel::open(&hba).await.unwrap().unwrap();
    assert_eq!(logical.number(), 1);
    let user = UserCard::over(&logical);
    let at_terminal = Introduction::make(SecurityModule::of_terminal(&kt), user, &trust)
        .await
        .unwrap();
    let at_konnektor = Introduction::make(SecurityModule::of_konnektor(&sak), user, &trust)
        .await
        .unwrap();
    card::enter(&logical, card::pin::AID_QES).await.unwrap();
    // without a module no PIN is taken in this environment
    let plain =
        Command::new(0, 0x20, 0, 0x81).data(*image::PinBlock::from_digits("123456").unwrap().as_bytes());
    assert_eq!(logical.transmit(&plain).await.unwrap().sw, 0x6982);
    let channel = at_terminal.agree().await.unwrap();
    let block = image::PinBlock::from_digits("123456").unwrap();
    let encipher = Command::new(0, 0x2A, 0x86, 0x80)
        .data(*block.as_bytes())
        .expect(Expect::AllShort);
    let enciphered = (&kt as &dyn Channel).transmit(&encipher).await.unwrap().data;
    assert_eq!(channel.send(0x20, 0, 0x81, &enciphered).await.unwrap(), 0x9000);
    let channel = at_konnektor.agree().await.unwrap();
    let choose = Command::new(0, 0x22, 0x41, 0xB6).data([0x84, 0x01, 0x86, 0x80, 0x01, 0x00]);
    assert_eq!(channel.transmit(&choose).await.unwrap().sw, 0x9000);
    let hash = [7; 32];
    let sign = Command::new(0, 0x2A, 0x9E, 0x9A)
        .data(hash)
        .expect(Expect::AllShort);
    for position in 0..250 {
        // somebody else reads the card in between
        if position % 50 == 0 {
            let base: &dyn Channel = &hba;
            base.select_mf().await.unwrap();
        }
        let signed = channel.transmit(&sign).await.unwrap();
        assert_eq!((signed.sw, signed.data.len()), (0x9000, 64), "{position}");
    }
    assert_eq!(channel.transmit(&sign).await.unwrap().sw, 0x6982);
    logical.close().await.unwrap();
}

/// A cryptogram OpenSSL has made for the SMC-B's RSA key becomes one for an HBA's elliptic key, and back is not asked for:
/// the card never gives the plain text out on the way.
#[test]
fn openssl_encrypts_one_card_transciphers_another_deciphers() {
    let clock = SystemClock::new();
    let pki = TestPki::open(&mut SavedKeys::default(), clock.now(), "http://127.0.0.1:1/ocsp").unwrap();
    let holder = Holder {
        name: "Praxis".into(),
        telematik_id: "1-2".into(),
    };
    let with_rsa = Options {
        rsa: true,
        ..Options::default()
    };
    let smcb = run(cards::smcb(&pki, &"80276009990000000002".parse().unwrap(), &holder, &with_rsa).unwrap());
    let hba = run(cards::hba(&pki, &"80276009990000000003".parse().unwrap(), &holder, &with_rsa).unwrap());
    let certificate = |card: &Mutex<VirtualCard>, sfi: u8| {
        assert_eq!(send(card, "00A4040C 0A A000000167455349474E").sw, 0x9000);
        let file = send(card, &format!("00B0{:02X}00 000000", 0x80 | sfi));
        asn1::X509::parse_file(&file.data).unwrap()
    };
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    std::fs::write(path("enc.der"), certificate(&smcb, 0x02).der()).unwrap();
    std::fs::write(path("plain"), b"thirty-two bytes of a secret key").unwrap();
    let encrypted = std::process::Command::new("openssl")
        .current_dir(dir.path())
        .args([
            "pkeyutl", "-encrypt", "-certin", "-keyform", "DER", "-inkey", "enc.der",
        ])
        .args([
            "-pkeyopt",
            "rsa_padding_mode:oaep",
            "-pkeyopt",
            "rsa_oaep_md:sha256",
        ])
        .args(["-in", "plain", "-out", "cryptogram"])
        .output()
        .expect("openssl: run `make setup`");
    assert!(encrypted.status.success(), "{encrypted:?}");
    let cryptogram = std::fs::read(path("cryptogram")).unwrap();
    let tlv = asn1::tlv::encode;
    let target = match crypto::PublicKey::from_spki(&certificate(&hba, 0x05).spki().unwrap()).unwrap() {
        crypto::PublicKey::Ec(key) => key.point(),
        crypto::PublicKey::Rsa(_) => panic!("elliptic key expected"),
    };
    let curve = hex::decode("2B2403030208010107").unwrap();
    let inside = [
        tlv(0x80, &[0x0B]),
        tlv(0x06, &curve),
        tlv(0x7F49, &tlv(0x86, &target)),
    ];
    let data = [
        tlv(0xA6, &tlv(0x86, &[&[0x00], &cryptogram[..]].concat())),
        tlv(0xA0, &inside.concat()),
    ];
    let transcipher = Command::new(0, 0x2A, 0x86, 0xB8)
        .data(data.concat())
        .expect(Expect::All);
    let run_on = |card: &Mutex<VirtualCard>, command: &Command| {
        Response::parse(&card.lock().unwrap().process(&command.encode().unwrap())).unwrap()
    };
    assert_eq!(send(&smcb, "002241B8 06 840183 800185").sw, 0x9000);
    // not without the PIN
    assert_eq!(run_on(&smcb, &transcipher).sw, 0x6982);
    assert_eq!(send(&smcb, "00200001 08 26123456FFFFFFFF").sw, 0x9000);
    let moved = run_on(&smcb, &transcipher);
    assert_eq!(moved.sw, 0x9000);

    assert_eq!(send(&hba, "00200001 08 26123456FFFFFFFF").sw, 0x9000);
    assert_eq!(send(&hba, "002241B8 06 840185 80010B").sw, 0x9000);
    let decipher = |data: &[u8]| Command::new(0, 0x2A, 0x80, 0x86).data(data).expect(Expect::All);
    let plain = run_on(&hba, &decipher(&moved.data));
    assert_eq!(
        (plain.sw, &plain.data[..]),
        (0x9000, &b"thirty-two bytes of a secret key"[..])
    );
    let mut broken = moved.data;
    *broken.last_mut().unwrap() ^= 1;
    assert_eq!(run_on(&hba, &decipher(&broken)).sw, 0x6A80);
}

/// PSO VERIFY DIGITAL SIGNATURE over what OpenSSL has signed on brainpoolP256r1.
#[test]
fn a_card_verifies_what_openssl_has_signed() {
    let clock = SystemClock::new();
    let pki = TestPki::open(&mut SavedKeys::default(), clock.now(), "http://127.0.0.1:1/ocsp").unwrap();
    let module = run(cards::gsmc_kt(&pki, &"80276009990000000009".parse().unwrap())
        .unwrap()
        .0);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("message"), b"message").unwrap();
    let openssl = |arguments: &[&str]| {
        let output = std::process::Command::new("openssl")
            .current_dir(dir.path())
            .args(arguments)
            .output()
            .expect("openssl: run `make setup`");
        assert!(output.status.success(), "{output:?}");
    };
    openssl(&[
        "ecparam",
        "-name",
        "brainpoolP256r1",
        "-genkey",
        "-noout",
        "-out",
        "key",
    ]);
    openssl(&["ec", "-in", "key", "-pubout", "-outform", "DER", "-out", "public"]);
    openssl(&["dgst", "-sha256", "-sign", "key", "-out", "signature", "message"]);
    let file = |name: &str| std::fs::read(dir.path().join(name)).unwrap();
    let crypto::PublicKey::Ec(key) = crypto::PublicKey::from_spki(&file("public")).unwrap() else {
        panic!("elliptic key expected")
    };
    let tlv = asn1::tlv::encode;
    let verify = |signature: &[u8]| {
        let data = [
            tlv(0x06, &hex::decode("2B2403030208010107").unwrap()),
            tlv(0x90, &crypto::sha256([b"message"])),
            tlv(0x9C, &tlv(0x7F49, &tlv(0x86, &key.point()))),
            tlv(0x9E, signature),
        ];
        let command = Command::new(0, 0x2A, 0x00, 0xA8).data(data.concat());
        let raw = module.lock().unwrap().process(&command.encode().unwrap());
        Response::parse(&raw).unwrap().sw
    };
    let mut signature = crypto::ecdsa_raw(&file("signature")).unwrap();
    assert_eq!(verify(&signature), 0x9000);
    signature[40] ^= 1;
    assert_eq!(verify(&signature), 0x6A80);
}

/// gematik's published HBA is files, keys and PINs without rules: on our template it is a card that answers as an HBA must.
#[tokio::test]
async fn the_published_hba_is_a_working_card() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../../shared/cards/hpc-doctor-gematik-G21-ru.xml"
    );
    let Ok(xml) = std::fs::read_to_string(path) else {
        eprintln!("skipped: {path} is absent");
        return;
    };
    let clock = SystemClock::new();
    let pki = TestPki::open(&mut SavedKeys::default(), clock.now(), "http://127.0.0.1:1/ocsp").unwrap();
    let holder = Holder {
        name: "Template".into(),
        telematik_id: "1-1".into(),
    };
    let with_rsa = Options {
        rsa: true,
        ..Options::default()
    };
    let template = cards::hba(&pki, &"80276009990000000003".parse().unwrap(), &holder, &with_rsa).unwrap();
    let published = image::read_file_image(&xml).unwrap();
    let hba = run(published.onto(template).unwrap());
    let found = inspect(&hba).await.unwrap();
    assert_eq!(found.kind, CardKind::Hba);
    assert_eq!(found.iccsn.as_ref().unwrap().to_string(), "80276883110000129111");
    assert!(
        found.holder().unwrap().contains("Birkengrund"),
        "{:?}",
        found.holder()
    );

    // every signature key fits its certificate, and works after its PIN only
    for (aid, pin, sfi, reference) in [
        ("A000000167455349474E", "00200001 08 26123456FFFFFFFF", 0x06, 0x86),
        ("D27600006601", "00200081 08 26123456FFFFFFFF", 0x06, 0x86),
    ] {
        assert_eq!(send(&hba, "00A4040C").sw, 0x9000);
        assert_eq!(
            send(&hba, &format!("00A4040C {:02X} {aid}", aid.len() / 2)).sw,
            0x9000
        );
        let certificate = send(&hba, &format!("00B0{:02X}00 000000", 0x80 | sfi));
        let certificate = asn1::X509::parse_file(&certificate.data).unwrap();
        assert_eq!(
            send(&hba, &format!("002241B6 06 8401{reference:02X} 800100")).sw,
            0x9000
        );
        let hash = crypto::sha256([b"document"]);
        let sign = format!("002A9E9A 20 {} 00", hex::encode(hash));
        assert_eq!(send(&hba, &sign).sw, 0x6982);
        assert_eq!(send(&hba, pin).sw, 0x9000);
        let signature = send(&hba, &sign);
        assert_eq!(signature.sw, 0x9000);
        let crypto::PublicKey::Ec(key) = crypto::PublicKey::from_spki(&certificate.spki().unwrap()).unwrap()
        else {
            panic!("elliptic key expected")
        };
        key.verify_prehash(&hash, &signature.data).unwrap();
    }
    // one signature an entry of PIN.QES
    let again = send(&hba, &format!("002A9E9A 20 {} 00", "11".repeat(32)));
    assert_eq!(again.sw, 0x6982);
    // it trusts the root that came with it: its own CA's certificate is imported
    assert_eq!(send(&hba, "00A4040C").sw, 0x9000);
    assert_eq!(send(&hba, "002281B6 0A 8308 4445475858850218").sw, 0x9000);
    let ca = asn1::Cvc::parse(published.file(0x2F07).unwrap()).unwrap();
    let import = Command::new(0, 0x2A, 0, 0xBE).data(ca.command_data());
    let answer = hba.lock().unwrap().process(&import.encode().unwrap());
    assert_eq!(
        Response::parse(&answer).unwrap().sw,
        0x6983,
        "expired by the card's clock of today"
    );
}

fn list(pki: &testti::TestPki, clock: &std::sync::Arc<dyn base::Clock>) -> pki::tsl::Tsl {
    let publisher = testti::Publisher::new(pki, clock.clone(), "http://x", "https://x").unwrap();
    pki::tsl::Tsl::read(&publisher.publish().unwrap()).unwrap()
}
