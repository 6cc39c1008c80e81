use asn1::{Chat, Cvc, CvcDate};
use base::Timestamp;
use crypto::{Curve, EcPrivate, EcPublic, sha256};
use std::collections::{HashMap, VecDeque};

/// Why a CV certificate is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CvcError {
    /// Not a CV certificate.
    #[error(transparent)]
    Format(#[from] asn1::Error),
    /// Nobody knows the issuer.
    #[error("issuer unknown")]
    UnknownIssuer,
    /// The signature is wrong.
    #[error("signature wrong")]
    Signature,
    /// Outside its validity.
    #[error("not valid on this day")]
    Expired,
    /// A CA where a card must be, or the other way round.
    #[error("not a certificate of this kind")]
    Kind,
}

/// The day of a moment in the calendar of cards; `None` outside of its century.
pub fn day_of(moment: Timestamp) -> Option<CvcDate> {
    let digits: Vec<u8> = moment
        .strftime("%y%m%d")
        .to_string()
        .bytes()
        .map(|byte| byte.wrapping_sub(b'0'))
        .collect();
    CvcDate::from_digits(digits.try_into().ok()?).ok()
}

/// The roots of the card world with the cross certificates between them.
#[derive(Debug, Clone, Default)]
pub struct CvcTrust {
    /// Self-signed and cross certificates, as they stand in the trust list.
    roots: Vec<Cvc>,
}

impl CvcTrust {
    /// From the trust list's CV certificates. Self-signed ones must verify with their own key.
    pub fn new(certificates: impl IntoIterator<Item = Cvc>) -> Self {
        let good = |cvc: &Cvc| cvc.is_ca() && (!is_self_signed(cvc) || verify(cvc, &cvc.point).is_ok());
        Self {
            roots: certificates.into_iter().filter(good).collect(),
        }
    }

    /// Checks a card's chain CA → card against the roots, on a day (shell model). Returns the card's key.
    pub fn check(&self, ca: &Cvc, own: &Cvc, today: CvcDate) -> Result<EcPublic, CvcError> {
        if !ca.is_ca() || own.is_ca() {
            return Err(CvcError::Kind);
        }
        let root = self
            .roots
            .iter()
            .find(|root| root.chr == ca.car)
            .ok_or(CvcError::UnknownIssuer)?;
        verify(ca, &root.point)?;
        if ca.chr != own.car {
            return Err(CvcError::UnknownIssuer);
        }
        verify(own, &ca.point)?;
        let valid = |cvc: &Cvc| cvc.effective <= today && today <= cvc.expires;
        if !valid(ca) || !valid(own) {
            return Err(CvcError::Expired);
        }
        EcPublic::from_point(Curve::BrainpoolP256r1, &own.point).map_err(|_| CvcError::Signature)
    }

    /// Cross certificates that lead a card which knows the roots `known` to the root `wanted`, in order of import.
    pub fn path(&self, known: &[Vec<u8>], wanted: &[u8; 8]) -> Option<Vec<Cvc>> {
        let mut reached: HashMap<Vec<u8>, Vec<Cvc>> =
            known.iter().map(|root| (root.clone(), Vec::new())).collect();
        let mut queue: VecDeque<Vec<u8>> = known.iter().cloned().collect();
        while let Some(current) = queue.pop_front() {
            let so_far = reached.get(&current)?.clone();
            if current == wanted {
                return Some(so_far);
            }
            for link in self
                .roots
                .iter()
                .filter(|link| link.car.as_slice() == current && !is_self_signed(link))
            {
                if !reached.contains_key(&link.chr) {
                    let mut path = so_far.clone();
                    path.push(link.clone());
                    reached.insert(link.chr.clone(), path);
                    queue.push_back(link.chr.clone());
                }
            }
        }
        None
    }

    /// How many certificates.
    pub fn len(&self) -> usize {
        self.roots.len()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.roots.is_empty()
    }
}

fn is_self_signed(cvc: &Cvc) -> bool {
    cvc.chr == cvc.car
}

fn verify(cvc: &Cvc, issuer_point: &[u8]) -> Result<(), CvcError> {
    let key = EcPublic::from_point(Curve::BrainpoolP256r1, issuer_point).map_err(|_| CvcError::Signature)?;
    key.verify_prehash(&sha256([&cvc.body]), &cvc.signature)
        .map_err(|_| CvcError::Signature)
}

/// A certification authority for CV certificates (test TI).
#[derive(Debug, Clone)]
pub struct CvcAuthority {
    /// Its own certificate, encoded.
    pub certificate: Vec<u8>,
    /// Its name: what it writes as CAR.
    pub reference: [u8; 8],
    key: EcPrivate,
}

impl CvcAuthority {
    /// A root: self-signed, all rights.
    pub fn root(
        reference: [u8; 8],
        key: EcPrivate,
        chat: Chat,
        from: CvcDate,
        to: CvcDate,
    ) -> Result<Self, crypto::Error> {
        let point = key.public().point();
        let body = Cvc::encode_body(&reference, &reference, &point, chat, from, to);
        let certificate = Cvc::encode(&body, &key.sign_prehash(&sha256([&body]))?);
        Ok(Self {
            certificate,
            reference,
            key,
        })
    }

    /// A subordinate CA with its own key.
    pub fn subordinate(
        &self,
        reference: [u8; 8],
        key: EcPrivate,
        chat: Chat,
        from: CvcDate,
        to: CvcDate,
    ) -> Result<Self, crypto::Error> {
        let certificate = self.issue(&reference, &key.public(), chat, from, to)?;
        Ok(Self {
            certificate,
            reference,
            key,
        })
    }

    /// A certificate for somebody's key; `holder` has 12 bytes for a card and 8 for a CA or a cross certificate.
    pub fn issue(
        &self,
        holder: &[u8],
        key: &EcPublic,
        chat: Chat,
        from: CvcDate,
        to: CvcDate,
    ) -> Result<Vec<u8>, crypto::Error> {
        let body = Cvc::encode_body(&self.reference, holder, &key.point(), chat, from, to);
        Ok(Cvc::encode(&body, &self.key.sign_prehash(&sha256([&body]))?))
    }

    /// The public key.
    pub fn public(&self) -> EcPublic {
        self.key.public()
    }
}
