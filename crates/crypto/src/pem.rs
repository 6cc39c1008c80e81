//! PEM (RFC 7468): certificates and keys as files that curl, openssl and practice systems read.

use crate::Error;
use der::pem::{self, LineEnding};
use zeroize::Zeroizing;

/// One document as text.
pub fn encode(label: &str, der: &[u8]) -> Result<Zeroizing<String>, Error> {
    pem::encode_string(label, LineEnding::LF, der)
        .map(Zeroizing::new)
        .map_err(|_| Error::BadInput)
}

/// All documents with this label, in order. Text between them is a comment.
pub fn decode_all(label: &str, text: &str) -> Result<Vec<Zeroizing<Vec<u8>>>, Error> {
    let (begin, end) = (
        format!("-----BEGIN {label}-----"),
        format!("-----END {label}-----"),
    );
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once(&begin) {
        let (body, tail) = after.split_once(&end).ok_or(Error::BadInput)?;
        let (_, der) =
            pem::decode_vec(format!("{begin}{body}{end}\n").as_bytes()).map_err(|_| Error::BadInput)?;
        found.push(Zeroizing::new(der));
        rest = tail;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_documents_in_one_file() {
        let one = encode("CERTIFICATE", &[1; 100]).unwrap();
        let key = encode("PRIVATE KEY", &[2; 40]).unwrap();
        let text = format!("first\n{}second\r\n{}{}", *one, *key, *one);
        assert_eq!(decode_all("CERTIFICATE", &text).unwrap().len(), 2);
        assert_eq!(decode_all("PRIVATE KEY", &text).unwrap()[0][..], [2; 40]);
        assert!(decode_all("CERTIFICATE", "nothing").unwrap().is_empty());
        assert!(decode_all("CERTIFICATE", "-----BEGIN CERTIFICATE-----\nAA").is_err());
        assert!(
            decode_all(
                "CERTIFICATE",
                "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n"
            )
            .is_err()
        );
    }
}
