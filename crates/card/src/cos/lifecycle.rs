use super::{Outcome, Run, sw};
use crate::access::LifeCycle;
use crate::apdu::Response;

impl Run<'_> {
    /// ACTIVATE and DEACTIVATE: the current file or else the current folder (P1 00), a password (10), a key (20).
    pub(super) fn change_life(&mut self, life: LifeCycle) -> Outcome {
        let (p1, p2) = (self.command.p1, self.command.p2);
        let id = match (p1, p2) {
            (0x00, 0x00) => self.channel_ref()?.file.map_or_else(|| self.folder(), Ok)?,
            (0x10, reference) => self.upward(reference, |this, folder| {
                this.password_in(folder, reference & 0x1F).ok()
            })?,
            (0x20, reference) => self
                .private_key(reference)
                .or_else(|_| self.symmetric_key(reference))?,
            _ => return Err(sw::WRONG_PARAMETERS),
        };
        self.allow(id)?;
        match self.card.node(id)?.life {
            LifeCycle::Terminated => Err(sw::KEY_INVALID),
            _ => {
                self.card.node_mut(id)?.life = life;
                Ok(Response::sw(sw::OK))
            }
        }
    }
}
