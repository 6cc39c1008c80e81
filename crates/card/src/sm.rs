//! Secure messaging with AES (gemSpec_COS 13): both sides of it, used by the virtual card and by whoever talks to one.

use crate::apdu::{Command, Expect, Response};
use asn1::tlv;
use crypto::card::{self, BLOCK, SessionKeys};

/// Why a protected message was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SmError {
    /// A data object is missing or in the wrong place.
    #[error("secure messaging objects missing or malformed")]
    Objects,
    /// The MAC does not fit.
    #[error("secure messaging MAC wrong")]
    Mac,
    /// A key cannot be used.
    #[error("secure messaging key unusable")]
    Key,
}

impl From<crypto::Error> for SmError {
    fn from(_: crypto::Error) -> Self {
        SmError::Key
    }
}

/// A session: keys and send sequence counter.
#[derive(Clone)]
pub struct Session {
    keys: SessionKeys,
    counter: u128,
}

/// What the objects of a protected command said.
pub struct Unwrapped {
    /// The command inside.
    pub command: Command,
    /// Were its data encrypted?
    pub encrypted: bool,
}

impl Session {
    /// A fresh session; the counter starts at 0.
    pub fn new(keys: SessionKeys) -> Self {
        Self { keys, counter: 0 }
    }

    /// The counter goes on by one.
    pub fn step(&mut self) {
        self.counter = self.counter.wrapping_add(1);
    }

    /// Encrypts with the current counter: `01 || cryptogram`.
    pub fn encrypt(&self, data: &[u8]) -> Result<Vec<u8>, SmError> {
        let iv = card::encrypt_block(&self.keys.enc, &self.counter.to_be_bytes())?;
        let mut out = vec![0x01];
        out.extend(card::cbc_encrypt(&self.keys.enc, &iv, &card::pad(data))?);
        Ok(out)
    }

    /// Decrypts what [`Session::encrypt`] made.
    pub fn decrypt(&self, data: &[u8]) -> Result<Vec<u8>, SmError> {
        let [0x01, cryptogram @ ..] = data else {
            return Err(SmError::Objects);
        };
        let iv = card::encrypt_block(&self.keys.enc, &self.counter.to_be_bytes())?;
        let padded = card::cbc_decrypt(&self.keys.enc, &iv, cryptogram).map_err(|_| SmError::Objects)?;
        Ok(card::unpad(&padded).map_err(|_| SmError::Objects)?.to_vec())
    }

    /// MAC over the counter and `data`, which is padded here.
    pub fn mac(&self, data: &[u8]) -> Result<[u8; 8], SmError> {
        let mut input = self.counter.to_be_bytes().to_vec();
        input.extend_from_slice(data);
        Ok(card::mac8(&self.keys.mac, &card::pad(&input))?)
    }

    /// Protects a command: data encrypted, header and everything else under the MAC.
    pub fn wrap_command(&mut self, plain: &Command) -> Result<Command, SmError> {
        self.step();
        let mut objects = Vec::new();
        if !plain.data.is_empty() {
            objects.extend(tlv::encode(0x87, &self.encrypt(&plain.data)?));
        }
        match plain.expect {
            Expect::Nothing => {}
            Expect::AllShort => objects.extend(tlv::encode(0x97, &[0])),
            Expect::All => objects.extend(tlv::encode(0x97, &[0, 0])),
            Expect::Bytes(n) if n < 256 => objects.extend(tlv::encode(0x97, &[n as u8])),
            Expect::Bytes(n) => objects.extend(tlv::encode(0x97, &(n as u16).to_be_bytes())),
        }
        let mut command = Command::new(plain.cla | 0x0C, plain.ins, plain.p1, plain.p2);
        let mac = self.mac(&command_mac_input(command.header(), &objects))?;
        objects.extend(tlv::encode(0x8E, &mac));
        let long_answer = plain.expect != Expect::Nothing || objects.len() > 255;
        command = command.data(objects).expect(if long_answer {
            Expect::All
        } else {
            Expect::AllShort
        });
        Ok(command)
    }

    /// Checks and opens a protected command (the card's side).
    pub fn unwrap_command(&mut self, protected: &Command) -> Result<Unwrapped, SmError> {
        self.step();
        let objects = tlv::read_all(&protected.data).map_err(|_| SmError::Objects)?;
        let (mac, body) = objects.split_last().ok_or(SmError::Objects)?;
        let body_length: usize = body.iter().map(|object| object.raw.len()).sum();
        let body_bytes = protected.data.get(..body_length).ok_or(SmError::Objects)?;
        let expected = self.mac(&command_mac_input(protected.header(), body_bytes))?;
        if mac.tag != 0x8E || !card::same_mac(mac.value, &expected) {
            return Err(SmError::Mac);
        }
        let mut command = Command::new(protected.cla & !0x0C, protected.ins, protected.p1, protected.p2);
        let mut encrypted = false;
        for object in body {
            match (object.tag, object.value) {
                (0x87, cryptogram) => {
                    command.data = self.decrypt(cryptogram)?;
                    encrypted = true;
                }
                (0x81, plain) => command.data = plain.to_vec(),
                (0x97, [0]) => command.expect = Expect::AllShort,
                (0x97, [0, 0]) => command.expect = Expect::All,
                (0x97, [n]) => command.expect = Expect::Bytes((*n).into()),
                (0x97, [high, low]) => {
                    command.expect = Expect::Bytes(u16::from_be_bytes([*high, *low]).into())
                }
                _ => return Err(SmError::Objects),
            }
        }
        Ok(Unwrapped { command, encrypted })
    }

