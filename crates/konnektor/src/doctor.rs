//! What is wrong, whose fault it is, and what shows it: the chain from the device to the services of the TI is walked link by link.
//! Nothing is changed, nothing secret or personal is said: the answer can be sent to support as it is.

use crate::Inner;
use crate::net::host_of;
use asn1::X509;
use base::Severity;
use card::CardKind;
use identity::Role;
use identity::clock::Doubt;
use network::{NameServers, Reason, Service, TunnelState};
use serde::Serialize;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpStream, lookup_host};

/// How long one link may take.
const LIMIT: Duration = Duration::from_secs(15);
/// An answer that takes longer makes practices wait; milliseconds.
const SLOW: u64 = 3000;

/// How a link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// It works.
    Good,
    /// It works, but slowly, or not for long.
    Poor,
    /// It does not work.
    Bad,
    /// That cannot be said: what it hangs on is missing.
    Unknown,
    /// This device does without it.
    Unused,
}

/// Whose it is to mend it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Whose {
    /// The device's, or its administrator's.
    Device,
    /// The practice's: a card, a PIN, a terminal.
    Practice,
    /// The Internet line or the router.
    Line,
    /// The provider of the VPN access service.
    AccessProvider,
    /// The TI's own services.
    Ti,
    /// Whoever issues certificates and says whether they are revoked.
    Issuer,
    /// A specialist service.
    Service,
}

impl Whose {
    /// For people, German and English.
    pub fn texts(self) -> [&'static str; 2] {
        match self {
            Self::Device => [
                "dieses Gerät oder seine Einstellungen",
                "this device or its settings",
            ],
            Self::Practice => [
                "Karte, PIN oder Kartenterminal in der Praxis",
                "card, PIN or terminal in the practice",
            ],
            Self::Line => ["Internetleitung oder Router", "the Internet line or the router"],
            Self::AccessProvider => [
                "der Anbieter des VPN-Zugangsdienstes",
                "the provider of the VPN access service",
            ],
            Self::Ti => ["die zentrale TI", "the TI's central services"],
            Self::Issuer => [
                "ein Statusdienst eines Kartenherausgebers",
                "the status service of an issuer",
            ],
            Self::Service => ["ein Fachdienst", "a specialist service"],
        }
    }
}

/// One link of the chain.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// Which one.
    pub link: &'static str,
    /// How it is.
    pub health: Health,
    /// Whose it is to mend it, if it is not good.
    pub whose: Option<Whose>,
    /// In a sentence, German.
    pub de: String,
    /// In a sentence, English.
    pub en: String,
    /// What shows it.
    pub evidence: String,
    /// How long it took to find out.
    pub milliseconds: u64,
}

/// The whole chain.
#[derive(Debug, Clone, Serialize)]
pub struct Diagnosis {
    /// When.
    pub at: String,
    /// The answer in a sentence, German: the first link that is broken, else the first that is poor.
    pub de: String,
    /// The same in English.
    pub en: String,
    /// Each link, from the device outwards.
    pub links: Vec<Finding>,
}

/// What is found, before it is known how long it took.
struct Found(Health, Option<Whose>, [String; 2], String);

impl Found {
    fn good(de: &str, en: &str, evidence: impl Into<String>) -> Self {
        Self(Health::Good, None, [de.into(), en.into()], evidence.into())
    }

    fn unused(de: &str, en: &str) -> Self {
        Self(Health::Unused, None, [de.into(), en.into()], String::new())
    }

    fn unknown(de: &str, en: &str) -> Self {
        Self(Health::Unknown, None, [de.into(), en.into()], String::new())
    }

    fn bad(whose: Whose, de: impl Into<String>, en: impl Into<String>, evidence: impl Into<String>) -> Self {
        Self(Health::Bad, Some(whose), [de.into(), en.into()], evidence.into())
    }

    fn poor(whose: Whose, de: impl Into<String>, en: impl Into<String>, evidence: impl Into<String>) -> Self {
        Self(Health::Poor, Some(whose), [de.into(), en.into()], evidence.into())
    }
}

/// Whose a failed attempt is.
fn whose(reason: Reason) -> Whose {
    match reason {
        Reason::Local => Whose::Device,
        // the revocation list is ours to have
        Reason::PeerUnknown => Whose::Device,
        _ => Whose::AccessProvider,
    }
}

