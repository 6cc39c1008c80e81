//! ReadVSD: the insured person's data from an eGK (FM_VSDM), offline and with an online check before.

use super::Call;
use super::online::Receipt;
use crate::cards::Card;
use crate::events::Event;
use crate::state::Function;
use crate::{Failure, Inner};
use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use asn1::X509;
use base::{Code, Timestamp};
use card::egk::{self, BadContainer, StatusVd};
use card::pin::{PinRef, PinStatus};
use card::{AID_ESIGN, CardKind, Channel, Command, c2c};
use pki::Purpose;
use soap::{CallContext, VsdAnswer};
use std::sync::Arc;
use std::time::Duration;

/// Store id of the secret from which the keys for receipts on cards are derived.
pub const RECEIPT_KEY: &str = "vsdm/receipt-master";

impl Call<'_> {
    pub(super) async fn read_vsd(
        &self,
        context: &CallContext,
        ehc: &str,
        hpc: &str,
        online_check: bool,
        online_receipt: bool,
    ) -> Result<String, Failure> {
        let (egk, source) = (self.card(ehc)?, self.card(hpc)?);
        self.enter(context, &egk, true)?;
        let caller = self.enter(context, &source, true)?;
        if egk.found.kind != CardKind::Egk {
            return Err(Code::WRONG_CARD_TYPE.into());
        }
        let (pin, locked) = match source.found.kind {
            CardKind::SmcB => ("PIN.SMC", Code::SMCB_NOT_VERIFIED),
            CardKind::Hba => ("PIN.CH", Code::HBA_NOT_VERIFIED),
            _ => return Err(Code::WRONG_CARD_TYPE.into()),
        };
        let pin = PinRef::find(source.found.kind, pin).ok_or(Code::BAD_PIN_REFERENCE)?;
        let not_verified = || Failure::new(locked, format!("CardHandle {}", source.handle));
        if !card_verified(&source, pin).await? || !source.is_verified(&caller, pin.name) {
            // if its PIN is stored it is open again in a moment
            if self.inner.config.smb_unlock && source.found.kind == CardKind::SmcB {
                self.inner.unlock_again.notify_one();
            }
            return Err(not_verified());
        }
        // a second read of the same card is refused, others run beside it
        let _reserved = egk.reserve().await?;
        let read = Read {
            inner: self.inner,
            egk: &egk,
            source: &source,
            mandant: caller.mandant.as_str(),
        };
        let limit = Duration::from_secs(self.inner.config.vsdm_max_seconds);
        let done = self
            .inner
            .clock
            .timeout(limit, read.run(online_check, online_receipt))
            .await;
        let answer = done
            .ok_or_else(|| Failure::new(Code::CARD_TIMEOUT, format!("ReadVSD took more than {limit:?}")))??;
        Ok(soap::vsd_response(&answer))
    }
}

async fn card_verified(card: &Card, pin: PinRef) -> Result<bool, Failure> {
    let _guard = card.exclusive.lock().await;
    Ok(card.pin_status(pin).await? == PinStatus::Verified)
}

/// One reading or updating of an eGK.
struct Read<'a> {
    inner: &'a Arc<Inner>,
    egk: &'a Card,
    source: &'a Card,
    mandant: &'a str,
}

