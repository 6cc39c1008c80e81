//! An address that a DHCP server lends to an adapter of the device: BusyBox's udhcpc asks, its script only notes the answer, and the
//! adapter gets the address with the plan that names it, once that has been judged.

use crate::profile::Network;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// What was lent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lent {
    /// The address.
    pub address: Ipv4Addr,
    /// The network around it.
    pub network: Network,
    /// The router there (ANLW_IAG_ADDRESS).
    pub router: Option<Ipv4Addr>,
}

/// Writes down what was answered, in the folder it runs in, for whoever judges it; changes nothing itself.
pub(crate) const SCRIPT: &str = r#"printf '%s\n' "$ip" "${mask:-}" "${router:-}" >lent.new && mv lent.new lent
"#;
/// What udhcpc calls its script with when there is an answer. Its script is the shell, which finds one of these names in its folder:
/// where the folder lies nothing may be executed (`/run`).
pub(crate) const ANSWERS: [&str; 2] = ["bound", "renew"];

impl Lent {
    /// Reads what the script has written: address, bits of the prefix, routers.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let mut lines = text.lines();
        let mut line = || lines.next().unwrap_or_default().trim();
        let address: Ipv4Addr = line().parse().map_err(|_| "no address")?;
        let bits: u8 = line().parse().map_err(|_| "no mask")?;
        let mut routers = line().split_whitespace();
        let router = routers.next().and_then(|one| one.parse().ok());
        if !(8..=30).contains(&bits) {
            return Err("a network of no practice's size");
        }
        if address.is_loopback()
            || address.is_multicast()
            || address.is_unspecified()
            || address.is_broadcast()
        {
            return Err("no address of a host");
        }
        let first = u32::from(address) & (u32::MAX << (32 - u32::from(bits)));
        let network = Network {
            address: first.into(),
            bits,
        };
        let last = first | (u32::MAX >> bits);
        match u32::from(address) == first || u32::from(address) == last {
            true => Err("no address of a host"),
            false => Ok(Self {
                address,
                network,
                router: router.filter(|router| network.contains(*router) && *router != address),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_lent_is_read() {
        let lent = Lent::parse("192.168.178.20\n24\n192.168.178.1 192.168.178.2\n").unwrap();
        assert_eq!(lent.network.to_string(), "192.168.178.0/24");
        assert_eq!(lent.router, Some("192.168.178.1".parse().unwrap()));
        assert_eq!(Lent::parse("10.0.0.5\n8\n\n").unwrap().router, None);
        // a router somewhere else is none
        assert_eq!(Lent::parse("10.0.0.5\n24\n10.0.1.1\n").unwrap().router, None);
        for bad in [
            "",
            "192.168.1.5\n",
            "192.168.1.5\n0\n",
            "192.168.1.5\n33\n",
            "192.168.1.5\n255.255.255.0\n",
            "192.168.1.0\n24\n",
            "192.168.1.255\n24\n",
            "127.0.0.1\n8\n",
            "224.0.0.5\n24\n",
            "1.2.3.4; reboot\n24\n",
        ] {
            assert!(Lent::parse(bad).is_err(), "{bad:?}");
        }
    }
}
