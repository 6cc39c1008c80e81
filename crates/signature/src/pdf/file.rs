//! A PDF file: where its objects lie, and an update appended to it.

use super::object::{Dict, Object, Parser};
use crate::Error;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Read;
use std::rc::Rc;

/// Most bytes that are read, unpacked and kept as objects while one file is looked at, all together.
pub(crate) const WORK: usize = 128 * 1024 * 1024;
/// Most objects of a file.
const OBJECTS: usize = 1_000_000;
/// Highest number of an object (ISO 32000-1, annex C).
const HIGHEST: u32 = 8_388_607;
/// Most cross-reference sections, one for each time somebody saved.
const SECTIONS: usize = 4_096;
/// Deepest page tree.
const TREE: usize = 64;

#[derive(Debug, Clone, Copy)]
enum Place {
    Free,
    Offset(usize, i64),
    Inside { stream: u32, index: usize },
}

/// A stream's dictionary and content.
type Unpacked = (Dict, Vec<u8>);

/// A file whose objects are read when they are asked for.
pub(crate) struct File<'a> {
    bytes: &'a [u8],
    places: HashMap<u32, Place>,
    pub trailer: Dict,
    start: usize,
    /// Is the newest section a stream? Then the next must be one, too.
    streams: bool,
    left: Cell<usize>,
    /// Object streams that are unpacked.
    unpacked: RefCell<HashMap<u32, Rc<Unpacked>>>,
}

fn bad(what: &str) -> Error {
    Error::Format(format!("PDF: {what}"))
}

impl<'a> File<'a> {
    /// Reads where everything lies.
    pub fn open(bytes: &'a [u8]) -> Result<Self, Error> {
        if !bytes.starts_with(b"%PDF-") {
            return Err(bad("does not begin with %PDF-"));
        }
        let tail = bytes.len().saturating_sub(2_048);
        let end = bytes.get(tail..).unwrap_or_default();
        let found = end.windows(9).rposition(|window| window == b"startxref");
        let found = found.ok_or_else(|| bad("startxref missing"))?;
        let start = Parser::at(bytes, tail + found + 9)
            .integer()
            .and_then(|start| usize::try_from(start).ok())
            .ok_or_else(|| bad("startxref"))?;
        let mut file = Self {
            bytes,
            places: HashMap::new(),
            trailer: Dict::default(),
            start,
            streams: false,
            left: Cell::new(WORK),
            unpacked: RefCell::default(),
        };
        let (mut next, mut seen) = (vec![start], HashSet::new());
        while let Some(offset) = next.pop() {
            if !seen.insert(offset) || seen.len() > SECTIONS {
                return Err(bad("cross-reference sections in a circle"));
            }
            let trailer = file.section(offset, seen.len() == 1)?;
            next.extend(link(&trailer, "Prev"));
            if seen.len() == 1 {
                file.trailer = trailer;
            }
        }
        if file.trailer.get("Encrypt").is_some() {
            return Err(Error::Forbidden("encryption"));
        }
        Ok(file)
    }

    /// Pays for work, as long as there is something left to pay with.
    fn charge(&self, bytes: usize) -> Result<(), Error> {
        let left = self.left.get().checked_sub(bytes);
        self.left.set(left.ok_or(Error::TooMuch("PDF document"))?);
        Ok(())
    }

    /// Enters where an object lies; what is known already is newer.
    fn enter(&mut self, number: u32, place: Place) -> Result<(), Error> {
        if self.places.len() >= OBJECTS {
            return Err(Error::TooMuch("PDF objects"));
        }
        self.places.entry(number).or_insert(place);
        Ok(())
    }

