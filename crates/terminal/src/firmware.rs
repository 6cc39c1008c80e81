//! A terminal's firmware over SICCT (5.23 to 5.25): INIT, block by block, FINISH, in an administrator's session. What is in it,
//! and whether it is right, the terminal judges itself (gemSpec_KT TIP1-A_2976): these are bytes.

use crate::command::{self, sw};
use crate::{Session, TerminalError};
use asn1::tlv;
use card::{Command, Response};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Largest firmware, bytes.
pub const LARGEST: u64 = 256 << 20;
/// Least and most time that a terminal gets for a block, or for its end; some erase flash meanwhile.
const TIMES: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(900));
/// What a terminal may have for a block that says no limit: SICCT's shortest envelope.
const LEAST_BLOCK: usize = 256;
/// Largest block, whatever a terminal says: its command is a message.
const LARGEST_BLOCK: usize = 65_000;

/// What a terminal says between the blocks (DLPARAM).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameters {
    /// How long the next answer may take.
    pub wait: Duration,
    /// Bytes of the next block.
    pub block: usize,
}

/// How it ends (DLTERM).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Finish {
    /// How long it may take from here.
    pub wait: Duration,
    /// The connection must be closed.
    pub close: bool,
    /// It must be told to start again (RESET CT).
    pub reset: bool,
    /// It starts again by itself.
    pub restarts: bool,
    /// A person must help.
    pub by_hand: bool,
}

/// One or two bytes.
fn number(value: &[u8]) -> Option<u16> {
    match *value {
        [] => Some(0),
        [low] => Some(low.into()),
        [high, low] => Some(u16::from_be_bytes([high, low])),
        _ => None,
    }
}

/// Both octet strings of data object 73.
fn pair(answer: &[u8]) -> Option<[u16; 2]> {
    let fields = tlv::read_all(tlv::find(answer, 0x73)?).ok()?;
    let mut numbers = fields.iter().filter(|field| field.tag == 0x04);
    let mut next = || number(numbers.next()?.value);
    Some([next()?, next()?])
}

/// Zero stops the terminal's watch, not ours.
fn wait(seconds: u16) -> Duration {
    match seconds {
        0 => TIMES.1,
        seconds => Duration::from_secs(seconds.into()).clamp(TIMES.0, TIMES.1),
    }
}

impl Parameters {
    /// From the answer to INIT or DATA.
    pub fn parse(answer: &[u8]) -> Option<Self> {
        let [seconds, block] = pair(answer)?;
        let block = match block {
            0 => LEAST_BLOCK,
            block => usize::from(block).clamp(LEAST_BLOCK, LARGEST_BLOCK),
        };
        Some(Self {
            wait: wait(seconds),
            block,
        })
    }

    /// The same as an answer.
    pub fn encode(&self) -> Vec<u8> {
        let (seconds, block) = (self.wait.as_secs() as u16, self.block as u16);
        objects([seconds, block])
    }
}

impl Finish {
    /// From the answer to FINISH.
    pub fn parse(answer: &[u8]) -> Option<Self> {
        let [seconds, condition] = pair(answer)?;
        let bit = |number: u16| condition & 1 << number != 0;
        Some(Self {
            wait: wait(seconds),
            close: bit(0),
            reset: bit(1),
            restarts: bit(2),
            by_hand: bit(3),
        })
    }

    /// The same as an answer.
    pub fn encode(&self) -> Vec<u8> {
        let bits = [self.close, self.reset, self.restarts, self.by_hand];
        let condition = bits.iter().rev().fold(0, |all, bit| all << 1 | u16::from(*bit));
        objects([self.wait.as_secs() as u16, condition])
    }
}

fn objects(numbers: [u16; 2]) -> Vec<u8> {
    tlv::nest(
        0x73,
        numbers.map(|number| tlv::encode(0x04, &number.to_be_bytes())),
    )
}

fn refused(step: &'static str, response: &Response) -> TerminalError {
    TerminalError::Refused {
        step,
        word: response.sw,
    }
}

