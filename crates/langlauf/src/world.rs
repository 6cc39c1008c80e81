//! The demo world: test TI, virtual terminal with cards, and a Konnektor, in one process on loopback addresses.
//! Everything is made at the first start, lies in one folder, and is the same at the next.

use crate::practice::Practice;
use anyhow::{Context, Result};
use asn1::X509;
use base::Clock;
use base::id::Iccsn;
use card::cos::{StateFile, VirtualCard};
use card::image;
use crypto::tls::Identity;
use crypto::{Curve, EcPrivate, Key, SoftKey};
use konnektor::config::TerminalConfig;
use konnektor::model::{Access, ClientSystem, Mandant, Model, Workplace};
use konnektor::{ClientAuthentication, Config, Identities, Konnektor};
use pki::issue::{Authority, Name, Request, profile};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::Store;
use terminal::simulator::{self, VirtualTerminal};
use testti::cards::{self, Holder, Options as CardOptions};
use testti::person::Person;
use testti::services::Ledger;
use testti::vsdm::Vsdm;
use testti::{SavedKeys, TestPki};
use tokio::net::TcpListener;

/// How a world is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where everything lies.
    pub folder: PathBuf,
    /// The fixed ports of the design, or free ones (for tests).
    pub fixed_ports: bool,
    /// RSA keys on the cards, as on real ones.
    pub rsa: bool,
    /// How practice systems authenticate.
    pub client_authentication: ClientAuthentication,
}

/// Where everything listens.
#[derive(Debug, Clone, Serialize)]
pub struct Addresses {
    /// The Konnektor, HTTPS.
    pub konnektor: SocketAddr,
    /// Its administration, HTTPS.
    pub admin: SocketAddr,
    /// The terminal's SICCT service.
    pub terminal: SocketAddr,
    /// The terminal's page, HTTP.
    pub page: SocketAddr,
    /// Trust list and OCSP, HTTP.
    pub test_ti: SocketAddr,
    /// The VSDM intermediary, HTTPS.
    pub vsdm: SocketAddr,
}

/// A running world.
pub struct World {
    /// Where everything listens.
    pub addresses: Addresses,
    /// The terminal.
    pub terminal: VirtualTerminal,
    /// The Konnektor.
    pub konnektor: Konnektor,
    /// The insurers' services.
    pub vsdm: Vsdm,
    /// The book behind the OCSP responder.
    pub ledger: Ledger,
    /// A practice system with the right to call.
    pub practice: Practice,
    /// CAs of the Konnektor's server certificate.
    pub authorities: Vec<X509>,
    /// Password for administration.
    pub admin_password: String,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

/// Number of the eGK in every demo world.
pub const EGK: &str = "80276009990000000001";
/// Number of the SMC-B.
pub const SMC_B: &str = "80276009990000000002";
/// Number of the HBA.
pub const HBA: &str = "80276009990000000003";
const GSMC_KT: &str = "80276009990000000009";
const GSMC_K: &str = "80276009990000000010";
/// CtId of the terminal.
pub const TERMINAL: &str = "KT1";

/// Identities as they are stored.
#[derive(Serialize, Deserialize)]
struct StoredIdentity {
    chain: Vec<String>,
    key: String,
}

fn read_json<T: serde::de::DeserializeOwned + Default>(path: &Path) -> Result<T> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| path.display().to_string()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(T::default()),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let new = path.with_extension("new");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(std::fs::rename(new, path)?)
}

/// Identities by name, read from a file or made.
struct Vault {
    path: PathBuf,
    map: BTreeMap<String, StoredIdentity>,
}

impl Vault {
    fn open(path: PathBuf) -> Result<Self> {
        Ok(Self {
            map: read_json(&path)?,
            path,
        })
    }

    fn identity(&mut self, name: &str, make: impl FnOnce() -> Result<Identity>) -> Result<Identity> {
        if let Some(stored) = self.map.get(name) {
            let chain = stored.chain.iter().map(hex::decode).collect::<Result<_, _>>()?;
            return Ok(Identity {
                chain,
                key: SoftKey::from_pkcs8(&hex::decode(&stored.key)?)?,
            });
        }
        let identity = make()?;
        let chain = identity.chain.iter().map(hex::encode).collect();
        let key = hex::encode(&identity.key.to_pkcs8()?[..]);
        self.map.insert(name.into(), StoredIdentity { chain, key });
        Ok(identity)
    }

    fn save(&self) -> Result<()> {
        write_private(&self.path, &serde_json::to_vec(&self.map)?)
    }
}

