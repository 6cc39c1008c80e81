//! BER to DER, for what other implementations send: indefinite lengths, octet strings in pieces, lengths with leading
//! zeros. Real Konnektors and Bouncy Castle stream their CMS this way.

use crate::Error;
use std::borrow::Cow;

/// Deepest nesting of constructed objects.
const DEPTH: usize = 48;
const OCTET_STRING: u8 = 0x04;
const CONSTRUCTED: u8 = 0x20;

/// The same value with definite, shortest lengths and octet strings in one piece; borrowed if it is like that already.
/// The first object counts, what follows it is refused.
pub fn to_der(input: &[u8]) -> Result<Cow<'_, [u8]>, Error> {
    let object = Object::read(input, 0)?;
    if object.end != input.len() {
        return Err(Error::Malformed("bytes after the object"));
    }
    if object.is_der {
        return Ok(Cow::Borrowed(input));
    }
    let mut out = Vec::with_capacity(input.len());
    write(input, &mut out, 0)?;
    Ok(Cow::Owned(out))
}

/// The first object, where something may follow it.
pub fn first(input: &[u8]) -> Result<&[u8], Error> {
    let object = Object::read(input, 0)?;
    input.get(..object.end).ok_or(Error::Truncated("BER value"))
}

struct Object {
    /// Bytes of the tag.
    tag_length: usize,
    /// Where the value begins.
    start: usize,
    /// Where it ends, without end-of-contents.
    value_end: usize,
    /// Where the whole object ends.
    end: usize,
    constructed: bool,
    is_der: bool,
}

impl Object {
    fn read(input: &[u8], depth: usize) -> Result<Self, Error> {
        if depth > DEPTH {
            return Err(Error::Malformed("BER nested too deep"));
        }
        let byte = |position: usize| input.get(position).copied().ok_or(Error::Truncated("BER head"));
        let first = byte(0)?;
        let mut position = 1;
        if first & 0x1F == 0x1F {
            while byte(position)? & 0x80 != 0 {
                position += 1;
                if position > 4 {
                    return Err(Error::Malformed("BER tag"));
                }
            }
            position += 1;
        }
        let tag_length = position;
        let constructed = first & CONSTRUCTED != 0;
        let head = byte(position)?;
        position += 1;
        let segmented = first == OCTET_STRING | CONSTRUCTED;
        if head == 0x80 {
            if !constructed {
                return Err(Error::Malformed("indefinite length of a primitive"));
            }
            let start = position;
            loop {
                let rest = input.get(position..).unwrap_or_default();
                if let [0, 0, ..] = rest {
                    break;
                }
                position += Self::read(rest, depth + 1)?.end;
            }
            return Ok(Self {
                tag_length,
                start,
                value_end: position,
                end: position + 2,
                constructed,
                is_der: false,
            });
        }
        let (mut length, mut shortest) = (usize::from(head), true);
        if head > 0x80 {
            let count = usize::from(head & 0x7F);
            if count > 8 {
                return Err(Error::Malformed("BER length"));
            }
            length = 0;
            for index in 0..count {
                let next = byte(position)?;
                position += 1;
                shortest &= index > 0 || next != 0;
                length = length
                    .checked_mul(256)
                    .and_then(|length| length.checked_add(next.into()))
                    .ok_or(Error::Malformed("BER length"))?;
            }
            shortest &= length > 0x7F;
        }
        let start = position;
        let end = start
            .checked_add(length)
            .filter(|end| *end <= input.len())
            .ok_or(Error::Truncated("BER value"))?;
        let mut is_der = shortest && !segmented;
        if constructed {
            while position < end {
                let inner = Self::read(input.get(position..end).unwrap_or_default(), depth + 1)?;
                is_der &= inner.is_der;
                position += inner.end;
            }
        }
        Ok(Self {
            tag_length,
            start,
            value_end: end,
            end,
            constructed,
            is_der,
        })
    }
}

