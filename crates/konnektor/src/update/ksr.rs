//! The configuration service as a source of releases (TUC_KON_282, TIP1-A_4834, 4836-02, 6025): once a day the list, then the
//! newest package, which is a bundle like any other. A date in that list can bar the TI; it is judged only by a clock that is
//! believed, and only what the list says counts, never that it says nothing.

use super::{STORE, Source};
use crate::state::Condition;
use crate::{Failure, Inner, tls_service};
use base::{Code, Severity};
use jiff::civil::Date;
use jiff::tz::Offset;
use pki::Purpose;
use serde::{Deserialize, Serialize};
use slots::Version;
use soap::ksr::{ACTION, Product, UpdateInformation};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long the list may take.
pub(super) const LIST: Duration = Duration::from_secs(30);
/// Longest package, bytes (gemSpec_Perf).
const PACKAGE: u64 = 1_500_000_000;
const DAILY: Duration = Duration::from_secs(86_400);
/// After a failure.
const AGAIN: Duration = Duration::from_secs(3600);

/// Where the configuration service is, and what this device is called there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KsrSettings {
    /// Address of list_Updates (MGM_KSR_KONFIG_URL).
    pub list: String,
    /// Address of the packages, with a slash at its end (MGM_KSR_FIRMWARE_URL).
    pub firmware: String,
    /// ProductVendorID.
    #[serde(default = "vendor")]
    pub vendor: String,
    /// ProductCode.
    #[serde(default = "code")]
    pub code: String,
    /// HWVersion.
    #[serde(default = "hardware")]
    pub hardware: String,
    /// Are packages downloaded by themselves (MGM_KSR_AUTODOWNLOAD)?
    #[serde(default = "yes")]
    pub download: bool,
    /// Are terminals whose administrator's login is stored updated by themselves in the window, before this device is?
    #[serde(default)]
    pub terminals: bool,
}

fn vendor() -> String {
    "LLAUF".into()
}

fn code() -> String {
    "LANGLAUF".into()
}

fn hardware() -> String {
    "1.0.0".into()
}

fn yes() -> bool {
    true
}

impl KsrSettings {
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let https = self.list.starts_with("https://") && self.firmware.starts_with("https://");
        match https && self.firmware.ends_with('/') {
            true => Ok(()),
            false => Err("update.ksr needs https addresses, that of the firmware with a slash at its end"),
        }
    }

    fn product(&self) -> Product {
        Product {
            vendor: self.vendor.clone(),
            code: self.code.clone(),
            hardware: self.hardware.clone(),
        }
    }
}

pub(super) fn version_of(entry: &UpdateInformation) -> Version {
    let [a, b, c] = entry.version;
    Version(a, b, c)
}

/// What a list means for a device that runs this version on this day: newer, critical, and barred.
pub(super) fn meaning(list: &[UpdateInformation], running: Version, today: Option<Date>) -> [bool; 3] {
    let newer: Vec<&UpdateInformation> = list.iter().filter(|entry| version_of(entry) > running).collect();
    let critical = newer.iter().any(|entry| entry.critical);
    // the last day without it is a day without it
    let over = |entry: &&&UpdateInformation| {
        entry.critical
            && entry
                .deadline
                .is_some_and(|end| today.is_some_and(|today| end < today))
    };
    [
        !newer.is_empty(),
        critical,
        newer.iter().any(|entry| over(&entry)),
    ]
}

impl Inner {
    /// The list as it was seen last.
    pub fn ksr_list(&self) -> Vec<UpdateInformation> {
        self.store.get(STORE, "ksr").ok().flatten().unwrap_or_default()
    }

    /// What the list means today. While the clock is not believed no date bars anything, and none lifts a bar.
    pub(crate) fn check_ksr_list(&self) {
        if self.update_settings().ksr.is_none() {
            return;
        }
        let Some(running) = self.update.running() else {
            return;
        };
        let today = self
            .doubt()
            .is_none()
            .then(|| Offset::UTC.to_datetime(self.clock.now()).date());
        let [_, critical, barred] = meaning(&self.ksr_list(), running, today);
        self.set_condition(Condition::ConnectorSoftwareOutOfDate, critical);
        if today.is_some() {
            self.set_condition(Condition::FwNotValidStatusBlocked, barred);
        }
        self.show_update_conditions();
    }

