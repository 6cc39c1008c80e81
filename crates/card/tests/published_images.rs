//! The published images load and answer as their access rules say. Skips, saying so, where `../shared` is absent.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)] // tests

use asn1::Cvc;
use card::c2c::{self, CvcPair};
use card::cos::{NoMemory, StateFile, VirtualCard, sw};
use card::{CardKind, Channel, Command, Expect, Response, image, inspect};
use std::sync::Mutex;

fn shared(name: &str) -> Option<String> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/cards")
        .join(name);
    let text = std::fs::read_to_string(&path).ok();
    if text.is_none() {
        eprintln!("skipped: {} is absent", path.display());
    }
    text
}

const EGK: &str = "EGK_80276883110000168583_gema5.xml";
const SMC_B: &str = "SMC_B_80276883110000168650_gema5.xml";
const HBA: &str = "hpc-doctor-gematik-G21-ru.xml";

fn load(name: &str) -> Option<Mutex<VirtualCard>> {
    let system = image::read(&shared(name)?).unwrap();
    Some(Mutex::new(VirtualCard::new(system, Box::new(NoMemory)).unwrap()))
}

fn send(card: &Mutex<VirtualCard>, hex: &str) -> Response {
    let bytes = hex::decode(hex.replace(' ', "")).unwrap();
    Response::parse(&card.lock().unwrap().process(&bytes)).unwrap()
}

#[track_caller]
fn expect(card: &Mutex<VirtualCard>, hex: &str, word: u16) -> Vec<u8> {
    let response = send(card, hex);
    assert_eq!(format!("{:04X}", response.sw), format!("{word:04X}"), "{hex}");
    response.data
}

#[tokio::test]
async fn cards_are_recognised() {
    let (Some(egk), Some(smcb)) = (load(EGK), load(SMC_B)) else {
        return;
    };
    let found = inspect(&egk as &dyn Channel).await.unwrap();
    assert_eq!(found.kind, CardKind::Egk);
    assert_eq!(found.iccsn.as_ref().unwrap().to_string(), "80276883110000168583");
    assert_eq!(found.object_system.0, 4);
    assert!(found.kvnr().is_some() && found.insurer().is_some() && found.holder().is_some());
    let found = inspect(&smcb as &dyn Channel).await.unwrap();
    assert_eq!(found.kind, CardKind::SmcB);
    assert_eq!(found.iccsn.unwrap().to_string(), "80276883110000168650");
}

#[test]
fn files_open_and_stay_closed_by_rule() {
    let Some(egk) = load(EGK) else { return };
    assert_eq!(expect(&egk, "00A4040C 07 D2760001448000", 0x9000), b"");
    let gdo = expect(&egk, "00B0820000", 0x9000);
    assert_eq!(hex::encode(gdo), "5a0a80276883110000168583");
    expect(&egk, "00B0820014", sw::END_OF_FILE);
    expect(&egk, "00B0820C00", sw::OFFSET_TOO_BIG);
    expect(&egk, "00B09F0000", sw::FILE_NOT_FOUND);
    expect(&egk, "00B09E0000", sw::WRONG_FILE_TYPE);
    expect(&egk, "00B0000000", sw::WRONG_FILE_TYPE);
    expect(&egk, "00B2 01 F4 00", 0x9000);
    expect(&egk, "00B2 09 F4 00", sw::RECORD_NOT_FOUND);
    expect(&egk, "00A4040C 06 D27600000102", 0x9000);
    expect(&egk, "00B081000002", sw::WRONG_LENGTH);
    assert_eq!(expect(&egk, "00B0810002", 0x9000).len(), 2);
    assert_eq!(expect(&egk, "00B08100000000", 0x9000).len(), 0x193);
    // protected data and the log need a right
    expect(&egk, "00B08300000000", sw::SECURITY_STATUS);
    expect(
        &egk,
        "00E20030 2E 0102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F202122232425262728292A2B2C2D2E",
        sw::SECURITY_STATUS,
    );
    expect(&egk, "00D68100 01 00", sw::SECURITY_STATUS);
    // everybody may write the receipt
    expect(&egk, "00D69C00 03 010203", 0x9000);
    assert_eq!(expect(&egk, "00B09C0000", 0x9000), [1, 2, 3]);
    expect(&egk, "00D69C00 00", sw::WRONG_LENGTH);
    expect(&egk, "00A4040C 06 D27600000199", sw::FILE_NOT_FOUND);
    expect(&egk, "00A4030C", 0x9000);
    expect(&egk, "00A4030C", sw::FILE_NOT_FOUND);
    expect(&egk, "00FF0000", sw::INSTRUCTION);
    expect(&egk, "80B08200", sw::INSTRUCTION);
    expect(&egk, "00B0", sw::WRONG_LENGTH);
    expect(&egk, "01B0820000", sw::CHANNEL_CLOSED);
}

