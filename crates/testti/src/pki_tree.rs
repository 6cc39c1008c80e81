use crate::Error;
use asn1::{Admission, Chat, CvcDate, Flags, ListKind, X509, oid};
use base::Timestamp;
use crypto::tls::Identity;
use crypto::{Curve, EcPrivate, Key, PublicKey, RsaPrivate, SoftKey};
use der::asn1::ObjectIdentifier as Oid;
use pki::issue::{Authority, Name, Profile, Request, profile};
use pki::{CvcAuthority, tsl};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// Rights that the CA of HBA and SMC-B may pass on (digest 2.8): all role and device profiles.
const FLAGS_PROFESSIONAL_CA: [u8; 7] = [0x80, 0xFF, 0x3B, 0xDF, 0xE1, 0xFF, 0x0C];
/// Rights that the CA of gSMC may pass on: SAK and remote PIN sender.
const FLAGS_DEVICE_CA: [u8; 7] = [0x80, 0, 0, 0, 0, 0, 0x03];
/// An eGK has no rights, so its CA has none to pass on.
const FLAGS_EGK_CA: [u8; 7] = [0x80, 0, 0, 0, 0, 0, 0];

/// By this the certificate of a trust anchor is told from those of other CAs below a root (Tab_PKI_213).
const TSL_UNIT: &str = "TSL-Signer-CA der Telematikinfrastruktur";

const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// Private keys of the whole tree by name, PKCS#8 in hex: what must be stored to have the same TI again.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct SavedKeys {
    /// When the tree was made, RFC 3339.
    made: String,
    keys: BTreeMap<String, String>,
    /// Certificates with random serial numbers, DER in hex, so that a restart shows the same.
    certificates: BTreeMap<String, String>,
}

/// The certificates of the test TI.
#[derive(Clone)]
pub struct TestPki {
    /// Certifies components: Konnektor, terminals, services. On brainpoolP256r1.
    pub component_ca: Authority,
    /// The same on P-256.
    pub component_ca_nist: Authority,
    /// Certifies SMC-B.
    pub smcb_ca: Authority,
    /// Certifies HBA.
    pub hba_ca: Authority,
    /// Certifies eGK.
    pub egk_ca: Authority,
    /// Certifies VPN concentrators.
    pub vpn_ca: Authority,
    /// Issues qualified certificates; it stands in the trusted list, not in the trust list.
    pub qes_ca: Authority,
    /// Signs OCSP answers.
    pub ocsp_signer: (X509, SoftKey),
    /// Signs the revocation list of the VPN access services.
    pub crl_signer: (X509, SoftKey),
    /// Signs the trusted list for qualified signatures.
    pub vl_signer: (X509, SoftKey),
    /// The first trust anchor and its signer of trust lists.
    pub tsl: ListSigner,
    root: Authority,
    roots: Vec<Vec<u8>>,
    crosses: Vec<Vec<u8>>,
    /// Root of the card world.
    pub cvc_root: CvcAuthority,
    cvc_links: Vec<Vec<u8>>,
    /// Certifies HBA and SMC-B, with rights to pass on.
    pub cvc_professional: CvcAuthority,
    /// Certifies eGK.
    pub cvc_egk: CvcAuthority,
    /// Certifies gSMC-K and gSMC-KT.
    pub cvc_device: CvcAuthority,
    /// Validity of everything issued.
    pub validity: (Timestamp, Timestamp),
    /// The same in the calendar of cards.
    pub cvc_validity: (CvcDate, CvcDate),
    ocsp_url: String,
}

/// A trust anchor with the signer it has certified.
#[derive(Debug, Clone)]
pub struct ListSigner {
    /// The anchor: TSL signer CA.
    pub ca: Authority,
    /// The signer's certificate.
    pub certificate: Vec<u8>,
    /// The signer's key.
    pub key: SoftKey,
}

