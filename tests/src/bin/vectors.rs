//! Makes the vectors anew: overwrites the generated files of `spec/vectors`.

use handfast_tests::vectors::{files, format};
use std::fs;
use std::io;

/// Everything in these folders is generated: what the generator no longer writes goes away.
const GENERATED: [&str; 2] = ["pairings", "refusals"];

fn main() -> io::Result<()> {
    for folder in GENERATED.map(|name| format::folder().join(name)).iter().filter(|folder| folder.exists()) {
        fs::remove_dir_all(folder)?;
    }
    for (path, content) in files() {
        let path = format::folder().join(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, content)?;
    }
    Ok(())
}
