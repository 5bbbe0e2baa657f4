//! POP3 sessions against servers that play scripts, and against a real Dovecot. What the scripted ones say
//! was seen somewhere, or follows from an RFC being read by somebody in a hurry.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is a test")]

use crate::helpers::dovecot;
use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::helpers::scripted::{Scripted, Step, expect, send};
use mailhaul::account::{Auth, Patience, Protocol, Security, Source};
use mailhaul::failure::{Again, Failure, Kind};
use mailhaul::message::Parcel;
use mailhaul::net::Connector;
use mailhaul::pop3::{Listed, Maildrop, Retrieval, Retrieved, Session, Wanted};
use mailhaul::secret::{Secret, SecretPlace};
use tokio::sync::mpsc;

const PASSWORD: &str = " hunter2 ";
const GREETING: &str = "+OK ready <1.2@example>\r\n";

fn source(port: u16, security: Security, ca_file: Option<PathBuf>) -> Source {
    Source {
        protocol: Protocol::Pop3,
        host: "localhost".to_owned(),
        port,
        security,
        ca_file,
        fingerprint: None,
        patience: Patience::default(),
        username: "alice".to_owned(),
        authorize_as: None,
        password: SecretPlace::Credential("unused".to_owned()),
        auth: Auth::Auto,
        max_connections: None,
        min_interval: None,
        daily: None,
        rounds: false,
        login_hint: "make an app password".to_owned(),
    }
}

async fn open(server: &Scripted, security: Security) -> Result<Session, Failure> {
    let source = source(server.port, security, Some(server.authority()));
    Session::open(&Connector::new(true).unwrap(), &source, &Secret::new(PASSWORD.into())).await
}

fn capa(lines: &str) -> Vec<Step> {
    vec![send(GREETING), expect("CAPA\r\n"), send(format!("+OK\r\n{lines}.\r\n"))]
}

/// A login by USER and PASS at a server that pipelines, or not.
fn logged_in(pipelining: bool) -> Vec<Step> {
    let mut steps = vec![send("+OK ready\r\n"), expect("CAPA\r\n")];
    steps.push(send(if pipelining { "+OK\r\nPIPELINING\r\nUIDL\r\n.\r\n" } else { "-ERR what?\r\n" }));
    steps.extend([expect("USER alice\r\n"), send("+OK\r\n"), expect("PASS "), send("+OK\r\n")]);
    steps
}

async fn session(pipelining: bool, more: Vec<Step>) -> (Session, Scripted) {
    let mut steps = logged_in(pipelining);
    steps.extend(more);
    let server = Scripted::play(vec![steps]).await;
    (open(&server, Security::None).await.unwrap(), server)
}

async fn refused(steps: Vec<Step>, security: Security) -> Failure {
    let server = Scripted::play(vec![steps]).await;
    let failure = open(&server, security).await.unwrap_err();
    server.finish().await;
    assert!(!failure.to_string().contains("hunter2"), "{failure}");
    failure
}

/// Messages that are listed with these sizes, from number 1 on.
fn listed(sizes: &[u64]) -> Vec<Wanted> {
    let one = |(n, size): (usize, &u64)| Wanted { number: n as u32 + 1, size: Some(*size), uidl: None };
    sizes.iter().enumerate().map(one).collect()
}

/// The question for one message, and its answer.
fn named(number: u32, size: u64) -> [Step; 2] {
    [expect(format!("LIST {number}\r\n")), send(format!("+OK {number} {size}\r\n"))]
}

async fn retrieve(session: &mut Session, wanted: &[Wanted], limit: Option<u64>) -> (Retrieval, Vec<Parcel>) {
    let (sink, mut parcels) = mpsc::channel::<Parcel>(2);
    let collect = tokio::spawn(async move {
        let mut all: Vec<Parcel> = Vec::new();
        while let Some(parcel) = parcels.recv().await {
            match (parcel, all.last_mut()) {
                (Parcel::Data(more), Some(Parcel::Data(data))) => data.extend(more),
                (parcel, _) => all.push(parcel),
            }
        }
        all
    });
    let retrieval = session.retrieve(wanted, limit, &sink).await;
    drop(sink);
    (retrieval, collect.await.unwrap())
}

fn data(text: &str) -> Parcel {
    Parcel::Data(text.into())
}

