//! The trust space of the instance: fetching lists (TUC_KON_031, 032, 040), having [`pki::Space`] judge them, storing and
//! using them. What is refused changes nothing; what is adopted is stored before it is used.

mod look;

pub(crate) use look::Services;

use crate::events::Event;
use crate::judge::Matter;
use crate::state::{Condition, Function, Other};
use crate::{Failure, Inner, tls_service};
use asn1::X509;
use base::{Code, Severity, Timestamp, limits};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use look::trust_of;
use pki::space::{Note, Offer, Origin, Record};
use pki::tsl::{SignerError, TslError};
use pki::{CheckError, How, Purpose, Space};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// How long a download may take.
const DOWNLOAD: Duration = Duration::from_secs(30);
/// Tries per address (TUC_PKI_016).
const TRIES: u32 = 3;

/// What became of a list that was offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopted {
    /// Sequence number of the list in use now.
    pub sequence: u64,
    /// Was it in use already?
    pub unchanged: bool,
    /// What is worth telling.
    pub notes: Vec<String>,
}

/// A list with what came beside it.
struct Download {
    xml: String,
    /// OCSP answer about its signer (A_21181).
    stapled: Option<Vec<u8>>,
}

impl Inner {
    /// Opens the stored trust space at the start; what cannot be read is reported and its forerunner used. A store that
    /// cannot be read at all is an error: beginning anew would overwrite what is only out of reach.
    pub(crate) fn open_space(
        store: &store::Store,
        origin: Origin,
        grace_days: u32,
    ) -> Result<(Space, Vec<Note>), store::StoreError> {
        let grace = Duration::from_secs(u64::from(grace_days) * 86_400);
        let stored = store
            .get::<serde_json::Value>("trust", "space")?
            .unwrap_or_default();
        let (record, problem) = match serde_json::from_value::<Option<Record>>(stored.clone()) {
            Ok(record) => (record.unwrap_or_default(), None),
            Err(error) => {
                store.put("trust", "space.broken", &stored)?;
                (Record::default(), Some(error))
            }
        };
        let (space, mut notes) = Space::open(record, Arc::new(origin), grace);
        notes.extend(problem.map(|error| Note::Unreadable {
            what: "trust space",
            reason: error.to_string(),
        }));
        Ok((space, notes))
    }

