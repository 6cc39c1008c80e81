//! The configuration service (KSR): updates with their packages, and the list of networks beside the TI.

use crate::services::Ledger;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use base::Clock;
use futures_util::{StreamExt, stream};
use soap::ksr::{UpdateFile, UpdateInformation};
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Where list_Updates is called.
pub const LIST: &str = "/Konfigurationsdienst";
/// Below this lie packages.
pub const FIRMWARE: &str = "/firmware/";
/// Where the list of networks lies.
pub const INVENTORY: &str = "/Bestandsnetze.xml";

/// The service. Cheap to share.
#[derive(Debug, Clone, Default)]
pub struct Configuration {
    inventory: Arc<Mutex<Option<String>>>,
    updates: Arc<Mutex<Updates>>,
}

/// What there is for whom.
#[derive(Debug, Default)]
struct Updates {
    list: Vec<UpdateInformation>,
    /// Packages by name.
    files: HashMap<String, Vec<u8>>,
    /// Each answer with a package ends after so many bytes: a line that breaks.
    breaks: Option<usize>,
    /// So many bytes come in a second, and no more.
    drips: Option<usize>,
    /// Requests for packages, with where they begin.
    asked: Vec<usize>,
}

/// A network beside the TI.
#[derive(Debug, Clone)]
pub struct Beside {
    /// Its ID and name.
    pub id: String,
    /// Its first address, and bits of its prefix.
    pub network: (Ipv4Addr, u8),
    /// Its domain.
    pub domain: String,
    /// Who knows the domain.
    pub server: Ipv4Addr,
}

impl Configuration {
    /// Publishes a list with this version, `n.n.n`.
    pub fn publish(&self, version: &str, networks: &[Beside]) {
        let mut text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Infrastructure xmlns=\"{}\">\n<Version>{version}</Version>\n\
             <InventoryNetworks>\n",
            soap::ns::TICONF
        );
        for Beside {
            id,
            network: (address, bits),
            domain,
            server,
        } in networks
        {
            text += &format!(
                "<InventoryNetwork><ID>{id}</ID><Name>{id}</Name><Networks><Network><NetworkAddress>{address}</NetworkAddress>\
                 <NetworkPrefix>{bits}</NetworkPrefix></Network></Networks><DNS><Domain><DomainName>{domain}</DomainName>\
                 <Servers><Server>{server}</Server></Servers></Domain></DNS><History><ValidFromDate>2015-06-09</ValidFromDate>\
                 <ValidTilDate>2115-06-09</ValidTilDate><LastChangeDate>2015-06-09</LastChangeDate></History>\
                 </InventoryNetwork>\n"
            );
        }
        self.publish_text(text + "</InventoryNetworks>\n</Infrastructure>\n");
    }

    /// Publishes whatever this is.
    pub fn publish_text(&self, text: String) {
        *self.inventory.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
    }

    fn updates(&self) -> MutexGuard<'_, Updates> {
        self.updates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes an update with its one package.
    pub fn publish_update(&self, mut entry: UpdateInformation, package: Vec<u8>) {
        let name = format!("{}/{}.zip", entry.product.code, entry.id);
        entry.files = vec![UpdateFile {
            name: name.clone(),
            size: package.len() as u64,
            notes: String::new(),
        }];
        let mut updates = self.updates();
        updates.list.push(entry);
        updates.files.insert(name, package);
    }

    /// Takes all updates back.
    pub fn withdraw_updates(&self) {
        self.updates().list.clear();
    }

    /// From now on each answer with a package breaks off after so many bytes.
    pub fn break_off(&self, bytes: Option<usize>) {
        self.updates().breaks = bytes;
    }

    /// From now on packages come so many bytes a second.
    pub fn drip(&self, bytes: Option<usize>) {
        self.updates().drips = bytes;
    }

    /// Where the answers with packages began.
    pub fn asked(&self) -> Vec<usize> {
        self.updates().asked.clone()
    }

    /// list_Updates: everything for the product that asks; which of it is newer is the caller's to see.
    fn list(&self, message: &str, today: jiff::civil::Date) -> Option<String> {
        let (product, _) = soap::ksr::parse_request(message).ok()?;
        let updates = self.updates();
        let list: Vec<_> = updates
            .list
            .iter()
            .filter(|entry| entry.product == product)
            .cloned()
            .collect();
        Some(soap::ksr::response(&list, today))
    }

    /// get_Updates, from a byte on; whole, or until the line breaks.
    fn package(&self, name: &str, from: usize, clock: Arc<dyn Clock>) -> Option<(usize, Body)> {
        let mut updates = self.updates();
        updates.asked.push(from);
        let all = updates.files.get(name)?;
        let bytes = all.get(from..)?.to_vec();
        let length = bytes.len();
        if let Some(drop) = updates.drips {
            let drops = stream::unfold(bytes, move |mut rest| {
                let clock = clock.clone();
                async move {
                    let first: Vec<u8> = rest.drain(..drop.min(rest.len())).collect();
                    clock.sleep(Duration::from_secs(1)).await;
                    (!first.is_empty()).then_some((Ok::<_, std::io::Error>(first), rest))
                }
            });
            return Some((length, Body::from_stream(drops)));
        }
        Some(match updates.breaks.filter(|most| *most < length) {
            None => (length, Body::from(bytes)),
            Some(most) => {
                let piece = bytes.get(..most).unwrap_or_default().to_vec();
                // the server sends what it has when there is nothing more for a moment
                let end = async {
                    tokio::task::yield_now().await;
                    Err(std::io::Error::other("broken off"))
                };
                let begin = stream::iter([Ok::<_, std::io::Error>(piece)]);
                (length, Body::from_stream(begin.chain(stream::once(end))))
            }
        })
    }

    /// Serves it over HTTPS.
    pub async fn serve(
        self,
        listener: tokio::net::TcpListener,
        identity: crypto::tls::Identity,
        ledger: Ledger,
    ) -> std::io::Result<()> {
        let file = async |State(all): State<Self>| {
            let text = all
                .inventory
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            match text {
                Some(text) => ([(header::CONTENT_TYPE, "application/xml")], text).into_response(),
                None => StatusCode::NOT_FOUND.into_response(),
            }
        };
        let (clock, watch) = (ledger.clock(), ledger.clock());
        let list = async move |State(all): State<Self>, message: String| {
            let today = jiff::tz::Offset::UTC.to_datetime(clock.now()).date();
            match all.list(&message, today) {
                Some(text) => ([(header::CONTENT_TYPE, "text/xml; charset=utf-8")], text).into_response(),
                None => StatusCode::BAD_REQUEST.into_response(),
            }
        };
        let package = async move |State(all): State<Self>, Path(name): Path<String>, headers: HeaderMap| {
            let range = headers.get(header::RANGE).and_then(|range| range.to_str().ok());
            let from = range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
            match all.package(&name, from.unwrap_or_default(), watch.clone()) {
                None => StatusCode::NOT_FOUND.into_response(),
                Some((length, body)) => {
                    let status = from.map_or(StatusCode::OK, |_| StatusCode::PARTIAL_CONTENT);
                    (status, [(header::CONTENT_LENGTH, length.to_string())], body).into_response()
                }
            }
        };
        let router = Router::new()
            .route(INVENTORY, get(file))
            .route(LIST, post(list))
            .route(&format!("{FIRMWARE}{{*name}}"), get(package))
            .with_state(self);
        crate::https::serve(listener, &identity, None, router, Some(ledger)).await
    }
}
