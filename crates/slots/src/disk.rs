//! The few things done to a disk, so that a test can cut the power between any two of them.

use std::io::{Error, ErrorKind, Read, Result};
use std::path::Path;

/// Largest file that is read: a release's program.
const MAX_FILE: u64 = 1 << 30;

/// A disk, as POSIX promises it: what is written is there after a power cut only when file and folder were synchronised;
/// a rename is either there or not.
pub trait Disk {
    /// Names in a folder, and whether each is a folder itself; sorted.
    fn list(&self, folder: &Path) -> Result<Vec<(String, bool)>>;
    /// A whole file.
    fn read(&self, file: &Path) -> Result<Vec<u8>>;
    /// Is there something?
    fn exists(&self, path: &Path) -> bool;
    /// Writes a file, readable and writable for its owner only; not durable yet.
    fn write(&self, file: &Path, bytes: &[u8]) -> Result<()>;
    /// Copies a file with its permissions; not durable yet.
    fn copy(&self, from: &Path, to: &Path) -> Result<()>;
    /// Makes a folder, for its owner only; not durable yet.
    fn make_folder(&self, folder: &Path) -> Result<()>;
    /// Removes a file.
    fn remove_file(&self, file: &Path) -> Result<()>;
    /// Removes an empty folder.
    fn remove_folder(&self, folder: &Path) -> Result<()>;
    /// Gives something another name; a file of that name is replaced.
    fn rename(&self, from: &Path, to: &Path) -> Result<()>;
    /// Makes what was written into a file, or the names in a folder, durable.
    fn sync(&self, path: &Path) -> Result<()>;

    /// Replaces a file: afterwards it is the old one or the new one, whatever happens; durable.
    fn replace(&self, file: &Path, bytes: &[u8]) -> Result<()> {
        let next = file.with_extension("next");
        self.write(&next, bytes)?;
        self.sync(&next)?;
        self.rename(&next, file)?;
        self.sync(parent(file)?)
    }

    /// Copies a folder to a place where nothing is; what lies inside is durable, its own name becomes so by the caller.
    fn copy_tree(&self, from: &Path, to: &Path) -> Result<()> {
        self.make_folder(to)?;
        for (name, is_folder) in self.list(from)? {
            let (from, to) = (from.join(&name), to.join(&name));
            match is_folder {
                true => self.copy_tree(&from, &to)?,
                false => {
                    self.copy(&from, &to)?;
                    self.sync(&to)?;
                }
            }
        }
        self.sync(to)
    }

    /// Removes a folder with everything in it; absence is no error.
    fn remove_tree(&self, folder: &Path) -> Result<()> {
        if !self.exists(folder) {
            return Ok(());
        }
        for (name, is_folder) in self.list(folder)? {
            let path = folder.join(&name);
            match is_folder {
                true => self.remove_tree(&path)?,
                false => self.remove_file(&path)?,
            }
        }
        self.remove_folder(folder)
    }
}

fn parent(path: &Path) -> Result<&Path> {
    path.parent()
        .ok_or_else(|| Error::new(ErrorKind::InvalidInput, "no folder above"))
}

/// The machine's own disk.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl RealDisk {
    /// Bytes of all files below a folder.
    pub fn used(&self, folder: &Path) -> u64 {
        let all = self.list(folder).unwrap_or_default();
        let sizes = all.iter().map(|(name, is_folder)| {
            let path = folder.join(name);
            match is_folder {
                true => self.used(&path),
                false => path.metadata().map_or(0, |about| about.len()),
            }
        });
        sizes.sum()
    }

    /// Free bytes where something lies; `None` if the disk cannot be asked.
    pub fn free(&self, path: &Path) -> Option<u64> {
        let disk = rustix::fs::statvfs(path).ok()?;
        Some(disk.f_bavail.saturating_mul(disk.f_frsize))
    }
}

impl Disk for RealDisk {
    fn list(&self, folder: &Path) -> Result<Vec<(String, bool)>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            // sockets and links are nobody's state
            if kind.is_file() || kind.is_dir() {
                let name = entry.file_name().into_string();
                let name = name.map_err(|_| Error::new(ErrorKind::InvalidData, "name is not UTF-8"))?;
                names.push((name, kind.is_dir()));
            }
        }
        names.sort();
        Ok(names)
    }

    fn read(&self, file: &Path) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let opened = std::fs::File::open(file)?;
        if opened.take(MAX_FILE + 1).read_to_end(&mut bytes)? as u64 > MAX_FILE {
            return Err(Error::new(ErrorKind::FileTooLarge, "larger than 1 GiB"));
        }
        Ok(bytes)
    }

    fn exists(&self, path: &Path) -> bool {
        path.symlink_metadata().is_ok()
    }

    fn write(&self, file: &Path, bytes: &[u8]) -> Result<()> {
        use std::io::Write;
        use std::os::unix::fs::OpenOptionsExt;
        let mut options = std::fs::OpenOptions::new();
        let mut opened = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(file)?;
        opened.write_all(bytes)
    }

    fn copy(&self, from: &Path, to: &Path) -> Result<()> {
        std::fs::copy(from, to).map(drop)
    }

    fn make_folder(&self, folder: &Path) -> Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().mode(0o700).create(folder)
    }

    fn remove_file(&self, file: &Path) -> Result<()> {
        std::fs::remove_file(file)
    }

    fn remove_folder(&self, folder: &Path) -> Result<()> {
        // a socket may still lie there
        std::fs::remove_dir_all(folder)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        std::fs::rename(from, to)
    }

    fn sync(&self, path: &Path) -> Result<()> {
        std::fs::File::open(path)?.sync_all()
    }
}
