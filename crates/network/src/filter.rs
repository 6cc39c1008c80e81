//! The packet filter that follows from a plan: one nftables table of our own, replaced as a whole. Every rule carries the
//! requirement that it implements and a counter, so that what was asked for can be seen at work.

use crate::plan::{Internet, Plan, Standing};
use crate::profile::{Network, Networks};
use std::collections::BTreeSet;
use std::fmt::Display;
use std::net::SocketAddrV4;

/// Name of the table.
pub const TABLE: &str = "langlauf";

/// Addresses that nobody has outside (TIP1-A_4746); private ones and those of carriers are real in practices.
const MARTIANS: &str = "0.0.0.0/8, 127.0.0.0/8, 169.254.0.0/16, 192.0.0.0/24, 192.0.2.0/24, 198.18.0.0/15, 198.51.100.0/24, \
                        203.0.113.0/24, 224.0.0.0/4, 240.0.0.0/4";

/// Where a packet is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chain {
    /// Every packet that arrives, before anything else.
    Arriving,
    /// To the Konnektor.
    In,
    /// Through it.
    Through,
    /// From it.
    Out,
    /// What leaves, with whose address.
    Address,
}

impl Chain {
    const ALL: [Self; 5] = [Self::Arriving, Self::In, Self::Through, Self::Out, Self::Address];

    fn head(self) -> &'static str {
        match self {
            Self::Arriving => "arriving { type filter hook prerouting priority raw; policy accept;",
            Self::In => "in { type filter hook input priority filter; policy drop;",
            Self::Through => "through { type filter hook forward priority filter; policy drop;",
            Self::Out => "out { type filter hook output priority filter; policy drop;",
            Self::Address => "address { type nat hook postrouting priority srcnat; policy accept;",
        }
    }
}

/// What happens to a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Accept,
    Drop,
    /// Dropped and told: it should not have come up at all (TIP1-A_4750).
    Alarm,
}

struct Rule {
    chain: Chain,
    when: String,
    /// nftables' own words in its place, where there is more to do than to let pass or not.
    verdict: Result<Verdict, String>,
    requirement: &'static str,
}

/// Rules being written.
#[derive(Default)]
struct Book(Vec<Rule>);

impl Book {
    fn rule(&mut self, chain: Chain, when: impl Into<String>, verdict: Verdict, requirement: &'static str) {
        self.0.push(Rule {
            chain,
            when: when.into(),
            verdict: Ok(verdict),
            requirement,
        });
    }

    fn action(&mut self, chain: Chain, when: String, action: String, requirement: &'static str) {
        self.0.push(Rule {
            chain,
            when,
            verdict: Err(action),
            requirement,
        });
    }
}

fn braces<T: Display>(all: impl IntoIterator<Item = T>) -> Option<String> {
    let all: Vec<String> = all.into_iter().map(|one| one.to_string()).collect();
    (!all.is_empty()).then(|| format!("{{ {} }}", all.join(", ")))
}

/// Networks as an anonymous set; those inside others are left out, for intervals must not overlap.
fn set(networks: impl IntoIterator<Item = Network>) -> Option<String> {
    let all: BTreeSet<Network> = networks.into_iter().collect();
    let inside = |one: &Network| {
        all.iter()
            .any(|other| other.bits < one.bits && other.overlaps(*one))
    };
    braces(all.iter().filter(|one| !inside(one)))
}

/// Rules about the services that clients may use, too.
const OPEN: &str = "TIP1-A_5530";