#[test]
fn passwords_count_and_block() {
    let Some(egk) = load(EGK) else { return };
    expect(&egk, "80200001", 0x63C3);
    expect(&egk, "00200001 08 26111111FFFFFFFF", 0x63C2);
    expect(&egk, "00200001 08 26123456FFFFFFFF", 0x9000);
    expect(&egk, "80200001", 0x9000);
    // a multi-reference password shares the secret, not the state
    expect(&egk, "80200002", 0x63C3);
    expect(&egk, "00200002 08 26123456FFFFFFFF", 0x9000);
    // MRPIN.home opens the protected data
    expect(&egk, "00A4040C 06 D27600000102", 0x9000);
    expect(&egk, "00B08300000000", 0x9000);
    // switched off from the start
    expect(&egk, "80200003", 0x62D0);
    for left in [2, 1, 0] {
        expect(&egk, "00200001 08 26111111FFFFFFFF", 0x63C0 + left);
    }
    expect(&egk, "00200001 08 26123456FFFFFFFF", sw::BLOCKED);
    expect(&egk, "80200001", 0x63C0);
    // the PUK gives the tries back, with a new value
    expect(&egk, "002C0001 10 2887654321FFFFFF 26654321FFFFFFFF", 0x63C9);
    expect(&egk, "002C0001 10 2812345678FFFFFF 26654321FFFFFFFF", 0x9000);
    expect(&egk, "00200001 08 26654321FFFFFFFF", 0x9000);
    expect(
        &egk,
        "00240001 10 26654321FFFFFFFF 25123456FFFFFFFF",
        sw::CONDITIONS,
    );
    expect(&egk, "00240001 10 26654321FFFFFFFF 26123456FFFFFFFF", 0x9000);
    expect(&egk, "00200099 08 26654321FFFFFFFF", sw::KEY_NOT_FOUND);
    egk.lock().unwrap().reset();
    expect(&egk, "80200001", 0x63C3);
}

#[test]
fn a_transport_pin_is_only_good_for_a_change() {
    let Some(smcb) = load(SMC_B) else { return };
    expect(&smcb, "80200001", 0x62C1);
    expect(&smcb, "00200001 08 2554321FFFFFFFFF", sw::CONDITIONS);
    expect(&smcb, "00240001 10 2554321FFFFFFFFF 26123456FFFFFFFF", 0x9000);
    expect(&smcb, "80200001", 0x63C3);
    expect(&smcb, "00200001 08 26123456FFFFFFFF", 0x9000);
}

#[test]
fn state_survives_and_pulling_the_card_gives_no_free_try() {
    let Some(xml) = shared(EGK) else { return };
    let dir = tempfile::tempdir().unwrap();
    let open = || {
        let memory = StateFile::at(dir.path().join("egk.state"));
        Mutex::new(VirtualCard::new(image::read(&xml).unwrap(), Box::new(memory)).unwrap())
    };
    expect(&open(), "00200001 08 26111111FFFFFFFF", 0x63C2);
    expect(&open(), "00200001 08 26111111FFFFFFFF", 0x63C1);
    let card = open();
    expect(&card, "80200001", 0x63C1);
    expect(&card, "00200001 08 26123456FFFFFFFF", 0x9000);
    expect(&open(), "80200001", 0x63C3);
}

#[tokio::test]
async fn c2c_succeeds_but_an_empty_flag_list_grants_nothing() {
    let (Some(egk), Some(smcb)) = (load(EGK), load(SMC_B)) else {
        return;
    };
    expect(&smcb, "00240001 10 2554321FFFFFFFFF 26123456FFFFFFFF", 0x9000);
    let (source, target): (&dyn Channel, &dyn Channel) = (&smcb, &egk);
    let pair = CvcPair::read(source).await.unwrap();
    let iccsn = "80276883110000168583".parse().unwrap();
    let trust = pki::CvcTrust::default();
    // without PIN.SMC the source refuses to sign
    let refused = c2c::unlock(source, &pair, target, &iccsn, &trust)
        .await
        .unwrap_err();
    assert_eq!(refused.code(), base::Code::C2C_SOURCE);
    expect(&smcb, "00200001 08 26123456FFFFFFFF", 0x9000);
    c2c::unlock(source, &pair, target, &iccsn, &trust).await.unwrap();
    // its CA may give no rights, so neither may the card
    assert_eq!(pair.ca.chat.flags.0, [0x80, 0, 0, 0, 0, 0, 0]);
    expect(&egk, "00A4040C 06 D27600000102", 0x9000);
    expect(&egk, "00B08300000000", sw::SECURITY_STATUS);
    // a second time the key is in the card's cache
    c2c::unlock(source, &pair, target, &iccsn, &trust).await.unwrap();
}