#[tokio::test]
async fn plain_comes_first_in_two_steps() {
    let mut steps = capa("SASL LOGIN PLAIN\r\nLOGIN-DELAY 300\r\n");
    // NUL alice NUL " hunter2 "
    steps.extend([expect("AUTH PLAIN\r\n"), send("+ \r\n"), expect("AGFsaWNlACBodW50ZXIyIA==\r\n")]);
    steps.extend([send("+OK\r\n"), expect("QUIT\r\n"), send("+OK bye\r\n")]);
    let server = Scripted::play(vec![steps]).await;
    let session = open(&server, Security::None).await.unwrap();
    assert_eq!(session.capabilities().login_delay.unwrap().as_secs(), 300);
    session.quit().await.unwrap();
    server.finish().await;
}

#[tokio::test]
async fn a_refused_mechanism_leads_to_the_next_one() {
    let mut steps = capa("SASL PLAIN\r\n");
    steps.extend([expect("AUTH PLAIN\r\n"), send("-ERR Unknown command\r\n")]);
    // MD5 of "<1.2@example> hunter2 "
    steps.extend([expect("APOP alice 5c5874c3009d272c5895f13b836e4e8a\r\n"), send("-ERR not supported\r\n")]);
    steps.extend([expect("USER alice\r\n"), send("+OK\r\n"), expect("PASS  hunter2 \r\n"), send("+OK\r\n")]);
    let server = Scripted::play(vec![steps]).await;
    open(&server, Security::None).await.unwrap();
    server.finish().await;
}

#[tokio::test]
async fn a_refused_digest_leads_to_the_password_on_a_new_connection() {
    let mut first = capa("TOP\r\n");
    first.extend([expect("APOP alice"), send("-ERR authentication failed\r\n"), Step::Close]);
    let mut second = capa("TOP\r\n");
    second.extend([expect("USER alice\r\n"), send("+OK\r\n"), expect("PASS  hunter2 \r\n"), send("+OK\r\n")]);
    let server = Scripted::play(vec![first, second]).await;
    open(&server, Security::None).await.unwrap();
    server.finish().await;
}

#[tokio::test]
async fn utf8_is_asked_for_where_it_is_offered() {
    for answer in ["+OK\r\n", "-ERR no\r\n"] {
        let mut steps = capa("UTF8 USER\r\nSASL PLAIN\r\n");
        steps.extend([expect("UTF8\r\n"), send(answer), expect("AUTH PLAIN\r\n"), send("+ \r\n")]);
        steps.extend([expect("AGFsaWNlACBodW50ZXIyIA==\r\n"), send("+OK\r\n")]);
        let server = Scripted::play(vec![steps]).await;
        open(&server, Security::None).await.unwrap();
        server.finish().await;
    }
}

#[tokio::test]
async fn stls_or_nothing() {
    let mut steps = capa("STLS\r\n");
    steps.extend([expect("STLS\r\n"), send("+OK begin\r\n"), Step::StartTls]);
    steps.extend([expect("CAPA\r\n"), send("+OK\r\nUSER\r\nTOP\r\n.\r\n"), expect("USER alice\r\n")]);
    steps.extend([send("+OK\r\n"), expect("PASS  hunter2 \r\n"), send("+OK\r\n")]);
    let server = Scripted::play(vec![steps]).await;
    let session = open(&server, Security::StartTls).await.unwrap();
    assert!(session.capabilities().top && !session.capabilities().stls);
    drop(session);
    server.finish().await;

    assert_eq!(refused(capa("USER\r\n"), Security::StartTls).await.kind, Kind::Tls);
    let mut steps = vec![send(GREETING), expect("CAPA\r\n"), send("-ERR\r\n"), expect("STLS\r\n")];
    steps.push(send("-ERR unknown\r\n"));
    assert_eq!(refused(steps, Security::StartTls).await.kind, Kind::Tls);
}

