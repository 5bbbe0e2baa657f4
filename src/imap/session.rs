//! One connection: greeting, TLS, login, lists, and commands whose end is their own tagged answer. It refuses
//! to send a password over a connection that should be protected and is not.

use std::collections::BTreeSet;
use std::io;

use async_imap::Client;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::AsyncWriteExt;
use zeroize::Zeroizing;

use super::answers::{self, Namespaces};
use super::command::quoted;
use super::refusal::{quote, refusal};
use super::response::{Response, Said, Status};
use super::transport::{SinkGone, Transport};
use crate::account::{Security, Source};
use crate::failure::{Failure, Kind};
use crate::message::{Flags, Parcel};
use crate::net::{Connector, Stream, io_failure};
use crate::secret::Secret;

/// Untagged responses that one command may bring; the largest folder has fewer messages.
pub(super) const MOST_RESPONSES: u64 = 20_000_000;

/// A connection that is logged in.
pub struct Session<T: From<Parcel> + Send + 'static> {
    client: Client<Transport<T>>,
    tags: u64,
    capabilities: BTreeSet<String>,
    pub(super) namespaces: Namespaces,
    host: String,
    port: u16,
    hint: String,
    bye: Option<String>,
}

/// How a command ended.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) ok: bool,
    pub(super) text: String,
    pub(super) said: Said,
}

impl Done {
    fn new(ok: bool, mut said: Said) -> Done {
        Done { ok, text: std::mem::take(&mut said.text), said }
    }
}

