//! Lists of the test TI.

use super::read::NS;
use super::{
    ANCHOR_CHANGE, BACKUP, CA_CVC, CA_PKC, CRL, DNSSEC, DnssecAnchor, IN_ACCORD, OCSP, PRIMARY, REVOKED,
    TslError, VL,
};
use crate::vl::{CA_QC, FOR_SIGNATURES, GRANTED, OCSP_QC, WITHDRAWN};
use asn1::{Cvc, X509};
use base::Timestamp;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crypto::SoftKey;
use der::asn1::ObjectIdentifier as Oid;
use std::fmt::Write;

/// What goes into a list.
#[derive(Debug, Clone, Default)]
pub struct Contents {
    /// CA certificates with the types they may issue.
    pub cas: Vec<(Vec<u8>, Vec<Oid>)>,
    /// CAs that were revoked, with the moment.
    pub revoked: Vec<(Vec<u8>, Timestamp)>,
    /// OCSP signer certificates.
    pub responders: Vec<Vec<u8>>,
    /// Certificates of signers of revocation lists.
    pub crl_signers: Vec<Vec<u8>>,
    /// CV certificates of roots and between roots.
    pub cvcs: Vec<Vec<u8>>,
    /// Announced trust anchors and when they begin.
    pub announced: Vec<(Vec<u8>, Timestamp)>,
    /// Anchors of signed names.
    pub dnssec: Vec<DnssecAnchor>,
    /// Certificates of the signers of the trusted list for qualified signatures, and its addresses.
    pub vl: Option<(Vec<Vec<u8>>, Vec<String>)>,
    /// Further entries, as they are: mistakes to try out.
    pub raw: String,
    /// OCSP address of all CAs.
    pub ocsp: String,
    /// Where the list is to be found.
    pub location: String,
}

/// Number, date and end of a list.
#[derive(Debug, Clone, Copy)]
pub struct Edition {
    /// Sequence number.
    pub sequence: u64,
    /// Made at.
    pub issued: Timestamp,
    /// Next one at the latest at.
    pub next_update: Timestamp,
}

/// Writes and signs a list that validates against `ext/tsl.xsd`, with a XAdES signature as gematik's.
pub fn write(
    contents: &Contents,
    edition: &Edition,
    signer: &[u8],
    key: &SoftKey,
) -> Result<String, TslError> {
    let pointer = |role: &str| {
        format!(
            "<OtherTSLPointer><TSLLocation>{}</TSLLocation><AdditionalInformation>\
             <TextualInformation xml:lang=\"DE\">{role}</TextualInformation></AdditionalInformation></OtherTSLPointer>",
            contents.location
        )
    };
    let pointers = format!(
        "<PointersToOtherTSL>{}{}</PointersToOtherTSL>",
        pointer(PRIMARY),
        pointer(BACKUP)
    );
    let kind = "http://uri.etsi.org/TrstSvc/TSLtype/generic";
    let mut out = head(edition, kind, 3, &pointers, "http://uri.etsi.org/02231/TSLTag");
    let of = |kind: &'static str, status: &'static str, since: Timestamp| Entry {
        kind,
        status,
        since,
        supply: vec![contents.ocsp.clone()],
        extensions: String::new(),
    };
    for (der, types) in &contents.cas {
        let mut entry = of(CA_PKC, IN_ACCORD, edition.issued);
        entry.extensions = type_extensions(types);
        entry.write(&mut out, &subject(der)?, &x509_id(der));
    }
    for (der, since) in &contents.revoked {
        of(CA_PKC, REVOKED, *since).write(&mut out, &subject(der)?, &x509_id(der));
    }
    for (kind, all) in [(OCSP, &contents.responders), (CRL, &contents.crl_signers)] {
        for der in all {
            of(kind, IN_ACCORD, edition.issued).write(&mut out, &subject(der)?, &x509_id(der));
        }
    }
    for (der, from) in &contents.announced {
        of(ANCHOR_CHANGE, IN_ACCORD, *from).write(&mut out, &subject(der)?, &x509_id(der));
    }
    for bytes in &contents.cvcs {
        let cvc = Cvc::parse(bytes).map_err(|_| TslError::Format("CV certificate"))?;
        let id = format!(
            "<DigitalId><Other><CVCertificate>{}</CVCertificate></Other></DigitalId>",
            STANDARD.encode(bytes)
        );
        let names = format!("CHR={}, CAR={}", reference(&cvc.chr), reference(&cvc.car));
        of(CA_CVC, IN_ACCORD, edition.issued).write(&mut out, &names, &id);
    }
    for anchor in &contents.dnssec {
        let id = format!(
            "<DigitalId><Other><dns:TrustAnchor xmlns:dns=\"{NS}\" id=\"1\" source=\"http://langlauf.invalid\">\
             <dns:Zone>{}</dns:Zone><dns:KeyDigest id=\"1\" validFrom=\"{}\"><dns:KeyTag>{}</dns:KeyTag>\
             <dns:Algorithm>{}</dns:Algorithm><dns:DigestType>{}</dns:DigestType><dns:Digest>{}</dns:Digest>\
             </dns:KeyDigest></dns:TrustAnchor></Other></DigitalId>",
            anchor.zone,
            edition.issued,
            anchor.key_tag,
            anchor.algorithm,
            anchor.digest_type,
            hex::encode(&anchor.digest)
        );
        of(DNSSEC, IN_ACCORD, edition.issued).write(&mut out, "CN=DNSSEC-Trustanchor, DC=telematik", &id);
    }
    if let Some((signers, addresses)) = &contents.vl {
        let id: String = signers.iter().map(|der| x509_id(der)).collect();
        let mut entry = of(VL, IN_ACCORD, edition.issued);
        entry.supply.clone_from(addresses);
        entry.write(&mut out, "Trusted List Signer TEST-ONLY", &id);
    }
    out.push_str(&contents.raw);
    finish(out, edition, signer, key)
}

