//! A repository of releases as plain files: keys, roots, signatures.

use crate::archive::{self, Entry};
use crate::{Error, at};
use base::Timestamp;
use crypto::{Key, PublicKey, SignatureScheme};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use slots::Version;
use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;
use tough::TargetName;
use tough::schema::key::{EcdsaKey, EcdsaScheme, Key as TufKey};
use tough::schema::{
    Hashes, Metafile, Role as Metadata, RoleKeys, RoleType, Root, Signature, Signed, Snapshot, Target,
    Targets, Timestamp as Stamp,
};
use zip::CompressionMethod;

const SPEC: &str = "1.0.0";
const DAY: u64 = 24 * 3600;

/// What a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Who may sign; two of three, kept offline.
    Root,
    /// Which releases are allowed; two of three, kept offline.
    Targets,
    /// Which metadata belong together.
    Snapshot,
    /// Which snapshot is the newest.
    Timestamp,
}

impl Role {
    /// All of them.
    pub const ALL: [Role; 4] = [Role::Root, Role::Targets, Role::Snapshot, Role::Timestamp];

    fn tuf(self) -> RoleType {
        match self {
            Role::Root => RoleType::Root,
            Role::Targets => RoleType::Targets,
            Role::Snapshot => RoleType::Snapshot,
            Role::Timestamp => RoleType::Timestamp,
        }
    }

    /// As in file names.
    pub fn name(self) -> &'static str {
        match self {
            Role::Root => "root",
            Role::Targets => "targets",
            Role::Snapshot => "snapshot",
            Role::Timestamp => "timestamp",
        }
    }
}

/// Who may sign as what: public keys and how many of them are needed.
pub type SignerKeys = BTreeMap<Role, (Vec<PublicKey>, u64)>;

/// How long metadata are believed, days.
#[derive(Debug, Clone, Copy)]
pub struct Lifetimes {
    /// Root.
    pub root: u64,
    /// Targets.
    pub targets: u64,
    /// Snapshot.
    pub snapshot: u64,
    /// Timestamp: so long a device can be kept from newer releases without noticing.
    pub timestamp: u64,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            root: 5 * 365,
            targets: 365,
            snapshot: 180,
            timestamp: 90,
        }
    }
}

/// Whole seconds, in the type of tough's own time library.
fn after<T: FromStr>(now: Timestamp, days: u64) -> Result<T, Error> {
    let wrong = |error: &dyn std::fmt::Display| Error::Metadata(error.to_string());
    let end = now
        .checked_add(Duration::from_secs(days * DAY))
        .and_then(|end| Timestamp::from_second(end.as_second()))
        .map_err(|error| wrong(&error))?;
    end.to_string().parse().map_err(|_| wrong(&end))
}

fn tuf_key(key: &PublicKey) -> Result<TufKey, Error> {
    match key {
        PublicKey::Ec(key) if key.curve() == crypto::Curve::NistP256 => Ok(TufKey::Ecdsa {
            keyval: EcdsaKey {
                public: key.point().into(),
                _extra: HashMap::new(),
            },
            scheme: EcdsaScheme::EcdsaSha2Nistp256,
            _extra: HashMap::new(),
        }),
        _ => Err(Error::Metadata("releases are signed with P-256 keys".into())),
    }
}

/// A root that nobody has signed yet.
pub fn new_root(
    signers: &SignerKeys,
    version: u64,
    now: Timestamp,
    lifetimes: Lifetimes,
) -> Result<Vec<u8>, Error> {
    let version = NonZeroU64::new(version).ok_or_else(|| Error::Metadata("versions begin with 1".into()))?;
    let (mut keys, mut roles) = (HashMap::new(), HashMap::new());
    for (role, (publics, threshold)) in signers {
        let mut keyids = Vec::new();
        for public in publics {
            let key = tuf_key(public)?;
            let id = key.key_id().map_err(|error| Error::Metadata(error.to_string()))?;
            keys.insert(id.clone(), key);
            keyids.push(id);
        }
        let threshold = NonZeroU64::new(*threshold)
            .filter(|threshold| threshold.get() <= keyids.len() as u64)
            .ok_or_else(|| Error::Metadata(format!("{}: more signatures needed than keys", role.name())))?;
        let held = RoleKeys {
            keyids,
            threshold,
            _extra: HashMap::new(),
        };
        roles.insert(role.tuf(), held);
    }
    let root = Root {
        spec_version: SPEC.into(),
        consistent_snapshot: true,
        version,
        expires: after(now, lifetimes.root)?,
        keys,
        roles,
        _extra: HashMap::new(),
    };
    to_json(&Signed {
        signed: root,
        signatures: Vec::new(),
    })
}

