//! Networks beside the TI that are reached through its tunnel (Bestandsnetze, WANDA Basic): the list comes daily from the
//! configuration service (TUC_KON_283, TIP1-A_5152), administrators choose (ANLW_IA_BESTANDSNETZE), and routes, names, packet filter
//! and DHCP follow without a restart (A_21899). The last list that was good stays, and the one before it can be taken up again.

use crate::events::Event;
use crate::judge::Matter;
use crate::net::Net;
use crate::{Failure, Inner, tls_service};
use base::{Code, Severity, Timestamp};
use network::{Forward, Legacy, Network, Plan};
use pki::Purpose;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use soap::inventory::{Inventory, InventoryNetwork};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddrV4};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use store::Store;

const STORE: &str = "legacy";
/// Kind of documents that say what administrators have decided, by ID.
pub(crate) const CHOICES: &str = "legacy-choice";
/// Between two downloads, and after one that failed: more and more.
const DAILY: Duration = Duration::from_secs(86_400);
const SOON: Duration = Duration::from_secs(15);
const AGAIN: Duration = Duration::from_secs(3600);
/// Most that downloads of many devices are apart (GS-A_5013).
const SPREAD: u64 = 3600;

/// A list as it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    text: String,
    since: Timestamp,
    /// Where it came from: lists of others are neither used nor compared.
    from: String,
}

/// The list in use, and the one before it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Lists {
    current: Option<Kept>,
    before: Option<Kept>,
    /// Somebody has gone back from this version: by itself it is not taken again.
    left: Option<[u16; 3]>,
}

impl Lists {
    fn open(store: &Store, from: Option<&String>) -> Result<Self, Failure> {
        let mut lists: Self = store.get(STORE, "lists")?.unwrap_or_default();
        let ours = |kept: &Kept| Some(&kept.from) == from;
        if lists.current.as_ref().is_some_and(|kept| !ours(kept)) {
            lists.left = None;
        }
        lists.current = lists.current.filter(ours);
        lists.before = lists.before.filter(ours);
        Ok(lists)
    }
}

/// What is known of the networks beside the TI.
#[derive(Default)]
pub(crate) struct Known {
    inventory: Option<Arc<Inventory>>,
    /// What administrators have decided, by ID.
    choices: BTreeMap<String, bool>,
}

impl Known {
    /// What is stored of this source; a list that cannot be read any more gives way to the one before it.
    pub fn open(store: &Store, from: Option<&String>) -> Result<Self, Failure> {
        let lists = Lists::open(store, from)?;
        let read = |kept: &Option<Kept>| {
            let text = &kept.as_ref()?.text;
            let read = Inventory::parse(text);
            read.inspect_err(|error| tracing::error!(%error, "stored list of networks beside the TI"))
                .ok()
        };
        Ok(Self {
            inventory: read(&lists.current).or_else(|| read(&lists.before)).map(Arc::new),
            choices: store.all(CHOICES)?.into_iter().collect(),
        })
    }
}

fn version(number: [u16; 3]) -> String {
    number.map(|one| one.to_string()).join(".")
}

/// Domains of which none is another one or below it.
#[derive(Default)]
struct Domains {
    all: BTreeSet<String>,
    /// Everything that one of them is below.
    above: BTreeSet<String>,
}

impl Domains {
    fn of<'d>(all: impl Iterator<Item = &'d str>) -> Self {
        let mut domains = Self::default();
        for one in all {
            domains.add(one);
        }
        domains
    }

    /// Adds one, unless it is one that is there, below it or above it.
    fn add(&mut self, domain: &str) -> bool {
        let domain = domain.to_ascii_lowercase();
        let above: Vec<&str> = domain
            .match_indices('.')
            .filter_map(|(at, _)| domain.get(at + 1..))
            .collect();
        let known = |one: &str| self.all.contains(one);
        if known(&domain) || self.above.contains(&domain) || above.iter().any(|one| known(one)) {
            return false;
        }
        self.above.extend(above.into_iter().map(str::to_owned));
        self.all.insert(domain);
        true
    }
}

