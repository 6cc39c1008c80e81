use super::pad::Entry;
use super::{Fault, SLOTS, SharedCard, SlotCard, VirtualTerminal};
use crate::command::{decode_text, sw};
use asn1::tlv;
use card::image::PinBlock;
use card::{Command, Expect, Response};
use crypto::{Key, SignatureScheme, SoftKey, sha256};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Who is at the other end (A_22456).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Client {
    /// No certificate, or not one of a Konnektor.
    Invalid,
    /// A Konnektor with this public key.
    Konnektor { key: Vec<u8> },
}

/// One Konnektor's connection.
pub(super) struct Connection {
    pub(super) terminal: VirtualTerminal,
    client: Client,
    smkt: SoftKey,
    session: AtomicBool,
    /// The session is an administrator's.
    admin: AtomicBool,
    /// A firmware that is coming.
    pub(super) loading: Mutex<Option<Vec<u8>>>,
    paired: AtomicBool,
    /// The challenge of ADD phase 1; any other command ends the state.
    add_challenge: Mutex<Option<Vec<u8>>>,
    /// Closed when the line is; what waits for that end would keep the socket otherwise.
    line: Semaphore,
}

/// The maker's own text: nobody shall take this for an approved terminal.
const NOTE: &str = "virtual, no eHealth terminal";
/// The contact to the card is lost.
const NO_CONTACT: u16 = 0x6F00;
/// Consent to a pairing may take ten minutes.
const CONSENT: Duration = Duration::from_secs(600);

impl Connection {
    pub fn new(terminal: VirtualTerminal, client: Client, smkt: SoftKey) -> Self {
        let session = AtomicBool::new(false);
        Self {
            terminal,
            client,
            smkt,
            session,
            admin: AtomicBool::new(false),
            loading: Mutex::default(),
            paired: AtomicBool::new(false),
            add_challenge: Mutex::default(),
            line: Semaphore::new(0),
        }
    }

    pub fn in_session(&self) -> bool {
        self.session.load(Ordering::Acquire)
    }

    pub(super) fn is_admin(&self) -> bool {
        self.in_session() && self.admin.load(Ordering::Acquire)
    }

    /// For as long as anybody could hear an answer.
    pub(super) async fn wait_for_the_end(&self) {
        let _ = self.line.acquire().await;
    }

    /// TLS is over: every card loses power.
    pub fn end(&self) {
        let mut state = self.terminal.state();
        self.line.close();
        if self.session.swap(false, Ordering::AcqRel) {
            state.connected = false;
            drop(state);
            self.terminal.press(super::Key::Cancel);
            self.terminal.power_down_all();
        }
    }

    pub async fn command(&self, address: u16, payload: &[u8]) -> Vec<u8> {
        let response = match Command::parse(payload) {
            Err(_) => Response::sw(0x6700),
            Ok(command) if address == 0 => self.terminal_command(&command).await,
            Ok(_) => return self.card_command(address, payload).await,
        };
        response.encode()
    }

    /// Does this answer break off on purpose?
    pub fn breaks_off(&self) -> bool {
        self.has_pairing() && self.terminal.has_fault(Fault::BrokenEnvelope)
    }

    fn has_pairing(&self) -> bool {
        self.paired.load(Ordering::Acquire)
    }

    fn slot_card(&self, number: u16) -> Result<(SharedCard, bool), u16> {
        let state = self.terminal.state();
        let index = usize::from(number)
            .checked_sub(1)
            .filter(|index| *index < SLOTS)
            .ok_or(0x6A00u16)?;
        let slot = state.slots.get(index).ok_or(0x6A00u16)?;
        let (_, card) = slot.card.as_ref().ok_or(sw::NO_CARD)?;
        Ok((card.clone(), slot.powered))
    }

