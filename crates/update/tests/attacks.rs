//! The attacks that The Update Framework names, against a device's judgement; and what must still work.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use base::Timestamp;
use crypto::{Curve, EcPrivate, Key, SoftKey};
use slots::Version;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use update::{
    Error, Judge, Lifetimes, Offer, Publisher, Role, SignerKeys, is_signed_by, new_root, pack, sign_file,
};

const PRODUCT: &str = "langlauf-x86_64";

fn start() -> Timestamp {
    "2027-01-04T08:00:00Z".parse().unwrap()
}

fn days(count: u64) -> Timestamp {
    start() + Duration::from_secs(count * 24 * 3600)
}

fn key() -> SoftKey {
    SoftKey::Ec(EcPrivate::generate(Curve::NistP256).unwrap())
}

/// Three for root, three for targets, one each for the rest.
struct Keys(BTreeMap<Role, Vec<SoftKey>>);

impl Keys {
    fn new() -> Self {
        let of = |role: Role| match role {
            Role::Root | Role::Targets => vec![key(), key(), key()],
            _ => vec![key()],
        };
        Self(Role::ALL.map(|role| (role, of(role))).into())
    }

    fn signers(&self) -> SignerKeys {
        let of = |(role, keys): (&Role, &Vec<SoftKey>)| {
            let publics = keys.iter().map(|key| key.public()).collect();
            (*role, (publics, if keys.len() == 3 { 2 } else { 1 }))
        };
        self.0.iter().map(of).collect()
    }

    fn online(&self) -> Vec<&dyn Key> {
        [Role::Snapshot, Role::Timestamp]
            .map(|role| &self.0[&role][0] as &dyn Key)
            .into()
    }

    fn sign(&self, role: Role, json: &[u8], which: &[usize]) -> Vec<u8> {
        which.iter().fold(json.to_vec(), |json, number| {
            sign_file(&json, &self.0[&role][*number]).unwrap()
        })
    }
}

/// A vendor with its keys and its repository.
struct Vendor {
    folder: tempfile::TempDir,
    keys: Keys,
    root: Vec<u8>,
}

