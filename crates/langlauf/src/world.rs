//! The demo world: test TI, virtual terminal with cards, and a Konnektor, in one process on loopback addresses.
//! Everything is made at the first start, lies in one folder, and is the same at the next.

use crate::practice::Practice;
use crate::vault::{Vault, read_json, read_or_make, write_private};
use anyhow::{Context, Result};
use asn1::X509;
use base::Clock;
use base::id::Iccsn;
use card::cos::{StateFile, VirtualCard};
use card::image;
use crypto::tls::Identity;
use crypto::{Curve, SoftKey, pem};
use identity::Role;
use konnektor::config::{IdentityFiles, TerminalConfig};
use konnektor::lifetime::LifetimeSettings;
use konnektor::model::{Access, ClientSystem, Mandant, Model, User, Workplace};
use konnektor::protocol::{Level, LogSettings};
use konnektor::{ClientAuthentication, Config, Konnektor};
use pki::issue::{Authority, Name, profile};
use serde::Serialize;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use terminal::simulator::{self, VirtualTerminal};
use testti::cards::{self, Holder, Options as CardOptions};
use testti::configuration::Configuration;
use testti::person::Person;
use testti::registrar::Registrar;
use testti::services::Ledger;
use testti::tsp::{Issuers, Tsp};
use testti::vsdm::Vsdm;
use testti::{Publisher, SavedKeys, TestPki};
use tokio::net::{TcpListener, UdpSocket};

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
    /// Settings of the Konnektor that differ from the demo's.
    pub settings: toml::Table,
    /// With a Konnektor in this process, or only what is around it.
    pub konnektor: bool,
    /// Days that the certificates of the gSMC-K last.
    pub gsmc_k_days: u32,
    /// Where practice systems find the Konnektor; everything else is on this machine only.
    pub listen: Ipv4Addr,
}

impl Options {
    /// The world of `make demo`: fixed ports, RSA and elliptic keys, client certificates, a Konnektor.
    pub fn demo(folder: PathBuf) -> Self {
        Self {
            folder,
            fixed_ports: true,
            rsa: true,
            client_authentication: ClientAuthentication::Certificate,
            settings: toml::Table::new(),
            konnektor: true,
            gsmc_k_days: 1826,
            listen: Ipv4Addr::LOCALHOST,
        }
    }
}

/// Where everything listens.
#[derive(Debug, Clone, Serialize)]
pub struct Addresses {
    /// The Konnektor, HTTPS.
    pub konnektor: SocketAddr,
    /// Its administration, HTTPS.
    pub admin: SocketAddr,
    /// Its pages for people, HTTPS.
    pub pages: SocketAddr,
    /// The terminal's SICCT service.
    pub terminal: SocketAddr,
    /// The terminal's page, HTTP.
    pub page: SocketAddr,
    /// Where the Konnektor hears terminals announce themselves, UDP.
    pub announcements: SocketAddr,
    /// Trust list and OCSP, HTTP.
    pub test_ti: SocketAddr,
    /// The VSDM intermediary, HTTPS.
    pub vsdm: SocketAddr,
    /// The TSL service for the trusted list, HTTPS.
    pub tsl_service: SocketAddr,
    /// The VPN access service's registration server, HTTPS.
    pub access: SocketAddr,
    /// The configuration service, HTTPS.
    pub configuration: SocketAddr,
}

