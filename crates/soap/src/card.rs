//! CardService 8.1.

use crate::read::{boolean, context};
use crate::{CallContext, Malformed, Status, Writer, ns, optional, required};
use roxmltree::Node;

/// A request about a PIN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CardRequest {
    /// Name of the operation.
    pub operation: &'static str,
    /// Which.
    pub kind: PinRequest,
    /// Who calls.
    pub context: CallContext,
    /// Handle of the card.
    pub handle: String,
    /// Name of the password (`PinTyp`).
    pub pin: String,
}

/// What is to be done with a PIN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum PinRequest {
    Verify,
    Change,
    Status,
    Unblock { set_new: bool },
    Enable,
    Disable,
}

pub(crate) fn decode(body: Node<'_, '_>) -> Result<CardRequest, Malformed> {
    let (operation, kind) = match body.tag_name().name() {
        "VerifyPin" => ("VerifyPin", PinRequest::Verify),
        "ChangePin" => ("ChangePin", PinRequest::Change),
        "GetPinStatus" => ("GetPinStatus", PinRequest::Status),
        "UnblockPin" => {
            let set_new = optional(body, ns::CARD, "SetNewPin").map_or(Ok(false), |text| boolean(&text))?;
            ("UnblockPin", PinRequest::Unblock { set_new })
        }
        "EnablePin" => ("EnablePin", PinRequest::Enable),
        "DisablePin" => ("DisablePin", PinRequest::Disable),
        other => return Err(Malformed(format!("operation {other} unknown in CardService"))),
    };
    Ok(CardRequest {
        operation,
        kind,
        context: context(body)?,
        handle: required(body, ns::CONN, "CardHandle")?,
        pin: required(body, ns::CARDCMN, "PinTyp")?,
    })
}

/// Result of a PIN operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum PinAnswer {
    Ok,
    Rejected(u8),
    Error,
    WasBlocked,
    NowBlocked,
    TransportPin,
}

const NAMESPACES: [(&str, &str); 3] = [
    ("xmlns:CARD", ns::CARD),
    ("xmlns:CONN", ns::CONN),
    ("xmlns:CARDCMN", ns::CARDCMN),
];

/// Answer to VerifyPin, ChangePin, UnblockPin, EnablePin, DisablePin.
pub fn pin_response(operation: &str, status: &Status, answer: PinAnswer) -> String {
    let name = format!("CARD:{operation}Response");
    let mut out = Writer::new();
    out.open(&name, &NAMESPACES);
    status.write(&mut out);
    let (result, tries) = match answer {
        PinAnswer::Ok => ("OK", None),
        PinAnswer::Rejected(tries) => ("REJECTED", Some(tries)),
        PinAnswer::Error => ("ERROR", None),
        PinAnswer::WasBlocked => ("WASBLOCKED", None),
        PinAnswer::NowBlocked => ("NOWBLOCKED", None),
        PinAnswer::TransportPin => ("TRANSPORT_PIN", None),
    };
    out.leaf("CARDCMN:PinResult", result);
    // LeftTries is a local element of a type in CardServiceCommon, and that schema qualifies its elements
    out.maybe(
        "CARDCMN:LeftTries",
        tries.map(|tries| tries.to_string()).as_deref(),
    );
    out.close(&name);
    out.finish()
}

/// Answer to GetPinStatus.
pub fn pin_status_response(status: &Status, pin_status: &str, tries: Option<u8>) -> String {
    let mut out = Writer::new();
    out.open("CARD:GetPinStatusResponse", &NAMESPACES);
    status.write(&mut out);
    out.leaf("CARD:PinStatus", pin_status);
    out.maybe("CARD:LeftTries", tries.map(|tries| tries.to_string()).as_deref());
    out.close("CARD:GetPinStatusResponse");
    out.finish()
}

/// Major, minor, revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionInfo(pub u8, pub u8, pub u8);

/// Versions of a card.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct CardVersion {
    pub cos: VersionInfo,
    pub object_system: VersionInfo,
    pub logging: Option<VersionInfo>,
    pub atr: Option<VersionInfo>,
    pub gdo: Option<VersionInfo>,
    pub key_info: Option<VersionInfo>,
}

/// A card as the services describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct CardInfo {
    pub handle: String,
    pub card_type: &'static str,
    pub version: Option<CardVersion>,
    pub iccsn: Option<String>,
    pub ct_id: String,
    pub slot: u8,
    /// RFC 3339.
    pub inserted: String,
    pub holder: Option<String>,
    pub kvnr: Option<String>,
    /// YYYY-MM-DD.
    pub expires: Option<String>,
}

/// The `CARD:Card` element of a card, written once: it does not change while the card is inserted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CardElement(String);

impl CardElement {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl CardInfo {
    /// As an element.
    pub fn to_element(&self) -> CardElement {
        let mut writer = Writer::new();
        let out = &mut writer;
        out.open("CARD:Card", &[]);
        out.leaf("CONN:CardHandle", &self.handle)
            .leaf("CARDCMN:CardType", self.card_type);
        if let Some(version) = &self.version {
            let part = |out: &mut Writer, name: &str, version: Option<VersionInfo>| {
                if let Some(VersionInfo(major, minor, revision)) = version {
                    let name = format!("CARD:{name}");
                    out.open(&name, &[]);
                    out.leaf("CARD:Major", &major.to_string())
                        .leaf("CARD:Minor", &minor.to_string())
                        .leaf("CARD:Revision", &revision.to_string());
                    out.close(&name);
                }
            };
            out.open("CARD:CardVersion", &[]);
            part(out, "COSVersion", Some(version.cos));
            part(out, "ObjectSystemVersion", Some(version.object_system));
            part(out, "LoggingVersion", version.logging);
            part(out, "ATRVersion", version.atr);
            part(out, "GDOVersion", version.gdo);
            part(out, "KeyInfoVersion", version.key_info);
            out.close("CARD:CardVersion");
        }
        out.maybe("CARDCMN:Iccsn", self.iccsn.as_deref());
        out.leaf("CARDCMN:CtId", &self.ct_id)
            .leaf("CARDCMN:SlotId", &self.slot.to_string());
        out.leaf("CARD:InsertTime", &self.inserted);
        out.maybe("CARD:CardHolderName", self.holder.as_deref());
        out.maybe("CARD:Kvnr", self.kvnr.as_deref());
        out.maybe("CARD:CertificateExpirationDate", self.expires.as_deref());
        out.close("CARD:Card");
        CardElement(writer.finish())
    }
}
