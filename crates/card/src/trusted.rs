//! A trusted channel between two cards (TUC_KON_005 with trusted channel, BSI TR-03114): a security module card, the
//! gSMC-KT of a terminal, enciphers what a user card, HBA or SMC-B, shall get. The Konnektor relays and can read nothing.

use crate::apdu::{Command, Expect, Response};
use crate::c2c::{C2cError, CvcPair, import};
use crate::channel::Channel;
use crate::cos::sw;
use asn1::tlv;
use pki::CvcTrust;

/// EF.C.SMC.AUTD_RPS_CVC.E256 of a gSMC-KT, and its key.
const SFI_SENDER: u8 = 0x0A;
const KEY_SENDER: u8 = 0x0A;
/// EF.C.HPC.AUTD_SUK_CVC.E256 of an HBA or EF.C.SMC.AUTD_RPE_CVC.E256 of an SMC-B, and its key.
const SFI_RECEIVER: u8 = 0x09;
const KEY_RECEIVER: u8 = 0x09;
/// elcSessionkey4TC and elcSessionkey4SM.
const TRUSTED_CHANNEL: u8 = 0xD4;
const SECURE_MESSAGING: u8 = 0x54;
/// A command under secure messaging is padded with this and zeros to a block before its objects.
const PADDING: u8 = 0x80;

/// An open channel. It ends with the next plain command to the user card.
pub struct TrustedChannel<'c> {
    module: &'c dyn Channel,
    user: &'c dyn Channel,
}

impl<'c> TrustedChannel<'c> {
    /// Each card checks the other's certificates, then both agree on keys. The password lies in `application` of the user
    /// card, where security environment 2 is chosen; `None` is the MF.
    pub async fn open(
        module: &'c dyn Channel,
        user: &'c dyn Channel,
        trust: &CvcTrust,
        application: Option<&[u8]>,
    ) -> Result<Self, C2cError> {
        let sender = CvcPair::read_with(module, SFI_SENDER).await?;
        let receiver = CvcPair::read_with(user, SFI_RECEIVER).await?;
        import(user, &sender, trust).await?;
        import(module, &receiver, trust).await?;
        if let Some(aid) = application {
            target("SELECT", user.select(aid).await?)?;
            let environment = Command::new(0, 0x22, 0xF3, 0x02);
            target("MSE for environment 2", user.transmit(&environment).await?)?;
        }
        let choose = |key: u8, algorithm: u8| {
            Command::new(0, 0x22, 0x41, 0xA4).data([0x84, 0x01, key, 0x80, 0x01, algorithm])
        };
        let chosen = user.transmit(&choose(KEY_RECEIVER, SECURE_MESSAGING)).await?;
        target("MSE for GENERAL AUTHENTICATE", chosen)?;
        let chosen = module.transmit(&choose(KEY_SENDER, TRUSTED_CHANNEL)).await?;
        source("MSE for GENERAL AUTHENTICATE", chosen)?;
        let partner = |chr: &[u8]| {
            let data = tlv::encode(0x7C, &tlv::encode(0xC3, chr));
            Command::new(0x10, 0x86, 0, 0).data(data).expect(Expect::AllShort)
        };
        let first = "GENERAL AUTHENTICATE, step 1";
        let from_user = target(first, user.transmit(&partner(&sender.own.chr)).await?)?;
        let from_module = source(first, module.transmit(&partner(&receiver.own.chr)).await?)?;
        let agree = |point: Vec<u8>| Command::new(0, 0x86, 0, 0).data(point);
        let second = "GENERAL AUTHENTICATE, step 2";
        target(second, user.transmit(&agree(from_module)).await?)?;
        source(second, module.transmit(&agree(from_user)).await?)?;
        Ok(Self { module, user })
    }

    /// Sends a command with data that the module has enciphered (`01 || cryptogram`, its answer to PSO ENCIPHER), and
    /// gives the status word, which is genuine: the module has checked its MAC.
    pub async fn send(&self, ins: u8, p1: u8, p2: u8, enciphered: &[u8]) -> Result<u16, C2cError> {
        let objects = tlv::encode(0x87, enciphered);
        let header = [0x0C, ins, p1, p2];
        // ENCIPHER has moved the counter already: flag 00
        let mut message = vec![0x00];
        message.extend(header);
        message.push(PADDING);
        message.resize(1 + 16, 0);
        message.extend_from_slice(&objects);
        let checksum = Command::new(0, 0x2A, 0x8E, 0x80)
            .data(message)
            .expect(Expect::AllShort);
        let mac = source("PSO COMPUTE CHECKSUM", self.module.transmit(&checksum).await?)?;
        let protected = Command::new(0x0C, ins, p1, p2)
            .data([objects, tlv::encode(0x8E, &mac)].concat())
            .expect(Expect::AllShort);
        let answer = self.user.transmit(&protected).await?;
        let parts = tlv::read_all(&answer.data).unwrap_or_default();
        let part = |tag: u32| parts.iter().find(|part| part.tag == tag);
        let (Some(status), Some(mac)) = (part(0x99), part(0x8E)) else {
            // an answer without protection says that the card did not accept the command
            return Err(C2cError::Target {
                step: "command in the trusted channel",
                word: answer.sw,
            });
        };
        let check = [tlv::encode(0x80, status.raw), tlv::encode(0x8E, mac.value)].concat();
        let verify = Command::new(0, 0x2A, 0x00, 0xA2).data(check);
        source("PSO VERIFY CHECKSUM", self.module.transmit(&verify).await?)?;
        match status.value {
            [high, low] => Ok(u16::from_be_bytes([*high, *low])),
            _ => Err(C2cError::NotGenuine),
        }
    }
}

fn source(step: &'static str, answer: Response) -> Result<Vec<u8>, C2cError> {
    match answer.sw {
        sw::OK => Ok(answer.data),
        word => Err(C2cError::Source { step, word }),
    }
}

fn target(step: &'static str, answer: Response) -> Result<Vec<u8>, C2cError> {
    match answer.sw {
        sw::OK => Ok(answer.data),
        word => Err(C2cError::Target { step, word }),
    }
}