    /// The trust space as it is.
    pub fn space(&self) -> Arc<Space> {
        self.space.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Judges a trust list, stores and uses it (TUC_KON_032). What it heals is healed when this returns.
    pub async fn adopt_list(&self, xml: &str, how: How) -> Result<Adopted, Failure> {
        self.adopt(xml, how, None).await
    }

    async fn adopt(&self, xml: &str, how: How, stapled: Option<&[u8]>) -> Result<Adopted, Failure> {
        let _one = self.adopting.lock().await;
        self.judge_apart(Matter::List(xml.into())).await?;
        let failed = |error: TslError| Failure::new(error.code(), format!("trust list: {error}"));
        let offer = self
            .space()
            .offer_list(xml, how, self.clock.now())
            .map_err(failed)?;
        if !offer.unchanged && how == How::Automatic && self.config.online {
            self.check_list_signer(&offer, stapled).await?;
        }
        if !offer.unchanged && how == How::Automatic {
            let broken = self.would_break(&offer.space).await;
            if !broken.is_empty() {
                return Err(failed(TslError::Breaks(broken.join("; "))));
            }
        }
        self.take_offer(offer)
    }

    /// Changes the trust space by a cross certificate (A_17837, A_17345).
    pub async fn adopt_by_cross(&self, cross: &X509, anchor: &X509, xml: &str) -> Result<Adopted, Failure> {
        let _one = self.adopting.lock().await;
        self.judge_apart(Matter::List(xml.into())).await?;
        let offer = self.space().offer_cross(cross, anchor, xml, self.clock.now());
        let offer = offer.map_err(|error| Failure::new(error.code(), error).within(Code::CROSS_IMPORT))?;
        self.take_offer(offer)
    }

    /// Takes up the trust list before the one in use and sets that aside. `false` if there is none.
    pub async fn step_back(&self) -> Result<bool, Failure> {
        let _one = self.adopting.lock().await;
        let Some(space) = self.space().step_back(self.clock.now()) else {
            return Ok(false);
        };
        self.use_space(space)?;
        Ok(true)
    }

    fn take_offer(&self, offer: Offer) -> Result<Adopted, Failure> {
        let mut notes: Vec<String> = offer.notes.iter().map(ToString::to_string).collect();
        if !offer.unchanged {
            notes.extend(self.losses(&offer.space));
            self.use_space(offer.space)?;
            let parameters = vec![("Hinweise", notes.join("; "))];
            self.log(&Event::quiet("CERT/TSL/UPDATED", Severity::Info, parameters));
            let trouble = offer.notes.iter().any(Note::is_trouble);
            self.set_condition(Condition::OtherErrorState(Other::TrustListEntryRefused), trouble);
        }
        for note in &notes {
            tracing::warn!(note, "trust list");
        }
        let sequence = self.space().list().map_or(0, |list| list.sequence);
        Ok(Adopted {
            sequence,
            unchanged: offer.unchanged,
            notes,
        })
    }

    /// Stores a space, then uses it.
    fn use_space(&self, space: Space) -> Result<(), Failure> {
        self.store.put("trust", "space", space.record())?;
        self.install(space);
        Ok(())
    }

    /// Uses a space that is stored.
    pub(crate) fn install(&self, space: Space) {
        let trust = trust_of(&space, self.responders.clone());
        *self.trust.write().unwrap_or_else(PoisonError::into_inner) = trust.map(Arc::new);
        *self.space.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(space);
        self.check_calendar();
        self.look_again.notify_one();
    }

    /// TUC_PKI_001, step 4: the status of the signer, asked where the list in use says and judged by its responders.
    /// If the list or the anchor in use has ended, the way back must not hang on a responder; then only a definite
    /// "revoked" counts.
    async fn check_list_signer(&self, offer: &Offer, stapled: Option<&[u8]>) -> Result<(), Failure> {
        let Some(trust) = self.trust() else { return Ok(()) };
        let (signer, anchor) = (&offer.signer, &offer.anchor);
        let url = offer.signer_ocsp.as_deref();
        let checked = trust
            .check_status(signer, anchor, url, stapled, &*self.clock)
            .await;
        let now = self.clock.now();
        let ended = trust.list().next_update < now || !self.space().anchor().is_valid_at(now.as_second());
        match checked {
            Ok(()) => Ok(()),
            Err(error @ CheckError::Revoked(_)) => {
                let failure = Failure::new(error.code(), format!("signer of the trust list: {error}"));
                Err(failure.within(TslError::from(SignerError::Status).code()))
            }
            Err(error) if ended && !matches!(error, CheckError::Unknown) => {
                tracing::warn!(%error, "status of the trust list's signer unknown; what is in use has ended, so the new one is taken");
                Ok(())
            }
            Err(error) => Err(Failure::new(
                error.code(),
                format!("signer of the trust list: {error}"),
            )),
        }
    }

    /// CAs an administrator has imported for encryption to people outside the TI (CERT_IMPORTED_CA_LIST, TIP1-A_5433).
    pub fn imported_authorities(&self) -> Result<Vec<X509>, Failure> {
        let stored = self.store.all::<String>("imported-ca")?;
        let parsed = stored
            .iter()
            .filter_map(|(_, text)| X509::parse(&hex::decode(text).ok()?).ok());
        Ok(parsed.collect())
    }

    /// Imports a CA; its SHA-256 is its name here.
    pub fn import_authority(&self, certificate: &X509) -> Result<String, Failure> {
        if !certificate.is_ca {
            return Err(Failure::new(Code::SYNTAX, "not the certificate of a CA"));
        }
        let id = hex::encode(crypto::sha256([certificate.der()]));
        self.store
            .put("imported-ca", &id, &hex::encode(certificate.der()))?;
        Ok(id)
    }

    /// Forgets an imported CA; absence is no error.
    pub fn forget_authority(&self, id: &str) -> Result<(), Failure> {
        if hex::decode(id).map_or(0, |bytes| bytes.len()) != 32 {
            return Err(Failure::new(Code::SYNTAX, "a SHA-256 in hexadecimal expected"));
        }
        Ok(self.store.delete("imported-ca", id)?)
    }

    /// Looks for newer lists at once. The failure of the trust list comes first.
    pub async fn update_now(self: &Arc<Self>) -> Result<(), Failure> {
        let list = self.update_list().await;
        let crl = self.update_crl().await;
        let vl = match self.config.lu_sak {
            true => self.update_vl().await,
            false => Ok(()),
        };
        self.set_condition(Condition::TslUpdateNotSuccessful, list.is_err());
        self.set_condition(Condition::BnetzaVlUpdateNotSuccessful, vl.is_err());
        list.and(crl).and(vl)
    }

    /// Looks for a newer trust list: inside the TI, else on the Internet (TIP1-A_4693, A_20536). That an address still has
    /// the list in use is news only as long as a newer one need not exist yet (GS-A_5214); later the others are asked too.
    pub(crate) async fn update_list(&self) -> Result<(), Failure> {
        let mut failures = Vec::new();
        let mut addresses: Vec<String> = self.config.tsl_url.iter().cloned().collect();
        if let Some(url) = &self.config.tsl_url {
            // the hash first: most days there is nothing new, and if it cannot be had that is no obstacle (A_17781)
            let hash = self.fetch(&sibling(url, "sha2"), 256).await;
            let hash = hash.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_ascii_lowercase());
            let same = hash.is_ok_and(|hash| self.space().list_hash() == Some(hash.as_str()));
            if same && !self.is_newer_list_due() {
                return Ok(());
            }
            if let Some(list) = self.space().list() {
                addresses.extend(list.addresses.iter().filter(|known| *known != url).cloned());
                addresses.dedup();
            }
        }
        let internet = self.config.tsl_internet_urls.iter().map(|url| (url, true));
        let mut stale = false;
        for (address, outside) in addresses.iter().map(|url| (url, false)).chain(internet) {
            let download = match outside {
                true => self.download_from_internet(address).await,
                false => self.download(address).await,
            };
            let adopted = match download {
                Ok(Download { xml, stapled }) => self.adopt(&xml, How::Automatic, stapled.as_deref()).await,
                Err(failure) => Err(failure),
            };
            match adopted {
                Ok(adopted) if adopted.unchanged && self.is_newer_list_due() => stale = true,
                Ok(_) => return Ok(()),
                Err(failure) => failures.push(failure),
            }
        }
        let ended = |space: &Space| {
            space
                .list()
                .is_some_and(|list| list.next_update < self.clock.now())
        };
        match stale {
            true if ended(&self.space()) => failures.push(Failure::new(
                Code::TSL_DOWNLOAD,
                "only the list that is in use and has ended is to be had",
            )),
            true => return Ok(()),
            false if failures.is_empty() => return Ok(()),
            false => {}
        }
        // a list that was refused says more than one that could not be had
        let refused = failures
            .iter()
            .position(|failure| failure.code() != Code::TSL_DOWNLOAD);
        let detail: Vec<String> = failures.iter().map(Failure::detail).collect();
        let code = refused
            .and_then(|position| failures.get(position))
            .map(Failure::code);
        Err(Failure::new(
            code.unwrap_or(Code::TSL_DOWNLOAD),
            detail.join("; "),
        ))
    }

