use super::*;
use crate::access::chat_text;
use base::xml::escape;
use std::fmt::Write;

/// Writes an image in gematik's simulator format, so that other tools can load our cards.
pub fn write(system: &ObjectSystem) -> String {
    let mut out = String::with_capacity(64 * 1024);
    out.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(out, "<card version=\"3\" name=\"{}\">", escape(&system.name));
    out.push_str("<objectSystem>\n<attribute id=\"root\">\n");
    node(&mut out, system, 0);
    out.push_str("</attribute>\n");
    let hexed = |bytes: &[u8]| hex::encode_upper(bytes);
    attribute(&mut out, "warmAnswerToReset", &hexed(&system.warm_atr));
    attribute(&mut out, "coldAnswerToReset", &hexed(&system.cold_atr));
    attribute(&mut out, "pointInTime", &hexed(&system.point_in_time.digits()));
    attribute(&mut out, "iccsn8", &hexed(&system.iccsn8));
    attribute(&mut out, "lifeCycleStatus", "ACTIVATED");
    attribute(&mut out, "publicKeyList", "");
    attribute(
        &mut out,
        "reservedPersistentCacheSlots",
        &format!("{:02x}", system.cache_slots),
    );
    out.push_str("</objectSystem>\n<commons>\n");
    for (id, kind, value) in &system.commons {
        let _ = writeln!(
            out,
            "<common id=\"{}\" type=\"{}\">{}</common>",
            escape(id),
            escape(kind),
            escape(value)
        );
    }
    out.push_str("</commons>\n</card>\n");
    out
}

fn attribute(out: &mut String, id: &str, value: &str) {
    let _ = writeln!(out, "<attribute id=\"{id}\">{}</attribute>", escape(value));
}

fn node(out: &mut String, system: &ObjectSystem, id: NodeId) {
    let Some(this) = system.node(id) else { return };
    let _ = writeln!(
        out,
        "<child id=\"{}\" objectType=\"{}\">\n<attributes>",
        escape(&this.name),
        kind(&this.body)
    );
    attribute(out, "lifeCycleStatus", this.life.as_str());
    attribute(out, "accessRules", this.rules.as_str());
    body(out, &this.body);
    out.push_str("</attributes>\n");
    if let Body::Records(file) = &this.body {
        out.push_str("<records>\n");
        for (number, record) in file.records.iter().enumerate() {
            let _ = writeln!(out, "<record id=\"RECORD{}\">", number + 1);
            attribute(out, "recordLifeCycleStatus", record.life.as_str());
            attribute(out, "recordValue", &hex::encode(&record.value));
            out.push_str("</record>\n");
        }
        out.push_str("</records>\n");
    }
    let below: Vec<NodeId> = system.children(id).map(|(child, _)| child).collect();
    if !below.is_empty() {
        out.push_str("<children>\n");
        below.into_iter().for_each(|child| node(out, system, child));
        out.push_str("</children>\n");
    }
    out.push_str("</child>\n");
}

fn kind(body: &Body) -> &'static str {
    match body {
        Body::Folder { is_adf: true, .. } => "ADF",
        Body::Folder { .. } => "Application",
        Body::Transparent { .. } => "TransparentElementaryFile",
        Body::Records(file) => match file.kind {
            RecordKind::LinearFixed => "LinearFixedElementaryFile",
            RecordKind::LinearVariable => "LinearVariableElementaryFile",
            RecordKind::Cyclic => "CyclicElementaryFile",
        },
        Body::Password(_) => "PWD",
        Body::MultiReference { .. } => "MultireferencePWD",
        Body::PrivateElc(_) => "PrivateElcKey",
        Body::PrivateRsa { .. } => "PrivateRsaKey",
        Body::PublicElc(_) => "PublicElcVerificationKey",
        Body::Symmetric { .. } => "SymmetricAutKey",
        Body::Connection { .. } => "SymmetricConnectionKey",
    }
}

fn flag(value: bool) -> &'static str {
    if value { "TRUE" } else { "FALSE" }
}

fn uses_text(uses: &Uses) -> String {
    let pairs: Vec<String> = uses
        .iter()
        .map(|(se, count)| match count {
            None => format!("({se:x},INFINITY)"),
            Some(count) => format!("({se:x},{count:x})"),
        })
        .collect();
    format!("{{{}}}", pairs.join(","))
}

fn algorithms_text(algorithms: &Algorithms) -> String {
    let entries: Vec<String> = algorithms
        .iter()
        .map(|(se, list)| format!("[{se:x},({})]", list.join(",")))
        .collect();
    format!("{{{}}}", entries.join(","))
}

fn curve_name(curve: Curve) -> &'static str {
    match curve {
        Curve::BrainpoolP256r1 => "brainpoolP256r1",
        Curve::NistP256 => "ansix9p256r1",
    }
}

