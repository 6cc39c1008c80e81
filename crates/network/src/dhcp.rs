//! Addresses for the practice: Kea as a DHCP server on the LAN (TIP1-A_4763 to 4768), off unless somebody wants it.

use crate::plan::{Adapter, Unsound};
use crate::profile::Network;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::Path;

/// An address that is always the same host's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lease {
    /// The host, `aa:bb:cc:dd:ee:ff`.
    pub mac: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its name.
    #[serde(default)]
    pub name: Option<String>,
}

/// What a group of clients is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Name servers instead of the device's own.
    #[serde(default)]
    pub names: BTreeSet<Ipv4Addr>,
    /// The gateway; none without.
    #[serde(default)]
    pub gateway: Option<Ipv4Addr>,
    /// The domain.
    #[serde(default)]
    pub domain: Option<String>,
    /// Members, by MAC; whoever is in no group belongs to the first.
    #[serde(default)]
    pub members: BTreeSet<String>,
    /// First address.
    pub first: Ipv4Addr,
    /// Last address.
    pub last: Ipv4Addr,
    /// Further options, such as where telephones find their settings.
    #[serde(default)]
    pub options: Vec<FreeOption>,
}

/// An option of DHCP that means nothing to the device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FreeOption {
    /// Its code; none that the device sets itself.
    pub code: u8,
    /// Its bytes, hexadecimal, at most 255.
    pub value: String,
}

/// What the device, or Kea, says itself: mask, router, name servers, host and domain name, time servers, lease, message, routes.
const OWN: [u8; 18] = [
    0, 1, 3, 6, 12, 15, 42, 50, 51, 52, 53, 54, 55, 58, 59, 121, 249, 255,
];
/// Most options of a group; a message has room for few.
const OPTIONS: usize = 16;
/// Most routes that are told; a message has no room for more. The gateway knows them all.
const ROUTES: usize = 40;

impl FreeOption {
    fn is_sound(&self) -> bool {
        let digits = self.value.chars().all(|c| c.is_ascii_hexdigit());
        let length = self.value.len();
        digits && length.is_multiple_of(2) && (2..=510).contains(&length) && !OWN.contains(&self.code)
    }
}

/// The server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dhcp {
    /// Seconds that an address lasts.
    pub seconds: u32,
    /// Groups of clients; the first is everybody's.
    pub groups: Vec<Group>,
    /// Addresses that are always the same host's.
    #[serde(default)]
    pub leases: Vec<Lease>,
}

fn is_mac(text: &str) -> bool {
    let part = |part: &str| {
        part.len() == 2
            && part
                .chars()
                .all(|c| c.is_ascii_hexdigit() && !c.is_ascii_uppercase())
    };
    text.split(':').count() == 6 && text.split(':').all(part)
}

fn is_name(text: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    (1..=200).contains(&text.len()) && text.chars().all(letter)
}

/// Routes as options 121 and 249 carry them: bits of the prefix, as many bytes of it as count, the router.
fn route(to: Network, hop: Ipv4Addr) -> Vec<u8> {
    let bytes = usize::from(to.bits).div_ceil(8);
    let prefix = to.address.octets().into_iter().take(bytes);
    std::iter::once(to.bits)
        .chain(prefix)
        .chain(hop.octets())
        .collect()
}

