//! The network connector: what the machine's network shall be like follows from the settings and from what the tunnels say, is
//! carried out by whoever has the rights, and looked after. Without `[network]` the machine's own network is used as it is.

use crate::events::Event;
use crate::legacy::Known;
use crate::state::Condition;
use crate::vpn::VpnSettings;
use crate::{Failure, Inner, tls_service};
use base::{Code, Severity};
use network::{
    Adapter, Anchor, Barred, DataPath, Dhcp, Environment, Forward, Gate, Hands, HandsError, Helper, Internet,
    Intranet, Later, Lent, Machine, NameServers, Names, Network, Plan, Seen, Service, Standing, TimeService,
    Unsound, locate::Inside,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

/// How often packet filter and daemons are looked after.
const LOOK: Duration = Duration::from_secs(30);
/// How often it is asked whether another address was lent.
const LENT: Duration = Duration::from_secs(5);
/// How often the addresses of hosts in the Internet are asked for.
const ADDRESSES: Duration = Duration::from_secs(600);

/// The device's place in the practice's network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkSettings {
    /// Socket of the process with the rights (`langlauf network-helper`). Without it this process must have them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub helper: Option<PathBuf>,
    /// What stands before every program without a helper (`ip netns exec NAME`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefix: Vec<String>,
    /// Folder of the daemons without a helper; relative to the configuration.
    #[serde(default = "folder")]
    pub folder: PathBuf,
    /// Towards the practice (ANLW_LAN_IP_ADDRESS).
    pub lan: AdapterSettings,
    /// Towards the router (ANLW_WAN_ADAPTER_MODUS): with it the device stands in line, without it beside the practice's hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wan: Option<AdapterSettings>,
    /// The practice's router (ANLW_IAG_ADDRESS), if a DHCP server does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Ipv4Addr>,
    /// ANLW_LEKTR_INTRANET_ROUTES.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub intranet: Vec<Intranet>,
    /// ANLW_INTRANET_ROUTES_MODUS: told the way (REDIRECT), or barred (BLOCK).
    #[serde(default = "yes")]
    pub redirect: bool,
    /// ANLW_INTERNET_MODUS.
    #[serde(default)]
    pub internet: Internet,
    /// ANLW_FW_SIS_ADMIN_RULES.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub barred: Vec<Barred>,
    /// Where the list of networks beside the TI lies: `https://host:port/Bestandsnetze.xml` of the configuration service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory: Option<String>,
    /// Are networks beside the TI used as soon as they are listed (ANLW_IA_BESTANDSNETZE), or when an administrator says so?
    #[serde(default = "yes")]
    pub new_legacy: bool,
    /// Is the practice served with names?
    #[serde(default = "yes")]
    pub dns: bool,
    /// Port for that; 53 but for tests.
    #[serde(default = "domain_port")]
    pub dns_port: u16,
    /// The practice's own domain (DNS_DOMAIN_LEKTR) and who knows it (DNS_SERVERS_LEKTR).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<Forward>,
    /// Names below `konlan`, besides `konnektor`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub hosts: BTreeMap<String, Ipv4Addr>,
    /// Addresses for the practice; none without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dhcp: Option<Dhcp>,
    /// Is the time fetched from the TI, and told to the practice?
    #[serde(default = "yes")]
    pub ntp: bool,
    /// Time servers, instead of those that the TI names.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub time_servers: BTreeSet<Ipv4Addr>,
    /// Is the system's clock put right? Otherwise it is only looked at.
    #[serde(default = "yes")]
    pub steer: bool,
    /// First pause between two questions for the time, as a power of two of seconds.
    #[serde(default = "minute")]
    pub poll: u8,
}

/// A network adapter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdapterSettings {
    /// Its name in the system.
    pub name: String,
    /// The Konnektor's address on it, as the system has set it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
    /// The network around it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// Does a DHCP server lend both (ANLW_LAN_/ANLW_WAN_ DHCP)?
    #[serde(default)]
    pub dhcp: bool,
}

