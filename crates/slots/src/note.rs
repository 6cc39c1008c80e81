//! What a release and its supervisor say to each other: datagrams as systemd has them (`NOTIFY_SOCKET`), and two of our own.

use crate::{Version, Work};
use serde::{Deserialize, Serialize};
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest datagram.
const MAX_NOTE: usize = 16 * 1024;

/// An order to try what lies in `incoming`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Which release that must be.
    pub version: Version,
    /// What it must show: what works at the moment.
    pub required: Work,
}

/// Something a release says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// It serves, and its examination of itself found nothing.
    Ready,
    /// It still answers.
    Alive,
    /// Work it has done since its start.
    Work(Work),
    /// Its examination of itself found something.
    Failed(String),
    /// Try what lies in `incoming`.
    Try(Order),
}

const WORK: &str = "X_LANGLAUF_WORK=";
const TRY: &str = "X_LANGLAUF_TRY=";
const FAILED: &str = "X_LANGLAUF_FAILED=";

impl Note {
    /// The datagram.
    pub fn to_text(&self) -> String {
        let json = |value: serde_json::Result<String>| value.unwrap_or_default();
        match self {
            Note::Ready => "READY=1".into(),
            Note::Alive => "WATCHDOG=1".into(),
            Note::Work(work) => format!("{WORK}{}", json(serde_json::to_string(work))),
            Note::Failed(what) => format!("{FAILED}{}", what.escape_debug()),
            Note::Try(order) => format!("{TRY}{}", json(serde_json::to_string(order))),
        }
    }

    /// What a datagram says; lines nobody knows are passed over.
    pub fn parse(text: &str) -> Vec<Note> {
        text.lines()
            .filter_map(|line| match line {
                "READY=1" => Some(Note::Ready),
                "WATCHDOG=1" => Some(Note::Alive),
                _ => None
                    .or_else(|| {
                        serde_json::from_str(line.strip_prefix(WORK)?)
                            .ok()
                            .map(Note::Work)
                    })
                    .or_else(|| serde_json::from_str(line.strip_prefix(TRY)?).ok().map(Note::Try))
                    .or_else(|| line.strip_prefix(FAILED).map(|what| Note::Failed(what.into()))),
            })
            .collect()
    }
}

/// The supervisor's end.
#[derive(Debug)]
pub struct Socket {
    socket: UnixDatagram,
}

impl Socket {
    /// Listens at this path; what lay there is replaced.
    pub fn bind(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::PermissionsExt;
        if path.symlink_metadata().is_ok() {
            std::fs::remove_file(path)?;
        }
        let socket = UnixDatagram::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self { socket })
    }

    /// What is said within `wait`.
    pub fn receive(&self, wait: Duration) -> io::Result<Vec<Note>> {
        self.socket.set_read_timeout(Some(wait))?;
        let mut buffer = vec![0; MAX_NOTE];
        match self.socket.recv(&mut buffer) {
            Ok(length) => {
                let text = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default());
                Ok(Note::parse(&text))
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Ok(Vec::new())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

impl Socket {
    /// Forgets what was said until now: it was said by somebody who has ended.
    pub fn forget(&self) -> io::Result<()> {
        self.socket.set_nonblocking(true)?;
        let mut buffer = [0; 1];
        while self.socket.recv(&mut buffer).is_ok() {}
        self.socket.set_nonblocking(false)
    }
}

/// A release's end: to its supervisor, or to systemd where there is no supervisor.
#[derive(Debug, Clone)]
pub struct Link {
    path: PathBuf,
}

impl Link {
    /// To the socket at this path.
    pub fn to(path: PathBuf) -> Self {
        Self { path }
    }

    /// Says something. Nobody may be listening: that is the listener's affair.
    pub fn say(&self, note: &Note) -> io::Result<()> {
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(Duration::from_secs(1)))?;
        socket.send_to(note.to_text().as_bytes(), &self.path).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood() {
        let work = Work {
            terminals: 3,
            ..Work::default()
        };
        let order = Order {
            version: Version(1, 2, 3),
            required: work,
        };
        let failed = Note::Failed("line\none".into());
        for note in [Note::Ready, Note::Alive, Note::Work(work), Note::Try(order)] {
            assert_eq!(Note::parse(&note.to_text()), [note]);
        }
        // a text cannot say something else in its second line
        let text = Note::Failed("x\nREADY=1".into()).to_text();
        assert_eq!(Note::parse(&text).len(), 1);
        assert_eq!(Note::parse(&failed.to_text()).len(), 1);
        assert_eq!(
            Note::parse("STATUS=well\nREADY=1\nX_LANGLAUF_TRY=rubbish"),
            [Note::Ready]
        );
    }

    #[test]
    fn through_a_socket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = Socket::bind(&path).unwrap();
        assert!(socket.receive(Duration::from_millis(10)).unwrap().is_empty());
        let link = Link::to(path);
        link.say(&Note::Ready).unwrap();
        assert_eq!(socket.receive(Duration::from_secs(1)).unwrap(), [Note::Ready]);
        link.say(&Note::Ready).unwrap();
        link.say(&Note::Alive).unwrap();
        socket.forget().unwrap();
        assert!(socket.receive(Duration::from_millis(10)).unwrap().is_empty());
    }
}
