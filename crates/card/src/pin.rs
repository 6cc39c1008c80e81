//! Passwords as the services speak of them: names, references, states, results (TUC_KON_022, TIP1-A_4567).

use crate::apdu::Command;
use crate::channel::{Channel, ChannelError};
use crate::inspect::CardKind;

/// A password on a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PinRef {
    /// Name on the wire (`PinTyp`).
    pub name: &'static str,
    /// Type of the card it lies on.
    pub kind: CardKind,
    /// Reference in commands.
    pub reference: u8,
    /// Application it lies in; `None` is the MF.
    pub application: Option<&'static [u8]>,
}

/// DF.QES of an HBA.
pub const AID_QES: &[u8] = &[0xD2, 0x76, 0x00, 0x00, 0x66, 0x01];

const fn mf(name: &'static str, kind: CardKind, reference: u8) -> PinRef {
    PinRef {
        name,
        kind,
        reference,
        application: None,
    }
}

/// Every password the services know, one row each.
pub const PINS: &[PinRef] = &[
    mf("PIN.CH", CardKind::Egk, 0x01),
    mf("MRPIN.home", CardKind::Egk, 0x02),
    mf("MRPIN.NFD", CardKind::Egk, 0x03),
    mf("MRPIN.DPE", CardKind::Egk, 0x04),
    mf("MRPIN.GDD", CardKind::Egk, 0x05),
    mf("MRPIN.NFD_READ", CardKind::Egk, 0x07),
    mf("MRPIN.DPE_READ", CardKind::Egk, 0x08),
    mf("MRPIN.OSE", CardKind::Egk, 0x09),
    mf("MRPIN.AMTS", CardKind::Egk, 0x0C),
    mf("PIN.AMTS_REP", CardKind::Egk, 0x0D),
    mf("PIN.CH", CardKind::Hba, 0x01),
    PinRef {
        name: "PIN.QES",
        kind: CardKind::Hba,
        reference: 0x81,
        application: Some(AID_QES),
    },
    mf("PIN.SMC", CardKind::SmcB, 0x01),
];

impl PinRef {
    /// The password with this name on a card of this type.
    pub fn find(kind: CardKind, name: &str) -> Option<PinRef> {
        PINS.iter()
            .copied()
            .find(|pin| pin.kind == kind && pin.name == name)
    }

    /// Selects the folder it lies in.
    pub async fn select(self, card: &dyn Channel) -> Result<(), ChannelError> {
        match self.application {
            Some(aid) => card.select(aid).await?,
            None => card.select_mf().await?,
        };
        Ok(())
    }

    /// Asks the card for its state.
    pub async fn status(self, card: &dyn Channel) -> Result<PinStatus, ChannelError> {
        self.select(card).await?;
        let answer = card
            .transmit(&Command::new(0x80, 0x20, 0x00, self.reference))
            .await?;
        Ok(PinStatus::from_word(answer.sw))
    }
}

/// State of a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PinStatus {
    /// Verified on this channel.
    Verified,
    /// Not verified; so many tries are left.
    Verifiable(u8),
    /// Still the manufacturer's transport PIN.
    TransportPin,
    /// No value yet.
    EmptyPin,
    /// No tries left.
    Blocked,
    /// Switched off.
    Disabled,
    /// The card has no such password, or answered something else.
    Unknown(u16),
}

impl PinStatus {
    fn from_word(word: u16) -> Self {
        match word {
            0x9000 => PinStatus::Verified,
            0x62C1 => PinStatus::TransportPin,
            0x62C7 => PinStatus::EmptyPin,
            0x62D0 => PinStatus::Disabled,
            0x63C0 => PinStatus::Blocked,
            0x63C1..=0x63CF => PinStatus::Verifiable((word & 0x0F) as u8),
            other => PinStatus::Unknown(other),
        }
    }

    /// Name on the wire (`PinStatusEnum`) and tries left.
    pub fn on_wire(self) -> Option<(&'static str, Option<u8>)> {
        match self {
            PinStatus::Verified => Some(("VERIFIED", None)),
            PinStatus::Verifiable(tries) => Some(("VERIFIABLE", Some(tries))),
            PinStatus::TransportPin => Some(("TRANSPORT_PIN", None)),
            PinStatus::EmptyPin => Some(("EMPTY_PIN", None)),
            PinStatus::Blocked => Some(("BLOCKED", Some(0))),
            PinStatus::Disabled => Some(("DISABLED", None)),
            PinStatus::Unknown(_) => None,
        }
    }
}

/// What a card said to a PIN that was typed at the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PinOutcome {
    /// Right.
    Ok,
    /// Wrong; so many tries are left.
    Rejected(u8),
    /// Wrong, and that was the last try.
    NowBlocked,
    /// It was blocked before.
    WasBlocked,
    /// Only a change is possible.
    TransportPin,
    /// New value too short or too long.
    BadLength,
    /// The access rules forbid it.
    Refused,
    /// Something else.
    Failed(u16),
}

impl PinOutcome {
    /// From the card's status word.
    pub fn from_word(word: u16) -> Self {
        match word {
            0x9000 => PinOutcome::Ok,
            0x63C0 => PinOutcome::NowBlocked,
            0x63C1..=0x63CF => PinOutcome::Rejected((word & 0x0F) as u8),
            0x6983 => PinOutcome::WasBlocked,
            0x6985 => PinOutcome::TransportPin,
            0x6982 => PinOutcome::Refused,
            other => PinOutcome::Failed(other),
        }
    }
}
