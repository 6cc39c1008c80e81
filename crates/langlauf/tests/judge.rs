//! Lists are judged by a process of their own first: on what that dies of, nothing else dies.
#![allow(clippy::unwrap_used, clippy::panic)]

use base::{SystemClock, VirtualClock};
use langlauf::world::{Options, World};
use pki::How;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const LANGLAUF: &str = env!("CARGO_BIN_EXE_langlauf");

/// From now on this is what judges.
fn judge_is(place: &Path, does: &str) {
    let new = place.with_extension("new");
    std::fs::write(&new, format!("#!/bin/sh\n{does}\n")).unwrap();
    std::fs::set_permissions(&new, PermissionsExt::from_mode(0o700)).unwrap();
    std::fs::rename(new, place).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kills_a_judge_kills_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let clock = VirtualClock::at("2026-03-02T10:00:00Z".parse().unwrap());
    let ticking = clock.tick();
    let options = Options {
        fixed_ports: false,
        rsa: false,
        ..Options::demo(folder.path().join("world"))
    };
    let world = World::start(&options, clock.shared()).await.unwrap();
    let konnektor = world.konnektor().unwrap();
    let (inner, judge) = (konnektor.inner(), folder.path().join("judge"));
    let limit = Duration::from_secs(300);
    let listed = async || inner.space().vl().is_some() && inner.space().crl().is_some();
    let waiting = world.wait_for("lists", limit, &clock, listed);
    waiting.await.unwrap();
    konnektor.judge_by(&judge);
    let number = || inner.space().list().unwrap().sequence;
    let publish = || world.publisher.publish().unwrap();

    // the product's own: it judges, and what it lets pass is used
    judge_is(&judge, &format!("touch \"$0.asked\"; exec {LANGLAUF} \"$@\""));
    let before = number();
    let list = publish();
    inner.adopt_list(&list, How::Automatic).await.unwrap();
    assert_eq!(number(), before + 1);
    assert!(judge.with_extension("asked").exists());
    // a refusal is for the code here to make
    assert!(inner.adopt_list("<nonsense/>", How::ByHand).await.is_err());
    world.publisher.publish_vl().unwrap();
    inner.update_now().await.unwrap();

    // it dies, by a signal or by a panic
    let used = number();
    for death in ["kill -SEGV $$", "exit 101"] {
        judge_is(&judge, death);
        let list = publish();
        for how in [How::Automatic, How::ByHand] {
            let failure = inner.adopt_list(&list, how).await.unwrap_err();
            assert!(failure.detail().contains("died"), "{}", failure.detail());
        }
        let failure = inner.adopt_crl(b"?").await.unwrap_err();
        assert_eq!(failure.code(), base::Code::CRL_INVALID);
        assert!(failure.detail().contains("died"), "{}", failure.detail());
        let failure = inner.adopt_vl("?", How::ByHand).await.unwrap_err();
        assert!(failure.detail().contains("died"), "{}", failure.detail());
    }
    // it never comes to an end
    judge_is(&judge, "exec sleep 1000");
    let failure = inner.adopt_list(&publish(), How::Automatic).await.unwrap_err();
    assert!(
        failure.detail().contains("did not come to an end"),
        "{}",
        failure.detail()
    );
    assert_eq!(number(), used);
    // where there is none, or it cannot do its work, the list is judged as before
    judge_is(&judge, "exit 1");
    inner.adopt_list(&publish(), How::Automatic).await.unwrap();
    std::fs::remove_file(&judge).unwrap();
    inner.adopt_list(&publish(), How::Automatic).await.unwrap();
    assert_eq!(number(), used + 5);
    ticking.abort();
}

/// The process gives its rights up before it reads, and says by how it ends that it has not understood.
#[test]
fn a_judge_may_open_nothing() {
    let mut process = Command::new(LANGLAUF)
        .arg("judge")
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let limits = format!("/proc/{}/limits", process.id());
    let limited = |name: &str| {
        let text = std::fs::read_to_string(&limits).unwrap();
        let line = text
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap()
            .to_owned();
        line.split_whitespace().rev().nth(2) == Some("0")
    };
    let clock = SystemClock::new();
    while !limited("Max file size") {
        assert!(clock.elapsed() < Duration::from_secs(30), "no limits");
        std::thread::yield_now();
    }
    assert!(limited("Max open files"));
    drop(process.stdin.take());
    assert_eq!(process.wait().unwrap().code(), Some(1));
}
