//! A disk that keeps after a power cut only what POSIX promises.

use rand_chacha::rand_core::Rng;
use slots::Disk;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Result};
use std::path::{Component, Path};
use std::rc::Rc;

type Id = usize;

/// A change of names in a folder that is not durable yet.
#[derive(Clone)]
enum Change {
    Link(String, Id),
    Unlink(String),
    Rename(String, String),
}

#[derive(Clone)]
enum Node {
    File {
        durable: Vec<u8>,
        cached: Vec<u8>,
    },
    Folder {
        durable: BTreeMap<String, Id>,
        pending: Vec<Change>,
    },
}

fn apply(names: &mut BTreeMap<String, Id>, change: &Change) {
    match change {
        Change::Link(name, id) => {
            names.insert(name.clone(), *id);
        }
        Change::Unlink(name) => {
            names.remove(name);
        }
        Change::Rename(from, to) => {
            if let Some(id) = names.remove(from) {
                names.insert(to.clone(), id);
            }
        }
    }
}

struct Inside {
    nodes: Vec<Node>,
    /// Operations until the power goes.
    left: Option<usize>,
    operations: usize,
}

/// Shared by the supervisor and the children.
#[derive(Clone)]
pub struct SimDisk(Rc<RefCell<Inside>>);

fn gone() -> Error {
    Error::other("the power is off")
}

fn missing() -> Error {
    ErrorKind::NotFound.into()
}

impl Inside {
    fn names(&self, folder: Id) -> Result<BTreeMap<String, Id>> {
        match &self.nodes[folder] {
            Node::Folder { durable, pending } => {
                let mut names = durable.clone();
                pending.iter().for_each(|change| apply(&mut names, change));
                Ok(names)
            }
            Node::File { .. } => Err(ErrorKind::NotADirectory.into()),
        }
    }

    fn find(&self, path: &Path) -> Result<Id> {
        let mut at = 0;
        for part in path.components() {
            if let Component::Normal(name) = part {
                at = *self.names(at)?.get(name.to_str().unwrap()).ok_or_else(missing)?;
            }
        }
        Ok(at)
    }

    fn change(&mut self, path: &Path, make: impl FnOnce(String) -> Change) -> Result<()> {
        let folder = self.find(path.parent().unwrap())?;
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        match &mut self.nodes[folder] {
            Node::Folder { pending, .. } => pending.push(make(name)),
            Node::File { .. } => return Err(ErrorKind::NotADirectory.into()),
        }
        Ok(())
    }