    /// Protects an answer (the card's side); encrypted if the access rule asks for it.
    pub fn wrap_response(&mut self, plain: &Response, encrypt: bool) -> Result<Response, SmError> {
        self.step();
        let mut objects = Vec::new();
        match (plain.data.is_empty(), encrypt) {
            (true, _) => {}
            (false, true) => objects.extend(tlv::encode(0x87, &self.encrypt(&plain.data)?)),
            (false, false) => objects.extend(tlv::encode(0x81, &plain.data)),
        }
        objects.extend(tlv::encode(0x99, &plain.sw.to_be_bytes()));
        let mac = self.mac(&objects)?;
        objects.extend(tlv::encode(0x8E, &mac));
        Ok(Response {
            data: objects,
            sw: plain.sw,
        })
    }

    /// Checks and opens a protected answer.
    pub fn unwrap_response(&mut self, protected: &Response) -> Result<Response, SmError> {
        self.step();
        let objects = tlv::read_all(&protected.data).map_err(|_| SmError::Objects)?;
        let (mac, body) = objects.split_last().ok_or(SmError::Objects)?;
        let body_length: usize = body.iter().map(|object| object.raw.len()).sum();
        let expected = self.mac(protected.data.get(..body_length).ok_or(SmError::Objects)?)?;
        if mac.tag != 0x8E || !card::same_mac(mac.value, &expected) {
            return Err(SmError::Mac);
        }
        let mut response = Response::sw(0);
        for object in body {
            match (object.tag, object.value) {
                (0x87, cryptogram) => response.data = self.decrypt(cryptogram)?,
                (0x81, plain) => response.data = plain.to_vec(),
                (0x99, [high, low]) => response.sw = u16::from_be_bytes([*high, *low]),
                _ => return Err(SmError::Objects),
            }
        }
        if response.sw == 0 {
            Err(SmError::Objects)
        } else {
            Ok(response)
        }
    }
}

/// Header, filled up to a block if objects follow, and the objects.
fn command_mac_input(header: [u8; 4], objects: &[u8]) -> Vec<u8> {
    if objects.is_empty() {
        return header.to_vec();
    }
    let mut input = card::pad(&header);
    debug_assert_eq!(input.len(), BLOCK);
    input.extend_from_slice(objects);
    input
}

#[cfg(test)]
mod tests {
    use super::*;
    use crypto::card::SessionStrength;

    fn pair() -> (Session, Session) {
        let keys = SessionKeys::derive(&[7; 64], SessionStrength::Aes128);
        (Session::new(keys.clone()), Session::new(keys))
    }

    #[test]
    fn all_cases_round_trip() {
        let (mut host, mut card) = pair();
        for command in [
            Command::new(0, 0xA4, 4, 0x0C),
            Command::new(0, 0xB0, 0x81, 0).expect(Expect::All),
            Command::new(0, 0xD6, 0x81, 0).data(vec![5; 700]),
            Command::new(0, 0x84, 0, 0).expect(Expect::Bytes(16)),
            Command::new(0, 0x88, 0, 0).data([9; 24]).expect(Expect::AllShort),
        ] {
            let protected = host.wrap_command(&command).unwrap();
            let parsed = Command::parse(&protected.encode().unwrap()).unwrap();
            assert_eq!(card.unwrap_command(&parsed).unwrap().command, command);
            let answer = Response {
                data: command.data.clone(),
                sw: 0x9000,
            };
            let protected = card.wrap_response(&answer, command.ins == 0x88).unwrap();
            assert_eq!(host.unwrap_response(&protected).unwrap(), answer);
        }
    }

    #[test]
    fn replay_and_change_are_refused() {
        let (mut host, mut card) = pair();
        let protected = host
            .wrap_command(&Command::new(0, 0xD6, 0x81, 0).data([1, 2, 3]))
            .unwrap();
        let mut changed = protected.clone();
        changed.p1 = 0x82;
        assert!(matches!(card.clone().unwrap_command(&changed), Err(SmError::Mac)));
        assert!(card.unwrap_command(&protected).is_ok());
        assert!(matches!(card.unwrap_command(&protected), Err(SmError::Mac)));
    }
}
