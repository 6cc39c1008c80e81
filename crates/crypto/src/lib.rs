//! The only room that names a curve or a cipher.
//!
//! * [`EcPrivate`], [`EcPublic`]: brainpoolP256r1 and P-256, signatures and key agreement.
//! * [`RsaPrivate`], [`RsaPublic`]: RSA as cards and old certificates use it.
//! * [`PublicKey`], [`SoftKey`], [`Key`]: either kind; [`Key`] may also be on a card or behind PKCS#11.
//! * [`aead`]: AES-256-GCM for documents.
//! * [`card`]: the symmetric cryptography of cards: key derivation, secure messaging primitives, ELC encryption.
//! * [`pem`]: certificates and keys as text files.
//! * [`tls`]: the rustls provider with brainpool, and the choice of certificate per ClientHello.
//!
//! Specification: gemSpec_Krypt, gemSpec_COS chapter 6, RFC 5639, RFC 8734. The curve arithmetic is RustCrypto's,
//! which nobody has audited; `docs/security.md` says what follows from that.

pub mod aead;
mod bp256fast;
pub mod card;
mod ec;
mod hash;
mod key;
pub mod pem;
mod random;
mod rsakey;
pub mod tls;

pub use ec::{Curve, EcPrivate, EcPublic, der_from_raw as ecdsa_der, raw_from_der as ecdsa_raw};
pub use hash::{Hash, hmac_sha256, one_time_digits, sha1, sha256, sha384, sha512};
pub use key::{Key, PublicKey, SignatureScheme, SoftKey};
pub use random::{random, random_bytes};
pub use rsakey::{RsaPrivate, RsaPublic};

/// Why a cryptographic operation gave nothing. Deliberately says little: the details belong to nobody outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A key is not one: wrong length, not on the curve, zero.
    #[error("bad key")]
    BadKey,
    /// A signature or MAC does not belong to these data and this key.
    #[error("verification failed")]
    Verification,
    /// Data of the wrong length or form for this operation.
    #[error("bad input")]
    BadInput,
    /// The algorithm is not one of ours.
    #[error("algorithm not supported")]
    Unsupported,
    /// The operating system gives no randomness.
    #[error("random generator not available")]
    Random,
    /// A token that keeps the key does not perform the operation; the log says why.
    #[error("the token does not work with its key")]
    Token,
}
