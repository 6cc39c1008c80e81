use crate::Error;
use asn1::X509;
use base::Timestamp;
use crypto::{Key, PublicKey, SignatureScheme};

/// Who signs, how and when: all that is known before a key is used.
#[derive(Debug, Clone)]
pub struct Signer {
    /// The certificate that goes with the key.
    pub certificate: X509,
    /// Its public key.
    pub public: PublicKey,
    /// How the key signs, with SHA-256.
    pub scheme: SignatureScheme,
    /// Time of the signature, as the Konnektor has it.
    pub at: Timestamp,
}

impl Signer {
    /// The signer with this certificate.
    pub fn new(certificate: X509, scheme: SignatureScheme, at: Timestamp) -> Result<Self, Error> {
        let public = PublicKey::from_spki(&certificate.spki()?)?;
        let fits = match public {
            PublicKey::Ec(_) => scheme == SignatureScheme::Ecdsa,
            PublicKey::Rsa(_) => scheme != SignatureScheme::Ecdsa,
        };
        if !fits {
            return Err(Error::Variant("the certificate's key does not sign like this"));
        }
        Ok(Self {
            certificate,
            public,
            scheme,
            at,
        })
    }
}

type Finish = dyn FnOnce(&[Vec<u8>], &[Vec<u8>]) -> Result<Vec<u8>, Error> + Send + Sync;

/// A document that waits for its signature values.
pub struct Draft {
    messages: Vec<Vec<u8>>,
    public: PublicKey,
    scheme: SignatureScheme,
    finish: Box<Finish>,
}

impl std::fmt::Debug for Draft {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Draft({} to sign)", self.messages.len())
    }
}

impl Draft {
    /// `finish` makes the document from the values, one for each message, and DER OCSP responses to put in.
    pub(crate) fn new(
        signer: &Signer,
        messages: Vec<Vec<u8>>,
        finish: impl FnOnce(&[Vec<u8>], &[Vec<u8>]) -> Result<Vec<u8>, Error> + Send + Sync + 'static,
    ) -> Self {
        Self {
            messages,
            public: signer.public.clone(),
            scheme: signer.scheme,
            finish: Box::new(finish),
        }
    }

    /// The same, with something made of the signed document.
    pub(crate) fn then(self, wrap: impl FnOnce(Vec<u8>) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let finish = self.finish;
        Self {
            finish: Box::new(move |values, ocsp| finish(values, ocsp).map(wrap)),
            ..self
        }
    }

    /// What is to be signed, each with SHA-256: one message, or as many as there are signatures to countersign.
    pub fn messages(&self) -> &[Vec<u8>] {
        &self.messages
    }

    /// How it is to be signed.
    pub fn scheme(&self) -> SignatureScheme {
        self.scheme
    }

    /// Is this the signature value of a message? Under load, cards in the field gave others.
    pub fn check(&self, position: usize, value: &[u8]) -> Result<(), Error> {
        let message = self.messages.get(position).ok_or(Error::BrokenValue)?;
        self.public
            .verify(self.scheme, message, value)
            .map_err(|_| Error::BrokenValue)
    }

    /// The signed document. Each value is verified before; `ocsp` are DER responses to embed, where the format can.
    pub fn finish(self, values: &[Vec<u8>], ocsp: &[Vec<u8>]) -> Result<Vec<u8>, Error> {
        if values.len() != self.messages.len() {
            return Err(Error::BrokenValue);
        }
        for (position, value) in values.iter().enumerate() {
            self.check(position, value)?;
        }
        (self.finish)(values, ocsp)
    }

    /// Signs with a key at hand, in software or behind PKCS#11.
    pub fn sign_with(self, key: &dyn Key, ocsp: &[Vec<u8>]) -> Result<Vec<u8>, Error> {
        let values = self.messages.iter().map(|message| key.sign(self.scheme, message));
        let values = values.collect::<Result<Vec<_>, _>>()?;
        self.finish(&values, ocsp)
    }
}
