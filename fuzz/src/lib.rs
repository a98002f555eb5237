//! Where a target's first inputs come from: they are made by code, when it starts, not kept as files.

#![allow(missing_docs, reason = "a developer's tool")]

use std::fs;
use std::path::PathBuf;

/// Writes seeds into the corpus folder that libFuzzer was given, before it reads it.
///
/// Panics if they cannot be written: the run would be a weaker one than it looks.
pub fn plant(seeds: Vec<Vec<u8>>) {
    let folder = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    // A single input that is run again is a file.
    let Some(folder) = folder.map(PathBuf::from).filter(|folder| !folder.is_file()) else { return };
    fs::create_dir_all(&folder).expect("the corpus folder can be made");
    for (number, seed) in seeds.into_iter().enumerate() {
        fs::write(folder.join(format!("seed-{number}")), seed).expect("a seed can be written");
    }
}
