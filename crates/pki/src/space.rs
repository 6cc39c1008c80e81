//! What the trust space rests on and how it changes: trust anchor, trust list, revocation list, trusted list, DNSSEC
//! anchor. Pure: a value, something offered and a moment make the next value or a refusal; the caller stores and uses it.
//!
//! Two generations of everything are kept. A change is made only of what the running code has verified and read back;
//! absence of something is never a change. An announced trust anchor is used from its moment on, but the old one is given
//! up only when a list has been verified with the new one: that is the proof (see docs/divergences.md).

use crate::crl::{Crl, CrlError};
use crate::past::{self, Past, PastService};
use crate::tsl::{Announcement, DnssecAnchor, SignedTsl, SignerError, Tsl, TslError};
use crate::vl::{TrustedList, VlError};
use asn1::{X509, oid};
use base::{Code, Timestamp};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// How something came here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Downloaded by the device itself.
    Automatic,
    /// Brought by an administrator, who may know better: also a list that has ended (TIP1-A_4705), or a hollow one.
    ByHand,
}

/// Something worth telling that is no refusal of the whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Note {
    /// A new anchor was announced and kept for its moment.
    #[error("trust anchor {subject} is announced for {from}")]
    Announced {
        /// Its subject.
        subject: String,
        /// Its moment.
        from: Timestamp,
    },
    /// The announced anchor has proven itself and replaced the old one.
    #[error("trust anchor {0} is in use now")]
    Activated(String),
    /// An announcement is not believed; the anchor in use stays.
    #[error("the announced trust anchor is not taken over: {reason}")]
    AnnouncementRefused {
        /// Its code (TUC_PKI_013).
        code: Code,
        /// What is wrong.
        reason: String,
    },
    /// The announcement of this anchor was missed; a root the device was made with vouches for it.
    #[error("trust anchor {0} was never announced here, but a root of the TI vouches for it")]
    FoundByRoot(String),
    /// The announced anchor should be in use by now, but the list is still signed under the old one.
    #[error(
        "the trust list is still signed under the old trust anchor although {subject} was to replace it on {from}"
    )]
    Unproven {
        /// Subject of the announced anchor.
        subject: String,
        /// Its moment.
        from: Timestamp,
    },
    /// An anchor for signed names is not believed; those in use stay.
    #[error("a DNSSEC anchor of the trust list is not taken over: {0}")]
    DnssecRefused(String),
    /// A new anchor for signed names stands beside the proven one.
    #[error("DNSSEC anchor with key tag {0} stands beside the proven one")]
    DnssecOffered(u16),
    /// Entries of the list could not be used.
    #[error("entries of the trust list were left out: {0}")]
    Skipped(String),
    /// A stored generation could not be read; the one before it is used.
    #[error("stored {what} cannot be used: {reason}")]
    Unreadable {
        /// What it was.
        what: &'static str,
        /// Why.
        reason: String,
    },
}

impl Note {
    /// Is something wrong, or is it merely news?
    pub fn is_trouble(&self) -> bool {
        let news = matches!(
            self,
            Note::Announced { .. } | Note::Activated(_) | Note::FoundByRoot(_) | Note::DnssecOffered(_)
        );
        !news
    }
}

