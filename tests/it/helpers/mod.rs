//! What the tests share: the real daemon, real servers, servers that play a script or a mood, and readers of what came, written
//! without the code under test.

#![allow(dead_code, unreachable_pub, clippy::print_stderr, reason = "each binary uses its part")]

pub mod archives;
pub mod certificate;
pub mod corpus;
pub mod courier;
pub mod cyrus;
pub mod daemon;
pub mod dovecot;
pub mod exim;
pub mod fake_imap;
pub mod fake_lmtp;
pub mod fake_oauth;
pub mod fake_pop3;
pub mod leaky;
pub mod maildir;
pub mod moody;
pub mod picky;
pub mod plans;
pub mod rspamd;
pub mod scripted;
pub mod small_disk;
pub mod view;
