//! What is shipped in `config/` loads: every file, with no complaint, as an administrator would copy it.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use mailhaul::config::{Environment, load};

fn write(path: &Path, content: &str) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Copies `config/NAME` without the ending that keeps an example from being read.
fn copy(name: &str, to: &Path) -> usize {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name);
    fs::create_dir_all(to.join(name)).unwrap();
    let mut copied = 0;
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let file = entry.file_name().into_string().unwrap();
        let target = file.strip_suffix(".example").unwrap_or(&file);
        assert!(target.ends_with(".toml"), "{file}");
        write(&to.join(name).join(target), &fs::read_to_string(entry.path()).unwrap());
        copied += 1;
    }
    copied
}

#[test]
fn what_an_administrator_copies_loads() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let settings = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/mailhaul.toml");
    write(&root.join("mailhaul.toml"), &fs::read_to_string(settings).unwrap());
    assert!(copy("accounts.d", root) >= 2);
    assert!(copy("servers.d", root) >= 1);
    write(&root.join("accounts.d/alice.secret"), "correct horse\n");
    write(&root.join("bob"), "battery staple\n");
    let env = Environment {
        state_directory: Some(root.join("state")),
        runtime_directory: Some(root.join("run")),
        credentials_directory: Some(root.to_path_buf()),
    };
    let loaded = load(&root.join("mailhaul.toml"), &env).unwrap();
    assert_eq!(loaded.complaints, []);
    assert_eq!(loaded.broken, []);
    let names: Vec<&str> = loaded.accounts.iter().map(|account| account.name.as_str()).collect();
    assert_eq!(names, ["bob-move", "alice-gmail", "alice-old-job"]);
}

#[test]
fn the_commented_defaults_are_the_defaults() {
    let directory = tempfile::tempdir().unwrap();
    let env = Environment::default();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/mailhaul.toml");
    let shipped = fs::read_to_string(shipped).unwrap();
    let written: Vec<&str> = shipped
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(key) if key.starts_with(|c: char| c.is_ascii_lowercase()) && !key.contains("/srv/") => key,
            _ => line,
        })
        .collect();
    let file = directory.path().join("mailhaul.toml");
    write(&file, &written.join("\n"));
    let with_keys = load(&file, &env).unwrap();
    write(&file, "");
    assert_eq!(with_keys.settings, load(&file, &env).unwrap().settings);
    assert!(written.iter().filter(|line| line.contains(" = ")).count() > 25);
}
