//! The socket: bound with mode 0660, one task for each caller, so that none of them holds up another. It
//! refuses a second daemon's socket and more callers than a machine has administrators.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use zlink::{Connection, Listener, Server};

use super::gate::Gate;
use super::service::{Desk, Service};

/// Callers at once.
const CALLERS: usize = 256;

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
        if UnixStream::connect(path).is_ok() {
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
    let mut listener = match tokio::net::UnixListener::from_std(listener) {
        Ok(listener) => zlink::tokio::unix::Listener::from(listener),
        Err(e) => return tracing::error!("the control socket cannot be used: {e}"),
    };
    let places = Arc::new(Semaphore::new(CALLERS));
    let desk = Arc::new(desk);
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok(Some(mut connection)) => {
                let desk = Arc::clone(&desk);
                tokio::task::spawn_local(async move {
                    let admitted = match connection.peer_credentials().await {
                        Ok(peer) => {
                            let groups = peer.unix_supplementary_group_ids().iter().map(|g| g.as_raw());
                            let primary = peer.unix_primary_group_id().as_raw();
                            gate.admits(peer.unix_user_id().as_raw(), groups.chain([primary]))
                        }
                        Err(_) => false,
                    };
                    let service = Service { desk, admitted };
                    // A caller that hangs up or talks nonsense ends its own task and nothing else.
                    let _ = Server::new(One::Waits(Box::new(connection)), service).run().await;
                    drop(place);
                });
            }
            Ok(None) => return,
            Err(e) => {
                tracing::warn!("a caller could not be accepted: {e}");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

/// A listener with one caller: it comes, then the end is told once, then nothing (zlink wants it so).
#[derive(Debug)]
enum One {
    Waits(Box<Connection<zlink::tokio::unix::Stream>>),
    Came,
    Closed,
}

impl Listener for One {
    type Socket = zlink::tokio::unix::Stream;

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