impl AdapterSettings {
    fn check(&self) -> Result<(), &'static str> {
        match (self.address, self.network, self.dhcp) {
            (Some(_), Some(_), false) | (None, None, true) => Ok(()),
            _ => Err("an adapter has address and network, or dhcp"),
        }
    }

    /// As it is now, once somebody has lent it an address.
    fn now(&self, lent: &BTreeMap<String, Lent>) -> Option<Adapter> {
        let (address, network) = match self.dhcp {
            true => lent.get(&self.name).map(|lent| (lent.address, lent.network))?,
            false => (self.address?, self.network?),
        };
        Some(Adapter {
            name: self.name.clone(),
            address,
            network,
            lent: self.dhcp,
        })
    }
}

fn folder() -> PathBuf {
    "network".into()
}

fn yes() -> bool {
    true
}

fn domain_port() -> u16 {
    53
}

fn minute() -> u8 {
    6
}

impl NetworkSettings {
    fn adapters(&self) -> impl Iterator<Item = &AdapterSettings> {
        std::iter::once(&self.lan).chain(&self.wan)
    }

    /// What can be said without knowing the environment; the rest when it is carried out ([`Plan::check`]).
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        self.adapters().try_for_each(AdapterSettings::check)?;
        let outside = self.wan.as_ref().unwrap_or(&self.lan);
        match (self.helper.is_some(), self.prefix.is_empty()) {
            (true, false) => Err("network has a helper or a prefix, not both"),
            _ if self
                .inventory
                .as_deref()
                .is_some_and(|url| tls_service::address(url).is_none()) =>
            {
                Err("network.inventory must begin with https://")
            }
            _ if self.poll > 10 => Err("network.poll is at most 10"),
            _ if self.lan.dhcp && self.dhcp.is_some() => {
                Err("network.lan has dhcp: another server lends addresses there, network.dhcp must not")
            }
            _ if self.internet == Internet::Sis && self.gateway.is_none() && !outside.dhcp => {
                Err("network.internet = \"sis\" needs network.gateway")
            }
            _ if self.internet != Internet::Sis && !self.barred.is_empty() => {
                Err("network.barred is for network.internet = \"sis\"")
            }
            _ => Ok(()),
        }
    }
}

/// What is known at the moment, besides the settings.
#[derive(Default, Clone)]
struct Facts {
    doors: BTreeSet<(Service, Ipv4Addr)>,
    standing: BTreeMap<Service, Standing>,
    inside: BTreeMap<Service, Inside>,
    /// By address as it is written in the settings.
    hosts: BTreeMap<String, BTreeSet<SocketAddrV4>>,
    time_servers: BTreeSet<Ipv4Addr>,
    /// By name of the adapter.
    lent: BTreeMap<String, Lent>,
    /// What was lent and cannot be used, by name of the adapter; told once.
    unusable: BTreeMap<String, Lent>,
}

/// What has become of plans.
#[derive(Default)]
struct Applied {
    /// The one in force, as far as that is known.
    plan: Option<Plan>,
    /// Has a packet filter ever been set?
    ever: bool,
    /// What was told last, until it is mended: it is tried again and again, and told once.
    told: Option<HandsError>,
}

/// What was seen, and when.
struct Look {
    seen: Seen,
    moment: i64,
    at: Duration,
}

/// What the time servers say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Served {
    /// What time it is, Unix seconds.
    pub now: i64,
    /// By how many milliseconds the clock was ahead when they were asked.
    pub ahead: i64,
    /// Seconds since they were asked.
    pub age: u64,
}

/// The network connector of an instance.
pub(crate) struct Net {
    pub(crate) settings: NetworkSettings,
    vpn: Option<VpnSettings>,
    pub(crate) legacy: Mutex<Known>,
    /// One change of the networks beside the TI at a time.
    pub(crate) updating: tokio::sync::Mutex<()>,
    hands: Arc<dyn Hands>,
    facts: Mutex<Facts>,
    /// What was carried out last; one at a time.
    applied: tokio::sync::Mutex<Applied>,
    seen: Mutex<Option<Look>>,
    again: tokio::sync::Notify,
}