fn body(out: &mut String, body: &Body) {
    let fids = |out: &mut String, fid: u16, sfi: Option<u8>| {
        attribute(out, "fileIdentifier", &format!("{fid:04x}"));
        if let Some(sfi) = sfi {
            attribute(out, "shortFileIdentifier", &format!("{sfi:02x}"));
        }
        attribute(out, "shareable", "TRUE");
    };
    match body {
        Body::Folder { aids, fid, .. } => {
            attribute(out, "shareable", "TRUE");
            let aids: Vec<String> = aids.iter().map(hex::encode).collect();
            attribute(out, "applicationIdentifier", &format!("{{{}}}", aids.join(",")));
            if let Some(fid) = fid {
                attribute(out, "fileIdentifier", &format!("{fid:04x}"));
            }
        }
        Body::Transparent {
            fid,
            sfi,
            size,
            end,
            bytes,
        } => {
            let used = bytes
                .iter()
                .rposition(|b| *b != 0)
                .map_or(0, |last| last + 1)
                .max(*end);
            attribute(
                out,
                "body",
                &hex::encode_upper(bytes.get(..used).unwrap_or_default()),
            );
            fids(out, *fid, *sfi);
            attribute(out, "flagTransactionMode", "TRUE");
            attribute(out, "flagChecksum", "TRUE");
            attribute(out, "numberOfOctet", &format!("{size:04x}"));
            attribute(out, "positionLogicalEndOfFile", &format!("{end:04x}"));
        }
        Body::Records(file) => {
            fids(out, file.fid, file.sfi);
            attribute(out, "flagTransactionMode", "TRUE");
            attribute(out, "flagChecksum", "TRUE");
            attribute(
                out,
                "maximumNumberOfRecords",
                &format!("{:02x}", file.max_records),
            );
            attribute(out, "maximumRecordLength", &format!("{:02x}", file.max_length));
            attribute(out, "flagRecordLifeCycleStatus", flag(file.has_record_life));
            if let Some(size) = file.size {
                attribute(out, "numberOfOctet", &format!("{size:04x}"));
            }
        }
        Body::Password(password) => {
            attribute(out, "pwdIdentifier", &format!("{:02x}", password.id));
            attribute(out, "minimumLength", &format!("{:02x}", password.length.0));
            attribute(out, "maximumLength", &format!("{:02x}", password.length.1));
            attribute(out, "startRetryCounter", &format!("{:02x}", password.start_tries));
            attribute(out, "retryCounter", &format!("{:02x}", password.tries));
            let transport = match password.transport {
                Transport::Regular => "regularPassword",
                Transport::TransportPin => "transportPIN",
                Transport::EmptyPin => "leerPIN",
            };
            attribute(out, "transportStatus", transport);
            attribute(out, "flagEnabled", flag(password.enabled));
            attribute(out, "startSSecList", &uses_text(&password.uses));
            attribute(out, "pukUsage", &format!("{:02x}", password.puk_uses));
            attribute(out, "secret", &hex::encode_upper(password.secret.as_bytes()));
            attribute(out, "PUK", &hex::encode_upper(password.puk.as_bytes()));
        }
        Body::MultiReference {
            id,
            target,
            enabled,
            uses,
        } => {
            attribute(out, "passwordReference", &format!("{target:02x}"));
            attribute(out, "pwdIdentifier", &format!("{id:02x}"));
            attribute(out, "flagEnabled", flag(*enabled));
            attribute(out, "startSSecList", &uses_text(uses));
        }
        Body::PrivateElc(elc) => {
            attribute(out, "keyIdentifier", &format!("{:02x}", elc.id));
            attribute(out, "domainParameterOid", curve_name(elc.curve));
            attribute(out, "listAlgorithmIdentifier", &algorithms_text(&elc.algorithms));
            attribute(out, "keyAvailable", flag(elc.key.is_some()));
            let scalar = elc.key.as_ref().map(|key| hex::encode_upper(&key.scalar()[..]));
            let point = elc
                .key
                .as_ref()
                .map(|key| hex::encode_upper(key.public().point()));
            attribute(out, "privateKey", scalar.as_deref().unwrap_or("AttributeNotSet"));
            attribute(out, "P", point.as_deref().unwrap_or("AttributeNotSet"));
        }
        Body::PrivateRsa {
            id,
            key,
            algorithms,
            modulus_bits,
        } => {
            attribute(out, "keyIdentifier", &format!("{id:02x}"));
            attribute(out, "modulusLength", &format!("{modulus_bits:04x}"));
            attribute(out, "listAlgorithmIdentifier", &algorithms_text(algorithms));
            attribute(out, "keyAvailable", flag(key.is_some()));
            if let Some(numbers) = key.as_ref().and_then(|key| key.numbers().ok()) {
                for (name, number) in ["n", "e", "d", "p", "q", "dP", "dQ", "c"]
                    .into_iter()
                    .zip(numbers)
                {
                    attribute(out, name, &hex::encode_upper(&number[..]));
                }
            }
        }
        Body::PublicElc(anchor) => {
            attribute(out, "keyIdentifier", &hex::encode(&anchor.id));
            attribute(out, "domainParameterOid", curve_name(anchor.key.curve()));
            attribute(out, "P", &hex::encode_upper(anchor.key.point()));
            attribute(out, "oid", "ecdsa-with-SHA256");
            attribute(out, "accessRulesVerification", anchor.verification_rules.as_str());
            attribute(
                out,
                "accessRulesAuthentication",
                anchor.authentication_rules.as_str(),
            );
            attribute(out, "CHAT", &chat_text(anchor.chat));
            attribute(out, "expirationDate", &hex::encode(anchor.expires.digits()));
        }
        Body::Symmetric {
            id,
            algorithm,
            enc,
            mac,
        } => {
            attribute(out, "keyIdentifier", &format!("{id:02x}"));
            attribute(
                out,
                "keyMode",
                if enc.len() == 32 { "AES_256" } else { "AES_128" },
            );
            attribute(out, "numberScenario", "00");
            attribute(out, "algorithmIdentifier", algorithm);
            attribute(out, "encKey", &hex::encode_upper(&enc[..]));
            attribute(out, "macKey", &hex::encode_upper(&mac[..]));
        }
        Body::Connection { id, can } => {
            attribute(out, "keyIdentifier", &format!("{id:02x}"));
            attribute(out, "can", &hex::encode_upper(can.as_bytes()));
            attribute(out, "algorithmIdentifier", "id-PACE-ECDH-GM-AES-CBC-CMAC-128");
        }
    }
}
