//! State that outlives a restart: documents in transactions, an append-only log, secrets sealed at rest.
//!
//! SQLite in WAL mode with full synchronisation: a transaction is either there after a power cut or it is not.
//! Documents are JSON by kind and id; whoever owns a kind owns its type. Secrets are sealed with AES-256-GCM under a
//! key that lies in a file of its own beside the database (mode 0600), so that a copied database says nothing.

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use base::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use zeroize::Zeroizing;

/// Why nothing was stored or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database failed.
    #[error("database: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A document is not what its owner expects.
    #[error("document: {0}")]
    Json(#[from] serde_json::Error),
    /// The key file cannot be used.
    #[error("key file: {0}")]
    Key(#[from] std::io::Error),
    /// A secret cannot be opened: wrong key, or changed.
    #[error("secret cannot be opened")]
    Sealed,
}

/// A database with its key.
pub struct Store {
    connection: Mutex<Connection>,
    cipher: Aes256Gcm,
}

/// An entry of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogEntry {
    /// Position.
    pub number: i64,
    /// RFC 3339.
    pub time: String,
    /// What about.
    pub topic: String,
    /// `Info` to `Fatal`.
    pub severity: String,
    /// Details, JSON.
    pub body: String,
}

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    CREATE TABLE IF NOT EXISTS document (kind TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL,
        PRIMARY KEY (kind, id)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS secret (id TEXT PRIMARY KEY, sealed BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS log (number INTEGER PRIMARY KEY AUTOINCREMENT, time TEXT NOT NULL,
        topic TEXT NOT NULL, severity TEXT NOT NULL, body TEXT NOT NULL);
";

/// Most entries the log keeps; older ones go first, so that it can never fill the disk.
const LOG_ENTRIES: i64 = 50_000;

impl Store {
    /// Opens or makes the database `langlauf.db` and its key in `folder`.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        std::fs::create_dir_all(folder)?;
        let key = read_or_make_key(&folder.join("langlauf.key"))?;
        Self::new(Connection::open(folder.join("langlauf.db"))?, &key)
    }

    fn new(connection: Connection, key: &[u8; 32]) -> Result<Self, StoreError> {
        connection.execute_batch(SCHEMA)?;
        Ok(Self {
            connection: Mutex::new(connection),
            cipher: Aes256Gcm::new(key.into()),
        })
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores a document.
    pub fn put<T: Serialize>(&self, kind: &str, id: &str, document: &T) -> Result<(), StoreError> {
        let body = serde_json::to_string(document)?;
        self.connection().execute(
            "INSERT INTO document (kind, id, body) VALUES (?1, ?2, ?3)
             ON CONFLICT (kind, id) DO UPDATE SET body = excluded.body",
            params![kind, id, body],
        )?;
        Ok(())
    }

    /// A document, if there is one.
    pub fn get<T: DeserializeOwned>(&self, kind: &str, id: &str) -> Result<Option<T>, StoreError> {
        let body: Option<String> = self
            .connection()
            .query_row(
                "SELECT body FROM document WHERE kind = ?1 AND id = ?2",
                params![kind, id],
                |row| row.get(0),
            )
            .optional()?;
        Ok(body.map(|body| serde_json::from_str(&body)).transpose()?)
    }

    /// All documents of a kind, by id.
    pub fn all<T: DeserializeOwned>(&self, kind: &str) -> Result<Vec<(String, T)>, StoreError> {
        let connection = self.connection();
        let mut statement =
            connection.prepare("SELECT id, body FROM document WHERE kind = ?1 ORDER BY id")?;
        let rows = statement.query_map(params![kind], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
        })?;
        rows.map(|row| {
            let (id, body) = row?;
            Ok((id, serde_json::from_str(&body)?))
        })
        .collect()
    }

    /// Removes a document; absence is no error.
    pub fn delete(&self, kind: &str, id: &str) -> Result<(), StoreError> {
        self.connection().execute(
            "DELETE FROM document WHERE kind = ?1 AND id = ?2",
            params![kind, id],
        )?;
        Ok(())
    }

    /// Seals and stores a secret.
    pub fn put_secret(&self, id: &str, secret: &[u8]) -> Result<(), StoreError> {
        let mut nonce = [0u8; 12];
        fill_random(&mut nonce)?;
        let payload = Payload {
            msg: secret,
            aad: id.as_bytes(),
        };
        let sealed = self
            .cipher
            .encrypt(&Nonce::from(nonce), payload)
            .map_err(|_| StoreError::Sealed)?;
        let sealed = [&nonce[..], &sealed].concat();
        self.connection().execute(
            "INSERT INTO secret (id, sealed) VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET sealed = excluded.sealed",
            params![id, sealed],
        )?;
        Ok(())
    }

    /// Opens a secret, if there is one.
    pub fn secret(&self, id: &str) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        let sealed: Option<Vec<u8>> = self
            .connection()
            .query_row("SELECT sealed FROM secret WHERE id = ?1", params![id], |row| {
                row.get(0)
            })
            .optional()?;
        let Some(sealed) = sealed else { return Ok(None) };
        let (nonce, cryptogram) = sealed.split_first_chunk::<12>().ok_or(StoreError::Sealed)?;
        let payload = Payload {
            msg: cryptogram,
            aad: id.as_bytes(),
        };
        let open = self
            .cipher
            .decrypt(&Nonce::from(*nonce), payload)
            .map_err(|_| StoreError::Sealed)?;
        Ok(Some(Zeroizing::new(open)))
    }

    /// Removes a secret; absence is no error.
    pub fn delete_secret(&self, id: &str) -> Result<(), StoreError> {
        self.connection()
            .execute("DELETE FROM secret WHERE id = ?1", params![id])?;
        Ok(())
    }

    /// Appends to the log and forgets what is older than the last [`LOG_ENTRIES`].
    pub fn log(&self, time: Timestamp, topic: &str, severity: &str, body: &str) -> Result<(), StoreError> {
        let connection = self.connection();
        connection.execute(
            "INSERT INTO log (time, topic, severity, body) VALUES (?1, ?2, ?3, ?4)",
            params![time.to_string(), topic, severity, body],
        )?;
        connection.execute(
            "DELETE FROM log WHERE number <= ?1",
            params![connection.last_insert_rowid() - LOG_ENTRIES],
        )?;
        Ok(())
    }

    /// The newest entries of the log, newest first.
    pub fn log_tail(&self, count: u32) -> Result<Vec<LogEntry>, StoreError> {
        let connection = self.connection();
        let mut statement = connection
            .prepare("SELECT number, time, topic, severity, body FROM log ORDER BY number DESC LIMIT ?1")?;
        let rows = statement.query_map(params![count], |row| {
            Ok(LogEntry {
                number: row.get(0)?,
                time: row.get(1)?,
                topic: row.get(2)?,
                severity: row.get(3)?,
                body: row.get(4)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

fn fill_random(bytes: &mut [u8]) -> std::io::Result<()> {
    getrandom::fill(bytes).map_err(std::io::Error::other)
}

fn read_or_make_key(path: &Path) -> std::io::Result<Zeroizing<[u8; 32]>> {
    match std::fs::read(path) {
        Ok(bytes) => {
            let key = <[u8; 32]>::try_from(bytes)
                .map_err(|_| std::io::Error::other("key file must have 32 bytes"))?;
            Ok(Zeroizing::new(key))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            use std::io::Write;
            use std::os::unix::fs::OpenOptionsExt;
            let mut key = Zeroizing::new([0u8; 32]);
            fill_random(&mut key[..])?;
            let mut file = std::fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)?;
            file.write_all(&key[..])?;
            file.sync_all()?;
            Ok(key)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_secrets_and_log_survive_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        {
            let store = Store::open(dir.path()).unwrap();
            store.put("terminal", "KT1", &vec![1, 2, 3]).unwrap();
            store.put("terminal", "KT1", &vec![4]).unwrap();
            store.put_secret("pairing/KT1", b"shared secret").unwrap();
            store
                .log(Timestamp::UNIX_EPOCH, "CT/CONNECTED", "Info", "{}")
                .unwrap();
        }
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(store.get::<Vec<u8>>("terminal", "KT1").unwrap(), Some(vec![4]));
        assert_eq!(store.get::<Vec<u8>>("terminal", "KT2").unwrap(), None);
        assert_eq!(
            &store.secret("pairing/KT1").unwrap().unwrap()[..],
            b"shared secret"
        );
        assert_eq!(store.log_tail(10).unwrap().len(), 1);
        store.delete("terminal", "KT1").unwrap();
        assert!(store.all::<Vec<u8>>("terminal").unwrap().is_empty());
    }

    #[test]
    fn a_secret_under_another_key_or_name_stays_closed() {
        let dir = tempfile::tempdir().unwrap();
        Store::open(dir.path()).unwrap().put_secret("a", b"x").unwrap();
        {
            let store = Store::open(dir.path()).unwrap();
            store
                .connection()
                .execute("UPDATE secret SET id = 'b'", [])
                .unwrap();
            assert!(matches!(store.secret("b"), Err(StoreError::Sealed)));
        }
        std::fs::remove_file(dir.path().join("langlauf.key")).unwrap();
        let store = Store::open(dir.path()).unwrap();
        assert!(matches!(store.secret("b"), Err(StoreError::Sealed)));
        assert!(store.secret("a").unwrap().is_none());
    }
}
