use super::channel::Chosen;
use super::{Outcome, Run, sw};
use crate::apdu::Response;
use crate::image::{Body, NodeId};
use asn1::tlv;

/// Algorithm names of an image and the identifiers MANAGE SECURITY ENVIRONMENT uses (gemSpec_COS 14.9.9).
fn algorithm_names(identifier: u8, template: u8) -> &'static [&'static str] {
    match (template, identifier) {
        (0xA4, 0x00) => &["elcRoleAuthentication"],
        (0xA4, 0x05) => &["rsaClientAuthentication"],
        (0xA4, 0x54) => &["elcSessionkey4SM", "aesSessionkey4SM"],
        (0xA4, 0xD4) => &["elcSessionkey4TC"],
        (0xA4, 0x74) => &["aesSessionkey4TC"],
        (0xA4, 0xF4) => &["elcAsynchronAdmin"],
        (0xB6, 0x00) => &["signECDSA"],
        (0xB6, 0x02) | (0xA4, 0x02) => &["signPKCS1_V1_5"],
        (0xB6, 0x05) => &["signPSS"],
        (0xB8, 0x0B) => &["elcSharedSecretCalculation"],
        (0xB8, 0x85) => &["rsaDecipherOaep"],
        (0xB8, 0x81) => &["rsaDecipherPKCS1_V1_5"],
        _ => &[],
    }
}

impl Run<'_> {
    /// MANAGE SECURITY ENVIRONMENT: RESTORE (P1 F3) and SET.
    pub(super) fn manage_security_environment(&mut self) -> Outcome {
        let (p1, p2) = (self.command.p1, self.command.p2);
        if p1 == 0xF3 {
            if !(1..=4).contains(&p2) {
                return Err(sw::WRONG_PARAMETERS);
            }
            let folder = self.folder()?;
            let inside: Vec<NodeId> = self.card.system.children(folder).map(|(id, _)| id).collect();
            let channel = self.channel()?;
            channel.set_environment(folder, p2);
            channel.forget_keys_in(&inside);
            channel.verified.retain(|password, _| !inside.contains(password));
            return Ok(Response::sw(sw::OK));
        }
        let data = self.command.data.clone();
        let algorithm = match tlv::find(&data, 0x80) {
            Some([one]) => Some(*one),
            Some(_) | None => None,
        };
        let private = tlv::find(&data, 0x84)
            .map(|value| value.first().copied().ok_or(sw::WRONG_DATA))
            .transpose()?;
        match (p1, p2) {
            (0x41, template @ (0xA4 | 0xB6 | 0xB8)) => {
                let reference = private.ok_or(sw::WRONG_DATA)?;
                let algorithm = algorithm.ok_or(sw::WRONG_DATA)?;
                let key = self.private_key(reference)?;
                self.check_algorithm(key, algorithm, template)?;
                let chosen = Some(Chosen { key, algorithm });
                let channel = self.channel()?;
                match template {
                    0xA4 => channel.internal = chosen,
                    0xB6 => channel.sign = chosen,
                    _ => channel.decipher = chosen,
                }
            }
            (0x81, 0xB6) => {
                let car = tlv::find(&data, 0x83).ok_or(sw::WRONG_DATA)?.to_vec();
                self.issuer_key(&car)?;
                self.channel()?.issuer = Some(car);
            }
            (0x81 | 0xC1, 0xA4) => {
                let reference = tlv::find(&data, 0x83).ok_or(sw::WRONG_DATA)?.to_vec();
                match (reference.as_slice(), algorithm) {
                    ([symmetric], Some(algorithm)) => {
                        let key = self.symmetric_key(*symmetric)?;
                        self.check_algorithm(key, algorithm, 0xA4)?;
                        self.channel()?.symmetric = Some(Chosen { key, algorithm });
                    }
                    (chr, Some(algorithm)) if chr.len() == 12 => {
                        self.authentication_key(chr)?;
                        if algorithm != 0x00 {
                            return Err(sw::UNSUPPORTED_FUNCTION);
                        }
                        self.channel()?.external = Some((chr.to_vec(), algorithm));
                    }
                    _ => return Err(sw::UNSUPPORTED_FUNCTION),
                }
            }
            (0x41, _) | (0x81, 0xB8) if private.is_some() => return Err(sw::WRONG_PARAMETERS),
            (0x81, 0xB8) => {
                let chr = tlv::find(&data, 0x83).ok_or(sw::WRONG_DATA)?.to_vec();
                self.authentication_key(&chr)?;
                self.channel()?.encipher = Some((chr, algorithm.unwrap_or(0x0B)));
            }
            _ => return Err(sw::WRONG_PARAMETERS),
        }
        Ok(Response::sw(sw::OK))
    }

    /// The private key with this reference: `80 + id` in the current folder, `id` in the MF.
    pub(super) fn private_key(&self, reference: u8) -> Result<NodeId, u16> {
        self.key_where(reference, |body, id| match body {
            Body::PrivateElc(key) => key.id == id,
            Body::PrivateRsa { id: mine, .. } => *mine == id,
            _ => false,
        })
    }

    pub(super) fn symmetric_key(&self, reference: u8) -> Result<NodeId, u16> {
        self.key_where(reference, |body, id| match body {
            Body::Symmetric { id: mine, .. } | Body::Connection { id: mine, .. } => *mine == id,
            _ => false,
        })
    }

    fn key_where(&self, reference: u8, wanted: impl Fn(&Body, u8) -> bool) -> Result<NodeId, u16> {
        self.upward(reference, |this, folder| {
            let mut inside = this.card.system.children(folder);
            inside
                .find(|(_, node)| wanted(&node.body, reference & 0x1F))
                .map(|(id, _)| id)
        })
    }

    fn check_algorithm(&self, key: NodeId, identifier: u8, template: u8) -> Result<(), u16> {
        let names = algorithm_names(identifier, template);
        let environment = self.channel_ref()?.environment(self.card.folder_of(key));
        let may = match &self.card.node(key)?.body {
            Body::PrivateElc(elc) => lists(&elc.algorithms, environment, names),
            Body::PrivateRsa { algorithms, .. } => lists(algorithms, environment, names),
            Body::Symmetric { algorithm, .. } => names.contains(&algorithm.as_str()),
            _ => false,
        };
        if may {
            Ok(())
        } else {
            Err(sw::UNSUPPORTED_FUNCTION)
        }
    }
}

fn lists(algorithms: &[(u8, Vec<String>)], environment: u8, names: &[&str]) -> bool {
    let mut here = algorithms
        .iter()
        .filter(|(se, _)| *se == environment)
        .flat_map(|(_, list)| list);
    here.any(|mine| names.contains(&mine.as_str()))
}
