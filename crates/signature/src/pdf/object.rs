//! PDF objects: read from bytes, written back.

use crate::Error;

/// Deepest nesting of arrays and dictionaries.
const DEPTH: usize = 48;
/// Most elements of one object, all levels together.
const ELEMENTS: usize = 200_000;

/// A dictionary in the order it was written.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Dict(pub Vec<(Vec<u8>, Object)>);

impl Dict {
    pub fn get(&self, key: &str) -> Option<&Object> {
        // the first of several would be another one for other readers
        self.0
            .iter()
            .rfind(|(name, _)| name == key.as_bytes())
            .map(|(_, value)| value)
    }

    pub fn set(&mut self, key: &str, value: Object) {
        self.0.retain(|(name, _)| name != key.as_bytes());
        self.0.push((key.as_bytes().to_vec(), value));
    }

    pub fn is(&self, key: &str, name: &str) -> bool {
        matches!(self.get(key), Some(Object::Name(value)) if value == name.as_bytes())
    }
}

/// Anything but a stream's content.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Object {
    Null,
    Bool(bool),
    Integer(i64),
    /// A number with a point, as written.
    Real(Vec<u8>),
    Name(Vec<u8>),
    String(Vec<u8>),
    Array(Vec<Object>),
    Dict(Dict),
    Reference(u32, u16),
}

impl Object {
    pub fn as_dict(&self) -> Option<&Dict> {
        match self {
            Object::Dict(dict) => Some(dict),
            _ => None,
        }
    }

    pub fn as_integer(&self) -> Option<i64> {
        match self {
            Object::Integer(number) => Some(*number),
            _ => None,
        }
    }

    pub fn name(text: &str) -> Object {
        Object::Name(text.as_bytes().to_vec())
    }

    /// Writes it; names and strings in hexadecimal where they must be.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Object::Null => out.extend(b"null"),
            Object::Bool(true) => out.extend(b"true"),
            Object::Bool(false) => out.extend(b"false"),
            Object::Integer(number) => out.extend(number.to_string().bytes()),
            Object::Real(text) => out.extend(text),
            Object::Name(name) => {
                out.push(b'/');
                for byte in name {
                    match byte {
                        b'!'..=b'~' if !b"#()<>[]{}/%".contains(byte) => out.push(*byte),
                        other => out.extend(format!("#{other:02X}").bytes()),
                    }
                }
            }
            Object::String(bytes) => {
                out.push(b'<');
                bytes
                    .iter()
                    .for_each(|byte| out.extend(format!("{byte:02X}").bytes()));
                out.push(b'>');
            }
            Object::Array(items) => {
                out.push(b'[');
                for (position, item) in items.iter().enumerate() {
                    if position > 0 {
                        out.push(b' ');
                    }
                    item.write(out);
                }
                out.push(b']');
            }
            Object::Dict(dict) => {
                out.extend(b"<<");
                for (name, value) in &dict.0 {
                    out.push(b'\n');
                    Object::Name(name.clone()).write(out);
                    out.push(b' ');
                    value.write(out);
                }
                out.extend(b"\n>>");
            }
            Object::Reference(number, generation) => out.extend(format!("{number} {generation} R").bytes()),
        }
    }
}

/// A text string: as it is in ASCII, else UTF-16 with its mark.
pub(crate) fn text_string(text: &str) -> Object {
    match text.is_ascii() {
        true => Object::String(text.as_bytes().to_vec()),
        false => {
            let units = text.encode_utf16().flat_map(u16::to_be_bytes);
            Object::String([0xFE, 0xFF].into_iter().chain(units).collect())
        }
    }
}

/// Reads objects from bytes.
pub(crate) struct Parser<'a> {
    bytes: &'a [u8],
    pub position: usize,
    elements: usize,
}

fn bad(what: &str) -> Error {
    Error::Format(format!("PDF: {what}"))
}

fn is_space(byte: u8) -> bool {
    matches!(byte, 0 | 9 | 10 | 12 | 13 | 32)
}

fn is_regular(byte: u8) -> bool {
    !is_space(byte) && !b"()<>[]{}/%".contains(&byte)
}

