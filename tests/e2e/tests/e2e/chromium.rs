//! A browser for tests of pages.

use fantoccini::{Client, ClientBuilder};
use futures_util::FutureExt;
use hyper_util::client::legacy::connect::HttpConnector;
use std::path::Path;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// Held by tests that take the processors from whatever runs beside them, and by the one that cannot bear it: behind pcscd a card
/// answers so slowly that its reading runs out of time then.
pub static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Chromium with its driver, headless.
pub struct Chromium {
    /// Where pages are opened.
    pub browser: Client,
    _driver: Child,
}

/// chromedriver at a port of its own choice.
async fn driver() -> (Child, String) {
    let mut child = Command::new("chromedriver")
        .arg("--port=0")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("chromedriver: run `make setup`");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        if let Some((_, port)) = line.split_once("successfully on port ") {
            return (child, format!("http://127.0.0.1:{}", port.trim_end_matches('.')));
        }
    }
    panic!("chromedriver ended");
}

impl Chromium {
    /// Starts it with a profile of its own and further arguments.
    pub async fn start(profile: &Path, more: &[&str]) -> Self {
        let (child, address) = driver().await;
        let mut arguments: Vec<String> = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
        ]
        .iter()
        .chain(more)
        .map(|argument| (*argument).to_owned())
        .collect();
        arguments.push(format!("--user-data-dir={}", profile.display()));
        let german = serde_json::json!({ "intl.accept_languages": "de-DE" });
        let chrome = serde_json::json!({ "args": arguments, "prefs": german });
        let wanted = [
            ("goog:chromeOptions".to_owned(), chrome),
            ("acceptInsecureCerts".to_owned(), true.into()),
        ];
        let browser = ClientBuilder::new(HttpConnector::new())
            .capabilities(wanted.into_iter().collect())
            .connect(&address)
            .await
            .unwrap();
        Self {
            browser,
            _driver: child,
        }
    }

    /// Works with it, and closes it whatever comes: it would outlive a test that failed.
    pub async fn use_it(self, work: impl Future<Output = ()>) {
        let outcome = std::panic::AssertUnwindSafe(work).catch_unwind().await;
        self.browser.close().await.unwrap();
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    }
}
