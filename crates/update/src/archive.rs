//! ZIP archives within bounds, and the same bytes from the same files.

use crate::{Error, at};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// Most files.
const FILES: usize = 1000;
/// All files together, unpacked.
const TOTAL: u64 = 1 << 30;

/// Unpacks into a folder that is made for it.
pub fn unpack(archive: impl Read + Seek, into: &Path) -> Result<(), Error> {
    unpack_at_most(archive, into, TOTAL)
}

fn unpack_at_most(archive: impl Read + Seek, into: &Path, total: u64) -> Result<(), Error> {
    let broken = |error: zip::result::ZipError| Error::Archive(error.to_string());
    let mut archive = ZipArchive::new(archive).map_err(broken)?;
    if archive.len() > FILES {
        return Err(Error::Archive("more than 1000 files".into()));
    }
    let (mut left, mut seen) = (total, BTreeSet::new());
    std::fs::create_dir_all(into).map_err(at(into))?;
    for index in 0..archive.len() {
        let mut file = archive.by_index(index).map_err(broken)?;
        let name = file.name().to_owned();
        let inside = Path::new(&name)
            .components()
            .all(|c| matches!(c, Component::Normal(_)));
        // other programs list folders; they are made with their files
        if file.is_dir() && inside {
            continue;
        }
        if !file.is_file() || !inside || name.contains('\\') || name.contains('\0') {
            return Err(Error::Archive(format!(
                "{} is not a plain file inside",
                name.escape_debug()
            )));
        }
        if !seen.insert(name.clone()) {
            return Err(Error::Archive(format!("{} comes twice", name.escape_debug())));
        }
        let path = into.join(&name);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(at(folder))?;
        }
        let mode = match file.unix_mode().unwrap_or_default() & 0o100 {
            0 => 0o600,
            _ => 0o700,
        };
        let mut options = File::options();
        let opened = options.write(true).create_new(true).mode(mode).open(&path);
        let mut opened = opened.map_err(at(&path))?;
        // what the archive says about sizes is not believed
        let copied = std::io::copy(&mut (&mut file).take(left + 1), &mut opened).map_err(at(&path))?;
        left = left
            .checked_sub(copied)
            .ok_or_else(|| Error::Archive(format!("more than {total} bytes unpacked")))?;
    }
    Ok(())
}

/// A file for an archive: its name, where it lies, and whether it is a program.
pub struct Entry<'p> {
    /// Name in the archive.
    pub name: String,
    /// Where its bytes are.
    pub from: &'p Path,
    /// Executable.
    pub program: bool,
}

/// Packs files: sorted by name, all of the same time.
pub fn pack(mut entries: Vec<Entry<'_>>, out: &Path, method: CompressionMethod) -> Result<(), Error> {
    let failed = |error: zip::result::ZipError| Error::Archive(error.to_string());
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let mut writer = ZipWriter::new(File::create(out).map_err(at(out))?);
    for entry in entries {
        let options = SimpleFileOptions::default()
            .compression_method(method)
            .last_modified_time(zip::DateTime::default())
            .large_file(false)
            .unix_permissions(if entry.program { 0o755 } else { 0o644 });
        writer.start_file(&entry.name, options).map_err(failed)?;
        let mut from = File::open(entry.from).map_err(at(entry.from))?;
        std::io::copy(&mut from, &mut writer).map_err(at(out))?;
    }
    writer.finish().map_err(failed)?.flush().map_err(at(out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn archive(names: &[&str]) -> Cursor<Vec<u8>> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        for name in names {
            writer.start_file(*name, SimpleFileOptions::default()).unwrap();
            writer.write_all(b"x").unwrap();
        }
        writer.finish().unwrap()
    }

    #[test]
    fn nothing_leads_out() {
        for bad in ["../x", "/etc/x", "a/../../x", "a\\x", "../", "."] {
            let folder = tempfile::tempdir().unwrap();
            assert!(
                unpack(archive(&[bad]), &folder.path().join("in")).is_err(),
                "{bad}"
            );
        }
        let folder = tempfile::tempdir().unwrap();
        unpack(archive(&["a/", "a/b", "c"]), &folder.path().join("in")).unwrap();
        assert_eq!(std::fs::read(folder.path().join("in/a/b")).unwrap(), b"x");
    }

    #[test]
    fn no_links_and_no_bombs() {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        writer
            .add_symlink("link", "/etc/passwd", SimpleFileOptions::default())
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        assert!(unpack(writer.finish().unwrap(), &folder.path().join("in")).is_err());
        let names: Vec<String> = (0..1001).map(|number| number.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert!(unpack(archive(&names), &folder.path().join("many")).is_err());
        // a few hundred bytes that become a megabyte
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        let deflated = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
        writer.start_file("zeros", deflated).unwrap();
        writer.write_all(&vec![0; 1 << 20]).unwrap();
        let bomb = writer.finish().unwrap();
        let too_much = unpack_at_most(bomb.clone(), &folder.path().join("bomb"), (1 << 20) - 1);
        assert!(too_much.is_err());
        assert!(unpack_at_most(bomb, &folder.path().join("fits"), 1 << 20).is_ok());
        assert!(unpack(Cursor::new(b"no archive".to_vec()), &folder.path().join("none")).is_err());
    }
}