    async fn card_command(&self, address: u16, payload: &[u8]) -> Vec<u8> {
        if !self.in_session() || !self.has_pairing() {
            return Response::sw(sw::NOT_ALLOWED).encode();
        }
        match self.slot_card(address) {
            Err(word) => Response::sw(word).encode(),
            Ok((_, false)) => Response::sw(sw::NOT_POWERED).encode(),
            Ok(_) if self.terminal.has_fault(Fault::CardGarbage) => vec![0x42],
            Ok(_) if self.terminal.has_fault(Fault::CardSilence) => {
                self.wait_for_the_end().await;
                Vec::new()
            }
            Ok((card, true)) => {
                let answer = self.to_card(card, payload.to_vec()).await.encode();
                let verify = payload.get(1) == Some(&0x20) && payload.len() > 5;
                if verify && self.terminal.has_fault(Fault::PinAnswerLost) {
                    self.wait_for_the_end().await;
                }
                answer
            }
        }
    }

    async fn to_card(&self, card: SharedCard, apdu: Vec<u8>) -> Response {
        let shared = self.terminal.shared.clone();
        let work = move |card: &mut dyn SlotCard| {
            let started = shared.clock.elapsed();
            let answer = card.process(&apdu);
            let took = shared.clock.elapsed().saturating_sub(started).as_nanos();
            let took = u64::try_from(took).unwrap_or(u64::MAX);
            shared.card_commands.fetch_add(1, Ordering::Relaxed);
            shared.card_nanoseconds.fetch_add(took, Ordering::Relaxed);
            answer
        };
        let answer = super::on_card(card, work).await;
        answer
            .and_then(|answer| Response::parse(&answer).ok())
            .unwrap_or_else(|| Response::sw(NO_CONTACT))
    }

    async fn terminal_command(&self, command: &Command) -> Response {
        let adding = self
            .add_challenge
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let allowed_always = matches!(
            (command.cla, command.ins),
            (0x80, 0x28 | 0x29 | 0x13 | 0x24..=0x26)
        );
        match (&self.client, command.cla) {
            (Client::Invalid, 0x81) => return Response::sw(sw::NO_KONNEKTOR),
            (Client::Invalid, _) if !allowed_always => return Response::sw(sw::NOT_ALLOWED),
            _ => {}
        }
        if command.cla == 0x81 && command.ins == 0xAA {
            return self.authenticate(command, adding).await;
        }
        if command.cla != 0x80 {
            return Response::sw(0x6E00);
        }
        if !allowed_always && (!self.in_session() || !self.has_pairing()) {
            return Response::sw(sw::NOT_ALLOWED);
        }
        match command.ins {
            0x28 => self.init_session(command),
            0x29 => {
                self.end();
                Response::sw(0x9000)
            }
            0x13 => self.status(command),
            0x24..=0x26 => self.download(command).await,
            0x11 => self.reset(command).await,
            0x12 => self.request_card(command).await,
            0x15 => self.eject_card(command).await,
            0x17 => {
                let text = tlv::find(&command.data, 0x50)
                    .map(decode_text)
                    .unwrap_or_default();
                self.terminal.state().display = text;
                Response::sw(0x9000)
            }
            0x16 => match self.terminal.shared.pad.ask("Eingabe?", Duration::ZERO).await {
                Entry::Digits(digits) => Response::ok(digits.into_bytes()),
                Entry::Cancelled => Response::sw(sw::CANCELLED),
                Entry::TimedOut => Response::sw(sw::TIMEOUT),
            },
            0x18 | 0x19 => self.verification(command).await,
            _ => Response::sw(0x6D00),
        }
    }