/// The answer in a sentence or two: what hangs on something broken is not blamed, but cards and terminals hang on nothing.
fn verdict(links: &[Finding]) -> [String; 2] {
    let is = |health: Health, cards: bool| {
        move |one: &&Finding| one.health == health && (one.link == "cards") == cards
    };
    let first = |health: Health| {
        let mut all = [false, true].map(|cards| links.iter().find(is(health, cards)));
        all.sort_by_key(Option::is_none);
        all.into_iter().flatten()
    };
    let mut blamed = first(Health::Bad).peekable();
    let blamed: Vec<&Finding> = match blamed.peek() {
        Some(_) => blamed.collect(),
        None => first(Health::Poor).collect(),
    };
    if blamed.is_empty() {
        return [
            "Alles, was sich prüfen lässt, ist in Ordnung.",
            "All that can be looked at is well.",
        ]
        .map(str::to_owned);
    }
    // what people want to know first
    let ours = |one: &&&Finding| matches!(one.whose, Some(Whose::Device | Whose::Practice));
    let [mut de, mut en] = match blamed.iter().any(|one| ours(&one)) {
        true => [String::new(), String::new()],
        false => [
            "Es liegt nicht an der Praxis: ".to_owned(),
            "It is not the practice: ".to_owned(),
        ],
    };
    for (number, one) in blamed.iter().enumerate() {
        let [whose_de, whose_en] = one.whose.map(Whose::texts).unwrap_or_default();
        let next = if number == 0 { "" } else { " " };
        de += &format!("{next}{} (zuständig: {whose_de}).", one.de);
        en += &format!("{next}{} (to be mended by: {whose_en}).", one.en);
    }
    [de, en]
}

