//! The configuration service (KSR), as far as it is here: the list of networks beside the TI. Firmware comes later.

use crate::services::Ledger;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

/// Where the list lies.
pub const INVENTORY: &str = "/Bestandsnetze.xml";

/// The service. Cheap to share.
#[derive(Debug, Clone, Default)]
pub struct Configuration {
    inventory: Arc<Mutex<Option<String>>>,
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
        let router = Router::new().route(INVENTORY, get(file)).with_state(self);
        crate::https::serve(listener, &identity, None, router, Some(ledger)).await
    }
}
