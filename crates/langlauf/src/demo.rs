//! The walk of the demo: pair, insert, GetCards, VerifyPin, ReadVSD offline, ReadVSD online with an update, sign as a
//! doctor, verify.

use crate::practice::{Answer, Operation};
use crate::world::{EGK, GSMC_K, TERMINAL, World};
use anyhow::{Context, Result, bail, ensure};
use base::Clock;
use base64::Engine;
use flate2::read::GzDecoder;
use konnektor::lifetime::ByHand;
use serde::Serialize;
use std::io::Read;
use std::time::Duration;
use terminal::simulator::Key;
use testti::person::Person;

/// One step with its result.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// What was done.
    pub step: &'static str,
    /// What came out.
    pub result: String,
    /// How long it took.
    pub milliseconds: f64,
}

/// The walk, step by step; `report` sees each as it is done.
pub struct Walk<'w> {
    world: &'w World,
    clock: &'w dyn Clock,
    /// Does the walk press the keys itself?
    alone: bool,
    report: &'w dyn Fn(&Step),
}

const PATIENCE: Duration = Duration::from_secs(15);
const PERSON: Duration = Duration::from_secs(300);
/// Who is logged in at the practice system.
const DOCTOR: &str = "Dr. Spur";
/// PIN of all demo cards.
pub(crate) const PIN: &str = "123456";

impl<'w> Walk<'w> {
    /// A walk through this world.
    pub fn new(world: &'w World, clock: &'w dyn Clock, alone: bool, report: &'w dyn Fn(&Step)) -> Self {
        Self {
            world,
            clock,
            alone,
            report,
        }
    }

    async fn step(&self, step: &'static str, work: impl Future<Output = Result<String>>) -> Result<()> {
        let started = self.clock.elapsed();
        let result = work.await.context(step)?;
        let milliseconds = self.clock.elapsed().saturating_sub(started).as_secs_f64() * 1000.0;
        (self.report)(&Step {
            step,
            result,
            milliseconds,
        });
        Ok(())
    }

    /// Waits for a prompt at the terminal and answers it, or lets a person do so.
    async fn at_the_pad(&self, keys: &[Key]) -> Result<()> {
        let prompt = self.world.terminal.wait_for_prompt();
        self.clock
            .timeout(PATIENCE, prompt)
            .await
            .context("the terminal asked for nothing")?;
        if self.alone {
            keys.iter().for_each(|key| self.world.terminal.press(key.clone()));
        }
        Ok(())
    }

    /// All steps.
    pub async fn run(&self) -> Result<()> {
        self.step("connector.sds", self.directory()).await?;
        self.step("pair the terminal", self.pair()).await?;
        self.step("insert eGK, HBA and SMC-B", self.insert()).await?;
        self.step("GetCardTerminals", self.terminals()).await?;
        self.step("GetCards", self.cards()).await?;
        self.step("VerifyPin PIN.SMC", self.verify_pin()).await?;
        self.step("ReadVSD offline", self.read(false)).await?;
        let mut moved = Person::example();
        moved.street = "Neuschneegasse".into();
        moved.number = "12b".into();
        self.world.vsdm.set_pending(EGK, moved);
        self.step("ReadVSD online with an update", self.read(true))
            .await?;
        let letter = ["Frau Loipengrün darf wieder langlaufen."];
        self.step("SignDocument with HBA, verify", self.sign(&letter))
            .await
    }

    /// The lifetime extension, step by step with its proofs; the certificates of this world's gSMC-K are near their end.
    pub async fn extend(&self) -> Result<()> {
        self.step("certificates of the gSMC-K", async { self.ends() })
            .await?;
        self.step("the TSP publishes a package", self.publish()).await?;
        self.step("TUC_KON_410: fetch and check", self.fetch()).await?;
        self.step("TUC_KON_411: register beside", self.by_hand(ByHand::Register))
            .await?;
        self.step("prove before use", self.prove()).await?;
        self.step("use it first", self.by_hand(ByHand::Activate)).await?;
        self.step(
            "show it to practice systems",
            self.by_hand(|newest| ByHand::ShowClients(Some(newest))),
        )
        .await?;
        self.step("ReadVSD with the new one", self.read(false)).await?;
        self.step("and one step back", self.by_hand(|_| ByHand::ShowClients(None)))
            .await
    }

    fn ends(&self) -> Result<String> {
        let view = self.world.konnektor()?.inner().lifetime_view();
        let text = |path| {
            view.pointer(path)
                .and_then(|value| value.as_str())
                .unwrap_or_default()
        };
        let (end, begins) = (text("/generations/0/certificates/0/to"), text("/search_begins"));
        Ok(format!("end {}, search since {}", day(end), day(begins)))
    }

    async fn publish(&self) -> Result<String> {
        self.world
            .reissue(&self.world.issuers(), self.clock.now(), 5 * 365)?;
        Ok("new certificates over the old keys, five years".into())
    }

