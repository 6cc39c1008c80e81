//! CertificateService 6.0.

use crate::read::context;
use crate::{Malformed, Request, Status, Writer, children, descend, ns, optional, required};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use roxmltree::Node;

/// Which certificate of a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum CertRef {
    Aut,
    Enc,
    Sig,
    Qes,
}

impl CertRef {
    fn parse(text: &str) -> Result<Self, Malformed> {
        match text {
            "C.AUT" => Ok(CertRef::Aut),
            "C.ENC" => Ok(CertRef::Enc),
            "C.SIG" => Ok(CertRef::Sig),
            "C.QES" => Ok(CertRef::Qes),
            other => Err(Malformed(format!("CertRef `{other:.20}` unknown"))),
        }
    }

    /// Name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            CertRef::Aut => "C.AUT",
            CertRef::Enc => "C.ENC",
            CertRef::Sig => "C.SIG",
            CertRef::Qes => "C.QES",
        }
    }
}

/// Key type of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Crypt {
    Rsa,
    Ecc,
}

fn crypt(body: Node<'_, '_>) -> Result<Option<Crypt>, Malformed> {
    match optional(body, ns::CERT, "Crypt").as_deref() {
        None => Ok(None),
        Some("RSA") => Ok(Some(Crypt::Rsa)),
        Some("ECC") => Ok(Some(Crypt::Ecc)),
        Some(other) => Err(Malformed(format!("Crypt `{other:.20}` unknown"))),
    }
}

pub(crate) fn decode(body: Node<'_, '_>) -> Result<Request, Malformed> {
    let context = context(body)?;
    match body.tag_name().name() {
        "ReadCardCertificate" => {
            let list = descend(body, ns::CERT, "CertRefList")?;
            let refs = children(list, ns::CERT, "CertRef")
                .map(|node| CertRef::parse(node.text().unwrap_or_default().trim()));
            let refs = refs.collect::<Result<Vec<_>, _>>()?;
            if refs.is_empty() {
                return Err(Malformed("CertRef missing".into()));
            }
            let handle = required(body, ns::CONN, "CardHandle")?;
            Ok(Request::ReadCardCertificate {
                context,
                handle,
                refs,
                crypt: crypt(body)?,
            })
        }
        "CheckCertificateExpiration" => Ok(Request::CheckCertificateExpiration {
            context,
            handle: optional(body, ns::CONN, "CardHandle").filter(|handle| !handle.is_empty()),
            crypt: crypt(body)?,
        }),
        "VerifyCertificate" => {
            let text = required(body, ns::CERTCMN, "X509Certificate")?;
            let compact: String = text.split_ascii_whitespace().collect();
            let certificate = STANDARD
                .decode(compact)
                .map_err(|_| Malformed("X509Certificate is not base64".into()))?;
            Ok(Request::VerifyCertificate {
                context,
                certificate,
                at: optional(body, ns::CERT, "VerificationTime"),
            })
        }
        other => Err(Malformed(format!(
            "operation {other} unknown in CertificateService"
        ))),
    }
}

const NAMESPACES: [(&str, &str); 3] = [
    ("xmlns:CERT", ns::CERT),
    ("xmlns:CERTCMN", ns::CERTCMN),
    ("xmlns:CONN", ns::CONN),
];

/// A certificate with its names.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct CertificateData {
    pub issuer: String,
    /// Decimal.
    pub serial: String,
    pub subject: String,
    pub der: Vec<u8>,
}

/// Answer to ReadCardCertificate; a certificate that is not on the card is left out.
pub fn read_response(status: &Status, certificates: &[(CertRef, Option<CertificateData>)]) -> String {
    let mut out = Writer::new();
    out.open("CERT:ReadCardCertificateResponse", &NAMESPACES);
    status.write(&mut out);
    out.open("CERTCMN:X509DataInfoList", &[]);
    for (reference, data) in certificates {
        out.open("CERTCMN:X509DataInfo", &[]);
        out.leaf("CERTCMN:CertRef", reference.as_str());
        if let Some(data) = data {
            out.open("CERTCMN:X509Data", &[]);
            out.open("CERTCMN:X509IssuerSerial", &[]);
            out.leaf("CERTCMN:X509IssuerName", &data.issuer)
                .leaf("CERTCMN:X509SerialNumber", &data.serial);
            out.close("CERTCMN:X509IssuerSerial");
            out.leaf("CERTCMN:X509SubjectName", &data.subject);
            out.leaf("CERTCMN:X509Certificate", &STANDARD.encode(&data.der));
            out.close("CERTCMN:X509Data");
        }
        out.close("CERTCMN:X509DataInfo");
    }
    out.close("CERTCMN:X509DataInfoList")
        .close("CERT:ReadCardCertificateResponse");
    out.finish()
}

/// End of one certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Expiration {
    pub ct_id: String,
    pub handle: String,
    pub iccsn: String,
    pub common_name: String,
    pub serial: String,
    /// YYYY-MM-DD.
    pub validity: String,
}

/// Answer to CheckCertificateExpiration.
pub fn expiration_response(status: &Status, list: &[Expiration]) -> String {
    let mut out = Writer::new();
    out.open("CERT:CheckCertificateExpirationResponse", &NAMESPACES);
    status.write(&mut out);
    for one in list {
        out.open("CERT:CertificateExpiration", &[]);
        out.leaf("CERT:CtID", &one.ct_id)
            .leaf("CONN:CardHandle", &one.handle)
            .leaf("CERT:ICCSN", &one.iccsn)
            .leaf("CERT:subject_commonName", &one.common_name)
            .leaf("CERT:serialNumber", &one.serial)
            .leaf("CERT:validity", &one.validity);
        out.close("CERT:CertificateExpiration");
    }
    out.close("CERT:CheckCertificateExpirationResponse");
    out.finish()
}

/// Result of VerifyCertificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Verification {
    Valid,
    Inconclusive,
    Invalid,
}

/// Answer to VerifyCertificate.
pub fn verification_response(
    status: &Status,
    result: Verification,
    error: Option<&crate::Fault>,
    roles: &[String],
) -> String {
    let mut out = Writer::new();
    out.open("CERT:VerifyCertificateResponse", &NAMESPACES);
    status.write(&mut out);
    out.open("CERT:VerificationStatus", &[]);
    out.leaf(
        "CERT:VerificationResult",
        match result {
            Verification::Valid => "VALID",
            Verification::Inconclusive => "INCONCLUSIVE",
            Verification::Invalid => "INVALID",
        },
    );
    if let Some(error) = error {
        out.raw(&error.error_element());
    }
    out.close("CERT:VerificationStatus");
    out.open("CERT:RoleList", &[]);
    // the schema wants at least one
    if roles.is_empty() {
        out.leaf("CERT:Role", "");
    }
    for role in roles {
        out.leaf("CERT:Role", role);
    }
    out.close("CERT:RoleList").close("CERT:VerifyCertificateResponse");
    out.finish()
}
