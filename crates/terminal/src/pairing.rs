//! Pairing (TUC_KON_053), its proof on every connection (TUC_KON_050) and maintenance pairing.

use crate::command;
use crate::session::{Session, TerminalError};
use asn1::{X509, tlv};
use card::{Command, Expect};
use crypto::{PublicKey, SignatureScheme, sha256};
use std::time::Duration;
use zeroize::Zeroizing;

/// The secret a Konnektor and a terminal share.
pub type Secret = Zeroizing<Vec<u8>>;

/// The person at the terminal has ten minutes to agree.
const CONSENT: Duration = Duration::from_secs(600);

fn authenticate(p2: u8) -> Command {
    Command::new(0x81, 0xAA, 0x00, p2)
}

/// Makes a new pairing: a secret that the terminal confirms with its key after a person there has agreed.
/// `text` is what the person reads (`KT:… MIT KON:… PAIREN OK?`).
pub async fn create(session: &Session, text: &str) -> Result<Secret, TerminalError> {
    let secret: [u8; 16] = crypto::random().map_err(|_| TerminalError::NotAuthentic("no random numbers"))?;
    let data = [
        tlv::encode(0xD4, &secret),
        tlv::encode(0x50, &command::encode_text(text)),
    ]
    .concat();
    let signature = session
        .ask(
            "EHEALTH TERMINAL AUTHENTICATE (CREATE)",
            &authenticate(0x01).data(data).expect(Expect::AllShort),
            CONSENT,
        )
        .await?;
    let certificate = X509::parse(session.certificate()).map_err(|_| TerminalError::Garbage)?;
    let key = certificate
        .spki()
        .ok()
        .and_then(|spki| PublicKey::from_spki(&spki).ok())
        .ok_or(TerminalError::Garbage)?;
    let good = match &key {
        PublicKey::Ec(key) => key.verify_prehash(&sha256([&secret]), &signature).is_ok(),
        rsa => rsa.verify(SignatureScheme::RsaPss, &secret, &signature).is_ok(),
    };
    if good {
        Ok(Zeroizing::new(secret.to_vec()))
    } else {
        Err(TerminalError::NotAuthentic("signature over the secret"))
    }
}

/// Has the terminal prove that it knows the secret.
pub async fn validate(session: &Session, secret: &Secret, timeout: Duration) -> Result<(), TerminalError> {
    let challenge: [u8; 32] =
        crypto::random().map_err(|_| TerminalError::NotAuthentic("no random numbers"))?;
    let command = authenticate(0x02)
        .data(tlv::encode(0xD5, &challenge))
        .expect(Expect::Bytes(32));
    let proof = session
        .ask("EHEALTH TERMINAL AUTHENTICATE (VALIDATE)", &command, timeout)
        .await?;
    if crypto::card::same_mac(&proof, &sha256([&challenge[..], secret])) {
        Ok(())
    } else {
        Err(TerminalError::NotAuthentic("proof of the shared secret"))
    }
}

/// Maintenance pairing: this Konnektor's new key joins the pairing block that holds the secret.
pub async fn add(session: &Session, secret: &Secret, timeout: Duration) -> Result<(), TerminalError> {
    let first = authenticate(0x03).expect(Expect::Bytes(32));
    let challenge = session
        .ask("EHEALTH TERMINAL AUTHENTICATE (ADD 1)", &first, timeout)
        .await?;
    let proof = sha256([&challenge[..], secret]);
    let second = authenticate(0x04).data(tlv::encode(0xD6, &proof));
    session
        .ask("EHEALTH TERMINAL AUTHENTICATE (ADD 2)", &second, timeout)
        .await?;
    Ok(())
}
