//! The package of renewed certificates, `<ICCSN>.zip` (A_21769, A_21770): hostile until proven otherwise. A flat archive of
//! PEM files with fixed names; whatever else is in it is passed over, whatever is too large refuses the whole.

use crate::{Error, Kind};
use crypto::pem;
use std::collections::BTreeMap;
use std::io::{Cursor, Read, Write};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// Largest archive.
pub const PACKAGE: usize = 1024 * 1024;
/// Most files in it.
const FILES: usize = 64;
/// Largest file in it.
const FILE: u64 = 16 * 1024;

/// What a package says; nothing of it is believed yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Package {
    /// Certificates, DER.
    pub certificates: BTreeMap<Kind, Vec<u8>>,
    /// C.SAK.AUTD_CVC and C.CA_SAK.CS, if both are there.
    pub cvc: Option<(Vec<u8>, Vec<u8>)>,
}

const CVC_OWN: &str = "C.SAK.AUTD_CVC";
const CVC_CA: &str = "C.CA_SAK.CS";

/// Reads all files of an archive within limits: `most` files of `size` bytes each. Names with a path, names that come twice
/// and encrypted files refuse the whole.
pub fn unzip(bytes: &[u8], most: usize, size: u64) -> Result<BTreeMap<String, Vec<u8>>, Error> {
    let broken = |_| Error::Package("not a ZIP archive");
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(broken)?;
    if archive.len() > most {
        return Err(Error::Package("too many files in the archive"));
    }
    let mut files = BTreeMap::new();
    for index in 0..archive.len() {
        let file = archive.by_index(index).map_err(broken)?;
        let name = file.name().to_owned();
        if name.contains(['/', '\\', '\0']) || name.starts_with('.') {
            return Err(Error::Package("a name in the archive is a path"));
        }
        let mut content = Vec::new();
        // what the archive says about sizes is not believed
        file.take(size + 1)
            .read_to_end(&mut content)
            .map_err(|_| Error::Package("a file of the archive cannot be unpacked"))?;
        if content.len() as u64 > size {
            return Err(Error::Package("a file of the archive is too large"));
        }
        if files.insert(name, content).is_some() {
            return Err(Error::Package("a name comes twice in the archive"));
        }
    }
    Ok(files)
}

/// Packs files into an archive.
pub fn zip<'f>(files: impl IntoIterator<Item = (&'f str, &'f [u8])>) -> Result<Vec<u8>, Error> {
    let failed = |_| Error::Package("archive not written");
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    for (name, content) in files {
        writer.start_file(name, options).map_err(failed)?;
        writer
            .write_all(content)
            .map_err(|_| Error::Package("archive not written"))?;
    }
    Ok(writer.finish().map_err(failed)?.into_inner())
}

impl Package {
    /// Reads the package of the gSMC-K with this number. Files of other cards refuse it.
    pub fn read(bytes: &[u8], iccsn: &str) -> Result<Self, Error> {
        if bytes.len() > PACKAGE {
            return Err(Error::Package("archive too large"));
        }
        let mut files = unzip(bytes, FILES, FILE)?;
        let ending = format!("_{iccsn}.pem");
        let mut package = Self::default();
        for (name, content) in &files {
            let Some(begin) = name.strip_suffix(&ending) else {
                match name.ends_with(".pem") {
                    true => return Err(Error::Package("the archive is of another gSMC-K")),
                    false => continue,
                }
            };
            let text = std::str::from_utf8(content).map_err(|_| Error::Package("PEM expected"))?;
            let all = pem::decode_all("CERTIFICATE", text).map_err(|_| Error::Package("PEM expected"))?;
            let ([der], Ok(kind)) = (all.as_slice(), begin.parse()) else {
                return Err(Error::Package("one certificate of a known name in each file"));
            };
            package.certificates.insert(kind, der.to_vec());
        }
        let mut cvc = |name: &str| files.remove(&format!("{name}_{iccsn}.cvc"));
        package.cvc = cvc(CVC_OWN).zip(cvc(CVC_CA));
        if package.certificates.is_empty() {
            return Err(Error::Package("no certificate in the archive"));
        }
        Ok(package)
    }

    /// Writes it.
    pub fn write(&self, iccsn: &str) -> Result<Vec<u8>, Error> {
        let mut files = Vec::new();
        for (kind, der) in &self.certificates {
            let pem = pem::encode("CERTIFICATE", der).map_err(|_| Error::Package("PEM"))?;
            files.push((format!("{kind}_{iccsn}.pem"), pem.as_bytes().to_vec()));
        }
        if let Some((own, ca)) = &self.cvc {
            files.push((format!("{CVC_OWN}_{iccsn}.cvc"), own.clone()));
            files.push((format!("{CVC_CA}_{iccsn}.cvc"), ca.clone()));
        }
        zip(files
            .iter()
            .map(|(name, content)| (name.as_str(), content.as_slice())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ICCSN: &str = "80276009990000000010";

    fn package() -> Package {
        let kind = |name: &str| name.parse().unwrap();
        Package {
            certificates: [
                (kind("C.NK.VPN_ECC"), vec![0x30, 1, 0]),
                (kind("C.AK.AUT_P256"), vec![0x30, 1, 1]),
            ]
            .into(),
            cvc: Some((vec![0x7F, 0x21, 0], vec![0x7F, 0x21, 1])),
        }
    }

    #[test]
    fn a_package_round_trips() {
        let bytes = package().write(ICCSN).unwrap();
        assert_eq!(Package::read(&bytes, ICCSN).unwrap(), package());
        // of another card, cut off, or nothing at all
        assert!(Package::read(&bytes, "80276009990000000011").is_err());
        for end in 0..bytes.len() {
            let _ = Package::read(&bytes[..end], ICCSN);
        }
        assert!(Package::read(b"", ICCSN).is_err());
    }

    #[test]
    fn hostile_archives_are_refused() {
        let one = |name: &str, content: &[u8]| zip([(name, content)]).unwrap();
        let name = format!("C.NK.VPN_ECC_{ICCSN}.pem");
        for bytes in [
            one(&format!("../{name}"), b""),
            one(&format!("a/{name}"), b""),
            one(&format!("C:\\{name}"), b""),
            // 16 MB of zeros in 16 kB
            one(&name, &vec![0; 16 * 1024 * 1024]),
            one(&name, b"\xFF\xFE"),
            one(&name, b"-----BEGIN CERTIFICATE-----\n"),
            one(&format!("C.XX.YYY_ECC_{ICCSN}.pem"), b""),
            zip((0..100).map(|_| ("x", &b""[..])).take(1)).unwrap(),
        ] {
            assert!(matches!(Package::read(&bytes, ICCSN), Err(Error::Package(_))));
        }
        let names: Vec<String> = (0..65).map(|number| format!("{number}.txt")).collect();
        let many = zip(names.iter().map(|name| (name.as_str(), &b""[..]))).unwrap();
        assert_eq!(
            Package::read(&many, ICCSN),
            Err(Error::Package("too many files in the archive"))
        );
    }
}
