//! One connection: greeting, TLS, login, lists, and commands whose end is their own tagged answer. It refuses
//! to send a password over a connection that should be protected and is not.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_imap::Client;
use tokio::io::AsyncWriteExt;
use zeroize::Zeroizing;

use super::answers::{self, Namespaces};
use super::layout::Software;
use super::refusal::{quote, refusal};
use super::response::{Response, Said, Status};
use super::transport::{NoGreeting, SinkGone, Transport};
use super::without::Ways;
use crate::account::{Security, Source};
use crate::failure::{Failure, Kind};
use crate::message::{Flags, FolderPath, Parcel, UidSet};
use crate::net::{Connector, Quirk, Quirks, Stream, io_failure};
use crate::secret::Secret;

/// What to do about a server that does not keep to the protocol.
const STAYS: &str = "it is tried again; if it stays, tell the server's administrator";

/// Untagged responses that one command may bring; the largest folder has fewer messages.
pub(super) const MOST_RESPONSES: u64 = 20_000_000;

/// So often is asked whether a session is in step, and so long is waited for the answer.
const STEPS: u8 = 3;
const STEP: Duration = if cfg!(test) { Duration::from_millis(15) } else { Duration::from_secs(10) };

/// Clocks that servers take UIDVALIDITY from stay below this until 2038.
const UNNUMBERED: u32 = 1 << 31;

/// So long is waited for the answer to a command that nobody needs.
const OPTIONAL: Duration = Duration::from_secs(20);

/// A connection that is logged in.
pub struct Session<T: From<Parcel> + Send + 'static> {
    client: Client<Transport<T>>,
    tags: u64,
    pub(super) capabilities: BTreeSet<String>,
    pub(super) namespaces: Namespaces,
    pub(super) foreign: Vec<FolderPath>,
    /// By its own words.
    pub(super) software: Software,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) hint: String,
    bye: Option<String>,
    /// The folder that is open, whether for writing, and its UIDVALIDITY.
    pub(super) opened: Option<(Vec<u8>, bool, u32)>,
    /// What the server asked after our last word, when it refused a token.
    pub(super) challenge: Option<String>,
    /// See [`Session::hurry`].
    pub(super) hurried: bool,
    /// It is logged in, and at work.
    works: bool,
    pub(super) quirks: Arc<Quirks>,
    /// The connection broke over LSUB, or over LIST with RETURN.
    pub(super) optional_broke: bool,
    /// What stands for the UIDVALIDITY of a folder that has none: UIDs count in one session then.
    pub(super) unnumbered: u32,
}

/// How a command ended.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) ok: bool,
    pub(super) text: String,
    pub(super) said: Said,
}

impl Done {
    pub(super) fn new(ok: bool, mut said: Said) -> Done {
        Done { ok, text: std::mem::take(&mut said.text), said }
    }
}

/// A folder that is open for reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Examined {
    /// RFC 3501, 2.3.1.1; never 0. Where the server gives none, one that no other session has.
    pub uidvalidity: u32,
    /// Messages that the server counts.
    pub exists: u32,
    /// The UID that the next message will have, or a later one.
    pub uidnext: Option<u32>,
    /// RFC 7162, 3.1.2.1.
    pub modseq: Option<u64>,
}

/// The messages of a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listed {
    /// UID and RFC822.SIZE, ascending, each UID once. A size is a hint.
    pub messages: Vec<(u32, u32)>,
    /// Messages that the server counts beyond those it lists.
    pub unlisted: u32,
    /// The first line of the listing that nobody could read, if there was one.
    pub unread: Option<String>,
}

/// What a folder's listing says of one message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Detail {
    /// Its UID.
    pub uid: u32,
    /// RFC822.SIZE: a hint.
    pub size: Option<u32>,
    /// Its flags.
    pub flags: Option<Flags>,
    /// INTERNALDATE, seconds since 1970.
    pub received: Option<i64>,
}