    /// Asks for the list every day, at a time of its own, and sooner after a failure.
    pub(crate) async fn keep_ksr(self: Arc<Self>) {
        let spread = crypto::random::<8>().map_or(0, |bytes| u64::from_be_bytes(bytes) % 3600);
        loop {
            while !self.reaches_ti() || self.trust().is_none() {
                self.clock.sleep(Duration::from_secs(5)).await;
            }
            let pause = match self.look_at_ksr().await {
                Ok(()) => DAILY - Duration::from_secs(spread),
                Err(failure) => {
                    tracing::warn!(detail = failure.detail(), "configuration service");
                    AGAIN
                }
            };
            self.clock.sleep(pause).await;
        }
    }

    /// List, then the newest package (TIP1-A_4836-02).
    pub async fn look_at_ksr(self: &Arc<Self>) -> Result<(), Failure> {
        let settings = self.update_settings().ksr.clone();
        let settings =
            settings.ok_or_else(|| Failure::new(Code::NOT_PERMITTED, "update.ksr is not configured"))?;
        // two of them would write into one file
        let _one = self.update.asking.lock().await;
        self.list_terminal_updates(&settings).await;
        let looked = self.list_updates(&settings).await;
        let list = match looked {
            Ok(list) => list,
            Err(failure) => {
                self.raise_update_error(&failure);
                return Err(failure);
            }
        };
        // an empty list is no news
        if !list.is_empty() {
            self.store.put(STORE, "ksr", &list)?;
        }
        self.check_ksr_list();
        let Some(running) = self.update.running() else {
            return Ok(());
        };
        let newest = list
            .into_iter()
            .filter(|entry| version_of(entry) > running)
            .max_by_key(version_of);
        let Some(newest) = newest else { return Ok(()) };
        self.raise(self.update_event("KSR/UPDATES_AVAILABLE", Severity::Info, about(&newest)));
        // what was judged and refused is not downloaded again as long as the list says the same
        let refused: Option<UpdateInformation> = self.store.get(STORE, "ksr-refused")?;
        let offered = self.offered()?;
        let known = refused.as_ref() == Some(&newest)
            || offered.is_some_and(|offered| offered.version >= version_of(&newest));
        if known || !settings.download || self.update_settings().root.is_none() {
            return Ok(());
        }
        let taken = self.fetch_update(&settings, &newest).await;
        if let Err(failure) = &taken {
            self.raise_update_error(failure);
        }
        taken
    }

    async fn list_updates(
        self: &Arc<Self>,
        settings: &KsrSettings,
    ) -> Result<Vec<UpdateInformation>, Failure> {
        let Version(a, b, c) = self.update.running().unwrap_or(Version(0, 0, 0));
        let message = soap::ksr::request(&settings.product(), [a, b, c]);
        let answer = tls_service::soap(
            self,
            &settings.list,
            &Purpose::CONFIGURATION,
            None,
            (ACTION, message),
            LIST,
        )
        .await;
        let answer = answer.map_err(|failure| failure.within(Code::KSR_UNREACHABLE))?;
        let list = soap::ksr::parse_response(&answer).map_err(|error| Failure::new(Code::KSR_LIST, error))?;
        let own = settings.product();
        Ok(list.into_iter().filter(|entry| entry.product == own).collect())
    }

