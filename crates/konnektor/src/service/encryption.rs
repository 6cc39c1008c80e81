//! EncryptionService (TIP1-A_4621, 4622): documents for several recipients, and back with a card's ENC key.

use super::Call;
use super::document::{Around, Kind, check_size, decode_xml, examine, format_failure};
use crate::Failure;
use crate::card_key::{CardKey, Purpose};
use crate::cards::Card;
use crate::model::Caller;
use crate::state::Function;
use asn1::X509;
use base::Code;
use card::CardKind;
use card::pin::PinStatus;
use signature::{envelope, xmlenc};
use soap::{
    CallContext, CertRef, Content, Crypt, InputDocument, KeyChoice, KeyOnCard, encryption_response,
    encryption_type,
};
use std::sync::Arc;

/// What is to be enciphered, and for whom.
pub(super) struct EncryptOrder {
    pub card: Option<KeyOnCard>,
    pub certificates: Vec<Vec<u8>>,
    pub kind: Option<String>,
    pub unprotected: Vec<Vec<u8>>,
    pub document: InputDocument,
}

fn check_reference(key: &KeyOnCard) -> Result<(), Failure> {
    match key.reference.as_deref() {
        None | Some("C.ENC") => Ok(()),
        Some(_) => Err(Failure::new(Code::SYNTAX, "KeyReference must be C.ENC")),
    }
}

