//! `langlauf runbook`: check lists, walked from a command line. The device keeps the walk: what is begun here goes on in its pages.

use crate::admin;
use anyhow::{Context, Result, bail};
use clap::Subcommand;
use runbook::Runbook;
use serde_json::{Value, json};
use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// What can be done with check lists.
#[derive(Subcommand)]
pub enum RunbookAction {
    /// Those that can be walked, with what they ask for.
    List,
    /// Prints one as YAML: the beginning of one's own.
    Show {
        /// Its name.
        name: String,
    },
    /// Says whether a file is a runbook, without a device.
    Check {
        /// YAML file.
        file: PathBuf,
    },
    /// Takes one's own in, or a newer version of it.
    Take {
        /// YAML file.
        file: PathBuf,
    },
    /// Forgets one's own.
    Forget {
        /// Its name.
        name: String,
    },
    /// All walks.
    Runs,
    /// Begins a walk and goes through it, asking at each step.
    Begin {
        /// Name of the runbook.
        name: String,
        /// What it asks for: `terminal=KT1`.
        #[arg(value_parser = pair)]
        inputs: Vec<(String, String)>,
    },
    /// Goes on with a walk, asking at each step.
    Go {
        /// Its number.
        run: String,
    },
    /// Does one step (the one whose turn it is) and prints the walk.
    Step {
        /// The walk's number.
        run: String,
        /// The step.
        step: String,
        /// What only a person can see is so.
        #[arg(long)]
        confirmed: bool,
        /// For the record.
        #[arg(long, default_value = "")]
        note: String,
        /// `skip` leaves it out, `undo` takes it back.
        #[arg(long, value_parser = ["skip", "undo"])]
        instead: Option<String>,
    },
    /// Writes the signed record.
    Record {
        /// The walk's number.
        run: String,
        /// PDF file to write.
        file: PathBuf,
        /// In English.
        #[arg(long)]
        english: bool,
    },
    /// Writes a walk into a file, to go on with it on another device.
    Export {
        /// Its number.
        run: String,
        /// JSON file to write.
        file: PathBuf,
    },
    /// Goes on here with a walk that began on another device.
    Carry {
        /// JSON file.
        file: PathBuf,
    },
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("name=value expected")?;
    Ok((name.to_owned(), value.to_owned()))
}

struct Device<'d> {
    folder: &'d Path,
    address: SocketAddr,
}

impl Device<'_> {
    async fn bytes(&self, method: &str, path: &str, body: Vec<u8>) -> Result<Vec<u8>> {
        let request = (method.to_owned(), format!("/api/v1/{path}"), body);
        let (status, bytes) = admin::call(self.folder, self.address, request).await?;
        if !status.is_success() {
            bail!("HTTP {status}: {}", String::from_utf8_lossy(&bytes));
        }
        Ok(bytes.to_vec())
    }

    async fn json(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let body = if body.is_null() {
            Vec::new()
        } else {
            body.to_string().into()
        };
        Ok(serde_json::from_slice(&self.bytes(method, path, body).await?)?)
    }

    async fn step(&self, run: &str, step: &str, instead: Option<&str>, said: Value) -> Result<Value> {
        let end = instead.map(|what| format!("/{what}")).unwrap_or_default();
        self.json("POST", &format!("runs/{run}/steps/{step}{end}"), &said)
            .await
    }

    /// Step by step, until the end or until somebody has had enough.
    async fn go(&self, mut view: Value) -> Result<()> {
        let run = text(&view, "id");
        println!("{} ({})", both(&view, "title"), run);
        loop {
            let now = text(&view, "current");
            let steps = view
                .get("steps")
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default();
            let Some(step) = steps.iter().find(|step| text(step, "id") == now) else {
                println!(
                    "\nAlle Schritte liegen zurück / all steps are behind. langlauf runbook record {run} DATEI.pdf"
                );
                return Ok(());
            };
            let back = steps
                .iter()
                .find(|step| step.get("undoable") == Some(&Value::Bool(true)));
            println!("\n== {}\n{}", both(step, "title"), both(step, "text"));
            let order = text(step, "order");
            if !order.is_empty() {
                println!("=> {order}");
            }
            let ask = "[Enter] getan, prüfen / done, look · [a]uslassen / leave out · [z]urück / way back · [q]uit: ";
            let moved = match line(ask)?.as_deref() {
                None | Some("q") => return Ok(()),
                Some("a" | "l") => {
                    let note = line("Warum / why: ")?.unwrap_or_default();
                    self.step(&run, &now, Some("skip"), json!({ "note": note })).await
                }
                Some("z" | "w") => match back {
                    None => Err(anyhow::anyhow!(
                        "hier gibt es kein Zurück / there is no way back from here"
                    )),
                    Some(last) => {
                        println!("{}\n=> {}", both(last, "undo"), text(last, "undo_order"));
                        let note = line("Warum / why: ")?.unwrap_or_default();
                        self.step(&run, &text(last, "id"), Some("undo"), json!({ "note": note }))
                            .await
                    }
                },
                Some("") => {
                    let mut confirmed = false;
                    if step.get("confirm").is_some_and(Value::is_object) {
                        println!("[ ] {}", both(step, "confirm"));
                        let yes = line("[j]a / [y]es: ")?;
                        confirmed = matches!(yes.as_deref(), Some("j" | "ja" | "y" | "yes"));
                    }
                    let note = line("Notiz / note: ")?.unwrap_or_default();
                    let said = json!({ "confirmed": confirmed, "note": note });
                    self.step(&run, &now, None, said).await
                }
                Some(_) => continue,
            };
            match moved {
                Ok(after) => {
                    print_last(&after, &now);
                    view = after;
                }
                Err(error) => println!("{error:#}"),
            }
        }
    }
}