    fn init_session(&self, command: &Command) -> Response {
        let fields = tlv::find(&command.data, 0x69).and_then(|session| tlv::read_all(session).ok());
        let login = match fields.as_deref() {
            Some([user, password, id]) if id.value.is_empty() => (user.value, password.value),
            Some([_, _, _]) => return Response::sw(0x6403),
            _ => return Response::sw(0x6A80),
        };
        let (name, password) = VirtualTerminal::ADMIN;
        let admin = login == (name.as_bytes(), password.as_bytes());
        if !admin && login != (b"", b"") {
            return Response::sw(sw::BAD_LOGIN);
        }
        let mut state = self.terminal.state();
        // a command that comes to its turn after the line is closed would open a session that nobody ends
        if self.line.is_closed() || self.in_session() || state.connected {
            return Response::sw(sw::NOT_ALLOWED);
        }
        state.connected = true;
        self.admin.store(admin, Ordering::Release);
        self.session.store(true, Ordering::Release);
        drop(state);
        self.terminal.power_down_all();
        let fields = [
            tlv::encode(0x13, login.0),
            tlv::encode(0x13, b""),
            tlv::encode(0x13, b"1"),
        ];
        Response::ok(tlv::nest(0x69, fields))
    }

    fn status(&self, command: &Command) -> Response {
        match command.p2 {
            0x80 => {
                let state = self.terminal.state();
                let slots = state.slots.iter().map(|slot| match (&slot.card, slot.powered) {
                    (None, _) => 0x00,
                    (Some(_), false) => 0x01,
                    (Some(_), true) => 0x15,
                });
                Response::ok(tlv::encode(0x80, &slots.collect::<Vec<u8>>()))
            }
            0x46 => {
                let mut product = self.terminal.shared.product.clone();
                product.firmware = self.terminal.version();
                Response::ok(product.encode(NOTE))
            }
            0x63 => Response::ok(tlv::encode(0x63, &tlv::encode(0x04, &[0x0C, 0x00]))),
            0x81 => Response::ok(tlv::encode(
                0x81,
                &[0, 0, 0, 1, 0, 2, 0, 3, 0, 4, 0x40, 0, 0x50, 0],
            )),
            0x67 => Response::ok(tlv::nest(
                0x67,
                [tlv::encode(0x80, &[16]), tlv::encode(0x81, &[4])],
            )),
            _ => Response::sw(0x6A88),
        }
    }

    async fn reset(&self, command: &Command) -> Response {
        let (card, _) = match self.slot_card(command.p1.into()) {
            Ok(found) => found,
            Err(word) => return Response::sw(word),
        };
        if self.terminal.has_fault(Fault::NoAtr) {
            return Response::sw(NO_CONTACT);
        }
        let Some(atr) = super::reset(card).await else {
            return Response::sw(NO_CONTACT);
        };
        let mut state = self.terminal.state();
        if let Some(slot) = usize::from(command.p1)
            .checked_sub(1)
            .and_then(|index| state.slots.get_mut(index))
        {
            slot.powered = true;
        }
        let data = if command.p2 & 0x0F == 1 {
            tlv::encode(0x5F41, &atr)
        } else {
            Vec::new()
        };
        Response {
            data,
            sw: sw::ASYNCHRONOUS,
        }
    }

    /// Shows the text and waits until the slot is as wanted.
    async fn wait_for_slot(&self, command: &Command, wanted: bool) -> bool {
        let text = tlv::find(&command.data, 0x50)
            .map(decode_text)
            .unwrap_or_default();
        let seconds = tlv::find(&command.data, 0x80)
            .and_then(|value| value.first().copied())
            .unwrap_or(0);
        let mut events = self.terminal.shared.events.subscribe();
        self.terminal.state().display = text;
        let is_wanted = || {
            let state = self.terminal.state();
            let slot = usize::from(command.p1)
                .checked_sub(1)
                .and_then(|index| state.slots.get(index));
            slot.is_some_and(|slot| slot.card.is_some() == wanted)
        };
        let waiting = async {
            while !is_wanted() {
                if events.recv().await.is_err() {
                    break;
                }
            }
        };
        let clock = &self.terminal.shared.clock;
        let came = clock
            .timeout(Duration::from_secs(seconds.into()), waiting)
            .await
            .is_some();
        self.terminal.state().display.clear();
        came && is_wanted()
    }

