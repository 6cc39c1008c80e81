//! Export and import of the configuration, and the factory reset (TIP1-A_4814 to 4816, 4819, 4820). The format is
//! documented in `docs/backup-format.md` and readable without Langlauf.

use crate::card_key::{CardKey, Purpose as KeyPurpose};
use crate::config::TerminalConfig;
use crate::events::Event;
use crate::model::Model;
use crate::state::Condition;
use crate::terminals::{Correlation, LOGINS, Login, TerminalRecord, login_id};
use crate::{Failure, Inner, VERSION, password};
use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use asn1::X509;
use base::Code;
use base::id::CtId;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use card::CardKind;
use crypto::{Key, PublicKey, SignatureScheme};
use pki::Purpose;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use store::Change;
use zeroize::Zeroizing;

const FORMAT: &str = "ti-konnektor-backup";
const FORMAT_VERSION: u32 = 1;
const KDF: &str = "PBKDF2-HMAC-SHA256";
const SIGNATURE: &str = "ecdsa-with-SHA256";
const CIPHER: &str = "AES-256-GCM";
/// Rounds of key derivation; a passphrase of 120 bits would be safe with one.
const ROUNDS: u32 = 600_000;
const MOST_ROUNDS: u32 = 2_000_000;
/// Characters of a passphrase: none that look alike.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// A backup as it lies in a file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backup {
    format: String,
    version: u32,
    /// When it was made, RFC 3339.
    made: String,
    /// What made it.
    product: String,
    encryption: Encryption,
    /// Base64.
    ciphertext: String,
    signature: Signature,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Encryption {
    kdf: String,
    iterations: u32,
    salt: String,
    cipher: String,
    nonce: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    algorithm: String,
    /// Base64 of the DER certificate.
    certificate: String,
    /// Base64.
    value: String,
}

/// What is inside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    device: Device,
    /// Settings of the file the Konnektor was started from. They are compared at an import, not changed: the file is the
    /// administrator's.
    settings: serde_json::Map<String, serde_json::Value>,
    information_model: Model,
    terminals: Vec<Terminal>,
    imported_authorities: Vec<String>,
    /// What administrators have decided about networks beside the TI, by ID.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    legacy_networks: BTreeMap<String, bool>,
    /// Key of the receipts on eGKs, hexadecimal.
    receipt_key: String,
    /// The newest renewed certificates of the gSMC-K, as the package they came in, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    renewed_certificates: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Device {
    hostname: String,
    iccsn: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Terminal {
    id: CtId,
    name: String,
    mac: base::id::Mac,
    address: std::net::SocketAddr,
    correlation: Correlation,
    /// SHA-256 of the certificate of its gSMC-KT, hexadecimal.
    certificate: Option<String>,
    /// The pairing's shared secret, hexadecimal.
    pairing_secret: Option<String>,
    /// How one logs in there as its administrator, for its firmware.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    login: Option<Login>,
}

/// What an import would change, for a person to agree to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Preview {
    /// SHA-256 of the file: an import names it, so that what was shown is what is imported.
    pub confirm: String,
    /// When the backup was made.
    pub made: String,
    /// What made it.
    pub product: String,
    /// Subject of the signer's certificate.
    pub signer: String,
    /// Is the signer's certificate good? Otherwise why not.
    pub signer_problem: Option<String>,
    /// The device it was made on.
    pub device: String,
    /// What would be different.
    pub changes: Vec<Difference>,
    /// Settings that differ; they stay as they are in the file of this device.
    pub settings: Vec<Difference>,
}

/// One difference. Secrets are only named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What it is about, as a path: `terminals/KT1`.
    pub what: String,
    /// Now; absent if it would be new.
    pub now: Option<String>,
    /// In the backup; absent if it would go.
    pub then: Option<String>,
}

fn syntax(reason: impl ToString) -> Failure {
    Failure::new(Code::SYNTAX, reason)
}

fn passphrase() -> Result<Zeroizing<String>, Failure> {
    let random = Zeroizing::new(crypto::random::<24>()?);
    let letters = random
        .iter()
        .filter_map(|byte| ALPHABET.get(usize::from(byte & 31)));
    Ok(Zeroizing::new(
        letters.map(|letter| char::from(*letter)).collect(),
    ))
}

