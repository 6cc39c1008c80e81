//! What the machine's network shall be like: one value from which packet filter and routes follow (`filter`,
//! `routes`). Whoever has the rights to carry it out judges it first ([`Plan::check`]) and takes the networks of the TI
//! from the environment's profile, never from the order.

use crate::Environment;
use crate::dhcp::Dhcp;
use crate::names::Names;
use crate::profile::{Network, Profile};
use crate::time::TimeService;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddrV4};

/// A network adapter with its address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adapter {
    /// Its name in the system.
    pub name: String,
    /// The Konnektor's address on it.
    pub address: Ipv4Addr,
    /// The network around it.
    pub network: Network,
    /// Were both lent by a DHCP server? Then the adapter gets them with the plan, otherwise it has them from the system.
    #[serde(default)]
    pub lent: bool,
}

/// A network of the practice behind another router (ANLW_LEKTR_INTRANET_ROUTES).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intranet {
    /// The network.
    pub network: Network,
    /// The router, in the LAN.
    pub hop: Ipv4Addr,
}

/// Where clients that use the Konnektor as a gateway reach the Internet (ANLW_INTERNET_MODUS).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Internet {
    /// Through the secure Internet service.
    Sis,
    /// They are told to ask the router themselves; only with one leg.
    Iag,
    /// Nowhere.
    #[default]
    None,
}

/// A tunnel that stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Standing {
    /// Its interface.
    pub interface: String,
    /// Our address in it.
    pub inner: Ipv4Addr,
    /// The concentrator's address outside.
    pub concentrator: Ipv4Addr,
    /// Name servers behind it.
    #[serde(default)]
    pub names: BTreeSet<Ipv4Addr>,
}

/// A network beside the TI that is reached through its tunnel (Bestandsnetz, WANDA Basic).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Legacy {
    /// Its networks.
    pub networks: Vec<Network>,
    /// Its name servers.
    pub names: BTreeSet<Ipv4Addr>,
    /// Has the administrator let it be active?
    pub active: bool,
}

/// What may not pass into the secure Internet service (ANLW_FW_SIS_ADMIN_RULES): it only restricts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Barred {
    /// Where to.
    pub network: Network,
    /// Which TCP and UDP port; all of them without.
    #[serde(default)]
    pub port: Option<u16>,
}

/// The whole of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Whose networks.
    pub environment: Environment,
    /// Towards the practice.
    pub lan: Adapter,
    /// Towards the router; without it the Konnektor stands beside the practice's hosts with one leg (Parallel).
    pub wan: Option<Adapter>,
    /// The practice's router (ANLW_IAG_ADDRESS).
    pub gateway: Option<Ipv4Addr>,
    /// Networks behind other routers of the practice.
    pub intranet: Vec<Intranet>,
    /// Are clients told the way there (ANLW_INTRANET_ROUTES_MODUS = REDIRECT), or is it barred?
    pub redirect: bool,
    /// Clients' way to the Internet.
    pub internet: Internet,
    /// Concentrators that are spoken to at the moment.
    pub doors: BTreeSet<Ipv4Addr>,
    /// Name servers of the transport network (DNS_SERVERS_INT).
    pub names: BTreeSet<SocketAddrV4>,
    /// Hosts in the Internet that the Konnektor itself asks, TCP: registration, revocation lists, trust lists.
    pub hosts: BTreeSet<SocketAddrV4>,
    /// The tunnel into the TI.
    pub ti: Option<Standing>,
    /// The tunnel into the secure Internet service; never without the other.
    pub sis: Option<Standing>,
    /// Networks beside the TI.
    pub legacy: Vec<Legacy>,
    /// What may not pass into the secure Internet service.
    pub barred: Vec<Barred>,
    /// Are clients kept out of the TI (TIP1-A_6025)? The Konnektor itself is not: what heals that comes from there. Not sent as long as
    /// not, so that a helper that is older understands.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shut: bool,
    /// TCP ports that the practice may speak to.
    pub tcp: BTreeSet<u16>,
    /// UDP ports that the practice may speak to.
    pub udp: BTreeSet<u16>,
    /// The name service, if it is wanted.
    #[serde(default)]
    pub resolver: Option<Names>,
    /// The time service, if it is wanted.
    #[serde(default)]
    pub time: Option<TimeService>,
    /// The server of addresses, if it is wanted.
    #[serde(default)]
    pub dhcp: Option<Dhcp>,
    /// Largest packet in the tunnels without ESP, bytes, instead of the environment's (VPN_TI_MTU, VPN_SIS_MTU).
    #[serde(default)]
    pub mtu: Option<u32>,
}