    async fn fetch(&self) -> Result<String> {
        let inner = self.world.konnektor()?.inner();
        failed(inner.lifetime_by_hand(ByHand::Fetch).await)?;
        // taking it in once more asks for the status now instead of within the hour
        let package = self.world.tsp.published(GSMC_K).context("no package")?;
        failed(
            inner
                .lifetime_by_hand(ByHand::Import(package.write(GSMC_K)?))
                .await,
        )?;
        self.stage()
    }

    async fn by_hand(&self, action: impl FnOnce(u32) -> ByHand) -> Result<String> {
        let inner = self.world.konnektor()?.inner();
        let (newest, _) = self.newest()?;
        failed(inner.lifetime_by_hand(action(newest)).await)?;
        self.stage()
    }

    /// Number and view of the newest generation.
    fn newest(&self) -> Result<(u32, serde_json::Value)> {
        let view = self.world.konnektor()?.inner().lifetime_view();
        let all = view.get("generations").and_then(|all| all.as_array());
        let all = all.context("generations")?;
        let number = u32::try_from(all.len())?.saturating_sub(1);
        Ok((number, all.last().cloned().unwrap_or_default()))
    }

    async fn prove(&self) -> Result<String> {
        self.by_hand(ByHand::Probe).await?;
        let (_, newest) = self.newest()?;
        let probes = newest
            .pointer("/families/0/probes")
            .and_then(|all| all.as_array());
        let probes = probes.into_iter().flatten().map(|probe| {
            let mark = match probe.get("outcome") {
                Some(serde_json::Value::String(_)) => "✓",
                Some(outcome) if outcome.get("skipped").is_some() => "–",
                _ => "✗",
            };
            format!(
                "{} {mark}",
                probe
                    .get("name")
                    .and_then(|name| name.as_str())
                    .unwrap_or_default()
            )
        });
        Ok(probes.collect::<Vec<_>>().join(", "))
    }

    fn stage(&self) -> Result<String> {
        let view = self.world.konnektor()?.inner().lifetime_view();
        let (number, newest) = self.newest()?;
        let stage = newest
            .pointer("/families/0/stage")
            .and_then(|stage| stage.as_str());
        let shown = view.pointer("/clients/P-256").and_then(|shown| shown.as_u64());
        Ok(format!(
            "generation {number} {}; practice systems see {}",
            stage.unwrap_or("missing"),
            shown.unwrap_or_default()
        ))
    }

    async fn directory(&self) -> Result<String> {
        let answer = self.world.practice.directory().await?;
        ensure!(answer.status == 200, "HTTP {}", answer.status);
        let versions = answer.body.matches("<SI:Version ").count();
        Ok(format!("{} services, {versions} versions", soap::SERVICES.len()))
    }

    async fn pair(&self) -> Result<String> {
        let id = TERMINAL.parse()?;
        let inner = self.world.konnektor()?.inner();
        self.world
            .wait_for("trust list", PATIENCE, self.clock, async || {
                inner.trust().is_some()
            })
            .await?;
        let known = self.world.is_paired();
        if !known {
            let limit = if self.alone { PATIENCE } else { PERSON };
            let pairing = self.clock.timeout(limit, inner.pair(&id, None));
            let (paired, pressed) = tokio::join!(pairing, self.at_the_pad(&[Key::Enter]));
            pressed?;
            paired
                .context("nobody agreed")?
                .map_err(|failure| anyhow::anyhow!("{} {}", failure.code(), failure.detail()))?;
        }
        self.wait_until("terminal connected", async |world: &World| {
            let answer = world.practice.call(Operation::GetCardTerminals).await;
            answer.is_ok_and(|answer| answer.texts("Connected") == ["true"])
        })
        .await?;
        Ok(if known {
            "was paired, connected".into()
        } else {
            "paired and connected".into()
        })
    }

    async fn wait_until(&self, what: &str, condition: impl AsyncFn(&World) -> bool) -> Result<()> {
        self.world
            .wait_for(what, PATIENCE, self.clock, async || condition(self.world).await)
            .await
    }

    async fn insert(&self) -> Result<String> {
        for (slot, name) in [(1, "eGK Loipengrün"), (2, "HBA Dr. Spur"), (3, "SMC-B Praxis")] {
            self.world.terminal.insert(slot, name)?;
        }
        self.wait_until("cards recognised", async |world: &World| {
            let answer = world.practice.call(Operation::GetCards { card_type: None }).await;
            answer.is_ok_and(|answer| answer.texts("CardHandle").len() >= 4)
        })
        .await?;
        Ok("recognised in slots 1 to 3".into())
    }

    async fn terminals(&self) -> Result<String> {
        let answer = good(self.world.practice.call(Operation::GetCardTerminals).await?)?;
        Ok(format!(
            "{} with {} slots",
            answer.texts("CtId").join(", "),
            answer.text("Slots").unwrap_or_default()
        ))
    }

    async fn cards(&self) -> Result<String> {
        let answer = good(
            self.world
                .practice
                .call(Operation::GetCards { card_type: None })
                .await?,
        )?;
        Ok(answer.texts("CardType").join(", "))
    }