    /// One section; entries that are known already are newer.
    fn section(&mut self, offset: usize, newest: bool) -> Result<Dict, Error> {
        let mut parser = Parser::at(self.bytes, offset);
        if !parser.keyword("xref") {
            self.streams |= newest;
            return self.stream_section(offset);
        }
        let mut free = Vec::new();
        while let Some(first) = parser.integer() {
            let count = parser.integer().ok_or_else(|| bad("xref"))?;
            let (first, count) = (u32::try_from(first), usize::try_from(count));
            let (Ok(first), Ok(count)) = (first, count) else {
                return Err(bad("xref"));
            };
            for number in 0..count {
                let entry = (parser.integer(), parser.integer(), parser.word());
                let (Some(at), Some(generation), kind) = entry else {
                    return Err(bad("xref entry"));
                };
                let Some(number) = u32::try_from(number).ok().and_then(|n| first.checked_add(n)) else {
                    continue;
                };
                let at = usize::try_from(at).map_err(|_| bad("xref entry"))?;
                match kind {
                    b"n" => self.enter(number, Place::Offset(at, generation))?,
                    b"f" if free.len() < OBJECTS => free.push(number),
                    _ => return Err(bad("xref entry")),
                }
            }
        }
        if !parser.keyword("trailer") {
            return Err(bad("trailer"));
        }
        let Object::Dict(trailer) = parser.object()? else {
            return Err(bad("trailer"));
        };
        self.charge(parser.cost(offset))?;
        // a hybrid file tells old readers that an object is free, and new ones where it is
        if let Some(hidden) = link(&trailer, "XRefStm") {
            self.stream_section(hidden)?;
        }
        for number in free {
            self.enter(number, Place::Free)?;
        }
        Ok(trailer)
    }

    fn stream_section(&mut self, offset: usize) -> Result<Dict, Error> {
        let (_, dict, data) = self.stream_at(offset)?;
        if !dict.is("Type", "XRef") {
            return Err(bad("cross-reference stream expected"));
        }
        let data = self.unpack(&dict, data)?;
        let numbers = |key: &str| -> Option<Vec<usize>> {
            match dict.get(key)? {
                Object::Array(items) => items
                    .iter()
                    .map(|item| usize::try_from(item.as_integer()?).ok())
                    .collect(),
                _ => None,
            }
        };
        let widths = numbers("W").ok_or_else(|| bad("W"))?;
        let [one, two, three] = widths[..] else {
            return Err(bad("W"));
        };
        let size = dict.get("Size").and_then(Object::as_integer).unwrap_or_default();
        let index = numbers("Index").unwrap_or(vec![0, usize::try_from(size).unwrap_or_default()]);
        if widths.iter().any(|width| *width > 8) || widths.iter().all(|width| *width == 0) {
            return Err(bad("W"));
        }
        let width = one + two + three;
        let mut rows = data.chunks_exact(width);
        for pair in index.chunks_exact(2) {
            let [first, count] = pair else { continue };
            // no more rows than data, whatever the numbers say
            for (number, row) in rows.by_ref().take(*count).enumerate() {
                let field = |from: usize, width: usize| {
                    let bytes = row.get(from..from + width).unwrap_or_default();
                    bytes
                        .iter()
                        .fold(0u64, |value, byte| value << 8 | u64::from(*byte))
                };
                let kind = if one == 0 { 1 } else { field(0, one) };
                let (second, third) = (field(one, two), field(one + two, three));
                let place = match kind {
                    0 => Place::Free,
                    1 => Place::Offset(
                        usize::try_from(second).map_err(|_| bad("offset"))?,
                        i64::try_from(third).map_err(|_| bad("generation"))?,
                    ),
                    2 => Place::Inside {
                        stream: u32::try_from(second).map_err(|_| bad("object stream"))?,
                        index: usize::try_from(third).map_err(|_| bad("object stream"))?,
                    },
                    _ => continue,
                };
                if let Some(number) = first.checked_add(number).and_then(|n| u32::try_from(n).ok()) {
                    self.enter(number, place)?;
                }
            }
        }
        Ok(dict)
    }

