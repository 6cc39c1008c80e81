//! Proof before use: a new generation does the real work while the old one still does it, too.

use super::*;
use crate::terminals::Correlation;
use identity::{Outcome, Probe, Stage};
use pki::Purpose;
use std::time::Duration;

/// How long a handshake may take.
const LIMIT: Duration = Duration::from_secs(10);

impl Inner {
    /// Tries a generation end to end and enters what came of it.
    pub(super) async fn probe(
        self: &Arc<Self>,
        generation: u32,
        family: Family,
        actor: Actor,
    ) -> Result<(), Failure> {
        let (status, revoked) = self.probe_status(generation, family).await;
        if let Some(reason) = self.quarantine(generation, revoked, actor) {
            return Err(Failure::new(Code::NOT_PERMITTED, reason));
        }
        let mut probes = vec![
            self.probe_keys(generation, family),
            status,
            self.probe_registration(generation, family).await,
            self.probe_tunnel(generation, family).await,
            self.probe_clients(generation, family).await,
            self.probe_hba(generation),
        ];
        probes.extend(self.probe_terminals(generation, family).await);
        let failed = probes.iter().find_map(|probe| match &probe.outcome {
            Outcome::Failed(reason) => Some(format!("{}: {reason}", probe.name)),
            _ => None,
        });
        self.enter_step(
            actor,
            Change::Probed {
                generation,
                family,
                probes,
            },
        )?;
        match failed {
            None => Ok(()),
            Some(reason) => {
                let parameters = vec![
                    ("Iccsn", self.identities.iccsn.clone()),
                    ("Generation", generation.to_string()),
                    ("Reason", reason.clone()),
                ];
                self.raise(Event {
                    severity: Severity::Warning,
                    ..Event::info("SMC_K/PROBE/ERROR", None, parameters)
                });
                Err(Failure::new(Code::NOT_PERMITTED, reason))
            }
        }
    }

    /// A generation that was revoked is never used, or if it is used already only for want of anything else. Gives back why.
    fn quarantine(&self, generation: u32, revoked: Option<String>, actor: Actor) -> Option<String> {
        let reason = revoked?;
        let change = Change::Quarantined {
            generation,
            reason: reason.clone(),
        };
        self.enter_step(actor, change).ok()?;
        let parameters = vec![
            ("Iccsn", self.identities.iccsn.clone()),
            ("Generation", generation.to_string()),
            ("Reason", reason.clone()),
        ];
        self.raise(Event {
            severity: Severity::Error,
            ..Event::info("SMC_K/REVOKED", None, parameters)
        });
        Some(reason)
    }

    /// Somebody has refused a generation: because it was revoked? Then nobody need try it again.
    pub(super) async fn refused(&self, generation: u32, family: Family, actor: Actor) {
        let (_, revoked) = self.probe_status(generation, family).await;
        if let Some(reason) = self.quarantine(generation, revoked, actor) {
            tracing::warn!(generation, reason, "revoked");
        }
    }

    fn of_family(&self, generation: u32, family: Family) -> Vec<(Kind, identity::Held)> {
        self.with_book(|book| {
            let one = book.generation(generation);
            let all = one.into_iter().flat_map(|one| &one.certificates);
            all.filter(|(kind, _)| kind.algorithm.family() == family)
                .map(|(kind, held)| (*kind, held.clone()))
                .collect()
        })
    }

    /// P1: the keys on the card sign, and the new certificates verify it.
    fn probe_keys(&self, generation: u32, family: Family) -> Probe {
        let all = self.of_family(generation, family);
        let wrong = all
            .iter()
            .find(|(kind, held)| !self.lifetime.device.proves(*kind, &held.der));
        Probe {
            name: "key".into(),
            outcome: match wrong {
                None => Outcome::Good,
                Some((kind, _)) => Outcome::Failed(format!("{kind} does not belong to the key")),
            },
        }
    }

    /// P2: chain, type, role and status, as of now; and why it must never be used, if one was revoked since it was checked.
    async fn probe_status(&self, generation: u32, family: Family) -> (Probe, Option<String>) {
        let (mut outcome, mut revoked) = (Outcome::Good, None);
        match self.trust() {
            None => outcome = Outcome::Failed("no trust list".into()),
            Some(trust) => {
                for (kind, held) in self.of_family(generation, family) {
                    let found = match asn1::X509::parse(&held.der) {
                        Err(error) => Outcome::Failed(format!("{kind}: {error}")),
                        Ok(certificate) => {
                            let purpose = kind.role.purpose();
                            match trust.check(&certificate, &purpose, &*self.clock).await {
                                Ok(_) => continue,
                                Err(error) if error.is_inconclusive() && !self.config.online => {
                                    Outcome::Skipped(error.to_string())
                                }
                                Err(error) => {
                                    let reason = format!("{kind}: {error}");
                                    if matches!(error, pki::CheckError::Revoked(_)) {
                                        revoked.get_or_insert_with(|| reason.clone());
                                    }
                                    Outcome::Failed(reason)
                                }
                            }
                        }
                    };
                    // what failed outweighs what could not be asked
                    if !matches!(outcome, Outcome::Failed(_)) {
                        outcome = found;
                    }
                }
            }
        }
        let name = "status".into();
        (Probe { name, outcome }, revoked)
    }