/// A CA of a trusted list: its certificate and, if it was withdrawn, since when.
pub type QualifiedCa = (Vec<u8>, Option<Timestamp>);

/// Writes and signs a trusted list (TS 119 612) with CAs and OCSP signers: what the test TI has instead of the
/// Bundesnetzagentur's.
pub fn write_trusted_list(
    cas: &[QualifiedCa],
    responders: &[Vec<u8>],
    edition: &Edition,
    signer: &[u8],
    key: &SoftKey,
) -> Result<String, TslError> {
    let kind = "http://uri.etsi.org/TrstSvc/TrustedList/TSLType/EUgeneric";
    let mut out = head(edition, kind, 5, "", "http://uri.etsi.org/19612/TSLTag");
    for (der, withdrawn) in cas {
        let certificate = X509::parse(der).map_err(|_| TslError::Format("CA certificate"))?;
        let begin = Timestamp::from_second(certificate.validity().0).unwrap_or(edition.issued);
        let extension = format!(
            "<Extension Critical=\"true\"><AdditionalServiceInformation><URI xml:lang=\"en\">{FOR_SIGNATURES}</URI>\
             </AdditionalServiceInformation></Extension>"
        );
        let mut entry = Entry {
            kind: CA_QC,
            status: GRANTED,
            since: begin,
            supply: Vec::new(),
            extensions: extension,
        };
        if let Some(moment) = withdrawn {
            (entry.status, entry.since) = (WITHDRAWN, *moment);
            entry.write_with_history(&mut out, &certificate.subject(), &x509_id(der), GRANTED, begin);
        } else {
            entry.write(&mut out, &certificate.subject(), &x509_id(der));
        }
    }
    for der in responders {
        let entry = Entry {
            kind: OCSP_QC,
            status: GRANTED,
            since: edition.issued,
            supply: Vec::new(),
            extensions: String::new(),
        };
        entry.write(&mut out, &subject(der)?, &x509_id(der));
    }
    finish(out, edition, signer, key)
}

fn head(edition: &Edition, kind: &str, version: u8, pointers: &str, tag: &str) -> String {
    let address = "<PostalAddresses><PostalAddress xml:lang=\"DE\"><StreetAddress>Loipe 1</StreetAddress>\
        <Locality>Berlin</Locality><StateOrProvince>Berlin</StateOrProvince><PostalCode>10117</PostalCode>\
        <CountryName>DE</CountryName></PostalAddress></PostalAddresses>\
        <ElectronicAddress><URI>mailto:test@langlauf.invalid</URI></ElectronicAddress>";
    let name = |tag: &str, text: &str| format!("<{tag}><Name xml:lang=\"DE\">{text}</Name></{tag}>");
    let uri = |tag: &str| format!("<{tag}><URI xml:lang=\"DE\">http://langlauf.invalid</URI></{tag}>");
    let Edition {
        sequence,
        issued,
        next_update,
    } = edition;
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><TrustServiceStatusList xmlns=\"{NS}\" Id=\"ID{sequence}{}\" \
         TSLTag=\"{tag}\"><SchemeInformation><TSLVersionIdentifier>{version}</TSLVersionIdentifier>\
         <TSLSequenceNumber>{sequence}</TSLSequenceNumber><TSLType>{kind}</TSLType>\
         {}<SchemeOperatorAddress>{address}</SchemeOperatorAddress>{}{}\
         <StatusDeterminationApproach>http://uri.etsi.org/TrstSvc/TSLType/StatusDetn/passive</StatusDeterminationApproach>\
         <PolicyOrLegalNotice><TSLLegalNotice xml:lang=\"DE\">TEST-ONLY</TSLLegalNotice></PolicyOrLegalNotice>\
         <HistoricalInformationPeriod>0</HistoricalInformationPeriod>{pointers}\
         <ListIssueDateTime>{issued}</ListIssueDateTime><NextUpdate><dateTime>{next_update}</dateTime></NextUpdate>\
         </SchemeInformation><TrustServiceProviderList><TrustServiceProvider><TSPInformation>{}{}\
         <TSPAddress>{address}</TSPAddress>{}</TSPInformation><TSPServices>",
        issued.strftime("%Y%m%d%H%M%SZ"),
        name("SchemeOperatorName", "Langlauf TEST-ONLY"),
        name("SchemeName", "Langlauf TEST-ONLY TSL"),
        uri("SchemeInformationURI"),
        name("TSPName", "Langlauf TEST-ONLY"),
        name("TSPTradeName", "Langlauf TEST-ONLY"),
        uri("TSPInformationURI"),
    )
}

