//! State that outlives a restart: documents in transactions, an append-only log, secrets sealed at rest.
//!
//! SQLite in WAL mode with full synchronisation: a transaction is either there after a power cut or it is not.
//! Documents are JSON by kind and id; whoever owns a kind owns its type. Secrets are sealed with AES-256-GCM under a
//! key that lies in a file of its own beside the database (mode 0600), so that a copied database says nothing.
//!
//! The layout of the database has a number, and whoever changes it leaves the way back inside: a release that is taken back
//! finds a newer layout and undoes it by what its successor has written there. So it needs nothing of that successor but
//! its data.

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
    /// The layout is newer than this release knows, and the way back is missing.
    #[error("database: layout {0} is newer than this release, and there is no way back in it")]
    Newer(u32),
    /// Another release's layout, which is not to be changed now.
    #[error("database: layout {found}, this program has {own}: call the program of the release that runs")]
    Other {
        /// The database's.
        found: u32,
        /// This program's.
        own: u32,
    },
    /// A secret cannot be opened: wrong key, or changed.
    #[error("secret cannot be opened")]
    Sealed,
}

/// A database with its key.
pub struct Store {
    connection: Mutex<Connection>,
    cipher: Aes256Gcm,
}

/// One of several changes made together; they are made in order, secrets last.
#[derive(Debug)]
pub enum Change {
    /// Stores a document.
    Put {
        /// Its kind.
        kind: &'static str,
        /// Its id.
        id: String,
        /// What it says.
        body: serde_json::Value,
    },
    /// Removes all documents of a kind.
    ForgetKind(&'static str),
    /// Removes all secrets whose id begins so.
    ForgetSecrets(&'static str),
    /// Empties a log.
    ForgetLog(&'static str),
    /// Seals and stores a secret.
    Secret(String, Zeroizing<Vec<u8>>),
}

/// An entry of a log.
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

/// What is to be written into a log.
#[derive(Debug, Clone, Copy)]
pub struct NewEntry<'a> {
    /// When.
    pub time: Timestamp,
    /// What about.
    pub topic: &'a str,
    /// `Info` to `Fatal`.
    pub severity: &'a str,
    /// Details, JSON; cut off beyond [`ENTRY_BYTES`].
    pub body: &'a str,
}

/// How much of a log is kept.
#[derive(Debug, Clone, Copy)]
pub struct Keep {
    /// Most entries: older ones go first, so that a log can never fill the disk.
    pub entries: u32,
    /// Entries younger than this should still be there.
    pub since: Timestamp,
}

/// Which entries are wanted.
#[derive(Debug, Clone, Copy)]
pub struct Page<'a> {
    /// At most so many, the newest first.
    pub count: u32,
    /// Only those before this position; `None` begins with the newest.
    pub before: Option<i64>,
    /// Only of these severities; empty means all.
    pub severities: &'a [&'a str],
}

const SETTINGS: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA secure_delete = ON;
";

/// A change of the layout: the way there, and the way back.
#[derive(Clone, Copy)]
struct Layout {
    there: &'static str,
    back: &'static str,
}

/// All of them; the number of a layout is its place, from 1. What is released is never changed any more, only followed.
const LAYOUTS: &[Layout] = &[
    Layout {
        there: FIRST,
        back: "",
    },
    // the one password becomes that of a user
    Layout {
        there: "INSERT OR IGNORE INTO document (kind, id, body)
                SELECT 'user', 'admin', json_object('role', 'super', 'password', json_extract(body, '$'), 'basic', json('true'))
                FROM document WHERE kind = 'admin' AND id = 'password';
            DELETE FROM document WHERE kind = 'admin' AND id = 'password';",
        back: "INSERT OR REPLACE INTO document (kind, id, body)
                SELECT 'admin', 'password', json_quote(json_extract(body, '$.password'))
                FROM document WHERE kind = 'user' AND id = 'admin' AND json_extract(body, '$.password') IS NOT NULL;
            DELETE FROM document WHERE kind = 'user';",
    },
];

