use asn1::X509;
use base::Timestamp;
use crypto::{Curve, EcPrivate, Key, RsaPrivate, SignatureScheme, SoftKey, pem};
use pki::issue::{Authority, Name, Profile, Request, profile};
use signature::Signer;
use std::path::{Path, PathBuf};
use std::process::Command;

/// When everything here is signed.
pub fn now() -> Timestamp {
    "2026-11-25T10:00:00Z".parse().unwrap()
}

/// Somebody with a key, a certificate, and a folder with both as files.
pub struct Party {
    pub key: SoftKey,
    pub certificate: X509,
    pub scheme: SignatureScheme,
    pub authority: X509,
    folder: tempfile::TempDir,
}

impl Party {
    pub fn new(key: SoftKey, scheme: SignatureScheme, profile: &Profile) -> Self {
        let moment = |text: &str| text.parse::<Timestamp>().unwrap();
        let (from, to) = (moment("2026-01-01T00:00:00Z"), moment("2030-12-31T00:00:00Z"));
        let root = SoftKey::Ec(EcPrivate::generate(Curve::BrainpoolP256r1).unwrap());
        let root = Authority::root(
            Name::new("Langlauf", "Test-CA & Söhne"),
            root,
            "http://127.0.0.1/",
            from,
            to,
        )
        .unwrap();
        let certificate = root
            .issue(&Request {
                profile,
                subject: Name::new("Praxis", "Dr. Sigrid Spur TEST-ONLY"),
                key: key.public(),
                admission: None,
                dns: &[],
                addresses: &[],
                from,
                to,
            })
            .unwrap();
        let party = Self {
            certificate: X509::parse(&certificate).unwrap(),
            authority: X509::parse(&root.certificate).unwrap(),
            key,
            scheme,
            folder: tempfile::tempdir().unwrap(),
        };
        party.write(
            "cert.pem",
            pem::encode("CERTIFICATE", party.certificate.der())
                .unwrap()
                .as_bytes(),
        );
        party.write(
            "ca.pem",
            pem::encode("CERTIFICATE", party.authority.der())
                .unwrap()
                .as_bytes(),
        );
        party.write(
            "key.pem",
            pem::encode("PRIVATE KEY", &party.key.to_pkcs8().unwrap())
                .unwrap()
                .as_bytes(),
        );
        party
    }

    /// One of every kind of key and scheme.
    pub fn every() -> Vec<Self> {
        let ec = |curve| SoftKey::Ec(EcPrivate::generate(curve).unwrap());
        let rsa = SoftKey::Rsa(RsaPrivate::generate(2048).unwrap());
        vec![
            Self::new(
                ec(Curve::BrainpoolP256r1),
                SignatureScheme::Ecdsa,
                &profile::SMC_B_OSIG,
            ),
            Self::new(ec(Curve::NistP256), SignatureScheme::Ecdsa, &profile::SMC_B_OSIG),
            Self::new(rsa.clone(), SignatureScheme::RsaPkcs1, &profile::SMC_B_OSIG),
            Self::new(rsa, SignatureScheme::RsaPss, &profile::SMC_B_OSIG),
        ]
    }

    pub fn signer(&self) -> Signer {
        Signer::new(self.certificate.clone(), self.scheme, now()).unwrap()
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.folder.path().join(name)).unwrap()
    }

    /// Runs a program in the folder; its output, or what it complained about.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<Vec<u8>, String> {
        let output = Command::new(program)
            .args(arguments)
            .current_dir(self.folder.path())
            .output()
            .unwrap_or_else(|error| panic!("{program} is missing, run `make setup`: {error}"));
        match output.status.success() {
            true => Ok(output.stdout),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }
}

/// What the judge in Python says.
pub fn judge(party: &Party, arguments: &[&str]) -> Result<String, String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = here.join("../../.venv/bin/python");
    let script = here.join("../../tests/e2e/zeep/judge.py");
    let mut all = vec![script.to_str().unwrap()];
    all.extend(arguments);
    let output = party.run(python.to_str().unwrap(), &all)?;
    Ok(String::from_utf8(output).unwrap())
}
