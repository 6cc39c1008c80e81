//! Registration at the VPN access service (I_Registration_Service, TIP1-A_4390 to 4392), both sides.

use crate::cm::{Answer as NoAnswer, not_a_fault};
use crate::{Envelope, Malformed, Writer, children, ns, optional, required, wrap};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Longest ContractID.
const CONTRACT: usize = 200;

/// What is asked of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// registerKonnektor; signed.
    Register,
    /// deregisterKonnektor; signed. Never sent by itself.
    Deregister,
    /// registerStatus.
    Status,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Operation::Register => "registerKonnektor",
            Operation::Deregister => "deregisterKonnektor",
            Operation::Status => "registerStatus",
        }
    }

    /// SOAPAction.
    pub fn action(self) -> &'static str {
        match self {
            Operation::Register => "urn:#regOperation",
            Operation::Deregister => "urn:#deregOperation",
            Operation::Status => "urn:#statusOperation",
        }
    }
}

/// May a ContractID look like this (A_14623)?
pub fn is_contract(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"%()=!?+-*/#_@:.".contains(&byte);
    (1..=CONTRACT).contains(&text.len()) && text.bytes().all(allowed)
}

/// The request's element, without signature, which goes in as its last child; `now` in RFC 3339. A request for the status has no
/// contract.
pub fn request(operation: Operation, now: &str, certificate: &[u8], contract: Option<&str>) -> String {
    let name = format!("VPNK:{}Request", operation.name());
    let mut out = Writer::new();
    out.open(&name, &[("xmlns:VPNK", ns::VPNK)]);
    out.leaf("VPNK:Timestamp", now)
        .leaf("VPNK:X509Certificate", &STANDARD.encode(certificate))
        .maybe("VPNK:ContractID", contract);
    out.close(&name);
    out.finish()
}

/// A request as the service reads it. Nothing of it is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What is asked.
    pub operation: Operation,
    /// RFC 3339.
    pub time: String,
    /// C.NK.VPN, DER.
    pub certificate: Vec<u8>,
    /// ContractID.
    pub contract: Option<String>,
    /// The element, as a document of its own: what is signed.
    pub signed: String,
}

impl Request {
    /// Reads a message.
    pub fn parse(message: &str) -> Result<Self, Malformed> {
        let envelope = Envelope::parse(message)?;
        let body = envelope.body()?;
        let all = [Operation::Register, Operation::Deregister, Operation::Status];
        let named =
            |operation: &Operation| crate::has_name(body, ns::VPNK, &format!("{}Request", operation.name()));
        let operation = all
            .into_iter()
            .find(named)
            .ok_or_else(|| Malformed("a request of the ProvisioningService expected".into()))?;
        let certificate = required(body, ns::VPNK, "X509Certificate")?;
        let text = body.document().input_text().get(body.range());
        Ok(Self {
            operation,
            time: required(body, ns::VPNK, "Timestamp")?,
            certificate: STANDARD
                .decode(certificate.trim())
                .map_err(|_| Malformed("X509Certificate".into()))?,
            contract: optional(body, ns::VPNK, "ContractID"),
            signed: text.unwrap_or_default().to_owned(),
        })
    }
}

/// What the contract allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contract {
    /// Access to the TI.
    Ti,
    /// Access to the TI and the secure Internet service.
    TiAndSis,
    /// No access.
    Nothing,
}

const CONTRACTS: [(Contract, &str); 3] = [
    (Contract::Ti, "Zugriff auf TI erlaubt"),
    (Contract::TiAndSis, "Zugriff auf TI und SIS erlaubt"),
    (Contract::Nothing, "Kein Zugriff auf TI und SIS"),
];

/// The service's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Is this certificate registered now?
    pub registered: bool,
    /// When it was registered, RFC 3339; only in the answer about a status.
    pub since: Option<String>,
    /// What the contract allows.
    pub contract: Contract,
    /// For people, at most 4096 characters.
    pub information: Option<String>,
}

impl Answer {
    /// The whole message; `now` in RFC 3339.
    pub fn message(&self, operation: Operation, now: &str) -> String {
        let name = format!("VPNK:{}Response", operation.name());
        let mut out = Writer::new();
        out.open(&name, &[("xmlns:VPNK", ns::VPNK)])
            .leaf("VPNK:Timestamp", now);
        if operation == Operation::Status {
            out.leaf("VPNK:RegistrationTimestamp", self.since.as_deref().unwrap_or(now));
        }
        let status = if self.registered {
            "Registriert"
        } else {
            "Nicht registriert"
        };
        let contract = CONTRACTS.iter().find(|(one, _)| *one == self.contract);
        out.leaf("VPNK:RegistrationStatus", status)
            .leaf("VPNK:ContractStatus", contract.map_or("", |(_, text)| text))
            .maybe("VPNK:AdditionalInformation", self.information.as_deref());
        out.close(&name);
        wrap(&out.finish())
    }

    /// Reads an answer; a fault gives its code (7011 to 7091).
    pub fn parse(message: &str, operation: Operation) -> Result<Self, NoAnswer> {
        let envelope = Envelope::parse(message)?;
        let body = not_a_fault(envelope.body()?)?;
        let name = format!("{}Response", operation.name());
        if !crate::has_name(body, ns::VPNK, &name) {
            return Err(Malformed(format!("{name} expected")).into());
        }
        let contract = required(body, ns::VPNK, "ContractStatus")?;
        let contract = CONTRACTS.iter().find(|(_, text)| *text == contract.trim());
        let registered = match required(body, ns::VPNK, "RegistrationStatus")?.trim() {
            "Registriert" => true,
            "Nicht registriert" => false,
            _ => return Err(Malformed("RegistrationStatus".into()).into()),
        };
        let information = children(body, ns::VPNK, "AdditionalInformation").next();
        let information = information.and_then(|node| node.text());
        Ok(Self {
            registered,
            since: optional(body, ns::VPNK, "RegistrationTimestamp"),
            contract: contract.ok_or_else(|| Malformed("ContractStatus".into()))?.0,
            information: information.map(|text| text.chars().take(4096).collect()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_answers_round_trip() {
        let text = request(
            Operation::Register,
            "2026-11-28T00:00:00Z",
            &[1, 2, 3],
            Some("A-1"),
        );
        let read = Request::parse(&wrap(&text)).unwrap();
        assert_eq!(read.certificate, [1, 2, 3]);
        assert_eq!(read.contract.as_deref(), Some("A-1"));
        assert!(read.signed.starts_with("<VPNK:registerKonnektorRequest"));
        for operation in [Operation::Register, Operation::Status] {
            let answer = Answer {
                registered: true,
                since: (operation == Operation::Status).then(|| "2026-11-27T00:00:00Z".into()),
                contract: Contract::TiAndSis,
                information: Some("a < b".into()),
            };
            let message = answer.message(operation, "2026-11-28T00:00:00Z");
            assert_eq!(Answer::parse(&message, operation).unwrap(), answer);
            assert!(Answer::parse(&message, Operation::Deregister).is_err());
        }
        assert!(Request::parse(&wrap("<a/>")).is_err());
        assert!(is_contract("A1%()=!?+-*/#_@:.") && !is_contract("") && !is_contract("a b"));
    }
}
