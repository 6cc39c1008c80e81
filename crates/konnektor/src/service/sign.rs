//! SignDocument (TIP1-A_5010): with an HBA qualified, with an SM-B not; one document or a batch.

use super::Call;
use super::document::format_failure;
use super::prepare::{Prepared, prepare};
use super::qes::{Prompt, QesChannel};
use crate::Failure;
use crate::card_key::{CardKey, Purpose};
use crate::cards::Card;
use crate::events::Event;
use crate::jobs::{Job, is_job_number};
use crate::model::Caller;
use crate::state::Function;
use asn1::X509;
use base::{Code, limits};
use card::CardKind;
use crypto::{Hash, PublicKey, SignatureScheme};
use signature::Signer;
use soap::signature::{SignRequest, SignResponse, sign_response};
use soap::{CallContext, CertRef, Crypt, KeyChoice, SignatureVersion, Status};
use std::collections::HashSet;
use std::sync::Arc;

/// What was asked for besides documents.
pub(super) struct SignOrder<'o> {
    pub version: SignatureVersion,
    pub context: &'o CallContext,
    pub handle: &'o str,
    pub crypt: Option<KeyChoice>,
    pub job: Option<String>,
}

/// Signature values by document, and why there are no more of them.
#[derive(Default)]
pub(super) struct Signed {
    pub values: Vec<Vec<Vec<u8>>>,
    pub ended: Option<Failure>,
}

/// The key that is used: its kind and how it signs.
pub(super) type KeyKind = (Crypt, SignatureScheme);

fn kind_of(crypt: Crypt) -> KeyKind {
    match crypt {
        Crypt::Rsa => (Crypt::Rsa, SignatureScheme::RsaPss),
        Crypt::Ecc => (Crypt::Ecc, SignatureScheme::Ecdsa),
    }
}

