//! Releases that behave well or badly, in virtual time.

use crate::disk::SimDisk;
use sha2::{Digest, Sha256};
use slots::{Area, Content, Disk, Manifest, Note, Order, Part, Standing, Start, Version, Work, World};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub const OLDER: Version = Version(0, 9, 0);
pub const OLD: Version = Version(1, 0, 0);
pub const NEW: Version = Version(1, 1, 0);
pub const KEY: &[u8] = b"the identity";

/// How a release behaves. What it is called lies in its program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Good,
    /// Good, with another layout of the state.
    Migrates,
    EndsAtOnce,
    NeverReady,
    /// Ready, then no sign of life.
    Hangs,
    Leaks,
    FillsTheDisk,
    FailsItsExamination,
    /// Everything seems well, and it does nothing.
    Idles,
    /// Everything works but the way into the TI.
    NoTunnel,
    /// Its security log runs over, and it loops on itself and answers nobody (9 September 2020).
    September2020,
    /// It switches to new certificates that nobody has proven: neither access service nor terminals take them (September 2023).
    September2023,
    MigratesAndEnds,
    /// What it leaves nobody can read.
    WrecksTheState,
    /// Confirmed, then it ends again and again.
    EndsLater,
    /// Confirmed, then it grows.
    LeaksLater,
}

impl Kind {
    pub const ALL: [Kind; 16] = [
        Kind::Good,
        Kind::Migrates,
        Kind::EndsAtOnce,
        Kind::NeverReady,
        Kind::Hangs,
        Kind::Leaks,
        Kind::FillsTheDisk,
        Kind::FailsItsExamination,
        Kind::Idles,
        Kind::NoTunnel,
        Kind::September2020,
        Kind::September2023,
        Kind::MigratesAndEnds,
        Kind::WrecksTheState,
        Kind::EndsLater,
        Kind::LeaksLater,
    ];

    pub fn is_good(self) -> bool {
        matches!(self, Kind::Good | Kind::Migrates)
    }

    /// Does it answer nobody, not even when it is to end?
    fn is_deaf(self) -> bool {
        matches!(self, Kind::Hangs | Kind::September2020)
    }

    fn program(self) -> Vec<u8> {
        format!("{self:?}").into_bytes()
    }

    fn of(program: &[u8]) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.program() == program)
    }
}

/// What a release of today shows.
pub const WORK: Work = Work {
    tunnels: 1,
    status: 1,
    terminals: 2,
    cards: 1,
    signatures: 1,
};

/// A release as a folder.
pub fn write_release(disk: &SimDisk, folder: &Path, version: Version, kind: Kind) {
    let program = kind.program();
    let manifest = Manifest {
        version,
        source: "test".into(),
        program: "langlauf".into(),
        parts: vec![Part {
            path: "langlauf".into(),
            size: program.len() as u64,
            sha256: hex::encode(Sha256::digest(&program)),
        }],
    };
    disk.make_folder(folder).unwrap();
    disk.write(&folder.join("langlauf"), &program).unwrap();
    let json = serde_json::to_vec(&manifest).unwrap();
    disk.write(&folder.join("release.json"), &json).unwrap();
}

/// A device on which the old release runs, with its state, and the new one offered.
pub fn device(kind: Kind) -> Area<SimDisk> {
    let disk = SimDisk::new();
    let area = Area::new(disk.clone(), "/slots", "/state");
    write_release(&disk, Path::new("/old"), OLD, Kind::Good);
    write_release(&disk, Path::new("/new"), NEW, kind);
    disk.make_folder(Path::new("/state")).unwrap();
    disk.write(Path::new("/state/key"), KEY).unwrap();
    disk.write(Path::new("/state/data"), b"1").unwrap();
    assert!(area.install(Path::new("/old")).unwrap());
    // the release before it still lies in the idle slot
    write_release(&disk, Path::new("/slots/b"), OLDER, Kind::Good);
    let mut pointer = area.pointer().unwrap();
    pointer.b = Some(Content {
        version: OLDER,
        standing: Standing::Confirmed,
    });
    area.save(&pointer).unwrap();
    assert_eq!(area.offer(Path::new("/new")).unwrap(), NEW);
    disk.settle();
    area
}

struct Child {
    kind: Kind,
    version: Option<Version>,
    age: u64,
    ended: Option<String>,
    ending: bool,
    memory: u64,
    confirmed: bool,
}

/// The world: a tick is a second.
pub struct SimWorld {
    disk: SimDisk,
    seconds: u64,
    free: u64,
    used: u64,
    child: Option<Child>,
    /// To be ordered once the old release is ready.
    order: bool,
    /// Until then nothing can run here, whatever it is: a configuration that nobody can read.
    pub broken_until: u64,
    pub starts: Vec<(u64, Option<Version>)>,
}

const MIB: u64 = 1 << 20;

impl SimWorld {
    pub fn new(disk: SimDisk, order: bool) -> Self {
        Self {
            disk,
            seconds: 0,
            free: 4096 * MIB,
            used: MIB,
            child: None,
            order,
            broken_until: 0,
            starts: Vec::new(),
        }
    }

    pub fn seconds(&self) -> u64 {
        self.seconds
    }

