//! Keys behind PKCS#11: in an HSM of a data centre, or in SoftHSM.
//!
//! A [`Token`] is opened with its PIN; a [`TokenKey`] is a [`crypto::Key`] like any other. Private keys stay where they
//! are. A token that went away (HSM started anew, network gone) is opened again with the next operation, once; what it
//! complains about is logged without values. No service uses it yet: institutions' keys in an HSM come with hosting. Tried
//! with SoftHSM (`tests/softhsm.rs`).

use asn1::tlv;
use crypto::{Curve, EcPublic, Hash, Key, PublicKey, RsaPublic, SignatureScheme};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error as TokenError, RvError};
use cryptoki::mechanism::elliptic_curve::{EcKdf, Ecdh1DeriveParams};
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsOaepParams, PkcsOaepSource, PkcsPssParams};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use zeroize::Zeroizing;

/// Why a token or a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The module, the HSM or the PIN: what it says itself.
    #[error("PKCS#11: {0}")]
    Token(#[from] TokenError),
    /// No token has this label.
    #[error("no token with the label {0:?}: see `pkcs11-tool --list-slots`")]
    NoToken(String),
    /// No key pair has this label, or several have.
    #[error("there must be exactly one {1} with the label {0:?}, there are {2}")]
    NoKey(String, &'static str, usize),
    /// A public key that is none of ours.
    #[error("key {0:?}: {1}")]
    Unsuitable(String, crypto::Error),
}

/// A token and how to get into it.
pub struct Token {
    module: Pkcs11,
    label: String,
    pin: AuthPin,
    session: Mutex<Option<Session>>,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({:?})", self.label)
    }
}

impl Token {
    /// Loads a PKCS#11 module (a library file) and logs in at the token with this label.
    pub fn open(module: &Path, label: &str, pin: &str) -> Result<Arc<Self>, Error> {
        let module = Pkcs11::new(module)?;
        match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            // another token of the same module is open in this process
            Ok(()) | Err(TokenError::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(error.into()),
        }
        let token = Self {
            module,
            label: label.to_owned(),
            pin: AuthPin::new(pin.into()),
            session: Mutex::new(None),
        };
        token.with(|_| Ok(()))?;
        Ok(Arc::new(token))
    }

    fn log_in(&self) -> Result<Session, Error> {
        let named = self.module.get_slots_with_token()?.into_iter().find(|slot| {
            let info = self.module.get_token_info(*slot);
            info.is_ok_and(|token| token.label().trim_end() == self.label)
        });
        let slot = named.ok_or_else(|| Error::NoToken(self.label.clone()))?;
        let session = self.module.open_ro_session(slot)?;
        match session.login(UserType::User, Some(&self.pin)) {
            Ok(()) | Err(TokenError::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(session),
            Err(error) => Err(error.into()),
        }
    }

    /// One piece of work in the session; a session that is over is replaced once.
    fn with<T>(&self, work: impl Fn(&Session) -> Result<T, Error>) -> Result<T, Error> {
        let mut guard = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = &*guard {
            match work(session) {
                Err(error) if is_over(&error) => {
                    tracing::warn!(token = self.label, %error, "session with the token is over, opening another");
                }
                done => return done,
            }
        }
        // dropped first: some tokens have room for one session only
        *guard = None;
        let session = self.log_in()?;
        let done = work(&session);
        *guard = Some(session);
        done
    }

    /// The key pair with this label.
    pub fn key(self: &Arc<Self>, label: &str) -> Result<TokenKey, Error> {
        let public = self.with(|session| public_key(session, label))?;
        self.with(|session| find(session, ObjectClass::PRIVATE_KEY, label))?;
        Ok(TokenKey {
            token: self.clone(),
            label: label.to_owned(),
            public,
        })
    }
}

/// Is this the end of a session rather than of an operation? Private keys are not seen by who is not logged in.
fn is_over(error: &Error) -> bool {
    use RvError::{DeviceRemoved, SessionClosed, SessionHandleInvalid, TokenNotPresent, UserNotLoggedIn};
    match error {
        Error::NoKey(_, _, 0) => true,
        Error::Token(TokenError::Pkcs11(value, _)) => matches!(
            value,
            DeviceRemoved | SessionClosed | SessionHandleInvalid | TokenNotPresent | UserNotLoggedIn
        ),
        _ => false,
    }
}

fn find(session: &Session, class: ObjectClass, label: &str) -> Result<ObjectHandle, Error> {
    let wanted = [Attribute::Class(class), Attribute::Label(label.into())];
    let name = match class {
        ObjectClass::PRIVATE_KEY => "private key",
        _ => "public key",
    };
    match session.find_objects(&wanted)?.as_slice() {
        [one] => Ok(*one),
        several => Err(Error::NoKey(label.to_owned(), name, several.len())),
    }
}

fn public_key(session: &Session, label: &str) -> Result<PublicKey, Error> {
    let object = find(session, ObjectClass::PUBLIC_KEY, label)?;
    let unsuitable = |error| Error::Unsuitable(label.to_owned(), error);
    let kind = session.get_attributes(object, &[AttributeType::KeyType])?;
    let wanted: &[AttributeType] = match kind.as_slice() {
        [Attribute::KeyType(KeyType::EC)] => &[AttributeType::EcParams, AttributeType::EcPoint],
        [Attribute::KeyType(KeyType::RSA)] => &[AttributeType::Modulus, AttributeType::PublicExponent],
        _ => return Err(unsuitable(crypto::Error::Unsupported)),
    };
    let (mut parts, found) = ([None, None], session.get_attributes(object, wanted)?);
    for attribute in found {
        match attribute {
            Attribute::EcParams(value) | Attribute::Modulus(value) => parts[0] = Some(value),
            Attribute::EcPoint(value) | Attribute::PublicExponent(value) => parts[1] = Some(value),
            _ => {}
        }
    }
    let [Some(first), Some(second)] = parts else {
        return Err(unsuitable(crypto::Error::BadKey));
    };
    let key = match wanted {
        [AttributeType::Modulus, ..] => RsaPublic::from_numbers(&first, &second).map(PublicKey::Rsa),
        _ => curve_of(&first)
            // the point stands in an OCTET STRING
            .and_then(|curve| EcPublic::from_point(curve, tlv::find(&second, 0x04).unwrap_or(&second)))
            .map(PublicKey::Ec),
    };
    key.map_err(unsuitable)
}

fn curve_of(parameters: &[u8]) -> Result<Curve, crypto::Error> {
    let all = [Curve::BrainpoolP256r1, Curve::NistP256];
    let named = all
        .into_iter()
        .find(|curve| tlv::find(parameters, 0x06) == Some(curve.oid().as_bytes()));
    named.ok_or(crypto::Error::Unsupported)
}

/// A key pair in a token.
#[derive(Debug, Clone)]
pub struct TokenKey {
    token: Arc<Token>,
    label: String,
    public: PublicKey,
}

impl TokenKey {
    /// One operation with the private key.
    fn perform<T>(
        &self,
        work: impl Fn(&Session, ObjectHandle) -> Result<T, TokenError>,
    ) -> Result<T, crypto::Error> {
        let done = self.token.with(|session| {
            let key = find(session, ObjectClass::PRIVATE_KEY, &self.label)?;
            Ok(work(session, key)?)
        });
        done.map_err(|error| {
            tracing::error!(token = self.token.label, key = self.label, %error, "the token does not work with its key");
            crypto::Error::Token
        })
    }

