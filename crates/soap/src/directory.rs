//! `connector.sds`: what the Konnektor offers and where (TIP1-A_4528 ff., ServiceDirectory 3.1).

use crate::{Writer, ns};
use base::Timestamp;

/// A version of a service.
#[derive(Debug, Clone, Copy)]
pub struct Version {
    /// Namespace of its WSDL.
    pub namespace: &'static str,
    /// Number.
    pub number: &'static str,
}

/// A service.
#[derive(Debug, Clone, Copy)]
pub struct Service {
    /// Name in the directory.
    pub name: &'static str,
    /// What it does, in German.
    pub purpose: &'static str,
    /// Path behind the base URL.
    pub path: &'static str,
    /// All versions served.
    pub versions: &'static [Version],
}

const fn version(namespace: &'static str, number: &'static str) -> Version {
    Version { namespace, number }
}

const EVENT: &str = "http://ws.gematik.de/conn/EventService/WSDL/v7.2";
const CARD: &str = "http://ws.gematik.de/conn/CardService/WSDL/v8.1";
const CT: &str = "http://ws.gematik.de/conn/CardTerminalService/WSDL/v1.1";
const CERT: &str = "http://ws.gematik.de/conn/CertificateService/WSDL/v6.0";
const SIG74: &str = "http://ws.gematik.de/conn/SignatureService/WSDL/v7.4";
const SIG75: &str = "http://ws.gematik.de/conn/SignatureService/WSDL/v7.5";
const AUTH: &str = "http://ws.gematik.de/conn/AuthSignatureService/WSDL/v7.4";
const CRYPT: &str = "http://ws.gematik.de/conn/EncryptionService/WSDL/v6.1";
/// Every service served, one row each; routes and directory read this table.
pub static SERVICES: &[Service] = &[
    Service {
        name: "EventService",
        purpose: "Systeminformationsdienst: Karten, Kartenterminals, Ereignisse",
        path: "/ws/EventService",
        versions: &[version(EVENT, "7.2.0")],
    },
    Service {
        name: "CardService",
        purpose: "Kartendienst: PIN-Operationen",
        path: "/ws/CardService",
        versions: &[
            version(CARD, "8.1.2"),
            version(CARD, "8.1.1"),
            version(CARD, "8.1.0"),
        ],
    },
    Service {
        name: "CardTerminalService",
        purpose: "Kartenterminaldienst: Karten anfordern und auswerfen",
        path: "/ws/CardTerminalService",
        versions: &[version(CT, "1.1.0")],
    },
    Service {
        name: "CertificateService",
        purpose: "Zertifikatsdienst: Zertifikate lesen und prüfen",
        path: "/ws/CertificateService",
        versions: &[
            version(CERT, "6.0.3"),
            version(CERT, "6.0.1"),
            version(CERT, "6.0.0"),
        ],
    },
    Service {
        name: "SignatureService",
        purpose: "Signaturdienst: Dokumente signieren und Signaturen prüfen",
        path: "/ws/SignatureService",
        versions: &[
            version(SIG75, "7.5.7"),
            version(SIG75, "7.5.6"),
            version(SIG75, "7.5.5"),
            version(SIG74, "7.4.2"),
            version(SIG74, "7.4.0"),
        ],
    },
    Service {
        name: "AuthSignatureService",
        purpose: "Authentifizierungsdienst: Signaturen für Anmeldungen",
        path: "/ws/AuthSignatureService",
        versions: &[version(AUTH, "7.4.1"), version(AUTH, "7.4.0")],
    },
    Service {
        name: "EncryptionService",
        purpose: "Verschlüsselungsdienst: Dokumente ver- und entschlüsseln",
        path: "/ws/EncryptionService",
        versions: &[version(CRYPT, "6.1.1"), version(CRYPT, "6.1.0")],
    },
    Service {
        name: "VSDService",
        purpose: "Versichertenstammdaten lesen",
        path: "/ws/VSDService",
        versions: &[version("http://ws.gematik.de/conn/vsds/VSDService/v5.2", "5.2.0")],
    },
    Service {
        name: "KVKService",
        purpose: "Krankenversichertenkarte lesen",
        path: "/ws/KVKService",
        versions: &[version("http://ws.gematik.de/conn/vsds/KvkService/v4.0", "4.0.0")],
    },
];