impl Read<'_> {
    fn channel(&self) -> &dyn Channel {
        &self.egk.channel
    }

    async fn run(&self, online_check: bool, online_receipt: bool) -> Result<VsdAnswer, Failure> {
        if self.egk.found.object_system.0 < 4 {
            return Err(Code::EGK_TOO_OLD.into());
        }
        let mut blocked = self.is_blocked().await?;
        let aut = self.aut_certificate().await?;
        let mut receipt = None;
        if self.may_go_online() && (online_check || blocked) {
            // updates first: what C2C opens would be lost by them
            receipt = Some(self.online(aut.as_ref()).await?);
            blocked = self.is_blocked().await?;
        }
        if blocked {
            return Err(Code::HEALTH_APP_BLOCKED.into());
        }
        self.check_offline(aut.as_ref())?;
        self.unlock().await?;
        let (status, mut answer) = self.containers().await?;
        if answer.protected.is_some() {
            self.log(b'r').await?;
        }
        if receipt.as_ref().is_some_and(Receipt::is_update) {
            self.log(b'u').await?;
        }
        if let Some(receipt) = &receipt {
            let gzip = receipt.to_gzip(self.inner.clock.now());
            // returned even if the card does not take it (112)
            if let Err(failure) = self.store_receipt(&gzip).await {
                tracing::warn!(code = failure.code().number(), "receipt not stored on the eGK");
            }
            if online_receipt {
                answer.receipt = Some(gzip);
            }
        } else if online_receipt {
            answer.receipt = Some(self.stored_receipt().await?);
        }
        answer.updated = status.updated.to_string();
        self.progress("VSDM/PROGRESS/READVSD");
        Ok(answer)
    }

    fn progress(&self, topic: &str) {
        let mut parameters = vec![
            ("CardHandle", self.egk.handle.to_string()),
            ("CtID", self.egk.ct_id.to_string()),
            ("SlotID", self.egk.slot.to_string()),
        ];
        let iccsn = self.egk.found.iccsn.as_ref();
        parameters.extend(iccsn.map(|iccsn| ("ICCSN", iccsn.to_string())));
        parameters.extend(self.egk.found.holder().map(|name| ("CardHolderName", name)));
        parameters.extend(self.egk.found.kvnr().map(|kvnr| ("KVNR", kvnr)));
        self.inner.raise(Event::about_card(topic, self.egk, parameters));
    }

    /// Remembers when the services were last reached; out of reach for longer than allowed, a receipt 3 becomes a 6
    /// (TIMEOUT_TI_OFFLINE). A device that has never reached them starts to count with its first attempt.
    fn mind_the_offline_limit(&self, receipt: Receipt) -> Result<Receipt, Failure> {
        let (store, now) = (&self.inner.store, self.inner.clock.now());
        let last: Option<Timestamp> = store.get("vsdm", "last-contact")?;
        let reached = receipt.is_contact();
        if reached || last.is_none() {
            store.put("vsdm", "last-contact", &now)?;
        }
        let days = self.inner.config.vsdm_offline_days;
        if reached || !offline_too_long(last, days, now) {
            return Ok(receipt);
        }
        let parameters = vec![("Since", last.map(|since| since.to_string()).unwrap_or_default())];
        self.inner.raise(Event {
            severity: base::Severity::Warning,
            ..Event::info("VSDM/TI_OFFLINE", None, parameters)
        });
        Ok(receipt.offline_too_long())
    }

    async fn select(&self, aid: &[u8]) -> Result<u16, Failure> {
        Ok(self.channel().select(aid).await?.sw)
    }

    /// A deactivated DF.HCA answers SELECT with 6283 (TUC_KON_018).
    async fn is_blocked(&self) -> Result<bool, Failure> {
        match self.select(egk::AID_HCA).await? {
            0x9000 => Ok(false),
            0x6283 => Ok(true),
            word => Err(Failure::new(Code::EGK_UNREADABLE, format!("DF.HCA: {word:04X}"))),
        }
    }

    async fn aut_certificate(&self) -> Result<Option<X509>, Failure> {
        if self.egk.found.aut.is_some() {
            return Ok(self.egk.found.aut.clone());
        }
        self.select(AID_ESIGN).await?;
        let file = self.channel().read_file(0x04).await?;
        Ok(file.ok().and_then(|bytes| X509::parse_file(&bytes).ok()))
    }

    fn check_offline(&self, aut: Option<&X509>) -> Result<(), Failure> {
        let aut = aut.ok_or_else(|| Failure::new(Code::EGK_CERT_INVALID, "C.CH.AUT missing"))?;
        let trust = self
            .inner
            .trust()
            .ok_or_else(|| Failure::new(Code::CRITICAL_STATE, "no trust list yet"))?;
        let checked = trust.check_offline(aut, &Purpose::EGK_OFFLINE, self.inner.clock.now());
        checked
            .map(|_| ())
            .map_err(|error| Failure::new(error.code(), error).within(Code::EGK_CERT_INVALID))
    }

    fn may_go_online(&self) -> bool {
        let config = &self.inner.config;
        let permitted = self.inner.state.permit(Function::TiService).is_ok();
        config.online && config.vsdm_url.is_some() && permitted
    }

    /// AutoUpdateVSD: update flags, updates, receipt on the card; nothing is read for anybody.
    async fn update_by_itself(&self) -> Result<u8, Failure> {
        let aut = self.aut_certificate().await?;
        let receipt = match self.online(aut.as_ref()).await {
            Ok(receipt) => match self.check_offline(aut.as_ref()) {
                Ok(()) => receipt,
                Err(failure) => {
                    tracing::warn!(detail = failure.detail(), "eGK inserted");
                    Receipt::certificate_invalid()
                }
            },
            Err(failure) if failure.code() == Code::EGK_REVOKED => Receipt::certificate_invalid(),
            Err(failure) => return Err(failure),
        };
        if receipt.is_update() {
            self.unlock().await?;
            self.select(egk::AID_HCA).await?;
            self.log(b'u').await?;
        }
        self.select(egk::AID_HCA).await?;
        self.store_receipt(&receipt.to_gzip(self.inner.clock.now()))
            .await?;
        Ok(receipt.result())
    }

    async fn online(&self, aut: Option<&X509>) -> Result<Receipt, Failure> {
        let inner = self.inner;
        if let (Some(aut), Some(trust)) = (aut, inner.trust()) {
            match trust.check(aut, &Purpose::EGK_ONLINE, &*inner.clock).await {
                Err(pki::CheckError::Revoked(time)) => {
                    return Err(
                        Failure::new(Code::CERT_REVOKED, format!("since {time}")).within(Code::EGK_REVOKED)
                    );
                }
                Err(error) if error.is_inconclusive() => return Ok(Receipt::status_unknown()),
                _ => {}
            }
        }
        let (Some(iccsn), Some(insurer)) = (&self.egk.found.iccsn, self.egk.found.insurer()) else {
            return Ok(Receipt::impossible(None));
        };
        self.progress("VSDM/PROGRESS/UPDATE");
        let receipt =
            super::online::check_and_update(inner, self.source, self.channel(), iccsn, &insurer).await;
        self.mind_the_offline_limit(receipt)
    }

    /// C2C both ways: the eGK shows that it is genuine, and opens itself to the practice (TUC_KON_005).
    async fn unlock(&self) -> Result<(), Failure> {
        let inner = self.inner;
        let trust = inner
            .trust()
            .ok_or_else(|| Failure::new(Code::CRITICAL_STATE, "no trust list yet"))?;
        let iccsn = self.egk.found.iccsn.as_ref().ok_or(Code::EGK_UNREADABLE)?;
        let failed = |error: c2c::C2cError| Failure::new(error.code(), error);
        c2c::prove_genuine(
            self.channel(),
            iccsn,
            trust.cvcs(),
            pki::day_of(inner.clock.now()).ok_or(Code::INTERNAL)?,
        )
        .await
        .map_err(failed)?;
        // the institution's card is the bottleneck of a practice: hold it only for this
        let _source = self.source.exclusive.lock().await;
        let certificates = self.source.cvcs().await.map_err(failed)?;
        c2c::unlock(
            &self.source.channel,
            certificates,
            self.channel(),
            iccsn,
            trust.cvcs(),
        )
        .await
        .map_err(failed)
    }

    async fn read_file(&self, sfi: u8, name: &'static str) -> Result<Vec<u8>, Failure> {
        let read = self.channel().read_file(sfi).await?;
        read.map_err(|word| {
            Failure::new(Code::EGK_READ, format!("{name}: {word:04X}")).within(Code::VSD_READ)
        })
    }

    async fn containers(&self) -> Result<(StatusVd, VsdAnswer), Failure> {
        self.select(egk::AID_HCA).await?;
        let bad = |error: BadContainer| Failure::new(Code::VSD_READ, error);
        let status =
            StatusVd::parse(&self.read_file(egk::SFI_STATUS_VD, "EF.StatusVD").await?).map_err(bad)?;
        if status.transaction_open {
            return Err(Failure::new(
                Code::VSD_INCONSISTENT,
                "an update of this card was interrupted; an online check heals it",
            ));
        }
        let personal = egk::framed(&self.read_file(egk::SFI_PD, "EF.PD").await?, "EF.PD").map_err(bad)?;
        let insurance = egk::insurance_data(&self.read_file(egk::SFI_VD, "EF.VD").await?).map_err(bad)?;
        let protected = match self.channel().read_file(egk::SFI_GVD).await? {
            Ok(file) => egk::framed(&file, "EF.GVD").map_err(bad)?,
            // rights that do not suffice are no error: the element is left out
            Err(0x6982) => None,
            Err(word) => return Err(Failure::new(Code::VSD_READ, format!("EF.GVD: {word:04X}"))),
        };
        let (major, minor, revision) = status.schema;
        let answer = VsdAnswer {
            personal: personal.ok_or_else(|| Failure::new(Code::VSD_READ, "EF.PD is empty"))?,
            insurance,
            protected,
            transaction_open: false,
            updated: String::new(),
            version: format!("{major}.{minor}.{revision}"),
            receipt: None,
        };
        Ok((status, answer))
    }

    /// TUC_KON_006; without a log record no data are given out.
    async fn log(&self, access: u8) -> Result<(), Failure> {
        let iccsn = self.source.found.iccsn.as_ref().ok_or(Code::SMC_HBA_UNREADABLE)?;
        let actor = self.source.found.holder().unwrap_or_default();
        let record = egk::log_record(self.inner.clock.now(), b'1', access, iccsn.as_bcd(), &actor);
        let append = Command::new(0, 0xE2, 0, egk::SFI_LOGGING << 3).data(record);
        let answer = self.channel().transmit(&append).await?;
        if answer.is_ok() {
            return Ok(());
        }
        Err(Failure::new(
            Code::EGK_LOG_FAILED,
            format!("APPEND RECORD: {:04X}", answer.sw),
        ))
    }

    /// The key of this Mandant for receipts on cards, derived from the master key the administrator set.
    fn receipt_cipher(&self) -> Result<Aes256Gcm, Failure> {
        let store = &self.inner.store;
        let master = store.secret(RECEIPT_KEY)?.ok_or(Code::INTERNAL)?;
        let key = crypto::hmac_sha256(&master, self.mandant.as_bytes());
        Ok(Aes256Gcm::new(&key.into()))
    }

    /// Layout: two bytes of length, twelve of nonce, AES-256-GCM (`docs/divergences.md`: the official one is unknown).
    async fn store_receipt(&self, gzip: &[u8]) -> Result<(), Failure> {
        let nonce: [u8; 12] = crypto::random()?;
        let payload = Payload { msg: gzip, aad: b"" };
        let sealed = self.receipt_cipher()?.encrypt(&Nonce::from(nonce), payload);
        let sealed = sealed.map_err(|_| Failure::from(Code::EGK_WRITE))?;
        let content = egk::frame(&[&nonce[..], &sealed].concat());
        if content.len() > egk::RECEIPT_SIZE {
            return Err(Failure::new(Code::EGK_WRITE, "receipt longer than its file"));
        }
        let write = Command::new(0, 0xD6, 0x80 | egk::SFI_RECEIPT, 0).data(content);
        let answer = self.channel().transmit(&write).await?;
        if answer.is_ok() {
            Ok(())
        } else {
            Err(Failure::new(Code::EGK_WRITE, format!("{:04X}", answer.sw)))
        }
    }

    async fn stored_receipt(&self) -> Result<Vec<u8>, Failure> {
        let file = match self.channel().read_file(egk::SFI_RECEIPT).await? {
            Ok(file) => file,
            Err(_) => return Err(Code::RECEIPT_MISSING.into()),
        };
        let undecryptable = || Failure::from(Code::RECEIPT_UNDECRYPTABLE);
        let sealed = egk::framed(&file, "EF.Pruefungsnachweis").map_err(|_| undecryptable())?;
        let sealed = sealed.ok_or(Code::RECEIPT_MISSING)?;
        let (nonce, cryptogram) = sealed.split_first_chunk::<12>().ok_or_else(undecryptable)?;
        let payload = Payload {
            msg: cryptogram,
            aad: b"",
        };
        self.receipt_cipher()?
            .decrypt(&Nonce::from(*nonce), payload)
            .map_err(|_| undecryptable())
    }
}

