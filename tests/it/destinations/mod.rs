//! Servers and mailboxes that mail goes to.

mod checked_there;
mod courier_home;
mod cyrus_home;
mod either_or;
mod filter;
mod flags_on;
mod hangs;
mod imap_home;
mod lmtp;
mod made_folders;
mod made_there;
mod moved;
mod one_of_many;
mod one_of_many_lmtp;
mod proven_there;
mod quota;
mod refused;
mod refused_names;
mod rollback_there;
mod sieve;
mod spam;
mod unsure_there;
