//! The virtual card: a card operating system of generation 2 (gemSpec_COS) that runs any object system.
//!
//! Commands go through [`VirtualCard::process`] as bytes, like at a reader. Rights come only from the access rules in
//! the image; there is no code for a particular card. Counters, files and imported keys persist through a
//! [`CardMemory`]; every change is stored before the answer leaves.

mod authenticate;
mod binary;
mod certificate;
mod channel;
mod crypt;
mod environment;
mod lifecycle;
mod password;
mod record;
mod select;
mod state;

pub(crate) use authenticate::role_token;
pub use state::{CardMemory, NoMemory, StateFile};

use crate::access::{AccessRules, Interface, LifeCycle};
use crate::apdu::{Command, Expect, Response};
use crate::image::{Body, Node, NodeId, ObjectSystem};
use channel::{Channel, View};
use state::CachedKey;
use std::collections::BTreeSet;

/// Status words (gemSpec_COS 16.2).
pub mod sw {
    #![allow(missing_docs)]
    pub const OK: u16 = 0x9000;
    pub const FILE_DEACTIVATED: u16 = 0x6283;
    pub const FILE_TERMINATED: u16 = 0x6285;
    pub const END_OF_FILE: u16 = 0x6282;
    pub const RECORD_DEACTIVATED: u16 = 0x6287;
    pub const UNSUCCESSFUL_SEARCH: u16 = 0x6282;
    pub const AUTHENTICATION_FAILURE: u16 = 0x6300;
    pub const KEY_INVALID: u16 = 0x6400;
    pub const MEMORY_FAILURE: u16 = 0x6581;
    pub const WRONG_LENGTH: u16 = 0x6700;
    pub const CHANNEL_CLOSED: u16 = 0x6881;
    pub const CHAINING: u16 = 0x6884;
    pub const NO_MORE_CHANNELS: u16 = 0x6981;
    pub const WRONG_FILE_TYPE: u16 = 0x6981;
    pub const SECURITY_STATUS: u16 = 0x6982;
    pub const BLOCKED: u16 = 0x6983;
    pub const KEY_EXPIRED: u16 = 0x6983;
    pub const CONDITIONS: u16 = 0x6985;
    pub const NO_CURRENT_FILE: u16 = 0x6986;
    pub const SM_OBJECTS: u16 = 0x6988;
    pub const WRONG_DATA: u16 = 0x6A80;
    pub const UNSUPPORTED_FUNCTION: u16 = 0x6A81;
    pub const FILE_NOT_FOUND: u16 = 0x6A82;
    pub const NO_RECORD_LIFE_CYCLE: u16 = 0x6985;
    pub const RECORD_NOT_FOUND: u16 = 0x6A83;
    pub const OUT_OF_MEMORY: u16 = 0x6A84;
    pub const WRONG_PARAMETERS: u16 = 0x6A86;
    pub const KEY_NOT_FOUND: u16 = 0x6A88;
    pub const OFFSET_TOO_BIG: u16 = 0x6B00;
    pub const INSTRUCTION: u16 = 0x6D00;
    pub const CLASS: u16 = 0x6E00;
}

/// A command's result: an answer, or a bare status word.
type Outcome = Result<Response, u16>;

/// Logical channels: the base channel and three more.
const CHANNELS: usize = 4;

/// A card.
pub struct VirtualCard {
    system: ObjectSystem,
    interface: Interface,
    channels: [Option<Channel>; CHANNELS],
    cached_keys: Vec<CachedKey>,
    /// Objects that differ from the image.
    changed: BTreeSet<NodeId>,
    /// Is there something to store?
    dirty: bool,
    memory: Box<dyn CardMemory>,
}

impl VirtualCard {
    /// A card in a contact reader, with what `memory` remembers of it.
    pub fn new(system: ObjectSystem, memory: Box<dyn CardMemory>) -> Result<Self, state::BadState> {
        let mut card = Self {
            system,
            interface: Interface::Contact,
            channels: Default::default(),
            cached_keys: Vec::new(),
            changed: BTreeSet::new(),
            dirty: false,
            memory,
        };
        card.restore()?;
        card.reset();
        Ok(card)
    }

    /// Powers the card up or resets it: all security states and channels are gone. Returns the ATR.
    pub fn reset(&mut self) -> Vec<u8> {
        self.channels = [Some(Channel::new()), None, None, None];
        self.system.cold_atr.clone()
    }

    /// The object system as it is now.
    pub fn system(&self) -> &ObjectSystem {
        &self.system
    }

    /// Runs one command.
    pub fn process(&mut self, apdu: &[u8]) -> Vec<u8> {
        let response = match Command::parse(apdu) {
            Ok(command) => self.run(command),
            Err(_) => Response::sw(sw::WRONG_LENGTH),
        };
        response.encode()
    }

