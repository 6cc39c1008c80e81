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
    /// Updates: what runs, what the supervisor did, what may be put in and what stands against it.
    Updates,
    /// Has a release judged (a bundle: `langlauf release bundle`).
    TakeRelease {
        /// The bundle.
        bundle: PathBuf,
    },
    /// Asks the configuration service for updates, and downloads the newest.
    LookForUpdates,
    /// Puts the release in that was judged: on trial, with automatic return.
    StartUpdate {
        /// Goes on although this check fails (those that must not are not asked): `--accept smc-b`.
        #[arg(long)]
        accept: Vec<String>,
    },
    /// Forgets the release that was judged.
    DiscardRelease,
    /// Firmware of the terminals, what there is for them, what became of updates.
    TerminalFirmware,
    /// A terminal gets what the configuration service has for it, or the firmware in a file.
    UpdateTerminal {
        /// CtId.
        id: String,
        /// Firmware of its maker.
        #[arg(long)]
        file: Option<PathBuf>,
    },
    /// Stores how one logs in at a terminal as its administrator; the password is read from standard input.
    TerminalLogin {
        /// CtId.
        id: String,
        /// Name of its administrator.
        user: String,
    },
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
    /// The trust space: anchor, lists and what is left of them, status services.
    Trust,
    /// Imports a list by hand.
    Import {
        /// `list` (trust list, also one that has ended), `revocation-list` or `trusted-list`.
        kind: String,
        /// XML file; of a revocation list the DER file.
        file: PathBuf,
    },
    /// Changes the trust anchor by a cross certificate.
    ImportCross {
        /// PEM file: the new anchor, certified by the anchor in use.
        cross: PathBuf,
        /// PEM file: the new anchor.
        anchor: PathBuf,
        /// Trust list signed under the new anchor.
        list: PathBuf,
    },
    /// Looks for newer lists now.
    UpdateLists,
    /// Takes up the trust list before the one in use and sets that aside.
    StepBack,
    /// CAs imported for encryption to people outside the TI.
    Authorities,
    /// Imports such a CA.
    ImportAuthority {
        /// PEM file.
        file: PathBuf,
    },
    /// Forgets such a CA.
    ForgetAuthority {
        /// Its SHA-256, as `authorities` shows it.
        id: String,
    },
    /// When certificates end; who subscribed is told, as every day.
    Certificates,
    /// Everything that can end, with what stops working and what to do.
    Calendar {
        /// As an iCalendar feed.
        #[arg(long)]
        ics: bool,
    },
    /// The machine's network: packet filter with its counters, routes, names and time as they are in force.
    Network,
    /// Networks beside the TI (Bestandsnetze): the list, and which of them are used.
    LegacyNetworks {
        /// `update` fetches the list, `step-back` takes up the one before; nothing shows it.
        #[arg(value_parser = ["update", "step-back"])]
        action: Option<String>,
    },
    /// Uses a network beside the TI (`on`), or not (`off`), or as the configuration has it (`default`).
    LegacyNetwork {
        /// Its ID in the list.
        id: String,
        /// `on`, `off` or `default`.
        #[arg(value_parser = ["on", "off", "default"])]
        state: String,
    },
    /// The tunnel into the TI: does it stand, with which certificate, and if not, why.
    Vpn,
    /// The device's own certificates: generations, stages, proofs, what happens next.
    Lifetime,
    /// Takes in a package of renewed certificates (ZIP).
    ImportPackage {
        /// The file.
        file: PathBuf,
    },
    /// Looks for a package now.
    FetchPackage,
    /// `register`, `probe` or `activate` a generation of certificates.
    Generation {
        /// Its number, `newest`, `used`, or the one `before` the newest.
        generation: String,
        /// What.
        action: String,
    },
    /// What practice systems see and will see: certificates, pins, CAs.
    Clients,
    /// Shows this generation of C.AK.AUT to practice systems; without a number the calendar decides again.
    ShowClients {
        /// Its number.
        generation: Option<u32>,
    },
    /// Nothing about the device's certificates changes by itself any more; `false` lets it again.
    Freeze {
        /// `true` or `false`.
        #[arg(action = clap::ArgAction::Set, default_value_t = true)]
        on: bool,
    },
    /// The way back after everything has ended; see docs/lifetime-extension.md.
    Recover {
        /// ZIP with TSL.xml, anchor.pem, anchor-cross.pem, VPN.crl, <ICCSN>.zip; whatever is needed of it.
        bundle: Option<PathBuf>,
        /// A person has looked at the clock: it is right.
        #[arg(long)]
        clock_confirmed: bool,
        /// Somebody is at the terminal to type the PIN of the SMC-B.
        #[arg(long)]
        pin: bool,
    },
    /// The newest entries of a log.
    Log {
        /// How many.
        #[arg(default_value_t = 20)]
        count: u32,
        /// `system`, `security`, `vsdm` or `performance`.
        #[arg(long, default_value = "system")]
        log: String,
        /// Only this severity and worse: `Info`, `Warning`, `Error`, `Fatal`.
        #[arg(long, default_value = "Info")]
        severity: String,
    },
    /// A whole log as lines of JSON, the newest entry first.
    ExportLog {
        /// `system`, `security`, `vsdm` or `performance`.
        log: String,
    },
    /// Exports the configuration into a file and prints the passphrase, once.
    Backup {
        /// File to write.
        file: PathBuf,
    },
    /// Shows what a backup would change, or with `--confirm` imports it. The passphrase is read from standard input.
    Restore {
        /// The backup.
        file: PathBuf,
        /// What the preview said under `confirm`.
        #[arg(long)]
        confirm: Option<String>,
    },
    /// Back to the state of delivery: terminals, information model, users, secrets and logs are gone; trust space and
    /// security log stay, and the password of the administrator unless its file gives the first one again.
    FactoryReset {
        /// Must be there.
        #[arg(long, required = true)]
        yes: bool,
    },
    /// Takes note of a condition that does not end by itself.
    Reset {
        /// `EC_LOG_OVERFLOW` or `EC_CRYPTOPERATION_ALARM`.
        condition: String,
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
    fn request(self) -> Result<(String, String, Vec<u8>)> {
        let read = |file: &Path| std::fs::read_to_string(file).with_context(|| file.display().to_string());
        let (method, path, body) = match self {
            Self::State => ("GET", "state".into(), Vec::new()),
            Self::Updates => ("GET", "update".into(), Vec::new()),
            Self::TakeRelease { bundle } => {
                let bytes = std::fs::read(&bundle).with_context(|| bundle.display().to_string())?;
                ("PUT", "update/bundle".into(), bytes)
            }
            Self::LookForUpdates => ("POST", "update/look".into(), Vec::new()),
            Self::StartUpdate { accept } => {
                let body = serde_json::json!({ "accept": accept });
                ("POST", "update/start".into(), body.to_string().into())
            }
            Self::DiscardRelease => ("DELETE", "update/offer".into(), Vec::new()),
            Self::TerminalFirmware => ("GET", "update/terminals".into(), Vec::new()),
            Self::UpdateTerminal { id, file: None } => ("POST", format!("update/terminals/{id}"), Vec::new()),
            Self::UpdateTerminal { id, file: Some(file) } => {
                let bytes = std::fs::read(&file).with_context(|| file.display().to_string())?;
                ("PUT", format!("update/terminals/{id}/firmware"), bytes)
            }
            Self::TerminalLogin { id, user } => {
                let mut password = String::new();
                std::io::stdin().read_line(&mut password)?;
                let body =
                    serde_json::json!({ "user": user, "password": password.trim_end_matches(['\r', '\n']) });
                (
                    "PUT",
                    format!("update/terminals/{id}/login"),
                    body.to_string().into(),
                )
            }
            Self::Terminals => ("GET", "terminals".into(), Vec::new()),
            Self::Discover { target } => ("POST", format!("terminals/discover?address={target}"), Vec::new()),
            Self::AddTerminal { id, target } => (
                "POST",
                "terminals".into(),
                serde_json::json!({ "id": id, "address": target })
                    .to_string()
                    .into(),
            ),
            Self::Pair { id, fingerprint } => (
                "POST",
                format!("terminals/{id}/pair"),
                serde_json::json!({ "fingerprint": fingerprint })
                    .to_string()
                    .into(),
            ),
            Self::Correlation { id, correlation } => (
                "PUT",
                format!("terminals/{id}/correlation"),
                serde_json::json!({ "correlation": correlation })
                    .to_string()
                    .into(),
            ),
            Self::RemoveTerminal { id } => ("DELETE", format!("terminals/{id}"), Vec::new()),
            Self::Cards => ("GET", "cards".into(), Vec::new()),
            Self::SmbPins => ("GET", "smb-pins".into(), Vec::new()),
            Self::SmbPin { iccsn } => {
                // not an argument: those are in the shell's history and in the list of processes
                let mut pin = String::new();
                std::io::stdin().read_line(&mut pin)?;
                let body = serde_json::json!({ "pin": pin.trim() }).to_string();
                ("PUT", format!("smb-pins/{iccsn}"), body.into())
            }
            Self::ForgetSmbPin { iccsn } => ("DELETE", format!("smb-pins/{iccsn}"), Vec::new()),
            Self::Model => ("GET", "model".into(), Vec::new()),
            Self::SetModel { file } => ("PUT", "model".into(), read(&file)?.into()),
            Self::Trust => ("GET", "trust".into(), Vec::new()),
            Self::Import { kind, file } => {
                let bytes = std::fs::read(&file).with_context(|| file.display().to_string())?;
                ("PUT", format!("trust/{kind}"), bytes)
            }
            Self::ImportCross { cross, anchor, list } => {
                let (cross, anchor, list) = (read(&cross)?, read(&anchor)?, read(&list)?);
                let body = serde_json::json!({ "cross": cross, "anchor": anchor, "list": list });
                ("PUT", "trust/cross".into(), body.to_string().into())
            }
            Self::UpdateLists => ("POST", "trust/update".into(), Vec::new()),
            Self::StepBack => ("POST", "trust/step-back".into(), Vec::new()),
            Self::Authorities => ("GET", "authorities".into(), Vec::new()),
            Self::ImportAuthority { file } => ("POST", "authorities".into(), read(&file)?.into()),
            Self::ForgetAuthority { id } => ("DELETE", format!("authorities/{id}"), Vec::new()),
            Self::Certificates => ("GET", "certificates".into(), Vec::new()),
            Self::Calendar { ics } => {
                let name = if ics { "calendar.ics" } else { "calendar" };
                ("GET", name.into(), Vec::new())
            }
            Self::Lifetime => ("GET", "lifetime".into(), Vec::new()),
            Self::Network => ("GET", "network".into(), Vec::new()),
            Self::LegacyNetworks { action: None } => ("GET", "network/legacy".into(), Vec::new()),
            Self::LegacyNetworks { action: Some(action) } => {
                ("POST", format!("network/legacy/{action}"), Vec::new())
            }
            Self::LegacyNetwork { id, state } => {
                let active = match state.as_str() {
                    "on" => Some(true),
                    "off" => Some(false),
                    _ => None,
                };
                let body = serde_json::json!({ "active": active }).to_string();
                ("PUT", format!("network/legacy/networks/{id}"), body.into())
            }
            Self::Vpn => ("GET", "vpn".into(), Vec::new()),
            Self::ImportPackage { file } => {
                let bytes = std::fs::read(&file).with_context(|| file.display().to_string())?;
                ("PUT", "lifetime/package".into(), bytes)
            }
            Self::FetchPackage => ("POST", "lifetime/fetch".into(), Vec::new()),
            Self::Generation { generation, action } => (
                "POST",
                format!("lifetime/generations/{generation}/{action}"),
                Vec::new(),
            ),
            Self::Clients => ("GET", "lifetime/clients".into(), Vec::new()),
            Self::ShowClients { generation } => (
                "PUT",
                "lifetime/clients".into(),
                serde_json::json!({ "generation": generation }).to_string().into(),
            ),
            Self::Freeze { on } => (
                "PUT",
                "lifetime/frozen".into(),
                serde_json::json!({ "on": on }).to_string().into(),
            ),
            Self::Recover {
                bundle,
                clock_confirmed,
                pin,
            } => {
                let bytes = match bundle {
                    Some(file) => std::fs::read(&file).with_context(|| file.display().to_string())?,
                    None => Vec::new(),
                };
                let path = format!("recover?clock_confirmed={clock_confirmed}&pin={pin}");
                ("POST", path, bytes)
            }
            Self::Log { count, log, severity } => (
                "GET",
                format!("logs/{log}?count={count}&severity={severity}"),
                Vec::new(),
            ),
            Self::ExportLog { log } => ("GET", format!("logs/{log}/export"), Vec::new()),
            Self::Backup { .. } => ("POST", "backup".into(), Vec::new()),
            Self::Restore { file, confirm } => {
                let mut passphrase = String::new();
                std::io::stdin().read_line(&mut passphrase)?;
                let backup = read(&file)?;
                let body = serde_json::json!({ "backup": backup, "passphrase": passphrase.trim(), "confirm": confirm });
                match confirm {
                    None => ("POST", "backup/preview".into(), body.to_string().into()),
                    Some(_) => ("PUT", "backup".into(), body.to_string().into()),
                }
            }
            Self::FactoryReset { .. } => (
                "POST",
                "factory-reset".into(),
                serde_json::json!({ "confirm": "factory reset" })
                    .to_string()
                    .into(),
            ),
            Self::Reset { condition } => ("POST", format!("state/reset?condition={condition}"), Vec::new()),
            Self::Metrics => return Ok(("GET".into(), "/metrics".into(), Vec::new())),
            Self::Call { method, path, body } => return Ok((method, path, body.unwrap_or_default().into())),
        };
        Ok((method.into(), format!("/api/v1/{path}"), body))
    }
}