impl Call<'_> {
    pub(super) async fn sign_document(
        &self,
        order: SignOrder<'_>,
        requests: Vec<SignRequest>,
    ) -> Result<String, Failure> {
        self.inner.state.permit(Function::Pin)?;
        let job = check_arguments(&order, &requests)?;
        let card = self.card(order.handle)?;
        let qualified = match card.found.kind {
            CardKind::Hba => true,
            CardKind::SmcB => false,
            _ => return Err(Code::CARD_CANNOT_SIGN.into()),
        };
        let caller = self.enter(order.context, &card, true)?;
        if qualified && !self.inner.config.lu_sak {
            return Err(Code::LU_SAK_OFF.into());
        }
        if !qualified {
            self.check_open(&card, &caller).await?;
        }
        let job = self.inner.jobs.begin(job)?;
        let reference = if qualified { CertRef::Qes } else { CertRef::Sig };
        let (certificate, kind) = self.choose_key(&card, reference, order.crypt).await?;
        self.check_own(&certificate, qualified).await?;
        let signer = Signer::new(certificate, kind.1, self.inner.clock.now());
        let signer = signer.map_err(|error| format_failure(error, Code::SIGNATURE_FAILED))?;
        // canonicalising, hashing and copying megabytes would hold up others on this thread
        let documents = tokio::task::block_in_place(|| {
            let all = requests
                .into_iter()
                .map(|request| prepare(request, qualified, &signer));
            all.collect::<Result<Vec<Prepared>, Failure>>()
        })?;
        let signed = match qualified {
            false => self.sign_by_institution(&card, &documents, kind, &job).await,
            true => {
                self.sign_qualified(&card, &caller, &documents, kind, &job)
                    .await?
            }
        };
        // whoever stops it from here on is told that it is over
        drop(job);
        if let (true, Some(failure)) = (signed.values.is_empty(), &signed.ended)
            && failure.code() != Code::USER_CANCELLED
        {
            return Err(failure.clone());
        }
        let responses = self.answers(documents, signed, &signer.certificate).await?;
        self.inner
            .log_crypto_operation("SignDocument", &card, reference.as_str());
        Ok(sign_response(order.version, &responses))
    }

    /// Certificate and kind of key: the one asked for, or the better one the card has (TAB_KON_900).
    pub(super) async fn choose_key(
        &self,
        card: &Card,
        reference: CertRef,
        wanted: Option<KeyChoice>,
    ) -> Result<(X509, KeyKind), Failure> {
        let order: &[Crypt] = match wanted {
            Some(KeyChoice::Rsa) => &[Crypt::Rsa],
            Some(KeyChoice::Ecc) => &[Crypt::Ecc],
            Some(KeyChoice::RsaEcc) | None => &[Crypt::Ecc, Crypt::Rsa],
        };
        let guard = card.exclusive.lock().await;
        for crypt in order {
            if let Some(certificate) = super::read_certificate(card, reference, *crypt).await? {
                drop(guard);
                return Ok((certificate, kind_of(*crypt)));
            }
        }
        Err(Failure::new(
            Code::KEY_MISSING,
            format!("the card has no {} of this kind", reference.as_str()),
        ))
    }

    /// The certificate that is going to sign: what is revoked or expired makes no signatures (TUC_KON_152). That nobody
    /// answers about it keeps nobody from signing.
    async fn check_own(&self, certificate: &X509, qualified: bool) -> Result<(), Failure> {
        let (trust, clock) = (self.trust()?, &*self.inner.clock);
        if qualified && certificate.qc_statements.is_none() {
            return Err(Failure::new(
                Code::SIGNATURE_FAILED,
                "C.HP.QES does not claim to be qualified",
            ));
        }
        let online = self.inner.config.online;
        match trust
            .check_signer(certificate, clock.now(), &[], online, clock)
            .await
        {
            Err(error) if !error.is_inconclusive() => {
                Err(Failure::new(error.code(), error).within(Code::SIGNATURE_FAILED))
            }
            _ => Ok(()),
        }
    }

    /// All documents with the SM-B, in order. Between two signatures others have their turn.
    async fn sign_by_institution(
        &self,
        card: &Arc<Card>,
        documents: &[Prepared],
        (crypt, scheme): KeyKind,
        job: &Job<'_>,
    ) -> Signed {
        let mut signed = Signed::default();
        let key = match CardKey::open(self.inner, card, Purpose::Sign, crypt).await {
            Ok(Some(key)) => key,
            Ok(None) => {
                signed.ended = Some(Code::KEY_MISSING.into());
                return signed;
            }
            Err(failure) => {
                signed.ended = Some(failure);
                return signed;
            }
        };
        for document in documents {
            let mut values = Vec::new();
            for (position, message) in document.draft.messages().iter().enumerate() {
                if job.is_stopped() {
                    signed.ended = Some(stopped());
                    return signed;
                }
                let value = key
                    .sign_on_card(scheme, Hash::Sha256, &crypto::sha256([message]))
                    .await;
                match checked(document, position, value) {
                    Ok(value) => values.push(value),
                    Err(failure) => {
                        signed.ended = Some(failure);
                        return signed;
                    }
                }
            }
            signed.values.push(values);
            self.tell_progress(card, job);
        }
        signed
    }

    async fn sign_qualified(
        &self,
        card: &Arc<Card>,
        caller: &Caller,
        documents: &[Prepared],
        kind: KeyKind,
        job: &Job<'_>,
    ) -> Result<Signed, Failure> {
        if let Some(session) = self.inner.comfort.find(self.inner, card, caller) {
            return self.sign_comfort(&session, card, documents, kind, job).await;
        }
        let messages: Vec<&Vec<u8>> = documents
            .iter()
            .flat_map(|document| document.draft.messages())
            .collect();
        let local = self.place(card, caller)?.module.is_none();
        if let ([message], [document], false, true) = (
            messages.as_slice(),
            documents,
            self.inner.config.signature.single_secured,
            local,
        ) {
            let hash = crypto::sha256([message]);
            let value = self.sign_single(card, caller, job, kind, &hash).await;
            let value = match checked(document, 0, value) {
                Err(failure) if failure.code() == Code::USER_CANCELLED && job.is_stopped() => {
                    return Ok(Signed {
                        values: Vec::new(),
                        ended: Some(failure),
                    });
                }
                other => other?,
            };
            self.tell_progress(card, job);
            return Ok(Signed {
                values: vec![vec![value]],
                ended: None,
            });
        }
        let mut channel = QesChannel::open(self, card, caller, Prompt::Job(&job.number)).await?;
        let signed = self
            .sign_batch(&mut channel, card, caller, documents, kind, job)
            .await;
        channel.close().await;
        Ok(signed)
    }

    /// A batch, with the PIN again whenever the card wants it (TAB_KON_192).
    async fn sign_batch(
        &self,
        channel: &mut QesChannel,
        card: &Arc<Card>,
        caller: &Caller,
        documents: &[Prepared],
        (crypt, scheme): KeyKind,
        job: &Job<'_>,
    ) -> Signed {
        let mut signed = Signed::default();
        // where the part begins that the last PIN was for
        let mut part = 0;
        for document in documents {
            let mut values = Vec::new();
            for (position, message) in document.draft.messages().iter().enumerate() {
                if job.is_stopped() {
                    // what this PIN has signed is given up as a whole
                    signed.values.truncate(part);
                    signed.ended = Some(stopped());
                    return signed;
                }
                if channel.left == 0 {
                    // nothing goes wrong if nobody types: what is finished stays finished
                    part = signed.values.len();
                    if let Err(failure) = channel.enter_pin(self, caller, Prompt::Job(&job.number)).await {
                        signed.ended = Some(failure);
                        return signed;
                    }
                }
                let value = channel.sign(crypt, scheme, &crypto::sha256([message])).await;
                match checked(document, position, value) {
                    Ok(value) => values.push(value),
                    Err(failure) => {
                        signed.ended = Some(channel.explain(failure, &*self.inner.clock).await);
                        return signed;
                    }
                }
            }
            signed.values.push(values);
            self.tell_progress(card, job);
        }
        signed
    }

    /// SIG/SIGNDOC/NEXT_SUCCESSFUL after each document.
    pub(super) fn tell_progress(&self, card: &Card, job: &Job<'_>) {
        let parameters = vec![("Jobnummer", job.number.clone())];
        self.inner
            .raise(Event::about_card("SIG/SIGNDOC/NEXT_SUCCESSFUL", card, parameters));
    }

    /// Documents and signature values become answers; the status to be embedded is asked for now, after signing.
    async fn answers(
        &self,
        documents: Vec<Prepared>,
        signed: Signed,
        certificate: &X509,
    ) -> Result<Vec<SignResponse>, Failure> {
        let done = signed.values.len();
        let wanted = documents.iter().take(done).any(|document| document.revocation);
        let (mut ocsp, mut without) = (Vec::new(), None);
        if wanted {
            match self.fetch_status(certificate).await {
                Ok(response) => ocsp.push(response),
                Err(failure) => without = Some(failure),
            }
        }
        let mut responses = Vec::new();
        let mut values = signed.values.into_iter();
        for mut document in documents {
            let status = |warnings: Vec<Failure>| self.status(warnings);
            let Some(values) = values.next() else {
                let reason = signed.ended.clone().unwrap_or_else(stopped);
                responses.push(document.unsigned(reason, status));
                continue;
            };
            let embedded = match document.revocation {
                true => {
                    document.warnings.extend(without.clone());
                    ocsp.as_slice()
                }
                false => &[],
            };
            responses.push(tokio::task::block_in_place(|| {
                document.answer(&values, embedded, status)
            })?);
        }
        Ok(responses)
    }

    /// An OCSP response about the signer, to be embedded.
    pub(super) async fn fetch_status(&self, certificate: &X509) -> Result<Vec<u8>, Failure> {
        if !self.inner.config.online {
            return Err(Code::NO_OCSP_CHECK.into());
        }
        let trust = self.trust()?;
        let fetched = trust.fetch_status(certificate, &*self.inner.clock).await;
        fetched.map_err(|error| Failure::new(error.code(), error))
    }

    /// A status with what the caller should know, all in one fault.
    pub(super) fn status(&self, warnings: Vec<Failure>) -> Status {
        let all = warnings.into_iter().reduce(Failure::and);
        all.map_or(Status::Ok, |failure| {
            let reference = crypto::random::<8>().map(hex::encode).unwrap_or_default();
            Status::Warning(failure.fault(&reference, self.inner.clock.now()))
        })
    }
}