/// Why a plan is not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Unsound {
    /// The LAN's settings (4162).
    #[error("LAN: {0}")]
    Lan(String),
    /// The WAN's settings (4163).
    #[error("WAN: {0}")]
    Wan(String),
    /// A route (4167).
    #[error("route: {0}")]
    Route(String),
    /// A tunnel, a concentrator, or who else is spoken to (4164).
    #[error("packet filter: {0}")]
    Filter(String),
    /// The name service (4180).
    #[error("name service: {0}")]
    Names(String),
    /// The server of addresses (4168).
    #[error("DHCP: {0}")]
    Dhcp(String),
    /// The time service (4177).
    #[error("time service: {0}")]
    Time(String),
}

/// Most entries of any list of a plan.
const MANY: usize = 512;
/// Most networks beside the TI, with their name servers; 2,000 networks must be taken (A_20531).
pub(crate) const LEGACY: usize = 8192;
/// Interfaces that a tunnel may have: one of its own in the kernel, or charon's.
pub(crate) const INTERFACES: [&str; 3] = ["vpn_ti", "vpn_sis", "ipsec0"];

/// Is it the name of an adapter of the practice? Otherwise why not.
pub(crate) fn judge_name(name: &str) -> Result<(), String> {
    let letter = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if !(1..=15).contains(&name.len()) || !name.chars().all(letter) || name.starts_with(['.', '-']) {
        return Err("not the name of an adapter".into());
    }
    match name == "lo" || INTERFACES.contains(&name) {
        true => Err(format!("{name} is no adapter of the practice")),
        false => Ok(()),
    }
}

impl Adapter {
    fn judge(&self) -> Result<(), String> {
        judge_name(&self.name)?;
        match self.network.contains(self.address) && (8..=30).contains(&self.network.bits) {
            true => Ok(()),
            false => Err(format!("{} is not a host of {}", self.address, self.network)),
        }
    }
}

impl Plan {
    /// Its adapters.
    pub fn adapters(&self) -> impl Iterator<Item = &Adapter> {
        std::iter::once(&self.lan).chain(&self.wan)
    }

    /// The adapter that leads out.
    pub fn outside(&self) -> &Adapter {
        self.wan.as_ref().unwrap_or(&self.lan)
    }

