//! The personaliser: complete test cards under the test PKI, as object systems that can be written as images.

use crate::object_system::{Builder, READ, RECORDS, rules};
use crate::person::Person;
use crate::{Error, TestPki};
use asn1::{Admission, Chat, Flags, ListKind, oid};
use base::Timestamp;
use base::id::Iccsn;
use card::egk::{self, StatusVd};
use card::image::{ObjectSystem, RecordKind};
use crypto::{Curve, EcPrivate, PublicKey, RsaPrivate, SoftKey};
use pki::CvcAuthority;
use pki::issue::{Authority, Name, Profile, profile};

/// Rights of a doctor, a practice or a hospital (access profile 2).
const FLAGS_DOCTOR: [u8; 7] = [0x00, 0x5D, 0x29, 0xDA, 0xA0, 0xBB, 0x00];
const FLAGS_NONE: [u8; 7] = [0; 7];
/// HBA as a device: signature unit and remote PIN receiver.
const FLAGS_SUK: [u8; 7] = [0, 0, 0, 0, 0, 0, 0x0C];
/// SMC-B as a device: remote PIN receiver.
const FLAGS_RPE: [u8; 7] = [0, 0, 0, 0, 0, 0, 0x04];
/// gSMC-KT: remote PIN sender.
const FLAGS_RPS: [u8; 7] = [0, 0, 0, 0, 0, 0, 0x02];
/// gSMC-K: SAK.
const FLAGS_SAK: [u8; 7] = [0, 0, 0, 0, 0, 0, 0x01];

const AID_ESIGN: &[u8] = card::AID_ESIGN;

/// What the personaliser is to make.
#[derive(Debug, Clone)]
pub struct Options {
    /// RSA-2048 keys and certificates beside the elliptic ones, as on real cards; takes a second a card.
    pub rsa: bool,
    /// PIN of the card: six digits, or five for a transport PIN.
    pub pin: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rsa: false,
            pin: "123456".into(),
        }
    }
}

/// An institution or person with a Telematik-ID.
#[derive(Debug, Clone)]
pub struct Holder {
    /// Name in the certificates.
    pub name: String,
    /// Telematik-ID.
    pub telematik_id: String,
}

fn cvc(
    ca: &CvcAuthority,
    pki: &TestPki,
    prefix: [u8; 2],
    iccsn: &Iccsn,
    key: &EcPrivate,
    flags: [u8; 7],
) -> Result<Vec<u8>, Error> {
    let holder = [&prefix[..], iccsn.as_bcd()].concat();
    let chat = Chat {
        kind: ListKind::Ti,
        flags: Flags(flags),
    };
    let (from, to) = pki.cvc_validity;
    Ok(ca.issue(&holder, &key.public(), chat, from, to)?)
}

fn brainpool() -> Result<EcPrivate, Error> {
    Ok(EcPrivate::generate(Curve::BrainpoolP256r1)?)
}

const ROLE_ELC: &[(u8, &[&str])] = &[(1, &["elcRoleAuthentication"])];
const SIGN_ELC: &[(u8, &[&str])] = &[(1, &["signECDSA"])];
const DECIPHER_ELC: &[(u8, &[&str])] = &[(1, &["elcSharedSecretCalculation"])];
const AUTH_RSA: &[&str] = &["rsaClientAuthentication", "signPKCS1_V1_5", "signPSS"];

/// One identity of DF.ESIGN: certificate and key, elliptic and RSA.
struct EsignIdentity {
    name: &'static str,
    profile: &'static Profile,
    /// File and key of the elliptic variant.
    ecc: (u16, u8, u8),
    /// File and key of the RSA variant.
    rsa: (u16, u8, u8),
    /// Decrypts instead of signing?
    decrypts: bool,
}

struct Personal<'a> {
    pki: &'a TestPki,
    ca: &'a Authority,
    subject: Name,
    admission: Admission,
}

fn key_rules(command: &str, condition: &str) -> String {
    rules(&["({00||46||81||??},ALW)", &format!("({{{command}}},{condition})")])
}

