use super::BadImage;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A card as a plain list of files with content, without access rules (gematik's testhub, `<cardImage>`).
#[derive(Debug, Clone)]
pub struct FileImage {
    /// `hpc`, `ehc` or `hpic`.
    pub kind: String,
    /// The files.
    pub files: Vec<ImageFile>,
}

/// One file of a [`FileImage`].
#[derive(Debug, Clone)]
pub struct ImageFile {
    /// Application, e.g. `ESIGN`, `QES`, `ROOT`.
    pub application: String,
    /// File identifier.
    pub fid: u16,
    /// Name.
    pub name: String,
    /// Content.
    pub data: Vec<u8>,
}

/// Reads a file image.
pub fn read_file_image(xml: &str) -> Result<FileImage, BadImage> {
    if xml.len() > base::limits::CARD_IMAGE {
        return Err(BadImage::TooBig);
    }
    let options = roxmltree::ParsingOptions {
        nodes_limit: base::limits::XML_NODES,
        ..Default::default()
    };
    let document = roxmltree::Document::parse_with_options(xml, options)?;
    let root = document.root_element();
    if !root.has_tag_name("cardImage") {
        return Err(BadImage::Missing("cardImage".into()));
    }
    let card = root
        .first_element_child()
        .ok_or_else(|| BadImage::Missing("card".into()))?;
    let mut files = Vec::new();
    for application in card.descendants().filter(|node| node.has_tag_name("application")) {
        let text = |name| {
            let found = application
                .children()
                .find(|node: &roxmltree::Node<'_, '_>| node.has_tag_name(name));
            found
                .and_then(|node| node.text())
                .unwrap_or_default()
                .trim()
                .to_owned()
        };
        for file in application.descendants().filter(|node| node.has_tag_name("file")) {
            let name = file.attribute("name").unwrap_or_default().to_owned();
            let bad = |attribute, reason: String| BadImage::Attribute {
                object: name.clone(),
                attribute,
                reason,
            };
            let fid = u16::from_str_radix(file.attribute("fileId").unwrap_or_default(), 16)
                .map_err(|error| bad("fileId", error.to_string()))?;
            let data = file
                .children()
                .find(|node| node.has_tag_name("data"))
                .and_then(|node| node.text());
            let data: String = data.unwrap_or_default().split_whitespace().collect();
            let data = STANDARD
                .decode(data)
                .map_err(|error| bad("data", error.to_string()))?;
            files.push(ImageFile {
                application: text("applicationId"),
                fid,
                name,
                data,
            });
        }
    }
    Ok(FileImage {
        kind: card.tag_name().name().to_owned(),
        files,
    })
}
