//! MUTUAL AUTHENTICATE with AES keys (gemSpec_COS 15.2): both sides, for the virtual card and the card manager.

use crypto::card::{self, SessionKeys, SessionStrength};
use crypto::{Error, random};

/// Length of command and answer data: 112 bytes of cryptogram, 8 of MAC.
pub const LENGTH: usize = 120;
const CRYPTOGRAM: usize = 112;
const SECRET: usize = 64;

struct Token {
    own_random: [u8; 16],
    own_name: [u8; 8],
    other_random: [u8; 16],
    other_name: [u8; 8],
    secret: [u8; SECRET],
}

impl Token {
    fn seal(&self, keys: &SessionKeys) -> Result<Vec<u8>, Error> {
        let plain = [
            &self.own_random[..],
            &self.own_name,
            &self.other_random,
            &self.other_name,
            &self.secret,
        ]
        .concat();
        let mut out = card::cbc_encrypt(&keys.enc, &[0; 16], &plain)?;
        let mac = card::mac8(&keys.mac, &card::pad(&out))?;
        out.extend(mac);
        Ok(out)
    }

    fn open(keys: &SessionKeys, data: &[u8]) -> Result<Self, Error> {
        let (cryptogram, mac) = data.split_at_checked(CRYPTOGRAM).ok_or(Error::BadInput)?;
        if !card::same_mac(&card::mac8(&keys.mac, &card::pad(cryptogram))?, mac) {
            return Err(Error::Verification);
        }
        let plain = card::cbc_decrypt(&keys.enc, &[0; 16], cryptogram)?;
        let (own_random, rest) = plain.split_first_chunk().ok_or(Error::BadInput)?;
        let (own_name, rest) = rest.split_first_chunk().ok_or(Error::BadInput)?;
        let (other_random, rest) = rest.split_first_chunk().ok_or(Error::BadInput)?;
        let (other_name, rest) = rest.split_first_chunk().ok_or(Error::BadInput)?;
        let secret = rest.try_into().map_err(|_| Error::BadInput)?;
        Ok(Self {
            own_random: *own_random,
            own_name: *own_name,
            other_random: *other_random,
            other_name: *other_name,
            secret,
        })
    }
}

fn session(a: &[u8; SECRET], b: &[u8; SECRET], strength: SessionStrength) -> SessionKeys {
    let mixed: Vec<u8> = a.iter().zip(b).map(|(x, y)| x ^ y).collect();
    SessionKeys::derive(&mixed, strength)
}

/// The card's side: checks the host's token and answers with its own.
pub(crate) fn answer(
    keys: &SessionKeys,
    challenge: &[u8; 16],
    iccsn8: &[u8; 8],
    data: &[u8],
    strength: SessionStrength,
) -> Result<(Vec<u8>, SessionKeys), Error> {
    let host = Token::open(keys, data)?;
    if host.other_random != *challenge || host.other_name != *iccsn8 || host.own_name == *iccsn8 {
        return Err(Error::Verification);
    }
    let mine = Token {
        own_random: *challenge,
        own_name: *iccsn8,
        other_random: host.own_random,
        other_name: host.own_name,
        secret: random()?,
    };
    Ok((mine.seal(keys)?, session(&host.secret, &mine.secret, strength)))
}

/// The host's side between its two steps.
pub struct HostMutual {
    keys: SessionKeys,
    strength: SessionStrength,
    token: Token,
}

impl HostMutual {
    /// Prepares the command data for a card that gave `challenge`.
    pub fn begin(
        keys: SessionKeys,
        strength: SessionStrength,
        challenge: [u8; 16],
        card: [u8; 8],
        own_name: [u8; 8],
    ) -> Result<(Self, Vec<u8>), Error> {
        let token = Token {
            own_random: random()?,
            own_name,
            other_random: challenge,
            other_name: card,
            secret: random()?,
        };
        let data = token.seal(&keys)?;
        Ok((
            Self {
                keys,
                strength,
                token,
            },
            data,
        ))
    }

    /// Checks the card's answer and gives the session keys.
    pub fn finish(self, answer: &[u8]) -> Result<SessionKeys, Error> {
        let card = Token::open(&self.keys, answer)?;
        if card.other_random != self.token.own_random || card.own_random != self.token.other_random {
            return Err(Error::Verification);
        }
        Ok(session(&self.token.secret, &card.secret, self.strength))
    }
}
