//! `Bestandsnetze.xml` of the configuration service (`InfrastrukturKonfig.xsd` 1.0.1): networks beside the TI that are reached
//! through its tunnel. The file has no signature; whose it is says the TLS connection it comes over.

use crate::{Malformed, children, descend, has_name, ns, optional, required};
use base::Timestamp;
use jiff::civil::Date;
use jiff::tz::Offset;
use roxmltree::Node;
use std::net::IpAddr;

/// Longest file in bytes; 3 MB must be taken (A_20531).
pub const LONGEST: usize = 8 * 1024 * 1024;
/// Most networks and name servers together; 2,000 networks must be taken (A_20531).
pub const MOST: usize = 8000;
/// Most name servers of a network.
const SERVERS: usize = 16;

/// The file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory {
    /// Its version, `n.n.n`.
    pub version: [u16; 3],
    /// What can be used of it.
    pub networks: Vec<InventoryNetwork>,
    /// What cannot, and why. One bad entry takes nobody else's network away.
    pub refused: Vec<String>,
}

/// A network beside the TI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InventoryNetwork {
    /// Its name for machines; unique in the file.
    pub id: String,
    /// Its name for people.
    pub name: String,
    /// First addresses, and bits of their prefixes.
    pub networks: Vec<(IpAddr, u8)>,
    /// The domain that its name servers know.
    pub domain: String,
    /// Its name servers.
    pub servers: Vec<IpAddr>,
    /// First and last day on which it is to be used.
    pub valid: (Date, Date),
}

impl Inventory {
    /// Reads a file.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        if text.len() > LONGEST {
            return Err(Malformed(format!("longer than {LONGEST} bytes")));
        }
        let document = crate::read::document(text)?;
        let root = document.root_element();
        if !has_name(root, ns::TICONF, "Infrastructure") {
            return Err(Malformed("element Infrastructure expected".into()));
        }
        let version = required(root, ns::TICONF, "Version")?;
        let version = version_of(&version).ok_or_else(|| Malformed("the version is not n.n.n".into()))?;
        let all = descend(root, ns::TICONF, "InventoryNetworks")?;
        let mut inventory = Self {
            version,
            networks: Vec::new(),
            refused: Vec::new(),
        };
        let mut room = MOST;
        for node in children(all, ns::TICONF, "InventoryNetwork") {
            let found = InventoryNetwork::read(node).and_then(|one| {
                let again = inventory.networks.iter().any(|other| other.id == one.id);
                match room.checked_sub(one.networks.len() + one.servers.len()) {
                    _ if again => Err(Malformed("a second time".into())),
                    None => Err(Malformed(format!("more than {MOST} networks and name servers"))),
                    Some(left) => {
                        room = left;
                        Ok(one)
                    }
                }
            });
            match found {
                Ok(one) => inventory.networks.push(one),
                Err(error) => {
                    let id = optional(node, ns::TICONF, "ID").unwrap_or_default();
                    inventory.refused.push(format!("{id:.100}: {error}"));
                }
            }
        }
        Ok(inventory)
    }
}

/// As the schema has it: labels of letters, digits and dashes, each beginning with a letter.
fn is_domain(text: &str) -> bool {
    let label = |label: &str| {
        let bytes = label.as_bytes();
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
        bytes.len() <= 63
            && bytes.first().is_some_and(u8::is_ascii_alphabetic)
            && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
            && bytes.iter().all(plain)
    };
    text.len() <= 100 && text.split('.').all(label)
}

/// Three numbers of at most three digits, `n.n.n`.
pub(crate) fn version_of(text: &str) -> Option<[u16; 3]> {
    let numbers: Vec<u16> = text
        .split('.')
        .map(|part| {
            let digits = (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| part.parse().ok())?
        })
        .collect::<Option<_>>()?;
    numbers.try_into().ok()
}

