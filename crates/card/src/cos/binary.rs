use super::{Outcome, Run, sw};
use crate::apdu::{Expect, Response};
use crate::image::{Body, NodeId};

impl Run<'_> {
    /// The transparent file and offset that P1 and P2 mean; a short identifier also makes the file current.
    fn target(&mut self) -> Result<(NodeId, usize), u16> {
        let (p1, p2) = (self.command.p1, self.command.p2);
        let (id, offset) = if p1 & 0x80 != 0 {
            (self.by_sfi(p1 & 0x1F)?, usize::from(p2))
        } else {
            let file = self.channel_ref()?.file.ok_or(sw::NO_CURRENT_FILE)?;
            (file, usize::from(u16::from_be_bytes([p1, p2])))
        };
        match self.card.node(id)?.body {
            Body::Transparent { .. } => Ok((id, offset)),
            _ => Err(sw::WRONG_FILE_TYPE),
        }
    }

    /// The file with this short identifier in the current folder becomes current.
    pub(super) fn by_sfi(&mut self, wanted: u8) -> Result<NodeId, u16> {
        let folder = self.folder()?;
        let found = self
            .card
            .system
            .children(folder)
            .find(|(_, node)| match &node.body {
                Body::Transparent { sfi, .. } => *sfi == Some(wanted),
                Body::Records(file) => file.sfi == Some(wanted),
                _ => false,
            });
        let (id, _) = found.ok_or(sw::FILE_NOT_FOUND)?;
        self.channel()?.file = Some(id);
        Ok(id)
    }

    /// READ BINARY.
    pub(super) fn read_binary(&mut self) -> Outcome {
        let (id, offset) = self.target()?;
        if self.command.expect == Expect::Nothing {
            return Err(sw::WRONG_LENGTH);
        }
        self.allow(id)?;
        let Body::Transparent { end, bytes, .. } = &self.card.node(id)?.body else {
            return Err(sw::WRONG_FILE_TYPE);
        };
        if offset >= *end {
            return Err(sw::OFFSET_TOO_BIG);
        }
        let available = end - offset;
        let wanted = self.command.expect.limit();
        let data = bytes
            .iter()
            .skip(offset)
            .take(wanted.min(available))
            .copied()
            .collect();
        let short = matches!(self.command.expect, Expect::Bytes(n) if n > available);
        Ok(Response {
            data,
            sw: if short { sw::END_OF_FILE } else { sw::OK },
        })
    }

    /// UPDATE BINARY: overwrites, and may grow the content up to the file's size.
    pub(super) fn update_binary(&mut self) -> Outcome {
        let (id, offset) = self.target()?;
        self.allow(id)?;
        self.store(id, offset, &self.command.data.clone())
    }

    /// WRITE BINARY: appends behind the logical end.
    pub(super) fn write_binary(&mut self) -> Outcome {
        let (id, _) = self.target()?;
        self.allow(id)?;
        let Body::Transparent { end, .. } = self.card.node(id)?.body else {
            return Err(sw::WRONG_FILE_TYPE);
        };
        self.store(id, end, &self.command.data.clone())
    }

    fn store(&mut self, id: NodeId, offset: usize, data: &[u8]) -> Outcome {
        let Body::Transparent { size, end, bytes, .. } = &mut self.card.node_mut(id)?.body else {
            return Err(sw::WRONG_FILE_TYPE);
        };
        if data.is_empty() {
            return Err(sw::WRONG_LENGTH);
        }
        let last = offset + data.len();
        if last > *size {
            return Err(if offset >= *size {
                sw::OFFSET_TOO_BIG
            } else {
                sw::OUT_OF_MEMORY
            });
        }
        bytes.iter_mut().take(offset).skip(*end).for_each(|gap| *gap = 0);
        bytes
            .iter_mut()
            .skip(offset)
            .zip(data)
            .for_each(|(to, from)| *to = *from);
        *end = last.max(*end);
        Ok(Response::sw(sw::OK))
    }

    /// ERASE BINARY: zeroes from the offset to the logical end.
    pub(super) fn erase_binary(&mut self) -> Outcome {
        let (id, offset) = self.target()?;
        self.allow(id)?;
        let Body::Transparent { size, end, bytes, .. } = &mut self.card.node_mut(id)?.body else {
            return Err(sw::WRONG_FILE_TYPE);
        };
        if offset >= *size {
            return Err(sw::OFFSET_TOO_BIG);
        }
        bytes
            .iter_mut()
            .take(*end)
            .skip(offset)
            .for_each(|byte| *byte = 0);
        Ok(Response::sw(sw::OK))
    }

    /// SET LOGICAL EOF: content ends at the offset.
    pub(super) fn set_logical_eof(&mut self) -> Outcome {
        let (id, offset) = self.target()?;
        self.allow(id)?;
        let Body::Transparent { size, end, .. } = &mut self.card.node_mut(id)?.body else {
            return Err(sw::WRONG_FILE_TYPE);
        };
        if offset >= *size {
            return Err(sw::OFFSET_TOO_BIG);
        }
        *end = offset.min(*end);
        Ok(Response::sw(sw::OK))
    }
}