    /// Which release serves at the moment.
    pub fn serving(&self) -> Option<Version> {
        let child = self.child.as_ref()?;
        (child.age >= 3 && child.ended.is_none() && !child.ending)
            .then_some(child.version)
            .flatten()
    }

    /// What a release does with the state at its start. Layout 2 carries the way back to 1.
    fn open_state(&self, version: Version, kind: Kind) -> bool {
        let (data, next) = (Path::new("/state/data"), Path::new("/state/data.next"));
        let replace = |bytes: &[u8]| {
            let disk = &self.disk;
            disk.write(next, bytes)?;
            disk.sync(next)?;
            disk.rename(next, data)?;
            disk.sync(Path::new("/state"))
        };
        let found = self.disk.read(data).unwrap_or_default();
        let key = self.disk.read(Path::new("/state/key")).unwrap_or_default();
        let wanted: &[u8] = match kind {
            Kind::Migrates | Kind::MigratesAndEnds | Kind::EndsLater => b"2, back 1",
            Kind::WrecksTheState => b"rubbish",
            _ => b"1",
        };
        let readable = found == b"1" || found == b"2, back 1";
        let done = if readable && found != wanted {
            replace(wanted)
        } else {
            Ok(())
        };
        readable && key == KEY && (done.is_ok() || version == OLD)
    }
}

impl World for SimWorld {
    fn now(&self) -> i64 {
        1_800_000_000 + self.seconds as i64
    }

    fn elapsed(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    fn start(&mut self, what: &Start) -> std::io::Result<()> {
        assert!(self.child.is_none(), "two children");
        let (version, kind) = match what {
            Start::Rescue => (None, Kind::Good),
            Start::Release(program) => {
                let folder: PathBuf = program.parent().unwrap().into();
                let version = Manifest::verify(&self.disk, &folder).unwrap().version;
                let kind = Kind::of(&self.disk.read(program)?).unwrap();
                (Some(version), kind)
            }
        };
        self.starts.push((self.seconds, version));
        let opened = version.is_none_or(|version| self.open_state(version, kind));
        let opened = opened && self.seconds >= self.broken_until;
        self.child = Some(Child {
            kind,
            version,
            age: 0,
            ended: (!opened).then(|| "code 1".into()),
            ending: false,
            memory: 40 * MIB,
            confirmed: false,
        });
        Ok(())
    }

    fn end(&mut self) {
        if let Some(child) = &mut self.child {
            child.ending = true;
        }
    }

    fn kill(&mut self) {
        if let Some(child) = &mut self.child {
            child.ended = Some("signal 9".into());
        }
    }

    fn ended(&mut self) -> Option<String> {
        let child = self.child.take_if(|child| child.ended.is_some())?;
        child.ended
    }

    fn heard(&mut self) -> Vec<Note> {
        self.seconds += 1;
        let Some(child) = self.child.as_mut().filter(|child| child.ended.is_none()) else {
            return Vec::new();
        };
        child.age += 1;
        if child.ending {
            // a hanging one does not even end
            if !child.kind.is_deaf() {
                child.ended = Some("code 0".into());
            }
            return Vec::new();
        }
        let mut notes = Vec::new();
        let ends = match child.kind {
            Kind::EndsAtOnce | Kind::MigratesAndEnds | Kind::WrecksTheState => child.age >= 1,
            Kind::EndsLater => child.age >= 40,
            _ => false,
        };
        if ends {
            child.ended = Some("code 101".into());
            return notes;
        }
        if child.kind == Kind::NeverReady {
            return notes;
        }
        match child.age {
            2 if child.kind == Kind::FailsItsExamination => {
                notes.push(Note::Failed("no handshake with its own door".into()));
            }
            2 => notes.push(Note::Ready),
            age if age > 2 && !child.kind.is_deaf() => notes.push(Note::Alive),
            _ => {}
        }
        let works = !matches!(
            child.kind,
            Kind::Idles | Kind::Leaks | Kind::FillsTheDisk | Kind::Hangs | Kind::September2020
        );
        if child.age == 10 && works {
            let seen = match child.kind {
                Kind::NoTunnel => Work { tunnels: 0, ..WORK },
                Kind::September2023 => Work {
                    tunnels: 0,
                    terminals: 0,
                    cards: 0,
                    ..WORK
                },
                _ => WORK,
            };
            notes.push(Note::Work(seen));
            child.confirmed = seen == WORK;
        }
        match child.kind {
            Kind::Leaks => child.memory += 32 * MIB,
            Kind::LeaksLater if child.confirmed => child.memory += MIB,
            Kind::FillsTheDisk => self.used += 40 * MIB,
            Kind::September2020 => self.used += 4 * MIB,
            _ => {}
        }
        if child.version == Some(OLD) && child.age == 12 && self.order {
            self.order = false;
            let order = Order {
                version: NEW,
                required: WORK,
            };
            notes.push(Note::Try(order));
        }
        notes
    }

    fn memory(&self) -> u64 {
        self.child.as_ref().map_or(0, |child| child.memory)
    }

    fn free(&self) -> u64 {
        self.free
    }

    fn used(&self) -> u64 {
        self.used
    }

    fn is_stopping(&self) -> bool {
        false
    }

    fn say(&self, _: &str) {}
}
