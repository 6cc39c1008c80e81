use crate::Error;
use asn1::{Chat, CvcDate, Flags, ListKind, tlv};
use card::access::{AccessRules, LifeCycle};
use card::image::{
    Body, Node, NodeId, ObjectSystem, Password, PinBlock, PrivateElc, PublicElc, Record, RecordFile,
    RecordKind, Transport, Uses,
};
use crypto::{Curve, EcPrivate, EcPublic, RsaPrivate};
use zeroize::Zeroizing;

/// Builds an object system step by step.
pub(crate) struct Builder {
    system: ObjectSystem,
}

/// A file identifier with its short one.
pub(crate) type Ids = (u16, u8);

/// Everybody may read.
pub(crate) const READ: &str = "({00||b0||??||??},ALW)";

/// Entries for security environment 1 of an active object.
pub(crate) fn rules(entries: &[&str]) -> String {
    format!("CB{{[ACTIVATED,1,{{{}}}]}},CL{{}}", entries.join(","))
}

impl Builder {
    pub fn new(
        name: &str,
        aid: &[u8],
        iccsn: &[u8; 10],
        today: CvcDate,
        crypto_box: bool,
    ) -> Result<Self, Error> {
        let [_, _, iccsn8 @ ..] = *iccsn;
        let root = Node {
            name: "MF".into(),
            parent: None,
            life: LifeCycle::Activated,
            rules: AccessRules::parse(&rules(&["({80||fa||00||00,80||84||00||00,80||82||??||??},ALW)"]))?,
            body: Body::Folder {
                aids: vec![aid.to_vec()],
                fid: Some(0x3F00),
                is_adf: true,
            },
        };
        let flag = if crypto_box { "TRUE" } else { "FALSE" };
        let common = |id: &str, kind: &str, value: &str| (id.to_owned(), kind.to_owned(), value.to_owned());
        let system = ObjectSystem {
            name: name.into(),
            nodes: vec![root],
            cold_atr: hex_bytes("3B909681B1FE451F0391"),
            warm_atr: hex_bytes("3B909581B1FE451F0392"),
            point_in_time: today,
            iccsn8,
            cache_slots: 5,
            crypto_box,
            commons: vec![
                common("OPTION_CRYPTOBOX", "BOOLEAN", flag),
                common("imageVersion", "STRING", "Langlauf TEST-ONLY"),
            ],
        };
        let mut this = Self { system };
        this.basics(aid, iccsn)?;
        Ok(this)
    }

    fn basics(&mut self, aid: &[u8], iccsn: &[u8; 10]) -> Result<(), Error> {
        let gdo = tlv::encode(0x5A, iccsn);
        self.file(0, "EF.GDO", (0x2F02, 0x02), 12, &gdo, &[READ])?;
        let versions = tlv::nest(
            0xEF,
            [
                tlv::encode(0xC0, &[2, 0, 0]),
                tlv::encode(0xC1, &[4, 5, 2]),
                tlv::encode(0xC2, b"LANGLTESTCARD_01"),
                tlv::encode(0xC4, &[1, 0, 0]),
                tlv::encode(0xC5, &[2, 0, 0]),
                tlv::encode(0xC7, &[1, 0, 0]),
            ],
        );
        self.file(0, "EF.Version2", (0x2F11, 0x11), 60, &versions, &[READ])?;
        let buffer = |size: [u8; 2]| tlv::encode(0x02, &size);
        let mut atr = tlv::nest(
            0xE0,
            [buffer([8, 9]), buffer([0x80, 2]), buffer([8, 9]), buffer([8, 9])],
        );
        atr.extend(tlv::encode(0xD0, &[4, 5, 0]));
        self.file(0, "EF.ATR", (0x2F01, 0x1D), 134, &atr, &[READ])?;
        let first = tlv::nest(0x61, [tlv::encode(0x4F, aid)]);
        self.records(
            0,
            "EF.DIR",
            (0x2F00, 0x1E),
            RecordKind::LinearVariable,
            10,
            32,
            vec![first],
            &[RECORDS],
        )?;
        Ok(())
    }

    pub fn push(
        &mut self,
        parent: NodeId,
        name: &str,
        rules_text: &str,
        body: Body,
    ) -> Result<NodeId, Error> {
        let id = self.system.nodes.len();
        let rules = AccessRules::parse(rules_text)?;
        self.system.nodes.push(Node {
            name: name.into(),
            parent: Some(parent),
            life: LifeCycle::Activated,
            rules,
            body,
        });
        Ok(id)
    }

    pub fn folder(
        &mut self,
        parent: NodeId,
        name: &str,
        aid: &[u8],
        entries: &[&str],
    ) -> Result<NodeId, Error> {
        // card management may block and unblock an application
        let manage = entries.join(",");
        let text = format!("CB{{[ACTIVATED,1,{{{manage}}}],[DEACTIVATED,??,{{{manage}}}]}},CL{{}}");
        self.push(
            parent,
            name,
            &text,
            Body::Folder {
                aids: vec![aid.to_vec()],
                fid: None,
                is_adf: false,
            },
        )
    }

    pub fn file(
        &mut self,
        parent: NodeId,
        name: &str,
        ids: Ids,
        size: usize,
        content: &[u8],
        entries: &[&str],
    ) -> Result<NodeId, Error> {
        let mut bytes = content.to_vec();
        let end = bytes.len();
        bytes.resize(size.max(end), 0);
        let body = Body::Transparent {
            fid: ids.0,
            sfi: Some(ids.1),
            size: bytes.len(),
            end,
            bytes,
        };
        self.push(parent, name, &rules(entries), body)
    }