const FIRST: &str = "
    CREATE TABLE IF NOT EXISTS document (kind TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL,
        PRIMARY KEY (kind, id)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS secret (id TEXT PRIMARY KEY, sealed BLOB NOT NULL) WITHOUT ROWID;
    DROP TABLE IF EXISTS log;
    DROP TABLE IF EXISTS protocol;
    CREATE TABLE IF NOT EXISTS entry (log TEXT NOT NULL, number INTEGER NOT NULL, seconds INTEGER NOT NULL,
        time TEXT NOT NULL, topic TEXT NOT NULL, severity TEXT NOT NULL, body TEXT NOT NULL,
        PRIMARY KEY (log, number)) WITHOUT ROWID;
";

/// Longest details of one entry of a log.
pub const ENTRY_BYTES: usize = 8 * 1024;

/// Brings the database to the last of these layouts, forwards or backwards, each step whole or not at all.
fn migrate(connection: &mut Connection, layouts: &[Layout]) -> Result<(), StoreError> {
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS way_back (layout INTEGER PRIMARY KEY, script TEXT NOT NULL)",
    )?;
    let wanted = u32::try_from(layouts.len()).unwrap_or(u32::MAX);
    loop {
        let step = connection.transaction()?;
        let found: u32 = step.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        let next = match found.cmp(&wanted) {
            std::cmp::Ordering::Equal => return Ok(()),
            std::cmp::Ordering::Less => {
                let Some(layout) = layouts.get(found as usize) else {
                    return Ok(());
                };
                step.execute_batch(layout.there)?;
                step.execute(
                    "INSERT OR REPLACE INTO way_back (layout, script) VALUES (?1, ?2)",
                    params![found + 1, layout.back],
                )?;
                found + 1
            }
            std::cmp::Ordering::Greater => {
                let script: Option<String> = step
                    .query_row(
                        "SELECT script FROM way_back WHERE layout = ?1",
                        params![found],
                        |row| row.get(0),
                    )
                    .optional()?;
                step.execute_batch(&script.ok_or(StoreError::Newer(found))?)?;
                step.execute("DELETE FROM way_back WHERE layout = ?1", params![found])?;
                found - 1
            }
        };
        step.pragma_update(None, "user_version", next)?;
        step.commit()?;
    }
}