    /// Must there be a newer list than the one in use, seven days before it ends?
    fn is_newer_list_due(&self) -> bool {
        let week = Duration::from_secs(7 * 86_400);
        let now = self.clock.now();
        self.space().list().is_some_and(|list| {
            let due = list.next_update.checked_sub(week);
            due.is_ok_and(|due| now > due)
        })
    }

    async fn download(&self, url: &str) -> Result<Download, Failure> {
        let bytes = self.fetch(url, limits::TSL).await?;
        Ok(Download {
            xml: text(bytes)?,
            stapled: None,
        })
    }

    /// From the Internet the detached signature is checked before anything of the list is read (A_21185).
    async fn download_from_internet(&self, url: &str) -> Result<Download, Failure> {
        let signature = self.fetch(&sibling(url, "sig"), pki::detached::LIMIT).await?;
        let bytes = self.fetch(url, limits::TSL).await?;
        let space = self.space();
        let now = self.clock.now();
        let announced = space.announced().filter(|announced| announced.from <= now);
        let mut anchors = vec![space.anchor()];
        anchors.extend(announced.map(|announced| &announced.certificate));
        let verified = pki::detached::verify(&bytes, &signature, &anchors, now);
        let xml = text(bytes)?;
        // whoever missed an announcement is outside the TI by now, so the roots must help here too
        let verified = match verified {
            Err(TslError::Signer(SignerError::Chain)) => {
                self.judge_apart(Matter::List(xml.as_str().into())).await?;
                let vouched = space.vouched_anchors(&xml, now);
                let vouched: Vec<&X509> = vouched.iter().collect();
                pki::detached::verify(xml.as_bytes(), &signature, &vouched, now)
            }
            other => other,
        };
        verified.map_err(|error| Failure::new(error.code(), format!("{url}: {error}")))?;
        Ok(Download {
            xml,
            stapled: self
                .fetch(&sibling(url, "ocsp"), limits::OCSP_RESPONSE)
                .await
                .ok(),
        })
    }