impl<T: From<Parcel> + Send + 'static> Session<T> {
    /// Connects to `source`, protects the connection as the account says, and logs in. What the server fails at though
    /// nobody needs it is left out by a second try, and from then on.
    ///
    /// # Errors
    /// Each with its cause and what to do.
    pub async fn open(connector: &Connector, source: &Source, secret: &Secret) -> Result<Self, Failure> {
        let mut ways = Ways::of(connector.quirks(), source);
        loop {
            match Self::open_so(connector, source, secret, &mut ways).await {
                Ok(session) => {
                    ways.learn(connector.quirks(), source);
                    return Ok(session);
                }
                Err(failure) if ways.another(&failure) => {}
                Err(failure) => return Err(failure),
            }
        }
    }

    /// One try.
    async fn open_so(
        connector: &Connector,
        source: &Source,
        secret: &Secret,
        ways: &mut Ways,
    ) -> Result<Self, Failure> {
        let (host, port) = (source.host.as_str(), source.port);
        let connector = &connector.toward(source);
        let mut stream = connector.connect(host, port).await?;
        if source.security == Security::Tls {
            stream = connector.secure(stream, host, source.ca_file.as_deref()).await?;
        }
        let mut session = Self::over(stream, source);
        let mut authenticated = session.greeting(source.security).await?;
        if source.security == Security::StartTls {
            if authenticated {
                return Err(Failure::new(
                    Kind::Tls,
                    format!("{host}:{port} greets as logged in, before TLS"),
                    "use security = \"tls\" with port 993",
                ));
            }
            let software = session.software;
            let stream = session.starttls().await?;
            let stream = connector.secure(stream, host, source.ca_file.as_deref()).await?;
            session = Session { software, ..Self::over(stream, source) };
            authenticated = false;
        }
        if session.capabilities.is_empty() {
            session.ask_capabilities(ways).await?;
        }
        if !authenticated {
            session.transport().stream().set_stall(source.patience.login);
            session.login(source, secret, ways).await?;
        }
        session.transport().stream().begin_work(source.patience.work);
        session.introduce(ways).await?;
        session.works = true;
        session.quirks = Arc::clone(connector.quirks());
        Ok(session)
    }

    fn over(stream: Stream, source: &Source) -> Self {
        Session {
            client: Client::new(Transport::new(stream)),
            tags: 0,
            capabilities: BTreeSet::new(),
            namespaces: Namespaces::default(),
            foreign: Vec::new(),
            software: Software::Other,
            host: source.host.clone(),
            port: source.port,
            hint: source.login_hint.clone(),
            bye: None,
            opened: None,
            challenge: None,
            hurried: false,
            works: false,
            quirks: Arc::default(),
            optional_broke: false,
            unnumbered: rand::random::<u32>() | UNNUMBERED,
        }
    }

    /// Whether the server said that it can do something, such as `LIST-EXTENDED`.
    pub fn can(&self, capability: &str) -> bool {
        self.capabilities.contains(capability)
    }

    /// Whether it expunges single messages: UIDPLUS (RFC 4315 section 2.1), which is part of IMAP4rev2.
    pub fn expunges_alone(&self) -> bool {
        self.can("UIDPLUS") || self.can("IMAP4REV2")
    }

    /// Asks what came into the open folder: Courier gives nothing of it before (RFC 3501, 5.2).
    ///
    /// # Errors
    /// The connection failed.
    pub async fn refresh(&mut self) -> Result<(), Failure> {
        self.run("NOOP").await.map(drop)
    }

    /// What the server calls itself.
    pub fn software(&self) -> Software {
        self.software
    }

    async fn starttls(mut self) -> Result<Stream, Failure> {
        if self.capabilities.is_empty() {
            self.ask_capabilities(&mut Ways::default()).await?;
        }
        let place = format!("{}:{}", self.host, self.port);
        if !self.can("STARTTLS") {
            return Err(Failure::new(
                Kind::Tls,
                format!("{place} offers no STARTTLS"),
                "use security = \"tls\" with port 993, or ask its administrator",
            ));
        }
        let done = self.run("STARTTLS").await?;
        if !done.ok {
            return Err(Failure::new(
                Kind::Tls,
                format!("{place} refuses STARTTLS: {}", quote(&done.text)),
                "",
            ));
        }
        self.client.into_inner().into_stream().ok_or_else(|| {
            Failure::new(
                Kind::Protocol,
                format!("{place} sent data between its answer to STARTTLS and the handshake"),
                "somebody may be tampering with the connection: use security = \"tls\" with port 993",
            )
        })
    }

    pub(super) async fn ask_capabilities(&mut self, ways: &mut Ways) -> Result<(), Failure> {
        if !ways.begin(Quirk::NoCapability) {
            return Ok(());
        }
        let mut found = BTreeSet::new();
        let usual = self.soon();
        let tag = self.send(b"CAPABILITY").await?;
        let done = self
            .finish(&tag, |response| {
                if let Response::Capabilities(names) = response {
                    found = names;
                }
            })
            .await?;
        self.transport().stream().set_stall(usual);
        if !done.ok {
            // What it does not list is not used. Whether its words are about the account shows at the login.
            ways.fails();
        }
        ways.end();
        self.capabilities = found;
        Ok(())
    }

    /// ID (RFC 2971), which some providers demand before the first EXAMINE, and the namespaces.
    async fn introduce(&mut self, ways: &mut Ways) -> Result<(), Failure> {
        let usual = self.soon();
        if self.can("ID") && ways.begin(Quirk::NoId) {
            let command = format!("ID (\"name\" \"mailhaul\" \"version\" \"{}\")", env!("CARGO_PKG_VERSION"));
            self.run(&command).await?;
            while let Some(line) = self.side_line() {
                if says(&line, "cyrus imap") {
                    self.software = Software::Cyrus;
                }
            }
            ways.end();
        }
        if self.can("NAMESPACE") && ways.begin(Quirk::NoNamespace) {
            self.run("NAMESPACE").await?;
            while let Some(line) = self.side_line() {
                if let Some(found) = answers::namespace(&line) {
                    self.namespaces = found;
                }
            }
            ways.end();
        }
        self.transport().stream().set_stall(usual);
        Ok(())
    }

    /// What nobody needs is waited for so long at most; returns how long is waited otherwise.
    pub(super) fn soon(&mut self) -> Duration {
        let usual = self.transport().stream().stall();
        self.transport().stream().set_stall(usual.min(OPTIONAL));
        usual
    }

    /// A session that is logged in, with a server in memory.
    #[cfg(test)]
    pub(super) fn with(stream: Stream, capabilities: &[&str]) -> Self {
        Session {
            client: Client::new(Transport::new(stream)),
            tags: 0,
            capabilities: capabilities.iter().map(|name| (*name).to_owned()).collect(),
            namespaces: Namespaces::default(),
            foreign: Vec::new(),
            software: Software::Other,
            host: "memory".to_owned(),
            port: 143,
            hint: String::new(),
            bye: None,
            opened: None,
            challenge: None,
            hurried: false,
            works: false,
            quirks: Arc::default(),
            optional_broke: false,
            unnumbered: rand::random::<u32>() | UNNUMBERED,
        }
    }

    /// Says goodbye; nothing depends on the answer.
    pub async fn close(mut self) {
        let goodbye = async {
            let tag = self.send(b"LOGOUT").await?;
            self.finish(&tag, |_| {}).await
        };
        let _ = tokio::time::timeout(std::time::Duration::from_secs(5), goodbye).await;
    }

    /// The UIDs of the open folder, opened anew, so that the server counts its messages; `None`: it does not list as many
    /// as it counts.
    pub(super) async fn every_uid(&mut self) -> Result<Option<UidSet>, Failure> {
        let Some((name, writing, uidvalidity)) = self.opened.clone() else { return Ok(None) };
        self.take_unread();
        let examined = self.open_folder(&name, (writing, None)).await?;
        let (mut uids, mut exists, mut twice) = (UidSet::new(), u64::from(examined.exists), false);
        if exists > 0 {
            let tag = self.send(b"UID FETCH 1:* (UID)").await?;
            let each = |response| match response {
                Response::Fetch(item) => {
                    twice |= item.marks.twice;
                    uids.extend(&item.uid.into_iter().collect());
                }
                Response::Expunge => exists = exists.saturating_sub(1),
                _ => {}
            };
            twice |= !self.finish(&tag, each).await?.ok;
        }
        while self.side_line().is_some() {}
        let complete = !self.take_unread() && !twice && uids.len() == exists;
        Ok((complete && examined.uidvalidity == uidvalidity).then_some(uids))
    }

    pub(super) fn transport(&mut self) -> &mut Transport<T> {
        self.client.get_mut()
    }

    /// What the server says of itself: names in upper case.
    pub fn capabilities(&self) -> &BTreeSet<String> {
        &self.capabilities
    }

    pub(super) fn side_line(&mut self) -> Option<Vec<u8>> {
        self.transport().side_line()
    }

    /// The first answer to a listing that nobody could read, fit to be shown. Nothing waits aside any more then.
    pub(super) fn unread(&mut self) -> Option<String> {
        let mut first = None;
        while let Some(line) = self.side_line() {
            first = first.or_else(|| answers::unread_fetch(&line));
        }
        first
    }

    /// Demands that every answer to a listing could be read.
    pub(super) fn all_read(&mut self) -> Result<(), Failure> {
        match self.unread() {
            None => Ok(()),
            Some(line) => Err(super::list::unreadable(&line)),
        }
    }

    /// Whether anything came since this was asked last that nobody can read.
    pub(super) fn take_unread(&mut self) -> bool {
        self.transport().take_unread()
    }

    /// Whether the session is in step: a NOOP is answered, nothing that cannot be read comes before that, and nothing
    /// behind it.
    pub(super) async fn is_in_step(&mut self) -> Result<bool, Failure> {
        for _ in 0..STEPS {
            self.take_unread();
            let tag = self.send(b"NOOP").await?;
            let mut late = false;
            let each = |response| late |= matches!(response, Response::Fetch(item) if item.body.is_some());
            let Ok(done) = tokio::time::timeout(STEP, self.finish(&tag, each)).await else {
                return Ok(false);
            };
            let done = done?;
            while self.side_line().is_some() {}
            if done.ok && !late && !self.take_unread() && self.transport().is_drained() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) async fn run(&mut self, command: &str) -> Result<Done, Failure> {
        let tag = self.send(command.as_bytes()).await?;
        self.finish(&tag, |_| {}).await
    }

    /// Sends a command with a tag of its own. The parser's crate never sees it, so it logs no password.
    pub(super) async fn send(&mut self, command: &[u8]) -> Result<String, Failure> {
        let tag = self.next_tag();
        let line = Zeroizing::new([tag.as_bytes(), b" ", command, b"\r\n"].concat());
        self.write(&line).await?;
        Ok(tag)
    }

    pub(super) fn next_tag(&mut self) -> String {
        self.tags += 1;
        format!("A{}", self.tags)
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let transport = self.client.get_mut();
        let written = async {
            transport.write_all(bytes).await?;
            transport.flush().await
        };
        written.await.map_err(|e| self.io(&e))
    }

    /// Waits until the server asks for more; `Some`: it ended the command instead.
    pub(super) async fn continuation(&mut self, tag: &str) -> Result<Option<Done>, Failure> {
        loop {
            match self.response().await? {
                Response::Continue(_) => return Ok(None),
                Response::Done { tag: theirs, ok, said } if theirs == tag => {
                    return Ok(Some(Done::new(ok, said)));
                }
                _ => {}
            }
        }
    }

    /// Reads until the tagged answer of `tag`; everything else goes to `each`.
    pub(super) async fn finish(
        &mut self,
        tag: &str,
        mut each: impl FnMut(Response),
    ) -> Result<Done, Failure> {
        for _ in 0..MOST_RESPONSES {
            match self.response().await? {
                Response::Done { tag: theirs, ok, said } if theirs == tag => {
                    return Ok(Done::new(ok, said));
                }
                other => each(other),
            }
        }
        Err(self.broken("never ends its answer"))
    }

    /// The next response. The end of the connection is an error, always.
    pub(super) async fn response(&mut self) -> Result<Response, Failure> {
        match self.client.read_response().await {
            Ok(Some(response)) => {
                let mut response = Response::read(response.parsed());
                if let Response::Fetch(item) = &mut response {
                    item.marks = self.client.get_mut().marks();
                }
                if let Response::Status { status: Status::Bye, said } = &response {
                    self.bye = Some(said.text.clone());
                }
                Ok(response)
            }
            Ok(None) => Err(self.ended()),
            Err(e) => Err(self.io(&e)),
        }
    }

    fn ended(&mut self) -> Failure {
        let place = format!("{}:{}", self.host, self.port);
        match self.bye.take() {
            Some(text) => {
                let step = format!("{place} ended the connection");
                let failure = refusal(&step, &text, Kind::Disconnected, &self.hint);
                // It took the login: it has trouble with what it was asked for, by all that is known.
                let doubtful = matches!(failure.kind, Kind::Throttled | Kind::InUse | Kind::Credentials);
                match failure.kind {
                    Kind::Unavailable if self.works => {
                        Failure { kind: Kind::Disconnected, mend: "it is tried again".to_owned(), ..failure }
                    }
                    _ => Failure { ended: self.works && doubtful && failure.wait.is_none(), ..failure },
                }
            }
            None => Failure::new(
                Kind::Disconnected,
                format!("{place} closed the connection"),
                "it is tried again",
            ),
        }
    }

    pub(super) fn io(&mut self, error: &io::Error) -> Failure {
        if let Some(inner) = error.get_ref() {
            if inner.is::<SinkGone>() {
                return Failure::new(Kind::Destination, "the delivery stopped", "");
            }
            if let Some(NoGreeting(line)) = inner.downcast_ref() {
                return self.no_greeting(line);
            }
            if error.kind() == io::ErrorKind::Other {
                return self.broken(&inner.to_string());
            }
        }
        if self.bye.is_some() {
            return self.ended();
        }
        io_failure(&self.host, self.port, error)
    }

    pub(super) fn broken(&self, what: &str) -> Failure {
        // The parser's own errors quote what it read; that may be a message.
        let what =
            if what.contains("during parsing of") { "sent an answer that cannot be read" } else { what };
        Failure::new(Kind::Protocol, format!("{}:{} {what}", self.host, self.port), STAYS)
    }
}

/// Whether a line has these words, in any case.
pub(super) fn says(line: &[u8], words: &str) -> bool {
    line.windows(words.len()).any(|part| part.eq_ignore_ascii_case(words.as_bytes()))
}
