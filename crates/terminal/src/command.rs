//! The SICCT commands a Konnektor sends (SICCT 5, gemSpec_KT): builders, pure.

use asn1::tlv;
use base::id::SlotId;
use card::{Command, Expect};

/// Status words of a terminal beyond those of cards.
#[allow(missing_docs)]
pub mod sw {
    pub const TIMEOUT: u16 = 0x6400;
    pub const CANCELLED: u16 = 0x6401;
    pub const NEW_PINS_DIFFER: u16 = 0x6402;
    pub const NO_CARD: u16 = 0x64A1;
    pub const NOT_POWERED: u16 = 0x64A2;
    pub const NOT_ALLOWED: u16 = 0x6900;
    pub const NO_KONNEKTOR: u16 = 0x6901;
    pub const BUSY: u16 = 0x6941;
    pub const ALREADY_INSERTED: u16 = 0x6201;
    pub const NO_CARD_IN_TIME: u16 = 0x6200;
    pub const DOWNLOAD_BEGUN: u16 = 0x6200;
    pub const BAD_LOGIN: u16 = 0x6400;
    pub const ASYNCHRONOUS: u16 = 0x9001;
}

/// The first command of a connection.
pub const INIT_SESSION: &str = "INIT CT SESSION";

/// INIT CT SESSION; without a user for the ordinary role.
pub fn init_session(user: &str, password: &str) -> Command {
    let session = [
        tlv::encode(0x13, user.as_bytes()),
        tlv::encode(0x13, password.as_bytes()),
        tlv::encode(0x13, b""),
    ];
    Command::new(0x80, 0x28, 0, 0)
        .data(tlv::nest(0x69, session))
        .expect(Expect::AllShort)
}

/// CLOSE CT SESSION.
pub fn close_session() -> Command {
    Command::new(0x80, 0x29, 0, 0).data(tlv::nest(0x69, [[0x13, 0], [0x13, 0], [0x13, 0]]))
}

/// DOWNLOAD INIT: a new firmware comes.
pub fn download_init() -> Command {
    Command::new(0x80, 0x24, 0, 0).expect(Expect::AllShort)
}

/// DOWNLOAD DATA: a block of it.
pub fn download_data(block: &[u8]) -> Command {
    Command::new(0x80, 0x25, 0, 0)
        .data(tlv::encode(0x73, block))
        .expect(Expect::AllShort)
}

/// DOWNLOAD FINISH: that was all.
pub fn download_finish() -> Command {
    Command::new(0x80, 0x26, 0, 0).expect(Expect::AllShort)
}

/// GET STATUS of the slots (tag 80) or the manufacturer's data (46).
pub fn get_status(tag: u8) -> Command {
    Command::new(0x80, 0x13, 0, tag).expect(Expect::AllShort)
}

/// RESET ICC with the ATR as answer.
pub fn reset_card(slot: SlotId) -> Command {
    Command::new(0x80, 0x11, slot.number(), 0x01).expect(Expect::AllShort)
}

/// REQUEST ICC: wait for a card, `seconds` at most, showing a text.
pub fn request_card(slot: SlotId, text: Option<&str>, seconds: u8) -> Command {
    waiting(0x12, slot, text, seconds).expect(Expect::AllShort)
}

/// EJECT ICC.
pub fn eject_card(slot: SlotId, text: Option<&str>, seconds: u8) -> Command {
    waiting(0x15, slot, text, seconds)
}

fn waiting(ins: u8, slot: SlotId, text: Option<&str>, seconds: u8) -> Command {
    let mut data = text
        .map(|text| tlv::encode(0x50, &encode_text(text)))
        .unwrap_or_default();
    data.extend(tlv::encode(0x80, &[seconds]));
    let show = if text.is_some() { 0x01 } else { 0xF1 };
    Command::new(0x80, ins, slot.number(), show).data(data)
}

/// OUTPUT: shows a text, or clears the display.
pub fn output(text: &str) -> Command {
    Command::new(0x80, 0x17, 0x40, 0x00).data(tlv::encode(0x50, &encode_text(text)))
}

/// A PIN to be typed at the terminal.
#[derive(Debug, Clone)]
pub struct PinTemplate {
    /// Control byte of the CMD DO: digits and coding.
    pub control: u8,
    /// Insert positions, counted from 1 at CLA.
    pub positions: Vec<u8>,
    /// The command to the card with place for the blocks.
    pub apdu: Vec<u8>,
    /// Does the terminal give the card's answer back, because it is a cryptogram?
    answers: bool,
}

const EMPTY_BLOCK: [u8; 8] = [0x20, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];

impl PinTemplate {
    /// VERIFY.
    pub fn verify(reference: u8) -> Self {
        Self {
            control: 0x02,
            positions: vec![0x06],
            apdu: one_block(0x20, 0, reference),
            answers: false,
        }
    }

    /// ENABLE (28) or DISABLE (26) VERIFICATION REQUIREMENT.
    pub fn requirement(on: bool, reference: u8) -> Self {
        let ins = if on { 0x28 } else { 0x26 };
        Self {
            control: 0x02,
            positions: vec![0x06],
            apdu: one_block(ins, 0, reference),
            answers: false,
        }
    }

