//! Safetensors: reading with our own caps, writing in bf16.

use crate::shards::{Shards, list};
use crate::{DecoderConfig, Error, Family, Weights, config::CONFIG_BYTES_MAX};
use safetensors::tensor::{Dtype, TensorView};
use std::collections::HashMap;
use std::path::Path;

/// Largest weight file that is read; a model may have several.
pub const WEIGHT_BYTES_MAX: u64 = 16 << 30;

/// The file of the weights in a model folder.
pub const WEIGHT_FILE: &str = "model.safetensors";

/// f32 rounded to bf16, nearest, ties to even. NaN stays NaN.
pub fn to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    if x.is_nan() {
        return ((bits >> 16) as u16) | 0x40;
    }
    let odd = (bits >> 16) & 1;
    (bits.wrapping_add(0x7fff + odd) >> 16) as u16
}

/// bf16 as f32.
pub fn from_bf16(x: u16) -> f32 {
    f32::from_bits(u32::from(x) << 16)
}

/// Reads at most `max` bytes, checking the size before anything is allocated.
pub(crate) fn read_capped(path: &Path, max: u64) -> Result<Vec<u8>, Error> {
    let bytes = std::fs::metadata(path).map_err(Error::file(path))?.len();
    if bytes > max {
        return Err(Error::TooLarge { path: path.into(), bytes, max });
    }
    std::fs::read(path).map_err(Error::file(path))
}

/// One tensor to be written.
pub(crate) struct Stored {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) dtype: Dtype,
    pub(crate) bytes: Vec<u8>,
}

impl Stored {
    pub(crate) fn bf16(name: String, shape: Vec<usize>, data: &[f32]) -> Self {
        let bytes = data.iter().flat_map(|x| to_bf16(*x).to_le_bytes()).collect();
        Self { name, shape, dtype: Dtype::BF16, bytes }
    }
}

/// Safetensors bytes, a function of the tensors and the metadata only.
pub(crate) fn serialize(
    tensors: &[Stored],
    metadata: HashMap<String, String>,
) -> Result<Vec<u8>, Error> {
    let views = tensors
        .iter()
        .map(|t| Ok((t.name.as_str(), TensorView::new(t.dtype, t.shape.clone(), &t.bytes)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
        .map_err(|e| Error::Weights(e.to_string()))?;
    safetensors::serialize(views, Some(metadata)).map_err(|e| Error::Weights(e.to_string()))
}

/// Writes to a temporary file and renames it, so that a reader never sees half of it.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let temporary = path.with_extension("part");
    std::fs::write(&temporary, bytes).map_err(Error::file(&temporary))?;
    std::fs::rename(&temporary, path).map_err(Error::file(path))
}

/// Where a tensor of the text model stands in folders of models that see pictures too, older and newer.
const PICTURE_MODEL_PREFIXES: [(&str, &str); 3] = [
    ("model.", "language_model.model."),
    ("model.", "model.language_model."),
    ("lm_head.", "language_model.lm_head."),
];

/// What such a folder holds besides.
const PICTURE_TENSORS: [&str; 4] = [
    "vision_tower.",
    "multi_modal_projector.",
    "model.vision_tower.",
    "model.multi_modal_projector.",
];

/// The names under which a folder may hold a tensor.
fn stored_names(name: &str, family: Family) -> impl Iterator<Item = String> {
    let others = PICTURE_MODEL_PREFIXES.into_iter().filter_map(move |(from, to)| {
        let rest = name.strip_prefix(from).filter(|_| family == Family::Gemma3)?;
        Some(format!("{to}{rest}"))
    });
    [name.to_owned()].into_iter().chain(others.collect::<Vec<_>>())
}

/// Tensors of other readers that change nothing here.
fn may_be_left(name: &str, family: Family) -> bool {
    // Old Llamas keep the frequencies, which follow from the config.
    name.ends_with(".rotary_emb.inv_freq")
        || family == Family::Gemma3 && PICTURE_TENSORS.iter().any(|p| name.starts_with(p))
}

impl Weights {
    /// Reads `config.json` and the weights of a Hugging Face folder: `model.safetensors`, or the files that
    /// `model.safetensors.index.json` names. Of a `gemma3` folder that sees pictures the text model is read.
    ///
    /// A tensor goes from the file into its place a piece at a time, so nothing is held twice. Where
    /// `config.json` does not say whether the output matrix is the embedding, it is if there is none.
    ///
    /// Errors: a file over its limit, a model this decoder does not run, a missing tensor or one without a
    /// place, a wrong shape, a value that is not finite.
    pub fn load(dir: &Path) -> Result<(DecoderConfig, Self), Error> {
        let json = read_capped(&dir.join("config.json"), CONFIG_BYTES_MAX)?;
        let mut config = DecoderConfig::from_json(&json)?;
        let family = config.architecture()?.family;
        let mut shards = Shards::open(dir)?;
        let head = shards.find(stored_names("lm_head.weight", family));
        if !config.tie_word_embeddings && head.is_none() {
            if says_whether_tied(&json) {
                let why = "missing: lm_head.weight, which is not the embedding as config.json says";
                return Err(Error::Weights(why.into()));
            }
            config.tie_word_embeddings = true;
        }
        // Two bytes is the least a weight takes: what the config asks for is bounded by what is there.
        if config.parameters().saturating_mul(2) > shards.bytes {
            let (n, bytes) = (config.parameters(), shards.bytes);
            return Err(Error::Weights(format!(
                "{n} weights do not fit in files of {bytes} bytes"
            )));
        }
        let mut weights = Self::zeros(&config);
        let mut missing = Vec::new();
        for mut tensor in weights.named_mut(&config) {
            match shards.find(stored_names(&tensor.name, family)) {
                Some(name) => shards.read(&name, &mut tensor)?,
                None => missing.push(tensor.name),
            }
        }
        if !missing.is_empty() {
            let missing: Vec<&str> = missing.iter().map(String::as_str).collect();
            return Err(Error::Weights(format!("missing: {}", list(&missing))));
        }
        if let Some(head) = head.filter(|_| config.tie_word_embeddings) {
            let shape = [config.vocab_size, config.hidden_size];
            if !shards.holds(&head, &shape, &weights.embedding)? {
                return Err(Error::Weights(format!(
                    "{head} is not the embedding, as tie_word_embeddings says"
                )));
            }
        }
        shards.nothing_left(|name| may_be_left(name, family))?;
        Ok((config, weights))
    }

    /// Writes `config.json` and `model.safetensors` (bf16) into a folder.
    pub fn save(&mut self, config: &DecoderConfig, dir: &Path) -> Result<(), Error> {
        std::fs::create_dir_all(dir).map_err(Error::file(dir))?;
        let tensors: Vec<Stored> = self
            .named_mut(config)
            .into_iter()
            .map(|t| Stored::bf16(t.name, t.shape, t.data))
            .collect();
        let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
        write_whole(&dir.join(WEIGHT_FILE), &serialize(&tensors, metadata)?)?;
        let mut json =
            serde_json::to_vec_pretty(config).map_err(|e| Error::Config(e.to_string()))?;
        json.push(b'\n');
        write_whole(&dir.join("config.json"), &json)
    }
}

/// Whether a config says if the output matrix is the embedding.
fn says_whether_tied(config: &[u8]) -> bool {
    let config: serde_json::Value = serde_json::from_slice(config).unwrap_or_default();
    !config["tie_word_embeddings"].is_null()
}
