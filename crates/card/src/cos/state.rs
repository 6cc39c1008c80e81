use super::VirtualCard;
use super::certificate::TrustedKey;
use crate::access::LifeCycle;
use crate::image::{Body, NodeId, PinBlock, Record, Transport};
use asn1::{Chat, CvcDate, Flags, ListKind};
use crypto::{Curve, EcPublic};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Where a card keeps what outlives a reset. The image itself is never written.
pub trait CardMemory: Send {
    /// What was stored last, if anything.
    fn load(&self) -> std::io::Result<Option<Vec<u8>>>;
    /// Stores all of it or nothing.
    fn store(&mut self, state: &[u8]) -> std::io::Result<()>;
}

/// A card that forgets everything when it is dropped.
pub struct NoMemory;

impl CardMemory for NoMemory {
    fn load(&self) -> std::io::Result<Option<Vec<u8>>> {
        Ok(None)
    }

    fn store(&mut self, _: &[u8]) -> std::io::Result<()> {
        Ok(())
    }
}

/// State in a file beside the image, replaced atomically.
pub struct StateFile {
    path: PathBuf,
}

impl StateFile {
    /// The file at `path`; it need not exist yet.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }
}

impl CardMemory for StateFile {
    fn load(&self) -> std::io::Result<Option<Vec<u8>>> {
        base::file::read(&self.path)
    }

    fn store(&mut self, state: &[u8]) -> std::io::Result<()> {
        base::file::replace(&self.path, state)
    }
}

/// Stored state that does not belong to this image.
#[derive(Debug, thiserror::Error)]
pub enum BadState {
    /// The file cannot be read.
    #[error("card state: {0}")]
    Io(#[from] std::io::Error),
    /// The content is not ours.
    #[error("card state: {0}")]
    Json(#[from] serde_json::Error),
    /// An object of the state is not in the image.
    #[error("card state: no object {0} of this kind in the image")]
    Foreign(String),
}

/// An imported public key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CachedKey {
    pub reference: Vec<u8>,
    pub point: Vec<u8>,
    pub cms_list: bool,
    pub flags: [u8; 7],
    pub expires: [u8; 6],
    pub anchor: NodeId,
}

impl CachedKey {
    pub fn trusted(&self) -> Option<TrustedKey> {
        let kind = if self.cms_list {
            ListKind::Cms
        } else {
            ListKind::Ti
        };
        Some(TrustedKey {
            key: EcPublic::from_point(Curve::BrainpoolP256r1, &self.point).ok()?,
            chat: Chat {
                kind,
                flags: Flags(self.flags),
            },
            expires: CvcDate::from_digits(self.expires).ok()?,
            anchor: self.anchor,
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    point_in_time: [u8; 6],
    keys: Vec<CachedKey>,
    /// By position in the image; the name guards against another image.
    objects: BTreeMap<NodeId, (String, StoredObject)>,
}

#[derive(Serialize, Deserialize)]
enum StoredObject {
    Life(LifeCycle),
    Transparent {
        life: LifeCycle,
        end: usize,
        bytes: Vec<u8>,
    },
    Records {
        life: LifeCycle,
        records: Vec<Record>,
    },
    Password {
        tries: u8,
        transport: Transport,
        enabled: bool,
        secret: PinBlock,
        puk_uses: u8,
    },
    Switch(bool),
}

impl VirtualCard {
    /// Imported keys and the card's clock are to be stored too.
    pub(super) fn mark_keys_changed(&mut self) {
        self.dirty = true;
    }

    /// Stores everything that differs from the image, if anything has changed since the last time.
    pub(super) fn persist(&mut self) -> std::io::Result<()> {
        if !std::mem::take(&mut self.dirty) {
            return Ok(());
        }
        let objects = self
            .changed
            .iter()
            .filter_map(|id| Some((*id, self.stored_object(*id)?)))
            .collect();
        let stored = Stored {
            point_in_time: self.system.point_in_time.digits(),
            keys: self.cached_keys.clone(),
            objects,
        };
        let bytes = serde_json::to_vec(&stored).map_err(std::io::Error::other)?;
        let outcome = self.memory.store(&bytes);
        self.dirty = outcome.is_err();
        outcome
    }

    fn stored_object(&self, id: NodeId) -> Option<(String, StoredObject)> {
        let node = self.system.node(id)?;
        let object = match &node.body {
            Body::Transparent { end, bytes, .. } => StoredObject::Transparent {
                life: node.life,
                end: *end,
                bytes: bytes.clone(),
            },
            Body::Records(file) => StoredObject::Records {
                life: node.life,
                records: file.records.clone(),
            },
            Body::Password(password) => StoredObject::Password {
                tries: password.tries,
                transport: password.transport,
                enabled: password.enabled,
                secret: password.secret.clone(),
                puk_uses: password.puk_uses,
            },
            Body::MultiReference { enabled, .. } => StoredObject::Switch(*enabled),
            _ => StoredObject::Life(node.life),
        };
        Some((node.name.clone(), object))
    }

    pub(super) fn restore(&mut self) -> Result<(), BadState> {
        let Some(bytes) = self.memory.load()? else {
            return Ok(());
        };
        let stored: Stored = serde_json::from_slice(&bytes)?;
        let foreign = |name: &str| BadState::Foreign(name.to_owned());
        self.system.point_in_time =
            CvcDate::from_digits(stored.point_in_time).map_err(|_| foreign("pointInTime"))?;
        self.cached_keys = stored.keys;
        for (id, (name, object)) in stored.objects {
            let node = self
                .system
                .nodes
                .get_mut(id)
                .filter(|node| node.name == name)
                .ok_or_else(|| foreign(&name))?;
            match (object, &mut node.body) {
                (StoredObject::Life(life), _) => node.life = life,
                (
                    StoredObject::Transparent { life, end, bytes },
                    Body::Transparent {
                        size,
                        end: e,
                        bytes: b,
                        ..
                    },
                ) if bytes.len() == *size && end <= *size => {
                    (node.life, *e, *b) = (life, end, bytes);
                }
                (StoredObject::Records { life, records }, Body::Records(file)) => {
                    node.life = life;
                    file.records = records;
                }
                (
                    StoredObject::Password {
                        tries,
                        transport,
                        enabled,
                        secret,
                        puk_uses,
                    },
                    Body::Password(password),
                ) => {
                    password.tries = tries;
                    password.transport = transport;
                    password.enabled = enabled;
                    password.secret = secret;
                    password.puk_uses = puk_uses;
                }
                (StoredObject::Switch(on), Body::MultiReference { enabled, .. }) => *enabled = on,
                _ => return Err(foreign(&name)),
            }
            self.changed.insert(id);
        }
        Ok(())
    }
}