impl Net {
    pub fn new(
        settings: NetworkSettings,
        vpn: Option<VpnSettings>,
        legacy: Known,
        clock: Arc<dyn base::Clock>,
    ) -> Self {
        let hands: Arc<dyn Hands> = match &settings.helper {
            Some(socket) => Arc::new(Helper::new(socket.clone(), clock)),
            None => Arc::new(Machine::new(
                settings.prefix.clone(),
                settings.folder.clone(),
                clock,
            )),
        };
        Self {
            settings,
            vpn,
            legacy: Mutex::new(legacy),
            updating: tokio::sync::Mutex::default(),
            hands,
            facts: Mutex::default(),
            applied: tokio::sync::Mutex::default(),
            seen: Mutex::default(),
            again: tokio::sync::Notify::default(),
        }
    }

    fn with_facts<T>(&self, work: impl FnOnce(&mut Facts) -> T) -> T {
        work(&mut self.facts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn seen(&self) -> Seen {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.as_ref().map(|look| look.seen.clone()).unwrap_or_default()
    }

    /// What the time servers say at `now` by the count of seconds, whatever the clock has done since they were asked.
    fn served(&self, now: Duration) -> Option<Served> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let look = seen.as_ref()?;
        let measured = look.seen.time?;
        let since = now.saturating_sub(look.at).as_secs();
        Some(Served {
            now: (look.moment - measured.ahead / 1000).saturating_add_unsigned(since),
            ahead: measured.ahead,
            age: measured.age.saturating_add(since),
        })
    }

    pub(crate) fn environment(&self) -> Environment {
        self.vpn.as_ref().map_or(Environment::PU, |vpn| vpn.environment)
    }
}

/// Hosts outside, of version 4 as all of the TI's are; one on this machine needs no way.
fn four<'a>(all: impl Iterator<Item = &'a SocketAddr>) -> BTreeSet<SocketAddrV4> {
    let four = all.filter_map(|one| match one {
        SocketAddr::V4(one) if !one.ip().is_loopback() => Some(*one),
        _ => None,
    });
    four.collect()
}

impl Inner {
    /// What the network shall be like now, and which networks beside the TI have no place in it. `None` as long as an adapter has no
    /// address.
    pub(crate) fn plan(&self, net: &Net) -> Option<(Plan, Vec<String>)> {
        self.plan_of(net, net.with_facts(|facts| facts.clone()))
    }

    fn plan_of(&self, net: &Net, facts: Facts) -> Option<(Plan, Vec<String>)> {
        let settings = &net.settings;
        let names = net
            .vpn
            .as_ref()
            .map(|vpn| four(vpn.all_name_servers()))
            .unwrap_or_default();
        let ti = facts.standing.get(&Service::Ti).cloned();
        let (listen, admin) = (self.config.listen.port(), self.config.listen_admin.port());
        let mut tcp = BTreeSet::from([listen, admin]);
        tcp.extend(self.config.ldap.iter().map(|ldap| ldap.listen.port()));
        let mut udp = BTreeSet::from([self.config.announcements.port()]);
        if settings.dns {
            tcp.insert(settings.dns_port);
            udp.insert(settings.dns_port);
        }
        let serve = settings.ntp && self.config.online;
        if serve {
            udp.insert(123);
        }
        if settings.dhcp.is_some() {
            udp.insert(67);
        }
        let lan = settings.lan.now(&facts.lent)?;
        let wan = match &settings.wan {
            None => None,
            Some(wan) => Some(wan.now(&facts.lent)?),
        };
        let outside = wan.as_ref().unwrap_or(&lan);
        let router = facts.lent.get(&outside.name).and_then(|lent| lent.router);
        let gateway = settings.gateway.or(router);
        // never without the TI: what leads into it would go on without being asked (TUC_KON_304); and not without a way back
        let sis = facts.standing.get(&Service::Sis).cloned();
        let sis = sis.filter(|_| ti.is_some() && gateway.is_some());
        let servers = match settings.time_servers.is_empty() {
            true => facts.time_servers,
            false => settings.time_servers.clone(),
        };
        let mut plan = Plan {
            environment: net.environment(),
            gateway,
            intranet: settings.intranet.clone(),
            redirect: settings.redirect,
            internet: settings.internet,
            doors: facts.doors.into_iter().map(|(_, address)| address).collect(),
            resolver: settings
                .dns
                .then(|| self.names(net, lan.address, &names, ti.as_ref(), sis.as_ref())),
            time: settings.ntp.then(|| TimeService {
                // without a tunnel there is nobody to ask
                servers: if ti.is_some() { servers } else { BTreeSet::new() },
                steer: settings.steer,
                serve,
                poll: settings.poll,
            }),
            names,
            hosts: facts.hosts.into_values().flatten().collect(),
            ti,
            sis,
            legacy: Vec::new(),
            barred: settings.barred.clone(),
            shut: self.state.is_set(&Condition::FwNotValidStatusBlocked),
            dhcp: settings.dhcp.clone(),
            lan,
            wan,
            mtu: net.vpn.as_ref().and_then(|vpn| vpn.mtu),
            tcp,
            udp,
        };
        let left_out = self.add_legacy(net, &mut plan);
        Some((plan, left_out))
    }

