//! The health application of an eGK (DF.HCA): framing of its containers, status, access log. No XML is looked at.

use base::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// DF.HCA.
pub const AID_HCA: &[u8] = &[0xD2, 0x76, 0x00, 0x00, 0x01, 0x02];
/// Short identifiers in DF.HCA.
pub const SFI_PD: u8 = 0x01;
/// EF.VD.
pub const SFI_VD: u8 = 0x02;
/// EF.GVD.
pub const SFI_GVD: u8 = 0x03;
/// EF.Logging.
pub const SFI_LOGGING: u8 = 0x06;
/// EF.StatusVD.
pub const SFI_STATUS_VD: u8 = 0x0C;
/// EF.Pruefungsnachweis.
pub const SFI_RECEIPT: u8 = 0x1C;
/// Size of EF.Pruefungsnachweis.
pub const RECEIPT_SIZE: usize = 300;

/// Content of a file that does not follow its layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} on the eGK does not follow its layout")]
pub struct BadContainer(pub &'static str);

/// The gzip stream inside EF.PD or EF.GVD: two bytes of length, then so many bytes. `None` if it is empty.
pub fn framed(file: &[u8], name: &'static str) -> Result<Option<Vec<u8>>, BadContainer> {
    let (length, rest) = file.split_first_chunk::<2>().ok_or(BadContainer(name))?;
    match usize::from(u16::from_be_bytes(*length)) {
        0 => Ok(None),
        length => Ok(Some(rest.get(..length).ok_or(BadContainer(name))?.to_vec())),
    }
}

/// Puts a gzip stream into the layout of EF.PD and EF.GVD.
pub fn frame(gzip: &[u8]) -> Vec<u8> {
    let mut file = (gzip.len() as u16).to_be_bytes().to_vec();
    file.extend_from_slice(gzip);
    file
}

/// The gzip stream of the insurance data in EF.VD: offsets from the start of the file, end inclusive.
/// The old copy of the protected data behind it is ignored.
pub fn insurance_data(file: &[u8]) -> Result<Vec<u8>, BadContainer> {
    let bad = BadContainer("EF.VD");
    let (head, _) = file.split_first_chunk::<8>().ok_or(bad)?;
    let [s1, s2, e1, e2, ..] = *head;
    let (start, end) = (
        usize::from(u16::from_be_bytes([s1, s2])),
        usize::from(u16::from_be_bytes([e1, e2])),
    );
    if start < 8 || end < start {
        return Err(bad);
    }
    file.get(start..=end).map(<[u8]>::to_vec).ok_or(bad)
}

/// Puts a gzip stream into the layout of EF.VD, without a copy of the protected data.
pub fn frame_insurance_data(gzip: &[u8]) -> Vec<u8> {
    let end = 8 + gzip.len() as u16 - 1;
    let mut file = Vec::with_capacity(8 + gzip.len());
    file.extend(8u16.to_be_bytes());
    file.extend(end.to_be_bytes());
    file.extend([0xFF; 4]);
    file.extend_from_slice(gzip);
    file
}

/// Content of EF.StatusVD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusVd {
    /// Is an update unfinished?
    pub transaction_open: bool,
    /// Time of the last update.
    pub updated: Timestamp,
    /// Version of the XML schema.
    pub schema: (u16, u16, u16),
    /// Version of the layout of the files.
    pub layout: (u16, u16, u16),
}

impl StatusVd {
    /// Reads the 25 bytes.
    pub fn parse(file: &[u8]) -> Result<Self, BadContainer> {
        let bad = BadContainer("EF.StatusVD");
        let bytes: &[u8; 25] = file.first_chunk().ok_or(bad)?;
        let [status, rest @ ..] = bytes;
        let (time, versions) = rest.split_at_checked(14).ok_or(bad)?;
        let transaction_open = match status {
            b'0' => false,
            b'1' => true,
            _ => return Err(bad),
        };
        let text = std::str::from_utf8(time).map_err(|_| bad)?;
        let updated = parse_timestamp(text).ok_or(bad)?;
        let (schema, layout) = versions.split_at_checked(5).ok_or(bad)?;
        Ok(Self {
            transaction_open,
            updated,
            schema: bcd_version(schema).ok_or(bad)?,
            layout: bcd_version(layout).ok_or(bad)?,
        })
    }

