//! The landing, tried on a directory. It refuses to look inside of it.

use super::super::name::Origin;
use super::*;
use crate::message::Flags;

async fn send(landing: &Landing, piece: u64, parts: &[&[u8]]) {
    let orders = landing.orders();
    orders.send(Parcel::Begin(piece).into()).await.unwrap();
    for part in parts {
        orders.send(Parcel::Data(part.to_vec()).into()).await.unwrap();
    }
    orders.send(Parcel::End.into()).await.unwrap();
}

fn placement(piece: u64, uid: u32, flags: Flags) -> Placement {
    let message = MessageRef::Imap { uidvalidity: 9, uid };
    let (origin, received) = (Origin::imap("a", b"F", 0), Some(1_000_000_000));
    Placement { piece, origin, message, announced: None, flags, received }
}

fn looking() -> Opening {
    Opening { look: Some(Vec::new()), ..Opening::new(".F", Origin::imap("a", b"F", 0)) }
}

fn files(path: &std::path::Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_batch_is_invisible_until_its_commit() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("m");
    let landing = land(Arc::new(Mailbox::open(&root).unwrap()), 1, &TaskTracker::new());
    landing.open(looking()).await.unwrap();
    let mut flags = Flags { seen: true, keywords: vec!["$Forwarded".to_owned()], ..Flags::default() };
    send(&landing, 1, &[b"a: b\r", b"\n\r\nbody\r\n"]).await;
    landing.place(placement(1, 7, flags.clone())).await.unwrap();
    flags = Flags { recent: true, ..Flags::default() };
    let big = vec![b'x'; 300_000];
    send(&landing, 2, &[b"one\r\ntwo\r\n", &big, b"\r\n", b"bare\nend"]).await;
    landing.place(placement(2, 8, flags)).await.unwrap();
    send(&landing, 3, &[b"never named"]).await;
    landing.discard(3).await.unwrap();
    // The folder is asked again, which also waits for the orders above.
    let opened = landing.open(looking()).await.unwrap();
    assert!(opened.holds.is_empty());
    assert!(files(&root.join(".F/cur")).is_empty());
    let answer = landing.commit().await.unwrap();
    let receipts = landing.settled(answer).await.unwrap();
    assert_eq!(receipts.len(), 2);
    let cur = files(&root.join(".F/cur"));
    assert_eq!(cur.len(), 1);
    assert!(cur[0].starts_with("1000000000.A") && cur[0].ends_with(",S=11,W=14:2,Sa"), "{cur:?}");
    assert_eq!(std::fs::read(root.join(".F/cur").join(&cur[0])).unwrap(), b"a: b\n\nbody\n");
    let new = files(&root.join(".F/new"));
    let kept = std::fs::read(root.join(".F/new").join(&new[0])).unwrap();
    assert_eq!(kept, [b"one\r\ntwo\r\n", big.as_slice(), b"\r\nbare\nend"].concat());
    assert!(new[0].contains(&format!(",S={},W={}", kept.len(), kept.len() + 1)), "{new:?}");
    assert!(files(&root.join("tmp")).is_empty());
    let modified = std::fs::metadata(root.join(".F/cur").join(&cur[0])).unwrap().modified().unwrap();
    assert_eq!(modified.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs(), 1_000_000_000);
    let opened = landing.open(looking()).await.unwrap();
    assert_eq!(opened.holds.len(), 2);
}

#[tokio::test]
async fn a_failure_is_told_and_nothing_stays_behind() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("m");
    let landing = land(Arc::new(Mailbox::open(&root).unwrap()), 1, &TaskTracker::new());
    landing.open(Opening::new("", Origin::pop3("a"))).await.unwrap();
    send(&landing, 1, &[b"x"]).await;
    landing.open(Opening::new("", Origin::pop3("a"))).await.unwrap();
    assert_eq!(files(&root.join("tmp")).len(), 1);
    let failure = landing.place(placement(5, 5, Flags::default())).await;
    assert!(failure.is_ok(), "the order itself is taken");
    let failure = landing.failure().await;
    assert_eq!(failure.kind, Kind::Protocol);
    assert!(files(&root.join("tmp")).is_empty());
    assert!(landing.commit().await.is_err());
}