#[tokio::test]
async fn octets_before_the_handshake_are_refused() {
    let mut steps = capa("STLS\r\n");
    steps.extend([expect("STLS\r\n"), send("+OK begin\r\n+OK\r\nUSER\r\n.\r\n"), Step::StartTls]);
    let failure = refused(steps, Security::StartTls).await;
    assert_eq!(failure.kind, Kind::Protocol, "{failure}");
    assert!(failure.mend.contains("tampering"));
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let login = |answer: &str| {
        let mut steps = capa("LOGIN-DELAY 60\r\n").into_iter().skip(1).collect::<Vec<_>>();
        steps.insert(0, send("+OK\r\n"));
        steps.extend([expect("USER"), send("+OK\r\n"), expect("PASS"), send(answer)]);
        steps
    };
    let wrong = refused(login("-ERR [AUTH] PASS  HUNTER2  is wrong\r\n"), Security::None).await;
    assert_eq!((wrong.kind, wrong.again()), (Kind::Credentials, Again::Never));
    assert!(wrong.mend.contains("make an app password"), "{wrong}");
    assert_eq!(wrong.words, "localhost refused the login of alice: [AUTH] PASS * is wrong");
    let busy = refused(login("-ERR [IN-USE] busy\r\n"), Security::None).await;
    assert_eq!((busy.kind, busy.counts()), (Kind::InUse, false));
    let early = refused(login("-ERR [LOGIN-DELAY] wait\r\n"), Security::None).await;
    assert_eq!((early.kind, early.wait.unwrap().as_secs()), (Kind::Throttled, 60));
    let full = refused(vec![send("-ERR too many connections\r\n")], Security::None).await;
    assert_eq!(full.kind, Kind::Throttled);
    let silent = refused(vec![Step::Close], Security::None).await;
    // Servers that count connections end one too many without a word: that is not the account's fault.
    assert_eq!((silent.kind, silent.counts()), (Kind::Throttled, false));
    let long = refused(vec![send("+OK ".to_owned() + &"x".repeat(9_000))], Security::None).await;
    assert_eq!(long.kind, Kind::Protocol);
    let closed = refused(
        vec![
            send("+OK\r\n"),
            expect("CAPA"),
            send("-ERR\r\n"),
            expect("USER"),
            send("-ERR unknown command\r\n"),
        ],
        Security::None,
    )
    .await;
    assert_eq!(closed.kind, Kind::Unsupported);
}

#[tokio::test]
async fn a_password_over_two_lines_is_never_sent() {
    let server = Scripted::play(vec![vec![
        send("+OK\r\n"),
        expect("CAPA"),
        send("-ERR\r\n"),
        expect("USER"),
        send("+OK\r\n"),
    ]])
    .await;
    let source = source(server.port, Security::None, None);
    let connector = Connector::new(true).unwrap();
    let failure =
        Session::open(&connector, &source, &Secret::new(b"a\r\nDELE 1".to_vec())).await.unwrap_err();
    assert_eq!(failure.kind, Kind::Secret);
    server.finish().await;
}

#[tokio::test]
async fn lists_with_and_without_pipelining_uidl_and_sense() {
    let rounds = [
        (&["STAT"][..], &["4 1000"][..]),
        (&["LIST 2", "LIST 3", "LIST 4"], &["2 90", "3 80", "4 7"]),
        (&["UIDL 2", "UIDL 3", "UIDL 4"], &["2 b b", "3 c", "4 d"]),
    ];
    let mut steps = vec![
        expect("LIST\r\n"),
        expect("UIDL\r\n"),
        send("+OK\r\n1 120\r\n2 big\r\n4 7 seven\r\n.\r\n+OK\r\n2 b b\r\n1 ..a\r\n3 c\r\n\r\n.\r\n"),
    ];
    for (asked, said) in rounds {
        steps.extend(asked.iter().map(|asked| expect(format!("{asked}\r\n"))));
        steps.extend(said.iter().map(|said| send(format!("+OK {said}\r\n"))));
    }
    let (mut session, server) = session(true, steps).await;
    let listed = |number, size, uidl: &str| Listed { number, size: Some(size), uidl: Some(uidl.into()) };
    let messages = vec![listed(1, 120, "..a"), listed(2, 90, "b b"), listed(3, 80, "c"), listed(4, 7, "d")];
    assert_eq!(session.list().await.unwrap(), Maildrop { messages, complete: true });
    drop(session);
    server.finish().await;

    let one = || vec![expect("LIST 1\r\n"), send("+OK 1 1\r\n"), expect("UIDL 1\r\n"), send("+OK 1 a\r\n")];
    let stat = || vec![expect("STAT\r\n"), send("+OK 1 1\r\n")];
    for (pipelining, uidl, more, want) in [
        (false, "-ERR unknown command\r\n", vec![], Ok((1, true))),
        (false, "-ERR [SYS/TEMP] later\r\n", vec![], Err(Kind::Unavailable)),
        // Perhaps it did not wait: it is asked again.
        (true, "-ERR no\r\n", vec![expect("UIDL\r\n"), send("-ERR no\r\n")], Err(Kind::Protocol)),
        // Two names for one message: it is asked which.
        (false, "+OK\r\n1 a\r\n1 b\r\n.\r\n", [stat(), one()].into_iter().flatten().collect(), Ok((1, true))),
        // A line that may stand for a message: STAT shows that it does not.
        (false, "+OK\r\n0 a\r\n.\r\n", stat(), Ok((1, true))),
        (false, "+OK\r\n.\r\n", vec![], Ok((1, true))),
    ] {
        let mut steps = vec![expect("LIST\r\n"), send("+OK\r\n1 1\r\n.\r\n"), expect("UIDL\r\n"), send(uidl)];
        if pipelining {
            steps.swap(1, 2);
        }
        steps.extend(more);
        let (mut session, server) = self::session(pipelining, steps).await;
        let listed = session.list().await.map(|l| (l.messages.len(), l.complete)).map_err(|f| f.kind);
        assert_eq!(listed, want, "{uidl}");
        drop(session);
        server.finish().await;
    }
}

