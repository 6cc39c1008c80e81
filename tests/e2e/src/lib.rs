//! What whole-system tests share: a morning in a practice up to the point where a test becomes interesting.

use anyhow::Result;
use base::{Clock, SystemClock};
use langlauf::demo::Walk;
use langlauf::world::{Options, World};
use std::path::PathBuf;
use std::sync::Arc;

/// A world in a folder of its own, after the demo's walk: paired, cards inserted, SMC-B unlocked, eGK read.
pub struct Morning {
    /// The world.
    pub world: World,
    /// Its clock.
    pub clock: Arc<dyn Clock>,
    /// Its folder, removed at the end.
    pub folder: tempfile::TempDir,
}

/// Options for a world in this folder: free ports, elliptic keys only.
pub fn options(folder: PathBuf) -> Options {
    Options {
        fixed_ports: false,
        rsa: false,
        ..Options::demo(folder)
    }
}

impl Morning {
    /// Sets a world up, without the walk.
    pub async fn before() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let clock = SystemClock::new();
        let world = World::start(&options(folder.path().into()), clock.clone()).await?;
        Ok(Self { world, clock, folder })
    }

    /// Sets a world up and walks through it.
    pub async fn after_the_walk() -> Result<Self> {
        let morning = Self::before().await?;
        Walk::new(&morning.world, &*morning.clock, true, &|_| ())
            .run()
            .await?;
        Ok(morning)
    }
}