    async fn verify_pin(&self) -> Result<String> {
        let handle = self.handle("SMC-B").await?;
        let request = Operation::Pin {
            operation: "VerifyPin",
            handle: &handle,
            pin: "PIN.SMC",
        };
        let call = self.world.practice.call(request);
        let keys = [Key::Digits(PIN.into()), Key::Enter];
        let (answer, pressed) = tokio::join!(call, self.at_the_pad(&keys));
        pressed?;
        let result = good(answer?)?.text("PinResult").unwrap_or_default();
        ensure!(result == "OK", "PinResult {result}");
        Ok("OK, typed at the terminal".into())
    }

    pub(crate) async fn handle(&self, card_type: &str) -> Result<String> {
        let mut handles = self.world.practice.cards(card_type).await?;
        handles.pop().with_context(|| format!("no {card_type}"))
    }

    /// Qualified signatures with the HBA and its PIN, more than one as a batch, and what the Konnektor itself thinks of them.
    pub(crate) async fn sign(&self, texts: &[&str]) -> Result<String> {
        let practice = &self.world.practice;
        let handle = self.handle("HBA").await?;
        let numbered = good(practice.call(Operation::GetJobNumber { user: DOCTOR }).await?)?;
        let job = numbered.text("JobNumber").context("JobNumber")?;
        let call = practice.call(Operation::SignText {
            user: DOCTOR,
            handle: &handle,
            job: &job,
            texts,
        });
        let keys = [Key::Digits(PIN.into()), Key::Enter];
        let (answer, pressed) = tokio::join!(call, self.at_the_pad(&keys));
        pressed?;
        let answer = good(answer?)?;
        let signatures = answer.texts("Base64Signature");
        ensure!(
            signatures.len() == texts.len(),
            "{} of {} signed: {}",
            signatures.len(),
            texts.len(),
            answer.texts("ErrorText").join("; ")
        );
        let mut verdict = String::new();
        for cms in &signatures {
            let judged = good(practice.call(Operation::VerifySignature { cms }).await?)?;
            verdict = judged.text("HighLevelResult").unwrap_or_default();
            ensure!(verdict == "VALID", "VerifyDocument: {verdict}");
        }
        Ok(format!("job {job}, PIN.QES typed at the terminal; {verdict}"))
    }

    async fn read(&self, online: bool) -> Result<String> {
        let (ehc, hpc) = (self.handle("EGK").await?, self.handle("SMC-B").await?);
        let request = Operation::ReadVsd {
            ehc: &ehc,
            hpc: &hpc,
            online,
            receipt: online,
        };
        let answer = good(self.world.practice.call(request).await?)?;
        let personal = container(&answer, "PersoenlicheVersichertendaten")?;
        container(&answer, "AllgemeineVersicherungsdaten")?;
        container(&answer, "GeschuetzteVersichertendaten")?;
        let family = between(&personal, "Nachname").context("Nachname")?;
        let street = between(&personal, "Strasse").context("Strasse")?;
        if !online {
            return Ok(format!("{family}, {street}"));
        }
        ensure!(!self.world.vsdm.is_pending(EGK), "the update still waits");
        let receipt = container(&answer, "Pruefungsnachweis")?;
        let result = between(&receipt, "E").context("Prüfungsnachweis")?;
        ensure!(result == "1", "Prüfungsnachweis {result}");
        ensure!(street == "Neuschneegasse", "the card still says {street}");
        Ok(format!("{family}, now {street}; Prüfungsnachweis {result}"))
    }
}

/// A refusal of the Konnektor as an error.
pub(crate) fn failed<T>(outcome: Result<T, konnektor::Failure>) -> Result<T> {
    outcome.map_err(|failure| anyhow::anyhow!("{} {}", failure.code(), failure.detail()))
}

/// The day of a moment in RFC 3339.
fn day(moment: &str) -> &str {
    moment.split('T').next().unwrap_or_default()
}

/// The answer, or its fault as an error.
pub(crate) fn good(answer: Answer) -> Result<Answer> {
    match answer.fault() {
        Some(code) => bail!("fault {code}: {}", answer.texts("Detail").join("; ")),
        None => Ok(answer),
    }
}

/// A decompressed container of an answer.
pub fn container(answer: &Answer, name: &str) -> Result<String> {
    let text = answer.text(name).with_context(|| format!("{name} missing"))?;
    let gzip = base64::engine::general_purpose::STANDARD.decode(text)?;
    let mut xml = Vec::new();
    GzDecoder::new(&gzip[..])
        .take(base::limits::VSD_XML as u64)
        .read_to_end(&mut xml)?;
    // ISO-8859-15 and UTF-8 agree in everything the demo looks at
    Ok(xml.iter().map(|b| char::from(*b)).collect())
}

fn between<'t>(xml: &'t str, element: &str) -> Option<&'t str> {
    let (_, rest) = xml.split_once(&format!("<{element}>"))?;
    Some(rest.split_once('<')?.0)
}
