//! Limits a process to the CPU share of a function with 128 MB. Lambda provides one vCPU at 1,769 MB, so the share is
//! 1.447 ms of each 20 ms.

use std::{fs, io, path::PathBuf};

/// The CPU time in each period, in microseconds.
const QUOTA: &str = "1447";
/// The length of a period, in microseconds.
const PERIOD: &str = "20000";

/// A control group that limits its processes to the share.
pub struct Share(PathBuf);

impl Share {
    /// Creates the group.
    ///
    /// # Errors
    /// If this machine doesn't allow it, for example without root privileges.
    pub fn new() -> io::Result<Self> {
        let root = PathBuf::from("/sys/fs/cgroup");
        let name = format!("scalekit-eventbridge-bench-{}", std::process::id());
        if root.join("cgroup.controllers").exists() {
            let share = Self(root.join(name));
            fs::write(root.join("cgroup.subtree_control"), "+cpu")?;
            fs::create_dir(&share.0)?;
            fs::write(share.0.join("cpu.max"), format!("{QUOTA} {PERIOD}"))?;
            return Ok(share);
        }
        let share = Self(root.join("cpu").join(name));
        fs::create_dir(&share.0)?;
        fs::write(share.0.join("cpu.cfs_period_us"), PERIOD)?;
        fs::write(share.0.join("cpu.cfs_quota_us"), QUOTA)?;
        Ok(share)
    }

    /// Limits a process to the share from now on.
    pub fn limit(&self, process: u32) -> io::Result<()> {
        fs::write(self.0.join("cgroup.procs"), process.to_string())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}