impl<'a> Parser<'a> {
    pub fn at(bytes: &'a [u8], position: usize) -> Self {
        Self {
            bytes,
            position,
            elements: 0,
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.position).copied()
    }

    /// What reading from `start` to here cost in bytes: of the file, and of memory.
    pub fn cost(&self, start: usize) -> usize {
        self.position.saturating_sub(start) + self.elements * std::mem::size_of::<(Vec<u8>, Object)>()
    }

    pub fn skip_space(&mut self) {
        while let Some(byte) = self.peek() {
            if byte == b'%' {
                while self.peek().is_some_and(|byte| byte != 10 && byte != 13) {
                    self.position += 1;
                }
            } else if is_space(byte) {
                self.position += 1;
            } else {
                break;
            }
        }
    }

    /// The run of regular characters here.
    pub fn word(&mut self) -> &'a [u8] {
        self.skip_space();
        let start = self.position;
        while self.peek().is_some_and(is_regular) {
            self.position += 1;
        }
        self.bytes.get(start..self.position).unwrap_or_default()
    }

    pub fn keyword(&mut self, wanted: &str) -> bool {
        let before = self.position;
        let found = self.word() == wanted.as_bytes();
        if !found {
            self.position = before;
        }
        found
    }

    pub fn integer(&mut self) -> Option<i64> {
        let before = self.position;
        let number = std::str::from_utf8(self.word())
            .ok()
            .and_then(|word| word.parse().ok());
        if number.is_none() {
            self.position = before;
        }
        number
    }

    pub fn object(&mut self) -> Result<Object, Error> {
        self.nested(0)
    }

    fn nested(&mut self, depth: usize) -> Result<Object, Error> {
        self.elements += 1;
        if depth > DEPTH || self.elements > ELEMENTS {
            return Err(Error::TooMuch("PDF object"));
        }
        self.skip_space();
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        match rest {
            [b'/', ..] => Ok(Object::Name(self.name()?)),
            [b'(', ..] => self.literal(),
            [b'<', b'<', ..] => {
                self.position += 2;
                self.dict(depth).map(Object::Dict)
            }
            [b'<', ..] => self.hexadecimal(),
            [b'[', ..] => {
                self.position += 1;
                let mut items = Vec::new();
                loop {
                    self.skip_space();
                    match self.peek() {
                        Some(b']') => break,
                        Some(_) => items.push(self.nested(depth + 1)?),
                        None => return Err(bad("array without end")),
                    }
                }
                self.position += 1;
                Ok(Object::Array(items))
            }
            _ => self.number_or_word(),
        }
    }

    fn number_or_word(&mut self) -> Result<Object, Error> {
        let word = self.word();
        match word {
            b"true" => return Ok(Object::Bool(true)),
            b"false" => return Ok(Object::Bool(false)),
            b"null" => return Ok(Object::Null),
            _ => {}
        }
        let text = std::str::from_utf8(word).map_err(|_| bad("object"))?;
        let Ok(number) = text.parse::<i64>() else {
            let real = !text.is_empty() && text.bytes().all(|byte| b"0123456789+-.".contains(&byte));
            return match real {
                true => Ok(Object::Real(word.to_vec())),
                false => Err(bad("object expected")),
            };
        };
        let before = self.position;
        if let (Ok(number), Some(generation)) = (u32::try_from(number), self.integer())
            && let Ok(generation) = u16::try_from(generation)
            && self.keyword("R")
        {
            return Ok(Object::Reference(number, generation));
        }
        self.position = before;
        Ok(Object::Integer(number))
    }

    fn name(&mut self) -> Result<Vec<u8>, Error> {
        self.position += 1;
        let start = self.position;
        while self.peek().is_some_and(is_regular) {
            self.position += 1;
        }
        let raw = self.bytes.get(start..self.position).unwrap_or_default();
        let (mut name, mut rest) = (Vec::with_capacity(raw.len()), raw);
        while let [byte, after @ ..] = rest {
            rest = after;
            match (byte, after) {
                (b'#', [high, low, after @ ..]) => {
                    name.push(
                        hex(*high)
                            .zip(hex(*low))
                            .map(|(high, low)| high << 4 | low)
                            .ok_or_else(|| bad("name"))?,
                    );
                    rest = after;
                }
                (byte, _) => name.push(*byte),
            }
        }
        Ok(name)
    }

    fn dict(&mut self, depth: usize) -> Result<Dict, Error> {
        let mut dict = Dict::default();
        loop {
            self.skip_space();
            match self.bytes.get(self.position..).unwrap_or_default() {
                [b'>', b'>', ..] => {
                    self.position += 2;
                    return Ok(dict);
                }
                [b'/', ..] => {
                    let name = self.name()?;
                    dict.0.push((name, self.nested(depth + 1)?));
                }
                _ => return Err(bad("dictionary")),
            }
        }
    }

    fn hexadecimal(&mut self) -> Result<Object, Error> {
        self.position += 1;
        let (mut out, mut half) = (Vec::new(), None);
        loop {
            let byte = self.peek().ok_or_else(|| bad("string without end"))?;
            self.position += 1;
            match (byte, half) {
                (b'>', rest) => {
                    out.extend(rest.map(|high: u8| high << 4));
                    return Ok(Object::String(out));
                }
                (byte, _) if is_space(byte) => {}
                (byte, None) => half = Some(hex(byte).ok_or_else(|| bad("string"))?),
                (byte, Some(high)) => {
                    out.push(high << 4 | hex(byte).ok_or_else(|| bad("string"))?);
                    half = None;
                }
            }
        }
    }

    fn literal(&mut self) -> Result<Object, Error> {
        self.position += 1;
        let (mut out, mut open) = (Vec::new(), 1);
        loop {
            let byte = self.peek().ok_or_else(|| bad("string without end"))?;
            self.position += 1;
            match byte {
                b'(' => open += 1,
                b')' => open -= 1,
                b'\\' => {
                    self.escape(&mut out)?;
                    continue;
                }
                _ => {}
            }
            if open == 0 {
                return Ok(Object::String(out));
            }
            out.push(byte);
        }
    }

    fn escape(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        let byte = self.peek().ok_or_else(|| bad("string without end"))?;
        self.position += 1;
        match byte {
            b'n' => out.push(10),
            b'r' => out.push(13),
            b't' => out.push(9),
            b'b' => out.push(8),
            b'f' => out.push(12),
            13 if self.peek() == Some(10) => self.position += 1,
            10 | 13 => {}
            b'0'..=b'7' => {
                let mut value = u32::from(byte - b'0');
                for _ in 0..2 {
                    match self.peek() {
                        Some(digit @ b'0'..=b'7') => {
                            value = value << 3 | u32::from(digit - b'0');
                            self.position += 1;
                        }
                        _ => break,
                    }
                }
                out.push(value as u8);
            }
            other => out.push(other),
        }
        Ok(())
    }
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_round_trip() {
        let text = b"<< /A#20B (a\\(b\\)\\101\\\n) /C [1 -2.5 3 0 R true null <4A4>] /D << /E /F >> >> rest";
        let mut parser = Parser::at(text, 0);
        let object = parser.object().unwrap();
        let dict = object.as_dict().unwrap();
        assert_eq!(dict.get("A B"), Some(&Object::String(b"a(b)A".to_vec())));
        let mut written = Vec::new();
        object.write(&mut written);
        assert_eq!(Parser::at(&written, 0).object().unwrap(), object);
        assert_eq!(parser.word(), b"rest");
    }

    #[test]
    fn hostile_objects_are_errors() {
        let deep = [b'['].repeat(100_000);
        for bytes in [&b""[..], b"<<", b"[1", b"(abc", b"<12", b"<< 1 2 >>", b"@", &deep] {
            assert!(Parser::at(bytes, 0).object().is_err());
        }
        let wide = [&b"["[..], &b"0 ".repeat(300_000)].concat();
        assert!(matches!(Parser::at(&wide, 0).object(), Err(Error::TooMuch(_))));
    }
}
