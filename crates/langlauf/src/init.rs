//! `langlauf init`: a configuration to begin with.

use anyhow::{Context, Result, bail};
use std::path::Path;

/// What a device has beside its identities. Everything else has a default; unknown settings are refused.
const CONFIG: &str = r#"# A Langlauf Konnektor. The identities are the device's gSMC-K as files; `langlauf init --from DEMO` brings a test world's.
listen = "0.0.0.0:8443"
listen_admin = "127.0.0.1:8500"
listen_pages = "0.0.0.0:8501"
store = "STATE"

[identities]
ak_brainpool = "identities/ak-brainpool.pem"
ak_nist = "identities/ak-nist.pem"
sak = "identities/sak.pem"
trust_anchor = "identities/trust-anchor.pem"
iccsn = "80276009990000000010"

[update]
folder = "STATE/../update"
"#;

/// Settings that a demo world has for itself and a device for itself.
const OWN: [&str; 4] = ["listen", "listen_admin", "listen_pages", "admin_password_file"];

/// Writes `konnektor.toml` into `folder` unless there is one, and prints the first code.
pub fn run(folder: &Path, state: &Path, from: Option<&Path>) -> Result<()> {
    let path = folder.join("konnektor.toml");
    if path.exists() {
        bail!("{} is there already: nothing was changed", path.display());
    }
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    std::fs::create_dir_all(state).with_context(|| state.display().to_string())?;
    let text = CONFIG.replace("STATE/../update", &sibling(state, "update")?);
    let mut settings: toml::Table = text.replace("STATE", &state.display().to_string()).parse()?;
    if let Some(demo) = from {
        let file = demo.join("konnektor.toml");
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let theirs: toml::Table = text.parse()?;
        for (key, value) in theirs {
            if !OWN.contains(&key.as_str()) && key != "store" && key != "update" {
                settings.insert(key, value);
            }
        }
        for name in ["identities", "cards"] {
            copy(&demo.join(name), &folder.join(name))?;
        }
    }
    let head = "# Written by `langlauf init`; every setting: docs of crate konnektor, `Config`.\n\n";
    std::fs::write(&path, format!("{head}{settings}")).with_context(|| path.display().to_string())?;
    let store = store::Store::open(state)?;
    let code = konnektor::users::invite_first(&store).map_err(|f| anyhow::anyhow!(f.detail()))?;
    drop(store);
    // the service reads them, whoever has run this
    let above = state.parent().context("the state needs a folder above it")?;
    for made in [
        state.to_owned(),
        path.clone(),
        folder.join("identities"),
        folder.join("cards"),
    ] {
        if made.exists() {
            give_to_owner_of(above, &made)?;
        }
    }
    println!(
        "{}\nfirst login: {} with {code}",
        path.display(),
        konnektor::users::FIRST
    );
    if from.is_none() {
        println!(
            "put the device's identities into {}",
            folder.join("identities").display()
        );
    }
    Ok(())
}

fn sibling(state: &Path, name: &str) -> Result<String> {
    let above = state.parent().context("the state needs a folder above it")?;
    Ok(above.join(name).display().to_string())
}

/// Gives a file, or a folder with everything in it, to whom another folder belongs.
fn give_to_owner_of(like: &Path, path: &Path) -> Result<()> {
    use std::os::unix::fs::{MetadataExt, chown};
    let owner = like.metadata().with_context(|| like.display().to_string())?;
    let about = path
        .symlink_metadata()
        .with_context(|| path.display().to_string())?;
    if (about.uid(), about.gid()) != (owner.uid(), owner.gid()) {
        chown(path, Some(owner.uid()), Some(owner.gid())).with_context(|| path.display().to_string())?;
    }
    if about.is_dir() {
        for entry in std::fs::read_dir(path)? {
            give_to_owner_of(like, &entry?.path())?;
        }
    }
    Ok(())
}

/// Copies the files of a folder; others than their owner read none of them.
fn copy(from: &Path, to: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::create_dir_all(to).with_context(|| to.display().to_string())?;
    for entry in std::fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            let target = to.join(entry.file_name());
            std::fs::copy(entry.path(), &target).with_context(|| target.display().to_string())?;
            std::fs::set_permissions(&target, std::fs::Permissions::from_mode(0o600))?;
        }
    }
    Ok(())
}
