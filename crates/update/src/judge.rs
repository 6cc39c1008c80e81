//! A device's judgement of a bundle.

use crate::publish::about;
use crate::{Error, archive, artefact, at};
use base::Timestamp;
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use slots::{Disk, Manifest, RealDisk, Version};
use std::io::Write;
use std::path::{Path, PathBuf};
use tough::schema::Role as _;
use tough::{ExpirationEnforcement, FilesystemTransport, Repository, RepositoryLoader};
use url::Url;

/// Names of what is remembered, as tough has them.
const REMEMBERED: [&str; 4] = ["root.json", "timestamp.json", "snapshot.json", "targets.json"];
/// Largest artefact, bytes.
const ARTEFACT: u64 = 1 << 30;

/// Who judges: what it was delivered with, and where it remembers what it has seen.
#[derive(Debug, Clone)]
pub struct Judge {
    /// The first root.
    pub root: Vec<u8>,
    /// The file in which it remembers. Losing it costs the protection against older releases, nothing else.
    pub memory: PathBuf,
    /// For which product releases are taken.
    pub product: String,
}

/// A release that may be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// What it says about itself.
    pub manifest: Manifest,
    /// Where it lies, unpacked and compared.
    pub folder: PathBuf,
    /// Version of the firmware group: of the list of allowed versions.
    pub group: u64,
    /// What is allowed for this product, ascending.
    pub allowed: Vec<Version>,
    /// When the first of the metadata ends.
    pub expires: Timestamp,
}

/// What was seen, in one file, so that it is replaced as a whole.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Memory(std::collections::BTreeMap<String, serde_json::Value>);

impl Judge {
    /// Judges a bundle at the time `now` and unpacks its release below `workspace`, which is emptied first. What a good one
    /// says is remembered.
    pub async fn examine(&self, bundle: &Path, workspace: &Path, now: Timestamp) -> Result<Offer, Error> {
        RealDisk.remove_tree(workspace).map_err(at(workspace))?;
        let unpacked = workspace.join("bundle");
        archive::unpack(std::fs::File::open(bundle).map_err(at(bundle))?, &unpacked)?;
        let seen = workspace.join("seen");
        std::fs::create_dir_all(&seen).map_err(at(&seen))?;
        let root = self.recall(&seen)?;
        let repository = load(&unpacked, &seen, &root).await?;
        let expires = in_time(&repository, now)?;
        let (name, version) = self.choose(&repository, &unpacked)?;
        let packed = workspace.join("artefact.zip");
        save(&repository, &name, &packed).await?;
        let folder = workspace.join("release");
        let manifest = artefact::unpack(&packed, &folder)?;
        if manifest.version != version {
            return Err(Error::Release(format!(
                "it is signed as {version} and calls itself {}",
                manifest.version
            )));
        }
        let mut allowed: Vec<Version> = self.ours(&repository).map(|(_, version)| version).collect();
        allowed.sort();
        self.remember(&seen)?;
        for spent in [&unpacked, &seen] {
            RealDisk.remove_tree(spent).map_err(at(spent))?;
        }
        std::fs::remove_file(&packed).map_err(at(&packed))?;
        Ok(Offer {
            manifest,
            folder,
            group: repository.targets().signed.version.get(),
            allowed,
            expires,
        })
    }

    /// Puts what is remembered where tough looks for it; the newest root that is known.
    fn recall(&self, seen: &Path) -> Result<Vec<u8>, Error> {
        let Some(bytes) = base::file::read(&self.memory).map_err(at(&self.memory))? else {
            return Ok(self.root.clone());
        };
        let memory: Memory = serde_json::from_slice(&bytes).map_err(|error| {
            let file = self.memory.display();
            Error::Metadata(format!(
                "{file} cannot be read ({error}): remove it to begin anew"
            ))
        })?;
        for (name, value) in &memory.0 {
            if let Some(name) = REMEMBERED.iter().find(|known| *known == name) {
                let path = seen.join(name);
                std::fs::write(&path, value.to_string()).map_err(at(&path))?;
            }
        }
        let root = memory
            .0
            .get("root.json")
            .map(|root| root.to_string().into_bytes());
        Ok(root.unwrap_or_else(|| self.root.clone()))
    }

