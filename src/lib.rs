//! Mailhaul brings people's mail home: the floor plan of the house. It holds no code.
//!
//! ```text
//! doors     bin/mailhauld  bin/mailhaulctl
//! roof      daemon (wires the rooms, signals, reload, order of stopping)   ctl (verbs, tables, progress)
//! work      engine: poll, migrate, rollback      schedule      control      definitions
//! outside   pop3  imap  lmtp  destination  archive  compressed  journal  config  bulk  sealed  provision  audit  notice  oauth  spam  discover  http  net  telemetry  systemd
//! values    account  filter  settings  message  migration  failure  secret  bearer  sasl
//! ```
//!
//! A room may use the rooms on its own floor's list in `tests/architecture.rs` and those below it, never those
//! above. `pop3`, `imap` and `lmtp` are languages, `destination` is a role. A large dependency has one
//! door: `sled` in `journal`, `async_imap` in `imap`, `tokio_cron_scheduler` in `schedule`, `zlink` in
//! `control`, the password hashes in `provision`, `tracing_journald` in `telemetry`, `clap` and the terminal crates in `ctl`.
//!
//! What flows: a definition as written becomes an [`account::Account`] only through `config`; `engine`
//! turns it into work; a protocol room yields messages as bytes and facts; `destination` stages them,
//! makes a batch durable and returns receipts; `journal` records what landed; only then may a source be
//! told to delete.

pub mod account;
pub mod archive;
pub mod audit;
pub mod bearer;
pub mod bulk;
pub mod compressed;
pub mod config;
pub mod control;
pub mod ctl;
pub mod daemon;
pub mod definitions;
pub mod destination;
pub mod discover;
pub mod engine;
pub mod failure;
pub mod filter;
pub mod http;
pub mod imap;
pub mod journal;
pub mod lmtp;
pub mod message;
pub mod migration;
pub mod mutf7;
pub mod net;
pub mod notice;
pub mod oauth;
pub mod pop3;
pub mod provision;
pub mod sasl;
pub mod schedule;
pub mod sealed;
pub mod secret;
pub mod settings;
pub mod spam;
pub mod systemd;
pub mod telemetry;