async fn listen(fixed: bool, port: u16) -> Result<TcpListener> {
    let port = if fixed { port } else { 0 };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpListener::bind(address)
        .await
        .with_context(|| format!("port {port} on 127.0.0.1 is taken: is another demo running?"))
}

/// The card `name`: its image and state from the folder, or made.
fn open_card(
    folder: &Path,
    name: &str,
    make: impl FnOnce() -> Result<image::ObjectSystem>,
) -> Result<VirtualCard> {
    let path = folder.join(format!("{name}.xml"));
    if !path.exists() {
        write_private(&path, image::write(&make()?).as_bytes())?;
    }
    let system = image::read(&std::fs::read_to_string(&path)?).with_context(|| path.display().to_string())?;
    Ok(VirtualCard::new(
        system,
        Box::new(StateFile::at(folder.join(format!("{name}.state")))),
    )?)
}

impl World {
    /// Sets everything up and starts it. Cards lie on the table; nothing is paired yet the first time.
    pub async fn start(options: &Options, clock: Arc<dyn Clock>) -> Result<Self> {
        let folder = &options.folder;
        std::fs::create_dir_all(folder.join("cards"))?;
        let ti = listen(options.fixed_ports, 9000).await?;
        let vsdm_listener = listen(options.fixed_ports, 9001).await?;
        let sicct = listen(options.fixed_ports, 4742).await?;
        let page = listen(options.fixed_ports, 8600).await?;
        let https = listen(options.fixed_ports, 8443).await?;
        let admin = listen(options.fixed_ports, 8500).await?;
        let addresses = Addresses {
            konnektor: https.local_addr()?,
            admin: admin.local_addr()?,
            terminal: sicct.local_addr()?,
            page: page.local_addr()?,
            test_ti: ti.local_addr()?,
            vsdm: vsdm_listener.local_addr()?,
        };
        let mut tasks = Vec::new();
        let mut spawn =
            |name: &'static str,
             task: std::pin::Pin<Box<dyn Future<Output = std::io::Result<()>> + Send>>| {
                tasks.push(tokio::spawn(async move {
                    if let Err(error) = task.await {
                        tracing::error!(%error, "{name} ended");
                    }
                }));
            };

        let keys_path = folder.join("test-ti.json");
        let mut saved: SavedKeys = read_json(&keys_path)?;
        let pki = TestPki::open(
            &mut saved,
            clock.now(),
            &format!("http://{}/ocsp", addresses.test_ti),
        )?;
        write_private(&keys_path, &serde_json::to_vec(&saved)?)?;
        let ledger = Ledger::new(&pki, clock.clone());

        let mut vault = Vault::open(folder.join("identities.json"))?;
        let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let mut made = None;
        let mut own = |vault: &mut Vault, name: &str, pick: fn(&testti::KonnektorIdentities) -> Identity| {
            vault.identity(name, || {
                let all = match made.take() {
                    Some(all) => all,
                    None => pki.konnektor(GSMC_K, &[localhost])?,
                };
                let picked = pick(&all);
                made = Some(all);
                Ok(picked)
            })
        };
        let identities = testti::KonnektorIdentities {
            ak_brainpool: own(&mut vault, "ak-brainpool", |all| all.ak_brainpool.clone())?,
            ak_nist: own(&mut vault, "ak-nist", |all| all.ak_nist.clone())?,
            sak: own(&mut vault, "sak", |all| all.sak.clone())?,
            nk: own(&mut vault, "nk", |all| all.nk.clone())?,
        };
        let person = Person::example();
        let card_options = CardOptions {
            rsa: options.rsa,
            ..CardOptions::default()
        };
        let number = |text: &str| text.parse::<Iccsn>().context("ICCSN");
        let holder = |name: &str, id: &str| Holder {
            name: name.into(),
            telematik_id: id.into(),
        };
        let cards_folder = folder.join("cards");
        let egk = open_card(&cards_folder, "eGK Loipengruen", || {
            Ok(cards::egk(
                &pki,
                &number(EGK)?,
                &person,
                clock.now(),
                &card_options,
            )?)
        })?;
        let smcb = open_card(&cards_folder, "SMC-B Praxis", || {
            Ok(cards::smcb(
                &pki,
                &number(SMC_B)?,
                &holder("Praxis Dr. Spur TEST-ONLY", "1-2SPUR0001"),
                &card_options,
            )?)
        })?;
        let hba = open_card(&cards_folder, "HBA Dr. Spur", || {
            Ok(cards::hba(
                &pki,
                &number(HBA)?,
                &holder("Dr. Sigrid Spur TEST-ONLY", "1-1SPUR0001"),
                &card_options,
            )?)
        })?;
        let mut smkt = None;
        let kt = open_card(&cards_folder, "gSMC-KT", || {
            let (system, identity) = cards::gsmc_kt(&pki, &number(GSMC_KT)?)?;
            smkt = Some(identity);
            Ok(system)
        })?;
        let smkt = vault.identity("smkt", || {
            smkt.context("identities.json is missing, but the gSMC-KT exists")
        })?;
        let gsmc_k = open_card(&cards_folder, "gSMC-K", || {
            Ok(cards::gsmc_k(&pki, &number(GSMC_K)?, &identities)?)
        })?;
        let client = client_identity(&mut vault, clock.now())?;
        vault.save()?;

        let vsdm = Vsdm::new(clock.clone());
        vsdm.register(EGK, egk.system(), &person);
        for card in [&egk, &smcb, &hba, &kt, &gsmc_k] {
            ledger.register_card(card.system());
        }
        for identity in [&identities.ak_brainpool, &identities.ak_nist, &identities.sak] {
            identity
                .chain
                .first()
                .into_iter()
                .for_each(|der| ledger.register(der));
        }
        let intermediary = pki.component(
            Curve::BrainpoolP256r1,
            &profile::FD_TLS_S,
            asn1::oid::ROLE_INT_VSDM,
            "intermediaer.langlauf.test",
            &["localhost"],
            &[localhost],
        )?;
        let institution_ca = X509::parse(&pki.smcb_ca.certificate)?;
        spawn(
            "VSDM",
            Box::pin(vsdm.clone().serve(vsdm_listener, intermediary, institution_ca)),
        );
        let location = format!("http://{}/TSL.xml", addresses.test_ti);
        let list = pki.trust_list(10_001, clock.now(), &location)?;
        let router = testti::services::router(ledger.clone(), Arc::new(Mutex::new(list)));
        spawn("test TI", Box::pin(async move { axum::serve(ti, router).await }));

        let mac = "02-4C-4C-00-00-01".parse()?;
        let terminal = VirtualTerminal::new(TERMINAL, mac, clock.clone(), Some(folder.join("pairing.json")))?;
        for (name, card) in [
            ("eGK Loipengrün", egk),
            ("SMC-B Praxis", smcb),
            ("HBA Dr. Spur", hba),
            ("gSMC-KT", kt),
        ] {
            terminal.lay_down(name, Arc::new(Mutex::new(card)));
        }
        terminal.insert(4, "gSMC-KT")?;
        let konnektor_cas = vec![
            X509::parse(&pki.component_ca.certificate)?,
            X509::parse(&pki.component_ca_nist.certificate)?,
        ];
        let identity = simulator::Identity {
            smkt,
            konnektor_cas: Arc::new(konnektor_cas.clone()),
        };
        spawn(
            "terminal",
            Box::pin(simulator::serve(terminal.clone(), sicct, identity)),
        );
        let router = simulator::page::router(terminal.clone());
        spawn("page", Box::pin(async move { axum::serve(page, router).await }));

        let fingerprint = hex::encode(crypto::sha256(client.chain.first()));
        let config = Config {
            hostname: "LANGLAUF".into(),
            listen: addresses.konnektor,
            base_url: None,
            listen_admin: addresses.admin,
            client_authentication: options.client_authentication,
            online: true,
            tsl_url: Some(location),
            vsdm_url: Some(format!("https://{}", addresses.vsdm)),
            vsdm_max_seconds: 30,
            keep_alive_seconds: 5,
            keep_alive_tries: 3,
            card_timeout_seconds: 10,
            event_max_tries: 3,
            terminals: vec![TerminalConfig {
                id: TERMINAL.parse()?,
                name: TERMINAL.into(),
                mac,
                address: addresses.terminal,
            }],
            model: demo_model(&fingerprint)?,
        };
        config.check()?;
        let identities = Identities {
            ak_brainpool: identities.ak_brainpool,
            ak_nist: identities.ak_nist,
            sak: identities.sak,
            trust_anchor: X509::parse(&pki.tsl_ca.certificate)?,
            iccsn: GSMC_K.into(),
        };
        let store = Store::open(&folder.join("konnektor"))?;
        let konnektor =
            Konnektor::start(config, identities, store, clock).map_err(|f| anyhow::anyhow!(f.detail()))?;
        let admin_password = admin_password(folder)?;
        konnektor
            .set_admin_password(&admin_password)
            .map_err(|f| anyhow::anyhow!(f.detail()))?;
        let served = konnektor.clone();
        spawn("Konnektor", Box::pin(async move { served.serve(https).await }));
        let served = konnektor.clone();
        spawn(
            "administration",
            Box::pin(async move { served.serve_admin(admin).await }),
        );
        write_client_files(folder, &client, &konnektor_cas, pki.anchors())?;
        let practice = Practice::new(addresses.konnektor, Some(client), konnektor_cas.clone());
        Ok(Self {
            addresses,
            terminal,
            konnektor,
            vsdm,
            ledger,
            practice,
            authorities: konnektor_cas,
            admin_password,
            tasks,
        })
    }

