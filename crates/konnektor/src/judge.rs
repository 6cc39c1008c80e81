//! Lists from outside are judged by a process of their own first: the same program with the code that would judge them here, without
//! rights to open anything, with little memory and time. A list on which that code dies, hangs or swells takes that process with it and
//! nothing else, and is refused. Its verdict does not matter: one that it comes to can be come to here too.

use crate::{Failure, Inner};
use asn1::X509;
use base::{Code, Timestamp, limits};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pki::space::{Origin, Record};
use pki::tsl::Tsl;
use pki::{How, Space};
use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// How long judging may take.
const LIMIT: Duration = Duration::from_secs(60);
/// Processor time for it, seconds.
const CPU: u64 = 30;
/// Memory for it, bytes; a hostile list of 13 MB takes 75 MB.
const MEMORY: u64 = 1 << 30;
/// Largest case: a few lists of each kind.
const CASE: u64 = 8 * limits::TSL as u64;
/// What Rust's programs end with after a panic.
const PANIC: i32 = 101;

/// What is to be judged.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Matter<'m> {
    /// A trust list.
    List(Cow<'m, str>),
    /// A revocation list, base64.
    Crl(String),
    /// A trusted list for qualified signatures.
    Vl(Cow<'m, str>),
    /// Networks beside the TI.
    Networks(Cow<'m, str>),
}

impl Matter<'_> {
    /// What a refusal is called.
    fn code(&self) -> Code {
        match self {
            Matter::List(_) => Code::TSL_FORMAT,
            Matter::Crl(_) => Code::CRL_INVALID,
            Matter::Vl(_) => Code::VL_IMPORT,
            Matter::Networks(_) => Code::LEGACY_NETWORKS,
        }
    }
}

/// It, with what it is judged by.
#[derive(Serialize, Deserialize)]
struct Case<'m> {
    matter: Matter<'m>,
    anchor: String,
    roots: Vec<String>,
    record: Record,
    now: Timestamp,
}

/// The process that judges: a case on standard input, a verdict or death. An error is neither: the case was not understood.
pub fn judge() -> Result<(), String> {
    let words = |error: &dyn std::fmt::Display| error.to_string();
    set(Resource::Data, MEMORY).map_err(|error| words(&error))?;
    set(Resource::Cpu, CPU).map_err(|error| words(&error))?;
    for nothing in [Resource::Nofile, Resource::Fsize, Resource::Core] {
        set(nothing, 0).map_err(|error| words(&error))?;
    }
    let mut text = String::new();
    let read = std::io::stdin().take(CASE).read_to_string(&mut text);
    read.map_err(|error| words(&error))?;
    let case: Case<'_> = serde_json::from_str(&text).map_err(|error| words(&error))?;
    let certificate = |text: &String| {
        let der = STANDARD.decode(text).map_err(|error| words(&error))?;
        X509::parse(&der).map_err(|error| words(&error))
    };
    let roots: Result<Vec<X509>, String> = case.roots.iter().map(certificate).collect();
    let origin = Origin {
        anchor: certificate(&case.anchor)?,
        roots: roots?,
    };
    let (space, _) = Space::open(case.record, Arc::new(origin), Duration::ZERO);
    match case.matter {
        Matter::List(xml) => {
            // also what a signer nobody knows would keep from being read
            drop(Tsl::read(&xml));
            // by hand more is looked at
            drop(space.offer_list(&xml, How::ByHand, case.now));
        }
        Matter::Crl(text) => {
            let der = STANDARD.decode(text).map_err(|error| words(&error))?;
            drop(space.offer_crl(&der, case.now));
        }
        Matter::Vl(xml) => drop(space.offer_vl(&xml, How::ByHand, case.now)),
        Matter::Networks(text) => drop(soap::inventory::Inventory::parse(&text)),
    }
    Ok(())
}

fn set(resource: Resource, most: u64) -> rustix::io::Result<()> {
    let most = Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    setrlimit(resource, most)
}

/// Has it died of the case?
fn died(status: ExitStatus) -> bool {
    status.signal().is_some() || status.code() == Some(PANIC)
}

impl Inner {
    /// Has a process of its own judge this first, where there is a program for it. A process that cannot be had refuses nothing: then it
    /// is judged here alone, as before.
    pub(crate) async fn judge_apart(&self, matter: Matter<'_>) -> Result<(), Failure> {
        let Some(program) = self.judge.get() else {
            return Ok(());
        };
        let code = matter.code();
        let anyway = |reason: &dyn std::fmt::Display| {
            tracing::warn!(%reason, "no process of its own to judge a list");
            Ok(())
        };
        let origin = &self.identities.origin;
        let base64 = |certificate: &X509| STANDARD.encode(certificate.der());
        let case = Case {
            matter,
            anchor: base64(&origin.anchor),
            roots: origin.roots.iter().map(base64).collect(),
            record: self.space().record().clone(),
            now: self.clock.now(),
        };
        let case = match serde_json::to_vec(&case) {
            Ok(case) => case,
            Err(error) => return anyway(&error),
        };
        let process = tokio::process::Command::new(program)
            .arg("judge")
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        let mut process = match process {
            Ok(process) => process,
            Err(error) => return anyway(&error),
        };
        let judging = async {
            if let Some(mut input) = process.stdin.take() {
                // one that dies while it is told says so by how it ends
                let _ = input.write_all(&case).await;
            }
            process.wait().await
        };
        let refused = |how: String| {
            let text = format!(
                "a process of its own that judged it {how}; the list is refused, what is in use stays"
            );
            Err(Failure::new(code, text))
        };
        match self.clock.timeout(LIMIT, judging).await {
            None => refused(format!("did not come to an end in {} s", LIMIT.as_secs())),
            Some(Ok(status)) if status.success() => Ok(()),
            Some(Ok(status)) if died(status) => refused(format!("died ({status})")),
            Some(Ok(status)) => anyway(&status),
            Some(Err(error)) => anyway(&error),
        }
    }
}
