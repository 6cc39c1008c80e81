//! ReadVSD: the insured person's data from an eGK (FM_VSDM), offline and with an online check before.

use super::Call;
use super::online::Receipt;
use crate::Failure;
use crate::cards::Card;
use crate::events::Event;
use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use asn1::{CvcDate, X509};
use base::{Code, Timestamp};
use card::egk::{self, BadContainer, StatusVd};
use card::pin::{PinRef, PinStatus};
use card::{AID_ESIGN, CardKind, Channel, Command, c2c};
use pki::Purpose;
use soap::{CallContext, VsdAnswer};
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
            return Err(not_verified());
        }
        // a second read of the same card is refused, others run beside it
        let _reserved = egk.reserve().await?;
        let read = Read {
            call: self,
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
    Ok(pin.status(&card.channel).await? == PinStatus::Verified)
}

struct Read<'a> {
    call: &'a Call<'a>,
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
        let config = &self.call.inner.config;
        let mut blocked = self.is_blocked().await?;
        let aut = self.aut_certificate().await?;
        let mut receipt = None;
        if config.online && config.vsdm_url.is_some() && (online_check || blocked) {
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
            let gzip = receipt.to_gzip(self.call.inner.clock.now());
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
        let parameters = vec![
            ("CardHandle", self.egk.handle.to_string()),
            ("CtID", self.egk.ct_id.to_string()),
            ("SlotID", self.egk.slot.to_string()),
        ];
        let mut event = Event::info(topic, Some(self.egk.ct_id.clone()), parameters);
        event.card = Some((self.egk.found.kind, self.egk.found.iccsn.clone()));
        self.call.inner.raise(event);
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
            .call
            .inner
            .trust()
            .ok_or_else(|| Failure::new(Code::CRITICAL_STATE, "no trust list yet"))?;
        let checked = trust.check_offline(aut, &Purpose::EGK_OFFLINE, self.call.inner.clock.now());
        checked
            .map(|_| ())
            .map_err(|error| Failure::new(error.code(), error).within(Code::EGK_CERT_INVALID))
    }

    async fn online(&self, aut: Option<&X509>) -> Result<Receipt, Failure> {
        let inner = self.call.inner;
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
        Ok(super::online::check_and_update(inner, self.source, self.channel(), iccsn, &insurer).await)
    }

    /// C2C both ways: the eGK shows that it is genuine, and opens itself to the practice (TUC_KON_005).
    async fn unlock(&self) -> Result<(), Failure> {
        let inner = self.call.inner;
        let trust = inner
            .trust()
            .ok_or_else(|| Failure::new(Code::CRITICAL_STATE, "no trust list yet"))?;
        let iccsn = self.egk.found.iccsn.as_ref().ok_or(Code::EGK_UNREADABLE)?;
        let failed = |error: c2c::C2cError| Failure::new(error.code(), error);
        c2c::prove_genuine(self.channel(), iccsn, trust.cvcs(), today(inner.clock.now())?)
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
        let record = egk::log_record(self.call.inner.clock.now(), b'1', access, iccsn.as_bcd(), &actor);
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
        let store = &self.call.inner.store;
        let master = match store.secret(RECEIPT_KEY)? {
            Some(master) => master,
            None => {
                store.put_secret(RECEIPT_KEY, &crypto::random::<32>()?)?;
                store.secret(RECEIPT_KEY)?.ok_or(Code::INTERNAL)?
            }
        };
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

fn today(now: Timestamp) -> Result<CvcDate, Failure> {
    let digits: Vec<u8> = now
        .strftime("%y%m%d")
        .to_string()
        .bytes()
        .map(|b| b.wrapping_sub(b'0'))
        .collect();
    let digits = <[u8; 6]>::try_from(digits).map_err(|_| Failure::from(Code::INTERNAL))?;
    CvcDate::from_digits(digits).map_err(|error| Failure::new(Code::INTERNAL, error))
}
