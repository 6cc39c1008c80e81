//! SOAP 1.1 as practice systems speak it: envelope, faults, the services' messages, the service directory.
//!
//! Pure: text to types and back. Requests are recognised by the qualified name of the body's element, never by
//! SOAPAction, which clients get wrong. Messages are written by hand, one file a service; tests check each against the
//! official schemas in both directions. One XML reader (roxmltree) serves the whole product, so that one set of limits
//! and one refusal of document type definitions holds everywhere.

mod card;
mod card_terminal;
mod certificate;
pub mod cetp;
pub mod cm;
mod directory;
mod encryption;
mod envelope;
mod event;
mod fault;
mod filter;
pub mod inventory;
pub mod ksr;
pub mod provisioning;
mod read;
pub mod signature;
mod status;
mod vsd;
mod write;

pub use card::{
    CardElement, CardInfo, CardRequest, CardVersion, PinAnswer, PinRequest, VersionInfo, pin_response,
    pin_status_response,
};
pub use card_terminal::{EjectTarget, Slot, eject_response, request_card_response};
pub use certificate::{CertRef, CertificateData, Crypt, Expiration, Verification};
pub use certificate::{expiration_response, read_response, verification_response};
pub use directory::{Directory, Product, SERVICES, Service, Version};
pub use encryption::{KeyOnCard, encryption_response, encryption_type};
pub use envelope::{Envelope, wrap, wrap_with_header};
pub use event::{ConnectorState, ErrorState, Resource, Subscription, TerminalInfo};
pub use event::{
    cards_response, renew_response, resource_response, subscribe_response, subscriptions_response,
    terminals_response, unsubscribe_response,
};
pub use fault::{Fault, Trace};
pub use filter::{BadFilter, Filter};
pub use read::{Malformed, children, descend, has_name, optional, required};
pub use signature::{Content, InputDocument, KeyChoice, SignatureRequest, SignatureVersion};
pub use status::Status;
pub use vsd::{VsdAnswer, vsd_response};
pub use write::{Writer, escape};

/// Namespaces.
#[allow(missing_docs)]
pub mod ns {
    pub const SOAP: &str = "http://schemas.xmlsoap.org/soap/envelope/";
    pub const CONN: &str = "http://ws.gematik.de/conn/ConnectorCommon/v5.0";
    pub const CCTX: &str = "http://ws.gematik.de/conn/ConnectorContext/v2.0";
    pub const GERROR: &str = "http://ws.gematik.de/tel/error/v2.0";
    pub const CARDCMN: &str = "http://ws.gematik.de/conn/CardServiceCommon/v2.0";
    pub const CARD: &str = "http://ws.gematik.de/conn/CardService/v8.1";
    pub const CT: &str = "http://ws.gematik.de/conn/CardTerminalService/v1.1";
    pub const CTINFO: &str = "http://ws.gematik.de/conn/CardTerminalInfo/v8.0";
    pub const CERT: &str = "http://ws.gematik.de/conn/CertificateService/v6.0";
    pub const CERTCMN: &str = "http://ws.gematik.de/conn/CertificateServiceCommon/v2.0";
    pub const SIG74: &str = "http://ws.gematik.de/conn/SignatureService/v7.4";
    pub const SIG75: &str = "http://ws.gematik.de/conn/SignatureService/v7.5";
    pub const CRYPT: &str = "http://ws.gematik.de/conn/EncryptionService/v6.1";
    pub const DSS: &str = "urn:oasis:names:tc:dss:1.0:core:schema";
    pub const SP: &str = "urn:oasis:names:tc:dss-x:1.0:profiles:SignaturePolicy:schema#";
    pub const VR: &str = "urn:oasis:names:tc:dss-x:1.0:profiles:verificationreport:schema#";
    pub const DS: &str = "http://www.w3.org/2000/09/xmldsig#";
    pub const XADES: &str = "http://uri.etsi.org/01903/v1.3.2#";
    pub const EVT: &str = "http://ws.gematik.de/conn/EventService/v7.2";
    pub const VSD: &str = "http://ws.gematik.de/conn/vsds/VSDService/v5.2";
    pub const KVK: &str = "http://ws.gematik.de/conn/vsds/KvkService/v4.0";
    pub const PI: &str = "http://ws.gematik.de/int/version/ProductInformation/v1.1";
    pub const SDS: &str = "http://ws.gematik.de/conn/ServiceDirectory/v3.1";
    pub const SI: &str = "http://ws.gematik.de/conn/ServiceInformation/v2.0";
    pub const CM: &str = "http://ws.gematik.de/cm/common/CmCommon/v2.0";
    pub const CC: &str = "http://ws.gematik.de/cm/cc/CmCcCommon/v2.0";
    pub const CCREQ: &str = "http://ws.gematik.de/cm/cc/CmCcServiceRequest/v2.0";
    pub const CCRES: &str = "http://ws.gematik.de/cm/cc/CmCcServiceResponse/v2.0";
    pub const KSR: &str = "http://ws.gematik.de/ksr/v1.1";
    pub const TICONF: &str = "http://ws.gematik.de/ticonf/v1.0";
    pub const VPNK: &str = "http://ws.gematik.de/vpnzugd/ProvisioningService/v1.1";
    pub const UFREQ: &str = "http://ws.gematik.de/cm/uf/CmUfServiceRequest/v2.0";
    pub const UFRES: &str = "http://ws.gematik.de/cm/uf/CmUfServiceResponse/v2.0";
}

