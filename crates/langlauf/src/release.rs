//! `langlauf release`: builds, signs and publishes releases.

use anyhow::{Context, Result, bail};
use base::SystemClock;
use clap::Subcommand;
use crypto::{Curve, EcPrivate, Key, PublicKey, SoftKey, pem};
use slots::Version;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use update::{Judge, Lifetimes, Publisher, Role, SignerKeys};

/// Steps of a release; keys are files (PKCS#8, PEM) or `pkcs11:LABEL`, with the module in LANGLAUF_PKCS11_MODULE, the token's label
/// in LANGLAUF_PKCS11_TOKEN and its PIN in LANGLAUF_PKCS11_PIN.
#[derive(Subcommand)]
pub enum ReleaseAction {
    /// Makes keys in files: three for the root, three for releases, one each for snapshot and timestamp.
    Keys {
        /// Folder for them.
        folder: PathBuf,
    },
    /// Prints the public key of a key, for `root`.
    Public {
        /// The key.
        key: String,
    },
    /// Writes a root, to be signed by those named in it (and by those named in the one before).
    Root {
        /// Public keys (PEM) of those who sign roots; two of them are needed, or the only one.
        #[arg(long, required = true)]
        root: Vec<PathBuf>,
        /// Public keys of those who sign releases; two of them are needed, or the only one.
        #[arg(long, required = true)]
        targets: Vec<PathBuf>,
        /// Public key for snapshots.
        #[arg(long)]
        snapshot: PathBuf,
        /// Public key for timestamps.
        #[arg(long)]
        timestamp: PathBuf,
        /// Its number; the first is 1.
        #[arg(long, default_value_t = 1)]
        number: u64,
        /// Where it is written.
        #[arg(long)]
        out: PathBuf,
    },
    /// Adds a signature to a root or to a draft; whoever holds a key does that at home.
    Sign {
        /// The file.
        file: PathBuf,
        /// The key.
        #[arg(long)]
        key: String,
    },
    /// Puts a signed root into a repository.
    AddRoot {
        /// The repository.
        repository: PathBuf,
        /// The root.
        root: PathBuf,
    },
    /// Packs a release; the same files give the same bytes.
    Build {
        /// The program.
        #[arg(long)]
        program: PathBuf,
        /// Its version.
        #[arg(long)]
        version: Version,
        /// What it was built from: the commit.
        #[arg(long)]
        source: String,
        /// What is new, Markdown.
        #[arg(long)]
        notes: PathBuf,
        /// Bill of materials, CycloneDX.
        #[arg(long)]
        sbom: PathBuf,
        /// The artefact.
        #[arg(long)]
        out: PathBuf,
    },
    /// Unpacks an artefact into a folder, as the supervisor installs it.
    Unpack {
        /// The artefact.
        artefact: PathBuf,
        /// The folder.
        folder: PathBuf,
    },
    /// Writes the list of allowed releases with one more or without some, to be signed.
    Draft {
        /// The repository.
        repository: PathBuf,
        /// The artefact to be added.
        #[arg(long, requires = "version")]
        artefact: Option<PathBuf>,
        /// Its version.
        #[arg(long)]
        version: Option<Version>,
        /// For which device.
        #[arg(long, default_value_t = format!("langlauf-{}", std::env::consts::ARCH))]
        product: String,
        /// Versions that are not allowed any more.
        #[arg(long)]
        remove: Vec<Version>,
        /// Where the draft is written.
        #[arg(long)]
        out: PathBuf,
    },
    /// Publishes a signed draft.
    Publish {
        /// The repository.
        repository: PathBuf,
        /// The draft.
        draft: PathBuf,
        /// Keys for snapshot and timestamp.
        #[arg(long, required = true)]
        key: Vec<String>,
    },
    /// Says again that nothing newer is published; before the last one ends (90 days).
    Refresh {
        /// The repository.
        repository: PathBuf,
        /// Key for the timestamp.
        #[arg(long, required = true)]
        key: Vec<String>,
    },
    /// Writes everything that a device needs for one version into one file.
    Bundle {
        /// The repository.
        repository: PathBuf,
        /// The version.
        #[arg(long)]
        version: Version,
        /// For which device.
        #[arg(long, default_value_t = format!("langlauf-{}", std::env::consts::ARCH))]
        product: String,
        /// The bundle.
        #[arg(long)]
        out: PathBuf,
    },
    /// Judges a bundle as a device does that knows this root and has seen nothing else.
    Check {
        /// The bundle.
        bundle: PathBuf,
        /// The root.
        #[arg(long)]
        root: PathBuf,
        /// For which device.
        #[arg(long, default_value_t = format!("langlauf-{}", std::env::consts::ARCH))]
        product: String,
    },
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| path.display().to_string())
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes).with_context(|| path.display().to_string())
}

/// A file only its owner reads, which must not be there yet.
fn write_secret(path: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| path.display().to_string())?;
    Ok(file.write_all(text.as_bytes())?)
}

fn open_key(name: &str) -> Result<Box<dyn Key>> {
    let Some(label) = name.strip_prefix("pkcs11:") else {
        let text = zeroize::Zeroizing::new(String::from_utf8(read(Path::new(name))?)?);
        let all = pem::decode_all("PRIVATE KEY", &text)?;
        let [der] = all.as_slice() else {
            bail!("{name}: one private key expected")
        };
        return Ok(Box::new(SoftKey::from_pkcs8(der)?));
    };
    let setting = |name: &str| std::env::var(name).with_context(|| format!("{name} is not set"));
    let module = setting("LANGLAUF_PKCS11_MODULE")?;
    let pin = zeroize::Zeroizing::new(setting("LANGLAUF_PKCS11_PIN")?);
    let token = hsm::Token::open(Path::new(&module), &setting("LANGLAUF_PKCS11_TOKEN")?, &pin)?;
    Ok(Box::new(token.key(label)?))
}

