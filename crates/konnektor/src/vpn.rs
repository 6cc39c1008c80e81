//! The tunnel of this instance: charon is started and watched, a [`network::Tunnel`] built with the certificate that serves now
//! ([`identity::select::tunnel`]), changed beside the old one when another serves, and used as the last proof of the lifetime
//! extension. What happens to it are events and the condition EC_No_VPN_TI_Connection. The tunnel of the secure Internet service, if
//! it is wanted (`network.internet`), stands beside it with the same certificate, and never without it.

use crate::events::Event;
use crate::state::Condition;
use crate::{Failure, Inner};
use asn1::oid;
use base::{Code, Severity, Timestamp};
use identity::select::{self, Choice};
use identity::{Family, Kind, Outcome, Probe, Role, Stage};
use network::locate::Inside;
use network::{
    Change, Charon, Concentrator, Credentials, DataPath, Directory, DirectoryError, Environment, Later, Lies,
    NameServers, Place, Places, Profile, Reason, Sa, Service, Setup, Standing, Trust, Tunnel, TunnelOrder,
    TunnelState,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// How often it is looked whether everything is as it should be.
const LOOK: Duration = Duration::from_secs(10);
/// Pause before charon is started again.
const AGAIN: Duration = Duration::from_secs(5);
/// Pause before a certificate that did not come up beside the old one is tried again.
const RENEW_AGAIN: Duration = Duration::from_secs(1800);
/// So long without a tunnel is told (TAB_KON_503).
const TOLD_AFTER: i64 = 300;

/// A concentrator that is always there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FixedConcentrator {
    /// The name in its certificate.
    pub name: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// Name servers behind it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<Ipv4Addr>,
}

/// The VPN client. Without it the TI is reached as the machine reaches it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VpnSettings {
    /// Suites, lifetimes and networks.
    #[serde(default)]
    pub environment: Environment,
    /// charon, and what stands before it on the command line; not used with a helper (`network.helper`), which starts its own.
    #[serde(default = "charon")]
    pub charon: Vec<String>,
    /// Its folder; relative to the configuration.
    #[serde(default = "folder")]
    pub folder: PathBuf,
    /// Packets are enciphered by charon and not by the kernel: for machines whose kernel has no ESP, tests only.
    #[serde(default)]
    pub user_space: bool,
    /// Seconds between two questions whether the concentrator lives, instead of the environment's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keepalive_seconds: Option<u32>,
    /// Largest packet in the tunnels without ESP, bytes, 576 to 8076, instead of the environment's (VPN_TI_MTU, VPN_SIS_MTU); used
    /// with `[network]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Where concentrators find this device's certificates (hash and URL; off without), `http://…/`. With a helper that must be started
    /// with `--hash-and-url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_and_url: Option<String>,
    /// DNS_DOMAIN_VPN_ZUGD_INT: where the provider lists its concentrators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// DNS_SERVERS_INT: name servers of the transport network, with port.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub name_servers: Vec<SocketAddr>,
    /// Concentrators that are always there instead, in the order in which they are tried.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub concentrators: Vec<FixedConcentrator>,
    /// The same for the secure Internet service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sis_concentrators: Vec<FixedConcentrator>,
    /// Further access services, in order of preference: tried when nobody of those before them answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub further: Vec<FurtherAccess>,
}

/// A further access service, with a contract of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FurtherAccess {
    /// What administrators call it: letters, digits and dashes.
    pub name: String,
    /// As for the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// As for the first one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub name_servers: Vec<SocketAddr>,
    /// As for the first one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub concentrators: Vec<FixedConcentrator>,
    /// As for the first one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sis_concentrators: Vec<FixedConcentrator>,
    /// Its registration server, `https://host:port/path`.
    pub registration: String,
    /// MGM_ZGDP_CONTRACTID there.
    pub contract: String,
}

/// Where an access service has its concentrators.
struct Where<'s> {
    domain: Option<&'s String>,
    name_servers: &'s [SocketAddr],
    concentrators: &'s [FixedConcentrator],
    sis_concentrators: &'s [FixedConcentrator],
}