    /// Who is asked for which names (TAB_KON_687). Those of the TI are asked for in the TI or nowhere.
    fn names(
        &self,
        net: &Net,
        lan: Ipv4Addr,
        outside: &BTreeSet<SocketAddrV4>,
        ti: Option<&Standing>,
        sis: Option<&Standing>,
    ) -> Names {
        let at = |names: &BTreeSet<Ipv4Addr>| names.iter().map(|one| SocketAddrV4::new(*one, 53)).collect();
        let inside: BTreeSet<SocketAddrV4> = ti.map(|ti| at(&ti.names)).unwrap_or_default();
        let domains: &[&str] = match net.environment() {
            Environment::PU => &["telematik", "ti-wa"],
            Environment::TU => &["telematik-test", "ti-wa-test"],
        };
        let forwards = domains.iter().map(|domain| Forward {
            domain: (*domain).to_owned(),
            servers: inside.clone(),
        });
        let space = self.space();
        let anchors = space.dnssec_anchors().map(|anchor| Anchor {
            zone: anchor.zone.trim_end_matches('.').to_owned(),
            key_tag: anchor.key_tag,
            algorithm: anchor.algorithm,
            digest_type: anchor.digest_type,
            digest: hex::encode(&anchor.digest),
        });
        let own = [("konnektor".to_owned(), lan)];
        let hosts = net
            .settings
            .hosts
            .iter()
            .map(|(name, address)| (name.clone(), *address));
        Names {
            forwards: forwards.chain(net.settings.domain.clone()).collect(),
            others: match sis {
                Some(sis) if !sis.names.is_empty() => at(&sis.names),
                _ => outside.clone(),
            },
            hosts: own.into_iter().chain(hosts).collect(),
            anchors: anchors.collect(),
            port: net.settings.dns_port,
        }
    }

