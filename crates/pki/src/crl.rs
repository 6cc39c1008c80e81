//! The revocation list of the VPN access services (TUC_PKI_021): without a tunnel no OCSP responder can be asked.

use crate::tsl::Tsl;
use asn1::X509;
use base::{Code, Timestamp};
use crypto::{PublicKey, SignatureScheme};

/// Why a revocation list does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CrlError {
    /// Not a revocation list.
    #[error("revocation list unreadable: {0}")]
    Format(#[from] asn1::Error),
    /// Contains a critical extension nobody understands.
    #[error("unknown critical extension in the revocation list")]
    Critical,
    /// Past its NextUpdate.
    #[error("the revocation list ended on {0}; load a newer one")]
    Outdated(Timestamp),
    /// Made in the future: a wrong clock, here or there.
    #[error("the revocation list was made in the future ({0}); check the clock")]
    Future(Timestamp),
    /// Nobody in the trust list signs such lists under this name.
    #[error("the signer of the revocation list is not in the trust list")]
    Signer,
    /// The signature is wrong.
    #[error("signature of the revocation list wrong")]
    Signature,
    /// Older than the one in use.
    #[error("older than the revocation list in use")]
    Older,
}

impl CrlError {
    /// The code of TUC_PKI_021.
    pub fn code(&self) -> Code {
        match self {
            CrlError::Format(_) | CrlError::Critical | CrlError::Older => Code::CRL_CHECK,
            CrlError::Outdated(_) | CrlError::Future(_) => Code::CRL_OUTDATED,
            CrlError::Signer => Code::CRL_SIGNER_MISSING,
            CrlError::Signature => Code::CRL_SIGNATURE,
        }
    }
}

/// A revocation list whose signature is right.
#[derive(Debug, Clone)]
pub struct Crl {
    inner: asn1::Crl,
    /// Made at.
    pub this_update: Timestamp,
    /// Next one at the latest at.
    pub next_update: Timestamp,
}

impl Crl {
    /// Checks the signature with the signers of `list`. The dates are judged by [`Crl::check_times`], because a list may
    /// be stored in time and be used later.
    pub fn verify(der: &[u8], list: &Tsl) -> Result<Self, CrlError> {
        let inner = asn1::Crl::parse(der)?;
        if !inner.unknown_critical.is_empty() {
            return Err(CrlError::Critical);
        }
        let mut named = list
            .crl_signers
            .iter()
            .filter(|signer| signer.subject_der().is_ok_and(|name| name == inner.issuer))
            .peekable();
        named.peek().ok_or(CrlError::Signer)?;
        if !named.any(|signer| signed(&inner, signer)) {
            return Err(CrlError::Signature);
        }
        let time = |seconds| {
            Timestamp::from_second(seconds).map_err(|_| asn1::Error::Malformed("date of the revocation list"))
        };
        Ok(Self {
            this_update: time(inner.this_update)?,
            next_update: time(inner.next_update)?,
            inner,
        })
    }

    /// Is the list from now, more or less?
    pub fn check_times(&self, now: Timestamp) -> Result<(), CrlError> {
        if self.next_update <= now {
            return Err(CrlError::Outdated(self.next_update));
        }
        let tolerance = crate::status::CLOCK_TOLERANCE;
        if now
            .checked_add(tolerance)
            .is_ok_and(|latest| self.this_update > latest)
        {
            return Err(CrlError::Future(self.this_update));
        }
        Ok(())
    }

    /// Since when a certificate is revoked; `None` if it is not.
    pub fn revoked(&self, certificate: &X509) -> Option<Timestamp> {
        let issuer = certificate.issuer_der().ok()?;
        let serial = certificate.serial();
        let mut entries = self.inner.entries.iter();
        let entry = entries.find(|entry| entry.serial == serial && entry.issuer == issuer)?;
        Timestamp::from_second(entry.since).ok()
    }

    /// The list as it was received.
    pub fn der(&self) -> &[u8] {
        self.inner.der()
    }
}

fn signed(crl: &asn1::Crl, signer: &X509) -> bool {
    let (algorithm, signature) = crl.signature();
    let key = signer
        .spki()
        .ok()
        .and_then(|spki| PublicKey::from_spki(&spki).ok());
    let may = signer.key_usage.is_some_and(|usage| usage.crl_sign());
    match (key, SignatureScheme::from_oid(algorithm)) {
        (Some(key), Ok(scheme)) => may && key.verify(scheme, crl.tbs(), signature).is_ok(),
        _ => false,
    }
}