fn esign(
    card: &mut Builder,
    folder: usize,
    personal: &Personal<'_>,
    identities: &[EsignIdentity],
    condition: &str,
    options: &Options,
) -> Result<(), Error> {
    for identity in identities {
        let certify = |key: PublicKey| {
            personal.pki.personal(
                personal.ca,
                identity.profile,
                personal.subject.clone(),
                key,
                personal.admission.clone(),
            )
        };
        let key = brainpool()?;
        let certificate = certify(PublicKey::Ec(key.public()))?;
        let (fid, sfi, id) = identity.ecc;
        card.file(
            folder,
            &format!("EF.C.{}.E256", identity.name),
            (fid, sfi),
            3000,
            &certificate,
            &[READ],
        )?;
        let (command, elc, rsa): (_, _, &[&str]) = match identity.decrypts {
            true => (
                "00||2a||80||86,00||2a||86||b8",
                DECIPHER_ELC,
                &["rsaDecipherOaep"],
            ),
            false => ("00||2a||9e||9a,00||88||00||00", SIGN_ELC, AUTH_RSA),
        };
        let key_rules = key_rules(command, condition);
        card.elc(
            folder,
            &format!("PrK.{}.E256", identity.name),
            id,
            key,
            elc,
            &key_rules,
        )?;
        if options.rsa {
            let key = RsaPrivate::generate(2048)?;
            let certificate = certify(PublicKey::Rsa(key.public()))?;
            let (fid, sfi, id) = identity.rsa;
            card.file(
                folder,
                &format!("EF.C.{}.R2048", identity.name),
                (fid, sfi),
                1900,
                &certificate,
                &[READ],
            )?;
            card.rsa(
                folder,
                &format!("PrK.{}.R2048", identity.name),
                id,
                key,
                rsa,
                &key_rules,
            )?;
        }
    }
    Ok(())
}

