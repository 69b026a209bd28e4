//! Writes the table of the sample events in `events/bodies/`, so that the program contains them.

use std::{env, error::Error, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../events/bodies").canonicalize()?;
    let folder = folder.to_str().ok_or("the path of this folder is not UTF-8")?;
    println!("cargo::rerun-if-changed={folder}");
    let mut types = Vec::new();
    for file in fs::read_dir(folder)? {
        types.extend(file?.file_name().to_str().and_then(|name| name.strip_suffix(".json")).map(str::to_owned));
    }
    types.sort_unstable();
    let row = |name: &String| format!("    ({name:?}, include_str!({:?})),\n", format!("{folder}/{name}.json"));
    let table = format!("[\n{}]\n", types.iter().map(row).collect::<String>());
    fs::write(Path::new(&env::var("OUT_DIR")?).join("samples.rs"), table)?;
    Ok(())
}
