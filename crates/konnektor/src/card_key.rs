//! Keys in DF.ESIGN of HBA and SMC-B as keys like others: for TLS, for documents, for opening what was enciphered
//! (TUC_KON_218, 219). The key of qualified signatures is none of them: see `service::qes`.

use crate::cards::Card;
use crate::service::read_certificate;
use crate::{Failure, Inner};
use asn1::X509;
use base::Code;
use card::{AID_ESIGN, Channel, Command, Expect};
use crypto::{Hash, Key, PublicKey, SignatureScheme};
use soap::{CertRef, Crypt};
use std::sync::Arc;
use zeroize::Zeroizing;

/// What the key is for: certificate and key lie in DF.ESIGN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// C.HCI.AUT of an SMC-B, C.HP.AUT of an HBA.
    Authenticate,
    /// C.HCI.OSIG of an SMC-B.
    Sign,
    /// C.HCI.ENC, C.HP.ENC.
    Decipher,
}

impl Purpose {
    fn certificate(self) -> CertRef {
        match self {
            Purpose::Authenticate => CertRef::Aut,
            Purpose::Sign => CertRef::Sig,
            Purpose::Decipher => CertRef::Enc,
        }
    }

    /// Reference of the key within its folder (TAB_KON_900).
    fn key(self, crypt: Crypt) -> u8 {
        let number = match (self, crypt) {
            (Purpose::Authenticate, Crypt::Rsa) => 0x02,
            (Purpose::Authenticate, Crypt::Ecc) => 0x06,
            (Purpose::Sign, Crypt::Rsa) => 0x04,
            (Purpose::Sign, Crypt::Ecc) => 0x07,
            (Purpose::Decipher, Crypt::Rsa) => 0x03,
            (Purpose::Decipher, Crypt::Ecc) => 0x05,
        };
        0x80 | number
    }
}

/// Algorithm reference of a signature, and the data the card wants for it.
pub(crate) fn signature_command(
    scheme: SignatureScheme,
    hash: Hash,
    value: &[u8],
) -> Result<(u8, Vec<u8>), crypto::Error> {
    match scheme {
        SignatureScheme::Ecdsa if hash == Hash::Sha256 => Ok((0x00, value.to_vec())),
        SignatureScheme::RsaPss if hash == Hash::Sha256 => Ok((0x05, value.to_vec())),
        SignatureScheme::RsaPkcs1 => Ok((0x02, hash.digest_info(value))),
        _ => Err(crypto::Error::Unsupported),
    }
}

/// What a card's refusal means to the caller.
pub(crate) fn refusal(word: u16, what: &str, otherwise: Code) -> Failure {
    let code = match word {
        0x6982 => Code::ACCESS_CONDITION,
        0x6A88 | 0x6A82 => Code::KEY_MISSING,
        _ => otherwise,
    };
    Failure::new(code, format!("the card refused {what}: {word:04X}"))
}

/// A certificate with its key on a card; the card's PIN must have been verified.
pub(crate) struct CardKey {
    reference: u8,
    certificate: X509,
    public: PublicKey,
    channel: terminal::SlotChannel,
    exclusive: Arc<tokio::sync::Mutex<()>>,
    runtime: tokio::runtime::Handle,
}

impl std::fmt::Debug for CardKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CardKey")
    }
}

impl CardKey {
    /// The key of this kind; `None` if the card has none.
    pub(crate) async fn open(
        inner: &Inner,
        source: &Card,
        purpose: Purpose,
        crypt: Crypt,
    ) -> Result<Option<Self>, Failure> {
        let guard = source.exclusive.lock().await;
        let certificate = read_certificate(source, purpose.certificate(), crypt).await?;
        drop(guard);
        let Some(certificate) = certificate else {
            return Ok(None);
        };
        let unusable = |error: String| Failure::new(Code::CERTIFICATE_UNREADABLE, error);
        let spki = certificate.spki().map_err(|error| unusable(error.to_string()))?;
        Ok(Some(Self {
            reference: purpose.key(crypt),
            public: PublicKey::from_spki(&spki).map_err(|error| unusable(error.to_string()))?,
            certificate,
            channel: source.channel.clone(),
            exclusive: source.exclusive.clone(),
            runtime: inner.runtime.clone(),
        }))
    }