    async fn request_card(&self, command: &Command) -> Response {
        if let Ok((_, powered)) = self.slot_card(command.p1.into()) {
            if powered {
                return Response::sw(sw::ALREADY_INSERTED);
            }
            return self.reset(command).await;
        }
        if self.wait_for_slot(command, true).await {
            self.reset(command).await
        } else {
            Response::sw(sw::NO_CARD_IN_TIME)
        }
    }

    async fn eject_card(&self, command: &Command) -> Response {
        if let Ok((card, _)) = self.slot_card(command.p1.into()) {
            super::reset(card).await;
            let mut state = self.terminal.state();
            if let Some(slot) = usize::from(command.p1)
                .checked_sub(1)
                .and_then(|index| state.slots.get_mut(index))
            {
                slot.powered = false;
            }
        }
        let taken = self.wait_for_slot(command, false).await;
        Response::sw(if taken {
            sw::ASYNCHRONOUS
        } else {
            sw::NO_CARD_IN_TIME
        })
    }

    /// PERFORM VERIFICATION and MODIFY VERIFICATION DATA: PINs typed here go to the card and nowhere else.
    async fn verification(&self, command: &Command) -> Response {
        let objects = match tlv::read_all(&command.data) {
            Ok(objects) => objects,
            Err(_) => return Response::sw(0x6A80),
        };
        let texts: Vec<String> = objects
            .iter()
            .filter(|object| object.tag == 0x50)
            .map(|object| decode_text(object.value))
            .collect();
        let text = |index: usize| texts.get(index).cloned().unwrap_or_default();
        let Some(template) = objects.iter().find(|object| object.tag == 0x52) else {
            return Response::sw(0x6A88);
        };
        let modify = command.ins == 0x19;
        let (control, positions, apdu) = match (modify, template.value) {
            (false, [control, one, apdu @ ..]) => (*control, vec![*one], apdu.to_vec()),
            (true, [control, one, two, apdu @ ..]) => (*control, vec![*one, *two], apdu.to_vec()),
            _ => return Response::sw(0x6A80),
        };
        if !matches!(control & 0x0F, 0x02 | 0x06) {
            return Response::sw(0x6A80);
        }
        let card = match self.slot_card(command.p1.into()) {
            Ok((card, true)) => card,
            Ok((_, false)) => return Response::sw(sw::NOT_POWERED),
            Err(word) => return Response::sw(word),
        };
        let mut blocks = Vec::new();
        let first = positions.first().is_some_and(|position| *position != 0);
        if first {
            match self.type_pin(&text(0)).await {
                Ok(block) => blocks.push(block),
                Err(word) => return Response::sw(word),
            }
        }
        if modify {
            let new = match self.type_pin(&text(3)).await {
                Ok(new) => new,
                Err(word) => return Response::sw(word),
            };
            let again = match self.type_pin(&text(4)).await {
                Ok(again) => again,
                Err(word) => return Response::sw(word),
            };
            if new != again {
                self.terminal.state().display = text(5);
                return Response::sw(sw::NEW_PINS_DIFFER);
            }
            blocks.push(new);
        }
        let mut bytes = apdu;
        for (position, block) in positions.iter().filter(|position| **position != 0).zip(&blocks) {
            let start = usize::from(*position).saturating_sub(1);
            match bytes.get_mut(start..start + 8) {
                Some(place) => place.copy_from_slice(block.as_bytes()),
                None => return Response::sw(0x6A80),
            }
        }
        // pulled while somebody typed?
        if self.slot_card(command.p1.into()).is_err() {
            return Response::sw(sw::NO_CARD);
        }
        let response = self.to_card(card, bytes).await;
        self.terminal.state().display = text(if response.is_ok() { 1 } else { 2 });
        response
    }

