//! The command line: one binary, every role a subcommand; nothing but wiring.

mod admin;
mod init;
mod release;
mod walk;

use admin::AdminAction;
use anyhow::{Context, Result};
use base::{Clock, SystemClock};
use clap::{Parser, Subcommand};
use konnektor::{ClientAuthentication, Konnektor};
use langlauf::demo::{Step, Walk};
use langlauf::world::{Options, World};
use langlauf::years::{self, Card, Fate, Material, Rule};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use terminal::simulator::Fault;
use terminal::simulator::page::Action;
use walk::RunbookAction;

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
        /// How practice systems authenticate.
        #[arg(long, value_enum, default_value = "certificate")]
        client_authentication: Authentication,
        /// A setting of the Konnektor that differs from the demo's, as in its file: `--set 'smb_unlock = true'`.
        #[arg(long, value_name = "SETTING")]
        set: Vec<String>,
        /// After the walk extend the certificates of the gSMC-K, which end soon in this world (folder `demo-extend`).
        #[arg(long)]
        extend: bool,
        /// Only start, without the walk.
        #[arg(long)]
        serve: bool,
        /// Only the test TI and the terminal; run `langlauf konnektor` beside it.
        #[arg(long)]
        no_konnektor: bool,
        /// Use the cards in the PC/SC readers of this machine as slots 1 to 3 (development only).
        #[arg(long)]
        pcsc: bool,
    },
    /// Runs a Konnektor.
    Konnektor {
        /// Its configuration.
        #[arg(long)]
        config: PathBuf,
        /// Administration only: the supervisor asks for it when nothing else can be booted.
        #[arg(long)]
        rescue: bool,
    },
    /// Writes a configuration to begin with, and prints the code with which the first administrator comes in.
    Init {
        /// Folder of the configuration.
        #[arg(long, default_value = "/etc/langlauf")]
        folder: PathBuf,
        /// Folder of the state.
        #[arg(long, default_value = "/var/lib/langlauf/state")]
        state: PathBuf,
        /// A demo world (`langlauf demo`) whose Konnektor this is to be: its identities and settings are taken over.
        #[arg(long)]
        from: Option<PathBuf>,
    },
    /// Prints a code with which the first administrator comes in once, and sets password and second factor anew.
    FirstLogin {
        /// Configuration of the Konnektor.
        #[arg(long)]
        config: PathBuf,
    },
    /// Judges a list on standard input, without rights to anything; a Konnektor starts it.
    #[command(hide = true)]
    Judge,
    /// Changes this machine's network for a Konnektor that has no rights to: charon, packet filter, routes, names, time.
    NetworkHelper {
        /// Where it is asked; the socket belongs to this process's user and group.
        #[arg(long, default_value = "/run/langlauf/network.sock")]
        socket: PathBuf,
        /// Folder of the daemons.
        #[arg(long, default_value = "/run/langlauf/network")]
        folder: PathBuf,
        /// Folder of charon, `vpn.folder` of the Konnektor; without it there is no charon.
        #[arg(long)]
        charon: Option<PathBuf>,
        /// charon enciphers by itself: for machines whose kernel has no ESP, tests only.
        #[arg(long)]
        user_space: bool,
        /// Certificates may be named by where they lie (`vpn.hash_and_url`): charon fetches them over HTTP.
        #[arg(long)]
        hash_and_url: bool,
        /// What stands before every program, word by word: `--prefix ip --prefix netns --prefix exec --prefix NAME`.
        #[arg(long, value_name = "WORD")]
        prefix: Vec<String>,
    },
    /// Puts a virtual card into a PC/SC reader that does not exist (Debian's vsmartcard-vpcd): for other PC/SC programs.
    Card {
        /// Card image, e.g. from `demo/cards`.
        image: PathBuf,
        /// Where the driver listens.
        #[arg(long, default_value_t = SocketAddr::from(([127, 0, 0, 1], card::vpcd::PORT)))]
        driver: SocketAddr,
    },
    /// Works a running virtual terminal, as a person would.
    Terminal {
        /// Address of its page.
        #[arg(long, default_value = "127.0.0.1:8600")]
        page: String,
        #[command(subcommand)]
        action: TerminalAction,
    },
    /// Lives the years of a gSMC-K day by day, with faults drawn from seeds, and says on which day something did not work.
    Calendar {
        /// Which cards.
        #[arg(long, value_enum, default_value = "all")]
        card: CardKind,
        /// How long.
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=15))]
        years: u32,
        /// How many lives of each card.
        #[arg(long, default_value_t = 20)]
        seeds: u64,
        /// The first seed.
        #[arg(long, default_value_t = 0)]
        first: u64,
        /// Nothing goes wrong.
        #[arg(long)]
        fair: bool,
        /// The rules of a device that failed instead of ours.
        #[arg(long, value_enum, default_value = "ours")]
        rule: RuleChoice,
        /// The whole instance with every wire instead of its rules (elliptic card, at most seven years, minutes a life).
        #[arg(long)]
        whole: bool,
        /// Print what happened in the last life, day by day.
        #[arg(long)]
        timeline: bool,
        /// Draw the last life as a picture.
        #[arg(long)]
        svg: Option<PathBuf>,
    },
    /// Builds, signs and publishes releases.
    Release {
        #[command(subcommand)]
        action: release::ReleaseAction,
    },
    /// Walks the chain from a running Konnektor to the services of the TI, and says what is wrong and whose it is to mend it.
    Doctor {
        /// Folder of the demo, for certificate and CA.
        #[arg(long, default_value = "demo")]
        folder: PathBuf,
        /// Address of the administration.
        #[arg(long, default_value = "127.0.0.1:8500")]
        address: SocketAddr,
        /// All of it as JSON, for support: nothing in it is secret or personal.
        #[arg(long)]
        json: bool,
    },
    /// Administers a running Konnektor and prints its answers.
    Admin {
        /// Folder of the demo, for certificate and CA.
        #[arg(long, default_value = "demo")]
        folder: PathBuf,
        /// Address of the administration.
        #[arg(long, default_value = "127.0.0.1:8500")]
        address: SocketAddr,
        #[command(subcommand)]
        action: AdminAction,
    },
    /// Check lists, walked step by step: what the device looks at, what a person confirms, the way back, a signed record.
    Runbook {
        /// Folder of the demo, for certificate and CA.
        #[arg(long, default_value = "demo")]
        folder: PathBuf,
        /// Address of the administration.
        #[arg(long, default_value = "127.0.0.1:8500")]
        address: SocketAddr,
        #[command(subcommand)]
        action: RunbookAction,
    },
}