/// A running world.
pub struct World {
    /// Where everything listens.
    pub addresses: Addresses,
    /// The terminal.
    pub terminal: VirtualTerminal,
    device: Option<Device>,
    /// The Konnektor's configuration file; `langlauf konnektor` runs another process from it.
    pub config: PathBuf,
    /// The insurers' services.
    pub vsdm: Vsdm,
    /// The CAs and CV roots behind everything.
    pub pki: TestPki,
    /// The book behind the OCSP responder.
    pub ledger: Ledger,
    /// Who publishes trust lists, revocation lists and trusted lists.
    pub publisher: Publisher,
    /// Certificate of the TSL service, DER.
    pub tsl_service: Vec<u8>,
    /// The TSP of the gSMC-K with its download point.
    pub tsp: Tsp,
    /// The VPN access service.
    pub registrar: Registrar,
    /// The configuration service.
    pub ksr: Configuration,
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

/// The Konnektor of this process, switched on.
struct Device {
    konnektor: Konnektor,
    tasks: [tokio::task::JoinHandle<()>; 3],
}

impl Device {
    fn start(config: &Path, clock: Arc<dyn Clock>, [https, admin, pages]: [TcpListener; 3]) -> Result<Self> {
        let konnektor = Konnektor::open(config, clock).map_err(|f| anyhow::anyhow!(f.detail()))?;
        let (one, other, third) = (konnektor.clone(), konnektor.clone(), konnektor.clone());
        let log = |ended: std::io::Result<()>, name: &str| {
            if let Err(error) = ended {
                tracing::error!(%error, "{name} ended");
            }
        };
        let tasks = [
            tokio::spawn(async move { log(one.serve(https).await, "Konnektor") }),
            tokio::spawn(async move { log(other.serve_admin(admin).await, "administration") }),
            tokio::spawn(async move {
                let router = web::router(third.administration());
                log(third.serve_https(pages, router).await, "pages")
            }),
        ];
        Ok(Self { konnektor, tasks })
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
        self.konnektor.stop();
    }
}

/// Number of the eGK in every demo world.
pub const EGK: &str = "80276009990000000001";
/// Number of the SMC-B.
pub const SMC_B: &str = "80276009990000000002";
/// Number of the HBA.
pub const HBA: &str = "80276009990000000003";
const GSMC_KT: &str = "80276009990000000009";
/// Number of the gSMC-K.
pub const GSMC_K: &str = "80276009990000000010";
/// ContractID of the practice with its VPN access service.
pub const CONTRACT: &str = "LANGLAUF-TEST-1";
/// User of the practice system where it authenticates by password.
pub const PRACTICE_USER: &str = "pvs";
const CONFIG_HEAD: &str = "# Written by `langlauf demo` at every start. Copy it before you change it, and run the copy with\n\
    # `langlauf konnektor --config ...` beside `langlauf demo --no-konnektor`.\n\n";
/// CtId of the terminal.
pub const TERMINAL: &str = "KT1";

/// Settings over settings; a table changes only what it names.
fn merge(settings: &mut toml::Table, changes: &toml::Table) {
    for (key, change) in changes {
        match (settings.get_mut(key), change) {
            (Some(toml::Value::Table(inner)), toml::Value::Table(changes)) => merge(inner, changes),
            _ => {
                settings.insert(key.clone(), change.clone());
            }
        }
    }
}

async fn listen(address: Ipv4Addr, fixed: bool, port: u16) -> Result<TcpListener> {
    let port = if fixed { port } else { 0 };
    TcpListener::bind((address, port))
        .await
        .with_context(|| format!("port {port} on {address} is taken: is another demo running?"))
}

/// The card with this image; its state lies beside it.
pub fn open_card(image: &Path) -> Result<VirtualCard> {
    let text = std::fs::read_to_string(image).with_context(|| image.display().to_string())?;
    let system = image::read(&text).with_context(|| image.display().to_string())?;
    let memory = StateFile::at(image.with_extension("state"));
    Ok(VirtualCard::new(system, Box::new(memory))?)
}

/// The card `name` of the folder, made if it is not there yet.
fn make_card(
    folder: &Path,
    name: &str,
    make: impl FnOnce() -> Result<image::ObjectSystem>,
) -> Result<VirtualCard> {
    let path = folder.join(format!("{name}.xml"));
    if !path.exists() {
        write_private(&path, image::write(&make()?).as_bytes())?;
    }
    open_card(&path)
}

impl World {
    /// Sets everything up and starts it. Cards lie on the table; nothing is paired yet the first time.
    pub async fn start(options: &Options, clock: Arc<dyn Clock>) -> Result<Self> {
        let folder = &options.folder;
        std::fs::create_dir_all(folder.join("cards"))?;
        let ti = listen(Ipv4Addr::LOCALHOST, options.fixed_ports, 9000).await?;
        let vsdm_listener = listen(Ipv4Addr::LOCALHOST, options.fixed_ports, 9001).await?;
        let tls_listener = listen(Ipv4Addr::LOCALHOST, options.fixed_ports, 9002).await?;
        let access_listener = listen(Ipv4Addr::LOCALHOST, options.fixed_ports, 9003).await?;
        let configuration_listener = listen(Ipv4Addr::LOCALHOST, options.fixed_ports, 9004).await?;
        let sicct = listen(Ipv4Addr::LOCALHOST, options.fixed_ports, 4742).await?;
        let page = listen(Ipv4Addr::LOCALHOST, options.fixed_ports, 8600).await?;
        let https = listen(options.listen, options.fixed_ports, 8443).await?;
        let admin = listen(Ipv4Addr::LOCALHOST, options.fixed_ports, 8500).await?;
        let pages = listen(Ipv4Addr::LOCALHOST, options.fixed_ports, 8501).await?;
        let announcements = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addresses = Addresses {
            konnektor: https.local_addr()?,
            admin: admin.local_addr()?,
            pages: pages.local_addr()?,
            terminal: sicct.local_addr()?,
            page: page.local_addr()?,
            announcements: announcements.local_addr()?,
            test_ti: ti.local_addr()?,
            vsdm: vsdm_listener.local_addr()?,
            tsl_service: tls_listener.local_addr()?,
            access: access_listener.local_addr()?,
            configuration: configuration_listener.local_addr()?,
        };
        // the Konnektor binds it itself
        drop(announcements);
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

        let vault = Vault::open(folder.join("identities"))?;
        let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
        // made at once, kept one by one
        let fresh = match vault.path("sak").exists() {
            true => None,
            false => Some(pki.konnektor(GSMC_K, &[localhost], options.gsmc_k_days, options.rsa)?),
        };
        let own = |name: &str, pick: fn(&testti::KonnektorIdentities) -> &Identity| {
            vault.identity(name, || {
                let all = fresh
                    .as_ref()
                    .with_context(|| format!("{name}.pem is missing, but sak.pem is there"))?;
                Ok(pick(all).clone())
            })
        };
        let mut rsa = Vec::new();
        for role in Role::ALL {
            let name = rsa_name(role);
            let mut made = fresh.iter().flat_map(|all| &all.rsa);
            let made = made.find(|(of, _)| *of == role);
            if made.is_some() || vault.path(name).exists() {
                let identity = || Ok(made.context(name)?.1.clone());
                rsa.push((role, vault.identity(name, identity)?));
            }
        }
        let identities = testti::KonnektorIdentities {
            ak_brainpool: own("ak-brainpool", |all| &all.ak_brainpool)?,
            ak_nist: own("ak-nist", |all| &all.ak_nist)?,
            nk: own("nk", |all| &all.nk)?,
            rsa,
            sak: own("sak", |all| &all.sak)?,
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
        let egk = make_card(&cards_folder, "eGK Loipengruen", || {
            Ok(cards::egk(
                &pki,
                &number(EGK)?,
                &person,
                clock.now(),
                &card_options,
            )?)
        })?;
        let smcb = make_card(&cards_folder, "SMC-B Praxis", || {
            Ok(cards::smcb(
                &pki,
                &number(SMC_B)?,
                &holder("Praxis Dr. Spur TEST-ONLY", "1-2SPUR0001"),
                &card_options,
            )?)
        })?;
        let hba = make_card(&cards_folder, "HBA Dr. Spur", || {
            Ok(cards::hba(
                &pki,
                &number(HBA)?,
                &holder("Dr. Sigrid Spur TEST-ONLY", "1-1SPUR0001"),
                &card_options,
            )?)
        })?;
        let mut smkt = None;
        let kt = make_card(&cards_folder, "gSMC-KT", || {
            let (system, identity) = cards::gsmc_kt(&pki, &number(GSMC_KT)?)?;
            smkt = Some(identity);
            Ok(system)
        })?;
        let smkt = vault.identity("smkt", || {
            smkt.context("smkt.pem is missing, but the gSMC-KT exists")
        })?;
        let gsmc_k = make_card(&cards_folder, "gSMC-K", || {
            Ok(cards::gsmc_k(&pki, &number(GSMC_K)?, &identities)?)
        })?;
        let client = client_identity(&vault, "practice", clock.now())?;
        let administrator = client_identity(&vault, "administrator", clock.now())?;

        let vsdm = Vsdm::new(clock.clone());
        vsdm.register(EGK, egk.system(), &person);
        for card in [&egk, &smcb, &hba, &kt, &gsmc_k] {
            ledger.register_card(card.system());
        }
        let elliptic = [
            &identities.ak_brainpool,
            &identities.ak_nist,
            &identities.sak,
            &identities.nk,
        ];
        let with_rsa = identities.rsa.iter().map(|(_, identity)| identity);
        for identity in elliptic.into_iter().chain(with_rsa) {
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
        let tsl_service = pki.component(
            Curve::BrainpoolP256r1,
            &profile::ZD_TLS_S,
            asn1::oid::ROLE_TSL_TI,
            "tsl.langlauf.test",
            &["localhost"],
            &[localhost],
        )?;
        let registration = pki.component(
            Curve::BrainpoolP256r1,
            &profile::ZD_TLS_S,
            asn1::oid::ROLE_VPNZ_TI,
            "registrierung.langlauf.test",
            &["localhost"],
            &[localhost],
        )?;
        let configuration = pki.component(
            Curve::BrainpoolP256r1,
            &profile::ZD_TLS_S,
            asn1::oid::ROLE_CONFIGURATION,
            "konfiguration.langlauf.test",
            &["localhost"],
            &[localhost],
        )?;
        for identity in [&intermediary, &tsl_service, &registration, &configuration] {
            identity
                .chain
                .first()
                .into_iter()
                .for_each(|der| ledger.register(der));
        }
        let institution_ca = X509::parse(&pki.smcb_ca.certificate)?;
        let component_cas = [&pki.component_ca, &pki.component_ca_nist];
        let component_cas = component_cas.map(|ca| X509::parse(&ca.certificate));
        let registrar = Registrar::new(
            clock.clone(),
            ledger.clone(),
            CONTRACT,
            component_cas.into_iter().collect::<Result<_, _>>()?,
            institution_ca.clone(),
        );
        spawn(
            "VPN access",
            Box::pin(registrar.clone().serve(access_listener, registration)),
        );
        let tsp = Tsp::default();
        tsp.add(
            GSMC_K,
            identities.package(gsmc_k.system()),
            &["konnektor.konlan", "localhost"],
            &[localhost],
        );
        spawn(
            "VSDM",
            Box::pin(vsdm.clone().serve(vsdm_listener, intermediary, institution_ca)),
        );
        let publisher = Publisher::new(
            &pki,
            clock.clone(),
            &format!("http://{}", addresses.test_ti),
            &format!("https://{}", addresses.tsl_service),
        )?;
        ledger.register(&pki.tsl.certificate);
        let tsl_certificate = tsl_service.chain.first().cloned().unwrap_or_default();
        let router = testti::services::router(ledger.clone(), publisher.clone());
        let router = router.merge(tsp.router(pki.clone()));
        spawn(
            "TSL service",
            Box::pin(testti::services::serve_files(
                tls_listener,
                tsl_service,
                publisher.clone(),
                ledger.clone(),
            )),
        );
        let ksr = Configuration::default();
        spawn(
            "configuration service",
            Box::pin(
                ksr.clone()
                    .serve(configuration_listener, configuration, ledger.clone()),
            ),
        );
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

        write_client_files(folder, &client, &konnektor_cas, pki.anchors())?;
        write_private(
            &vault.path("trust-anchor"),
            pem::encode("CERTIFICATE", &pki.tsl.ca.certificate)?.as_bytes(),
        )?;
        let roots = pki.anchors().iter().map(|der| pem::encode("CERTIFICATE", der));
        let roots: Vec<_> = roots.collect::<Result<_, _>>()?;
        let roots: String = roots.iter().map(|text| text.as_str()).collect();
        write_private(&vault.path("roots"), roots.as_bytes())?;
        let random_text = || Ok(hex::encode(crypto::random::<12>()?));
        let admin_password = read_or_make(&folder.join("admin-password.txt"), random_text)?;
        let practice_password = read_or_make(&folder.join("practice-password.txt"), random_text)?;
        let file = |name: &str| PathBuf::from(format!("identities/{name}.pem"));
        let rsa_file = |role| {
            let mut all = identities.rsa.iter();
            all.any(|(of, _)| *of == role).then(|| file(rsa_name(role)))
        };
        let config = Config {
            store: "konnektor".into(),
            identities: IdentityFiles {
                ak_brainpool: file("ak-brainpool"),
                ak_nist: file("ak-nist"),
                sak: file("sak"),
                nk: Some(file("nk")),
                ak_rsa: rsa_file(Role::AkAut),
                sak_rsa: rsa_file(Role::SakAut),
                nk_rsa: rsa_file(Role::NkVpn),
                trust_anchor: file("trust-anchor"),
                roots: Some(file("roots")),
                gsmc_k: Some("cards/gSMC-K.xml".into()),
                iccsn: GSMC_K.into(),
            },
            admin_certificates: [fingerprint(&administrator)].into(),
            admin_password_file: Some("admin-password.txt".into()),
            client_authentication: options.client_authentication,
            online: true,
            tsl_url: Some(format!("http://{}/TSL.xml", addresses.test_ti)),
            tsl_internet_urls: vec![format!("http://{}/internet/TSL.xml", addresses.test_ti)],
            crl_urls: vec![format!("http://{}/internet/VPN.crl", addresses.test_ti)],
            vsdm_url: Some(format!("https://{}", addresses.vsdm)),
            lifetime: LifetimeSettings {
                download: Some(format!("http://{}{}", addresses.test_ti, testti::tsp::FOLDER)),
                registration: Some(format!("https://{}/", addresses.access)),
                contract: Some(CONTRACT.into()),
                ..LifetimeSettings::default()
            },
            keep_alive_seconds: 5,
            announcements: addresses.announcements,
            log: LogSettings {
                system_level: Level::Info,
                vsdm_level: Level::Info,
                ..LogSettings::default()
            },
            terminals: vec![TerminalConfig {
                id: TERMINAL.parse()?,
                name: TERMINAL.into(),
                mac,
                address: addresses.terminal,
            }],
            model: demo_model(&fingerprint(&client), &practice_password)?,
            listen_pages: Some(addresses.pages),
            update: konnektor::update::UpdateSettings {
                ksr: Some(konnektor::update::KsrSettings {
                    terminals: false,
                    list: format!(
                        "https://{}{}",
                        addresses.configuration,
                        testti::configuration::LIST
                    ),
                    firmware: format!(
                        "https://{}{}",
                        addresses.configuration,
                        testti::configuration::FIRMWARE
                    ),
                    vendor: "LLAUF".into(),
                    code: "LANGLAUF".into(),
                    hardware: "1.0.0".into(),
                    download: true,
                }),
                ..Default::default()
            },
            ..Config::minimal(addresses.konnektor, addresses.admin)
        };
        let config_path = folder.join("konnektor.toml");
        let mut settings = toml::Table::try_from(&config)?;
        merge(&mut settings, &options.settings);
        let text = format!("{CONFIG_HEAD}{settings}");
        write_private(&config_path, text.as_bytes())?;
        let device = match options.konnektor {
            true => Some(Device::start(&config_path, clock, [https, admin, pages])?),
            false => None,
        };
        let login = match options.client_authentication {
            ClientAuthentication::Password => Some((PRACTICE_USER.to_owned(), practice_password)),
            _ => None,
        };
        let shown = match options.client_authentication {
            ClientAuthentication::Certificate => Some(client),
            _ => None,
        };
        let practice = Practice::new(addresses.konnektor, shown, konnektor_cas.clone()).with_login(login);
        Ok(Self {
            addresses,
            terminal,
            device,
            config: config_path,
            vsdm,
            pki,
            ledger,
            publisher,
            tsl_service: tsl_certificate,
            tsp,
            registrar,
            ksr,
            practice,
            authorities: konnektor_cas,
            admin_password,
            tasks,
        })
    }

    /// Who would certify a generation of the gSMC-K with the CAs there are.
    pub fn issuers(&self) -> Issuers {
        Issuers {
            brainpool: self.pki.component_ca.clone(),
            nist: self.pki.component_ca_nist.clone(),
            cvc: self.pki.cvc_device.clone(),
        }
    }

    /// The TSP publishes the next package for the gSMC-K, valid from now for so many days.
    pub fn reissue(&self, issuers: &Issuers, now: base::Timestamp, days: u32) -> Result<()> {
        let to = now.checked_add(Duration::from_secs(86_400 * u64::from(days)))?;
        let from = now.checked_sub(Duration::from_secs(86_400))?;
        let package = self.tsp.reissue(GSMC_K, issuers, from, to)?;
        package
            .certificates
            .values()
            .for_each(|der| self.ledger.register(der));
        Ok(())
    }

    /// The Konnektor of this process.
    pub fn konnektor(&self) -> Result<&Konnektor> {
        let device = self.device.as_ref();
        let device = device.context("this world was started without a Konnektor")?;
        Ok(&device.konnektor)
    }

    /// Pulls the Konnektor's plug and puts it in again; everything around it goes on.
    pub async fn power_cut(&mut self, clock: Arc<dyn Clock>) -> Result<()> {
        self.power_off();
        self.power_on(clock).await
    }

    /// Pulls the Konnektor's plug.
    pub fn power_off(&mut self) {
        self.device = None;
    }

    /// Puts the Konnektor's plug in.
    pub async fn power_on(&mut self, clock: Arc<dyn Clock>) -> Result<()> {
        let bind = async |address: SocketAddr| {
            loop {
                match TcpListener::bind(address).await {
                    // the listener of before is gone when its task has been dropped
                    Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                        tokio::task::yield_now().await
                    }
                    other => return other,
                }
            }
        };
        let addresses = &self.addresses;
        let listeners = [
            bind(addresses.konnektor).await?,
            bind(addresses.admin).await?,
            bind(addresses.pages).await?,
        ];
        self.device = Some(Device::start(&self.config, clock, listeners)?);
        Ok(())
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

/// File of an identity with an RSA key.
fn rsa_name(role: Role) -> &'static str {
    match role {
        Role::AkAut => "ak-rsa",
        Role::SakAut => "sak-rsa",
        Role::NkVpn => "nk-rsa",
    }
}

fn fingerprint(identity: &Identity) -> String {
    hex::encode(crypto::sha256(identity.chain.first()))
}

fn demo_model(client_certificate: &str, password: &str) -> Result<Model> {
    let password_hash = konnektor::password::hash(password).map_err(|f| anyhow::anyhow!(f.detail()))?;
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
            users: vec![User {
                name: PRACTICE_USER.into(),
                password_hash,
            }],
        }],
        workplaces: vec![Workplace {
            id: workplace,
            local_terminals: [TERMINAL.parse()?].into(),
            remote_terminals: Default::default(),
        }],
    })
}