fn key(passphrase: &str, salt: &[u8], rounds: u32) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(pbkdf2::pbkdf2_hmac_array::<sha2::Sha256, 32>(
        passphrase.as_bytes(),
        salt,
        rounds,
    ))
}

impl Backup {
    fn parse(text: &str) -> Result<Self, Failure> {
        let backup: Self = serde_json::from_str(text).map_err(syntax)?;
        let known = backup.format == FORMAT
            && backup.version == FORMAT_VERSION
            && backup.signature.algorithm == SIGNATURE;
        let ciphers = backup.encryption.kdf == KDF && backup.encryption.cipher == CIPHER;
        match known && ciphers && (1..=MOST_ROUNDS).contains(&backup.encryption.iterations) {
            true => Ok(backup),
            false => Err(syntax("no backup of a kind known here")),
        }
    }

    /// The bytes under the signature.
    fn signed(&self) -> String {
        let Encryption {
            kdf,
            iterations,
            salt,
            cipher,
            nonce,
        } = &self.encryption;
        format!(
            "{FORMAT}/{}\n{}\n{}\n{kdf}\n{iterations}\n{salt}\n{cipher}\n{nonce}\n{}",
            self.version, self.made, self.product, self.ciphertext
        )
    }

    fn signer(&self) -> Result<X509, Failure> {
        let der = STANDARD.decode(&self.signature.certificate).map_err(syntax)?;
        let certificate = X509::parse(&der).map_err(syntax)?;
        let spki = certificate.spki().map_err(syntax)?;
        let key = PublicKey::from_spki(&spki).map_err(syntax)?;
        let value = STANDARD.decode(&self.signature.value).map_err(syntax)?;
        key.verify(SignatureScheme::Ecdsa, self.signed().as_bytes(), &value)
            .map_err(|_| syntax("the signature of the backup is wrong: it was changed"))?;
        Ok(certificate)
    }

    fn open(&self, passphrase: &str) -> Result<Contents, Failure> {
        let decode = |text: &str| STANDARD.decode(text).map_err(syntax);
        let nonce: [u8; 12] = decode(&self.encryption.nonce)?
            .try_into()
            .map_err(|_| syntax("nonce"))?;
        let key = key(
            passphrase,
            &decode(&self.encryption.salt)?,
            self.encryption.iterations,
        );
        let payload = Payload {
            msg: &decode(&self.ciphertext)?,
            aad: self.made.as_bytes(),
        };
        let plain = Aes256Gcm::new((&*key).into()).decrypt(&Nonce::from(nonce), payload);
        let plain = Zeroizing::new(plain.map_err(|_| syntax("the passphrase does not open this backup"))?);
        // the library's own text would quote what it did not understand: secrets
        serde_json::from_slice(&plain)
            .map_err(|_| syntax("the contents of the backup are not as they should be"))
    }
}

impl Contents {
    /// Is it something an instance could have been in? Otherwise what is wrong.
    fn check(&self) -> Result<(), String> {
        self.information_model
            .validate()
            .map_err(|error| error.to_string())?;
        let bytes = |text: &str| hex::decode(text).map_or(0, |bytes| bytes.len());
        let mut ids = BTreeSet::new();
        for terminal in &self.terminals {
            let id = &terminal.id;
            let secret = terminal.pairing_secret.as_deref().map(bytes);
            let certificate = terminal.certificate.as_deref().map(bytes);
            let paired = matches!(terminal.correlation, Correlation::Gepairt | Correlation::Aktiv);
            if !ids.insert(id) {
                return Err(format!("terminal {id} occurs twice"));
            }
            if secret.is_some_and(|length| length != 16) || certificate.is_some_and(|length| length != 32) {
                return Err(format!("terminal {id}: pairing secret or certificate"));
            }
            if let Some(Err(why)) = terminal.login.as_ref().map(Login::check) {
                return Err(format!("terminal {id}: {why}"));
            }
            if terminal.correlation == Correlation::Bekannt
                || (paired && (secret.is_none() || certificate.is_none()))
            {
                return Err(format!("terminal {id} cannot be {:?}", terminal.correlation));
            }
        }
        for authority in &self.imported_authorities {
            let certificate = hex::decode(authority).ok().and_then(|der| X509::parse(&der).ok());
            if !certificate.is_some_and(|certificate| certificate.is_ca) {
                return Err("an imported authority is not the certificate of a CA".into());
            }
        }
        match bytes(&self.receipt_key) {
            32 => Ok(()),
            _ => Err("the key of the receipts must have 32 bytes".into()),
        }
    }
}