type Class = (String, &'static str);

fn classes(all: impl IntoIterator<Item = (Vec<Network>, &'static str)>) -> impl Iterator<Item = Class> {
    all.into_iter()
        .filter_map(|(networks, id)| Some((set(networks)?, id)))
}

/// Networks of services inside the TI, each with its requirement.
fn services(networks: &Networks) -> impl Iterator<Item = Class> {
    classes([
        (networks.secured.clone(), "TIP1-A_4730"),
        (networks.open.clone(), OPEN),
        (networks.central.clone(), "TIP1-A_4731"),
    ])
}

/// Networks of inner addresses, each with its requirement.
fn inner_addresses(networks: &Networks) -> impl Iterator<Item = Class> {
    classes([
        (networks.decentral.clone(), "TIP1-A_4732"),
        (networks.sis.clone(), "TIP1-A_4734"),
    ])
}

fn hosts(hosts: &BTreeSet<SocketAddrV4>) -> Option<String> {
    braces(
        hosts
            .iter()
            .map(|host| format!("{} . {}", host.ip(), host.port())),
    )
}

/// The whole script: it replaces the table in one transaction, or changes nothing.
pub fn script(plan: &Plan, networks: &Networks) -> String {
    let mut book = Book::default();
    arriving(&mut book, plan, networks);
    inward(&mut book, plan);
    through(&mut book, plan, networks);
    outward(&mut book, plan, networks);
    addresses(&mut book, plan);
    let mut text = format!("table inet {TABLE}\ndelete table inet {TABLE}\ntable inet {TABLE} {{\n");
    for chain in Chain::ALL {
        text += &format!("  chain {}\n", chain.head());
        for rule in book.0.iter().filter(|rule| rule.chain == chain) {
            let verdict = match &rule.verdict {
                Ok(Verdict::Accept) => "accept".to_owned(),
                Ok(Verdict::Drop) => "drop".to_owned(),
                Ok(Verdict::Alarm) => {
                    let log = "limit rate 5/minute burst 5 packets log prefix";
                    let (when, id) = (&rule.when, rule.requirement);
                    text += &format!("    {when} {log} \"langlauf {id} \" level warn\n");
                    "drop".to_owned()
                }
                Err(action) => action.clone(),
            };
            text += &format!(
                "    {} counter {verdict} comment \"{}\"\n",
                rule.when, rule.requirement
            );
        }
        text += "  }\n";
    }
    text + "}\n"
}

/// Everything shut, but for the machine with itself: before anybody has said what shall be open.
pub fn shut() -> String {
    let mut text = format!("table inet {TABLE} {{\n");
    for (chain, rule) in [
        (Chain::In, "iifname lo accept"),
        (Chain::Through, ""),
        (Chain::Out, "oifname lo accept"),
    ] {
        text += &format!("  chain {}\n    {rule}\n  }}\n", chain.head());
    }
    text + "}\n"
}

fn arriving(book: &mut Book, plan: &Plan, networks: &Networks) {
    use Chain::Arriving;
    use Verdict::{Alarm, Drop};
    let mut alarm = |when: String, id| book.rule(Arriving, when, Alarm, id);
    let foreign = "iifname != lo";
    alarm(format!("{foreign} meta nfproto ipv6"), "TIP1-A_4728");
    // a client without an address asks for one
    let asking = match plan.udp.contains(&67) {
        true => "ip saddr != 0.0.0.0 ",
        false => "",
    };
    alarm(
        format!("{foreign} {asking}ip saddr {{ {MARTIANS} }}"),
        "TIP1-A_4746",
    );
    alarm(
        format!("{foreign} ip daddr != 255.255.255.255 ip daddr {{ {MARTIANS} }}"),
        "TIP1-A_4746",
    );
    alarm(
        format!("{foreign} ip protocol != {{ 1, 4, 6, 17, 50, 108 }}"),
        "TIP1-A_4747",
    );
    let mut own: BTreeSet<_> = [plan.lan.address, plan.outside().address].into();
    own.extend(plan.ti.iter().chain(&plan.sis).map(|standing| standing.inner));
    if let Some(own) = braces(own) {
        alarm(format!("{foreign} ip saddr {own}"), "TIP1-A_4746");
    }
    let only_through = |standing: &Option<Standing>| match standing {
        Some(standing) => format!("iifname != {{ lo, {} }}", standing.interface),
        None => foreign.to_owned(),
    };
    let by_ti = only_through(&plan.ti);
    for (class, id) in services(networks) {
        alarm(format!("{by_ti} ip saddr {class}"), id);
    }
    if let Some(legacy) = set(legacy(plan, true)) {
        alarm(format!("{by_ti} ip saddr {legacy}"), "TIP1-A_4733");
    }
    let others = legacy(plan, false).filter(|one| !legacy(plan, true).any(|other| other.overlaps(*one)));
    if let Some(others) = set(others) {
        alarm(format!("{foreign} ip saddr {others}"), "TIP1-A_4733");
    }
    for (class, id) in inner_addresses(networks) {
        alarm(format!("{foreign} ip saddr {class}"), id);
    }
    let practice = set(plan.practice()).unwrap_or_default();
    if let Some(sis) = &plan.sis {
        let own = plan.practice().chain(plan.wan.iter().map(|wan| wan.network));
        if let Some(own) = set(own) {
            alarm(format!("iifname {} ip saddr {own}", sis.interface), "TIP1-A_4735");
        }
    }
    for standing in plan.ti.iter().chain(&plan.sis) {
        alarm(
            format!("iifname {} udp dport {{ 67, 68 }}", standing.interface),
            "TIP1-A_4748",
        );
    }
    alarm(
        format!("{foreign} th dport 7 meta l4proto {{ tcp, udp }}"),
        "TIP1-A_4745",
    );
    let lan = &plan.lan.name;
    match &plan.wan {
        Some(wan) => {
            let asking = asking.trim_end();
            alarm(
                format!("iifname {lan} {asking} ip saddr != {practice}"),
                "TIP1-A_4741",
            );
            alarm(format!("iifname {} ip saddr {practice}", wan.name), "TIP1-A_4746");
        }
        // with one leg what comes from outside comes in here, too
        None => {
            let outside = plan.doors.iter().copied();
            let outside = outside.chain(plan.names.iter().chain(&plan.hosts).map(|host| *host.ip()));
            let outside = outside.map(|address| Network { address, bits: 32 });
            let known = set(plan.practice().chain(outside)).unwrap_or_default();
            let stranger = format!("iifname {lan} {asking}ip saddr != {known}");
            // any router on the way may say that a packet was too big; that counts only for a connection that exists
            alarm(format!("{stranger} meta l4proto != icmp"), "TIP1-A_4741");
            let news = "icmp type != { destination-unreachable, time-exceeded }";
            alarm(format!("{stranger} {news}"), "TIP1-A_4741");
        }
    }
    if !plan.redirect
        && let Some(intranet) = set(plan.intranet.iter().map(|one| one.network))
    {
        // before the kernel would tell them the way
        book.rule(
            Arriving,
            format!("iifname {lan} ip daddr {intranet}"),
            Drop,
            "TIP1-A_4729",
        );
    }
}

fn legacy(plan: &Plan, active: bool) -> impl Iterator<Item = Network> + '_ {
    let some = plan.legacy.iter().filter(move |one| one.active == active);
    some.flat_map(|one| one.networks.iter().copied())
}

fn inward(book: &mut Book, plan: &Plan) {
    use Chain::In;
    use Verdict::{Accept, Alarm, Drop};
    book.rule(In, "iifname lo", Accept, "TIP1-A_4744");
    book.rule(In, "ct state invalid", Alarm, "TIP1-A_4746");
    book.rule(In, "ct state { established, related }", Accept, "TIP1-A_4744");
    let outside = &plan.outside().name;
    if let Some(doors) = braces(&plan.doors) {
        let from = format!("iifname {outside} ip saddr {doors}");
        book.rule(
            In,
            format!("{from} udp sport {{ 500, 4500 }} udp dport {{ 500, 4500 }}"),
            Accept,
            "TIP1-A_4748",
        );
        book.rule(In, format!("{from} ip protocol 50"), Accept, "TIP1-A_4748");
    }
    let practice = set(plan.practice()).unwrap_or_default();
    let from = format!("iifname {} ip saddr {practice}", plan.lan.name);
    if let Some(ports) = braces(&plan.tcp) {
        book.rule(In, format!("{from} tcp dport {ports}"), Accept, "TIP1-A_4741");
    }
    // who asks for an address has none
    if plan.udp.contains(&67) {
        let asking = format!("iifname {} udp sport 68 udp dport 67", plan.lan.name);
        book.rule(In, asking, Accept, "TIP1-A_4763");
    }
    if let Some(ports) = braces(plan.udp.iter().filter(|port| **port != 67)) {
        book.rule(In, format!("{from} udp dport {ports}"), Accept, "TIP1-A_4741");
    }
    book.rule(
        In,
        format!("{from} icmp type echo-request"),
        Accept,
        "TIP1-A_4745",
    );
    book.rule(In, "", Drop, "TIP1-A_4744");
}

fn through(book: &mut Book, plan: &Plan, networks: &Networks) {
    use Chain::Through;
    use Verdict::{Accept, Alarm, Drop};
    book.rule(Through, "ct state invalid", Alarm, "TIP1-A_4746");
    book.action(
        Through,
        "tcp flags syn".into(),
        "tcp option maxseg size set rt mtu".into(),
        "GS-A_4832",
    );
    let lan = &plan.lan.name;
    // with one leg the router stands in the LAN; whoever it lets in is nobody of the practice
    if let (None, Some(gateway)) = (&plan.wan, plan.gateway) {
        book.rule(Through, format!("ip saddr {gateway}"), Drop, "TIP1-A_4741");
    }
    // before what is established: with a network that was given up its connections go, too
    let closed = services(networks).filter(|(_, id)| *id != OPEN);
    for (class, id) in closed.chain(inner_addresses(networks)) {
        book.rule(Through, format!("iifname {lan} ip daddr {class}"), Drop, id);
    }
    if let Some(barred) = set(legacy(plan, false).filter(|one| !legacy(plan, true).any(|on| on == *one))) {
        book.rule(
            Through,
            format!("iifname {lan} ip daddr {barred}"),
            Drop,
            "TIP1-A_4733",
        );
    }
    // nothing is ever passed on outside or within the LAN, where the kernel has told them the way before; and what belongs into a tunnel
    // goes no other way. That is so for connections that exist, too: their route may be gone a moment before this table is replaced
    if let Some(wan) = &plan.wan {
        book.rule(Through, format!("oifname {}", wan.name), Drop, "TIP1-A_4736");
        book.rule(Through, format!("iifname {}", wan.name), Drop, "TIP1-A_4736");
    }
    book.rule(
        Through,
        format!("iifname {lan} oifname {lan}"),
        Drop,
        "TIP1-A_4729",
    );
    if let Some(inside) = set(networks.open.iter().copied().chain(legacy(plan, true))) {
        let beside = match &plan.ti {
            Some(ti) => format!("oifname != {} ", ti.interface),
            None => String::new(),
        };
        book.rule(Through, format!("{beside}ip daddr {inside}"), Drop, OPEN);
    }
    if let Some(ti) = plan.ti.as_ref().filter(|_| plan.shut) {
        for way in ["oifname", "iifname"] {
            book.rule(Through, format!("{way} {}", ti.interface), Drop, "TIP1-A_6025");
        }
    }
    if let (Some(sis), Internet::Sis) = (&plan.sis, plan.internet) {
        for barred in &plan.barred {
            let to = format!(
                "iifname {lan} oifname {} ip daddr {}",
                sis.interface, barred.network
            );
            let to = match barred.port {
                Some(port) => format!("{to} meta l4proto {{ tcp, udp }} th dport {port}"),
                None => to,
            };
            book.rule(Through, to, Drop, "TIP1-A_4740");
        }
    }
    book.rule(
        Through,
        "ct state { established, related }",
        Accept,
        "TIP1-A_4744",
    );
    let practice = set(plan.practice()).unwrap_or_default();
    if let Some(ti) = &plan.ti {
        let into = format!("iifname {lan} ip saddr {practice} oifname {}", ti.interface);
        if let Some(open) = set(networks.open.iter().copied()) {
            book.rule(Through, format!("{into} ip daddr {open}"), Accept, OPEN);
        }
        if let Some(active) = set(legacy(plan, true)) {
            book.rule(
                Through,
                format!("{into} ip daddr {active}"),
                Accept,
                "TIP1-A_4733",
            );
        }
    }
    // nothing of the TI in any other direction
    if let Some(inside) = set(networks
        .all()
        .chain(legacy(plan, true))
        .chain(legacy(plan, false)))
    {
        book.rule(Through, format!("ip daddr {inside}"), Drop, "TIP1-A_4730");
    }
    if let (Some(sis), Internet::Sis) = (&plan.sis, plan.internet) {
        let into = format!("iifname {lan} ip saddr {practice} oifname {}", sis.interface);
        let own = plan.practice().chain(plan.wan.iter().map(|wan| wan.network));
        let own = set(own).unwrap_or_default();
        book.rule(
            Through,
            format!("{into} ip daddr != {own}"),
            Accept,
            "TIP1-A_4735",
        );
    }
    book.rule(Through, "", Drop, "TIP1-A_4744");
}

fn outward(book: &mut Book, plan: &Plan, networks: &Networks) {
    use Chain::Out;
    use Verdict::{Accept, Alarm, Drop};
    book.rule(Out, "oifname lo", Accept, "TIP1-A_4736");
    // whoever knocks in vain hears nothing; only "too big" must be told, or nobody finds the size of a path
    let unreachable = "icmp type destination-unreachable icmp code != frag-needed";
    book.rule(Out, unreachable, Drop, "TIP1-A_4744");
    for (class, id) in inner_addresses(networks) {
        book.rule(Out, format!("ip daddr {class}"), Alarm, id);
    }
    if let Some(ti) = &plan.ti {
        let into = format!("oifname {}", ti.interface);
        for (class, id) in services(networks) {
            book.rule(Out, format!("{into} ip daddr {class}"), Accept, id);
        }
        let active = plan.legacy.iter().filter(|one| one.active);
        if let Some(names) = braces(active.flat_map(|one| &one.names)) {
            let ask = format!("{into} ip daddr {names} meta l4proto {{ tcp, udp }} th dport 53");
            book.rule(Out, ask, Accept, "TIP1-A_4733");
        }
    }
    // what belongs into the tunnel never goes another way, whatever the routes say
    if let Some(inside) = set(networks
        .inside()
        .chain(legacy(plan, true))
        .chain(legacy(plan, false)))
    {
        book.rule(Out, format!("ip daddr {inside}"), Alarm, "TIP1-A_4730");
    }
    book.rule(Out, "ct state { established, related }", Accept, "TIP1-A_4744");
    if let Some(sis) = &plan.sis
        && let Some(names) = braces(&sis.names)
    {
        let ask = format!(
            "oifname {} ip daddr {names} meta l4proto {{ tcp, udp }} th dport 53",
            sis.interface
        );
        book.rule(Out, ask, Accept, "TIP1-A_4735");
    }
    for adapter in plan.adapters().filter(|adapter| adapter.lent) {
        // asked anew of whoever has lent it; the first question goes past every filter
        let ask = format!("oifname {} udp sport 68 udp dport 67", adapter.name);
        book.rule(Out, ask, Accept, "TIP1-A_4763");
    }
    let outside = format!("oifname {}", plan.outside().name);
    if let Some(doors) = braces(&plan.doors) {
        let to = format!("{outside} ip daddr {doors}");
        book.rule(
            Out,
            format!("{to} udp dport {{ 500, 4500 }}"),
            Accept,
            "TIP1-A_4736",
        );
        book.rule(Out, format!("{to} ip protocol 50"), Accept, "TIP1-A_4736");
    }
    if let Some(names) = hosts(&plan.names) {
        let ask = format!("{outside} meta l4proto {{ tcp, udp }} ip daddr . th dport {names}");
        book.rule(Out, ask, Accept, "TIP1-A_4736");
    }
    if let Some(asked) = hosts(&plan.hosts) {
        book.rule(
            Out,
            format!("{outside} ip daddr . tcp dport {asked}"),
            Accept,
            "TIP1-A_4736",
        );
    }
    let lan = format!("oifname {}", plan.lan.name);
    let practice = set(plan.practice()).unwrap_or_default();
    // terminals, practice systems that hear of events, whoever looks for terminals or asked for an address
    book.rule(Out, format!("{lan} ip daddr {practice}"), Accept, "TIP1-A_4741");
    let all = format!("{lan} ip daddr 255.255.255.255 udp dport {{ 68, 4742 }}");
    book.rule(Out, all, Accept, "TIP1-A_4741");
    book.rule(Out, "", Alarm, "TIP1-A_4736");
}

fn addresses(book: &mut Book, plan: &Plan) {
    // our own packets in a tunnel have its address already
    for standing in plan.ti.iter().chain(&plan.sis) {
        book.action(
            Chain::Address,
            format!("oifname {} ip saddr != {}", standing.interface, standing.inner),
            format!("snat ip to {}", standing.inner),
            "TIP1-A_5407",
        );
    }
}
