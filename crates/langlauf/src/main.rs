//! The command line: one binary, every role a subcommand; nothing but wiring.

use anyhow::{Context, Result, bail};
use base::{Clock, SystemClock};
use clap::{Parser, Subcommand};
use konnektor::ClientAuthentication;
use langlauf::demo::{Step, Walk};
use langlauf::world::{Options, World};
use std::path::PathBuf;
use std::sync::Arc;
use terminal::simulator::page::Action;

/// Langlauf: an open TI-Konnektor with the whole test TI around it. Not approved by gematik or BSI.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Sets up test TI, virtual terminal and Konnektor, and walks through a practice's morning.
    Demo {
        /// Do everything without a person, then end.
        #[arg(long)]
        once: bool,
        /// Print each step as a line of JSON.
        #[arg(long)]
        json: bool,
        /// Where everything lies.
        #[arg(long, default_value = "demo")]
        folder: PathBuf,
        /// Use free ports instead of the fixed ones.
        #[arg(long)]
        free_ports: bool,
        /// Leave out RSA keys on the cards (faster).
        #[arg(long)]
        no_rsa: bool,
        /// Only start, without the walk.
        #[arg(long)]
        serve: bool,
    },
    /// Works a running virtual terminal, as a person would.
    Terminal {
        /// Address of its page.
        #[arg(long, default_value = "127.0.0.1:8600")]
        page: String,
        #[command(subcommand)]
        action: TerminalAction,
    },
    /// Calls the administration of a running Konnektor and prints its answer.
    Admin {
        /// Folder of the demo, for address and password.
        #[arg(long, default_value = "demo")]
        folder: PathBuf,
        /// Address of the administration.
        #[arg(long, default_value = "127.0.0.1:8500")]
        address: String,
        /// GET, POST, PUT or DELETE.
        method: String,
        /// Path, e.g. `/api/v1/state`.
        path: String,
        /// JSON body.
        body: Option<String>,
    },
}

#[derive(Subcommand)]
enum TerminalAction {
    /// Show display, slots and table.
    Show,
    /// Put a card from the table into a slot.
    Insert {
        /// Slot from 1.
        slot: u8,
        /// Name of the card.
        card: String,
    },
    /// Take the card out of a slot.
    Remove {
        /// Slot from 1.
        slot: u8,
    },
    /// Type a PIN and press enter.
    Type {
        /// The digits.
        digits: String,
    },
    /// Press enter.
    Enter,
    /// Press cancel.
    Cancel,
    /// Pull the network cable, or put it back.
    Network {
        /// `on` or `off`.
        state: String,
    },
}

#[tokio::main]
async fn main() -> Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "error".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    match Arguments::parse().role {
        Role::Demo {
            once,
            json,
            folder,
            free_ports,
            no_rsa,
            serve,
        } => {
            let options = Options {
                folder,
                fixed_ports: !free_ports,
                rsa: !no_rsa,
                client_authentication: ClientAuthentication::Certificate,
            };
            demo(&options, once, json, serve).await
        }
        Role::Terminal { page, action } => work_terminal(&page, action).await,
        Role::Admin {
            folder,
            address,
            method,
            path,
            body,
        } => administrate(&folder, &address, &method, &path, body).await,
    }
}

async fn demo(options: &Options, once: bool, json: bool, serve: bool) -> Result<()> {
    let clock: Arc<dyn Clock> = SystemClock::new();
    if !json {
        println!("Setting up the test TI in {} …", options.folder.display());
    }
    let world = World::start(options, clock.clone()).await?;
    let addresses = &world.addresses;
    if json {
        println!("{}", serde_json::to_string(addresses)?);
    } else {
        println!(
            "  Konnektor       https://{}  (connector.sds there)",
            addresses.konnektor
        );
        println!(
            "  administration  https://{}  (user admin, password in admin-password.txt)",
            addresses.admin
        );
        println!(
            "  terminal page   http://{}  (PIN of all cards: 123456)",
            addresses.page
        );
        println!("  test TI         http://{}\n", addresses.test_ti);
    }
    if !serve {
        let report = |step: &Step| match serde_json::to_string(step) {
            Ok(line) if json => println!("{line}"),
            _ => println!(
                "  ✓ {:<32} {:>8.1} ms   {}",
                step.step, step.milliseconds, step.result
            ),
        };
        if !once && !json {
            println!("Please work the terminal page: agree to the pairing (OK), later type the PIN.\n");
        }
        Walk::new(&world, &*clock, once, &report).run().await?;
    }
    if once {
        return Ok(());
    }
    if !json {
        println!("\nRunning. Press Ctrl-C to end; `make clean-demo` removes everything.");
    }
    tokio::signal::ctrl_c().await?;
    Ok(())
}