fn text(json: &Value, name: &str) -> String {
    let text = json.get(name).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

/// German, English below.
fn both(json: &Value, name: &str) -> String {
    let both = json.get(name).cloned().unwrap_or_default();
    format!("{}\n   {}", text(&both, "de"), text(&both, "en"))
}

/// What the last move found.
fn print_last(view: &Value, step: &str) {
    let steps = view.get("steps").and_then(Value::as_array);
    let step = steps.into_iter().flatten().find(|one| text(one, "id") == step);
    let log = step.and_then(|step| step.get("log")?.as_array()?.last());
    let Some(entry) = log else { return };
    let mark = |json: &Value| match json.get("good") == Some(&Value::Bool(true)) {
        true => "ok",
        false => "XX",
    };
    println!(
        "{:>2}  {} {}",
        mark(entry),
        text(entry, "event"),
        text(entry, "text")
    );
    for finding in entry
        .get("findings")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        println!(
            "{:>4}  {}: {}",
            mark(finding),
            text(finding, "de"),
            text(finding, "found")
        );
    }
}

/// A line that somebody types; nothing at the end of input.
fn line(ask: &str) -> Result<Option<String>> {
    print!("{ask}");
    std::io::stdout().flush()?;
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line)?;
    Ok((read > 0).then(|| line.trim().to_owned()))
}

/// Does it, against the Konnektor at `address`.
pub async fn run(folder: &Path, address: SocketAddr, action: RunbookAction) -> Result<()> {
    let device = Device { folder, address };
    let read = |file: &Path| std::fs::read(file).with_context(|| file.display().to_string());
    let write =
        |file: &Path, bytes: &[u8]| std::fs::write(file, bytes).with_context(|| file.display().to_string());
    let view = match action {
        RunbookAction::Check { file } => {
            let source = String::from_utf8(read(&file)?)?;
            let book = Runbook::parse(&source)?;
            json!({ "runbook": book.runbook, "version": book.version, "steps": book.steps.len(),
                "sha256": Runbook::digest(&source) })
        }
        RunbookAction::List => device.json("GET", "runbooks", &Value::Null).await?,
        RunbookAction::Show { name } => {
            let source = device
                .bytes("GET", &format!("runbooks/{name}"), Vec::new())
                .await?;
            print!("{}", String::from_utf8_lossy(&source));
            return Ok(());
        }
        RunbookAction::Take { file } => {
            device.bytes("POST", "runbooks", read(&file)?).await?;
            return Ok(());
        }
        RunbookAction::Forget { name } => {
            device
                .bytes("DELETE", &format!("runbooks/{name}"), Vec::new())
                .await?;
            return Ok(());
        }
        RunbookAction::Runs => device.json("GET", "runs", &Value::Null).await?,
        RunbookAction::Begin { name, inputs } => {
            let inputs: std::collections::BTreeMap<_, _> = inputs.into_iter().collect();
            let body = json!({ "runbook": name, "inputs": inputs });
            return device.go(device.json("POST", "runs", &body).await?).await;
        }
        RunbookAction::Go { run } => {
            let view = device.json("GET", &format!("runs/{run}"), &Value::Null).await?;
            return device.go(view).await;
        }
        RunbookAction::Step {
            run,
            step,
            confirmed,
            note,
            instead,
        } => {
            let said = json!({ "confirmed": confirmed, "note": note });
            device.step(&run, &step, instead.as_deref(), said).await?
        }
        RunbookAction::Record { run, file, english } => {
            let path = format!("runs/{run}/record?english={english}");
            return write(&file, &device.bytes("GET", &path, Vec::new()).await?);
        }
        RunbookAction::Export { run, file } => {
            return write(
                &file,
                &device
                    .bytes("GET", &format!("runs/{run}/log"), Vec::new())
                    .await?,
            );
        }
        RunbookAction::Carry { file } => {
            let run: Value = serde_json::from_slice(&read(&file)?)?;
            return device.go(device.json("PUT", "runs", &run).await?).await;
        }
    };
    println!("{}", serde_json::to_string_pretty(&view)?);
    Ok(())
}