/// Calls the Konnektor at `address` with the administrator's certificate of the demo in `folder`.
pub async fn call(
    folder: &Path,
    address: SocketAddr,
    (method, path, body): (String, String, Vec<u8>),
) -> Result<(http::StatusCode, Bytes)> {
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
    let request = http::Request::builder()
        .method(method.as_str())
        .uri(path)
        .header("Host", address.to_string())
        .header("Content-Type", "application/json")
        .body(Full::new(Bytes::from(body)))?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    Ok((status, response.into_body().collect().await?.to_bytes()))
}

/// Does what an administrator asks for, and prints the answer.
pub async fn run(folder: &Path, address: SocketAddr, action: AdminAction) -> Result<()> {
    let into = match &action {
        AdminAction::Backup { file } => Some(file.clone()),
        _ => None,
    };
    let (status, bytes) = call(folder, address, action.request()?).await?;
    match serde_json::from_slice::<serde_json::Value>(&bytes) {
        Ok(mut json) => {
            if let (Some(file), Some(backup)) = (into, json.get_mut("backup")) {
                let name = file.display().to_string();
                std::fs::write(&file, serde_json::to_string_pretty(backup)?).with_context(|| name.clone())?;
                *backup = name.into();
            }
            println!("{}", serde_json::to_string_pretty(&json)?);
        }
        Err(_) => println!("{}", String::from_utf8_lossy(&bytes)),
    }
    if !status.is_success() {
        bail!("HTTP {status}");
    }
    Ok(())
}

