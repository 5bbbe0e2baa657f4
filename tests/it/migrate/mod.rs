//! Whole mailboxes that move: first runs, delta runs, what was renamed and renumbered, and the comparison at the end.

mod changed_destination;
mod changed_source;
mod delta;
mod delta_there;
mod dry_run;
mod identity;
mod imap_migrate;
mod inbox_trees;
mod lost_state;
mod pop3_migrate;
mod renumbered;
mod strays;
mod truth;
mod unsettled;
mod verify;
mod verify_on;
mod verify_there;
