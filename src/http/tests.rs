//! Answers and requests as the field writes them, and worse. They refuse nothing: both ends are here.

use std::time::Duration;

use futures_util::stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::*;

/// What comes of `said` by a server that reads one request before.
async fn told(said: &[u8], longest: usize) -> std::io::Result<Option<Answer>> {
    let (ours, mut theirs) = duplex(1 << 20);
    let said = said.to_vec();
    let server = tokio::spawn(async move {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            assert!(theirs.read_buf(&mut head).await.unwrap() > 0);
        }
        theirs.write_all(&said).await.unwrap();
        String::from_utf8(head).unwrap()
    });
    let answer = exchange(ours, Request::get("h.example", "/x?y=z").unwrap(), longest).await;
    let asked = server.await.unwrap();
    assert!(asked.starts_with("GET /x?y=z HTTP/1.1\r\nHost: h.example\r\nUser-Agent: mailhaul/"), "{asked}");
    assert!(asked.contains("\r\nConnection: close\r\n"), "{asked}");
    answer
}

async fn body(said: &[u8]) -> Option<(u16, Vec<u8>)> {
    told(said, 1000).await.unwrap().map(|answer| (answer.status, answer.body.to_vec()))
}

#[tokio::test]
async fn answers_are_read_in_every_form() {
    let taken: [(&[u8], u16, &[u8]); 6] = [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{\"a\":1}trailing", 200, b"{\"a\":1}"),
        (
            b"HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n4;x\r\n\":2}\r\n0\r\n\r\n",
            400,
            b"{\"a\":2}",
        ),
        (b"HTTP/1.1 502 Bad\r\n\r\n<html>", 502, b"<html>"),
        (b"HTTP/1.0 200 OK\r\n\r\nold", 200, b"old"),
        // What comes first is no answer yet (RFC 9110, 15.2).
        (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n\
              HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            200,
            b"ok",
        ),
        // The same length twice is one (RFC 9110, 8.6).
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
    ];
    for (said, status, expected) in taken {
        assert_eq!(body(said).await, Some((status, expected.to_vec())), "{}", String::from_utf8_lossy(said));
    }
}

#[tokio::test]
async fn what_is_no_answer_is_none() {
    for said in [
        &b""[..],
        b"HTTP/1.1 200 OK\r\n",
        b"SMTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 70\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nok!",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
    ] {
        assert_eq!(body(said).await, None, "{}", String::from_utf8_lossy(said));
    }
}