    fn remember(&self, seen: &Path) -> Result<(), Error> {
        let mut memory = Memory::default();
        for name in REMEMBERED {
            let path = seen.join(name);
            let bytes = std::fs::read(&path).map_err(at(&path))?;
            let value = serde_json::from_slice(&bytes).map_err(|error| Error::Metadata(error.to_string()))?;
            memory.0.insert(name.to_owned(), value);
        }
        let json = serde_json::to_vec(&memory).map_err(|error| Error::Metadata(error.to_string()))?;
        base::file::replace(&self.memory, &json).map_err(at(&self.memory))
    }

    fn ours<'r>(
        &'r self,
        repository: &'r Repository,
    ) -> impl Iterator<Item = (&'r tough::TargetName, Version)> {
        repository
            .targets()
            .signed
            .targets
            .iter()
            .filter_map(|(name, target)| Some((name, about(target)?)))
            .filter(|(_, about)| about.product == self.product)
            .map(|(name, about)| (name, about.version))
    }

    /// The newest version of ours that the bundle brings.
    fn choose(&self, repository: &Repository, bundle: &Path) -> Result<(tough::TargetName, Version), Error> {
        let targets = &repository.targets().signed.targets;
        self.ours(repository)
            .filter(|(name, _)| {
                targets.get(name).is_some_and(|target| {
                    let file = format!("{}.{}", hex::encode(&target.hashes.sha256), name.resolved());
                    target.length <= ARTEFACT && bundle.join("targets").join(file).is_file()
                })
            })
            .max_by_key(|(_, version)| *version)
            .map(|(name, version)| (name.clone(), version))
            .ok_or_else(|| Error::OtherProduct(self.product.clone()))
    }
}

async fn load(bundle: &Path, seen: &Path, root: &[u8]) -> Result<Repository, Error> {
    let place = |name: &str| {
        let folder = bundle.join(name);
        let folder = std::path::absolute(&folder).map_err(at(&folder))?;
        Url::from_directory_path(&folder).map_err(|()| Error::Archive("path".into()))
    };
    RepositoryLoader::new(&root, place("metadata")?, place("targets")?)
        .transport(FilesystemTransport)
        .datastore(seen)
        // tough would ask the system what time it is
        .expiration_enforcement(ExpirationEnforcement::Unsafe)
        .load()
        .await
        .map_err(|error| Error::Metadata(chain(&error)))
}

/// An error with what caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// When the first of the metadata ends, if none has ended yet.
fn in_time(repository: &Repository, now: Timestamp) -> Result<Timestamp, Error> {
    let ends = [
        ("root", repository.root().signed.expires()),
        ("timestamp", repository.timestamp().signed.expires()),
        ("snapshot", repository.snapshot().signed.expires()),
        ("targets", repository.targets().signed.expires()),
    ];
    let mut first = Timestamp::MAX;
    for (role, end) in ends {
        // tough has a time library of its own
        let ended = Timestamp::from_second(end.as_second()).map_err(|e| Error::Metadata(e.to_string()))?;
        if ended <= now {
            return Err(Error::Expired { role, ended });
        }
        first = first.min(ended);
    }
    Ok(first)
}

/// Saves an artefact; length and hash are compared on the way.
async fn save(repository: &Repository, name: &tough::TargetName, to: &Path) -> Result<(), Error> {
    let wrong = |error: tough::error::Error| Error::Release(chain(&error));
    let stream = repository.read_target(name).await.map_err(wrong)?;
    let mut stream = stream.ok_or_else(|| Error::Release("artefact is missing".into()))?;
    let mut file = std::fs::File::create(to).map_err(at(to))?;
    while let Some(piece) = stream.next().await {
        file.write_all(&piece.map_err(wrong)?).map_err(at(to))?;
    }
    Ok(())
}