pub(super) fn stopped() -> Failure {
    Failure::new(Code::USER_CANCELLED, "StopSignature")
}

/// A value from a card counts only if it verifies: cards and terminals under load have given others.
pub(super) fn checked(
    document: &Prepared,
    position: usize,
    value: Result<Vec<u8>, Failure>,
) -> Result<Vec<u8>, Failure> {
    let value = value?;
    match document.draft.check(position, &value) {
        Ok(()) => Ok(value),
        Err(error) => Err(Failure::new(Code::CARD_ERROR, error)),
    }
}

fn check_arguments<'o>(order: &'o SignOrder<'_>, requests: &[SignRequest]) -> Result<&'o str, Failure> {
    let wrong = |detail: &str| Err(Failure::new(Code::SYNTAX, detail));
    if requests.len() > limits::SIGN_REQUESTS {
        return wrong("more than 250 documents in one SignDocument");
    }
    let mut ids = HashSet::new();
    if !requests.iter().all(|request| ids.insert(&request.id)) {
        return wrong("RequestID more than once");
    }
    match &order.job {
        None => wrong("JobNumber is mandatory"),
        Some(job) if is_job_number(job) => Ok(job),
        Some(_) => wrong("JobNumber must look like ABC-123"),
    }
}

/// Does this key verify what it signs? For what is signed outside of a draft.
pub(super) fn self_check(
    public: &PublicKey,
    scheme: SignatureScheme,
    hash: Hash,
    value: &[u8],
    signature: &[u8],
) -> Result<(), Failure> {
    public.verify_hash(scheme, hash, value, signature).map_err(|_| {
        Failure::new(
            Code::CARD_ERROR,
            "the signature does not verify, and does not leave",
        )
    })
}