#[tokio::test]
async fn an_egk_proves_that_it_is_genuine() {
    let Some(egk) = load(EGK) else { return };
    let system = image::read(&shared(EGK).unwrap()).unwrap();
    let root = system.find("PuK.RCA.CS.E256").unwrap();
    let image::Body::PublicElc(anchor) = &system.node(root).unwrap().body else {
        panic!("anchor")
    };
    let channel: &dyn Channel = &egk;
    let pair = CvcPair::read(channel).await.unwrap();
    // the published images carry their root's key but not its certificate
    anchor
        .key
        .verify_prehash(&crypto::sha256([&pair.ca.body]), &pair.ca.signature)
        .unwrap();
    let token = [[7u8; 16].as_slice(), &[9; 8]].concat();
    send(&egk, "002241A4 06 840109 800100");
    let command = Command::new(0, 0x88, 0, 0)
        .data(token.clone())
        .expect(Expect::AllShort);
    let signature = channel.transmit(&command).await.unwrap();
    assert!(signature.is_ok());
    let key = crypto::EcPublic::from_point(crypto::Curve::BrainpoolP256r1, &pair.own.point).unwrap();
    let mut number = vec![0; 7];
    number.extend(&token);
    number.push(0);
    key.verify_prehash(&number, &signature.data).unwrap();
    // never for itself
    let own = [&[7u8; 16][..], &[0x68, 0x83, 0x11, 0x00, 0x00, 0x16, 0x85, 0x83]].concat();
    let command = Command::new(0, 0x88, 0, 0).data(own).expect(Expect::AllShort);
    assert_eq!(channel.transmit(&command).await.unwrap().sw, sw::WRONG_DATA);
}

#[test]
fn keys_sign_and_decipher_after_the_pin() {
    let Some(smcb) = load(SMC_B) else { return };
    expect(&smcb, "00240001 10 2554321FFFFFFFFF 26123456FFFFFFFF", 0x9000);
    expect(&smcb, "00A4040C 0A A000000167455349474E", 0x9000);
    let hash = "11".repeat(32);
    expect(&smcb, &format!("002A9E9A 20 {hash} 00"), sw::CONDITIONS);
    expect(&smcb, "002241B6 06 840186 800100", 0x9000);
    expect(&smcb, "002241B6 06 840186 800105", sw::UNSUPPORTED_FUNCTION);
    expect(&smcb, "002241B6 06 840199 800100", sw::KEY_NOT_FOUND);
    expect(&smcb, &format!("002A9E9A 20 {hash} 00"), sw::SECURITY_STATUS);
    expect(&smcb, "00200001 08 26123456FFFFFFFF", 0x9000);
    assert_eq!(expect(&smcb, &format!("002A9E9A 20 {hash} 00"), 0x9000).len(), 64);
    expect(&smcb, "002241B6 06 840182 800105", 0x9000);
    assert_eq!(
        expect(
            &smcb,
            &format!("002A9E9A 20 {hash} 0000").replace("20", "000020"),
            0x9000
        )
        .len(),
        256
    );
}

#[test]
fn channels_are_independent() {
    let Some(egk) = load(EGK) else { return };
    assert_eq!(expect(&egk, "0070000001", 0x9000), [1]);
    expect(&egk, "00200001 08 26123456FFFFFFFF", 0x9000);
    expect(&egk, "81200001", 0x63C3);
    expect(&egk, "80200001", 0x9000);
    expect(&egk, "0070000001", 0x9000);
    expect(&egk, "0070000001", 0x9000);
    expect(&egk, "0070000001", sw::NO_MORE_CHANNELS);
    expect(&egk, "01708000", 0x9000);
    expect(&egk, "81200001", sw::CHANNEL_CLOSED);
    expect(&egk, "00704001", 0x9000);
    expect(&egk, "80200001", 0x63C3);
}

#[test]
fn images_are_written_as_they_were_read() {
    for name in [EGK, SMC_B] {
        let Some(xml) = shared(name) else { return };
        let system = image::read(&xml).unwrap();
        let again = image::read(&image::write(&system)).unwrap();
        assert_eq!(image::write(&system), image::write(&again));
        assert_eq!(
            format!("{:?}", system.nodes).len(),
            format!("{:?}", again.nodes).len()
        );
    }
}

#[test]
fn the_hba_file_image_has_certificates_and_cvcs() {
    let Some(xml) = shared(HBA) else { return };
    let hba = image::read_file_image(&xml).unwrap();
    assert_eq!(hba.kind, "hpc");
    let file = |fid| hba.file(fid).unwrap();
    asn1::X509::parse_file(file(0xC506)).unwrap();
    let (ca, own) = (
        Cvc::parse(file(0x2F07)).unwrap(),
        Cvc::parse(file(0x2F06)).unwrap(),
    );
    assert_eq!(ca.chr, own.car);
}

#[test]
fn broken_images_say_what_is_wrong() {
    for xml in [
        "",
        "<card/>",
        "<card><objectSystem><attribute id='root'/></objectSystem></card>",
        "<!DOCTYPE a><card/>",
    ] {
        assert!(image::read(xml).is_err(), "{xml}");
    }
    let Some(xml) = shared(EGK) else { return };
    let broken = xml.replacen("26123456FFFFFFFF", "16123456FFFFFFFF", 1);
    let error = image::read(&broken).unwrap_err().to_string();
    assert!(error.contains("PIN block"), "{error}");
}
