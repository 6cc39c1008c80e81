//! The IKE daemon: strongSwan's charon as a process of its own. It gets a configuration that says only how to be reached; keys,
//! certificates and connections come over vici.

use crate::daemon::{Daemon, prepare};
use crate::ike::{Ike, IkeError};
use base::Clock;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Who enciphers packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataPath {
    /// The kernel (XFRM), each service on an interface of its own. What a product needs: extended sequence numbers (A_17118).
    Kernel,
    /// charon itself behind a TUN device, for machines whose kernel has no ESP: tests and demonstrations only.
    UserSpace,
}

/// How charon is started.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Its folder: configuration, sockets, log. Nobody else may read it.
    pub folder: PathBuf,
    /// The program, and what stands before it (`ip netns exec NAME`).
    pub command: Vec<String>,
    /// Who enciphers.
    pub path: DataPath,
    /// Seconds before a request is sent again for the first time, and how often: decides how soon silence is noticed.
    pub patience: (u32, u32),
    /// May certificates be named by where they lie, ours and a concentrator's? charon fetches them over HTTP then, before it knows
    /// who has named them.
    pub hash_and_url: bool,
}

impl Setup {
    /// As a product runs it.
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            command: vec!["charon-systemd".into()],
            path: DataPath::Kernel,
            // IKE_KEEPALIVE_RETRY of every environment so far
            patience: (2, 3),
            hash_and_url: false,
        }
    }

    fn configuration(&self) -> String {
        let folder = self.folder.display();
        let (timeout, tries) = self.patience;
        let plugins = match self.path {
            DataPath::Kernel => "",
            DataPath::UserSpace => "kernel-libipsec ",
        };
        let (named, fetcher) = match self.hash_and_url {
            true => ("hash_and_url = yes\n  ", "curl "),
            false => ("", ""),
        };
        // an IKE_SA is built beside one that is like it, not taken for it (reuse_ikesa); its own packets carry a mark and so never
        // go into the tunnel themselves; routes are ours to set, but libipsec sets its
        // own all the same: they stand where nobody looks
        let path = match self.path {
            DataPath::Kernel => "install_routes = no\n",
            DataPath::UserSpace => "routing_table = 999\n  routing_table_prio = 32800\n",
        };
        let libipsec = match self.path {
            DataPath::Kernel => "",
            DataPath::UserSpace => "    kernel-libipsec {\n      allow_peer_ts = yes\n    }\n",
        };
        format!(
            "charon-systemd {{\n  load = random nonce openssl pem pkcs1 pkcs8 x509 revocation constraints pubkey kdf hmac aes sha1 sha2 \
             {plugins}{fetcher}kernel-netlink socket-default vici error-notify\n  \
             install_virtual_ip = yes\n  make_before_break = yes\n  reuse_ikesa = no\n  {named}{path}  retransmit_timeout = {timeout}\n  \
             retransmit_tries = {tries}\n  retransmit_base = 1.3\n  \
             filelog {{\n    log {{\n      path = {folder}/charon.log\n      append = no\n      ike = 1\n      flush_line = yes\n    }}\n  }}\n  \
             plugins {{\n    vici {{\n      socket = unix://{folder}/vici\n    }}\n    error-notify {{\n      \
             socket = unix://{folder}/reports\n    }}\n{libipsec}    kernel-netlink {{\n      fwmark = !0x42\n    }}\n    \
             socket-default {{\n      fwmark = 0x42\n    }}\n  }}\n}}\n"
        )
    }
}

/// A running charon. It ends with this, if this started it.
pub struct Charon {
    daemon: Option<Daemon>,
    folder: PathBuf,
    /// Which one it is: another process listens elsewhere.
    socket: Option<(u64, i64)>,
    /// What it believes and signs with is one for all connections: one of them is built at a time, with its own.
    pub(crate) building: Arc<tokio::sync::Mutex<()>>,
}

/// How long it may take to start.
const START: Duration = Duration::from_secs(20);

impl Charon {
    /// Starts it and waits until it answers.
    pub async fn start(setup: &Setup, clock: Arc<dyn Clock>) -> Result<Self, IkeError> {
        // members of its group are whom it works for
        prepare(&setup.folder, 0o750).map_err(IkeError::Daemon)?;
        for socket in ["vici", "reports"] {
            // one of before would look like the new one
            let _ = std::fs::remove_file(setup.folder.join(socket));
        }
        let file = setup.folder.join("strongswan.conf");
        std::fs::write(&file, setup.configuration())
            .map_err(|error| IkeError::Daemon(format!("configuration: {error}")))?;
        let environment = [("STRONGSWAN_CONF", file.as_path())];
        let rights = ["net_admin", "net_raw", "net_bind_service"];
        let daemon = Daemon::start(
            "charon",
            &setup.folder,
            &setup.command,
            &rights,
            &environment,
            &*clock,
        )
        .await;
        Self::answering(
            setup.folder.clone(),
            Some(daemon.map_err(IkeError::Daemon)?),
            clock,
        )
        .await
    }

    /// Works with one that somebody else has started in this folder and keeps alive.
    pub async fn attach(folder: &Path, clock: Arc<dyn Clock>) -> Result<Self, IkeError> {
        Self::answering(folder.to_owned(), None, clock).await
    }

    async fn answering(
        folder: PathBuf,
        daemon: Option<Daemon>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, IkeError> {
        let mut charon = Self {
            daemon,
            folder,
            socket: None,
            building: Arc::default(),
        };
        let ike = Ike::new(charon.vici(), clock.clone());
        let answers = async {
            // the file of the socket is there before anybody answers
            while ike.version().await.is_err() {
                if let Some(how) = charon.daemon.as_mut().and_then(Daemon::ended) {
                    return Err(IkeError::Daemon(how));
                }
                clock.sleep(Duration::from_millis(50)).await;
            }
            Ok(())
        };
        clock
            .timeout(START, answers)
            .await
            .unwrap_or_else(|| Err(IkeError::Daemon(format!("does not answer within {START:?}"))))?;
        charon.socket = charon.socket_now();
        Ok(charon)
    }

    fn socket_now(&self) -> Option<(u64, i64)> {
        let file = std::fs::metadata(self.vici()).ok()?;
        Some((file.ino(), file.ctime_nsec()))
    }

    /// Its socket for orders.
    pub fn vici(&self) -> PathBuf {
        self.folder.join("vici")
    }

    /// Its socket for reasons of failures.
    pub fn reports(&self) -> PathBuf {
        self.folder.join("reports")
    }

    /// Has it ended by itself?
    pub fn has_ended(&mut self) -> bool {
        match &mut self.daemon {
            Some(daemon) => daemon.ended().is_some(),
            None => {
                let deaf = std::os::unix::net::UnixStream::connect(self.vici()).is_err();
                deaf || self.socket_now() != self.socket
            }
        }
    }

    /// Ends it at once, as a crash would, if this started it.
    pub async fn kill(&mut self) {
        if let Some(daemon) = &mut self.daemon {
            daemon.kill().await;
        }
    }
}
