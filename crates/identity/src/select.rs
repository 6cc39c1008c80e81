//! Which certificate serves now. Pure functions of the book and the moment: what is valid counts, no flag can make an expired
//! certificate out of a valid one (4 July 2025).

use crate::{Algorithm, Book, DAY, Family, Generation, Held, HeldCvc, Kind, Role, Stage};

/// A certificate that may serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice<'b> {
    /// Its generation.
    pub generation: u32,
    /// Which one.
    pub kind: Kind,
    /// The certificate.
    pub held: &'b Held,
}

fn candidates(book: &Book, role: Role, algorithm: Algorithm) -> impl Iterator<Item = Choice<'_>> {
    let kind = Kind { role, algorithm };
    let usable = book
        .generations
        .iter()
        .filter(move |one| book.is_usable(one.number));
    usable.filter_map(move |one| {
        Some(Choice {
            generation: one.number,
            kind,
            held: one.certificates.get(&kind)?,
        })
    })
}

/// Certificates for the tunnel that are valid at `now` (Unix seconds), best first: elliptic before RSA, registered before
/// others, the active one before the rest, then the one that lasts longest. Others can be tried when the first fails.
pub fn tunnel(book: &Book, now: i64) -> Vec<Choice<'_>> {
    let mut all: Vec<Choice<'_>> = [Algorithm::Brainpool, Algorithm::Rsa]
        .into_iter()
        .flat_map(|algorithm| candidates(book, Role::NkVpn, algorithm))
        .filter(|choice| choice.held.is_valid(now))
        .collect();
    all.sort_by_key(|choice| {
        let family = choice.kind.algorithm.family();
        let signer = book.registration(choice.generation, family);
        std::cmp::Reverse((
            // one that was revoked in use is refused by now
            !book.quarantine.contains_key(&choice.generation),
            // held back by the access service when its signer has ended
            signer.is_some_and(|signer| signer.end >= now),
            signer.is_some(),
            family == Family::Ecc,
            book.stage(choice.generation, family) == Some(Stage::Active),
            choice.held.to,
        ))
    });
    all
}

/// The certificate shown to practice systems with this kind of key: the administrator's choice as long as it is valid, else
/// the one in use until the day it ends, and from that day on the next (C_12406). If nothing is valid, the last that was:
/// a client that looks away at dates still works.
pub fn clients(book: &Book, algorithm: Algorithm, now: i64) -> Option<Choice<'_>> {
    let mut all: Vec<Choice<'_>> = candidates(book, Role::AkAut, algorithm).collect();
    let valid = |choice: &&Choice<'_>| choice.held.is_valid(now);
    let good = |choice: &Choice<'_>| !book.quarantine.contains_key(&choice.generation);
    if all.iter().filter(valid).any(good) {
        all.retain(good);
    }
    let chosen = all
        .iter()
        .filter(|choice| Some(choice.generation) == book.ak_choice)
        .find(valid);
    if let Some(choice) = chosen {
        // on its last day a choice gives way to a later one, too
        let last_day = choice.held.to < now + DAY;
        let later = all
            .iter()
            .filter(|other| other.held.to > choice.held.to)
            .find(valid);
        return Some(*later.filter(|_| last_day).unwrap_or(choice));
    }
    let mut current: Option<Choice<'_>> = None;
    for next in all.iter().filter(valid) {
        // a later one takes over on the last day of the one before, and of a valid one only
        let ends_today = |held: &Held| held.to < now + DAY;
        match current {
            Some(before) if !ends_today(before.held) => {}
            _ => current = Some(*next),
        }
    }
    current.or_else(|| all.into_iter().max_by_key(|choice| choice.held.to))
}

/// When C.AK.AUT changes by itself, and to which generation, if nobody does anything before: Unix seconds.
pub fn next_change_for_clients(book: &Book, algorithm: Algorithm, now: i64) -> Option<(i64, u32)> {
    let current = clients(book, algorithm, now)?;
    let later = candidates(book, Role::AkAut, algorithm)
        .filter(|choice| choice.generation > current.generation && choice.held.to > current.held.to);
    let next = later.min_by_key(|choice| choice.generation)?;
    Some((current.held.to - DAY + 1, next.generation))
}

/// Certificates for a terminal, in the order they are tried: what it took last, then the newest first, valid before expired
/// ones. An expired one comes along because a terminal without a clock knows its issuer, perhaps, and that of no other.
pub fn terminal<'b>(book: &'b Book, id: &str, now: i64) -> Vec<Choice<'b>> {
    let mut all: Vec<Choice<'b>> = [Algorithm::Brainpool, Algorithm::Rsa]
        .into_iter()
        .flat_map(|algorithm| candidates(book, Role::SakAut, algorithm))
        .collect();
    let taken = book.terminals.get(id).copied();
    all.sort_by_key(|choice| {
        let valid = choice.held.is_valid(now);
        let good = !book.quarantine.contains_key(&choice.generation);
        std::cmp::Reverse((
            valid && good,
            valid && taken == Some(choice.generation),
            valid,
            choice.kind.algorithm.family() == Family::Ecc,
            choice.generation,
        ))
    });
    all
}

/// The CV certificates shown to an HBA: of those that are valid on this day the one that lasts longest. A card moves its clock to
/// the begin of every certificate it accepts, for good; that of a valid one is past and spoils no other valid one. If none is
/// valid, the one that was last: a card that has met nothing younger still takes it.
pub fn cvc(book: &Book, today: i64) -> Option<&HeldCvc> {
    let all = usable(book).filter_map(|one| one.cvc.as_ref());
    all.max_by_key(|cvc| ((cvc.from..=cvc.to).contains(&today), cvc.to))
}

fn usable(book: &Book) -> impl Iterator<Item = &Generation> {
    book.generations.iter().filter(|one| book.is_usable(one.number))
}