/// A folder that is open for reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Examined {
    /// RFC 3501, 2.3.1.1; never 0.
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
    /// Connects to `source`, protects the connection as the account says, and logs in.
    ///
    /// # Errors
    /// Each with its cause and what to do.
    pub async fn open(connector: &Connector, source: &Source, secret: &Secret) -> Result<Self, Failure> {
        let (host, port) = (source.host.as_str(), source.port);
        let mut stream = connector.connect(host, port).await?;
        if source.security == Security::Tls {
            stream = connector.secure(stream, host, source.ca_file.as_deref()).await?;
        }
        let mut session = Self::over(stream, source);
        let mut authenticated = session.greeting().await?;
        if source.security == Security::StartTls {
            if authenticated {
                return Err(Failure::new(
                    Kind::Tls,
                    format!("{host}:{port} greets as logged in, before TLS"),
                    "use security = \"tls\" with port 993",
                ));
            }
            let stream = session.starttls().await?;
            let stream = connector.secure(stream, host, source.ca_file.as_deref()).await?;
            session = Self::over(stream, source);
            authenticated = false;
        }
        if session.capabilities.is_empty() {
            session.ask_capabilities().await?;
        }
        if !authenticated {
            session.login(source, secret).await?;
        }
        session.introduce().await?;
        Ok(session)
    }

    fn over(stream: Stream, source: &Source) -> Self {
        Session {
            client: Client::new(Transport::new(stream)),
            tags: 0,
            capabilities: BTreeSet::new(),
            namespaces: Namespaces::default(),
            host: source.host.clone(),
            port: source.port,
            hint: source.login_hint.clone(),
            bye: None,
        }
    }

    /// Whether the server said that it can do something, such as `LIST-EXTENDED`.
    pub fn can(&self, capability: &str) -> bool {
        self.capabilities.contains(capability)
    }

    /// `true`: logged in already (PREAUTH).
    async fn greeting(&mut self) -> Result<bool, Failure> {
        let first = self.response().await.map_err(|failure| self.turned_away(failure))?;
        let Response::Status { status, said } = first else {
            return Err(self.broken("does not greet as an IMAP server"));
        };
        self.capabilities = said.capabilities.unwrap_or_default();
        match status {
            Status::Ok => Ok(false),
            Status::PreAuth => Ok(true),
            _ => {
                let step = format!("{}:{} turns us away", self.host, self.port);
                Err(refusal(&step, &said.text, Kind::Unavailable, ""))
            }
        }
    }

    /// A connection that ends before the greeting: servers that count connections do so without a word.
    fn turned_away(&self, failure: Failure) -> Failure {
        if failure.kind != Kind::Disconnected {
            return failure;
        }
        Failure::new(
            Kind::Throttled,
            format!("{}:{} closed the connection before it greeted", self.host, self.port),
            "it is tried again; if it stays, there may be too many connections from here",
        )
    }

    async fn starttls(mut self) -> Result<Stream, Failure> {
        if self.capabilities.is_empty() {
            self.ask_capabilities().await?;
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

    async fn ask_capabilities(&mut self) -> Result<(), Failure> {
        let mut found = BTreeSet::new();
        let tag = self.send(b"CAPABILITY").await?;
        let done = self
            .finish(&tag, |response| {
                if let Response::Capabilities(names) = response {
                    found = names;
                }
            })
            .await?;
        if !done.ok {
            return Err(self.broken("refuses CAPABILITY"));
        }
        self.capabilities = found;
        Ok(())
    }

    async fn login(&mut self, source: &Source, secret: &Secret) -> Result<(), Failure> {
        let password = secret.expose();
        if password.iter().any(|b| matches!(b, 0 | b'\r' | b'\n')) {
            return Err(Failure::new(Kind::Secret, "the password has a line end in it", "mend the secret"));
        }
        let user = source.username.as_bytes();
        let before = std::mem::take(&mut self.capabilities);
        let done = if before.contains("AUTH=PLAIN") {
            let whom = source.authorize_as.as_deref().unwrap_or_default().as_bytes();
            let room = whom.len() + user.len() + password.len() + 2;
            let mut plain = Zeroizing::new(Vec::with_capacity(room));
            plain.extend_from_slice(whom);
            plain.push(0);
            plain.extend_from_slice(user);
            plain.push(0);
            plain.extend_from_slice(password);
            let coded = Zeroizing::new(STANDARD.encode(plain.as_slice()));
            if before.contains("SASL-IR") {
                let command = Zeroizing::new(format!("AUTHENTICATE PLAIN {}", coded.as_str()));
                let tag = self.send(command.as_bytes()).await?;
                self.finish_login(&tag).await?
            } else {
                let tag = self.send(b"AUTHENTICATE PLAIN").await?;
                match self.continuation(&tag).await? {
                    None => {
                        let line = Zeroizing::new(format!("{}\r\n", coded.as_str()));
                        self.write(line.as_bytes()).await?;
                        self.finish_login(&tag).await?
                    }
                    Some(done) => done,
                }
            }
        } else if source.authorize_as.is_some() {
            return Err(Failure::new(
                Kind::Unsupported,
                format!("{}:{} offers no AUTH=PLAIN, so nobody can log in for another", self.host, self.port),
                "use security = \"tls\" or \"starttls\", or a login that names the member",
            ));
        } else if before.contains("LOGINDISABLED") {
            return Err(Failure::new(
                Kind::Unsupported,
                format!("{}:{} allows no login by password on this connection", self.host, self.port),
                "use security = \"tls\" or \"starttls\"",
            ));
        } else {
            self.login_command(user, password).await?
        };
        if !done.ok {
            let step = format!("{}:{} refuses the login of {}", self.host, self.port, source.username);
            return Err(refusal(&step, &done.text, Kind::Credentials, &self.hint));
        }
        if self.capabilities.is_empty() {
            self.ask_capabilities().await?;
        }
        Ok(())
    }

    async fn login_command(&mut self, user: &[u8], password: &[u8]) -> Result<Done, Failure> {
        let plain = |text: &[u8]| text.iter().all(|b| matches!(b, b' '..=b'~'));
        if plain(user)
            && plain(password)
            && let (Some(user), Some(password)) = (quoted(user), quoted(password).map(Zeroizing::new))
        {
            let command = Zeroizing::new([b"LOGIN ", user.as_slice(), b" ", password.as_slice()].concat());
            let tag = self.send(&command).await?;
            return self.finish_login(&tag).await;
        }
        let tag = self.send(format!("LOGIN {{{}}}", user.len()).as_bytes()).await?;
        for (text, next) in [(user, Some(password.len())), (password, None)] {
            if let Some(done) = self.continuation(&tag).await? {
                return Ok(done);
            }
            let mut line = Zeroizing::new(text.to_vec());
            if let Some(next) = next {
                line.extend_from_slice(format!(" {{{next}}}").as_bytes());
            }
            line.extend_from_slice(b"\r\n");
            self.write(&line).await?;
        }
        self.finish_login(&tag).await
    }

    /// ID (RFC 2971), which some providers demand before the first EXAMINE, and the namespaces.
    async fn introduce(&mut self) -> Result<(), Failure> {
        if self.can("ID") {
            let command = format!("ID (\"name\" \"mailhaul\" \"version\" \"{}\")", env!("CARGO_PKG_VERSION"));
            self.run(&command).await?;
        }
        if self.can("NAMESPACE") {
            self.run("NAMESPACE").await?;
            while let Some(line) = self.side_line() {
                if let Some(found) = answers::namespace(&line) {
                    self.namespaces = found;
                }
            }
        }
        Ok(())
    }

    /// Opens a folder for reading only. `name` is the server's own.
    ///
    /// # Errors
    /// [`Kind::Folder`] if it cannot be opened.
    pub async fn examine(&mut self, name: &[u8]) -> Result<Examined, Failure> {
        self.open_folder(name, false).await
    }

    pub(super) async fn open_folder(&mut self, name: &[u8], writing: bool) -> Result<Examined, Failure> {
        let folder_failure = |words: String| Failure::new(Kind::Folder, words, "");
        let Some(quoted) = quoted(name) else {
            return Err(folder_failure(
                "its name holds a line end or a NUL, so it cannot be asked for".to_owned(),
            ));
        };
        let command = if writing { b"SELECT ".as_slice() } else { b"EXAMINE " };
        let tag = self.send(&[command, quoted.as_slice()].concat()).await?;
        let (mut uidvalidity, mut exists, mut uidnext, mut modseq) = (None, 0, None, None);
        let done = self
            .finish(&tag, |response| match response {
                Response::Status { said, .. } => {
                    uidvalidity = said.uidvalidity.or(uidvalidity);
                    uidnext = said.uidnext.or(uidnext);
                    modseq = said.modseq.or(modseq);
                }
                Response::Exists(count) => exists = count,
                _ => {}
            })
            .await?;
        if !done.ok {
            return Err(refusal("the server does not open it", &done.text, Kind::Folder, ""));
        }
        match uidvalidity {
            Some(uidvalidity) if uidvalidity > 0 => Ok(Examined { uidvalidity, exists, uidnext, modseq }),
            _ => Err(folder_failure(
                "the server gives it no UIDVALIDITY, so its messages cannot be told apart".to_owned(),
            )),
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

    pub(super) fn transport(&mut self) -> &mut Transport<T> {
        self.client.get_mut()
    }

    /// What the server says of itself: names in upper case.
    pub(super) fn capabilities(&self) -> &BTreeSet<String> {
        &self.capabilities
    }

    pub(super) fn side_line(&mut self) -> Option<Vec<u8>> {
        self.transport().side_line()
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
                Response::Continue => return Ok(None),
                Response::Done { tag: theirs, ok, said } if theirs == tag => {
                    return Ok(Some(Done::new(ok, said)));
                }
                _ => {}
            }
        }
    }

    async fn finish_login(&mut self, tag: &str) -> Result<Done, Failure> {
        loop {
            match self.response().await? {
                Response::Capabilities(names) => self.capabilities = names,
                // A challenge after the last word of PLAIN: the server wants to tell an error.
                Response::Continue => self.write(b"\r\n").await?,
                Response::Done { tag: theirs, ok, said } if theirs == tag => {
                    if let Some(names) = &said.capabilities {
                        self.capabilities.clone_from(names);
                    }
                    return Ok(Done::new(ok, said));
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
                let response = Response::read(response.parsed());
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
                refusal(&format!("{place} ended the connection"), &text, Kind::Disconnected, &self.hint)
            }
            None => Failure::new(
                Kind::Disconnected,
                format!("{place} closed the connection"),
                "it is tried again",
            ),
        }
    }

    fn io(&mut self, error: &io::Error) -> Failure {
        if let Some(inner) = error.get_ref() {
            if inner.is::<SinkGone>() {
                return Failure::new(Kind::Destination, "the delivery stopped", "");
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
        Failure::new(
            Kind::Protocol,
            format!("{}:{} {what}", self.host, self.port),
            "it is tried again; if it stays, tell the server's administrator",
        )
    }
}
