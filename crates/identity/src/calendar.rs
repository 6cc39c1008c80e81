//! Everything that can end, in one list: what it is, what stops working, what to do. The list is data; who has the certificates
//! fills it in.

use crate::DAY;
use base::Timestamp;
use serde::Serialize;
use std::fmt::Write;

/// Days before an end at which people are told.
pub const LADDER: [i64; 6] = [180, 120, 60, 30, 14, 7];

/// What ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// C.NK.VPN.
    Tunnel,
    /// C.AK.AUT.
    Clients,
    /// C.SAK.AUT.
    Terminals,
    /// C.SAK.AUTD_CVC.
    Batch,
    /// The OSIG certificate that signed the registration at the VPN access service.
    Registration,
    /// C.HCI.AUT.
    SmbAut,
    /// C.HCI.OSIG.
    SmbOsig,
    /// C.HCI.ENC.
    SmbEnc,
    /// HBA: AUT, ENC, QES.
    Hba,
    /// C.SMKT.AUT of a terminal.
    Terminal,
    /// CV certificates of a card.
    CardCvc,
    /// Trust list.
    TrustList,
    /// Trust anchor.
    TrustAnchor,
    /// DNSSEC anchor.
    DnssecAnchor,
    /// Revocation list of the VPN access services.
    RevocationList,
    /// Trusted list of the BNetzA.
    TrustedList,
    /// A root of the VPN concentrators' certificates.
    VpnRoot,
}

impl Subject {
    /// What stops working, German and English.
    pub fn effect(self) -> [&'static str; 2] {
        match self {
            Subject::Tunnel => [
                "Kein Tunnel in die TI: kein VSDM, kein E-Rezept, keine eAU, keine KIM",
                "no tunnel into the TI: no VSDM, e-prescription, eAU or KIM",
            ],
            Subject::Clients => [
                "Praxissoftware lehnt die Verbindung zum Konnektor ab",
                "practice systems refuse the Konnektor",
            ],
            Subject::Terminals => [
                "Kartenterminals mit Uhr lehnen den Konnektor ab",
                "card terminals with a clock refuse the Konnektor",
            ],
            Subject::Batch => [
                "Keine Stapel- und keine Komfortsignatur",
                "no batch and no comfort signature",
            ],
            Subject::Registration => [
                "Der VPN-Zugangsdienst sperrt die Anmeldung: kein Tunnel in die TI",
                "the VPN access service blocks the registration: no tunnel into the TI",
            ],
            Subject::SmbAut => [
                "Die SMC-B meldet sich bei keinem Dienst mehr an",
                "the SMC-B logs in to no service any more",
            ],
            Subject::SmbOsig => [
                "Die SMC-B signiert nicht mehr und meldet den Konnektor nicht mehr an",
                "the SMC-B signs no more and registers the Konnektor no more",
            ],
            Subject::SmbEnc => [
                "Niemand verschlüsselt mehr für die Praxis (KIM)",
                "nobody enciphers for the practice any more (KIM)",
            ],
            Subject::Hba => [
                "Der HBA signiert keine E-Rezepte und eAU mehr",
                "the HBA signs no e-prescriptions and eAU any more",
            ],
            Subject::Terminal => [
                "Das Kartenterminal wird nicht mehr verbunden",
                "the card terminal is not connected any more",
            ],
            Subject::CardCvc => [
                "Die Karte schaltet keine anderen Karten mehr frei",
                "the card unlocks no other cards any more",
            ],
            Subject::TrustList => [
                "Nach der Nachfrist wird kein Zertifikat mehr geprüft und keine Karte mehr gelesen",
                "after the grace period no certificate is judged and no card is read",
            ],
            Subject::TrustAnchor => [
                "Keine neue TSL wird mehr angenommen",
                "no new trust list is taken",
            ],
            Subject::DnssecAnchor => [
                "Namen der TI werden nicht mehr aufgelöst",
                "names of the TI are not resolved any more",
            ],
            Subject::RevocationList => ["Kein Aufbau von Tunneln", "no new tunnels"],
            Subject::TrustedList => [
                "Qualifizierte Signaturen können nicht geprüft werden",
                "qualified signatures cannot be judged",
            ],
            Subject::VpnRoot => [
                "VPN-Konzentratoren unter dieser Wurzel werden nicht mehr anerkannt",
                "VPN concentrators below this root are not believed any more",
            ],
        }
    }

    /// What to do, German and English.
    pub fn remedy(self) -> [&'static str; 2] {
        match self {
            Subject::Tunnel | Subject::Clients | Subject::Terminals | Subject::Batch => [
                "Der Konnektor verlängert von selbst; bleibt das aus, Paket von Hand einspielen",
                "the Konnektor extends by itself; if it does not, import the package by hand",
            ],
            Subject::Registration => [
                "Eine länger gültige SMC-B stecken und freischalten, dann neu registrieren",
                "insert and unlock an SMC-B that lasts longer, then register again",
            ],
            Subject::SmbAut | Subject::SmbOsig | Subject::SmbEnc => {
                ["Neue SMC-B beim Anbieter bestellen", "order a new SMC-B"]
            }
            Subject::Hba => ["Neuen HBA beim Anbieter bestellen", "order a new HBA"],
            Subject::Terminal => [
                "Neue gSMC-KT bestellen, einsetzen und neu koppeln",
                "order a new gSMC-KT, insert it and pair again",
            ],
            Subject::CardCvc => ["Karte ersetzen", "replace the card"],
            Subject::TrustList | Subject::RevocationList | Subject::TrustedList => [
                "Der Konnektor lädt sie von selbst; bleibt das aus, von Hand einspielen",
                "the Konnektor downloads it by itself; if it does not, import it by hand",
            ],
            Subject::TrustAnchor | Subject::DnssecAnchor => [
                "Die TSL kündigt den nächsten an; bleibt das aus, von Hand wechseln",
                "the trust list announces the next one; if it does not, change it by hand",
            ],
            Subject::VpnRoot => ["Kommt mit der TSL", "comes with the trust list"],
        }
    }
}

