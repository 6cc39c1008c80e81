//! A trusted channel between two cards (TUC_KON_005 with trusted channel, BSI TR-03114): a security module card enciphers
//! what a user card, HBA or SMC-B, shall get. The gSMC-KT of a terminal does so with PINs (remote PIN), the gSMC-K with
//! hash values to be signed (batch and comfort signature). Of a PIN the Konnektor relays and can read nothing.

use crate::apdu::{Command, Expect, Response};
use crate::c2c::{C2cError, CvcPair, import};
use crate::channel::{Answer, Channel, ChannelError};
use crate::cos::sw;
use asn1::tlv;
use pki::CvcTrust;

/// EF.C.HPC.AUTD_SUK_CVC.E256 of an HBA or EF.C.SMC.AUTD_RPE_CVC.E256 of an SMC-B, and its key.
const SFI_RECEIVER: u8 = 0x09;
const KEY_RECEIVER: u8 = 0x09;
/// elcSessionkey4TC and elcSessionkey4SM.
const TRUSTED_CHANNEL: u8 = 0xD4;
const SECURE_MESSAGING: u8 = 0x54;
/// A command under secure messaging is padded with this and zeros to a block before its objects.
const PADDING: u8 = 0x80;

/// A card that enciphers.
#[derive(Clone, Copy)]
pub struct SecurityModule<'c> {
    channel: &'c dyn Channel,
    application: Option<&'static [u8]>,
    /// Its certificate.
    sfi: u8,
    key: u8,
    /// Certificates in place of those that lie on it.
    renewed: Option<&'c CvcPair>,
}

impl<'c> SecurityModule<'c> {
    /// The gSMC-KT of a terminal: EF.C.SMC.AUTD_RPS_CVC.E256 in the MF.
    pub fn of_terminal(channel: &'c dyn Channel) -> Self {
        Self {
            channel,
            application: None,
            sfi: 0x0A,
            key: 0x0A,
            renewed: None,
        }
    }

    /// The gSMC-K of a Konnektor: EF.C.SAK.AUTD_CVC.E256 in DF.SAK.
    pub fn of_konnektor(channel: &'c dyn Channel) -> Self {
        Self {
            channel,
            application: Some(&[0xD2, 0x76, 0x00, 0x01, 0x44, 0x04]),
            sfi: 0x0A,
            key: 0x8A,
            renewed: None,
        }
    }

    /// The same with renewed certificates over the card's key (lifetime extension, A_21736).
    pub fn with(self, renewed: Option<&'c CvcPair>) -> Self {
        Self { renewed, ..self }
    }

    async fn certificates(&self) -> Result<CvcPair, C2cError> {
        // read in any case: it is also what selects the application with the key
        let own = match self.application {
            None => CvcPair::read_with(self.channel, self.sfi).await,
            Some(aid) => CvcPair::read_inside(self.channel, aid, self.sfi).await,
        };
        self.renewed.cloned().map_or(own, Ok)
    }
}

/// A user card whose commands go over one of its logical channels.
#[derive(Clone, Copy)]
pub struct UserCard<'c> {
    channel: &'c dyn Channel,
    logical: u8,
}

impl<'c> UserCard<'c> {
    /// Over its base channel.
    pub fn new(channel: &'c dyn Channel) -> Self {
        Self { channel, logical: 0 }
    }

    /// Over a further channel.
    pub fn over(channel: &'c LogicalChannel<'c>) -> Self {
        Self {
            channel,
            logical: channel.number,
        }
    }
}

/// Module and user card know each other's certificates. From here on a channel can be agreed upon without leaving the
/// application that is selected in the user card.
pub struct Introduction<'c> {
    module: SecurityModule<'c>,
    user: UserCard<'c>,
    module_name: Vec<u8>,
    user_name: Vec<u8>,
}

impl<'c> Introduction<'c> {
    /// Each card checks the other's certificates. In the user card the MF is selected afterwards.
    pub async fn make(
        module: SecurityModule<'c>,
        user: UserCard<'c>,
        trust: &CvcTrust,
    ) -> Result<Self, C2cError> {
        let sender = module.certificates().await?;
        let receiver = CvcPair::read_with(user.channel, SFI_RECEIVER).await?;
        import(user.channel, &sender, trust).await?;
        import(module.channel, &receiver, trust).await?;
        Ok(Self {
            module,
            user,
            module_name: sender.own.chr,
            user_name: receiver.own.chr,
        })
    }