    /// An object that is a stream: its number, dictionary and packed data.
    fn stream_at(&self, offset: usize) -> Result<(u32, Dict, &'a [u8]), Error> {
        let mut parser = Parser::at(self.bytes, offset);
        let number = parser.integer().and_then(|number| u32::try_from(number).ok());
        let (Some(number), Some(_), true) = (number, parser.integer(), parser.keyword("obj")) else {
            return Err(bad("object expected"));
        };
        let Object::Dict(dict) = parser.object()? else {
            return Err(bad("stream expected"));
        };
        self.charge(parser.cost(offset))?;
        if !parser.keyword("stream") {
            return Err(bad("stream expected"));
        }
        let mut start = parser.position;
        start += match self.bytes.get(start..).unwrap_or_default() {
            [13, 10, ..] => 2,
            [10 | 13, ..] => 1,
            _ => 0,
        };
        let length = match dict.get("Length") {
            Some(Object::Integer(length)) => usize::try_from(*length).ok(),
            // only a number that lies openly: a length inside a stream would unpack that one first
            Some(Object::Reference(number, _)) => match self.places.get(number) {
                Some(Place::Offset(at, _)) => self
                    .plain_at(*at, *number)?
                    .as_integer()
                    .and_then(|n| usize::try_from(n).ok()),
                _ => None,
            },
            _ => None,
        };
        let end = length.and_then(|length| start.checked_add(length));
        let data = end.and_then(|end| self.bytes.get(start..end));
        Ok((number, dict, data.ok_or_else(|| bad("stream length"))?))
    }

    fn plain_at(&self, offset: usize, number: u32) -> Result<Object, Error> {
        let mut parser = Parser::at(self.bytes, offset);
        let right = parser.integer() == Some(number.into());
        if !right || parser.integer().is_none() || !parser.keyword("obj") {
            return Err(bad("an object is not where it should be"));
        }
        let object = parser.object()?;
        self.charge(parser.cost(offset))?;
        Ok(object)
    }

    /// Unpacks a stream within what is left.
    fn unpack(&self, dict: &Dict, data: &[u8]) -> Result<Vec<u8>, Error> {
        let only = |object: Option<&Object>| match object {
            Some(Object::Array(items)) if items.len() == 1 => items.first().cloned(),
            Some(Object::Array(items)) if items.is_empty() => None,
            other => other.cloned(),
        };
        self.charge(data.len())?;
        let left = self.left.get();
        let mut out = Vec::new();
        match only(dict.get("Filter")) {
            None => out.extend_from_slice(data),
            Some(Object::Name(name)) if name == b"FlateDecode" => {
                let limit = u64::try_from(left).unwrap_or(u64::MAX).saturating_add(1);
                flate2::read::ZlibDecoder::new(data)
                    .take(limit)
                    .read_to_end(&mut out)
                    .map_err(|_| bad("packed stream"))?;
            }
            Some(_) => return Err(bad("filter of a stream not supported")),
        }
        self.charge(out.len())?;
        let parameters = only(dict.get("DecodeParms"));
        let parameter = |key: &str, default| {
            let dict = parameters.as_ref().and_then(Object::as_dict);
            dict.and_then(|dict| dict.get(key)?.as_integer())
                .unwrap_or(default)
        };
        match parameter("Predictor", 1) {
            1 => Ok(out),
            10..=15 => unpredict(&out, parameter("Columns", 1)),
            _ => Err(bad("predictor not supported")),
        }
    }

    /// The object with this number; `Null` if there is none.
    pub fn get(&self, number: u32) -> Result<Object, Error> {
        match self.places.get(&number) {
            None | Some(Place::Free) => Ok(Object::Null),
            Some(Place::Offset(offset, _)) => self.plain_at(*offset, number),
            Some(Place::Inside { stream, index }) => {
                let unpacked = self.object_stream(*stream)?;
                let (dict, data) = &*unpacked;
                let first = dict.get("First").and_then(Object::as_integer);
                let first = first.and_then(|first| usize::try_from(first).ok());
                let mut parser = Parser::at(data, 0);
                for _ in 0..*index {
                    let pair = (parser.integer(), parser.integer());
                    if pair.0.is_none() || pair.1.is_none() {
                        return Err(bad("object stream"));
                    }
                }
                let (name, offset) = (parser.integer(), parser.integer());
                self.charge(parser.cost(0))?;
                let offset = offset.and_then(|offset| usize::try_from(offset).ok());
                match (name, first, offset) {
                    (Some(name), Some(first), Some(offset)) if name == i64::from(number) => {
                        let start = first.saturating_add(offset);
                        let mut parser = Parser::at(data, start);
                        let object = parser.object()?;
                        self.charge(parser.cost(start))?;
                        Ok(object)
                    }
                    _ => Err(bad("object stream")),
                }
            }
        }
    }

