#![no_main]
//! The virtual card itself: any sequence of commands, to any of our cards, with or without a verified PIN. Each command is
//! one byte of length and its bytes. The first byte chooses card and PIN.
use card::cos::{NoMemory, VirtualCard};
use card::image::ObjectSystem;
use std::sync::LazyLock;
use testti::cards::{Holder, Options};

static CARDS: LazyLock<Vec<ObjectSystem>> = LazyLock::new(|| {
    let now = "2026-11-24T00:00:00Z".parse().unwrap();
    let mut saved = testti::SavedKeys::default();
    let pki = testti::TestPki::open(&mut saved, now, "http://127.0.0.1:1/ocsp").unwrap();
    let number = |last: u8| format!("8027600999000000000{last}").parse().unwrap();
    let options = Options { rsa: false, ..Options::default() };
    let holder = Holder { name: "Fuzz".into(), telematik_id: "1-1FUZZ".into() };
    let person = testti::person::Person::example();
    vec![
        testti::cards::egk(&pki, &number(1), &person, now, &options).unwrap(),
        testti::cards::hba(&pki, &number(2), &holder, &options).unwrap(),
        testti::cards::smcb(&pki, &number(3), &holder, &options).unwrap(),
        testti::cards::gsmc_kt(&pki, &number(4)).unwrap().0,
    ]
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((choice, mut rest)) = data.split_first() else { return };
    let system = CARDS[usize::from(choice & 3)].clone();
    let mut card = VirtualCard::new(system, Box::new(NoMemory)).unwrap();
    if choice & 4 != 0 {
        card.process(&[0x00, 0x20, 0x00, 0x01, 0x08, 0x26, 0x12, 0x34, 0x56, 0xFF, 0xFF, 0xFF, 0xFF]);
    }
    while let Some((length, tail)) = rest.split_first() {
        let (command, tail) = tail.split_at(tail.len().min(usize::from(*length)));
        assert!(card.process(command).len() >= 2);
        rest = tail;
    }
});
