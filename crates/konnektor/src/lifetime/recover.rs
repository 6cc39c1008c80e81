//! The way back after everything has ended, as one guided action: clock, trust anchor, trust list, revocation list, package,
//! PIN, registration. It needs no tunnel, no names, no status service and no earlier state, and it may be repeated: what is
//! done already is passed over. It does what TAB_KON_504 leaves possible in EC_NK_Certificate_Expired, and within it the PIN
//! entry without which the permitted registration by hand could never happen.

use super::*;
use asn1::X509;
use card::CardKind;

/// Most files of a bundle, and the largest.
const FILES: (usize, u64) = (16, 16 * 1024 * 1024);

/// What a person has decided.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecoverOptions {
    /// "The clock is right": looked at by a person.
    pub clock_confirmed: bool,
    /// Somebody is at the terminal to type the PIN of an SM-B.
    pub pin: bool,
}

/// One step of the way, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecoverStep {
    /// `clock`, `anchor`, `trust_list`, `revocation_list`, `package`, `pin`, `registration`, `tunnel`.
    pub step: &'static str,
    /// Is it as it should be now?
    pub good: bool,
    /// For people.
    pub text: String,
}

impl Inner {
    /// Walks the way with what a bundle brings: a ZIP with `TSL.xml`, `anchor.pem` and `anchor-cross.pem`, `VPN.crl` and
    /// `<ICCSN>.zip`, any of which may be missing. It stops at the first step that must be good for the next ones.
    pub async fn recover(
        self: &Arc<Self>,
        bundle: Option<&[u8]>,
        options: RecoverOptions,
    ) -> Result<Vec<RecoverStep>, Failure> {
        let files = match bundle {
            None => BTreeMap::new(),
            Some(bytes) => {
                identity::unzip(bytes, FILES.0, FILES.1).map_err(|error| Failure::new(Code::SYNTAX, error))?
            }
        };
        let _one = self.lifetime.busy.lock().await;
        let mut steps = Vec::new();
        let mut note = |step, outcome: Result<String, Failure>| {
            let (good, text) = match outcome {
                Ok(text) => (true, text),
                Err(failure) => (false, failure.detail()),
            };
            steps.push(RecoverStep { step, good, text });
            good
        };
        if !note("clock", self.recover_clock(options)) {
            return Ok(steps);
        }
        note("anchor", self.recover_anchor(&files).await);
        if !note("trust_list", self.recover_trust_list(&files).await) {
            return Ok(steps);
        }
        note("revocation_list", self.recover_crl(&files).await);
        self.check_calendar();
        if !note("package", self.recover_package(&files).await) {
            return Ok(steps);
        }
        if self.identities.nk.is_none() || self.config.lifetime.registration.is_none() {
            note("registration", Ok("kein VPN-Zugangsdienst eingerichtet".into()));
        } else {
            if !note("pin", self.recover_pin(options).await) {
                return Ok(steps);
            }
            note("registration", self.recover_registration().await);
        }
        self.check_calendar();
        let now = self.clock.now().as_second();
        let valid = self.with_book(|book| select::tunnel(book, now).len());
        note(
            "tunnel",
            match (self.identities.nk.is_some(), valid) {
                (true, 0) => Err(Failure::new(Code::NOT_PERMITTED, "kein gültiges C.NK.VPN")),
                _ => Ok("Zertifikat gültig; den Tunnel baut der Netzkonnektor auf".into()),
            },
        );
        Ok(steps)
    }

    fn recover_clock(&self, options: RecoverOptions) -> Result<String, Failure> {
        let now = self.clock.now();
        if options.clock_confirmed {
            self.confirm_clock()?;
        }
        match self.doubt() {
            None => Ok(format!("{now} (UTC)")),
            Some(doubt) => Err(Failure::new(
                Code::NOT_PERMITTED,
                format!("{now} (UTC) ist unglaubwürdig ({doubt:?}): Uhr stellen, dann clock_confirmed"),
            )),
        }
    }

    async fn recover_anchor(&self, files: &BTreeMap<String, Vec<u8>>) -> Result<String, Failure> {
        let pem = |name: &str| -> Result<Option<X509>, Failure> {
            let Some(bytes) = files.get(name) else {
                return Ok(None);
            };
            let bad = |reason: &str| Failure::new(Code::SYNTAX, format!("{name}: {reason}"));
            let text = std::str::from_utf8(bytes).map_err(|_| bad("PEM expected"))?;
            let all = crypto::pem::decode_all("CERTIFICATE", text).map_err(|_| bad("PEM expected"))?;
            let [der] = all.as_slice() else {
                return Err(bad("one certificate expected"));
            };
            X509::parse(der)
                .map(Some)
                .map_err(|error| bad(&error.to_string()))
        };
        let (cross, anchor, list) = (pem("anchor-cross.pem")?, pem("anchor.pem")?, files.get("TSL.xml"));
        match (cross, anchor, list) {
            (Some(_), Some(anchor), Some(_)) if self.space().anchor().der() == anchor.der() => {
                Ok("ist schon der neue".into())
            }
            (Some(cross), Some(anchor), Some(list)) => {
                let text =
                    std::str::from_utf8(list).map_err(|_| Failure::new(Code::SYNTAX, "TSL.xml: UTF-8"))?;
                self.adopt_by_cross(&cross, &anchor, text).await?;
                Ok("gewechselt".into())
            }
            _ => {
                let end = self.space().anchor().validity().1;
                match end >= self.clock.now().as_second() {
                    true => Ok("bleibt".into()),
                    false => Err(Failure::new(
                        Code::NOT_PERMITTED,
                        "abgelaufen; anchor.pem und anchor-cross.pem fehlen im Bündel",
                    )),
                }
            }
        }
    }

