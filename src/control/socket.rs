//! The socket: bound with mode 0660, one task for each caller, so that none of them holds up another. It
//! refuses a second daemon's socket; whom else it refuses is in `caller`.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;
use zlink::connection::socket::{FetchPeerCredentials, UnixSocket};
use zlink::{Connection, Listener, Server};

use super::caller::{Callers, Line, Place};
use super::gate::{Gate, Standing};
use super::service::{Desk, Service};
use crate::audit::Who;

/// Binds the control socket at `path`; a dead socket that lies there is replaced.
///
/// # Errors
/// Another daemon listens there, or the directory cannot be written.
pub fn bind(path: &Path, gate: &Gate) -> io::Result<UnixListener> {
    if let Ok(found) = fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "something that is not a socket lies there",
            ));
        }
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another daemon listens there"));
        }
        fs::remove_file(path)?;
    }
    if let Some(directory) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
        fs::create_dir_all(directory)?;
    }
    let listener = UnixListener::bind(path)?;
    // Narrow before wide: nobody gets in between the two.
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    if let Some(group) = gate.group() {
        let given = nix::unistd::chown(path, None, Some(group));
        if given.is_ok() {
            fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
        }
    }
    Ok(listener)
}

/// Serves the socket on a thread of its own until `stop`.
///
/// # Errors
/// The thread cannot be started or the listener cannot be used.
pub fn serve(listener: UnixListener, gate: Gate, desk: Desk, stop: CancellationToken) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("control".to_owned()).spawn(move || {
        super::aside::begin();
        let local = tokio::task::LocalSet::new();
        let accepting = local.run_until(accept(listener, gate, desk));
        runtime.block_on(async {
            tokio::select! {
                () = accepting => {}
                () = stop.cancelled() => {}
            }
        });
    })?;
    Ok(())
}

async fn accept(listener: UnixListener, gate: Gate, desk: Desk) {
    let listener = match tokio::net::UnixListener::from_std(listener) {
        Ok(listener) => listener,
        Err(e) => return tracing::error!("the control socket cannot be used: {e}"),
    };
    let callers = Rc::new(Callers::default());
    let desk = Arc::new(desk);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let Some((uid, pid, standing)) = who(&stream, &gate).await else { continue };
                let Some(place) = callers.admit(uid, pid, standing > Standing::Stranger) else { continue };
                tokio::task::spawn_local(converse(stream, place, standing, Arc::clone(&desk)));
                // Whoever got in is heard before the next one may take its place.
                tokio::task::yield_now().await;
            }
            Err(e) => {
                tracing::warn!("a caller could not be accepted: {e}");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

/// The kernel's word on who calls, and what they may.
async fn who(stream: &UnixStream, gate: &Gate) -> Option<(u32, i32, Standing)> {
    let peer = Peer(stream).fetch_peer_credentials().await.ok()?;
    let groups = peer.unix_supplementary_group_ids().iter().map(|g| g.as_raw());
    let uid = peer.unix_user_id().as_raw();
    let standing = gate.standing(uid, groups.chain([peer.unix_primary_group_id().as_raw()]));
    Some((uid, peer.process_id().as_raw_pid(), standing))
}

#[derive(Debug)]
struct Peer<'s>(&'s UnixStream);

impl AsFd for Peer<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl UnixSocket for Peer<'_> {}

/// Serves one stream as if it had come through the socket, until its other end is closed or has to be
/// dropped; `admitted`: as the daemon's own user. Needs a [`tokio::task::LocalSet`].
pub async fn attend(stream: UnixStream, admitted: bool, desk: Arc<Desk>) {
    let callers = Rc::new(Callers::default());
    let own = (nix::unistd::getuid().as_raw(), nix::unistd::getpid().as_raw());
    if let Some(place) = callers.admit(own.0, own.1, admitted) {
        let standing = if admitted { Standing::Own } else { Standing::Stranger };
        converse(stream, place, standing, desk).await;
    }
}

/// A caller that hangs up or talks nonsense ends its own conversation and nothing else.
async fn converse(stream: UnixStream, place: Place, standing: Standing, desk: Arc<Desk>) {
    let (caller, inbox) = (Rc::clone(&place.caller), Rc::default());
    let line = Line { stream: Rc::new(stream), caller, inbox };
    let connection = Box::new(Connection::new(line.clone()));
    let (uid, pid) = place.caller.who();
    let service = Service { desk, standing, who: Who::user(uid, pid) };
    let server = Server::new(One::Waits(connection), service);
    tokio::select! {
        // First, so that the log has the reason of what it ended itself.
        biased;
        () = place.caller.watch(&line) => {}
        _ = server.run() => place.caller.leave(),
    }
}

/// A listener with one caller: it comes, then the end is told once, then nothing (zlink wants it so).
#[derive(Debug)]
enum One {
    Waits(Box<Connection<Line>>),
    Came,
    Closed,
}

impl Listener for One {
    type Socket = Line;

    async fn accept(&mut self) -> zlink::Result<Option<Connection<Self::Socket>>> {
        match std::mem::replace(self, One::Closed) {
            One::Waits(connection) => {
                *self = One::Came;
                Ok(Some(*connection))
            }
            One::Came => Ok(None),
            One::Closed => std::future::pending().await,
        }
    }
}
