//! Concentrators as the provider lists them in the DNS (TUC_VPN-ZD_0001): SRV records in their order, the address of each, and its
//! TXT record. The name servers are those of the transport network (DNS_SERVERS_INT); their answers are nobody's word, for a
//! concentrator proves its name with its certificate.

use crate::Service;
use crate::ike::Concentrator;
use crate::locate::{self, Srv};
use crate::tunnel::{Directory, DirectoryError, Later, Place, Places};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Most concentrators of a list that are looked at.
const MOST: usize = 16;
/// How long a name server may take, and how often it is asked.
const TIMEOUT: Duration = Duration::from_secs(3);
const ATTEMPTS: usize = 2;

/// Name servers that know a provider's domain.
pub struct NameServers {
    resolver: TokioResolver,
    domain: String,
}

impl Srv {
    fn of(data: RData) -> Option<Self> {
        let RData::SRV(srv) = data else { return None };
        Some(Self {
            priority: srv.priority,
            weight: srv.weight,
            port: srv.port,
            target: srv.target.to_utf8(),
        })
    }
}

fn error(what: &str, error: impl std::fmt::Display) -> DirectoryError {
    DirectoryError(format!("{what}: {error}"))
}

impl NameServers {
    /// Asks these servers about the domain (DNS_DOMAIN_VPN_ZUGD_INT). Nothing is remembered: every round asks anew
    /// (TIP1-A_4377), and the servers' own caches mind the records' lives.
    pub fn new(servers: &[SocketAddr], domain: &str) -> Result<Self, DirectoryError> {
        let servers = servers.iter().map(|address| {
            let mut server = NameServerConfig::udp_and_tcp(address.ip());
            for connection in &mut server.connections {
                connection.port = address.port();
            }
            server
        });
        let config = ResolverConfig::from_name_servers(servers.collect());
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let options = builder.options_mut();
        options.timeout = TIMEOUT;
        options.attempts = ATTEMPTS;
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        Ok(Self {
            resolver: builder.build().map_err(|reason| error("resolver", reason))?,
            domain: domain.trim_end_matches('.').to_owned(),
        })
    }

    async fn ask(&self, name: &str, kind: RecordType) -> Result<Vec<RData>, DirectoryError> {
        let name = format!("{}.", name.trim_end_matches('.'));
        let answer = self.resolver.lookup(name.as_str(), kind).await;
        let answer = answer.map_err(|reason| error(&format!("{name} {kind}"), reason))?;
        Ok(answer
            .answers()
            .iter()
            .map(|record| record.data.clone())
            .collect())
    }

    /// Does any of them answer? "There is no such name" is an answer, too.
    pub async fn answer(&self) -> bool {
        let name = format!("{}.", self.domain);
        match self.resolver.lookup(name.as_str(), RecordType::SOA).await {
            Ok(_) => true,
            Err(error) => error.is_no_records_found() || error.is_nx_domain(),
        }
    }

    /// Addresses of a host.
    pub async fn addresses(&self, host: &str) -> Result<Vec<Ipv4Addr>, DirectoryError> {
        let all = self.ask(host, RecordType::A).await?.into_iter();
        let all = all.filter_map(|data| match data {
            RData::A(address) => Some(address.0),
            _ => None,
        });
        Ok(all.take(MOST).collect())
    }

    /// Hosts that offer a service of this domain, best first, such as `_ntp._udp`.
    pub async fn hosts(&self, service: &str) -> Result<Vec<Ipv4Addr>, DirectoryError> {
        let name = format!("{service}.{}", self.domain);
        let records = self.ask(&name, RecordType::SRV).await?.into_iter();
        let records = records.filter_map(Srv::of);
        let mut all = Vec::new();
        for srv in locate::order(records.collect(), draw).into_iter().take(MOST) {
            // one that is gone does not hide the others
            all.extend(self.addresses(&srv.target).await.unwrap_or_default());
        }
        Ok(all)
    }

    async fn look(&self, service: Service) -> Result<Places, DirectoryError> {
        let name = locate::concentrators_name(service, &self.domain);
        let records = self.ask(&name, RecordType::SRV).await?.into_iter();
        let records = records.filter_map(Srv::of);
        let mut places = Places::new();
        let mut last = DirectoryError(format!("{name}: no SRV record"));
        for srv in locate::order(records.collect(), draw).into_iter().take(MOST) {
            match self.place(&srv.target, service).await {
                Ok(found) => places.extend(found),
                // one that is gone does not hide the others
                Err(reason) => last = reason,
            }
        }
        match places.is_empty() {
            true => Err(last),
            false => Ok(places),
        }
    }

    async fn place(&self, target: &str, service: Service) -> Result<Vec<Place>, DirectoryError> {
        let addresses = self.addresses(target).await?;
        let name = target.trim_end_matches('.').to_owned();
        // without it the tunnel is of little use, but it can be built
        let inside = match self.ask(target, RecordType::TXT).await {
            Err(reason) => {
                tracing::warn!(%reason, "concentrator without TXT record");
                None
            }
            Ok(records) => {
                let texts = records.iter().filter_map(|data| match data {
                    RData::TXT(txt) => Some(&txt.txt_data),
                    _ => None,
                });
                let strings: Vec<String> = texts
                    .flatten()
                    .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
                    .collect();
                locate::read_txt(&strings, service)
                    .inspect_err(|reason| tracing::warn!(%reason, name, "TXT record"))
                    .ok()
            }
        };
        let places = addresses.into_iter().map(|address| Place {
            concentrator: Concentrator {
                name: name.clone(),
                address,
            },
            inside: inside.clone(),
        });
        Ok(places.collect())
    }
}

/// From 0 to `most`. Without random numbers the first is taken.
fn draw(most: u32) -> u32 {
    crypto::random::<4>().map_or(0, |bytes| {
        u32::from_be_bytes(bytes) % most.saturating_add(1).max(1)
    })
}

impl Directory for NameServers {
    fn find(&self, service: Service) -> Later<'_, Result<Places, DirectoryError>> {
        Box::pin(self.look(service))
    }
}