    /// Makes the network as it should be now. What could not be done is said and tried again.
    pub(crate) async fn replan(&self, net: &Net, anyway: bool) -> Result<(), Failure> {
        let mut applied = net.applied.lock().await;
        let Some((plan, left_out)) = self.plan(net) else {
            // whoever has the rights lets nothing through until there is one
            return Ok(());
        };
        if !anyway && applied.plan.as_ref() == Some(&plan) {
            return Ok(());
        }
        let outcome = net.hands.apply(plan.clone()).await;
        let first = !applied.ever;
        match &outcome {
            Ok(()) | Err(HandsError::Route(_)) => self.set_condition(Condition::FirewallNotReliable, false),
            Err(HandsError::Filter(_) | HandsError::Kernel(_)) => {
                self.set_condition(Condition::FirewallNotReliable, true);
            }
            // the last good rules stand; without any nobody is protected
            Err(_) if first => self.set_condition(Condition::FirewallNotReliable, true),
            // no answer is no news
            Err(_) => {}
        }
        match outcome {
            Ok(()) => {
                for text in left_out {
                    tracing::warn!(text, "network beside the TI left out");
                }
                *applied = Applied {
                    plan: Some(plan),
                    ever: true,
                    told: None,
                };
                let parameters = vec![("First", first.to_string())];
                self.log(&Event::quiet(
                    "ANLW/FIREWALL/CHANGED",
                    Severity::Warning,
                    parameters,
                ));
                Ok(())
            }
            Err(error) => {
                // the packet filter comes first
                applied.ever |= matches!(error, HandsError::Route(_));
                // what is not sound has changed nothing; of anything else it is not known how far it got
                if !matches!(error, HandsError::Unsound(_)) {
                    applied.plan = None;
                }
                let code = code(&error);
                let failure = Failure::new(code, &error);
                if applied.told.as_ref() != Some(&error) {
                    let parameters = vec![
                        ("Error", code.number().to_string()),
                        ("Detail", error.to_string()),
                    ];
                    self.raise(Event::error("ANLW/FIREWALL/FAILED", None, code, parameters));
                    applied.told = Some(error);
                }
                Err(failure)
            }
        }
    }

    /// Looks after the network, for ever.
    pub(crate) async fn keep_network(self: Arc<Self>, net: Arc<Net>) {
        let mut addresses = Duration::ZERO;
        let (mut since, mut silent, mut trouble) = (None, false, Vec::new());
        self.borrow_addresses(&net).await;
        // before anybody is asked for a name
        let _ = self.replan(&net, false).await;
        loop {
            let now = self.clock.elapsed();
            let mut anyway = false;
            match net.hands.look().await {
                Ok(seen) => {
                    silent = false;
                    // a helper that was started again knows nothing, and somebody's hand has to be undone
                    anyway = net.applied.lock().await.ever && !seen.intact;
                    if anyway && seen.set {
                        self.log(&Event::quiet(
                            "ANLW/FIREWALL/TOUCHED",
                            Severity::Warning,
                            Vec::new(),
                        ));
                    }
                    if seen.trouble != trouble && !seen.trouble.is_empty() {
                        let parameters = vec![
                            ("Error", Code::NAME_SERVICE.number().to_string()),
                            ("Detail", seen.trouble.join("; ")),
                        ];
                        self.raise(Event::error(
                            "NETWORK/DAEMON/FAILED",
                            None,
                            Code::NAME_SERVICE,
                            parameters,
                        ));
                    }
                    trouble.clone_from(&seen.trouble);
                    let look = Look {
                        seen,
                        moment: self.clock.now().as_second(),
                        at: self.clock.elapsed(),
                    };
                    *net.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(look);
                }
                Err(error) if !silent => {
                    silent = true;
                    let parameters = vec![("Detail", error.to_string())];
                    self.log(&Event::quiet(
                        "ANLW/FIREWALL/UNSEEN",
                        Severity::Warning,
                        parameters,
                    ));
                }
                Err(_) => {}
            }
            self.borrow_addresses(&net).await;
            // said where it failed, and tried again
            let _ = self.replan(&net, anyway).await;
            if addresses <= now && self.config.online {
                self.find_hosts(&net).await;
                addresses = now + ADDRESSES;
                let _ = self.replan(&net, false).await;
            }
            let up = net.with_facts(|facts| facts.standing.contains_key(&Service::Ti));
            since = up.then(|| since.unwrap_or(now));
            if net.settings.ntp && self.config.online {
                self.judge_time(since);
            }
            if self.wait_for_look(&net).await {
                addresses = Duration::ZERO;
            }
        }
    }