impl InventoryNetwork {
    /// Is it to be used on this day (UTC)?
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        let today = Offset::UTC.to_datetime(now).date();
        (self.valid.0..=self.valid.1).contains(&today)
    }

    fn read(node: Node<'_, '_>) -> Result<Self, Malformed> {
        let wrong = |what: &str| Malformed(format!("{what} as nobody writes it"));
        let id = required(node, ns::TICONF, "ID")?;
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
        if id.len() > 100 || !id.chars().all(plain) {
            return Err(wrong("ID"));
        }
        let name = optional(node, ns::TICONF, "Name").unwrap_or_default();
        if name.chars().count() > 100 || name.chars().any(char::is_control) {
            return Err(wrong("Name"));
        }
        let networks = children(descend(node, ns::TICONF, "Networks")?, ns::TICONF, "Network");
        let networks = networks.map(|network| {
            let address = required(network, ns::TICONF, "NetworkAddress")?;
            let bits = required(network, ns::TICONF, "NetworkPrefix")?;
            let address: IpAddr = address.parse().map_err(|_| wrong("NetworkAddress"))?;
            let bits: u8 = bits.parse().map_err(|_| wrong("NetworkPrefix"))?;
            Ok((address, bits))
        });
        let networks: Vec<_> = networks.collect::<Result<_, Malformed>>()?;
        if networks.is_empty() {
            return Err(Malformed("without a network".into()));
        }
        let domain = descend(descend(node, ns::TICONF, "DNS")?, ns::TICONF, "Domain")?;
        let servers = children(descend(domain, ns::TICONF, "Servers")?, ns::TICONF, "Server");
        let servers = servers.map(|server| {
            let text = server.text().unwrap_or_default().trim();
            text.parse().map_err(|_| wrong("Server"))
        });
        let servers: Vec<IpAddr> = servers.collect::<Result<_, Malformed>>()?;
        if servers.len() > SERVERS {
            return Err(Malformed(format!("more than {SERVERS} name servers")));
        }
        let name_of = required(domain, ns::TICONF, "DomainName")?;
        if !is_domain(&name_of) {
            return Err(wrong("DomainName"));
        }
        let history = descend(node, ns::TICONF, "History")?;
        let day = |name| -> Result<Date, Malformed> {
            // xs:date may carry a time zone; a day is a day
            let text = required(history, ns::TICONF, name)?;
            let day = text.get(..10).unwrap_or_default();
            day.parse().map_err(|_| wrong(name))
        };
        Ok(Self {
            id,
            name,
            networks,
            servers,
            domain: name_of,
            valid: (day("ValidFromDate")?, day("ValidTilDate")?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str, address: &str, domain: &str) -> String {
        format!(
            "<InventoryNetwork><ID>{id}</ID><Name>Netz {id}</Name><Networks><Network><NetworkAddress>{address}</NetworkAddress>\
             <NetworkPrefix>24</NetworkPrefix></Network></Networks><DNS><Domain><DomainName>{domain}</DomainName><Servers>\
             <Server>{address}</Server></Servers></Domain></DNS><History><ValidFromDate>2020-01-01</ValidFromDate>\
             <ValidTilDate>2030-12-31Z</ValidTilDate><LastChangeDate>2020-01-01</LastChangeDate></History></InventoryNetwork>"
        )
    }

    fn file(version: &str, entries: &[String]) -> String {
        let namespace = ns::TICONF;
        format!(
            "<Infrastructure xmlns=\"{namespace}\"><Version>{version}</Version><InventoryNetworks>{}</InventoryNetworks>\
             </Infrastructure>",
            entries.concat()
        )
    }

    #[test]
    fn one_bad_entry_takes_nobody_elses_away() {
        let entries = [
            entry("A", "1.2.3.0", "a.example"),
            entry("B", "1.2.3.400", "b.example"),
            entry("A", "9.9.9.0", "c.example"),
            entry("b_", "9.9.8.0", "c.example"),
            entry("D", "2001:db8::", "d.example"),
            entry("E", "9.9.7.0", "e.example."),
            entry("F", "9.9.6.0", "ä.example"),
            entry("G", "9.9.5.0", "-a.example"),
        ];
        let inventory = Inventory::parse(&file("2.1.5", &entries)).unwrap();
        assert_eq!(inventory.version, [2, 1, 5]);
        let ids: Vec<_> = inventory.networks.iter().map(|one| one.id.as_str()).collect();
        assert_eq!(ids, ["A", "D"]);
        assert_eq!(inventory.refused.len(), 6, "{:?}", inventory.refused);
        let [first, ..] = inventory.networks.as_slice() else {
            panic!()
        };
        assert_eq!(first.networks, [("1.2.3.0".parse().unwrap(), 24)]);
        for (day, valid) in [
            ("2019-12-31", false),
            ("2020-01-01", true),
            ("2030-12-31", true),
            ("2031-01-01", false),
        ] {
            let now = format!("{day}T12:00:00Z").parse().unwrap();
            assert_eq!(first.is_valid_at(now), valid, "{day}");
        }
    }

    #[test]
    fn what_is_no_such_file_is_refused() {
        for text in [
            "",
            "<html/>",
            &file("1.2", &[]),
            &file("1.2.3.4", &[]),
            &file("a.b.c", &[]),
        ] {
            assert!(Inventory::parse(text).is_err(), "{text}");
        }
        assert!(Inventory::parse(&" ".repeat(LONGEST + 1)).is_err());
    }

    /// Sizes that must be taken (A_20531).
    #[test]
    fn two_thousand_networks_in_three_megabytes() {
        let padding = format!("<!--{}-->", " ".repeat(1500));
        let entries: Vec<_> = (0..2000)
            .map(|number| entry(&format!("N{number}"), "1.2.3.0", "a.example") + &padding)
            .collect();
        let text = file("1.0.0", &entries);
        assert!(text.len() > 3_000_000);
        let inventory = Inventory::parse(&text).unwrap();
        assert_eq!((inventory.networks.len(), inventory.refused.len()), (2000, 0));
    }

    #[test]
    fn the_published_one() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../../shared/samples/Konnektor_Bestandsnetze.xml"
        );
        let Ok(text) = std::fs::read_to_string(path) else {
            eprintln!("skipped: ../shared is not there");
            return;
        };
        let inventory = Inventory::parse(&text).unwrap();
        assert_eq!(inventory.version, [2, 1, 5]);
        assert!(inventory.networks.len() > 5 && inventory.refused.is_empty());
        assert!(inventory.networks.iter().any(|one| one.domain == "kv-safenet.de"));
    }
}
