//! What follows from a failed attempt, and when the next one comes: pure.

use base::Code;
use std::time::Duration;

/// Why an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The access service refuses us: not registered, on hold, our certificate revoked, or it is not who we asked for.
    Refused,
    /// The concentrator's certificate is revoked.
    PeerRevoked,
    /// The concentrator's certificate has ended.
    PeerExpired,
    /// Whether it is revoked cannot be said: no revocation list, or one that has ended.
    PeerUnknown,
    /// Nobody we believe has issued it, or its name is another.
    PeerNotTrusted,
    /// No suite in common.
    Proposal,
    /// It has no inner address for us.
    NoInnerAddress,
    /// No answer.
    NoAnswer,
    /// Its name has no address.
    NoName,
    /// The kernel or the daemon does not do what it should.
    Local,
    /// Something else.
    Other,
}

impl Reason {
    /// A report of charon's plugin error-notify.
    pub(crate) fn of_report(number: u32) -> Self {
        match number {
            2 | 16 => Reason::Refused,
            3 | 19 => Reason::PeerNotTrusted,
            8..=10 => Reason::Proposal,
            11 | 12 => Reason::Local,
            // 27: it keeps the IKE_SA, but builds no tunnel in it
            15 | 27 => Reason::NoInnerAddress,
            17 => Reason::PeerExpired,
            18 => Reason::PeerRevoked,
            6 | 7 | 20 | 21 => Reason::NoAnswer,
            23 => Reason::NoName,
            29 => Reason::PeerUnknown,
            _ => Reason::Other,
        }
    }

    /// Of several reports the one with the least of this says most.
    pub(crate) fn vagueness(self) -> u8 {
        match self {
            Reason::Other => 2,
            Reason::NoAnswer => 1,
            _ => 0,
        }
    }

    /// For the log and for people, German first.
    pub fn texts(self) -> [&'static str; 2] {
        match self {
            Reason::Refused => [
                "Der Zugangsdienst weist das Zertifikat dieses Konnektors ab; Registrierung prüfen",
                "the access service refuses this Konnektor's certificate; check the registration",
            ],
            Reason::PeerRevoked => [
                "Das Zertifikat des VPN-Konzentrators ist gesperrt",
                "the concentrator's certificate is revoked",
            ],
            Reason::PeerExpired => [
                "Das Zertifikat des VPN-Konzentrators ist abgelaufen",
                "the concentrator's certificate has ended",
            ],
            Reason::PeerUnknown => [
                "Ohne gültige Sperrliste ist der VPN-Konzentrator nicht prüfbar",
                "without a valid revocation list the concentrator cannot be judged",
            ],
            Reason::PeerNotTrusted => [
                "Der VPN-Konzentrator kann sich nicht ausweisen",
                "the concentrator cannot prove who it is",
            ],
            Reason::Proposal => [
                "Keine gemeinsamen Verschlüsselungsverfahren mit dem VPN-Konzentrator",
                "no suite in common with the concentrator",
            ],
            Reason::NoInnerAddress => [
                "Der Zugangsdienst vergibt keine innere Adresse",
                "the access service gives no inner address",
            ],
            Reason::NoAnswer => [
                "Der VPN-Konzentrator antwortet nicht (Internetleitung oder Anbieter)",
                "the concentrator does not answer (line or provider)",
            ],
            Reason::NoName => [
                "Der Name des VPN-Konzentrators wird nicht aufgelöst",
                "the concentrator's name has no address",
            ],
            Reason::Local => [
                "Der Tunnel lässt sich auf diesem Gerät nicht einrichten",
                "this device cannot set the tunnel up",
            ],
            Reason::Other => ["Der Tunnel kam nicht zustande", "the tunnel did not come up"],
        }
    }

    /// The specification's code when no place is left (4174, 4176), or for the revocation list (4173).
    pub fn code(self, service: crate::Service) -> Code {
        match (self, service) {
            (Reason::PeerUnknown, _) => Code::CRL_OUT_OF_DATE,
            (_, crate::Service::Ti) => Code::VPN_TI,
            (_, crate::Service::Sis) => Code::VPN_SIS,
        }
    }
}

/// The pause after a round in which every place has failed: it grows to five minutes (TIP1-A_4779), and is a little different for
/// every device, for after a provider's outage all of them come at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pause {
    rounds: u32,
}

/// The first pause and the longest.
const FIRST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(300);

impl Pause {
    /// The next one; `lot` is from 0 to 1, drawn by the device.
    pub fn next(&mut self, lot: f64) -> Duration {
        let grown = FIRST.saturating_mul(1 << self.rounds.min(10)).min(LONGEST);
        self.rounds = self.rounds.saturating_add(1);
        grown.mul_f64(0.5 + lot.clamp(0.0, 1.0) / 2.0)
    }

    /// It has worked.
    pub fn reset(&mut self) {
        self.rounds = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_five_minutes_and_differ() {
        let mut pause = Pause::default();
        let all: Vec<Duration> = (0..12).map(|_| pause.next(1.0)).collect();
        assert!(all.is_sorted());
        assert_eq!((all[0], all[11]), (FIRST, LONGEST));
        assert!(pause.next(0.0) < LONGEST);
        pause.reset();
        assert_eq!(pause.next(1.0), FIRST);
        // a lot that is none does no harm
        assert!(pause.next(f64::NAN.max(7.0)) <= LONGEST);
    }
}
