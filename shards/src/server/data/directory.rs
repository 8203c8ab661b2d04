//! The directory itself: made, locked, its manifest read and replaced.

use super::{Manifest, ManifestError, Quarantine};
use crate::base::shard_set::ShardId;
use crate::drivers::files::{make_private_folder, sync_folder};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::io::Errno;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const LOCK: &str = "lock";
/// Two, so that damage to one of them costs nothing.
const MANIFESTS: [&str; 2] = ["manifest", "manifest.copy"];

/// Why a data directory cannot be used.
#[derive(Debug)]
pub enum DataError {
    /// A running broker uses it; its process id, if it can be read.
    InUse(PathBuf, Option<u32>),
    /// There is none, or nothing of a broker's in it.
    Missing(PathBuf),
    /// It has data, where a new one was to be made.
    NotEmpty(PathBuf),
    /// The system refuses something with this file.
    System(&'static str, PathBuf, io::Error),
    /// Neither copy of the manifest can be read.
    Manifest(PathBuf, ManifestError),
    /// A log in it is of another version of the program, or cannot be read for another reason that is not damage.
    Log(PathBuf, String),
}

impl fmt::Display for DataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DataError::InUse(path, pid) => {
                write!(f, "the data directory {} is in use by another broker", path.display())?;
                if let Some(pid) = pid {
                    write!(f, ", process {pid}")?;
                }
                f.write_str(": stop it, or name another with --data-dir")
            }
            DataError::NotEmpty(path) => write!(f, "{} has data already", path.display()),
            DataError::Missing(path) => write!(f, "{} is no data directory", path.display()),
            DataError::System(what, path, error) => write!(f, "cannot {what} {}: {error}", path.display()),
            DataError::Manifest(path, error) => write!(
                f,
                "the manifest of the data directory {} and its copy cannot be read: {error}; the logs are left as they are",
                path.display()
            ),
            DataError::Log(path, reason) => write!(f, "the log {} cannot be read: {reason}", path.display()),
        }
    }
}

impl std::error::Error for DataError {}

/// A data directory that is this process's as long as this lives.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    /// Whoever has the lock on it has the directory. The file stays: a lock on a file that is removed excludes nobody.
    _lock: OwnedFd,
}

impl DataDirectory {
    /// Takes the directory at `path`, which is made if it is not there.
    ///
    /// # Errors
    /// Another process has it, or the system refuses.
    pub fn open(path: &Path) -> Result<DataDirectory, DataError> {
        let made = match make_private_folder(path) {
            // Its parents are the operator's business and get the usual permissions.
            Err(Errno::NOENT) => match path.parent() {
                Some(parent) => fs::create_dir_all(parent)
                    .and_then(|()| make_private_folder(path).map_err(io::Error::from)),
                None => Err(Errno::NOENT.into()),
            },
            made => made.map_err(io::Error::from),
        };
        made.map_err(|error| DataError::System("make the data directory", path.to_owned(), error))?;
        DataDirectory::lock(path)
    }

    /// Takes the directory at `path` only if a broker has used it before.
    ///
    /// # Errors
    /// It is not there, another process has it, or the system refuses.
    pub fn existing(path: &Path) -> Result<DataDirectory, DataError> {
        if !MANIFESTS.iter().any(|name| path.join(name).is_file()) {
            return Err(DataError::Missing(path.to_owned()));
        }
        DataDirectory::lock(path)
    }