impl Vendor {
    fn new() -> Self {
        let keys = Keys::new();
        let root = new_root(&keys.signers(), 1, start(), Lifetimes::default()).unwrap();
        let root = keys.sign(Role::Root, &root, &[0, 2]);
        let vendor = Self {
            folder: tempfile::tempdir().unwrap(),
            keys,
            root,
        };
        vendor.publisher().add_root(&vendor.root).unwrap();
        vendor
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn publisher(&self) -> Publisher {
        Publisher::new(self.path("repository"), Lifetimes::default())
    }

    fn artefact(&self, version: Version, content: &[u8]) -> PathBuf {
        let (program, out) = (self.path("program"), self.path(&format!("{version}.zip")));
        std::fs::write(&program, content).unwrap();
        let files = BTreeMap::from([("langlauf".to_owned(), program)]);
        pack(version, "commit", "langlauf", &files, &out).unwrap();
        out
    }

    /// Publishes a version at a time, and bundles it.
    fn release(&self, product: &str, version: Version, now: Timestamp) -> PathBuf {
        let artefact = self.artefact(version, version.to_string().as_bytes());
        let publisher = self.publisher();
        let draft = publisher
            .draft(Some((&artefact, product, version)), &[], now)
            .unwrap();
        let targets = self.keys.sign(Role::Targets, &draft, &[1, 2]);
        publisher.publish(&targets, &self.keys.online(), now).unwrap();
        self.bundle(product, version)
    }

    fn bundle(&self, product: &str, version: Version) -> PathBuf {
        let out = self.path(&format!("bundle-{product}-{version}.zip"));
        self.publisher().bundle(product, version, &out).unwrap();
        out
    }

    fn device(&self) -> Device {
        let folder = tempfile::tempdir().unwrap();
        Device {
            judge: Judge {
                root: self.root.clone(),
                memory: folder.path().join("seen.json"),
                product: PRODUCT.into(),
            },
            folder,
        }
    }
}

struct Device {
    folder: tempfile::TempDir,
    judge: Judge,
}

impl Device {
    async fn take(&self, bundle: &Path, now: Timestamp) -> Result<Offer, Error> {
        self.judge
            .examine(bundle, &self.folder.path().join("work"), now)
            .await
    }
}

/// Changes files of a bundle.
fn forge(bundle: &Path, change: impl Fn(&Path)) -> PathBuf {
    let folder = tempfile::tempdir().unwrap();
    let status = std::process::Command::new("python3")
        .args(["-m", "zipfile", "-e"])
        .args([bundle, folder.path()])
        .status();
    assert!(status.unwrap().success());
    change(folder.path());
    let out = bundle.with_extension("forged.zip");
    let _ = std::fs::remove_file(&out);
    let status = std::process::Command::new("python3")
        .current_dir(folder.path())
        .args(["-m", "zipfile", "-c"])
        .arg(&out)
        .args(["metadata", "targets"])
        .status();
    assert!(status.unwrap().success());
    out
}

/// Changes the bytes of the artefact in a bundle.
fn spoil(bundle: &Path, change: impl Fn(&mut Vec<u8>)) -> PathBuf {
    forge(bundle, |folder| {
        let mut files = std::fs::read_dir(folder.join("targets")).unwrap();
        let file = files.next().unwrap().unwrap().path();
        let mut bytes = std::fs::read(&file).unwrap();
        change(&mut bytes);
        std::fs::write(&file, bytes).unwrap();
    })
}

const ONE: Version = Version(1, 0, 0);
const TWO: Version = Version(2, 0, 0);

#[tokio::test]
async fn a_release_arrives() {
    let vendor = Vendor::new();
    let device = vendor.device();
    let offer = device
        .take(&vendor.release(PRODUCT, ONE, start()), start())
        .await
        .unwrap();
    assert_eq!((offer.manifest.version, offer.group), (ONE, 1));
    assert_eq!(std::fs::read(offer.folder.join("langlauf")).unwrap(), b"1.0.0");
    assert_eq!(offer.expires, days(90));
    // the second one; the first stays allowed as long as the group names it (GS-A_4870)
    let bundle = vendor.release(PRODUCT, TWO, days(10));
    let offer = device.take(&bundle, days(10)).await.unwrap();
    assert_eq!((offer.manifest.version, offer.group), (TWO, 2));
    assert_eq!(offer.allowed, [ONE, TWO]);
    let again = vendor.bundle(PRODUCT, ONE);
    assert_eq!(device.take(&again, days(11)).await.unwrap().manifest.version, ONE);
    // and when it does not, it is not (GS-A_4872)
    let publisher = vendor.publisher();
    let draft = publisher.draft(None, &[ONE], days(12)).unwrap();
    let targets = vendor.keys.sign(Role::Targets, &draft, &[0, 1]);
    publisher
        .publish(&targets, &vendor.keys.online(), days(12))
        .unwrap();
    let offer = device.take(&vendor.bundle(PRODUCT, TWO), days(12)).await.unwrap();
    assert_eq!(offer.allowed, [TWO]);
    assert!(matches!(
        device.take(&again, days(12)).await,
        Err(Error::Metadata(_))
    ));
}

#[tokio::test]
async fn arbitrary_installation_by_a_stranger() {
    let (vendor, stranger) = (Vendor::new(), Vendor::new());
    let bundle = stranger.release(PRODUCT, TWO, start());
    let refused = vendor.device().take(&bundle, start()).await;
    assert!(matches!(refused, Err(Error::Metadata(_))), "{refused:?}");
}

#[tokio::test]
async fn arbitrary_installation_by_other_bytes() {
    let vendor = Vendor::new();
    let bundle = vendor.release(PRODUCT, ONE, start());
    let forged = spoil(&bundle, |bytes| *bytes.last_mut().unwrap() ^= 1);
    let refused = vendor.device().take(&forged, start()).await;
    assert!(matches!(refused, Err(Error::Release(_))), "{refused:?}");
}

#[tokio::test]
async fn endless_data() {
    let vendor = Vendor::new();
    let bundle = vendor.release(PRODUCT, ONE, start());
    let forged = forge(&bundle, |folder| {
        std::fs::write(folder.join("metadata/timestamp.json"), vec![b' '; 2 << 20]).unwrap();
    });
    let refused = vendor.device().take(&forged, start()).await;
    assert!(matches!(refused, Err(Error::Metadata(_))), "{refused:?}");
    let forged = spoil(&bundle, |bytes| bytes.extend(vec![0; 1 << 20]));
    let refused = vendor.device().take(&forged, start()).await;
    assert!(matches!(refused, Err(Error::Release(_))), "{refused:?}");
}

#[tokio::test]
async fn extraneous_files_come_along() {
    let vendor = Vendor::new();
    let bundle = vendor.release(PRODUCT, ONE, start());
    let forged = forge(&bundle, |folder| {
        std::fs::write(folder.join("targets/library.so"), b"evil").unwrap();
        std::fs::write(folder.join("metadata/other.json"), b"{}").unwrap();
    });
    let device = vendor.device();
    let offer = device.take(&forged, start()).await.unwrap();
    let names: Vec<_> = std::fs::read_dir(&offer.folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(!device.folder.path().join("work/bundle").exists());
}

/// Who has the keys that are online runs the versions up, so that nothing of the vendor's is newer; other keys mend it.
#[tokio::test]
async fn fast_forward() {
    let mut vendor = Vendor::new();
    let device = vendor.device();
    vendor.release(PRODUCT, ONE, start());
    // the thief publishes the same targets again and again
    let path = vendor.path("repository/metadata/1.targets.json");
    let targets = std::fs::read(path).unwrap();
    for _ in 0..50 {
        vendor
            .publisher()
            .publish(&targets, &vendor.keys.online(), start())
            .unwrap();
    }
    device.take(&vendor.bundle(PRODUCT, ONE), start()).await.unwrap();
    // the vendor has its own files only, and new keys for what was stolen
    let honest = Vendor::new();
    let old = std::mem::replace(&mut vendor.keys, Keys::new());
    for role in [Role::Root, Role::Targets] {
        vendor.keys.0.insert(role, old.0[&role].clone());
    }
    let second = new_root(&vendor.keys.signers(), 2, days(1), Lifetimes::default()).unwrap();
    let second = vendor.keys.sign(Role::Root, &second, &[0, 1]);
    let vendor = Vendor {
        folder: honest.folder,
        ..vendor
    };
    std::fs::remove_dir_all(vendor.path("repository")).unwrap();
    vendor.publisher().add_root(&vendor.root).unwrap();
    vendor.publisher().add_root(&second).unwrap();
    let bundle = vendor.release(PRODUCT, TWO, days(1));
    // versions are small again; the device follows the new root and takes it
    let publisher = vendor.publisher();
    publisher
        .publish(
            &std::fs::read(vendor.path("repository/metadata/1.targets.json")).unwrap(),
            &vendor.keys.online(),
            days(1),
        )
        .unwrap();
    let offer = device.take(&bundle, days(1)).await;
    assert_eq!(offer.unwrap().manifest.version, TWO);
}

#[tokio::test]
async fn indefinite_freeze() {
    let vendor = Vendor::new();
    let bundle = vendor.release(PRODUCT, ONE, start());
    let device = vendor.device();
    device.take(&bundle, days(89)).await.unwrap();
    let refused = device.take(&bundle, days(90)).await;
    let Err(Error::Expired { role, ended }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!((role, ended), ("timestamp", days(90)));
    // refreshed in time it goes on
    vendor
        .publisher()
        .refresh(&vendor.keys.online(), days(80))
        .unwrap();
    device.take(&vendor.bundle(PRODUCT, ONE), days(91)).await.unwrap();
}

#[tokio::test]
async fn mix_and_match() {
    let vendor = Vendor::new();
    vendor.release(PRODUCT, ONE, start());
    let first = std::fs::read(vendor.path("repository/metadata/1.targets.json")).unwrap();
    let bundle = vendor.release(PRODUCT, TWO, days(1));
    let forged = forge(&bundle, |folder| {
        std::fs::write(folder.join("metadata/2.targets.json"), &first).unwrap();
    });
    let refused = vendor.device().take(&forged, days(1)).await;
    assert!(matches!(refused, Err(Error::Metadata(_))), "{refused:?}");
}

#[tokio::test]
async fn rollback() {
    let vendor = Vendor::new();
    let old = vendor.release(PRODUCT, ONE, start());
    let new = vendor.release(PRODUCT, TWO, days(1));
    let device = vendor.device();
    device.take(&new, days(1)).await.unwrap();
    let refused = device.take(&old, days(1)).await;
    assert!(matches!(refused, Err(Error::Metadata(_))), "{refused:?}");
    // what was refused has changed nothing
    device.take(&new, days(1)).await.unwrap();
    // a device that has lost its memory takes what is signed and in time
    std::fs::remove_file(&device.judge.memory).unwrap();
    device.take(&old, days(1)).await.unwrap();
    // a torn memory is said, not guessed
    std::fs::write(&device.judge.memory, b"{").unwrap();
    assert!(matches!(
        device.take(&new, days(1)).await,
        Err(Error::Metadata(_))
    ));
}

#[tokio::test]
async fn wrong_software() {
    let vendor = Vendor::new();
    let bundle = vendor.release("langlauf-aarch64", ONE, start());
    let refused = vendor.device().take(&bundle, start()).await;
    assert!(matches!(refused, Err(Error::OtherProduct(_))), "{refused:?}");
    // signed under another version than it calls itself
    let artefact = vendor.artefact(ONE, b"one");
    let publisher = vendor.publisher();
    let draft = publisher
        .draft(Some((&artefact, PRODUCT, TWO)), &[], start())
        .unwrap();
    let targets = vendor.keys.sign(Role::Targets, &draft, &[0, 1]);
    publisher
        .publish(&targets, &vendor.keys.online(), start())
        .unwrap();
    let refused = vendor.device().take(&vendor.bundle(PRODUCT, TWO), start()).await;
    assert!(matches!(refused, Err(Error::Release(_))), "{refused:?}");
}

/// One stolen key signs nothing where two are needed: neither releases nor a new root.
#[tokio::test]
async fn one_signature_short() {
    let vendor = Vendor::new();
    let artefact = vendor.artefact(TWO, b"evil");
    let publisher = vendor.publisher();
    let draft = publisher
        .draft(Some((&artefact, PRODUCT, TWO)), &[], start())
        .unwrap();
    // twice with the same key is once
    let once = vendor.keys.sign(Role::Targets, &draft, &[1, 1]);
    assert!(publisher.publish(&once, &vendor.keys.online(), start()).is_err());
    // keys of another role do not count
    let wrong = vendor.keys.sign(Role::Root, &once, &[0, 1]);
    assert!(publisher.publish(&wrong, &vendor.keys.online(), start()).is_err());
    // a thief with all keys that are online and one for targets believes in a root of its own; the device does not
    let thief = Keys::new();
    let mut signers = vendor.keys.signers();
    signers.insert(Role::Root, thief.signers()[&Role::Root].clone());
    signers.get_mut(&Role::Targets).unwrap().1 = 1;
    let own = new_root(&signers, 1, start(), Lifetimes::default()).unwrap();
    let own = thief.sign(Role::Root, &own, &[0, 1]);
    let shadow = Publisher::new(vendor.path("shadow"), Lifetimes::default());
    shadow.add_root(&own).unwrap();
    let draft = shadow
        .draft(Some((&artefact, PRODUCT, TWO)), &[], start())
        .unwrap();
    let once = vendor.keys.sign(Role::Targets, &draft, &[1]);
    shadow.publish(&once, &vendor.keys.online(), start()).unwrap();
    let bundle = vendor.path("shadow.zip");
    shadow.bundle(PRODUCT, TWO, &bundle).unwrap();
    let refused = vendor.device().take(&bundle, start()).await;
    assert!(format!("{refused:?}").contains("threshold"), "{refused:?}");
    let good = vendor.release(PRODUCT, TWO, start());
    let other = Keys::new();
    let second = new_root(&other.signers(), 2, start(), Lifetimes::default()).unwrap();
    let second = other.sign(Role::Root, &second, &[0, 1]);
    let second = sign_file(&second, &vendor.keys.0[&Role::Root][0]).unwrap();
    assert!(is_signed_by(&second, &vendor.root).is_err());
    assert!(publisher.add_root(&second).is_err());
    let taken = forge(&good, |folder| {
        std::fs::write(folder.join("metadata/2.root.json"), &second).unwrap()
    });
    assert!(matches!(
        vendor.device().take(&taken, start()).await,
        Err(Error::Metadata(_))
    ));
}

/// All root and targets keys change; a device that was delivered with the first root follows, one that has followed does not
/// go back.
#[tokio::test]
async fn keys_change() {
    let mut vendor = Vendor::new();
    let device = vendor.device();
    let before = vendor.release(PRODUCT, ONE, start());
    device.take(&before, start()).await.unwrap();
    let old = std::mem::replace(&mut vendor.keys, Keys::new());
    let second = new_root(&vendor.keys.signers(), 2, days(5), Lifetimes::default()).unwrap();
    let second = vendor.keys.sign(Role::Root, &second, &[0, 1]);
    assert!(
        vendor.publisher().add_root(&second).is_err(),
        "without the old keys"
    );
    let second = old.sign(Role::Root, &second, &[1, 2]);
    vendor.publisher().add_root(&second).unwrap();
    let bundle = vendor.release(PRODUCT, TWO, days(5));
    assert_eq!(device.take(&bundle, days(5)).await.unwrap().manifest.version, TWO);
    assert!(device.take(&before, days(5)).await.is_err());
    // a device from the factory has seen none of it
    assert_eq!(
        vendor
            .device()
            .take(&bundle, days(5))
            .await
            .unwrap()
            .manifest
            .version,
        TWO
    );
}

#[test]
fn the_same_files_give_the_same_bytes() {
    let vendor = Vendor::new();
    let first = std::fs::read(vendor.artefact(ONE, b"program")).unwrap();
    let other = Vendor::new();
    assert_eq!(first, std::fs::read(other.artefact(ONE, b"program")).unwrap());
    assert_ne!(first, std::fs::read(other.artefact(ONE, b"another")).unwrap());
}
