//! The configuration service's list of updates (I_KSRS_Download, `Konfigurationsdienst.xsd` 1.1.1), both sides. Nothing of the list is
//! signed in a way a Konnektor could judge: it says what there is, the packages prove what they are.

use crate::cm::not_a_fault;
use crate::inventory::version_of;
use crate::{Envelope, Malformed, Writer, children, has_name, ns, optional, required, wrap};
use jiff::civil::Date;
use roxmltree::Node;
use serde::{Deserialize, Serialize};

/// SOAPAction of list_Updates.
pub const ACTION: &str = "http://ws.gematik.de/ksr/v1.1#ListUpdates";
/// Most entries of a list, and files of an entry.
const MOST: usize = 999;
/// Longest notes.
const NOTES: usize = 2048;

/// Whose firmware.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Product {
    /// ProductVendorID, at most five letters.
    pub vendor: String,
    /// ProductCode, at most eight letters.
    pub code: String,
    /// HWVersion, `n.n.n`.
    pub hardware: String,
}

/// A file of an update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateFile {
    /// Its name below the firmware's address.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// For people.
    pub notes: String,
}

/// An update that can be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateInformation {
    /// UpdateID.
    pub id: String,
    /// For which product.
    pub product: Product,
    /// Name of the product.
    pub name: String,
    /// FWVersion, `n.n.n`.
    pub version: [u16; 3],
    /// FWPriority is Kritisch.
    pub critical: bool,
    /// The last day without it, `YYYY-MM-DD`, if there is one.
    pub deadline: Option<Date>,
    /// Packages.
    pub files: Vec<UpdateFile>,
    /// Documents.
    pub documents: Vec<UpdateFile>,
    /// For people.
    pub notes: String,
}

/// A request for the list.
pub fn request(product: &Product, version: [u16; 3]) -> String {
    let [a, b, c] = version;
    let mut out = Writer::new();
    out.open("KSR:listUpdatesRequest", &[("xmlns:KSR", ns::KSR)])
        .leaf("KSR:ProductVendorID", &product.vendor)
        .leaf("KSR:ProductCode", &product.code)
        .leaf("KSR:HWVersion", &product.hardware)
        .leaf("KSR:FWVersion", &format!("{a}.{b}.{c}"))
        .close("KSR:listUpdatesRequest");
    wrap(&out.finish())
}

/// A request as the service reads it.
pub fn parse_request(message: &str) -> Result<(Product, [u16; 3]), Malformed> {
    let envelope = Envelope::parse(message)?;
    let body = envelope.body()?;
    if !has_name(body, ns::KSR, "listUpdatesRequest") {
        return Err(Malformed("listUpdatesRequest expected".into()));
    }
    Ok((product(body)?, version(&required(body, ns::KSR, "FWVersion")?)?))
}

fn product(node: Node<'_, '_>) -> Result<Product, Malformed> {
    let plain = |name: &'static str, most: usize| {
        let text = required(node, ns::KSR, name)?;
        let good = text.len() <= most && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        good.then_some(text).ok_or_else(|| Malformed(name.into()))
    };
    let hardware = required(node, ns::KSR, "HWVersion")?;
    version(&hardware)?;
    Ok(Product {
        vendor: plain("ProductVendorID", 5)?,
        code: plain("ProductCode", 8)?,
        hardware,
    })
}

fn version(text: &str) -> Result<[u16; 3], Malformed> {
    version_of(text).ok_or_else(|| Malformed(format!("version `{}`", text.escape_debug())))
}

/// The list of an answer.
pub fn parse_response(message: &str) -> Result<Vec<UpdateInformation>, Malformed> {
    let envelope = Envelope::parse(message)?;
    let body = envelope.body()?;
    not_a_fault(body).map_err(|_| Malformed("the service answers with a fault".into()))?;
    if !has_name(body, ns::KSR, "listUpdatesResponse") {
        return Err(Malformed("listUpdatesResponse expected".into()));
    }
    let all = children(body, ns::KSR, "UpdateInformation").take(MOST);
    // one entry that nobody can read takes nobody else's away
    Ok(all
        .filter_map(|node| UpdateInformation::read(node).ok())
        .collect())
}

impl UpdateInformation {
    fn read(node: Node<'_, '_>) -> Result<Self, Malformed> {
        let id = required(node, ns::KSR, "UpdateID")?;
        if id.len() > 100 || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(Malformed("UpdateID".into()));
        }
        let deployment = children(node, ns::KSR, "DeploymentInformation").next();
        let deadline = deployment.and_then(|node| optional(node, ns::KSR, "Deadline"));
        // xs:date may carry a time zone; a day is a day
        let deadline = deadline.map(|text| {
            let day = text.get(..10).and_then(|day| day.parse().ok());
            day.ok_or_else(|| Malformed("Deadline".into()))
        });
        let firmware = children(node, ns::KSR, "Firmware").next();
        let firmware = firmware.ok_or_else(|| Malformed("Firmware".into()))?;
        let critical = match required(firmware, ns::KSR, "FWPriority")?.as_str() {
            "Kritisch" => true,
            "Normal" => false,
            _ => return Err(Malformed("FWPriority".into())),
        };
        let files = |name: &'static str| {
            let all = children(firmware, ns::KSR, name).take(MOST);
            all.map(UpdateFile::read).collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            id,
            product: product(node)?,
            name: shortened(&required(node, ns::KSR, "ProductName")?, 100),
            version: version(&required(firmware, ns::KSR, "FWVersion")?)?,
            critical,
            deadline: deadline.transpose()?,
            files: files("Firmwarefiles")?,
            documents: files("Documentationfiles")?,
            notes: shortened(
                &optional(firmware, ns::KSR, "FirmwareReleaseNotes").unwrap_or_default(),
                NOTES,
            ),
        })
    }
}

