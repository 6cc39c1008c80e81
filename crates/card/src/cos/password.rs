use super::channel::password_id;
use super::{Outcome, Run, sw};
use crate::apdu::Response;
use crate::image::{Body, NodeId, Password, PinBlock, Transport, Uses};

/// 63Cx: verification failed, x tries left.
fn tries_left(tries: u8) -> u16 {
    0x63C0 | u16::from(tries.min(15))
}

/// A password as a command means it: its own switch and security state, and where the secret lives.
struct Target {
    /// The object that was addressed.
    own: NodeId,
    /// The object with secret and counters; another one for a multi-reference password.
    secret: NodeId,
}

impl Run<'_> {
    /// The password that P2 refers to: `80 + id` in the current folder, `id` in the MF.
    fn password_target(&mut self) -> Result<Target, u16> {
        let reference = self.command.p2;
        let own = self.upward(reference, |this, folder| {
            this.password_in(folder, reference & 0x1F).ok()
        })?;
        let secret = match &self.card.node(own)?.body {
            Body::MultiReference { target, .. } => self.password_in(self.card.folder_of(own), *target)?,
            _ => own,
        };
        Ok(Target { own, secret })
    }

    /// Where a reference is looked for: with bit 8 from the current folder upwards but not in the MF, else in the MF.
    pub(super) fn upward(
        &self,
        reference: u8,
        find: impl Fn(&Self, NodeId) -> Option<NodeId>,
    ) -> Result<NodeId, u16> {
        if reference & 0x80 == 0 {
            return find(self, 0).ok_or(sw::KEY_NOT_FOUND);
        }
        let mut folder = self.folder()?;
        while folder != 0 {
            if let Some(found) = find(self, folder) {
                return Ok(found);
            }
            folder = self.card.node(folder)?.parent.unwrap_or(0);
        }
        Err(sw::KEY_NOT_FOUND)
    }

    pub(super) fn password_in(&self, folder: NodeId, id: u8) -> Result<NodeId, u16> {
        let mut inside = self.card.system.children(folder);
        inside
            .find(|(_, node)| password_id(&node.body) == Some(id))
            .map(|(id, _)| id)
            .ok_or(sw::KEY_NOT_FOUND)
    }

    fn password(&self, id: NodeId) -> Result<&Password, u16> {
        match &self.card.node(id)?.body {
            Body::Password(password) => Ok(password),
            _ => Err(sw::KEY_NOT_FOUND),
        }
    }

    fn password_mut(&mut self, id: NodeId) -> Result<&mut Password, u16> {
        match &mut self.card.node_mut(id)?.body {
            Body::Password(password) => Ok(password),
            _ => Err(sw::KEY_NOT_FOUND),
        }
    }

    fn switch(&self, target: &Target) -> Result<(bool, &Uses), u16> {
        match &self.card.node(target.own)?.body {
            Body::Password(password) => Ok((password.enabled, &password.uses)),
            Body::MultiReference { enabled, uses, .. } => Ok((*enabled, uses)),
            _ => Err(sw::KEY_NOT_FOUND),
        }
    }

    fn set_switch(&mut self, target: &Target, on: bool) -> Result<(), u16> {
        match &mut self.card.node_mut(target.own)?.body {
            Body::Password(password) => password.enabled = on,
            Body::MultiReference { enabled, .. } => *enabled = on,
            _ => return Err(sw::KEY_NOT_FOUND),
        }
        Ok(())
    }

    /// Marks the password as verified on this channel.
    fn grant_password(&mut self, target: &Target) -> Result<(), u16> {
        let folder = self.card.folder_of(target.own);
        let environment = self.channel_ref()?.environment(folder);
        let (_, uses) = self.switch(target)?;
        let limit = uses
            .iter()
            .find(|(se, _)| *se == environment)
            .and_then(|(_, count)| *count);
        self.channel()?.verified.insert(target.own, limit);
        Ok(())
    }

    fn revoke_password(&mut self, target: &Target) -> Result<(), u16> {
        self.channel()?.verified.remove(&target.own);
        Ok(())
    }

    /// Compares a secret. The counter goes down and is stored before anything is compared, so that pulling the
    /// card gives no free try.
    fn check_secret(&mut self, target: &Target, block: &[u8]) -> Result<(), u16> {
        let password = self.password_mut(target.secret)?;
        if password.tries == 0 {
            return Err(sw::BLOCKED);
        }
        password.tries -= 1;
        let tries = password.tries;
        let start = password.start_tries;
        let right = crypto::card::same_mac(password.secret.as_bytes(), block);
        self.card.persist().map_err(|_| sw::MEMORY_FAILURE)?;
        if !right {
            self.revoke_password(target)?;
            return Err(tries_left(tries));
        }
        self.password_mut(target.secret)?.tries = start;
        Ok(())
    }

    /// Blocked comes before transport protected.
    fn check_usable(&self, target: &Target) -> Result<(), u16> {
        let password = self.password(target.secret)?;
        match (password.tries, password.transport) {
            (0, _) => Err(sw::BLOCKED),
            (_, Transport::Regular) => Ok(()),
            _ => Err(sw::CONDITIONS),
        }
    }

    /// VERIFY.
    pub(super) fn verify(&mut self) -> Outcome {
        if self.command.p1 != 0 {
            return Err(sw::WRONG_PARAMETERS);
        }
        let target = self.password_target()?;
        self.allow(target.own)?;
        let block = self.command.data.clone();
        if block.len() != 8 {
            return Err(sw::WRONG_LENGTH);
        }
        self.check_usable(&target)?;
        self.check_secret(&target, &block)?;
        self.grant_password(&target)?;
        Ok(Response::sw(sw::OK))
    }

    /// GET PIN STATUS.
    pub(super) fn pin_status(&mut self) -> Outcome {
        let target = self.password_target()?;
        self.allow(target.own)?;
        let password = self.password(target.secret)?;
        let (enabled, _) = self.switch(&target)?;
        let verified = self.channel_ref()?.verified.contains_key(&target.own);
        let word = match password.transport {
            _ if password.tries == 0 => tries_left(0),
            _ if !enabled => 0x62D0,
            _ if verified => sw::OK,
            Transport::TransportPin => 0x62C1,
            Transport::EmptyPin => 0x62C7,
            Transport::Regular => tries_left(password.tries),
        };
        Ok(Response::sw(word))
    }

    /// CHANGE REFERENCE DATA: old and new (P1 00), or only new (P1 01).
    pub(super) fn change_reference_data(&mut self) -> Outcome {
        let target = self.password_target()?;
        self.allow(target.own)?;
        let data = self.command.data.clone();
        let new = match (self.command.p1, data.len()) {
            (0x00, 16) => {
                let (old, new) = data.split_at(8);
                match self.password(target.secret)? {
                    password if password.tries == 0 => return Err(sw::BLOCKED),
                    password if password.transport == Transport::EmptyPin => return Err(sw::CONDITIONS),
                    _ => {}
                }
                self.fitting(&target, new)?;
                self.check_secret(&target, old)?;
                new.to_vec()
            }
            (0x01, 8) => {
                let transport = self.password(target.secret)?.transport;
                let rights_only = self.header_is_guarded(&target);
                if transport != Transport::EmptyPin && !rights_only {
                    return Err(sw::CONDITIONS);
                }
                self.fitting(&target, &data)?;
                data
            }
            (0x00 | 0x01, _) => return Err(sw::WRONG_LENGTH),
            _ => return Err(sw::WRONG_PARAMETERS),
        };
        let block = self.fitting(&target, &new)?;
        let password = self.password_mut(target.secret)?;
        password.secret = block;
        password.transport = Transport::Regular;
        Ok(Response::sw(sw::OK))
    }

    /// Is the running command on this password only allowed after some authentication?
    fn header_is_guarded(&self, target: &Target) -> bool {
        let Ok(node) = self.card.node(target.own) else {
            return false;
        };
        let condition = node
            .rules
            .condition(self.card.interface, node.life, 1, self.header());
        condition.is_some_and(|condition| *condition != crate::access::Condition::Always)
    }

    /// The new value as a PIN block of permitted length.
    fn fitting(&self, target: &Target, block: &[u8]) -> Result<PinBlock, u16> {
        let block = PinBlock::parse(block).ok_or(sw::CONDITIONS)?;
        let (min, max) = self.password(target.secret)?.length;
        if (min..=max).contains(&block.digits()) {
            Ok(block)
        } else {
            Err(sw::CONDITIONS)
        }
    }

    /// RESET RETRY COUNTER: with PUK and new value (00), PUK (01), new value (02), nothing (03).
    pub(super) fn reset_retry_counter(&mut self) -> Outcome {
        let target = self.password_target()?;
        self.allow(target.own)?;
        let data = self.command.data.clone();
        let (puk, new) = match (self.command.p1, data.len()) {
            (0x00, 16) => (data.get(..8), data.get(8..)),
            (0x01, 8) => (data.get(..8), None),
            (0x02, 8) => (None, data.get(..8)),
            (0x03, 0) => (None, None),
            (0x00..=0x03, _) => return Err(sw::WRONG_LENGTH),
            _ => return Err(sw::WRONG_PARAMETERS),
        };
        if self.password(target.secret)?.transport == Transport::EmptyPin {
            return Err(sw::CONDITIONS);
        }
        let new = new.map(|block| self.fitting(&target, block)).transpose()?;
        if let Some(puk) = puk {
            let password = self.password_mut(target.secret)?;
            if password.puk_uses == 0 {
                return Err(sw::BLOCKED);
            }
            password.puk_uses -= 1;
            let (left, right) = (
                password.puk_uses,
                crypto::card::same_mac(password.puk.as_bytes(), puk),
            );
            self.card.persist().map_err(|_| sw::MEMORY_FAILURE)?;
            if !right {
                return Err(tries_left(left));
            }
        }
        self.revoke_password(&target)?;
        let password = self.password_mut(target.secret)?;
        password.tries = password.start_tries;
        if let Some(new) = new {
            password.secret = new;
            password.transport = Transport::Regular;
        }
        Ok(Response::sw(sw::OK))
    }

    /// ENABLE and DISABLE VERIFICATION REQUIREMENT, with (P1 00) or without (01) the secret.
    pub(super) fn verification_requirement(&mut self, on: bool) -> Outcome {
        let target = self.password_target()?;
        self.allow(target.own)?;
        match (self.command.p1, self.command.data.len()) {
            (0x00, 8) => {
                self.check_usable(&target)?;
                let block = self.command.data.clone();
                self.check_secret(&target, &block)?;
            }
            (0x01, 0) => {}
            (0x00 | 0x01, _) => return Err(sw::WRONG_LENGTH),
            _ => return Err(sw::WRONG_PARAMETERS),
        }
        self.set_switch(&target, on)?;
        Ok(Response::sw(sw::OK))
    }
}
