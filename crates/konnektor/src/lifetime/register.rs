//! TUC_KON_411: registration at the VPN access service, always beside what is registered already. Nothing is ever
//! deregistered by itself.

use super::*;
use crate::card_key::{CardKey, Purpose as KeyPurpose};
use crate::cards::Card;
use crate::service::read_certificate;
use crate::tls_service;
use card::CardKind;
use identity::Signer;
use pki::Purpose;
use soap::provisioning::{self, Answer, Operation};
use soap::{CertRef, Crypt};
use std::time::Duration;

/// How long the service may take.
const LIMIT: Duration = Duration::from_secs(30);
/// How long a card in use is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

impl Inner {
    /// The unlocked SM-B whose OSIG certificate lasts longest.
    pub(super) async fn best_signer(&self) -> Option<(Arc<Card>, Signer)> {
        let now = self.clock.now().as_second();
        let mut best: Option<(Arc<Card>, Signer)> = None;
        for card in self.cards.all() {
            if card.found.kind != CardKind::SmcB || !card.is_open("PIN.SMC") {
                continue;
            }
            // a card somebody types a PIN for is not waited for
            let Some(Ok(_guard)) = self.clock.timeout(PATIENCE, card.reserve()).await else {
                continue;
            };
            let Ok(Some(certificate)) = read_certificate(&card, CertRef::Sig, Crypt::Ecc).await else {
                continue;
            };
            let end = certificate.validity().1;
            let signer = Signer {
                iccsn: card
                    .found
                    .iccsn
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default(),
                serial: hex::encode(certificate.serial()),
                end,
            };
            if end >= now && best.as_ref().is_none_or(|(_, other)| other.end < end) {
                drop(_guard);
                best = Some((card, signer));
            }
        }
        best
    }

    pub(super) fn register_error(
        &self,
        held: &identity::Held,
        operation: Operation,
        fail: &str,
        meaning: String,
    ) {
        let parameters = vec![
            ("Iccsn", self.identities.iccsn.clone()),
            ("Serial", held.serial.clone()),
            (
                "Operation",
                operation.action().trim_start_matches("urn:#").to_owned(),
            ),
            ("Fail", fail.to_owned()),
            ("Bedeutung", meaning),
        ];
        self.raise(Event {
            severity: Severity::Error,
            ..Event::info("SMC_K/REGISTER/ERROR", None, parameters)
        });
    }

    /// Tells people that an SM-B must be opened.
    pub(super) fn ask_for_signer(&self, generation: u32, family: Family) {
        if let Ok(held) = self.tunnel_certificate(generation, family) {
            let meaning = "Keine freigeschaltete SMC-B: bitte PIN eingeben".to_owned();
            self.register_error(&held, Operation::Register, "No_Smcb", meaning);
        }
    }

    /// The registration server of the first access service.
    fn registration_server(&self) -> Result<&str, Failure> {
        let url = self.config.lifetime.registration.as_deref();
        url.ok_or_else(|| Failure::new(Code::NOT_PERMITTED, "lifetime.registration is not set"))
    }

    async fn ask(
        self: &Arc<Self>,
        url: &str,
        card: &Arc<Card>,
        operation: Operation,
        message: String,
    ) -> Result<Answer, Failure> {
        let key = CardKey::elliptic(self, card, KeyPurpose::Authenticate).await?;
        let identity = (
            vec![key.certificate().der().to_vec()],
            Arc::new(key) as Arc<dyn Key>,
        );
        let asking = tls_service::soap(
            self,
            url,
            &Purpose::REGISTRATION,
            Some(identity),
            (operation.action(), message),
            LIMIT,
        );
        let text = asking.await?;
        Answer::parse(&text, operation)
            .map_err(|error| Failure::new(Code::TLS_SERVER, format!("registration: {error}")))
    }

