//! Random schedules of a server that misbehaves, against the code that speaks to real ones: whatever comes out of
//! step, no message is taken for another one, none is called gone that is there, and none is deleted that did not
//! come. The server is in memory. `MAILHAUL_SCHEDULES` says how many schedules are played, `MAILHAUL_SEED` from which
//! number on; a failure names its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream};
use tokio::sync::mpsc;

use super::{Care, Event, Fetch, Left, Session};
use crate::failure::Failure;
use crate::message::{Parcel, UidSet};
use crate::net::Stream;

/// Schedules that are played without being asked for more.
const FEW: u64 = 2_000;
/// Connections that one schedule may take.
const CONNECTIONS: usize = 40;
const UIDVALIDITY: u32 = 7;

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.roll() % limit.max(1) as u64).unwrap()
    }

    fn in_100(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// A message at the server.
#[derive(Clone)]
struct Mail {
    body: Vec<u8>,
    deleted: bool,
    /// RFC822.SIZE, which may lie.
    size: usize,
    /// Whether a body of its may still come with another length in an answer without a fault: once, and only where the
    /// size tells the truth, or nobody could ever know.
    may_shrink: bool,
}

/// The server's side of a schedule.
struct Server {
    dice: Dice,
    mails: BTreeMap<u32, Mail>,
    /// Messages that somebody else took away.
    taken: BTreeSet<u32>,
    expunged: BTreeMap<u32, Vec<u8>>,
    /// How often in a hundred answers it misbehaves, and how often it may.
    habit: usize,
    faults: usize,
    /// Commands that are answered without moved bytes before the next such fault.
    calm: usize,
    /// Answers that come later than they should.
    late: Vec<u8>,
    /// What was done, for whoever looks into a failure.
    told: Vec<String>,
}

fn mailbox(dice: &mut Dice) -> BTreeMap<u32, Mail> {
    let mut uid = 0;
    let lies = dice.in_100(15);
    let count = 1 + dice.below(24);
    (0..count)
        .map(|_| {
            uid += 1 + u32::try_from(dice.below(3)).unwrap();
            // Many have the same length, so that it tells nothing.
            let lines = [1, 1, 1, 2, 6][dice.below(5)];
            let mut body = format!("Subject: {uid:04}\r\n\r\n").into_bytes();
            for line in 0..lines {
                let text = [") of it", "* 7 FETCH (UID 7", "a line {20}", "A3 OK done", ""][dice.below(5)];
                body.extend(format!("{uid:04} {line} {text:<18}\r\n").into_bytes());
            }
            if dice.in_100(3) {
                body.clear();
            }
            // An empty message that is said to have bytes is none.
            let lie = lies && !body.is_empty() && dice.in_100(50);
            let size = if lie { body.len() + dice.below(40) + 1 } else { body.len() };
            (uid, Mail { body, deleted: false, size, may_shrink: !lie })
        })
        .collect()
}

/// How a command is answered.
struct Answer {
    responses: Vec<Vec<u8>>,
    tagged: Vec<u8>,
    close: bool,
}

impl Server {
    fn new(seed: u64) -> Server {
        let mut dice = Dice(seed);
        let mails = mailbox(&mut dice);
        let habit = [0, 3, 10, 30][dice.below(4)];
        let faults = [0, 1, 2, 5, 20][dice.below(5)];
        Server {
            dice,
            mails,
            taken: BTreeSet::new(),
            expunged: BTreeMap::new(),
            habit,
            faults,
            calm: 0,
            late: Vec::new(),
            told: Vec::new(),
        }
    }

    /// Whether it misbehaves now.
    fn slips(&mut self) -> bool {
        let slips = self.faults > 0 && self.dice.in_100(self.habit);
        self.faults -= usize::from(slips);
        slips
    }

    fn wanted(&self, set: &str) -> Vec<(usize, u32)> {
        let last = self.mails.keys().last().copied().unwrap_or(0);
        let number = |text: &str| if text == "*" { last } else { text.parse().unwrap() };
        let ranges: Vec<(u32, u32)> = set
            .split(',')
            .map(|part| match part.split_once(':') {
                Some((a, b)) => (number(a).min(number(b)), number(a).max(number(b))),
                None => (number(part), number(part)),
            })
            .collect();
        let is_wanted = |uid: &u32| ranges.iter().any(|(a, b)| (a..=b).contains(&uid));
        self.mails
            .keys()
            .enumerate()
            .filter(|(_, uid)| is_wanted(uid))
            .map(|(n, uid)| (n + 1, *uid))
            .collect()
    }

    fn answer(&mut self, line: &str) -> Answer {
        let (tag, command) = line.split_once(' ').unwrap();
        let mut responses = Vec::new();
        let mut words = command.splitn(4, ' ');
        match (words.next().unwrap(), words.next().unwrap_or_default()) {
            ("EXAMINE" | "SELECT", _) => {
                responses.push(format!("* {} EXISTS\r\n", self.mails.len()).into_bytes());
                responses.push(format!("* OK [UIDVALIDITY {UIDVALIDITY}] ok\r\n").into_bytes());
            }
            ("UID", "FETCH") => {
                let (set, items) = (words.next().unwrap(), words.next().unwrap());
                if items.contains("BODY") && self.slips() && self.mails.len() > 1 && self.dice.in_100(10) {
                    let at = self.dice.below(self.mails.len());
                    let uid = *self.mails.keys().nth(at).unwrap();
                    self.mails.remove(&uid);
                    self.taken.insert(uid);
                }
                for (number, uid) in self.wanted(set) {
                    let response = self.fetched(number, uid, items);
                    responses.push(response);
                }
            }
            ("UID", "STORE") => {
                for (_, uid) in self.wanted(words.next().unwrap()) {
                    self.mails.get_mut(&uid).unwrap().deleted = true;
                }
            }
            ("UID", "EXPUNGE") => {
                let mut wanted = self.wanted(words.next().unwrap());
                wanted.reverse();
                for (number, uid) in wanted {
                    if self.mails[&uid].deleted {
                        let mail = self.mails.remove(&uid).unwrap();
                        self.expunged.insert(uid, mail.body);
                        responses.push(format!("* {number} EXPUNGE\r\n").into_bytes());
                    }
                }
            }
            _ => {}
        }
        let mut answer =
            Answer { responses, tagged: format!("{tag} OK done\r\n").into_bytes(), close: false };
        self.misbehave(tag, command, &mut answer);

        answer
    }

    fn fetched(&mut self, number: usize, uid: u32, items: &str) -> Vec<u8> {
        let mail = self.mails[&uid].clone();
        let mut parts = vec![format!("UID {uid}").into_bytes()];
        for (item, text) in [
            ("RFC822.SIZE", format!("RFC822.SIZE {}", mail.size)),
            ("FLAGS", "FLAGS (\\Seen)".to_owned()),
            ("INTERNALDATE", "INTERNALDATE \"17-Jul-1996 02:44:25 -0700\"".to_owned()),
        ] {
            if items.contains(item) {
                parts.push(text.into_bytes());
            }
        }
        if let Some((_, range)) = items.split_once("BODY.PEEK[]") {
            let (label, mut body) = match range.strip_prefix('<').and_then(|r| r.split_once('>')) {
                Some((range, _)) => {
                    let (from, count) = range.split_once('.').unwrap();
                    let (from, count): (usize, usize) = (from.parse().unwrap(), count.parse().unwrap());
                    // Never more than 50 at once, as some servers do.
                    let end = (from + count.min(50)).min(mail.body.len());
                    (format!("BODY[]<{from}>"), mail.body[from.min(mail.body.len())..end].to_vec())
                }
                None => ("BODY[]".to_owned(), mail.body.clone()),
            };
            if label == "BODY[]" && mail.may_shrink && !body.is_empty() && self.slips() {
                self.mails.get_mut(&uid).unwrap().may_shrink = false;
                match self.dice.below(3) {
                    0 => body.clear(),
                    1 => body.truncate(self.dice.below(body.len())),
                    _ => body.extend(b"and more"),
                }
                self.told.push(format!("{uid} has {} bytes", body.len()));
            }
            parts.push([format!("{label} {{{}}}\r\n", body.len()).into_bytes(), body].concat());
        }
        if self.slips() {
            let odd = ["X-ODD (a b)", "UID 3", "FLAGS ()", "BODY[] \"x\"", "RFC822.SIZE 5", "X {3}"]
                [self.dice.below(6)];
            self.told.push(format!("{uid} with {odd}"));
            let at = self.dice.below(parts.len() + 1);
            parts.insert(at, odd.as_bytes().to_vec());
        }
        [format!("* {number} FETCH (").into_bytes(), parts.join(&b' '), b")\r\n".to_vec()].concat()
    }

    fn misbehave(&mut self, tag: &str, command: &str, answer: &mut Answer) {
        self.calm = self.calm.saturating_sub(1);
        let many = answer.responses.len();
        if !self.slips() {
            return;
        }
        let at = self.dice.below(many);
        let what = self.dice.below(13);
        self.told.push(format!("{command}: fault {what} at {at} of {many}"));
        match what {
            0 if many > 0 => drop(answer.responses.remove(at)),
            1 if many > 0 => answer.responses.insert(at, answer.responses[at].clone()),
            2 if many > 1 => answer.responses.swap(at, many - 1),
            3 if many > 0 => {
                let late = answer.responses.remove(at);
                self.late.extend(late);
            }
            4 => {
                let garbage: &[u8] = [
                    &b"* 7 FETCH (X {5}\r\n"[..],
                    b"* 7 FETCH (UID 7 FLAGS ((((\r\n",
                    b"Subject: what {300}\r\n",
                    b"* of a mail\r\n",
                    b")\r\n",
                    b"* 7 WHATEVER (x y)\r\n",
                    b"* 3 FETCH (FLAGS (\\Deleted))\r\n",
                    b"* 9 FETCH (UID 999 FLAGS () BODY[] {3}\r\nabc)\r\n",
                    b"\r\n",
                ][self.dice.below(9)];
                answer.responses.insert(at, garbage.to_vec());
            }
            5 => answer.tagged = format!("{tag} NO [SERVERBUG] not now\r\n").into_bytes(),
            6 => {
                answer.responses.truncate(at);
                answer.tagged = format!("{tag} BAD what?\r\n").into_bytes();
            }
            7 => answer.tagged.clear(),
            8 => {
                answer.responses.truncate(at);
                answer.responses.push(b"* BYE enough\r\n".to_vec());
                (answer.tagged, answer.close) = (Vec::new(), true);
            }
            9 => {
                let all = [answer.responses.concat(), std::mem::take(&mut answer.tagged)].concat();
                let end = self.dice.below(all.len());
                (answer.responses, answer.close) = (vec![all[..end].to_vec()], true);
            }
            _ if self.calm == 0 => self.move_bytes(answer),
            _ => {}
        }
    }

    /// Takes bytes away, adds some, or says that a literal is longer or shorter than it is: what comes behind moves. The
    /// next such fault comes when that is over: two of them may undo each other, and nobody could know.
    fn move_bytes(&mut self, answer: &mut Answer) {
        self.calm = 6;
        let mut all = answer.responses.concat();
        let by = [1, 2, 3, 5, 17, 50, 74, 77, 120][self.dice.below(9)];
        let announced: Vec<usize> = memchr::memmem::find_iter(&all, b"BODY[] {").collect();
        let at = self.dice.below(all.len());
        match self.dice.below(4) {
            0 => drop(all.drain(at..(at + by).min(all.len()))),
            1 => drop(all.splice(at..at, vec![b'x'; by])),
            more if !announced.is_empty() => {
                let at = announced[self.dice.below(announced.len())] + 8;
                let digits = all[at..].iter().take_while(|b| b.is_ascii_digit()).count();
                let length: usize = std::str::from_utf8(&all[at..at + digits]).unwrap().parse().unwrap();
                let length = if more == 2 { length + by } else { length.saturating_sub(by) };
                all.splice(at..at + digits, length.to_string().into_bytes());
            }
            _ => {}
        }
        answer.responses = vec![all];
    }
}

/// Speaks to one client, until either goes.
async fn serve(server: Arc<Mutex<Server>>, peer: DuplexStream) {
    let (reader, mut writer) = tokio::io::split(peer);
    let mut lines = BufReader::new(reader).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let (bytes, close) = {
            let mut server = server.lock().unwrap();
            let late = std::mem::take(&mut server.late);
            let answer = server.answer(&line);
            ([late, answer.responses.concat(), answer.tagged].concat(), answer.close)
        };
        if writer.write_all(&bytes).await.is_err() || close {
            return;
        }
    }
}