    /// Both agree on keys.
    pub async fn agree(&self) -> Result<TrustedChannel<'c>, C2cError> {
        let (module, user) = (self.module.channel, self.user.channel);
        let choose = |key: u8, algorithm: u8| {
            Command::new(0, 0x22, 0x41, 0xA4).data([0x84, 0x01, key, 0x80, 0x01, algorithm])
        };
        let chosen = user.transmit(&choose(KEY_RECEIVER, SECURE_MESSAGING)).await?;
        target("MSE for GENERAL AUTHENTICATE", chosen)?;
        if let Some(aid) = self.module.application {
            source("SELECT", module.select(aid).await?)?;
        }
        let chosen = module.transmit(&choose(self.module.key, TRUSTED_CHANNEL)).await?;
        source("MSE for GENERAL AUTHENTICATE", chosen)?;
        let partner = |chr: &[u8]| {
            let data = tlv::encode(0x7C, &tlv::encode(0xC3, chr));
            Command::new(0x10, 0x86, 0, 0).data(data).expect(Expect::AllShort)
        };
        let first = "GENERAL AUTHENTICATE, step 1";
        let from_user = target(first, user.transmit(&partner(&self.module_name)).await?)?;
        let from_module = source(first, module.transmit(&partner(&self.user_name)).await?)?;
        let agree = |point: Vec<u8>| Command::new(0, 0x86, 0, 0).data(point);
        let second = "GENERAL AUTHENTICATE, step 2";
        target(second, user.transmit(&agree(from_module)).await?)?;
        source(second, module.transmit(&agree(from_user)).await?)?;
        Ok(TrustedChannel {
            module,
            user: self.user,
        })
    }
}

/// Selects an application of a user card and chooses its security environment 2.
pub async fn enter(user: &dyn Channel, application: &[u8]) -> Result<(), C2cError> {
    target("SELECT", user.select(application).await?)?;
    let environment = Command::new(0, 0x22, 0xF3, 0x02);
    target("MSE for environment 2", user.transmit(&environment).await?)?;
    Ok(())
}

/// An open channel. It ends with the next plain command to the user card over the same logical channel.
pub struct TrustedChannel<'c> {
    module: &'c dyn Channel,
    user: UserCard<'c>,
}

impl<'c> TrustedChannel<'c> {
    /// A channel for one thing. The password lies in `application` of the user card, where security environment 2 is
    /// chosen; `None` is the MF.
    pub async fn open(
        module: SecurityModule<'c>,
        user: UserCard<'c>,
        trust: &CvcTrust,
        application: Option<&[u8]>,
    ) -> Result<Self, C2cError> {
        let introduction = Introduction::make(module, user, trust).await?;
        if let Some(aid) = application {
            enter(user.channel, aid).await?;
        }
        introduction.agree().await
    }

    /// One that was agreed upon before: keys and counters are in the two cards.
    pub fn again(module: SecurityModule<'c>, user: UserCard<'c>) -> Self {
        Self {
            module: module.channel,
            user,
        }
    }

    /// Sends a command with data that the module has enciphered (`01 || cryptogram`, its answer to PSO ENCIPHER), and
    /// gives the status word, which is genuine: the module has checked its MAC.
    pub async fn send(&self, ins: u8, p1: u8, p2: u8, enciphered: &[u8]) -> Result<u16, C2cError> {
        let header = Command::new(0, ins, p1, p2);
        Ok(self.relay(&header, Some(enciphered)).await?.sw)
    }

    /// Sends a command, enciphered by the module, and gives the answer, deciphered by it.
    pub async fn transmit(&self, command: &Command) -> Result<Response, C2cError> {
        let enciphered = match command.data.is_empty() {
            true => None,
            false => {
                let encipher = Command::new(0, 0x2A, 0x86, 0x80)
                    .data(command.data.clone())
                    .expect(Expect::All);
                Some(source("PSO ENCIPHER", self.module.transmit(&encipher).await?)?)
            }
        };
        let answer = self.relay(command, enciphered.as_deref()).await?;
        if answer.data.is_empty() {
            return Ok(answer);
        }
        let decipher = Command::new(0, 0x2A, 0x80, 0x86)
            .data(answer.data)
            .expect(Expect::All);
        let data = source("PSO DECIPHER", self.module.transmit(&decipher).await?)?;
        Ok(Response { data, sw: answer.sw })
    }

