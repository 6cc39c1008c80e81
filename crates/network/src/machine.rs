//! Carries plans out: nftables and iproute2 do the work, in the namespace that was named. The only place that needs rights
//! over the network ([`crate::helper`] lends them to a process without).

use crate::Service;
use crate::daemon::{Daemon, prepare};
use crate::filter::{self, TABLE};
use crate::lease::{self, Lent};
use crate::names::Names;
use crate::plan::{Adapter, Internet, Plan, Standing, Unsound, judge_name};
use crate::profile::{Network, Networks};
use crate::routes::{self, PROTOCOL, Route};
use crate::time::{self, Measured, TimeService};
use base::Clock;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// What is seen of the packet filter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Has a plan been carried out since whoever has the rights was started?
    pub set: bool,
    /// Does the table stand as it was set, untouched by anybody?
    pub intact: bool,
    /// Packets so far, by chain, requirement and verdict; since the table was replaced last.
    pub packets: BTreeMap<String, u64>,
    /// What the time service has found.
    pub time: Option<Measured>,
    /// Daemons that do not start, and why.
    pub trouble: Vec<String>,
}

/// Why a plan was not carried out. The last good one stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum HandsError {
    /// It is not sound.
    #[error("{0}")]
    Unsound(#[from] Unsound),
    /// nftables refused (4164).
    #[error("packet filter not set: {0}")]
    Filter(String),
    /// iproute2 refused (4167).
    #[error("route not set: {0}")]
    Route(String),
    /// A setting of the kernel.
    #[error("kernel: {0}")]
    Kernel(String),
    /// Whoever has the rights cannot be reached, or does not understand.
    #[error("helper: {0}")]
    Helper(String),
}

/// In the time service's folder: it has looked at the servers' time and may set the clock freely no more. The folder goes when the
/// machine is switched off.
const LOOKED: &str = "looked";
/// In the folder of an adapter's client: the address it was given last, as [`Lent::parse`] reads it.
const GIVEN: &str = "given";
/// Adapters that a device has.
const ADAPTERS: usize = 2;
/// Longest output of a tool that is read, in bytes.
const LONGEST: usize = 8 << 20;

/// A machine, or a namespace of one.
pub struct Machine {
    prefix: Vec<String>,
    folder: PathBuf,
    clock: Arc<dyn Clock>,
    state: tokio::sync::Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The table as it was set last, in nftables' own words.
    table: Option<(Plan, String)>,
    resolver: Option<Kept>,
    time: Option<Kept>,
    dhcp: Option<Kept>,
    /// Who asks for addresses, by adapter.
    clients: BTreeMap<String, Kept>,
    /// Daemons that do not start, and why.
    trouble: Vec<String>,
    /// Addresses whose connections are still to be forgotten.
    stale: BTreeSet<Ipv4Addr>,
}

/// A daemon, and what it was told.
struct Kept {
    daemon: Daemon,
    told: String,
}

impl Machine {
    /// `prefix` stands before every program (`ip netns exec NAME`); daemons have their files below `folder`.
    pub fn new(prefix: Vec<String>, folder: PathBuf, clock: Arc<dyn Clock>) -> Self {
        Self {
            prefix,
            folder,
            clock,
            state: tokio::sync::Mutex::default(),
        }
    }

