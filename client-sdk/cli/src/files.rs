//! Files that hold secrets: read within a bound, written so that nobody else can read them and never by halves.

use crate::exit::{Exit, Failed};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Reads at most `max` bytes; one more is an error of kind [`io::ErrorKind::FileTooLarge`].
pub(crate) fn read_bounded(source: impl Read, max: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    // Room for everything at once, so that no outgrown copy is left behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(max.saturating_add(1)));
    source.take(limit).read_to_end(&mut bytes)?;
    if bytes.len() > max { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
}

/// Opens a file that the person named.
pub(crate) fn open(path: &Path) -> Result<File, Failed> {
    File::open(path).map_err(|error| cannot("read", path, &error))
}

/// Writes a file that only its owner can read. It is there whole or not at all.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Failed> {
    let write = || temporary_for(path, bytes)?.persist(path).map_err(|error| error.error);
    write().map(drop).map_err(|error| cannot("write", path, &error))
}

/// These bytes in a file that only its owner can read, beside `path`. It goes unless it is kept.
fn temporary_for(path: &Path, bytes: &[u8]) -> io::Result<tempfile::NamedTempFile> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // The error itself would name the temporary file.
    let file = tempfile::Builder::new().prefix(".handfast-").tempfile_in(folder);
    let mut file = file.map_err(|error| io::Error::from(error.kind()))?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    Ok(file)
}

pub(crate) fn cannot(verb: &str, path: &Path, error: &io::Error) -> Failed {
    Failed::new(Exit::File, format!("cannot {verb} {}: {error}", path.display()))
}

/// A file that is there only as long as this value.
#[derive(Debug)]
pub(crate) struct Fleeting(PathBuf);

impl Fleeting {
    /// Writes it as [`write_private`] does, but replaces nothing: what was there before is not this value's to remove.
    pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<Self, Failed> {
        let write = || temporary_for(path, bytes)?.persist_noclobber(path).map_err(|error| error.error);
        match write() {
            Ok(_) => Ok(Self(path.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(Failed::new(
                Exit::File,
                format!("{} exists already: give another name or remove it", path.display()),
            )),
            Err(error) => Err(cannot("write", path, &error)),
        }
    }
}

impl Drop for Fleeting {
    fn drop(&mut self) {
        // Somebody may have removed it; there is nobody left to tell.
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn one_byte_over_the_bound_is_an_error() {
        assert_eq!(read_bounded(&b"12345678"[..], 8).unwrap().len(), 8);
        assert_eq!(read_bounded(&b"123456789"[..], 8).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }

    #[cfg(unix)]
    #[test]
    fn a_private_file_is_replaced_and_only_its_owner_reads_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, b"old").unwrap();
        write_private(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn a_fleeting_file_goes_with_its_value() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("qr.png");
        let file = Fleeting::write(&path, b"x").unwrap();
        assert!(path.exists());
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn a_fleeting_file_never_takes_the_place_of_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("photo.png");
        std::fs::write(&path, b"a photo").unwrap();
        let failed = Fleeting::write(&path, b"x").unwrap_err();
        assert_eq!(failed.exit, Exit::File);
        assert!(failed.message.ends_with("photo.png exists already: give another name or remove it"), "{failed:?}");
        assert_eq!(std::fs::read(&path).unwrap(), b"a photo");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let failed = write_private(Path::new("/nonexistent/x"), b"").unwrap_err();
        assert_eq!(failed.exit, Exit::File);
        assert!(failed.message.starts_with("cannot write /nonexistent/x"), "{}", failed.message);
    }
}