    fn object_stream(&self, number: u32) -> Result<Rc<Unpacked>, Error> {
        if let Some(known) = self.unpacked.borrow().get(&number) {
            return Ok(known.clone());
        }
        let Some(Place::Offset(offset, _)) = self.places.get(&number) else {
            return Err(bad("object stream"));
        };
        let (_, dict, data) = self.stream_at(*offset)?;
        let data = self.unpack(&dict, data)?;
        let unpacked = Rc::new((dict, data));
        self.unpacked.borrow_mut().insert(number, unpacked.clone());
        Ok(unpacked)
    }

    /// Is there something behind this reference? An older generation of an object is gone.
    pub fn has(&self, number: u32, generation: u16) -> bool {
        match self.places.get(&number) {
            None | Some(Place::Free) => false,
            Some(Place::Offset(_, known)) => *known == i64::from(generation),
            Some(Place::Inside { .. }) => generation == 0,
        }
    }

    /// The object itself, if it is one, or the one a reference leads to.
    pub fn resolve(&self, object: Option<&Object>) -> Result<Object, Error> {
        match object {
            None => Ok(Object::Null),
            Some(Object::Reference(number, generation)) if !self.has(*number, *generation) => {
                Ok(Object::Null)
            }
            Some(Object::Reference(number, _)) => match self.get(*number)? {
                Object::Reference(..) => Err(bad("reference to a reference")),
                other => Ok(other),
            },
            Some(other) => Ok(other.clone()),
        }
    }

    /// The content of the stream behind a reference.
    pub fn stream(&self, object: Option<&Object>) -> Result<Option<Vec<u8>>, Error> {
        let Some(Object::Reference(number, _)) = object else {
            return Ok(None);
        };
        let Some(Place::Offset(offset, _)) = self.places.get(number) else {
            return Ok(None);
        };
        let (_, dict, data) = self.stream_at(*offset)?;
        self.unpack(&dict, data).map(Some)
    }

    /// Number and dictionary of the catalog.
    pub fn catalog(&self) -> Result<(u32, Dict), Error> {
        let Some(Object::Reference(number, _)) = self.trailer.get("Root") else {
            return Err(bad("Root"));
        };
        match self.get(*number)? {
            Object::Dict(dict) => Ok((*number, dict)),
            _ => Err(bad("catalog")),
        }
    }

    /// Number and dictionary of the first page.
    pub fn first_page(&self) -> Result<(u32, Dict), Error> {
        let (_, catalog) = self.catalog()?;
        let mut next = catalog.get("Pages").cloned();
        for _ in 0..TREE {
            let Some(Object::Reference(number, _)) = next else {
                return Err(bad("page tree"));
            };
            let Object::Dict(node) = self.get(number)? else {
                return Err(bad("page tree"));
            };
            next = match self.resolve(node.get("Kids"))? {
                Object::Array(kids) => kids.first().cloned(),
                _ if node.is("Type", "Page") => return Ok((number, node)),
                _ => None,
            };
        }
        Err(bad("page tree"))
    }

    /// The first number no object has; there must be some more.
    fn free_number(&self) -> Result<u32, Error> {
        let size = self.trailer.get("Size").and_then(Object::as_integer);
        let size = size.and_then(|size| u32::try_from(size).ok()).unwrap_or_default();
        let highest = self.places.keys().max().copied().unwrap_or_default();
        Some(size.max(highest.saturating_add(1)))
            .filter(|number| *number < HIGHEST - 8)
            .ok_or(Error::TooMuch("PDF object numbers"))
    }
}

fn link(trailer: &Dict, key: &str) -> Option<usize> {
    usize::try_from(trailer.get(key)?.as_integer()?).ok()
}

/// Undoes a PNG predictor with one byte a pixel, as cross-reference streams have it.
fn unpredict(data: &[u8], columns: i64) -> Result<Vec<u8>, Error> {
    let columns = usize::try_from(columns)
        .ok()
        .filter(|columns| (1..=4_096).contains(columns))
        .ok_or_else(|| bad("Columns"))?;
    let (mut out, mut above) = (Vec::with_capacity(data.len()), vec![0u8; columns]);
    for row in data.chunks_exact(columns + 1) {
        let [kind, row @ ..] = row else { continue };
        let (mut left, mut corner) = (0u8, 0u8);
        for (byte, up) in row.iter().zip(above.iter_mut()) {
            let guess = match kind {
                0 => 0,
                1 => left,
                2 => *up,
                3 => u8::midpoint(left, *up),
                4 => paeth(left, *up, corner),
                _ => return Err(bad("predictor")),
            };
            corner = *up;
            left = byte.wrapping_add(guess);
            *up = left;
            out.push(left);
        }
    }
    Ok(out)
}

