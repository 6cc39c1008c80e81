use serde::{Deserialize, Serialize};
use std::path::Path;

/// Pairing blocks a terminal has; one is mandatory, two are recommended (TIP1-A_3007).
const MAX_BLOCKS: usize = 2;
/// Keys of Konnektors that share one block's secret; the oldest gives way.
const MAX_KEYS: usize = 3;

/// One secret and the public keys (SPKI) of the Konnektors that know it. Keys, not certificates: a renewed
/// certificate over the same key keeps its pairing.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Block {
    secret: Vec<u8>,
    keys: Vec<Vec<u8>>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Blocks(Vec<Block>);

impl Blocks {
    pub fn load(path: &Path) -> std::io::Result<Self> {
        match base::file::read(path)? {
            Some(bytes) => serde_json::from_slice(&bytes).map_err(std::io::Error::other),
            None => Ok(Self::default()),
        }
    }

    pub fn save(&self, path: &Path) -> std::io::Result<()> {
        base::file::replace(path, &serde_json::to_vec(self).map_err(std::io::Error::other)?)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn secret_of(&self, key: &[u8]) -> Option<&[u8]> {
        self.0
            .iter()
            .find(|block| block.keys.iter().any(|known| known == key))
            .map(|block| block.secret.as_slice())
    }

    pub fn secrets(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(|block| block.secret.as_slice())
    }

    /// A new block for this key; the key leaves any other. `false` if no block is free.
    pub fn create(&mut self, secret: &[u8], key: &[u8]) -> bool {
        for block in &mut self.0 {
            block.keys.retain(|known| known != key);
        }
        self.0.retain(|block| !block.keys.is_empty());
        if self.0.len() >= MAX_BLOCKS || self.0.iter().any(|block| block.secret == secret) {
            return false;
        }
        self.0.push(Block {
            secret: secret.to_vec(),
            keys: vec![key.to_vec()],
        });
        true
    }

    /// Adds a key to the block with this secret.
    pub fn add(&mut self, secret: &[u8], key: &[u8]) {
        if let Some(block) = self.0.iter_mut().find(|block| block.secret == secret) {
            block.keys.retain(|known| known != key);
            block.keys.push(key.to_vec());
            let surplus = block.keys.len().saturating_sub(MAX_KEYS);
            block.keys.drain(..surplus);
        }
    }
}