/// What became of the messages, as the client sees it.
#[derive(Default)]
struct Client {
    stored: BTreeMap<u32, Vec<u8>>,
    vanished: BTreeSet<u32>,
    refused: BTreeMap<u32, String>,
    /// Something was listed that was not there: so often it is listed once more.
    again: u8,
    /// Messages that are counted, and not listed.
    unlisted: u32,
    care: Care,
    failed: Option<Failure>,
}

/// The bodies that pass, by number.
async fn bodies(mut inbox: mpsc::Receiver<Parcel>) -> BTreeMap<u64, Vec<u8>> {
    let (mut found, mut current) = (BTreeMap::new(), None);
    while let Some(parcel) = inbox.recv().await {
        match parcel {
            Parcel::Begin(piece) => current = Some((piece, Vec::new())),
            Parcel::Data(data) => current.iter_mut().for_each(|(_, body)| body.extend(&data)),
            Parcel::End => found.extend(current.take()),
            Parcel::Abandon => current = None,
        }
    }
    found
}

impl Client {
    /// One connection: lists, fetches what is not here, deletes what is.
    async fn go(&mut self, session: &mut Session<Parcel>, delete: bool) -> Result<(), Failure> {
        let examined = session.examine(b"INBOX").await?;
        let listed = session.list_messages(examined, &mut self.care).await?;
        self.unlisted = listed.unlisted;
        let todo: Vec<(u32, u32)> =
            listed.messages.into_iter().filter(|(uid, _)| !self.stored.contains_key(uid)).collect();
        let (sink, inbox) = mpsc::channel(64);
        let fetching = async {
            let mut fetch = Fetch::start(session, &todo, sink, &mut self.care);
            let mut came = Vec::new();
            let ended = loop {
                match fetch.next().await {
                    Ok(Some(Event::Message(message))) => came.push((message.uid, message.piece)),
                    Ok(Some(Event::Stray(_))) => {}
                    Ok(None) => break Ok(()),
                    Err(failure) => break Err(failure),
                }
            };
            (came, ended, fetch.left())
        };
        let ((came, ended, left), mut bodies) = tokio::join!(fetching, bodies(inbox));
        for (uid, piece) in came {
            let body = bodies.remove(&piece).expect("a message that is named has come");
            assert!(self.stored.insert(uid, body).is_none(), "{uid} came twice");
        }
        ended?;
        self.refused.clear();
        let gone = left.iter().any(|(_, left)| *left == Left::Vanished);
        self.again = if gone { self.again + 1 } else { 0 };
        for (uid, left) in left {
            match left {
                Left::Vanished => drop(self.vanished.insert(uid)),
                Left::Refused(words) => drop(self.refused.insert(uid, words)),
            }
        }
        if delete {
            let uids: UidSet = self.stored.keys().copied().collect();
            session.delete(b"INBOX", UIDVALIDITY, &uids).await?;
        }
        Ok(())
    }
}

