use super::{Outcome, Run, sw};
use crate::access::LifeCycle;
use crate::apdu::Response;
use crate::image::{Body, Node, NodeId};
use asn1::tlv;

impl Run<'_> {
    /// SELECT (gemSpec_COS 14.2.6): by application identifier, file identifier, parent, with or without FCP.
    pub(super) fn select(&mut self) -> Outcome {
        let (p1, p2) = (self.command.p1, self.command.p2);
        if !matches!(p2 & !0x02, 0x04 | 0x0C) {
            return Err(sw::WRONG_PARAMETERS);
        }
        let next = p2 & 0x02 != 0;
        let data = self.command.data.clone();
        let found = match (p1, data.as_slice()) {
            (0x04, []) => 0,
            (0x04, aid) => self.by_aid(aid, next)?,
            (0x03, []) => {
                let folder = self.folder()?;
                self.card.node(folder)?.parent.ok_or(sw::FILE_NOT_FOUND)?
            }
            (0x01, [high, low]) => self.by_fid(u16::from_be_bytes([*high, *low]), true)?,
            (0x02, [high, low]) => self.by_fid(u16::from_be_bytes([*high, *low]), false)?,
            (0x01..=0x04, _) => return Err(sw::WRONG_LENGTH),
            _ => return Err(sw::WRONG_PARAMETERS),
        };
        self.make_current(found)?;
        let fcp = if p2 & 0x08 == 0 {
            self.control_parameters(found)?
        } else {
            Vec::new()
        };
        let word = match self.card.logical_life(found) {
            LifeCycle::Activated => sw::OK,
            LifeCycle::Deactivated => sw::FILE_DEACTIVATED,
            LifeCycle::Terminated => sw::FILE_TERMINATED,
        };
        Ok(Response { data: fcp, sw: word })
    }

    fn by_aid(&mut self, aid: &[u8], next: bool) -> Result<NodeId, u16> {
        let matches = |node: &Node| match &node.body {
            Body::Folder { aids, .. } => aids.iter().any(|mine| mine == aid),
            _ => false,
        };
        let hits: Vec<NodeId> = self
            .card
            .system
            .nodes
            .iter()
            .enumerate()
            .filter(|(_, node)| matches(node))
            .map(|(id, _)| id)
            .collect();
        let folder = self.folder()?;
        let found = match next {
            true => hits.iter().copied().find(|id| *id > folder),
            false => hits.first().copied(),
        };
        found.ok_or(sw::FILE_NOT_FOUND)
    }

    fn by_fid(&mut self, wanted: u16, folders: bool) -> Result<NodeId, u16> {
        let folder = self.folder()?;
        let matches = |node: &Node| match &node.body {
            Body::Folder { fid, .. } => folders && *fid == Some(wanted),
            Body::Transparent { fid, .. } => !folders && *fid == wanted,
            Body::Records(file) => !folders && file.fid == wanted,
            _ => false,
        };
        let found = self
            .card
            .system
            .children(folder)
            .find(|(_, node)| matches(node))
            .map(|(id, _)| id);
        found.ok_or(sw::FILE_NOT_FOUND)
    }

    /// Makes a folder or file current. Leaving a folder loses the security states that belong to it.
    fn make_current(&mut self, id: NodeId) -> Result<(), u16> {
        if !matches!(self.card.node(id)?.body, Body::Folder { .. }) {
            self.channel()?.file = Some(id);
            return Ok(());
        }
        let left: Vec<NodeId> = {
            let channel = self.channel_ref()?;
            let outside = |password: &&NodeId| !self.card.encloses(self.card.folder_of(**password), id);
            channel.verified.keys().filter(outside).copied().collect()
        };
        let before = self.folder()?;
        // folders that are not around the new one start again in security environment 1, and their keys are unchosen
        let mut leaving = Some(before);
        let mut left_folders = Vec::new();
        while let Some(folder) = leaving.filter(|folder| !self.card.encloses(*folder, id)) {
            left_folders.push(folder);
            leaving = self.card.system.node(folder).and_then(|node| node.parent);
        }
        let inside_left: Vec<NodeId> = (0..self.card.system.nodes.len())
            .filter(|node| left_folders.contains(&self.card.folder_of(*node)))
            .collect();
        let channel = self.channel()?;
        for password in left {
            channel.verified.remove(&password);
        }
        for folder in left_folders {
            channel.forget_environment(folder);
        }
        channel.forget_keys_in(&inside_left);
        channel.folder = id;
        channel.file = None;
        Ok(())
    }

    fn control_parameters(&self, id: NodeId) -> Result<Vec<u8>, u16> {
        let node = self.card.node(id)?;
        let mut parts = Vec::new();
        match &node.body {
            Body::Folder { aids, fid, .. } => {
                parts.push(tlv::encode(0x82, &[0x38]));
                parts.extend(fid.map(|fid| tlv::encode(0x83, &fid.to_be_bytes())));
                parts.extend(aids.iter().map(|aid| tlv::encode(0x84, aid)));
            }
            Body::Transparent {
                fid, sfi, size, end, ..
            } => {
                parts.push(tlv::encode(0x80, &(*size as u16).to_be_bytes()));
                parts.push(tlv::encode(0xC5, &(*end as u16).to_be_bytes()));
                parts.push(tlv::encode(0x82, &[0x01]));
                parts.push(tlv::encode(0x83, &fid.to_be_bytes()));
                parts.extend(sfi.map(|sfi| tlv::encode(0x88, &[sfi << 3])));
            }
            Body::Records(file) => {
                use crate::image::RecordKind;
                let descriptor = match file.kind {
                    RecordKind::LinearFixed => 0x02,
                    RecordKind::LinearVariable => 0x04,
                    RecordKind::Cyclic => 0x06,
                };
                let length = file.max_length as u16;
                parts.push(tlv::encode(
                    0x82,
                    &[
                        descriptor,
                        0x41,
                        (length >> 8) as u8,
                        length as u8,
                        file.max_records as u8,
                    ],
                ));
                parts.push(tlv::encode(0x83, &file.fid.to_be_bytes()));
                parts.extend(file.sfi.map(|sfi| tlv::encode(0x88, &[sfi << 3])));
            }
            _ => return Err(sw::FILE_NOT_FOUND),
        }
        let life = match node.life {
            LifeCycle::Activated => 0x05,
            LifeCycle::Deactivated => 0x04,
            LifeCycle::Terminated => 0x0C,
        };
        parts.push(tlv::encode(0x8A, &[life]));
        Ok(tlv::nest(0x62, parts))
    }
}