async fn work_terminal(page: &str, action: TerminalAction) -> Result<()> {
    let action = match action {
        TerminalAction::Show => {
            let state =
                pki::http::fetch("GET", &format!("http://{page}/state"), None, Vec::new(), 1 << 20).await?;
            let state: serde_json::Value = serde_json::from_slice(&state)?;
            println!("{}", serde_json::to_string_pretty(&state)?);
            return Ok(());
        }
        TerminalAction::Insert { slot, card } => Action::Insert { slot, card },
        TerminalAction::Remove { slot } => Action::Remove { slot },
        TerminalAction::Type { digits } => Action::Type { digits },
        TerminalAction::Enter => Action::Enter,
        TerminalAction::Cancel => Action::Cancel,
        TerminalAction::Network { state } => match state.as_str() {
            "on" => Action::Network { up: true },
            "off" => Action::Network { up: false },
            other => bail!("network must be on or off, not {other}"),
        },
    };
    let body = serde_json::to_vec(&action)?;
    let url = format!("http://{page}/action");
    pki::http::fetch("POST", &url, Some("application/json"), body, 1 << 20)
        .await
        .context("not possible now")?;
    Ok(())
}

async fn administrate(
    folder: &std::path::Path,
    address: &str,
    method: &str,
    path: &str,
    body: Option<String>,
) -> Result<()> {
    use base64::Engine;
    use http_body_util::BodyExt;
    let password =
        std::fs::read_to_string(folder.join("admin-password.txt")).context("password of the demo")?;
    let pem = std::fs::read_to_string(folder.join("konnektor-ca.pem")).context("CA of the demo")?;
    let authorities: Vec<asn1::X509> = pem
        .split("-----BEGIN CERTIFICATE-----")
        .filter_map(|block| block.split("-----END").next())
        .filter_map(|text| {
            let compact: String = text.split_whitespace().collect();
            asn1::X509::parse(&base64::engine::general_purpose::STANDARD.decode(compact).ok()?).ok()
        })
        .collect();
    let judge = Arc::new(move |chain: &[&[u8]]| {
        let shown =
            asn1::X509::parse(chain.first().ok_or("no certificate")?).map_err(|error| error.to_string())?;
        let known = authorities.iter().any(|ca| pki::signed_by(&shown, ca));
        if known {
            Ok(())
        } else {
            Err("not this Konnektor".to_owned())
        }
    });
    let tls = crypto::tls::client_config(None, judge)?;
    let socket: std::net::SocketAddr = address.parse()?;
    let stream = tokio::net::TcpStream::connect(socket).await?;
    let name = rustls::pki_types::ServerName::from(socket.ip());
    let stream = tokio_rustls::TlsConnector::from(tls)
        .connect(name, stream)
        .await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        // its end is seen by whoever waits for the answer
        let _ = connection.await;
    });
    let login = base64::engine::general_purpose::STANDARD.encode(format!("admin:{password}"));
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("Host", address)
        .header("Authorization", format!("Basic {login}"))
        .header("Content-Type", "application/json")
        .body(http_body_util::Full::new(hyper::body::Bytes::from(
            body.unwrap_or_default(),
        )))?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let text = response.into_body().collect().await?.to_bytes();
    println!("{}", String::from_utf8_lossy(&text));
    if !status.is_success() {
        bail!("HTTP {status}");
    }
    Ok(())
}
