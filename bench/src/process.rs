//! A Konnektor as a process of its own: cold start, memory with ten terminals, and what a handshake costs it, against
//! OpenSSL's server in the same run.

use crate::{ROUNDS, report, spread};
use anyhow::{Context, Result, ensure};
use base::Clock;
use base::id::Mac;
use crypto::tls::{self, Identity, PeerVerifier};
use crypto::{Curve, EcPrivate, SoftKey};
use e2e::{Morning, Station};
use http_body_util::Full;
use langlauf::practice::{connect, issued_by};
use rustls::ClientConfig;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use terminal::simulator::Key;
use tokio::net::TcpStream;

const LIMIT: Duration = Duration::from_secs(30);
const TERMINALS: u8 = 10;
const HANDSHAKES: usize = 200;

/// A process that ends with its handle.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // it may have ended by itself
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    fn start(command: &mut Command) -> Result<Self> {
        let quiet = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Ok(Self(quiet.spawn().with_context(|| format!("{command:?}"))?))
    }

    fn proc(&self, file: &str) -> Result<String> {
        Ok(std::fs::read_to_string(format!("/proc/{}/{file}", self.0.id()))?)
    }

    /// Resident memory in MiB.
    fn memory(&self) -> Result<f64> {
        let status = self.proc("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: f64 = line
            .and_then(|rest| rest.trim().split(' ').next())
            .context("VmRSS")?
            .parse()?;
        Ok(kib / 1024.0)
    }

    /// CPU time in seconds, of all its threads.
    fn cpu(&self) -> Result<f64> {
        let stat = self.proc("schedstat");
        let mut total = 0.0;
        for task in std::fs::read_dir(format!("/proc/{}/task", self.0.id()))? {
            let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
            let nanoseconds: f64 = text.split(' ').next().context("schedstat")?.parse()?;
            total += nanoseconds / 1e9;
        }
        stat.map(|_| total)
    }
}

fn binary() -> Result<std::path::PathBuf> {
    let own = std::env::current_exe()?;
    let path = own.with_file_name("langlauf");
    ensure!(path.exists(), "{} is missing: use `make bench`", path.display());
    Ok(path)
}

/// A configuration like the world's, but with addresses, state, terminals and a client of its own.
struct Setup {
    config: std::path::PathBuf,
    listen: SocketAddr,
    admin: SocketAddr,
}

async fn free() -> Result<SocketAddr> {
    Ok(tokio::net::TcpListener::bind("127.0.0.1:0").await?.local_addr()?)
}

async fn set_up(morning: &Morning, stations: &[Station], client: &Identity) -> Result<Setup> {
    let mut config: toml::Table = std::fs::read_to_string(&morning.world.config)?.parse()?;
    let (listen, admin) = (free().await?, free().await?);
    let mut set = |key: &str, value: toml::Value| config.insert(key.into(), value);
    set("listen", listen.to_string().into());
    set("listen_admin", admin.to_string().into());
    set("announcements", "127.0.0.1:0".into());
    set("store", "bench".into());
    let terminals = stations.iter().zip(1..).map(|(station, number)| {
        let mac = Mac([2, 0x4C, 0x4C, 0, 2, number]).to_string();
        let entries = [
            ("id", format!("B{number}")),
            ("name", format!("B{number}")),
            ("mac", mac),
            ("address", station.address.to_string()),
        ];
        let entries = entries.map(|(key, value)| (key.to_owned(), toml::Value::from(value)));
        toml::Value::Table(entries.into_iter().collect())
    });
    set("terminals", terminals.collect::<Vec<_>>().into());
    let fingerprint = hex::encode(crypto::sha256(client.chain.first()));
    let certificates = config
        .get_mut("model")
        .and_then(|model| model.get_mut("client_systems"))
        .and_then(|systems| systems.get_mut(0))
        .and_then(|system| system.get_mut("certificates"))
        .and_then(toml::Value::as_array_mut)
        .context("client system")?;
    certificates.push(fingerprint.into());
    let path = morning.folder.path().join("bench.toml");
    std::fs::write(&path, config.to_string())?;
    Ok(Setup {
        config: path,
        listen,
        admin,
    })
}

