//! Orders to charon over vici. Every order has a connection of its own: an attempt that takes seconds holds up no question.

use crate::TunnelOrder;
use base::Clock;
use crypto::{Key, SoftKey};
use futures_util::{StreamExt, pin_mut};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long charon may take for an order that asks nobody outside.
const PROMPT: Duration = Duration::from_secs(10);
/// How long an attempt may take in all.
const ATTEMPT: Duration = Duration::from_secs(60);

/// Why an order was not carried out.
#[derive(Debug, Clone, thiserror::Error)]
pub enum IkeError {
    /// The daemon is not there or does not answer.
    #[error("strongSwan: {0}")]
    Daemon(String),
    /// It refused the order.
    #[error("strongSwan refuses {order}: {reason}")]
    Refused {
        /// Which one.
        order: &'static str,
        /// What it says.
        reason: String,
    },
    /// The key cannot be given to it.
    #[error("key: {0}")]
    Key(String),
}

/// C.NK.VPN and its key.
#[derive(Clone)]
pub struct Credentials {
    /// The certificate, DER.
    pub certificate: Vec<u8>,
    /// Its key.
    pub key: SoftKey,
    /// Is it sent, or only told where it lies?
    pub lies: Option<Lies>,
}

/// Where the concentrator finds our certificate: its SHA-1 in hexadecimal is put behind an address (hash and URL, RFC 7296 3.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lies {
    /// The address, `http://…/`.
    pub base: String,
    /// The certificate's issuer, DER: by that charon knows which certificates lie there.
    pub issuer: Vec<u8>,
}

/// A concentrator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Concentrator {
    /// Its name: what its certificate must say (GS-A_5078).
    pub name: String,
    /// Its address.
    pub address: Ipv4Addr,
}

/// A tunnel as charon sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sa {
    /// Number of the IKE_SA.
    pub id: u32,
    /// Name of the connection.
    pub name: String,
    /// Our inner address.
    pub inner: Option<Ipv4Addr>,
    /// Suite of the IKE_SA.
    pub suite: String,
    /// Are extended sequence numbers used?
    pub esn: bool,
    /// Packets so far: those that came, and those that went. They begin anew when its keys do.
    pub packets: (u64, u64),
}

#[derive(Serialize)]
struct Connection {
    version: u8,
    remote_addrs: [String; 1],
    vips: [&'static str; 1],
    proposals: Vec<String>,
    dpd_delay: String,
    rekey_time: String,
    over_time: &'static str,
    mobike: bool,
    fragmentation: bool,
    unique: &'static str,
    keyingtries: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    if_id_in: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    if_id_out: Option<u32>,
    local: Local,
    remote: Remote,
    children: BTreeMap<String, Tunnel>,
}

#[derive(Serialize)]
struct Local {
    auth: &'static str,
    certs: [String; 1],
}

#[derive(Serialize)]
struct Remote {
    auth: &'static str,
    id: String,
    cacerts: Vec<String>,
    revocation: &'static str,
}

#[derive(Serialize)]
struct Tunnel {
    local_ts: [&'static str; 1],
    remote_ts: [&'static str; 1],
    esp_proposals: Vec<String>,
    rekey_time: String,
    life_time: String,
    replay_window: u32,
    dpd_action: &'static str,
}

#[derive(Serialize)]
struct Data<'d> {
    #[serde(rename = "type")]
    kind: &'d str,
    #[serde(skip_serializing_if = "Option::is_none")]
    flag: Option<&'d str>,
    data: &'d str,
}

#[derive(Serialize)]
struct Authority<'a> {
    cacert: String,
    cert_uri_base: &'a str,
}

#[derive(Serialize)]
struct Name<'n> {
    name: &'n str,
}

#[derive(Serialize)]
struct Initiate<'n> {
    #[serde(skip_serializing_if = "Option::is_none")]
    child: Option<&'n str>,
    ike: &'n str,
    timeout: u64,
    loglevel: i8,
}

#[derive(Serialize)]
struct TerminateAll<'n> {
    ike: &'n str,
    force: bool,
    timeout: u64,
    loglevel: i8,
}