impl Dhcp {
    pub(crate) fn check(&self, lan: &Adapter) -> Result<(), Unsound> {
        let wrong = |text: &str| Err(Unsound::Dhcp(text.to_owned()));
        let inside = |address: Ipv4Addr| lan.network.contains(address) && address != lan.address;
        if self.groups.is_empty() || self.groups.len() > 16 || self.leases.len() > 256 {
            return wrong("one to 16 groups, and at most 256 fixed addresses");
        }
        if !(300..=2_592_000).contains(&self.seconds) {
            return wrong("an address lasts five minutes to 30 days");
        }
        let mut ranges: Vec<_> = self
            .groups
            .iter()
            .map(|group| (group.first, group.last))
            .collect();
        ranges.sort();
        let apart = ranges.windows(2).all(|pair| matches!(pair, [a, b] if a.1 < b.0));
        if !apart
            || !ranges
                .iter()
                .all(|(first, last)| first <= last && inside(*first) && inside(*last))
        {
            return wrong("the groups' addresses lie in the LAN, without the device's own, and apart");
        }
        if ranges
            .iter()
            .any(|(first, last)| (*first..=*last).contains(&lan.address))
        {
            return wrong("the device's own address would be given away");
        }
        let macs = self.groups.iter().flat_map(|group| &group.members);
        let macs = macs.chain(self.leases.iter().map(|lease| &lease.mac));
        if !macs.into_iter().all(|mac| is_mac(mac)) {
            return wrong("a MAC is written aa:bb:cc:dd:ee:ff");
        }
        let names = self.leases.iter().filter_map(|lease| lease.name.as_ref());
        let names = names.chain(self.groups.iter().filter_map(|group| group.domain.as_ref()));
        if !names.into_iter().all(|name| is_name(name)) {
            return wrong("a name has letters, digits, hyphens and dots");
        }
        let mut free = self.groups.iter().map(|group| &group.options);
        if !free.all(|all| all.len() <= OPTIONS && all.iter().all(FreeOption::is_sound)) {
            return wrong(
                "a further option has a code that is not the device's and 1 to 255 hexadecimal bytes",
            );
        }
        if lan.lent {
            return wrong("another server lends addresses in the LAN, this device's own");
        }
        match self.leases.iter().all(|lease| inside(lease.address)) {
            true => Ok(()),
            false => wrong("fixed addresses lie in the LAN"),
        }
    }