impl Inner {
    /// Makes a backup under a new passphrase, which is told once. Signed with the OSIG key of an SM-B that is open, else
    /// with the device's own key.
    pub async fn export(&self) -> Result<(Backup, Zeroizing<String>), Failure> {
        let contents = self.contents()?;
        let plain = serde_json::to_vec(&contents).map_err(|error| Failure::new(Code::INTERNAL, error))?;
        let plain = Zeroizing::new(plain);
        let passphrase = passphrase()?;
        let (salt, nonce) = (crypto::random::<16>()?, crypto::random::<12>()?);
        let made = self.clock.now().to_string();
        let payload = Payload {
            msg: &plain,
            aad: made.as_bytes(),
        };
        let words = passphrase.clone();
        let deriving = tokio::task::spawn_blocking(move || key(&words, &salt, ROUNDS)).await;
        let key = deriving.map_err(|error| Failure::new(Code::INTERNAL, error))?;
        let ciphertext = Aes256Gcm::new((&*key).into())
            .encrypt(&Nonce::from(nonce), payload)
            .map_err(|_| Failure::new(Code::INTERNAL, "encryption"))?;
        let mut backup = Backup {
            format: FORMAT.into(),
            version: FORMAT_VERSION,
            made,
            product: format!("Langlauf {VERSION}"),
            encryption: Encryption {
                kdf: KDF.into(),
                iterations: ROUNDS,
                salt: STANDARD.encode(salt),
                cipher: CIPHER.into(),
                nonce: STANDARD.encode(nonce),
            },
            ciphertext: STANDARD.encode(ciphertext),
            signature: Signature {
                algorithm: SIGNATURE.into(),
                certificate: String::new(),
                value: String::new(),
            },
        };
        let (certificate, value) = self.sign_backup(backup.signed().as_bytes()).await?;
        backup.signature.certificate = STANDARD.encode(certificate);
        backup.signature.value = STANDARD.encode(value);
        self.announce_backup("Export");
        Ok((backup, passphrase))
    }

