//! What travels between Konnektor and terminal: envelopes over TLS, events in them, discovery datagrams (SICCT 6, 7).

use asn1::tlv;
use base::id::Mac;
use base::limits;
use std::net::Ipv4Addr;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes that are no SICCT.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The connection broke.
    #[error("connection: {0}")]
    Io(#[from] std::io::Error),
    /// A message type nobody knows.
    #[error("unknown message type {0:02X}")]
    Kind(u8),
    /// More than [`limits::SICCT_PAYLOAD`].
    #[error("message of {0} bytes is too long")]
    TooLong(usize),
    /// A datagram that is no discovery message.
    #[error("not a discovery message")]
    Datagram,
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    Command = 0x6B,
    Response = 0x83,
    Event = 0x50,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Command, response or event.
    pub kind: Kind,
    /// 0 is the terminal, 1 and up a contact slot.
    pub address: u16,
    /// Pairs responses with commands.
    pub sequence: u16,
    /// APDU or event objects.
    pub payload: Vec<u8>,
}

/// Length of the head before every message.
pub const HEAD: usize = 10;
/// Highest sequence number of a command; events have higher ones.
pub const LAST_COMMAND: u16 = 0xFCFF;

impl Envelope {
    /// Head and payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![self.kind as u8];
        out.extend(self.address.to_be_bytes());
        out.extend(self.sequence.to_be_bytes());
        out.push(0);
        out.extend((self.payload.len() as u32).to_be_bytes());
        out.extend_from_slice(&self.payload);
        out
    }

    /// Reads the head: the message without its payload, and the payload's length.
    pub fn parse_head(head: &[u8; HEAD]) -> Result<(Self, usize), WireError> {
        let [kind, a1, a2, s1, s2, _, l1, l2, l3, l4] = *head;
        let kind = match kind {
            0x6B => Kind::Command,
            0x83 => Kind::Response,
            0x50 => Kind::Event,
            other => return Err(WireError::Kind(other)),
        };
        let length = u32::from_be_bytes([l1, l2, l3, l4]) as usize;
        if length > limits::SICCT_PAYLOAD {
            return Err(WireError::TooLong(length));
        }
        let envelope = Self {
            kind,
            address: u16::from_be_bytes([a1, a2]),
            sequence: u16::from_be_bytes([s1, s2]),
            payload: Vec::new(),
        };
        Ok((envelope, length))
    }

    /// Reads one message from a connection; `None` at its orderly end.
    pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<Self>, WireError> {
        let mut head = [0; HEAD];
        let mut filled = 0;
        while filled < HEAD {
            match stream.read(head.get_mut(filled..).unwrap_or_default()).await? {
                0 if filled == 0 => return Ok(None),
                0 => return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()),
                n => filled += n,
            }
        }
        let (mut envelope, length) = Self::parse_head(&head)?;
        envelope.payload = vec![0; length];
        stream.read_exact(&mut envelope.payload).await?;
        Ok(Some(envelope))
    }
}

/// An event of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Event {
    KeepAlive,
    SignOff,
    CardInserted(u16),
    CardRemoved(u16),
    ProtocolError(u8),
}

impl Event {
    /// The event objects of a message; unknown ones are skipped.
    pub fn parse_all(payload: &[u8]) -> Vec<Event> {
        let objects = tlv::read_all(payload).unwrap_or_default();
        objects
            .iter()
            .filter_map(|object| match (object.tag, object.value) {
                (0x80, _) => Some(Event::KeepAlive),
                (0x81, _) => Some(Event::SignOff),
                (0x84, [high, low]) => Some(Event::CardInserted(u16::from_be_bytes([*high, *low]))),
                (0x85, [high, low]) => Some(Event::CardRemoved(u16::from_be_bytes([*high, *low]))),
                (0x86, [code, ..]) => Some(Event::ProtocolError(*code)),
                _ => None,
            })
            .collect()
    }

    /// As an object.
    pub fn encode(self) -> Vec<u8> {
        match self {
            Event::KeepAlive => tlv::encode(0x80, &[0, 0]),
            Event::SignOff => tlv::encode(0x81, &[0, 0]),
            Event::CardInserted(unit) => tlv::encode(0x84, &unit.to_be_bytes()),
            Event::CardRemoved(unit) => tlv::encode(0x85, &unit.to_be_bytes()),
            Event::ProtocolError(code) => tlv::encode(0x86, &[code]),
        }
    }
}