/// Writes the first object of `input` as DER and tells its length there. The outer object was read before, so nothing
/// here is deeper than allowed; each level is scanned once more than the one around it, which the depth bounds.
fn write(input: &[u8], out: &mut Vec<u8>, depth: usize) -> Result<usize, Error> {
    let object = Object::read(input, depth)?;
    let slice = |range: std::ops::Range<usize>| input.get(range).unwrap_or_default();
    if object.is_der {
        out.extend_from_slice(slice(0..object.end));
        return Ok(object.end);
    }
    let tag = slice(0..object.tag_length);
    let value = slice(object.start..object.value_end);
    if !object.constructed {
        head(tag, value.len(), out);
        out.extend_from_slice(value);
        return Ok(object.end);
    }
    let mut inner = Vec::with_capacity(value.len());
    if tag == [OCTET_STRING | CONSTRUCTED] {
        octets(value, &mut inner, depth + 1)?;
        head(&[OCTET_STRING], inner.len(), out);
    } else {
        let mut rest = value;
        while !rest.is_empty() {
            let length = write(rest, &mut inner, depth + 1)?;
            rest = rest.get(length..).unwrap_or_default();
        }
        head(tag, inner.len(), out);
    }
    out.append(&mut inner);
    Ok(object.end)
}

/// The pieces of an octet string, put together.
fn octets(mut pieces: &[u8], out: &mut Vec<u8>, depth: usize) -> Result<(), Error> {
    while !pieces.is_empty() {
        let piece = Object::read(pieces, depth)?;
        let value = pieces.get(piece.start..piece.value_end).unwrap_or_default();
        match pieces.first() {
            Some(&OCTET_STRING) => out.extend_from_slice(value),
            Some(tag) if *tag == OCTET_STRING | CONSTRUCTED => octets(value, out, depth + 1)?,
            _ => return Err(Error::Malformed("octet string in pieces")),
        }
        pieces = pieces.get(piece.end..).unwrap_or_default();
    }
    Ok(())
}

/// What an implicitly tagged octet string (`[n] IMPLICIT OCTET STRING`) holds: its value, or in DER the pieces of a
/// constructed one, which only the reader who knows the type can put together.
pub fn implicit_octets(constructed: bool, value: &[u8]) -> Result<Cow<'_, [u8]>, Error> {
    if !constructed {
        return Ok(Cow::Borrowed(value));
    }
    let mut whole = Vec::with_capacity(value.len());
    octets(value, &mut whole, 0)?;
    Ok(Cow::Owned(whole))
}

fn head(tag: &[u8], length: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(tag);
    crate::tlv::write_length(length, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indefinite_lengths_and_pieces() {
        // SEQUENCE { [0] { OCTET STRING { "ab", "c" } }, INTEGER 1 }, streamed
        let streamed = hex::decode("3080A0802480040261620401630000000002010100 00".replace(' ', "")).unwrap();
        let der = to_der(&streamed).unwrap();
        assert_eq!(hex::encode(&der), "300aa0050403616263020101");
        assert!(matches!(to_der(&der).unwrap(), Cow::Borrowed(_)));
        // a length longer than needed
        assert_eq!(
            &to_der(&hex::decode("3081020500").unwrap()).unwrap()[..],
            [0x30, 2, 5, 0]
        );
    }

    #[test]
    fn hostile_input_is_an_error() {
        for bytes in [
            "",
            "30",
            "3080",
            "30800000 00",
            "0480",
            "3005",
            "24800201010000",
            "30FF",
            "3088FFFFFFFFFFFFFFFF",
        ] {
            assert!(
                to_der(&hex::decode(bytes.replace(' ', "")).unwrap()).is_err(),
                "{bytes}"
            );
        }
        assert!(to_der(&[0x30, 0x80].repeat(100_000)).is_err());
    }

    /// A CMS of indefinite length in the gap of a PDF, with zeros behind it.
    #[test]
    fn filling_is_no_part_of_the_first_object() {
        let padded = [0x30, 0x80, 0x02, 0x01, 0x05, 0, 0, 0, 0, 0, 0];
        assert_eq!(first(&padded).unwrap(), &padded[..7]);
        assert_eq!(
            to_der(first(&padded).unwrap()).unwrap().as_ref(),
            [0x30, 3, 2, 1, 5]
        );
        assert!(first(&padded[..5]).is_err());
    }
}