    /// Waits until `condition` holds, at most `limit`.
    pub async fn wait_for(
        &self,
        what: &str,
        limit: Duration,
        clock: &dyn Clock,
        mut condition: impl AsyncFnMut() -> bool,
    ) -> Result<()> {
        let waiting = async {
            while !condition().await {
                clock.sleep(Duration::from_millis(20)).await;
            }
        };
        clock
            .timeout(limit, waiting)
            .await
            .with_context(|| format!("{what}: not within {limit:?}"))
    }

    /// Is the terminal paired, or must somebody agree first?
    pub fn is_paired(&self) -> bool {
        self.terminal.appearance().pairings > 0
    }
}

fn demo_model(client_certificate: &str) -> Result<Model> {
    let workplace: base::id::WorkplaceId = "Anmeldung".parse()?;
    let access = Access {
        client_system: "PVS".parse()?,
        workplace: workplace.clone(),
    };
    Ok(Model {
        mandants: vec![Mandant {
            id: "Praxis".parse()?,
            terminals: [TERMINAL.parse()?].into(),
            smb: [SMC_B.parse()?].into(),
            access: [access].into(),
            remote_pin: Vec::new(),
        }],
        client_systems: vec![ClientSystem {
            id: "PVS".parse()?,
            certificates: [client_certificate.to_owned()].into(),
            users: Vec::new(),
        }],
        workplaces: vec![Workplace {
            id: workplace,
            local_terminals: [TERMINAL.parse()?].into(),
            remote_terminals: Default::default(),
        }],
    })
}

