//! The artefact of a release: one file, the same for the same content.

use crate::archive::{self, Entry};
use crate::{Error, at};
use sha2::{Digest, Sha256};
use slots::{MANIFEST, Manifest, Part, RealDisk, Version};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use zip::CompressionMethod;

/// Packs a release: `files` by their names in it, `program` being the one that is started. The manifest is written beside the
/// artefact first, so that a release can also be installed from a folder.
pub fn pack(
    version: Version,
    source: &str,
    program: &str,
    files: &BTreeMap<String, PathBuf>,
    out: &Path,
) -> Result<Manifest, Error> {
    let mut parts = Vec::new();
    for (path, from) in files {
        let bytes = std::fs::read(from).map_err(at(from))?;
        parts.push(Part {
            path: path.clone(),
            size: bytes.len() as u64,
            sha256: hex::encode(Sha256::digest(&bytes)),
        });
    }
    let manifest = Manifest {
        version,
        source: source.to_owned(),
        program: program.to_owned(),
        parts,
    };
    let json = serde_json::to_vec_pretty(&manifest).map_err(|error| Error::Release(error.to_string()))?;
    // read back as a device does: what it would refuse is not published
    let manifest = Manifest::parse(&json)?;
    let described = tempfile::NamedTempFile::new().map_err(at(out))?;
    std::fs::write(described.path(), &json).map_err(at(out))?;
    let mut entries: Vec<Entry<'_>> = files
        .iter()
        .map(|(name, from)| Entry {
            name: name.clone(),
            from,
            program: name == program,
        })
        .collect();
    entries.push(Entry {
        name: MANIFEST.into(),
        from: described.path(),
        program: false,
    });
    archive::pack(entries, out, CompressionMethod::Deflated)?;
    Ok(manifest)
}

/// Unpacks an artefact into a folder that is made for it, and compares every file with the manifest.
pub fn unpack(artefact: &Path, into: &Path) -> Result<Manifest, Error> {
    let file = std::fs::File::open(artefact).map_err(at(artefact))?;
    archive::unpack(file, into)?;
    Ok(Manifest::verify(&RealDisk, into)?)
}