/// A client's certificate, registered by its hash.
fn client_identity(vault: &Vault, name: &str, now: base::Timestamp) -> Result<Identity> {
    let made = || konnektor::clients::client_identity(name, now).map_err(|f| anyhow::anyhow!(f.detail()));
    vault.identity(name, made)
}

/// A self-signed certificate, for servers outside the TI.
pub fn self_signed(name: &str, key: SoftKey, from: base::Timestamp, to: base::Timestamp) -> Result<Vec<u8>> {
    Ok(Authority::root(Name::new("Langlauf TEST-ONLY", name), key, "", from, to)?.certificate)
}

/// Certificate, key and CAs as PEM for curl, openssl and practice systems.
fn write_client_files(
    folder: &Path,
    client: &Identity,
    authorities: &[X509],
    roots: &[Vec<u8>],
) -> Result<()> {
    let certificates = |ders: &mut dyn Iterator<Item = &[u8]>| {
        let texts = ders.map(|der| pem::encode("CERTIFICATE", der));
        let texts: Vec<_> = texts.collect::<Result<_, _>>()?;
        Ok::<String, anyhow::Error>(texts.iter().map(|text| text.as_str()).collect())
    };
    let chain = certificates(&mut client.chain.iter().map(Vec::as_slice))?;
    write_private(&folder.join("practice.crt"), chain.as_bytes())?;
    let key = pem::encode("PRIVATE KEY", &client.key.to_pkcs8()?)?;
    write_private(&folder.join("practice.key"), key.as_bytes())?;
    let roots = roots.iter().map(Vec::as_slice);
    let cas = certificates(&mut authorities.iter().map(X509::der).chain(roots))?;
    write_private(&folder.join("konnektor-ca.pem"), cas.as_bytes())
}
