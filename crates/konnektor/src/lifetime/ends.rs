//! Everything that can end, collected from wherever it is, and told to people in time.

use super::register::PATIENCE;
use super::*;
use crate::service::read_certificate;
use asn1::X509;
use card::CardKind;
use identity::calendar::{self, Entry, Subject};
use soap::{CertRef, Crypt};

impl Inner {
    /// The calendar of this instance, sorted by what ends first.
    pub async fn calendar(&self) -> Vec<Entry> {
        let mut entries = self.own_ends();
        entries.extend(self.trust_ends());
        for terminal in self.terminals.all() {
            let certificate = terminal.session.as_ref().map(|session| session.certificate());
            if let Some(certificate) = certificate.and_then(|der| X509::parse(der).ok()) {
                entries.push(Entry {
                    subject: Subject::Terminal,
                    name: format!("C.SMKT.AUT, Kartenterminal {}", terminal.record.config.id),
                    iccsn: None,
                    end: certificate.validity().1,
                    in_use: true,
                });
            }
        }
        for card in self.cards.all() {
            let kinds: &[(CertRef, Subject)] = match card.found.kind {
                CardKind::SmcB => &[
                    (CertRef::Aut, Subject::SmbAut),
                    (CertRef::Sig, Subject::SmbOsig),
                    (CertRef::Enc, Subject::SmbEnc),
                ],
                CardKind::Hba => &[
                    (CertRef::Aut, Subject::Hba),
                    (CertRef::Enc, Subject::Hba),
                    (CertRef::Qes, Subject::Hba),
                ],
                // an eGK is the insured person's
                _ => continue,
            };
            let iccsn = card.found.iccsn.as_ref().map(ToString::to_string);
            // read once, then known; reserved for each so that nobody has to wait for all of them
            for (reference, subject) in kinds {
                for (crypt, kind) in [(Crypt::Ecc, "ECC"), (Crypt::Rsa, "RSA")] {
                    let reserving = self.clock.timeout(PATIENCE, card.reserve());
                    let Some(Ok(_guard)) = reserving.await else {
                        continue;
                    };
                    if let Ok(Some(certificate)) = read_certificate(&card, *reference, crypt).await {
                        entries.push(Entry {
                            subject: *subject,
                            name: format!(
                                "{} C.{} {kind}, {}/{}",
                                card.found.kind.as_str(),
                                reference.as_str().trim_start_matches("C."),
                                card.ct_id,
                                card.slot.number()
                            ),
                            iccsn: iccsn.clone(),
                            end: certificate.validity().1,
                            in_use: crypt == Crypt::Ecc,
                        });
                    }
                }
            }
            let Some(Ok(_guard)) = self.clock.timeout(PATIENCE, card.reserve()).await else {
                continue;
            };
            if let Ok(pair) = card.cvcs().await {
                let own = identity::HeldCvc::of(&pair.own, &pair.ca);
                entries.push(Entry {
                    subject: Subject::CardCvc,
                    name: format!("CV-Zertifikat, {}/{}", card.ct_id, card.slot.number()),
                    iccsn: iccsn.clone(),
                    end: own.1,
                    in_use: true,
                });
            }
        }
        calendar::sort(&mut entries);
        entries
    }

    /// The gSMC-K's own, of every generation, and who signed the registration.
    fn own_ends(&self) -> Vec<Entry> {
        let now = self.clock.now().as_second();
        let iccsn = Some(self.identities.iccsn.clone());
        self.with_book(|book| {
            let mut entries = Vec::new();
            let card = book.generations.first().into_iter();
            let needed = identity::required(card.flat_map(|card| card.certificates.keys().copied()));
            for one in &book.generations {
                for (kind, held) in &one.certificates {
                    // one that waits takes nobody's place yet
                    let active = book.active(kind.algorithm.family()) == Some(one.number);
                    let in_use = match kind.role {
                        Role::AkAut => select::clients(book, kind.algorithm, now)
                            .is_some_and(|choice| choice.generation == one.number),
                        Role::SakAut => {
                            // a newer one that is valid stands ready for the next connection
                            let newer = book.generations.iter().any(|other| {
                                let held = other.certificates.get(kind);
                                other.number > one.number
                                    && book.is_usable(other.number)
                                    && held.is_some_and(|held| held.is_valid(now))
                            });
                            let taken = book.terminals.values().any(|number| *number == one.number);
                            (active || taken) && (held.is_valid(now) || !newer)
                        }
                        // after a way back another one serves than the one that was active and has ended
                        Role::NkVpn => {
                            let valid = select::tunnel(book, now);
                            let first = valid.iter().find(|choice| choice.kind == *kind);
                            first.map_or(active, |choice| choice.generation == one.number)
                        }
                    };
                    entries.push(Entry {
                        subject: match kind.role {
                            Role::NkVpn => Subject::Tunnel,
                            Role::AkAut => Subject::Clients,
                            Role::SakAut => Subject::Terminals,
                        },
                        name: format!("{kind}, Generation {}", one.number),
                        iccsn: iccsn.clone(),
                        end: held.to,
                        // RSA beside elliptic keys is not extended; whoever takes nothing else is left behind in any case
                        in_use: in_use && needed.contains(kind),
                    });
                }
                if let Some(cvc) = &one.cvc {
                    entries.push(Entry {
                        subject: Subject::Batch,
                        name: format!("C.SAK.AUTD_CVC, Generation {}", one.number),
                        iccsn: iccsn.clone(),
                        end: cvc.to,
                        in_use: select::cvc(book, now) == Some(cvc),
                    });
                }
                for family in one.families() {
                    if let Some(signer) = book.registration(one.number, family) {
                        entries.push(Entry {
                            subject: Subject::Registration,
                            name: format!("Registrierung, Generation {}", one.number),
                            iccsn: Some(signer.iccsn.clone()),
                            end: signer.end,
                            in_use: book.active(family) == Some(one.number),
                        });
                    }
                }
            }
            entries
        })
    }

