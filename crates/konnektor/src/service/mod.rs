//! What practice systems can call: one file a service.

mod authenticate;
mod card;
mod card_terminal;
mod certificate;
mod comfort;
mod document;
mod encryption;
mod event;
mod online;
mod prepare;
mod qes;
mod report;
mod sign;
mod verify;
mod vsd;

pub(crate) use card::ENTRY as PIN_ENTRY;
pub(crate) use certificate::read as read_certificate;
pub(crate) use comfort::ComfortSessions;
pub use vsd::RECEIPT_KEY;
pub(crate) use vsd::make_receipt_key;

use crate::cards::Card;
use crate::model::{Caller, Peer, Target};
use crate::state::Function;
use crate::{ClientAuthentication, Failure, Inner};
use ::card::CardKind;
use authenticate::Login;
use base::Code;
use encryption::EncryptOrder;
use sign::SignOrder;
use soap::{
    CallContext, CardElement, CardInfo, CardVersion, Request, SignatureRequest, SignatureVersion, Status,
    VersionInfo,
};
use std::sync::Arc;
use verify::VerifyOrder;

impl Inner {
    /// Runs one request and returns the body of the answer.
    pub(crate) async fn serve(self: &Arc<Self>, request: Request, peer: &Peer) -> Result<String, Failure> {
        if request.is_about_events() {
            self.state.permit(Function::EventService)?;
        }
        let call = Call { inner: self, peer };
        match request {
            Request::GetCards {
                context,
                mandant_wide,
                ct_id,
                slot,
                card_type,
            } => call.get_cards(&context, mandant_wide, ct_id, slot, card_type),
            Request::GetCardTerminals {
                context,
                mandant_wide,
            } => call.get_card_terminals(&context, mandant_wide),
            Request::GetResourceInformation { context, resource } => {
                call.get_resource_information(&context, &resource)
            }
            Request::Subscribe {
                context,
                event_to,
                topic,
                filter,
            } => call.subscribe(&context, event_to, topic, filter),
            Request::Unsubscribe {
                context,
                subscription,
                event_to,
            } => call.unsubscribe(&context, subscription.as_deref(), event_to.as_deref()),
            Request::RenewSubscriptions {
                context,
                subscriptions,
            } => call.renew(&context, &subscriptions),
            Request::GetSubscription {
                context,
                mandant_wide,
                subscription,
            } => call.get_subscription(&context, mandant_wide, subscription.as_deref()),
            Request::Card(request) => call.pin(request).await,
            Request::RequestCard {
                context,
                slot,
                card_type,
                message,
                timeout_s,
            } => {
                call.request_card(
                    &context,
                    &slot,
                    card_type.as_deref(),
                    message.as_deref(),
                    timeout_s,
                )
                .await
            }
            Request::EjectCard {
                context,
                target,
                message,
                timeout_ms,
            } => {
                call.eject_card(&context, &target, message.as_deref(), timeout_ms)
                    .await
            }
            Request::ReadCardCertificate {
                context,
                handle,
                refs,
                crypt,
            } => call.read_card_certificate(&context, &handle, &refs, crypt).await,
            Request::CheckCertificateExpiration {
                context,
                handle,
                crypt,
            } => call.check_expiration(&context, handle.as_deref(), crypt).await,
            Request::VerifyCertificate {
                context,
                certificate,
                at,
            } => {
                let verifying = call.verify_certificate(&context, &certificate, at.as_deref());
                let outcome = verifying.await;
                self.watch_for_abuse("VerifyCertificate", &context.workplace, outcome.is_ok());
                outcome
            }
            Request::ReadVsd {
                context,
                ehc,
                hpc,
                online_check,
                online_receipt,
            } => {
                call.read_vsd(&context, &ehc, &hpc, online_check, online_receipt)
                    .await
            }
            Request::Signature {
                version,
                context,
                request,
            } => call.signature(version, &context, *request).await,
            Request::Encrypt {
                context,
                card,
                certificates,
                kind,
                unprotected,
                document,
            } => {
                let order = EncryptOrder {
                    card,
                    certificates,
                    kind,
                    unprotected,
                    document,
                };
                let outcome = call.encrypt_document(&context, order).await;
                self.watch_for_abuse("EncryptDocument", &context.workplace, outcome.is_ok());
                outcome
            }
            Request::Decrypt {
                context,
                card,
                document,
            } => {
                let outcome = call.decrypt_document(&context, &card, document).await;
                self.watch_for_abuse("DecryptDocument", &context.workplace, outcome.is_ok());
                outcome
            }
            Request::ReadKvk { context, handle } => {
                call.check(&context, Target::Nothing { wide: false })?;
                // statutory KVKs are gone, and no terminal of ours can hold one
                let card = call.card(&handle)?;
                Err(Failure::new(
                    Code::KVK_READ,
                    format!("card is a {}", card.found.kind),
                ))
            }
        }
    }
}

/// A call on its way.
pub(crate) struct Call<'a> {
    pub inner: &'a Arc<Inner>,
    pub peer: &'a Peer,
}

