//! AuthSignatureService (TIP1-A_5439): a login's challenge, hashed by the caller, signed with the AUT key of a card.

use super::Call;
use super::sign::self_check;
use crate::Failure;
use crate::card_key::{CardKey, Purpose};
use crate::state::Function;
use base::Code;
use card::CardKind;
use crypto::{Hash, Key, SignatureScheme};
use soap::signature::{authenticate_response, signature_type};
use soap::{CallContext, CertRef, Crypt, SignatureVersion};

/// What a login asks for.
pub(super) struct Login<'l> {
    pub version: SignatureVersion,
    pub context: &'l CallContext,
    pub handle: &'l str,
    pub signature_type: Option<&'l str>,
    pub scheme: Option<&'l str>,
    pub mime: Option<&'l str>,
    pub hash: &'l [u8],
}

impl Call<'_> {
    pub(super) async fn external_authenticate(&self, login: Login<'_>) -> Result<String, Failure> {
        self.inner.state.permit(Function::Pin)?;
        let wrong = |detail: &str| Failure::new(Code::SYNTAX, detail);
        if login
            .mime
            .is_some_and(|mime| !mime.eq_ignore_ascii_case("application/octet-stream"))
        {
            return Err(wrong("MimeType must be application/octet-stream"));
        }
        let (kind, crypt, scheme) = match (login.signature_type, login.scheme) {
            (Some(signature_type::ECDSA), _) => (signature_type::ECDSA, Crypt::Ecc, SignatureScheme::Ecdsa),
            (None | Some(signature_type::PKCS1), None | Some("RSASSA-PSS")) => {
                (signature_type::PKCS1, Crypt::Rsa, SignatureScheme::RsaPss)
            }
            (None | Some(signature_type::PKCS1), Some("RSASSA-PKCS1-v1_5")) => {
                (signature_type::PKCS1, Crypt::Rsa, SignatureScheme::RsaPkcs1)
            }
            (None | Some(signature_type::PKCS1), Some(_)) => return Err(wrong("SignatureSchemes unknown")),
            (Some(_), _) => return Err(Failure::new(Code::BAD_SIGNATURE_TYPE, "SignatureType unknown")),
        };
        // the length says which hash it is
        let hash = Hash::ALL.into_iter().find(|hash| hash.size() == login.hash.len());
        let hash = hash.ok_or_else(|| wrong("a hash value of 32, 48 or 64 bytes is expected"))?;
        if hash != Hash::Sha256 && scheme != SignatureScheme::RsaPkcs1 {
            return Err(wrong("this kind of signature takes SHA-256 only"));
        }
        let card = self.card(login.handle)?;
        if !matches!(card.found.kind, CardKind::Hba | CardKind::SmcB) {
            return Err(Code::NOT_PERMITTED.into());
        }
        let caller = self.enter(login.context, &card, true)?;
        self.check_open(&card, &caller).await?;
        let key = CardKey::open(self.inner, &card, Purpose::Authenticate, crypt).await?;
        let key =
            key.ok_or_else(|| Failure::new(Code::KEY_MISSING, "the card has no AUT key of this kind"))?;
        let signature = key.sign_on_card(scheme, hash, login.hash).await?;
        self_check(&key.public(), scheme, hash, login.hash, &signature)?;
        self.inner
            .log_crypto_operation("ExternalAuthenticate", &card, CertRef::Aut.as_str());
        Ok(authenticate_response(login.version, kind, signature))
    }
}
