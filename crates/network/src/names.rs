//! The name service for the practice and for the Konnektor itself: unbound, told whom to ask for which names (TAB_KON_687), with
//! the TI's own anchor for signed names.

use crate::plan::Unsound;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;

/// Names that others know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forward {
    /// The domain and everything below it, without the dot at the end.
    pub domain: String,
    /// Who knows them; nobody, while there is no way to those who do: then nobody else is asked either.
    pub servers: BTreeSet<SocketAddrV4>,
}

/// An anchor of signed names, as a DS record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anchor {
    /// The zone, without the dot at the end.
    pub zone: String,
    /// Tag of the key.
    pub key_tag: u16,
    /// Its algorithm.
    pub algorithm: u8,
    /// Kind of digest.
    pub digest_type: u8,
    /// The digest, hexadecimal.
    pub digest: String,
}

/// What the name service knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Names {
    /// Domains that somebody in particular knows: the TI, Bestandsnetze, the practice's own (DNS_DOMAIN_LEKTR).
    pub forwards: Vec<Forward>,
    /// Who knows everything else: the secure Internet service's name servers, or DNS_SERVERS_INT.
    pub others: BTreeSet<SocketAddrV4>,
    /// Names of the practice's hosts below `konlan` (TIP1-A_6480).
    pub hosts: Vec<(String, Ipv4Addr)>,
    /// Anchors of signed names (TIP1-A_4799); kept up to date by RFC 5011 from then on.
    pub anchors: BTreeSet<Anchor>,
    /// Port, 53 but for tests.
    pub port: u16,
}

fn is_domain(name: &str) -> bool {
    let label = |label: &str| {
        let letter = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        (1..=63).contains(&label.len()) && label.chars().all(letter)
    };
    name.len() <= 250 && name.split('.').all(label)
}

impl Names {
    pub(crate) fn check(&self) -> Result<(), Unsound> {
        let wrong = |text: String| Err(Unsound::Names(text));
        let domains = self.forwards.iter().map(|one| &one.domain);
        let names = self.hosts.iter().map(|(name, _)| name);
        let zones = self.anchors.iter().map(|anchor| &anchor.zone);
        if let Some(name) = domains.chain(names).chain(zones).find(|name| !is_domain(name)) {
            return wrong(format!("{name:?} is no name"));
        }
        let all = [self.others.len(), self.hosts.len(), self.anchors.len()];
        let servers = self.forwards.iter().map(|one| one.servers.len());
        if all.into_iter().chain(servers).any(|length| length > 256) {
            return wrong("more than 256 entries in a list".into());
        }
        // each network beside the TI may have a domain of its own
        if self.forwards.len() > crate::plan::LEGACY {
            return wrong("more domains than networks beside the TI".into());
        }
        let hexadecimal = |anchor: &Anchor| {
            let digit = |c: char| c.is_ascii_hexdigit();
            (40..=128).contains(&anchor.digest.len()) && anchor.digest.chars().all(digit)
        };
        match self.anchors.iter().all(hexadecimal) {
            true => Ok(()),
            false => wrong("an anchor's digest is not hexadecimal".into()),
        }
    }

    /// Anchors of a zone, as its file begins.
    pub(crate) fn seeds(&self, zone: &str) -> String {
        let all = self.anchors.iter().filter(|anchor| anchor.zone == zone);
        let line = |one: &Anchor| {
            let (tag, algorithm, kind) = (one.key_tag, one.algorithm, one.digest_type);
            format!("{zone}. 3600 IN DS {tag} {algorithm} {kind} {}\n", one.digest)
        };
        all.map(line).collect()
    }

    /// Zones with an anchor.
    pub(crate) fn zones(&self) -> BTreeSet<&str> {
        self.anchors.iter().map(|anchor| anchor.zone.as_str()).collect()
    }

    /// unbound's configuration; `listen` and `practice` from the plan, `folder` for its files.
    pub(crate) fn configuration(&self, listen: Ipv4Addr, practice: &[String], folder: &Path) -> String {
        let mut text = String::from("server:\n");
        let mut line = |one: std::fmt::Arguments| {
            // a String takes everything
            let _ = writeln!(text, "  {one}");
        };
        let place = folder.display();
        for address in [listen, Ipv4Addr::LOCALHOST] {
            line(format_args!("interface: {address}@{}", self.port));
        }
        line(format_args!("access-control: 127.0.0.0/8 allow"));
        for network in practice {
            line(format_args!("access-control: {network} allow"));
        }
        for fixed in [
            "do-ip6: no",
            "do-daemonize: no",
            "username: \"\"",
            "chroot: \"\"",
            "use-syslog: no",
            "verbosity: 1",
            "hide-identity: yes",
            "hide-version: yes",
            "module-config: \"validator iterator\"",
            "harden-glue: yes",
            "harden-dnssec-stripped: yes",
            "serve-expired: no",
            "cache-max-ttl: 86400",
            "msg-cache-size: 8m",
            "rrset-cache-size: 16m",
            // addresses of the TI look private to unbound and to us: they are what is looked for
            "do-not-query-localhost: no",
            "local-zone: \"168.192.in-addr.arpa.\" nodefault",
            "unblock-lan-zones: yes",
            "insecure-lan-zones: yes",
        ] {
            line(format_args!("{fixed}"));
        }
        line(format_args!("directory: \"{place}\""));
        line(format_args!("pidfile: \"{place}/pid\""));
        line(format_args!("logfile: \"{place}/log\""));
        for zone in self.zones() {
            line(format_args!("auto-trust-anchor-file: \"{place}/{zone}.anchor\""));
        }
        line(format_args!("local-zone: \"konlan.\" static"));
        for (name, address) in &self.hosts {
            line(format_args!("local-data: \"{name}.konlan. 300 IN A {address}\""));
        }
        for one in self.forwards.iter().filter(|one| one.servers.is_empty()) {
            line(format_args!("local-zone: \"{}.\" always_refuse", one.domain));
        }
        let everything = Forward {
            domain: String::new(),
            servers: self.others.clone(),
        };
        for one in self
            .forwards
            .iter()
            .chain([&everything])
            .filter(|one| !one.servers.is_empty())
        {
            let _ = writeln!(text, "forward-zone:\n  name: \"{}.\"", one.domain);
            for server in &one.servers {
                let _ = writeln!(text, "  forward-addr: {}@{}", server.ip(), server.port());
            }
        }
        text + "remote-control:\n  control-enable: no\n"
    }
}
