use base::{Code, Timestamp};
use soap::{Fault, Trace};

/// Why an operation failed: causes first, the specification's code last. No personal data in the details.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    traces: Vec<(Code, Option<String>)>,
}

impl Failure {
    /// The code that decides.
    pub fn code(&self) -> Code {
        self.traces.last().map_or(Code::INTERNAL, |(code, _)| *code)
    }

    /// A failure with an explanation.
    pub fn new(code: Code, detail: impl ToString) -> Self {
        Self {
            traces: vec![(code, Some(detail.to_string()))],
        }
    }

    /// The same as cause of another code.
    pub fn within(mut self, code: Code) -> Self {
        self.traces.push((code, None));
        self
    }

    /// This and another one, for answers that tell of several things.
    pub fn and(mut self, other: Failure) -> Self {
        self.traces.extend(other.traces);
        self
    }

    /// All codes, causes first.
    pub fn codes(&self) -> Vec<u16> {
        self.traces.iter().map(|(code, _)| code.number()).collect()
    }

    /// Explanations, joined, for the log.
    pub fn detail(&self) -> String {
        let parts: Vec<&str> = self
            .traces
            .iter()
            .filter_map(|(_, detail)| detail.as_deref())
            .collect();
        parts.join("; ")
    }

    /// Parameters of an event about it.
    pub(crate) fn parameters(&self) -> Vec<(&'static str, String)> {
        vec![
            ("Error", self.code().number().to_string()),
            ("Bedeutung", self.code().text().to_owned()),
            ("Detail", self.detail()),
        ]
    }

    /// As it goes to the caller.
    pub fn fault(&self, reference: &str, time: Timestamp) -> Fault {
        let traces = self.traces.iter().map(|(code, detail)| Trace {
            code: *code,
            detail: detail.clone(),
        });
        Fault {
            traces: traces.collect(),
            reference: reference.to_owned(),
            time,
        }
    }
}

impl From<Code> for Failure {
    fn from(code: Code) -> Self {
        Self {
            traces: vec![(code, None)],
        }
    }
}

impl From<card::ChannelError> for Failure {
    fn from(error: card::ChannelError) -> Self {
        let code = match error {
            card::ChannelError::Removed => Code::CARD_NOT_INSERTED,
            card::ChannelError::Timeout => Code::CARD_TIMEOUT,
            card::ChannelError::Garbage | card::ChannelError::Terminal(_) => Code::TERMINAL_ACCESS,
        };
        Failure::new(code, error)
    }
}

impl From<terminal::TerminalError> for Failure {
    fn from(error: terminal::TerminalError) -> Self {
        Failure::new(error.code(), error)
    }
}

impl From<store::StoreError> for Failure {
    fn from(error: store::StoreError) -> Self {
        Failure::new(Code::INTERNAL, error)
    }
}

impl From<crypto::Error> for Failure {
    fn from(error: crypto::Error) -> Self {
        Failure::new(Code::INTERNAL, error)
    }
}
