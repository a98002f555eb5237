//! Safetensors: reading with our own caps, writing in bf16.

use crate::{DecoderConfig, Error, Named, Weights, config::CONFIG_BYTES_MAX};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::HashMap;
use std::path::Path;

/// Largest weight file that is read.
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

/// Copies a stored tensor into f32. Errors if its shape differs or a value is not finite.
pub(crate) fn copy_tensor(view: &TensorView<'_>, to: &mut Named<&mut [f32]>) -> Result<(), Error> {
    let wrong = |why: String| Error::Weights(format!("{}: {why}", to.name));
    if view.shape() != to.shape {
        return Err(wrong(format!("shape {:?}, expected {:?}", view.shape(), to.shape)));
    }
    let bytes = view.data();
    match view.dtype() {
        Dtype::F32 => {
            for (x, b) in to.data.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *x = f32::from_le_bytes(*b);
            }
        }
        Dtype::BF16 => {
            for (x, b) in to.data.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *x = from_bf16(u16::from_le_bytes(*b));
            }
        }
        other => return Err(wrong(format!("type {other:?} is not read; store bf16 or f32"))),
    }
    if to.data.iter().any(|x| !x.is_finite()) {
        return Err(wrong("holds a value that is not finite".into()));
    }
    Ok(())
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

/// Parses safetensors bytes.
pub(crate) fn parse(bytes: &[u8]) -> Result<SafeTensors<'_>, Error> {
    SafeTensors::deserialize(bytes).map_err(|e| Error::Weights(e.to_string()))
}

impl Weights {
    /// Reads `config.json` and `model.safetensors` of a Hugging Face folder.
    ///
    /// Errors: a file over its limit, a model this decoder does not run, a missing tensor, a wrong shape,
    /// a value that is not finite.
    pub fn load(dir: &Path) -> Result<(DecoderConfig, Self), Error> {
        let config = read_capped(&dir.join("config.json"), CONFIG_BYTES_MAX)?;
        let config = DecoderConfig::from_json(&config)?;
        let bytes = read_capped(&dir.join(WEIGHT_FILE), WEIGHT_BYTES_MAX)?;
        // Two bytes is the least a weight takes: what the config asks for is bounded by what is there.
        if config.parameters().saturating_mul(2) > bytes.len() as u64 {
            let (n, file) = (config.parameters(), bytes.len());
            return Err(Error::Weights(format!(
                "{n} weights do not fit in a file of {file} bytes"
            )));
        }
        let file = parse(&bytes)?;
        let mut weights = Self::zeros(&config);
        for mut tensor in weights.named_mut(&config) {
            let view = file
                .tensor(&tensor.name)
                .map_err(|_| Error::Weights(format!("{} is missing", tensor.name)))?;
            copy_tensor(&view, &mut tensor)?;
        }
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