/// A health card with insured person's data.
pub fn egk(
    pki: &TestPki,
    iccsn: &Iccsn,
    person: &Person,
    now: Timestamp,
    options: &Options,
) -> Result<ObjectSystem, Error> {
    const VSD: &str = "OR{SMMAC(12),SMMAC(19),SMMAC(cvc_FlagList_CMS:00400000000000)}";
    const CMS: &str = "OR{SMMAC(13),SMMAC(18),SMMAC(cvc_FlagList_CMS:00800000000000)}";
    const LIFE: &str =
        "({00||44||00||00,00||04||00||00},OR{SMMAC(13),SMMAC(18),SMMAC(cvc_FlagList_CMS:00800000000000)})";
    let mut card = Builder::new(
        "eGK G2.1 Langlauf TEST-ONLY",
        &[0xD2, 0x76, 0, 1, 0x44, 0x80, 0],
        iccsn.as_bcd(),
        pki.cvc_validity.0,
        false,
    )?;
    let own = brainpool()?;
    let own_cvc = cvc(&pki.cvc_egk, pki, [0x00, 0x09], iccsn, &own, FLAGS_NONE)?;
    card.file(
        0,
        "EF.C.CA_eGK.CS.E256",
        (0x2F07, 0x07),
        220,
        &pki.cvc_egk.certificate,
        &[READ],
    )?;
    card.file(0, "EF.C.eGK.AUT_CVC.E256", (0x2F06, 0x06), 222, &own_cvc, &[READ])?;
    let version = |text: &str| hex::decode(text).unwrap_or_default();
    let versions = vec![
        version("0040000000"),
        version("0040050002"),
        version("0040000000"),
        version("0040050002"),
    ];
    card.records(
        0,
        "EF.Version",
        (0x2F10, 0x10),
        RecordKind::LinearFixed,
        4,
        5,
        versions,
        &[RECORDS],
    )?;
    card.pin(0, "PIN.CH", 0x01, &options.pin, Builder::LASTING.to_vec())?;
    for (name, id, enabled, switchable) in [
        ("MRPIN.home", 0x02, true, false),
        ("MRPIN.NFD", 0x03, false, true),
        ("MRPIN.DPE", 0x04, false, true),
        ("MRPIN.GDD", 0x05, true, true),
        ("MRPIN.NFD_READ", 0x07, true, false),
        ("MRPIN.OSE", 0x09, true, false),
        ("MRPIN.AMTS", 0x0C, true, true),
    ] {
        card.multi_reference(name, id, enabled, switchable)?;
    }
    for (name, id, length) in [
        ("SK.VSD.AES128", 0x12, 16),
        ("SK.CMS.AES128", 0x13, 16),
        ("SK.CMS.AES256", 0x18, 32),
        ("SK.VSD.AES256", 0x19, 32),
    ] {
        card.symmetric(name, id, length)?;
    }
    let own_algorithms: &[(u8, &[&str])] = &[(1, &["elcRoleAuthentication", "elcSessionkey4SM"])];
    let always = rules(&["({??||86||??||??,00||88||00||00,00||46||81||??},ALW)"]);
    card.elc(0, "PrK.eGK.AUT_CVC.E256", 0x09, own, own_algorithms, &always)?;
    card.anchor(&pki.cvc_root.reference, pki.cvc_root.public(), pki.cvc_validity.1)?;

    let hca = card.folder(
        0,
        "DF.HCA",
        egk::AID_HCA,
        &[LIFE, "({80||84||00||00,80||82||??||??},ALW)"],
    )?;
    let update = format!("({{00||d6||??||??,00||d0||??||??}},AND{{{VSD},SMCMDENC}})");
    let shorten = format!("({{00||0e||??||??,80||0e||??||??}},{VSD})");
    let open: &[&str] = &[READ, &update, &shorten];
    let protected = format!(
        "({{00||b0||??||??}},OR{{PWD(02),AND{{PWD(01),AUTCHAT(cvc_FlagList_TI:00000004000000)}},\
         AUTCHAT(cvc_FlagList_TI:00000002000000),AND{{{VSD},SMRSPENC}}}})"
    );
    let [pd, vd, gvd] = person.containers();
    card.file(hca, "EF.PD", (0xD001, 0x01), 850, &egk::frame(&pd), open)?;
    card.file(
        hca,
        "EF.VD",
        (0xD002, 0x02),
        1250,
        &egk::frame_insurance_data(&vd),
        open,
    )?;
    card.file(
        hca,
        "EF.GVD",
        (0xD003, 0x03),
        600,
        &egk::frame(&gvd),
        &[&protected, &update, &shorten],
    )?;
    let status = StatusVd {
        transaction_open: false,
        updated: now,
        schema: (5, 2, 0),
        layout: (3, 0, 4),
    };
    card.file(hca, "EF.StatusVD", (0xD00C, 0x0C), 25, &status.encode(), open)?;
    const ALL: &str = "({00||b0||??||??,00||d6||??||??,00||0e||??||??,80||0e||??||??},ALW)";
    card.file(
        hca,
        "EF.Pruefungsnachweis",
        (0xD01C, 0x1C),
        egk::RECEIPT_SIZE,
        &[],
        &[ALL],
    )?;
    card.file(hca, "EF.Standalone", (0xDA0A, 0x0A), 900, &[], &[ALL])?;
    let log: &[&str] = &[
        "({00||e2||00||??},AUTCHAT(cvc_FlagList_TI:00000000800000))",
        "({00||b2||??||??,00||a2||??||??},OR{PWD(02),AND{PWD(01),AUTCHAT(cvc_FlagList_TI:00000000400000)}})",
    ];
    card.records(
        hca,
        "EF.Logging",
        (0xD006, 0x06),
        RecordKind::Cyclic,
        50,
        46,
        vec![vec![0; 46]; 50],
        log,
    )?;
    let consent: &[&str] = &[
        "({00||b2||??||??,00||a2||??||??,00||dc||??||??},OR{PWD(02),AND{PWD(01),AUTCHAT(cvc_FlagList_TI:00000040000000)}})",
    ];
    card.records(
        hca,
        "EF.Einwilligung",
        (0xD005, 0x05),
        RecordKind::LinearFixed,
        10,
        69,
        vec![vec![0; 69]; 10],
        consent,
    )?;
    card.records(
        hca,
        "EF.Verweis",
        (0xD009, 0x09),
        RecordKind::LinearFixed,
        10,
        20,
        vec![vec![0; 20]; 10],
        consent,
    )?;
    emergency_data(&mut card, hca, CMS)?;

    let folder = card.folder(0, "DF.ESIGN", AID_ESIGN, &[LIFE])?;
    let subject = Name::new(
        &person.insurer_name,
        &format!("{} {}", person.given, person.family),
    )
    .with("OU", &person.insurer)
    .with("OU", &person.kvnr)
    .with("SN", &person.family)
    .with("GN", &person.given);
    let admission = Admission {
        items: vec!["Versicherte/-r".into()],
        oids: vec![oid::PROFESSION_VERSICHERTER],
        registration: None,
    };
    let personal = Personal {
        pki,
        ca: &pki.egk_ca,
        subject,
        admission,
    };
    let identities = [
        EsignIdentity {
            name: "CH.AUT",
            profile: &profile::EGK_AUT,
            ecc: (0xC504, 0x04, 0x04),
            rsa: (0xC500, 0x01, 0x02),
            decrypts: false,
        },
        EsignIdentity {
            name: "CH.ENC",
            profile: &profile::EGK_ENC,
            ecc: (0xC205, 0x05, 0x05),
            rsa: (0xC200, 0x02, 0x03),
            decrypts: true,
        },
    ];
    let condition = "OR{PWD(02),AND{PWD(01),AUTCHAT(cvc_FlagList_TI:00080000000000)}}";
    esign(&mut card, folder, &personal, &identities, condition, options)?;
    Ok(card.finish())
}

