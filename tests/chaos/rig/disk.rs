//! A disk so small that it can be filled: a tmpfs for one broker's data.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// Enough for the data of many runs.
const SIZE: &str = "size=1g";
/// Begins the name of the mount; this program's id follows.
const MARK: &str = "penstock-chaos-";
const CHUNK: usize = 1 << 20;

/// A mounted tmpfs; dropped, it is gone.
pub struct Disk {
    path: PathBuf,
}

impl Disk {
    /// Mounts it.
    ///
    /// # Errors
    /// This process may not.
    pub fn mount(path: &Path) -> io::Result<Self> {
        sweep();
        fs::create_dir_all(path)?;
        let options = std::ffi::CString::new(SIZE)?;
        mount(format!("{MARK}{}", std::process::id()), path, "tmpfs", MountFlags::empty(), Some(options.as_c_str()))?;
        Ok(Self { path: path.to_owned() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn filler(&self) -> PathBuf {
        self.path.join("filler")
    }

    /// Takes all the room that is left.
    ///
    /// # Errors
    /// It cannot be written to at all.
    pub fn fill(&self) -> io::Result<()> {
        let mut file = File::create(self.filler())?;
        let mut chunk = vec![0; CHUNK];
        while !chunk.is_empty() {
            match file.write_all(&chunk) {
                Ok(()) => {}
                // The last pages are filled with smaller pieces.
                Err(error) if error.kind() == io::ErrorKind::StorageFull => chunk.truncate(chunk.len() / 2),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Gives the room back.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn free(&self) -> io::Result<()> {
        match fs::remove_file(self.filler()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Lets go the disks of programs that were killed.
fn sweep() {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    for line in mounts.lines() {
        let mut fields = line.split(' ');
        let (Some(name), Some(path)) = (fields.next(), fields.next()) else { continue };
        if name.strip_prefix(MARK).is_some_and(|id| !Path::new("/proc").join(id).exists()) {
            // What cannot be let go now is let go next time.
            let _ = unmount(path, UnmountFlags::DETACH);
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A broker that still ends lets it go when it has.
        let _ = unmount(&self.path, UnmountFlags::DETACH);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_takes_nothing_until_it_is_freed() {
        let folder = penstock_tests::local::Folder::new("disk").unwrap();
        // Without the right to mount there is nothing to be tested.
        let Ok(disk) = Disk::mount(&folder.path().join("small")) else { return };
        let file = disk.path().join("file");
        fs::write(&file, b"before").unwrap();
        disk.fill().unwrap();
        let grown = File::options().append(true).open(&file).unwrap().write_all(&vec![1; CHUNK]);
        assert_eq!(grown.unwrap_err().kind(), io::ErrorKind::StorageFull);
        disk.free().unwrap();
        fs::write(&file, vec![1; CHUNK]).unwrap();
    }
}
