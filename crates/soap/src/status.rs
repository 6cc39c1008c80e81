use crate::fault::Fault;
use crate::write::Writer;

/// How an operation went that gave an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Well.
    Ok,
    /// Well enough; the fault says what was not.
    Warning(Fault),
}

impl Status {
    /// The `CONN:Status` element; its prefix must be declared outside.
    pub(crate) fn write(&self, out: &mut Writer) {
        out.open("CONN:Status", &[]);
        match self {
            Status::Ok => {
                out.leaf("CONN:Result", "OK");
            }
            Status::Warning(fault) => {
                out.leaf("CONN:Result", "Warning").raw(&fault.error_element());
            }
        }
        out.close("CONN:Status");
    }
}
