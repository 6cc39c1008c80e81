//! Concentrators of a VPN access service: the names under which they are found, the order in which they are tried, and what
//! their TXT records say (TUC_VPN-ZD_0001, gemSpec_VPN_ZugD 1.4). Pure; whoever asks name servers is elsewhere.

use crate::Service;
use std::net::Ipv4Addr;

/// Longest TXT record that is read, in bytes: a handful of addresses and a name.
const MAX_TXT: usize = 1024;
/// Most name servers that are taken from it.
const MAX_SERVERS: usize = 8;

/// Where the concentrators of a provider are listed; `domain` is DNS_DOMAIN_VPN_ZUGD_INT.
pub fn concentrators_name(service: Service, domain: &str) -> String {
    let place = match service {
        Service::Ti => "ti-extern",
        Service::Sis => "sis-extern",
    };
    format!("_isakmp._udp.{place}.{domain}")
}

/// Is this the name of a host and nothing else? What name servers say becomes the identity that a concentrator must prove: there a
/// wildcard would let everybody in.
pub fn is_host(name: &str) -> bool {
    let label = |label: &str| {
        let letters = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        (1..=63).contains(&label.len()) && letters && !label.starts_with('-') && !label.ends_with('-')
    };
    name.len() <= 253 && name.contains('.') && name.split('.').all(label)
}

/// A record of type SRV.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Srv {
    /// Lower ones first.
    pub priority: u16,
    /// Share among those of one priority.
    pub weight: u16,
    /// Port.
    pub port: u16,
    /// Name of the host.
    pub target: String,
}

/// The order in which to try them (RFC 2782): by priority, and within one by lot, in which the weights count. `draw(n)` gives a
/// number from 0 to `n`, both included. A target `.` means that there is no such service.
pub fn order(mut records: Vec<Srv>, mut draw: impl FnMut(u32) -> u32) -> Vec<Srv> {
    records.retain(|record| record.target != ".");
    // those without weight stand first, so that they have a chance at all
    records.sort_by_key(|record| (record.priority, record.weight));
    let mut ordered = Vec::with_capacity(records.len());
    while let Some(first) = records.first() {
        let priority = first.priority;
        let same = records.iter().take_while(|record| record.priority == priority);
        let sum = same.map(|record| u32::from(record.weight)).sum();
        let lot = draw(sum).min(sum);
        let mut running = 0;
        let chosen = records.iter().position(|record| {
            running += u32::from(record.weight);
            running >= lot
        });
        ordered.push(records.remove(chosen.unwrap_or_default()));
    }
    ordered
}

/// What a concentrator's TXT record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inside {
    /// Name servers behind the tunnel (DNS_SERVERS_TI or DNS_SERVERS_SIS).
    pub nameservers: Vec<Ipv4Addr>,
    /// Zone of the services there (DOMAIN_SRVZONE_TI), without a dot at the end.
    pub zone: Option<String>,
}

/// Why a TXT record was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TxtError {
    /// Longer than any of this kind.
    #[error("longer than {MAX_TXT} bytes")]
    TooLong,
    /// Of a version that is not known.
    #[error("txtvers is not 1")]
    Version,
    /// No address of a name server.
    #[error("no {0} with an IPv4 address")]
    NoServer(&'static str),
}