    /// Writes the 25 bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut file = vec![if self.transaction_open { b'1' } else { b'0' }];
        file.extend(format_timestamp(self.updated).bytes());
        for (a, b, c) in [self.schema, self.layout] {
            file.extend(hex::decode(format!("{a:03}{b:03}{c:04}")).unwrap_or_default());
        }
        file
    }
}

/// Five bytes of BCD: three, three and four digits.
fn bcd_version(bytes: &[u8]) -> Option<(u16, u16, u16)> {
    let digits = hex::encode(bytes);
    let part = |range: std::ops::Range<usize>| digits.get(range)?.parse().ok();
    Some((part(0..3)?, part(3..6)?, part(6..10)?))
}

/// `YYYYMMDDhhmmss`, UTC.
pub fn format_timestamp(time: Timestamp) -> String {
    time.strftime("%Y%m%d%H%M%S").to_string()
}

/// Reads what [`format_timestamp`] writes.
pub fn parse_timestamp(text: &str) -> Option<Timestamp> {
    if text.len() != 14 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let part = |range: std::ops::Range<usize>| text.get(range)?.parse::<i16>().ok();
    let small = |range| part(range).map(|number| number as i8);
    let time = DateTime::new(
        part(0..4)?,
        small(4..6)?,
        small(6..8)?,
        small(8..10)?,
        small(10..12)?,
        small(12..14)?,
        0,
    );
    TimeZone::UTC.to_timestamp(time.ok()?).ok()
}

/// One record of EF.Logging (46 bytes).
pub fn log_record(
    time: Timestamp,
    data_type: u8,
    access: u8,
    actor_iccsn: &[u8; 10],
    actor: &str,
) -> Vec<u8> {
    let mut record = (time.as_second().clamp(0, u32::MAX.into()) as u32)
        .to_be_bytes()
        .to_vec();
    record.extend([data_type, access]);
    record.extend_from_slice(actor_iccsn);
    // ISO 8859-15 for the characters of German names; anything else becomes a question mark
    let name = actor
        .chars()
        .map(|c| if (c as u32) < 0x100 { c as u32 as u8 } else { b'?' });
    record.extend(name.chain(std::iter::repeat(b' ')).take(30));
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers() {
        assert_eq!(framed(&frame(b"gzip"), "EF.PD").unwrap().unwrap(), b"gzip");
        assert_eq!(framed(&[0, 0, 9], "EF.PD").unwrap(), None);
        assert!(framed(&[0, 5, 1], "EF.PD").is_err());
        assert!(framed(&[0], "EF.PD").is_err());
        assert_eq!(insurance_data(&frame_insurance_data(b"gzip")).unwrap(), b"gzip");
        for bad in [
            &[0; 8][..],
            &[0, 8, 0, 7, 0, 0, 0, 0],
            &[0, 8, 0, 9, 0, 0, 0, 0, 1],
            &[0, 8],
        ] {
            assert!(insurance_data(bad).is_err());
        }
    }

    #[test]
    fn status_of_a_published_card() {
        let file = hex::decode("30323032353034303731303130353800500200000030000004").unwrap();
        let status = StatusVd::parse(&file).unwrap();
        assert_eq!(status.schema, (5, 2, 0));
        assert_eq!(status.layout, (3, 0, 4));
        assert_eq!(status.updated.to_string(), "2025-04-07T10:10:58Z");
        assert_eq!(status.encode(), file);
        assert!(StatusVd::parse(&file[..24]).is_err());
        assert!(parse_timestamp("20251307101058").is_none());
    }

    #[test]
    fn log_records_have_46_bytes() {
        let record = log_record(
            "2026-11-23T00:00:00Z".parse().unwrap(),
            b'1',
            b'r',
            &[0x80; 10],
            "Praxis Müller",
        );
        assert_eq!(record.len(), 46);
        assert_eq!(&record[16..29], b"Praxis M\xFCller");
    }
}
