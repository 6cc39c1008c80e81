//! CertificateService: reading, watching and checking certificates (gemSpec_Kon 4.1.9).

use super::{Call, date};
use crate::Failure;
use crate::cards::Card;
use crate::model::Target;
use crate::state::Function;
use asn1::X509;
use base::{Code, Timestamp};
use card::{AID_ESIGN, CardKind, Channel};
use pki::{CheckError, Purpose};
use soap::{CallContext, CertRef, CertificateData, Crypt, Expiration, Status, Verification};
use std::sync::PoisonError;

/// Where a certificate lies: application and short file identifiers for RSA and ECC.
fn place(kind: CardKind, reference: CertRef) -> Option<(&'static [u8], u8, u8)> {
    match (kind, reference) {
        (CardKind::Hba | CardKind::SmcB, CertRef::Aut) => Some((AID_ESIGN, 0x01, 0x06)),
        (CardKind::Hba | CardKind::SmcB, CertRef::Enc) => Some((AID_ESIGN, 0x02, 0x05)),
        (CardKind::SmcB, CertRef::Sig) => Some((AID_ESIGN, 0x10, 0x07)),
        (CardKind::Hba, CertRef::Qes) => Some((card::pin::AID_QES, 0x10, 0x06)),
        _ => None,
    }
}

/// One certificate of a card; `None` if the card does not have it. The caller holds the card.
pub(crate) async fn read(card: &Card, reference: CertRef, crypt: Crypt) -> Result<Option<X509>, Failure> {
    let key = (reference, crypt);
    let known = || card.certificates.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(certificate) = known().get(&key) {
        return Ok(certificate.clone());
    }
    let (aid, rsa, ecc) = place(card.found.kind, reference).ok_or(Code::BAD_CERT_REF)?;
    let channel: &dyn Channel = &card.channel;
    channel.select_mf().await?;
    channel.select(aid).await?;
    let sfi = match crypt {
        Crypt::Rsa => rsa,
        Crypt::Ecc => ecc,
    };
    let file = channel.read_file(sfi).await?;
    channel.select_mf().await?;
    let certificate = match file {
        Ok(bytes) => Some(
            X509::parse_file(&bytes).map_err(|error| Failure::new(Code::CERTIFICATE_UNREADABLE, error))?,
        ),
        Err(_) => None,
    };
    known().insert(key, certificate.clone());
    Ok(certificate)
}

