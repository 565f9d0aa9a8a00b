//! Files that only their owner can read and that are replaced whole or not at all.

use rand::Rng;
use std::fs::{self, File, OpenOptions, TryLockError};
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
#[derive(Clone, Debug)]
pub(super) struct Directory(PathBuf);

/// Held while files are changed. Other processes wait.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// New content for a file, written but not yet under its name. Dropped before that, it is gone.
pub(super) struct Pending {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
    named: bool,
}

impl FileError {
    pub(super) fn interrupted(path: &Path) -> Self {
        failed("write", path)(io::ErrorKind::Interrupted.into())
    }
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
        let (path, file) = self.lock_file()?;
        file.lock().map_err(failed("lock", &path))?;
        Ok(Lock { _file: file })
    }

    /// `None` if somebody else holds the lock.
    pub(super) fn try_lock(&self) -> Result<Option<Lock>, FileError> {
        let (path, file) = self.lock_file()?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(failed("lock", &path)(error)),
        }
    }

    fn lock_file(&self) -> Result<(PathBuf, File), FileError> {
        let path = self.0.join(LOCK_FILE);
        let file = private().create(true).truncate(false).open(&path).map_err(failed("create", &path))?;
        Ok((path, file))
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
        self.begin(name, bytes)?.finish()
    }

    /// Writes new content for a file beside it. [`Pending::finish`] makes it the file.
    pub(super) fn begin(&self, name: &str, bytes: &[u8]) -> Result<Pending, FileError> {
        let path = self.0.join(name);
        let temporary = self.0.join(format!("{name}.{:016x}{TEMPORARY_SUFFIX}", rand::rng().next_u64()));
        let file = private().create_new(true).open(&temporary).map_err(failed("create", &temporary))?;
        let mut pending = Pending { file, temporary, path, named: false };
        pending.file.write_all(bytes).map_err(failed("write", &pending.path))?;
        Ok(pending)
    }

    /// Puts the names on disk.
    pub(super) fn sync(&self) -> Result<(), FileError> {
        #[cfg(unix)]
        File::open(&self.0).and_then(|directory| directory.sync_all()).map_err(failed("write", &self.0))?;
        Ok(())
    }

    pub(super) fn exists(&self, name: &str) -> bool {
        self.0.join(name).symlink_metadata().is_ok()
    }

    /// Whether nobody but the owner has any right to a file. Elsewhere than on Unix nobody can say, so no.
    pub(super) fn is_private(&self, name: &str) -> bool {
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = self.0.join(name).metadata().map(|metadata| metadata.permissions().mode());
            mode.is_ok_and(|mode| mode & 0o077 == 0)
        }
        #[cfg(not(unix))]
        {
            let _ = name;
            false
        }
    }

    /// Removes what killed processes left of new content for these files. Only under the lock: what a living process is
    /// writing looks the same. Nothing else in the directory is touched, whatever it is called.
    pub(super) fn remove_temporaries(&self, names: &[&str]) -> Result<(), FileError> {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        let found = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        found.filter(|found| is_temporary(found, names)).try_for_each(|name| self.wipe(&name))
    }

    /// Removes the directory with its lock, if nothing else is in it. Only under the lock.
    pub(super) fn remove_if_empty(&self) {
        let only_lock =
            fs::read_dir(&self.0).is_ok_and(|entries| entries.flatten().all(|entry| entry.file_name() == LOCK_FILE));
        if only_lock {
            let _ = fs::remove_file(self.0.join(LOCK_FILE));
            let _ = fs::remove_dir(&self.0);
        }
    }

    /// Makes a file without content, in one step.
    pub(super) fn touch(&self, name: &str) -> Result<(), FileError> {
        let path = self.0.join(name);
        private().create(true).truncate(false).open(&path).map(drop).map_err(failed("create", &path))
    }

    /// Removes a file without content.
    pub(super) fn remove(&self, name: &str) {
        let _ = fs::remove_file(self.0.join(name));
    }

    /// Overwrites a file with zeros and removes it. What is no regular file is left alone: it is not ours.
    pub(super) fn wipe(&self, name: &str) -> Result<(), FileError> {
        let path = self.0.join(name);
        if !path.symlink_metadata().is_ok_and(|metadata| metadata.is_file()) {
            return Ok(());
        }
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

impl Pending {
    /// Content on disk, then the name.
    pub(super) fn finish(self) -> Result<(), FileError> {
        self.sync()?.name()
    }

    /// The content is on disk.
    pub(super) fn sync(self) -> Result<Self, FileError> {
        self.file.sync_all().map_err(failed("write", &self.path))?;
        Ok(self)
    }

    /// The name points to the content.
    pub(super) fn name(mut self) -> Result<(), FileError> {
        fs::rename(&self.temporary, &self.path).map_err(failed("write", &self.path))?;
        self.named = true;
        Ok(())
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.named {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// `NAME.0123456789abcdef.tmp`, as [`Directory::begin`] names it.
fn is_temporary(found: &str, names: &[&str]) -> bool {
    let Some((name, digits)) = found.strip_suffix(TEMPORARY_SUFFIX).and_then(|rest| rest.rsplit_once('.')) else {
        return false;
    };
    names.contains(&name) && digits.len() == 16 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
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