#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
enum CardKind {
    All,
    Rsa,
    Dual,
    Ecc,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum RuleChoice {
    Ours,
    /// 27 May 2020: only the trust anchor that it was made with is believed.
    OneAnchor,
    /// September 2023: what is fetched is used at once.
    AtOnce,
    /// 1 January 2025: from a certain day on firmware must be young.
    HiddenDate,
    /// 4 July 2025: a search that finds nothing puts the extended certificates out of use.
    LatestFlag,
    /// January 2026: a registration is made once, whoever signed it.
    SameSigner,
}

impl From<RuleChoice> for Rule {
    fn from(choice: RuleChoice) -> Self {
        match choice {
            RuleChoice::Ours => Rule::Ours,
            RuleChoice::OneAnchor => Rule::OneAnchor,
            RuleChoice::AtOnce => Rule::AtOnce,
            RuleChoice::HiddenDate => Rule::HiddenDate,
            RuleChoice::LatestFlag => Rule::LatestFlag,
            RuleChoice::SameSigner => Rule::SameSigner,
        }
    }
}

/// What is to be shown of lives.
struct Shown<'p> {
    whole: bool,
    timeline: bool,
    svg: Option<&'p Path>,
}

/// Lives of the cards, `seeds` of each, and what they came to. Fails if something that should have worked did not.
async fn calendar(
    cards: CardKind,
    fate: Fate,
    seeds: std::ops::Range<u64>,
    shown: Shown<'_>,
    clock: &dyn Clock,
) -> Result<()> {
    let material = Material::make(fate.years)?;
    let (mut days, mut failed, mut last) = (0, 0, None);
    let started = clock.elapsed();
    for (kind, card) in [
        (CardKind::Rsa, Card::Rsa),
        (CardKind::Dual, Card::Dual),
        (CardKind::Ecc, Card::Ecc),
    ] {
        // with RSA alone no whole instance has had a way into the TI since 2026
        let all = cards == CardKind::All && (!shown.whole || kind != CardKind::Rsa);
        if !all && cards != kind {
            continue;
        }
        let (mut extensions, mut excused, mut bad) = (0, 0, 0);
        for seed in seeds.clone() {
            let fate = Fate { card, seed, ..fate };
            let report = match shown.whole {
                true => {
                    let folder = tempfile::tempdir()?;
                    let say = |day: i64| {
                        if day % 365 == 0 {
                            println!("  seed {seed}: {} years are over", day / 365);
                        }
                    };
                    years::live_whole(folder.path(), &fate, &say).await?
                }
                false => years::live(&material, &fate)?,
            };
            days += report.days.len();
            extensions += report.extensions;
            excused += report
                .days
                .iter()
                .filter(|day| day.tunnel == years::Light::Excused)
                .count();
            if let Some((day, what)) = report.violations.first() {
                bad += 1;
                println!(
                    "  {card}, seed {seed}: {} violations, the first on day {day}: {what}",
                    report.violations.len()
                );
            }
            last = Some((fate, report));
        }
        println!(
            "{card}: {} lives of {} years, {extensions} extensions, {bad} lives with a violation, \
             {excused} days without tunnel that nobody can help",
            seeds.clone().count(),
            fate.years
        );
        failed += bad;
    }
    let seconds = clock.elapsed().saturating_sub(started).as_secs_f64();
    println!(
        "{days} days in {seconds:.1} s: {:.0} days a second",
        days as f64 / seconds
    );
    if let Some((fate, report)) = last {
        if shown.timeline {
            let mut lines: Vec<_> = report
                .events
                .iter()
                .map(|(day, text)| (*day, text.clone()))
                .collect();
            lines.extend(
                report
                    .violations
                    .iter()
                    .map(|(day, text)| (*day, format!("!! {text}"))),
            );
            lines.sort_by_key(|(day, _)| *day);
            for (day, text) in lines {
                let date = material.at(day * identity::DAY)?.strftime("%Y-%m-%d").to_string();
                println!("{day:5}  {date}  {text}");
            }
        }
        if let Some(path) = shown.svg {
            std::fs::write(path, years::picture(&report, &fate))
                .with_context(|| path.display().to_string())?;
        }
    }
    anyhow::ensure!(failed == 0, "{failed} lives with a violation");
    Ok(())
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Authentication {
    Certificate,
    Password,
    None,
}

impl From<Authentication> for ClientAuthentication {
    fn from(choice: Authentication) -> Self {
        match choice {
            Authentication::Certificate => Self::Certificate,
            Authentication::Password => Self::Password,
            Authentication::None => Self::None,
        }
    }
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
    /// Press correction.
    Correct,
    /// Pull the network cable, or put it back.
    Network {
        /// In?
        state: OnOff,
    },
    /// Let something go wrong, or nothing.
    Fault {
        /// What.
        kind: FaultKind,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum OnOff {
    On,
    Off,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum FaultKind {
    None,
    CardGarbage,
    CardSilence,
    BrokenEnvelope,
}

/// Does standard error go into the journal? The variable alone is inherited by whatever a service starts.
fn is_journal() -> bool {
    use std::os::unix::fs::MetadataExt;
    let named = std::env::var("JOURNAL_STREAM").ok();
    let own = std::fs::metadata("/proc/self/fd/2").ok();
    let own = own.map(|own| format!("{}:{}", own.dev(), own.ino()));
    named.is_some() && named == own
}

/// What the program says about itself: as fields into the journal when systemd has started it, else as text.
fn start_log() {
    use tracing_subscriber::prelude::*;
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "error".into());
    let journal = is_journal().then(|| tracing_journald::layer().ok()).flatten();
    let text = journal
        .is_none()
        .then(|| tracing_subscriber::fmt::layer().with_writer(std::io::stderr));
    tracing_subscriber::registry()
        .with(filter)
        .with(journal)
        .with(text)
        .init();
}

#[tokio::main]
async fn main() -> Result<()> {
    start_log();
    match Arguments::parse().role {
        Role::Demo {
            once,
            json,
            folder,
            free_ports,
            no_rsa,
            client_authentication,
            set,
            extend,
            serve,
            no_konnektor,
            pcsc,
        } => {
            let mut settings: toml::Table = set.join("\n").parse().context("--set")?;
            let (mut folder, mut gsmc_k_days) = (folder, 1826);
            if extend {
                // its certificates end in five months; what happens by itself would be faster than the eye
                gsmc_k_days = 150;
                let by_hand = toml::Table::from_iter([("automatic".to_owned(), false.into())]);
                settings.insert("lifetime".into(), by_hand.into());
                if folder == Path::new("demo") {
                    folder = "demo-extend".into();
                }
            }
            let options = Options {
                fixed_ports: !free_ports,
                rsa: !no_rsa,
                client_authentication: client_authentication.into(),
                settings,
                konnektor: !no_konnektor,
                gsmc_k_days,
                ..Options::demo(folder)
            };
            let show = Show {
                once,
                json,
                walk: !(serve || no_konnektor || pcsc),
                extend,
                pcsc,
            };
            demo(&options, show).await
        }
        Role::Konnektor {
            config,
            rescue: false,
        } => run_konnektor(&config).await,
        Role::Konnektor { config, rescue: true } => run_rescue(&config).await,
        Role::Judge => konnektor::judge::judge().map_err(anyhow::Error::msg),
        Role::Init { folder, state, from } => init::run(&folder, &state, from.as_deref()),
        Role::FirstLogin { config } => first_login(&config),
        Role::NetworkHelper {
            socket,
            folder,
            charon,
            user_space,
            hash_and_url,
            prefix,
        } => {
            let setup = charon.map(|folder| network::Setup {
                hash_and_url,
                path: match user_space {
                    true => network::DataPath::UserSpace,
                    false => network::DataPath::Kernel,
                },
                ..network::Setup::new(folder)
            });
            help_network(&socket, folder, setup, prefix).await
        }
        Role::Card { image, driver } => serve_card(&image, driver),
        Role::Terminal { page, action } => work_terminal(&page, action).await,
        Role::Calendar {
            card,
            years,
            seeds,
            first,
            fair,
            rule,
            whole,
            timeline,
            svg,
        } => {
            let fate = Fate {
                card: Card::Ecc,
                years,
                seed: first,
                faults: !fair,
                rule: rule.into(),
            };
            let clock = SystemClock::new();
            let shown = Shown {
                whole,
                timeline,
                svg: svg.as_deref(),
            };
            calendar(card, fate, first..first + seeds, shown, &*clock).await
        }
        Role::Release { action } => release::run(action).await,
        Role::Doctor {
            folder,
            address,
            json,
        } => admin::doctor(&folder, address, json).await,
        Role::Admin {
            folder,
            address,
            action,
        } => admin::run(&folder, address, action).await,
        Role::Runbook {
            folder,
            address,
            action,
        } => walk::run(&folder, address, action).await,
    }
}

/// Until Ctrl-C or SIGTERM.
async fn until_told() -> Result<()> {
    let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        ended = tokio::signal::ctrl_c() => Ok(ended?),
        _ = term.recv() => Ok(()),
    }
}

fn serve_card(image: &Path, driver: SocketAddr) -> Result<()> {
    let mut card = langlauf::world::open_card(image)?;
    let stream = std::net::TcpStream::connect(driver)
        .with_context(|| format!("{driver}: is pcscd running with vsmartcard-vpcd?"))?;
    println!("{} is in the reader at {driver}", image.display());
    Ok(card::vpcd::serve(&mut card, stream)?)
}

async fn help_network(
    socket: &Path,
    folder: PathBuf,
    mut charon: Option<network::Setup>,
    prefix: Vec<String>,
) -> Result<()> {
    let clock = SystemClock::new();
    if let Some(setup) = &mut charon {
        setup.command.splice(0..0, prefix.clone());
    }
    let machine = Arc::new(network::Machine::new(prefix, folder, clock.clone()));
    tokio::select! {
        outcome = network::run_helper(socket, machine, charon, clock) => Ok(outcome?),
        outcome = until_told() => outcome,
    }
}

/// Whoever may write into the state owns the device.
fn first_login(config: &Path) -> Result<()> {
    let text = std::fs::read_to_string(config).with_context(|| config.display().to_string())?;
    let settings = konnektor::Config::parse(&text)?;
    let folder = config.parent().unwrap_or(Path::new("."));
    let store = store::Store::open_beside(&folder.join(&settings.store))?;
    let code = konnektor::users::invite_first(&store).map_err(|f| anyhow::anyhow!(f.detail()))?;
    println!("{}: {code}", konnektor::users::FIRST);
    Ok(())
}

async fn bind(address: SocketAddr) -> Result<tokio::net::TcpListener> {
    let listener = tokio::net::TcpListener::bind(address).await;
    listener.with_context(|| format!("{address}"))
}

/// The pages for people, where they are wanted.
async fn serve_pages(konnektor: &Konnektor) -> Result<()> {
    let Some(address) = konnektor.pages() else {
        return std::future::pending().await;
    };
    let listener = bind(address).await?;
    let router = web::router(konnektor.administration());
    konnektor.serve_https(listener, router).await.context("pages")
}

async fn run_konnektor(config: &Path) -> Result<()> {
    let clock = SystemClock::new();
    let konnektor = Konnektor::open(config, clock.clone()).map_err(|f| anyhow::anyhow!(f.detail()))?;
    // this program, whatever lies at its place by then
    konnektor.judge_by(Path::new("/proc/self/exe"));
    let (listen, listen_admin) = konnektor.addresses();
    let (clients, administrators) = (bind(listen).await?, bind(listen_admin).await?);
    let pages = konnektor
        .pages()
        .map(|address| format!(", pages https://{address}"));
    let pages = pages.unwrap_or_default();
    // one line: whoever has started this may read no further
    println!("Konnektor https://{listen}, administration https://{listen_admin}{pages}");
    let mut serving = std::pin::pin!(konnektor.serve(clients));
    tokio::select! {
        ended = &mut serving => return Ok(ended?),
        ended = konnektor.serve_admin(administrators) => return Ok(ended?),
        ended = serve_pages(&konnektor) => return ended,
        ended = until_told() => ended?,
    }
    // what was accepted is answered, then everything ends
    konnektor.close();
    if clock.timeout(DRAIN, serving).await.is_none() {
        tracing::warn!("requests were still being served");
    }
    konnektor.stop();
    Ok(())
}

/// Administration only, on the doors it always has.
async fn run_rescue(config: &Path) -> Result<()> {
    let (konnektor, code) =
        Konnektor::rescue(config, SystemClock::new()).map_err(|f| anyhow::anyhow!(f.detail()))?;
    let (_, administration) = konnektor.addresses();
    println!("rescue: only administration, https://{administration}");
    if let Some(file) = code {
        println!(
            "the state cannot be opened; come in once as {} with the code in {}",
            konnektor::users::FIRST,
            file.display()
        );
    }
    let administrators = bind(administration).await?;
    tokio::select! {
        ended = konnektor.serve_admin(administrators) => Ok(ended?),
        ended = serve_pages(&konnektor) => ended,
        ended = until_told() => ended,
    }
}

/// How long requests may take that are being served when the process is told to end; the supervisor and systemd wait longer.
const DRAIN: std::time::Duration = std::time::Duration::from_secs(25);

/// What the demo shows.
struct Show {
    /// Everything without a person, then the end.
    once: bool,
    /// Lines of JSON.
    json: bool,
    /// The walk through a practice's morning.
    walk: bool,
    /// After it the lifetime extension.
    extend: bool,
    /// Cards in PC/SC readers.
    pcsc: bool,
}

async fn demo(options: &Options, show: Show) -> Result<()> {
    let Show { once, json, pcsc, .. } = show;
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
        println!("  pages           https://{}", addresses.pages);
        println!(
            "  terminal page   http://{}  (PIN of all cards: 123456)",
            addresses.page
        );
        println!("  test TI         http://{}\n", addresses.test_ti);
    }
    let mut readers = None;
    if pcsc {
        readers = Some(terminal::pcsc::attach(world.terminal.clone()).context("PC/SC: is pcscd running?")?);
        println!(
            "Cards in PC/SC readers appear in slots 1 to 3. This is no eHealth terminal: test cards only."
        );
    }
    if show.walk {
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
        let walk = Walk::new(&world, &*clock, once, &report);
        walk.run().await?;
        if show.extend {
            if !json {
                println!();
            }
            walk.extend().await?;
        }
    }
    if once {
        return Ok(());
    }
    if !json {
        println!("\nRunning. Press Ctrl-C to end; `make clean-demo` removes everything.");
    }
    until_told().await?;
    drop(readers);
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
        TerminalAction::Correct => Action::Correct,
        TerminalAction::Network { state } => Action::Network {
            up: state == OnOff::On,
        },
        TerminalAction::Fault { kind } => Action::Fault {
            kind: match kind {
                FaultKind::None => None,
                FaultKind::CardGarbage => Some(Fault::CardGarbage),
                FaultKind::CardSilence => Some(Fault::CardSilence),
                FaultKind::BrokenEnvelope => Some(Fault::BrokenEnvelope),
            },
        },
    };
    let body = serde_json::to_vec(&action)?;
    let url = format!("http://{page}/action");
    pki::http::fetch("POST", &url, Some("application/json"), body, 1 << 20)
        .await
        .context("not possible now")?;
    Ok(())
}
