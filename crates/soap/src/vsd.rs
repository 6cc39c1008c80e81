//! VSDService 5.2 and KvkService 4.0.

use crate::read::{boolean, context};
use crate::{Malformed, Request, Writer, ns, optional, required};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use roxmltree::Node;

pub(crate) fn decode(body: Node<'_, '_>) -> Result<Request, Malformed> {
    let context = context(body)?;
    match body.tag_name().name() {
        "ReadVSD" => Ok(Request::ReadVsd {
            context,
            ehc: required(body, ns::VSD, "EhcHandle")?,
            hpc: required(body, ns::VSD, "HpcHandle")?,
            online_check: boolean(&required(body, ns::VSD, "PerformOnlineCheck")?)?,
            online_receipt: optional(body, ns::VSD, "ReadOnlineReceipt")
                .map_or(Ok(false), |text| boolean(&text))?,
        }),
        "ReadKVK" => Ok(Request::ReadKvk {
            context,
            handle: required(body, ns::KVK, "KVKHandle")?,
        }),
        other => Err(Malformed(format!("operation {other} unknown in VSDService"))),
    }
}

/// Insured person's data as they come from the card: gzip streams.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct VsdAnswer {
    pub personal: Vec<u8>,
    pub insurance: Vec<u8>,
    pub protected: Option<Vec<u8>>,
    pub transaction_open: bool,
    /// RFC 3339.
    pub updated: String,
    /// `5.2.0`.
    pub version: String,
    /// gzip(XML).
    pub receipt: Option<Vec<u8>>,
}

/// Answer to ReadVSD.
pub fn vsd_response(answer: &VsdAnswer) -> String {
    let mut out = Writer::new();
    out.open("VSD:ReadVSDResponse", &[("xmlns:VSD", ns::VSD)]);
    out.leaf(
        "VSD:PersoenlicheVersichertendaten",
        &STANDARD.encode(&answer.personal),
    );
    out.leaf(
        "VSD:AllgemeineVersicherungsdaten",
        &STANDARD.encode(&answer.insurance),
    );
    out.maybe(
        "VSD:GeschuetzteVersichertendaten",
        answer
            .protected
            .as_ref()
            .map(|data| STANDARD.encode(data))
            .as_deref(),
    );
    out.open("VSD:VSD_Status", &[]);
    out.leaf("VSD:Status", if answer.transaction_open { "1" } else { "0" })
        .leaf("VSD:Timestamp", &answer.updated)
        .leaf("VSD:Version", &answer.version);
    out.close("VSD:VSD_Status");
    out.maybe(
        "VSD:Pruefungsnachweis",
        answer
            .receipt
            .as_ref()
            .map(|data| STANDARD.encode(data))
            .as_deref(),
    );
    out.close("VSD:ReadVSDResponse");
    out.finish()
}