/// DF.NFD and DF.DPE, empty.
fn emergency_data(card: &mut Builder, hca: usize, cms: &str) -> Result<(), Error> {
    let life = format!("({{00||44||00||00,00||04||00||00}},OR{{PWD(02),{cms}}})");
    let nfd = card.folder(hca, "DF.NFD", &[0xD2, 0x76, 0, 1, 0x44, 0x07], &[&life])?;
    let read = "({00||b0||??||??},OR{PWD(02),AND{PWD(03),AUTCHAT(cvc_FlagList_TI:00002000000000)},AUTCHAT(cvc_FlagList_TI:00002000000000)})";
    let write = "({00||d6||??||??,00||0e||??||??,80||0e||??||??},OR{PWD(02),AND{PWD(03),AUTCHAT(cvc_FlagList_TI:00010000000000)}})";
    card.file(nfd, "EF.NFD", (0xD010, 0x10), 12_075, &[], &[read, write])?;
    card.file(nfd, "EF.StatusNFD", (0xD00E, 0x0E), 25, &[], &[READ, write])?;
    let dpe = card.folder(hca, "DF.DPE", &[0xD2, 0x76, 0, 1, 0x44, 0x08], &[&life])?;
    card.file(dpe, "EF.DPE", (0xD01B, 0x1B), 1725, &[], &[read, write])?;
    card.file(dpe, "EF.StatusDPE", (0xD018, 0x18), 25, &[], &[READ, write])?;
    Ok(())
}

