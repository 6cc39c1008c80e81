//! Update services for insured person's data: UFS (which updates are due) and CCS (card communication), both sides.

use crate::{Envelope, Malformed, Writer, children, descend, ns, optional, required, wrap, wrap_with_header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A service of an insurer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Localization {
    /// `VSD`, `CMS` or `UFS`.
    pub kind: String,
    /// Provider id.
    pub provider: String,
}

impl Localization {
    fn write(&self, out: &mut Writer) {
        out.open("CM:ServiceLocalization", &[("xmlns:CM", ns::CM)]);
        out.leaf("CM:Type", &self.kind)
            .leaf("CM:Provider", &self.provider);
        out.close("CM:ServiceLocalization");
    }

    fn read(node: roxmltree::Node<'_, '_>) -> Result<Self, Malformed> {
        let node = descend(node, ns::CM, "ServiceLocalization")?;
        Ok(Self {
            kind: required(node, ns::CM, "Type")?,
            provider: required(node, ns::CM, "Provider")?,
        })
    }
}

/// An update that waits for a card.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct UpdateFlag {
    pub service: Localization,
    pub id: String,
    pub mandatory: bool,
    pub description: String,
}

/// Answer to GetUpdateFlags.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpdateFlags {
    /// In order of execution.
    pub flags: Vec<UpdateFlag>,
    /// Proof number, if no update of insured person's data is due.
    pub receipt: Option<Vec<u8>>,
}

/// The request GetUpdateFlags.
pub fn get_update_flags(iccsn: &str, provider: &str) -> String {
    let mut header = Writer::new();
    Localization {
        kind: "UFS".into(),
        provider: provider.into(),
    }
    .write(&mut header);
    let mut out = Writer::new();
    out.open(
        "UFS:GetUpdateFlags",
        &[("xmlns:UFS", ns::UFREQ), ("xmlns:CM", ns::CM)],
    );
    out.leaf("CM:Iccsn", iccsn).close("UFS:GetUpdateFlags");
    wrap_with_header(&header.finish(), &out.finish())
}

impl UpdateFlags {
    /// The answer as a SOAP message.
    pub fn message(&self) -> String {
        let mut out = Writer::new();
        out.open(
            "UFSR:GetUpdateFlagsResponse",
            &[("xmlns:UFSR", ns::UFRES), ("xmlns:CM", ns::CM)],
        );
        for flag in &self.flags {
            out.open("CM:UpdateFlag", &[]);
            flag.service.write(&mut out);
            out.leaf("CM:UpdateId", &flag.id)
                .leaf(
                    "CM:UpdatePriority",
                    if flag.mandatory { "MANDATORY" } else { "OPTIONAL" },
                )
                .leaf("CM:ShortDescription", &flag.description);
            out.close("CM:UpdateFlag");
        }
        if let Some(receipt) = &self.receipt {
            out.open("CM:ServiceReceipt", &[]);
            Localization {
                kind: "VSD".into(),
                provider: "1".into(),
            }
            .write(&mut out);
            out.leaf("CM:Receipt", &STANDARD.encode(receipt))
                .close("CM:ServiceReceipt");
        }
        out.close("UFSR:GetUpdateFlagsResponse");
        wrap(&out.finish())
    }

    /// Reads the answer; a fault gives its code.
    pub fn parse(message: &str) -> Result<Self, Answer> {
        let envelope = Envelope::parse(message)?;
        let body = not_a_fault(envelope.body()?)?;
        let mut flags = Vec::new();
        for flag in children(body, ns::CM, "UpdateFlag") {
            flags.push(UpdateFlag {
                service: Localization::read(flag)?,
                id: required(flag, ns::CM, "UpdateId")?,
                mandatory: required(flag, ns::CM, "UpdatePriority")? == "MANDATORY",
                description: optional(flag, ns::CM, "ShortDescription").unwrap_or_default(),
            });
        }
        let receipt = children(body, ns::CM, "ServiceReceipt").next();
        let receipt = receipt.and_then(|node| optional(node, ns::CM, "Receipt"));
        let receipt = receipt
            .map(|text| STANDARD.decode(text))
            .transpose()
            .map_err(|_| Malformed("Receipt".into()))?;
        Ok(Self { flags, receipt })
    }
}

/// Why a back end's answer is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Answer {
    /// It does not fit the schema.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The service said no, with its code.
    #[error("service fault {0}")]
    Fault(u32),
}