    async fn run(&self, words: &[&str], input: Option<&str>) -> Result<String, String> {
        let mut all = self
            .prefix
            .iter()
            .map(String::as_str)
            .chain(words.iter().copied());
        let program = all.next().unwrap_or_default();
        let failed = |error: std::io::Error| format!("{}: {error}", words.first().unwrap_or(&""));
        let mut child = Command::new(program)
            .args(all)
            .stdin(if input.is_some() {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
            stdin.write_all(input.as_bytes()).await.map_err(failed)?;
        }
        let output = child.wait_with_output().await.map_err(failed)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes.get(..LONGEST).unwrap_or(bytes)).into_owned();
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => Err(text(&output.stderr).chars().take(2000).collect()),
        }
    }

    /// Carries it out: the packet filter first, in one transaction, then the routes, the new ones before the old ones go. What fails
    /// leaves the filter of the plan that was there before, or of the new one: never none.
    pub(crate) async fn carry_out(&self, plan: &Plan) -> Result<(), HandsError> {
        let profile = plan.environment.profile();
        let profile = profile.map_err(|error| HandsError::Helper(error.to_string()))?;
        plan.check(&profile)?;
        self.judge_lent(plan)?;
        let mut state = self.state.lock().await;
        let lent: BTreeSet<&str> = plan
            .adapters()
            .filter(|one| one.lent)
            .map(|one| one.name.as_str())
            .collect();
        state.clients.retain(|name, _| lent.contains(name.as_str()));
        let script = filter::script(plan, &profile.networks);
        self.run(&["nft", "-f", "-"], Some(&script))
            .await
            .map_err(HandsError::Filter)?;
        let set = self.listed().await.map_err(HandsError::Filter)?;
        let before = state.table.replace((plan.clone(), set)).map(|(plan, _)| plan);
        // connections with an inner address that is gone would never find out, and a door that is shut is shut for everybody
        let now = contacts(Some(plan));
        let gone = contacts(before.as_ref())
            .difference(&now)
            .copied()
            .collect::<BTreeSet<_>>();
        state.stale.extend(gone);
        state.stale.retain(|address| !now.contains(address));
        self.kernel(plan).await.map_err(HandsError::Kernel)?;
        for adapter in plan.adapters().filter(|adapter| adapter.lent) {
            self.give(adapter).await.map_err(HandsError::Route)?;
        }
        for standing in plan.ti.iter().chain(&plan.sis) {
            self.interface(standing, plan, plan.mtu.unwrap_or(profile.mtu))
                .await
                .map_err(HandsError::Route)?;
        }
        self.route(&routes::routes(plan, &profile.networks))
            .await
            .map_err(HandsError::Route)?;
        for address in std::mem::take(&mut state.stale) {
            let address = address.to_string();
            for side in ["-q", "-d"] {
                // it fails when there is none
                let _ = self.run(&["conntrack", "-D", side, &address], None).await;
            }
        }
        self.serve(&mut state, plan, &profile.networks).await;
        Ok(())
    }

    /// Shuts everything until somebody says what shall be open; a table that stands stays.
    pub(crate) async fn shut(&self) -> Result<(), HandsError> {
        if self.listed().await.is_ok() {
            return Ok(());
        }
        let script = filter::shut();
        self.run(&["nft", "-f", "-"], Some(&script))
            .await
            .map(drop)
            .map_err(HandsError::Filter)
    }

    /// Daemons as they are wanted: started, told anew, started again, or ended. One that fails keeps nobody else; what failed is said.
    async fn serve(&self, state: &mut State, plan: &Plan, networks: &Networks) {
        let practice: Vec<String> = plan.practice().map(|network| network.to_string()).collect();
        let outcomes = [
            self.serve_names(state, plan, &practice).await,
            self.serve_time(state, plan, &practice).await,
            self.serve_addresses(state, plan, networks).await,
        ];
        state.trouble = outcomes.into_iter().filter_map(Result::err).collect();
    }

    async fn serve_names(&self, state: &mut State, plan: &Plan, practice: &[String]) -> Result<(), String> {
        let names = self.folder.join("names");
        let told = plan.resolver.as_ref().map(|resolver| {
            let text = resolver.configuration(plan.lan.address, practice, &names);
            let seeds = resolver.zones().into_iter().map(|zone| resolver.seeds(zone));
            (text, seeds.collect::<String>())
        });
        let wanted = told.map(|(text, seeds)| format!("{text}# {}", seeds.replace('\n', "\n# ")));
        if needs(&mut state.resolver, wanted.as_deref()) {
            state.resolver = None;
            if let (Some(wanted), Some(resolver)) = (wanted, &plan.resolver) {
                prepare(&names, 0o750)?;
                self.seed(&names, resolver)?;
                let file = names.join("unbound.conf");
                write(&file, &wanted)?;
                let words = ["-d", "-c", &file.display().to_string()];
                state.resolver = Some(
                    self.keep("unbound", &["net_bind_service"], &names, wanted, &words)
                        .await?,
                );
            }
        }
        Ok(())
    }

    async fn serve_time(&self, state: &mut State, plan: &Plan, practice: &[String]) -> Result<(), String> {
        let clock = self.folder.join("time");
        let wanted = plan
            .time
            .as_ref()
            .map(|time| time.configuration(practice, &clock));
        if needs(&mut state.time, wanted.as_deref()) {
            state.time = None;
            if let (Some(wanted), Some(time)) = (wanted, &plan.time) {
                prepare(&clock, 0o750)?;
                let first = !clock.join(LOOKED).exists();
                let file = clock.join("chrony.conf");
                write(&file, &(wanted.clone() + &TimeService::reach(first)))?;
                // -U: as whoever we are; -x: the clock is not its to move
                let file = file.display().to_string();
                let mut words = vec!["-n", "-U", "-u", "root", "-f", &file];
                if !time.steer {
                    words.push("-x");
                }
                state.time = Some(
                    self.keep(
                        "chronyd",
                        &["net_bind_service", "sys_time"],
                        &clock,
                        wanted,
                        &words,
                    )
                    .await?,
                );
            }
        }
        Ok(())
    }

    async fn serve_addresses(
        &self,
        state: &mut State,
        plan: &Plan,
        networks: &Networks,
    ) -> Result<(), String> {
        let addresses = self.folder.join("dhcp");
        let wanted = plan.dhcp.as_ref().map(|dhcp| {
            let active = plan.legacy.iter().filter(|one| one.active);
            let routes = networks.open.iter().chain(active.flat_map(|one| &one.networks));
            let routes: Vec<Network> = routes.copied().collect();
            dhcp.configuration(&plan.lan, &routes, plan.udp.contains(&123), &addresses)
        });
        if needs(&mut state.dhcp, wanted.as_deref()) {
            state.dhcp = None;
            if let Some(wanted) = wanted {
                prepare(&addresses, 0o750)?;
                let file = addresses.join("kea.json");
                write(&file, &wanted)?;
                let words = ["-c", &file.display().to_string()];
                state.dhcp = Some(
                    self.keep(
                        "kea-dhcp4",
                        &["net_raw", "net_bind_service"],
                        &addresses,
                        wanted,
                        &words,
                    )
                    .await?,
                );
            }
        }
        Ok(())
    }

    /// Gives an adapter the address that it was lent, and takes others away: it has none but lent ones. Those of tunnels (/32) stay.
    async fn give(&self, adapter: &Adapter) -> Result<(), String> {
        let name = adapter.name.as_str();
        let new = format!("{}/{}", adapter.address, adapter.network.bits);
        self.run(&["ip", "addr", "replace", &new, "dev", name], None)
            .await?;
        let given = format!("{}\n{}\n", adapter.address, adapter.network.bits);
        write(&self.client(name).join(GIVEN), &given)?;
        let all = self
            .run(&["ip", "-j", "-4", "addr", "show", "dev", name], None)
            .await?;
        let all: serde_json::Value = serde_json::from_str(&all).map_err(|error| error.to_string())?;
        let all = all.pointer("/0/addr_info").and_then(|all| all.as_array());
        for one in all.into_iter().flatten() {
            let field = |name: &str| {
                one.get(name)
                    .map(|value| value.to_string().trim_matches('"').to_owned())
            };
            let (Some(local), Some(bits)) = (field("local"), field("prefixlen")) else {
                continue;
            };
            let old = format!("{local}/{bits}");
            if old != new && bits != "32" {
                // it may be gone already
                let _ = self.run(&["ip", "addr", "del", &old, "dev", name], None).await;
            }
        }
        Ok(())
    }

    fn client(&self, adapter: &str) -> PathBuf {
        self.folder.join("client").join(adapter)
    }

    /// Only what our own client was told is lent, whatever a plan says: what it was told last, or what the adapter was given before,
    /// for what was told last may be unusable.
    fn judge_lent(&self, plan: &Plan) -> Result<(), Unsound> {
        for adapter in plan.adapters().filter(|adapter| adapter.lent) {
            let folder = self.client(&adapter.name);
            let known = ["lent", GIVEN].iter().any(|file| {
                let text = std::fs::read_to_string(folder.join(file)).unwrap_or_default();
                let lent = Lent::parse(&text);
                lent.is_ok_and(|lent| (lent.address, lent.network) == (adapter.address, adapter.network))
            });
            if !known {
                return Err(Unsound::Wan(format!(
                    "{} was not lent to {}",
                    adapter.address, adapter.name
                )));
            }
        }
        Ok(())
    }

    /// What a DHCP server has lent to this adapter; from the first question on it is asked for. What was lent last stays until
    /// something else is.
    pub(crate) async fn lease(&self, adapter: &str) -> Result<Option<Lent>, HandsError> {
        judge_name(adapter).map_err(|error| HandsError::Unsound(Unsound::Lan(error)))?;
        let folder = self.client(adapter);
        let file = folder.join("lent");
        let mut state = self.state.lock().await;
        if !state.clients.contains_key(adapter) && state.clients.len() >= ADAPTERS {
            return Err(HandsError::Helper(format!(
                "more than {ADAPTERS} adapters ask for addresses"
            )));
        }
        if state
            .clients
            .get_mut(adapter)
            .is_none_or(|kept| kept.daemon.ended().is_some())
        {
            let start = async {
                // fails where there is no such adapter
                self.run(&["ip", "link", "set", adapter, "up"], None).await?;
                prepare(&folder, 0o750)?;
                for answer in lease::ANSWERS {
                    write(&folder.join(answer), lease::SCRIPT)?;
                }
                // both have plain letters only
                let ask = format!(
                    "cd {} && exec busybox udhcpc -f -i {adapter} -A 10 -s /bin/sh",
                    folder.display()
                );
                let (rights, words) = (["net_raw", "net_bind_service"], ["sh", "-c", &ask]);
                self.keep("busybox", &rights, &folder, String::new(), &words)
                    .await
            };
            let kept = start.await.map_err(HandsError::Kernel)?;
            state.clients.insert(adapter.to_owned(), kept);
        }
        match std::fs::read_to_string(&file) {
            // nobody has answered yet
            Err(_) => Ok(None),
            Ok(text) => Lent::parse(&text)
                .map(Some)
                .map_err(|reason| HandsError::Unsound(Unsound::Wan(format!("DHCP on {adapter}: {reason}")))),
        }
    }

    async fn keep(
        &self,
        name: &str,
        rights: &[&str],
        folder: &Path,
        told: String,
        words: &[&str],
    ) -> Result<Kept, String> {
        let command = self
            .prefix
            .iter()
            .map(String::as_str)
            .chain([name])
            .chain(words.iter().copied());
        let command: Vec<String> = command.map(str::to_owned).collect();
        // Kea writes its number and its lock where it is told
        let places = [("KEA_PIDFILE_DIR", folder), ("KEA_LOCKFILE_DIR", folder)];
        let daemon = Daemon::start(name, folder, &command, rights, &places, &*self.clock).await;
        Ok(Kept {
            daemon: daemon.map_err(|error| format!("{name}: {error}"))?,
            told,
        })
    }

    /// A zone whose anchors the trust list says differently now begins anew; otherwise what RFC 5011 has learned is kept.
    fn seed(&self, folder: &Path, resolver: &Names) -> Result<(), String> {
        for zone in resolver.zones() {
            let (seeds, file) = (resolver.seeds(zone), folder.join(format!("{zone}.anchor")));
            let mark = folder.join(format!("{zone}.seeds"));
            if std::fs::read_to_string(&mark).is_ok_and(|before| before == seeds) && file.exists() {
                continue;
            }
            for (path, text) in [(&file, &seeds), (&mark, &seeds)] {
                write(path, text)?;
            }
        }
        Ok(())
    }

    /// A tunnel in the kernel has an interface that takes and gives its packets, by its number; charon brings its own.
    async fn interface(&self, standing: &Standing, plan: &Plan, mtu: u32) -> Result<(), String> {
        let (name, mtu) = (standing.interface.as_str(), mtu.to_string());
        let there = self.run(&["ip", "link", "show", name], None).await.is_ok();
        let number = [Service::Ti, Service::Sis]
            .into_iter()
            .find(|one| one.interface() == name);
        if let (false, Some(number)) = (there, number) {
            let (number, outside) = (number.number().to_string(), plan.outside().name.as_str());
            self.run(
                &[
                    "ip", "link", "add", name, "type", "xfrm", "dev", outside, "if_id", &number,
                ],
                None,
            )
            .await?;
        }
        self.run(&["ip", "link", "set", name, "mtu", &mtu, "up"], None)
            .await
            .map(drop)
    }

    async fn listed(&self) -> Result<String, String> {
        self.run(&["nft", "-s", "list", "table", "inet", TABLE], None)
            .await
    }

    /// No packet is passed on but by our rules; nobody else tells us routes (TIP1-A_4729, TIP1-A_5406).
    async fn kernel(&self, plan: &Plan) -> Result<(), String> {
        let redirects = plan.wan.is_none() && plan.internet == Internet::Iag
            || plan.redirect && !plan.intranet.is_empty();
        let mut words = vec!["sysctl".to_owned(), "-q".into(), "-w".into()];
        let mut set = |name: &str, value: u8| words.push(format!("net.ipv4.{name}={value}"));
        set("ip_forward", 1);
        // a path that loses large packets and says nothing is found out (RFC 4821)
        set("tcp_mtu_probing", 1);
        for name in [
            "accept_redirects",
            "secure_redirects",
            "accept_source_route",
            "send_redirects",
        ] {
            set(&format!("conf.all.{name}"), 0);
        }
        // names with a dot are written with a slash here
        for adapter in plan.adapters() {
            let name = adapter.name.replace('.', "/");
            for setting in ["accept_redirects", "secure_redirects", "accept_source_route"] {
                set(&format!("conf.{name}.{setting}"), 0);
            }
            if adapter.lent {
                // the new address of a network does not go with the old one
                set(&format!("conf.{name}.promote_secondaries"), 1);
            }
            let ours = adapter.name == plan.lan.name && redirects;
            set(&format!("conf.{name}.send_redirects"), u8::from(ours));
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.run(&words, None).await.map(drop)
    }

    async fn route(&self, wanted: &BTreeSet<Route>) -> Result<(), String> {
        let batch: String = wanted
            .iter()
            .map(|route| format!("route replace {}\n", route.words().join(" ")))
            .collect();
        if !batch.is_empty() {
            self.run(&["ip", "-batch", "-"], Some(&batch)).await?;
        }
        let there = self
            .run(&["ip", "-j", "-N", "route", "show", "proto", PROTOCOL], None)
            .await?;
        #[derive(Deserialize)]
        struct There {
            dst: String,
            dev: Option<String>,
        }
        let there: Vec<There> = match there.trim() {
            "" => Vec::new(),
            text => serde_json::from_str(text).map_err(|error| error.to_string())?,
        };
        let keep: BTreeSet<(Network, &str)> = wanted
            .iter()
            .map(|route| (route.to, route.interface.as_str()))
            .collect();
        let mut gone = String::new();
        for one in &there {
            let Some(to) = destination(&one.dst) else { continue };
            let dev = one.dev.as_deref().unwrap_or_default();
            if !keep.contains(&(to, dev)) {
                gone += &format!("route del {to} dev {dev} proto {PROTOCOL}\n");
            }
        }
        // each may have gone with its interface, perhaps just now
        if !gone.is_empty()
            && let Err(error) = self.run(&["ip", "-force", "-batch", "-"], Some(&gone)).await
        {
            tracing::debug!(error, "routes of before");
        }
        Ok(())
    }

    /// Looks at the packet filter and at the daemons; one that has ended is started again.
    pub(crate) async fn seen(&self) -> Result<Seen, HandsError> {
        let mut state = self.state.lock().await;
        let Some((plan, set)) = state.table.clone() else {
            return Ok(Seen::default());
        };
        let intact = self.listed().await.is_ok_and(|now| now == set);
        let listed = self
            .run(&["nft", "-j", "list", "table", "inet", TABLE], None)
            .await;
        let packets = listed.ok().and_then(|text| counters(&text)).unwrap_or_default();
        if let Ok(profile) = plan.environment.profile() {
            self.serve(&mut state, &plan, &profile.networks).await;
        }
        let time = match &state.time {
            None => None,
            Some(_) => {
                let folder = self.folder.join("time");
                let socket = folder.join("chronyd.sock").display().to_string();
                let sources = self.run(&["chronyc", "-c", "-h", &socket, "sources"], None).await;
                // it may just be starting
                let time = sources.ok().and_then(|text| time::read(&text));
                if time.is_some() && !folder.join(LOOKED).exists() {
                    write(&folder.join(LOOKED), "").map_err(HandsError::Kernel)?;
                }
                time
            }
        };
        Ok(Seen {
            set: true,
            intact,
            packets,
            time,
            trouble: state.trouble.clone(),
        })
    }
}