#[tokio::test]
async fn a_list_that_stat_does_not_bear_out_is_not_complete() {
    let steps = vec![
        expect("LIST\r\n"),
        send("+OK\r\n1 10\r\noh\r\n.\r\n"),
        expect("UIDL\r\n"),
        send("+OK\r\n1 a\r\n.\r\n"),
        expect("STAT\r\n"),
        send("+OK 2 20\r\n"),
        expect("LIST 2\r\n"),
        send("-ERR not now\r\n"),
    ];
    let (mut session, server) = session(false, steps).await;
    let listed = session.list().await.unwrap();
    assert_eq!((listed.messages.len(), listed.complete), (1, false));
    drop(session);
    server.finish().await;
}

#[tokio::test]
async fn messages_come_whole_with_their_dots_in_a_window_and_one_by_one() {
    let replies =
        ["+OK\r\nTo: a\r\n\r\n..\r\n...\r\n.\r\n", "-ERR gone\r\n", "+OK\r\n.\r\n", "+OK\r\nx\r\n.\r\n"];
    let sizes = [16, 9, 0, 3];
    for pipelining in [true, false] {
        let mut steps: Vec<Step> = named(1, 16).into();
        let numbers = 1..=4u32;
        if pipelining {
            steps.extend(
                numbers
                    .clone()
                    .flat_map(|n| [expect(format!("RETR {n}\r\n")), expect(format!("LIST {n}\r\n"))]),
            );
            let answer = |(n, (reply, size)): (u32, (&str, u64))| format!("{reply}+OK {n} {size}\r\n");
            steps.push(send(numbers.zip(replies.into_iter().zip(sizes)).map(answer).collect::<String>()));
        } else {
            for (n, (reply, size)) in numbers.zip(replies.into_iter().zip(sizes)) {
                steps.extend([expect(format!("RETR {n}\r\n")), send(reply)]);
                steps.extend(named(n, size));
            }
        }
        // A refusal counts when it was said to the message alone.
        steps.extend([expect("RETR 2\r\n"), send("-ERR gone for good\r\n")]);
        steps.extend(named(2, 9));
        let (mut session, server) = session(pipelining, steps).await;
        let (retrieval, parcels) = retrieve(&mut session, &listed(&sizes), None).await;
        assert_eq!(retrieval.broken, None);
        assert_eq!(outcomes(&retrieval), ["1: 16 octets", "2: gone for good", "3: 0 octets", "4: 3 octets"]);
        let want = [
            Parcel::Begin(1),
            data("To: a\r\n\r\n.\r\n..\r\n"),
            Parcel::End,
            Parcel::Begin(3),
            Parcel::End,
            Parcel::Begin(4),
            data("x\r\n"),
            Parcel::End,
        ];
        assert_eq!(parcels, want);
        drop(session);
        server.finish().await;
    }
}