    /// Registers a generation's C.NK.VPN, signed by the SM-B that lasts longest.
    pub(super) async fn register(
        self: &Arc<Self>,
        generation: u32,
        family: Family,
        actor: Actor,
    ) -> Result<(), Failure> {
        let held = self.tunnel_certificate(generation, family)?;
        let operation = Operation::Register;
        let Some((card, signer)) = self.best_signer().await else {
            self.ask_for_signer(generation, family);
            return Err(Failure::new(
                Code::SMCB_NOT_VERIFIED,
                "no unlocked SM-B to sign with",
            ));
        };
        let (url, contract) = (
            self.registration_server()?,
            self.config.lifetime.contract.as_deref(),
        );
        let outcome = self.send_registration(url, contract, &card, &held).await;
        let answer = match outcome {
            Ok(answer) if answer.registered => answer,
            Ok(_) => {
                let meaning = "Der VPN-Zugangsdienst hat nicht registriert".to_owned();
                self.register_error(&held, operation, "Other", meaning.clone());
                return Err(Failure::new(Code::TLS_SERVER, meaning));
            }
            Err(failure) => {
                self.register_error(&held, operation, "Other", failure.detail());
                self.refused(generation, family, actor).await;
                return Err(failure);
            }
        };
        self.enter_step(
            actor,
            Change::Registered {
                generation,
                family,
                signer,
            },
        )?;
        let granted = answer.contract != provisioning::Contract::Nothing;
        let parameters = vec![("Active", granted.to_string())];
        self.raise(Event::info("MGM/TI_ACCESS_GRANTED", None, parameters));
        Ok(())
    }

    pub(super) async fn send_registration(
        self: &Arc<Self>,
        url: &str,
        contract: Option<&str>,
        card: &Arc<Card>,
        held: &identity::Held,
    ) -> Result<Answer, Failure> {
        let operation = Operation::Register;
        let now = self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let request = provisioning::request(operation, &now, &held.der, contract);
        let key = CardKey::elliptic(self, card, KeyPurpose::Sign).await?;
        let certificate = key.certificate().der().to_vec();
        let signed = xmlsec::sign_enveloped(&request, &key, &certificate, None)
            .map_err(|error| Failure::new(Code::SIGNATURE_FAILED, error))?;
        self.ask(url, card, operation, soap::wrap(&signed)).await
    }

    pub(super) async fn query_status(
        self: &Arc<Self>,
        url: &str,
        held: &identity::Held,
    ) -> Result<Answer, Failure> {
        let signer = self.best_signer().await;
        let (card, _) = signer.ok_or(Code::SMCB_NOT_VERIFIED)?;
        let now = self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let operation = Operation::Status;
        let request = provisioning::request(operation, &now, &held.der, None);
        self.ask(url, &card, operation, soap::wrap(&request)).await
    }

    /// Does the access service know this one? Nothing follows from the answer.
    pub(crate) async fn is_registered(
        self: &Arc<Self>,
        generation: u32,
        family: Family,
    ) -> Result<bool, Failure> {
        let held = self.tunnel_certificate(generation, family)?;
        let url = self.registration_server()?;
        Ok(self.query_status(url, &held).await?.registered)
    }

    /// Asks whether a registration stands. Only a clear "no" counts as one.
    pub(super) async fn ask_status(
        self: &Arc<Self>,
        generation: u32,
        family: Family,
    ) -> Result<bool, Failure> {
        let held = self.tunnel_certificate(generation, family)?;
        let answer = self.query_status(self.registration_server()?, &held).await?;
        let registered = self.with_book(|book| book.registered_at(generation, family));
        // "registered" with an older moment is the registration before: the last one was lost, and with it its signer
        let since = answer
            .since
            .as_deref()
            .and_then(|since| since.parse::<Timestamp>().ok());
        let lost = registered
            .zip(since)
            .is_some_and(|(ours, theirs)| theirs.as_second() + plan::SKEW < ours);
        // a service that always names the first moment has lost nothing: the same one twice is its habit
        let habit = format!("since-{generation}-{family:?}");
        let known = self.store.get::<String>(NOTES, &habit).ok().flatten();
        let lost = lost && known != answer.since;
        if lost {
            self.store.put(NOTES, &habit, &answer.since)?;
        }
        if registered.is_some() && (!answer.registered || lost) {
            let meaning = "Der VPN-Zugangsdienst kennt diese Registrierung nicht mehr".to_owned();
            self.register_error(&held, Operation::Status, "Other", meaning);
            self.enter_step(Actor::Device, Change::Unregistered { generation, family })?;
        }
        Ok(answer.registered && !lost)
    }
}
