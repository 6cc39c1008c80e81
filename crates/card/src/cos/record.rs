use super::{Outcome, Run, sw};
use crate::access::LifeCycle;
use crate::apdu::{Expect, Response};
use crate::image::{Body, NodeId, Record, RecordFile, RecordKind};

impl Run<'_> {
    /// The record file that P2 means: a short identifier in the upper five bits, or the current file.
    fn record_file(&mut self) -> Result<NodeId, u16> {
        let id = match self.command.p2 >> 3 {
            0 => self.channel_ref()?.file.ok_or(sw::NO_CURRENT_FILE)?,
            sfi => self.by_sfi(sfi)?,
        };
        match self.card.node(id)?.body {
            Body::Records(_) => Ok(id),
            _ => Err(sw::WRONG_FILE_TYPE),
        }
    }

    fn records(&self, id: NodeId) -> Result<&RecordFile, u16> {
        match &self.card.node(id)?.body {
            Body::Records(file) => Ok(file),
            _ => Err(sw::WRONG_FILE_TYPE),
        }
    }

    fn records_mut(&mut self, id: NodeId) -> Result<&mut RecordFile, u16> {
        match &mut self.card.node_mut(id)?.body {
            Body::Records(file) => Ok(file),
            _ => Err(sw::WRONG_FILE_TYPE),
        }
    }

    /// Index of the record that P1 names.
    fn record_index(&self, id: NodeId) -> Result<usize, u16> {
        let number = usize::from(self.command.p1);
        if number == 0 || self.command.p2 & 0x07 != 0x04 {
            return Err(sw::WRONG_PARAMETERS);
        }
        if number > self.records(id)?.records.len() {
            return Err(sw::RECORD_NOT_FOUND);
        }
        Ok(number - 1)
    }

    fn active_record(&self, id: NodeId, index: usize) -> Result<&Record, u16> {
        let record = self.records(id)?.records.get(index).ok_or(sw::RECORD_NOT_FOUND)?;
        match record.life {
            LifeCycle::Activated => Ok(record),
            _ => Err(sw::RECORD_DEACTIVATED),
        }
    }

    /// READ RECORD.
    pub(super) fn read_record(&mut self) -> Outcome {
        let id = self.record_file()?;
        let index = self.record_index(id)?;
        self.allow(id)?;
        let value = self.active_record(id, index)?.value.clone();
        let short = matches!(self.command.expect, Expect::Bytes(n) if n > value.len());
        Ok(Response {
            data: value,
            sw: if short { sw::END_OF_FILE } else { sw::OK },
        })
    }

    /// APPEND RECORD: behind the last; in a cyclic file in front of the first, and the oldest goes.
    pub(super) fn append_record(&mut self) -> Outcome {
        if self.command.p1 != 0 || self.command.p2 & 0x07 != 0 {
            return Err(sw::WRONG_PARAMETERS);
        }
        let id = self.record_file()?;
        self.allow(id)?;
        let value = self.fitting_value(id)?;
        let file = self.records_mut(id)?;
        let record = Record {
            life: LifeCycle::Activated,
            value,
        };
        if file.kind == RecordKind::Cyclic {
            file.records.insert(0, record);
            file.records.truncate(file.max_records);
            return Ok(Response::sw(sw::OK));
        }
        let used: usize = file.records.iter().map(|record| record.value.len()).sum();
        let room = file.size.is_none_or(|size| used + record.value.len() <= size);
        if file.records.len() >= file.max_records || !room {
            return Err(sw::OUT_OF_MEMORY);
        }
        file.records.push(record);
        Ok(Response::sw(sw::OK))
    }

    /// UPDATE RECORD.
    pub(super) fn update_record(&mut self) -> Outcome {
        let id = self.record_file()?;
        let index = self.record_index(id)?;
        self.allow(id)?;
        self.active_record(id, index)?;
        let value = self.fitting_value(id)?;
        if let Some(record) = self.records_mut(id)?.records.get_mut(index) {
            record.value = value;
        }
        Ok(Response::sw(sw::OK))
    }

    /// The command data, if they have a length this file takes.
    fn fitting_value(&self, id: NodeId) -> Result<Vec<u8>, u16> {
        let file = self.records(id)?;
        let length = self.command.data.len();
        let fits = match file.kind {
            RecordKind::LinearVariable => (1..=file.max_length).contains(&length),
            RecordKind::LinearFixed | RecordKind::Cyclic => length == file.max_length,
        };
        if fits {
            Ok(self.command.data.clone())
        } else {
            Err(sw::WRONG_LENGTH)
        }
    }

    /// SEARCH RECORD: numbers of the records from P1 on that contain the pattern.
    pub(super) fn search_record(&mut self) -> Outcome {
        let id = self.record_file()?;
        let first = self.record_index(id)?;
        self.allow(id)?;
        let pattern = &self.command.data;
        if pattern.is_empty() {
            return Err(sw::WRONG_LENGTH);
        }
        let contains = |record: &Record| {
            record
                .value
                .windows(pattern.len())
                .any(|part| part == pattern.as_slice())
        };
        let hits: Vec<u8> = (1u8..=254)
            .zip(&self.records(id)?.records)
            .skip(first)
            .filter(|(_, record)| record.life == LifeCycle::Activated && contains(record))
            .map(|(number, _)| number)
            .collect();
        if hits.is_empty() {
            Err(sw::UNSUCCESSFUL_SEARCH)
        } else {
            Ok(Response::ok(hits))
        }
    }

    /// ERASE RECORD: content becomes zero.
    pub(super) fn erase_record(&mut self) -> Outcome {
        let id = self.record_file()?;
        let index = self.record_index(id)?;
        self.allow(id)?;
        self.active_record(id, index)?;
        if let Some(record) = self.records_mut(id)?.records.get_mut(index) {
            record.value.fill(0);
        }
        Ok(Response::sw(sw::OK))
    }

    /// DELETE RECORD: those behind it move up.
    pub(super) fn delete_record(&mut self) -> Outcome {
        let id = self.record_file()?;
        let index = self.record_index(id)?;
        self.allow(id)?;
        self.active_record(id, index)?;
        self.records_mut(id)?.records.remove(index);
        Ok(Response::sw(sw::OK))
    }

    /// ACTIVATE RECORD and DEACTIVATE RECORD, one or all from P1 on.
    pub(super) fn record_life(&mut self, life: LifeCycle) -> Outcome {
        let id = self.record_file()?;
        let number = usize::from(self.command.p1);
        self.allow(id)?;
        let all_from = match self.command.p2 & 0x07 {
            0x04 => false,
            0x05 => true,
            _ => return Err(sw::WRONG_PARAMETERS),
        };
        let file = self.records_mut(id)?;
        if !file.has_record_life {
            return Err(sw::NO_RECORD_LIFE_CYCLE);
        }
        if number == 0 || number > file.records.len() {
            return Err(sw::RECORD_NOT_FOUND);
        }
        let count = if all_from { file.records.len() } else { 1 };
        file.records
            .iter_mut()
            .skip(number - 1)
            .take(count)
            .for_each(|record| record.life = life);
        Ok(Response::sw(sw::OK))
    }
}