/// What HBA and SMC-B have in common: role and device certificates with their keys, trust anchor.
fn professional(
    card: &mut Builder,
    pki: &TestPki,
    iccsn: &Iccsn,
    device: (&str, [u8; 7]),
    role: &str,
) -> Result<(), Error> {
    let (role_key, device_key) = (brainpool()?, brainpool()?);
    let role_cvc = cvc(
        &pki.cvc_professional,
        pki,
        [0x00, 0x06],
        iccsn,
        &role_key,
        FLAGS_DOCTOR,
    )?;
    let device_cvc = cvc(
        &pki.cvc_professional,
        pki,
        [0x00, 0x09],
        iccsn,
        &device_key,
        device.1,
    )?;
    card.file(
        0,
        "EF.C.CA.CS.E256",
        (0x2F07, 0x07),
        220,
        &pki.cvc_professional.certificate,
        &[READ],
    )?;
    card.file(
        0,
        &format!("EF.C.{role}.E256"),
        (0x2F06, 0x06),
        222,
        &role_cvc,
        &[READ],
    )?;
    card.file(
        0,
        &format!("EF.C.{}.E256", device.0),
        (0x2F09, 0x09),
        222,
        &device_cvc,
        &[READ],
    )?;
    card.elc(
        0,
        &format!("PrK.{role}.E256"),
        0x06,
        role_key,
        ROLE_ELC,
        &key_rules("00||88||00||00", "PWD(01)"),
    )?;
    let session: &[(u8, &[&str])] = &[(1, &["elcSessionkey4SM"])];
    card.elc(
        0,
        &format!("PrK.{}.E256", device.0),
        0x09,
        device_key,
        session,
        &key_rules("??||86||??||??", "ALW"),
    )?;
    card.anchor(&pki.cvc_root.reference, pki.cvc_root.public(), pki.cvc_validity.1)?;
    Ok(())
}

/// The card of an institution.
pub fn smcb(pki: &TestPki, iccsn: &Iccsn, holder: &Holder, options: &Options) -> Result<ObjectSystem, Error> {
    let mut card = Builder::new(
        "SMC-B G2.1 Langlauf TEST-ONLY",
        &[0xD2, 0x76, 0, 1, 0x46, 0x06],
        iccsn.as_bcd(),
        pki.cvc_validity.0,
        false,
    )?;
    card.pin(0, "PIN.SMC", 0x01, &options.pin, Builder::LASTING.to_vec())?;
    professional(
        &mut card,
        pki,
        iccsn,
        ("SMC.AUTD_RPE_CVC", FLAGS_RPE),
        "SMC.AUTR_CVC",
    )?;
    let folder = card.folder(0, "DF.ESIGN", AID_ESIGN, &["({80||84||00||00},ALW)"])?;
    let admission = Admission {
        items: vec!["Betriebsstätte Arzt".into()],
        oids: vec![oid::INSTITUTION_PRAXIS_ARZT],
        registration: Some(holder.telematik_id.clone()),
    };
    let subject = Name::new(&holder.name, &holder.name);
    let personal = Personal {
        pki,
        ca: &pki.smcb_ca,
        subject,
        admission,
    };
    let identities = [
        EsignIdentity {
            name: "HCI.AUT",
            profile: &profile::SMC_B_AUT,
            ecc: (0xC506, 0x06, 0x06),
            rsa: (0xC500, 0x01, 0x02),
            decrypts: false,
        },
        EsignIdentity {
            name: "HCI.ENC",
            profile: &profile::SMC_B_ENC,
            ecc: (0xC205, 0x05, 0x05),
            rsa: (0xC200, 0x02, 0x03),
            decrypts: true,
        },
        EsignIdentity {
            name: "HCI.OSIG",
            profile: &profile::SMC_B_OSIG,
            ecc: (0xC007, 0x07, 0x07),
            rsa: (0xC000, 0x10, 0x04),
            decrypts: false,
        },
    ];
    esign(&mut card, folder, &personal, &identities, "PWD(01)", options)?;
    Ok(card.finish())
}

