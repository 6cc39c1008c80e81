use crate::{Error, Hash, random_bytes};
use rsa::traits::{PrivateKeyParts, PublicKeyParts};
use rsa::{BoxedUint, Oaep, Pkcs1v15Sign, Pss};
use sha2::{Sha256, Sha384, Sha512};
use std::fmt;
use zeroize::Zeroizing;

/// Random numbers of the operating system in the form the `rsa` crate wants.
type Rng = rsa::rand_core::UnwrapErr<getrandom::SysRng>;

fn rng() -> Rng {
    rsa::rand_core::UnwrapErr(getrandom::SysRng)
}

/// An RSA public key.
#[derive(Clone, PartialEq, Eq)]
pub struct RsaPublic(rsa::PublicKey);

impl RsaPublic {
    /// From PKCS#1 DER (the key bits of a certificate).
    pub fn from_pkcs1(der: &[u8]) -> Result<Self, Error> {
        use rsa::pkcs1::DecodeRsaPublicKey;
        rsa::PublicKey::from_pkcs1_der(der)
            .map(Self)
            .map_err(|_| Error::BadKey)
    }

    /// From modulus and exponent, big endian.
    pub fn from_numbers(n: &[u8], e: &[u8]) -> Result<Self, Error> {
        let number = |bytes: &[u8]| {
            BoxedUint::from_be_slice(bytes, (bytes.len() * 8) as u32).map_err(|_| Error::BadKey)
        };
        rsa::PublicKey::new(number(n)?, number(e)?)
            .map(Self)
            .map_err(|_| Error::BadKey)
    }

    /// PKCS#1 DER.
    pub fn to_pkcs1(&self) -> Result<Vec<u8>, Error> {
        use rsa::pkcs1::EncodeRsaPublicKey;
        Ok(self
            .0
            .to_pkcs1_der()
            .map_err(|_| Error::BadKey)?
            .as_bytes()
            .to_vec())
    }

    /// Checks a RSASSA-PKCS1-v1_5 signature over a hash value.
    pub fn verify_pkcs1(&self, hash: Hash, value: &[u8], signature: &[u8]) -> Result<(), Error> {
        let padding = match hash {
            Hash::Sha256 => Pkcs1v15Sign::new::<Sha256>(),
            Hash::Sha384 => Pkcs1v15Sign::new::<Sha384>(),
            Hash::Sha512 => Pkcs1v15Sign::new::<Sha512>(),
        };
        self.0
            .verify(padding, value, signature)
            .map_err(|_| Error::Verification)
    }

    /// Checks a RSASSA-PSS signature over a hash value; the mask uses the same hash, the salt has `salt` bytes.
    pub fn verify_pss(&self, hash: Hash, value: &[u8], signature: &[u8], salt: usize) -> Result<(), Error> {
        let outcome = match hash {
            Hash::Sha256 => self
                .0
                .verify(Pss::<Sha256>::new_with_salt(salt), value, signature),
            Hash::Sha384 => self
                .0
                .verify(Pss::<Sha384>::new_with_salt(salt), value, signature),
            Hash::Sha512 => self
                .0
                .verify(Pss::<Sha512>::new_with_salt(salt), value, signature),
        };
        outcome.map_err(|_| Error::Verification)
    }

    /// RSAES-OAEP with SHA-256.
    pub fn encrypt_oaep(&self, plain: &[u8]) -> Result<Vec<u8>, Error> {
        self.0
            .encrypt(&mut rng(), Oaep::<Sha256>::new(), plain)
            .map_err(|_| Error::BadInput)
    }

    /// Size of the modulus in bytes.
    pub fn size(&self) -> usize {
        self.0.size()
    }
}

impl fmt::Debug for RsaPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RsaPublic({} bit)", self.0.size() * 8)
    }
}

/// An RSA private key.
#[derive(Clone)]
pub struct RsaPrivate(Box<rsa::PrivateKey>);

impl RsaPrivate {
    /// A new key with `bits` (2048 or more).
    pub fn generate(bits: usize) -> Result<Self, Error> {
        rsa::PrivateKey::new(&mut rng(), bits)
            .map(|key| Self(Box::new(key)))
            .map_err(|_| Error::Random)
    }

    /// From the numbers a card image holds, big endian.
    pub fn from_numbers(n: &[u8], e: &[u8], d: &[u8], p: &[u8], q: &[u8]) -> Result<Self, Error> {
        let number = |bytes: &[u8]| {
            BoxedUint::from_be_slice(bytes, (bytes.len() * 8) as u32).map_err(|_| Error::BadKey)
        };
        let primes = vec![number(p)?, number(q)?];
        let key = rsa::PrivateKey::from_components(number(n)?, number(e)?, number(d)?, primes);
        key.map(|key| Self(Box::new(key))).map_err(|_| Error::BadKey)
    }

