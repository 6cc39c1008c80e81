//! Insured persons: their master data as the XML of schema 5.2.0, compressed as on a card.

use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;

/// An insured person.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Person {
    pub kvnr: String,
    pub given: String,
    pub family: String,
    /// YYYYMMDD.
    pub born: String,
    /// M, W, X or D.
    pub sex: char,
    pub street: String,
    pub number: String,
    pub postcode: String,
    pub city: String,
    /// Nine digits.
    pub insurer: String,
    pub insurer_name: String,
    /// YYYYMMDD.
    pub insured_since: String,
}

impl Person {
    /// Somebody to start with.
    pub fn example() -> Self {
        Self {
            kvnr: "X110411675".into(),
            given: "Frieda".into(),
            family: "Loipengrün".into(),
            born: "19640812".into(),
            sex: 'W',
            street: "Skihüttenweg".into(),
            number: "7".into(),
            postcode: "87561".into(),
            city: "Oberstdorf".into(),
            insurer: "109500969".into(),
            insurer_name: "Test GKV".into(),
            insured_since: "20200101".into(),
        }
    }

    /// The three containers, gzip-compressed: personal, insurance and protected data.
    pub fn containers(&self) -> [Vec<u8>; 3] {
        [self.personal(), self.insurance(), self.protected()].map(|xml| compress(&xml))
    }

    fn personal(&self) -> String {
        let Self {
            kvnr,
            given,
            family,
            born,
            sex,
            street,
            number,
            postcode,
            city,
            ..
        } = self;
        document(
            "UC_PersoenlicheVersichertendatenXML",
            &format!(
                "<Versicherter><Versicherten_ID>{kvnr}</Versicherten_ID><Person><Geburtsdatum>{born}</Geburtsdatum>\
                 <Vorname>{given}</Vorname><Nachname>{family}</Nachname><Geschlecht>{sex}</Geschlecht>\
                 <StrassenAdresse><Postleitzahl>{postcode}</Postleitzahl><Ort>{city}</Ort>\
                 <Land><Wohnsitzlaendercode>D</Wohnsitzlaendercode></Land><Strasse>{street}</Strasse>\
                 <Hausnummer>{number}</Hausnummer></StrassenAdresse></Person></Versicherter>"
            ),
        )
    }

    fn insurance(&self) -> String {
        let Self {
            insurer,
            insurer_name,
            insured_since,
            ..
        } = self;
        let payer = format!(
            "<Kostentraegerkennung>{insurer}</Kostentraegerkennung>\
             <Kostentraegerlaendercode>D</Kostentraegerlaendercode><Name>{insurer_name}</Name>"
        );
        document(
            "UC_AllgemeineVersicherungsdatenXML",
            &format!(
                "<Versicherter><Versicherungsschutz><Beginn>{insured_since}</Beginn><Kostentraeger>{payer}\
                 <AbrechnenderKostentraeger>{payer}</AbrechnenderKostentraeger></Kostentraeger></Versicherungsschutz>\
                 <Zusatzinfos><ZusatzinfosGKV><Versichertenart>1</Versichertenart><Zusatzinfos_Abrechnung_GKV>\
                 <WOP>71</WOP></Zusatzinfos_Abrechnung_GKV></ZusatzinfosGKV></Zusatzinfos></Versicherter>"
            ),
        )
    }

    fn protected(&self) -> String {
        document(
            "UC_GeschuetzteVersichertendatenXML",
            "<Zuzahlungsstatus><Status>0</Status></Zuzahlungsstatus>\
             <Selektivvertraege><Aerztlich>9</Aerztlich><Zahnaerztlich>9</Zahnaerztlich></Selektivvertraege>",
        )
    }
}

fn document(name: &str, content: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"ISO-8859-15\" standalone=\"yes\"?>\
         <{name} CDM_VERSION=\"5.2.0\" xmlns=\"http://ws.gematik.de/fa/vsdm/vsd/v5.2\">{content}</{name}>"
    )
}

/// ISO-8859-15 and gzip. Writing to memory cannot fail; characters outside the set become question marks.
fn compress(xml: &str) -> Vec<u8> {
    let bytes: Vec<u8> = xml
        .chars()
        .map(|c| if (c as u32) < 0x100 { c as u32 as u8 } else { b'?' })
        .collect();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder
        .write_all(&bytes)
        .and_then(|()| encoder.finish())
        .unwrap_or_default()
}
