//! Documents made to take all memory, documents that are not what they say, and documents as large as permitted.

use e2e::Morning;
use e2e::documents::{Item, Office, document, outcomes};

/// Resident memory of this process in MiB, and the most it ever was.
fn memory(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn bombs_and_wrong_labels_get_their_codes() {
    let morning = Morning::after_the_walk().await.unwrap();
    let office = Office {
        practice: &morning.world.practice,
        user: None,
    };
    let smcb = e2e::card(office.practice, "SMC-B").await.unwrap();
    let xml = |text: String| Item {
        mime: None,
        kind: Some("urn:ietf:rfc:3275"),
        inputs: String::new(),
        bytes: text.into_bytes(),
        ..Item::text("D", "")
    };
    let data = |mime: &str, kind: Option<&'static str>, bytes: &[u8]| Item {
        mime: Some(mime.into()),
        kind,
        inputs: String::new(),
        bytes: bytes.to_vec(),
        ..Item::text("D", "")
    };
    let pdf = Some("http://uri.etsi.org/02778/3");
    let entities = (0..20).map(|n| format!("<!ENTITY e{} \"&e{n};&e{n};\">", n + 1));
    let laughs = format!(
        "<!DOCTYPE a [<!ENTITY e0 \"ha\">{}]><a>&e20;</a>",
        entities.collect::<String>()
    );
    let many: String = (0..5_000).map(|n| format!(" a{n}='x'")).collect();
    let before = memory("VmRSS");
    for (item, code) in [
        (xml(laughs), 4281),
        (xml("<a>".repeat(200_000)), 4280),
        (xml(format!("<a{many}/>")), 4280),
        (xml("<a/>".repeat(2)), 4022),
        (data("application/pdf-a", pdf, b"%PDF-1.4 no PDF"), 4024),
        (data("application/pdf", pdf, b"GIF89a"), 4024),
        (data("image/tiff", None, b"GIF89a"), 4024),
        (data("text/plain; charset=utf-8", None, b"\xFF\xFE"), 4024),
        (data("application/octet-stream", pdf, b"%PDF-1.4"), 4110),
        (data("", Some("urn:ietf:rfc:3275"), b"<a/>"), 4111),
        (data("", Some("urn:ietf:rfc:9999"), b"x"), 4111),
        (data("", Some("urn:ietf:rfc:5751"), b"no mail"), 4024),
    ] {
        let job = office.job().await.unwrap();
        let shown = item
            .bytes
            .get(..40.min(item.bytes.len()))
            .map(String::from_utf8_lossy)
            .map(|text| text.into_owned());
        let answer = office.sign(&smcb, &job, &[item]).await.unwrap();
        assert_eq!(answer.fault(), Some(code), "{shown:?} {}", answer.body);
    }
    assert!(
        memory("VmRSS") < before + 200,
        "{before} and now {}",
        memory("VmRSS")
    );
}

/// 25 MB go through; one byte more does not, and says why.
#[tokio::test(flavor = "multi_thread")]
async fn the_largest_documents_in_bounded_memory() {
    let morning = Morning::after_the_walk().await.unwrap();
    let office = Office {
        practice: &morning.world.practice,
        user: None,
    };
    let smcb = e2e::card(office.practice, "SMC-B").await.unwrap();
    let mut item = Item::text("D", &"x".repeat(base::limits::DOCUMENT));
    let job = office.job().await.unwrap();
    let answer = office
        .sign(&smcb, &job, std::slice::from_ref(&item))
        .await
        .unwrap();
    assert_eq!(answer.fault(), None, "{:.600}", answer.body);
    let signed = outcomes(&answer).unwrap().remove(0).signed.unwrap();
    drop(answer);
    let verified = office.verify(None, None, Some(&signed)).await.unwrap();
    assert_eq!(
        verified.text("HighLevelResult").as_deref(),
        Some("VALID"),
        "{:.600}",
        verified.body
    );
    let sealed = office.encrypt(&smcb, Some(""), &item.bytes).await.unwrap();
    let sealed = document(&sealed).unwrap();
    // in the envelope it is a little larger than a document may be
    let opened = office.decrypt(&smcb, Some(""), &sealed).await.unwrap();
    assert_eq!(opened.fault(), None, "{:.600}", opened.body);
    // everything above, twice in base64 and as text, and the test's own copies
    let most = memory("VmHWM");
    assert!(most < 900, "{most} MiB");
    item.bytes.push(b'x');
    let job = office.job().await.unwrap();
    let answer = office.sign(&smcb, &job, &[item]).await.unwrap();
    assert_eq!(answer.fault(), Some(4283));
}