    async fn sign_backup(&self, message: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Failure> {
        let open = self
            .cards
            .all()
            .into_iter()
            .find(|card| card.found.kind == CardKind::SmcB && card.is_open("PIN.SMC"));
        if let Some(card) = open {
            let signed = match CardKey::elliptic(self, &card, KeyPurpose::Sign).await {
                Ok(key) => key
                    .sign(SignatureScheme::Ecdsa, message)
                    .map(|value| (key.certificate().der().to_vec(), value))
                    .map_err(|error| error.to_string()),
                Err(failure) => Err(failure.detail()),
            };
            match signed {
                Ok(signed) => return Ok(signed),
                Err(reason) => tracing::warn!(reason, "SM-B cannot sign the backup, the device does"),
            }
        }
        let (_, own) = self.ak_identity(identity::Algorithm::Brainpool);
        let certificate = own.chain.first().ok_or(Code::INTERNAL)?;
        Ok((
            certificate.clone(),
            own.key.sign(SignatureScheme::Ecdsa, message)?,
        ))
    }

    fn contents(&self) -> Result<Contents, Failure> {
        let settings = match serde_json::to_value(&self.config) {
            Ok(serde_json::Value::Object(mut settings)) => {
                // these have sections of their own, or are this machine's
                for key in [
                    "model",
                    "terminals",
                    "identities",
                    "store",
                    "admin_certificates",
                    "admin_password_file",
                ] {
                    settings.remove(key);
                }
                settings
            }
            _ => return Err(Failure::new(Code::INTERNAL, "settings")),
        };
        let mut terminals = Vec::new();
        for state in self.terminals.all() {
            let TerminalRecord {
                config,
                correlation,
                certificate,
                ..
            } = state.record;
            if correlation == Correlation::Bekannt {
                continue;
            }
            let secret = self.store.secret(&format!("pairing/{}", config.id))?;
            terminals.push(Terminal {
                pairing_secret: secret.map(|secret| hex::encode(&secret[..])),
                login: self.terminal_login(&config.id)?,
                correlation,
                certificate,
                id: config.id,
                name: config.name,
                mac: config.mac,
                address: config.address,
            });
        }
        let receipt_key = self.store.secret(crate::RECEIPT_KEY)?.ok_or(Code::INTERNAL)?;
        Ok(Contents {
            device: Device {
                hostname: self.config.hostname.clone(),
                iccsn: self.identities.iccsn.clone(),
            },
            settings,
            information_model: (*self.model()).clone(),
            terminals,
            legacy_networks: self.store.all(crate::legacy::CHOICES)?.into_iter().collect(),
            imported_authorities: self
                .imported_authorities()?
                .iter()
                .map(|certificate| hex::encode(certificate.der()))
                .collect(),
            receipt_key: hex::encode(&receipt_key[..]),
            renewed_certificates: self.newest_package().map(|package| STANDARD.encode(package)),
        })
    }

    /// What an import would change; nothing is changed.
    pub fn preview(&self, text: &str, passphrase: &str) -> Result<Preview, Failure> {
        let (backup, contents, signer) = self.read_backup(text, passphrase)?;
        let current = self.contents()?;
        let now = self.clock.now();
        let problem = match self.trust() {
            None => Some("there is no trust list yet".to_owned()),
            Some(trust) => {
                let checked = trust.check_offline(&signer, &Purpose::KNOWN, now);
                checked.err().map(|error| error.to_string())
            }
        };
        let show = |map: &serde_json::Map<String, serde_json::Value>| {
            let pairs = map.iter().map(|(key, value)| (key.clone(), value.to_string()));
            pairs.collect::<BTreeMap<_, _>>()
        };
        Ok(Preview {
            confirm: hex::encode(crypto::sha256([text])),
            made: backup.made,
            product: backup.product,
            signer: signer.subject(),
            signer_problem: problem,
            device: format!("{} ({})", contents.device.hostname, contents.device.iccsn),
            changes: differences(&outline(&current), &outline(&contents)),
            settings: differences(&show(&current.settings), &show(&contents.settings)),
        })
    }

    fn read_backup(&self, text: &str, passphrase: &str) -> Result<(Backup, Contents, X509), Failure> {
        let backup = Backup::parse(text)?;
        let signer = backup.signer()?;
        let contents = backup.open(passphrase)?;
        contents.check().map_err(syntax)?;
        Ok((backup, contents, signer))
    }

    /// Imports a backup that a person has seen: `confirm` is what the preview said.
    pub fn import(self: &Arc<Self>, text: &str, passphrase: &str, confirm: &str) -> Result<(), Failure> {
        let (_, contents, _) = self.read_backup(text, passphrase)?;
        if confirm != hex::encode(crypto::sha256([text])) {
            return Err(syntax("look at the preview first and confirm what it shows"));
        }
        let mut changes = vec![
            Change::ForgetKind("terminal"),
            Change::ForgetSecrets("pairing/"),
            Change::ForgetSecrets(LOGINS),
            Change::ForgetKind(crate::update::terminals::ORDERS),
            Change::ForgetKind(crate::update::terminals::OUTCOMES),
            Change::ForgetKind("imported-ca"),
            Change::ForgetKind(crate::legacy::CHOICES),
            put("model", "current", &contents.information_model)?,
        ];
        // the library's own text would quote the letter it did not understand
        let secret = |text: &str| {
            hex::decode(text)
                .map(Zeroizing::new)
                .map_err(|_| syntax("a secret is not hexadecimal"))
        };
        let mut records = Vec::new();
        for terminal in contents.terminals {
            let id = terminal.id;
            if let Some(text) = &terminal.pairing_secret {
                changes.push(Change::Secret(format!("pairing/{id}"), secret(text)?));
            }
            if let Some(login) = &terminal.login {
                changes.push(Change::Secret(login_id(&id), login.to_bytes()?));
            }
            let record = TerminalRecord {
                config: TerminalConfig {
                    id: id.clone(),
                    name: terminal.name,
                    mac: terminal.mac,
                    address: terminal.address,
                },
                correlation: terminal.correlation,
                certificate: terminal.certificate,
                product: None,
            };
            changes.push(put("terminal", id.as_str(), &record)?);
            records.push(record);
        }
        for authority in &contents.imported_authorities {
            let der = hex::decode(authority).map_err(syntax)?;
            let id = hex::encode(crypto::sha256([&der]));
            changes.push(put("imported-ca", &id, authority)?);
        }
        for (id, active) in &contents.legacy_networks {
            changes.push(put(crate::legacy::CHOICES, id, active)?);
        }
        changes.push(Change::Secret(
            crate::RECEIPT_KEY.to_owned(),
            secret(&contents.receipt_key)?,
        ));
        self.replace_terminals(records, || {
            self.store.apply(&changes)?;
            self.adopt_model(contents.information_model);
            self.reload_legacy()
        })?;
        // they belong to one card (G11), and are judged like any package
        if contents.device.iccsn == self.identities.iccsn
            && let Some(package) = contents.renewed_certificates
        {
            let bytes = STANDARD.decode(package).map_err(syntax)?;
            if let Err(failure) =
                self.take_in(&bytes, identity::Source::Import, identity::Actor::Administrator)
            {
                tracing::warn!(
                    detail = failure.detail(),
                    "renewed certificates of the backup not taken"
                );
            }
        }
        self.announce_backup("Import");
        Ok(())
    }

    /// Back to the state of delivery. What keeps the device able to work and accountable stays: trust space, security
    /// log, identities (TIP1-A_4819, A_21743).
    ///
    /// The administrator's password becomes the one of the file again. If that is gone or unusable the present one stays:
    /// nobody would get in any more.
    pub fn factory_reset(self: &Arc<Self>) -> Result<(), Failure> {
        let file = self.config.admin_password_file.as_ref();
        let first = file.and_then(|path| {
            let text = std::fs::read_to_string(path).map(Zeroizing::new);
            let hash = text.map_err(|error| error.to_string()).and_then(|text| {
                password::hash_of_admin(text.trim_end())
                    .map(|_| text)
                    .map_err(|failure| failure.detail())
            });
            hash.map_err(|reason| {
                tracing::warn!(path = %path.display(), reason, "the administrator's password stays as it is");
            })
            .ok()
        });
        let mut changes: Vec<Change> = [
            "terminal",
            "model",
            "imported-ca",
            crate::legacy::CHOICES,
            "subscription",
            "smb-unlock",
            "vsdm",
            "condition",
            crate::runbooks::BOOKS,
            crate::runbooks::RUNS,
            crate::update::terminals::ORDERS,
            crate::update::terminals::OUTCOMES,
        ]
        .into_iter()
        .map(Change::ForgetKind)
        .collect();
        // that a stored PIN was refused is remembered: the card's tries did not come back
        changes.extend(["pairing/", LOGINS, "smb-pin/", "second-new/", "update/"].map(Change::ForgetSecrets));
        changes.extend(
            ["system", "vsdm", "performance"]
                .into_iter()
                .map(Change::ForgetLog),
        );
        changes.push(Change::Secret(
            crate::RECEIPT_KEY.to_owned(),
            Zeroizing::new(crypto::random::<32>()?.to_vec()),
        ));
        let configured = self.config.terminals.iter();
        let records = configured.map(|config| TerminalRecord::new(config.clone(), Correlation::Zugewiesen));
        self.replace_terminals(records.collect(), || {
            self.store.apply(&changes)?;
            self.forget_users(first.as_ref().map(|text| text.trim_end()))?;
            self.forget_offer()?;
            self.subscriptions.clear();
            self.adopt_model(self.config.model.clone());
            self.reload_legacy()
        })?;
        self.set_condition(Condition::LogOverflow, false);
        self.log(&Event::info(
            "MGM/FACTORYSETTINGS",
            None,
            vec![("User", crate::users::actor())],
        ));
        Ok(())
    }

    fn announce_backup(&self, mode: &str) {
        let parameters = vec![("User", crate::users::actor()), ("Mode", mode.to_owned())];
        self.log(&Event::info("MGM/CONFIG_EXIMPORT", None, parameters));
    }
}

fn put(kind: &'static str, id: &str, document: &impl Serialize) -> Result<Change, Failure> {
    Ok(Change::Put {
        kind,
        id: id.to_owned(),
        body: serde_json::to_value(document).map_err(|error| Failure::new(Code::INTERNAL, error))?,
    })
}

/// Everything by name, secrets as their hash.
fn outline(contents: &Contents) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for terminal in &contents.terminals {
        let Terminal {
            id,
            name,
            mac,
            address,
            correlation,
            certificate,
            pairing_secret,
            login,
        } = terminal;
        let secret = pairing_secret.as_deref().map_or("no secret".into(), hidden);
        // a password could be guessed from its hash alone; with a key that nobody is shown it cannot
        let login = login.as_ref().and_then(|login| login.to_bytes().ok());
        let login = login.map_or("no login".into(), |bytes| {
            let key = pairing_secret.as_deref().unwrap_or(&contents.receipt_key);
            hidden(&format!("{key}{}", hex::encode(&bytes[..])))
        });
        let certificate = certificate.as_deref().unwrap_or("no certificate");
        let text = format!("{name} {mac} {address} {correlation:?} {certificate} {secret} {login}");
        all.insert(format!("terminals/{id}"), text);
    }
    let model = serde_json::to_value(&contents.information_model).unwrap_or_default();
    for (section, value) in model.as_object().into_iter().flatten() {
        match value {
            serde_json::Value::Array(items) => {
                for item in items {
                    let id = item.get("id").and_then(|id| id.as_str()).unwrap_or("…");
                    all.insert(format!("information_model/{section}/{id}"), hidden_hashes(item));
                }
            }
            other => {
                all.insert(format!("information_model/{section}"), hidden_hashes(other));
            }
        }
    }
    for authority in &contents.imported_authorities {
        let id = hex::encode(crypto::sha256([hex::decode(authority).unwrap_or_default()]));
        all.insert(format!("imported_authorities/{id}"), "CA".into());
    }
    for (id, active) in &contents.legacy_networks {
        all.insert(format!("legacy_networks/{id}"), active.to_string());
    }
    all.insert("receipt_key".into(), hidden(&contents.receipt_key));
    all
}