impl Where<'_> {
    fn check(&self) -> Result<(), &'static str> {
        let name = |name: &String| {
            let letter = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
            !name.is_empty() && name.len() <= 200 && name.chars().all(letter)
        };
        match (self.domain, self.concentrators.is_empty()) {
            (None, true) => return Err("vpn needs a domain with name_servers, or concentrators"),
            (Some(_), false) => return Err("vpn has a domain or concentrators, not both"),
            (Some(_), true) if !self.sis_concentrators.is_empty() => {
                return Err("vpn has a domain or concentrators, not both");
            }
            (Some(domain), true) if !name(domain) => return Err("vpn.domain must be a domain"),
            (Some(_), true) if self.name_servers.is_empty() => {
                return Err("vpn.domain needs vpn.name_servers");
            }
            _ => {}
        }
        let mut fixed = self.concentrators.iter().chain(self.sis_concentrators);
        match fixed.all(|one| name(&one.name)) {
            true => Ok(()),
            false => Err("vpn.concentrators.name must be a host name"),
        }
    }

    fn directory(&self) -> Result<Arc<dyn Directory>, Failure> {
        Ok(match self.domain {
            None => Arc::new(Fixed([
                (Service::Ti, self.concentrators.to_vec()),
                (Service::Sis, self.sis_concentrators.to_vec()),
            ])),
            Some(domain) => {
                let servers = NameServers::new(self.name_servers, domain);
                Arc::new(servers.map_err(|error| Failure::new(Code::VPN_TI, error))?)
            }
        })
    }
}

impl FurtherAccess {
    fn place(&self) -> Where<'_> {
        Where {
            domain: self.domain.as_ref(),
            name_servers: &self.name_servers,
            concentrators: &self.concentrators,
            sis_concentrators: &self.sis_concentrators,
        }
    }

    fn check(&self) -> Result<(), &'static str> {
        let letter = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if !(1..=40).contains(&self.name.len()) || !self.name.chars().all(letter) {
            return Err("vpn.further.name has letters, digits and dashes");
        }
        if !self.registration.starts_with("https://") {
            return Err("vpn.further.registration must begin with https://");
        }
        if !soap::provisioning::is_contract(&self.contract) {
            return Err("vpn.further.contract has a character that no ContractID has (A_14623)");
        }
        self.place().check()
    }
}

fn charon() -> Vec<String> {
    vec!["charon-systemd".into()]
}

fn folder() -> PathBuf {
    "vpn".into()
}

impl VpnSettings {
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        if self.charon.first().is_none_or(String::is_empty) {
            return Err("vpn.charon must name the program");
        }
        if self.mtu.is_some_and(|mtu| !network::MTU.contains(&mtu)) {
            return Err("vpn.mtu must be 576 to 8076");
        }
        let place = |url: &String| url.starts_with("http://") && url.ends_with('/') && url.len() <= 200;
        if !self.hash_and_url.as_ref().is_none_or(place) {
            return Err("vpn.hash_and_url must begin with http:// and end with a slash");
        }
        if self.keepalive_seconds == Some(0) {
            return Err("vpn.keepalive_seconds must not be 0");
        }
        self.place().check()?;
        self.further.iter().try_for_each(FurtherAccess::check)?;
        let names: BTreeSet<&String> = self.further.iter().map(|one| &one.name).collect();
        match names.len() == self.further.len() {
            true => Ok(()),
            false => Err("vpn.further has a name twice"),
        }
    }

    fn place(&self) -> Where<'_> {
        Where {
            domain: self.domain.as_ref(),
            name_servers: &self.name_servers,
            concentrators: &self.concentrators,
            sis_concentrators: &self.sis_concentrators,
        }
    }

    /// Name servers of the transport network, of all access services.
    pub(crate) fn all_name_servers(&self) -> impl Iterator<Item = &SocketAddr> {
        let further = self.further.iter().flat_map(|one| &one.name_servers);
        self.name_servers.iter().chain(further)
    }

    fn profile(&self) -> Result<Profile, Failure> {
        let read = self.environment.profile();
        let mut profile = read.map_err(|error| Failure::new(Code::INTERNAL, error))?;
        profile.keepalive_seconds = self.keepalive_seconds.unwrap_or(profile.keepalive_seconds);
        Ok(profile)
    }
}

impl VpnSettings {
    /// All access services, in order of preference.
    fn directories(&self) -> Result<Vec<Arc<dyn Directory>>, Failure> {
        let further = self.further.iter().map(FurtherAccess::place);
        std::iter::once(self.place())
            .chain(further)
            .map(|one| one.directory())
            .collect()
    }
}