/// The card of a doctor.
pub fn hba(pki: &TestPki, iccsn: &Iccsn, holder: &Holder, options: &Options) -> Result<ObjectSystem, Error> {
    let mut card = Builder::new(
        "HBA G2.1 Langlauf TEST-ONLY",
        &[0xD2, 0x76, 0, 1, 0x46, 0x01],
        iccsn.as_bcd(),
        pki.cvc_validity.0,
        false,
    )?;
    card.pin(0, "PIN.CH", 0x01, &options.pin, Builder::LASTING.to_vec())?;
    professional(
        &mut card,
        pki,
        iccsn,
        ("HPC.AUTD_SUK_CVC", FLAGS_SUK),
        "HPC.AUTR_CVC",
    )?;
    let hpa = card.folder(
        0,
        "DF.HPA",
        &[0xD2, 0x76, 0, 1, 0x46, 0x02],
        &["({80||84||00||00},ALW)"],
    )?;
    card.file(hpa, "EF.HPD", (0xD001, 0x01), 2048, &[], &[READ])?;
    let admission = Admission {
        items: vec!["Ärztin/Arzt".into()],
        oids: vec![oid::PROFESSION_ARZT],
        registration: Some(holder.telematik_id.clone()),
    };
    let subject = Name::new("Ärztekammer TEST-ONLY", &holder.name);
    let personal = Personal {
        pki,
        ca: &pki.hba_ca,
        subject,
        admission,
    };
    let folder = card.folder(0, "DF.ESIGN", AID_ESIGN, &["({80||84||00||00},ALW)"])?;
    let identities = [
        EsignIdentity {
            name: "HP.AUT",
            profile: &profile::HBA_AUT,
            ecc: (0xC506, 0x06, 0x06),
            rsa: (0xC500, 0x01, 0x02),
            decrypts: false,
        },
        EsignIdentity {
            name: "HP.ENC",
            profile: &profile::HBA_ENC,
            ecc: (0xC205, 0x05, 0x05),
            rsa: (0xC200, 0x02, 0x03),
            decrypts: true,
        },
    ];
    esign(&mut card, folder, &personal, &identities, "PWD(01)", options)?;
    qualified(&mut card, &personal, options)?;
    Ok(card.finish())
}

/// Signatures of one entry of PIN.QES, alone and under a SAK's secure messaging.
const SINGLE: u8 = 1;
const BATCH: u8 = 250;

/// EF.SSEC: how many signatures one entry of PIN.QES is good for, by security environment.
fn security_evaluation() -> Vec<u8> {
    use asn1::tlv::{encode, nest};
    let environment = |number: u8, signatures: u8| {
        let key = [
            encode(0x82, card::pin::AID_QES),
            encode(0x83, &[0x01]),
            encode(0x95, &[0x08]),
        ];
        [
            encode(0x80, &[number]),
            nest(0xA4, key),
            encode(0xC0, &[signatures]),
        ]
        .concat()
    };
    nest(0x7B, [environment(1, SINGLE), environment(2, BATCH)])
}

/// DF.QES: alone in environment 1, under a SAK's secure messaging in environment 2.
fn qualified(card: &mut Builder, personal: &Personal<'_>, options: &Options) -> Result<(), Error> {
    const SAK: &str = "SMMAC(cvc_FlagList_TI:00000000000001)";
    let folder = card.folder(0, "DF.QES", card::pin::AID_QES, &["({80||84||00||00},ALW)"])?;
    card.pin(
        folder,
        "PIN.QES",
        0x01,
        &options.pin,
        vec![(1, Some(SINGLE.into())), (2, Some(BATCH.into()))],
    )?;
    let ssec = security_evaluation();
    card.file(folder, "EF.SSEC", (0xD005, 0x05), 46, &ssec, &[READ])?;
    let key = brainpool()?;
    let certificate = personal.pki.personal(
        &personal.pki.qes_ca,
        &profile::HBA_QES,
        personal.subject.clone(),
        PublicKey::Ec(key.public()),
        personal.admission.clone(),
    )?;
    card.file(
        folder,
        "EF.C.HP.QES.E256",
        (0xC006, 0x06),
        3000,
        &certificate,
        &[READ],
    )?;
    let sign = "({00||46||81||??},ALW),({00||2a||9e||9a}";
    let text = format!(
        "CB{{[ACTIVATED,1,{{{sign},PWD(01))}}],[ACTIVATED,2,{{{sign},AND{{PWD(01),{SAK},SMCMDENC,SMRSPENC}})}}]}},CL{{}}"
    );
    let both: &[(u8, &[&str])] = &[(1, &["signECDSA"]), (2, &["signECDSA"])];
    card.elc(folder, "PrK.HP.QES.E256", 0x06, key, both, &text)?;
    if options.rsa {
        let key = RsaPrivate::generate(2048)?;
        let public = PublicKey::Rsa(key.public());
        let certificate = personal.pki.personal(
            &personal.pki.qes_ca,
            &profile::HBA_QES,
            personal.subject.clone(),
            public,
            personal.admission.clone(),
        )?;
        card.file(
            folder,
            "EF.C.HP.QES.R2048",
            (0xC000, 0x10),
            1900,
            &certificate,
            &[READ],
        )?;
        card.rsa(folder, "PrK.HP.QES.R2048", 0x04, key, &["signPSS"], &text)?;
    }
    Ok(())
}