/// What the directory says about the product and its access.
#[derive(Debug, Clone)]
pub struct Directory<'a> {
    /// Firmware version, `1.2.3`.
    pub version: &'a str,
    /// Is TLS mandatory?
    pub tls_mandatory: bool,
    /// Is client authentication mandatory?
    pub client_authentication: bool,
    /// Base URL of the TLS endpoints, without a slash at the end.
    pub tls_base: &'a str,
    /// Base URL of the plain endpoints, if they are served.
    pub plain_base: Option<&'a str>,
}

impl Directory<'_> {
    /// The `PI:ProductInformation` element, with its namespace.
    pub fn product_information(version: &str, now: Timestamp) -> String {
        let product = Product {
            kind: "Konnektor",
            kind_version: "5.1.0",
            vendor: "LANGL",
            code: "LANGLAUF",
            hardware: "1.0.0",
            firmware: version,
            name: "Langlauf",
        };
        product.to_xml(now)
    }

    /// The document.
    pub fn to_xml(&self, now: Timestamp) -> String {
        let mut out = Writer::new();
        out.raw("<?xml version=\"1.0\" encoding=\"UTF-8\"?>");
        out.open(
            "SDS:ConnectorServices",
            &[("xmlns:SDS", ns::SDS), ("xmlns:SI", ns::SI)],
        );
        out.raw(&Self::product_information(self.version, now));
        out.leaf("SDS:TLSMandatory", &self.tls_mandatory.to_string());
        out.leaf("SDS:ClientAutMandatory", &self.client_authentication.to_string());
        out.open("SI:ServiceInformation", &[]);
        for service in SERVICES {
            out.open("SI:Service", &[("Name", service.name)])
                .leaf("SI:Abstract", service.purpose);
            out.open("SI:Versions", &[]);
            for version in service.versions {
                out.open(
                    "SI:Version",
                    &[
                        ("TargetNamespace", version.namespace),
                        ("Version", version.number),
                    ],
                );
                out.leaf("SI:Abstract", service.purpose);
                if let Some(base) = self.plain_base {
                    let location = format!("{base}{}", service.path);
                    out.open("SI:Endpoint", &[("Location", &location)])
                        .close("SI:Endpoint");
                }
                let location = format!("{}{}", self.tls_base, service.path);
                out.open("SI:EndpointTLS", &[("Location", &location)])
                    .close("SI:EndpointTLS");
                out.close("SI:Version");
            }
            out.close("SI:Versions").close("SI:Service");
        }
        out.close("SI:ServiceInformation").close("SDS:ConnectorServices");
        out.finish()
    }
}

/// What ProductInformation.xsd says of a product; versions are three numbers with dots.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub struct Product<'a> {
    pub kind: &'a str,
    pub kind_version: &'a str,
    /// At most five letters or digits.
    pub vendor: &'a str,
    /// At most eight letters or digits.
    pub code: &'a str,
    pub hardware: &'a str,
    pub firmware: &'a str,
    pub name: &'a str,
}

impl Product<'_> {
    /// The `PI:ProductInformation` element.
    pub fn to_xml(&self, now: Timestamp) -> String {
        let mut out = Writer::new();
        out.open("PI:ProductInformation", &[("xmlns:PI", ns::PI)]);
        out.leaf("PI:InformationDate", &now.to_string());
        out.open("PI:ProductTypeInformation", &[]);
        out.leaf("PI:ProductType", self.kind)
            .leaf("PI:ProductTypeVersion", self.kind_version);
        out.close("PI:ProductTypeInformation")
            .open("PI:ProductIdentification", &[]);
        out.leaf("PI:ProductVendorID", self.vendor)
            .leaf("PI:ProductCode", self.code);
        out.open("PI:ProductVersion", &[]).open("PI:Local", &[]);
        out.leaf("PI:HWVersion", self.hardware)
            .leaf("PI:FWVersion", self.firmware);
        out.close("PI:Local")
            .close("PI:ProductVersion")
            .close("PI:ProductIdentification");
        out.open("PI:ProductMiscellaneous", &[]);
        out.leaf("PI:ProductVendorName", self.vendor)
            .leaf("PI:ProductName", self.name);
        out.close("PI:ProductMiscellaneous")
            .close("PI:ProductInformation");
        out.finish()
    }
}