/// Concentrators from the configuration.
struct Fixed([(Service, Vec<FixedConcentrator>); 2]);

impl Directory for Fixed {
    fn find(&self, service: Service) -> Later<'_, Result<Places, DirectoryError>> {
        let all = self.0.iter().filter(|(of, _)| *of == service);
        let places = all.flat_map(|(_, all)| all).map(|one| Place {
            concentrator: Concentrator {
                name: one.name.clone(),
                address: one.address,
            },
            inside: (!one.names.is_empty()).then(|| Inside {
                nameservers: one.names.clone(),
                zone: None,
            }),
        });
        let places = places.collect();
        Box::pin(async { Ok(places) })
    }
}

/// The tunnel, once charon runs, and with which generation it was built last.
#[derive(Default)]
pub(crate) struct Vpn {
    tunnel: Option<Arc<Tunnel>>,
    generation: Option<u32>,
    down_since: Option<Timestamp>,
    /// The access service has refused the present one in this round: the next round tries another.
    turn: bool,
    /// When a generation was last refused beside a tunnel that stands.
    refused: BTreeMap<u32, Duration>,
    /// The tunnel of the secure Internet service.
    sis: Sis,
}

/// The tunnel of the secure Internet service: with the certificate that the tunnel into the TI stands with.
#[derive(Default)]
struct Sis {
    tunnel: Option<Arc<Tunnel>>,
    generation: Option<u32>,
    down_since: Option<Timestamp>,
    /// When the certificate of the other tunnel was last refused here.
    refused: Option<(u32, Duration)>,
    /// One of before that is on its way down: what it still says is of no other.
    ending: Option<tokio::task::JoinHandle<()>>,
}

impl Sis {
    /// Lets the tunnel go.
    fn let_go(&mut self) {
        // whoever else holds it, to look at it, lets it go soon
        if let Some(tunnel) = self.tunnel.take().and_then(Arc::into_inner) {
            self.ending = Some(tokio::spawn(tunnel.stop()));
        }
    }

    fn is_ending(&self) -> bool {
        self.ending.as_ref().is_some_and(|task| !task.is_finished())
    }
}

/// The name of an event about a tunnel.
fn topic(service: Service, what: &str) -> String {
    let name = match service {
        Service::Ti => "TI",
        Service::Sis => "SIS",
    };
    format!("NETWORK/VPN_{name}/{what}")
}

/// What the tunnel of the secure Internet service is built with.
struct Beside<'s> {
    settings: &'s VpnSettings,
    path: DataPath,
    changes: (mpsc::UnboundedSender<Change>, mpsc::UnboundedReceiver<Change>),
}