    /// n, e, d, p, q, dP, dQ and the CRT coefficient, big endian: what a card image holds.
    pub fn numbers(&self) -> Result<[Zeroizing<Vec<u8>>; 8], Error> {
        let bytes = |number: &BoxedUint| {
            let all = number.to_be_bytes();
            let skip = all.iter().take_while(|b| **b == 0).count();
            Zeroizing::new(all.iter().skip(skip).copied().collect::<Vec<u8>>())
        };
        let key = &self.0;
        let [p, q] = key.primes() else {
            return Err(Error::BadKey);
        };
        let dp = key.dp().ok_or(Error::BadKey)?;
        let dq = key.dq().ok_or(Error::BadKey)?;
        let c = key.crt_coefficient().ok_or(Error::BadKey)?;
        Ok([
            bytes(key.n().as_ref()),
            bytes(key.e()),
            bytes(key.d()),
            bytes(p),
            bytes(q),
            bytes(dp),
            bytes(dq),
            bytes(&c),
        ])
    }

    /// The public key.
    pub fn public(&self) -> RsaPublic {
        RsaPublic(self.0.to_public_key())
    }

    /// RSASSA-PSS over a finished SHA-256.
    pub fn sign_pss_prehash(&self, hash: &[u8]) -> Result<Vec<u8>, Error> {
        self.0
            .sign_with_rng(&mut rng(), Pss::<Sha256>::new(), hash)
            .map_err(|_| Error::BadInput)
    }

    /// RSASSA-PKCS1-v1_5 over a finished DigestInfo (what a card is given).
    pub fn sign_digest_info(&self, digest_info: &[u8]) -> Result<Vec<u8>, Error> {
        self.0
            .sign_with_rng(&mut rng(), Pkcs1v15Sign::new_unprefixed(), digest_info)
            .map_err(|_| Error::BadInput)
    }

    /// RSAES-OAEP with SHA-256.
    pub fn decrypt_oaep(&self, cryptogram: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        let plain = self
            .0
            .decrypt_blinded(&mut rng(), Oaep::<Sha256>::new(), cryptogram);
        plain.map(Zeroizing::new).map_err(|_| Error::BadInput)
    }

    /// RSAES-PKCS1-v1_5. A wrong padding gives random bytes instead of an error, so that nobody can ask an oracle.
    pub fn decrypt_pkcs1(&self, cryptogram: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        match self
            .0
            .decrypt_blinded(&mut rng(), rsa::Pkcs1v15Encrypt, cryptogram)
        {
            Ok(plain) => Ok(Zeroizing::new(plain)),
            Err(_) => Ok(Zeroizing::new(random_bytes(32)?)),
        }
    }

    /// PKCS#8 DER.
    pub fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, Error> {
        use rsa::pkcs8::EncodePrivateKey;
        let document = self.0.to_pkcs8_der().map_err(|_| Error::BadKey)?;
        Ok(Zeroizing::new(document.as_bytes().to_vec()))
    }

    /// From PKCS#8 DER.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, Error> {
        use rsa::pkcs8::DecodePrivateKey;
        rsa::PrivateKey::from_pkcs8_der(der)
            .map(|key| Self(Box::new(key)))
            .map_err(|_| Error::BadKey)
    }
}

impl fmt::Debug for RsaPrivate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RsaPrivate")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_signatures_and_decryption() {
        let key = RsaPrivate::generate(2048).unwrap();
        let [n, e, d, p, q, ..] = key.numbers().unwrap();
        let same = RsaPrivate::from_numbers(&n, &e, &d, &p, &q).unwrap();
        let pss = same.sign_pss_prehash(&crate::sha256([b"text"])).unwrap();
        let text = crate::sha256([b"text"]);
        key.public().verify_pss(Hash::Sha256, &text, &pss, 32).unwrap();
        assert!(key.public().verify_pss(Hash::Sha256, &[0; 32], &pss, 32).is_err());
        key.public()
            .verify_pkcs1(
                Hash::Sha256,
                &text,
                &same.sign_digest_info(&Hash::Sha256.digest_info(&text)).unwrap(),
            )
            .unwrap();
        let cryptogram = key.public().encrypt_oaep(b"secret").unwrap();
        assert_eq!(&same.decrypt_oaep(&cryptogram).unwrap()[..], b"secret");
        assert!(same.decrypt_oaep(&[1; 256]).is_err());
        assert_eq!(
            RsaPrivate::from_pkcs8(&key.to_pkcs8().unwrap()).unwrap().public(),
            key.public()
        );
    }
}