/// Is it to be used on this day?
fn is_chosen(net: &Net, one: &InventoryNetwork, choices: &BTreeMap<String, bool>, today: Timestamp) -> bool {
    let wanted = choices.get(&one.id).copied().unwrap_or(net.settings.new_legacy);
    wanted && one.is_valid_at(today)
}

impl Inner {
    fn inventory(&self, net: &Net) -> (Option<Arc<Inventory>>, BTreeMap<String, bool>) {
        let known = net.legacy.lock().unwrap_or_else(PoisonError::into_inner);
        (known.inventory.clone(), known.choices.clone())
    }

    /// Today, as far as that is known.
    fn today(&self) -> Timestamp {
        Timestamp::from_second(self.believed()).unwrap_or_default()
    }

    /// Puts the networks beside the TI into a plan. One that has no place here (it collides with the TI or with the practice) is
    /// left out, and the others are not.
    pub(crate) fn add_legacy(&self, net: &Net, plan: &mut Plan) -> Vec<String> {
        let ((inventory, choices), today) = (self.inventory(net), self.today());
        let Some(profile) = net.environment().profile().ok() else {
            return Vec::new();
        };
        let mut left_out = Vec::new();
        let whole = plan.clone();
        let forwards = plan.resolver.iter().flat_map(|names| &names.forwards);
        let mut domains = Domains::of(forwards.map(|one| one.domain.as_str()));
        domains.add("konlan");
        for one in inventory.iter().flat_map(|inventory| &inventory.networks) {
            let mut networks = Vec::new();
            for (address, bits) in &one.networks {
                let network = Network::try_from(format!("{address}/{bits}")).ok();
                let wrong = match network {
                    None => Some(format!("{address}/{bits} is no network of version 4")),
                    Some(network) => plan.no_legacy(network, &profile),
                };
                match (wrong, network) {
                    (None, Some(network)) => networks.push(network),
                    (wrong, _) => left_out.push(format!("{}: {}", one.id, wrong.unwrap_or_default())),
                }
            }
            let servers = one.servers.iter().filter_map(|server| match server {
                // whoever knows the names of a network is in it
                IpAddr::V4(server) if networks.iter().any(|network| network.contains(*server)) => {
                    Some(*server)
                }
                _ => None,
            });
            let legacy = Legacy {
                names: servers.collect(),
                active: is_chosen(net, one, &choices, today),
                networks,
            };
            if let Some(names) = plan
                .resolver
                .as_mut()
                .filter(|_| legacy.active && !legacy.names.is_empty())
            {
                // nobody beside the TI answers for names of the TI, of the practice or of another network
                let servers = match plan.ti.is_some() {
                    true => legacy
                        .names
                        .iter()
                        .map(|name| SocketAddrV4::new(*name, 53))
                        .collect(),
                    // without a tunnel nobody is asked
                    false => Default::default(),
                };
                match !domains.add(&one.domain) {
                    true => left_out.push(format!("{}: names of {} are others' already", one.id, one.domain)),
                    false => names.forwards.push(Forward {
                        domain: one.domain.clone(),
                        servers,
                    }),
                }
            }
            plan.legacy.push(legacy);
        }
        // whatever is wrong with all of them together must not take the way into the TI away
        if let Err(error) = plan.check(&profile)
            && whole.check(&profile).is_ok()
        {
            left_out.push(format!("all: {error}"));
            *plan = whole;
        }
        left_out
    }

