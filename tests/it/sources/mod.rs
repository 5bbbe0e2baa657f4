//! Servers that mail comes from: what they say out of step, refuse, break off or leave out.

mod any_one;
mod any_one_pop3;
mod doors;
mod gmail;
mod hanging_up;
mod hostile_imap;
mod hostile_pop3;
mod imap_other_ways;
mod imap_security;
mod logins;
mod oauth;
mod odd_messages;
mod one_bad;
mod out_of_step;
mod pop3;
mod providers;
mod source_words;
mod ways;