    fn trust_ends(&self) -> Vec<Entry> {
        let space = self.space();
        let mut entries = vec![Entry {
            subject: Subject::TrustAnchor,
            name: "TSL-Vertrauensanker".into(),
            iccsn: None,
            end: space.anchor().validity().1,
            in_use: true,
        }];
        let lists = [
            (
                Subject::TrustList,
                "TSL",
                space.list().map(|list| list.next_update),
            ),
            (
                Subject::RevocationList,
                "CRL der VPN-Zugangsdienste",
                space.crl().map(|crl| crl.next_update),
            ),
            (
                Subject::TrustedList,
                "BNetzA-VL",
                space.vl().map(|vl| vl.next_update),
            ),
        ];
        for (subject, name, end) in lists {
            entries.extend(end.map(|end| Entry {
                subject,
                name: name.into(),
                iccsn: None,
                end: end.as_second(),
                in_use: true,
            }));
        }
        let vpn = space.list().map(|list| {
            let cas = list.cas.iter().map(|ca| &ca.certificate);
            cas.filter(|ca| ca.subject().contains("VPNK"))
                .map(|ca| Entry {
                    subject: Subject::VpnRoot,
                    name: ca.common_name().unwrap_or_default(),
                    iccsn: None,
                    end: ca.validity().1,
                    in_use: true,
                })
                .collect::<Vec<_>>()
        });
        entries.extend(vpn.unwrap_or_default());
        entries
    }

    /// Tells of every end that has reached a further step of the ladder: once each, however often it is looked at and whatever
    /// is restarted in between.
    pub(crate) async fn tell_of_ends(&self) {
        if self.doubt().is_some() {
            return;
        }
        let now = self.clock.now().as_second();
        let before: BTreeMap<String, i64> = self.store.get(NOTES, "told").ok().flatten().unwrap_or_default();
        let mut told = before.clone();
        let mut seen = BTreeMap::new();
        for entry in self.calendar().await.iter().filter(|entry| entry.in_use) {
            // lists are renewed all the time and have conditions of their own
            if matches!(
                entry.subject,
                Subject::TrustList | Subject::RevocationList | Subject::TrustedList
            ) {
                continue;
            }
            let Some(rung) = calendar::rung(entry.end, now) else {
                continue;
            };
            let key = format!("{} {}", entry.name, entry.end);
            if told.get(&key) != Some(&rung) {
                let [effect, _] = entry.subject.effect();
                let [remedy, _] = entry.subject.remedy();
                let parameters = vec![
                    ("Name", entry.name.clone()),
                    ("DaysLeft", rung.to_string()),
                    (
                        "ExpirationDate",
                        Timestamp::from_second(entry.end).unwrap_or_default().to_string(),
                    ),
                    ("Effect", effect.to_owned()),
                    ("Remedy", remedy.to_owned()),
                ];
                let severity = match rung {
                    0 => Severity::Error,
                    1..=30 => Severity::Warning,
                    _ => Severity::Info,
                };
                self.raise(Event {
                    severity,
                    ..Event::info("CERT/CALENDAR/EXPIRATION", None, parameters)
                });
            }
            seen.insert(key, rung);
        }
        // a card that is not inserted just now is not told of again when it is
        told.extend(seen);
        told.retain(|key, _| {
            let end = key.rsplit(' ').next().and_then(|end| end.parse::<i64>().ok());
            end.is_some_and(|end| end > now - 400 * identity::DAY)
        });
        if told != before
            && let Err(error) = self.store.put(NOTES, "told", &told)
        {
            tracing::warn!(%error, "what was told of ends not stored");
        }
    }
}
