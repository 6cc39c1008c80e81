//! What a slot holds: the manifest of a release, and whether the files are those it names.

use crate::{Disk, SlotError};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use std::path::{Component, Path};
use std::str::FromStr;

/// Name of the manifest in a slot.
pub const MANIFEST: &str = "release.json";
/// Most files of a release.
const MAX_PARTS: usize = 1000;
/// Largest manifest, bytes.
const MAX_MANIFEST: usize = 1 << 20;

/// Version of a release: three numbers, compared one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version(pub u16, pub u16, pub u16);

impl FromStr for Version {
    type Err = SlotError;
    fn from_str(text: &str) -> Result<Self, SlotError> {
        let wrong = || SlotError::Release(format!("version `{}` is not like 1.2.3", text.escape_debug()));
        let mut numbers = text
            .split('.')
            .map(|part| match part.bytes().all(|b| b.is_ascii_digit()) {
                true => part.parse::<u16>().map_err(|_| wrong()),
                false => Err(wrong()),
            });
        let mut next = || numbers.next().ok_or_else(wrong).flatten();
        let version = Self(next()?, next()?, next()?);
        match numbers.next() {
            None => Ok(version),
            Some(_) => Err(wrong()),
        }
    }
}

impl TryFrom<String> for Version {
    type Error = SlotError;
    fn try_from(text: String) -> Result<Self, SlotError> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.to_string()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// A file of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Where, seen from the slot; no way out of it.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256, hexadecimal.
    pub sha256: String,
}

/// What a release says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version.
    pub version: Version,
    /// What it was built from: the commit.
    pub source: String,
    /// The part that is started.
    pub program: String,
    /// All files but the manifest itself.
    pub parts: Vec<Part>,
}

impl Manifest {
    /// Reads a manifest; every path stays inside the slot.
    pub fn parse(bytes: &[u8]) -> Result<Self, SlotError> {
        let wrong = |what: &str| SlotError::Release(format!("{MANIFEST}: {what}"));
        if bytes.len() > MAX_MANIFEST {
            return Err(wrong("larger than 1 MiB"));
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(|error| wrong(&error.to_string()))?;
        if manifest.parts.len() > MAX_PARTS {
            return Err(wrong("more than 1000 files"));
        }
        for part in &manifest.parts {
            let inside = Path::new(&part.path)
                .components()
                .all(|c| matches!(c, Component::Normal(_)));
            if part.path.is_empty() || part.path == MANIFEST || !inside {
                return Err(wrong("a path leads out of the slot"));
            }
        }
        match manifest.parts.iter().any(|part| part.path == manifest.program) {
            true => Ok(manifest),
            false => Err(wrong("the program is not among the files")),
        }
    }

    /// Reads the manifest in a folder and compares every file with it.
    pub fn verify(disk: &impl Disk, folder: &Path) -> Result<Self, SlotError> {
        let read = |path: &Path| {
            disk.read(path)
                .map_err(|error| SlotError::Disk(path.display().to_string(), error))
        };
        let manifest = Self::parse(&read(&folder.join(MANIFEST))?)?;
        for part in &manifest.parts {
            let bytes = read(&folder.join(&part.path))?;
            if bytes.len() as u64 != part.size
                || !hex::encode(Sha256::digest(&bytes)).eq_ignore_ascii_case(&part.sha256)
            {
                return Err(SlotError::Release(format!(
                    "{} is not the file that the manifest names",
                    part.path.escape_debug()
                )));
            }
        }
        Ok(manifest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbers() {
        let of = |text: &str| text.parse::<Version>();
        assert!(of("0.10.0").unwrap() > of("0.9.9").unwrap());
        for bad in [
            "",
            "1",
            "1.2",
            "1.2.3.4",
            "1.2.x",
            "1.2.-3",
            "1.2.+3",
            "1.2.70000",
            " 1.2.3",
            "1..3",
        ] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_path_leads_out() {
        let with = |path: &str| {
            let json = serde_json::json!({"version": "1.0.0", "source": "x", "program": path,
                "parts": [{"path": path, "size": 0, "sha256": ""}]});
            Manifest::parse(json.to_string().as_bytes())
        };
        assert!(with("langlauf").is_ok());
        assert!(with("share/notes.md").is_ok());
        for bad in ["../langlauf", "/bin/sh", "share/../../x", "", MANIFEST, "./x"] {
            assert!(with(bad).is_err(), "{bad}");
        }
    }
}
