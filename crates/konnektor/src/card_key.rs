//! Keys on cards as keys like others: for TLS, and for what the Konnektor itself signs.

use crate::Inner;
use crate::cards::Card;
use asn1::X509;
use card::{AID_ESIGN, Channel, Command, Expect, Response};
use crypto::{Key, PublicKey, SignatureScheme};
use std::sync::Arc;

/// What the key is for: certificate and key lie in DF.ESIGN under the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// C.HCI.AUT of an SMC-B, C.HP.AUT of an HBA.
    Authenticate,
    /// C.HCI.OSIG of an SMC-B.
    Sign,
}

impl Purpose {
    fn number(self) -> u8 {
        match self {
            Purpose::Authenticate => 0x06,
            Purpose::Sign => 0x07,
        }
    }
}

/// A certificate with its key on a card; the card's PIN must have been verified.
pub(crate) struct CardKey {
    purpose: Purpose,
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
    pub(crate) async fn open(inner: &Inner, source: &Card, purpose: Purpose) -> Result<Self, String> {
        let _guard = source.exclusive.lock().await;
        let channel: &dyn Channel = &source.channel;
        channel.select_mf().await.map_err(|error| error.to_string())?;
        channel
            .select(AID_ESIGN)
            .await
            .map_err(|error| error.to_string())?;
        let file = channel
            .read_file(purpose.number())
            .await
            .map_err(|error| error.to_string())?;
        let file = file.map_err(|word| format!("certificate {purpose:?}: {word:04X}"))?;
        let certificate = X509::parse_file(&file).map_err(|error| error.to_string())?;
        let public = certificate
            .spki()
            .ok()
            .and_then(|spki| PublicKey::from_spki(&spki).ok());
        Ok(Self {
            purpose,
            public: public.ok_or("key of the AUT certificate")?,
            certificate,
            channel: source.channel.clone(),
            exclusive: source.exclusive.clone(),
            runtime: inner.runtime.clone(),
        })
    }

    /// The certificate.
    pub(crate) fn certificate(&self) -> &X509 {
        &self.certificate
    }

    async fn sign_on_card(&self, message: &[u8]) -> Option<Vec<u8>> {
        let _guard = self.exclusive.lock().await;
        let channel: &dyn Channel = &self.channel;
        channel.select_mf().await.ok()?;
        channel.select(AID_ESIGN).await.ok()?;
        let choose = Command::new(0, 0x22, 0x41, 0xB6).data([
            0x84,
            0x01,
            0x80 | self.purpose.number(),
            0x80,
            0x01,
            0x00,
        ]);
        channel.transmit(&choose).await.ok().filter(Response::is_ok)?;
        let hash = crypto::sha256([message]);
        let sign = Command::new(0, 0x2A, 0x9E, 0x9A)
            .data(hash)
            .expect(Expect::AllShort);
        let signature = channel.transmit(&sign).await.ok().filter(Response::is_ok)?;
        crypto::ecdsa_der(&signature.data).ok()
    }
}

impl Key for CardKey {
    fn public(&self) -> PublicKey {
        self.public.clone()
    }

    /// TLS signs synchronously, a card answers when it does: this thread waits while others go on.
    fn sign(&self, scheme: SignatureScheme, message: &[u8]) -> Result<Vec<u8>, crypto::Error> {
        if scheme != SignatureScheme::Ecdsa {
            return Err(crypto::Error::Unsupported);
        }
        let signed = tokio::task::block_in_place(|| self.runtime.block_on(self.sign_on_card(message)));
        signed.ok_or(crypto::Error::BadKey)
    }
}
