//! New mail that is collected every few minutes.

mod imap_poll;
mod pop3_poll;