/// Is there something to do? Not if it runs and was told this.
fn needs(kept: &mut Option<Kept>, wanted: Option<&str>) -> bool {
    match (kept, wanted) {
        (None, None) => false,
        (Some(kept), Some(wanted)) => kept.told != wanted || kept.daemon.ended().is_some(),
        _ => true,
    }
}

/// Inner addresses, and concentrators that are spoken to.
fn contacts(plan: Option<&Plan>) -> BTreeSet<Ipv4Addr> {
    let inner = plan.into_iter().flat_map(|plan| plan.ti.iter().chain(&plan.sis));
    let doors = plan.into_iter().flat_map(|plan| plan.doors.iter().copied());
    inner.map(|one| one.inner).chain(doors).collect()
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    std::fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))
}

/// A destination as iproute2 writes it.
fn destination(text: &str) -> Option<Network> {
    match text {
        "default" => "0.0.0.0/0".to_owned().try_into().ok(),
        text if text.contains('/') => text.to_owned().try_into().ok(),
        text => format!("{text}/32").try_into().ok(),
    }
}

fn counters(json: &str) -> Option<BTreeMap<String, u64>> {
    let json: serde_json::Value = serde_json::from_str(json).ok()?;
    let mut packets = BTreeMap::new();
    for rule in json
        .get("nftables")?
        .as_array()?
        .iter()
        .filter_map(|one| one.get("rule"))
    {
        let comment = rule.get("comment").and_then(|comment| comment.as_str());
        let (Some(requirement), Some(chain)) = (comment, rule.get("chain").and_then(|chain| chain.as_str()))
        else {
            continue;
        };
        let parts = rule
            .get("expr")
            .and_then(|parts| parts.as_array())
            .map(Vec::as_slice)
            .unwrap_or_default();
        let count = parts
            .iter()
            .find_map(|part| part.pointer("/counter/packets")?.as_u64());
        let verdict = match parts.iter().any(|part| part.get("drop").is_some()) {
            true => "drop",
            false => "accept",
        };
        if let Some(count) = count {
            *packets
                .entry(format!("{chain} {requirement} {verdict}"))
                .or_default() += count;
        }
    }
    Some(packets)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A plan may name what was lent last and, when that cannot be used, what the adapter has; nothing else.
    #[test]
    fn an_adapter_gets_what_was_lent() {
        let folder = tempfile::tempdir().unwrap();
        let machine = Machine::new(Vec::new(), folder.path().into(), base::SystemClock::new());
        let mut plan = crate::plan::tests::plan();
        assert_eq!(machine.judge_lent(&plan), Ok(()));
        plan.lan.lent = true;
        assert!(machine.judge_lent(&plan).is_err());
        let client = machine.client(&plan.lan.name);
        std::fs::create_dir_all(&client).unwrap();
        let lent = |file: &str, text: &str| std::fs::write(client.join(file), text).unwrap();
        lent("lent", "192.168.1.2\n24\n192.168.1.1\n");
        assert_eq!(machine.judge_lent(&plan), Ok(()));
        lent(GIVEN, "192.168.1.2\n24\n");
        lent("lent", "10.0.0.9\n8\n\n");
        assert_eq!(machine.judge_lent(&plan), Ok(()));
        plan.lan.address = "192.168.1.3".parse().unwrap();
        assert!(machine.judge_lent(&plan).is_err());
    }
}
