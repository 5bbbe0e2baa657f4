//! `mailhaulctl`, the client. Everything is in `mailhaul::ctl`; here is only its door.

use std::process::ExitCode;

fn main() -> ExitCode {
    mailhaul::ctl::main()
}