    async fn recover_trust_list(&self, files: &BTreeMap<String, Vec<u8>>) -> Result<String, Failure> {
        if let Some(list) = files.get("TSL.xml") {
            let text = std::str::from_utf8(list).map_err(|_| Failure::new(Code::SYNTAX, "TSL.xml: UTF-8"))?;
            match (self.adopt_list(text, pki::How::ByHand).await, self.space().list()) {
                (Ok(adopted), _) => return Ok(format!("Nummer {} übernommen", adopted.sequence)),
                // an older one on the stick is no reason to stop if the present one is good
                (Err(failure), Some(list)) if list.next_update >= self.clock.now() => {
                    return Ok(format!("Nummer {} bleibt ({})", list.sequence, failure.detail()));
                }
                (Err(failure), _) => return Err(failure),
            }
        }
        match self.trust() {
            Some(trust) => Ok(format!("Nummer {} bleibt", trust.list().sequence)),
            None => Err(Failure::new(Code::NOT_PERMITTED, "TSL.xml fehlt im Bündel")),
        }
    }

    async fn recover_crl(&self, files: &BTreeMap<String, Vec<u8>>) -> Result<String, Failure> {
        match files.get("VPN.crl") {
            Some(der) => match (self.adopt_crl(der).await, self.space().crl()) {
                (Ok(next), _) => Ok(format!("übernommen, gilt bis {next}")),
                (Err(failure), Some(crl)) if crl.next_update >= self.clock.now() => {
                    Ok(format!("die vorhandene bleibt ({})", failure.detail()))
                }
                (Err(failure), _) => Err(failure),
            },
            None => Ok("nicht im Bündel".into()),
        }
    }

    async fn recover_package(self: &Arc<Self>, files: &BTreeMap<String, Vec<u8>>) -> Result<String, Failure> {
        let name = format!("{}.zip", self.identities.iccsn);
        let news = match files.get(&name) {
            Some(bytes) => self.take_in(bytes, Source::Import, Actor::Administrator)?,
            None => false,
        };
        let newest = self
            .with_book(|book| book.newest().map(|one| one.number))
            .unwrap_or_default();
        self.verify_generation(newest, Actor::Administrator, true).await?;
        let now = self.clock.now().as_second();
        let end = self
            .with_book(|book| book.newest().map(Generation::end))
            .unwrap_or_default();
        match (news, end >= now) {
            (true, _) => Ok(format!("Generation {newest} übernommen")),
            (false, true) => Ok(format!("Generation {newest} ist gültig")),
            (false, false) => Err(Failure::new(
                Code::NOT_PERMITTED,
                format!("alle Zertifikate sind abgelaufen; {name} fehlt im Bündel"),
            )),
        }
    }

    async fn recover_pin(&self, options: RecoverOptions) -> Result<String, Failure> {
        if self.best_signer().await.is_some() {
            return Ok("eine SMC-B ist freigeschaltet".into());
        }
        let mut reasons = Vec::new();
        for card in self.cards.all() {
            if card.found.kind != CardKind::SmcB {
                continue;
            }
            if card.is_open("PIN.SMC") {
                reasons.push(format!("{}: offen, aber ihr Zertifikat taugt nicht", card.ct_id));
                continue;
            }
            match self.open_for_recovery(&card, options.pin).await {
                Ok(()) if self.best_signer().await.is_some() => return Ok("freigeschaltet".into()),
                Ok(()) => reasons.push(format!("{}: Zertifikat abgelaufen", card.ct_id)),
                Err(failure) => reasons.push(format!("{}: {}", card.ct_id, failure.detail())),
            }
        }
        match reasons.is_empty() {
            true => Err(Failure::new(Code::CARD_NOT_INSERTED, "keine SMC-B gesteckt")),
            false => Err(Failure::new(Code::SMCB_NOT_VERIFIED, reasons.join("; "))),
        }
    }

    async fn recover_registration(self: &Arc<Self>) -> Result<String, Failure> {
        let generation = self
            .with_book(|book| book.newest().map(|one| one.number))
            .unwrap_or_default();
        for family in self.with_book(Book::families) {
            self.register(generation, family, Actor::Administrator).await?;
        }
        Ok(format!("Generation {generation} registriert"))
    }
}