    /// The one package of an entry is a bundle.
    async fn fetch_update(
        self: &Arc<Self>,
        settings: &KsrSettings,
        entry: &UpdateInformation,
    ) -> Result<(), Failure> {
        let failed = |why: &str| Failure::new(Code::UPDATE_DOWNLOAD, format!("{}: {why}", entry.id));
        let [file] = entry.files.as_slice() else {
            return Err(failed("one package expected"));
        };
        if file.size > PACKAGE {
            return Err(failed("larger than 1.5 GB"));
        }
        let folder = &self.update_settings().folder;
        std::fs::create_dir_all(folder).map_err(|error| failed(&error.to_string()))?;
        // broken off, it goes on where it was (TIP1-A_7220)
        let path: PathBuf = folder.join(format!("{}.part", entry.id));
        let resumed = path.exists();
        let url = format!("{}{}", settings.firmware, file.name);
        tls_service::download(self, &url, &Purpose::CONFIGURATION, &path, file.size)
            .await
            .map_err(|failure| failure.within(Code::UPDATE_DOWNLOAD))?;
        let taken = self.take_bundle(&path, Source::Ksr).await;
        let _ = std::fs::remove_file(&path);
        let offered = match taken {
            Ok(offered) => offered,
            Err(failure) => {
                // a wrong clock, a full disk or the beginning of an older package is no fault of this one's
                let own = failure.code() != Code::NOT_PERMITTED && failure.code() != Code::INTERNAL;
                if own && !resumed {
                    self.store.put(STORE, "ksr-refused", entry)?;
                }
                return Err(failure);
            }
        };
        if offered.version != version_of(entry) {
            self.discard_offer().await?;
            self.store.put(STORE, "ksr-refused", entry)?;
            return Err(Failure::new(
                Code::UPDATE_INFORMATION,
                "the package holds another version than the list says",
            ));
        }
        self.raise(self.update_event("KSR/UPDATE/KONNEKTOR_DOWNLOAD_END", Severity::Info, about(entry)));
        Ok(())
    }
}

/// Parameters of the events (TIP1-A_4836-02).
fn about(entry: &UpdateInformation) -> Vec<(&'static str, String)> {
    vec![
        ("ProductVendorID", entry.product.vendor.clone()),
        ("ProductCode", entry.product.code.clone()),
        ("ProductName", entry.name.clone()),
        ("FirmwareVersion", version_of(entry).to_string()),
        (
            "Deadline",
            entry.deadline.map(|day| day.to_string()).unwrap_or_default(),
        ),
        (
            "FWPriority",
            if entry.critical { "Kritisch" } else { "Normal" }.to_owned(),
        ),
        ("FirmwareReleaseNotes", entry.notes.clone()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(version: [u16; 3], critical: bool, deadline: &str) -> UpdateInformation {
        UpdateInformation {
            id: "A".into(),
            product: Product {
                vendor: vendor(),
                code: code(),
                hardware: hardware(),
            },
            name: "Langlauf".into(),
            version,
            critical,
            deadline: deadline.parse().ok(),
            files: Vec::new(),
            documents: Vec::new(),
            notes: String::new(),
        }
    }

    /// Five years, day by day: a critical update bars from the day after its deadline, and only who has not got it.
    #[test]
    fn five_years_of_deadlines() {
        let list = [
            entry([1, 1, 0], true, "2028-02-29"),
            entry([1, 2, 0], false, "2027-01-01"),
        ];
        let mut day: Date = "2026-01-01".parse().unwrap();
        let end: Date = "2031-01-01".parse().unwrap();
        let mut barred = Vec::new();
        while day < end {
            let [newer, critical, bar] = meaning(&list, Version(1, 0, 0), Some(day));
            assert!(newer && critical, "{day}");
            if bar {
                barred.push(day);
            }
            assert_eq!(
                meaning(&list, Version(1, 1, 0), Some(day)),
                [true, false, false],
                "{day}"
            );
            assert_eq!(meaning(&list, Version(1, 2, 0), Some(day)), [false; 3], "{day}");
            // a clock that nobody believes bars nothing
            assert_eq!(meaning(&list, Version(1, 0, 0), None), [true, true, false]);
            day = day.tomorrow().unwrap();
        }
        assert_eq!(barred.first().map(Date::to_string).as_deref(), Some("2028-03-01"));
        assert_eq!(barred.len(), 1036);
        assert_eq!(meaning(&[], Version(1, 0, 0), Some(end)), [false; 3]);
    }
}
