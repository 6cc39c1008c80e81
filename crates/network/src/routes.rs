//! The routes that follow from a plan (TUC_KON_304): always all of them.

use crate::plan::{Plan, Standing};
use crate::profile::{Network, Networks};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// A route of ours.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route {
    /// Where to.
    pub to: Network,
    /// Through which router.
    pub via: Option<Ipv4Addr>,
    /// Through which interface.
    pub interface: String,
    /// With which address of ours.
    pub source: Option<Ipv4Addr>,
}

/// By which our routes are known among the system's: no routing protocol has this number.
pub const PROTOCOL: &str = "186";

impl Route {
    /// As iproute2 takes it.
    pub fn words(&self) -> Vec<String> {
        let mut words = vec![self.to.to_string()];
        if let Some(via) = self.via {
            words.extend(["via".to_owned(), via.to_string()]);
        }
        words.extend(["dev".to_owned(), self.interface.clone()]);
        if let Some(source) = self.source {
            words.extend(["src".to_owned(), source.to_string()]);
        }
        words.extend(["proto".to_owned(), PROTOCOL.to_owned()]);
        words
    }
}

fn host(address: Ipv4Addr) -> Network {
    Network { address, bits: 32 }
}

/// The two halves of everything: more special than a default route, which stays as it is and is there again when they go.
fn everywhere() -> [Network; 2] {
    [0, 128].map(|first| Network {
        address: Ipv4Addr::new(first, 0, 0, 0),
        bits: 1,
    })
}

/// All of them. Without a tunnel nothing leads to the TI's networks; the default route is the system's, unless a router is named.
pub fn routes(plan: &Plan, networks: &Networks) -> BTreeSet<Route> {
    let mut all = BTreeSet::new();
    let outside = plan.outside();
    for one in &plan.intranet {
        all.insert(Route {
            to: one.network,
            via: Some(one.hop),
            interface: plan.lan.name.clone(),
            source: None,
        });
    }
    let by_gateway = |to: Network| Route {
        to,
        via: plan.gateway,
        interface: outside.name.clone(),
        source: None,
    };
    if plan.gateway.is_some() {
        all.insert(by_gateway(Network {
            address: Ipv4Addr::UNSPECIFIED,
            bits: 0,
        }));
    }
    let into = |standing: &Standing, to: Network| Route {
        to,
        via: None,
        interface: standing.interface.clone(),
        source: Some(standing.inner),
    };
    if let Some(ti) = &plan.ti {
        let active = plan.legacy.iter().filter(|one| one.active);
        let inside = networks
            .inside()
            .chain(active.flat_map(|one| one.networks.iter().copied()));
        all.extend(inside.map(|network| into(ti, network)));
    }
    if let Some(sis) = &plan.sis {
        all.extend(everywhere().map(|half| into(sis, half)));
        // what the Konnektor itself asks outside goes on by the router
        let outward = plan.doors.iter().copied();
        let outward = outward.chain(plan.names.iter().chain(&plan.hosts).map(|host| *host.ip()));
        let outward = outward.filter(|address| !outside.network.contains(*address));
        if plan.gateway.is_some() {
            all.extend(outward.map(|address| by_gateway(host(address))));
        }
    }
    all
}