/// Reads the strings of a TXT record; keys that are not known are passed over (RFC 6763).
pub fn read_txt(strings: &[String], service: Service) -> Result<Inside, TxtError> {
    if strings.iter().map(String::len).sum::<usize>() > MAX_TXT {
        return Err(TxtError::TooLong);
    }
    let (servers, zone) = match service {
        Service::Ti => ("NameserverTI", "DomainSrvTI"),
        Service::Sis => ("NameserverSIS", "DomainSrvSIS"),
    };
    let value = |wanted: &str| {
        let pairs = strings.iter().filter_map(|text| text.split_once('='));
        let mut found = pairs.filter(|(key, _)| key.trim().eq_ignore_ascii_case(wanted));
        found.next().map(|(_, value)| value.trim())
    };
    if value("txtvers").is_some_and(|version| version != "1") {
        return Err(TxtError::Version);
    }
    let addresses = value(servers).into_iter().flat_map(|list| list.split(','));
    let nameservers: Vec<Ipv4Addr> = addresses
        .filter_map(|text| text.trim().parse().ok())
        .take(MAX_SERVERS)
        .collect();
    if nameservers.is_empty() {
        return Err(TxtError::NoServer(servers));
    }
    let zone = value(zone).map(|zone| zone.trim_end_matches('.').to_owned());
    Ok(Inside {
        nameservers,
        zone: zone.filter(|zone| !zone.is_empty()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn srv(priority: u16, weight: u16, target: &str) -> Srv {
        Srv {
            priority,
            weight,
            port: 500,
            target: target.into(),
        }
    }

    #[test]
    fn hosts_are_hosts() {
        for good in ["vpnk1.example", "a-b.c.de", "1.example"] {
            assert!(is_host(good), "{good}");
        }
        for bad in [
            "",
            "%any",
            "*.example",
            "host",
            "a..b",
            "-a.b",
            "a-.b",
            "a b.c",
            "fqdn:a.b",
            "C=DE, CN=x.y",
            "a.b.",
        ] {
            assert!(!is_host(bad), "{bad}");
        }
    }

    #[test]
    fn names_as_in_the_specification() {
        let name = |service| concentrators_name(service, "vpn.example");
        assert_eq!(name(Service::Ti), "_isakmp._udp.ti-extern.vpn.example");
        assert_eq!(name(Service::Sis), "_isakmp._udp.sis-extern.vpn.example");
    }

    proptest! {
        /// Nothing is lost or doubled, and a lower priority never stands behind a higher one.
        #[test]
        fn an_order_of_all(records in prop::collection::vec((0u16..4, any::<u16>()), 0..20), seed in any::<u64>()) {
            let records: Vec<Srv> = records
                .into_iter()
                .enumerate()
                .map(|(number, (priority, weight))| srv(priority, weight, &number.to_string()))
                .collect();
            let mut state = seed;
            let ordered = order(records.clone(), |most| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                ((state >> 33) as u32) % (most.saturating_add(1).max(1))
            });
            let mut names: Vec<&str> = ordered.iter().map(|one| one.target.as_str()).collect();
            names.sort_unstable();
            let mut all: Vec<&str> = records.iter().map(|one| one.target.as_str()).collect();
            all.sort_unstable();
            prop_assert_eq!(names, all);
            prop_assert!(ordered.is_sorted_by_key(|one| one.priority));
        }

        #[test]
        fn any_txt_is_survived(strings in prop::collection::vec(".{0,40}", 0..6)) {
            let _ = read_txt(&strings, Service::Ti);
        }
    }

    /// Weights are shares, and weight 0 is not never.
    #[test]
    fn weights_are_shares() {
        let mut first = BTreeMap::new();
        let mut state = 1u64;
        for _ in 0..10_000 {
            let records = vec![
                srv(1, 0, "rarely"),
                srv(1, 30, "some"),
                srv(1, 60, "most"),
                srv(2, 9, "spare"),
            ];
            let ordered = order(records, |most| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                ((state >> 33) as u32) % (most + 1)
            });
            *first.entry(ordered[0].target.clone()).or_insert(0) += 1;
            assert_eq!(ordered[3].target, "spare");
        }
        let share = |name: &str| f64::from(*first.get(name).unwrap_or(&0)) / 10_000.0;
        assert!((0.002..0.03).contains(&share("rarely")), "{first:?}");
        assert!((0.28..0.38).contains(&share("some")), "{first:?}");
        assert!((0.6..0.7).contains(&share("most")), "{first:?}");
    }

    #[test]
    fn a_txt_record_is_read() {
        let text = |strings: &[&str]| strings.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
        let good = text(&[
            "txtvers=1",
            "NameserverTI=100.97.0.1, 100.97.0.2",
            "DomainSrvTI=zugd.telematik.",
        ]);
        assert_eq!(
            read_txt(&good, Service::Ti),
            Ok(Inside {
                nameservers: vec![Ipv4Addr::new(100, 97, 0, 1), Ipv4Addr::new(100, 97, 0, 2)],
                zone: Some("zugd.telematik".into()),
            })
        );
        assert_eq!(
            read_txt(&good, Service::Sis),
            Err(TxtError::NoServer("NameserverSIS"))
        );
        assert_eq!(
            read_txt(&text(&["txtvers=2", "NameserverTI=100.97.0.1"]), Service::Ti),
            Err(TxtError::Version)
        );
        assert_eq!(
            read_txt(&text(&["NameserverTI=fe80::1"]), Service::Ti),
            Err(TxtError::NoServer("NameserverTI"))
        );
        assert_eq!(read_txt(&["x".repeat(2000)], Service::Ti), Err(TxtError::TooLong));
    }
}