#[tokio::test]
async fn a_cut_in_the_middle_keeps_what_came_before() {
    let mut steps: Vec<Step> = named(1, 3).into();
    steps.extend(["RETR 1", "LIST 1", "RETR 2", "LIST 2"].map(|line| expect(format!("{line}\r\n"))));
    steps.extend([send("+OK\r\na\r\n.\r\n+OK 1 3\r\n+OK\r\nhalf of"), Step::Close]);
    let (mut session, server) = session(true, steps).await;
    let (retrieval, parcels) = retrieve(&mut session, &listed(&[3, 30]), None).await;
    assert_eq!(outcomes(&retrieval), ["1: 3 octets"]);
    let broken = retrieval.broken.unwrap();
    assert_eq!((broken.failure.kind, broken.over, broken.alone), (Kind::Disconnected, Some(2), false));
    assert_eq!(parcels.last(), Some(&Parcel::End), "nobody has heard of the half");
    assert_eq!(session.delete(&listed(&[3])).await.unwrap_err().kind, Kind::Disconnected);
    assert_eq!(session.quit().await.unwrap_err().kind, Kind::Disconnected);
    server.finish().await;
}

#[tokio::test]
async fn a_farewell_is_not_taken_for_a_refused_message() {
    let mut steps: Vec<Step> = named(1, 3).into();
    steps.extend([expect("RETR 1\r\n"), send("-ERR autologout\r\n"), Step::Close]);
    let (mut session, server) = session(true, steps).await;
    let (retrieval, _) = retrieve(&mut session, &listed(&[3, 3]), None).await;
    assert!(retrieval.done.is_empty());
    assert!(retrieval.broken.unwrap().failure.words.contains("autologout"));
    server.finish().await;
}

#[tokio::test]
async fn a_message_beyond_the_limit_is_read_to_its_end_and_not_kept() {
    let long = "+OK 3 octets\r\n".to_owned() + &"x".repeat(5_000) + "\r\n.\r\n";
    let mut steps: Vec<Step> = named(1, 3).into();
    steps.extend([expect("RETR 1\r\n"), send(long)]);
    steps.extend(named(1, 3));
    steps.extend([expect("RETR 2\r\n"), send("+OK\r\ny\r\n.\r\n")]);
    steps.extend(named(2, 3));
    let (mut session, server) = session(false, steps).await;
    let (retrieval, parcels) = retrieve(&mut session, &listed(&[3, 3]), Some(4_000)).await;
    assert_eq!(retrieval.broken, None);
    assert_eq!(outcomes(&retrieval), ["1: too large, 5002 octets", "2: 3 octets"]);
    assert_eq!(parcels, [Parcel::Begin(2), data("y\r\n"), Parcel::End]);
    drop(session);
    server.finish().await;
}

#[tokio::test]
async fn a_message_without_end_ends_the_session_and_is_named() {
    let mut steps: Vec<Step> = named(1, 3).into();
    let endless = "+OK 3 octets\r\n".to_owned() + &"x".repeat(9_000);
    steps.extend([expect("RETR 1\r\n"), send(endless), Step::Hang]);
    let (mut session, server) = session(false, steps).await;
    let (retrieval, parcels) = retrieve(&mut session, &listed(&[3]), Some(4_000)).await;
    assert!(outcomes(&retrieval)[0].starts_with("1: too large"), "{retrieval:?}");
    assert_eq!(retrieval.broken.unwrap().failure.kind, Kind::Protocol);
    assert_eq!(parcels.last(), None);
    drop(session);
    server.finish().await;
}

#[tokio::test]
async fn what_no_name_follows_is_not_believed() {
    for answers in [
        // The refusal belongs to nothing, so that the first message would pass for the second.
        "-ERR by the way\r\n+OK\r\none\r\n.\r\n+OK 1 5\r\n",
        // The first is never answered.
        "+OK 1 5\r\n+OK\r\ntwo\r\n.\r\n+OK 2 5\r\n",
        // Nothing of the first is answered.
        "+OK\r\ntwo\r\n.\r\n+OK 2 5\r\n",
        // Its end stands in its last line.
        "+OK\r\none.\r\n+OK 1 5\r\n+OK\r\ntwo\r\n.\r\n+OK 2 5\r\n",
        // A dot too many.
        "+OK\r\n.\r\none\r\n.\r\n+OK 1 5\r\n",
    ] {
        let mut steps: Vec<Step> = named(1, 5).into();
        steps.extend(["RETR 1", "LIST 1", "RETR 2", "LIST 2"].map(|line| expect(format!("{line}\r\n"))));
        steps.push(send(answers));
        let (mut session, server) = session(true, steps).await;
        let (retrieval, parcels) = retrieve(&mut session, &listed(&[5, 5]), None).await;
        assert_eq!(outcomes(&retrieval), [""; 0], "{answers}");
        let broken = retrieval.broken.unwrap();
        assert_eq!((broken.failure.kind, broken.over), (Kind::Protocol, Some(1)), "{answers}");
        assert!(!parcels.contains(&Parcel::End), "{answers}");
        drop(session);
        server.finish().await;
    }
}

