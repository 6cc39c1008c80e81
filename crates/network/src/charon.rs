//! The IKE daemon: strongSwan's charon as a process of its own. It gets a configuration that says only how to be reached; keys,
//! certificates and connections come over vici.

use crate::ike::{Ike, IkeError};
use base::Clock;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::process::{Child, Command};

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
}

impl Setup {
    /// As a product runs it.
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            command: vec!["charon-systemd".into()],
            path: DataPath::Kernel,
            patience: (2, 4),
        }
    }

    fn configuration(&self) -> String {
        let folder = self.folder.display();
        let (timeout, tries) = self.patience;
        let plugins = match self.path {
            DataPath::Kernel => "",
            DataPath::UserSpace => "kernel-libipsec ",
        };
        // its own packets carry a mark and so never go into the tunnel themselves; routes are ours to set, but libipsec sets its
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
             {plugins}kernel-netlink socket-default vici error-notify\n  \
             install_virtual_ip = yes\n  make_before_break = yes\n  {path}  retransmit_timeout = {timeout}\n  \
             retransmit_tries = {tries}\n  retransmit_base = 1.3\n  \
             filelog {{\n    log {{\n      path = {folder}/charon.log\n      append = no\n      ike = 1\n      flush_line = yes\n    }}\n  }}\n  \
             plugins {{\n    vici {{\n      socket = unix://{folder}/vici\n    }}\n    error-notify {{\n      \
             socket = unix://{folder}/reports\n    }}\n{libipsec}    kernel-netlink {{\n      fwmark = !0x42\n    }}\n    \
             socket-default {{\n      fwmark = 0x42\n    }}\n  }}\n}}\n"
        )
    }
}

/// A running charon; it ends with this.
pub struct Charon {
    child: Child,
    folder: PathBuf,
    /// What it believes and signs with is one for all connections: one of them is built at a time, with its own.
    pub(crate) building: Arc<tokio::sync::Mutex<()>>,
}

/// File with the number of its process.
const NUMBER: &str = "charon.pid";

/// Tells a charon to end: it takes its tunnels down and says so to the other side.
fn tell_to_end(number: u32) {
    // it may have ended already
    let _ = std::process::Command::new("kill")
        .args(["-TERM", &number.to_string()])
        .stderr(Stdio::null())
        .status();
}

/// One that outlived its Konnektor would hold the ports, and a tunnel that nobody watches.
async fn end_orphan(folder: &Path, clock: &dyn Clock) {
    let number = std::fs::read_to_string(folder.join(NUMBER)).ok();
    let Some(number) = number.and_then(|text| text.trim().parse::<u32>().ok()) else {
        return;
    };
    // is that process still a charon?
    let name = || std::fs::read_to_string(format!("/proc/{number}/comm"));
    for _ in 0..100 {
        if !name().is_ok_and(|name| name.starts_with("charon")) {
            return;
        }
        tell_to_end(number);
        clock.sleep(Duration::from_millis(50)).await;
    }
    tracing::error!(number, "a charon of before does not end");
}

impl Drop for Charon {
    fn drop(&mut self) {
        if let (Ok(None), Some(number)) = (self.child.try_wait(), self.child.id()) {
            tell_to_end(number);
        }
    }
}

/// How long it may take to start.
const START: Duration = Duration::from_secs(20);

impl Charon {
    /// Starts it and waits until it answers.
    pub async fn start(setup: &Setup, clock: Arc<dyn Clock>) -> Result<Self, IkeError> {
        let failed = |what: &str, error: std::io::Error| IkeError::Daemon(format!("{what}: {error}"));
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&setup.folder)
            .map_err(|error| failed("folder", error))?;
        std::fs::set_permissions(&setup.folder, std::fs::Permissions::from_mode(0o700))
            .map_err(|error| failed("folder", error))?;
        // it becomes part of the configuration, and of a socket's address
        let text = setup.folder.to_string_lossy();
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
        if text.len() > 90 || !text.chars().all(plain) {
            let wrong =
                "the folder's path has more than 90 characters, or others than letters, digits and /._-";
            return Err(IkeError::Daemon(wrong.into()));
        }
        end_orphan(&setup.folder, &*clock).await;
        for socket in ["vici", "reports"] {
            // one of before would look like the new one
            let _ = std::fs::remove_file(setup.folder.join(socket));
        }
        let file = setup.folder.join("strongswan.conf");
        std::fs::write(&file, setup.configuration()).map_err(|error| failed("configuration", error))?;
        let (program, arguments) = setup
            .command
            .split_first()
            .ok_or_else(|| IkeError::Daemon("no command".into()))?;
        let child = Command::new(program)
            .args(arguments)
            .env("STRONGSWAN_CONF", &file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| failed(program, error))?;
        if let Some(id) = child.id() {
            std::fs::write(setup.folder.join(NUMBER), id.to_string())
                .map_err(|error| failed("number", error))?;
        }
        let mut charon = Self {
            child,
            folder: setup.folder.clone(),
            building: Arc::default(),
        };
        let ike = Ike::new(charon.vici(), clock.clone());
        let answers = async {
            // the file of the socket is there before anybody answers
            while ike.version().await.is_err() {
                if let Ok(Some(status)) = charon.child.try_wait() {
                    return Err(IkeError::Daemon(format!("ended with {status}")));
                }
                clock.sleep(Duration::from_millis(50)).await;
            }
            Ok(())
        };
        clock
            .timeout(START, answers)
            .await
            .unwrap_or_else(|| Err(IkeError::Daemon(format!("does not answer within {START:?}"))))?;
        Ok(charon)
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
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends it at once, as a crash would.
    pub async fn kill(&mut self) {
        // it may have ended already
        let _ = self.child.kill().await;
    }
}