impl Inner {
    /// Walks the chain.
    pub async fn diagnose(self: &Arc<Self>) -> Diagnosis {
        let mut links = Vec::new();
        // nothing of what lies inside the TI can be said without a way there
        let reaches = self.reaches_ti();
        let mut link = async |name: &'static str, found: &mut (dyn Future<Output = Found> + Send + Unpin)| {
            let started = self.clock.elapsed();
            let found = self.clock.timeout(LIMIT, found).await;
            let found = found.unwrap_or_else(|| {
                Found(
                    Health::Unknown,
                    None,
                    ["keine Antwort in der Zeit".into(), "no answer in time".into()],
                    format!("{LIMIT:?}"),
                )
            });
            let took = self.clock.elapsed() - started;
            let Found(health, whose, [de, en], evidence) = found;
            let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            links.push(Finding {
                link: name,
                health,
                whose,
                de,
                en,
                evidence,
                milliseconds,
            });
        };
        link("device", &mut Box::pin(async { self.look_at_device() })).await;
        link("clock", &mut Box::pin(async { self.look_at_clock() })).await;
        link("cards", &mut Box::pin(async { self.look_at_cards() })).await;
        link("line", &mut Box::pin(self.look_at_line())).await;
        link("access_service", &mut Box::pin(async { self.look_at_access() })).await;
        link("registration", &mut Box::pin(self.look_at_registration())).await;
        link("tunnel", &mut Box::pin(async { self.look_at_tunnel() })).await;
        link("names", &mut Box::pin(self.look_at_names(reaches))).await;
        link("trust_list", &mut Box::pin(self.look_at_trust_list(reaches))).await;
        link("status_services", &mut Box::pin(self.look_at_status(reaches))).await;
        link("services", &mut Box::pin(self.look_at_services(reaches))).await;
        let [de, en] = verdict(&links);
        Diagnosis {
            at: self.clock.now().to_string(),
            de,
            en,
            links,
        }
    }

    fn look_at_device(&self) -> Found {
        let fatal: Vec<String> = self
            .conditions()
            .into_iter()
            .map(|(condition, set, _)| (condition.describe(), set))
            .filter(|(about, set)| *set && about.severity == Severity::Fatal)
            .map(|(about, _)| format!("EC_{}: {}", about.name, about.meaning))
            .collect();
        match fatal.is_empty() {
            true => Found::good(
                "kein Fehlerzustand sperrt etwas",
                "no condition bars anything",
                "",
            ),
            false => Found::bad(
                Whose::Device,
                "ein Fehlerzustand sperrt Funktionen",
                "a condition bars functions",
                fatal.join("; "),
            ),
        }
    }

    fn look_at_clock(&self) -> Found {
        let now = self.clock.now().to_string();
        let measured = self
            .served()
            .map(|one| format!(", {} ms ahead of the time servers", one.ahead));
        let evidence = format!("{now}{}", measured.unwrap_or_default());
        match self.doubt() {
            None => Found::good("die Uhr ist glaubwürdig", "the clock can be believed", evidence),
            Some(doubt) => {
                let [de, en] = match doubt {
                    Doubt::Behind => ["die Uhr geht nach", "the clock is behind"],
                    Doubt::Ahead => [
                        "die Uhr geht vor, oder das Gerät war lange aus",
                        "the clock is ahead, or the device was off for long",
                    ],
                };
                Found::bad(Whose::Device, de, en, evidence)
            }
        }
    }

    fn look_at_cards(&self) -> Found {
        let all = self.terminals().all();
        let (known, connected) = (all.len(), all.iter().filter(|one| one.session.is_some()).count());
        let smcs: Vec<_> = self
            .cards
            .all()
            .into_iter()
            .filter(|card| card.found.kind == CardKind::SmcB)
            .collect();
        let open = smcs.iter().filter(|card| card.is_open("PIN.SMC")).count();
        let evidence = format!(
            "{connected} of {known} terminals connected, {open} of {} SMC-B open",
            smcs.len()
        );
        match (connected, smcs.len(), open) {
            (0, ..) if known > 0 => Found::bad(
                Whose::Practice,
                "kein Kartenterminal ist verbunden",
                "no terminal is connected",
                evidence,
            ),
            (_, 0, _) => Found::poor(
                Whose::Practice,
                "keine SMC-B steckt",
                "no SMC-B is inserted",
                evidence,
            ),
            (_, _, 0) => Found::poor(
                Whose::Practice,
                "keine SMC-B ist freigeschaltet: PIN eingeben",
                "no SMC-B is open: type its PIN",
                evidence,
            ),
            _ if connected < known => Found::poor(
                Whose::Practice,
                "nicht alle Kartenterminals sind verbunden",
                "not all terminals are connected",
                evidence,
            ),
            _ => Found::good(
                "Kartenterminals und SMC-B sind bereit",
                "terminals and SMC-B are ready",
                evidence,
            ),
        }
    }

    /// Does anybody answer outside? Any answer of a name server counts.
    async fn look_at_line(&self) -> Found {
        let Some(vpn) = self
            .config
            .vpn
            .as_ref()
            .filter(|vpn| !vpn.name_servers.is_empty())
        else {
            return Found::unused("keine Nameserver eingetragen", "no name servers are set");
        };
        let servers: Vec<String> = vpn.name_servers.iter().map(ToString::to_string).collect();
        let evidence = servers.join(", ");
        match NameServers::new(&vpn.name_servers, vpn.domain.as_deref().unwrap_or_default()) {
            Ok(names) if names.answer().await => {
                Found::good("die Leitung trägt", "the line carries", evidence)
            }
            _ => Found::bad(
                Whose::Line,
                "kein Nameserver antwortet",
                "no name server answers",
                evidence,
            ),
        }
    }

    fn look_at_access(&self) -> Found {
        if self.config.vpn.is_none() {
            return Found::unused("dieses Gerät baut keinen Tunnel", "this device builds no tunnel");
        }
        match self.tunnel_state() {
            None => Found::unknown("charon läuft nicht", "charon does not run"),
            Some(TunnelState::Up { place, .. }) => Found::good(
                "der Konzentrator antwortet",
                "the concentrator answers",
                place.concentrator.name,
            ),
            Some(TunnelState::Down { last: None, .. }) => {
                Found::unknown("noch kein Versuch", "no attempt yet")
            }
            Some(TunnelState::Down {
                last: Some(attempt), ..
            }) => {
                let [de, en] = attempt.reason.texts();
                let place = attempt.place.map(|place| place.name).unwrap_or_default();
                let code = attempt.reason.code(Service::Ti).number();
                Found::bad(
                    whose(attempt.reason),
                    de,
                    en,
                    format!("{code} {place} {}", attempt.detail),
                )
            }
        }
    }

    async fn look_at_registration(self: &Arc<Self>) -> Found {
        if self.config.lifetime.registration.is_none() {
            return Found::unused(
                "kein Registrierungsdienst eingetragen",
                "no registration service is set",
            );
        }
        let Some((generation, family)) = self.serving() else {
            return match self.identities.nk {
                None => Found::unused("kein C.NK.VPN", "no C.NK.VPN"),
                Some(_) => Found::bad(Whose::Device, "kein gültiges C.NK.VPN", "no valid C.NK.VPN", ""),
            };
        };
        match self.is_registered(generation, family).await {
            Ok(true) => Found::good("registriert", "registered", format!("generation {generation}")),
            Ok(false) => Found::bad(
                Whose::AccessProvider,
                "der VPN-Zugangsdienst kennt das Gerät nicht",
                "the VPN access service does not know the device",
                format!("generation {generation}"),
            ),
            Err(failure) if failure.code() == base::Code::SMCB_NOT_VERIFIED => Found::unknown(
                "ohne offene SMC-B lässt sich nicht fragen",
                "without an open SMC-B nobody can be asked",
            ),
            Err(failure) => Found::bad(
                Whose::AccessProvider,
                "der Registrierungsdienst antwortet nicht",
                "the registration service does not answer",
                failure.detail(),
            ),
        }
    }

    fn look_at_tunnel(&self) -> Found {
        match self.tunnel_state() {
            None if self.config.vpn.is_none() => {
                Found::unused("dieses Gerät baut keinen Tunnel", "this device builds no tunnel")
            }
            None => Found::bad(Whose::Device, "charon läuft nicht", "charon does not run", ""),
            Some(TunnelState::Up { since, place, sa }) => Found::good(
                "der Tunnel steht",
                "the tunnel stands",
                format!("since {since}, {}, {}", place.concentrator.address, sa.suite),
            ),
            Some(TunnelState::Down { since, last }) => {
                let whose = last.map_or(Whose::AccessProvider, |attempt| whose(attempt.reason));
                Found::bad(
                    whose,
                    "der Tunnel steht nicht",
                    "the tunnel does not stand",
                    format!("since {since}"),
                )
            }
        }
    }

    /// Names of the TI, at its own name servers where they are known.
    async fn look_at_names(&self, reaches: bool) -> Found {
        if !reaches {
            return Found::unknown("kein Weg in die TI", "no way into the TI");
        }
        let inside = match self.tunnel_state() {
            Some(TunnelState::Up { place, .. }) => place.inside,
            _ => None,
        };
        let Some(inside) = inside.filter(|inside| !inside.nameservers.is_empty()) else {
            return Found::unused(
                "keine Nameserver der TI bekannt",
                "no name servers of the TI are known",
            );
        };
        let servers: Vec<SocketAddr> = inside
            .nameservers
            .iter()
            .map(|one| SocketAddr::new(IpAddr::V4(*one), 53))
            .collect();
        let evidence = format!("{:?}", inside.nameservers);
        match NameServers::new(&servers, inside.zone.as_deref().unwrap_or_default()) {
            Ok(names) if names.answer().await => Found::good(
                "die Nameserver der TI antworten",
                "the TI's name servers answer",
                evidence,
            ),
            _ => Found::bad(
                Whose::Ti,
                "die Nameserver der TI antworten nicht",
                "the TI's name servers do not answer",
                evidence,
            ),
        }
    }

    /// A connection to whoever serves this address.
    async fn reach(&self, url: &str) -> Result<String, String> {
        let (host, port) = host_of(url).ok_or("not an address")?;
        let address = lookup_host((host.as_str(), port))
            .await
            .map_err(|error| format!("{host}: {error}"))?;
        let mut last = format!("{host}: no address");
        for one in address.take(4) {
            match TcpStream::connect(one).await {
                Ok(_) => return Ok(format!("{host} {one}")),
                Err(error) => last = format!("{host} {one}: {error}"),
            }
        }
        Err(last)
    }

    async fn look_at_trust_list(&self, reaches: bool) -> Found {
        let space = self.space();
        let Some(list) = space.list() else {
            return Found::bad(
                Whose::Device,
                "es gibt keine Vertrauensliste: eine einspielen (`langlauf admin import`)",
                "there is no trust list: import one (`langlauf admin import`)",
                "",
            );
        };
        let evidence = format!("number {}, until {}", list.sequence, list.next_update);
        let Some(url) = self.config.tsl_url.as_ref().filter(|_| reaches) else {
            return Found::unknown("kein Weg zur Vertrauensliste", "no way to the trust list");
        };
        match self.reach(url).await {
            Ok(where_) => Found::good(
                "die Vertrauensliste ist da und erreichbar",
                "the trust list is there and in reach",
                format!("{evidence}, {where_}"),
            ),
            Err(error) => Found::poor(
                Whose::Ti,
                "der Dienst der Vertrauensliste antwortet nicht; die vorhandene gilt weiter",
                "the service of the trust list does not answer; the one we have still counts",
                format!("{evidence}, {error}"),
            ),
        }
    }

    /// The status of our own certificate, and how all status services have been doing.
    async fn look_at_status(&self, reaches: bool) -> Found {
        let Some(trust) = self.trust().filter(|_| reaches) else {
            return Found::unknown("kein Weg zu Statusdiensten", "no way to status services");
        };
        let own = self
            .identities
            .ak_brainpool
            .chain
            .first()
            .and_then(|der| X509::parse(der).ok());
        let asked = match &own {
            Some(own) => trust
                .check(own, &Role::AkAut.purpose(), &*self.clock)
                .await
                .map(drop),
            None => Ok(()),
        };
        let all = self.responders.health();
        let worst = all
            .iter()
            .max_by_key(|one| (one.failures, one.last_milliseconds.unwrap_or_default()));
        let Some(worst) = worst else {
            return Found::unknown(
                "noch kein Statusdienst wurde gefragt",
                "no status service was asked yet",
            );
        };
        let evidence = serde_json::to_string(&all).unwrap_or_default();
        let (url, took) = (&worst.url, worst.last_milliseconds.unwrap_or_default());
        match (worst.failures, took > SLOW, asked) {
            (1.., ..) => Found::bad(
                Whose::Issuer,
                format!("der Statusdienst {url} antwortet nicht"),
                format!("the status service {url} does not answer"),
                evidence,
            ),
            (_, _, Err(error)) if error.is_inconclusive() => Found::bad(
                Whose::Issuer,
                "der Statusdienst für C.AK.AUT gibt keine brauchbare Antwort",
                "the status service for C.AK.AUT gives no answer that counts",
                format!("{error}; {evidence}"),
            ),
            (_, true, _) => Found::poor(
                Whose::Issuer,
                format!("der Statusdienst {url} ist langsam ({took} ms)"),
                format!("the status service {url} is slow ({took} ms)"),
                evidence,
            ),
            (_, _, Err(error)) => Found::poor(
                Whose::Device,
                "das eigene Zertifikat C.AK.AUT wird nicht als gut bestätigt",
                "the own certificate C.AK.AUT is not said to be good",
                error.to_string(),
            ),
            _ => Found::good(
                "die Statusdienste antworten",
                "the status services answer",
                evidence,
            ),
        }
    }

    async fn look_at_services(&self, reaches: bool) -> Found {
        let Some(url) = self.config.vsdm_url.as_ref() else {
            return Found::unused("kein VSDM-Dienst eingetragen", "no VSDM service is set");
        };
        if !reaches {
            return Found::unknown("kein Weg in die TI", "no way into the TI");
        }
        match self.reach(url).await {
            Ok(place) => Found::good(
                "der VSDM-Dienst ist erreichbar",
                "the VSDM service is in reach",
                place,
            ),
            Err(error) => Found::bad(
                Whose::Service,
                "der VSDM-Dienst ist nicht zu erreichen",
                "the VSDM service is out of reach",
                error,
            ),
        }
    }

    fn tunnel_state(&self) -> Option<TunnelState> {
        self.tunnel().map(|tunnel| tunnel.state())
    }
}
