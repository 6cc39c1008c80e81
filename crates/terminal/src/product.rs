use asn1::tlv;

/// What a terminal says it is (GET STATUS, tag 46: CTM and gematik's data object D7; TUC_KON_055).
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Product {
    /// Maker, five characters.
    pub vendor: String,
    /// Model, eight characters.
    pub model: String,
    /// Version of the interface to Konnektors (EHEALTH_INTERFACE_VERSION).
    pub interface: Version,
    /// Version of the product type.
    pub product_type: Version,
    /// Firmware.
    pub firmware: Version,
    /// Hardware.
    pub hardware: Version,
}

/// Three numbers, each up to 999.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct Version(pub u16, pub u16, pub u16);

/// Interface versions a Konnektor works with (CTM_SUPPORTED_KT_VERSIONS); a later third number is fine.
pub const SUPPORTED: [Version; 1] = [Version(1, 0, 0)];

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl std::str::FromStr for Version {
    type Err = &'static str;
    /// `1.2.3`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text
            .split('.')
            .map(|part| part.parse::<u16>().ok().filter(|part| *part < 1000));
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(Some(a)), Some(Some(b)), Some(Some(c)), None) => Ok(Self(a, b, c)),
            _ => Err("a version is three numbers with points between"),
        }
    }
}

impl Version {
    /// From three fields of three characters, padded with blanks.
    fn parse(field: &[u8]) -> Option<Self> {
        let [a, b, c] = field.chunks_exact(3).collect::<Vec<_>>().try_into().ok()?;
        let number = |part: &[u8]| std::str::from_utf8(part).ok()?.trim().parse().ok();
        Some(Self(number(a)?, number(b)?, number(c)?))
    }

    fn encode(self) -> String {
        format!("{:>3}{:>3}{:>3}", self.0, self.1, self.2)
    }
}

/// Letters and digits only, as ProductInformation.xsd wants them.
fn word(bytes: &[u8]) -> String {
    let good = bytes.iter().filter(|b| b.is_ascii_alphanumeric() || **b == b'_');
    good.map(|b| char::from(*b)).collect()
}

impl Product {
    /// From the answer to GET STATUS with tag 46; `None` if it is no eHealth terminal's.
    pub fn parse(answer: &[u8]) -> Option<Self> {
        let data = tlv::find(answer, 0x46)?;
        let (maker, further) = data.split_at_checked(15)?;
        let product = tlv::find(further, 0xD7)?;
        let field = |from: usize, to: usize| product.get(from..to);
        Some(Self {
            vendor: word(maker.get(..5)?),
            interface: Version::parse(field(0, 9)?)?,
            product_type: Version::parse(field(11, 20)?)?,
            model: word(field(20, 28)?),
            firmware: Version::parse(field(28, 37)?)?,
            hardware: Version::parse(field(37, 46)?)?,
        })
    }

    /// The same as the terminal's answer; `note` is the maker's own text.
    pub fn encode(&self, note: &str) -> Vec<u8> {
        let maker = format!(
            "{:<5.5}{:<5.5}{:<5.5}",
            self.vendor,
            "KT",
            self.firmware.to_string()
        );
        let product = format!(
            "{}KT{}{:<8.8}{}{}{:<5}{note:.59}",
            self.interface.encode(),
            self.product_type.encode(),
            self.model,
            self.firmware.encode(),
            self.hardware.encode(),
            "",
        );
        let mut data = maker.into_bytes();
        data.extend(tlv::encode(0xD7, product.as_bytes()));
        tlv::encode(0x46, &data)
    }

    /// Can this Konnektor work with it (VALID_VERSION)? Major and minor must be listed, the third may be later.
    pub fn is_supported(&self) -> bool {
        let mine = self.interface;
        SUPPORTED
            .iter()
            .any(|listed| (listed.0, listed.1) == (mine.0, mine.1) && mine.2 >= listed.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let product = Product {
            vendor: "LANGL".into(),
            model: "KT1".into(),
            interface: Version(1, 0, 7),
            product_type: Version(1, 6, 0),
            firmware: Version(3, 12, 123),
            hardware: Version(1, 0, 0),
        };
        assert_eq!(Product::parse(&product.encode("virtual")), Some(product.clone()));
        assert!(product.is_supported());
        let other = Product {
            interface: Version(1, 1, 0),
            ..product
        };
        assert!(!other.is_supported());
        assert_eq!(Product::parse(&[0x46, 0x02, 0x41, 0x42]), None);
    }
}