    /// One file over HTTP, tried a few times.
    async fn fetch(&self, url: &str, limit: usize) -> Result<Vec<u8>, Failure> {
        let mut reason = String::new();
        for _ in 0..TRIES {
            let fetching = pki::http::fetch("GET", url, None, Vec::new(), limit);
            match self.clock.timeout(DOWNLOAD, fetching).await {
                Some(Ok(bytes)) => return Ok(bytes),
                Some(Err(error)) => reason = error.to_string(),
                None => reason = format!("no answer in {} s", DOWNLOAD.as_secs()),
            }
        }
        Err(Failure::new(Code::TSL_DOWNLOAD, format!("{url}: {reason}")))
    }

    /// Judges a revocation list, stores and uses it (TUC_KON_040).
    pub async fn adopt_crl(&self, der: &[u8]) -> Result<Timestamp, Failure> {
        let _one = self.adopting.lock().await;
        self.judge_apart(Matter::Crl(STANDARD.encode(der))).await?;
        let space = self.space().offer_crl(der, self.clock.now());
        let space = space.map_err(|error| {
            self.log(&Event::quiet(
                "CERT/CRL/INVALID",
                Severity::Error,
                vec![("Bedeutung", error.to_string())],
            ));
            Failure::new(error.code(), error).within(Code::CRL_INVALID)
        })?;
        let end = space.crl().map(|crl| crl.next_update).unwrap_or_default();
        if space.record() != self.space().record() {
            self.use_space(space)?;
            self.log(&Event::quiet("CERT/CRL/UPDATED", Severity::Info, Vec::new()));
        }
        Ok(end)
    }

    /// Looks for a newer revocation list; plain HTTP, it must work without a tunnel (TIP1-A_4694).
    pub(crate) async fn update_crl(&self) -> Result<(), Failure> {
        let mut last = None;
        for url in &self.config.crl_urls {
            let outcome = match self.fetch(url, limits::CRL).await {
                Ok(der) => self.adopt_crl(&der).await.map(|_| ()),
                Err(failure) => Err(failure.within(Code::CRL_DOWNLOAD)),
            };
            match outcome {
                Ok(()) => return Ok(()),
                Err(failure) => last = Some(failure),
            }
        }
        last.map_or(Ok(()), Err)
    }

    /// Judges a trusted list for qualified signatures, stores and uses it (TUC_KON_031).
    pub async fn adopt_vl(&self, xml: &str, how: How) -> Result<u64, Failure> {
        let _one = self.adopting.lock().await;
        self.judge_apart(Matter::Vl(xml.into())).await?;
        let space = self.space().offer_vl(xml, how, self.clock.now());
        let space = space.map_err(|error| Failure::new(error.code(), error).within(Code::VL_IMPORT))?;
        let sequence = space.vl().map_or(0, |vl| vl.sequence);
        if space.record() != self.space().record() {
            self.use_space(space)?;
            self.log(&Event::quiet(
                "CERT/BNETZA_VL/UPDATED",
                Severity::Info,
                Vec::new(),
            ));
        }
        Ok(sequence)
    }

    /// Looks for a newer trusted list where the trust list says, over TLS with the role of the TSL service.
    pub(crate) async fn update_vl(self: &Arc<Self>) -> Result<(), Failure> {
        self.state.permit(Function::TiService)?;
        let space = self.space();
        let service = space.list().and_then(|list| list.vl.as_ref());
        let mut last = None;
        for url in service.map(|vl| vl.addresses.as_slice()).unwrap_or_default() {
            let outcome = match tls_service::fetch(self, url, &Purpose::TSL_SERVICE, limits::TSL).await {
                Ok(bytes) => match text(bytes) {
                    Ok(xml) => self.adopt_vl(&xml, How::Automatic).await.map(|_| ()),
                    Err(failure) => Err(failure),
                },
                Err(failure) => Err(failure.within(Code::VL_UPDATE)),
            };
            match outcome {
                Ok(()) => return Ok(()),
                Err(failure) => last = Some(failure),
            }
        }
        last.map_or(Ok(()), Err)
    }
}

/// The file beside `url` with another ending.
fn sibling(url: &str, ending: &str) -> String {
    match url.rsplit_once('.') {
        Some((stem, last)) if !last.contains('/') => format!("{stem}.{ending}"),
        _ => format!("{url}.{ending}"),
    }
}

fn text(bytes: Vec<u8>) -> Result<String, Failure> {
    String::from_utf8(bytes).map_err(|error| Failure::new(Code::TSL_FORMAT, error))
}