    fn lock(path: &Path) -> Result<DataDirectory, DataError> {
        let file = path.join(LOCK);
        let refused = |what, error: Errno| DataError::System(what, file.clone(), error.into());
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
        let fd = open(&file, flags, Mode::RUSR | Mode::WUSR).map_err(|error| refused("open", error))?;
        match flock(&fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let pid = fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok());
                return Err(DataError::InUse(path.to_owned(), pid));
            }
            Err(error) => return Err(refused("lock", error)),
        }
        let pid = format!("{}\n", std::process::id());
        rustix::fs::ftruncate(&fd, 0)
            .and_then(|()| rustix::io::pwrite(&fd, pid.as_bytes(), 0))
            .map_err(|error| refused("write", error))?;
        Ok(DataDirectory { path: path.to_owned(), _lock: fd })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the logs of a generation are.
    pub fn generation(&self, generation: u64) -> PathBuf {
        self.path.join(generation.to_string())
    }

    /// Where the segments of one log are.
    pub fn log(&self, generation: u64, shard: ShardId) -> PathBuf {
        self.generation(generation).join(format!("shard-{:02}", shard.index()))
    }

    /// Where what is damaged goes.
    pub fn quarantine(&self) -> Quarantine {
        Quarantine::new(self.path.join("quarantine"))
    }

    /// What the directory has; `None` when nothing was ever written. One copy that is damaged or missing is put right by the next
    /// [`DataDirectory::replace_manifest`].
    ///
    /// # Errors
    /// There is one and neither copy can be read.
    pub fn manifest(&self) -> Result<Option<Manifest>, DataError> {
        let mut newest: Option<Manifest> = None;
        let mut wrong = None;
        for name in MANIFESTS {
            let file = self.path.join(name);
            // Bytes: damage may have made it anything but text.
            let text = match fs::read(&file) {
                Ok(bytes) => String::from_utf8(bytes).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(DataError::System("read", file, error)),
            };
            match text.parse::<Manifest>() {
                Ok(manifest) => {
                    let version = |manifest: &Manifest| (manifest.generation, manifest.incarnation);
                    // Of two of one start the first was written first.
                    if newest.as_ref().is_none_or(|known| version(known) < version(&manifest)) {
                        newest = Some(manifest);
                    }
                }
                Err(error) => {
                    tracing::warn!("{}: {error}", file.display());
                    wrong = Some(error);
                }
            }
        }
        match (newest, wrong) {
            (None, Some(error)) => Err(DataError::Manifest(self.path.clone(), error)),
            (newest, _) => Ok(newest),
        }
    }

    /// Puts `manifest` in the place of the one that is there; it is on disk when this returns, in both copies.
    ///
    /// # Errors
    /// What the system says; then either of the two may be the one that counts.
    pub fn replace_manifest(&self, manifest: &Manifest) -> Result<(), DataError> {
        let text = manifest.to_string();
        for name in MANIFESTS {
            let file = self.path.join(name);
            self.replace(&file, text.as_bytes())
                .map_err(|error| DataError::System("write", file.clone(), error))?;
        }
        Ok(())
    }

    fn replace(&self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        let new = file.with_extension("new");
        let mut options = OpenOptions::new();
        let mut written = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        written.write_all(bytes)?;
        written.sync_all()?;
        fs::rename(&new, file)?;
        Ok(sync_folder(&self.path)?)
    }

    /// Removes the folders of all generations but `generation`.
    ///
    /// # Errors
    /// What the system says.
    pub fn remove_other_generations(&self, generation: u64) -> Result<(), DataError> {
        let kept = self.generation(generation);
        for folder in self.generations()?.into_iter().filter(|folder| *folder != kept) {
            fs::remove_dir_all(&folder).map_err(|error| DataError::System("remove", folder, error))?;
        }
        Ok(())
    }

    /// Whether there are folders of any generation.
    ///
    /// # Errors
    /// What the system says.
    pub fn has_generations(&self) -> Result<bool, DataError> {
        Ok(!self.generations()?.is_empty())
    }

    fn generations(&self) -> Result<Vec<PathBuf>, DataError> {
        let entries =
            fs::read_dir(&self.path).map_err(|error| DataError::System("read", self.path.clone(), error))?;
        let is_number = |path: &PathBuf| {
            path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.parse::<u64>().is_ok())
        };
        Ok(entries.flatten().map(|entry| entry.path()).filter(is_number).collect())
    }
}
