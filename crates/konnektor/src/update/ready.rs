//! A look from all sides before a release is put in: what must be so, and what a person may decide otherwise.

use super::Offered;
use crate::Inner;
use card::CardKind;
use serde::Serialize;
use slots::RealDisk;
use std::sync::Arc;

/// Kept free besides what the update itself needs, bytes.
const RESERVE: u64 = 128 << 20;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Its name.
    pub name: &'static str,
    /// Is it so?
    pub good: bool,
    /// It must be so; otherwise a person may decide to go on.
    pub must: bool,
    /// In a sentence, German.
    pub de: String,
    /// In a sentence, English.
    pub en: String,
}

fn check(name: &'static str, must: bool, good: bool, de: impl Into<String>, en: impl Into<String>) -> Check {
    Check {
        name,
        good,
        must,
        de: de.into(),
        en: en.into(),
    }
}

impl Inner {
    /// Looks at everything that an update of this device hangs on. The backup is written by who puts it in, not by who looks.
    pub async fn look_before_update(self: &Arc<Self>, offered: &Offered) -> Vec<Check> {
        vec![
            self.check_signature_in_time(offered),
            self.check_space(),
            self.check_clock(),
            self.check_logs(),
            self.check_institution(),
            self.check_extension(),
            self.check_signing(),
        ]
    }

    fn check_signature_in_time(&self, offered: &Offered) -> Check {
        let good = offered.expires > self.clock.now();
        check(
            "metadata",
            true,
            good,
            format!("Die Freigabe gilt bis {}", offered.expires),
            format!("the release is allowed until {}", offered.expires),
        )
    }

    /// Room for the release twice, a copy of the state, and a reserve.
    fn check_space(&self) -> Check {
        let settings = &self.config.update;
        let release = RealDisk.used(&self.offered_folder());
        let needed = 2 * release + 2 * self.store.size() + RESERVE;
        let slots = self
            .update
            .link
            .as_ref()
            .map_or(settings.folder.as_path(), |(_, slots)| slots);
        let free = RealDisk.free(slots);
        let (free, needed_mib) = (free.unwrap_or_default(), needed >> 20);
        let free_mib = free >> 20;
        check(
            "space",
            true,
            free >= needed,
            format!("{free_mib} MiB frei, {needed_mib} MiB nötig"),
            format!("{free_mib} MiB free, {needed_mib} MiB needed"),
        )
    }

    fn check_clock(&self) -> Check {
        let doubt = self.doubt();
        let (de, en) = match &doubt {
            None => (
                "Die Uhr geht richtig".to_owned(),
                "the clock is believed".to_owned(),
            ),
            Some(doubt) => (
                format!("Der Uhr ist nicht zu trauen: {doubt:?}"),
                format!("the clock is not believed: {doubt:?}"),
            ),
        };
        check("clock", true, doubt.is_none(), de, en)
    }

    /// September 2020: a security log that was full turned an update into a total failure.
    fn check_logs(&self) -> Check {
        let full = self.overflowing();
        let (de, en) = match &full {
            None => (
                "Die Protokolle haben Platz".to_owned(),
                "the logs have room".to_owned(),
            ),
            Some(log) => (
                format!(
                    "Das Protokoll {} ist übergelaufen: zur Kenntnis nehmen",
                    log.name()
                ),
                format!("the log {} has overflowed: take note of it first", log.name()),
            ),
        };
        check("logs", true, full.is_none(), de, en)
    }

    /// An SM-B that is closed now stays closed: the practice would notice only in the morning.
    fn check_institution(&self) -> Check {
        let cards = self.cards.all();
        let all = cards.iter().filter(|card| card.found.kind == CardKind::SmcB);
        let (open, closed) = all.fold((0, 0), |(open, closed), card| match card.is_open("PIN.SMC") {
            true => (open + 1, closed),
            false => (open, closed + 1),
        });
        check(
            "smc-b",
            false,
            open > 0 && closed == 0,
            format!("{open} SMC-B freigeschaltet, {closed} nicht"),
            format!("{open} SMC-B open, {closed} not"),
        )
    }

    /// Certificates are never changed together with the program that changes them (September 2023).
    fn check_extension(&self) -> Check {
        use identity::Stage;
        let steps = self.lifetime_steps();
        let lately = steps.last().is_some_and(|step| {
            let age = self.clock.now().as_second() - step.at.as_second();
            (0..identity::DAY).contains(&age)
        });
        let under_way = self.with_book(|book| {
            let mut stages = book.generations.iter().flat_map(|one| {
                [identity::Family::Ecc, identity::Family::Rsa].map(|family| book.stage(one.number, family))
            });
            stages.any(|stage| {
                matches!(
                    stage,
                    Some(Stage::Fetched | Stage::Verified | Stage::Registered | Stage::Probed)
                )
            })
        });
        let good = !(self.is_extending() || lately && under_way);
        let (de, en) = match good {
            true => (
                "Keine Laufzeitverlängerung im Gange",
                "no lifetime extension under way",
            ),
            false => (
                "Eine Laufzeitverlängerung ist im Gange",
                "a lifetime extension is under way",
            ),
        };
        check("extension", true, good, de, en)
    }

    fn check_signing(&self) -> Check {
        let running = self.jobs.running();
        check(
            "signatures",
            true,
            running == 0,
            format!("{running} Signaturvorgänge laufen"),
            format!("{running} signature jobs are running"),
        )
    }

    /// A backup of the configuration, enciphered under a passphrase that stays in the sealed store.
    pub(super) async fn check_backup(&self) -> Check {
        let made = async {
            let (backup, passphrase) = self.export().await.map_err(|failure| failure.detail())?;
            let json = serde_json::to_vec(&backup).map_err(|error| error.to_string())?;
            let folder = &self.config.update.folder;
            std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
            let path = folder.join("backup.json");
            self.store
                .put_secret("update/backup", passphrase.as_bytes())
                .map_err(|error| error.to_string())?;
            base::file::replace(&path, &json).map_err(|error| error.to_string())
        };
        match made.await {
            Ok(()) => check(
                "backup",
                true,
                true,
                "Die Sicherung ist geschrieben",
                "the backup is written",
            ),
            Err(error) => check(
                "backup",
                true,
                false,
                format!("Die Sicherung ließ sich nicht schreiben: {error}"),
                format!("the backup could not be written: {error}"),
            ),
        }
    }
}