impl Call<'_> {
    /// HBA or SM-B, of which the caller may use the ENC certificate.
    fn encryption_card(
        &self,
        context: &CallContext,
        handle: &str,
        session: bool,
    ) -> Result<(Arc<Card>, Caller), Failure> {
        let card = self.card(handle)?;
        if !matches!(card.found.kind, CardKind::Hba | CardKind::SmcB) {
            return Err(Code::NOT_PERMITTED.into());
        }
        let caller = self.enter(context, &card, session)?;
        Ok((card, caller))
    }

    /// The PIN of the card's ESIGN keys is verified, in the caller's session and in the card (4085).
    pub(super) async fn check_open(&self, card: &Card, caller: &Caller) -> Result<(), Failure> {
        let name = match card.found.kind {
            CardKind::Hba => "PIN.CH",
            _ => "PIN.SMC",
        };
        let pin = card::pin::PinRef::find(card.found.kind, name).ok_or(Code::BAD_PIN_REFERENCE)?;
        let locked = || {
            Failure::new(
                Code::ACCESS_CONDITION,
                format!("{name} is not verified: VerifyPin first"),
            )
        };
        if !card.is_verified(caller, name) {
            return Err(locked());
        }
        let _guard = card.exclusive.lock().await;
        match card.pin_status(pin).await? {
            PinStatus::Verified | PinStatus::Disabled => Ok(()),
            _ => Err(locked()),
        }
    }

    pub(super) async fn encrypt_document(
        &self,
        context: &CallContext,
        order: EncryptOrder,
    ) -> Result<String, Failure> {
        self.inner.state.permit(Function::Pin)?;
        if order.certificates.len() > envelope::RECIPIENTS {
            return Err(Code::TOO_MANY_RECIPIENTS.into());
        }
        let mut warnings = Vec::new();
        let mut recipients = Vec::new();
        match &order.card {
            Some(key) => {
                check_reference(key)?;
                let (card, _) = self.encryption_card(context, &key.handle, false)?;
                recipients.extend(self.own_certificates(&card, key.crypt, &mut warnings).await?);
            }
            None => {
                self.check(context, crate::model::Target::Nothing { wide: false })?;
            }
        }
        for der in &order.certificates {
            let unreadable =
                |error| Failure::new(Code::CERTIFICATE_UNREADABLE, error).within(Code::ENCRYPTION_FAILED);
            recipients.push(X509::parse(der).map_err(unreadable)?);
        }
        if recipients.is_empty() {
            return Err(Failure::new(Code::SYNTAX, "no recipient"));
        }
        let imported = self.inner.imported_authorities()?;
        for recipient in &recipients {
            self.check_recipient(recipient, &imported).await?;
        }
        let kind = match (&order.kind, &order.document.content) {
            (Some(kind), _) => kind.clone(),
            (None, Content::Xml(_)) => encryption_type::XML.into(),
            (None, Content::Data { .. }) => encryption_type::CMS.into(),
        };
        let document = order.document;
        check_size(document.content.bytes().len(), Around::Nothing)?;
        let failed = |error| {
            let failure = format_failure(error, Code::ENCRYPTION_FAILED);
            match failure.code() {
                Code::BAD_SIGNATURE_TYPE => Failure::new(Code::ENCRYPTION_FAILED, failure.detail()),
                _ => failure,
            }
        };
        let sealed = tokio::task::block_in_place(|| match kind.as_str() {
            encryption_type::XML => {
                let Kind::Xml(text, encoding) = examine(&document, Around::Nothing)? else {
                    return Err(Failure::new(
                        Code::BAD_DOCUMENT_FORMAT,
                        "XML encryption needs Base64XML",
                    ));
                };
                let sealed = xmlenc::seal(&text, &recipients).map_err(failed)?;
                Ok(Content::Xml(encoding.encode(&sealed)))
            }
            encryption_type::CMS => {
                let bytes = document.content.bytes().to_vec();
                let bytes = envelope::seal(bytes, &recipients, &order.unprotected).map_err(failed)?;
                Ok(Content::Data { mime: None, bytes })
            }
            // optional, and nobody needs it: KIM puts its own headers around CMS
            _ => Err(Code::ALGORITHM_NOT_SUPPORTED.into()),
        })?;
        self.inner.log_crypto_operation_without_card("EncryptDocument");
        let answer = InputDocument {
            content: sealed,
            ..document
        };
        Ok(encryption_response(
            "EncryptDocument",
            &self.status(warnings),
            &answer,
        ))
    }

    /// The ENC certificates of a card: of the kind asked for, or both; one missing of two is a warning (4259).
    async fn own_certificates(
        &self,
        card: &Card,
        wanted: Option<KeyChoice>,
        warnings: &mut Vec<Failure>,
    ) -> Result<Vec<X509>, Failure> {
        let kinds: &[Crypt] = match wanted {
            Some(KeyChoice::Rsa) => &[Crypt::Rsa],
            Some(KeyChoice::Ecc) | None => &[Crypt::Ecc],
            Some(KeyChoice::RsaEcc) => &[Crypt::Ecc, Crypt::Rsa],
        };
        let _guard = card.exclusive.lock().await;
        let mut found = Vec::new();
        for kind in kinds {
            match super::read_certificate(card, CertRef::Enc, *kind).await? {
                Some(certificate) => found.push(certificate),
                None if kinds.len() > 1 => {
                    warnings.push(Failure::new(Code::NOT_ALL_RECIPIENTS, format!("C.ENC, {kind:?}")));
                }
                None => {}
            }
        }
        match found.is_empty() {
            true => Err(Failure::new(Code::CERTIFICATE_NOT_ON_CARD, "C.ENC").within(Code::ENCRYPTION_FAILED)),
            false => Ok(found),
        }
    }

    /// Nothing is enciphered for a certificate that is revoked, unknown or not of the TI; one of an imported CA is judged by
    /// that CA alone (TIP1-A_5433). That the status service is silent keeps nobody from sending.
    async fn check_recipient(&self, certificate: &X509, imported: &[X509]) -> Result<(), Failure> {
        let (trust, clock) = (self.trust()?, &*self.inner.clock);
        let now = clock.now();
        let usable = certificate
            .spki()
            .ok()
            .is_some_and(|spki| crypto::PublicKey::from_spki(&spki).is_ok());
        if !usable {
            return Err(Code::RECIPIENT_ALGORITHM.into());
        }
        for authority in imported {
            if pki::signed_by(certificate, authority) && certificate.is_valid_at(now.as_second()) {
                return Ok(());
            }
        }
        let checked = match self.inner.config.online {
            true => trust.check(certificate, &pki::Purpose::RECIPIENT, clock).await,
            false => trust.check_offline(certificate, &pki::Purpose::RECIPIENT, now),
        };
        match checked {
            Err(error) if !error.is_inconclusive() => {
                Err(Failure::new(error.code(), error).within(Code::ENCRYPTION_FAILED))
            }
            _ => Ok(()),
        }
    }

    pub(super) async fn decrypt_document(
        &self,
        context: &CallContext,
        key: &KeyOnCard,
        document: InputDocument,
    ) -> Result<String, Failure> {
        self.inner.state.permit(Function::Pin)?;
        check_reference(key)?;
        check_size(document.content.bytes().len(), Around::Envelope)?;
        let (card, caller) = self.encryption_card(context, &key.handle, true)?;
        self.check_open(&card, &caller).await?;
        let failed = |error| {
            let failure = format_failure(error, Code::DECRYPTION_FAILED);
            match failure.code() {
                Code::BAD_SIGNATURE_TYPE => Failure::new(Code::ALGORITHM_NOT_SUPPORTED, failure.detail()),
                _ => failure,
            }
        };
        let content = match &document.content {
            Content::Xml(bytes) => {
                let (text, encoding) = decode_xml(bytes)?;
                let sealed = tokio::task::block_in_place(|| xmlenc::Sealed::read(&text)).map_err(failed)?;
                let content_key = self
                    .content_key(&card, &|certificate| sealed.key_for(certificate))
                    .await?;
                let plain = tokio::task::block_in_place(|| sealed.open(&content_key)).map_err(failed)?;
                Content::Xml(encoding.encode(&plain))
            }
            Content::Data { bytes, .. } => {
                let sealed = tokio::task::block_in_place(|| envelope::Sealed::read(bytes)).map_err(failed)?;
                let content_key = self
                    .content_key(&card, &|certificate| sealed.key_for(certificate))
                    .await?;
                let bytes = tokio::task::block_in_place(|| sealed.open(&content_key)).map_err(failed)?;
                Content::Data { mime: None, bytes }
            }
        };
        self.inner
            .log_crypto_operation("DecryptDocument", &card, CertRef::Enc.as_str());
        let answer = InputDocument { content, ..document };
        Ok(encryption_response(
            "DecryptDocument",
            &self.status(Vec::new()),
            &answer,
        ))
    }

    /// The content key: with the elliptic key first, and if that does not do, with the RSA key.
    async fn content_key(
        &self,
        card: &Card,
        find: &(dyn Fn(&X509) -> Result<Vec<u8>, signature::Error> + Sync),
    ) -> Result<zeroize::Zeroizing<Vec<u8>>, Failure> {
        let mut reason: Option<Failure> = None;
        for crypt in [Crypt::Ecc, Crypt::Rsa] {
            let Some(key) = CardKey::open(self.inner, card, Purpose::Decipher, crypt).await? else {
                continue;
            };
            let opened = match find(key.certificate()) {
                Ok(cryptogram) => key.decipher_on_card(&cryptogram).await,
                Err(error) => Err(format_failure(error, Code::KEY_DOES_NOT_FIT)),
            };
            match opened {
                Ok(content_key) => return Ok(content_key),
                Err(failure) => {
                    tracing::info!(detail = failure.detail(), ?crypt, "not opened with this key");
                    // what went wrong with a key that fits says more than that the other one does not
                    if reason
                        .as_ref()
                        .is_none_or(|known| known.code() == Code::KEY_DOES_NOT_FIT)
                    {
                        reason = Some(failure);
                    }
                }
            }
        }
        let failure = reason.unwrap_or_else(|| Code::KEY_DOES_NOT_FIT.into());
        Err(match failure.code() {
            Code::KEY_DOES_NOT_FIT | Code::ACCESS_CONDITION | Code::CARD_NOT_INSERTED => failure,
            _ => failure.within(Code::DECRYPTION_FAILED),
        })
    }
}
