//! `langlauf admin`: the administration's REST interface by name.

use anyhow::{Context, Result, bail};
use asn1::X509;
use clap::Subcommand;
use crypto::tls::Identity;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What an administrator can do; `call` reaches everything of `docs/admin-api.yaml`.
#[derive(Subcommand)]
pub enum AdminAction {
    /// Version, trust list, conditions.
    State,
    /// All terminals.
    Terminals,
    /// Asks an address or a broadcast address for terminals.
    Discover {
        /// Address and port, e.g. `192.168.0.255:4742`.
        target: SocketAddr,
    },
    /// Adds a terminal by hand.
    AddTerminal {
        /// CtId for it.
        id: String,
        /// Address and port of its SICCT service.
        target: SocketAddr,
    },
    /// Pairs a terminal; a person there must agree.
    Pair {
        /// CtId.
        id: String,
        /// SHA-256 of its certificate as printed on the gSMC-KT.
        #[arg(long)]
        fingerprint: Option<String>,
    },
    /// Adopts a terminal that was seen, puts it out of use or into use again, gives up a pairing.
    Correlation {
        /// CtId.
        id: String,
        /// `zugewiesen`, `gepairt` or `aktiv`.
        correlation: String,
    },
    /// Removes a terminal with its pairing.
    RemoveTerminal {
        /// CtId.
        id: String,
    },
    /// All inserted cards.
    Cards,
    /// SM-B whose PIN is stored, and how far that got.
    SmbPins,
    /// Stores the PIN of an SM-B, read from standard input; only with `smb_unlock = true`.
    SmbPin {
        /// Number of the card.
        iccsn: String,
    },
    /// Forgets the PIN of an SM-B.
    ForgetSmbPin {
        /// Number of the card.
        iccsn: String,
    },
    /// The information model.
    Model,
    /// Replaces the information model.
    SetModel {
        /// JSON file, as `model` prints it.
        file: PathBuf,
    },
    /// The trust list in use.
    TrustList,
    /// Imports a trust list.
    ImportTrustList {
        /// The XML file.
        file: PathBuf,
    },
    /// The newest entries of the log.
    Log {
        /// How many.
        #[arg(default_value_t = 20)]
        count: u32,
    },
    /// Metrics in Prometheus' format.
    Metrics,
    /// Any call.
    Call {
        /// GET, POST, PUT or DELETE.
        method: String,
        /// Path, e.g. `/api/v1/state`.
        path: String,
        /// JSON body.
        body: Option<String>,
    },
}

impl AdminAction {
    fn request(self) -> Result<(String, String, String)> {
        let read = |file: &Path| std::fs::read_to_string(file).with_context(|| file.display().to_string());
        let (method, path, body) = match self {
            Self::State => ("GET", "state".into(), String::new()),
            Self::Terminals => ("GET", "terminals".into(), String::new()),
            Self::Discover { target } => (
                "POST",
                format!("terminals/discover?address={target}"),
                String::new(),
            ),
            Self::AddTerminal { id, target } => (
                "POST",
                "terminals".into(),
                serde_json::json!({ "id": id, "address": target }).to_string(),
            ),
            Self::Pair { id, fingerprint } => (
                "POST",
                format!("terminals/{id}/pair"),
                serde_json::json!({ "fingerprint": fingerprint }).to_string(),
            ),
            Self::Correlation { id, correlation } => (
                "PUT",
                format!("terminals/{id}/correlation"),
                serde_json::json!({ "correlation": correlation }).to_string(),
            ),
            Self::RemoveTerminal { id } => ("DELETE", format!("terminals/{id}"), String::new()),
            Self::Cards => ("GET", "cards".into(), String::new()),
            Self::SmbPins => ("GET", "smb-pins".into(), String::new()),
            Self::SmbPin { iccsn } => {
                // not an argument: those are in the shell's history and in the list of processes
                let mut pin = String::new();
                std::io::stdin().read_line(&mut pin)?;
                let body = serde_json::json!({ "pin": pin.trim() }).to_string();
                ("PUT", format!("smb-pins/{iccsn}"), body)
            }
            Self::ForgetSmbPin { iccsn } => ("DELETE", format!("smb-pins/{iccsn}"), String::new()),
            Self::Model => ("GET", "model".into(), String::new()),
            Self::SetModel { file } => ("PUT", "model".into(), read(&file)?),
            Self::TrustList => ("GET", "trust-list".into(), String::new()),
            Self::ImportTrustList { file } => ("PUT", "trust-list".into(), read(&file)?),
            Self::Log { count } => ("GET", format!("log?count={count}"), String::new()),
            Self::Metrics => return Ok(("GET".into(), "/metrics".into(), String::new())),
            Self::Call { method, path, body } => return Ok((method, path, body.unwrap_or_default())),
        };
        Ok((method.into(), format!("/api/v1/{path}"), body))
    }
}

/// Calls the Konnektor at `address` with the administrator's certificate of the demo in `folder`.
pub async fn run(folder: &Path, address: SocketAddr, action: AdminAction) -> Result<()> {
    let file = |name: &str| {
        let path = folder.join(name);
        std::fs::read_to_string(&path).with_context(|| path.display().to_string())
    };
    let identity = Identity::from_pem(&file("identities/administrator.pem")?)?;
    let authorities = crypto::pem::decode_all("CERTIFICATE", &file("konnektor-ca.pem")?)?;
    let authorities = authorities
        .iter()
        .filter_map(|der| X509::parse(der).ok())
        .collect();
    let judge = langlauf::practice::issued_by(Arc::new(authorities));
    let mut sender = langlauf::practice::connect(address, Some(&identity), judge).await?;
    let (method, path, body) = action.request()?;
    let request = http::Request::builder()
        .method(method.as_str())
        .uri(path)
        .header("Host", address.to_string())
        .header("Content-Type", "application/json")
        .body(Full::new(Bytes::from(body)))?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let bytes = response.into_body().collect().await?.to_bytes();
    match serde_json::from_slice::<serde_json::Value>(&bytes) {
        Ok(json) => println!("{}", serde_json::to_string_pretty(&json)?),
        Err(_) => println!("{}", String::from_utf8_lossy(&bytes)),
    }
    if !status.is_success() {
        bail!("HTTP {status}");
    }
    Ok(())
}