    /// The elliptic key, which every card of today has.
    pub(crate) async fn elliptic(inner: &Inner, source: &Card, purpose: Purpose) -> Result<Self, Failure> {
        let key = Self::open(inner, source, purpose, Crypt::Ecc).await?;
        key.ok_or_else(|| Code::ECC_NOT_ON_CARD.into())
    }

    /// The certificate.
    pub(crate) fn certificate(&self) -> &X509 {
        &self.certificate
    }

    /// Signs a hash value; the signature is as [`PublicKey::verify_hash`] takes it.
    pub(crate) async fn sign_on_card(
        &self,
        scheme: SignatureScheme,
        hash: Hash,
        value: &[u8],
    ) -> Result<Vec<u8>, Failure> {
        let (algorithm, data) = signature_command(scheme, hash, value)?;
        let sign = Command::new(0, 0x2A, 0x9E, 0x9A)
            .data(data)
            .expect(Expect::AllShort);
        let choose = Command::new(0, 0x22, 0x41, 0xB6);
        let signature = self
            .use_key(choose, algorithm, &sign, "to sign", Code::SIGNATURE_FAILED)
            .await?;
        match scheme {
            SignatureScheme::Ecdsa => crypto::ecdsa_der(&signature).map_err(|_| Code::CARD_ERROR.into()),
            _ => Ok(signature),
        }
    }

    /// Opens a content key.
    pub(crate) async fn decipher_on_card(&self, cryptogram: &[u8]) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let (algorithm, data) = match self.public {
            PublicKey::Ec(_) => (0x0B, cryptogram.to_vec()),
            // the byte says what padding indicator there is: none
            PublicKey::Rsa(_) => (0x85, [&[0x00], cryptogram].concat()),
        };
        let decipher = Command::new(0, 0x2A, 0x80, 0x86).data(data).expect(Expect::All);
        let choose = Command::new(0, 0x22, 0x41, 0xB8);
        self.use_key(choose, algorithm, &decipher, "to decipher", Code::CRYPTOGRAM)
            .await
            .map(Zeroizing::new)
    }

    async fn use_key(
        &self,
        choose: Command,
        algorithm: u8,
        command: &Command,
        what: &str,
        otherwise: Code,
    ) -> Result<Vec<u8>, Failure> {
        let _guard = self.exclusive.lock().await;
        let channel: &dyn Channel = &self.channel;
        channel.select_mf().await?;
        channel.select(AID_ESIGN).await?;
        let choose = choose.data([0x84, 0x01, self.reference, 0x80, 0x01, algorithm]);
        for (command, otherwise) in [(&choose, Code::KEY_MISSING), (command, otherwise)] {
            let answer = channel.transmit(command).await?;
            if !answer.is_ok() {
                return Err(refusal(answer.sw, what, otherwise));
            }
            if !answer.data.is_empty() {
                return Ok(answer.data);
            }
        }
        Err(Failure::new(otherwise, "the card gave nothing"))
    }
}

impl Key for CardKey {
    fn public(&self) -> PublicKey {
        self.public.clone()
    }

    /// TLS signs synchronously, a card answers when it does: this thread waits while others go on.
    fn sign_hash(&self, scheme: SignatureScheme, hash: Hash, value: &[u8]) -> Result<Vec<u8>, crypto::Error> {
        let signing = self.sign_on_card(scheme, hash, value);
        let signed = tokio::task::block_in_place(|| self.runtime.block_on(signing));
        signed.map_err(|failure| {
            tracing::warn!(detail = failure.detail(), "card key");
            crypto::Error::BadKey
        })
    }

    fn decipher(&self, cryptogram: &[u8]) -> Result<Zeroizing<Vec<u8>>, crypto::Error> {
        let opening = self.decipher_on_card(cryptogram);
        let opened = tokio::task::block_in_place(|| self.runtime.block_on(opening));
        opened.map_err(|_| crypto::Error::BadKey)
    }
}
