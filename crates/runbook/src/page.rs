//! Text on A4 pages: two faces that every reader has, lines that wrap, pages that are numbered.

use pdf_writer::{Content, Finish, Name, Pdf, Rect, Ref, Str, TextStr};

const WIDTH: f32 = 595.0;
const HEIGHT: f32 = 842.0;
const MARGIN: f32 = 56.0;
const FOOT: f32 = 60.0;

/// How a line looks: face, size in points, distance of the left edge from the margin.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    bold: bool,
    size: f32,
    inset: f32,
}

pub const TITLE: Look = look(true, 18.0, 0.0);
pub const HEAD: Look = look(true, 11.0, 0.0);
pub const BODY: Look = look(false, 9.5, 0.0);
pub const ITEM: Look = look(false, 9.0, 14.0);
pub const SMALL: Look = look(false, 8.0, 28.0);

const fn look(bold: bool, size: f32, inset: f32) -> Look {
    Look { bold, size, inset }
}

/// Widths of Helvetica from space to tilde, in thousandths of the size.
#[rustfmt::skip]
const HELVETICA: [u16; 95] = [
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278,
    556, 556, 556, 556, 556, 556, 556, 556, 556, 556, 278, 278, 584, 584, 584, 556,
    1015, 667, 667, 722, 722, 667, 611, 778, 722, 278, 500, 667, 556, 833, 722, 778,
    667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278, 278, 278, 469, 556,
    333, 556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556,
    556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584,
];

/// Width of a character in thousandths; what is not in the table counts as wide.
fn units(byte: u8) -> u32 {
    let place = usize::from(byte.wrapping_sub(b' '));
    HELVETICA.get(place).copied().map_or(780, u32::from)
}

/// Width of a line; bold counts as a little wider than it ever is.
fn width(bytes: &[u8], look: Look) -> f32 {
    let all: u32 = bytes.iter().map(|byte| units(*byte)).sum();
    let wider = if look.bold { 1.1 } else { 1.0 };
    // sums of widths are far below what f32 holds exactly
    all as f32 / 1000.0 * look.size * wider
}

/// Windows-1252, the encoding that simple PDF fonts have.
fn encoded(text: &str) -> Vec<u8> {
    let one = |c: char| match c {
        ' '..='~' => c as u8,
        '\u{a0}'..='\u{ff}' => u8::try_from(u32::from(c)).unwrap_or(b'?'),
        '€' => 0x80,
        '‚' => 0x82,
        '„' => 0x84,
        '…' => 0x85,
        '‘' => 0x91,
        '’' => 0x92,
        '“' => 0x93,
        '”' => 0x94,
        '•' => 0x95,
        '–' => 0x96,
        '—' => 0x97,
        '→' => b'>',
        c if c.is_whitespace() => b' ',
        _ => b'?',
    };
    text.chars().map(one).collect()
}

/// Pages that are being written.
pub struct Pages {
    foot: String,
    done: Vec<Content>,
    now: Content,
    y: f32,
}

impl Pages {
    /// The first page; `foot` stands below each.
    pub fn new(foot: String) -> Self {
        Self {
            foot,
            done: Vec::new(),
            now: Content::new(),
            y: HEIGHT - MARGIN,
        }
    }

    /// Some room; at the end of a page none is needed.
    pub fn gap(&mut self, points: f32) {
        self.y -= points;
    }

    /// A new page unless there is room for as much.
    pub fn room(&mut self, points: f32) {
        if self.y - points < FOOT {
            let full = std::mem::replace(&mut self.now, Content::new());
            self.done.push(full);
            self.y = HEIGHT - MARGIN;
        }
    }

