//! A folder of this program's own, which goes with it; those of programs that were killed go when the next one starts.

use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::cluster::Result;
use crate::cluster::error::at;
use crate::cluster::{files, orphans};

/// Removed with everything in it when dropped.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Makes `<temporary>/penstock-local/<program>/<name>-<number>`, below `$TMPDIR` or `/tmp`.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new(name: &str) -> Result<Self> {
        static SWEEP: Once = Once::new();
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let all = std::env::temp_dir().join("penstock-local");
        SWEEP.call_once(|| sweep(&all));
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = all.join(orphans::identity()).join(format!("{name}-{number}"));
        std::fs::create_dir_all(&folder).map_err(at("create", &folder))?;
        Ok(Self(folder))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next program.
        let _ = files::remove(&self.0);
        // Refused while it holds another folder of this program.
        let _ = self.0.parent().map(std::fs::remove_dir);
    }
}

/// Ends what programs that are no more left running, and removes their folders.
fn sweep(all: &Path) {
    orphans::end_all();
    for entry in std::fs::read_dir(all).into_iter().flatten().flatten() {
        if !orphans::is_alive(&entry.file_name().to_string_lossy()) {
            // Another program may sweep at the same time.
            let _ = files::remove(&entry.path());
        }
    }
}