fn open_keys(names: &[String]) -> Result<Vec<Box<dyn Key>>> {
    names.iter().map(|name| open_key(name)).collect()
}

fn borrowed(keys: &[Box<dyn Key>]) -> Vec<&dyn Key> {
    keys.iter().map(|key| &**key).collect()
}

fn public_pem(key: &dyn Key) -> Result<String> {
    Ok(pem::encode("PUBLIC KEY", &key.public().to_spki()?)?.to_string())
}

fn read_public(path: &Path) -> Result<PublicKey> {
    let text = String::from_utf8(read(path)?)?;
    let all = pem::decode_all("PUBLIC KEY", &text)?;
    let [der] = all.as_slice() else {
        bail!("{}: one public key expected", path.display())
    };
    Ok(PublicKey::from_spki(der)?)
}

fn signers(roles: [(Role, Vec<PathBuf>); 4]) -> Result<SignerKeys> {
    let mut all = BTreeMap::new();
    for (role, files) in roles {
        let keys: Vec<PublicKey> = files
            .iter()
            .map(|file| read_public(file))
            .collect::<Result<_>>()?;
        let needed = if keys.len() > 1 { 2 } else { 1 };
        all.insert(role, (keys, needed));
    }
    Ok(all)
}

fn make_keys(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    for role in Role::ALL {
        let count = match role {
            Role::Root | Role::Targets => 3,
            Role::Snapshot | Role::Timestamp => 1,
        };
        for number in 1..=count {
            let name = match count {
                1 => role.name().to_owned(),
                _ => format!("{}-{number}", role.name()),
            };
            let key = SoftKey::Ec(EcPrivate::generate(Curve::NistP256)?);
            let text = pem::encode("PRIVATE KEY", &key.to_pkcs8()?)?;
            write_secret(&folder.join(format!("{name}.pem")), &text)?;
            write(
                &folder.join(format!("{name}.pub.pem")),
                public_pem(&key)?.as_bytes(),
            )?;
        }
    }
    println!(
        "keys in {}: they belong into different hands before anything real is signed",
        folder.display()
    );
    Ok(())
}

/// Carries out a step.
pub async fn run(action: ReleaseAction) -> Result<()> {
    let clock = SystemClock::new();
    let now = clock.now();
    let publisher = |folder: PathBuf| Publisher::new(folder, Lifetimes::default());
    match action {
        ReleaseAction::Keys { folder } => make_keys(&folder),
        ReleaseAction::Public { key } => {
            print!("{}", public_pem(&*open_key(&key)?)?);
            Ok(())
        }
        ReleaseAction::Root {
            root,
            targets,
            snapshot,
            timestamp,
            number,
            out,
        } => {
            let signers = signers([
                (Role::Root, root),
                (Role::Targets, targets),
                (Role::Snapshot, vec![snapshot]),
                (Role::Timestamp, vec![timestamp]),
            ])?;
            write(
                &out,
                &update::new_root(&signers, number, now, Lifetimes::default())?,
            )
        }
        ReleaseAction::Sign { file, key } => {
            let signed = update::sign_file(&read(&file)?, &*open_key(&key)?)?;
            write(&file, &signed)
        }
        ReleaseAction::AddRoot { repository, root } => Ok(publisher(repository).add_root(&read(&root)?)?),
        ReleaseAction::Build {
            program,
            version,
            source,
            notes,
            sbom,
            out,
        } => {
            let files = [
                ("langlauf", program),
                ("NOTES.md", notes),
                ("sbom.cdx.json", sbom),
            ];
            let files = files.map(|(name, path)| (name.to_owned(), path)).into();
            let manifest = update::pack(version, &source, "langlauf", &files, &out)?;
            println!("{}", serde_json::to_string_pretty(&manifest)?);
            Ok(())
        }
        ReleaseAction::Unpack { artefact, folder } => {
            let manifest = update::unpack(&artefact, &folder)?;
            println!("{} in {}", manifest.version, folder.display());
            Ok(())
        }
        ReleaseAction::Draft {
            repository,
            artefact,
            version,
            product,
            remove,
            out,
        } => {
            let add = artefact.as_deref().zip(version);
            let add = add.map(|(artefact, version)| (artefact, product.as_str(), version));
            write(&out, &publisher(repository).draft(add, &remove, now)?)
        }
        ReleaseAction::Publish {
            repository,
            draft,
            key,
        } => {
            let keys = open_keys(&key)?;
            Ok(publisher(repository).publish(&read(&draft)?, &borrowed(&keys), now)?)
        }
        ReleaseAction::Refresh { repository, key } => {
            let keys = open_keys(&key)?;
            Ok(publisher(repository).refresh(&borrowed(&keys), now)?)
        }
        ReleaseAction::Bundle {
            repository,
            version,
            product,
            out,
        } => Ok(publisher(repository).bundle(&product, version, &out)?),
        ReleaseAction::Check {
            bundle,
            root,
            product,
        } => {
            let folder = tempfile::tempdir()?;
            let judge = Judge {
                root: read(&root)?,
                memory: folder.path().join("seen"),
                product,
            };
            let offer = judge.examine(&bundle, &folder.path().join("work"), now).await?;
            let allowed: Vec<String> = offer.allowed.iter().map(ToString::to_string).collect();
            println!(
                "{} may be taken until {}; group {}: {}",
                offer.manifest.version,
                offer.expires,
                offer.group,
                allowed.join(", ")
            );
            Ok(())
        }
    }
}
