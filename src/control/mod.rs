//! The control interface `io.mailhaul.Manager`: Varlink over the Unix socket, the only way in. `api` is
//! what both ends agree on, `service` the daemon's end, `gate` who may. The room refuses to decide
//! anything: it hands calls to the manager.

pub mod api;
mod aside;
mod caller;
mod convert;
mod ends;
mod files;
mod gate;
mod inbox;
mod passed;
mod plan;
mod service;
mod socket;
mod streams;

pub use gate::Gate;
pub use service::{Desk, Order, UNUSABLE};
pub use socket::{attend, bind, serve};
