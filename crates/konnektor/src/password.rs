//! Passwords of users: salted PBKDF2 hashes, compared in constant time.

use crate::Failure;

const ROUNDS: u32 = 100_000;

/// `pbkdf2-sha256$rounds$salt$hash`, hexadecimal.
pub fn hash(password: &str) -> Result<String, Failure> {
    let salt: [u8; 16] = crypto::random()?;
    Ok(format!(
        "pbkdf2-sha256${ROUNDS}${}${}",
        hex::encode(salt),
        hex::encode(derive(password, &salt, ROUNDS))
    ))
}

fn derive(password: &str, salt: &[u8], rounds: u32) -> [u8; 32] {
    pbkdf2::pbkdf2_hmac_array::<sha2::Sha256, 32>(password.as_bytes(), salt, rounds)
}

/// Does the password fit the hash?
pub fn verify(password: &str, stored: &str) -> bool {
    let mut parts = stored.split('$');
    let (Some("pbkdf2-sha256"), Some(rounds), Some(salt), Some(hash), None) = (
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
    ) else {
        return false;
    };
    match (rounds.parse(), hex::decode(salt), hex::decode(hash)) {
        (Ok(rounds @ 1..=10_000_000), Ok(salt), Ok(hash)) => {
            crypto::card::same_mac(&derive(password, &salt, rounds), &hash)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn right_and_wrong() {
        let stored = super::hash("geheim").unwrap();
        assert!(super::verify("geheim", &stored));
        assert!(!super::verify("Geheim", &stored));
        assert!(!super::verify("geheim", "pbkdf2-sha256$x$00$00"));
        assert!(!super::verify("", ""));
    }
}