/// What is stored. Newest generation first, two of each at most; of the lists the second is the last that has proven itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    lists: Vec<StoredList>,
    /// Empty as long as the initial anchor is in use.
    anchors: Vec<Der>,
    announced: Option<StoredAnnouncement>,
    crls: Vec<Der>,
    vls: Vec<String>,
    dnssec_proven: Vec<DnssecAnchor>,
    dnssec_offered: Vec<DnssecAnchor>,
    /// SHA-256 of the last list with which a service of the TI was believed.
    proven: Option<String>,
    /// SHA-256 of lists an administrator has set aside.
    set_aside: Vec<String>,
    /// Services that have left the list.
    past: Vec<PastService>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct StoredList {
    xml: String,
    sha256: String,
    /// When it was verified, and with which anchor: so it is verified again, whatever has ended since.
    verified: Timestamp,
    anchor: Der,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct StoredAnnouncement {
    certificate: Der,
    from: Timestamp,
    ocsp: Option<String>,
}

/// DER, in base64 where it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Der(Vec<u8>);

impl Serialize for Der {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Der {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        STANDARD.decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// What a device was made with.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The first trust anchor (EF.C.TSL.CA_1).
    pub anchor: X509,
    /// Roots of the TI: they vouch for a trust anchor whose announcement was missed. May be empty; then such a device
    /// needs a person with the lists in between.
    pub roots: Vec<X509>,
}

/// The trust space: the record and what was read from it.
#[derive(Debug, Clone)]
pub struct Space {
    record: Record,
    origin: Arc<Origin>,
    anchor: X509,
    announced: Option<Announcement>,
    list: Option<Arc<Tsl>>,
    crl: Option<Arc<Crl>>,
    vl: Option<Arc<TrustedList>>,
    list_grace: Duration,
}

/// A list that was accepted, with the space it makes.
#[derive(Debug, Clone)]
pub struct Offer {
    /// The space with the list in use.
    pub space: Space,
    /// Is it the list that is in use already?
    pub unchanged: bool,
    /// Who signed the list.
    pub signer: X509,
    /// Who certified the signer: the anchor.
    pub anchor: X509,
    /// Where its status can be asked, as the list in use says (never the offered one).
    pub signer_ocsp: Option<String>,
    /// What is worth telling.
    pub notes: Vec<Note>,
}

impl Space {
    /// Reads a stored record. `list_grace` is CERT_TSL_DEFAULT_GRACE_PERIOD_DAYS. Of each object the newest generation
    /// that can be read is used.
    pub fn open(record: Record, origin: Arc<Origin>, list_grace: Duration) -> (Self, Vec<Note>) {
        let (mut record, mut notes) = (record, Vec::new());
        let anchor = newest("trust anchor", &mut record.anchors, &mut notes, |stored| {
            X509::parse(&stored.0)
        });
        let anchor = anchor.unwrap_or_else(|| origin.anchor.clone());
        let announced = record.announced.as_ref().and_then(|stored| {
            let parsed = X509::parse(&stored.certificate.0).map_err(|error| {
                notes.push(Note::Unreadable {
                    what: "announced anchor",
                    reason: error.to_string(),
                });
            });
            Some(Announcement {
                certificate: parsed.ok()?,
                from: stored.from,
                ocsp: stored.ocsp.clone(),
            })
        });
        let list = newest("trust list", &mut record.lists, &mut notes, read_back).map(Arc::new);
        let mut space = Self {
            record,
            origin,
            anchor,
            announced,
            list,
            crl: None,
            vl: None,
            list_grace,
        };
        space.read_dependent(&mut notes);
        (space, notes)
    }

    /// Reads what the trust list in use decides about: a list may take their signers away.
    fn read_dependent(&mut self, notes: &mut Vec<Note>) {
        let Some(list) = &self.list else { return };
        let crls = &mut self.record.crls;
        let crl = newest("revocation list", crls, notes, |der| Crl::verify(&der.0, list));
        let signers = list.vl.as_ref().map(|vl| vl.signers.as_slice());
        let vl = newest("trusted list", &mut self.record.vls, notes, |xml| {
            TrustedList::verify(xml, signers.unwrap_or_default())
        });
        (self.crl, self.vl) = (crl.map(Arc::new), vl.map(Arc::new));
    }

    /// What is to be stored.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The trust anchor in use.
    pub fn anchor(&self) -> &X509 {
        &self.anchor
    }

    /// The anchor that is to replace it.
    pub fn announced(&self) -> Option<&Announcement> {
        self.announced.as_ref()
    }

    /// The trust list in use.
    pub fn list(&self) -> Option<&Arc<Tsl>> {
        self.list.as_ref()
    }

    /// SHA-256 of the file of the list in use, hexadecimal.
    pub fn list_hash(&self) -> Option<&str> {
        self.record.lists.first().map(|stored| stored.sha256.as_str())
    }

    /// Was a service of the TI believed with the list in use?
    pub fn is_list_proven(&self) -> bool {
        self.record.proven.is_some() && self.record.proven.as_deref() == self.list_hash()
    }

    /// A service of the TI was believed with the list in use: now the one before it may be given up when the next one comes.
    pub fn prove_list(&self) -> Self {
        let mut next = self.clone();
        next.record.proven = self.list_hash().map(str::to_owned);
        next
    }

    /// The revocation list in use.
    pub fn crl(&self) -> Option<&Arc<Crl>> {
        self.crl.as_ref()
    }

    /// What earlier lists have said.
    pub fn past(&self) -> Past {
        past::read(&self.record.past)
    }

    /// The trusted list in use.
    pub fn vl(&self) -> Option<&Arc<TrustedList>> {
        self.vl.as_ref()
    }

    /// CERT_TSL_DEFAULT_GRACE_PERIOD_DAYS.
    pub fn list_grace(&self) -> Duration {
        self.list_grace
    }

    /// Anchors for signed names: those proven and those that may replace them. A resolver takes either.
    pub fn dnssec_anchors(&self) -> impl Iterator<Item = &DnssecAnchor> {
        let proven = &self.record.dnssec_proven;
        let offered = self.record.dnssec_offered.iter();
        proven
            .iter()
            .chain(offered.filter(|anchor| !proven.contains(anchor)))
    }

    /// Judges a list (TUC_PKI_019, 020, 011, 012, 013) and makes the space with it. The status of its signer is the
    /// caller's to ask, before the space is used.
    pub fn offer_list(&self, xml: &str, how: How, now: Timestamp) -> Result<Offer, TslError> {
        let due = self.announced.as_ref().filter(|announced| announced.from <= now);
        let mut anchors = vec![&self.anchor];
        if let Some(announced) = due {
            anchors.insert(0, &announced.certificate);
        }
        let mut found = None;
        let signed = match Tsl::verify(xml, &anchors, now) {
            Err(TslError::Signer(SignerError::Chain)) => {
                let candidates = self.vouched_anchors(xml, now);
                let signed = Tsl::verify(xml, &candidates.iter().collect::<Vec<_>>(), now)?;
                found = candidates.get(signed.anchor).cloned();
                signed
            }
            other => other?,
        };
        let activates = found.is_none() && due.is_some() && signed.anchor == 0;
        let (anchor, signer_ocsp) = match (&found, due) {
            (Some(found), _) => (found.clone(), None),
            (None, Some(announced)) if activates => (announced.certificate.clone(), announced.ocsp.clone()),
            _ => (self.anchor.clone(), self.ocsp_of_anchor()),
        };
        let sha256 = hex::encode(crypto::sha256([xml]));
        let SignedTsl { list, signer, .. } = signed;
        let offer = |space, unchanged, notes| Offer {
            space,
            unchanged,
            signer: signer.clone(),
            anchor: anchor.clone(),
            signer_ocsp: signer_ocsp.clone(),
            notes,
        };
        if self.is_same(&list)? {
            return Ok(offer(self.clone(), true, Vec::new()));
        }
        self.check_acceptable(&list, &sha256, how, now)?;

        let mut next = self.clone();
        let mut notes = Vec::new();
        if found.is_some() {
            next.activate(anchor.clone());
            notes.push(Note::FoundByRoot(anchor.subject()));
        } else if activates {
            next.activate(anchor.clone());
            notes.push(Note::Activated(anchor.subject()));
        } else if let Some(announced) = due {
            notes.push(Note::Unproven {
                subject: announced.certificate.subject(),
                from: announced.from,
            });
        }
        next.take_announcement(&list, now, &mut notes);
        next.take_dnssec(&list, &mut notes);
        if !list.skipped.is_empty() {
            notes.push(Note::Skipped(list.skipped.join("; ")));
        }
        next.take_list(xml, sha256, list, anchor.clone(), now, &mut notes)?;
        Ok(offer(next, false, notes))
    }

    /// Changes to another trust space (RSA to elliptic curves, or back) by a cross certificate of the anchor in use over
    /// the new anchor's name and key, with a list of the new space (A_17821).
    pub fn offer_cross(
        &self,
        cross: &X509,
        anchor: &X509,
        xml: &str,
        now: Timestamp,
    ) -> Result<Offer, TslError> {
        let same =
            cross.subject_der().ok() == anchor.subject_der().ok() && cross.key_bits() == anchor.key_bits();
        if !same || check_anchor(anchor, now).is_err() {
            return Err(SignerError::Chain.into());
        }
        let named = cross.issuer_der().ok() == self.anchor.subject_der().ok();
        if !named || !cross.is_valid_at(now.as_second()) || !cross.is_ca {
            return Err(SignerError::Chain.into());
        }
        crate::check::verify_signature(cross, &self.anchor).map_err(|_| SignerError::Signature)?;
        let signed = Tsl::verify(xml, &[anchor], now)?;
        let sha256 = hex::encode(crypto::sha256([xml]));
        let mut next = self.clone();
        let mut notes = vec![Note::Activated(anchor.subject())];
        next.activate(anchor.clone());
        next.take_announcement(&signed.list, now, &mut notes);
        next.take_dnssec(&signed.list, &mut notes);
        next.take_list(xml, sha256, signed.list, anchor.clone(), now, &mut notes)?;
        Ok(Offer {
            space: next,
            unchanged: false,
            signer: signed.signer,
            anchor: anchor.clone(),
            signer_ocsp: None,
            notes,
        })
    }

    /// The list before the one in use, which is set aside and not taken again. `None` if there is none before it.
    /// What the rejected list announced goes with it; what the one before announced counts again.
    pub fn step_back(&self, now: Timestamp) -> Option<Self> {
        let mut record = self.record.clone();
        if record.lists.len() < 2 {
            return None;
        }
        let rejected = record.lists.remove(0);
        record.set_aside.insert(0, rejected.sha256);
        record.set_aside.truncate(8);
        let first = record.lists.first()?;
        let (before, wanted) = (first.anchor.clone(), first.sha256.clone());
        // the anchor that the rejected list had brought goes with it
        if let Some(position) = record.anchors.iter().position(|anchor| *anchor == before) {
            record.anchors.drain(..position);
        } else if before.0 == self.origin.anchor.der() {
            record.anchors.clear();
        }
        record.announced = None;
        record.dnssec_offered = Vec::new();
        let (mut space, mut notes) = Self::open(record, self.origin.clone(), self.list_grace);
        if space.list_hash() != Some(wanted.as_str()) {
            return None;
        }
        let list = space.list.clone()?;
        space.take_announcement(&list, now, &mut notes);
        space.take_dnssec(&list, &mut notes);
        Some(space)
    }

    /// Judges a revocation list (TUC_PKI_021) and makes the space with it.
    pub fn offer_crl(&self, der: &[u8], now: Timestamp) -> Result<Self, CrlError> {
        let list = self.list.as_ref().ok_or(CrlError::Signer)?;
        let crl = Crl::verify(der, list)?;
        crl.check_times(now)?;
        if let Some(current) = &self.crl {
            if current.der() == der {
                return Ok(self.clone());
            }
            if crl.this_update < current.this_update {
                return Err(CrlError::Older);
            }
        }
        let mut next = self.clone();
        push(&mut next.record.crls, Der(der.to_vec()));
        next.crl = Some(Arc::new(crl));
        Ok(next)
    }

    /// Judges a trusted list (TUC_PKI_036) and makes the space with it.
    pub fn offer_vl(&self, xml: &str, how: How, now: Timestamp) -> Result<Self, VlError> {
        let service = self.list.as_ref().and_then(|list| list.vl.as_ref());
        let vl = TrustedList::verify(xml, &service.ok_or(VlError::Signer)?.signers)?;
        if vl.next_update <= now {
            return Err(VlError::Outdated(vl.next_update));
        }
        if let Some(current) = &self.vl {
            if vl.sequence == current.sequence && vl.issued == current.issued {
                return Ok(self.clone());
            }
            // a number published by mistake binds neither a person nor anybody once that list has ended
            let binds = how == How::Automatic && current.next_update > now;
            if binds && vl.sequence <= current.sequence {
                return Err(VlError::Older);
            }
        }
        let mut next = self.clone();
        push(&mut next.record.vls, xml.to_owned());
        next.vl = Some(Arc::new(vl));
        Ok(next)
    }

    /// A name was resolved and validated with this anchor: it is proven. Anchors that the list in use no longer names
    /// are given up only now.
    pub fn prove_dnssec(&self, anchor: &DnssecAnchor) -> Self {
        let mut next = self.clone();
        let record = &mut next.record;
        if !record.dnssec_proven.contains(anchor) {
            record.dnssec_proven.push(anchor.clone());
        }
        let offered = record.dnssec_offered.clone();
        record
            .dnssec_proven
            .retain(|known| known == anchor || offered.contains(known));
        next
    }

    /// Anchors that a list brings whose signer nobody here knows, as far as a root vouches for them. Where the certificate
    /// comes from does not matter, so the list itself, not believed yet, may bring it. It must bear the name of a TSL
    /// signer CA as the anchor in use does, for a root certifies other CAs too, and must not be older. Which of them it
    /// is, only verifying the list shows. Empty if there are no roots.
    pub fn vouched_anchors(&self, xml: &str, now: Timestamp) -> Vec<X509> {
        const UNIT: &str = "2.5.4.11";
        let unit = self.anchor.subject_attribute(UNIT);
        let list = match self.origin.roots.is_empty() {
            true => return Vec::new(),
            false => Tsl::read(xml),
        };
        let Ok(list) = list else { return Vec::new() };
        // one that is announced for later counts for nothing before its moment
        let early = self.announced.as_ref().filter(|announced| announced.from > now);
        let early = early.map(|announced| &announced.certificate);
        let mut found: Vec<X509> = Vec::new();
        for candidate in list.cas.into_iter().map(|ca| ca.certificate) {
            let same_kind = !unit.is_empty() && candidate.subject_attribute(UNIT) == unit;
            let younger = candidate.validity().0 >= self.anchor.validity().0;
            let vouched = |root: &X509| {
                root.is_valid_at(now.as_second()) && crate::check::verify_signature(&candidate, root).is_ok()
            };
            let fits = same_kind
                && younger
                && candidate != self.anchor
                && Some(&candidate) != early
                && !found.contains(&candidate)
                && check_anchor(&candidate, now).is_ok()
                && self.origin.roots.iter().any(vouched);
            if fits {
                found.push(candidate);
            }
        }
        found
    }

    fn ocsp_of_anchor(&self) -> Option<String> {
        let services = &self.list.as_ref()?.cas;
        let own = services.iter().find(|ca| ca.certificate == self.anchor)?;
        own.ocsp.clone()
    }

    /// TUC_PKI_019, step 6: the same list again is no news and no mistake.
    fn is_same(&self, list: &Tsl) -> Result<bool, TslError> {
        let Some(current) = &self.list else {
            return Ok(false);
        };
        let same_id = current.id == list.id;
        match (same_id, current.sequence == list.sequence) {
            (true, true) => Ok(true),
            (false, false) if list.sequence > current.sequence => Ok(false),
            _ => Err(TslError::Sequence {
                offered: list.sequence,
                current: current.sequence,
            }),
        }
    }

    fn check_acceptable(&self, list: &Tsl, sha256: &str, how: How, now: Timestamp) -> Result<(), TslError> {
        if how == How::ByHand {
            return Ok(());
        }
        if self.record.set_aside.iter().any(|hash| hash == sha256) {
            return Err(TslError::SetAside);
        }
        let last = list.next_update.checked_add(self.list_grace);
        if last.is_ok_and(|last| now > last) {
            return Err(TslError::TooOld(list.next_update));
        }
        let Some(current) = &self.list else { return Ok(()) };
        // what a list of the whole TI can lose only by a mistake
        let lost = [
            (
                "certification authorities",
                current.cas.is_empty(),
                list.cas.is_empty(),
            ),
            (
                "OCSP responders",
                current.responders.is_empty(),
                list.responders.is_empty(),
            ),
            ("CV roots", current.cvcs.is_empty(), list.cvcs.is_empty()),
        ];
        match lost
            .into_iter()
            .find(|(_, had_none, has_none)| !had_none && *has_none)
        {
            Some((what, _, _)) => Err(TslError::Hollow(what)),
            None => Ok(()),
        }
    }

    fn activate(&mut self, anchor: X509) {
        if self.record.anchors.is_empty() {
            self.record.anchors.push(Der(self.anchor.der().to_vec()));
        }
        push(&mut self.record.anchors, Der(anchor.der().to_vec()));
        self.record.announced = None;
        self.announced = None;
        self.anchor = anchor;
    }

    /// TUC_PKI_013: a mistake in it touches neither the anchor in use nor the rest of the list.
    fn take_announcement(&mut self, list: &Tsl, now: Timestamp, notes: &mut Vec<Note>) {
        let refuse = |code, reason: String| Note::AnnouncementRefused { code, reason };
        let announcement = match list.announcements.as_slice() {
            [] => return,
            [Ok(one)] => one,
            [Err(reason)] => return notes.push(refuse(Code::TSL_CA_EXTRACTION, reason.clone())),
            _ => return notes.push(refuse(Code::MULTIPLE_TRUST_ANCHOR, "more than one entry".into())),
        };
        if announcement.certificate == self.anchor {
            return;
        }
        let moment = announcement.from.max(now);
        if let Err(reason) = check_anchor(&announcement.certificate, moment) {
            return notes.push(refuse(Code::CERT_EXPIRED, reason.into()));
        }
        let stored = StoredAnnouncement {
            certificate: Der(announcement.certificate.der().to_vec()),
            from: announcement.from,
            ocsp: announcement.ocsp.clone(),
        };
        if self.record.announced.as_ref() != Some(&stored) {
            notes.push(Note::Announced {
                subject: announcement.certificate.subject(),
                from: announcement.from,
            });
        }
        self.record.announced = Some(stored);
        self.announced = Some(announcement.clone());
    }

    fn take_dnssec(&mut self, list: &Tsl, notes: &mut Vec<Note>) {
        let mut good = Vec::new();
        for anchor in &list.dnssec {
            let checked = anchor.as_ref().map_err(Clone::clone).and_then(|anchor| {
                check_dnssec(anchor).map_err(str::to_owned)?;
                Ok(anchor.clone())
            });
            match checked {
                Ok(anchor) => good.push(anchor),
                Err(reason) => notes.push(Note::DnssecRefused(reason)),
            }
        }
        if good.is_empty() {
            return;
        }
        let record = &mut self.record;
        for anchor in &good {
            let known = record.dnssec_proven.contains(anchor) || record.dnssec_offered.contains(anchor);
            if !known {
                notes.push(Note::DnssecOffered(anchor.key_tag));
            }
        }
        // what was offered before and never proven gives way to what is offered now; the proven stay
        if record.dnssec_proven.is_empty() && !record.dnssec_offered.is_empty() {
            record.dnssec_proven = std::mem::take(&mut record.dnssec_offered);
        }
        record.dnssec_offered = good;
    }

    /// Stores the list as the newest generation, if it can be read back by the code that will read it after a restart.
    fn take_list(
        &mut self,
        xml: &str,
        sha256: String,
        list: Tsl,
        anchor: X509,
        now: Timestamp,
        notes: &mut Vec<Note>,
    ) -> Result<(), TslError> {
        let stored = StoredList {
            xml: xml.to_owned(),
            sha256,
            verified: now,
            anchor: Der(anchor.der().to_vec()),
        };
        let again = read_back(&stored)?;
        if (again.sequence, again.cas.len()) != (list.sequence, list.cas.len()) {
            return Err(TslError::Format("list, when read back,"));
        }
        // nobody knows about one that has not proven itself; the one before it has
        let before = self.record.lists.get(1).map(|before| before.sha256.as_str());
        if before.is_some() && before == self.record.proven.as_deref() {
            self.record.lists.remove(0);
        }
        push(&mut self.record.lists, stored);
        if let Some(old) = &self.list {
            past::note(&mut self.record.past, old, &list, now);
        }
        self.list = Some(Arc::new(list));
        self.read_dependent(notes);
        Ok(())
    }
}

/// The newest generation that can be read. Those before it are dropped: kept, they would look like what is in use and
/// push the good one out.
fn newest<S, T, E: std::fmt::Display>(
    what: &'static str,
    generations: &mut Vec<S>,
    notes: &mut Vec<Note>,
    read: impl Fn(&S) -> Result<T, E>,
) -> Option<T> {
    while let Some(first) = generations.first() {
        match read(first) {
            Ok(good) => return Some(good),
            Err(error) => notes.push(Note::Unreadable {
                what,
                reason: error.to_string(),
            }),
        }
        generations.remove(0);
    }
    None
}

fn push<T>(generations: &mut Vec<T>, newest: T) {
    generations.insert(0, newest);
    generations.truncate(2);
}

fn read_back(stored: &StoredList) -> Result<Tsl, TslError> {
    let anchor = X509::parse(&stored.anchor.0).map_err(|_| SignerError::Missing)?;
    Ok(Tsl::verify(&stored.xml, &[&anchor], stored.verified)?.list)
}

/// Can this certificate be a trust anchor at `moment`?
fn check_anchor(certificate: &X509, moment: Timestamp) -> Result<(), &'static str> {
    if !certificate.is_ca || !certificate.key_usage.is_some_and(|usage| usage.key_cert_sign()) {
        return Err("not the certificate of a CA");
    }
    if !certificate.is_valid_at(moment.as_second()) {
        return Err("not valid when it is to begin");
    }
    if certificate.extended_key_usage.contains(&oid::KP_TSL_SIGNING) {
        return Err("the certificate of a signer, not of its CA");
    }
    crate::tsl::signer_key(certificate)
        .map(|_| ())
        .map_err(|_| "its key is of a kind nobody uses here")
}

/// Is this an anchor a resolver could use? Whether it is the right one, only a resolved name can show.
fn check_dnssec(anchor: &DnssecAnchor) -> Result<(), &'static str> {
    let length = match anchor.digest_type {
        2 => 32,
        4 => 48,
        _ => return Err("kind of digest neither SHA-256 nor SHA-384"),
    };
    if anchor.digest.len() != length {
        return Err("length of the digest");
    }
    if !matches!(anchor.algorithm, 8 | 10 | 13 | 14 | 15 | 16) {
        return Err("algorithm of the key not usable (RFC 8624)");
    }
    if !["telematik.", "telematik-test."].contains(&anchor.zone.as_str()) {
        return Err("not a zone of the TI");
    }
    Ok(())
}