    fn run(&mut self, command: Command) -> Response {
        let number = command.cla & 0x03;
        if command.cla & 0x60 != 0 {
            return Response::sw(sw::CLASS);
        }
        let Some(channel) = self
            .channels
            .get_mut(usize::from(number))
            .and_then(Option::as_mut)
        else {
            return Response::sw(sw::CHANNEL_CLOSED);
        };
        channel.under_sm = None;
        if command.cla & 0x0C == 0 {
            // a plain command ends a session of secure messaging
            channel.session = None;
            return self.finish(command, number);
        }
        let Some(session) = channel.session.as_mut() else {
            return Response::sw(sw::SM_OBJECTS);
        };
        let inner = match session.messaging.unwrap_command(&command) {
            Ok(unwrapped) => {
                channel.under_sm = Some(channel::UnderSm {
                    encrypted: unwrapped.encrypted,
                    encrypt_answer: false,
                });
                unwrapped.command
            }
            Err(_) => {
                channel.session = None;
                return Response::sw(sw::SM_OBJECTS);
            }
        };
        let answer = self.finish(inner, number);
        // a command that ended the session itself is answered in plain
        let Some(channel) = self
            .channels
            .get_mut(usize::from(number))
            .and_then(Option::as_mut)
        else {
            return answer;
        };
        let encrypt = channel.under_sm.is_some_and(|sm| sm.encrypt_answer);
        match channel
            .session
            .as_mut()
            .map(|session| session.messaging.wrap_response(&answer, encrypt))
        {
            Some(Ok(protected)) => protected,
            Some(Err(_)) => Response::sw(sw::SM_OBJECTS),
            None => answer,
        }
    }

    /// Runs an opened command and stores what it changed before answering.
    fn finish(&mut self, command: Command, number: u8) -> Response {
        let outcome = self.dispatch(&command, usize::from(number));
        if self.persist().is_err() {
            return Response::sw(sw::MEMORY_FAILURE);
        }
        match outcome {
            Ok(mut response) => {
                let limit = command.expect.limit();
                if command.expect != Expect::Nothing && response.data.len() > limit {
                    response.data.truncate(limit);
                }
                response
            }
            Err(word) => Response::sw(word),
        }
    }

    fn dispatch(&mut self, command: &Command, channel: usize) -> Outcome {
        let class = command.cla & 0xF0;
        if class & 0x10 != 0 && command.ins != 0x86 {
            return Err(sw::CHAINING);
        }
        let mut run = Run {
            card: self,
            command,
            channel,
        };
        match (class & 0x80, command.ins) {
            (0x00, 0xA4) => run.select(),
            (0x00, 0xB0) => run.read_binary(),
            (0x00, 0xD6) => run.update_binary(),
            (0x00, 0xD0) => run.write_binary(),
            (0x00, 0x0E) => run.erase_binary(),
            (0x80, 0x0E) => run.set_logical_eof(),
            (0x00, 0xB2) => run.read_record(),
            (0x00, 0xE2) => run.append_record(),
            (0x00, 0xDC) => run.update_record(),
            (0x00, 0xA2) => run.search_record(),
            (0x00, 0x0C) => run.erase_record(),
            (0x80, 0x0C) => run.delete_record(),
            (0x00, 0x08) => run.record_life(LifeCycle::Activated),
            (0x00, 0x06) => run.record_life(LifeCycle::Deactivated),
            (0x00, 0x44) => run.change_life(LifeCycle::Activated),
            (0x00, 0x04) => run.change_life(LifeCycle::Deactivated),
            (0x00, 0x20) => run.verify(),
            (0x80, 0x20) => run.pin_status(),
            (0x00, 0x24) => run.change_reference_data(),
            (0x00, 0x2C) => run.reset_retry_counter(),
            (0x00, 0x28) => run.verification_requirement(true),
            (0x00, 0x26) => run.verification_requirement(false),
            (0x00, 0x22) => run.manage_security_environment(),
            (0x00, 0x84) => run.get_challenge(),
            (0x80, 0x84) => run.get_random(),
            (0x00, 0x88) => run.internal_authenticate(),
            (0x00, 0x82) => run.external_or_mutual_authenticate(),
            (0x00, 0x86) => run.general_authenticate(),
            (0x00, 0x2A) => run.perform_security_operation(),
            (0x00, 0x46) => run.read_public_key(),
            (0x80, 0xCA) => run.list_public_key(),
            (0x80, 0x82) => run.security_status_key(),
            (0x00, 0x70) => run.manage_channel(),
            (0x80, 0xFA) => run.fingerprint(),
            (0x00 | 0x80, _) => Err(sw::INSTRUCTION),
            _ => Err(sw::CLASS),
        }
    }

    fn node(&self, id: NodeId) -> Result<&Node, u16> {
        self.system.node(id).ok_or(sw::FILE_NOT_FOUND)
    }

    /// An object that will be changed: marked for storing.
    fn node_mut(&mut self, id: NodeId) -> Result<&mut Node, u16> {
        self.changed.insert(id);
        self.dirty = true;
        self.system.nodes.get_mut(id).ok_or(sw::FILE_NOT_FOUND)
    }

