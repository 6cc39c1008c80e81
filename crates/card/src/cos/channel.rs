use super::VirtualCard;
use crate::access::{Condition, SecurityState};
use crate::image::{Body, NodeId};
use crate::sm::Session;
use asn1::Chat;
use crypto::EcPrivate;
use std::collections::HashMap;

/// With whom a session of secure messaging was agreed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Partner {
    /// A holder of this symmetric key.
    Key(u8),
    /// A holder of a CV certificate with these rights.
    Role(Chat),
}

pub(super) struct SmSession {
    pub messaging: Session,
    pub partner: Partner,
}

/// How the running command was protected.
#[derive(Debug, Clone, Copy)]
pub(super) struct UnderSm {
    pub encrypted: bool,
    /// Will the answer be encrypted, as the access rule asks?
    pub encrypt_answer: bool,
}

/// A key chosen by MANAGE SECURITY ENVIRONMENT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chosen {
    pub key: NodeId,
    pub algorithm: u8,
}

/// Key agreement between its two steps.
pub(super) struct Agreement {
    pub partner: Vec<u8>,
    pub ephemeral: EcPrivate,
    pub key: NodeId,
    pub trusted_channel: bool,
}

/// Everything that belongs to one logical channel and dies with a reset.
pub(super) struct Channel {
    pub folder: NodeId,
    pub file: Option<NodeId>,
    environments: HashMap<NodeId, u8>,
    /// Verified passwords and how often they may still be used.
    pub verified: HashMap<NodeId, Option<u32>>,
    /// Authenticated roles by key reference.
    pub roles: HashMap<Vec<u8>, Chat>,
    pub challenge: Option<Vec<u8>>,
    pub internal: Option<Chosen>,
    pub external: Option<(Vec<u8>, u8)>,
    pub symmetric: Option<Chosen>,
    pub sign: Option<Chosen>,
    pub decipher: Option<Chosen>,
    pub encipher: Option<(Vec<u8>, u8)>,
    pub issuer: Option<Vec<u8>>,
    pub agreement: Option<Agreement>,
    pub session: Option<SmSession>,
    /// Session keys as a security module uses them for somebody else.
    pub trusted: Option<Session>,
    pub under_sm: Option<UnderSm>,
}

impl Channel {
    pub fn new() -> Self {
        Self {
            folder: 0,
            file: None,
            environments: HashMap::new(),
            verified: HashMap::new(),
            roles: HashMap::new(),
            challenge: None,
            internal: None,
            external: None,
            symmetric: None,
            sign: None,
            decipher: None,
            encipher: None,
            issuer: None,
            agreement: None,
            session: None,
            trusted: None,
            under_sm: None,
        }
    }

    pub fn environment(&self, folder: NodeId) -> u8 {
        self.environments.get(&folder).copied().unwrap_or(1)
    }

    pub fn set_environment(&mut self, folder: NodeId, number: u8) {
        self.environments.insert(folder, number);
    }

    pub fn forget_environment(&mut self, folder: NodeId) {
        self.environments.remove(&folder);
    }

    /// Unchooses keys that lie in folders which are no longer current.
    pub fn forget_keys_in(&mut self, nodes: &[NodeId]) {
        for slot in [
            &mut self.internal,
            &mut self.symmetric,
            &mut self.sign,
            &mut self.decipher,
        ] {
            if slot.as_ref().is_some_and(|chosen| nodes.contains(&chosen.key)) {
                *slot = None;
            }
        }
    }

    /// An authenticated role, from a certificate the card has checked.
    pub fn grant(&mut self, cvc_reference: &[u8], chat: Chat) {
        self.roles.insert(cvc_reference.to_vec(), chat);
    }
}

/// The security states as one object's access rules see them.
pub(super) struct View<'a> {
    pub card: &'a VirtualCard,
    pub channel: &'a Channel,
    pub folder: NodeId,
}

impl View<'_> {
    /// The password an access rule means: local ones in the object's folder, others in the nearest folder around it.
    fn password_node(&self, reference: u8) -> Option<NodeId> {
        let is_password = |folder: NodeId, id: u8| {
            let mut inside = self.card.system.children(folder);
            inside
                .find(|(_, node)| password_id(&node.body) == Some(id))
                .map(|(found, _)| found)
        };
        if reference & 0x80 != 0 {
            return is_password(self.folder, reference & 0x1F);
        }
        let mut folder = Some(self.folder);
        while let Some(current) = folder {
            if let Some(found) = is_password(current, reference) {
                return Some(found);
            }
            folder = self.card.system.node(current).and_then(|node| node.parent);
        }
        None
    }

    /// Would this condition be met by this password?
    pub fn condition_uses(&self, condition: &Condition, password: NodeId) -> bool {
        match condition {
            Condition::Password(reference) => self.password_node(*reference) == Some(password),
            Condition::Or(parts) | Condition::And(parts) => {
                parts.iter().any(|part| self.condition_uses(part, password))
            }
            _ => false,
        }
    }

    fn partner(&self) -> Option<Partner> {
        self.channel.under_sm?;
        Some(self.channel.session.as_ref()?.partner)
    }
}

/// Reference of a password object.
pub(super) fn password_id(body: &Body) -> Option<u8> {
    match body {
        Body::Password(password) => Some(password.id),
        Body::MultiReference { id, .. } => Some(*id),
        _ => None,
    }
}

impl SecurityState for View<'_> {
    fn password(&self, reference: u8) -> bool {
        let Some(id) = self.password_node(reference) else {
            return false;
        };
        let disabled = match self.card.system.node(id).map(|node| &node.body) {
            Some(Body::Password(password)) => !password.enabled,
            Some(Body::MultiReference { enabled, .. }) => !enabled,
            _ => false,
        };
        disabled || self.channel.verified.contains_key(&id)
    }

    fn role(&self, wanted: Chat) -> bool {
        let mut roles = self.channel.roles.values();
        roles.any(|chat| chat.kind == wanted.kind && chat.flags.covers(wanted.flags))
    }

    fn sm_key(&self, key: u8) -> bool {
        self.partner() == Some(Partner::Key(key))
    }

    fn sm_role(&self, wanted: Chat) -> bool {
        match self.partner() {
            Some(Partner::Role(chat)) => chat.kind == wanted.kind && chat.flags.covers(wanted.flags),
            _ => false,
        }
    }

    fn command_encrypted(&self) -> bool {
        // a command without data has nothing to hide
        self.channel.under_sm.is_some_and(|sm| sm.encrypted)
    }

    fn response_encrypted(&self) -> bool {
        self.channel.under_sm.is_some()
    }
}