    /// Waits for the next look; meanwhile an address that is lent anew is followed soon. Has somebody asked for the look?
    async fn wait_for_look(&self, net: &Net) -> bool {
        let lent = net.settings.adapters().any(|adapter| adapter.dhcp);
        let end = self.clock.elapsed() + LOOK;
        loop {
            let without = self.plan(net).is_none();
            let pause = match lent {
                _ if without => Duration::from_secs(1),
                true => LENT,
                false => LOOK,
            };
            tokio::select! {
                () = self.clock.sleep(pause) => {}
                () = net.again.notified() => return true,
            }
            if without || self.clock.elapsed() >= end {
                return false;
            }
            self.borrow_addresses(net).await;
            // said where it failed
            let _ = self.replan(net, false).await;
        }
    }

    /// Addresses that DHCP servers lend to the device's adapters (TUC_KON_341). One that is lent no more stays until another is: nobody
    /// is helped by a device without one.
    async fn borrow_addresses(&self, net: &Net) {
        for adapter in net.settings.adapters().filter(|adapter| adapter.dhcp) {
            let name = &adapter.name;
            match net.hands.lease(name.clone()).await {
                Ok(Some(lent)) => {
                    let mut facts = net.with_facts(|facts| facts.clone());
                    if facts.lent.insert(name.clone(), lent.clone()).as_ref() == Some(&lent) {
                        continue;
                    }
                    // judged before it takes the place of one that works
                    let plan = self.plan_of(net, facts);
                    let profile = net.environment().profile().ok();
                    let wrong = plan
                        .zip(profile)
                        .and_then(|((plan, _), profile)| plan.check(&profile).err());
                    let topic = match net.settings.wan.as_ref() {
                        Some(wan) if wan.name == *name => "ANLW/WAN/IP_CHANGED",
                        _ => "ANLW/LAN/IP_CHANGED",
                    };
                    let mut parameters = vec![
                        ("Adapter", name.clone()),
                        ("IP", lent.address.to_string()),
                        ("Network", lent.network.to_string()),
                    ];
                    match wrong {
                        None => {
                            net.with_facts(|facts| facts.lent.insert(name.clone(), lent));
                            self.raise(Event::info(topic, None, parameters));
                        }
                        Some(error) => {
                            let known =
                                net.with_facts(|facts| facts.unusable.insert(name.clone(), lent.clone()));
                            if known.as_ref() != Some(&lent) {
                                let code = code(&HandsError::Unsound(error.clone()));
                                parameters.push(("Error", code.number().to_string()));
                                parameters.push(("Detail", error.to_string()));
                                self.raise(Event::error("NETWORK/DHCP/UNUSABLE", None, code, parameters));
                            }
                        }
                    }
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, adapter = name, "no address lent"),
            }
        }
    }

    /// Addresses of those whom the device itself asks in the Internet (TIP1-A_4736); what cannot be found out keeps what it had.
    async fn find_hosts(&self, net: &Net) {
        let further = net.vpn.iter().flat_map(|vpn| &vpn.further);
        let further = further.map(|one| &one.registration);
        let registration = self.config.lifetime.registration.iter().chain(further);
        let all = self.config.tsl_internet_urls.iter().chain(&self.config.crl_urls);
        // where charon fetches what a concentrator names: it lies beside ours
        let named = net.vpn.iter().filter_map(|vpn| vpn.hash_and_url.as_ref());
        let all = all
            .chain(named)
            .chain(registration)
            .chain(&self.config.lifetime.download);
        let resolver = net.vpn.as_ref().filter(|vpn| !vpn.name_servers.is_empty());
        let resolver = resolver.and_then(|vpn| NameServers::new(&vpn.name_servers, "").ok());
        let profile = net.environment().profile().ok();
        let lan = net.with_facts(|facts| net.settings.lan.now(&facts.lent));
        let lan = lan.map(|lan| lan.network);
        // what lies in the TI or in the practice is reached without a rule of its own
        let outside = |one: &SocketAddrV4| {
            let outside = profile
                .as_ref()
                .is_some_and(|profile| profile.is_outside(*one.ip()));
            outside && !lan.is_some_and(|lan| lan.contains(*one.ip()))
        };
        for url in all {
            let Some((host, port)) = host_of(url) else {
                continue;
            };
            let found: Vec<Ipv4Addr> = match (host.parse::<IpAddr>(), &resolver) {
                (Ok(IpAddr::V4(address)), _) => vec![address],
                (Err(_), Some(resolver)) => match resolver.addresses(&host).await {
                    Ok(all) => all,
                    // it keeps what it had
                    Err(error) => {
                        tracing::warn!(%error, host, "address not found");
                        continue;
                    }
                },
                _ => continue,
            };
            let found = found
                .into_iter()
                .map(|one| SocketAddrV4::new(one, port))
                .filter(outside);
            let found = found.collect();
            net.with_facts(|facts| facts.hosts.insert(format!("{host}:{port}"), found));
        }
        let zone = net.with_facts(|facts| facts.inside.get(&Service::Ti).cloned());
        if let Some(Inside {
            nameservers,
            zone: Some(zone),
        }) = zone
        {
            let servers: Vec<SocketAddr> = nameservers
                .iter()
                .map(|one| SocketAddr::new(IpAddr::V4(*one), 53))
                .collect();
            let found = match NameServers::new(&servers, &zone) {
                Ok(names) => names.hosts("_ntp._udp").await,
                Err(error) => Err(error),
            };
            match found {
                Ok(all) if !all.is_empty() => {
                    net.with_facts(|facts| facts.time_servers = all.into_iter().collect())
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "time servers of the TI"),
            }
        }
    }