/// The Konnektor's own identities (gSMC-K), on both curves.
#[derive(Debug, Clone)]
pub struct KonnektorIdentities {
    /// ID.AK.AUT on brainpoolP256r1: server towards practice systems.
    pub ak_brainpool: Identity,
    /// ID.AK.AUT on P-256.
    pub ak_nist: Identity,
    /// ID.SAK.AUT: client towards terminals.
    pub sak: Identity,
    /// ID.NK.VPN.
    pub nk: Identity,
    /// The same with RSA keys, on a card that was made with both.
    pub rsa: Vec<(identity::Role, Identity)>,
}

impl KonnektorIdentities {
    /// What was issued for the card: as the first package of its TSP.
    pub fn package(&self, gsmc_k: &card::image::ObjectSystem) -> identity::Package {
        use identity::{Algorithm, Kind, Role};
        let kind = |role, algorithm| Kind { role, algorithm };
        let all = [
            (kind(Role::NkVpn, Algorithm::Brainpool), &self.nk),
            (kind(Role::AkAut, Algorithm::Brainpool), &self.ak_brainpool),
            (kind(Role::AkAut, Algorithm::Nist), &self.ak_nist),
            (kind(Role::SakAut, Algorithm::Brainpool), &self.sak),
        ];
        let rsa = self.rsa.iter();
        let certificates = all
            .into_iter()
            .chain(rsa.map(|(role, identity)| (kind(*role, Algorithm::Rsa), identity)))
            .filter_map(|(kind, identity)| Some((kind, identity.chain.first()?.clone())));
        let file = |part: &str| gsmc_k.content(part).map(<[u8]>::to_vec);
        identity::Package {
            certificates: certificates.collect(),
            cvc: file("C.SAK.AUTD_CVC").zip(file("C.CA_SAK.CS")),
        }
    }
}

/// Reads keys and certificates that exist and makes those that do not.
struct Maker<'a> {
    saved: &'a mut SavedKeys,
}

impl Maker<'_> {
    fn key(&mut self, name: &str, curve: Curve) -> Result<SoftKey, Error> {
        if let Some(text) = self.saved.keys.get(name) {
            let der = hex::decode(text).map_err(|error| Error::Stored(error.to_string()))?;
            return Ok(SoftKey::from_pkcs8(&der)?);
        }
        let key = SoftKey::Ec(EcPrivate::generate(curve)?);
        self.saved
            .keys
            .insert(name.into(), hex::encode(&key.to_pkcs8()?[..]));
        Ok(key)
    }

    fn ec_key(&mut self, name: &str) -> Result<EcPrivate, Error> {
        match self.key(name, Curve::BrainpoolP256r1)? {
            SoftKey::Ec(key) => Ok(key),
            SoftKey::Rsa(_) => Err(Error::Stored(name.into())),
        }
    }

    fn certificate(
        &mut self,
        name: &str,
        make: impl FnOnce() -> Result<Vec<u8>, Error>,
    ) -> Result<Vec<u8>, Error> {
        if let Some(text) = self.saved.certificates.get(name) {
            return hex::decode(text).map_err(|error| Error::Stored(error.to_string()));
        }
        let der = make()?;
        self.saved.certificates.insert(name.into(), hex::encode(&der));
        Ok(der)
    }

    fn authority(
        &mut self,
        issuer: Option<&Authority>,
        name: &str,
        curve: Curve,
        ocsp: &str,
        validity: (Timestamp, Timestamp),
    ) -> Result<Authority, Error> {
        let key = self.key(name, curve)?;
        let subject = Name::new(
            "Langlauf TEST-ONLY NOT-VALID",
            &format!("LANGLAUF.{name} TEST-ONLY"),
        );
        let subject = match name {
            "TSL-CA" => subject.with("OU", TSL_UNIT),
            _ => subject,
        };
        let mut made = match issuer {
            None => Authority::root(subject, key, ocsp, validity.0, validity.1)?,
            Some(issuer) => issuer.subordinate(subject, key, validity.0, validity.1)?,
        };
        made.certificate = self.certificate(name, || Ok(made.certificate.clone()))?;
        Ok(made)
    }
}