impl Store {
    /// Opens or makes the database `langlauf.db` and its key in `folder`.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        std::fs::create_dir_all(folder)?;
        let key = read_or_make_key(&folder.join("langlauf.key"))?;
        Self::new(Connection::open(folder.join("langlauf.db"))?, &key)
    }

    /// Opens it beside a program that may be using it: the database stays in the layout it has. [`StoreError::Other`] if that is not
    /// this program's.
    pub fn open_beside(folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join("langlauf.db");
        if path.exists() {
            let found: u32 =
                Connection::open(&path)?.query_row("PRAGMA user_version", [], |row| row.get(0))?;
            let own = u32::try_from(LAYOUTS.len()).unwrap_or(u32::MAX);
            // one that is being made has none yet
            if found != own && found != 0 {
                return Err(StoreError::Other { found, own });
            }
        }
        Self::open(folder)
    }

    fn new(connection: Connection, key: &[u8; 32]) -> Result<Self, StoreError> {
        Self::with_layouts(connection, key, LAYOUTS)
    }

    fn with_layouts(
        mut connection: Connection,
        key: &[u8; 32],
        layouts: &[Layout],
    ) -> Result<Self, StoreError> {
        connection.execute_batch(SETTINGS)?;
        migrate(&mut connection, layouts)?;
        Ok(Self {
            connection: Mutex::new(connection),
            cipher: Aes256Gcm::new(key.into()),
        })
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of the database.
    pub fn size(&self) -> u64 {
        let number = |pragma: &str| {
            self.connection()
                .query_row(pragma, [], |row| row.get::<_, i64>(0))
        };
        let pages = number("PRAGMA page_count").unwrap_or_default();
        let size = number("PRAGMA page_size").unwrap_or_default();
        u64::try_from(pages.saturating_mul(size)).unwrap_or_default()
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

    /// Makes several changes, all or none.
    pub fn apply(&self, changes: &[Change]) -> Result<(), StoreError> {
        let mut sealed = Vec::new();
        for change in changes {
            if let Change::Secret(id, secret) = change {
                sealed.push((id, self.seal(id, secret)?));
            }
        }
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        for change in changes {
            match change {
                Change::Put { kind, id, body } => transaction.execute(
                    "INSERT INTO document (kind, id, body) VALUES (?1, ?2, ?3)
                     ON CONFLICT (kind, id) DO UPDATE SET body = excluded.body",
                    params![kind, id, body.to_string()],
                )?,
                Change::ForgetKind(kind) => {
                    transaction.execute("DELETE FROM document WHERE kind = ?1", params![kind])?
                }
                Change::ForgetSecrets(prefix) => transaction.execute(
                    "DELETE FROM secret WHERE substr(id, 1, length(?1)) = ?1",
                    params![prefix],
                )?,
                Change::ForgetLog(log) => {
                    transaction.execute("DELETE FROM entry WHERE log = ?1", params![log])?
                }
                Change::Secret(..) => 0,
            };
        }
        for (id, sealed) in sealed {
            transaction.execute(
                "INSERT INTO secret (id, sealed) VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET sealed = excluded.sealed",
                params![id, sealed],
            )?;
        }
        transaction.commit()?;
        // what was forgotten must not stay readable in the write-ahead log; "busy" is an answer, not an error
        let answer = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        Ok(answer?)
    }

    fn seal(&self, id: &str, secret: &[u8]) -> Result<Vec<u8>, StoreError> {
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
        Ok([&nonce[..], &sealed].concat())
    }

    /// Seals and stores a secret.
    pub fn put_secret(&self, id: &str, secret: &[u8]) -> Result<(), StoreError> {
        let sealed = self.seal(id, secret)?;
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

    /// Appends to a log and forgets its oldest entries beyond what is kept. True if one of those was younger than it
    /// should have become (EC_LOG_OVERFLOW).
    pub fn log(&self, log: &str, entry: &NewEntry<'_>, keep: &Keep) -> Result<bool, StoreError> {
        let mut end = entry.body.len().min(ENTRY_BYTES);
        while !entry.body.is_char_boundary(end) {
            end -= 1;
        }
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        let newest: Option<i64> = transaction.query_row(
            "SELECT max(number) FROM entry WHERE log = ?1",
            params![log],
            |row| row.get(0),
        )?;
        let number = newest.unwrap_or_default() + 1;
        transaction.execute(
            "INSERT INTO entry (log, number, seconds, time, topic, severity, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                log,
                number,
                entry.time.as_second(),
                entry.time.to_string(),
                entry.topic,
                entry.severity,
                entry.body.get(..end)
            ],
        )?;
        // the newest entry that has no place any more
        let last = number - i64::from(keep.entries);
        let seconds: Option<i64> = transaction
            .query_row(
                "SELECT seconds FROM entry WHERE log = ?1 AND number = ?2",
                params![log, last],
                |row| row.get(0),
            )
            .optional()?;
        transaction.execute(
            "DELETE FROM entry WHERE log = ?1 AND number <= ?2",
            params![log, last],
        )?;
        transaction.commit()?;
        Ok(seconds.is_some_and(|seconds| seconds > keep.since.as_second()))
    }

    /// Forgets entries of a log that are older.
    pub fn forget_log(&self, log: &str, before: Timestamp) -> Result<(), StoreError> {
        self.connection().execute(
            "DELETE FROM entry WHERE log = ?1 AND seconds < ?2",
            params![log, before.as_second()],
        )?;
        Ok(())
    }

    /// Entries of a log, newest first.
    pub fn log_page(&self, log: &str, page: &Page<'_>) -> Result<Vec<LogEntry>, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare(
            "SELECT number, time, topic, severity, body FROM entry WHERE log = ?1 AND number < ?2
             AND (?3 = '' OR instr(?3, severity) > 0) ORDER BY number DESC LIMIT ?4",
        )?;
        let before = page.before.unwrap_or(i64::MAX);
        let severities = page.severities.join(" ");
        let rows = statement.query_map(params![log, before, severities, page.count], |row| {
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

    const KEEP: Keep = Keep {
        entries: 3,
        since: Timestamp::UNIX_EPOCH,
    };

    fn entry(topic: &str, seconds: i64) -> NewEntry<'_> {
        NewEntry {
            time: Timestamp::from_second(seconds).unwrap(),
            topic,
            severity: "Info",
            body: "{}",
        }
    }

    fn topics(store: &Store, log: &str, before: Option<i64>) -> Vec<String> {
        let page = Page {
            count: 10,
            before,
            severities: &[],
        };
        let entries = store.log_page(log, &page).unwrap();
        entries.into_iter().map(|entry| entry.topic).collect()
    }

    /// A layout of tomorrow: the log learns who wrote, and documents of a kind are called otherwise.
    const TOMORROW: &[Layout] = &[
        LAYOUTS[0],
        LAYOUTS[1],
        Layout {
            there: "ALTER TABLE entry ADD COLUMN author TEXT; UPDATE document SET kind = 'new' WHERE kind = 'old';",
            back: "ALTER TABLE entry DROP COLUMN author; UPDATE document SET kind = 'old' WHERE kind = 'new';",
        },
        Layout {
            there: "CREATE TABLE more (id TEXT); UPDATE document SET body = json_set(body, '$.more', 1);",
            back: "DROP TABLE more; UPDATE document SET body = json_remove(body, '$.more');",
        },
    ];

    fn open_with(folder: &Path, layouts: &[Layout]) -> Result<Store, StoreError> {
        let key = read_or_make_key(&folder.join("langlauf.key"))?;
        Store::with_layouts(Connection::open(folder.join("langlauf.db"))?, &key, layouts)
    }

    #[test]
    fn a_newer_layout_is_undone_by_what_its_release_left() {
        let dir = tempfile::tempdir().unwrap();
        let today = Store::open(dir.path()).unwrap();
        today.put("old", "one", &serde_json::json!({"a": 1})).unwrap();
        today.put_secret("pin", b"123456").unwrap();
        today.log("system", &entry("before", 1), &KEEP).unwrap();
        drop(today);
        for _ in 0..2 {
            let tomorrow = open_with(dir.path(), TOMORROW).unwrap();
            let found: Option<serde_json::Value> = tomorrow.get("new", "one").unwrap();
            assert_eq!(found, Some(serde_json::json!({"a": 1, "more": 1})));
            // what it writes itself survives the way back
            tomorrow
                .put("new", "two", &serde_json::json!({"b": 2, "more": 5}))
                .unwrap();
            drop(tomorrow);
            let today = Store::open(dir.path()).unwrap();
            let found: Vec<(String, serde_json::Value)> = today.all("old").unwrap();
            let expected = [
                ("one".to_owned(), serde_json::json!({"a": 1})),
                ("two".to_owned(), serde_json::json!({"b": 2})),
            ];
            assert_eq!(found, expected);
            assert_eq!(today.secret("pin").unwrap().unwrap().as_slice(), b"123456");
            assert_eq!(topics(&today, "system", None), ["before"]);
        }
    }

    /// The password of before is the first user's, and is one again for a release that knows no users.
    #[test]
    fn the_password_becomes_a_users_and_goes_back() {
        let dir = tempfile::tempdir().unwrap();
        let before = open_with(dir.path(), &LAYOUTS[..1]).unwrap();
        before.put("admin", "password", &"pbkdf2$hash").unwrap();
        drop(before);
        let now = Store::open(dir.path()).unwrap();
        let user: serde_json::Value = now.get("user", "admin").unwrap().unwrap();
        assert_eq!(
            user,
            serde_json::json!({"role": "super", "password": "pbkdf2$hash", "basic": true})
        );
        now.put("user", "reader", &serde_json::json!({"role": "reader"}))
            .unwrap();
        drop(now);
        let back = open_with(dir.path(), &LAYOUTS[..1]).unwrap();
        assert_eq!(
            back.get::<String>("admin", "password").unwrap().as_deref(),
            Some("pbkdf2$hash")
        );
        assert_eq!(back.all::<serde_json::Value>("user").unwrap(), []);
    }

    /// A step that fails leaves the layout that was there, and a database without a way back is left alone.
    #[test]
    fn half_a_step_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let bad = [
            LAYOUTS[0],
            LAYOUTS[1],
            Layout {
                there: "ALTER TABLE entry ADD COLUMN author TEXT; UPDATE nothing SET x = 1;",
                back: "",
            },
        ];
        Store::open(dir.path()).unwrap().put("old", "one", &1).unwrap();
        assert!(open_with(dir.path(), &bad).is_err());
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(store.get::<u32>("old", "one").unwrap(), Some(1));
        store.log("system", &entry("goes on", 1), &KEEP).unwrap();
        drop(store);
        drop(open_with(dir.path(), TOMORROW).unwrap());
        let raw = Connection::open(dir.path().join("langlauf.db")).unwrap();
        raw.execute_batch("DELETE FROM way_back").unwrap();
        drop(raw);
        let beside = Store::open_beside(dir.path());
        assert!(matches!(beside, Err(StoreError::Other { found: 4, own: 2 })));
        assert!(matches!(Store::open(dir.path()), Err(StoreError::Newer(4))));
        assert!(open_with(dir.path(), TOMORROW).is_ok());
    }

    #[test]
    fn a_log_is_a_ring_and_says_when_it_overflows() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let keep = Keep {
            entries: 3,
            since: Timestamp::from_second(2).unwrap(),
        };
        let write = |topic, seconds| store.log("system", &entry(topic, seconds), &keep).unwrap();
        assert!(!store.log("security", &entry("other", 1), &keep).unwrap());
        for (topic, seconds) in [("a", 1), ("b", 2), ("c", 3), ("d", 4)] {
            assert!(!write(topic, seconds), "{topic}");
        }
        assert!(!write("e", 5), "b was old enough");
        assert!(write("f", 6), "c was not");
        assert_eq!(topics(&store, "system", None), ["f", "e", "d"]);
        assert_eq!(topics(&store, "system", Some(5)), ["d"]);
        assert_eq!(topics(&store, "security", None), ["other"]);
        store
            .forget_log("system", Timestamp::from_second(5).unwrap())
            .unwrap();
        assert_eq!(topics(&store, "system", None), ["f", "e"]);
        // one entry cannot be long
        let long = "ä".repeat(ENTRY_BYTES);
        let new = NewEntry {
            body: &long,
            ..entry("long", 7)
        };
        store.log("system", &new, &keep).unwrap();
        let page = Page {
            count: 1,
            before: None,
            severities: &["Info"],
        };
        assert_eq!(
            store.log_page("system", &page).unwrap()[0].body.len(),
            ENTRY_BYTES
        );
        let page = Page {
            severities: &["Fatal"],
            ..page
        };
        assert!(store.log_page("system", &page).unwrap().is_empty());
    }

    #[test]
    fn several_changes_are_made_together() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.put("old", "1", &1).unwrap();
        store.put_secret("pairing/KT1", b"x").unwrap();
        store.put_secret("other", b"y").unwrap();
        store.log("system", &entry("a", 1), &KEEP).unwrap();
        let put = Change::Put {
            kind: "new",
            id: "2".into(),
            body: 2.into(),
        };
        let secret = Change::Secret("pairing/KT2".into(), Zeroizing::new(b"z".to_vec()));
        let forget = Change::ForgetSecrets("pairing/");
        store
            .apply(&[
                Change::ForgetKind("old"),
                put,
                secret,
                forget,
                Change::ForgetLog("system"),
            ])
            .unwrap();
        assert_eq!(store.get::<u8>("old", "1").unwrap(), None);
        assert_eq!(store.get::<u8>("new", "2").unwrap(), Some(2));
        assert!(store.secret("pairing/KT1").unwrap().is_none());
        assert_eq!(&store.secret("pairing/KT2").unwrap().unwrap()[..], b"z");
        assert!(store.secret("other").unwrap().is_some());
        assert!(topics(&store, "system", None).is_empty());
    }

    #[test]
    fn documents_secrets_and_log_survive_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        {
            let store = Store::open(dir.path()).unwrap();
            store.put("terminal", "KT1", &vec![1, 2, 3]).unwrap();
            store.put("terminal", "KT1", &vec![4]).unwrap();
            store.put_secret("pairing/KT1", b"shared secret").unwrap();
            assert!(!store.log("system", &entry("CT/CONNECTED", 0), &KEEP).unwrap());
        }
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(store.get::<Vec<u8>>("terminal", "KT1").unwrap(), Some(vec![4]));
        assert_eq!(store.get::<Vec<u8>>("terminal", "KT2").unwrap(), None);
        assert_eq!(
            &store.secret("pairing/KT1").unwrap().unwrap()[..],
            b"shared secret"
        );
        assert_eq!(topics(&store, "system", None), ["CT/CONNECTED"]);
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