    /// Judges a list, stores and uses it. Is it new?
    async fn take_inventory(
        &self,
        net: &Net,
        from: &str,
        text: &str,
        by_hand: bool,
    ) -> Result<bool, Failure> {
        let failed = |reason: String| Failure::new(Code::LEGACY_NETWORKS, reason);
        self.judge_apart(Matter::Networks(text.into())).await?;
        let read = Inventory::parse(text).map_err(|error| failed(error.to_string()))?;
        let lists = Lists::open(&self.store, net.settings.inventory.as_ref())?;
        if lists.current.as_ref().is_some_and(|current| current.text == text) {
            return Ok(false);
        }
        let old = self.inventory(net).0.map(|inventory| inventory.version);
        if lists.left == Some(read.version) && !by_hand {
            tracing::debug!(version = version(read.version), "somebody has gone back from it");
            return Ok(false);
        }
        if let Some(old) = old.filter(|old| read.version < *old) {
            let text = format!("version {} is older than {}", version(read.version), version(old));
            return Err(failed(text));
        }
        // a list without anything would take every network away
        if read.networks.is_empty() && !read.refused.is_empty() {
            return Err(failed(read.refused.join("; ")));
        }
        for refused in &read.refused {
            tracing::warn!(refused, "network beside the TI");
        }
        let new = Lists {
            current: Some(Kept {
                text: text.to_owned(),
                since: self.clock.now(),
                from: from.to_owned(),
            }),
            before: lists.current,
            left: None,
        };
        self.store.put(STORE, "lists", &new)?;
        self.use_inventory(net, read, old).await;
        Ok(true)
    }

    async fn use_inventory(&self, net: &Net, inventory: Inventory, old: Option<[u16; 3]>) {
        let parameters = vec![
            ("OldVersion", old.map(version).unwrap_or_default()),
            ("NewVersion", version(inventory.version)),
        ];
        net.legacy
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .inventory = Some(Arc::new(inventory));
        self.raise(Event::info("KSR/UPDATE_KONFIG", None, parameters));
        // said where it failed, and tried again
        let _ = self.replan(net, false).await;
    }

    /// Fetches the list now (TUC_KON_283). Is it new? Only a person gets a version again that somebody has gone back from.
    pub async fn update_legacy(self: &Arc<Self>, by_hand: bool) -> Result<bool, Failure> {
        let failed = |reason: &str| Failure::new(Code::LEGACY_NETWORKS, reason);
        let net = self.net.clone().ok_or_else(|| failed("no [network]"))?;
        let url = net.settings.inventory.clone();
        let url = url.ok_or_else(|| failed("network.inventory names no configuration service"))?;
        let fetched = tls_service::fetch(self, &url, &Purpose::CONFIGURATION, soap::inventory::LONGEST).await;
        let outcome = match fetched.map(String::from_utf8) {
            Ok(Ok(text)) => {
                let _one = net.updating.lock().await;
                self.take_inventory(&net, &url, &text, by_hand).await
            }
            Ok(Err(_)) => Err(failed("not text")),
            Err(failure) => Err(failure.within(Code::LEGACY_NETWORKS)),
        };
        if let Err(failure) = &outcome {
            let parameters = vec![
                ("Error", Code::LEGACY_NETWORKS.number().to_string()),
                ("Detail", failure.detail()),
            ];
            self.log(&Event::quiet("KSR/ERROR", Severity::Error, parameters));
        }
        outcome
    }

    /// Takes up the list before the one in use; the version left is not taken by itself again. `false` if there is none.
    pub async fn step_back_legacy(&self) -> Result<bool, Failure> {
        let Some(net) = self.net.clone() else {
            return Ok(false);
        };
        let _one = net.updating.lock().await;
        let lists = Lists::open(&self.store, net.settings.inventory.as_ref())?;
        let Some(before) = lists.before else {
            return Ok(false);
        };
        let read =
            Inventory::parse(&before.text).map_err(|error| Failure::new(Code::LEGACY_NETWORKS, error))?;
        let old = self.inventory(&net).0.map(|inventory| inventory.version);
        let new = Lists {
            current: Some(before),
            before: None,
            left: old,
        };
        self.store.put(STORE, "lists", &new)?;
        self.use_inventory(&net, read, old).await;
        Ok(true)
    }