impl Call<'_> {
    pub(super) async fn read_card_certificate(
        &self,
        context: &CallContext,
        handle: &str,
        refs: &[CertRef],
        crypt: Option<Crypt>,
    ) -> Result<String, Failure> {
        self.inner.state.permit(Function::ReadCertificate)?;
        let card = self.card(handle)?;
        self.enter(context, &card, false)?;
        match card.found.kind {
            CardKind::Hba | CardKind::SmcB => {}
            CardKind::Egk => return Err(Code::EGK_NOT_ALLOWED.into()),
            _ => return Err(Code::CARD_TYPE_NOT_SUPPORTED.into()),
        }
        let crypt = crypt.unwrap_or(Crypt::Rsa);
        let _guard = card.reserve().await?;
        let mut list = Vec::new();
        for reference in refs {
            let certificate = read(&card, *reference, crypt).await?;
            if certificate.is_none() && crypt == Crypt::Ecc {
                return Err(Code::ECC_NOT_ON_CARD.into());
            }
            list.push((
                *reference,
                certificate.map(|certificate| CertificateData {
                    issuer: certificate.issuer(),
                    serial: certificate.serial_decimal(),
                    subject: certificate.subject(),
                    der: certificate.der().to_vec(),
                }),
            ));
        }
        let missing = list.iter().any(|(_, data)| data.is_none());
        let status = match missing {
            false => Status::Ok,
            true => Status::Warning(
                Failure::from(Code::CERTIFICATE_NOT_ON_CARD).fault("read", self.inner.clock.now()),
            ),
        };
        Ok(soap::read_response(&status, &list))
    }

    pub(super) async fn check_expiration(
        &self,
        context: &CallContext,
        handle: Option<&str>,
        crypt: Option<Crypt>,
    ) -> Result<String, Failure> {
        self.inner.state.permit(Function::ReadCertificate)?;
        let crypt = crypt.unwrap_or(Crypt::Rsa);
        let mut list = Vec::new();
        let mut without_ecc = false;
        if let Some(handle) = handle {
            let card = self.card(handle)?;
            self.enter(context, &card, false)?;
            if card.found.kind == CardKind::Egk {
                return Err(Code::NOT_PERMITTED.into());
            }
            let _guard = card.reserve().await?;
            match read(&card, CertRef::Aut, crypt).await? {
                Some(certificate) => list.push(expiration(&card, &certificate)),
                None if crypt == Crypt::Ecc => return Err(Code::ECC_NOT_ON_CARD.into()),
                None => return Err(Code::CERTIFICATE_MISSING.into()),
            }
        } else {
            self.check(context, Target::Nothing { wide: false })?;
            list.extend(self.own_expiration());
            for terminal in self.inner.terminals.all() {
                let certificate = terminal
                    .session
                    .as_ref()
                    .and_then(|session| X509::parse(session.certificate()).ok());
                if let Some(certificate) = certificate {
                    list.push(Expiration {
                        ct_id: terminal.record.config.id.to_string(),
                        handle: String::new(),
                        iccsn: certificate.common_name().unwrap_or_default(),
                        common_name: certificate.common_name().unwrap_or_default(),
                        serial: certificate.serial_decimal(),
                        validity: date(certificate.validity().1).unwrap_or_default(),
                    });
                }
            }
            for card in self.inner.cards.all() {
                let ours = matches!(card.found.kind, CardKind::Hba | CardKind::SmcB);
                if !ours || self.check(context, super::target(&card, false)).is_err() {
                    continue;
                }
                let _guard = card.reserve().await?;
                match read(&card, CertRef::Aut, crypt).await? {
                    Some(certificate) => list.push(expiration(&card, &certificate)),
                    None => without_ecc |= crypt == Crypt::Ecc,
                }
            }
        }
        let status = match without_ecc {
            false => Status::Ok,
            true => Status::Warning(
                Failure::from(Code::ECC_NOT_ON_CARDS).fault("expiration", self.inner.clock.now()),
            ),
        };
        Ok(soap::expiration_response(&status, &list))
    }

    /// The Konnektor's own certificate: CtID and CardHandle are empty, by which practice systems know it (A_13533).
    fn own_expiration(&self) -> Option<Expiration> {
        let (_, shown) = self.inner.ak_identity(identity::Algorithm::Brainpool);
        let certificate = X509::parse(shown.chain.first()?).ok()?;
        Some(Expiration {
            ct_id: String::new(),
            handle: String::new(),
            iccsn: self.inner.identities.iccsn.clone(),
            common_name: certificate.common_name()?,
            serial: certificate.serial_decimal(),
            validity: date(certificate.validity().1)?,
        })
    }

    pub(super) async fn verify_certificate(
        &self,
        context: &CallContext,
        der: &[u8],
        at: Option<&str>,
    ) -> Result<String, Failure> {
        self.inner.state.permit(Function::VerifyCertificate)?;
        self.check(context, Target::Nothing { wide: false })?;
        let unreadable = |error: asn1::Error| Failure::new(Code::CERTIFICATE_UNREADABLE, error);
        let certificate = X509::parse(der).map_err(unreadable)?;
        let at: Option<Timestamp> = at
            .map(|text| {
                text.parse()
                    .map_err(|_| Failure::new(Code::SYNTAX, "VerificationTime"))
            })
            .transpose()?;
        let now = self.inner.clock.now();
        let outcome = self.verify_by_trust(&certificate, at.unwrap_or(now)).await?;
        let own_roles = certificate
            .admission
            .as_ref()
            .map(|admission| admission.oids.clone())
            .unwrap_or_default();
        let roles: Vec<String> = own_roles.iter().map(ToString::to_string).collect();
        Ok(match outcome {
            Ok(_) => soap::verification_response(&Status::Ok, Verification::Valid, None, &roles),
            Err(error) => {
                let result = if error.is_inconclusive() {
                    Verification::Inconclusive
                } else {
                    Verification::Invalid
                };
                let fault = Failure::new(error.code(), &error).fault("verify", now);
                soap::verification_response(&Status::Ok, result, Some(&fault), &roles)
            }
        })
    }

    /// By the trusted list if the certificate claims to be qualified, by an imported CA if that issued it, else by the
    /// trust list (TUC_KON_037).
    async fn verify_by_trust(
        &self,
        certificate: &X509,
        at: Timestamp,
    ) -> Result<Result<(), CheckError>, Failure> {
        let (inner, clock) = (self.inner, &*self.inner.clock);
        for authority in inner.imported_authorities()? {
            // of a foreign CA nobody here knows who tells the status: none is asked for (TIP1-A_5433)
            if pki::signed_by(certificate, &authority) {
                let valid = certificate.is_valid_at(at.as_second()) && authority.is_valid_at(at.as_second());
                return Ok(if valid { Ok(()) } else { Err(CheckError::Time) });
            }
        }
        let trust = inner
            .trust()
            .ok_or_else(|| Failure::new(Code::CRITICAL_STATE, "no trust list yet"))?;
        let qualified = certificate.qc_statements.is_some();
        let verdict = match (qualified, inner.config.online) {
            (true, true) => trust.check_qualified(certificate, at, clock).await,
            (true, false) => trust.check_qualified_offline(certificate, at, clock.now()),
            (false, true) => trust.check_at(certificate, &Purpose::ANY, at, clock).await,
            (false, false) => trust.check_offline(certificate, &Purpose::ANY, at),
        };
        Ok(verdict.and_then(|verdict| match verdict.status {
            pki::StatusEvidence::NotAsked => Err(CheckError::NotOnline),
            _ => Ok(()),
        }))
    }
}

fn expiration(card: &Card, certificate: &X509) -> Expiration {
    Expiration {
        ct_id: card.ct_id.to_string(),
        handle: card.handle.to_string(),
        iccsn: card
            .found
            .iccsn
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        common_name: certificate.common_name().unwrap_or_default(),
        serial: certificate.serial_decimal(),
        validity: date(certificate.validity().1).unwrap_or_default(),
    }
}