pub(crate) fn not_a_fault<'a, 'i>(body: roxmltree::Node<'a, 'i>) -> Result<roxmltree::Node<'a, 'i>, Answer> {
    if !crate::has_name(body, ns::SOAP, "Fault") {
        return Ok(body);
    }
    let mut codes = body
        .descendants()
        .filter(|node| crate::has_name(*node, ns::GERROR, "Code"));
    let code = codes.next_back();
    Err(Answer::Fault(
        code.and_then(|node| node.text()?.trim().parse().ok())
            .unwrap_or(0),
    ))
}

/// A command to the card and the status word it should give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandItem {
    /// The APDU.
    pub command: Vec<u8>,
    /// Expected status word.
    pub expected: u16,
}

/// What a card service wants next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Updates done, with their receipts.
    pub performed: Vec<(String, Option<Vec<u8>>)>,
    /// Commands for the card; `None` means that all is done.
    pub commands: Option<Vec<CommandItem>>,
    /// The conversation this belongs to.
    pub conversation: String,
}

/// The request PerformUpdates for one update.
pub fn perform_updates(iccsn: &str, update: &str, service: &Localization) -> String {
    let mut header = Writer::new();
    service.write(&mut header);
    let mut out = Writer::new();
    out.open(
        "CCS:PerformUpdates",
        &[("xmlns:CCS", ns::CCREQ), ("xmlns:CM", ns::CM)],
    );
    out.leaf("CM:Iccsn", iccsn)
        .leaf("CM:UpdateId", update)
        .close("CCS:PerformUpdates");
    wrap_with_header(&header.finish(), &out.finish())
}

/// The request GetNextCommandPackage with the card's answers. `abort` ends the conversation.
pub fn next_package(
    service: &Localization,
    conversation: &str,
    responses: &[Vec<u8>],
    abort: bool,
) -> String {
    let mut header = Writer::new();
    service.write(&mut header);
    write_session(&mut header, conversation);
    let mut out = Writer::new();
    out.open(
        "CCS:GetNextCommandPackage",
        &[("xmlns:CCS", ns::CCREQ), ("xmlns:COM", ns::CC)],
    );
    out.open("CCS:CommandResponsePackage", &[]);
    for response in responses {
        out.leaf("COM:CommandResponse", &hex(response));
    }
    if abort {
        out.open("COM:Abort", &[("CommandSentToCard", "true")])
            .close("COM:Abort");
    }
    out.close("CCS:CommandResponsePackage")
        .close("CCS:GetNextCommandPackage");
    wrap_with_header(&header.finish(), &out.finish())
}

fn write_session(out: &mut Writer, conversation: &str) {
    out.open("CM:SessionIdentifier", &[("xmlns:CM", ns::CM)]);
    out.leaf("CM:ConversationID", conversation)
        .close("CM:SessionIdentifier");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02X}")).collect()
}

fn unhex(text: &str) -> Result<Vec<u8>, Malformed> {
    let bad = || Malformed("hexadecimal text expected".into());
    let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect();
    let digits = digits.ok_or_else(bad)?;
    if !digits.len().is_multiple_of(2) {
        return Err(bad());
    }
    let pairs = digits.chunks_exact(2);
    Ok(pairs
        .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
        .collect())
}

impl Step {
    /// The answer as a SOAP message; `operation` is PerformUpdates or GetNextCommandPackage.
    pub fn message(&self, operation: &str) -> String {
        let mut header = Writer::new();
        write_session(&mut header, &self.conversation);
        let name = format!("CCSR:{operation}Response");
        let mut out = Writer::new();
        out.open(
            &name,
            &[
                ("xmlns:CCSR", ns::CCRES),
                ("xmlns:COM", ns::CC),
                ("xmlns:CM", ns::CM),
            ],
        );
        for (id, receipt) in &self.performed {
            out.open("COM:UpdatePerformed", &[]).leaf("CM:UpdateId", id);
            out.maybe(
                "CM:Receipt",
                receipt.as_ref().map(|bytes| STANDARD.encode(bytes)).as_deref(),
            );
            out.close("COM:UpdatePerformed");
        }
        match &self.commands {
            None => {
                out.open("COM:Close", &[]).close("COM:Close");
            }
            Some(commands) => {
                out.open("COM:CommandPackage", &[]);
                for item in commands {
                    out.open("COM:CommandItem", &[]);
                    out.leaf("COM:Command", &hex(&item.command));
                    out.leaf("COM:StatusCodeExpected", &format!("{:04X}", item.expected));
                    out.close("COM:CommandItem");
                }
                out.close("COM:CommandPackage");
            }
        }
        out.close(&name);
        wrap_with_header(&header.finish(), &out.finish())
    }

