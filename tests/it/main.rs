//! The real daemon against real and hostile servers, spoken to through its socket. One program, so that the helpers are compiled
//! once and no test waits for another file's tests to end. What ends the process, or takes hours, is a program of its own:
//! `crash`, `faults`, `power`.

mod control;
mod destinations;
mod files;
mod helpers;
mod migrate;
mod operators;
mod poll;
mod sources;