impl Inner {
    fn with_vpn<T>(&self, work: impl FnOnce(&mut Vpn) -> T) -> T {
        work(&mut self.vpn.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The tunnel takes itself down when nobody holds it any more.
    pub(crate) fn let_tunnel_go(&self) {
        self.with_vpn(|vpn| (vpn.tunnel, vpn.sis.tunnel) = (None, None));
    }

    pub(crate) fn tunnel(&self) -> Option<Arc<Tunnel>> {
        self.with_vpn(|vpn| vpn.tunnel.clone())
    }

    /// Is the TI reachable? Through our tunnel, or without one as the machine reaches it.
    pub(crate) fn reaches_ti(&self) -> bool {
        match &self.config.vpn {
            None => self.config.online,
            Some(_) => self
                .tunnel()
                .is_some_and(|tunnel| matches!(tunnel.state(), TunnelState::Up { .. })),
        }
    }

    /// CAs of concentrators with the roots above them, signers of revocation lists, and the list. `None` without one: nobody is
    /// believed then (4173).
    fn belief(&self, service: Service) -> Option<Trust> {
        let space = self.space();
        let (list, crl) = (space.list()?, space.crl()?);
        let kind = match service {
            Service::Ti => oid::VPNK_VPN,
            Service::Sis => oid::VPNK_VPN_SIS,
        };
        let cas = list.cas.iter().filter(|ca| ca.types.contains(&kind));
        let others = list.crl_signers.iter().chain(&self.identities.origin.roots);
        Some(Trust {
            authorities: cas.map(|ca| ca.certificate.der().to_vec()).collect(),
            others: others.map(|one| one.der().to_vec()).collect(),
            revocation_lists: vec![crl.der().to_vec()],
        })
    }

    fn credentials(&self, choice: &Choice<'_>) -> Option<Credentials> {
        let base = self.config.vpn.as_ref().and_then(|vpn| vpn.hash_and_url.clone());
        let issuer = || {
            let trust = self.trust()?;
            let mut cas = trust.list().cas.iter();
            let found = cas.find(|ca| ca.certificate.subject() == choice.held.issuer)?;
            Some(found.certificate.der().to_vec())
        };
        Some(Credentials {
            certificate: choice.held.der.clone(),
            key: self.own_key(choice.kind)?,
            // without its issuer it is sent as ever
            lies: base.and_then(|base| {
                Some(Lies {
                    base,
                    issuer: issuer()?,
                })
            }),
        })
    }

    /// The certificate for the tunnel, with its generation. One that stands is changed for what is used first, or when its own
    /// has ended; one that does not is built with the best, and after a refusal with the next.
    fn tunnel_credentials(&self, state: Option<&TunnelState>) -> Option<(u32, Credentials)> {
        let now = self.believed();
        let current = self.with_vpn(|vpn| vpn.generation);
        self.with_book(|book| {
            let all = select::tunnel(book, now);
            let place = all.iter().position(|choice| Some(choice.generation) == current);
            let found = match state {
                Some(TunnelState::Up { .. }) => {
                    let active = all.iter().find(|choice| {
                        book.stage(choice.generation, choice.kind.algorithm.family()) == Some(Stage::Active)
                    });
                    active.or_else(|| all.get(place?)).or(all.first())
                }
                Some(TunnelState::Down { .. }) if self.with_vpn(|vpn| std::mem::take(&mut vpn.turn)) => {
                    let next = place.map_or(0, |place| place + 1);
                    all.get(next).or(all.first())
                }
                Some(TunnelState::Down { .. }) if place.is_some() => all.get(place?),
                _ => all.first(),
            }?;
            Some((found.generation, self.credentials(found)?))
        })
    }

    /// Keeps charon and the tunnel alive, for ever.
    pub(crate) async fn keep_tunnel(self: Arc<Self>, settings: VpnSettings) {
        loop {
            if let Err(failure) = self.run_tunnel(&settings).await {
                tracing::error!(detail = failure.detail(), "VPN");
            }
            self.tunnel_gone(Service::Ti).await;
            self.tunnel_gone(Service::Sis).await;
            self.tunnel_down(Service::Ti);
            if self.with_vpn(|vpn| vpn.sis.tunnel.is_some()) {
                self.tunnel_down(Service::Sis);
            }
            self.with_vpn(|vpn| {
                *vpn = Vpn {
                    down_since: vpn.down_since,
                    sis: Sis {
                        down_since: vpn.sis.down_since,
                        ..Sis::default()
                    },
                    ..Vpn::default()
                }
            });
            self.tell_of_tunnel();
            self.clock.sleep(AGAIN).await;
        }
    }

    /// One life of charon.
    async fn run_tunnel(self: &Arc<Self>, settings: &VpnSettings) -> Result<(), Failure> {
        let failed = |error: network::IkeError| Failure::new(Code::VPN_TI, error);
        let began = self.clock.now();
        self.with_vpn(|vpn| {
            vpn.down_since.get_or_insert(began);
            if self.wants_sis() {
                vpn.sis.down_since.get_or_insert(began);
            }
        });
        let ready = || Some((self.belief(Service::Ti)?, self.tunnel_credentials(None)?));
        let (belief, (generation, credentials)) = loop {
            if let Some(ready) = ready() {
                break ready;
            }
            self.tell_of_tunnel();
            self.clock.sleep(Duration::from_secs(1)).await;
        };
        let path = match settings.user_space {
            true => DataPath::UserSpace,
            false => DataPath::Kernel,
        };
        let profile = settings.profile()?;
        // with a helper charon is its child: it has the rights
        let network = self.config.network.as_ref();
        let charon = match network.is_some_and(|network| network.helper.is_some()) {
            true => Charon::attach(&settings.folder, self.clock.clone()).await,
            false => {
                let mut setup = Setup {
                    command: settings.charon.clone(),
                    path,
                    hash_and_url: settings.hash_and_url.is_some(),
                    ..Setup::new(settings.folder.clone())
                };
                setup.patience.1 = profile.keepalive_tries;
                Charon::start(&setup, self.clock.clone()).await
            }
        };
        let mut charon = charon.map_err(failed)?;
        let order = TunnelOrder {
            service: Service::Ti,
            profile: Arc::new(profile),
            credentials,
            trust: belief,
        };
        let (sender, mut changes) = mpsc::unbounded_channel();
        let begun = Tunnel::begin(
            &charon,
            path,
            order,
            settings.directories()?,
            self.gate(),
            self.clock.clone(),
            sender,
        );
        let tunnel = Arc::new(begun.await.map_err(failed)?);
        self.with_vpn(|vpn| {
            vpn.tunnel = Some(tunnel.clone());
            vpn.generation = Some(generation);
        });
        let mut beside = Beside {
            settings,
            path,
            changes: mpsc::unbounded_channel(),
        };
        loop {
            tokio::select! {
                change = changes.recv() => match change {
                    Some(change) => self.tunnel_changed(Service::Ti, &change, path).await,
                    None => return Err(Failure::new(Code::VPN_TI, "the tunnel has ended")),
                },
                Some(change) = beside.changes.1.recv() => self.tunnel_changed(Service::Sis, &change, path).await,
                () = self.clock.sleep(LOOK) => {}
                () = self.vpn_again.notified() => {}
            }
            if charon.has_ended() {
                return Err(Failure::new(Code::VPN_TI, "charon has ended"));
            }
            tunnel.trust(self.belief(Service::Ti).unwrap_or_default());
            self.renew_tunnel(&tunnel).await;
            if let Err(failure) = self.keep_sis(&charon, &tunnel, &beside).await {
                tracing::warn!(detail = failure.detail(), "secure Internet service");
            }
            self.tell_of_tunnel();
        }
    }

    /// The tunnel of the secure Internet service, as long as the other one stands.
    async fn keep_sis(
        self: &Arc<Self>,
        charon: &Charon,
        ti: &Tunnel,
        beside: &Beside<'_>,
    ) -> Result<(), Failure> {
        let failed = |error: network::IkeError| Failure::new(Code::VPN_SIS, error);
        if !self.wants_sis() || !matches!(ti.state(), TunnelState::Up { .. }) {
            // what is taken down is told as it happens
            self.with_vpn(|vpn| vpn.sis.let_go());
            return Ok(());
        }
        let belief = self.belief(Service::Sis).unwrap_or_default();
        // the certificate of the other one: nobody tries anything new here
        let (now, generation) = (self.believed(), self.with_vpn(|vpn| vpn.generation));
        let credentials = self.with_book(|book| {
            let all = select::tunnel(book, now);
            let choice = all.iter().find(|choice| Some(choice.generation) == generation)?;
            self.credentials(choice)
        });
        let known = self.with_vpn(|vpn| vpn.sis.tunnel.clone());
        if let Some(tunnel) = &known {
            tunnel.trust(belief.clone());
        }
        let Some(credentials) = credentials else {
            return Ok(());
        };
        let Some(tunnel) = known else {
            if self.with_vpn(|vpn| vpn.sis.is_ending()) {
                return Ok(());
            }
            let order = TunnelOrder {
                service: Service::Sis,
                profile: Arc::new(beside.settings.profile()?),
                credentials,
                trust: belief,
            };
            let begun = Tunnel::begin(
                charon,
                beside.path,
                order,
                beside.settings.directories()?,
                self.gate(),
                self.clock.clone(),
                beside.changes.0.clone(),
            );
            let tunnel = Arc::new(begun.await.map_err(failed)?);
            self.with_vpn(|vpn| (vpn.sis.tunnel, vpn.sis.generation) = (Some(tunnel), generation));
            return Ok(());
        };
        let now = self.clock.elapsed();
        let (before, refused) = self.with_vpn(|vpn| (vpn.sis.generation, vpn.sis.refused));
        let again = refused.is_none_or(|(of, at)| Some(of) != generation || now >= at + RENEW_AGAIN);
        if before == generation || !again {
            return Ok(());
        }
        if matches!(tunnel.state(), TunnelState::Down { .. }) {
            // one that is dialled hears nothing: the next one is built with it
            drop(tunnel);
            self.with_vpn(|vpn| vpn.sis.let_go());
            return Ok(());
        }
        match tunnel.renew(credentials).await {
            Ok(_) => self.with_vpn(|vpn| vpn.sis.generation = generation),
            Err(_) => self.with_vpn(|vpn| vpn.sis.refused = generation.map(|generation| (generation, now))),
        }
        Ok(())
    }

    fn wants_sis(&self) -> bool {
        let network = self.config.network.as_ref();
        network.is_some_and(|network| network.internet == network::Internet::Sis)
    }

    /// Changes the tunnel's certificate if another serves now.
    async fn renew_tunnel(&self, tunnel: &Tunnel) {
        let state = tunnel.state();
        let Some((generation, credentials)) = self.tunnel_credentials(Some(&state)) else {
            return;
        };
        if self.with_vpn(|vpn| vpn.generation) == Some(generation) {
            return;
        }
        // one that was refused is tried again in its time, not all the time
        let now = self.clock.elapsed();
        let refused = self.with_vpn(|vpn| vpn.refused.get(&generation).copied());
        if matches!(state, TunnelState::Up { .. }) && refused.is_some_and(|at| now < at + RENEW_AGAIN) {
            return;
        }
        match tunnel.renew(credentials).await {
            Ok(_) => self.with_vpn(|vpn| vpn.generation = Some(generation)),
            // the old one stands, or there is none and the new one is tried next
            Err(attempt) => {
                tracing::warn!(generation, ?attempt, "certificate of the tunnel not changed");
                self.with_vpn(|vpn| vpn.refused.insert(generation, now));
                if matches!(tunnel.state(), TunnelState::Down { .. }) {
                    self.with_vpn(|vpn| vpn.generation = Some(generation));
                }
            }
        }
    }

    async fn tunnel_changed(&self, service: Service, change: &Change, path: DataPath) {
        match change {
            Change::Up(place, sa) => {
                // whoever hears of it may use it at once
                if let Some(standing) = self.standing(service, place, sa, path) {
                    self.tunnel_stands(service, standing, place.inside.clone()).await;
                }
                self.with_vpn(|vpn| match service {
                    Service::Ti => (vpn.down_since, vpn.turn) = (None, false),
                    Service::Sis => vpn.sis.down_since = None,
                });
                let inner = sa.inner.map(|inner| inner.to_string()).unwrap_or_default();
                let parameters = vec![("IP", inner), ("Concentrator", place.concentrator.name.clone())];
                self.raise(Event::info(&topic(service, "UP"), None, parameters));
                if service == Service::Ti {
                    // much waits for the TI
                    self.look_again.notify_one();
                }
            }
            Change::Down => {
                self.tunnel_gone(service).await;
                self.tunnel_down(service);
            }
            Change::Renewed(place, sa) => {
                if let Some(standing) = self.standing(service, place, sa, path) {
                    self.tunnel_stands(service, standing, place.inside.clone()).await;
                }
                let parameters = vec![("Suite", sa.suite.clone())];
                self.log(&Event::quiet(
                    &topic(service, "RENEWED"),
                    Severity::Info,
                    parameters,
                ));
            }
            Change::Failed(attempt) => {
                // whoever does not know us yet says nothing of the certificate
                if attempt.reason == Reason::Refused && service == Service::Ti && attempt.access == 0 {
                    self.with_vpn(|vpn| vpn.turn = true);
                }
                let [german, _] = attempt.reason.texts();
                let place = attempt.place.as_ref().map(|place| place.name.clone());
                let parameters = vec![
                    ("Concentrator", place.unwrap_or_default()),
                    ("Error", attempt.reason.code(service).number().to_string()),
                    ("Bedeutung", german.to_owned()),
                    ("Detail", attempt.detail.clone()),
                ];
                self.log(&Event::quiet(
                    &topic(service, "FAILED"),
                    Severity::Warning,
                    parameters,
                ));
            }
        }
    }

    fn standing(&self, service: Service, place: &Place, sa: &Sa, path: DataPath) -> Option<Standing> {
        Some(Standing {
            interface: self.interface(service, path),
            inner: sa.inner?,
            concentrator: place.concentrator.address,
            names: place
                .inside
                .iter()
                .flat_map(|inside| inside.nameservers.clone())
                .collect(),
        })
    }

    /// Says once that a tunnel is gone, however that was noticed.
    fn tunnel_down(&self, service: Service) {
        let now = self.clock.now();
        let first = self.with_vpn(|vpn| {
            let since = match service {
                Service::Ti => &mut vpn.down_since,
                Service::Sis => &mut vpn.sis.down_since,
            };
            let first = since.is_none();
            since.get_or_insert(now);
            first
        });
        if first {
            self.raise(Event {
                severity: Severity::Warning,
                ..Event::info(&topic(service, "DOWN"), None, Vec::new())
            });
        }
    }

    fn tell_of_tunnel(&self) {
        let (ti, sis) = self.with_vpn(|vpn| (vpn.down_since, vpn.sis.down_since));
        let now = self.clock.now().as_second();
        let told = |down: Option<Timestamp>| down.is_some_and(|since| now - since.as_second() >= TOLD_AFTER);
        self.set_condition(Condition::NoVpnTiConnection, told(ti));
        self.set_condition(Condition::NoVpnSisConnection, self.wants_sis() && told(sis));
    }

    /// P4: a second tunnel with the candidate, beside the one that works.
    pub(crate) async fn probe_tunnel(&self, generation: u32, family: Family) -> Probe {
        let outcome = match (&self.config.vpn, self.tunnel()) {
            (None, _) => Outcome::Skipped("this device builds no tunnel ([vpn])".into()),
            (Some(_), None) => Outcome::Failed("charon does not run".into()),
            (Some(_), Some(tunnel)) => {
                let credentials = self.with_book(|book| {
                    let one = book.generation(generation)?;
                    let mut all = one.certificates.iter();
                    let wanted = |kind: &Kind| kind.role == Role::NkVpn && kind.algorithm.family() == family;
                    let (kind, held) = all.find(|(kind, _)| wanted(kind))?;
                    self.credentials(&Choice {
                        generation,
                        kind: *kind,
                        held,
                    })
                });
                match credentials {
                    None => Outcome::Failed("no C.NK.VPN of this generation".into()),
                    Some(credentials) => match tunnel.probe(credentials).await {
                        Ok(_) => Outcome::Good,
                        Err(attempt) => {
                            let [_, english] = attempt.reason.texts();
                            Outcome::Failed(format!("{english}: {}", attempt.detail))
                        }
                    },
                }
            }
        };
        Probe {
            name: "tunnel".into(),
            outcome,
        }
    }

    /// The tunnels as administrators see them: the one into the TI, and in it that of the secure Internet service if it is wanted.
    pub fn vpn_view(&self) -> Value {
        let (generation, sis) = self.with_vpn(|vpn| (vpn.generation, vpn.sis.tunnel.clone()));
        let mut view = match self.tunnel() {
            None => json!({ "configured": self.config.vpn.is_some(), "up": false }),
            Some(tunnel) => view_of(&tunnel.state(), Service::Ti),
        };
        let Some(fields) = view.as_object_mut() else {
            return view;
        };
        if let Some(generation) = generation {
            fields.insert("generation".into(), json!(generation));
        }
        if self.wants_sis() {
            let sis = match sis {
                None => json!({ "configured": true, "up": false }),
                Some(tunnel) => view_of(&tunnel.state(), Service::Sis),
            };
            fields.insert("sis".into(), sis);
        }
        view
    }
}

fn view_of(state: &TunnelState, service: Service) -> Value {
    match state {
        TunnelState::Down { since, last } => json!({
            "configured": true, "up": false, "since": since.to_string(),
            "last": last.as_ref().map(|attempt| {
                let [german, english] = attempt.reason.texts();
                json!({
                    "concentrator": attempt.place.as_ref().map(|place| &place.name), "de": german, "en": english,
                    "detail": attempt.detail, "code": attempt.reason.code(service).number(),
                })
            }),
        }),
        TunnelState::Up { since, place, sa } => json!({
            "configured": true, "up": true, "since": since.to_string(),
            "concentrator": place.concentrator.name, "inner": sa.inner.map(|inner| inner.to_string()),
            "suite": sa.suite, "extended_sequence_numbers": sa.esn,
        }),
    }
}