    /// A tunnel has come up: its routes, its names, and nothing else.
    pub(crate) async fn tunnel_stands(&self, service: Service, standing: Standing, inside: Option<Inside>) {
        let Some(net) = &self.net else { return };
        net.with_facts(|facts| {
            facts.standing.insert(service, standing);
            match inside {
                Some(inside) => facts.inside.insert(service, inside),
                None => facts.inside.remove(&service),
            };
        });
        // said where it failed
        let _ = self.replan(net, false).await;
        net.again.notify_one();
    }

    /// A tunnel is gone, and with it all that led through it.
    pub(crate) async fn tunnel_gone(&self, service: Service) {
        let Some(net) = &self.net else { return };
        net.with_facts(|facts| {
            facts.standing.remove(&service);
            facts.inside.remove(&service);
        });
        // said where it failed
        let _ = self.replan(net, false).await;
    }

    /// What the time servers of the TI say now.
    pub(crate) fn served(&self) -> Option<Served> {
        self.net.as_ref()?.served(self.clock.elapsed())
    }

    /// The door for the tunnel's packets.
    pub(crate) fn gate(self: &Arc<Self>) -> Arc<dyn Gate> {
        Arc::new(Door(Arc::downgrade(self)))
    }

    /// Which interface a tunnel has.
    pub(crate) fn interface(&self, service: Service, path: DataPath) -> String {
        match path {
            DataPath::Kernel => service.interface().into(),
            // charon has one for all its tunnels
            DataPath::UserSpace => "ipsec0".into(),
        }
    }

    /// The network as administrators see it.
    pub async fn network_view(&self) -> Value {
        let Some(net) = &self.net else {
            return json!({ "configured": false });
        };
        let plan = net.applied.lock().await.plan.clone();
        let seen = net.seen();
        json!({
            "configured": true,
            "mode": if net.settings.wan.is_some() { "InReihe" } else { "Parallel" },
            "in_force": plan.is_some(), "intact": seen.intact, "packets": seen.packets,
            "time": seen.time, "trouble": seen.trouble, "plan": plan,
        })
    }
}

/// Host and port of an address.
pub(crate) fn host_of(url: &str) -> Option<(String, u16)> {
    let uri: http::Uri = url.parse().ok()?;
    let port = match uri.scheme_str() {
        Some("https") => 443,
        Some("http") => 80,
        _ => return None,
    };
    Some((uri.host()?.to_owned(), uri.port_u16().unwrap_or(port)))
}

