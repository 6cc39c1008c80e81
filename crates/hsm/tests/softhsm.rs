//! Against SoftHSM, with keys that `softhsm2-util` imports: what they sign and open is checked by the same keys in memory.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // tests

use asn1::{X509, tlv};
use crypto::{Curve, EcPrivate, Hash, Key, RsaPrivate, SignatureScheme, SoftKey, pem};
use cryptoki::context::Pkcs11;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::Attribute;
use hsm::{Error, Token};
use pki::issue::{Authority, Name};
use signature::{Signer, cades};
use std::path::Path;
use std::process::Command;

const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";

fn run(folder: &Path, program: &str, arguments: &[&str]) {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .env("SOFTHSM2_CONF", folder.join("softhsm.conf"))
        .output()
        .unwrap_or_else(|error| panic!("{program} is missing, run `make setup`: {error}"));
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{}{}",
        said(&output.stdout),
        said(&output.stderr)
    );
}

/// A token with these keys, which also remain in files; "twice" stands for a label that two have.
fn fill(folder: &Path, keys: &[(&str, SoftKey)]) {
    std::fs::create_dir(folder.join("tokens")).unwrap();
    let settings = format!(
        "directories.tokendir = {}\nlog.level = ERROR\n",
        folder.join("tokens").display()
    );
    std::fs::write(folder.join("softhsm.conf"), settings).unwrap();
    let token = ["--token", "praxis", "--pin", "1234"];
    let new = [
        "--init-token",
        "--free",
        "--label",
        "praxis",
        "--so-pin",
        "5678",
        "--pin",
        "1234",
    ];
    run(folder, "softhsm2-util", &new);
    for (number, (label, key)) in keys.iter().enumerate() {
        let text = pem::encode("PRIVATE KEY", &key.to_pkcs8().unwrap()).unwrap();
        let file = format!("{label}.pem");
        std::fs::write(folder.join(&file), text.as_bytes()).unwrap();
        let id = format!("{number:02}");
        let import = ["--import", &file, "--label", label, "--id", &id];
        run(folder, "softhsm2-util", &[&token[..], &import[..]].concat());
    }
}

#[test]
fn keys_in_a_token_work_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let ec = |curve| SoftKey::Ec(EcPrivate::generate(curve).unwrap());
    let keys = [
        ("brainpool", ec(Curve::BrainpoolP256r1)),
        ("nist", ec(Curve::NistP256)),
        ("rsa", SoftKey::Rsa(RsaPrivate::generate(2048).unwrap())),
        ("twice", ec(Curve::NistP256)),
        ("twice", ec(Curve::NistP256)),
    ];
    fill(folder.path(), &keys);
    // SoftHSM finds its tokens by the environment, which a process must not change while it runs
    let program = std::env::current_exe().unwrap();
    run(
        folder.path(),
        program.to_str().unwrap(),
        &["--ignored", "--exact", "with_the_token"],
    );
}

