use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use crate::failure::{Exit, Failure, OrFail};

/// The nano base model, so that the binary needs no other file to run.
const NANO: &[(&str, &[u8])] = &[
    ("config.json", include_bytes!("../../../models/nano/config.json")),
    ("generation_config.json", include_bytes!("../../../models/nano/generation_config.json")),
    ("model.safetensors", include_bytes!("../../../models/nano/model.safetensors")),
    ("tokenizer.json", include_bytes!("../../../models/nano/tokenizer.json")),
    ("tokenizer_config.json", include_bytes!("../../../models/nano/tokenizer_config.json")),
];

/// Questions and answers about OpenLedger, one contributor per subject.
pub const HANDBOOK: &[u8] = include_bytes!("../../../examples/handbook/handbook.jsonl");

/// Puts the nano base under `data_dir` if it is not there, and returns its folder.
pub fn nano(data_dir: &Path) -> Result<PathBuf, Failure> {
    let folder = data_dir.join("bases").join("nano");
    fs::create_dir_all(&folder).or_fail(Exit::Failure, cannot_write(&folder))?;
    for (name, bytes) in NANO {
        let path = folder.join(name);
        if fs::read(&path).is_ok_and(|present| present == *bytes) {
            continue;
        }
        let temporary = path.with_extension("tmp");
        let write = || {
            let mut file = fs::File::create(&temporary)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)
        };
        write().or_fail(Exit::Failure, cannot_write(&path))?;
    }
    Ok(folder)
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write {}", path.display())
}