/// Crypto box commands of a security module card under its session keys.
const MODULE: &str = "??||86||??||??,00||88||00||00,00||46||81||??";

/// The card of a terminal; its TLS identity comes back with it.
pub fn gsmc_kt(pki: &TestPki, iccsn: &Iccsn) -> Result<(ObjectSystem, crypto::tls::Identity), Error> {
    let mut card = Builder::new(
        "gSMC-KT Langlauf TEST-ONLY",
        &[0xD2, 0x76, 0, 1, 0x44, 0x80, 0x03],
        iccsn.as_bcd(),
        pki.cvc_validity.0,
        true,
    )?;
    let key = brainpool()?;
    let sender = cvc(&pki.cvc_device, pki, [0x00, 0x0A], iccsn, &key, FLAGS_RPS)?;
    card.file(
        0,
        "EF.C.CA_SMC.CS.E256",
        (0x2F07, 0x07),
        220,
        &pki.cvc_device.certificate,
        &[READ],
    )?;
    card.file(
        0,
        "EF.C.SMC.AUTD_RPS_CVC.E256",
        (0x2F0A, 0x0A),
        222,
        &sender,
        &[READ],
    )?;
    let module: &[(u8, &[&str])] = &[(1, &["elcSessionkey4TC", "elcSessionkey4SM"])];
    card.elc(
        0,
        "PrK.SMC.AUTD_RPS_CVC.E256",
        0x0A,
        key,
        module,
        &rules(&[&format!("({{{MODULE}}},ALW)")]),
    )?;
    card.anchor(&pki.cvc_root.reference, pki.cvc_root.public(), pki.cvc_validity.1)?;
    let identity = pki.component(
        Curve::BrainpoolP256r1,
        &profile::SMKT_AUT,
        oid::ROLE_KT,
        &iccsn.to_string(),
        &[],
        &[],
    )?;
    let SoftKey::Ec(tls_key) = identity.key.clone() else {
        return Err(Error::Stored("SMKT".into()));
    };
    let kt = card.folder(
        0,
        "DF.KT",
        &[0xD2, 0x76, 0, 1, 0x44, 0],
        &["({80||84||00||00},ALW)"],
    )?;
    let certificate = identity.chain.first().cloned().unwrap_or_default();
    card.file(
        kt,
        "EF.C.SMKT.AUT2.XXXX",
        (0xC504, 0x04),
        3000,
        &certificate,
        &[READ],
    )?;
    card.elc(
        kt,
        "PrK.SMKT.AUT2.XXXX",
        0x06,
        tls_key,
        SIGN_ELC,
        &key_rules("00||2a||9e||9a", "ALW"),
    )?;
    Ok((card.finish(), identity))
}