    #[allow(clippy::too_many_arguments)]
    pub fn records(
        &mut self,
        parent: NodeId,
        name: &str,
        ids: Ids,
        kind: RecordKind,
        max_records: usize,
        max_length: usize,
        values: Vec<Vec<u8>>,
        entries: &[&str],
    ) -> Result<NodeId, Error> {
        let records = values
            .into_iter()
            .map(|value| Record {
                life: LifeCycle::Activated,
                value,
            })
            .collect();
        let size = (kind == RecordKind::LinearVariable).then_some(max_records * max_length);
        let file = RecordFile {
            fid: ids.0,
            sfi: Some(ids.1),
            kind,
            max_records,
            max_length,
            size,
            has_record_life: false,
            records,
        };
        self.push(parent, name, &rules(entries), Body::Records(file))
    }

    pub fn pin(
        &mut self,
        parent: NodeId,
        name: &str,
        id: u8,
        pin: &str,
        uses: Uses,
    ) -> Result<NodeId, Error> {
        let block = |digits| PinBlock::from_digits(digits).ok_or_else(|| Error::Stored("PIN".into()));
        let body = Body::Password(Password {
            id,
            length: (6, 8),
            start_tries: 3,
            tries: 3,
            transport: if pin.len() < 6 {
                Transport::TransportPin
            } else {
                Transport::Regular
            },
            enabled: true,
            uses,
            secret: block(pin)?,
            puk: block("12345678")?,
            puk_uses: 10,
        });
        // in environment 2, which only DF.QES has, it comes enciphered by a terminal's module (remote PIN) and not otherwise
        let remote = "AND{SMMAC(cvc_FlagList_TI:00000000000002),SMCMDENC}";
        let text = match parent {
            0 => format!("CB{{[ACTIVATED,??,{{{PIN_COMMANDS}}}]}},CL{{}}"),
            _ => format!(
                "CB{{[ACTIVATED,1,{{{PIN_COMMANDS}}}],[ACTIVATED,2,{{({{80||20||00||??}},ALW),({{{PIN_ENTRY}}},{remote})}}]}},CL{{}}"
            ),
        };
        self.push(parent, name, &text, body)
    }

    /// A verification that lasts until the card is reset or its folder left.
    pub const LASTING: [(u8, Option<u32>); 2] = [(1, None), (2, None)];

    pub fn multi_reference(
        &mut self,
        name: &str,
        id: u8,
        enabled: bool,
        switchable: bool,
    ) -> Result<NodeId, Error> {
        let switch = if switchable {
            ",({00||26||00||??,00||28||00||??},ALW)"
        } else {
            ""
        };
        let text = format!("CB{{[ACTIVATED,??,{{{PIN_COMMANDS}{switch}}}]}},CL{{}}");
        self.push(
            0,
            name,
            &text,
            Body::MultiReference {
                id,
                target: 1,
                enabled,
                uses: vec![(1, None)],
            },
        )
    }

    pub fn elc(
        &mut self,
        parent: NodeId,
        name: &str,
        id: u8,
        key: EcPrivate,
        algorithms: &[(u8, &[&str])],
        rules_text: &str,
    ) -> Result<NodeId, Error> {
        let list = algorithms
            .iter()
            .map(|(se, names)| (*se, names.iter().map(|name| (*name).to_owned()).collect()));
        let body = Body::PrivateElc(PrivateElc {
            id,
            curve: Curve::BrainpoolP256r1,
            key: Some(key),
            algorithms: list.collect(),
        });
        self.push(parent, name, rules_text, body)
    }

    pub fn rsa(
        &mut self,
        parent: NodeId,
        name: &str,
        id: u8,
        key: RsaPrivate,
        algorithms: &[&str],
        rules_text: &str,
    ) -> Result<NodeId, Error> {
        let list = vec![(1, algorithms.iter().map(|name| (*name).to_owned()).collect())];
        self.push(
            parent,
            name,
            rules_text,
            Body::PrivateRsa {
                id,
                key: Some(key),
                algorithms: list,
                modulus_bits: 2048,
            },
        )
    }

    pub fn anchor(&mut self, reference: &[u8; 8], key: EcPublic, expires: CvcDate) -> Result<NodeId, Error> {
        let verify = rules(&["({00||2a||00||be},ALW)"]);
        let body = Body::PublicElc(PublicElc {
            id: reference.to_vec(),
            key,
            chat: Chat {
                kind: ListKind::Ti,
                flags: Flags([0xFF; 7]),
            },
            expires,
            verification_rules: AccessRules::parse(&verify)?,
            authentication_rules: AccessRules::parse(&rules(&["({00||82||00||00},ALW)"]))?,
        });
        self.push(0, "PuK.RCA.CS.E256", &verify, body)
    }

    pub fn symmetric(&mut self, name: &str, id: u8, key_length: usize) -> Result<NodeId, Error> {
        let body = Body::Symmetric {
            id,
            algorithm: "aesSessionkey4SM".into(),
            enc: Zeroizing::new(crypto::random_bytes(key_length)?),
            mac: Zeroizing::new(crypto::random_bytes(key_length)?),
        };
        self.push(0, name, &rules(&["({00||82||00||00,??||86||??||??},ALW)"]), body)
    }

    pub fn finish(self) -> ObjectSystem {
        self.system
    }
}

/// Record files that everybody may read and search.
pub(crate) const RECORDS: &str = "({00||b2||??||??,00||a2||??||??},ALW)";

const PIN_ENTRY: &str = "00||20||00||??,00||24||00||??,00||2c||00||??,00||2c||01||??";
const PIN_COMMANDS: &str =
    "({00||20||00||??,80||20||00||??,00||24||00||??,00||2c||00||??,00||2c||01||??},ALW)";

fn hex_bytes(text: &str) -> Vec<u8> {
    hex::decode(text).unwrap_or_default()
}