/// Who calls: the identifiers of the information model as they stand in the request, unchecked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallContext {
    /// MandantId.
    pub mandant: String,
    /// ClientSystemId.
    pub client_system: String,
    /// WorkplaceId.
    pub workplace: String,
    /// UserId, only with an HBA.
    pub user: Option<String>,
}

/// Every request a practice system can send.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Request {
    GetCards {
        context: CallContext,
        mandant_wide: bool,
        ct_id: Option<String>,
        slot: Option<u8>,
        card_type: Option<String>,
    },
    GetCardTerminals {
        context: CallContext,
        mandant_wide: bool,
    },
    GetResourceInformation {
        context: CallContext,
        resource: Resource,
    },
    Subscribe {
        context: CallContext,
        event_to: String,
        topic: String,
        filter: Option<String>,
    },
    Unsubscribe {
        context: CallContext,
        subscription: Option<String>,
        event_to: Option<String>,
    },
    RenewSubscriptions {
        context: CallContext,
        subscriptions: Vec<String>,
    },
    GetSubscription {
        context: CallContext,
        mandant_wide: bool,
        subscription: Option<String>,
    },
    Card(CardRequest),
    RequestCard {
        context: CallContext,
        slot: Slot,
        card_type: Option<String>,
        message: Option<String>,
        timeout_s: Option<u64>,
    },
    EjectCard {
        context: CallContext,
        target: EjectTarget,
        message: Option<String>,
        timeout_ms: Option<u64>,
    },
    ReadCardCertificate {
        context: CallContext,
        handle: String,
        refs: Vec<CertRef>,
        crypt: Option<Crypt>,
    },
    CheckCertificateExpiration {
        context: CallContext,
        handle: Option<String>,
        crypt: Option<Crypt>,
    },
    VerifyCertificate {
        context: CallContext,
        certificate: Vec<u8>,
        at: Option<String>,
    },
    ReadVsd {
        context: CallContext,
        ehc: String,
        hpc: String,
        online_check: bool,
        online_receipt: bool,
    },
    ReadKvk {
        context: CallContext,
        handle: String,
    },
    Signature {
        version: SignatureVersion,
        context: CallContext,
        request: Box<SignatureRequest>,
    },
    Encrypt {
        context: CallContext,
        card: Option<KeyOnCard>,
        certificates: Vec<Vec<u8>>,
        kind: Option<String>,
        /// DER attributes.
        unprotected: Vec<Vec<u8>>,
        document: InputDocument,
    },
    Decrypt {
        context: CallContext,
        card: KeyOnCard,
        document: InputDocument,
    },
}

impl Request {
    /// The request in a SOAP body.
    pub fn decode(body: roxmltree::Node<'_, '_>) -> Result<Self, Malformed> {
        let unknown = || Malformed(format!("operation {} unknown", body.tag_name().name()));
        match body.tag_name().namespace() {
            Some(ns::EVT) => event::decode(body),
            Some(ns::CARD) => card::decode(body).map(Request::Card),
            Some(ns::CT) => card_terminal::decode(body),
            Some(ns::CERT) => certificate::decode(body),
            Some(ns::VSD | ns::KVK) => vsd::decode(body),
            Some(ns::CRYPT) => encryption::decode(body),
            Some(other) if let Some(version) = SignatureVersion::of(other) => {
                signature::decode(body, version)
            }
            _ => Err(unknown()),
        }
    }

    /// Does it only look at what the Konnektor knows (EventService)? Then nothing is left half done.
    pub fn is_about_events(&self) -> bool {
        matches!(
            self,
            Self::GetCards { .. }
                | Self::GetCardTerminals { .. }
                | Self::GetResourceInformation { .. }
                | Self::Subscribe { .. }
                | Self::Unsubscribe { .. }
                | Self::RenewSubscriptions { .. }
                | Self::GetSubscription { .. }
        )
    }

    /// Name of the operation, for logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Request::GetCards { .. } => "GetCards",
            Request::GetCardTerminals { .. } => "GetCardTerminals",
            Request::GetResourceInformation { .. } => "GetResourceInformation",
            Request::Subscribe { .. } => "Subscribe",
            Request::Unsubscribe { .. } => "Unsubscribe",
            Request::RenewSubscriptions { .. } => "RenewSubscriptions",
            Request::GetSubscription { .. } => "GetSubscription",
            Request::Card(request) => request.operation,
            Request::RequestCard { .. } => "RequestCard",
            Request::EjectCard { .. } => "EjectCard",
            Request::ReadCardCertificate { .. } => "ReadCardCertificate",
            Request::CheckCertificateExpiration { .. } => "CheckCertificateExpiration",
            Request::VerifyCertificate { .. } => "VerifyCertificate",
            Request::ReadVsd { .. } => "ReadVSD",
            Request::ReadKvk { .. } => "ReadKVK",
            Request::Encrypt { .. } => "EncryptDocument",
            Request::Decrypt { .. } => "DecryptDocument",
            Request::Signature { request, .. } => match &**request {
                SignatureRequest::Sign { .. } => "SignDocument",
                SignatureRequest::Verify { .. } => "VerifyDocument",
                SignatureRequest::GetJobNumber => "GetJobNumber",
                SignatureRequest::Stop { .. } => "StopSignature",
                SignatureRequest::ActivateComfort { .. } => "ActivateComfortSignature",
                SignatureRequest::DeactivateComfort { .. } => "DeactivateComfortSignature",
                SignatureRequest::GetMode { .. } => "GetSignatureMode",
                SignatureRequest::ExternalAuthenticate { .. } => "ExternalAuthenticate",
            },
        }
    }
}