#[derive(Deserialize)]
struct Answer {
    success: Option<bool>,
    errmsg: Option<String>,
}

/// What came or went is asked for, not read from here.
#[derive(Deserialize)]
struct Moved {}

#[derive(Deserialize)]
struct Version {
    version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ListedSa {
    uniqueid: u32,
    state: String,
    #[serde(default)]
    local_vips: Vec<String>,
    #[serde(default)]
    encr_alg: String,
    encr_keysize: Option<String>,
    #[serde(default)]
    prf_alg: String,
    #[serde(default)]
    dh_group: String,
    #[serde(default)]
    child_sas: BTreeMap<String, ListedChild>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ListedChild {
    state: String,
    #[serde(default)]
    esn: Option<String>,
    #[serde(default)]
    packets_in: Option<String>,
    #[serde(default)]
    packets_out: Option<String>,
}

/// Speaks with charon. Cheap to share.
#[derive(Clone)]
pub struct Ike {
    socket: PathBuf,
    clock: Arc<dyn Clock>,
}

fn is_ca(der: &[u8]) -> bool {
    asn1::X509::parse(der).is_ok_and(|certificate| certificate.is_ca)
}

fn pem(der: &[u8]) -> Result<String, IkeError> {
    let text = crypto::pem::encode("CERTIFICATE", der).map_err(|error| IkeError::Key(error.to_string()))?;
    Ok(text.to_string())
}

impl Ike {
    /// Over this socket.
    pub fn new(socket: PathBuf, clock: Arc<dyn Clock>) -> Self {
        Self { socket, clock }
    }

    async fn call<T: Serialize, U: serde::de::DeserializeOwned>(
        &self,
        order: &'static str,
        message: T,
        limit: Duration,
    ) -> Result<U, IkeError> {
        let daemon = |error: &dyn std::fmt::Display| IkeError::Daemon(format!("{order}: {error}"));
        let calling = async {
            let mut client = rsvici::unix::connect(&self.socket)
                .await
                .map_err(|error| daemon(&error))?;
            let errors = client.listen_for_errors();
            let calling = client.request::<T, U>(order, message);
            pin_mut!(errors, calling);
            // when charon ends, the request itself would never
            tokio::select! {
                answer = calling => answer.map_err(|error| daemon(&error)),
                Some(error) = errors.next() => Err(daemon(&error)),
            }
        };
        self.clock
            .timeout(limit, calling)
            .await
            .unwrap_or_else(|| Err(IkeError::Daemon(format!("{order}: no answer within {limit:?}"))))
    }

    async fn order<T: Serialize>(
        &self,
        order: &'static str,
        message: T,
        limit: Duration,
    ) -> Result<(), IkeError> {
        let answer: Answer = self.call(order, message, limit).await?;
        match answer.success {
            Some(false) => Err(IkeError::Refused {
                order,
                reason: answer.errmsg.unwrap_or_default(),
            }),
            _ => Ok(()),
        }
    }

    /// Its version.
    pub async fn version(&self) -> Result<String, IkeError> {
        let version: Version = self.call("version", (), PROMPT).await?;
        Ok(version.version)
    }

    /// Gives it a revocation list, DER. Certificates of CAs and signers come with [`Ike::load_authority`].
    pub async fn load_crl(&self, der: &[u8]) -> Result<(), IkeError> {
        let text = crypto::pem::encode("X509 CRL", der).map_err(|error| IkeError::Key(error.to_string()))?;
        let data = Data {
            kind: "X509_CRL",
            flag: None,
            data: &text,
        };
        self.order("load-cert", data, PROMPT).await
    }

    /// Gives it the certificate of a CA, of a root, or of a signer of revocation lists, DER.
    pub async fn load_authority(&self, der: &[u8]) -> Result<(), IkeError> {
        let text = pem(der)?;
        let data = Data {
            kind: "X509",
            flag: Some(if is_ca(der) { "CA" } else { "NONE" }),
            data: &text,
        };
        self.order("load-cert", data, PROMPT).await
    }

    /// Forgets certificates, revocation lists and keys: what follows is loaded anew.
    pub async fn forget(&self) -> Result<(), IkeError> {
        // there is none without hash and URL
        let _ = self.order("unload-authority", Name { name: "own" }, PROMPT).await;
        self.order("clear-creds", (), PROMPT).await
    }

    async fn load_key(&self, key: &SoftKey) -> Result<(), IkeError> {
        let failed = |error: &dyn std::fmt::Display| IkeError::Key(error.to_string());
        let pkcs8 = key.to_pkcs8().map_err(|error| failed(&error))?;
        let text = crypto::pem::encode("PRIVATE KEY", &pkcs8).map_err(|error| failed(&error))?;
        let data = Data {
            kind: "any",
            flag: None,
            data: &text,
        };
        self.order("load-key", data, PROMPT).await
    }

    /// Makes a tunnel known under a name; nothing is begun yet.
    pub(crate) async fn load(
        &self,
        name: &str,
        order: &TunnelOrder,
        place: &Concentrator,
        own: &Credentials,
        with_interface: bool,
    ) -> Result<(), IkeError> {
        self.load_key(&own.key).await?;
        if let Some(lies) = &own.lies {
            // it vouches for no concentrator: those are named below (cacerts)
            let authority = Authority {
                cacert: pem(&lies.issuer)?,
                cert_uri_base: &lies.base,
            };
            let message = BTreeMap::from([("own", authority)]);
            self.order("load-authority", message, PROMPT).await?;
        }
        let profile = &order.profile;
        let authorities: Vec<String> = order
            .trust
            .authorities
            .iter()
            .filter(|der| is_ca(der))
            .map(|der| pem(der))
            .collect::<Result<_, _>>()?;
        let auth = match own.key.public() {
            crypto::PublicKey::Ec(_) => "ecdsa-sha256",
            crypto::PublicKey::Rsa(_) => "rsa-sha256",
        };
        // a kernel without ESP has no interfaces of its own, and its replacement no extended numbers
        let plain = |suite: &String| match with_interface {
            true => suite.clone(),
            false => suite.trim_end_matches("-esn").to_owned(),
        };
        let interface = with_interface.then_some(order.service.number());
        let tunnel = Tunnel {
            local_ts: ["dynamic"],
            remote_ts: ["0.0.0.0/0"],
            esp_proposals: profile.suites.esp.iter().map(plain).collect(),
            rekey_time: format!("{}h", profile.child_hours),
            life_time: format!("{}h", profile.child_hours + 1),
            replay_window: 128,
            dpd_action: "clear",
        };
        let connection = Connection {
            version: 2,
            remote_addrs: [place.address.to_string()],
            vips: ["0.0.0.0"],
            proposals: profile.suites.ike.clone(),
            dpd_delay: format!("{}s", profile.keepalive_seconds),
            rekey_time: format!("{}h", profile.ike_hours),
            // 168 hours in all
            over_time: "7h",
            mobike: true,
            fragmentation: true,
            // the old one and the new one stand side by side while the certificate changes
            unique: "never",
            keyingtries: 1,
            if_id_in: interface,
            if_id_out: interface,
            local: Local {
                auth,
                certs: [pem(&own.certificate)?],
            },
            remote: Remote {
                auth: "pubkey",
                id: format!("fqdn:{}", place.name),
                cacerts: authorities,
                // a concentrator's certificate names its list, and must be found good by it; its CA names none
                revocation: "ifuri",
            },
            children: BTreeMap::from([(name.to_owned(), tunnel)]),
        };
        let message = BTreeMap::from([(name.to_owned(), connection)]);
        self.order("load-conn", message, PROMPT).await
    }

    /// Forgets a tunnel's description; one that is up stays up.
    pub(crate) async fn unload(&self, name: &str) -> Result<(), IkeError> {
        self.order("unload-conn", Name { name }, PROMPT).await
    }

    /// Builds it; gives back when it is up or has failed.
    pub(crate) async fn initiate(&self, name: &str) -> Result<(), IkeError> {
        self.begin(name, Some(name)).await
    }

    /// Builds the IKE_SA alone (RFC 6023), and the tunnel in it as a second step: certificates are judged before the other side
    /// sends its first packet through the new tunnel. Fails where the other side cannot do that.
    pub(crate) async fn initiate_gently(&self, name: &str) -> Result<(), IkeError> {
        self.begin(name, None).await?;
        self.begin(name, Some(name)).await
    }

    async fn begin(&self, name: &str, child: Option<&str>) -> Result<(), IkeError> {
        let message = Initiate {
            child,
            ike: name,
            timeout: u64::try_from(ATTEMPT.as_millis()).unwrap_or(u64::MAX),
            loglevel: -1,
        };
        self.order("initiate", message, ATTEMPT + PROMPT).await
    }

    /// Ends every IKE_SA of a connection.
    pub(crate) async fn terminate_all(&self, name: &str) -> Result<(), IkeError> {
        let message = TerminateAll {
            ike: name,
            force: true,
            timeout: 2000,
            loglevel: -1,
        };
        self.order("terminate", message, PROMPT).await
    }

    /// Says so whenever a tunnel comes or goes, until the task is aborted.
    pub(crate) fn watch(&self, moved: Arc<tokio::sync::Notify>) -> tokio::task::JoinHandle<()> {
        let (socket, clock) = (self.socket.clone(), self.clock.clone());
        tokio::spawn(async move {
            loop {
                if let Ok(mut client) = rsvici::unix::connect(&socket).await {
                    let ikes = client.subscribe::<Moved>("ike-updown");
                    let children = client.subscribe::<Moved>("child-updown");
                    let errors = client.listen_for_errors();
                    pin_mut!(ikes, children, errors);
                    loop {
                        let next = tokio::select! {
                            next = ikes.next() => next,
                            next = children.next() => next,
                            _ = errors.next() => None,
                        };
                        moved.notify_one();
                        if next.is_none_or(|next| next.is_err()) {
                            break;
                        }
                    }
                }
                // charon has ended, perhaps: somebody starts it again
                moved.notify_one();
                clock.sleep(Duration::from_secs(1)).await;
            }
        })
    }

    /// Tunnels that are up, with an IKE_SA and a CHILD_SA.
    pub async fn list(&self) -> Result<Vec<Sa>, IkeError> {
        let daemon = |error: &dyn std::fmt::Display| IkeError::Daemon(format!("list-sas: {error}"));
        let listing = async {
            let mut client = rsvici::unix::connect(&self.socket)
                .await
                .map_err(|error| daemon(&error))?;
            let mut all = Vec::new();
            let stream = client.stream_request::<(), BTreeMap<String, ListedSa>>("list-sas", "list-sa", ());
            pin_mut!(stream);
            while let Some(listed) = stream.next().await {
                let listed = listed.map_err(|error| daemon(&error))?;
                all.extend(listed.into_iter().filter_map(|(name, sa)| read(name, &sa)));
            }
            Ok(all)
        };
        self.clock
            .timeout(PROMPT, listing)
            .await
            .unwrap_or_else(|| Err(IkeError::Daemon("list-sas: no answer".into())))
    }
}

fn read(name: String, sa: &ListedSa) -> Option<Sa> {
    let children: Vec<&ListedChild> = sa
        .child_sas
        .values()
        .filter(|child| matches!(child.state.as_str(), "INSTALLED" | "REKEYING" | "REKEYED"))
        .collect();
    let up = matches!(sa.state.as_str(), "ESTABLISHED" | "REKEYING") && !children.is_empty();
    let size = sa.encr_keysize.as_deref().unwrap_or_default();
    let sum = |count: fn(&ListedChild) -> Option<&String>| {
        let all = children
            .iter()
            .filter_map(|child| count(child)?.parse::<u64>().ok());
        all.fold(0, u64::saturating_add)
    };
    up.then(|| Sa {
        packets: (
            sum(|child| child.packets_in.as_ref()),
            sum(|child| child.packets_out.as_ref()),
        ),
        id: sa.uniqueid,
        name,
        inner: sa.local_vips.first().and_then(|text| text.parse().ok()),
        suite: format!("{}-{size}/{}/{}", sa.encr_alg, sa.prf_alg, sa.dh_group),
        esn: children.iter().any(|child| child.esn.is_some()),
    })
}
