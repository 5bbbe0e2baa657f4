//! Reads a secret at the moment it is needed: the first line of a file, a credential or a command's output.
//! It refuses files that others can read, anything longer than 64 KiB, and to show what a command says.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use zeroize::Zeroizing;

use crate::failure::{Failure, Kind};
use crate::sealed;
use crate::secret::{Secret, SecretPlace};

use super::Environment;
use super::text::reason;

const LONGEST: usize = 64 * 1024;
const PATIENCE: Duration = Duration::from_secs(30);

/// Reads the secret. It blocks, for 30 seconds at most.
///
/// # Errors
/// Always of [`Kind::Secret`].
pub fn read_secret(place: &SecretPlace, env: &Environment) -> Result<Secret, Failure> {
    match place {
        SecretPlace::File(path) => from_file(path, true),
        SecretPlace::Credential(name) => {
            let Some(directory) = &env.credentials_directory else {
                let mend = format!("run as a systemd service with LoadCredential={name}:PATH");
                return Err(failure(
                    format!("there is no credential {name:?}: CREDENTIALS_DIRECTORY is not set"),
                    mend,
                ));
            };
            // systemd guards the directory and shows an ACL as group permission: no look at the mode.
            from_file(&directory.join(name), false)
        }
        SecretPlace::Command(words) => from_command(words, PATIENCE),
        SecretPlace::Sealed => {
            Err(failure("a sealed secret is not found here", "ask the vault of the state directory"))
        }
        SecretPlace::Token(_) => Err(failure("a token is not found here", "ask the authorization server")),
        SecretPlace::Value(secret) => Ok(Secret::new(secret.expose().to_vec())),
    }
}

fn failure(words: impl Into<String>, mend: impl Into<String>) -> Failure {
    Failure::new(Kind::Secret, words, mend)
}

fn from_file(path: &Path, guarded: bool) -> Result<Secret, Failure> {
    let shown = path.display();
    let unreadable = |error: std::io::Error| {
        failure(
            format!("the secret {shown} cannot be read: {}", reason(&error)),
            "put the password on the first line of that file, owned by the daemon's user, chmod 600",
        )
    };
    let file =
        OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(failure(format!("the secret {shown} is not a regular file"), "name a file"));
    }
    if guarded && metadata.permissions().mode() & 0o077 != 0 {
        return Err(failure(
            format!("the secret {shown} is open to others than its owner"),
            format!("chmod 600 {shown}"),
        ));
    }
    let octets = capped(file).map_err(unreadable)?;
    first_line(&octets)
        .map_err(|what| failure(format!("the secret {shown} {what}"), "put the password on its first line"))
}

/// At most one octet more than is allowed, in memory that is zeroed.
fn capped(from: impl Read) -> std::io::Result<Zeroizing<Vec<u8>>> {
    sealed::read(from, LONGEST as u64 + 1)
}

fn first_line(octets: &[u8]) -> Result<Secret, &'static str> {
    let line = octets.split(|octet| *octet == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() {
        return Err("has an empty first line");
    }
    if line.len() > LONGEST || (octets.len() > LONGEST && !octets.contains(&b'\n')) {
        return Err("is longer than 64 KiB");
    }
    // Either would end the line in the protocol that carries it.
    if line.contains(&b'\r') || line.contains(&0) {
        return Err("holds a control character");
    }
    Ok(Secret::new(line.to_vec()))
}

fn from_command(words: &[String], patience: Duration) -> Result<Secret, Failure> {
    const MEND: &str = "run it by hand as the daemon's user";
    let Some((program, arguments)) = words.split_first() else {
        return Err(failure("the secret's command is empty", "name a program"));
    };
    let failed = |what: String| failure(format!("the secret's command {program} {what}"), MEND);
    let mut child = Command::new(program)
        .args(arguments)
        .env_remove("NOTIFY_SOCKET")
        .env_remove("WATCHDOG_USEC")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        // A group of its own, so that what it started ends with it.
        .process_group(0)
        .spawn()
        .map_err(|error| failed(format!("cannot be started: {}", reason(&error))))?;
    let deadline = Instant::now() + patience;
    let (sender, receiver) = mpsc::channel();
    if let Some(output) = child.stdout.take() {
        let reader = std::thread::Builder::new().name("secret".to_owned());
        let spawned = reader.spawn(move || drop(sender.send(capped(output))));
        if let Err(error) = spawned {
            end(&mut child);
            return Err(failed(format!("cannot be read: {}", reason(&error))));
        }
    }
    let output = receiver.recv_timeout(patience);
    let status = wait(&mut child, deadline);
    end(&mut child);
    let Ok(output) = output else {
        return Err(failed(format!("took longer than {} seconds", patience.as_secs())));
    };
    let output = output.map_err(|error| failed(format!("cannot be read: {}", reason(&error))))?;
    if output.len() > LONGEST {
        return Err(failed("printed more than 64 KiB".to_owned()));
    }
    match status {
        None => return Err(failed(format!("took longer than {} seconds", patience.as_secs()))),
        Some(status) if !status.success() => return Err(failed(format!("failed: {status}"))),
        Some(_) => {}
    }
    first_line(&output).map_err(|what| failed(what.to_owned()))
}

