//! Qualified signatures with an HBA: the PIN at the terminal, one signature in the open (SE#1, TUC_KON_168), or many under a
//! trusted channel from the gSMC-K (SE#2, TUC_KON_154 and 158).

use super::Call;
use super::card::{ENTRY, result_name};
use super::sign::stopped;
use crate::card_key::{refusal, signature_command};
use crate::cards::Card;
use crate::jobs::Job;
use crate::model::Caller;
use crate::{Failure, Inner};
use asn1::tlv;
use base::{Clock, Code};
use card::c2c::C2cError;
use card::cos::{NoMemory, VirtualCard};
use card::pin::{AID_QES, PinOutcome, PinRef, PinStatus};
use card::{
    CardKind, Channel, Command, Expect, Introduction, LogicalChannel, SecurityModule, TrustedChannel,
    UserCard,
};
use crypto::{Hash, SignatureScheme};
use soap::{Crypt, PinRequest};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use terminal::command::{PinTemplate, sw};
use terminal::texts;

/// EF.SSEC in DF.QES.
const SFI_SSEC: u8 = 0x05;

/// How long others are waited for before it is asked whether a card is still there.
const PATIENCE: Duration = Duration::from_secs(3);

/// What a terminal answers in place of a card that it has lost.
const NO_CONTACT: u16 = 0x6F00;

/// What a PIN is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Prompt<'p> {
    /// Signatures of this job.
    Job(&'p str),
    /// A comfort signature.
    Comfort,
}

impl Prompt<'_> {
    fn texts(self) -> Vec<String> {
        match self {
            Prompt::Job(job) => texts::signature(Some(job)),
            Prompt::Comfort => texts::signature(None),
        }
    }
}

/// Reference of the key in DF.QES, and its algorithm with it.
pub(super) fn key_reference(crypt: Crypt) -> u8 {
    match crypt {
        Crypt::Rsa => 0x84,
        Crypt::Ecc => 0x86,
    }
}

fn pin_qes() -> Result<PinRef, Failure> {
    PinRef::find(CardKind::Hba, "PIN.QES").ok_or_else(|| Code::BAD_PIN_REFERENCE.into())
}

/// The failure of a card-to-card step, with the card's absence told as such.
fn failed(error: C2cError) -> Failure {
    match error {
        C2cError::Channel(error) => error.into(),
        other => Failure::new(other.code(), other),
    }
}

/// What the PIN entry gave; anything but "right" is a failure.
fn judge_entry(word: u16) -> Result<(), Failure> {
    let told = |code: Code| Err(Failure::new(code, format!("terminal answered {word:04X}")));
    match word {
        sw::TIMEOUT => return told(Code::PIN_TIMEOUT),
        sw::CANCELLED => return told(Code::USER_CANCELLED),
        sw::NO_CARD | sw::NOT_POWERED => return told(Code::CARD_NOT_INSERTED),
        sw::BUSY => return told(Code::RESOURCE_BUSY),
        _ => {}
    }
    match PinOutcome::from_word(word) {
        PinOutcome::Ok => Ok(()),
        PinOutcome::Rejected(tries) => Err(Failure::new(
            Code::PIN_WRONG,
            format!("PIN.QES wrong, {tries} tries left"),
        )),
        PinOutcome::NowBlocked => told(Code::PIN_NOW_BLOCKED),
        PinOutcome::WasBlocked => told(Code::PIN_BLOCKED),
        PinOutcome::TransportPin => told(Code::TRANSPORT_PIN),
        _ => told(Code::ACCESS_CONDITION),
    }
}

/// DF.QES of an HBA, open over a logical channel of its own, with a trusted channel from a gSMC-K.
pub(super) struct QesChannel {
    card: Arc<Card>,
    module: Arc<Mutex<VirtualCard>>,
    logical: u8,
    /// The key that is chosen.
    chosen: Option<(u8, u8)>,
    /// Signatures the last entry of the PIN is still good for.
    pub left: u32,
}

impl QesChannel {
    /// Opens it, with the PIN typed at the terminal.
    pub(super) async fn open(
        call: &Call<'_>,
        card: &Arc<Card>,
        caller: &Caller,
        prompt: Prompt<'_>,
    ) -> Result<Self, Failure> {
        let system = call.inner.identities.gsmc_k.clone().ok_or_else(|| {
            Failure::new(
                Code::SIGNATURE_FAILED,
                "batch and comfort signatures need a gSMC-K: identities.gsmc_k",
            )
        })?;
        let module = VirtualCard::new(system, Box::new(NoMemory));
        let module = module.map_err(|error| Failure::new(Code::INTERNAL, error))?;
        let logical = {
            // in the middle of what others do over the base channel it would end their secure messaging
            let _guard = card.reserve().await?;
            LogicalChannel::open(&card.channel).await?
        };
        let logical = logical
            .ok_or_else(|| Failure::new(Code::RESOURCE_BUSY, "all logical channels of the HBA are in use"))?;
        let mut channel = Self {
            card: card.clone(),
            module: Arc::new(Mutex::new(module)),
            logical: logical.number(),
            chosen: None,
            left: 0,
        };
        match channel.enter_pin(call, caller, prompt).await {
            Ok(()) => Ok(channel),
            Err(failure) => {
                channel.close().await;
                Err(failure)
            }
        }
    }

