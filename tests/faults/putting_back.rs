//! Putting back: a migration that is cancelled on the way, or after a kill anywhere.

use crate::bench::{Bench, LIMIT, NAME, To, Work};
use crate::helpers::daemon::eventually;
use crate::helpers::maildir::Tree;
use crate::play::{ALL, Scenario, play};
use crate::shim::How;

/// A migration that was stopped on the way; its source is away.
fn half_brought(bench: &mut Bench) {
    bench.folders();
    bench.foreign();
    bench.wanted = Some(bench.seen());
    bench.keep();
    bench.list_points();
    assert!(bench.once());
    let whole = Tree::read(&bench.home()).count();
    let list = bench.shim.list();
    let is_intent = |what: &str| what.starts_with("write state/spool/") && what.ends_with(".intent");
    let late = |what: &String| what.starts_with("rename mail") || is_intent(what);
    let last = list.iter().rposition(late).unwrap();
    // Several connections do not come to it in the same order each time.
    for point in (1..=last).rev().step_by(2) {
        bench.reset();
        bench.disturb(How::Kill, point);
        assert!(!bench.once());
        bench.leave_alone();
        if Tree::read(&bench.home()).count() < whole {
            break;
        }
    }
    let here = Tree::read(&bench.home()).count();
    assert!(here > 9 && here < whole, "a part was brought: {here} of {whole}");
}

/// A port where nobody listens.
pub const NOWHERE: u16 = 9;

fn cancel(bench: &mut Bench) -> bool {
    bench.define(NOWHERE);
    bench.spawn();
    bench.daemon.ctl_within(LIMIT, &["cancel", NAME]);
    eventually("the daemon is done or gone", LIMIT, || {
        let shown = bench.daemon.ctl_within(LIMIT, &["--json", "show", NAME]);
        let done = shown.code == 0 && shown.json()["migration"]["state"] == "cancelled";
        (bench.daemon.has_ended() || done).then_some(())
    });
    bench.stop()
}

/// Whatever became of the daemon, it is started and cancelled; `false`: it had completed before.
pub fn cancel_again(bench: &mut Bench) -> bool {
    bench.define(NOWHERE);
    bench.daemon.start();
    let state = bench.daemon.migration(NAME)["state"].clone();
    if state != "completed" && state != "ready" {
        // It may be at it already, or be done with it.
        bench.daemon.ctl(&["cancel", NAME]);
        bench.daemon.migration_in(NAME, &["cancelled"], LIMIT);
    }
    bench.daemon.stop();
    state != "completed"
}

fn rollback(name: &'static str, to: To) {
    let (work, before, act, resume) = (Work::Migrate, half_brought, cancel, cancel_again);
    play(&Scenario { name, work, to, before, act, resume, hows: ALL });
}

#[test]
fn a_rollback() {
    rollback("rollback", To::Maildir);
}

#[test]
fn a_rollback_at_a_server() {
    rollback("rollback at a server", To::Imap);
}

/// Stopped anywhere, and then not wanted any more.
fn cancelled_later(name: &'static str, to: To) {
    play(&Scenario {
        name,
        work: Work::Migrate,
        to,
        before: |bench| {
            bench.folders();
            bench.foreign();
            bench.wanted = Some(bench.seen());
        },
        act: Bench::once,
        resume: cancel_again,
        hows: &[How::Kill, How::Torn],
    });
}

#[test]
fn a_migration_cancelled_later() {
    cancelled_later("migration, cancelled later", To::Maildir);
}

#[test]
fn a_migration_to_a_server_cancelled_later() {
    cancelled_later("migration to a server, cancelled later", To::Imap);
}