#[tokio::test]
async fn nothing_goes_beyond_its_limit() {
    let of = |length: usize| {
        [format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").into_bytes(), vec![b'x'; length]]
            .concat()
    };
    assert_eq!(body(&of(1000)).await.unwrap().1.len(), 1000);
    assert_eq!(body(&of(1001)).await, None);
    let endless = [&b"HTTP/1.1 200 OK\r\n\r\n"[..], &[b'x'; 1001]].concat();
    assert_eq!(body(&endless).await, None);
    let head = [&b"HTTP/1.1 200 OK\r\nX: "[..], &[b'x'; 300 << 10], b"\r\n\r\n"].concat();
    assert_eq!(body(&head).await, None);
}

#[tokio::test]
async fn the_time_to_wait_is_read() {
    let said = b"HTTP/1.1 429 Slow\r\nRetry-After: 9\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(told(said, 10).await.unwrap().unwrap().retry_after, Some(9));
    let said = b"HTTP/1.1 429 Slow\r\nRetry-After: soon\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(told(said, 10).await.unwrap().unwrap().retry_after, None);
}

#[test]
fn what_cannot_stand_in_a_request_is_refused() {
    assert!(Request::get("h", "/a b").is_none());
    assert!(Request::get("h", "x").is_none());
    assert!(Request::get("h\r\nX: y", "/").is_none());
    assert!(Request::get("h", "/").unwrap().with("password", b"a\nb").is_none());
    let shown = format!("{:?}", Request::get("h", "/").unwrap().with("password", b"hunter2").unwrap());
    assert!(!shown.contains("hunter2"), "{shown}");
}

/// The connection is small: the answer comes before the request is read, and nothing more of it is.
#[tokio::test]
async fn an_early_refusal_is_the_answer() {
    let (ours, theirs) = duplex(1000);
    let server = tokio::spawn(async move {
        let (mut reading, mut writing) = tokio::io::split(theirs);
        reading.read_exact(&mut [0; 500]).await.unwrap();
        writing.write_all(b"HTTP/1.1 413 Large\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    });
    let pieces = stream::iter((0..100).map(|_| Ok(Piece::from(vec![b'x'; 1000]))));
    let request = Request::post("h", "/", Body::of(100_000, pieces)).unwrap();
    assert_eq!(exchange(ours, request, 10).await.unwrap().unwrap().status, 413);
    server.await.unwrap();
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_told() {
    let (ours, mut theirs) = duplex(1000);
    let server = tokio::spawn(async move {
        let mut heard = Vec::new();
        theirs.read_to_end(&mut heard).await.unwrap();
        heard
    });
    let pieces =
        stream::iter([Ok(Piece::from(b"abc".to_vec())), Err(std::io::Error::other("the disk is gone"))]);
    let request = Request::post("h", "/", Body::of(10, pieces)).unwrap();
    let error = exchange(ours, request, 10).await.unwrap_err();
    assert_eq!(error.to_string(), "the disk is gone");
    let heard = server.await.unwrap();
    assert!(!heard.ends_with(b"0\r\n\r\n"), "it must not look complete");
}

#[tokio::test]
async fn a_connection_serves_many_requests_until_it_is_closed() {
    let (ours, mut theirs) = duplex(1000);
    let server = tokio::spawn(async move {
        for number in 0..3 {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                theirs.read_buf(&mut head).await.unwrap();
            }
            assert!(!String::from_utf8_lossy(&head).to_lowercase().contains("connection:"));
            let said = format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{number}");
            theirs.write_all(said.as_bytes()).await.unwrap();
        }
    });
    let mut line = Line::open(ours).await.unwrap();
    for number in 0..3 {
        assert!(line.is_open().await);
        let answer = line.ask(Request::get("h", "/").unwrap(), 10).await.unwrap().unwrap();
        assert_eq!(answer.body.as_slice(), number.to_string().as_bytes());
    }
    server.await.unwrap();
    let until = tokio::time::timeout(Duration::from_secs(60), async {
        while line.is_open().await {
            tokio::task::yield_now().await;
        }
    });
    until.await.expect("a connection that the server closed is seen to be closed");
}

#[tokio::test]
async fn one_request_is_served() {
    for (request, known) in [
        ("GET /?a=b HTTP/1.1\r\nHost: localhost\r\n\r\n", true),
        ("GET http://localhost:1/?a=b HTTP/1.1\r\nHost: localhost\r\n\r\n", true),
        ("GET /favicon.ico HTTP/1.1\r\nHost: localhost\r\n\r\n", false),
        ("POST /?a=b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", false),
    ] {
        let (mut ours, theirs) = duplex(10_000);
        let serving = serve_one(theirs, |target| match target {
            Some("/?a=b") => (true, "here"),
            _ => (false, "nothing"),
        });
        ours.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let (_, read) = tokio::join!(serving, ours.read_to_string(&mut answer));
        read.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert_eq!((head.starts_with("HTTP/1.1 200 OK"), body == "here"), (known, known), "{answer}");
        assert!(head.contains("Referrer-Policy: no-referrer"), "{head}");
    }
    let (mut ours, theirs) = duplex(100_000);
    let serving = serve_one(theirs, |_| panic!("what is no request is not asked about"));
    ours.write_all(b"EHLO x\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    let _ = tokio::join!(serving, ours.read_to_string(&mut answer));
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}
