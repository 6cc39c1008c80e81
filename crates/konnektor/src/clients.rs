//! Certificates for practice systems (TIP1-A_4517 ff.): made on the device, registered by their hash, and given away with the key
//! once. They are no certificates of the TI.

use crate::{Failure, Inner};
use base::{Code, Timestamp};
use crypto::tls::Identity;
use crypto::{Curve, EcPrivate, Key, SoftKey, pem};
use pki::issue::{Authority, IssueError, Name, Request, profile};
use std::time::Duration;
use zeroize::Zeroizing;

const DAY: u64 = 86_400;
/// How long one lasts.
const YEARS_FIVE: Duration = Duration::from_secs(5 * 365 * DAY);

/// A new key on P-256 with a certificate for client authentication, for five years from yesterday.
pub fn client_identity(name: &str, now: Timestamp) -> Result<Identity, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::new(Code::INTERNAL, error);
    let key = || EcPrivate::generate(Curve::NistP256).map(SoftKey::Ec);
    let to = now.checked_add(YEARS_FIVE).map_err(|error| failed(&error))?;
    let from = now
        .checked_sub(Duration::from_secs(DAY))
        .map_err(|error| failed(&error))?;
    let own = key()?;
    let issue = || {
        // the key of this CA is forgotten at once: nobody believes it, each certificate is known by its hash
        let issuer = Authority::root(Name::new("Langlauf", "Clients"), key()?, "", from, to)?;
        issuer.issue(&Request {
            profile: &profile::CLIENT,
            subject: Name::new("Langlauf", name),
            key: own.public(),
            admission: None,
            dns: &[],
            addresses: &[],
            from,
            to,
        })
    };
    let certificate = issue().map_err(|error: IssueError| failed(&error))?;
    Ok(Identity {
        chain: vec![certificate],
        key: own,
    })
}

impl Inner {
    /// A certificate more for a client system; with its key as PEM, which is kept nowhere here. Also its SHA-256.
    pub fn issue_client(&self, id: &str) -> Result<(Zeroizing<String>, String), Failure> {
        let mut model = (*self.model()).clone();
        let client = model
            .client_systems
            .iter_mut()
            .find(|client| client.id.as_str() == id);
        let client = client.ok_or(Code::UNKNOWN_CLIENT_SYSTEM)?;
        let identity = client_identity(id, self.clock.now())?;
        let der = identity.chain.first().ok_or(Code::INTERNAL)?;
        let hash = hex::encode(crypto::sha256([der]));
        let certificate = pem::encode("CERTIFICATE", der)?;
        let key = pem::encode("PRIVATE KEY", &identity.key.to_pkcs8()?)?;
        client.certificates.insert(hash.clone());
        self.set_model(model)?;
        Ok((Zeroizing::new(format!("{}{}", &*certificate, &*key)), hash))
    }
}
