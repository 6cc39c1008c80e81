//! S/MIME against `openssl cms`.

use super::common::Party;
use signature::cades::Extra;
use signature::{Flaw, smime};

const MAIL: &[u8] = b"From: a@kim.telematik\nTo: b@kim.telematik\nSubject: Loipe\nMIME-Version: 1.0\n\
    Content-Type: text/plain;\n charset=utf-8\n\nGut gespurt.\nBis bald\n";

#[test]
fn openssl_reads_our_messages() {
    for party in Party::every() {
        let draft = smime::sign(MAIL, &party.signer(), Extra::default()).unwrap();
        let signed = draft.sign_with(&party.key, &[]).unwrap();
        party.write("signed.eml", &signed);
        let arguments = [
            "cms",
            "-verify",
            "-in",
            "signed.eml",
            "-CAfile",
            "ca.pem",
            "-purpose",
            "any",
        ];
        let plain = String::from_utf8(party.run("openssl", &arguments).unwrap()).unwrap();
        assert_eq!(
            plain,
            "Content-Type: text/plain; charset=utf-8\r\n\r\nGut gespurt.\r\nBis bald\r\n"
        );
        assert!(signed.starts_with(b"From: a@kim.telematik\r\nTo:"));
        assert_eq!(smime::verify(&signed, &[]).unwrap().signatures[0].outcome, Ok(()));
    }
}

#[test]
fn we_read_openssls_messages() {
    for party in Party::every() {
        party.write("mail", b"Content-Type: text/plain\r\n\r\nGut gespurt.\r\n");
        for detached in [true, false] {
            let mut arguments = vec![
                "cms",
                "-sign",
                "-in",
                "mail",
                "-signer",
                "cert.pem",
                "-inkey",
                "key.pem",
                "-out",
                "theirs.eml",
            ];
            if !detached {
                arguments.push("-nodetach");
            }
            party.run("openssl", &arguments).unwrap();
            let theirs = party.read("theirs.eml");
            assert_eq!(smime::verify(&theirs, &[]).unwrap().signatures[0].outcome, Ok(()));
            if detached {
                let text = String::from_utf8(theirs).unwrap().replace("Gut", "Gar");
                let findings = smime::verify(text.as_bytes(), &[]).unwrap();
                assert_eq!(findings.signatures[0].outcome, Err(Flaw::Digest));
            }
        }
    }
}