/// A doubtful message is asked for with the other doubtful ones, and then alone.
#[tokio::test]
async fn doubtful_messages_are_looked_at_again() {
    for (looks, want) in [
        // Whole the second time.
        (&["", "one\r\n"][..], "5 octets"),
        // Another size than listed, twice the same.
        (&["onetwo\r\n", "onetwo\r\n"], "8 octets"),
        (&["o\r\n", "on\r\n", "on\r\n"], "4 octets"),
        (
            &["o\r\n", "on\r\n", "threefour\r\n"],
            "the server gives it differently each time, the last time with 11 bytes",
        ),
        (&["", "", ""], "the server gives nothing of it, though it lists 5 bytes"),
        (&["+OK 7 octets\r\nx\r\n", "-ERR x\r\n", "-ERR x\r\n"], "another reply stands before the message"),
    ] {
        let mut steps: Vec<Step> = named(1, 5).into();
        for look in looks {
            steps.extend([expect("RETR 1\r\n"), send(format!("+OK\r\n{look}.\r\n"))]);
            steps.extend(named(1, 5));
        }
        let (mut session, server) = session(false, steps).await;
        let (retrieval, parcels) = retrieve(&mut session, &listed(&[5]), None).await;
        assert_eq!(outcomes(&retrieval), [format!("1: {want}")], "{looks:?}");
        assert_eq!(retrieval.broken, None);
        let ends = parcels.iter().filter(|parcel| **parcel == Parcel::End).count();
        assert_eq!(ends, usize::from(want.ends_with("octets")), "{looks:?}");
        drop(session);
        server.finish().await;
    }
}

/// A server that has neither UIDL nor LIST for one message is asked one by one, and NOOP shows that nothing is on its way.
#[tokio::test]
async fn a_server_that_names_nothing() {
    let steps = vec![
        expect("LIST 1\r\n"),
        send("-ERR no arguments\r\n"),
        expect("LIST 2\r\n"),
        send("-ERR no arguments\r\n"),
        expect("RETR 1\r\n"),
        send("+OK\r\none\r\n.\r\n"),
        expect("NOOP\r\n"),
        send("+OK\r\n"),
        expect("RETR 2\r\n"),
        send("+OK\r\ntwo\r\n.\r\n"),
        expect("NOOP\r\n"),
        send("+OK\r\n"),
    ];
    let (mut session, server) = session(true, steps).await;
    let (retrieval, _) = retrieve(&mut session, &listed(&[5, 5]), None).await;
    assert_eq!(outcomes(&retrieval), ["1: 5 octets", "2: 5 octets"]);
    drop(session);
    server.finish().await;
}

/// What ended as a message, by number.
fn believed(parcels: &[Parcel]) -> BTreeMap<u64, Vec<u8>> {
    let (mut bodies, mut current) = (BTreeMap::new(), (0, Vec::new()));
    for parcel in parcels {
        match parcel {
            Parcel::Begin(number) => current = (*number, Vec::new()),
            Parcel::Data(data) => current.1.extend_from_slice(data),
            Parcel::End => drop(bodies.insert(current.0, std::mem::take(&mut current.1))),
            Parcel::Abandon => {}
        }
    }
    bodies
}

/// What became of each message, in words.
fn outcomes(retrieval: &Retrieval) -> Vec<String> {
    let words = |retrieved: &Retrieved| match retrieved {
        Retrieved::Whole { octets, .. } => format!("{octets} octets"),
        Retrieved::Refused(words) => words.clone(),
        Retrieved::TooLarge { octets } => format!("too large, {octets} octets"),
    };
    retrieval.done.iter().map(|(number, retrieved)| format!("{number}: {}", words(retrieved))).collect()
}

#[tokio::test]
async fn nobody_receives_any_more() {
    let mut steps: Vec<Step> = named(1, 3).into();
    steps.extend([expect("RETR 1\r\n"), send("+OK\r\nx\r\n.\r\n"), Step::Hang]);
    let (mut session, server) = session(false, steps).await;
    let (sink, receiver) = mpsc::channel::<Parcel>(1);
    drop(receiver);
    let retrieval = session.retrieve(&listed(&[3]), None, &sink).await;
    assert_eq!(retrieval.broken.unwrap().failure.kind, Kind::Destination);
    drop(session);
    server.finish().await;
}

