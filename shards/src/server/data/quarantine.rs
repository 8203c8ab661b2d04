//! Where damaged bytes go, so that somebody can look at them.

use super::DataError;
use crate::drivers::files::{make_private_folder, segment_name, sync_folder};
use crate::log::{LogIdentity, ScanReport};
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The folder for damage of a data directory. Made when there is some.
#[derive(Clone, Debug)]
pub struct Quarantine(PathBuf);

impl Quarantine {
    /// The one at `path`.
    pub fn new(path: PathBuf) -> Quarantine {
        Quarantine(path)
    }

    /// Copies what `report` says of the log at `path` to be damaged, and the report itself, into a folder of their own. Damage that is known from an
    /// earlier start is left as it was: what is there stays, since the segments do as long as they are needed.
    ///
    /// # Errors
    /// What the system says.
    pub fn keep(&self, path: &Path, identity: LogIdentity, report: &ScanReport) -> Result<(), DataError> {
        let name = format!("{}-shard-{:02}", identity.generation, identity.shard.index());
        let folder = self.0.join(name);
        self.copy(path, &folder, report)
            .map_err(|error| DataError::System("write", folder.clone(), error))?;
        tracing::warn!("what is damaged is copied to {}", folder.display());
        Ok(())
    }

    fn copy(&self, path: &Path, folder: &Path, report: &ScanReport) -> io::Result<()> {
        make_private_folder(&self.0)?;
        make_private_folder(folder)?;
        for damage in &report.damage {
            let name = segment_name(damage.segment);
            let to = folder.join(format!("{name}.{}", damage.offset));
            if to.exists() {
                continue;
            }
            let mut from = File::open(path.join(&name))?;
            from.seek(SeekFrom::Start(damage.offset))?;
            let mut bytes = Vec::new();
            from.take(damage.bytes).read_to_end(&mut bytes)?;
            write_private(&to, &bytes)?;
        }
        write_private(&folder.join("report.txt"), text(path, report).as_bytes())?;
        Ok(sync_folder(folder)?)
    }
}

fn text(path: &Path, report: &ScanReport) -> String {
    let mut text = String::new();
    let lines = (|| {
        writeln!(text, "The log in {} is damaged.", path.display())?;
        writeln!(text, "{} records are whole and count.", report.records)?;
        for damage in &report.damage {
            let name = segment_name(damage.segment);
            writeln!(text, "{damage} (a copy is in {name}.{})", damage.offset)?;
        }
        for (first, last) in &report.missing {
            writeln!(text, "records {} to {} are missing", first.0, last.0)?;
        }
        match &report.torn {
            Some(torn) => writeln!(text, "{torn}"),
            None => Ok(()),
        }
    })();
    let () = lines.expect("a string takes all text");
    text
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)
}