    /// A paragraph.
    pub fn write(&mut self, text: &str, look: Look) {
        let room = WIDTH - 2.0 * MARGIN - look.inset;
        let bytes = encoded(text);
        let mut line: Vec<u8> = Vec::new();
        for word in bytes.split(|byte| *byte == b' ') {
            let word = word.to_vec();
            let both = [line.as_slice(), if line.is_empty() { b"" } else { b" " }, &word].concat();
            if width(&both, look) <= room {
                line = both;
                continue;
            }
            if !line.is_empty() {
                self.line(&std::mem::take(&mut line), look);
            }
            // a word longer than a line is broken, in one pass
            let mut piece: Vec<u8> = Vec::new();
            let mut so_far = 0.0;
            for byte in word {
                let wide = width(&[byte], look);
                if so_far + wide > room && !piece.is_empty() {
                    self.line(&std::mem::take(&mut piece), look);
                    so_far = 0.0;
                }
                so_far += wide;
                piece.push(byte);
            }
            line = piece;
        }
        self.line(&line, look);
    }

    fn line(&mut self, bytes: &[u8], look: Look) {
        let high = look.size * 1.35;
        self.room(high);
        self.y -= high;
        put(&mut self.now, bytes, look, (MARGIN + look.inset, self.y));
    }

    /// The document.
    pub fn finish(mut self, title: &str) -> Vec<u8> {
        self.done.push(self.now);
        let (catalog, tree, plain, bold, info) =
            (Ref::new(1), Ref::new(2), Ref::new(3), Ref::new(4), Ref::new(5));
        let mut pdf = Pdf::new();
        let mut root = pdf.catalog(catalog);
        root.pages(tree).lang(TextStr("de"));
        root.viewer_preferences().display_doc_title(true);
        root.finish();
        pdf.document_info(info)
            .title(TextStr(title))
            .creator(TextStr("Langlauf"));
        for (font, name) in [(plain, "Helvetica"), (bold, "Helvetica-Bold")] {
            pdf.type1_font(font)
                .base_font(Name(name.as_bytes()))
                .encoding_predefined(Name(b"WinAnsiEncoding"));
        }
        let count = i32::try_from(self.done.len()).unwrap_or(i32::MAX);
        let mut numbers = (6..).map(Ref::new);
        let mut kids = Vec::new();
        for (place, mut content) in (1..).zip(self.done) {
            let (Some(page), Some(stream)) = (numbers.next(), numbers.next()) else {
                break;
            };
            let foot = encoded(&format!("{} · {place}/{count}", self.foot));
            put(&mut content, &foot, look(false, 7.5, 0.0), (MARGIN, FOOT / 2.0));
            pdf.stream(stream, &content.finish());
            let mut one = pdf.page(page);
            one.media_box(Rect::new(0.0, 0.0, WIDTH, HEIGHT))
                .parent(tree)
                .contents(stream);
            one.resources()
                .fonts()
                .pair(Name(b"P"), plain)
                .pair(Name(b"B"), bold);
            one.finish();
            kids.push(page);
        }
        pdf.pages(tree).kids(kids).count(count);
        pdf.finish()
    }
}

fn put(content: &mut Content, bytes: &[u8], look: Look, (x, y): (f32, f32)) {
    let face: &[u8] = if look.bold { b"B" } else { b"P" };
    content.begin_text();
    content.set_font(Name(face), look.size);
    content.next_line(x, y);
    content.show(Str(bytes));
    content.end_text();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stay_on_the_page() {
        let room = WIDTH - 2.0 * MARGIN;
        assert!(width(&encoded(&"W".repeat(400)), BODY) > room);
        let mut pages = Pages::new("f".into());
        for _ in 0..40 {
            pages.write(&"W".repeat(400), BODY);
            pages.write(&"Größe – „gut“ ".repeat(60), SMALL);
        }
        assert!(pages.done.len() > 3);
        assert!(pages.y >= FOOT);
    }

    #[test]
    fn what_has_no_place_in_the_font_is_seen() {
        assert_eq!(encoded("ä–ж\n€"), [0xE4, 0x96, b'?', b' ', 0x80]);
    }
}