    /// An administrator's word on one network; `None` leaves it to `network.new_legacy`.
    pub async fn choose_legacy(&self, id: &str, active: Option<bool>) -> Result<(), Failure> {
        let unknown = || Failure::new(Code::SYNTAX, "no such network beside the TI");
        let net = self.net.clone().ok_or_else(unknown)?;
        let _one = net.updating.lock().await;
        let (inventory, choices) = self.inventory(&net);
        let mut all = inventory.iter().flat_map(|inventory| &inventory.networks);
        // one that was decided on and is gone from the list may be forgotten
        let forgotten = active.is_none() && choices.contains_key(id);
        if !forgotten && !all.any(|one| one.id == id) {
            return Err(unknown());
        }
        match active {
            Some(active) => self.store.put(CHOICES, id, &active)?,
            None => self.store.delete(CHOICES, id)?,
        }
        self.reload_legacy()?;
        self.replan(&net, false).await
    }

    /// What administrators have decided is read anew; it has an effect with the next look at the network.
    pub(crate) fn reload_legacy(&self) -> Result<(), Failure> {
        let choices = self.store.all(CHOICES)?.into_iter().collect();
        if let Some(net) = &self.net {
            net.legacy.lock().unwrap_or_else(PoisonError::into_inner).choices = choices;
        }
        Ok(())
    }

    /// The networks beside the TI as administrators see them.
    pub fn legacy_view(&self) -> Result<Value, Failure> {
        let Some(net) = &self.net else {
            return Ok(json!({ "configured": false }));
        };
        let ((inventory, choices), today) = (self.inventory(net), self.today());
        let lists = Lists::open(&self.store, net.settings.inventory.as_ref())?;
        let read = |kept: Option<Kept>| Some(Inventory::parse(&kept?.text).ok()?.version);
        let networks = inventory
            .iter()
            .flat_map(|inventory| &inventory.networks)
            .map(|one| {
                let networks = one
                    .networks
                    .iter()
                    .map(|(address, bits)| format!("{address}/{bits}"));
                json!({
                    "id": one.id, "name": one.name, "networks": networks.collect::<Vec<_>>(),
                    "domain": one.domain, "servers": one.servers,
                    "from": one.valid.0.to_string(), "to": one.valid.1.to_string(),
                    "chosen": choices.get(&one.id), "active": is_chosen(net, one, &choices, today),
                })
            });
        Ok(json!({
            "configured": net.settings.inventory.is_some(),
            "version": inventory.as_ref().map(|inventory| version(inventory.version)),
            "since": lists.current.as_ref().map(|kept| kept.since.to_string()),
            "before": read(lists.before).map(version),
            "networks": networks.collect::<Vec<_>>(),
            "refused": inventory.as_ref().map(|inventory| inventory.refused.clone()).unwrap_or_default(),
            "left_out": self.plan(net).map(|(_, left_out)| left_out).unwrap_or_default(),
        }))
    }

    /// Fetches the list daily, and whenever the tunnel has come up for the first time, for ever.
    pub(crate) async fn keep_legacy(self: Arc<Self>) {
        let spread = crypto::random::<8>().map_or(0, |bytes| u64::from_be_bytes(bytes) % SPREAD);
        let mut again = SOON;
        loop {
            while !self.reaches_ti() || self.trust().is_none() {
                self.clock.sleep(Duration::from_secs(5)).await;
            }
            let pause = match self.update_legacy(false).await {
                Ok(_) => {
                    again = SOON;
                    DAILY + Duration::from_secs(spread)
                }
                Err(failure) => {
                    tracing::warn!(detail = failure.detail(), "networks beside the TI");
                    // names and routes may not have followed the tunnel yet
                    let pause = again;
                    again = (again * 2).min(AGAIN);
                    pause
                }
            };
            self.clock.sleep(pause).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_are_compared_whole() {
        let mut domains = Domains::of(["telematik", "praxis.lan"].into_iter());
        for (domain, free) in [
            ("kv-safenet.de", true),
            ("KV-SafeNet.de", false),
            ("www.kv-safenet.de", false),
            ("ev-kv-safenet.de", true),
            ("de", false),
            ("erezept.Telematik", false),
            ("lan", false),
            ("a.b.example", true),
            ("b.example", false),
            ("c.example", true),
        ] {
            assert_eq!(domains.add(domain), free, "{domain}");
        }
    }
}