fn code(error: &HandsError) -> Code {
    match error {
        HandsError::Unsound(Unsound::Lan(_)) => Code::LAN_SETTINGS,
        HandsError::Unsound(Unsound::Wan(_)) => Code::WAN_SETTINGS,
        HandsError::Unsound(Unsound::Route(_)) | HandsError::Route(_) => Code::ROUTE,
        HandsError::Unsound(Unsound::Names(_)) => Code::NAME_SERVICE,
        HandsError::Unsound(Unsound::Dhcp(_)) => Code::DHCP_SERVER,
        HandsError::Unsound(Unsound::Time(_)) => Code::TIME_SYNC,
        _ => Code::FIREWALL,
    }
}

/// Opens and shuts the way to one concentrator after the other.
struct Door(Weak<Inner>);

impl Door {
    async fn change(
        &self,
        change: impl FnOnce(&mut BTreeSet<(Service, Ipv4Addr)>) + Send,
    ) -> Result<(), String> {
        let inner = self.0.upgrade().ok_or("switched off")?;
        let Some(net) = &inner.net else { return Ok(()) };
        net.with_facts(|facts| change(&mut facts.doors));
        inner
            .replan(net, false)
            .await
            .map_err(|failure| failure.detail().to_owned())
    }
}

impl Gate for Door {
    fn open(&self, service: Service, address: Ipv4Addr) -> Later<'_, Result<(), String>> {
        Box::pin(async move {
            let inner = self.0.upgrade().ok_or("switched off")?;
            let Some(net) = &inner.net else { return Ok(()) };
            // what a name server says may be anything
            let profile = net.environment().profile().map_err(|error| error.to_string())?;
            if !profile.is_outside(address) {
                return Err(format!("{address} is nobody outside"));
            }
            drop(inner);
            let opened = self.change(move |doors| {
                doors.insert((service, address));
            });
            let outcome = opened.await;
            if outcome.is_err()
                && let Some(inner) = self.0.upgrade()
                && let Some(net) = &inner.net
            {
                net.with_facts(|facts| facts.doors.remove(&(service, address)));
            }
            outcome
        })
    }

    fn close(&self, service: Service, address: Ipv4Addr) -> Later<'_, ()> {
        Box::pin(async move {
            // what leads through the tunnel goes with its door
            if let Some(inner) = self.0.upgrade()
                && let Some(net) = &inner.net
            {
                net.with_facts(|facts| {
                    if facts
                        .standing
                        .get(&service)
                        .is_some_and(|one| one.concentrator == address)
                    {
                        facts.standing.remove(&service);
                        facts.inside.remove(&service);
                    }
                });
            }
            let closed = self.change(move |doors| {
                doors.remove(&(service, address));
            });
            // said where it failed
            let _ = closed.await;
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_contradict_each_other_are_refused() {
        let text = "[lan]\nname = \"lan\"\naddress = \"192.168.1.2\"\nnetwork = \"192.168.1.0/24\"\n";
        let check = |first: &str| {
            toml::from_str::<NetworkSettings>(&format!("{first}{text}"))
                .unwrap()
                .check()
        };
        assert_eq!(check(""), Ok(()));
        assert_eq!(check("internet = \"iag\"\n"), Ok(()));
        assert!(check("internet = \"sis\"\n").is_err());
        assert_eq!(check("internet = \"sis\"\ngateway = \"192.168.1.1\"\n"), Ok(()));
        assert!(check("barred = [{ network = \"1.2.3.0/24\" }]\n").is_err());
        assert!(check("helper = \"/run/x\"\nprefix = [\"ip\"]\n").is_err());
    }

    #[test]
    fn hosts_are_read_from_addresses() {
        let host = |text: &str, port| Some((text.to_owned(), port));
        assert_eq!(host_of("https://reg.example/x"), host("reg.example", 443));
        assert_eq!(host_of("http://10.1.2.3:8080/"), host("10.1.2.3", 8080));
        assert_eq!(host_of("http://crl.example/VPN.crl"), host("crl.example", 80));
        assert_eq!(host_of("nonsense"), None);
    }
}
