//! The control interface `io.mailhaul.Manager`: Varlink over the Unix socket, the only way in. `api` is
//! what both ends agree on. The room refuses to decide anything: it hands calls to the daemon.

pub mod api;
