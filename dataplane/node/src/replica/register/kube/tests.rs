use std::sync::atomic::{AtomicUsize, Ordering};

use kube::core::Status;
use shoal_consensus::{DiskId, Members};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

fn said(code: u16, reason: &str) -> Failure {
    failure(&kube::Error::Api(Status::failure("", reason).with_code(code).boxed()))
}

#[test]
fn only_what_the_api_server_says_of_the_object_is_certain() {
    assert_eq!(said(409, "Conflict"), Failure::Conflict);
    assert_eq!(said(404, "NotFound"), Failure::Gone);
    assert_eq!(said(422, "Invalid"), Failure::Invalid);
    for (code, reason) in [
        (500, "InternalError"),
        (503, "ServiceUnavailable"),
        (504, "Timeout"),
        (429, "TooManyRequests"),
        (403, "Forbidden"),
    ] {
        assert_eq!(said(code, reason), Failure::Unclear, "{reason}");
    }
    assert_eq!(failure(&kube::Error::LinesCodecMaxLineLengthExceeded), Failure::Unclear);
}

/// Something in the place of an API server that gives every request the same answer, or none. Counts changes.
async fn answering(answer: Option<&'static str>) -> (KubeRegister, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let changes = Arc::new(AtomicUsize::new(0));
    let counted = changes.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let counted = counted.clone();
            tokio::spawn(async move {
                let mut bytes = [0; 16 << 10];
                while let Ok(n @ 1..) = stream.read(&mut bytes).await {
                    counted.fetch_add(usize::from(bytes.starts_with(b"PATCH")), Ordering::Relaxed);
                    assert!(n < bytes.len());
                    if let Some(answer) = answer {
                        let _ = stream.write_all(answer.as_bytes()).await;
                    }
                }
            });
        }
    });
    let config = kube::Config::new(format!("http://{address}").parse().unwrap());
    (KubeRegister::with_config(config, Some("n".to_owned()), "c-0").unwrap(), changes)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_sent_once_and_unknown_without_a_clear_answer() {
    let late = "HTTP/1.1 504 Gateway Timeout\r\ncontent-length: 0\r\n\r\n";
    let register = Register::first(Members::majority(1, vec![DiskId(1)]).unwrap());
    let version = Version("1".to_owned());
    for answer in [Some(late), Some("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"), None] {
        let (store, changes) = answering(answer).await;
        let stored = Stored { version: version.clone(), register: register.clone() };
        store.object.remember(&Seen { stored: Some(stored), announced: vec![] });
        assert_eq!(store.swap(Some(&version), &register).await, CasOutcome::Unknown);
        assert_eq!(changes.load(Ordering::Relaxed), 1, "{answer:?}");
        // One that is not remembered was changed by others.
        let other = Version("2".to_owned());
        assert_eq!(store.swap(Some(&other), &register).await, CasOutcome::Conflict);
    }
}