    /// Kea's configuration; `routes` lead through the device, `time` says whether it tells the time.
    pub(crate) fn configuration(
        &self,
        lan: &Adapter,
        routes: &[Network],
        time: bool,
        folder: &Path,
    ) -> String {
        let option = |name: &str, data: String| json!({ "name": name, "data": data });
        let list = |all: &mut dyn Iterator<Item = Ipv4Addr>| {
            all.map(|one| one.to_string()).collect::<Vec<_>>().join(", ")
        };
        // whoever reads routes does not look at the gateway any more (RFC 3442)
        let bytes = |group: &Group| -> String {
            let everything = Network {
                address: Ipv4Addr::UNSPECIFIED,
                bits: 0,
            };
            let default = group.gateway.map(|gateway| route(everything, gateway));
            let all = routes
                .iter()
                .take(ROUTES)
                .map(|to| route(*to, lan.address))
                .chain(default);
            all.flatten().map(|byte| format!("{byte:02x}")).collect()
        };
        let class = |number: usize| format!("group{number}");
        let members = |group: &Group| {
            let one = |mac: &String| format!("hexstring(pkt4.mac, ':') == '{mac}'");
            group.members.iter().map(one).collect::<Vec<_>>().join(" or ")
        };
        let mut classes: Vec<Value> = Vec::new();
        for (number, group) in self.groups.iter().enumerate().skip(1) {
            let test = members(group);
            // a group without members is nobody's
            let test = if test.is_empty() {
                "not member('ALL')".to_owned()
            } else {
                test
            };
            classes.push(json!({ "name": class(number), "test": test }));
        }
        let others = (1..self.groups.len()).map(|number| format!("not member('{}')", class(number)));
        let others = others.collect::<Vec<_>>().join(" and ");
        let others = if others.is_empty() {
            "member('ALL')".to_owned()
        } else {
            others
        };
        classes.push(json!({ "name": class(0), "test": others }));
        let pools = self.groups.iter().enumerate().map(|(number, group)| {
            let names = match group.names.is_empty() {
                true => list(&mut std::iter::once(lan.address)),
                false => list(&mut group.names.iter().copied()),
            };
            let mut options = vec![option("domain-name-servers", names)];
            if time {
                options.push(option("ntp-servers", lan.address.to_string()));
            }
            options.extend(group.gateway.map(|gateway| option("routers", gateway.to_string())));
            options.extend(group.domain.iter().map(|domain| option("domain-name", domain.clone())));
            let free = group.options.iter();
            options.extend(free.map(|one| {
                json!({ "code": one.code, "data": one.value, "csv-format": false, "always-send": true })
            }));
            if !routes.is_empty() {
                let bytes = bytes(group);
                for name in ["routes", "routes-microsoft"] {
                    options.push(json!({ "name": name, "data": bytes, "csv-format": false }));
                }
            }
            json!({
                "pool": format!("{} - {}", group.first, group.last), "client-class": class(number), "option-data": options,
            })
        });
        let reservations = self.leases.iter().map(|lease| {
            // an empty name is none
            let name = lease.name.as_deref().unwrap_or_default();
            json!({ "hw-address": lease.mac, "ip-address": lease.address, "hostname": name })
        });
        let place = folder.display();
        let definition =
            |name: &str, code: u8| json!({ "name": name, "code": code, "type": "binary", "space": "dhcp4" });
        let configuration = json!({ "Dhcp4": {
            "interfaces-config": { "interfaces": [lan.name], "dhcp-socket-type": "raw" },
            "lease-database": { "type": "memfile", "persist": true, "name": format!("{place}/leases.csv") },
            "valid-lifetime": self.seconds, "authoritative": true,
            "option-def": [definition("routes", 121), definition("routes-microsoft", 249)],
            "client-classes": classes,
            "subnet4": [{
                "id": 1, "subnet": lan.network.to_string(), "pools": pools.collect::<Vec<_>>(),
                "reservations": reservations.collect::<Vec<_>>(),
            }],
            "loggers": [{ "name": "kea-dhcp4", "severity": "WARN", "output_options": [{ "output": format!("{place}/log") }] }],
        }});
        configuration.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_written_as_rfc_3442_has_them() {
        let to: Network = "172.30.0.0/16".to_owned().try_into().unwrap();
        assert_eq!(
            route(to, Ipv4Addr::new(192, 168, 10, 2)),
            [16, 172, 30, 192, 168, 10, 2]
        );
        let all: Network = "0.0.0.0/0".to_owned().try_into().unwrap();
        assert_eq!(route(all, Ipv4Addr::new(10, 0, 0, 1)), [0, 10, 0, 0, 1]);
        let odd: Network = "172.31.128.0/17".to_owned().try_into().unwrap();
        assert_eq!(route(odd, Ipv4Addr::LOCALHOST), [17, 172, 31, 128, 127, 0, 0, 1]);
    }

    #[test]
    fn what_would_do_harm_is_refused() {
        let lan = Adapter {
            name: "lan".into(),
            address: Ipv4Addr::new(192, 168, 10, 2),
            network: "192.168.10.0/24".to_owned().try_into().unwrap(),
            lent: false,
        };
        let good = Dhcp {
            seconds: 3600,
            groups: vec![Group {
                names: BTreeSet::new(),
                gateway: None,
                domain: Some("praxis.lan".into()),
                members: BTreeSet::new(),
                first: Ipv4Addr::new(192, 168, 10, 100),
                last: Ipv4Addr::new(192, 168, 10, 150),
                options: vec![FreeOption {
                    code: 66,
                    value: "7466".into(),
                }],
            }],
            leases: vec![Lease {
                mac: "02:00:00:00:00:01".into(),
                address: Ipv4Addr::new(192, 168, 10, 20),
                name: Some("drucker".into()),
            }],
        };
        assert_eq!(good.check(&lan), Ok(()));
        type Change = fn(&mut Dhcp);
        let changes: [Change; 11] = [
            |dhcp| dhcp.groups.clear(),
            |dhcp| dhcp.groups[0].first = Ipv4Addr::new(192, 168, 10, 1),
            |dhcp| dhcp.groups[0].last = Ipv4Addr::new(192, 168, 11, 1),
            |dhcp| dhcp.groups.push(dhcp.groups[0].clone()),
            |dhcp| dhcp.groups[0].domain = Some("x\" }".into()),
            |dhcp| dhcp.leases[0].mac = "' or '1' == '1".into(),
            |dhcp| dhcp.leases[0].address = Ipv4Addr::new(192, 168, 10, 2),
            |dhcp| dhcp.seconds = 1,
            |dhcp| dhcp.groups[0].options[0].code = 3,
            |dhcp| dhcp.groups[0].options[0].value = "7".into(),
            |dhcp| dhcp.groups[0].options[0].value = "\" }".into(),
        ];
        for (number, change) in changes.iter().enumerate() {
            let mut dhcp = good.clone();
            change(&mut dhcp);
            assert!(dhcp.check(&lan).is_err(), "{number}");
        }
    }
}