    /// P3: the VPN access service says that it knows the certificate.
    async fn probe_registration(self: &Arc<Self>, generation: u32, family: Family) -> Probe {
        let outcome = match &self.config.lifetime.registration {
            None => Outcome::Skipped("no VPN access service is configured".into()),
            Some(_) if self.identities.nk.is_none() => Outcome::Skipped("no C.NK.VPN".into()),
            Some(_) => match self.ask_status(generation, family).await {
                Ok(true) => Outcome::Good,
                Ok(false) => Outcome::Failed("the VPN access service does not know it".into()),
                Err(failure) => Outcome::Failed(failure.detail()),
            },
        };
        Probe {
            name: "registration".into(),
            outcome,
        }
    }

    /// P5: each terminal that is in use takes the new certificate, or keeps the one it has. It is asked over a second connection;
    /// the one that works is left in peace.
    async fn probe_terminals(self: &Arc<Self>, generation: u32, family: Family) -> Vec<Probe> {
        let kind = self
            .of_family(generation, family)
            .into_iter()
            .find(|(kind, _)| kind.role == Role::SakAut);
        let Some((kind, held)) = kind else {
            return Vec::new();
        };
        let choice = Choice {
            generation,
            kind,
            held: &held,
        };
        let Some(identity) = self.identity_of(&choice) else {
            return Vec::new();
        };
        let mut probes = Vec::new();
        for terminal in self.terminals.all() {
            let record = &terminal.record;
            if record.correlation != Correlation::Aktiv || terminal.session.is_none() {
                continue;
            }
            let id = record.config.id.to_string();
            let outcome = match self.try_terminal(record, &identity).await {
                Ok(()) => {
                    self.terminal_took(&id, generation);
                    Outcome::Good
                }
                Err(error) => Outcome::Refused(error.to_string()),
            };
            probes.push(Probe {
                name: format!("terminal {id}"),
                outcome,
            });
        }
        probes
    }

    /// P6: a client that believes the CAs of the trust list accepts what practice systems would be shown.
    async fn probe_clients(self: &Arc<Self>, generation: u32, family: Family) -> Probe {
        let mut outcome = Outcome::Skipped("no C.AK.AUT of this kind".into());
        for (kind, held) in self.of_family(generation, family) {
            if kind.role != Role::AkAut {
                continue;
            }
            let choice = Choice {
                generation,
                kind,
                held: &held,
            };
            let Some(identity) = self.identity_of(&choice) else {
                continue;
            };
            outcome = match shake_hands(self, &identity).await {
                Ok(()) => Outcome::Good,
                Err(reason) => Outcome::Failed(format!("{kind}: {reason}")),
            };
            if outcome != Outcome::Good {
                break;
            }
        }
        Probe {
            name: "clients".into(),
            outcome,
        }
    }

    /// P7: would showing the new CV certificates to an HBA spoil the old ones? An HBA that accepts a certificate moves its clock
    /// to that certificate's begin, for good; so it is reckoned and not tried.
    fn probe_hba(&self, generation: u32) -> Probe {
        let outcome = self.with_book(|book| {
            let new = book.generation(generation).and_then(|one| one.cvc.as_ref());
            let Some(new) = new else {
                return Outcome::Skipped("no CV certificates".into());
            };
            let older = book.generations.iter().filter(|one| one.number < generation);
            let spoiled = older
                .filter(|one| {
                    one.families()
                        .iter()
                        .any(|family| book.stage(one.number, *family) == Some(Stage::Active))
                })
                .filter_map(|one| one.cvc.as_ref())
                .any(|old| new.from > old.to);
            match spoiled {
                false => Outcome::Good,
                true => Outcome::Refused("it begins after the old one has ended".into()),
            }
        });
        Probe {
            name: "hba".into(),
            outcome,
        }
    }
}

/// A handshake with ourselves, in memory.
async fn shake_hands(inner: &Arc<Inner>, identity: &Identity) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let key = crypto::tls::certified(identity).map_err(|error| text(&error))?;
    let server = rustls::ServerConfig::builder_with_provider(crypto::tls::provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| text(&error))?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(key)));
    let trust = inner.trust().ok_or("no trust list")?;
    let now = inner.clock.now();
    let judge: crypto::tls::Judge = Arc::new(move |chain, _| {
        let der = chain.first().ok_or("no certificate")?;
        let certificate = asn1::X509::parse(der).map_err(|error| error.to_string())?;
        trust
            .check_offline(&certificate, &Purpose::KNOWN, now)
            .map(|_| ())
            .map_err(|error| error.to_string())
    });
    let client = crypto::tls::client_config(None, judge).map_err(|error| text(&error))?;
    let (near, far) = tokio::io::duplex(16 * 1024);
    let name = rustls::pki_types::ServerName::try_from("konnektor.konlan").map_err(|error| text(&error))?;
    let both = async {
        tokio::try_join!(
            tokio_rustls::TlsConnector::from(client).connect(name, near),
            tokio_rustls::TlsAcceptor::from(Arc::new(server)).accept(far),
        )
    };
    let done = inner
        .clock
        .timeout(LIMIT, both)
        .await
        .ok_or("no handshake in time")?;
    done.map(|_| ()).map_err(|error| error.to_string())
}