/// The card of a Konnektor, with its identities.
pub fn gsmc_k(
    pki: &TestPki,
    iccsn: &Iccsn,
    identities: &crate::KonnektorIdentities,
) -> Result<ObjectSystem, Error> {
    let mut card = Builder::new(
        "gSMC-K Langlauf TEST-ONLY",
        &[0xD2, 0x76, 0, 1, 0x44, 0x80, 0x01],
        iccsn.as_bcd(),
        pki.cvc_validity.0,
        true,
    )?;
    for (name, id) in [
        ("PIN.AK", 0x02),
        ("PIN.NK", 0x03),
        ("PIN.Pers", 0x04),
        ("PIN.SAK", 0x05),
    ] {
        card.pin(0, name, id, "123456", Builder::LASTING.to_vec())?;
    }
    card.file(0, "EF.EnvironmentSettings", (0x2F20, 0x18), 16, b"TU", &[READ])?;
    card.file(
        0,
        "EF.C.CA_SAK.CS.E256",
        (0x2F07, 0x07),
        220,
        &pki.cvc_device.certificate,
        &[READ],
    )?;
    card.anchor(&pki.cvc_root.reference, pki.cvc_root.public(), pki.cvc_validity.1)?;
    let application = |card: &mut Builder,
                       name: &str,
                       last: u8,
                       file: &str,
                       ids,
                       identity: &crypto::tls::Identity,
                       key_name: &str,
                       pin: &str| {
        let folder = card.folder(
            0,
            name,
            &[0xD2, 0x76, 0, 1, 0x44, last],
            &["({80||84||00||00},ALW)"],
        )?;
        card.file(
            folder,
            file,
            ids,
            3000,
            identity.chain.first().map_or(&[][..], Vec::as_slice),
            &[READ],
        )?;
        if let SoftKey::Ec(key) = identity.key.clone() {
            card.elc(
                folder,
                key_name,
                0x06,
                key,
                SIGN_ELC,
                &key_rules("00||2a||9e||9a", pin),
            )?;
        }
        Ok::<usize, Error>(folder)
    };
    application(
        &mut card,
        "DF.NK",
        0x03,
        "EF.C.NK.VPN2.XXXX",
        (0xC508, 0x08),
        &identities.nk,
        "PrK.NK.VPN2.XXXX",
        "PWD(03)",
    )?;
    application(
        &mut card,
        "DF.AK",
        0x02,
        "EF.C.AK.AUT2.XXXX",
        (0xC507, 0x07),
        &identities.ak_brainpool,
        "PrK.AK.AUT2.XXXX",
        "PWD(02)",
    )?;
    let sak = application(
        &mut card,
        "DF.SAK",
        0x04,
        "EF.C.SAK.AUT2.XXXX",
        (0xC509, 0x09),
        &identities.sak,
        "PrK.SAK.AUT2.XXXX",
        "PWD(05)",
    )?;
    let key = brainpool()?;
    // it ends with the rest of the card
    let ends = identities.sak.chain.first().map_or(&[][..], Vec::as_slice);
    let end = Timestamp::from_second(asn1::X509::parse(ends)?.validity().1);
    let end = crate::pki_tree::cvc_date(end.map_err(|error| Error::Date(error.to_string()))?)?;
    let chat = Chat {
        kind: ListKind::Ti,
        flags: Flags(FLAGS_SAK),
    };
    let holder = [&[0x00, 0x0A][..], iccsn.as_bcd()].concat();
    let (from, _) = pki.cvc_validity;
    let module = pki.cvc_device.issue(&holder, &key.public(), chat, from, end)?;
    card.file(
        sak,
        "EF.C.SAK.AUTD_CVC.E256",
        (0x2F0A, 0x0A),
        222,
        &module,
        &[READ],
    )?;
    let algorithms: &[(u8, &[&str])] = &[(1, &["elcSessionkey4TC"])];
    card.elc(
        sak,
        "PrK.SAK.AUTD_CVC.E256",
        0x0A,
        key,
        algorithms,
        &rules(&[&format!("({{{MODULE}}},ALW)")]),
    )?;
    let anchor = card.folder(
        0,
        "DF.Sicherheitsanker",
        &[0xD2, 0x76, 0, 1, 0x44, 0x05],
        &["({80||84||00||00},ALW)"],
    )?;
    card.file(
        anchor,
        "EF.C.TSL.CA_1",
        (0xC514, 0x14),
        3000,
        &pki.tsl.ca.certificate,
        &[READ],
    )?;
    Ok(card.finish())
}