#[test]
#[ignore = "started by the other one, with a token"]
fn with_the_token() {
    let Ok(_) = std::env::var("SOFTHSM2_CONF") else {
        return;
    };
    let soft = |label: &str| {
        let text = std::fs::read_to_string(format!("{label}.pem")).unwrap();
        SoftKey::from_pkcs8(&pem::decode_all("PRIVATE KEY", &text).unwrap()[0]).unwrap()
    };
    let (brainpool, nist, rsa) = (soft("brainpool"), soft("nist"), soft("rsa"));
    let module = Path::new(MODULE);
    let refused = Token::open(Path::new("/none.so"), "praxis", "1234");
    assert!(matches!(refused, Err(Error::Token(_))));
    assert!(matches!(
        Token::open(module, "none", "1234"),
        Err(Error::NoToken(_))
    ));
    assert!(matches!(
        Token::open(module, "praxis", "0000"),
        Err(Error::Token(_))
    ));
    let token = Token::open(module, "praxis", "1234").unwrap();
    assert!(!format!("{token:?}").contains("1234"));
    assert!(matches!(token.key("none"), Err(Error::NoKey(_, _, 0))));
    assert!(matches!(token.key("twice"), Err(Error::NoKey(_, _, 2))));

    // somebody else in the same process
    let rival = Pkcs11::new(module).unwrap();
    let mut slots = rival.get_slots_with_token().unwrap().into_iter();
    let slot = slots
        .find(|slot| rival.get_token_info(*slot).unwrap().label().trim_end() == "praxis")
        .unwrap();

    let schemes: [(&str, &SoftKey, &[SignatureScheme]); 3] = [
        ("brainpool", &brainpool, &[SignatureScheme::Ecdsa]),
        ("nist", &nist, &[SignatureScheme::Ecdsa]),
        ("rsa", &rsa, &[SignatureScheme::RsaPss, SignatureScheme::RsaPkcs1]),
    ];
    for (label, soft, schemes) in schemes {
        let key = token.key(label).unwrap();
        assert_eq!(key.public(), soft.public());
        for scheme in schemes {
            let value = key.sign(*scheme, b"login").unwrap();
            soft.public().verify(*scheme, b"login", &value).unwrap();
        }
        // documents do not know where the key is
        let moment = |text: &str| text.parse().unwrap();
        let (from, to) = (moment("2026-01-01T00:00:00Z"), moment("2030-01-01T00:00:00Z"));
        let own = Authority::root(Name::new("Praxis", "HSM"), soft.clone(), "", from, to).unwrap();
        let signer = Signer::new(X509::parse(&own.certificate).unwrap(), schemes[0], from).unwrap();
        let draft = cades::sign(b"Befund".to_vec(), true, &signer, cades::Extra::default()).unwrap();
        let signed = draft.sign_with(&key, &[]).unwrap();
        assert_eq!(
            cades::verify(&signed, None, &[]).unwrap().signatures[0].outcome,
            Ok(())
        );

        assert_eq!(
            key.sign_hash(SignatureScheme::RsaPss, Hash::Sha512, &[0; 64]),
            Err(crypto::Error::Unsupported)
        );
    }
    // content keys are opened in the token
    for curve in [Curve::BrainpoolP256r1, Curve::NistP256] {
        let label = format!("{curve:?}");
        let session = rival.open_rw_session(slot).unwrap();
        let named = || vec![Attribute::Token(true), Attribute::Label(label.clone().into())];
        let mut public = named();
        public.push(Attribute::EcParams(tlv::encode(0x06, curve.oid().as_bytes())));
        let mut private = named();
        private.extend([Attribute::Private(true), Attribute::Derive(true)]);
        session
            .generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private)
            .unwrap();
        let key = token.key(&label).unwrap();
        let sealed = key.public().encipher(&[7; 32]).unwrap();
        assert_eq!(key.decipher(&sealed).unwrap()[..], [7; 32]);
        assert_eq!(key.decipher(b"none"), Err(crypto::Error::BadInput));
    }
    // SoftHSM knows OAEP with SHA-1 only
    let key = token.key("rsa").unwrap();
    let sealed = key.public().encipher(&[7; 32]).unwrap();
    assert_eq!(key.decipher(&sealed), Err(crypto::Error::Token));
    // somebody has logged everybody out
    rival.open_rw_session(slot).unwrap().logout().unwrap();
    key.sign(SignatureScheme::RsaPss, b"x").unwrap();
    // two at once
    let (key, other) = (token.key("brainpool").unwrap(), token.key("nist").unwrap());
    std::thread::scope(|scope| {
        for key in [&key, &other] {
            scope.spawn(move || {
                for _ in 0..20 {
                    let value = key.sign(SignatureScheme::Ecdsa, b"x").unwrap();
                    key.public().verify(SignatureScheme::Ecdsa, b"x", &value).unwrap();
                }
            });
        }
    });
}