/// One end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// What kind of thing.
    pub subject: Subject,
    /// Which one, for people: `C.NK.VPN_ECC, Generation 1`.
    pub name: String,
    /// Serial number of the card it is on, if it is on one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iccsn: Option<String>,
    /// When it ends, Unix seconds.
    pub end: i64,
    /// Does anything depend on it, or has something else taken its place already?
    pub in_use: bool,
}

/// The step of the ladder that an end has reached: days; 0 when it is past.
pub fn rung(end: i64, now: i64) -> Option<i64> {
    let left = end - now;
    if left < 0 {
        return Some(0);
    }
    LADDER.into_iter().rev().find(|days| left <= days * DAY)
}

/// Sorts by what ends first, and of two of the same by name.
pub fn sort(entries: &mut [Entry]) {
    entries.sort_by(|a, b| (a.end, &a.name).cmp(&(b.end, &b.name)));
}

/// The list as an iCalendar feed (RFC 5545): a whole day for each end that something depends on, with alarms along the ladder.
/// Numbers of cards stay out: calendars are shared.
pub fn icalendar(entries: &[Entry], host: &str, now: Timestamp) -> String {
    let mut out = String::from("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//Langlauf//Konnektor//DE\r\n");
    line(&mut out, "X-WR-CALNAME", &format!("Konnektor {host}"));
    let stamp = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    for entry in entries.iter().filter(|entry| entry.in_use) {
        let Ok(end) = Timestamp::from_second(entry.end) else {
            continue;
        };
        let id = crypto::sha256([entry.name.as_bytes(), host.as_bytes(), &entry.end.to_be_bytes()]);
        let id = hex::encode(id.get(..12).unwrap_or_default());
        let [effect, _] = entry.subject.effect();
        let [remedy, _] = entry.subject.remedy();
        out += "BEGIN:VEVENT\r\n";
        line(&mut out, "UID", &format!("{id}@langlauf"));
        line(&mut out, "DTSTAMP", &stamp);
        line(
            &mut out,
            "DTSTART;VALUE=DATE",
            &end.strftime("%Y%m%d").to_string(),
        );
        line(&mut out, "SUMMARY", &text(&format!("{} endet", entry.name)));
        line(&mut out, "DESCRIPTION", &text(&format!("{effect}. {remedy}.")));
        for days in LADDER {
            out += "BEGIN:VALARM\r\nACTION:DISPLAY\r\n";
            line(&mut out, "TRIGGER", &format!("-P{days}D"));
            line(&mut out, "DESCRIPTION", &text(&entry.name));
            out += "END:VALARM\r\n";
        }
        out += "END:VEVENT\r\n";
    }
    out + "END:VCALENDAR\r\n"
}

/// TEXT as RFC 5545 escapes it.
fn text(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace(';', "\\;")
        .replace(',', "\\,")
        .replace(['\n', '\r'], " ")
}

/// A line, folded after 75 octets at a character's border.
fn line(out: &mut String, name: &str, value: &str) {
    let whole = format!("{name}:{value}");
    let mut length = 0;
    for letter in whole.chars() {
        if length + letter.len_utf8() > 74 {
            out.push_str("\r\n ");
            length = 1;
        }
        length += letter.len_utf8();
        // writing to a string cannot fail
        let _ = out.write_char(letter);
    }
    out.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Six years of one end: silence, six steps, then past; every step is reached, none goes back.
    #[test]
    fn the_ladder_is_climbed_once() {
        let end = 2_000_000_000;
        let mut seen = vec![None];
        for day in (-6 * 365..30).map(|day| end + day * DAY) {
            let rung = rung(end, day);
            if seen.last() != Some(&rung) {
                seen.push(rung);
            }
        }
        let expected = [
            None,
            Some(180),
            Some(120),
            Some(60),
            Some(30),
            Some(14),
            Some(7),
            Some(0),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn the_feed_folds_and_escapes_and_names_no_card() {
        let entry = Entry {
            subject: Subject::Hba,
            name: "HBA; Dr. Spur, Straße ".repeat(5),
            iccsn: Some("80276009990000000003".into()),
            end: 1_900_000_000,
            in_use: true,
        };
        let old = Entry {
            in_use: false,
            ..entry.clone()
        };
        let feed = icalendar(&[entry, old], "konnektor", Timestamp::UNIX_EPOCH);
        assert_eq!(feed.matches("BEGIN:VEVENT").count(), 1);
        assert_eq!(feed.matches("BEGIN:VALARM").count(), LADDER.len());
        assert!(feed.split("\r\n").all(|line| line.len() <= 75));
        assert!(feed.contains("HBA\\; Dr. Spur\\,"));
        assert!(!feed.contains("8027600999"));
    }
}
