//! The extended attributes of a file that is replaced, its access control list among them (acl(5), xattr(7)): the new
//! file gets those of the old one and no others. It refuses to pass over one that cannot be kept: by that very one
//! somebody may read the file.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;

use rustix::fs::{XattrFlags, fgetxattr, flistxattr, fremovexattr, fsetxattr};
use rustix::io::Errno;

/// Octets of a value, and of all names together, at most (xattr(7)).
const MOST: usize = 64 << 10;

/// What the kernel makes from a file's octets is not copied.
const MADE: [&CStr; 2] = [c"security.ima", c"security.evm"];

/// Gives `new` the attributes of `old`.
///
/// # Errors
/// One cannot be read, set or taken away: which.
pub(super) fn copy(old: &File, new: &File) -> io::Result<()> {
    let (wanted, there) = (read(old)?, read(new)?);
    // The directory may have given it some.
    for name in there.keys().filter(|name| !wanted.contains_key(*name)) {
        fremovexattr(new, name.as_c_str()).map_err(|e| trouble(name, "taken away", e))?;
    }
    for (name, value) in wanted.iter().filter(|(name, value)| there.get(*name) != Some(value)) {
        fsetxattr(new, name.as_c_str(), value, XattrFlags::empty()).map_err(|e| trouble(name, "kept", e))?;
    }
    Ok(())
}

/// By name. A file system that has no attributes has none.
fn read(file: &File) -> io::Result<BTreeMap<CString, Vec<u8>>> {
    let mut buffer = vec![0; MOST];
    let names = match flistxattr(file, buffer.as_mut_slice()) {
        Err(Errno::NOTSUP | Errno::NOSYS) => return Ok(BTreeMap::new()),
        length => buffer.get(..length?).unwrap_or_default().to_vec(),
    };
    let mut found = BTreeMap::new();
    for name in names.split_inclusive(|octet| *octet == 0).filter_map(|n| CStr::from_bytes_with_nul(n).ok()) {
        if MADE.contains(&name) {
            continue;
        }
        match fgetxattr(file, name, buffer.as_mut_slice()) {
            // It went since.
            Err(Errno::NODATA) => {}
            length => {
                let length = length.map_err(|e| trouble(name, "read", e))?;
                found.insert(name.to_owned(), buffer.get(..length).unwrap_or_default().to_vec());
            }
        }
    }
    Ok(found)
}

fn trouble(name: &CStr, what: &str, error: Errno) -> io::Error {
    let error = io::Error::from(error);
    let words = format!("its attribute {} cannot be {what}: {error}", name.to_string_lossy());
    io::Error::new(error.kind(), words)
}