    /// CHANGE REFERENCE DATA with old and new value.
    pub fn change(reference: u8) -> Self {
        Self {
            control: 0x66,
            positions: vec![0x06, 0x0E],
            apdu: two_blocks(0x24, reference),
            answers: false,
        }
    }

    /// CHANGE REFERENCE DATA of a password without a value.
    pub fn first_value(reference: u8) -> Self {
        Self {
            control: 0x66,
            positions: vec![0x00, 0x06],
            apdu: one_block(0x24, 0x01, reference),
            answers: false,
        }
    }

    /// RESET RETRY COUNTER with PUK, and a new value if asked for.
    pub fn unblock(reference: u8, new_value: bool) -> Self {
        if new_value {
            Self {
                control: 0x66,
                positions: vec![0x06, 0x0E],
                apdu: two_blocks(0x2C, reference),
                answers: false,
            }
        } else {
            Self {
                control: 0x02,
                positions: vec![0x06],
                apdu: one_block(0x2C, 0x01, reference),
                answers: false,
            }
        }
    }

    /// The same PINs, but enciphered by the gSMC-KT of the terminal where they are typed (remote PIN, TIP1-A_5012): its
    /// answer is what the card elsewhere gets.
    pub fn enciphered(&self) -> Self {
        // PSO ENCIPHER; length and blocks stand where they stood
        let blocks = self.apdu.get(4..).unwrap_or_default();
        Self {
            apdu: [&[0x00, 0x2A, 0x86, 0x80], blocks, &[0x00]].concat(),
            answers: true,
            ..self.clone()
        }
    }

    /// INS, P1 and P2 of the command to the card.
    pub fn header(&self) -> (u8, u8, u8) {
        match self.apdu.as_slice() {
            [_, ins, p1, p2, ..] => (*ins, *p1, *p2),
            _ => (0, 0, 0),
        }
    }

    fn command_object(&self) -> Vec<u8> {
        let mut value = vec![self.control];
        value.extend_from_slice(&self.positions);
        value.extend_from_slice(&self.apdu);
        tlv::encode(0x52, &value)
    }

    /// PERFORM VERIFICATION (one position) or MODIFY VERIFICATION DATA (two), with the texts in SICCT's order.
    pub fn command(&self, slot: SlotId, texts: &[String]) -> Command {
        let ins = if self.positions.len() == 1 { 0x18 } else { 0x19 };
        let mut data: Vec<u8> = texts
            .iter()
            .flat_map(|text| tlv::encode(0x50, &encode_text(text)))
            .collect();
        data.extend(self.command_object());
        // P2: keypad, every entry ends with the enter key
        let command = Command::new(0x80, ins, slot.number(), 0xD0).data(data);
        match self.answers {
            true => command.expect(Expect::AllShort),
            false => command,
        }
    }
}

fn one_block(ins: u8, p1: u8, reference: u8) -> Vec<u8> {
    [&[0x00, ins, p1, reference, 0x08][..], &EMPTY_BLOCK].concat()
}

fn two_blocks(ins: u8, reference: u8) -> Vec<u8> {
    [
        &[0x00, ins, 0x00, reference, 0x10][..],
        &EMPTY_BLOCK,
        &EMPTY_BLOCK,
    ]
    .concat()
}

/// Display text in ISO 646-DE. Characters the terminal cannot show become question marks.
pub fn encode_text(text: &str) -> Vec<u8> {
    text.chars()
        .map(|c| match c {
            'Ä' => 0x5B,
            'Ö' => 0x5C,
            'Ü' => 0x5D,
            'ä' => 0x7B,
            'ö' => 0x7C,
            'ü' => 0x7D,
            'ß' => 0x7E,
            '\u{0B}' | '\u{0F}' => c as u8,
            ' '..='Z' | 'a'..='z' | '_' | '^' | '`' => c as u8,
            _ => b'?',
        })
        .collect()
}

/// The reverse of [`encode_text`].
pub fn decode_text(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|b| match b {
            0x5B => 'Ä',
            0x5C => 'Ö',
            0x5D => 'Ü',
            0x7B => 'ä',
            0x7C => 'ö',
            0x7D => 'ü',
            0x7E => 'ß',
            other => char::from(*other),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_as_the_digest_prints_them() {
        assert_eq!(
            hex::encode(init_session("", "").encode().unwrap()),
            "802800000869061300130013 0000".replace(' ', "")
        );
        let verify = PinTemplate::verify(0x01);
        assert_eq!(
            hex::encode(verify.command_object()),
            "520f0206002000010820ffffffffffffff"
        );
        assert_eq!(
            hex::encode(verify.enciphered().command_object()),
            "52100206002a86800820ffffffffffffff00"
        );
        let change = PinTemplate::change(0x01).command_object();
        assert!(hex::encode(change).starts_with("521866060e0024000110"));
        assert!(
            hex::encode(PinTemplate::first_value(1).command_object())
                .starts_with("521066000600240101 08".replace(' ', "").as_str())
        );
    }

    #[test]
    fn umlauts() {
        assert_eq!(decode_text(&encode_text("Größe ÄÖÜ äöüß")), "Größe ÄÖÜ äöüß");
        assert_eq!(encode_text("€"), b"?");
    }
}