/// Are the services out of reach for more than `days` (0: never)? Without a last contact nothing is known.
fn offline_too_long(last: Option<Timestamp>, days: u32, now: Timestamp) -> bool {
    let limit = i64::from(days) * 86_400;
    days != 0 && last.is_some_and(|last| now.as_second() - last.as_second() > limit)
}

/// Makes the master key of receipts at the first start; twin Konnektoren of a practice are given the same one.
pub(crate) fn make_receipt_key(store: &store::Store) -> Result<(), Failure> {
    if store.secret(RECEIPT_KEY)?.is_none() {
        store.put_secret(RECEIPT_KEY, &crypto::random::<32>()?)?;
    }
    Ok(())
}

/// What the terminal shows while an eGK updates itself.
const UPDATING: &str = "eGK wird geprüft.\u{0B}Bitte nicht\u{0B}entnehmen";
const UPDATED: &str = "eGK geprüft.\u{0B}Bitte entnehmen";
const NOT_UPDATED: &str = "Prüfung der eGK\u{0B}nicht möglich";

impl Inner {
    /// An eGK was inserted at a terminal that updates by itself (AutoUpdateVSD, VSDM-A_2614).
    pub(crate) fn auto_update(self: &Arc<Self>, card: &Arc<Card>) {
        let Some(auto) = self.config.auto_update.as_ref() else {
            return;
        };
        if card.found.kind != CardKind::Egk || !auto.terminals.contains(&card.ct_id) {
            return;
        }
        let (inner, egk, mandant) = (self.clone(), card.clone(), auto.mandant.clone());
        self.spawn(async move {
            inner.show(&egk, UPDATING).await;
            let outcome = inner.update_card(&egk, mandant.as_str()).await;
            let text = match &outcome {
                Ok(_) => UPDATED,
                Err(_) => NOT_UPDATED,
            };
            inner.show(&egk, text).await;
            let (severity, result) = match outcome {
                Ok(result) => (base::Severity::Info, result.to_string()),
                Err(failure) => {
                    tracing::warn!(detail = failure.detail(), "eGK not updated by itself");
                    (failure.code().severity(), failure.code().number().to_string())
                }
            };
            let parameters = vec![("CtID", egk.ct_id.to_string()), ("Result", result)];
            inner.raise(Event {
                severity,
                ..Event::about_card("VSDM/AUTO_UPDATE", &egk, parameters)
            });
        });
    }

