//! A virtual card for PC/SC programs: the card's side of vsmartcard's `vpcd`, a driver that looks like a reader. Messages
//! are two bytes of length and the data; one byte is a control command, anything longer an APDU.

use crate::cos::VirtualCard;
use std::io::{ErrorKind, Read, Result, Write};

/// Port of the first reader.
pub const PORT: u16 = 35_963;

const POWER_OFF: u8 = 0x00;
const POWER_ON: u8 = 0x01;
const RESET: u8 = 0x02;
const GIVE_ATR: u8 = 0x04;

/// Lies in the reader at the other end of `driver` until that hangs up.
pub fn serve(card: &mut VirtualCard, mut driver: impl Read + Write) -> Result<()> {
    let mut atr = card.reset();
    loop {
        let mut length = [0; 2];
        match driver.read_exact(&mut length) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            other => other?,
        }
        // two bytes of length are the limit of the message
        let mut message = vec![0; u16::from_be_bytes(length).into()];
        driver.read_exact(&mut message)?;
        let answer = match message.as_slice() {
            [POWER_OFF | POWER_ON | RESET] => {
                atr = card.reset();
                continue;
            }
            [GIVE_ATR] => atr.clone(),
            [] | [_] => continue,
            apdu => card.process(apdu),
        };
        let length = u16::try_from(answer.len()).map_err(|_| ErrorKind::InvalidData)?;
        driver.write_all(&[&length.to_be_bytes()[..], &answer].concat())?;
    }
}