pub(crate) fn cvc_date(time: Timestamp) -> Result<CvcDate, Error> {
    pki::day_of(time).ok_or_else(|| Error::Date(time.to_string()))
}

impl TestPki {
    /// The tree of `saved`, completed where something is missing; a new one is valid from a day before `now` for
    /// eight years. `ocsp_url` goes into every certificate that has a status.
    pub fn open(saved: &mut SavedKeys, now: Timestamp, ocsp_url: &str) -> Result<Self, Error> {
        if saved.made.is_empty() {
            saved.made = now.to_string();
        }
        let made: Timestamp = saved.made.parse().map_err(|_| Error::Stored("date".into()))?;
        let date = |error: jiff::Error| Error::Date(error.to_string());
        let from = made.checked_sub(Duration::from_secs(86_400)).map_err(date)?;
        let to = made.checked_add(YEAR * 8).map_err(date)?;
        let validity = (from, to);
        let (cvc_from, cvc_to) = (cvc_date(from)?, cvc_date(to)?);
        let mut maker = Maker { saved };
        let (bp, nist) = (Curve::BrainpoolP256r1, Curve::NistP256);
        let root = maker.authority(None, "RCA8", bp, ocsp_url, validity)?;
        let root_nist = maker.authority(None, "RCA7", nist, ocsp_url, validity)?;
        let cross = |maker: &mut Maker<'_>, name: &str, by: &Authority, of: &Authority| {
            maker.certificate(name, || Ok(by.cross(&of.name, &of.key().public(), from, to)?))
        };
        let cross_a = cross(&mut maker, "RCA8-by-RCA7", &root_nist, &root)?;
        let cross_b = cross(&mut maker, "RCA7-by-RCA8", &root, &root_nist)?;
        let component_ca = maker.authority(Some(&root), "KOMP-CA9", bp, ocsp_url, validity)?;
        let component_ca_nist = maker.authority(Some(&root_nist), "KOMP-CA8", nist, ocsp_url, validity)?;
        let smcb_ca = maker.authority(Some(&root), "SMCB-CA", bp, ocsp_url, validity)?;
        let hba_ca = maker.authority(Some(&root), "HBA-CA", bp, ocsp_url, validity)?;
        let egk_ca = maker.authority(Some(&root), "EGK-CA", bp, ocsp_url, validity)?;
        let vpn_ca = maker.authority(Some(&root), "VPNK-CA", bp, ocsp_url, validity)?;
        let tsl_ca = maker.authority(Some(&root), "TSL-CA", bp, ocsp_url, validity)?;
        let signer = |maker: &mut Maker<'_>, ca: &Authority, name: &str, profile: &Profile| {
            let key = maker.key(name, bp)?;
            let request = Request {
                profile,
                subject: Name::new("Langlauf TEST-ONLY NOT-VALID", name),
                key: key.public(),
                admission: None,
                dns: &[],
                addresses: &[],
                from,
                to,
            };
            let certificate = maker.certificate(name, || Ok(ca.issue(&request)?))?;
            Ok::<_, Error>((certificate, key))
        };
        let ocsp = signer(&mut maker, &component_ca, "OCSP Signer 1", &profile::OCSP_SIGNER)?;
        let tsl_signer = signer(&mut maker, &tsl_ca, "TSL Signing Unit 1", &profile::TSL_SIGNER)?;
        let crl_signer = signer(&mut maker, &vpn_ca, "VPNK CRL-Signer 1", &profile::CRL_SIGNER)?;
        let list = format!("{}/internet/VPN.crl", ocsp_url.trim_end_matches("/ocsp"));
        let mut vpn_ca = vpn_ca;
        vpn_ca.revocation_list = Some((list, X509::parse(&crl_signer.0)?.subject_der()?.to_vec()));
        let qes_ca = maker.authority(None, "HBA-qCA", bp, ocsp_url, validity)?;
        let vl_ca = maker.authority(None, "VL-CA", bp, ocsp_url, validity)?;
        let vl_signer = signer(&mut maker, &vl_ca, "Trusted List Signer 1", &profile::TSL_SIGNER)?;

        let chat = |flags| Chat {
            kind: ListKind::Ti,
            flags: Flags(flags),
        };
        let all = chat([0xFF; 7]);
        let reference = |number: u8, year: u8| [b'L', b'L', b'X', b'X', b'X', number, 0x02, year];
        let key_old = maker.ec_key("CVC-root-old")?;
        let cvc_old = CvcAuthority::root(reference(0x87, 0x24), key_old, all, cvc_from, cvc_to)?;
        let cvc_root = CvcAuthority::root(
            reference(0x88, 0x26),
            maker.ec_key("CVC-root")?,
            all,
            cvc_from,
            cvc_to,
        )?;
        let link_up = cvc_old.issue(&cvc_root.reference, &cvc_root.public(), all, cvc_from, cvc_to)?;
        let link_down = cvc_root.issue(&cvc_old.reference, &cvc_old.public(), all, cvc_from, cvc_to)?;
        let mut cvc_ca = |name: &str, number: u8, flags| {
            let key = maker.ec_key(name)?;
            Ok::<_, Error>(cvc_root.subordinate(
                reference(number, 0x26),
                key,
                chat(flags),
                cvc_from,
                cvc_to,
            )?)
        };
        let cvc_professional = cvc_ca("CVC-HPC-SMC", 0x11, FLAGS_PROFESSIONAL_CA)?;
        let cvc_egk = cvc_ca("CVC-eGK", 0x12, FLAGS_EGK_CA)?;
        let cvc_device = cvc_ca("CVC-gSMC", 0x13, FLAGS_DEVICE_CA)?;
        Ok(Self {
            roots: vec![root.certificate.clone(), root_nist.certificate.clone()],
            crosses: vec![cross_a, cross_b],
            component_ca,
            component_ca_nist,
            smcb_ca,
            hba_ca,
            egk_ca,
            vpn_ca,
            qes_ca,
            ocsp_signer: (X509::parse(&ocsp.0)?, ocsp.1),
            crl_signer: (X509::parse(&crl_signer.0)?, crl_signer.1),
            vl_signer: (X509::parse(&vl_signer.0)?, vl_signer.1),
            tsl: ListSigner {
                ca: tsl_ca,
                certificate: tsl_signer.0,
                key: tsl_signer.1,
            },
            root,
            cvc_links: vec![
                cvc_old.certificate.clone(),
                cvc_root.certificate.clone(),
                link_up,
                link_down,
            ],
            cvc_root,
            cvc_professional,
            cvc_egk,
            cvc_device,
            validity,
            cvc_validity: (cvc_from, cvc_to),
            ocsp_url: ocsp_url.into(),
        })
    }

    /// The self-signed roots, on brainpoolP256r1 and P-256.
    pub fn anchors(&self) -> &[Vec<u8>] {
        &self.roots
    }

    /// Cross certificates between the roots, both ways.
    pub fn cross_certificates(&self) -> &[Vec<u8>] {
        &self.crosses
    }

    /// A further trust anchor with a signer, as it is made when the one in use approaches its end.
    pub fn list_signer(&self, number: u32, from: Timestamp, to: Timestamp) -> Result<ListSigner, Error> {
        let organisation = "Langlauf TEST-ONLY NOT-VALID";
        let key = || Ok::<_, Error>(SoftKey::Ec(EcPrivate::generate(Curve::BrainpoolP256r1)?));
        let name =
            Name::new(organisation, &format!("LANGLAUF.TSL-CA{number} TEST-ONLY")).with("OU", TSL_UNIT);
        let ca = self.root.subordinate(name, key()?, from, to)?;
        let signer = key()?;
        let certificate = ca.issue(&Request {
            profile: &profile::TSL_SIGNER,
            subject: Name::new(organisation, &format!("TSL Signing Unit {number}")),
            key: signer.public(),
            admission: None,
            dns: &[],
            addresses: &[],
            from,
            to,
        })?;
        Ok(ListSigner {
            ca,
            certificate,
            key: signer,
        })
    }

    /// A further CA for components, as one comes every few years.
    pub fn component_generation(
        &self,
        number: u32,
        curve: Curve,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Authority, Error> {
        let key = SoftKey::Ec(EcPrivate::generate(curve)?);
        let name = Name::new(
            "Langlauf TEST-ONLY NOT-VALID",
            &format!("LANGLAUF.KOMP-CA{number} TEST-ONLY"),
        );
        Ok(self.root.subordinate(name, key, from, to)?)
    }

    /// A further CA for the CV certificates of devices.
    pub fn cvc_generation(&self, number: u8, from: Timestamp, to: Timestamp) -> Result<CvcAuthority, Error> {
        let reference = [b'L', b'L', b'X', b'X', b'X', 0x14, 0x02, number];
        let chat = Chat {
            kind: ListKind::Ti,
            flags: Flags(FLAGS_DEVICE_CA),
        };
        let key = EcPrivate::generate(Curve::BrainpoolP256r1)?;
        Ok(self
            .cvc_root
            .subordinate(reference, key, chat, cvc_date(from)?, cvc_date(to)?)?)
    }

    /// What a trust list says in ordinary times. `http` and `https` are where the TSL service is, `http://host:port`.
    pub fn list_contents(&self, http: &str, https: &str) -> tsl::Contents {
        let components = vec![
            oid::AK_AUT,
            oid::NK_VPN,
            oid::SMKT_AUT,
            oid::SAK_AUT,
            oid::FD_TLS_S,
            oid::ZD_TLS_S,
        ];
        let ca = |authority: &Authority, types: Vec<Oid>| (authority.certificate.clone(), types);
        tsl::Contents {
            cas: vec![
                ca(&self.component_ca, components.clone()),
                ca(&self.component_ca_nist, components),
                ca(
                    &self.smcb_ca,
                    vec![oid::SMC_B_AUT, oid::SMC_B_ENC, oid::SMC_B_OSIG],
                ),
                ca(&self.hba_ca, vec![oid::HBA_AUT, oid::HBA_ENC]),
                ca(&self.egk_ca, vec![oid::EGK_AUT, oid::EGK_ENC]),
                ca(&self.vpn_ca, vec![oid::VPNK_VPN, oid::VPNK_VPN_SIS]),
            ],
            responders: vec![self.ocsp_signer.0.der().to_vec()],
            crl_signers: vec![self.crl_signer.0.der().to_vec()],
            cvcs: self.cvc_links.clone(),
            vl: Some((
                vec![self.vl_signer.0.der().to_vec()],
                vec![format!("{https}/VL.xml")],
            )),
            ocsp: self.ocsp_url.clone(),
            location: format!("{http}/TSL.xml"),
            ..tsl::Contents::default()
        }
    }

    /// One certificate of a component with a fresh key.
    pub fn component(
        &self,
        curve: Curve,
        profile: &Profile,
        role: Oid,
        name: &str,
        dns: &[&str],
        addresses: &[IpAddr],
    ) -> Result<Identity, Error> {
        let key = SoftKey::Ec(EcPrivate::generate(curve)?);
        self.component_until(key, profile, role, name, dns, addresses, self.validity.1)
    }

    /// The same with a key and an end of its own.
    #[allow(clippy::too_many_arguments)] // each is a field of the certificate
    fn component_until(
        &self,
        key: SoftKey,
        profile: &Profile,
        role: Oid,
        name: &str,
        dns: &[&str],
        addresses: &[IpAddr],
        to: Timestamp,
    ) -> Result<Identity, Error> {
        let ca = match &key {
            SoftKey::Ec(key) if key.curve() == Curve::NistP256 => &self.component_ca_nist,
            _ => &self.component_ca,
        };
        let admission = Admission {
            items: vec!["TEST-ONLY".into()],
            oids: vec![role],
            registration: None,
        };
        let certificate = ca.issue(&Request {
            profile,
            subject: Name::new("Langlauf TEST-ONLY NOT-VALID", name),
            key: key.public(),
            admission: Some(admission),
            dns,
            addresses,
            from: self.validity.0,
            to,
        })?;
        Ok(Identity {
            chain: vec![certificate, ca.certificate.clone()],
            key,
        })
    }

    /// A new Konnektor's identities, valid for so many days (GS-A_4352: at most five years); the common name is
    /// `<ICCSN>-<date>` (GS-A_4610). With `rsa` it is a card with both kinds of keys; what is RSA ends first, after half the days.
    pub fn konnektor(
        &self,
        iccsn: &str,
        addresses: &[IpAddr],
        days: u32,
        rsa: bool,
    ) -> Result<KonnektorIdentities, Error> {
        use identity::Role;
        let after = |days: u32| {
            let span = Duration::from_secs(86_400 * u64::from(days));
            let end = self.validity.0.checked_add(span);
            end.map_err(|error| Error::Date(error.to_string()))
        };
        let name = format!("{iccsn}-{}", self.validity.0.strftime("%Y%m%d"));
        let dns: &[&str] = &["konnektor.konlan", "localhost"];
        let make = |key, role, to| {
            let (profile, oid, dns, addresses) = match role {
                Role::AkAut => (&profile::AK_AUT, oid::ROLE_AK, dns, addresses),
                Role::SakAut => (&profile::SAK_AUT, oid::ROLE_SAK, &[][..], &[][..]),
                Role::NkVpn => (&profile::NK_VPN, oid::ROLE_NK, &[][..], &[][..]),
            };
            self.component_until(key, profile, oid, &name, dns, addresses, to)
        };
        let elliptic = |curve, role| make(SoftKey::Ec(EcPrivate::generate(curve)?), role, after(days)?);
        let (bp, nist) = (Curve::BrainpoolP256r1, Curve::NistP256);
        let roles = Role::ALL.into_iter().filter(|_| rsa);
        Ok(KonnektorIdentities {
            ak_brainpool: elliptic(bp, Role::AkAut)?,
            ak_nist: elliptic(nist, Role::AkAut)?,
            sak: elliptic(bp, Role::SakAut)?,
            nk: elliptic(bp, Role::NkVpn)?,
            rsa: roles
                .map(|role| {
                    let key = SoftKey::Rsa(RsaPrivate::generate(2048)?);
                    Ok((role, make(key, role, after(days / 2)?)?))
                })
                .collect::<Result<_, Error>>()?,
        })
    }

    /// A concentrator of the VPN access service, with a fresh key: its name stands in the certificate (GS-A_5078), and so does who
    /// signs the list that could revoke it.
    pub fn concentrator(&self, name: &str) -> Result<Identity, Error> {
        let key = SoftKey::Ec(EcPrivate::generate(Curve::BrainpoolP256r1)?);
        let certificate = self.vpn_ca.issue(&Request {
            profile: &profile::VPNK_VPN,
            subject: Name::new("Langlauf TEST-ONLY NOT-VALID", name),
            key: key.public(),
            admission: None,
            dns: &[name],
            addresses: &[],
            from: self.validity.0,
            to: self.validity.1,
        })?;
        Ok(Identity {
            chain: vec![certificate, self.vpn_ca.certificate.clone()],
            key,
        })
    }

    /// A certificate for somebody's existing key from one of the card CAs.
    pub(crate) fn personal(
        &self,
        ca: &Authority,
        profile: &Profile,
        subject: Name,
        key: PublicKey,
        admission: Admission,
    ) -> Result<Vec<u8>, Error> {
        Ok(ca.issue(&Request {
            profile,
            subject,
            key,
            admission: Some(admission),
            dns: &[],
            addresses: &[],
            from: self.validity.0,
            to: self.validity.1,
        })?)
    }
}