impl UpdateFile {
    fn read(node: Node<'_, '_>) -> Result<Self, Malformed> {
        let name = required(node, ns::KSR, "Filename")?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
        let inside = !name.starts_with('/')
            && !name
                .split('/')
                .any(|part| part.is_empty() || part.starts_with('.'));
        if name.len() > 200 || !name.chars().all(plain) || !inside {
            return Err(Malformed("Filename".into()));
        }
        let size = required(node, ns::KSR, "FileSize")?;
        let size = size.parse().map_err(|_| Malformed("FileSize".into()))?;
        let notes = optional(node, ns::KSR, "Notes").unwrap_or_default();
        Ok(Self {
            name,
            size,
            notes: shortened(&notes, 256),
        })
    }
}

fn shortened(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

/// An answer as the service writes it.
pub fn response(list: &[UpdateInformation], created: Date) -> String {
    let mut out = Writer::new();
    out.open("KSR:listUpdatesResponse", &[("xmlns:KSR", ns::KSR)]);
    for one in list {
        let [a, b, c] = one.version;
        out.open("KSR:UpdateInformation", &[])
            .leaf("KSR:UpdateID", &one.id)
            .leaf("KSR:ProductVendorID", &one.product.vendor)
            .leaf("KSR:ProductCode", &one.product.code)
            .leaf("KSR:HWVersion", &one.product.hardware)
            .leaf("KSR:ProductName", &one.name)
            .leaf("KSR:CreationDate", &created.to_string())
            .open("KSR:DeploymentInformation", &[])
            .maybe("KSR:Deadline", one.deadline.map(|day| day.to_string()).as_deref())
            .close("KSR:DeploymentInformation")
            .open("KSR:Firmware", &[])
            .leaf("KSR:FWVersion", &format!("{a}.{b}.{c}"))
            .leaf("KSR:FWPriority", if one.critical { "Kritisch" } else { "Normal" });
        for (element, files) in [
            ("Firmwarefiles", &one.files),
            ("Documentationfiles", &one.documents),
        ] {
            let name = format!("KSR:{element}");
            for file in files {
                out.open(&name, &[])
                    .leaf("KSR:Filename", &file.name)
                    .leaf("KSR:FileSize", &file.size.to_string())
                    .leaf("KSR:Notes", &file.notes)
                    .close(&name);
            }
        }
        out.leaf("KSR:FirmwareReleaseNotes", &one.notes)
            .close("KSR:Firmware")
            .leaf("KSR:UpdateInformationSignature", "")
            .close("KSR:UpdateInformation");
    }
    out.close("KSR:listUpdatesResponse");
    wrap(&out.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn product() -> Product {
        Product {
            vendor: "LLAUF".into(),
            code: "KON".into(),
            hardware: "1.0.0".into(),
        }
    }

    fn entry(version: [u16; 3]) -> UpdateInformation {
        UpdateInformation {
            id: "LLAUF_KON_1".into(),
            product: product(),
            name: "Langlauf".into(),
            version,
            critical: true,
            deadline: "2027-01-31".parse().ok(),
            files: vec![UpdateFile {
                name: "kon/1.2.3.bundle.zip".into(),
                size: 40_000_000,
                notes: String::new(),
            }],
            documents: Vec::new(),
            notes: "Was neu ist".into(),
        }
    }

    #[test]
    fn both_sides_understand_each_other() {
        let message = request(&product(), [1, 2, 3]);
        assert_eq!(parse_request(&message).unwrap(), (product(), [1, 2, 3]));
        let list = [entry([1, 2, 4]), entry([2, 0, 0])];
        let answer = response(&list, "2026-11-29".parse().unwrap());
        assert_eq!(parse_response(&answer).unwrap(), list);
        assert_eq!(
            parse_response(&response(&[], "2026-11-29".parse().unwrap())).unwrap(),
            []
        );
    }

    #[test]
    fn one_bad_entry_takes_nobody_elses_away() {
        let answer = response(
            &[entry([1, 2, 4]), entry([2, 0, 0])],
            "2026-11-29".parse().unwrap(),
        );
        for (good, bad) in [
            ("2.0.0", "2.0"),
            ("kon/1.2.3.bundle.zip", "../../etc/passwd"),
            ("kon/1.2.3.bundle.zip", "/etc/passwd"),
            ("<KSR:FWPriority>Kritisch", "<KSR:FWPriority>Sofort"),
            ("40000000", "viel"),
            ("2027-01-31", "bald"),
            ("LLAUF_KON_1", "a b"),
        ] {
            // only in the second entry
            let (first, second) = answer.split_at(answer.rfind("<KSR:UpdateInformation>").unwrap());
            let mixed = format!("{first}{}", second.replacen(good, bad, 1));
            assert_eq!(parse_response(&mixed).unwrap(), [entry([1, 2, 4])], "{bad}");
        }
        assert!(parse_response("<html>502</html>").is_err());
    }
}