async fn answers(address: SocketAddr, identity: &Identity, path: &str) -> Result<u16> {
    let mut sender = connect(address, Some(identity), Arc::new(|_, _| Ok(()))).await?;
    let request = http::Request::get(path)
        .header("Host", address.to_string())
        .body(Full::default())?;
    Ok(sender.send_request(request).await?.status().as_u16())
}

/// Starts the process and waits for its first answered `connector.sds`; how long that took in milliseconds.
async fn start(setup: &Setup, client: &Identity, clock: &dyn Clock) -> Result<(Process, f64)> {
    let started = clock.elapsed();
    let process = Process::start(
        Command::new(binary()?)
            .args(["konnektor", "--config"])
            .arg(&setup.config),
    )?;
    let waiting = async {
        while answers(setup.listen, client, "/connector.sds").await.ok() != Some(200) {
            clock.sleep(Duration::from_millis(1)).await;
        }
    };
    clock.timeout(LIMIT, waiting).await.context("no answer")?;
    Ok((process, (clock.elapsed() - started).as_secs_f64() * 1000.0))
}

/// All figures of a Konnektor process.
pub async fn figures(clock: &dyn Clock) -> Result<()> {
    let morning = Morning::with(|options| options.konnektor = false).await?;
    let mut stations = Vec::new();
    for number in 1..=TERMINALS {
        let mac = Mac([2, 0x4C, 0x4C, 0, 2, number]);
        stations.push(Station::start(&morning, &format!("B{number}"), mac, &["EGK", "HBA", "SMC-B"]).await?);
    }
    let now = clock.now();
    let to = now.checked_add(Duration::from_secs(86_400))?;
    let key = SoftKey::Ec(EcPrivate::generate(Curve::BrainpoolP256r1)?);
    let client = Identity {
        chain: vec![langlauf::world::self_signed(
            "Langlauf bench",
            key.clone(),
            now,
            to,
        )?],
        key,
    };
    let setup = set_up(&morning, &stations, &client).await?;
    memory(&morning, &stations, &setup, &client, clock).await?;
    // what was paired connects while it starts, as in a practice
    let mut starts = Vec::new();
    for _ in 0..ROUNDS {
        let (process, milliseconds) = start(&setup, &client, clock).await?;
        starts.push(milliseconds);
        drop(process);
    }
    let spread = spread(starts);
    report(
        "cold start of the process to connector.sds",
        spread,
        "ms",
        "< 300",
    );
    drop(stations);
    handshakes(&morning, &setup, &client, clock).await
}

/// Pairs the terminals over the administration and looks at the memory when every card is known.
async fn memory(
    morning: &Morning,
    stations: &[Station],
    setup: &Setup,
    client: &Identity,
    clock: &dyn Clock,
) -> Result<()> {
    let (process, _) = start(setup, client, clock).await?;
    let administrator = morning.folder.path().join("identities/administrator.pem");
    let administrator = Identity::from_pem(&std::fs::read_to_string(administrator)?)?;
    let authorities = Arc::new(morning.world.authorities.clone());
    let call = async |method: &str, path: String, body: &'static str| {
        let judge = issued_by(authorities.clone());
        let mut sender = connect(setup.admin, Some(&administrator), judge).await?;
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("Host", setup.admin.to_string())
            .header("Content-Type", "application/json")
            .body(Full::from(body))?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let text = http_body_util::BodyExt::collect(response.into_body())
            .await?
            .to_bytes();
        anyhow::Ok((status, String::from_utf8_lossy(&text).into_owned()))
    };
    // the trust list must be there before anybody can be believed
    let trusting = async {
        while !call("GET", "/api/v1/trust".into(), "")
            .await
            .is_ok_and(|(_, text)| text.contains("\"list\":{"))
        {
            clock.sleep(Duration::from_millis(20)).await;
        }
    };
    clock.timeout(LIMIT, trusting).await.context("trust list")?;
    for (station, number) in stations.iter().zip(1..) {
        let pairing = call("POST", format!("/api/v1/terminals/B{number}/pair"), "{}");
        let (paired, ()) = tokio::join!(pairing, async {
            station.terminal.wait_for_prompt().await;
            station.terminal.press(Key::Enter);
        });
        let (status, text) = paired?;
        ensure!(status.is_success(), "{text}");
    }
    let everything = async {
        while call("GET", "/api/v1/cards".into(), "")
            .await
            .map_or(0, |(_, text)| text.matches("\"handle\"").count())
            < usize::from(TERMINALS) * 4
        {
            clock.sleep(Duration::from_millis(50)).await;
        }
    };
    clock.timeout(LIMIT, everything).await.context("40 cards")?;
    let mut figures = Vec::new();
    for _ in 0..ROUNDS {
        clock.sleep(Duration::from_secs(1)).await;
        figures.push(process.memory()?);
    }
    let name = format!("memory of an idle Konnektor, {TERMINALS} terminals, 40 cards");
    report(&name, spread(figures), "MiB", "< 40");
    Ok(())
}

