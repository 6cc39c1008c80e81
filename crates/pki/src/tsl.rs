//! The trust list (ETSI TS 102 231, gemSpec_TSL): reading, verifying, and writing one for the test TI.

use asn1::{Cvc, X509, oid};
use base::{Code, Timestamp, limits};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crypto::{PublicKey, SoftKey};
use der::asn1::ObjectIdentifier as Oid;
use roxmltree::Node;
use std::fmt::Write;

const NS: &str = "http://uri.etsi.org/02231/v2#";
const CA_PKC: &str = "http://uri.etsi.org/TrstSvc/Svctype/CA/PKC";
const CA_CVC: &str = "http://uri.telematik/TrstSvc/Svctype/CA/CVC";
const OCSP: &str = "http://uri.etsi.org/TrstSvc/Svctype/Certstatus/OCSP";
const IN_ACCORD: &str = "http://uri.etsi.org/TrstSvc/Svcstatus/inaccord";

/// Why a list is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum TslError {
    /// Larger than [`limits::TSL`].
    #[error("trust list larger than {} bytes", limits::TSL)]
    TooBig,
    /// Not XML.
    #[error("trust list unreadable: {0}")]
    Xml(#[from] roxmltree::Error),
    /// Not a trust list, or a mandatory part is missing.
    #[error("trust list: {0} missing or malformed")]
    Format(&'static str),
    /// The signature is wrong or its form is not accepted.
    #[error("trust list signature: {0}")]
    Signature(#[from] xmlsec::Error),
    /// The signer is not one the anchor vouches for.
    #[error("trust list signer: {0}")]
    Signer(&'static str),
}

impl TslError {
    /// The code of TUC_PKI_001 and those it uses.
    pub fn code(&self) -> Code {
        match self {
            TslError::TooBig | TslError::Xml(_) | TslError::Format(_) => Code::TSL_FORMAT,
            TslError::Signature(_) | TslError::Signer(_) => Code::TSL_SIGNATURE,
        }
    }
}

/// One certification authority in the list.
#[derive(Debug, Clone)]
pub struct CaService {
    /// Its certificate.
    pub certificate: X509,
    /// Is it in accord now?
    pub in_accord: bool,
    /// Since when.
    pub since: Timestamp,
    /// Certificate types it may issue; empty means the list does not say.
    pub types: Vec<Oid>,
    /// Its OCSP address.
    pub ocsp: Option<String>,
}

/// A trust list.
#[derive(Debug, Clone)]
pub struct Tsl {
    /// Sequence number.
    pub sequence: u64,
    /// Made at.
    pub issued: Timestamp,
    /// Next one at the latest at.
    pub next_update: Timestamp,
    /// Certification authorities.
    pub cas: Vec<CaService>,
    /// OCSP signers.
    pub responders: Vec<X509>,
    /// Roots and cross certificates of the card world.
    pub cvcs: Vec<Cvc>,
    /// Entries that could not be used, with reason; one bad entry does not spoil the list.
    pub skipped: Vec<String>,
}

impl Tsl {
    /// Checks the signature up to `anchor` (the TSL signer CA) at `now`, and reads the list.
    pub fn verify(xml: &str, anchor: &X509, now: Timestamp) -> Result<Self, TslError> {
        if xml.len() > limits::TSL {
            return Err(TslError::TooBig);
        }
        let verified = xmlsec::verify_enveloped(xml, |certificates| signer_key(certificates, anchor, now))?;
        let content = std::str::from_utf8(&verified.content).map_err(|_| TslError::Format("encoding"))?;
        Self::read(content)
    }

    /// Reads a list whose signature somebody else has checked.
    pub fn read(xml: &str) -> Result<Self, TslError> {
        if xml.len() > limits::TSL {
            return Err(TslError::TooBig);
        }
        let options = roxmltree::ParsingOptions {
            nodes_limit: limits::XML_NODES,
            ..Default::default()
        };
        let document = roxmltree::Document::parse_with_options(xml, options)?;
        let root = document.root_element();
        if !root.has_tag_name((NS, "TrustServiceStatusList")) {
            return Err(TslError::Format("TrustServiceStatusList"));
        }
        let scheme = child(root, "SchemeInformation").ok_or(TslError::Format("SchemeInformation"))?;
        let sequence = text(scheme, "TSLSequenceNumber").and_then(|number| number.parse().ok());
        let next = child(scheme, "NextUpdate").and_then(|next| text(next, "dateTime"));
        let mut tsl = Self {
            sequence: sequence.ok_or(TslError::Format("TSLSequenceNumber"))?,
            issued: moment(text(scheme, "ListIssueDateTime")).ok_or(TslError::Format("ListIssueDateTime"))?,
            next_update: moment(next).ok_or(TslError::Format("NextUpdate"))?,
            cas: Vec::new(),
            responders: Vec::new(),
            cvcs: Vec::new(),
            skipped: Vec::new(),
        };
        for service in root
            .descendants()
            .filter(|node| node.has_tag_name((NS, "ServiceInformation")))
        {
            if let Err(reason) = tsl.read_service(service) {
                let name = child(service, "ServiceName")
                    .and_then(|name| text(name, "Name"))
                    .unwrap_or("?");
                tsl.skipped.push(format!("{name}: {reason}"));
            }
        }
        Ok(tsl)
    }

    fn read_service(&mut self, service: Node<'_, '_>) -> Result<(), String> {
        let kind = text(service, "ServiceTypeIdentifier").unwrap_or_default();
        let in_accord = text(service, "ServiceStatus") == Some(IN_ACCORD);
        match kind {
            CA_PKC => {
                let since = moment(text(service, "StatusStartingTime")).ok_or("StatusStartingTime")?;
                let types = service
                    .descendants()
                    .filter(|node| node.has_tag_name((NS, "ExtensionOID")));
                let types = types
                    .filter_map(|node| Oid::new(node.text()?.trim()).ok())
                    .collect();
                let ocsp = service
                    .descendants()
                    .find(|node| node.has_tag_name((NS, "ServiceSupplyPoint")));
                let ocsp = ocsp.and_then(|node| node.text()).map(|url| url.trim().to_owned());
                self.cas.push(CaService {
                    certificate: certificate(service)?,
                    in_accord,
                    since,
                    types,
                    ocsp,
                });
            }
            OCSP if in_accord => self.responders.push(certificate(service)?),
            CA_CVC if in_accord => {
                let node = service
                    .descendants()
                    .find(|node| node.tag_name().name() == "CVCertificate");
                let bytes = decode(node.and_then(|node| node.text()).unwrap_or_default())?;
                self.cvcs
                    .push(Cvc::parse(&bytes).map_err(|error| error.to_string())?);
            }
            _ => {}
        }
        Ok(())
    }
}

/// The signer must be certified by the anchor, for signing trust lists, and valid now (TUC_PKI_011).
fn signer_key(certificates: &[Vec<u8>], anchor: &X509, now: Timestamp) -> Result<PublicKey, TslError> {
    let signer = certificates
        .first()
        .ok_or(TslError::Signer("no certificate in KeyInfo"))?;
    let signer = X509::parse(signer).map_err(|_| TslError::Signer("certificate unreadable"))?;
    let valid = |certificate: &X509| {
        let (from, to) = certificate.validity();
        (from..=to).contains(&now.as_second())
    };
    if !valid(anchor) {
        return Err(TslError::Signer("trust anchor outside its validity"));
    }
    if !valid(&signer) {
        return Err(TslError::Signer("signer outside its validity"));
    }
    if !signer.extended_key_usage.contains(&oid::KP_TSL_SIGNING) {
        return Err(TslError::Signer("not meant for signing trust lists"));
    }
    if !signer.key_usage.is_some_and(|usage| usage.non_repudiation()) {
        return Err(TslError::Signer("key usage is not nonRepudiation"));
    }
    crate::check::verify_signature(&signer, anchor)
        .map_err(|_| TslError::Signer("not issued by the trust anchor"))?;
    let spki = signer.spki().map_err(|_| TslError::Signer("key unreadable"))?;
    PublicKey::from_spki(&spki).map_err(|_| TslError::Signer("key not usable"))
}

fn child<'a, 'i>(node: Node<'a, 'i>, name: &'static str) -> Option<Node<'a, 'i>> {
    node.children().find(|child| child.has_tag_name((NS, name)))
}

fn text<'a>(node: Node<'a, '_>, name: &'static str) -> Option<&'a str> {
    child(node, name)?.text().map(str::trim)
}

fn moment(text: Option<&str>) -> Option<Timestamp> {
    text?.parse().ok()
}

fn decode(base64: &str) -> Result<Vec<u8>, String> {
    let compact: String = base64.split_ascii_whitespace().collect();
    STANDARD.decode(compact).map_err(|error| error.to_string())
}

fn certificate(service: Node<'_, '_>) -> Result<X509, String> {
    let node = service
        .descendants()
        .find(|node| node.has_tag_name((NS, "X509Certificate")));
    let der = decode(node.and_then(|node| node.text()).ok_or("no certificate")?)?;
    X509::parse(&der).map_err(|error| error.to_string())
}

/// What goes into a list of the test TI.
#[derive(Debug, Clone, Default)]
pub struct Contents {
    /// CA certificates with the types they may issue.
    pub cas: Vec<(Vec<u8>, Vec<Oid>)>,
    /// OCSP signer certificates.
    pub responders: Vec<Vec<u8>>,
    /// CV certificates of roots and between roots.
    pub cvcs: Vec<Vec<u8>>,
    /// OCSP address of all CAs.
    pub ocsp: String,
    /// Where the list is to be found.
    pub location: String,
}

/// Writes and signs a list that validates against `ext/tsl.xsd`.
pub fn write(
    contents: &Contents,
    sequence: u64,
    issued: Timestamp,
    next_update: Timestamp,
    signer: &[u8],
    key: &SoftKey,
) -> Result<String, TslError> {
    let address = "<PostalAddresses><PostalAddress xml:lang=\"DE\"><StreetAddress>Loipe 1</StreetAddress>\
        <Locality>Berlin</Locality><StateOrProvince>Berlin</StateOrProvince><PostalCode>10117</PostalCode>\
        <CountryName>DE</CountryName></PostalAddress></PostalAddresses>\
        <ElectronicAddress><URI>mailto:test@langlauf.invalid</URI></ElectronicAddress>";
    let name = |tag: &str, text: &str| format!("<{tag}><Name xml:lang=\"DE\">{text}</Name></{tag}>");
    let uri = |tag: &str| format!("<{tag}><URI xml:lang=\"DE\">http://langlauf.invalid</URI></{tag}>");
    let pointer = |role: &str| {
        format!(
            "<OtherTSLPointer><TSLLocation>{}</TSLLocation><AdditionalInformation>\
             <TextualInformation xml:lang=\"DE\">{role}</TextualInformation></AdditionalInformation></OtherTSLPointer>",
            contents.location
        )
    };
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><TrustServiceStatusList xmlns=\"{NS}\" Id=\"TSL{sequence}\" \
         TSLTag=\"http://uri.etsi.org/02231/TSLTag\"><SchemeInformation><TSLVersionIdentifier>3</TSLVersionIdentifier>\
         <TSLSequenceNumber>{sequence}</TSLSequenceNumber><TSLType>http://uri.etsi.org/TrstSvc/TSLtype/generic</TSLType>\
         {}<SchemeOperatorAddress>{address}</SchemeOperatorAddress>{}{}\
         <StatusDeterminationApproach>http://uri.etsi.org/TrstSvc/TSLType/StatusDetn/passive</StatusDeterminationApproach>\
         <PolicyOrLegalNotice><TSLLegalNotice xml:lang=\"DE\">TEST-ONLY</TSLLegalNotice></PolicyOrLegalNotice>\
         <HistoricalInformationPeriod>0</HistoricalInformationPeriod><PointersToOtherTSL>{}{}</PointersToOtherTSL>\
         <ListIssueDateTime>{issued}</ListIssueDateTime><NextUpdate><dateTime>{next_update}</dateTime></NextUpdate>\
         </SchemeInformation><TrustServiceProviderList><TrustServiceProvider><TSPInformation>{}{}\
         <TSPAddress>{address}</TSPAddress>{}</TSPInformation><TSPServices>",
        name("SchemeOperatorName", "Langlauf TEST-ONLY"),
        name("SchemeName", "Langlauf TEST-ONLY TSL"),
        uri("SchemeInformationURI"),
        pointer("1.2.276.0.76.4.120"),
        pointer("1.2.276.0.76.4.121"),
        name("TSPName", "Langlauf TEST-ONLY"),
        name("TSPTradeName", "Langlauf TEST-ONLY"),
        uri("TSPInformationURI"),
    );
    for (der, types) in &contents.cas {
        let subject = X509::parse(der)
            .map_err(|_| TslError::Format("CA certificate"))?
            .subject();
        service(
            &mut out,
            CA_PKC,
            &subject,
            &x509_id(der),
            issued,
            &contents.ocsp,
            types,
        );
    }
    for der in &contents.responders {
        let subject = X509::parse(der)
            .map_err(|_| TslError::Format("OCSP certificate"))?
            .subject();
        service(
            &mut out,
            OCSP,
            &subject,
            &x509_id(der),
            issued,
            &contents.ocsp,
            &[],
        );
    }
    for bytes in &contents.cvcs {
        let cvc = Cvc::parse(bytes).map_err(|_| TslError::Format("CV certificate"))?;
        let id = format!(
            "<Other><CVCertificate>{}</CVCertificate></Other>",
            STANDARD.encode(bytes)
        );
        let names = format!("CHR={}, CAR={}", reference(&cvc.chr), reference(&cvc.car));
        service(&mut out, CA_CVC, &names, &id, issued, &contents.ocsp, &[]);
    }
    out.push_str("</TSPServices></TrustServiceProvider></TrustServiceProviderList></TrustServiceStatusList>");
    Ok(xmlsec::sign_enveloped(&out, key, signer)?)
}

