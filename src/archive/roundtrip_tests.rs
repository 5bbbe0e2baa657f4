//! Any messages, written by a generator as mbox, tar or zip, come back as exactly these messages, or the file is refused.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tokio_util::sync::CancellationToken;

use super::*;

/// What came out of a file.
#[derive(Debug, Default)]
pub(super) struct Came {
    /// Folder by folder, with the line ends of a store.
    pub(super) messages: BTreeMap<String, Vec<String>>,
    pub(super) left: Vec<String>,
    pub(super) passed: Vec<NoMail>,
    current: Vec<u8>,
}

impl Came {
    pub(super) fn all(&self) -> Vec<String> {
        let mut all: Vec<String> = self.messages.values().flatten().cloned().collect();
        all.sort();
        all
    }
}

impl Take for Came {
    fn folder(&mut self, _: FolderPath, _: &str) -> io::Result<()> {
        Ok(())
    }
    fn begin(&mut self) -> io::Result<()> {
        self.current.clear();
        Ok(())
    }
    fn data(&mut self, octets: &[u8]) -> io::Result<()> {
        self.current.extend_from_slice(octets);
        Ok(())
    }
    fn end(&mut self, letter: Letter, _: &str) -> io::Result<()> {
        let folder = letter.folder.unwrap_or_else(FolderPath::inbox).to_string();
        let text = String::from_utf8_lossy(&self.current).replace("\r\n", "\n");
        self.messages.entry(folder).or_default().push(text);
        Ok(())
    }
    fn abandon(&mut self) -> io::Result<()> {
        self.current.clear();
        Ok(())
    }
    fn skip(&mut self, shown: &str, _: Option<u64>, reason: &str) {
        self.left.push(format!("{shown}: {reason}"));
    }
    fn pass(&mut self, kind: NoMail) {
        self.passed.push(kind);
    }
}

/// Takes a file apart.
pub(super) fn read(content: &[u8], name: &str) -> (Came, io::Result<()>) {
    let spool = tempfile::tempfile;
    let mut file = spool().unwrap();
    file.write_all(content).unwrap();
    let mut came = Came::default();
    let input = Input::new(File::try_clone(&file).unwrap(), CancellationToken::new()).unwrap();
    let done = unpack(input, name, Bounds::default(), &spool, &mut came);
    (came, done)
}

/// The same cases at every run; others with `MAILHAUL_SEED`.
fn checked<S: Strategy>(cases: u32, of: &S, check: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let mut seed = [7; 32];
    if let Ok(other) = std::env::var("MAILHAUL_SEED") {
        let octets = ring::digest::digest(&ring::digest::SHA256, other.as_bytes());
        seed.copy_from_slice(octets.as_ref());
    }
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    runner.run(of, check).unwrap();
}

/// A message: fields, an empty line, lines of which some are easily taken for the beginning of another message.
fn message() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        4 => "[a-z ,.]{0,30}",
        1 => Just("From here on".to_owned()),
        1 => Just("From a@b Thu Jan  1 00:00:07 2015".to_owned()),
        1 => Just("From ".to_owned()),
        1 => Just("From user@host".to_owned()),
        1 => Just(">From there".to_owned()),
        1 => Just(">>From afar".to_owned()),
        1 => Just("Subject: inside".to_owned()),
        1 => Just(String::new()),
    ];
    let fields = prop::collection::vec("X-[A-Za-z]{1,8}: [a-z ]{0,20}", 0..3);
    (0..1000u32, fields, prop::collection::vec(line, 0..12)).prop_map(|(n, fields, lines)| {
        let fields: String = fields.iter().map(|field| format!("{field}\n")).collect();
        let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
        format!("Subject: {n}\n{fields}\n{body}")
    })
}

/// How a writer of mailboxes marks lines, and where it says how long a message is.
#[derive(Debug, Clone, Copy)]
enum Dialect {
    /// Each line with `From ` behind any number of `>` gets one more.
    Rd,
    /// Only bare ones do: what was marked before cannot be told from that.
    O,
    /// Content-Length, and as mboxrd.
    Cl,
    /// Content-Length, and no marks.
    Cl2,
}

fn from_line() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("From a@b Thu Jan  1 00:00:07 2015".to_owned()),
        Just("From - Thu Jan 01 00:00:07 2015".to_owned()),
        Just("From 12@xxx Thu Jan 01 00:00:07 +0000 2015".to_owned()),
        Just("From ".to_owned()),
        Just("From - ".to_owned()),
        Just("From user@host".to_owned()),
        "From -[0-9]{1,9}",
    ]
}

