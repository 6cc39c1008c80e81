//! What the demo keeps in its folder: identities, made once, and files that other programs read.

use anyhow::{Context, Result};
use crypto::tls::Identity;
use std::path::{Path, PathBuf};

/// A JSON file; its absence is the empty value.
pub(crate) fn read_json<T: serde::de::DeserializeOwned + Default>(path: &Path) -> Result<T> {
    match base::file::read(path).with_context(|| path.display().to_string())? {
        Some(bytes) => serde_json::from_slice(&bytes).with_context(|| path.display().to_string()),
        None => Ok(T::default()),
    }
}

/// A file only for its owner, replaced whole.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    base::file::replace(path, bytes).with_context(|| path.display().to_string())
}

/// A text that stays the same once it is made.
pub(crate) fn read_or_make(path: &Path, make: impl FnOnce() -> Result<String>) -> Result<String> {
    if let Some(text) = base::file::read(path)? {
        return Ok(String::from_utf8(text)?);
    }
    let text = make()?;
    write_private(path, text.as_bytes())?;
    Ok(text)
}

/// Identities as PEM files by name, read or made.
pub(crate) struct Vault {
    folder: PathBuf,
}

impl Vault {
    pub fn open(folder: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&folder)?;
        Ok(Self { folder })
    }

    /// Where the identity `name` lies.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.pem"))
    }

    pub fn identity(&self, name: &str, make: impl FnOnce() -> Result<Identity>) -> Result<Identity> {
        let path = self.path(name);
        let text = read_or_make(&path, || Ok(make()?.to_pem()?.to_string()))?;
        Identity::from_pem(&text).with_context(|| path.display().to_string())
    }
}
