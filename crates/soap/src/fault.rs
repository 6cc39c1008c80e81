use crate::write::Writer;
use crate::{ns, wrap};
use base::{Code, Timestamp};

/// One entry of an error's trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// The code.
    pub code: Code,
    /// What happened, for whoever looks into it. No personal data.
    pub detail: Option<String>,
}

/// An error as it goes to the caller: a SOAP fault with `GERROR:Error` (TIP1-A_5058), or part of a status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Causes first; the last one has a code of the specification.
    pub traces: Vec<Trace>,
    /// For finding it in the log.
    pub reference: String,
    /// When.
    pub time: Timestamp,
}

impl Fault {
    /// The last trace decides.
    pub fn code(&self) -> Code {
        self.traces.last().map_or(Code::INTERNAL, |trace| trace.code)
    }

    /// The `Error` element.
    pub fn error_element(&self) -> String {
        let mut out = Writer::new();
        out.open("GERROR:Error", &[("xmlns:GERROR", ns::GERROR)]);
        out.leaf("GERROR:MessageID", &self.reference)
            .leaf("GERROR:Timestamp", &self.time.to_string());
        for trace in &self.traces {
            out.open("GERROR:Trace", &[]);
            out.leaf("GERROR:EventID", &self.reference)
                .leaf("GERROR:Instance", "Langlauf")
                .leaf("GERROR:LogReference", &self.reference)
                .leaf("GERROR:CompType", "Konnektor")
                .leaf("GERROR:Code", &trace.code.number().to_string())
                .leaf("GERROR:Severity", &trace.code.severity().to_string())
                .leaf("GERROR:ErrorType", &trace.code.kind().to_string())
                .leaf("GERROR:ErrorText", trace.code.text());
            if let Some(detail) = &trace.detail {
                out.open("GERROR:Detail", &[("Encoding", "UTF-8")])
                    .raw(&crate::escape(detail))
                    .close("GERROR:Detail");
            }
            out.close("GERROR:Trace");
        }
        out.close("GERROR:Error");
        out.finish()
    }

    /// The whole SOAP message.
    pub fn message(&self) -> String {
        let code = self.code();
        let mut out = Writer::new();
        out.open("SOAP-ENV:Fault", &[]);
        out.leaf(
            "faultcode",
            if code == Code::SYNTAX {
                "SOAP-ENV:Client"
            } else {
                "SOAP-ENV:Server"
            },
        );
        out.leaf("faultstring", code.text());
        out.open("detail", &[]).raw(&self.error_element()).close("detail");
        out.close("SOAP-ENV:Fault");
        wrap(&out.finish())
    }
}
