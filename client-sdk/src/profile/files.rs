//! Files that only their owner can read and that are replaced whole or not at all.

use rand::Rng;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Larger files are not ours.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

const LOCK_FILE: &str = "lock";
const TEMPORARY_SUFFIX: &str = ".tmp";

/// What failed, where.
#[derive(Debug)]
pub(super) struct FileError {
    pub(super) action: &'static str,
    pub(super) path: PathBuf,
    pub(super) source: io::Error,
}

/// A directory of small private files.
#[derive(Debug)]
pub(super) struct Directory(PathBuf);

/// Held while files are changed. Other processes wait.
pub(super) struct Lock {
    _file: File,
}

impl Directory {
    pub(super) fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// The directory, made if it is not there (0700).
    pub(super) fn create(path: &Path) -> Result<Self, FileError> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(path).map_err(failed("create", path))?;
        Ok(Self::at(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn lock(&self) -> Result<Lock, FileError> {
        let path = self.0.join(LOCK_FILE);
        let file = private().create(true).truncate(false).open(&path).map_err(failed("create", &path))?;
        file.lock().map_err(failed("lock", &path))?;
        Ok(Lock { _file: file })
    }

    /// The content of a file; `None` if there is none.
    pub(super) fn read(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, FileError> {
        let path = self.0.join(name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("read", &path)(error)),
        };
        let length = file.metadata().map_err(failed("read", &path))?.len().min(MAX_FILE_BYTES);
        let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(length).unwrap_or(0) + 1));
        file.take(MAX_FILE_BYTES).read_to_end(&mut bytes).map_err(failed("read", &path))?;
        Ok(Some(bytes))
    }

    /// Replaces a file: all of the new content is on disk before the name points to it. The name itself is on disk after
    /// [`Directory::sync`].
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), FileError> {
        let path = self.0.join(name);
        let temporary = self.0.join(format!("{name}.{:016x}{TEMPORARY_SUFFIX}", rand::rng().next_u64()));
        let written = (|| {
            let mut file = private().create_new(true).open(&temporary)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)
        })();
        written.map_err(|error| {
            let _ = fs::remove_file(&temporary);
            failed("write", &path)(error)
        })
    }

    /// Puts the names on disk.
    pub(super) fn sync(&self) -> Result<(), FileError> {
        #[cfg(unix)]
        File::open(&self.0).and_then(|directory| directory.sync_all()).map_err(failed("write", &self.0))?;
        Ok(())
    }

    /// Whether there are temporary files, or files of these names.
    pub(super) fn has_leftovers(&self, names: &[&str]) -> bool {
        !self.leftovers(names).is_empty()
    }

    /// Removes temporary files of a killed process, and files of these names. Only under the lock: the temporary files of
    /// a living process look the same.
    pub(super) fn remove_leftovers(&self, names: &[&str]) -> Result<(), FileError> {
        self.leftovers(names).iter().try_for_each(|name| self.wipe(name))
    }

    fn leftovers(&self, names: &[&str]) -> Vec<String> {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        let found = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        found.filter(|name| name.ends_with(TEMPORARY_SUFFIX) || names.contains(&name.as_str())).collect()
    }

    /// Overwrites a file with zeros and removes it.
    pub(super) fn wipe(&self, name: &str) -> Result<(), FileError> {
        let path = self.0.join(name);
        let wiped = (|| {
            let mut file = OpenOptions::new().write(true).open(&path)?;
            let length = usize::try_from(file.metadata()?.len().min(MAX_FILE_BYTES)).unwrap_or(0);
            file.write_all(&vec![0; length])?;
            file.sync_all()?;
            fs::remove_file(&path)
        })();
        match wiped {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", &path)(error)),
            _ => Ok(()),
        }
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    move |source| FileError { action, path: path.to_owned(), source }
}