fn to_json<T: Serialize>(value: &T) -> Result<Vec<u8>, Error> {
    let mut json = serde_json::to_vec_pretty(value).map_err(|error| Error::Metadata(error.to_string()))?;
    json.push(b'\n');
    Ok(json)
}

fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|error| Error::Metadata(error.to_string()))
}

/// Adds the signature of a key; signed twice is signed once.
fn sign<T: Metadata>(signed: &mut Signed<T>, key: &dyn Key) -> Result<(), Error> {
    let metadata = |error: &dyn std::fmt::Display| Error::Metadata(error.to_string());
    let keyid = tuf_key(&key.public())?
        .key_id()
        .map_err(|error| metadata(&error))?;
    let form = signed.signed.canonical_form().map_err(|error| metadata(&error))?;
    let sig = key.sign(SignatureScheme::Ecdsa, &form)?;
    signed.signatures.retain(|signature| signature.keyid != keyid);
    signed.signatures.push(Signature {
        keyid,
        sig: sig.into(),
    });
    Ok(())
}

/// Adds a signature to a root or to targets: whoever holds a key signs at home, and sends the file on.
pub fn sign_file(json: &[u8], key: &dyn Key) -> Result<Vec<u8>, Error> {
    #[derive(Deserialize)]
    struct Kind {
        signed: Inner,
    }
    #[derive(Deserialize)]
    struct Inner {
        #[serde(rename = "_type")]
        kind: String,
    }
    match from_json::<Kind>(json)?.signed.kind.as_str() {
        "root" => {
            let mut signed: Signed<Root> = from_json(json)?;
            sign(&mut signed, key)?;
            to_json(&signed)
        }
        "targets" => {
            let mut signed: Signed<Targets> = from_json(json)?;
            sign(&mut signed, key)?;
            to_json(&signed)
        }
        other => Err(Error::Metadata(format!(
            "{} is not signed by hand",
            other.escape_debug()
        ))),
    }
}

/// Is this root signed as this (older, or the same) root demands?
pub fn is_signed_by(root: &[u8], by: &[u8]) -> Result<(), Error> {
    let (root, by): (Signed<Root>, Signed<Root>) = (from_json(root)?, from_json(by)?);
    by.signed
        .verify_role(&root)
        .map_err(|error| Error::Metadata(error.to_string()))
}

/// What the targets say about an artefact besides its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct About {
    /// For which device.
    pub product: String,
    /// Which version.
    pub version: Version,
}

/// A repository in a folder: `metadata/`, `targets/`.
#[derive(Debug)]
pub struct Publisher {
    folder: PathBuf,
    lifetimes: Lifetimes,
}

impl Publisher {
    /// The repository in this folder, which may be empty.
    pub fn new(folder: PathBuf, lifetimes: Lifetimes) -> Self {
        Self { folder, lifetimes }
    }

