//! Certificates for practice systems (TIP1-A_4517 ff.): made on the device, registered by their hash, and given away with the key
//! once. They are no certificates of the TI.

use crate::{Failure, Inner};
use base::{Code, Timestamp};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crypto::tls::Identity;
use crypto::{Curve, EcPrivate, Key, SoftKey, pem};
use p12_keystore::{
    Certificate, EncryptionAlgorithm, KeyStore, KeyStoreEntry, MacAlgorithm, PrivateKey, PrivateKeyChain,
};
use pki::issue::{Authority, IssueError, Name, Request, profile};
use std::time::Duration;
use zeroize::Zeroizing;

const DAY: u64 = 86_400;
/// How long one lasts.
const YEARS_FIVE: Duration = Duration::from_secs(5 * 365 * DAY);
/// Rounds with which the password of a PKCS#12 file is stretched, for the keys and for the check.
const ROUNDS: u32 = 100_000;
/// Length of that password, characters.
const PASSWORD: std::ops::RangeInclusive<usize> = 8..=64;

/// What a practice system gets, once: its key is kept nowhere here.
pub struct Issued {
    /// Key and certificate: as PEM, or as PKCS#12 in base64.
    pub file: Zeroizing<String>,
    /// SHA-256 of the certificate, hexadecimal.
    pub hash: String,
}

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

/// A PKCS#12 file (RFC 7292) with AES-256 and HMAC-SHA-256.
fn pkcs12(name: &str, certificate: &[u8], key: &[u8], password: &str) -> Result<Vec<u8>, Failure> {
    let failed = |error: p12_keystore::error::Error| Failure::new(Code::INTERNAL, error);
    let key = PrivateKey::from_der(key).map_err(failed)?;
    let certificate = Certificate::from_der(certificate).map_err(failed)?;
    let mut store = KeyStore::new();
    let chain = PrivateKeyChain::new(vec![1], key, [certificate]);
    store.add_entry(name, KeyStoreEntry::PrivateKeyChain(chain));
    let writer = store
        .writer(password)
        .encryption_iterations(ROUNDS)
        .mac_iterations(ROUNDS);
    let writer = writer.encryption_algorithm(EncryptionAlgorithm::PbeWithHmacSha256AndAes256);
    writer
        .mac_algorithm(MacAlgorithm::HmacSha256)
        .write()
        .map_err(failed)
}

impl Inner {
    /// A certificate more for a client system: with a password as PKCS#12, for programs that take nothing else.
    pub fn issue_client(&self, id: &str, password: Option<&Zeroizing<String>>) -> Result<Issued, Failure> {
        let fits = |password: &&Zeroizing<String>| {
            PASSWORD.contains(&password.len()) && password.bytes().all(|byte| (b' '..=b'~').contains(&byte))
        };
        if password.is_some() && password.filter(fits).is_none() {
            let text = format!(
                "password: {} to {} printable ASCII characters",
                PASSWORD.start(),
                PASSWORD.end()
            );
            return Err(Failure::new(Code::SYNTAX, text));
        }
        let mut model = (*self.model()).clone();
        let client = model
            .client_systems
            .iter_mut()
            .find(|client| client.id.as_str() == id);
        let client = client.ok_or(Code::UNKNOWN_CLIENT_SYSTEM)?;
        let identity = client_identity(id, self.clock.now())?;
        let der = identity.chain.first().ok_or(Code::INTERNAL)?;
        let hash = hex::encode(crypto::sha256([der]));
        let key = identity.key.to_pkcs8()?;
        let file = match password {
            None => {
                let certificate = pem::encode("CERTIFICATE", der)?;
                Zeroizing::new(format!(
                    "{}{}",
                    &*certificate,
                    &*pem::encode("PRIVATE KEY", &key)?
                ))
            }
            Some(password) => Zeroizing::new(STANDARD.encode(pkcs12(id, der, &key, password)?)),
        };
        client.certificates.insert(hash.clone());
        self.set_model(model)?;
        Ok(Issued { file, hash })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    /// OpenSSL opens what a practice system gets, with its password and no other.
    #[test]
    fn openssl_opens_the_file() {
        let now = Timestamp::from_second(1_790_000_000).unwrap();
        let identity = client_identity("PVS Süd", now).unwrap();
        let (certificate, key) = (&identity.chain[0], identity.key.to_pkcs8().unwrap());
        let made = pkcs12("PVS Süd", certificate, &key, "ein Passwort").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("client.p12");
        std::fs::write(&path, made).unwrap();
        let open = |password: &str, more: &[&str]| {
            let mut openssl = Command::new("openssl");
            openssl
                .args(["pkcs12", "-nodes", "-passin"])
                .arg(format!("pass:{password}"));
            let output = openssl
                .args(more)
                .arg("-in")
                .arg(&path)
                .stdin(Stdio::null())
                .output();
            let output = output.unwrap();
            let all = [output.stdout, output.stderr].concat();
            (
                output.status.success(),
                String::from_utf8_lossy(&all).into_owned(),
            )
        };
        let (opened, text) = open("ein Passwort", &["-info"]);
        assert!(opened, "{text}");
        assert!(
            text.contains(&*pem::encode("PRIVATE KEY", &key).unwrap()),
            "{text}"
        );
        assert!(
            text.contains(&*pem::encode("CERTIFICATE", certificate).unwrap()),
            "{text}"
        );
        assert!(
            text.contains("AES-256-CBC") && text.contains("MAC: sha256, Iteration 100000"),
            "{text}"
        );
        assert!(!open("ein anderes", &[]).0);
    }
}
