use std::fmt;

/// Expected length of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// No data expected.
    Nothing,
    /// Exactly so many bytes at most.
    Bytes(usize),
    /// As much as there is, 256 bytes at most (short Le 00).
    AllShort,
    /// As much as there is (extended Le 0000).
    All,
}

impl Expect {
    /// Most bytes the answer may have.
    pub fn limit(self) -> usize {
        match self {
            Expect::Nothing => 0,
            Expect::Bytes(n) => n,
            Expect::AllShort => 256,
            Expect::All => 65_536,
        }
    }
}

/// A command to a card or terminal (ISO 7816-4), short or extended.
#[derive(Clone, PartialEq, Eq)]
pub struct Command {
    /// Class byte.
    pub cla: u8,
    /// Instruction byte.
    pub ins: u8,
    /// First parameter.
    pub p1: u8,
    /// Second parameter.
    pub p2: u8,
    /// Data field, at most 65,535 bytes.
    pub data: Vec<u8>,
    /// Expected length.
    pub expect: Expect,
}

/// An APDU that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed APDU: {0}")]
pub struct BadApdu(&'static str);

impl Command {
    /// A command with neither data nor answer.
    pub fn new(cla: u8, ins: u8, p1: u8, p2: u8) -> Self {
        Self {
            cla,
            ins,
            p1,
            p2,
            data: Vec::new(),
            expect: Expect::Nothing,
        }
    }

    /// The same with a data field.
    pub fn data(mut self, data: impl Into<Vec<u8>>) -> Self {
        self.data = data.into();
        self
    }

    /// The same with an expected length.
    pub fn expect(mut self, expect: Expect) -> Self {
        self.expect = expect;
        self
    }

    /// The four header bytes.
    pub fn header(&self) -> [u8; 4] {
        [self.cla, self.ins, self.p1, self.p2]
    }

    /// Reads a command; all seven forms of ISO 7816-3.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadApdu> {
        let [cla, ins, p1, p2, body @ ..] = bytes else {
            return Err(BadApdu("header"));
        };
        let mut command = Self::new(*cla, *ins, *p1, *p2);
        match body {
            [] => {}
            [le] => command.expect = short_expect(*le),
            [0, high, low] => command.expect = extended_expect(*high, *low),
            [0, high, low, rest @ ..] => {
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                if length == 0 {
                    return Err(BadApdu("extended Lc"));
                }
                let (data, tail) = rest
                    .split_at_checked(length)
                    .ok_or(BadApdu("Lc beyond the end"))?;
                command.data = data.to_vec();
                command.expect = match tail {
                    [] => Expect::Nothing,
                    [high, low] => extended_expect(*high, *low),
                    _ => return Err(BadApdu("trailing bytes")),
                };
            }
            [0, ..] => return Err(BadApdu("Lc")),
            [lc, rest @ ..] => {
                let (data, tail) = rest
                    .split_at_checked(usize::from(*lc))
                    .ok_or(BadApdu("Lc beyond the end"))?;
                command.data = data.to_vec();
                command.expect = match tail {
                    [] => Expect::Nothing,
                    [le] => short_expect(*le),
                    _ => return Err(BadApdu("trailing bytes")),
                };
            }
        }
        Ok(command)
    }

    /// Writes the command in the shortest form. Data beyond 65,535 bytes are an error.
    pub fn encode(&self) -> Result<Vec<u8>, BadApdu> {
        let mut out = self.header().to_vec();
        let extended = self.data.len() > 255
            || matches!(self.expect, Expect::All)
            || matches!(self.expect, Expect::Bytes(n) if n > 255);
        let length = u16::try_from(self.data.len()).map_err(|_| BadApdu("data too long"))?;
        if extended {
            out.push(0);
        }
        if length > 0 {
            if extended {
                out.extend(length.to_be_bytes());
            } else {
                out.push(length as u8);
            }
            out.extend_from_slice(&self.data);
        }
        match (self.expect, extended) {
            (Expect::Nothing, _) => {}
            (Expect::Bytes(n), true) => out.extend((n as u16).to_be_bytes()),
            (Expect::Bytes(n), false) => out.push(n as u8),
            (Expect::AllShort | Expect::All, true) => out.extend([0, 0]),
            (Expect::AllShort | Expect::All, false) => out.push(0),
        }
        Ok(out)
    }
}

fn short_expect(le: u8) -> Expect {
    match le {
        0 => Expect::AllShort,
        n => Expect::Bytes(n.into()),
    }
}

fn extended_expect(high: u8, low: u8) -> Expect {
    match u16::from_be_bytes([high, low]) {
        0 => Expect::All,
        n => Expect::Bytes(n.into()),
    }
}

/// Data fields may hold PINs: debug output shows the header and the length only.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d] = self.header();
        write!(f, "{a:02X}{b:02X}{c:02X}{d:02X}+{}", self.data.len())
    }
}

/// A card's answer.
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    /// Data field.
    pub data: Vec<u8>,
    /// Status word.
    pub sw: u16,
}

impl Response {
    /// Only a status word.
    pub fn sw(sw: u16) -> Self {
        Self { data: Vec::new(), sw }
    }

    /// Data and 9000.
    pub fn ok(data: impl Into<Vec<u8>>) -> Self {
        Self {
            data: data.into(),
            sw: 0x9000,
        }
    }

    /// Reads an answer: at least the two status bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadApdu> {
        let (data, sw) = bytes
            .split_last_chunk::<2>()
            .ok_or(BadApdu("answer without status word"))?;
        Ok(Self {
            data: data.to_vec(),
            sw: u16::from_be_bytes(*sw),
        })
    }

    /// Writes the answer.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.data.clone();
        out.extend(self.sw.to_be_bytes());
        out
    }

    /// Is it 9000?
    pub fn is_ok(&self) -> bool {
        self.sw == 0x9000
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{:04X}", self.data.len(), self.sw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_round_trip() {
        for hex in [
            "00A4040C",
            "0084000010",
            "0084000000",
            "00A4040C06D27600000102",
            "00A4040406D2760000010200",
            "00B0840000FFFF",
            "00B08400000000",
            "002A00BE0001010000",
        ] {
            let mut bytes = hex::decode(hex).unwrap();
            if hex.starts_with("002A") {
                bytes = [&[0, 0x2A, 0, 0xBE, 0, 1, 1][..], &[7; 257], &[0, 0]].concat();
            }
            let command = Command::parse(&bytes).unwrap();
            assert_eq!(command.encode().unwrap(), bytes, "{command:?}");
        }
    }

    #[test]
    fn broken_apdus() {
        for hex in [
            "",
            "00A404",
            "00A4040C06D276",
            "00A4040C020102030405",
            "00A4040C0002",
            "00A4040C00000501",
        ] {
            assert!(Command::parse(&hex::decode(hex).unwrap()).is_err(), "{hex}");
        }
        assert!(Response::parse(&[0x90]).is_err());
    }
}
