//! The shipped base is what its recipe says. Reads `../shared/data`; skips loudly without it.

use openledger_factory::{BaseRecipe, Corpus, CorpusError};
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn the_shipped_vocabulary_is_what_the_recipe_gives() -> Result<(), CorpusError> {
    let data = root().join("../shared/data");
    if !data.is_dir() {
        eprintln!("SKIPPED: {} is not there", data.display());
        return Ok(());
    }
    let recipe = BaseRecipe::from_file(&root().join("models/nano/recipe.json"))?;
    let tokenizer = Corpus::read(&recipe, &data)?.train_tokenizer(&recipe)?;
    let path = root().join("models/nano/tokenizer.json");
    let shipped = std::fs::read_to_string(&path)
        .map_err(|source| CorpusError::Read { path: path.clone(), source })?;
    assert!(tokenizer.to_json()? == shipped, "train_base would write another tokenizer.json");
    Ok(())
}

#[test]
fn data_that_changed_is_refused() -> Result<(), CorpusError> {
    let mut recipe = BaseRecipe::from_file(&root().join("models/nano/recipe.json"))?;
    // Any file will do: its digest cannot be the one the recipe names.
    recipe.data.truncate(1);
    recipe.data[0].file = "models/nano/recipe.json".into();
    assert!(matches!(Corpus::read(&recipe, &root()), Err(CorpusError::OtherData { .. })));
    Ok(())
}
