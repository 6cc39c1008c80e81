use super::{Correlation, TerminalRecord, TerminalState};
use crate::config::TerminalConfig;
use crate::events::Event;
use crate::{Failure, Inner};
use base::Code;
use base::id::{CtId, Mac};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use terminal::Discovered;
use tokio::net::UdpSocket;

/// CTM_SERVICE_DISCOVERY_TIMEOUT.
const SEARCH: Duration = Duration::from_secs(3);
/// Most terminals that are only known by what they said: anybody can say anything.
const MAX_SEEN: usize = 100;

impl Inner {
    /// Asks an address for terminals.
    pub async fn search(&self, target: SocketAddr) -> Result<Vec<Discovered>, Failure> {
        let local = match target.ip() {
            IpAddr::V4(ip) if ip.is_loopback() => Ipv4Addr::LOCALHOST,
            _ => Ipv4Addr::UNSPECIFIED,
        };
        terminal::discover(local, target, SEARCH, &*self.clock)
            .await
            .map_err(|error| Failure::new(Code::TERMINAL_NO_ANSWER, error))
    }

    /// Adds a terminal by hand (TUC_KON_054): it must answer at its address, under the MAC address and name given, if any.
    pub async fn add_terminal(
        self: &Arc<Self>,
        id: CtId,
        address: SocketAddr,
        name: Option<String>,
        mac: Option<Mac>,
    ) -> Result<(), Failure> {
        let added = self
            .try_add(id, address, name.as_deref(), mac)
            .await
            .inspect_err(|failure| self.adding_error(address, name.as_deref().unwrap_or_default(), failure));
        self.watch(added?);
        Ok(())
    }

    async fn try_add(
        &self,
        id: CtId,
        address: SocketAddr,
        name: Option<&str>,
        mac: Option<Mac>,
    ) -> Result<TerminalRecord, Failure> {
        if self.terminals.get(&id).is_some() {
            return Err(Failure::new(
                Code::TERMINAL_INCONSISTENT,
                "a terminal with this id exists",
            ));
        }
        let answers = self.search(address).await?;
        let found = answers
            .into_iter()
            .next()
            .ok_or_else(|| Failure::new(Code::TERMINAL_NO_ANSWER, format!("no answer from {address}")))?;
        if mac.is_some_and(|mac| mac != found.mac) {
            return Err(Failure::new(Code::TERMINAL_OTHER_MAC, found.mac));
        }
        if name.is_some_and(|name| name != found.name) {
            return Err(Failure::new(Code::TERMINAL_OTHER_NAME, &found.name));
        }
        match self.by_mac(found.mac) {
            None => {}
            // one that was only seen gets its name now
            Some(seen) if seen.record.correlation == Correlation::Bekannt => {
                self.remove_terminal(&seen.record.config.id)?;
            }
            Some(_) => {
                return Err(Failure::new(
                    Code::TERMINAL_INCONSISTENT,
                    "a terminal with this MAC address exists",
                ));
            }
        }
        let config = TerminalConfig {
            id,
            name: found.name,
            mac: found.mac,
            address: (found.address, found.port).into(),
        };
        let record = TerminalRecord::new(config, Correlation::Zugewiesen);
        self.store.put(super::STORE, record.config.id.as_str(), &record)?;
        Ok(record)
    }

    fn adding_error(&self, address: SocketAddr, name: &str, failure: &Failure) {
        let parameters = vec![
            ("IP", address.ip().to_string()),
            ("Name", name.to_owned()),
            ("Error", failure.code().number().to_string()),
            ("Bedeutung", failure.code().text().to_owned()),
        ];
        self.raise(Event::error(
            "CT/CT_ADDING_ERROR",
            None,
            failure.code(),
            parameters,
        ));
    }

    fn by_mac(&self, mac: Mac) -> Option<TerminalState> {
        self.terminals
            .all()
            .into_iter()
            .find(|state| state.record.config.mac == mac)
    }

    /// A terminal has said where it is. One that is missing is tried there, and a new one is shown to the administrator; one
    /// that is connected has proven where it is, which counts more than what a datagram claims.
    fn announced(self: &Arc<Self>, found: &Discovered) {
        let address = SocketAddr::from((found.address, found.port));
        match self.by_mac(found.mac) {
            Some(state) if state.session.is_some() || state.record.config.address == address => {}
            Some(state) => {
                // no event and no log entry for what a datagram claims: anybody could fill both
                tracing::debug!(name = found.name, %address, "terminal says where it is");
                self.terminals.with(|list| {
                    let Some(known) = list.get_mut(&state.record.config.id) else {
                        return;
                    };
                    match known.record.correlation {
                        Correlation::Bekannt => known.record.config.address = address,
                        _ => known.candidate = Some(address),
                    }
                });
            }
            None => self.seen(found, address),
        }
    }

    fn seen(self: &Arc<Self>, found: &Discovered, address: SocketAddr) {
        let all = self.terminals.all();
        let seen = all
            .iter()
            .filter(|state| state.record.correlation == Correlation::Bekannt);
        let id = format!("KT-{}", found.mac.pairing_text().replace(':', ""));
        let oldest = seen.clone().next().map(|state| state.record.config.id.clone());
        if seen.count() >= MAX_SEEN
            && let Some(oldest) = oldest
        {
            // it would only hide one that is really there
            let _ = self.remove_terminal(&oldest);
        }
        if let Ok(id) = id.parse::<CtId>() {
            let config = TerminalConfig {
                id,
                name: found.name.clone(),
                mac: found.mac,
                address,
            };
            tracing::debug!(name = config.name, %address, "terminal seen");
            self.watch(TerminalRecord::new(config, Correlation::Bekannt));
        }
    }

    /// Hears announcements, and asks for terminals that are missing (TIP1-A_4538-02, TIP1-A_4540).
    pub(super) fn look_for_terminals(self: &Arc<Self>) {
        let inner = self.clone();
        self.spawn(async move {
            let port = inner.config.announcements;
            let hearing = async {
                let socket = UdpSocket::bind(port).await?;
                terminal::listen(socket, |found| inner.announced(&found)).await
            };
            if let Err(error) = hearing.await {
                // another service of this machine may have the port: terminals are then found by asking
                tracing::warn!(%error, %port, "announcements of terminals are not heard");
            }
        });
        if self.config.discovery_minutes == 0 {
            return;
        }
        let inner = self.clone();
        self.spawn(async move {
            loop {
                let cycle = Duration::from_secs(60 * inner.config.discovery_minutes);
                inner.clock.sleep(cycle).await;
                for state in inner.terminals.all() {
                    if state.record.correlation == Correlation::Aktiv && state.session.is_none() {
                        // silence says nothing about the terminal: it stays as it is
                        for found in inner
                            .search(state.record.config.address)
                            .await
                            .unwrap_or_default()
                        {
                            inner.announced(&found);
                        }
                    }
                }
            }
        });
    }
}
