//! CMS and XML encryption against asn1crypto, cryptography and libxmlsec.

use super::common::{Party, judge};
use crypto::Key;
use signature::{Error, envelope, xmlenc};

const DOCUMENT: &[u8] = b"Befund: alles in der Spur \xC3\xA4";
const XML: &str = "<?xml version=\"1.0\"?>\n<b:befund xmlns:b=\"urn:b\"><b:text a='1'>alles &amp; mehr ä</b:text></b:befund>\n";

#[test]
fn others_open_our_envelopes() {
    let parties = Party::every();
    let everybody: Vec<_> = parties
        .iter()
        .take(3)
        .map(|party| party.certificate.clone())
        .collect();
    let attribute = asn1::cms::Attribute::encode(
        "1.2.276.0.76.4.173".parse().unwrap(),
        [asn1::tlv::encode(0x04, b"x")],
    )
    .unwrap();
    let sealed = envelope::seal(DOCUMENT.to_vec(), &everybody, &[attribute]).unwrap();
    for party in parties.iter().take(3) {
        party.write("sealed.p7", &sealed);
        judge(party, &["cms-open", "sealed.p7", "plain", "key.pem", "cert.pem"]).unwrap();
        assert_eq!(party.read("plain"), DOCUMENT);
        let read = envelope::Sealed::read(&sealed).unwrap();
        let key = read.key_for(&party.certificate).unwrap();
        let content_key = party.key.decipher(&key).unwrap();
        assert_eq!(read.open(&content_key).unwrap(), DOCUMENT);
        assert!(matches!(read.open(&[1; 32]), Err(Error::Damaged)));
    }
    let stranger = &Party::every()[0].certificate;
    assert!(matches!(
        envelope::Sealed::read(&sealed).unwrap().key_for(stranger),
        Err(Error::NotForUs)
    ));
    // nothing of a changed envelope comes out
    let party = &parties[0];
    for position in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[position] ^= 4;
        let opened = envelope::Sealed::read(&changed).and_then(|read| {
            let key = read.key_for(&party.certificate)?;
            read.open(&party.key.decipher(&key)?)
        });
        assert!(opened.is_err() || opened.unwrap() == DOCUMENT, "{position}");
    }
}

/// gematik's vectors: their form is read, the keys to them were not published.
#[test]
fn published_envelopes_are_read() {
    let samples =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/samples/encryption-service");
    if !samples.is_dir() {
        eprintln!("skipped: ../shared is absent");
        return;
    }
    let certificate = |name: &str| {
        let text = std::fs::read(samples.join(name)).unwrap();
        asn1::X509::parse(&text).or_else(|_| {
            let all = crypto::pem::decode_all("CERTIFICATE", std::str::from_utf8(&text).unwrap()).unwrap();
            asn1::X509::parse(&all[0])
        })
    };
    let elliptic = certificate("EncryptDocumentCMS/HBA_G21_80276883110000129111-C_HP_ENC_E256.crt").unwrap();
    let rsa = certificate("EncryptDocumentCMS/HBA_G21_80276883110000129111-C_HP_ENC_R2048.crt").unwrap();
    let mut read = 0;
    for file in [
        "EncryptDocumentCMS/String/Daten.txt",
        "EncryptDocumentCMS/File/Daten.txt",
    ] {
        let text = std::fs::read_to_string(samples.join(file)).unwrap();
        for line in text
            .lines()
            .filter(|line| line.starts_with("3082") && line.len() > 400)
        {
            let sealed = envelope::Sealed::read(&hex::decode(line.trim()).unwrap()).unwrap();
            let keys = [&elliptic, &rsa].map(|one| sealed.key_for(one));
            assert!(keys.iter().any(Result::is_ok));
            if let [Ok(key), _] = &keys {
                assert_eq!(crypto::card::elc_curve(key), Some(crypto::Curve::BrainpoolP256r1));
            }
            read += 1;
        }
    }
    assert!(read >= 2, "{read}");
}

#[test]
fn xml_with_libxmlsec() {
    let parties = Party::every();
    let (elliptic, rsa) = (&parties[0], &parties[2]);
    let everybody = [elliptic.certificate.clone(), rsa.certificate.clone()];
    let sealed = xmlenc::seal(XML, &everybody).unwrap();
    assert!(!sealed.contains("alles"));
    for party in [elliptic, rsa] {
        let read = xmlenc::Sealed::read(&sealed).unwrap();
        let key = read.key_for(&party.certificate).unwrap();
        assert_eq!(read.open(&party.key.decipher(&key).unwrap()).unwrap(), XML);
    }
    // libxmlsec tries each key it has on the first recipient it understands
    let for_rsa = xmlenc::seal(XML, &everybody[1..]).unwrap();
    rsa.write("sealed.xml", for_rsa.as_bytes());
    judge(rsa, &["xmlsec-decrypt", "sealed.xml", "plain.xml", "key.pem"]).unwrap();
    let plain = String::from_utf8(rsa.read("plain.xml")).unwrap();
    assert!(plain.contains("alles &amp; mehr"), "{plain}");
    rsa.write("document.xml", XML.as_bytes());
    judge(rsa, &["xmlsec-encrypt", "document.xml", "theirs.xml", "cert.pem"]).unwrap();
    let theirs = String::from_utf8(rsa.read("theirs.xml")).unwrap();
    let read = xmlenc::Sealed::read(&theirs).unwrap();
    let key = read.key_for(&rsa.certificate).unwrap();
    let opened = read.open(&rsa.key.decipher(&key).unwrap()).unwrap();
    assert!(opened.contains("alles &amp; mehr"), "{opened}");
}
