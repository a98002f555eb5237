use std::path::{Component, Path};

use openledger_hub::Content;
use openledger_model::{
    Adapter, Decoder,
    serving::{LowRankForm, ServingAdapter},
};
use serde_json::json;

use crate::{
    cli::{AdapterForm, PackArgs, ShowAdapterArgs},
    failure::{Exit, Failure, OrFail},
    from_hub,
    output::{Output, print},
};

/// What `serve` looks for in its adapter folder.
const SUFFIX: &str = "adapter";

/// `openledger adapter pack`.
pub async fn pack(args: PackArgs, output: Output) -> Result<(), Failure> {
    if let Some(name) = args.name.as_deref().filter(|name| !is_file_name(name)) {
        let failure = Failure::new(Exit::Usage, format!("{name:?} cannot be the name of a file"));
        return Err(failure.hint("a name has no slash and does not begin with a dot"));
    }
    let base = base(&args.base).await?;
    let folder = from_hub::folder(&args.adapter, Content::Adapter).await?;
    let adapter = Adapter::load(&folder, &base)
        .or_fail(Exit::Failure, format!("cannot pack the adapter in {}", folder.display()))
        .map_err(|failure| failure.hint(format!("is {} the base it was trained on?", args.base)))?;
    let form = match args.form {
        AdapterForm::Bf16 => LowRankForm::Bf16,
        AdapterForm::Int8 => LowRankForm::Int8,
    };
    let packed = ServingAdapter::pack(&adapter, form);
    let name = args.name.unwrap_or_else(|| hex(&packed.hash()));
    let path = args.out.join(format!("{name}.{SUFFIX}"));
    let cannot = || format!("cannot write {}", path.display());
    std::fs::create_dir_all(&args.out).or_fail(Exit::Failure, cannot())?;
    packed.save(&path, base.hash()).or_fail(Exit::Failure, cannot())?;
    // What is said is what is in the file, read as `serve` will read it.
    let written = ServingAdapter::open(&path, base.hash()).or_fail(Exit::Failure, cannot())?;
    tell_of(&written, &path, output);
    Ok(())
}

/// `openledger adapter show`.
pub async fn show(args: ShowAdapterArgs, output: Output) -> Result<(), Failure> {
    let cannot = || format!("{} cannot be used", args.file.display());
    let adapter = match &args.base {
        Some(name) => ServingAdapter::open(&args.file, base(name).await?.hash()),
        None => ServingAdapter::inspect(&args.file),
    };
    let adapter = adapter.or_fail(Exit::Failure, cannot()).map_err(|failure| {
        failure.hint("`openledger adapter pack` writes it again from the PEFT folder")
    })?;
    tell_of(&adapter, &args.file, output);
    Ok(())
}

async fn base(name: &str) -> Result<Decoder, Failure> {
    let folder = from_hub::folder(name, Content::Base).await?;
    Decoder::load(&folder)
        .or_fail(Exit::Failure, format!("cannot load the base model in {}", folder.display()))
}

fn tell_of(adapter: &ServingAdapter, path: &Path, output: Output) {
    let form = match adapter.form() {
        LowRankForm::Bf16 => "bf16",
        LowRankForm::Int8 => "int8",
    };
    let (hash, base) = (hex(&adapter.hash()), hex(&adapter.base()));
    if output.json {
        let document = json!({
            "file": path, "hash": hash, "base": base, "form": form, "rank": adapter.rank(),
            "layers": adapter.layer_count(), "targets": adapter.targets(), "bytes": adapter.bytes(),
        });
        return print(&document.to_string());
    }
    print(&format!("File      {}", path.display()));
    print(&format!("Hash      {hash}"));
    print(&format!("Base      {base}"));
    print(&format!("Form      {form}"));
    print(&format!("Rank      {}, {} layers", adapter.rank(), adapter.layer_count()));
    print(&format!("Targets   {}", adapter.targets().join(", ")));
    print(&format!("Bytes     {}", adapter.bytes()));
}

/// One component of a path.
fn is_file_name(name: &str) -> bool {
    let mut components = Path::new(name).components();
    let first = components.next();
    let plain = matches!(first, Some(Component::Normal(_))) && components.next().is_none();
    plain && !name.contains(['/', '\\']) && !name.starts_with('.')
}

fn hex(hash: &[u8; 32]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}
