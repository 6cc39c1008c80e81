//! Watching the end of certificates (TUC_KON_033, TIP1-A_4691): the Konnektor's own and those of every card that is in a
//! terminal, except eGKs, for each kind of key.

use crate::cards::Card;
use crate::events::Event;
use crate::service::read_certificate;
use crate::{Failure, Inner};
use asn1::X509;
use base::{Severity, Timestamp};
use card::CardKind;
use identity::{Algorithm, Role, select};
use serde::Serialize;
use soap::{CertRef, Crypt};

const TOPIC: &str = "CERT/CARD/EXPIRATION";
const DAY: i64 = 86_400;

/// How long a certificate still has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// It has ended.
    Expired,
    /// It ends in so many days, within the span to warn of.
    Days(i64),
    /// Long enough.
    Enough,
}

/// The rule, pure: `end` in Unix seconds, `warn_days` is CERT_EXPIRATION_WARN_DAYS (0: never warn).
pub fn left(end: i64, now: Timestamp, warn_days: u32) -> Left {
    let left = end - now.as_second();
    match left {
        ..0 => Left::Expired,
        _ if warn_days > 0 && left <= i64::from(warn_days) * DAY => Left::Days(left / DAY),
        _ => Left::Enough,
    }
}

/// One certificate with its end.
#[derive(Debug, Clone, Serialize)]
pub struct Watched {
    /// `gSMC-K`, `HBA`, `SMC-B`.
    pub card: String,
    /// Name of the certificate with its kind of key, `C.AUT ECC`.
    pub certificate: String,
    /// Serial number of the card; not for the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iccsn: Option<String>,
    /// Terminal and slot, unless it is the Konnektor's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// RFC 3339.
    pub end: String,
    /// Days left; negative when it has ended.
    pub days_left: i64,
}

impl Inner {
    /// Looks at all certificates and tells of those that end (TIP1-A_4691, TIP1-A_4704). Returns what was looked at.
    pub async fn report_expiries(&self) -> Vec<Watched> {
        let mut watched = Vec::new();
        for (name, der) in self.own_certificates() {
            let certificate = X509::parse(&der).ok();
            watched.extend(certificate.map(|certificate| self.watch_own(name, &certificate)));
        }
        for card in self.cards.all() {
            if !matches!(card.found.kind, CardKind::Hba | CardKind::SmcB) {
                continue;
            }
            match self.watch_card(&card).await {
                Ok(all) => watched.extend(all),
                Err(failure) => {
                    tracing::warn!(terminal = %card.ct_id, reason = failure.detail(), "end of certificates not readable");
                }
            }
        }
        watched
    }

    /// What of the gSMC-K is used first now, with its name.
    pub(crate) fn own_certificates(&self) -> Vec<(&'static str, Vec<u8>)> {
        let now = self.believed();
        self.with_book(|book| {
            let ak = |algorithm| select::clients(book, algorithm, now);
            let all = [
                select::tunnel(book, now).first().copied(),
                ak(Algorithm::Brainpool),
                ak(Algorithm::Nist),
                select::terminal(book, "", now).first().copied(),
            ];
            let named = all.into_iter().flatten().map(|choice| {
                let name = match (choice.kind.role, choice.kind.algorithm) {
                    (Role::NkVpn, Algorithm::Rsa) => "C.NK.VPN RSA",
                    (Role::NkVpn, _) => "C.NK.VPN ECC",
                    (Role::AkAut, Algorithm::Rsa) => "C.AK.AUT RSA",
                    (Role::AkAut, Algorithm::Brainpool) => "C.AK.AUT ECC brainpoolP256r1",
                    (Role::AkAut, Algorithm::Nist) => "C.AK.AUT ECC P-256",
                    (Role::SakAut, Algorithm::Rsa) => "C.SAK.AUT RSA",
                    (Role::SakAut, _) => "C.SAK.AUT ECC",
                };
                (name, choice.held.der.clone())
            });
            named.collect()
        })
    }