fn x509_id(der: &[u8]) -> String {
    format!("<X509Certificate>{}</X509Certificate>", STANDARD.encode(der))
}

/// `DEGXX870222`: five letters and six digits.
fn reference(bytes: &[u8]) -> String {
    let (letters, digits) = bytes.split_at(bytes.len().min(5));
    String::from_utf8_lossy(letters).into_owned() + &hex::encode(digits)
}

fn service(
    out: &mut String,
    kind: &str,
    name: &str,
    id: &str,
    since: Timestamp,
    supply: &str,
    types: &[Oid],
) {
    let name = name.replace('&', "&amp;").replace('<', "&lt;");
    let _ = write!(
        out,
        "<TSPService><ServiceInformation><ServiceTypeIdentifier>{kind}</ServiceTypeIdentifier>\
         <ServiceName><Name xml:lang=\"DE\">{name}</Name></ServiceName>\
         <ServiceDigitalIdentity><DigitalId>{id}</DigitalId></ServiceDigitalIdentity>\
         <ServiceStatus>{IN_ACCORD}</ServiceStatus><StatusStartingTime>{since}</StatusStartingTime>\
         <ServiceSupplyPoints><ServiceSupplyPoint>{supply}</ServiceSupplyPoint></ServiceSupplyPoints>"
    );
    if !types.is_empty() {
        out.push_str("<ServiceInformationExtensions>");
        for oid in types {
            let _ = write!(
                out,
                "<Extension Critical=\"false\"><ExtensionOID>{oid}</ExtensionOID>\
                 <ExtensionValue>{oid}</ExtensionValue></Extension>"
            );
        }
        out.push_str("</ServiceInformationExtensions>");
    }
    out.push_str("</ServiceInformation></TSPService>");
}
