//! A member's mailbox at an IMAP server. It is written through the server alone: folders are made and
//! subscribed, messages appended batch by batch, and found again by their UIDs, or by size and content where an
//! answer was lost. It refuses to believe that a message is there before the server has said so.

mod before;
mod carrier;
mod copies;
mod enter;
mod flags;
mod home;
mod inbox;
mod intent;
mod late;
mod likeness;
mod look;
mod moved;
mod prints;
mod reflag;
mod sending;
mod strays;
mod strikes;
mod suspects;
mod whose;

pub use carrier::land;
pub use home::{Arrivals, Leave, Server, at_home};
pub use intent::forget;
pub use prints::{all_prints, printer};
pub use reflag::Reflags;
pub use strays::{Recorded, Strays};
