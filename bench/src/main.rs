//! `make bench`: figures as ratios against a peer or a limit measured in the same run, with their spread.

mod documents;
mod process;
mod trust;

use anyhow::{Context, Result};
use base::{Clock, SystemClock};
use crypto::tls::{self, ClientCertificate, Identity, PeerVerifier};
use crypto::{Curve, EcPrivate, SoftKey};
use e2e::Morning;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use langlauf::practice::{Operation, connect};
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

pub(crate) const ROUNDS: usize = 5;

pub(crate) fn spread(mut figures: Vec<f64>) -> (f64, f64, f64) {
    figures.sort_by(f64::total_cmp);
    let at = |index: usize| figures.get(index).copied().unwrap_or_default();
    (at(figures.len() / 2), at(0), at(figures.len().saturating_sub(1)))
}

pub(crate) fn report(name: &str, (median, low, high): (f64, f64, f64), unit: &str, goal: &str) {
    println!("{name:<58} {median:>9.2} {unit:<4} ({low:.2} to {high:.2})   goal {goal}");
}

#[tokio::main]
async fn main() -> Result<()> {
    let clock = SystemClock::new();
    signatures(&*clock)?;
    documents::formats(&*clock)?;
    trust::figures(&clock).await?;
    let morning = Morning::after_the_walk().await?;
    get_cards(&morning, &*clock).await?;
    read_vsd(&morning, &*clock).await?;
    documents::services(&morning, &*clock).await?;
    drop(morning);
    process::figures(&*clock).await?;
    Ok(())
}

pub(crate) fn per_second(clock: &dyn Clock, work: impl Fn() -> Result<()>) -> Result<f64> {
    let started = clock.elapsed();
    let mut count = 0u32;
    while clock.elapsed() - started < Duration::from_secs(1) {
        for _ in 0..50 {
            work()?;
        }
        count += 50;
    }
    Ok(f64::from(count) / (clock.elapsed() - started).as_secs_f64())
}

/// brainpoolP256r1 signatures against OpenSSL's own `speed`, round by round.
fn signatures(clock: &dyn Clock) -> Result<()> {
    let key = EcPrivate::generate(Curve::BrainpoolP256r1)?;
    let hash = crypto::sha256([b"bench"]);
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let mine = per_second(clock, || Ok(key.sign_prehash(&hash).map(drop)?))?;
        let output = Command::new("openssl")
            .args(["speed", "-seconds", "1", "ecdsabrp256r1"])
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = text
            .lines()
            .rfind(|line| line.contains("brainpoolP256r1"))
            .context("openssl speed")?;
        let columns: Vec<&str> = line.split_whitespace().collect();
        let theirs: f64 = columns.iter().rev().nth(1).context("openssl speed")?.parse()?;
        ratios.push(mine / theirs);
    }
    report(
        "brainpoolP256r1 signatures / OpenSSL",
        spread(ratios),
        "x",
        ">= 3",
    );
    Ok(())
}

pub(crate) async fn load(
    senders: &mut [SendRequest<Full<Bytes>>],
    path: &str,
    body: &str,
    clock: &dyn Clock,
) -> Result<f64> {
    let started = clock.elapsed();
    let mut count = 0u32;
    while clock.elapsed() - started < Duration::from_secs(1) {
        for sender in senders.iter_mut() {
            let request = http::Request::post(path)
                .header("Host", "127.0.0.1")
                .header("Content-Type", "text/xml")
                .body(Full::new(Bytes::from(body.to_owned())))?;
            sender.ready().await?;
            sender.send_request(request).await?.into_body().collect().await?;
            count += 1;
        }
    }
    Ok(f64::from(count) / (clock.elapsed() - started).as_secs_f64())
}

/// A bare HTTPS echo with the same TLS and HTTP setup.
async fn echo() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let key = SoftKey::Ec(EcPrivate::generate(Curve::NistP256)?);
    let clock = SystemClock::new();
    let to = clock.now().checked_add(Duration::from_secs(86_400))?;
    let issuer = langlauf::world::self_signed("Langlauf bench", key.clone(), clock.now(), to)?;
    let identity = Identity {
        chain: vec![issuer],
        key,
    };
    let config = rustls::ServerConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(PeerVerifier::clients(
            Arc::new(|_, _| Ok(())),
            ClientCertificate::None,
        ))
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(tls::certified(
            &identity,
        )?)));
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                let service =
                    hyper::service::service_fn(|request: http::Request<hyper::body::Incoming>| async move {
                        let body = request.into_body().collect().await?.to_bytes();
                        Ok::<_, hyper::Error>(http::Response::new(Full::new(body)))
                    });
                // a broken connection ends the measurement
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    Ok(address)
}

/// GetCards against the bare echo, alternating, over one and over 32 keep-alive connections.
async fn get_cards(morning: &Morning, clock: &dyn Clock) -> Result<()> {
    let echo = echo().await?;
    let body = langlauf::practice::message(Operation::GetCards { card_type: None });
    for connections in [1usize, 32] {
        let (mut ours, mut bare) = (Vec::new(), Vec::new());
        for _ in 0..connections {
            ours.push(
                connect(
                    morning.world.addresses.konnektor,
                    morning.world.practice.identity(),
                    Arc::new(|_, _| Ok(())),
                )
                .await?,
            );
            bare.push(connect(echo, None, Arc::new(|_, _| Ok(()))).await?);
        }
        let mut ratios = Vec::new();
        for _ in 0..ROUNDS {
            let mine = load(&mut ours, "/ws/EventService", &body, clock).await?;
            let theirs = load(&mut bare, "/", &body, clock).await?;
            ratios.push(mine / theirs);
        }
        report(
            &format!("GetCards / HTTPS echo, {connections} connection(s)"),
            spread(ratios),
            "x",
            ">= 0.7",
        );
    }
    Ok(())
}

async fn read_vsd(morning: &Morning, clock: &dyn Clock) -> Result<()> {
    let practice = &morning.world.practice;
    let egk = practice.cards("EGK").await?.pop().context("eGK")?;
    let smcb = practice.cards("SMC-B").await?.pop().context("SMC-B")?;
    let mut figures = Vec::new();
    let before = morning.world.terminal.card_commands();
    for _ in 0..40 {
        let request = Operation::ReadVsd {
            ehc: &egk,
            hpc: &smcb,
            online: false,
            receipt: false,
        };
        let started = clock.elapsed();
        let answer = practice.call(request).await?;
        figures.push((clock.elapsed() - started).as_secs_f64() * 1000.0);
        anyhow::ensure!(answer.fault().is_none(), "{}", answer.body);
    }
    let commands = (morning.world.terminal.card_commands() - before) as f64 / 40.0;
    report(
        "APDUs of one ReadVSD offline",
        (commands, commands, commands),
        "",
        "-",
    );
    report(
        "ReadVSD offline with a new TLS connection",
        spread(figures),
        "ms",
        "<= 50",
    );
    Ok(())
}
