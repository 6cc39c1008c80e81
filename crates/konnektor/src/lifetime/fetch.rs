//! TUC_KON_410: packages of renewed certificates, from the download point or from a file.

use super::*;
use asn1::X509;
use identity::{Found, Stage};
use pki::CheckError;
use std::time::Duration;

/// How long a download may take.
const LIMIT: Duration = Duration::from_secs(30);

impl Inner {
    fn update_error(&self, found: &Found) {
        let parameters = vec![
            ("Iccsn", self.identities.iccsn.clone()),
            ("Profile", found.profile.clone()),
            ("Serial", found.serial.clone()),
            ("Fail", found.finding.fail().to_owned()),
            ("Bedeutung", found.finding.to_string()),
        ];
        self.raise(Event {
            severity: Severity::Error,
            ..Event::info("SMC_K/UPDATE/ERROR", None, parameters)
        });
    }

    /// Downloads a package and takes it in. True if it brought something new; nothing to find is no reason for anything.
    pub(super) async fn fetch_package(self: &Arc<Self>, actor: Actor) -> Result<bool, Failure> {
        let folder = self.config.lifetime.download.as_deref();
        let folder =
            folder.ok_or_else(|| Failure::new(Code::NOT_PERMITTED, "lifetime.download is not set"))?;
        let url = format!("{folder}{}.zip", self.identities.iccsn);
        let fetching = pki::http::fetch("GET", &url, None, Vec::new(), identity::PACKAGE);
        let fetched = self.clock.timeout(LIMIT, fetching).await;
        let fetched =
            fetched.unwrap_or_else(|| Err(pki::http::HttpError::Protocol(format!("no answer in {LIMIT:?}"))));
        match fetched {
            Ok(bytes) => self.take_in(&bytes, Source::Download, actor),
            Err(error) => {
                let parameters = vec![
                    ("Iccsn", self.identities.iccsn.clone()),
                    ("Error", error.to_string()),
                ];
                self.raise(Event {
                    severity: Severity::Error,
                    ..Event::info("SMC_K/DOWNLOAD/ERROR", None, parameters)
                });
                Err(Failure::new(Code::TSL_DOWNLOAD, format!("{url}: {error}")))
            }
        }
    }

    /// The newest renewed certificates as a package.
    pub(crate) fn newest_package(&self) -> Option<Vec<u8>> {
        let package = self.with_book(|book| {
            let newest = book.newest().filter(|one| one.number > 0)?;
            let certificates = newest.certificates.iter();
            Some(Package {
                certificates: certificates
                    .map(|(kind, held)| (*kind, held.der.clone()))
                    .collect(),
                cvc: newest.cvc.as_ref().map(|cvc| (cvc.own.clone(), cvc.ca.clone())),
            })
        });
        package?.write(&self.identities.iccsn).ok()
    }

    /// Takes in a package: as a whole, or not at all. True if it brought something new.
    pub(crate) fn take_in(&self, bytes: &[u8], source: Source, actor: Actor) -> Result<bool, Failure> {
        let refused = |reason: String| Failure::new(Code::CERTIFICATE_UNREADABLE, reason);
        let package = match Package::read(bytes, &self.identities.iccsn) {
            Ok(package) => package,
            Err(error) => {
                self.update_error(&Found {
                    profile: "Paket".into(),
                    serial: String::new(),
                    finding: identity::Finding::Chain(error.to_string()),
                });
                return Err(refused(error.to_string()));
            }
        };
        let trust = self
            .trust()
            .ok_or_else(|| refused("no trust list yet: import one first".into()))?;
        let now = self.clock.now();
        let judged = self
            .with_book(|book| identity::verify(&package, book, &self.lifetime.device, &trust, now, source));
        match judged {
            Ok((generation, notes)) => {
                notes.iter().for_each(|found| self.update_error(found));
                match generation {
                    Some(generation) => self.enter_step(actor, Change::Fetched(generation)).map(|()| true),
                    None => Ok(false),
                }
            }
            Err(all) => {
                all.iter().for_each(|found| self.update_error(found));
                let reasons: Vec<String> = all
                    .iter()
                    .map(|found| format!("{}: {}", found.profile, found.finding))
                    .collect();
                Err(refused(reasons.join("; ")))
            }
        }
    }

    /// Asks for the status of every certificate of a generation. Revoked, it is never used; without an answer it waits, or
    /// with `offline` goes on, for the way back may not need what is broken.
    pub(super) async fn verify_generation(
        self: &Arc<Self>,
        generation: u32,
        actor: Actor,
        offline: bool,
    ) -> Result<(), Failure> {
        let certificates = self.with_book(|book| {
            let one = book.generation(generation)?;
            let fetched = one
                .families()
                .iter()
                .any(|family| book.stage(generation, *family) == Some(Stage::Fetched));
            fetched.then(|| one.certificates.clone())
        });
        let Some(certificates) = certificates else {
            return Ok(());
        };
        let trust = self.trust().ok_or(Code::CRITICAL_STATE)?;
        for (kind, held) in &certificates {
            let certificate =
                X509::parse(&held.der).map_err(|error| Failure::new(Code::CERTIFICATE_UNREADABLE, error))?;
            let checked = trust
                .check(&certificate, &kind.role.purpose(), &*self.clock)
                .await;
            match checked {
                Ok(_) => {}
                Err(error) if error.is_inconclusive() && offline => {
                    tracing::warn!(%kind, %error, "status of a renewed certificate not known, taken all the same");
                }
                // a responder that does not know it yet, an issuer that is missing for a while: it waits
                Err(error) if !matches!(error, CheckError::Revoked(_)) => {
                    return Err(Failure::new(error.code(), error));
                }
                Err(error) => {
                    self.update_error(&Found {
                        profile: kind.to_string(),
                        serial: held.serial.clone(),
                        finding: identity::Finding::Ocsp(error.to_string()),
                    });
                    let reason = format!("{kind}: {error}");
                    self.enter_step(actor, Change::Quarantined { generation, reason })?;
                    return Err(Failure::new(error.code(), error));
                }
            }
        }
        self.enter_step(actor, Change::Verified { generation })?;
        let parameters = vec![
            ("Iccsn", self.identities.iccsn.clone()),
            ("Info", format!("Generation {generation}")),
        ];
        self.raise(Event::info("SMC_K/UPDATE/SUCCESS", None, parameters));
        Ok(())
    }
}