/// Shows whether a secret is another one, and nothing more.
fn hidden(text: &str) -> String {
    let hash = hex::encode(crypto::sha256([text]));
    format!("secret {}", hash.get(..8).unwrap_or_default())
}

/// As JSON, without the hashes of passwords.
fn hidden_hashes(value: &serde_json::Value) -> String {
    let mut copy = value.clone();
    fn hide(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::String(text) if text.starts_with("pbkdf2-") => *text = hidden(text),
            serde_json::Value::Array(items) => items.iter_mut().for_each(hide),
            serde_json::Value::Object(map) => map.values_mut().for_each(hide),
            _ => {}
        }
    }
    hide(&mut copy);
    copy.to_string()
}

fn differences(now: &BTreeMap<String, String>, then: &BTreeMap<String, String>) -> Vec<Difference> {
    let names: BTreeSet<&String> = now.keys().chain(then.keys()).collect();
    let differing = names.into_iter().filter(|name| now.get(*name) != then.get(*name));
    differing
        .map(|name| Difference {
            what: name.clone(),
            now: now.get(name).cloned(),
            then: then.get(name).cloned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(terminals: Vec<Terminal>) -> Contents {
        Contents {
            device: Device {
                hostname: "KON".into(),
                iccsn: String::new(),
            },
            settings: serde_json::Map::new(),
            information_model: Model::default(),
            terminals,
            imported_authorities: Vec::new(),
            legacy_networks: BTreeMap::new(),
            receipt_key: "00".repeat(32),
            renewed_certificates: None,
        }
    }

    #[test]
    fn what_no_instance_could_have_been_in_is_refused() {
        let good = || Terminal {
            id: "KT1".parse().unwrap(),
            name: "reception".into(),
            mac: "02-4C-4C-00-00-01".parse().unwrap(),
            address: "127.0.0.1:4742".parse().unwrap(),
            correlation: Correlation::Aktiv,
            certificate: Some("00".repeat(32)),
            pairing_secret: Some("00".repeat(16)),
            login: None,
        };
        let refused = |terminals| contents(terminals).check().unwrap_err();
        assert_eq!(contents(vec![good()]).check(), Ok(()));
        assert!(refused(vec![good(), good()]).contains("twice"));
        for (certificate, pairing_secret) in [
            (None, good().pairing_secret),
            (good().certificate, None),
            (good().certificate, Some("00".repeat(15))),
            (Some("no hexadecimal".into()), good().pairing_secret),
        ] {
            refused(vec![Terminal {
                certificate,
                pairing_secret,
                ..good()
            }]);
        }
        refused(vec![Terminal {
            correlation: Correlation::Bekannt,
            ..good()
        }]);
        let mut short = contents(Vec::new());
        short.receipt_key.truncate(62);
        assert!(short.check().is_err());
        let mut foreign = contents(Vec::new());
        foreign.imported_authorities.push("3000".into());
        assert!(foreign.check().is_err());
    }
}