/// Says what is wrong and whose it is to mend it.
pub async fn doctor(folder: &Path, address: SocketAddr, json: bool) -> Result<()> {
    let request = ("GET".to_owned(), "/api/v1/doctor".to_owned(), Vec::new());
    let (status, bytes) = call(folder, address, request).await.with_context(|| {
        format!("Der Konnektor antwortet unter {address} nicht / the Konnektor does not answer at {address}")
    })?;
    if !status.is_success() {
        bail!("HTTP {status}");
    }
    let diagnosis: serde_json::Value = serde_json::from_slice(&bytes)?;
    let text = |one: &serde_json::Value, name: &str| {
        let text = one.get(name).and_then(|text| text.as_str());
        text.unwrap_or_default().to_owned()
    };
    let links = diagnosis.get("links").and_then(|links| links.as_array());
    let links = links.map(Vec::as_slice).unwrap_or_default();
    if json {
        println!("{}", serde_json::to_string_pretty(&diagnosis)?);
    } else {
        println!("{}\n{}\n", text(&diagnosis, "de"), text(&diagnosis, "en"));
        for link in links {
            let mark = match text(link, "health").as_str() {
                "good" => "ok",
                "poor" => "!",
                "bad" => "XX",
                "unknown" => "?",
                _ => "-",
            };
            let (name, de, en) = (text(link, "link"), text(link, "de"), text(link, "en"));
            println!("{mark:>2}  {name:<16} {de} / {en}");
            let evidence = text(link, "evidence");
            if !evidence.is_empty() {
                println!("    {:<16} {evidence}", "");
            }
        }
    }
    if links.iter().any(|link| text(link, "health") == "bad") {
        std::process::exit(1);
    }
    Ok(())
}