    /// An object counts as deactivated when any folder around it is.
    fn logical_life(&self, id: NodeId) -> LifeCycle {
        let mut current = Some(id);
        while let Some(node) = current.and_then(|id| self.system.node(id)) {
            if node.life != LifeCycle::Activated {
                return node.life;
            }
            current = node.parent;
        }
        LifeCycle::Activated
    }

    /// The folder an object lies in; a folder is its own.
    fn folder_of(&self, id: NodeId) -> NodeId {
        match self.system.node(id) {
            Some(Node {
                body: Body::Folder { .. },
                ..
            })
            | None => id,
            Some(node) => node.parent.unwrap_or(0),
        }
    }

    /// Is `folder` the MF, `of` itself or a folder around `of`?
    fn encloses(&self, folder: NodeId, of: NodeId) -> bool {
        let mut current = Some(of);
        while let Some(id) = current {
            if id == folder {
                return true;
            }
            current = self.system.node(id).and_then(|node| node.parent);
        }
        false
    }

    fn fingerprint_hash(&self) -> [u8; 32] {
        crypto::sha256([crate::image::write(&self.system).as_bytes()])
    }
}

/// One command on its way through the card.
struct Run<'a> {
    card: &'a mut VirtualCard,
    command: &'a Command,
    channel: usize,
}

impl Run<'_> {
    fn channel(&mut self) -> Result<&mut Channel, u16> {
        self.card
            .channels
            .get_mut(self.channel)
            .and_then(Option::as_mut)
            .ok_or(sw::CHANNEL_CLOSED)
    }

    fn channel_ref(&self) -> Result<&Channel, u16> {
        self.card
            .channels
            .get(self.channel)
            .and_then(Option::as_ref)
            .ok_or(sw::CHANNEL_CLOSED)
    }

    fn folder(&self) -> Result<NodeId, u16> {
        Ok(self.channel_ref()?.folder)
    }

    /// Header for access rules: without the bits for channel and secure messaging.
    fn header(&self) -> [u8; 4] {
        let [cla, ins, p1, p2] = self.command.header();
        [cla & 0xF0, ins, p1, p2]
    }

    /// Is this command allowed on this object? Uses up one verification of each password with a limit.
    fn allow(&mut self, id: NodeId) -> Result<(), u16> {
        let rules = self.card.node(id)?.rules.clone();
        self.allow_by(id, &rules)
    }

    fn allow_by(&mut self, id: NodeId, rules: &AccessRules) -> Result<(), u16> {
        let folder = self.card.folder_of(id);
        let header = self.header();
        let channel = self.channel_ref()?;
        let environment = channel.environment(folder);
        let life = self.card.logical_life(id);
        let condition = rules
            .condition(self.card.interface, life, environment, header)
            .ok_or(sw::SECURITY_STATUS)?;
        let view = View {
            card: self.card,
            channel,
            folder,
        };
        if !condition.met(&view) {
            return Err(sw::SECURITY_STATUS);
        }
        let used: Vec<NodeId> = channel
            .verified
            .iter()
            .filter(|(password, uses)| uses.is_some() && view.condition_uses(condition, **password))
            .map(|(password, _)| *password)
            .collect();
        let encrypt = condition.wants_encrypted_answer();
        let channel = self.channel()?;
        if let Some(sm) = channel.under_sm.as_mut() {
            sm.encrypt_answer = encrypt;
        }
        for password in used {
            if let Some(Some(left)) = channel.verified.get_mut(&password) {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    channel.verified.remove(&password);
                }
            }
        }
        Ok(())
    }

    fn manage_channel(&mut self) -> Outcome {
        let own = self.channel;
        match (self.command.p1, self.command.p2) {
            (0x00, 0x00) => {
                let free = self
                    .card
                    .channels
                    .iter()
                    .position(Option::is_none)
                    .ok_or(sw::NO_MORE_CHANNELS)?;
                if let Some(slot) = self.card.channels.get_mut(free) {
                    *slot = Some(Channel::new());
                }
                Ok(Response::ok([free as u8]))
            }
            // close this channel (never the base channel), reset this channel, reset everything
            (0x80, 0x00) if own != 0 => {
                self.card
                    .channels
                    .get_mut(own)
                    .and_then(Option::take)
                    .ok_or(sw::CHANNEL_CLOSED)?;
                Ok(Response::sw(sw::OK))
            }
            (0x40, 0x00) => {
                *self.channel()? = Channel::new();
                Ok(Response::sw(sw::OK))
            }
            (0x40, 0x01) => {
                self.card.reset();
                Ok(Response::sw(sw::OK))
            }
            _ => Err(sw::WRONG_PARAMETERS),
        }
    }

    fn fingerprint(&mut self) -> Outcome {
        if self.command.data.len() != 128 {
            return Err(sw::WRONG_LENGTH);
        }
        self.allow(0)?;
        let code = self.card.fingerprint_hash();
        Ok(Response::ok(crypto::sha256([&self.command.data[..], &code])))
    }
}