fn wait(child: &mut Child, deadline: Instant) -> Option<std::process::ExitStatus> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
            _ => return None,
        }
    }
}

/// Ends the command and whatever it started.
fn end(child: &mut Child) {
    if let Ok(group) = i32::try_from(child.id())
        && matches!(child.try_wait(), Ok(None))
    {
        // It was not waited for yet, so the number is still its own.
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        let _ = child.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn sh(script: &str) -> Vec<String> {
        ["/bin/sh", "-c", script].map(str::to_owned).to_vec()
    }

    fn file(content: &[u8], mode: u32) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        (directory, path)
    }

    #[test]
    fn the_first_line_without_its_end() {
        for (content, secret) in
            [("one", "one"), ("one\n", "one"), ("one\r\ntwo\n", "one"), (" a b \n", " a b ")]
        {
            let (_keep, path) = file(content.as_bytes(), 0o600);
            let read = read_secret(&SecretPlace::File(path), &Environment::default()).unwrap();
            assert_eq!(read.expose(), secret.as_bytes(), "{content:?}");
        }
    }

    #[test]
    fn bad_files_are_refused_without_their_content() {
        let long = vec![b'x'; LONGEST + 1];
        for (content, mode, words) in [
            (b"hunter2".as_slice(), 0o644, "open to others"),
            (b"hunter2", 0o640, "open to others"),
            (b"\nhunter2", 0o600, "empty first line"),
            (b"hunter2\rQUIT", 0o600, "control character"),
            (&long, 0o600, "64 KiB"),
        ] {
            let (_keep, path) = file(content, mode);
            let failure = read_secret(&SecretPlace::File(path), &Environment::default()).unwrap_err();
            assert_eq!(failure.kind, Kind::Secret);
            assert!(failure.words.contains(words), "{failure}");
            assert!(!failure.to_string().contains("hunter2"));
        }
    }

    #[test]
    fn a_credential_needs_its_directory() {
        let (directory, _) = file(b"hunter2\n", 0o440);
        let place = SecretPlace::Credential("secret".to_owned());
        assert!(read_secret(&place, &Environment::default()).is_err());
        let env =
            Environment { credentials_directory: Some(directory.path().to_owned()), ..Default::default() };
        assert_eq!(read_secret(&place, &env).unwrap().expose(), b"hunter2");
    }

    #[test]
    fn commands() {
        let run = |script| from_command(&sh(script), Duration::from_secs(10));
        assert_eq!(run("echo one; echo two").unwrap().expose(), b"one");
        for (script, words) in [
            ("echo hunter2; echo hunter2 >&2; exit 3", "exit status: 3"),
            ("exit 0", "empty first line"),
            ("yes", "64 KiB"),
        ] {
            let failure = run(script).unwrap_err();
            assert!(failure.words.contains(words), "{failure}");
            assert!(!failure.to_string().contains("hunter2"));
        }
        let failure = from_command(&["/nonexistent/x".to_owned()], PATIENCE).unwrap_err();
        assert!(failure.words.contains("cannot be started"), "{failure}");
    }

    #[test]
    fn a_command_that_hangs_is_ended() {
        let before = Instant::now();
        let failure = from_command(&sh("echo hunter2; sleep 60"), Duration::from_millis(200)).unwrap_err();
        assert!(failure.words.contains("took longer"), "{failure}");
        assert!(before.elapsed() < Duration::from_secs(20));
    }
}