/// Gives a terminal its firmware, in a session as administrator; `told` hears how many bytes have gone. After [`TerminalError::Timeout`]
/// it may be begun with again, in another session.
pub async fn download(
    session: &Session,
    mut firmware: impl AsyncRead + Unpin,
    told: impl Fn(u64),
) -> Result<Finish, TerminalError> {
    let begun = session.send(0, &command::download_init(), TIMES.1).await?;
    // "begun already" is a warning
    if !begun.is_ok() && begun.sw != sw::DOWNLOAD_BEGUN {
        return Err(refused("DOWNLOAD INIT", &begun));
    }
    let mut parameters = Parameters::parse(&begun.data).ok_or(TerminalError::Garbage)?;
    let (mut gone, mut block) = (0, Vec::new());
    loop {
        block.clear();
        let mut part = (&mut firmware).take(parameters.block as u64);
        let length = part.read_to_end(&mut block).await;
        let length = length.map_err(|error| TerminalError::Firmware(error.to_string()))?;
        if length == 0 {
            break;
        }
        let answer = session
            .send(0, &command::download_data(&block), parameters.wait)
            .await?;
        if !answer.is_ok() {
            return Err(refused("DOWNLOAD DATA", &answer));
        }
        gone += length as u64;
        told(gone);
        // who says nothing new means what was said before
        parameters = Parameters::parse(&answer.data).unwrap_or(parameters);
    }
    let last = parameters.wait.max(TIMES.1);
    let finished = match session.send(0, &command::download_finish(), last).await {
        // one that starts again at once takes its answer along; what it then says it is decides
        Err(TerminalError::Connection(_) | TerminalError::Timeout(_)) => {
            return Ok(Finish {
                wait: parameters.wait,
                restarts: true,
                ..Finish::default()
            });
        }
        answer => answer?,
    };
    if !finished.is_ok() {
        return Err(refused("DOWNLOAD FINISH", &finished));
    }
    let finish = Finish::parse(&finished.data).ok_or(TerminalError::Garbage)?;
    if finish.reset {
        // it ends the connection, and its answer with it
        let _ = session
            .send(0, &Command::new(0x80, 0x11, 0, 0), finish.wait)
            .await;
    }
    Ok(finish)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_says() {
        let one = Parameters::parse(&[0x73, 7, 0x04, 1, 30, 0x04, 2, 0x10, 0x00]).unwrap();
        assert_eq!(
            one,
            Parameters {
                wait: Duration::from_secs(30),
                block: 4096
            }
        );
        assert_eq!(Parameters::parse(&one.encode()), Some(one));
        // no limit of theirs is one of ours
        let none = Parameters::parse(&[0x73, 6, 0x04, 1, 0, 0x04, 1, 0]).unwrap();
        assert_eq!(
            none,
            Parameters {
                wait: TIMES.1,
                block: LEAST_BLOCK
            }
        );
        let most = Parameters::parse(&[0x73, 8, 0x04, 2, 0xFF, 0xFF, 0x04, 2, 0xFF, 0xFF]).unwrap();
        assert_eq!(
            most,
            Parameters {
                wait: TIMES.1,
                block: LARGEST_BLOCK
            }
        );
        for bad in [
            &[][..],
            &[0x73, 0],
            &[0x73, 3, 4, 1, 1],
            &[0x73, 8, 4, 3, 0, 0, 1, 4, 1, 1],
        ] {
            assert_eq!(Parameters::parse(bad), None, "{bad:02X?}");
        }
        let end = Finish::parse(&[0x73, 6, 0x04, 1, 60, 0x04, 1, 0b0100]).unwrap();
        assert!(end.restarts && !end.close && !end.reset && !end.by_hand);
        assert_eq!(Finish::parse(&end.encode()), Some(end));
        // an empty time is none
        assert!(Finish::parse(&[0x73, 5, 0x04, 0, 0x04, 1, 1]).unwrap().close);
    }
}