    /// The shared point with `other`, of which the token gives the x coordinate.
    fn agree(&self, other: &EcPublic) -> Result<Zeroizing<Vec<u8>>, crypto::Error> {
        let point = other.point();
        self.perform(|session, key| {
            let derive = Mechanism::Ecdh1Derive(Ecdh1DeriveParams::new(EcKdf::null(), &point));
            let secret = [
                Attribute::Class(ObjectClass::SECRET_KEY),
                Attribute::KeyType(KeyType::GENERIC_SECRET),
                Attribute::Token(false),
                Attribute::Sensitive(false),
                Attribute::Extractable(true),
                Attribute::ValueLen(32.into()),
            ];
            let shared = session.derive_key(&derive, key, &secret)?;
            let value = session.get_attributes(shared, &[AttributeType::Value]);
            session.destroy_object(shared)?;
            match value?.pop() {
                Some(Attribute::Value(value)) => Ok(Zeroizing::new(value)),
                _ => Err(TokenError::InvalidValue),
            }
        })
    }
}

impl Key for TokenKey {
    fn public(&self) -> PublicKey {
        self.public.clone()
    }

    fn sign_hash(&self, scheme: SignatureScheme, hash: Hash, value: &[u8]) -> Result<Vec<u8>, crypto::Error> {
        let (mechanism, input) = match (&self.public, scheme) {
            (PublicKey::Ec(_), SignatureScheme::Ecdsa) => (Mechanism::Ecdsa, value.to_vec()),
            (PublicKey::Rsa(_), SignatureScheme::RsaPkcs1) => (Mechanism::RsaPkcs, hash.digest_info(value)),
            (PublicKey::Rsa(_), SignatureScheme::RsaPss) if hash == Hash::Sha256 => {
                let parameters = PkcsPssParams {
                    hash_alg: MechanismType::SHA256,
                    mgf: PkcsMgfType::MGF1_SHA256,
                    s_len: 32.into(),
                };
                (Mechanism::RsaPkcsPss(parameters), value.to_vec())
            }
            _ => return Err(crypto::Error::Unsupported),
        };
        let signature = self.perform(|session, key| session.sign(&mechanism, key, &input))?;
        match scheme {
            SignatureScheme::Ecdsa => crypto::ecdsa_der(&signature),
            _ => Ok(signature),
        }
    }

    fn decipher(&self, cryptogram: &[u8]) -> Result<Zeroizing<Vec<u8>>, crypto::Error> {
        match &self.public {
            PublicKey::Ec(own) => {
                crypto::card::elc_unwrap(own.curve(), cryptogram, |other| self.agree(other))
            }
            PublicKey::Rsa(_) => {
                let oaep = |hash, mask| {
                    Mechanism::RsaPkcsOaep(PkcsOaepParams::new(hash, mask, PkcsOaepSource::empty()))
                };
                let oaep = oaep(MechanismType::SHA256, PkcsMgfType::MGF1_SHA256);
                let plain = self.perform(|session, key| session.decrypt(&oaep, key, cryptogram))?;
                Ok(Zeroizing::new(plain))
            }
        }
    }
}