fn finish(mut out: String, edition: &Edition, signer: &[u8], key: &SoftKey) -> Result<String, TslError> {
    out.push_str("</TSPServices></TrustServiceProvider></TrustServiceProviderList></TrustServiceStatusList>");
    let certificate = X509::parse(signer).map_err(|_| TslError::Format("signer certificate"))?;
    let properties = xmlsec::Properties {
        signing_time: &edition.issued.to_string(),
        issuer: &certificate.issuer(),
        serial: &certificate.serial_decimal(),
    };
    Ok(xmlsec::sign_enveloped(&out, key, signer, Some(&properties))?)
}

fn subject(der: &[u8]) -> Result<String, TslError> {
    let certificate = X509::parse(der).map_err(|_| TslError::Format("certificate"))?;
    Ok(certificate.subject())
}

fn x509_id(der: &[u8]) -> String {
    format!(
        "<DigitalId><X509Certificate>{}</X509Certificate></DigitalId>",
        STANDARD.encode(der)
    )
}

/// `DEGXX870222`: five letters and six digits.
fn reference(bytes: &[u8]) -> String {
    let (letters, digits) = bytes.split_at(bytes.len().min(5));
    String::from_utf8_lossy(letters).into_owned() + &hex::encode(digits)
}

fn type_extensions(types: &[Oid]) -> String {
    let mut out = String::new();
    for oid in types {
        let _ = write!(
            out,
            "<Extension Critical=\"false\"><ExtensionOID>{oid}</ExtensionOID>\
             <ExtensionValue>{oid}</ExtensionValue></Extension>"
        );
    }
    out
}

struct Entry {
    kind: &'static str,
    status: &'static str,
    since: Timestamp,
    supply: Vec<String>,
    extensions: String,
}

impl Entry {
    fn write(&self, out: &mut String, name: &str, id: &str) {
        out.push_str("<TSPService>");
        self.information(out, name, id);
        out.push_str("</TSPService>");
    }

    fn write_with_history(&self, out: &mut String, name: &str, id: &str, before: &str, since: Timestamp) {
        out.push_str("<TSPService>");
        self.information(out, name, id);
        let _ = write!(
            out,
            "<ServiceHistory><ServiceHistoryInstance><ServiceTypeIdentifier>{}</ServiceTypeIdentifier>{}\
             <ServiceDigitalIdentity>{id}</ServiceDigitalIdentity><ServiceStatus>{before}</ServiceStatus>\
             <StatusStartingTime>{since}</StatusStartingTime></ServiceHistoryInstance></ServiceHistory></TSPService>",
            self.kind,
            service_name(name)
        );
    }

    fn information(&self, out: &mut String, name: &str, id: &str) {
        let _ = write!(
            out,
            "<ServiceInformation><ServiceTypeIdentifier>{}</ServiceTypeIdentifier>{}\
             <ServiceDigitalIdentity>{id}</ServiceDigitalIdentity>\
             <ServiceStatus>{}</ServiceStatus><StatusStartingTime>{}</StatusStartingTime>",
            self.kind,
            service_name(name),
            self.status,
            self.since
        );
        if !self.supply.is_empty() {
            out.push_str("<ServiceSupplyPoints>");
            for address in &self.supply {
                let _ = write!(out, "<ServiceSupplyPoint>{address}</ServiceSupplyPoint>");
            }
            out.push_str("</ServiceSupplyPoints>");
        }
        if !self.extensions.is_empty() {
            let _ = write!(
                out,
                "<ServiceInformationExtensions>{}</ServiceInformationExtensions>",
                self.extensions
            );
        }
        out.push_str("</ServiceInformation>");
    }
}

fn service_name(name: &str) -> String {
    let name = base::xml::escape(name);
    format!("<ServiceName><Name xml:lang=\"DE\">{name}</Name></ServiceName>")
}