    /// Networks of the practice.
    pub fn practice(&self) -> impl Iterator<Item = Network> + '_ {
        let intranet = self.intranet.iter().map(|one| one.network);
        std::iter::once(self.lan.network).chain(intranet)
    }

    /// Is it sound? Checked by whoever carries it out, so that nobody without the rights can ask for more than a Konnektor does
    /// (TIP1-A_4759, TIP1-A_4760).
    pub fn check(&self, profile: &Profile) -> Result<(), Unsound> {
        let lists = [
            self.intranet.len(),
            self.doors.len(),
            self.names.len(),
            self.hosts.len(),
            self.barred.len(),
            self.tcp.len(),
            self.udp.len(),
        ];
        if lists.into_iter().any(|length| length > MANY) {
            return Err(Unsound::Filter(format!("more than {MANY} entries in a list")));
        }
        let legacy = self.legacy.iter();
        let legacy: usize = legacy.map(|one| one.networks.len() + one.names.len()).sum();
        if legacy > LEGACY {
            return Err(Unsound::Filter(format!(
                "more than {LEGACY} networks beside the TI"
            )));
        }
        self.lan.judge().map_err(Unsound::Lan)?;
        let collision = |network: Network| {
            let found = profile.collision(network);
            found.map(|other| format!("{network} collides with {other} of the TI ({})", profile.name))
        };
        if let Some(text) = collision(self.lan.network) {
            return Err(Unsound::Lan(text));
        }
        if let Some(wan) = &self.wan {
            wan.judge().map_err(Unsound::Wan)?;
            if wan.name == self.lan.name {
                return Err(Unsound::Wan("the same adapter as the LAN".into()));
            }
            if let Some(text) = collision(wan.network) {
                return Err(Unsound::Wan(text));
            }
            if self.practice().any(|one| one.overlaps(wan.network)) {
                return Err(Unsound::Wan(format!("{} is the practice's, too", wan.network)));
            }
            if self.internet == Internet::Iag {
                return Err(Unsound::Wan("in line nobody can be sent to the router".into()));
            }
        }
        self.check_routes(&collision, profile)?;
        self.resolver.as_ref().map_or(Ok(()), Names::check)?;
        self.time.as_ref().map_or(Ok(()), TimeService::check)?;
        self.dhcp.as_ref().map_or(Ok(()), |dhcp| dhcp.check(&self.lan))?;
        self.check_tunnels(profile)
    }

    fn check_routes(
        &self,
        collision: &dyn Fn(Network) -> Option<String>,
        profile: &Profile,
    ) -> Result<(), Unsound> {
        let wrong = |text: String| Err(Unsound::Route(text));
        for one in &self.intranet {
            if let Some(text) = collision(one.network) {
                return wrong(text);
            }
            if !one.network.is_private() || one.network.overlaps(self.lan.network) {
                return wrong(format!("{} is no other private network", one.network));
            }
            if !self.lan.network.contains(one.hop) || one.hop == self.lan.address {
                return wrong(format!("{} is no router in the LAN", one.hop));
            }
        }
        let outside = self.outside();
        if let Some(gateway) = self.gateway
            && (!outside.network.contains(gateway) || gateway == outside.address)
        {
            return wrong(format!("the router {gateway} is not in {}", outside.network));
        }
        let mut legacy = self.legacy.iter().flat_map(|one| &one.networks);
        match legacy.find_map(|network| self.no_legacy(*network, profile)) {
            Some(text) => wrong(text),
            None => Ok(()),
        }
    }

    /// Why this cannot be a network beside the TI here (TIP1-A_4759).
    pub fn no_legacy(&self, network: Network, profile: &Profile) -> Option<String> {
        if let Some(other) = profile.collision(network) {
            return Some(format!(
                "{network} collides with {other} of the TI ({})",
                profile.name
            ));
        }
        let mut own = self.practice().chain(self.wan.iter().map(|wan| wan.network));
        if network.bits < 8 || own.any(|one| one.overlaps(network)) {
            return Some(format!("{network} cannot be a network beside the TI"));
        }
        // whoever is spoken to outside would be barred with it
        let asked = self.names.iter().chain(&self.hosts).map(|host| *host.ip());
        let standing = self.ti.iter().chain(&self.sis).map(|one| one.concentrator);
        let mut outside = self
            .doors
            .iter()
            .copied()
            .chain(asked)
            .chain(standing)
            .chain(self.gateway);
        let met = outside.find(|host| network.contains(*host));
        met.map(|host| format!("{network} has {host} in it, which is outside"))
    }

    fn check_tunnels(&self, profile: &Profile) -> Result<(), Unsound> {
        let wrong = |text: String| Err(Unsound::Filter(text));
        let networks = &profile.networks;
        if self.sis.is_some() && self.ti.is_none() {
            return wrong("the secure Internet service never without the TI".into());
        }
        if self.mtu.is_some_and(|mtu| !crate::profile::MTU.contains(&mtu)) {
            return wrong("the largest packet has 576 to 8076 bytes".into());
        }
        if self.sis.is_some() && self.gateway.is_none() {
            return wrong("with the secure Internet service the router must be named".into());
        }
        for (standing, inner) in [(&self.ti, &networks.decentral), (&self.sis, &networks.sis)] {
            let Some(standing) = standing else { continue };
            if !INTERFACES.contains(&standing.interface.as_str()) {
                return wrong(format!("{} is no tunnel's interface", standing.interface));
            }
            if !inner.iter().any(|network| network.contains(standing.inner)) {
                return wrong(format!("{} is no inner address", standing.inner));
            }
            if !self.doors.contains(&standing.concentrator) {
                return wrong(format!("the door to {} is shut", standing.concentrator));
            }
            if standing.names.len() > MANY {
                return wrong("too many name servers".into());
            }
        }
        let same = |(ti, sis): (&Standing, &Standing)| ti.interface == sis.interface;
        if self.ti.as_ref().zip(self.sis.as_ref()).is_some_and(same) {
            return wrong("both tunnels have the same interface".into());
        }
        let hosts = self.names.iter().chain(&self.hosts).map(|host| *host.ip());
        let mut all = self.doors.iter().copied().chain(hosts);
        match all.find(|host| !profile.is_outside(*host)) {
            Some(host) => wrong(format!("{host} is nobody outside")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::names::{Anchor, Forward};
    use crate::{filter, routes};

    fn network(text: &str) -> Network {
        text.to_owned().try_into().unwrap()
    }

    fn adapter(name: &str, address: &str, around: &str) -> Adapter {
        Adapter {
            name: name.into(),
            address: address.parse().unwrap(),
            network: network(around),
            lent: false,
        }
    }

    pub(crate) fn plan() -> Plan {
        Plan {
            environment: Environment::PU,
            lan: adapter("lan", "192.168.1.2", "192.168.1.0/24"),
            wan: Some(adapter("wan", "10.0.0.2", "10.0.0.0/24")),
            gateway: Some("10.0.0.1".parse().unwrap()),
            intranet: Vec::new(),
            redirect: true,
            internet: Internet::None,
            doors: BTreeSet::from(["9.9.9.9".parse().unwrap()]),
            names: BTreeSet::new(),
            hosts: BTreeSet::new(),
            ti: Some(Standing {
                interface: "vpn_ti".into(),
                inner: "100.64.0.5".parse().unwrap(),
                concentrator: "9.9.9.9".parse().unwrap(),
                names: BTreeSet::new(),
            }),
            sis: None,
            legacy: Vec::new(),
            barred: Vec::new(),
            shut: false,
            tcp: BTreeSet::from([443]),
            udp: BTreeSet::new(),
            resolver: None,
            time: None,
            dhcp: None,
            mtu: None,
        }
    }

    fn names(domain: &str, host: &str, zone: &str, digest: &str) -> Option<Names> {
        Some(Names {
            forwards: vec![Forward {
                domain: domain.into(),
                servers: BTreeSet::new(),
            }],
            others: BTreeSet::new(),
            hosts: vec![(host.into(), Ipv4Addr::LOCALHOST)],
            anchors: BTreeSet::from([Anchor {
                zone: zone.into(),
                key_tag: 1,
                algorithm: 8,
                digest_type: 2,
                digest: digest.into(),
            }]),
            port: 53,
        })
    }

    /// Whoever may only ask for plans gets nothing else: no rule, route or line of a configuration of his own, and no way into
    /// the TI beside the tunnel.
    #[test]
    fn what_is_not_sound_is_refused() {
        let profile = Environment::PU.profile().unwrap();
        assert_eq!(plan().check(&profile), Ok(()));
        let good = "ab".repeat(32);
        let mut with_names = plan();
        with_names.resolver = names("telematik", "drucker", "telematik", &good);
        assert_eq!(with_names.check(&profile), Ok(()));
        type Change = Box<dyn Fn(&mut Plan)>;
        let bad_names = |domain: &str, host: &str, zone: &str, digest: &str| -> Change {
            let all = names(domain, host, zone, digest);
            Box::new(move |plan| plan.resolver = all.clone())
        };
        let changes: Vec<Change> = vec![
            Box::new(|plan| plan.lan.name = "lan accept; flush ruleset".into()),
            Box::new(|plan| plan.lan.name = "lo".into()),
            Box::new(|plan| plan.lan.name = "vpn_ti".into()),
            Box::new(|plan| plan.lan.name = String::new()),
            Box::new(|plan| plan.lan = adapter("lan", "100.96.0.2", "100.96.0.0/24")),
            Box::new(|plan| plan.lan = adapter("lan", "10.1.1.1", "10.0.0.0/7")),
            Box::new(|plan| plan.lan.address = "192.168.2.2".parse().unwrap()),
            Box::new(|plan| plan.wan = Some(adapter("lan", "10.0.0.2", "10.0.0.0/24"))),
            Box::new(|plan| plan.wan = Some(adapter("wan", "192.168.1.9", "192.168.1.0/25"))),
            Box::new(|plan| plan.internet = Internet::Iag),
            Box::new(|plan| plan.gateway = Some("10.0.1.1".parse().unwrap())),
            Box::new(|plan| {
                plan.intranet = vec![Intranet {
                    network: network("100.100.0.0/24"),
                    hop: "192.168.1.9".parse().unwrap(),
                }];
            }),
            Box::new(|plan| {
                plan.intranet = vec![Intranet {
                    network: network("192.168.9.0/24"),
                    hop: "10.0.0.1".parse().unwrap(),
                }];
            }),
            Box::new(|plan| {
                plan.legacy = vec![Legacy {
                    networks: vec![network("0.0.0.0/0")],
                    names: BTreeSet::new(),
                    active: true,
                }];
            }),
            Box::new(|plan| {
                plan.legacy = vec![Legacy {
                    networks: vec![network("9.9.9.0/24")],
                    names: BTreeSet::new(),
                    active: false,
                }];
            }),
            Box::new(|plan| plan.ti.as_mut().unwrap().interface = "wan".into()),
            Box::new(|plan| plan.ti.as_mut().unwrap().inner = "8.8.8.8".parse().unwrap()),
            Box::new(|plan| plan.doors.clear()),
            Box::new(|plan| {
                plan.doors.insert("100.96.0.1".parse().unwrap());
            }),
            Box::new(|plan| {
                plan.hosts.insert("100.100.0.1:443".parse().unwrap());
            }),
            Box::new(|plan| plan.sis = plan.ti.take()),
            Box::new(|plan| plan.tcp = (1..1000).collect()),
            Box::new(|plan| plan.mtu = Some(100)),
            bad_names(
                "telematik.\"\n include: /etc/shadow",
                "drucker",
                "telematik",
                &good,
            ),
            bad_names("telematik", "x IN A 1.2.3.4\"\nserver:", "telematik", &good),
            bad_names("telematik", "drucker", "../../etc/cron.d/x", &good),
            bad_names("telematik", "drucker", "telematik", "zz"),
        ];
        for (number, change) in changes.iter().enumerate() {
            let mut plan = plan();
            change(&mut plan);
            assert!(plan.check(&profile).is_err(), "{number}");
        }
    }

    /// As many networks beside the TI as must be taken (A_20531).
    #[test]
    fn two_thousand_networks_beside_the_ti() {
        let profile = Environment::PU.profile().unwrap();
        let mut plan = plan();
        plan.legacy = (0..2000u32)
            .map(|number| Legacy {
                networks: vec![Network {
                    address: (0xBC90_0000 + number * 256).into(),
                    bits: 24,
                }],
                names: BTreeSet::from([(0xBC90_0001 + number * 256).into()]),
                active: true,
            })
            .collect();
        assert_eq!(plan.check(&profile), Ok(()));
        assert!(routes::routes(&plan, &profile.networks).len() > 2000);
        assert!(filter::script(&plan, &profile.networks).contains("188.144.7.0/24"));
        let order = serde_json::to_vec(&plan).unwrap();
        assert!(order.len() < 1 << 20, "{}", order.len());
    }

    /// What belongs into the TI leads into the tunnel, or nowhere.
    #[test]
    fn without_a_tunnel_nothing_leads_into_the_ti() {
        let networks = Environment::PU.profile().unwrap().networks;
        let leads = |plan: &Plan| {
            let all = routes::routes(plan, &networks);
            all.iter()
                .filter(|route| networks.inside().any(|one| one == route.to))
                .count()
        };
        let mut plan = plan();
        assert_eq!(leads(&plan), networks.inside().count());
        plan.ti = None;
        assert_eq!(leads(&plan), 0);
        let script = filter::script(&plan, &networks);
        assert!(!script.contains("oifname vpn_ti"), "{script}");
    }
}