/// TLS 1.2, brainpool certificates on both sides, brainpool key agreement, nothing resumed.
fn brainpool_client(client: &Identity) -> Result<Arc<ClientConfig>> {
    let mut provider = (*tls::provider()).clone();
    provider
        .kx_groups
        .retain(|group| group.name() == rustls::NamedGroup::Unknown(26));
    let key = tls::certified(client)?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS12])?
        .dangerous()
        .with_custom_certificate_verifier(PeerVerifier::servers(Arc::new(|_, _| Ok(()))))
        .with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(key)));
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

/// Handshakes a server can do in a second of its own CPU time.
async fn per_core_second(server: &Process, address: SocketAddr, config: &Arc<ClientConfig>) -> Result<f64> {
    let before = server.cpu()?;
    for _ in 0..HANDSHAKES {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let name = rustls::pki_types::ServerName::from(address.ip());
        let stream = tokio_rustls::TlsConnector::from(config.clone())
            .connect(name, stream)
            .await?;
        ensure!(stream.get_ref().1.peer_certificates().is_some());
    }
    Ok(HANDSHAKES as f64 / (server.cpu()? - before))
}

/// OpenSSL's server with the same certificates.
async fn openssl(folder: &Path, client: &Identity) -> Result<(Process, SocketAddr)> {
    let address = free().await?;
    std::fs::write(folder.join("bench-client.pem"), client.to_pem()?.as_bytes())?;
    let server = folder.join("identities/ak-brainpool.pem");
    let process = Process::start(
        Command::new("openssl")
            .args(["s_server", "-accept", &address.to_string(), "-tls1_2", "-quiet"])
            .args([
                "-groups",
                "brainpoolP256r1",
                "-no_ticket",
                "-Verify",
                "1",
                "-CAfile",
            ])
            .arg(folder.join("bench-client.pem"))
            .arg("-cert")
            .arg(&server)
            .arg("-key")
            .arg(&server),
    )?;
    Ok((process, address))
}

async fn handshakes(morning: &Morning, setup: &Setup, client: &Identity, clock: &dyn Clock) -> Result<()> {
    let config = brainpool_client(client)?;
    let (ours, _) = start(setup, client, clock).await?;
    let (theirs, their_address) = openssl(morning.folder.path(), client).await?;
    let listening = async {
        while TcpStream::connect(their_address).await.is_err() {
            clock.sleep(Duration::from_millis(10)).await;
        }
    };
    clock
        .timeout(LIMIT, listening)
        .await
        .context("openssl s_server")?;
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let mine = per_core_second(&ours, setup.listen, &config).await?;
        let other = per_core_second(&theirs, their_address, &config).await?;
        ratios.push(mine / other);
    }
    report(
        "brainpool mTLS handshakes per core-second / OpenSSL",
        spread(ratios),
        "x",
        ">= 2.5",
    );
    Ok(())
}