fn quoted(text: &str, dialect: Dialect) -> String {
    let (head, body) = text.split_once("\n\n").unwrap();
    let marked = |line: &str| {
        let bare = line.trim_start_matches('>');
        let quote = match dialect {
            Dialect::Rd | Dialect::Cl => bare.starts_with("From "),
            Dialect::O => line.starts_with("From "),
            Dialect::Cl2 => false,
        };
        if quote { format!(">{line}") } else { line.to_owned() }
    };
    let body: String = body.split_inclusive('\n').map(marked).collect();
    let length = match dialect {
        Dialect::Cl | Dialect::Cl2 => format!("\nContent-Length: {}", body.len()),
        Dialect::Rd | Dialect::O => String::new(),
    };
    format!("{head}{length}\n\n{body}")
}

/// Without the line that a writer put in.
fn without_length(text: &str) -> String {
    text.split_inclusive('\n').filter(|line| !line.starts_with("Content-Length: ")).collect()
}

#[test]
fn a_mailbox_gives_its_messages() {
    let dialect = prop_oneof![Just(Dialect::Rd), Just(Dialect::O), Just(Dialect::Cl), Just(Dialect::Cl2)];
    let mails = prop::collection::vec((from_line(), message()), 1..8);
    let case = (dialect, mails, any::<bool>(), any::<bool>());
    checked(1500, &case, |(dialect, mut mails, wide, blank)| {
        let (mut text, mut expected) = (String::new(), Vec::new());
        for (line, mail) in &mut mails {
            if matches!(dialect, Dialect::O | Dialect::Cl2) {
                // It cannot carry these.
                *mail = mail.replace(">From", "-From");
            }
            text.push_str(&format!("{line}\n{}", quoted(mail, dialect)));
            // Without an empty line, a From line needs its header.
            if blank || matches!(dialect, Dialect::Cl | Dialect::Cl2) {
                text.push('\n');
            }
            expected.push(mail.clone());
        }
        if !blank && !matches!(dialect, Dialect::Cl | Dialect::Cl2) {
            // The last empty line of a message is the file's then.
            expected.iter_mut().for_each(|mail| {
                if mail.ends_with("\n\n") {
                    mail.pop();
                }
            });
        }
        expected.sort();
        let text = if wide { text.replace('\n', "\r\n") } else { text };
        // Lengths count bytes of the file as it was written.
        prop_assume!(!wide || matches!(dialect, Dialect::Rd | Dialect::O));
        let (came, done) = read(text.as_bytes(), "box");
        prop_assert!(done.is_ok(), "{done:?}");
        prop_assert_eq!(&came.left, &Vec::<String>::new());
        let mut found: Vec<String> = came.all().iter().map(|text| without_length(text)).collect();
        found.sort();
        prop_assert_eq!(found, expected, "{:?}\n{}", dialect, text);
        Ok(())
    });
}

/// Paths in an archive, each another one.
fn paths(count: usize) -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec("([a-z]{1,4}/){0,3}", count..=count)
        .prop_map(|list| list.iter().enumerate().map(|(n, above)| format!("{above}{n}.eml")).collect())
}

#[test]
fn an_archive_gives_its_messages_or_says_that_it_is_cut_off() {
    let case = prop::collection::vec(message(), 1..8)
        .prop_flat_map(|mails| (paths(mails.len()), Just(mails), any::<prop::sample::Index>(), 0..4u8));
    checked(400, &case, |(paths, mails, at, how)| {
        let mut whole = Vec::new();
        if how % 2 == 0 {
            let mut tar = ::tar::Builder::new(&mut whole);
            for (path, mail) in paths.iter().zip(&mails) {
                let mut header = ::tar::Header::new_gnu();
                header.set_size(mail.len() as u64);
                header.set_mode(0o600);
                tar.append_data(&mut header, path, mail.as_bytes()).unwrap();
            }
            tar.finish().unwrap();
        } else {
            let mut zip = rawzip::ZipArchiveWriter::new(io::Cursor::new(&mut whole));
            for (path, mail) in paths.iter().zip(&mails) {
                let (mut entry, config) = zip.new_file(path.as_str()).start().unwrap();
                let mut writer = config.wrap(&mut entry);
                writer.write_all(mail.as_bytes()).unwrap();
                let (_, output) = writer.finish().unwrap();
                entry.finish(output).unwrap();
            }
            zip.finish().unwrap();
        }
        let mut expected = mails.clone();
        expected.sort();
        let (came, done) = read(&whole, "a");
        prop_assert!(done.is_ok() && came.left.is_empty(), "{done:?} {:?}", came.left);
        prop_assert_eq!(came.all(), expected.clone());
        // Cut off anywhere: fewer come only with a word.
        let cut = at.index(whole.len());
        let (came, done) = read(whole.get(..cut).unwrap(), "a");
        let told = done.is_err() || !came.left.is_empty();
        prop_assert!(
            told || came.all() == expected || came.all().is_empty() && cut == 0,
            "cut at {cut}: {came:?}"
        );
        Ok(())
    });
}
