//! The checksums of a release's files, to find the file that is deployed.

use std::{error::Error, fs, path::Path};

use base64::{Engine, prelude::BASE64_STANDARD};

/// The names of the files and their SHA-256 checksums in base64, as Lambda shows them.
#[derive(Debug)]
pub(super) struct Checksums(Vec<(String, String)>);

impl Checksums {
    pub(super) fn read(path: &Path) -> Result<Self, Box<dyn Error>> {
        let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let lines = text.lines().map(|line| {
            let (checksum, name) = line.split_once(char::is_whitespace)?;
            let byte = |at| u8::from_str_radix(checksum.get(at..at + 2)?, 16).ok();
            let bytes = (0..checksum.len()).step_by(2).map(byte).collect::<Option<Vec<_>>>()?;
            Some((name.trim_start_matches([' ', '*']).to_owned(), BASE64_STANDARD.encode(bytes)))
        });
        let lines = lines.collect::<Option<Vec<_>>>();
        Ok(Self(lines.ok_or_else(|| format!("{}: this should be the file SHA256SUMS of a release", path.display()))?))
    }

    /// The name of the file with this checksum.
    pub(super) fn name(&self, code_sha256: &str) -> Option<&str> {
        self.0.iter().find(|(_, checksum)| checksum == code_sha256).map(|(name, _)| name.as_str())
    }
}