    /// A text on the display of a card's terminal; a terminal that cannot show it is no reason to stop.
    async fn show(&self, card: &Card, text: &str) {
        if let Ok(session) = self.terminals.connected(&card.ct_id) {
            let limit = Duration::from_secs(self.config.card_timeout_seconds);
            let _ = session.send(0, &terminal::command::output(text), limit).await;
        }
    }

    async fn update_card(self: &Arc<Self>, egk: &Card, mandant: &str) -> Result<u8, Failure> {
        self.state.permit(Function::OpenSession)?;
        let source = self.unlocked_smb(mandant).await?;
        let _reserved = egk.reserve().await?;
        let read = Read {
            inner: self,
            egk,
            source: &source,
            mandant,
        };
        if !read.may_go_online() {
            return Err(Failure::new(Code::NOT_PERMITTED, "the TI is not reachable"));
        }
        let limit = Duration::from_secs(self.config.vsdm_max_seconds);
        let done = self.clock.timeout(limit, read.update_by_itself()).await;
        done.ok_or_else(|| Failure::new(Code::CARD_TIMEOUT, format!("more than {limit:?}")))?
    }

    /// An SM-B of this tenant whose PIN is verified.
    async fn unlocked_smb(&self, mandant: &str) -> Result<Arc<Card>, Failure> {
        let model = self.model();
        let pin = PinRef::find(CardKind::SmcB, "PIN.SMC").ok_or(Code::BAD_PIN_REFERENCE)?;
        for card in self.cards.all() {
            let iccsn = card.found.iccsn.as_ref();
            let ours = iccsn.is_some_and(|iccsn| model.manages(mandant, iccsn));
            if card.found.kind == CardKind::SmcB && ours && card_verified(&card, pin).await? {
                return Ok(card);
            }
        }
        Err(Code::SMCB_NOT_VERIFIED.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Five years: contact every day but for a gap of 60 days, with a limit of 30. Only within the gap, after its 30th
    /// day, the limit is exceeded; without a limit never.
    #[test]
    fn five_years_of_contacts() {
        let day = |number: i64| Timestamp::from_second(1_767_225_600 + number * 86_400).unwrap();
        let mut last = None;
        let mut exceeded = Vec::new();
        for number in 0..5 * 365 {
            let now = day(number);
            assert!(!offline_too_long(last, 0, now));
            if offline_too_long(last, 30, now) {
                exceeded.push(number);
            }
            if !(400..460).contains(&number) {
                last = Some(now);
            }
        }
        assert_eq!((exceeded.first(), exceeded.last()), (Some(&430), Some(&460)));
        assert_eq!(exceeded.len(), 31);
    }
}