    /// Protects header and enciphered data, and checks the answer's protection; its data stay enciphered.
    async fn relay(&self, command: &Command, enciphered: Option<&[u8]>) -> Result<Response, C2cError> {
        let mut objects = enciphered.map_or(Vec::new(), |data| tlv::encode(0x87, data));
        match command.expect {
            Expect::Nothing => {}
            Expect::All => objects.extend(tlv::encode(0x97, &[0, 0])),
            _ => objects.extend(tlv::encode(0x97, &[0])),
        }
        let class = 0x0C | self.user.logical;
        // ENCIPHER has moved the counter already: flag 00
        let mut message = vec![u8::from(enciphered.is_none())];
        message.extend([class, command.ins, command.p1, command.p2, PADDING]);
        message.resize(1 + 16, 0);
        message.extend_from_slice(&objects);
        let checksum = Command::new(0, 0x2A, 0x8E, 0x80)
            .data(message)
            .expect(Expect::AllShort);
        let mac = source("PSO COMPUTE CHECKSUM", self.module.transmit(&checksum).await?)?;
        let protected = Command::new(class, command.ins, command.p1, command.p2)
            .data([objects, tlv::encode(0x8E, &mac)].concat())
            .expect(match command.expect {
                Expect::All => Expect::All,
                _ => Expect::AllShort,
            });
        let answer = self.user.channel.transmit(&protected).await?;
        let parts = tlv::read_all(&answer.data).unwrap_or_default();
        let part = |tag: u32| parts.iter().find(|part| part.tag == tag);
        let (Some(status), Some(mac)) = (part(0x99), part(0x8E)) else {
            // an answer without protection says that the card did not accept the command
            return Err(C2cError::Target {
                step: "command in the trusted channel",
                word: answer.sw,
            });
        };
        let data = part(0x87);
        let covered = [data.map_or(&[][..], |data| data.raw), status.raw].concat();
        let check = [tlv::encode(0x80, &covered), tlv::encode(0x8E, mac.value)].concat();
        let verify = Command::new(0, 0x2A, 0x00, 0xA2).data(check);
        source("PSO VERIFY CHECKSUM", self.module.transmit(&verify).await?)?;
        match status.value {
            [high, low] => Ok(Response {
                data: data.map_or(Vec::new(), |data| data.value.to_vec()),
                sw: u16::from_be_bytes([*high, *low]),
            }),
            _ => Err(C2cError::NotGenuine),
        }
    }
}

/// A further logical channel of a card: what is selected and verified there stays, whatever others do over the base
/// channel. A card of a person has three of them.
pub struct LogicalChannel<'c> {
    base: &'c dyn Channel,
    number: u8,
}

impl<'c> LogicalChannel<'c> {
    /// Opens one; `None` if the card has none left.
    pub async fn open(base: &'c dyn Channel) -> Result<Option<Self>, ChannelError> {
        let open = Command::new(0, 0x70, 0x00, 0x00).expect(Expect::Bytes(1));
        let answer = base.transmit(&open).await?;
        match (answer.sw, answer.data.as_slice()) {
            (sw::OK, [number @ 1..=3]) => Ok(Some(Self {
                base,
                number: *number,
            })),
            (sw::NO_MORE_CHANNELS, _) => Ok(None),
            _ => Err(ChannelError::Garbage),
        }
    }

    /// One that was opened before and kept by its number.
    pub fn again(base: &'c dyn Channel, number: u8) -> Self {
        Self { base, number }
    }

    /// Its number.
    pub fn number(&self) -> u8 {
        self.number
    }

    /// Closes it; everything verified there is forgotten. Tried twice, for a channel that stays open keeps its PIN.
    pub async fn close(self) -> Result<(), ChannelError> {
        let close = Command::new(self.number, 0x70, 0x80, 0x00);
        match self.base.transmit(&close).await {
            Ok(answer) if answer.is_ok() => return Ok(()),
            _ => {}
        }
        match self.base.transmit(&close).await? {
            answer if answer.is_ok() => Ok(()),
            _ => Err(ChannelError::Garbage),
        }
    }
}

impl Channel for LogicalChannel<'_> {
    fn transmit<'a>(&'a self, command: &'a Command) -> Answer<'a> {
        Box::pin(async move {
            let mut command = command.clone();
            command.cla |= self.number;
            self.base.transmit(&command).await
        })
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
