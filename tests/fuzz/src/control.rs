//! The control socket with a caller who may send anything: the real service behind one end of a stream, the
//! octets at the other. It demands that every answer is whole and is JSON, and that who may not control the
//! daemon learns nothing but what it is.

use std::sync::Arc;

use mailhaul::audit::Audit;
use mailhaul::config::{Environment, Reader};
use mailhaul::control::{Desk, attend};
use mailhaul::engine::{Manager, Means, Slots};
use mailhaul::journal::Journal;
use mailhaul::net::Connector;
use mailhaul::sealed::Vault;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tokio::task::{LocalSet, yield_now};

/// A definition that cannot run: it is listed and shown, and nothing that is asked has consequences.
const ACCOUNT: &[u8] = b"[[account]]\nname = \"alice-old\"\nmember = \"alice@example.com\"\nagreed = false\n\
    [account.source]\nprotocol = \"pop3\"\nserver = \"gmail\"\nusername = \"alice\"\n[account.poll]\n";

/// After so many looks without a word, a conversation is one that waits for something to happen.
const LOOKS: usize = 40;

struct Stage {
    runtime: Runtime,
    desk: Arc<Desk>,
    _state: tempfile::TempDir,
}

impl Stage {
    fn new() -> Stage {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let state = tempfile::tempdir().unwrap();
        let inside = runtime.enter();
        let loaded = Reader::default().read(b"", b"", ACCOUNT).unwrap();
        let journal = Journal::open(&state.path().join("state")).unwrap().journal;
        let connector = Connector::new(false).unwrap();
        let (vault, audit) = (Vault::open(state.path(), None).unwrap(), Audit::new(state.path()));
        let (settings, environment) = (loaded.settings, Environment::default());
        let tokens = Arc::default();
        let means = Means {
            providers: Arc::default(),
            slots: Slots::of(&settings),
            settings,
            environment,
            connector,
            journal,
            vault,
            tokens,
            audit: audit.clone(),
        };
        let manager = Manager::new(means.clone(), false);
        assert_eq!((loaded.accounts.len(), loaded.broken.len()), (0, 1));
        manager.set_accounts(means, loaded.accounts, loaded.broken).unwrap();
        let (orders, _) = tokio::sync::mpsc::channel(1);
        let (warnings, rates) = Default::default();
        let desk = Arc::new(Desk { manager, orders, audit, started_at: 0, warnings, rates });
        drop(inside);
        Stage { runtime, desk, _state: state }
    }

    /// What the service answers to `wire`, and whether it closed the line.
    fn ask(&self, wire: &[u8], admitted: bool) -> (Vec<u8>, bool) {
        let talk = async {
            let (mut ours, theirs) = UnixStream::pair().unwrap();
            let served = tokio::task::spawn_local(attend(theirs, admitted, Arc::clone(&self.desk)));
            let mut rest = wire;
            let (mut answer, mut looks, mut buffer) = (Vec::new(), 0, [0; 8192]);
            let mut shut = false;
            while looks < LOOKS {
                if let Ok(count) = ours.try_write(rest) {
                    rest = &rest[count..];
                }
                if rest.is_empty() && !shut {
                    ours.shutdown().await.unwrap();
                    shut = true;
                }
                match ours.try_read(&mut buffer) {
                    Ok(0) => return (answer, true),
                    Ok(count) => {
                        answer.extend_from_slice(&buffer[..count]);
                        looks = 0;
                    }
                    Err(_) => looks += 1,
                }
                yield_now().await;
            }
            served.abort();
            let _ = served.await;
            (answer, false)
        };
        let local = LocalSet::new();
        self.runtime.block_on(local.run_until(talk))
    }
}

thread_local! {
    static STAGE: Stage = Stage::new();
}

/// What a caller hears who says this and then listens for a moment.
pub fn answers(wire: &[u8], admitted: bool) -> Vec<Value> {
    let (answer, _) = STAGE.with(|stage| stage.ask(wire, admitted));
    let messages = answer.split(|octet| *octet == 0).filter(|message| !message.is_empty());
    messages.map(|message| serde_json::from_slice(message).unwrap()).collect()
}

/// Octet 1: whether the caller may control the daemon; then what it sends.
pub fn run(data: &[u8]) {
    let [who, wire @ ..] = data else { return };
    let admitted = who & 1 == 1;
    let (answer, closed) = STAGE.with(|stage| stage.ask(wire, admitted));
    let mut messages: Vec<&[u8]> = answer.split(|octet| *octet == 0).collect();
    let last = messages.pop().unwrap_or_default();
    assert!(last.is_empty() || !closed, "half an answer");
    for message in messages {
        let value: Value = serde_json::from_slice(message).unwrap();
        let error = value.get("error").map(|error| error.as_str().unwrap());
        if let Some(error) = error {
            assert!(error.starts_with("io.mailhaul.Manager.") || error.starts_with("org.varlink.service."));
            continue;
        }
        let parameters = value.get("parameters").cloned().unwrap_or_default();
        let general = parameters.get("vendor").is_some() || parameters.get("description").is_some();
        assert!(admitted || general, "who may not has learnt {value}");
    }
}