fn paeth(left: u8, up: u8, corner: u8) -> u8 {
    let guess = i16::from(left) + i16::from(up) - i16::from(corner);
    let distance = |byte: u8| (guess - i16::from(byte)).abs();
    let best = [left, up, corner].into_iter().min_by_key(|byte| distance(*byte));
    best.unwrap_or_default()
}

/// Objects that are appended to a file.
pub(crate) struct Update<'f, 'a> {
    file: &'f File<'a>,
    objects: BTreeMap<u32, Vec<u8>>,
    next: u32,
}

impl<'f, 'a> Update<'f, 'a> {
    pub fn of(file: &'f File<'a>) -> Result<Self, Error> {
        Ok(Self {
            file,
            objects: BTreeMap::new(),
            next: file.free_number()?,
        })
    }

    /// A number for a new object.
    pub fn number(&mut self) -> u32 {
        self.next += 1;
        self.next - 1
    }

    /// The object as it is written; numbers of the file replace what it has there.
    pub fn put(&mut self, number: u32, written: Vec<u8>) {
        self.objects.insert(number, written);
    }

    /// The same for an object. One whose number was used before, a rare thing, is not replaced.
    pub fn put_object(&mut self, number: u32, object: &Object) -> Result<(), Error> {
        if let Some(Place::Offset(_, 1..)) = self.file.places.get(&number) {
            return Err(Error::Variant("the PDF document reuses numbers of objects"));
        }
        let mut written = Vec::new();
        object.write(&mut written);
        self.put(number, written);
        Ok(())
    }

    /// The file with everything appended; the second part is where each object's text begins.
    pub fn finish(mut self) -> (Vec<u8>, BTreeMap<u32, usize>) {
        let mut out = self.file.bytes.to_vec();
        if !out.ends_with(b"\n") {
            out.push(b'\n');
        }
        let section = self.file.streams.then(|| self.number());
        let (mut offsets, mut texts) = (BTreeMap::new(), BTreeMap::new());
        for (number, written) in &self.objects {
            offsets.insert(*number, out.len());
            out.extend(format!("{number} 0 obj\n").bytes());
            texts.insert(*number, out.len());
            out.extend_from_slice(written);
            out.extend(b"\nendobj\n");
        }
        let start = out.len();
        let mut trailer = Dict::default();
        for key in ["Root", "Info", "ID"] {
            if let Some(value) = self.file.trailer.get(key) {
                trailer.set(key, value.clone());
            }
        }
        trailer.set("Size", Object::Integer(self.next.into()));
        trailer.set("Prev", Object::Integer(self.file.start as i64));
        match section {
            None => {
                out.extend(b"xref\n");
                for (number, offset) in &offsets {
                    out.extend(format!("{number} 1\n{offset:010} 00000 n\r\n").bytes());
                }
                out.extend(b"trailer\n");
                Object::Dict(trailer).write(&mut out);
            }
            Some(own) => {
                offsets.insert(own, start);
                let (mut index, mut data) = (Vec::new(), Vec::new());
                for (number, offset) in &offsets {
                    index.extend([Object::Integer((*number).into()), Object::Integer(1)]);
                    data.push(1);
                    data.extend((*offset as u64).to_be_bytes());
                    data.extend([0, 0]);
                }
                trailer.set("Type", Object::name("XRef"));
                trailer.set("W", Object::Array([1, 8, 2].map(Object::Integer).to_vec()));
                trailer.set("Index", Object::Array(index));
                trailer.set("Length", Object::Integer(data.len() as i64));
                out.extend(format!("{own} 0 obj\n").bytes());
                Object::Dict(trailer).write(&mut out);
                out.extend(b"\nstream\n");
                out.append(&mut data);
                out.extend(b"\nendstream\nendobj");
            }
        }
        out.extend(format!("\nstartxref\n{start}\n%%EOF\n").bytes());
        (out, texts)
    }
}
