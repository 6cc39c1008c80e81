//! Card-to-card authentication (TUC_KON_005): an HBA or SMC-B unlocks an eGK, and an eGK proves that it is genuine.

use crate::apdu::{Command, Expect};
use crate::channel::{Channel, ChannelError};
use crate::cos::sw;
use asn1::{Cvc, CvcDate, tlv};
use base::Code;
use base::id::Iccsn;
use pki::CvcTrust;

/// Short identifiers of the CA certificate and the role certificate in the MF.
const SFI_CA: u8 = 0x07;
const SFI_ROLE: u8 = 0x06;
/// PrK.*.AUTR_CVC.E256 of HBA and SMC-B.
const KEY_ROLE: u8 = 0x06;
/// PrK.eGK.AUT_CVC.E256.
const KEY_EGK: u8 = 0x09;

/// Why two cards did not authenticate.
#[derive(Debug, thiserror::Error)]
pub enum C2cError {
    /// The way to a card failed.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The source card refused.
    #[error("source card refused {step}: {word:04X}")]
    Source {
        /// What it was asked.
        step: &'static str,
        /// Its status word.
        word: u16,
    },
    /// The target card refused.
    #[error("target card refused {step}: {word:04X}")]
    Target {
        /// What it was asked.
        step: &'static str,
        /// Its status word.
        word: u16,
    },
    /// No cross certificate leads from the source's root to the target's.
    #[error("no cross CV certificate to the target card's root")]
    NoCrossCertificate,
    /// A CV certificate is not what it should be.
    #[error("CV certificate: {0}")]
    Certificate(#[from] pki::CvcError),
    /// The signature does not fit: not the genuine card.
    #[error("the card could not prove that it is genuine")]
    NotGenuine,
}

impl C2cError {
    /// The code for the caller.
    pub fn code(&self) -> Code {
        match self {
            C2cError::Channel(ChannelError::Timeout) => Code::CARD_TIMEOUT,
            C2cError::Channel(_) => Code::TERMINAL_ACCESS,
            C2cError::Source { .. } => Code::C2C_SOURCE,
            C2cError::Target { .. } | C2cError::NotGenuine => Code::C2C_TARGET,
            C2cError::NoCrossCertificate => Code::CROSS_CVC_MISSING,
            C2cError::Certificate(_) => Code::CVC_CHECK,
        }
    }
}

/// The CV certificates of a card: its CA's and its own role's. They do not change while the card is inserted.
#[derive(Debug, Clone)]
pub struct CvcPair {
    /// Certificate of the CA.
    pub ca: Cvc,
    /// Certificate of the card.
    pub own: Cvc,
}

impl CvcPair {
    /// Reads the CA's and the role's from the MF.
    pub async fn read(card: &dyn Channel) -> Result<Self, C2cError> {
        Self::read_with(card, SFI_ROLE).await
    }

    /// Reads the CA's and another one of the card from the MF.
    pub async fn read_with(card: &dyn Channel, sfi_own: u8) -> Result<Self, C2cError> {
        card.select_mf().await?;
        Ok(Self {
            ca: read_cvc(card, SFI_CA, "READ BINARY of the CA CVC").await?,
            own: read_cvc(card, sfi_own, "READ BINARY of the card's CVC").await?,
        })
    }