    fn metadata(&self, name: &str) -> PathBuf {
        self.folder.join("metadata").join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = self.metadata(name);
        let folder = self.folder.join("metadata");
        std::fs::create_dir_all(&folder).map_err(at(&folder))?;
        std::fs::write(&path, bytes).map_err(at(&path))
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<T, Error> {
        let path = self.metadata(name);
        from_json(&std::fs::read(&path).map_err(at(&path))?)
    }

    /// The newest root.
    fn root(&self) -> Result<(u64, Vec<u8>), Error> {
        let (mut version, mut newest) = (0, None);
        loop {
            let path = self.metadata(&format!("{}.root.json", version + 1));
            match std::fs::read(&path) {
                Ok(bytes) => (version, newest) = (version + 1, Some(bytes)),
                Err(_) => break,
            }
        }
        match newest {
            Some(bytes) => Ok((version, bytes)),
            None => Err(Error::Metadata("there is no root yet".into())),
        }
    }

    /// Adds a root: the first one, or the successor, signed by enough of the old keys and enough of the new ones.
    pub fn add_root(&self, root: &[u8]) -> Result<(), Error> {
        let signed: Signed<Root> = from_json(root)?;
        let version = signed.signed.version.get();
        is_signed_by(root, root)?;
        match self.root() {
            Ok((newest, by)) if version == newest + 1 => is_signed_by(root, &by)?,
            Err(_) if version == 1 => {}
            _ => return Err(Error::Metadata(format!("root {version} does not follow"))),
        }
        self.write(&format!("{version}.root.json"), root)
    }

    /// Targets that nobody has signed yet: those of now, with this artefact, without these versions. For the next
    /// [`Publisher::publish`].
    pub fn draft(
        &self,
        add: Option<(&Path, &str, Version)>,
        remove: &[Version],
        now: Timestamp,
    ) -> Result<Vec<u8>, Error> {
        let before: Option<Signed<Targets>> = self.newest_targets()?;
        let version = before
            .as_ref()
            .map_or(1, |before| before.signed.version.get() + 1);
        let version = NonZeroU64::new(version).ok_or_else(|| Error::Metadata("version".into()))?;
        let mut targets = Targets::new(SPEC.into(), version, after(now, self.lifetimes.targets)?);
        targets.targets = before.map(|before| before.signed.targets).unwrap_or_default();
        targets
            .targets
            .retain(|_, target| about(target).is_none_or(|about| !remove.contains(&about.version)));
        if let Some((artefact, product, version)) = add {
            let bytes = std::fs::read(artefact).map_err(at(artefact))?;
            let hash = Sha256::digest(&bytes).to_vec();
            let name = format!("{product}-{version}.zip");
            let named = TargetName::new(&name).map_err(|error| Error::Metadata(error.to_string()))?;
            let about = About {
                product: product.to_owned(),
                version,
            };
            let about = serde_json::to_value(about).map_err(|error| Error::Metadata(error.to_string()))?;
            let custom = match about {
                serde_json::Value::Object(map) => map.into_iter().collect(),
                _ => HashMap::new(),
            };
            let folder = self.folder.join("targets");
            std::fs::create_dir_all(&folder).map_err(at(&folder))?;
            let path = folder.join(format!("{}.{name}", hex::encode(&hash)));
            std::fs::write(&path, &bytes).map_err(at(&path))?;
            let target = Target {
                length: bytes.len() as u64,
                hashes: Hashes {
                    sha256: hash.into(),
                    _extra: HashMap::new(),
                },
                custom,
                _extra: HashMap::new(),
            };
            targets.targets.insert(named, target);
        }
        to_json(&Signed {
            signed: targets,
            signatures: Vec::new(),
        })
    }

    fn newest_targets(&self) -> Result<Option<Signed<Targets>>, Error> {
        let Ok(stamp) = self.read::<Signed<Stamp>>("timestamp.json") else {
            return Ok(None);
        };
        let number = |meta: &HashMap<String, Metafile>, name: &str| {
            meta.get(name)
                .map(|file| file.version)
                .ok_or_else(|| Error::Metadata(format!("{name} is missing")))
        };
        let snapshot = number(&stamp.signed.meta, "snapshot.json")?;
        let snapshot: Signed<Snapshot> = self.read(&format!("{snapshot}.snapshot.json"))?;
        let targets = number(&snapshot.signed.meta, "targets.json")?;
        self.read(&format!("{targets}.targets.json")).map(Some)
    }

    /// Makes signed targets the newest ones, with a snapshot and a timestamp over them.
    pub fn publish(&self, targets: &[u8], keys: &[&dyn Key], now: Timestamp) -> Result<(), Error> {
        let root: Signed<Root> = from_json(&self.root()?.1)?;
        let metadata = |error: &dyn std::fmt::Display| Error::Metadata(error.to_string());
        let signed: Signed<Targets> = from_json(targets)?;
        root.signed
            .verify_role(&signed)
            .map_err(|error| metadata(&error))?;
        let version = signed.signed.version;
        self.write(&format!("{version}.targets.json"), targets)?;
        let before = match self.read::<Signed<Stamp>>("timestamp.json") {
            Ok(stamp) => stamp
                .signed
                .meta
                .get("snapshot.json")
                .map_or(0, |file| file.version.get()),
            Err(_) => 0,
        };
        let next = NonZeroU64::new(before + 1).ok_or_else(|| Error::Metadata("version".into()))?;
        let mut snapshot = Snapshot::new(SPEC.into(), next, after(now, self.lifetimes.snapshot)?);
        snapshot
            .meta
            .insert("targets.json".into(), file(targets, version));
        let mut snapshot = Signed {
            signed: snapshot,
            signatures: Vec::new(),
        };
        for key in keys {
            sign(&mut snapshot, *key)?;
        }
        self.write(&format!("{next}.snapshot.json"), &to_json(&snapshot)?)?;
        self.stamp(next, keys, now)
    }

    /// A new timestamp over what is published, before the old one ends.
    pub fn refresh(&self, keys: &[&dyn Key], now: Timestamp) -> Result<(), Error> {
        let stamp: Signed<Stamp> = self.read("timestamp.json")?;
        let snapshot = stamp.signed.meta.get("snapshot.json");
        let snapshot = snapshot.ok_or_else(|| Error::Metadata("snapshot.json is missing".into()))?;
        self.stamp(snapshot.version, keys, now)
    }

    fn stamp(&self, snapshot: NonZeroU64, keys: &[&dyn Key], now: Timestamp) -> Result<(), Error> {
        let metadata = |error: &dyn std::fmt::Display| Error::Metadata(error.to_string());
        let root: Signed<Root> = from_json(&self.root()?.1)?;
        let path = self.metadata(&format!("{snapshot}.snapshot.json"));
        let bytes = std::fs::read(&path).map_err(at(&path))?;
        let described: Signed<Snapshot> = from_json(&bytes)?;
        root.signed
            .verify_role(&described)
            .map_err(|error| metadata(&error))?;
        let before = self.read::<Signed<Stamp>>("timestamp.json");
        let next = before.map_or(1, |before| before.signed.version.get() + 1);
        let next = NonZeroU64::new(next).ok_or_else(|| Error::Metadata("version".into()))?;
        let mut stamp = Stamp::new(SPEC.into(), next, after(now, self.lifetimes.timestamp)?);
        stamp.meta.insert("snapshot.json".into(), file(&bytes, snapshot));
        let mut stamp = Signed {
            signed: stamp,
            signatures: Vec::new(),
        };
        for key in keys {
            sign(&mut stamp, *key)?;
        }
        root.signed
            .verify_role(&stamp)
            .map_err(|error| metadata(&error))?;
        self.write("timestamp.json", &to_json(&stamp)?)
    }

    /// Everything a device needs to judge and take one version, in one file.
    pub fn bundle(&self, product: &str, version: Version, out: &Path) -> Result<(), Error> {
        let targets = self
            .newest_targets()?
            .ok_or_else(|| Error::Metadata("nothing is published".into()))?;
        let wanted = About {
            product: product.to_owned(),
            version,
        };
        let found = targets
            .signed
            .targets
            .iter()
            .find(|(_, target)| about(target).as_ref() == Some(&wanted))
            .ok_or_else(|| Error::Metadata(format!("{product} {version} is not published")))?;
        let file = format!("{}.{}", hex::encode(&found.1.hashes.sha256), found.0.resolved());
        let mut paths: Vec<(String, PathBuf)> = Vec::new();
        let folder = self.folder.join("metadata");
        for entry in std::fs::read_dir(&folder).map_err(at(&folder))? {
            let entry = entry.map_err(at(&folder))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            paths.push((format!("metadata/{name}"), entry.path()));
        }
        paths.push((format!("targets/{file}"), self.folder.join("targets").join(&file)));
        let entries = paths.iter().map(|(name, from)| Entry {
            name: name.clone(),
            from,
            program: false,
        });
        archive::pack(entries.collect(), out, CompressionMethod::Stored)
    }
}

fn file(bytes: &[u8], version: NonZeroU64) -> Metafile {
    Metafile {
        length: Some(bytes.len() as u64),
        hashes: Some(Hashes {
            sha256: Sha256::digest(bytes).to_vec().into(),
            _extra: HashMap::new(),
        }),
        version,
        _extra: HashMap::new(),
    }
}

/// What the targets say about an artefact, if it is one of ours.
pub(crate) fn about(target: &Target) -> Option<About> {
    let map: serde_json::Map<_, _> = target.custom.clone().into_iter().collect();
    serde_json::from_value(map.into()).ok()
}