impl Call<'_> {
    async fn signature(
        &self,
        version: SignatureVersion,
        context: &CallContext,
        request: SignatureRequest,
    ) -> Result<String, Failure> {
        match request {
            SignatureRequest::Sign {
                handle,
                crypt,
                job,
                requests,
            } => {
                let order = SignOrder {
                    version,
                    context,
                    handle: &handle,
                    crypt,
                    job,
                };
                let by_institution = self
                    .card(&handle)
                    .is_ok_and(|card| card.found.kind == CardKind::SmcB);
                let outcome = self.sign_document(order, requests).await;
                // doctors type a PIN; nothing needs to watch them
                if by_institution {
                    self.inner
                        .watch_for_abuse("SignDocument", &context.workplace, outcome.is_ok());
                }
                outcome
            }
            SignatureRequest::Verify {
                time,
                current_time,
                certificates,
                report,
                manifests,
                document,
                signature,
                revocation,
            } => {
                let order = VerifyOrder {
                    version,
                    time,
                    current_time,
                    certificates,
                    report,
                    manifests,
                    document,
                    signature,
                    revocation,
                };
                let outcome = self.verify_document(context, order).await;
                self.inner
                    .watch_for_abuse("VerifyDocument", &context.workplace, outcome.is_ok());
                outcome
            }
            SignatureRequest::GetJobNumber => {
                self.check(context, Target::Nothing { wide: false })?;
                let number = self.inner.jobs.next()?;
                Ok(soap::signature::job_number_response(version, &number))
            }
            SignatureRequest::Stop { job } => {
                self.check(context, Target::Nothing { wide: false })?;
                self.inner.jobs.stop(&job)?;
                Ok(soap::signature::status_response(
                    version,
                    "StopSignature",
                    &Status::Ok,
                ))
            }
            SignatureRequest::ActivateComfort { handle } => self.activate_comfort(context, &handle).await,
            SignatureRequest::DeactivateComfort { handles } => self.deactivate_comfort(&handles).await,
            SignatureRequest::GetMode { handle } => self.signature_mode(context, &handle),
            SignatureRequest::ExternalAuthenticate {
                handle,
                signature_type,
                scheme,
                mime,
                hash,
            } => {
                let login = Login {
                    version,
                    context,
                    handle: &handle,
                    signature_type: signature_type.as_deref(),
                    scheme: scheme.as_deref(),
                    mime: mime.as_deref(),
                    hash: &hash,
                };
                self.external_authenticate(login).await
            }
        }
    }

    fn check(&self, context: &CallContext, target: Target<'_>) -> Result<Caller, Failure> {
        let mandatory = self.inner.config.client_authentication != ClientAuthentication::None;
        self.inner
            .model()
            .check(context, mandatory.then_some(self.peer), target)
    }

    fn card(&self, handle: &str) -> Result<Arc<Card>, Failure> {
        self.inner
            .cards
            .by_handle(handle)
            .ok_or_else(|| Code::CARD_NOT_INSERTED.into())
    }

    /// The caller's right to a card, and the card session.
    fn enter(&self, context: &CallContext, card: &Card, session: bool) -> Result<Caller, Failure> {
        let caller = self.check(context, target(card, session))?;
        if session {
            card.enter(&caller, || self.inner.state.permit(Function::OpenSession))?;
        }
        Ok(caller)
    }
}

fn target(card: &Card, session: bool) -> Target<'_> {
    match card.found.kind {
        CardKind::SmcKt | CardKind::Unknown => Target::Terminal {
            ct_id: &card.ct_id,
            wide: false,
        },
        kind => Target::Card {
            kind,
            ct_id: &card.ct_id,
            iccsn: card.found.iccsn.as_ref(),
            session,
        },
    }
}

/// Does a card type of a request (also the group names) mean this card?
fn type_matches(wanted: &str, kind: CardKind) -> bool {
    wanted == kind.as_str()
        || (wanted == "HBAx" && kind == CardKind::Hba)
        || (wanted == "SM-B" && kind == CardKind::SmcB)
}

fn element(card: &Card) -> &CardElement {
    card.element.get_or_init(|| describe(card).to_element())
}

fn describe(card: &Card) -> CardInfo {
    let version = |version: ::card::Version| VersionInfo(version.0, version.1, version.2);
    let [atr, gdo, key_info, logging] = card.found.further;
    let known = card.found.kind != CardKind::Unknown;
    CardInfo {
        handle: card.handle.to_string(),
        card_type: card.found.kind.as_str(),
        version: known.then(|| CardVersion {
            cos: version(card.found.cos),
            object_system: version(card.found.object_system),
            logging: logging.map(version),
            atr: atr.map(version),
            gdo: gdo.map(version),
            key_info: key_info.map(version),
        }),
        iccsn: card.found.iccsn.as_ref().map(ToString::to_string),
        ct_id: card.ct_id.to_string(),
        slot: card.slot.number(),
        inserted: card.inserted.to_string(),
        holder: card.found.holder(),
        kvnr: card.found.kvnr(),
        expires: card.expires(),
    }
}

/// `YYYY-MM-DD` of a moment in Unix seconds.
fn date(seconds: i64) -> Option<String> {
    Some(
        base::Timestamp::from_second(seconds)
            .ok()?
            .strftime("%Y-%m-%d")
            .to_string(),
    )
}