/// A practice system's certificate: self-made on P-256, registered by its hash.
fn client_identity(vault: &mut Vault, now: base::Timestamp) -> Result<Identity> {
    vault.identity("practice", || {
        let key = || Ok::<_, anyhow::Error>(SoftKey::Ec(EcPrivate::generate(Curve::NistP256)?));
        let to = now.checked_add(Duration::from_secs(5 * 365 * 86_400))?;
        let from = now.checked_sub(Duration::from_secs(86_400))?;
        let issuer = Authority::root(Name::new("Langlauf TEST-ONLY", "Clients"), key()?, "", from, to)?;
        let own = key()?;
        let certificate = issuer.issue(&Request {
            profile: &profile::CLIENT,
            subject: Name::new("Langlauf TEST-ONLY", "PVS"),
            key: own.public(),
            admission: None,
            dns: &[],
            addresses: &[],
            from,
            to,
        })?;
        Ok(Identity {
            chain: vec![certificate],
            key: own,
        })
    })
}

/// A self-signed certificate, for servers outside the TI.
pub fn self_signed(name: &str, key: SoftKey, from: base::Timestamp, to: base::Timestamp) -> Result<Vec<u8>> {
    Ok(Authority::root(Name::new("Langlauf TEST-ONLY", name), key, "", from, to)?.certificate)
}

fn admin_password(folder: &Path) -> Result<String> {
    let path = folder.join("admin-password.txt");
    if !path.exists() {
        write_private(&path, hex::encode(crypto::random::<12>()?).as_bytes())?;
    }
    Ok(std::fs::read_to_string(path)?)
}

fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<String> = text
        .as_bytes()
        .chunks(64)
        .map(|line| String::from_utf8_lossy(line).into_owned())
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}

/// Certificate, key and CAs as PEM for curl, openssl and practice systems.
fn write_client_files(
    folder: &Path,
    client: &Identity,
    authorities: &[X509],
    roots: &[Vec<u8>],
) -> Result<()> {
    let certificate: String = client.chain.iter().map(|der| pem("CERTIFICATE", der)).collect();
    write_private(&folder.join("practice.crt"), certificate.as_bytes())?;
    write_private(
        &folder.join("practice.key"),
        pem("PRIVATE KEY", &client.key.to_pkcs8()?).as_bytes(),
    )?;
    let authorities = authorities.iter().map(X509::der);
    let cas: String = authorities
        .chain(roots.iter().map(Vec::as_slice))
        .map(|der| pem("CERTIFICATE", der))
        .collect();
    write_private(&folder.join("konnektor-ca.pem"), cas.as_bytes())
}