    /// Reads the CA's from the MF and one of the card from an application, which stays selected.
    pub async fn read_inside(card: &dyn Channel, application: &[u8], sfi_own: u8) -> Result<Self, C2cError> {
        card.select_mf().await?;
        let ca = read_cvc(card, SFI_CA, "READ BINARY of the CA CVC").await?;
        card.select(application).await?;
        let own = read_cvc(card, sfi_own, "READ BINARY of the card's CVC").await?;
        Ok(Self { ca, own })
    }
}

async fn read_cvc(card: &dyn Channel, sfi: u8, step: &'static str) -> Result<Cvc, C2cError> {
    let bytes = card
        .read_file(sfi)
        .await?
        .map_err(|word| C2cError::Source { step, word })?;
    Ok(Cvc::parse(&bytes).map_err(pki::CvcError::from)?)
}

/// One-sided: `source` proves its role to `target`, which opens what that role may see.
/// The source's PIN must be verified before.
pub async fn unlock(
    source: &dyn Channel,
    certificates: &CvcPair,
    target: &dyn Channel,
    target_iccsn: &Iccsn,
    trust: &CvcTrust,
) -> Result<(), C2cError> {
    source.select_mf().await?;
    target.select_mf().await?;
    let chr = &certificates.own.chr;
    let choose_role =
        Command::new(0, 0x22, 0x81, 0xA4).data([tlv::encode(0x83, chr), tlv::encode(0x80, &[0x00])].concat());
    let mut chosen = target.transmit(&choose_role).await?;
    if chosen.sw == sw::KEY_NOT_FOUND {
        import(target, certificates, trust).await?;
        chosen = target.transmit(&choose_role).await?;
    }
    target_ok("MSE for EXTERNAL AUTHENTICATE", chosen.sw)?;
    let challenge = target
        .transmit(&Command::new(0, 0x84, 0, 0).expect(Expect::Bytes(16)))
        .await?;
    target_ok("GET CHALLENGE", challenge.sw)?;
    let token = [&challenge.data[..], &target_iccsn.iccsn8()].concat();
    let signature = sign_token(source, KEY_ROLE, &token)
        .await?
        .map_err(|word| C2cError::Source {
            step: "INTERNAL AUTHENTICATE",
            word,
        })?;
    let proof = target
        .transmit(&Command::new(0, 0x82, 0, 0).data(signature))
        .await?;
    target_ok("EXTERNAL AUTHENTICATE", proof.sw)
}

/// The eGK signs a random number, and the Konnektor itself checks chain and signature (mutual mode with an eGK).
pub async fn prove_genuine(
    egk: &dyn Channel,
    iccsn: &Iccsn,
    trust: &CvcTrust,
    today: CvcDate,
) -> Result<(), C2cError> {
    let certificates = CvcPair::read(egk).await?;
    let key = trust.check(&certificates.ca, &certificates.own, today)?;
    if certificates.own.chr.get(2..) != Some(&iccsn.as_bcd()[..]) {
        return Err(C2cError::NotGenuine);
    }
    // the last eight bytes must differ from the card's own number, or it refuses
    let mut token: [u8; 24] = crypto::random().map_err(|_| C2cError::NotGenuine)?;
    if token.ends_with(&iccsn.iccsn8()) {
        token.reverse();
    }
    let signature = sign_token(egk, KEY_EGK, &token)
        .await?
        .map_err(|word| C2cError::Target {
            step: "INTERNAL AUTHENTICATE",
            word,
        })?;
    let hash = crate::cos::role_token(&token);
    key.verify_prehash(&hash, &signature)
        .map_err(|_| C2cError::NotGenuine)
}

/// MSE and INTERNAL AUTHENTICATE with elcRoleAuthentication.
async fn sign_token(card: &dyn Channel, key: u8, token: &[u8]) -> Result<Result<Vec<u8>, u16>, ChannelError> {
    let choose = Command::new(0, 0x22, 0x41, 0xA4).data([0x84, 0x01, key, 0x80, 0x01, 0x00]);
    let chosen = card.transmit(&choose).await?;
    if !chosen.is_ok() {
        return Ok(Err(chosen.sw));
    }
    let sign = Command::new(0, 0x88, 0, 0).data(token).expect(Expect::AllShort);
    let signed = card.transmit(&sign).await?;
    Ok(if signed.is_ok() {
        Ok(signed.data)
    } else {
        Err(signed.sw)
    })
}

/// Brings the source's certificates into the target, over cross certificates if their roots differ.
pub(crate) async fn import(
    target: &dyn Channel,
    certificates: &CvcPair,
    trust: &CvcTrust,
) -> Result<(), C2cError> {
    if choose_issuer(target, &certificates.own.car).await? == sw::KEY_NOT_FOUND {
        if choose_issuer(target, &certificates.ca.car).await? == sw::KEY_NOT_FOUND {
            let known = list_known_roots(target).await?;
            let path = trust
                .path(&known, &certificates.ca.car)
                .ok_or(C2cError::NoCrossCertificate)?;
            for link in path {
                target_ok("MSE for a root", choose_issuer(target, &link.car).await?)?;
                verify_certificate(target, &link).await?;
            }
            target_ok(
                "MSE for the CA's root",
                choose_issuer(target, &certificates.ca.car).await?,
            )?;
        }
        verify_certificate(target, &certificates.ca).await?;
        target_ok(
            "MSE for the CA",
            choose_issuer(target, &certificates.own.car).await?,
        )?;
    }
    verify_certificate(target, &certificates.own).await
}

async fn choose_issuer(target: &dyn Channel, car: &[u8; 8]) -> Result<u16, ChannelError> {
    let choose = Command::new(0, 0x22, 0x81, 0xB6).data(tlv::encode(0x83, car));
    Ok(target.transmit(&choose).await?.sw)
}

async fn verify_certificate(target: &dyn Channel, cvc: &Cvc) -> Result<(), C2cError> {
    let answer = target
        .transmit(&Command::new(0, 0x2A, 0x00, 0xBE).data(cvc.command_data()))
        .await?;
    target_ok("PSO VERIFY CERTIFICATE", answer.sw)
}

async fn list_known_roots(target: &dyn Channel) -> Result<Vec<Vec<u8>>, ChannelError> {
    let answer = target
        .transmit(&Command::new(0x80, 0xCA, 0x01, 0x00).expect(Expect::All))
        .await?;
    let objects = tlv::read_all(&answer.data).unwrap_or_default();
    let references = objects
        .iter()
        .filter_map(|object| tlv::path(object.value, &[0xB6, 0x83]));
    Ok(references.map(<[u8]>::to_vec).collect())
}

fn target_ok(step: &'static str, word: u16) -> Result<(), C2cError> {
    if word == sw::OK {
        Ok(())
    } else {
        Err(C2cError::Target { step, word })
    }
}
