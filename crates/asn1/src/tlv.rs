//! BER-TLV as cards and SICCT use it: tags of up to three bytes, definite lengths of up to four.

use crate::Error;

/// One data object: its tag as the number its bytes form (`0x7F4E`), and its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tlv<'a> {
    /// Tag bytes, big endian.
    pub tag: u32,
    /// The value field.
    pub value: &'a [u8],
    /// The whole object with tag and length.
    pub raw: &'a [u8],
}

/// Takes the first data object off `input`; the rest is returned with it.
pub fn read(input: &[u8]) -> Result<(Tlv<'_>, &[u8]), Error> {
    let mut position = 0;
    let mut next = || {
        let byte = input.get(position).copied().ok_or(Error::Truncated("TLV head"));
        position += 1;
        byte
    };
    let first = next()?;
    let mut tag = u32::from(first);
    if first & 0x1F == 0x1F {
        loop {
            let byte = next()?;
            if tag > 0xFFFF {
                return Err(Error::Malformed("TLV tag longer than three bytes"));
            }
            tag = tag << 8 | u32::from(byte);
            if byte & 0x80 == 0 {
                break;
            }
        }
    }
    let length = match next()? {
        short @ 0..=0x7F => usize::from(short),
        long @ 0x81..=0x84 => {
            let mut length = 0;
            for _ in 0..long & 0x0F {
                length = length << 8 | usize::from(next()?);
            }
            length
        }
        _ => return Err(Error::Malformed("TLV length")),
    };
    let end = position
        .checked_add(length)
        .ok_or(Error::Malformed("TLV length"))?;
    let value = input.get(position..end).ok_or(Error::Truncated("TLV value"))?;
    let raw = input.get(..end).ok_or(Error::Truncated("TLV"))?;
    Ok((Tlv { tag, value, raw }, input.get(end..).unwrap_or_default()))
}

/// All data objects of `input`, one after the other.
pub fn read_all(mut input: &[u8]) -> Result<Vec<Tlv<'_>>, Error> {
    let mut objects = Vec::new();
    while !input.is_empty() {
        let (object, rest) = read(input)?;
        objects.push(object);
        input = rest;
    }
    Ok(objects)
}

/// The value of the first object with `tag` at this level, if there is one. Stops quietly at malformed data.
pub fn find(mut input: &[u8], tag: u32) -> Option<&[u8]> {
    while let Ok((object, rest)) = read(input) {
        if object.tag == tag {
            return Some(object.value);
        }
        input = rest;
    }
    None
}

/// Follows a path of nested tags: `path(bytes, &[0x7F21, 0x7F4E])`.
pub fn path<'a>(input: &'a [u8], tags: &[u32]) -> Option<&'a [u8]> {
    tags.iter().try_fold(input, |level, tag| find(level, *tag))
}

/// Encodes one data object with the shortest length.
pub fn encode(tag: u32, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len() + 8);
    let bytes = tag.to_be_bytes();
    let skip = bytes.iter().take_while(|b| **b == 0).count().min(3);
    out.extend(bytes.iter().skip(skip));
    write_length(value.len(), &mut out);
    out.extend_from_slice(value);
    out
}

/// The shortest length field.
pub(crate) fn write_length(length: usize, out: &mut Vec<u8>) {
    if let Ok(short @ 0..=0x7F) = u8::try_from(length) {
        return out.push(short);
    }
    let bytes = length.to_be_bytes();
    let skip = bytes.iter().take_while(|byte| **byte == 0).count();
    out.push(0x80 | (bytes.len() - skip) as u8);
    out.extend(bytes.iter().skip(skip));
}

/// Encodes a constructed object from its parts.
pub fn nest<P: AsRef<[u8]>>(tag: u32, parts: impl IntoIterator<Item = P>) -> Vec<u8> {
    let mut value = Vec::new();
    for part in parts {
        value.extend_from_slice(part.as_ref());
    }
    encode(tag, &value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_round_trip() {
        for length in [0, 1, 0x7F, 0x80, 0xFF, 0x100, 0xFFFF, 0x1_0000, 0x100_0000] {
            let value = vec![0xAB; length];
            let encoded = encode(0x5F37, &value);
            let (object, rest) = read(&encoded).unwrap();
            assert_eq!((object.tag, object.value.len(), rest.len()), (0x5F37, length, 0));
        }
    }

    #[test]
    fn broken_input_is_an_error_not_a_panic() {
        for bytes in [
            "",
            "5F",
            "7F21",
            "5A0A8027",
            "5A85000000",
            "80FF",
            "5A84FFFFFFFF00",
            "1F81818101",
        ] {
            assert!(read(&hex::decode(bytes).unwrap()).is_err(), "{bytes}");
        }
    }

    #[test]
    fn paths_find_nested_values() {
        let bytes = nest(0x7F21, [nest(0x7F4E, [encode(0x42, b"CAR")])]);
        assert_eq!(path(&bytes, &[0x7F21, 0x7F4E, 0x42]), Some(&b"CAR"[..]));
        assert_eq!(path(&bytes, &[0x7F21, 0x42]), None);
    }
}