/// A terminal that says where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// Protocol version, major and minor.
    pub version: (u8, u8),
    /// Its address.
    pub address: Ipv4Addr,
    /// Its MAC address: recognition only, anybody can write it.
    pub mac: Mac,
    /// Its host name, at most 32 characters.
    pub name: String,
    /// Port of its SICCT service.
    pub port: u16,
}

impl Announcement {
    /// As a datagram.
    pub fn encode(&self) -> Vec<u8> {
        tlv::nest(
            0xA1,
            [
                tlv::encode(0x80, &[self.version.0, self.version.1]),
                tlv::encode(0x81, &self.address.octets()),
                tlv::encode(0x83, &self.mac.0),
                tlv::encode(0x84, self.name.as_bytes()),
                tlv::encode(0x82, &self.port.to_be_bytes()),
                tlv::nest(0xA3, [tlv::encode(0x8A, &[0x30])]),
            ],
        )
    }

    /// From a datagram.
    pub fn parse(datagram: &[u8]) -> Result<Self, WireError> {
        let inside = tlv::find(datagram, 0xA1).ok_or(WireError::Datagram)?;
        let field = |tag| tlv::find(inside, tag).ok_or(WireError::Datagram);
        let array = |bytes: &[u8]| <[u8; 4]>::try_from(bytes).map_err(|_| WireError::Datagram);
        let name = String::from_utf8(field(0x84)?.to_vec()).map_err(|_| WireError::Datagram)?;
        let printable = name.len() <= 32 && name.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
        match (field(0x80)?, field(0x82)?) {
            ([major, minor], [high, low]) if *major == 1 && printable => Ok(Self {
                version: (*major, *minor),
                address: array(field(0x81)?)?.into(),
                mac: Mac(field(0x83)?.try_into().map_err(|_| WireError::Datagram)?),
                name,
                port: u16::from_be_bytes([*high, *low]),
            }),
            _ => Err(WireError::Datagram),
        }
    }
}

/// The datagram that asks for terminals; they answer to `address`:`port`.
pub fn encode_search(address: Ipv4Addr, port: u16) -> Vec<u8> {
    tlv::nest(
        0xA0,
        [
            tlv::encode(0x80, &[1, 0x1E]),
            tlv::encode(0x81, &address.octets()),
            tlv::encode(0x82, &port.to_be_bytes()),
        ],
    )
}

/// Where an asker wants the answer, if this is a search of a version we speak.
pub fn parse_search(datagram: &[u8]) -> Result<(Ipv4Addr, u16), WireError> {
    let inside = tlv::find(datagram, 0xA0).ok_or(WireError::Datagram)?;
    match tlv::find(inside, 0x80) {
        Some([1, _]) => {}
        _ => return Err(WireError::Datagram),
    }
    let address = tlv::find(inside, 0x81).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
    let port = match tlv::find(inside, 0x82) {
        Some([high, low]) => u16::from_be_bytes([*high, *low]),
        Some(_) => return Err(WireError::Datagram),
        None => 4742,
    };
    Ok((address.ok_or(WireError::Datagram)?.into(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn envelopes_round_trip_and_truncated_ones_are_errors() {
        let envelope = Envelope {
            kind: Kind::Command,
            address: 2,
            sequence: 7,
            payload: vec![0, 0xA4, 4, 0x0C],
        };
        let bytes = envelope.encode();
        assert_eq!(Envelope::read(&mut &bytes[..]).await.unwrap().unwrap(), envelope);
        assert!(Envelope::read(&mut &[][..]).await.unwrap().is_none());
        for cut in 1..bytes.len() {
            assert!(Envelope::read(&mut &bytes[..cut]).await.is_err(), "{cut}");
        }
        let mut long = bytes.clone();
        long[6] = 0xFF;
        assert!(matches!(
            Envelope::read(&mut &long[..]).await,
            Err(WireError::TooLong(_))
        ));
        assert!(matches!(
            Envelope::read(&mut &[9u8; 20][..]).await,
            Err(WireError::Kind(9))
        ));
    }

    #[test]
    fn discovery_round_trip() {
        let announcement = Announcement {
            version: (1, 0x1E),
            address: Ipv4Addr::LOCALHOST,
            mac: Mac([2, 0, 0, 0, 0, 1]),
            name: "KT-1".into(),
            port: 4742,
        };
        assert_eq!(Announcement::parse(&announcement.encode()).unwrap(), announcement);
        let search = encode_search(Ipv4Addr::LOCALHOST, 5000);
        assert_eq!(parse_search(&search).unwrap(), (Ipv4Addr::LOCALHOST, 5000));
        assert!(Announcement::parse(&search).is_err());
        assert!(parse_search(b"\xA0\x04\x80\x02\x02\x00").is_err());
    }
}