    /// Counts an operation that changes something.
    fn spend(&mut self) -> Result<()> {
        self.operations += 1;
        match &mut self.left {
            Some(0) => Err(gone()),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl SimDisk {
    pub fn new() -> Self {
        let root = Node::Folder {
            durable: BTreeMap::new(),
            pending: Vec::new(),
        };
        Self(Rc::new(RefCell::new(Inside {
            nodes: vec![root],
            left: None,
            operations: 0,
        })))
    }

    pub fn cut_after(&self, operations: usize) {
        self.0.borrow_mut().left = Some(operations);
    }

    pub fn is_cut(&self) -> bool {
        self.0.borrow().left == Some(0)
    }

    pub fn operations(&self) -> usize {
        self.0.borrow().operations
    }

    /// The power was off: of what was not synchronised anything may be there. Names of a folder change in order.
    pub fn reboot(&self, random: &mut impl Rng) {
        let mut inside = self.0.borrow_mut();
        inside.left = None;
        for node in &mut inside.nodes {
            match node {
                Node::File { durable, cached } => {
                    if durable != cached {
                        let most = cached.len() + 1;
                        match random.next_u32() % 4 {
                            0 => {}
                            1 => durable.clone_from(cached),
                            // the length was there before the bytes
                            2 => *durable = vec![0; cached.len()],
                            _ => *durable = cached[..random.next_u32() as usize % most].to_vec(),
                        }
                        cached.clone_from(durable);
                    }
                }
                Node::Folder { durable, pending } => {
                    let kept = random.next_u32() as usize % (pending.len() + 1);
                    pending
                        .drain(..)
                        .take(kept)
                        .for_each(|change| apply(durable, &change));
                }
            }
        }
    }

    /// Everything written so far is durable.
    pub fn settle(&self) {
        for node in &mut self.0.borrow_mut().nodes {
            match node {
                Node::File { durable, cached } => durable.clone_from(cached),
                Node::Folder { durable, pending } => {
                    pending.drain(..).for_each(|change| apply(durable, &change))
                }
            }
        }
    }
}

impl Disk for SimDisk {
    fn list(&self, folder: &Path) -> Result<Vec<(String, bool)>> {
        let inside = self.0.borrow();
        let names = inside.names(inside.find(folder)?)?;
        let is_folder = |id: Id| matches!(inside.nodes[id], Node::Folder { .. });
        Ok(names
            .into_iter()
            .map(|(name, id)| (name, is_folder(id)))
            .collect())
    }

    fn read(&self, file: &Path) -> Result<Vec<u8>> {
        let inside = self.0.borrow();
        match &inside.nodes[inside.find(file)?] {
            Node::File { cached, .. } => Ok(cached.clone()),
            Node::Folder { .. } => Err(ErrorKind::IsADirectory.into()),
        }
    }

    fn exists(&self, path: &Path) -> bool {
        self.0.borrow().find(path).is_ok()
    }

    fn write(&self, file: &Path, bytes: &[u8]) -> Result<()> {
        let mut inside = self.0.borrow_mut();
        inside.spend()?;
        if let Ok(id) = inside.find(file) {
            let Node::File { cached, .. } = &mut inside.nodes[id] else {
                return Err(ErrorKind::IsADirectory.into());
            };
            *cached = bytes.to_vec();
            return Ok(());
        }
        let id = inside.nodes.len();
        inside.nodes.push(Node::File {
            durable: Vec::new(),
            cached: bytes.to_vec(),
        });
        inside.change(file, |name| Change::Link(name, id))
    }

    fn copy(&self, from: &Path, to: &Path) -> Result<()> {
        let bytes = self.read(from)?;
        self.write(to, &bytes)
    }

    fn make_folder(&self, folder: &Path) -> Result<()> {
        let mut inside = self.0.borrow_mut();
        inside.spend()?;
        if inside.find(folder).is_ok() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let id = inside.nodes.len();
        inside.nodes.push(Node::Folder {
            durable: BTreeMap::new(),
            pending: Vec::new(),
        });
        inside.change(folder, |name| Change::Link(name, id))
    }

    fn remove_file(&self, file: &Path) -> Result<()> {
        let mut inside = self.0.borrow_mut();
        inside.spend()?;
        inside.find(file)?;
        inside.change(file, Change::Unlink)
    }

    fn remove_folder(&self, folder: &Path) -> Result<()> {
        let mut inside = self.0.borrow_mut();
        inside.spend()?;
        let id = inside.find(folder)?;
        if !inside.names(id)?.is_empty() {
            return Err(ErrorKind::DirectoryNotEmpty.into());
        }
        inside.change(folder, Change::Unlink)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let mut inside = self.0.borrow_mut();
        inside.spend()?;
        inside.find(from)?;
        assert_eq!(from.parent(), to.parent(), "only inside one folder");
        if let Ok(id) = inside.find(to)
            && matches!(inside.nodes[id], Node::Folder { .. })
        {
            assert!(
                inside.names(id)?.is_empty(),
                "a folder does not replace a full one"
            );
        }
        let to = to.file_name().unwrap().to_str().unwrap().to_owned();
        inside.change(from, |name| Change::Rename(name, to))
    }

    fn sync(&self, path: &Path) -> Result<()> {
        let mut inside = self.0.borrow_mut();
        inside.spend()?;
        let id = inside.find(path)?;
        match &mut inside.nodes[id] {
            Node::File { durable, cached } => durable.clone_from(cached),
            Node::Folder { durable, pending } => pending.drain(..).for_each(|change| apply(durable, &change)),
        }
        Ok(())
    }
}
