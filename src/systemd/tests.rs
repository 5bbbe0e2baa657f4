//! Against a notification socket of our own. The environment of a process with threads must not be
//! changed, so the functions are called in a child: this test program again, running one test only.

use super::*;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::Command;

const ROLE: &str = "MAILHAUL_TEST_ROLE";

/// Runs when a parent below asks for it; alone it has no role and passes.
#[test]
#[ignore = "the child of other tests"]
fn child() {
    match env::var(ROLE).as_deref() {
        Ok("tells") => {
            status("polling 3\nREADY=1");
            reloading();
            ready();
            watchdog();
            stopping();
        }
        Ok("watchdog") => {
            let expected = env::var("EXPECTED").unwrap();
            assert_eq!(format!("{:?}", watchdog_interval()), expected);
        }
        Ok("listens") => {
            let listener = control_listener();
            assert_eq!(env::var("EXPECTED").unwrap(), listener.is_some().to_string());
            if let Some(listener) = listener {
                // Not blocking: nobody else calls after the one who waits already.
                assert!(listener.accept().is_ok());
                assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
            }
            assert!(control_listener().is_none());
        }
        _ => {}
    }
}

/// The words of a shell that becomes the child, after `before`.
fn as_child(role: &str, before: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command
        .arg("-c")
        .arg(format!("{before} exec \"$0\" --exact --ignored --quiet systemd::tests::child"))
        .arg(env::current_exe().unwrap())
        .env(ROLE, role)
        .stdout(process::Stdio::null());
    for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS"] {
        command.env_remove(name);
    }
    command
}

#[test]
fn the_manager_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert!(as_child("tells", "").env("NOTIFY_SOCKET", &path).status().unwrap().success());

    let mut buffer = [0; 4096];
    let mut next = || {
        let length = manager.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    assert_eq!(next(), "STATUS=polling 3 READY=1\n");
    let reloading = next();
    let time = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
    assert!(time.trim_end().parse::<u64>().unwrap() > 0);
    assert_eq!(next(), "READY=1\n");
    assert_eq!(next(), "WATCHDOG=1\n");
    assert_eq!(next(), "STOPPING=1\n");
}

#[test]
fn without_a_manager_nothing_happens() {
    assert!(as_child("tells", "").status().unwrap().success());
    assert!(as_child("tells", "").env("NOTIFY_SOCKET", "/nonexistent/notify").status().unwrap().success());
}

#[test]
fn the_watchdog_is_fed_twice_as_often_as_asked() {
    let cases = [
        ("", "None"),
        ("export WATCHDOG_USEC=60000000;", "Some(30s)"),
        ("export WATCHDOG_USEC=60000000 WATCHDOG_PID=$$;", "Some(30s)"),
        ("export WATCHDOG_USEC=60000000 WATCHDOG_PID=1;", "None"),
        ("export WATCHDOG_USEC=0;", "None"),
        ("export WATCHDOG_USEC=soon;", "None"),
    ];
    for (before, expected) in cases {
        let done = as_child("watchdog", before).env("EXPECTED", expected).status().unwrap();
        assert!(done.success(), "{before}");
    }
}

#[test]
fn the_socket_that_was_handed_over_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control");
    let listener = UnixListener::bind(&path).unwrap();
    let _caller = UnixStream::connect(&path).unwrap();
    let (pair, _other_end) = UnixStream::pair().unwrap();
    let file = tempfile::tempfile().unwrap();

    // What stands at descriptor 3, what at 4, what the variables say, and whether there is a socket.
    let with = "export LISTEN_PID=$$ LISTEN_FDS=";
    let cases = [
        (listener.as_fd(), file.as_fd(), format!("{with}1;"), true),
        (file.as_fd(), listener.as_fd(), format!("{with}2;"), true),
        (pair.as_fd(), listener.as_fd(), format!("{with}2;"), true),
        (pair.as_fd(), file.as_fd(), format!("{with}2;"), false),
        (listener.as_fd(), file.as_fd(), format!("{with}0;"), false),
        (listener.as_fd(), file.as_fd(), format!("{with}many;"), false),
        (listener.as_fd(), file.as_fd(), "export LISTEN_PID=1 LISTEN_FDS=1;".to_owned(), false),
        (listener.as_fd(), file.as_fd(), "export LISTEN_FDS=1;".to_owned(), false),
        (listener.as_fd(), file.as_fd(), String::new(), false),
    ];
    let mut callers = Vec::new();
    for (three, four, variables, expected) in cases {
        // The shell gets the two as its standard input and output and moves them to their places.
        let done = as_child("listens", &format!("exec 3<&0 4<&1 >/dev/null </dev/null; {variables}"))
            .env("EXPECTED", expected.to_string())
            .stdin(three.try_clone_to_owned().unwrap())
            .stdout(four.try_clone_to_owned().unwrap())
            .status()
            .unwrap();
        assert!(done.success(), "{variables}");
        if expected {
            callers.push(UnixStream::connect(&path).unwrap());
        }
    }
}

#[test]
fn a_status_is_one_short_line() {
    assert_eq!(one_line("a\r\nSTOPPING=1\0"), "a  STOPPING=1 ");
    let long = "보".repeat(LONGEST_STATUS);
    assert!(one_line(&long).len() <= LONGEST_STATUS);
    assert!(!one_line(&long).is_empty());
}
