//! The state of the extension as administrators see it.

use super::*;
use asn1::X509;
use serde_json::{Value, json};

fn date(second: i64) -> String {
    Timestamp::from_second(second).unwrap_or_default().to_string()
}

impl Inner {
    /// Generations with their stages and proofs, what is in use, and what happens next.
    pub fn lifetime_view(&self) -> Value {
        let now = self.believed();
        let iccsn = &self.identities.iccsn;
        let looked = *self
            .lifetime
            .looked
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let doubt = self.doubt().map(|doubt| format!("{doubt:?}").to_lowercase());
        let elsewhere = self.elsewhere_view();
        self.with_book(|book| {
            let generations = book.generations.iter().zip(&book.arrived).map(|(one, arrived)| {
                let families = one.families().into_iter().map(|family| {
                    json!({
                        "family": family, "stage": book.stage(one.number, family),
                        "registered_by": book.registration(one.number, family).map(|signer| json!({
                            "iccsn": signer.iccsn, "end": date(signer.end),
                        })),
                        "probes": book.probes.get(&(one.number, family)),
                    })
                });
                let certificates = one.certificates.iter().map(|(kind, held)| {
                    json!({
                        "kind": kind, "serial": held.serial, "issuer": held.issuer,
                        "from": date(held.from), "to": date(held.to),
                    })
                });
                json!({
                    "number": one.number, "source": one.source,
                    "arrived": (one.number > 0).then(|| date(*arrived)),
                    "quarantine": book.quarantine.get(&one.number),
                    "families": families.collect::<Vec<_>>(),
                    "certificates": certificates.collect::<Vec<_>>(),
                    "cvc": one.cvc.as_ref().map(|cvc| json!({ "from": date(cvc.from), "to": date(cvc.to) })),
                })
            });
            let shown = |algorithm| select::clients(book, algorithm, now).map(|choice| choice.generation);
            let next = select::next_change_for_clients(book, Algorithm::Brainpool, now);
            let last = book.newest();
            let newest = last.map(|one| one.number).unwrap_or_default();
            let registers = self.identities.nk.is_some() && self.config.lifetime.registration.is_some();
            let waiting = book
                .families()
                .into_iter()
                .any(|family| book.stage(newest, family) == Some(identity::Stage::Probed));
            let arrived = book.arrived.get(newest as usize).copied().unwrap_or_default();
            let summary = last.map(|one| {
                let families = one.families();
                let registered = families.iter().all(|family| book.registration(one.number, *family).is_some());
                let ends = one.certificates.values().map(|held| held.to);
                json!({
                    "number": one.number, "quarantine": book.quarantine.get(&one.number),
                    "days_left": ends.min().map(|end| (end - now).div_euclid(identity::DAY)),
                    "registered": match (registers, registered) { (false, _) => "unused", (true, true) => "done", _ => "open" },
                    "stages": families.iter().map(|family| book.stage(one.number, *family)).collect::<Vec<_>>(),
                })
            });
            json!({
                "newest": summary,
                "iccsn": iccsn, "frozen": book.frozen, "clock_doubt": doubt,
                "looked_at": looked.map(|at| at.to_string()),
                "generations": generations.collect::<Vec<_>>(),
                "tunnel": select::tunnel(book, now).first().map(|choice| choice.generation),
                "clients": { "brainpoolP256r1": shown(Algorithm::Brainpool), "P-256": shown(Algorithm::Nist),
                    "chosen": book.ak_choice,
                    "next": next.map(|(at, generation)| json!({ "at": date(at), "generation": generation })) },
                "terminals": book.terminals, "elsewhere": elsewhere,
                "search_begins": date(plan::end_of_used(book).saturating_sub(plan::BEGIN * identity::DAY)),
                "activation": waiting.then(|| date(plan::activation(iccsn, newest, arrived, plan::end_of_used(book)))),
            })
        })
    }

    /// What practice systems see and will see: certificates as PEM, pins of the public key (SHA-256 of the SPKI, base64), which
    /// survive every extension, and the CAs to believe.
    pub fn clients_view(&self) -> Result<Value, Failure> {
        use base64::Engine;
        let encode = base64::engine::general_purpose::STANDARD;
        let pem = |der: &[u8]| {
            crypto::pem::encode("CERTIFICATE", der)
                .map(|text| text.to_string())
                .map_err(|error| Failure::new(Code::INTERNAL, error))
        };
        let all: Vec<(u32, Kind, Vec<u8>)> = self.with_book(|book| {
            let usable = book.generations.iter().filter(|one| book.is_usable(one.number));
            usable
                .flat_map(|one| {
                    let clients = one.certificates.iter();
                    clients
                        .filter(|(kind, _)| kind.role == Role::AkAut)
                        .map(|(kind, held)| (one.number, *kind, held.der.clone()))
                })
                .collect()
        });
        let mut certificates = Vec::new();
        for (generation, kind, der) in all {
            let certificate =
                X509::parse(&der).map_err(|error| Failure::new(Code::CERTIFICATE_UNREADABLE, error))?;
            let spki = certificate
                .spki()
                .map_err(|error| Failure::new(Code::CERTIFICATE_UNREADABLE, error))?;
            certificates.push(json!({
                "generation": generation, "kind": kind, "to": date(certificate.validity().1),
                "spki_pin": encode.encode(crypto::sha256([spki])), "pem": pem(&der)?,
            }));
        }
        let trust = self.trust();
        let cas = trust.iter().flat_map(|trust| &trust.list().cas);
        let components = cas.filter(|ca| {
            let name = ca.certificate.subject();
            name.contains("KOMP-CA") && ca.certificate.is_valid_at(self.clock.now().as_second())
        });
        let authorities: String = components
            .map(|ca| pem(ca.certificate.der()))
            .collect::<Result<_, _>>()?;
        Ok(json!({ "certificates": certificates, "authorities": authorities }))
    }
}