    async fn type_pin(&self, prompt: &str) -> Result<PinBlock, u16> {
        match self.terminal.shared.pad.ask(prompt, Duration::ZERO).await {
            Entry::Digits(digits) => PinBlock::from_digits(&digits).ok_or(0x6A80),
            Entry::Cancelled => Err(sw::CANCELLED),
            Entry::TimedOut => Err(sw::TIMEOUT),
        }
    }

    async fn authenticate(&self, command: &Command, adding: Option<Vec<u8>>) -> Response {
        let Client::Konnektor { key } = &self.client else {
            return Response::sw(sw::NO_KONNEKTOR);
        };
        let field = |tag| tlv::find(&command.data, tag);
        match command.p2 {
            0x01 => {
                let (Some(secret), Some(text)) = (field(0xD4), field(0x50)) else {
                    return Response::sw(0x6A88);
                };
                if secret.len() != 16 {
                    return Response::sw(0x6A80);
                }
                match self.terminal.shared.pad.ask(&decode_text(text), CONSENT).await {
                    Entry::Cancelled => return Response::sw(sw::CANCELLED),
                    Entry::TimedOut => return Response::sw(sw::TIMEOUT),
                    Entry::Digits(_) => {}
                }
                let signature = match &self.smkt {
                    SoftKey::Ec(key) => key.sign_prehash(&sha256([secret])),
                    rsa => rsa.sign(SignatureScheme::RsaPss, secret),
                };
                let Ok(signature) = signature else {
                    return Response::sw(0x6F00);
                };
                if !self.change_blocks(|blocks| blocks.create(secret, key)) {
                    return Response::sw(sw::NOT_ALLOWED);
                }
                self.paired.store(true, Ordering::Release);
                Response::ok(signature)
            }
            0x02 => {
                let Some(challenge) = field(0xD5) else {
                    return Response::sw(0x6A88);
                };
                if !(16..=127).contains(&challenge.len()) {
                    return Response::sw(0x6A80);
                }
                let state = self.terminal.state();
                let Some(secret) = state.blocks.secret_of(key) else {
                    return Response::sw(sw::NOT_ALLOWED);
                };
                self.paired.store(true, Ordering::Release);
                Response::ok(sha256([challenge, secret]))
            }
            0x03 => {
                let length = match command.expect {
                    Expect::Bytes(n @ 0x10..=0x7F) => n,
                    _ => return Response::sw(0x6700),
                };
                let Ok(challenge) = crypto::random_bytes(length) else {
                    return Response::sw(0x6F00);
                };
                *self.add_challenge.lock().unwrap_or_else(PoisonError::into_inner) = Some(challenge.clone());
                Response::ok(challenge)
            }
            0x04 => {
                let Some(proof) = field(0xD6) else {
                    return Response::sw(0x6A88);
                };
                let Some(challenge) = adding else {
                    return Response::sw(sw::NOT_ALLOWED);
                };
                let secret = {
                    let state = self.terminal.state();
                    let fits = |secret: &&[u8]| sha256([&challenge[..], secret]) == proof;
                    state.blocks.secrets().find(fits).map(<[u8]>::to_vec)
                };
                let Some(secret) = secret else {
                    return Response::sw(0x6400);
                };
                self.change_blocks(|blocks| {
                    blocks.add(&secret, key);
                    true
                });
                self.paired.store(true, Ordering::Release);
                Response::sw(0x9000)
            }
            _ => Response::sw(0x6A00),
        }
    }

    /// Changes the pairing blocks and stores them; without storage nothing changes.
    fn change_blocks(&self, change: impl FnOnce(&mut super::Blocks) -> bool) -> bool {
        let mut state = self.terminal.state();
        let mut new = state.blocks.clone();
        if !change(&mut new) {
            return false;
        }
        if let Some(path) = &self.terminal.shared.store
            && let Err(error) = new.save(path)
        {
            tracing::error!(%error, "pairing block not stored");
            return false;
        }
        state.blocks = new;
        true
    }
}