    fn watch_own(&self, name: &str, certificate: &X509) -> Watched {
        let (end, text) = end_of(certificate);
        let (now, warn) = (self.clock.now(), self.config.certificates.warn_days);
        let mut parameters = vec![
            ("CARD_TYPE", "gSMC-K".to_owned()),
            ("ICCSN", self.identities.iccsn.clone()),
            ("Konnektor", self.config.hostname.clone()),
            ("ZertName", name.to_owned()),
            ("ExpirationDate", text.clone()),
        ];
        let severity = add_left(left(end, now, warn), &mut parameters);
        if let Some(severity) = severity {
            let event = Event::info(TOPIC, None, parameters);
            self.raise(Event { severity, ..event });
        }
        Watched {
            card: "gSMC-K".into(),
            certificate: name.into(),
            iccsn: Some(self.identities.iccsn.clone()),
            place: None,
            end: text,
            days_left: (end - now.as_second()).div_euclid(DAY),
        }
    }

    async fn watch_card(&self, card: &Card) -> Result<Vec<Watched>, Failure> {
        let mut found = Vec::new();
        {
            let _guard = card.reserve().await?;
            for crypt in [Crypt::Rsa, Crypt::Ecc] {
                let certificate = read_certificate(card, CertRef::Aut, crypt).await?;
                found.extend(certificate.map(|certificate| (crypt, certificate)));
            }
        }
        let iccsn = card.found.iccsn.as_ref().map(ToString::to_string);
        let mut watched = Vec::new();
        for (crypt, certificate) in found {
            let name = match crypt {
                Crypt::Rsa => "C.AUT RSA",
                Crypt::Ecc => "C.AUT ECC",
            };
            let (end, text) = end_of(&certificate);
            let mut parameters = vec![
                ("CARD_TYPE", card.found.kind.as_str().to_owned()),
                ("ICCSN", iccsn.clone().unwrap_or_default()),
                ("CARD_HANDLE", card.handle.to_string()),
                ("CardHolderName", certificate.common_name().unwrap_or_default()),
                ("ZertName", name.to_owned()),
                ("ExpirationDate", text.clone()),
            ];
            let now = self.clock.now();
            let severity = add_left(
                left(end, now, self.config.certificates.warn_days),
                &mut parameters,
            );
            if let Some(severity) = severity {
                let event = Event::about_card(TOPIC, card, parameters);
                self.raise(Event { severity, ..event });
            }
            watched.push(Watched {
                card: card.found.kind.as_str().into(),
                certificate: name.into(),
                iccsn: iccsn.clone(),
                place: Some(format!("{}/{}", card.ct_id, card.slot.number())),
                end: text,
                days_left: (end - now.as_second()).div_euclid(DAY),
            });
        }
        Ok(watched)
    }
}

fn end_of(certificate: &X509) -> (i64, String) {
    let end = certificate.validity().1;
    (
        end,
        Timestamp::from_second(end)
            .map(|end| end.to_string())
            .unwrap_or_default(),
    )
}

/// How bad it is, if it is worth telling; the days left become a parameter.
fn add_left(left: Left, parameters: &mut Vec<(&'static str, String)>) -> Option<Severity> {
    match left {
        Left::Expired => Some(Severity::Warning),
        Left::Days(days) => {
            parameters.push(("DAYS_LEFT", days.to_string()));
            Some(Severity::Info)
        }
        Left::Enough => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Five years of a certificate, day by day: silence, 90 days of counting down to 0, then expired, never again silence.
    #[test]
    fn five_years_of_a_certificate() {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let end = start.as_second() + 5 * 365 * DAY;
        let at = |day: i64| {
            left(
                end,
                Timestamp::from_second(start.as_second() + day * DAY).unwrap(),
                90,
            )
        };
        for day in 0..6 * 365 {
            let expected = match 5 * 365 - day {
                ..0 => Left::Expired,
                days @ 0..=90 => Left::Days(days),
                _ => Left::Enough,
            };
            assert_eq!(at(day), expected, "day {day}");
        }
        assert_eq!(left(end, start, 0), Left::Enough);
        assert_eq!(left(start.as_second() - 1, start, 0), Left::Expired);
    }
}