async fn play(seed: u64) -> (Arc<Mutex<Server>>, Client, bool) {
    let server = Arc::new(Mutex::new(Server::new(seed)));
    let delete = Dice(seed ^ 0xde1e7e).in_100(50);
    let mut client = Client::default();
    for _ in 0..CONNECTIONS {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let peer = tokio::spawn(serve(Arc::clone(&server), theirs));
        let mut stream = Stream::memory(ours);
        stream.set_stall(Duration::from_millis(25));
        let mut session = Session::with(stream, &["UIDPLUS"]);
        let went = tokio::time::timeout(Duration::from_secs(20), client.go(&mut session, delete)).await;
        drop(session);
        peer.abort();
        client.failed = went
            .unwrap_or_else(|_| {
                panic!("schedule {seed} goes on for ever: {}", server.lock().unwrap().told.join("\n"))
            })
            .err();
        if client.failed.is_none() && (client.again == 0 || client.again > 2) {
            break;
        }
    }
    (server, client, delete)
}

/// What must hold, whatever the server does.
fn judge(server: &Server, client: &Client, faults: usize) {
    let body = |uid: &u32| server.mails.get(uid).map(|mail| &mail.body).or_else(|| server.expunged.get(uid));
    for (uid, stored) in &client.stored {
        let Some(body) = body(uid) else {
            assert!(server.taken.contains(uid), "{uid} was never there");
            continue;
        };
        assert!(
            stored == body,
            "{uid} has other bytes here:\n{}\n--\n{}",
            stored.escape_ascii(),
            body.escape_ascii()
        );
    }
    for uid in server.expunged.keys() {
        assert!(client.stored.contains_key(uid), "{uid} was deleted, and is not here");
    }
    for uid in &client.vanished {
        // Others may have been listed that never were.
        assert!(!server.mails.contains_key(uid), "{uid} is called gone, and is there");
    }
    for uid in server.mails.keys().filter(|uid| !client.stored.contains_key(uid)) {
        let told = client.refused.contains_key(uid) || client.failed.is_some() || client.unlisted > 0;
        assert!(told, "{uid} is lost without a word");
    }
    if faults < 3 {
        // A server that slips once is asked again, and gives everything. Twice over one message alone, and that one is named.
        assert!(client.failed.is_none(), "{:?}", client.failed);
        let lost: Vec<_> = client.refused.iter().filter(|(uid, _)| server.mails.contains_key(uid)).collect();
        assert!(lost.len() <= usize::from(faults == 2), "{lost:?}");
    }
}

/// Plays a schedule, and says which one it was if it fails.
fn schedule(seed: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (server, client, delete) = runtime.block_on(play(seed));
    let server = server.lock().unwrap();
    let faults = Server::new(seed).faults;
    let judged = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| judge(&server, &client, faults)));
    if let Err(why) = judged {
        let told = server.told.join("\n");
        panic!("schedule {seed}, deletion {delete}:\n{told}\n{}", why.downcast_ref::<String>().unwrap());
    }
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn nothing_is_taken_for_another_message() {
    let (first, count) = (number("MAILHAUL_SEED", 1), number("MAILHAUL_SCHEDULES", FEW));
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get().min(4)) as u64;
    std::thread::scope(|scope| {
        let play = |thread: u64| (first + thread..first + count).step_by(threads as usize).for_each(schedule);
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || play(thread))).collect();
        for thread in running {
            if let Err(why) = thread.join() {
                std::panic::resume_unwind(why);
            }
        }
    });
}