    /// The PIN again, or for the first time. All certificates are exchanged before, since DF.QES must not be left between
    /// the PIN and the last signature.
    pub(super) async fn enter_pin(
        &mut self,
        call: &Call<'_>,
        caller: &Caller,
        prompt: Prompt<'_>,
    ) -> Result<(), Failure> {
        let (pin, trust) = (pin_qes()?, call.trust()?);
        let place = call.place(&self.card, caller)?;
        let terminal_module = match &place.module {
            Some(module) => module.clone(),
            None => call.terminal_module(&place.ct_id)?,
        };
        let _pad = place
            .session
            .reserve_pad()
            .ok_or_else(|| Failure::new(Code::RESOURCE_BUSY, "somebody is typing at this terminal"))?;
        let logical = LogicalChannel::again(&self.card.channel, self.logical);
        let user = UserCard::over(&logical);
        let _module = terminal_module.exclusive.lock().await;
        let sender = SecurityModule::of_terminal(&terminal_module.channel);
        let pin_way = Introduction::make(sender, user, trust.cvcs())
            .await
            .map_err(failed)?;
        let renewed = call.inner.batch_cvc();
        let own = SecurityModule::of_konnektor(&*self.module).with(renewed.as_ref());
        let data_way = Introduction::make(own, user, trust.cvcs())
            .await
            .map_err(failed)?;
        check_state(pin.status(&logical).await?)?;
        self.left = signatures_for_a_pin(&logical).await?;
        card::enter(&logical, AID_QES).await.map_err(failed)?;
        let channel = pin_way.agree().await.map_err(failed)?;
        let about =
            |phase, result| call.pin_event(PinRequest::Verify, phase, &self.card, pin, &place, result);
        about("STARTED", None);
        let template = PinTemplate::verify(pin.reference);
        let entered = call.enter_enciphered(
            &channel,
            &template,
            prompt.texts(),
            &place.session,
            &terminal_module,
        );
        let word = entered.await;
        let outcome = word.as_ref().ok().map(|word| PinOutcome::from_word(*word));
        about("FINISHED", Some(result_name(outcome)));
        judge_entry(word?)?;
        data_way.agree().await.map_err(failed)?;
        self.chosen = None;
        Ok(())
    }

    /// Signs a SHA-256 value.
    pub(super) async fn sign(
        &mut self,
        crypt: Crypt,
        scheme: SignatureScheme,
        hash: &[u8; 32],
    ) -> Result<Vec<u8>, Failure> {
        let (algorithm, data) = signature_command(scheme, Hash::Sha256, hash)?;
        let logical = LogicalChannel::again(&self.card.channel, self.logical);
        let channel = TrustedChannel::again(
            SecurityModule::of_konnektor(&*self.module),
            UserCard::over(&logical),
        );
        let key = (key_reference(crypt), algorithm);
        if self.chosen != Some(key) {
            let choose = Command::new(0, 0x22, 0x41, 0xB6).data([0x84, 0x01, key.0, 0x80, 0x01, key.1]);
            let answer = channel.transmit(&choose).await.map_err(failed)?;
            if !answer.is_ok() {
                return Err(refusal(answer.sw, "the key", Code::KEY_MISSING));
            }
            self.chosen = Some(key);
        }
        let expect = match scheme {
            SignatureScheme::Ecdsa => Expect::AllShort,
            _ => Expect::All,
        };
        let sign = Command::new(0, 0x2A, 0x9E, 0x9A).data(data).expect(expect);
        let answer = channel.transmit(&sign).await.map_err(failed)?;
        if !answer.is_ok() {
            return Err(refusal(answer.sw, "to sign", Code::SIGNATURE_FAILED));
        }
        self.left = self.left.saturating_sub(1);
        value(scheme, &answer.data)
    }

    /// What went wrong, told as the card's absence if it is gone: a terminal says so only afterwards, not about the command
    /// in whose middle it was pulled.
    pub(super) async fn explain(&self, failure: Failure, clock: &dyn Clock) -> Failure {
        let base: &dyn Channel = &self.card.channel;
        // somebody who types a PIN is not waited for: as long as that goes on the card is there
        let Some(_guard) = clock.timeout(PATIENCE, self.card.exclusive.lock()).await else {
            return failure;
        };
        match base.select_mf().await {
            Ok(answer) if answer.sw != NO_CONTACT => failure,
            Err(card::ChannelError::Timeout) => failure,
            _ => Failure::new(Code::CARD_NOT_INSERTED, failure.detail()),
        }
    }

