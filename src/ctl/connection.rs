//! The way to the daemon: the one file of this room that knows the wire's crate. It turns every error of
//! the wire and of the daemon into a [`Trouble`].

use std::io::ErrorKind;
use std::path::Path;

use crate::control::api::Error;

use super::trouble::Trouble;

/// An open connection; `control::api::Manager` is its calls.
pub(super) type Connection = zlink::tokio::unix::Connection;

/// Connects.
pub(super) async fn open(socket: &Path) -> Result<Connection, Trouble> {
    zlink::tokio::unix::connect(socket).await.map_err(|error| {
        let shown = socket.display();
        match error {
            zlink::Error::Io(error) if error.kind() == ErrorKind::PermissionDenied => Trouble::not_permitted(
                format!("{shown} is not open to this user"),
                "become root, or a member of the daemon's control group",
            ),
            zlink::Error::Io(error) if error.kind() == ErrorKind::NotFound => {
                unreachable(format!("there is no socket {shown}"))
            }
            zlink::Error::Io(error) if error.kind() == ErrorKind::ConnectionRefused => {
                unreachable(format!("nobody listens at {shown}"))
            }
            error => unreachable(format!("cannot connect to {shown}: {error}")),
        }
    })
}

fn unreachable(what: String) -> Trouble {
    Trouble::unreachable(what, "systemctl start mailhauld, or name its socket with --socket")
}

/// What a call returned, with both kinds of errors in one.
pub(super) fn answer<T>(returned: zlink::Result<Result<T, Error>>) -> Result<T, Trouble> {
    match returned {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(refusal(error)),
        Err(error) => Err(broken(&error)),
    }
}

fn refusal(error: Error) -> Trouble {
    match error {
        Error::NoSuchAccount { name } => Trouble::no_such_account(name),
        Error::NotPermitted { what, mend } => Trouble::not_permitted(what, mend),
        Error::Refused { name, what, mend } => Trouble::failed(what, mend).about(name),
        Error::Failed { what, mend } => Trouble::failed(what, mend),
    }
}

fn broken(error: &zlink::Error) -> Trouble {
    const VERSIONS: &str = "compare mailhaulctl --version with mailhauld --version, and restart mailhauld";
    match error {
        zlink::Error::Io(_)
        | zlink::Error::UnexpectedEof
        | zlink::Error::SocketRead
        | zlink::Error::SocketWrite => Trouble::unreachable(
            "the daemon closed the connection: it was restarted, or is older than this mailhaulctl",
            "try again, then compare mailhaulctl --version with mailhauld --version",
        ),
        zlink::Error::VarlinkService(error) => {
            Trouble::unreachable(format!("the daemon does not know this call: {error}"), VERSIONS)
        }
        error => Trouble::unreachable(format!("the daemon's answer cannot be understood: {error}"), VERSIONS),
    }
}