#[tokio::test]
async fn headers_are_bounded_and_deleting_counts_at_quit() {
    let mut steps: Vec<Step> = named(1, 20).into();
    steps.extend(["TOP 1 0", "LIST 1", "TOP 2 0", "LIST 2"].map(|line| expect(format!("{line}\r\n"))));
    steps.push(send("+OK\r\nSubject: long\r\n\r\n.\r\n+OK 1 20\r\n-ERR no\r\n+OK 2 9\r\n"));
    steps.extend(named(1, 20));
    steps.extend([
        expect("DELE 1\r\n"),
        expect("DELE 2\r\n"),
        send("+OK\r\n-ERR already deleted\r\n"),
        expect("QUIT\r\n"),
        Step::Close,
    ]);
    let (mut session, server) = session(true, steps).await;
    let (headers, broken) = session.top(&listed(&[20, 9]), 8).await;
    assert_eq!(broken, None);
    assert_eq!(headers.into_iter().collect::<Vec<_>>(), [(1, Some(b"Subject:".to_vec())), (2, None)]);
    let deleted = session.delete(&listed(&[20, 9])).await.unwrap();
    let deleted: Vec<_> = deleted.into_iter().collect();
    assert_eq!(deleted, [(1, Ok(())), (2, Err("already deleted".to_owned()))]);
    assert_eq!(session.quit().await.unwrap_err().kind, Kind::Disconnected);
    server.finish().await;
}

#[tokio::test]
async fn a_real_dovecot() {
    let server = dovecot::Dovecot::start(&[("alice", PASSWORD.trim())]);
    let big = format!("Subject: big\n\n{}", "..dots and more\n".repeat(20_000));
    let messages = ["Subject: one\n\n.\n..\nbody\n".to_owned(), big, "Subject: no end\n\nx".to_owned()];
    (0..100).for_each(|n| server.deliver("alice", messages[n % 3].as_bytes()));
    let connector = Connector::new(true).unwrap();
    let secret = Secret::new(PASSWORD.trim().into());
    let mut wanted = Vec::new();
    for (port, security) in
        [(server.pop3, Security::StartTls), (server.pop3s, Security::Tls), (server.pop3, Security::None)]
    {
        let source = source(port, security, Some(server.authority()));
        let mut session = Session::open(&connector, &source, &secret).await.unwrap();
        assert!(session.capabilities().pipelining && session.capabilities().uidl);
        let Maildrop { messages: listed, complete } = session.list().await.unwrap();
        assert_eq!((listed.len(), complete, session.count().await.unwrap()), (100, true, Some(100)));
        wanted =
            listed.iter().map(|m| Wanted { number: m.number, size: m.size, uidl: m.uidl.clone() }).collect();
        assert!(listed.iter().all(|message| message.size.is_some() && message.uidl.is_some()));
        let (headers, broken) = session.top(&wanted, 1_000).await;
        assert_eq!(broken, None);
        assert_eq!(headers[&1].as_deref(), Some(b"Subject: one\r\n\r\n".as_slice()));
        let (retrieval, parcels) = retrieve(&mut session, &wanted, None).await;
        assert_eq!((retrieval.broken, retrieval.done.len()), (None, 100));
        // Each is there many times, so that all but the first of a kind are asked for twice.
        let bodies = believed(&parcels);
        assert_eq!(bodies.len(), 100);
        for (n, body) in bodies.into_values().enumerate() {
            let want = messages[n % 3].trim_end_matches('\n').replace('\n', "\r\n") + "\r\n";
            assert!(body == want.into_bytes(), "message {} differs", n + 1);
        }
        session.quit().await.unwrap();
    }
    let wrong = Secret::new(b"wrong".to_vec());
    let source = source(server.pop3s, Security::Tls, Some(server.authority()));
    let failure = Session::open(&connector, &source, &wrong).await.unwrap_err();
    assert_eq!(failure.kind, Kind::Credentials, "{failure}");

    let mut session = Session::open(&connector, &source, &secret).await.unwrap();
    assert!(session.delete(&wanted).await.unwrap().values().all(Result::is_ok));
    session.quit().await.unwrap();
    let mut session = Session::open(&connector, &source, &secret).await.unwrap();
    assert_eq!(session.list().await.unwrap(), Maildrop { messages: Vec::new(), complete: true });
}
