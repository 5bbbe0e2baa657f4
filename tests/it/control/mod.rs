//! Definitions, the control socket, secrets, and what is installed.

mod config_files;
mod control_socket;
mod definitions;
mod once;
mod secrets;
mod shipped;