    /// Reads the answer.
    pub fn parse(message: &str) -> Result<Self, Answer> {
        let envelope = Envelope::parse(message)?;
        let body = not_a_fault(envelope.body()?)?;
        let session = envelope.header(ns::CM, "SessionIdentifier");
        let conversation = session
            .and_then(|node| optional(node, ns::CM, "ConversationID"))
            .unwrap_or_default();
        let mut performed = Vec::new();
        for update in children(body, ns::CC, "UpdatePerformed") {
            let receipt = optional(update, ns::CM, "Receipt").and_then(|text| STANDARD.decode(text).ok());
            performed.push((required(update, ns::CM, "UpdateId")?, receipt));
        }
        let package = children(body, ns::CC, "CommandPackage").next();
        let commands = package.map(|package| {
            let items = children(package, ns::CC, "CommandItem").map(|item| {
                let expected = required(item, ns::CC, "StatusCodeExpected")?;
                let expected =
                    u16::from_str_radix(&expected, 16).map_err(|_| Malformed("status word".into()))?;
                Ok(CommandItem {
                    command: unhex(&required(item, ns::CC, "Command")?)?,
                    expected,
                })
            });
            items.collect::<Result<Vec<_>, Malformed>>()
        });
        let commands = commands.transpose()?;
        if commands.is_none() && children(body, ns::CC, "Close").next().is_none() {
            return Err(Malformed("CommandPackage or Close expected".into()).into());
        }
        Ok(Self {
            performed,
            commands,
            conversation,
        })
    }
}

/// A request to a card service, as the service reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ServiceRequest {
    GetUpdateFlags {
        iccsn: String,
    },
    PerformUpdates {
        iccsn: String,
        update: String,
    },
    GetNextCommandPackage {
        conversation: String,
        responses: Vec<Vec<u8>>,
        abort: bool,
    },
}

impl ServiceRequest {
    /// Reads a request.
    pub fn parse(message: &str) -> Result<Self, Malformed> {
        let envelope = Envelope::parse(message)?;
        let body = envelope.body()?;
        match body.tag_name().name() {
            "GetUpdateFlags" => Ok(Self::GetUpdateFlags {
                iccsn: required(body, ns::CM, "Iccsn")?,
            }),
            "PerformUpdates" => Ok(Self::PerformUpdates {
                iccsn: required(body, ns::CM, "Iccsn")?,
                update: required(body, ns::CM, "UpdateId")?,
            }),
            "GetNextCommandPackage" => {
                let session = envelope.header(ns::CM, "SessionIdentifier");
                let conversation = session.and_then(|node| optional(node, ns::CM, "ConversationID"));
                let package = descend(body, ns::CCREQ, "CommandResponsePackage")?;
                let responses = children(package, ns::CC, "CommandResponse");
                let responses = responses.map(|node| unhex(node.text().unwrap_or_default().trim()));
                Ok(Self::GetNextCommandPackage {
                    conversation: conversation.unwrap_or_default(),
                    responses: responses.collect::<Result<_, _>>()?,
                    abort: children(package, ns::CC, "Abort").next().is_some(),
                })
            }
            other => Err(Malformed(format!("operation {other} unknown"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversations_round_trip() {
        let service = Localization {
            kind: "VSD".into(),
            provider: "109500969".into(),
        };
        let request = perform_updates("80276883110000168583", "0A", &service);
        assert!(
            matches!(ServiceRequest::parse(&request).unwrap(), ServiceRequest::PerformUpdates { update, .. } if update == "0A")
        );
        let step = Step {
            performed: vec![("0A".into(), Some(vec![1, 2]))],
            commands: Some(vec![CommandItem {
                command: vec![0, 0xA4, 4, 0x0C],
                expected: 0x9000,
            }]),
            conversation: "c1".into(),
        };
        assert_eq!(Step::parse(&step.message("PerformUpdates")).unwrap(), step);
        let next = next_package(&service, "c1", &[vec![0x90, 0]], false);
        assert!(
            matches!(ServiceRequest::parse(&next).unwrap(), ServiceRequest::GetNextCommandPackage { responses, .. } if responses == [vec![0x90, 0]])
        );
        let flags = UpdateFlags {
            flags: vec![],
            receipt: Some(b"PZ".to_vec()),
        };
        assert_eq!(UpdateFlags::parse(&flags.message()).unwrap(), flags);
    }
}