    /// Leaves DF.QES: the PIN counts no more.
    pub(super) async fn close(self) {
        let logical = LogicalChannel::again(&self.card.channel, self.logical);
        if let Err(error) = logical.close().await {
            // the card is gone, and with it the channel; or it must be pulled to get rid of it
            tracing::warn!(%error, terminal = %self.card.ct_id, "logical channel of an HBA not closed");
        }
    }
}

fn value(scheme: SignatureScheme, signature: &[u8]) -> Result<Vec<u8>, Failure> {
    match scheme {
        SignatureScheme::Ecdsa => crypto::ecdsa_der(signature).map_err(|_| Code::CARD_ERROR.into()),
        _ => Ok(signature.to_vec()),
    }
}

fn check_state(status: PinStatus) -> Result<(), Failure> {
    match status {
        PinStatus::Blocked => Err(Code::PIN_BLOCKED.into()),
        PinStatus::TransportPin | PinStatus::EmptyPin => Err(Code::TRANSPORT_PIN.into()),
        PinStatus::Unknown(word) => Err(Failure::new(Code::BAD_PIN_REFERENCE, format!("{word:04X}"))),
        _ => Ok(()),
    }
}

/// How many signatures EF.SSEC allows for one PIN in environment 2; one, if it says nothing.
async fn signatures_for_a_pin(card: &dyn Channel) -> Result<u32, Failure> {
    card.select(AID_QES).await?;
    let Ok(content) = card.read_file(SFI_SSEC).await? else {
        return Ok(1);
    };
    let objects = tlv::find(&content, 0x7B).and_then(|inside| tlv::read_all(inside).ok());
    let (mut environment, mut count) = (0, 1);
    for object in objects.unwrap_or_default() {
        match (object.tag, object.value) {
            (0x80, [number]) => environment = *number,
            (0xC0, [number]) if environment == 2 => count = u32::from(*number),
            _ => {}
        }
    }
    Ok(count)
}

impl Call<'_> {
    /// The trust space, which every judgement about cards needs.
    pub(super) fn trust(&self) -> Result<Arc<pki::Trust>, Failure> {
        trust_of(self.inner)
    }

    /// One signature in the open: the PIN at the card's own terminal, then the hash value. Nobody else uses the card
    /// meanwhile, and DF.QES is left at the end whatever happens.
    pub(super) async fn sign_single(
        &self,
        card: &Arc<Card>,
        caller: &Caller,
        job: &Job<'_>,
        (crypt, scheme): (Crypt, SignatureScheme),
        hash: &[u8; 32],
    ) -> Result<Vec<u8>, Failure> {
        let pin = pin_qes()?;
        let place = self.place(card, caller)?;
        let _pad = place
            .session
            .reserve_pad()
            .ok_or_else(|| Failure::new(Code::RESOURCE_BUSY, "somebody is typing at this terminal"))?;
        let _guard = card.reserve().await?;
        let channel: &dyn Channel = &card.channel;
        let signing = async {
            check_state(pin.status(channel).await?)?;
            let go_on = || match job.is_stopped() {
                true => Err(stopped()),
                false => Ok(()),
            };
            go_on()?;
            let about = |phase, result| self.pin_event(PinRequest::Verify, phase, card, pin, &place, result);
            about("STARTED", None);
            let command =
                PinTemplate::verify(pin.reference).command(card.slot, &Prompt::Job(&job.number).texts());
            let answer = place.session.send(0, &command, ENTRY).await;
            let outcome = answer
                .as_ref()
                .ok()
                .map(|answer| PinOutcome::from_word(answer.sw));
            about("FINISHED", Some(result_name(outcome)));
            judge_entry(answer?.sw)?;
            go_on()?;
            let (algorithm, data) = signature_command(scheme, Hash::Sha256, hash)?;
            let key = [0x84, 0x01, key_reference(crypt), 0x80, 0x01, algorithm];
            let choose = Command::new(0, 0x22, 0x41, 0xB6).data(key);
            let answer = channel.transmit(&choose).await?;
            if !answer.is_ok() {
                return Err(refusal(answer.sw, "the key", Code::KEY_MISSING));
            }
            let sign = Command::new(0, 0x2A, 0x9E, 0x9A)
                .data(data)
                .expect(Expect::AllShort);
            let answer = channel.transmit(&sign).await?;
            match answer.is_ok() {
                true => value(scheme, &answer.data),
                false => Err(refusal(answer.sw, "to sign", Code::SIGNATURE_FAILED)),
            }
        };
        let signed = signing.await;
        let _ = channel.select_mf().await;
        signed
    }
}

pub(super) fn trust_of(inner: &Inner) -> Result<Arc<pki::Trust>, Failure> {
    inner
        .trust()
        .ok_or_else(|| Failure::new(Code::CRITICAL_STATE, "no trust list yet"))
}
